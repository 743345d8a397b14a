//! The doing half of the gateway, in the order in which a signal walks through it.
//!
//! A commit is decided and sealed, written to the journal (then it is true), and after that applied to the store, from
//! which everything can be asked again. What was written is read back at start, before anybody is let in.

pub mod config;
pub mod fault;
pub mod clock;
pub mod tls;
pub mod accept;
mod descriptors;
pub mod identity;
pub mod authorize;
pub mod budget;
pub mod rpc;
pub mod errors;
mod queue;
pub mod commit;
pub mod tree;
pub mod log;
pub mod journal;
pub mod head;
pub mod sequencer;
pub mod store;
pub mod recover;
pub mod applier;
pub mod mailbox;
pub mod adopt;
pub mod health;
pub mod metrics;
mod own;
pub mod serve;
pub mod init;
pub mod dev;
#[cfg(test)]
mod samples;
