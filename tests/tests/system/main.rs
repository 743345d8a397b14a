//! The whole system, tried from outside: real gateway, real client, real mutual TLS, each test in a folder of its own.
//!
//! One program, so that it is linked once and all tests share the one world that they begin with. The rooms, in the order
//! in which to read them: what should happen, what is refused, what time and accidents do, and what a hub that lies can
//! and cannot do.

mod story;
mod delivery;
mod certificates;
mod permissions;
mod refusals;
mod contents;
mod consultations;
mod times;
mod restarts;
mod crashes;
mod hostile;
mod canaries;
