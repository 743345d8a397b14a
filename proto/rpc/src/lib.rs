//! The generated service stubs of `proto/seinpost/v1`, and nothing else.
//!
//! What a call means, and who may make it, is for the gateway and the client to say; the messages are those of
//! `seinpost-protocol`.

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
    tonic::include_proto!("seinpost.v1");
}

pub use generated::{
    audit_service_client, audit_service_server, covenant_service_client, covenant_service_server,
    exchange_service_client, exchange_service_server, operations_service_client, operations_service_server,
};
