//! The doing half of the gateway, in the order in which a signal walks through it.
//!
//! A commit is decided and sealed, written to the journal (then it is true), and after that applied to the store, from
//! which everything can be asked again. What was written is read back at start, before anybody is let in.

pub mod fault;
pub mod clock;
mod queue;
pub mod commit;
pub mod tree;
pub mod log;
pub mod journal;
pub mod head;
pub mod sequencer;
pub mod store;
pub mod applier;
pub mod mailbox;
#[cfg(test)]
mod samples;
