//! The deciding half of the gateway.
//!
//! What comes in is a [`Command`](command::Command) and the time; what goes out is a
//! [`Decision`](decide::Decision): the events that are to be recorded, and the answer. [`apply`](apply::apply) takes
//! an event into the [`State`](state::State) and cannot fail. Nothing here reads a clock, draws a random number,
//! opens a file or knows a network, and every map is ordered, so that a replay of the log gives the same state to
//! the last bit. Numbers (index, place in a mailbox, place in a conversation) belong to this crate; hashes of records
//! belong to the log and are never seen here.
//!
//! The modules, in the order in which to read them:

pub mod apply;
pub mod command;
pub mod decide;
pub mod decider;
pub mod event;
pub mod refusal;
pub mod state;
