//! Who is at the other end of a connection, as the handshake proved it.
//!
//! A [`Peer`] is made by the TLS room alone, after certificate, revocation and covenant were checked, and travels
//! with each request of the connection. Which functions it may act in is asked of the covenant anew for every call
//! ([`Caller`]), because a bound key may lapse, or a participant be suspended, while a connection lives. Nothing in
//! a request can name another peer.

use std::sync::Arc;

use seinpost_protocol::address::{Address, Function, Oin};
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

/// An organisation that proved to hold a transport key, and which key it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The organisation, from the subject of its certificate.
    pub oin: Oin,
    /// SHA-256 of the public key that it proved to hold; functions are bound to it.
    pub spki: Digest,
    /// When its certificate ends; no call is served on the connection after it.
    pub not_after: Timestamp,
}

/// A peer that makes a call, with the functions in which it may act at the time of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The organisation.
    pub oin: Oin,
    /// Its functions at the time of the call; never empty.
    pub functions: Arc<[Function]>,
}

impl Caller {
    /// Asks the covenant what `peer` may act as at `now`; `None` if it may act as nothing.
    #[must_use]
    pub fn identify(peer: &Peer, covenant: &Covenant, now: Timestamp) -> Option<Self> {
        if now >= peer.not_after {
            return None;
        }
        let functions = covenant.functions(peer.oin, wire::Use::Transport, &peer.spki, now);
        if functions.is_empty() { None } else { Some(Self { oin: peer.oin, functions: functions.into() }) }
    }

    /// Returns whether the caller may act for `address`.
    #[must_use]
    pub fn is(&self, address: Address) -> bool {
        self.oin == address.oin && self.functions.contains(&address.function)
    }

    /// Returns whether the caller has `function`.
    #[must_use]
    pub fn has(&self, function: Function) -> bool {
        self.functions.contains(&function)
    }
}
