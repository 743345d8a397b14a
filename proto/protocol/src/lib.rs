//! Messages of the Seinpost exchange and what they mean.
//!
//! Both sides use this crate, and so may strangers: what comes in is bytes, what goes out is either a type that
//! cannot be wrong or a refusal that names what is. It is pure: it opens no file, reads no clock, knows no
//! network, and draws no random number. Its modules, in the order in which to read them:

pub mod time;
pub mod digest;
pub mod address;
pub mod canonical;
pub mod signature;
pub mod certificate;
pub mod item;
pub mod signal;
pub mod key_statement;
pub mod answer;
pub mod covenant;
pub mod hub;
pub mod content;
pub mod record;
pub mod tree;
pub mod note;
pub mod checkpoint;
pub mod receipt;
pub mod mailbox_head;
pub mod tile;
pub mod tlog_proof;

/// The messages as generated from `proto/seinpost/v1`: what a peer sent, not yet what it means.
pub mod wire {
    pub use crate::generated::google::rpc as google_rpc;
    pub use crate::generated::seinpost::v1::*;
}

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::unwrap_used,
    rustdoc::all,
    reason = "a test that unwraps what must be there fails at the line that says so"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

/// The compiled descriptors of `proto/`, a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
