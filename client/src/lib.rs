//! The Seinpost client: seal, send, receive, open, answer, verify, and pin what the hub said.
//!
//! For a program of an agency and for the command line alike: nothing here prints, reads arguments, or exits. A
//! [`Client`](client::Client) is opened from a [`Profile`](profile::Profile); each room adds the calls that it is about. The
//! hub is not trusted: what it says is verified against the covenant, the log and the pins, and what does not hold is an
//! error with evidence. The modules, in the order in which to read them:

pub mod error;
pub mod clock;
mod files;
pub mod profile;
pub mod sign;
pub mod seal;
mod connect;
pub mod pins;
mod evidence;
pub mod client;
mod link;
mod covenant;
mod ruling;
mod directory;
pub mod keys;
pub mod outbox;
pub mod send;
mod answered;
pub mod receive;
pub mod inbox;
pub mod status;
pub mod answer;
pub mod verify;
pub mod audit;
pub mod records;
pub mod content;
pub mod cli;
