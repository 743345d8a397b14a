//! What the core promises, as sentences: given what happened, when somebody asks, then this is recorded or refused.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test that unwraps what must be there fails at the line that says so"
)]

mod answers;
mod conversations;
mod harness;
mod hub;
mod keys;
mod replay;
mod signals;
mod time;
