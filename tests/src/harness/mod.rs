//! The harness: a hub in a folder of its own, real clients of it, and tools for what no honest client does.
//!
//! A test starts a [`Hub`](hub::Hub), takes clients from it, does what its name says, and ends the hub, which is then
//! searched for everything that must not be in it. The rooms, in the order in which to read them:

pub mod patience;
pub mod hub;
pub mod world;
pub mod logs;
pub mod process;
pub mod canary;
pub mod agency;
pub mod raw;
pub mod hand;
pub mod forge;
pub mod hostile;
