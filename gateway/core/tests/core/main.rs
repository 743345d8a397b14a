//! What the core promises, as sentences: given what happened, when somebody asks, then this is recorded or refused.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]
#![allow(unreachable_pub, reason = "what the rooms of a test program share is public among them")]

mod answers;
mod conversations;
mod harness;
mod hub;
mod keys;
mod replay;
mod signals;
mod time;
