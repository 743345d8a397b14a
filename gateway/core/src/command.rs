//! What can be asked of the core: one [`Command`] per deed.
//!
//! A command holds facts that the rooms before have proven (who signed, by which covenant the permit was made, which
//! certificate chain held), never bytes to be parsed. It carries no time: the sequencer gives one to the whole batch.

use seinpost_protocol::address::{Address, Oin};
use seinpost_protocol::certificate::CrlNumber;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::{AnswerCode, RetentionClass, SignalType, Urgency};

use crate::event::Windows;

/// One thing that somebody wants recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// An agency submits an item; its signature, certificate and permit have been checked.
    Submit(Submission),
    /// A signal went to its recipient's transport.
    HandOver {
        /// Digest of the signal.
        item: Digest,
        /// To whom it went.
        recipient: Address,
    },
    /// Time passed: what has expired is to be told.
    Tick,
    /// A known participant was refused before the core was asked.
    Reject(Rejection),
    /// What was counted of a participant's refusals is told in one record.
    Summarise {
        /// The first of them.
        first: Rejection,
        /// How many came after it.
        more: u64,
    },
    /// A participant makes a signing certificate known; its chain has been checked.
    PublishCertificate(NewCertificate),
    /// The hub adopts a covenant; its registrars' signatures and succession have been checked.
    AdoptCovenant(NewCovenant),
    /// The hub adopts a revocation list; its issuer's signature has been checked.
    AdoptCrl(NewCrl),
    /// A gateway begins to serve.
    Start {
        /// Software and version, up to 64 characters.
        software: String,
    },
    /// Somebody of oversight looks.
    Access {
        /// An operator's or auditor's address.
        who: Address,
        /// The full path of the call, up to 128 characters.
        call: String,
        /// What was asked for, up to 256 characters, never content.
        filter: String,
    },
    /// An operator confirms the hub's clock after it was in doubt.
    ConfirmClock,
}

/// An item as the core sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Who signed it.
    pub signer: Address,
    /// Its id, unique for this signer.
    pub item_id: ItemId,
    /// Its item digest.
    pub digest: Digest,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The serial that it gives as its signer's newest key statement's.
    pub key_serial: u64,
    /// Digest of the covenant by which it was judged.
    pub permit_covenant: Digest,
    /// The revocation lists that the signer's chain was judged by.
    pub crls: Vec<Digest>,
    /// What it says, as far as the core must know.
    pub what: Submitted,
}

/// What an item says, as far as the core must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// A signal to one or more recipients.
    Signal(NewSignal),
    /// A recipient's word on a delivery.
    Answer(NewAnswer),
    /// A sealing key of the signer's address, or its withdrawal.
    KeyStatement(NewKeyStatement),
}

/// A signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSignal {
    /// Its type.
    pub signal_type: SignalType,
    /// The conversation: the signal's own id opens one.
    pub conversation: ItemId,
    /// The signal that it takes the place of.
    pub supersedes: Option<Digest>,
    /// Its urgency.
    pub urgency: Urgency,
    /// When an answer is no longer in time.
    pub expires: Timestamp,
    /// How long the hub keeps the sealed content.
    pub retention_class: RetentionClass,
    /// To whom, in the header's order.
    pub recipients: Vec<Recipient>,
}

/// One recipient of a signal with what its permit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The recipient.
    pub address: Address,
    /// The rule that permits it.
    pub rule_id: String,
    /// Whether a route of the covenant leads to it.
    pub routed: bool,
    /// The key statement that the signal's secret was wrapped for.
    pub key_statement: Digest,
    /// The covenant's floor for the recipient's key statements.
    pub key_floor: u64,
}

/// A refusal of a known participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Who was refused.
    pub who: Address,
    /// Why: the reason's code, up to 64 characters.
    pub reason: String,
    /// The rule that came nearest, where a rule refused; up to 64 characters.
    pub nearest_rule: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAnswer {
    /// Digest of the signal answered.
    pub item: Digest,
    /// What it says.
    pub code: AnswerCode,
    /// The earlier signal of the same sender that the signal repeats.
    pub duplicate_of: Option<Digest>,
}

/// A key statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKeyStatement {
    /// Its serial.
    pub serial: u64,
    /// Digest of the statement before it.
    pub previous: Option<Digest>,
    /// When it may be used; `None` if it withdraws.
    pub windows: Option<Windows>,
    /// The covenant's floor for this address: statements below it do not count.
    pub key_floor: u64,
}

/// A signing certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCertificate {
    /// Whose it is.
    pub oin: Oin,
    /// SHA-256 of the leaf.
    pub leaf: Digest,
    /// SHA-256 of each certificate above it, in order, at most three.
    pub chain: Vec<Digest>,
    /// SHA-256 of the leaf's public key.
    pub spki: Digest,
    /// When the leaf's validity ends.
    pub not_after: Timestamp,
    /// The revocation lists that the chain was judged by.
    pub crls: Vec<Digest>,
}

/// A covenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCovenant {
    /// Its serial.
    pub serial: u64,
    /// Its item digest.
    pub digest: Digest,
    /// From when it rules.
    pub valid_from: Timestamp,
    /// Until when it rules, at most.
    pub valid_until: Timestamp,
}

/// A revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCrl {
    /// SHA-256 of the issuer's name.
    pub issuer: Digest,
    /// The list's number.
    pub number: CrlNumber,
    /// When it was made.
    pub this_update: Timestamp,
    /// When the next is due.
    pub next_update: Timestamp,
    /// SHA-256 of the list.
    pub sha256: Digest,
}
