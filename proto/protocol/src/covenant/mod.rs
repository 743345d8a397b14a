//! The covenant: who takes part, by which keys, under which rules; signed by registrars, the same for both sides.
//!
//! In comes an item signed by registrars, and what is trusted so far: the hub file at first, the last accepted
//! covenant after that. Out goes a [`Covenant`] that cannot be wrong ([`Covenant::verify`] is the only way to one), or
//! the rule that it breaks. It then answers, from indexes made once and without a clock:
//!
//! - who may act with which key ([`Covenant::may_act`], [`Covenant::functions`]),
//! - which address a function has for a municipality on a day ([`Covenant::resolve`]),
//! - which row of the decision table permits a signal, or what would ([`Covenant::permit`]),
//! - which profiles, code lists and clocks hold ([`Covenant::profile`], [`Covenant::code`], [`Covenant::answer_due`]),
//! - and what all rules together permit, cell by cell ([`Covenant::cells`]).
//!
//! Gateway and clients ask this one room, so that they cannot disagree. It never asks what time it is: a covenant has
//! its validity ([`Covenant::is_valid_at`]), and whoever uses it says when.

mod breach;
mod calendar;
mod index;
mod labels;
mod permit;
mod refusal;
mod routes;
mod rows;
mod tables;
mod verify;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::address::{Address, Function, Oin};
use crate::checkpoint::LogKey;
use crate::digest::Digest;
use crate::time::Timestamp;
use crate::wire;

pub use breach::{BadCovenant, Breach};
pub use index::{Acting, NoRight};
pub use labels::{function_label_en, function_label_nl, purpose_code, regime_code, signal_type_code, urgency_code};
pub use permit::{Cell, Intent, IntentProfile, IntentRecipient, Permit, Permitted, functions, signal_types};
pub use refusal::{Refusal, Refused};
pub use routes::NoRoute;
pub use verify::{COVENANT_BYTES_MAX, Floor, Trust, VALIDITY_MAX, walk};

use index::Index;

/// How long after its end a covenant may still be where a client's walk starts; after that one asks by phone.
pub const EXPIRED_START_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A verified covenant. Cheap to clone.
#[derive(Clone)]
pub struct Covenant(Arc<Inner>);

struct Inner {
    item: wire::SignedItem,
    message: wire::Covenant,
    digest: Digest,
    previous_digest: Option<Digest>,
    valid_from: Timestamp,
    valid_until: Timestamp,
    hub_oin: Oin,
    test: bool,
    index: Index,
}

impl Covenant {
    /// Returns its number; each covenant's is one higher than that of the one before.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.0.message.serial
    }

    /// Returns the digest of its item, by which everything names it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Returns the digest of the covenant before it; the one with serial 1 has none.
    #[must_use]
    pub fn previous_digest(&self) -> Option<Digest> {
        self.0.previous_digest
    }

    /// Returns the origin of the log that it belongs to.
    #[must_use]
    pub fn log_origin(&self) -> &str {
        &self.0.message.log_origin
    }

    /// Returns the first moment of its validity.
    #[must_use]
    pub fn valid_from(&self) -> Timestamp {
        self.0.valid_from
    }

    /// Returns the first moment after its validity.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.0.valid_until
    }

    /// Returns whether it is valid at a time: from `valid_from`, before `valid_until`.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        self.0.valid_from <= at && at < self.0.valid_until
    }

    /// Returns whether a client's walk may start from it: it is not longer over than [`EXPIRED_START_MAX`].
    ///
    /// Covenants on the way may be over for longer: each is vouched for by the next one's signatures. The start is
    /// vouched for by the client's memory alone, and old registrars' keys may have fallen into other hands.
    #[must_use]
    pub fn may_start_a_walk_at(&self, at: Timestamp) -> bool {
        at.millis() < self.0.valid_until.millis() + i64::try_from(EXPIRED_START_MAX.as_millis()).expect("30 days fit")
    }

    /// Returns which of several covenants rules at a time: the old one does until the new one's `valid_from`.
    ///
    /// None, when even the one that would rule is over or has not begun.
    #[must_use]
    pub fn ruling_at<'a>(covenants: impl IntoIterator<Item = &'a Self>, at: Timestamp) -> Option<&'a Self> {
        let begun = covenants.into_iter().filter(|covenant| covenant.valid_from() <= at);
        begun.max_by_key(|covenant| covenant.serial()).filter(|covenant| covenant.is_valid_at(at))
    }

    /// Returns the message, canonical and checked.
    #[must_use]
    pub fn message(&self) -> &wire::Covenant {
        &self.0.message
    }

    /// Returns the item as it was verified, with its signatures.
    #[must_use]
    pub fn item(&self) -> &wire::SignedItem {
        &self.0.item
    }

    /// Returns the hub's OIN, which its transport certificate must bear.
    #[must_use]
    pub fn hub_oin(&self) -> Oin {
        self.0.hub_oin
    }

    /// Returns the keys with which the log may sign now; retired ones count only up to where they ended.
    #[must_use]
    pub fn live_log_keys(&self) -> Vec<LogKey> {
        let live = self.0.message.log_keys.iter().filter(|key| key.until_size == 0);
        live.map(|key| LogKey::new(key.ed25519.as_ref().try_into().expect("the canonical form has 32 bytes here")))
            .collect()
    }

    /// Returns whether the trust that it was verified by calls its origin a test's.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.0.test
    }

    /// Returns a participant by its OIN, suspended or not.
    #[must_use]
    pub fn participant(&self, oin: Oin) -> Option<&wire::Participant> {
        self.0.index.participant(oin).map(|at| &self.0.message.participants[at])
    }

    /// Returns what the covenant grants to an address, suspended or not.
    #[must_use]
    pub fn grant(&self, address: Address) -> Option<&wire::FunctionGrant> {
        let (participant, function) = self.0.index.grant(address)?;
        Some(&self.0.message.participants[participant].functions[function])
    }

    /// Returns whether an address takes part: it is granted and its participant is not suspended.
    #[must_use]
    pub fn takes_part(&self, address: Address) -> bool {
        self.grant(address).is_some() && self.participant(address.oin).is_some_and(|participant| !participant.suspended)
    }

    /// Returns whether an address may use citizens' numbers (BSN).
    #[must_use]
    pub fn may_use_bsn(&self, address: Address) -> bool {
        self.takes_part(address) && self.grant(address).is_some_and(|grant| grant.bsn)
    }

    /// Returns the lowest serial of an address's key statements that counts; 0: all do.
    #[must_use]
    pub fn key_floor(&self, address: Address) -> u64 {
        self.grant(address).map_or(0, |grant| grant.key_floor)
    }

    /// Answers whether a key, by the digest of its SubjectPublicKeyInfo, may act for an address in a use at a time.
    ///
    /// # Errors
    /// [`NoRight`] names the first rule that forbids it.
    pub fn may_act(
        &self,
        address: Address,
        used_for: wire::Use,
        spki: &Digest,
        at: Timestamp,
    ) -> Result<Acting, NoRight> {
        let (Some(participant), Some(grant)) = (self.participant(address.oin), self.grant(address)) else {
            return Err(NoRight::NoFunction);
        };
        if participant.suspended {
            return Err(NoRight::Suspended);
        }
        self.0.index.may_act(address, grant.unbound, used_for, spki, at)
    }

    /// Returns all functions of an OIN in which a key may act, in the covenant's order.
    #[must_use]
    pub fn functions(&self, oin: Oin, used_for: wire::Use, spki: &Digest, at: Timestamp) -> Vec<Function> {
        let grants = self.participant(oin).map_or(&[][..], |participant| &participant.functions);
        let all = grants.iter().map(wire::FunctionGrant::function);
        all.filter(|function| self.may_act(Address { oin, function: *function }, used_for, spki, at).is_ok()).collect()
    }

    /// Returns a rule by its id, with its reasons, article and conditions in Dutch and English.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&wire::Rule> {
        self.0.message.rules.iter().find(|rule| rule.id == id)
    }

    /// Returns all content profiles.
    #[must_use]
    pub fn profiles(&self) -> &[wire::Profile] {
        &self.0.message.profiles
    }

    /// Returns a content profile by name and version.
    #[must_use]
    pub fn profile(&self, name: &str, version: u32) -> Option<&wire::Profile> {
        self.profiles().iter().find(|profile| profile.name == name && profile.version == version)
    }

    /// Returns the digest of a profile's message as it stands in the covenant, which a signal's header names.
    #[must_use]
    pub fn profile_sha256(&self, name: &str, version: u32) -> Option<Digest> {
        let at = self.profiles().iter().position(|profile| profile.name == name && profile.version == version)?;
        Some(self.0.index.profile_sha256(at))
    }

    /// Returns the profile that a permit names.
    #[must_use]
    pub fn profile_for(&self, permit: &Permit) -> Option<&wire::Profile> {
        self.profile(&permit.profile.0, permit.profile.1)
    }

    /// Returns a code list by its id.
    #[must_use]
    pub fn code_list(&self, id: &str) -> Option<&wire::CodeList> {
        self.0.message.code_lists.iter().find(|list| list.id == id)
    }

    /// Returns a code of a list, with its labels in Dutch and English.
    #[must_use]
    pub fn code(&self, list: &str, code: &str) -> Option<&wire::Code> {
        self.code_list(list)?.codes.iter().find(|known| known.code == code)
    }

    /// Returns the clock of a recipient's answer: the first row of step `answer` that fits.
    ///
    /// As in a route, no types mean all types; so with senders, recipients and urgency.
    #[must_use]
    pub fn answer_clock(
        &self,
        signal_type: wire::SignalType,
        from: Function,
        to: Function,
        urgency: wire::Urgency,
    ) -> Option<&wire::Clock> {
        let at = self.answer_clock_at(signal_type, from, to, urgency)?;
        Some(&self.0.message.clocks[at])
    }

    /// Returns when the answer to a signal that was consigned at `consigned` is due; `None`: no clock fits.
    #[must_use]
    pub fn answer_due(
        &self,
        signal_type: wire::SignalType,
        from: Function,
        to: Function,
        urgency: wire::Urgency,
        consigned: Timestamp,
    ) -> Option<Timestamp> {
        let at = self.answer_clock_at(signal_type, from, to, urgency)?;
        self.0.index.clock(at).after(consigned)
    }

    fn answer_clock_at(
        &self,
        signal_type: wire::SignalType,
        from: Function,
        to: Function,
        urgency: wire::Urgency,
    ) -> Option<usize> {
        let fits = |all: &[i32], one: i32| all.is_empty() || all.contains(&one);
        self.0.message.clocks.iter().position(|clock| {
            clock.step == STEP_ANSWER
                && fits(&clock.types, signal_type.into())
                && fits(&clock.from, from.into())
                && fits(&clock.to, to.into())
                && (clock.urgency() == wire::Urgency::Unspecified || clock.urgency() == urgency)
        })
    }
}

/// The step that a recipient owes first: its answer.
pub const STEP_ANSWER: &str = "answer";

/// Shows which covenant it is, not what is in it.
impl std::fmt::Debug for Covenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Covenant({} serial {} {})", self.log_origin(), self.serial(), self.digest())
    }
}

impl crate::content::Codes for Covenant {
    fn has(&self, list: &str, code: &str) -> bool {
        self.code(list, code).is_some()
    }
}
