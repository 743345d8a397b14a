//! What the core promises, as sentences: given what happened, when somebody asks, then this is recorded or refused.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod answers;
mod conversations;
mod harness;
mod hub;
mod keys;
mod replay;
mod signals;
mod time;
