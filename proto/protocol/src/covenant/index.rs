//! The covenant's tables as the hot path asks them: by address, by key, by row; made once per covenant.
//!
//! In comes a checked message; what the wire holds as text or number stands here as sets of bits and points in time, so
//! that a question costs no parsing and no allocation. It refuses nothing that `verify` has not refused before.

use std::collections::HashMap;

use prost::Message as _;

use crate::address::{Address, Oin};
use crate::digest::Digest;
use crate::time::Timestamp;
use crate::wire;

use super::calendar::Duration;
use super::routes::Routes;
use super::rows::Rows;

/// A key may act for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acting {
    /// The key is bound to this function; of a key that is not, its certificate's chain alone speaks.
    pub bound: bool,
}

/// Why a key may not act for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoRight {
    /// The covenant grants no such function to that OIN, or does not know the OIN.
    #[error("the covenant does not grant this function to this organisation")]
    NoFunction,
    /// The participant is suspended.
    #[error("the participant is suspended")]
    Suspended,
    /// The function has bound keys, and this is none of them in this use.
    #[error("the key is not bound to this function in this use")]
    KeyNotBound,
    /// The function has no bound keys, but the key is bound to another, and so acts only there.
    #[error("the key is bound elsewhere and acts only there")]
    KeyBoundElsewhere,
    /// The key is bound to the function, but not at this time.
    #[error("the key's binding is not valid at this time")]
    KeyBindingDates,
}

impl NoRight {
    /// Returns the reason's code.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoFunction => "NO_FUNCTION",
            Self::Suspended => "SUSPENDED",
            Self::KeyNotBound => "KEY_NOT_BOUND",
            Self::KeyBoundElsewhere => "KEY_BOUND_ELSEWHERE",
            Self::KeyBindingDates => "KEY_BINDING_DATES",
        }
    }
}

/// One row of a grant: a key bound to an address in a use for a while.
pub(super) struct Binding {
    pub(super) address: Address,
    pub(super) used_for: wire::Use,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// What `verify` read on its way and the index keeps.
#[derive(Default)]
pub(super) struct Tables {
    /// By OIN, the participant's place.
    pub(super) participants: HashMap<Oin, usize>,
    /// By address, the participant's place and the grant's in it.
    pub(super) grants: HashMap<Address, (usize, usize)>,
    /// By digest of the SubjectPublicKeyInfo, all rows that bind it; registrars' and log keys have an empty list.
    pub(super) bindings: HashMap<Digest, Vec<Binding>>,
    pub(super) routes: Routes,
    /// One for each clock of the message, in its order.
    pub(super) clocks: Vec<Duration>,
}

pub(super) struct Index {
    tables: Tables,
    pub(super) rows: Rows,
    profile_sha256: Vec<Digest>,
}

impl Index {
    pub(super) fn new(message: &wire::Covenant, tables: Tables) -> Self {
        let profile_sha256 = message.profiles.iter().map(|profile| Digest::of(&profile.encode_to_vec())).collect();
        Self { tables, rows: Rows::new(message), profile_sha256 }
    }

    pub(super) fn participant(&self, oin: Oin) -> Option<usize> {
        self.tables.participants.get(&oin).copied()
    }

    pub(super) fn grant(&self, address: Address) -> Option<(usize, usize)> {
        self.tables.grants.get(&address).copied()
    }

    pub(super) fn routes(&self) -> &Routes {
        &self.tables.routes
    }

    pub(super) fn clock(&self, at: usize) -> Duration {
        self.tables.clocks[at]
    }

    pub(super) fn profile_sha256(&self, at: usize) -> Digest {
        self.profile_sha256[at]
    }

    /// Answers for an address that is granted and not suspended.
    pub(super) fn may_act(
        &self,
        address: Address,
        unbound: bool,
        used_for: wire::Use,
        spki: &Digest,
        at: Timestamp,
    ) -> Result<Acting, NoRight> {
        let rows = self.tables.bindings.get(spki);
        if unbound {
            // Rows that are over count too: who took a key out of one function did not give it to all others.
            return if rows.is_none() { Ok(Acting { bound: false }) } else { Err(NoRight::KeyBoundElsewhere) };
        }
        let mut here =
            rows.into_iter().flatten().filter(|row| row.address == address && row.used_for == used_for).peekable();
        if here.peek().is_none() {
            return Err(NoRight::KeyNotBound);
        }
        if here.any(|row| row.from <= at && at < row.until) {
            Ok(Acting { bound: true })
        } else {
            Err(NoRight::KeyBindingDates)
        }
    }
}
