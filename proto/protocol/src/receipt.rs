//! Receipts: a record of the log with its proof, checkable offline and years later.
//!
//! In comes what the hub answered, with the pin that went out with the request; out goes a receipt whose record, place
//! and tree are proven, and the pin to keep. A receipt that proves something, but not what one asked for, is refused by
//! [`VerifiedReceipt::expect`]. What a receipt does *not* prove is that the log showed everybody the same tree: that is
//! what pins, peers' checkpoints and witnesses are for. Nothing here believes the hub.

use bytes::Bytes;

use crate::checkpoint::{self, Checkpoint, LogKey, Pin, Unlinked};
use crate::digest::Digest;
use crate::record::{self, BadRecord};
use crate::tree::{self, BadProof};
use crate::wire;
use crate::wire::record::Event;

/// The longest `erased_by`: it names a rule of retention.
const ERASED_BY_CHARACTERS_MAX: usize = 64;

/// A receipt that holds: this commitment stands at this index of a tree that extends the pin.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedReceipt {
    /// The record's place in the log.
    pub index: u64,
    /// What stands there.
    pub commitment: Digest,
    /// What the commitment opens to; `None` after erasure.
    pub record: Option<wire::Record>,
    /// The tree in which it was proven.
    pub checkpoint: Checkpoint,
    /// The pin to keep: the larger of the one that was given and the checkpoint.
    pub pin_after: Pin,
}

/// Checks a receipt against the log's keys and the pin that went out with the request, never a newer one.
///
/// `consistency` is the one proof between the pin's size and the checkpoint's, whichever is larger: without it a hub
/// could cut a receipt from a private tree.
pub fn verify(
    receipt: &wire::Receipt,
    origin: &str,
    keys: &[LogKey],
    pin: &Pin,
    consistency: &[Bytes],
) -> Result<VerifiedReceipt, BadReceipt> {
    let (index, commitment, record) = open(receipt)?;
    let checkpoint = checkpoint::open(&receipt.checkpoint, origin, keys).map_err(Unlinked::Note)?;
    let proof = tree::proof_from_wire(&receipt.proof)?;
    tree::verify_inclusion(&tree::leaf_hash(&commitment), index, checkpoint.size, &proof, &checkpoint.root)?;
    let pin_after = checkpoint::link(pin, &checkpoint, consistency).map_err(Unlinked::Fork)?;
    Ok(VerifiedReceipt { index, commitment, record, checkpoint, pin_after })
}

/// Checks what a receipt says by itself: that salt and record make its commitment, and that the record names its index.
///
/// No signature and no proof is looked at; what is returned is a claim.
pub fn open(receipt: &wire::Receipt) -> Result<(u64, Digest, Option<wire::Record>), BadReceipt> {
    let commitment = Digest::try_from(&receipt.commitment).map_err(|_| BadReceipt::Form("commitment"))?;
    let erased = !receipt.erased_by.is_empty();
    if (receipt.record.is_empty(), receipt.salt.is_empty()) != (erased, erased) {
        return Err(BadReceipt::ErasedOrNot);
    }
    if erased {
        let short = receipt.erased_by.chars().count() <= ERASED_BY_CHARACTERS_MAX;
        return if short { Ok((receipt.index, commitment, None)) } else { Err(BadReceipt::Form("erased_by")) };
    }
    let record = record::open(receipt.record.clone(), &receipt.salt, &commitment)?;
    if record.index != receipt.index {
        return Err(BadReceipt::Index);
    }
    Ok((receipt.index, commitment, Some(record)))
}

impl VerifiedReceipt {
    /// Checks that the receipt is of the record that one asked for, and returns that record.
    ///
    /// `item_digest` is given where one knows the item; records of certificates, covenants and the like name none.
    pub fn expect(
        &self,
        audience: &wire::Audience,
        event: EventKind,
        item_digest: Option<&Digest>,
    ) -> Result<&wire::Record, BadReceipt> {
        let record = self.record.as_ref().ok_or(BadReceipt::Erased)?;
        if record.audience.as_ref() != Some(audience) {
            return Err(BadReceipt::Audience);
        }
        let found = record.event.as_ref().expect("a decoded record has an event");
        if EventKind::of(found) != event {
            return Err(BadReceipt::Event);
        }
        match item_digest {
            Some(digest) if item_digest_of(found).map(AsRef::as_ref) != Some(digest.as_ref()) => {
                Err(BadReceipt::ItemDigest)
            }
            _ => Ok(record),
        }
    }
}

/// Returns the digest of the item that an event is about, if it is about one.
#[must_use]
pub fn item_digest_of(event: &Event) -> Option<&Bytes> {
    match event {
        Event::SubmissionAcceptance(acceptance) => Some(&acceptance.item_digest),
        Event::ContentConsignment(consignment) => Some(&consignment.item_digest),
        Event::ContentHandover(handover) => Some(&handover.item_digest),
        Event::Expiry(expiry) => Some(&expiry.item_digest),
        Event::SubmissionRejection(_)
        | Event::CertificatePublished(_)
        | Event::CovenantAdopted(_)
        | Event::CrlAdopted(_)
        | Event::GatewayStarted(_)
        | Event::Access(_)
        | Event::ClockConfirmed(_) => None,
    }
}

/// What a record tells of, without what it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// The hub took an item.
    SubmissionAcceptance,
    /// The hub put an item into an addressee's mailbox.
    ContentConsignment,
    /// The hub gave an item to the addressee's transport.
    ContentHandover,
    /// No answer came in time.
    Expiry,
    /// The hub refused a participant's item.
    SubmissionRejection,
    /// A signing certificate became known.
    CertificatePublished,
    /// The hub adopted a covenant.
    CovenantAdopted,
    /// The hub adopted a revocation list.
    CrlAdopted,
    /// A gateway began to serve.
    GatewayStarted,
    /// Oversight looked.
    Access,
    /// An operator confirmed the clock.
    ClockConfirmed,
}

impl EventKind {
    /// Returns what an event is.
    #[must_use]
    pub const fn of(event: &Event) -> Self {
        match event {
            Event::SubmissionAcceptance(_) => Self::SubmissionAcceptance,
            Event::ContentConsignment(_) => Self::ContentConsignment,
            Event::ContentHandover(_) => Self::ContentHandover,
            Event::Expiry(_) => Self::Expiry,
            Event::SubmissionRejection(_) => Self::SubmissionRejection,
            Event::CertificatePublished(_) => Self::CertificatePublished,
            Event::CovenantAdopted(_) => Self::CovenantAdopted,
            Event::CrlAdopted(_) => Self::CrlAdopted,
            Event::GatewayStarted(_) => Self::GatewayStarted,
            Event::Access(_) => Self::Access,
            Event::ClockConfirmed(_) => Self::ClockConfirmed,
        }
    }

    /// Returns the name as EN 319 522-1 or FORMAT.md has it, such as `CONTENT_CONSIGNMENT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SubmissionAcceptance => "SUBMISSION_ACCEPTANCE",
            Self::ContentConsignment => "CONTENT_CONSIGNMENT",
            Self::ContentHandover => "CONTENT_HANDOVER",
            Self::Expiry => "EXPIRY",
            Self::SubmissionRejection => "SUBMISSION_REJECTION",
            Self::CertificatePublished => "CERTIFICATE_PUBLISHED",
            Self::CovenantAdopted => "COVENANT_ADOPTED",
            Self::CrlAdopted => "CRL_ADOPTED",
            Self::GatewayStarted => "GATEWAY_STARTED",
            Self::Access => "ACCESS",
            Self::ClockConfirmed => "CLOCK_CONFIRMED",
        }
    }
}

/// A receipt does not prove what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReceipt {
    /// A field has a length that it cannot have.
    #[error("the receipt's {0} has an impossible length")]
    Form(&'static str),
    /// Record and salt belong together, and `erased_by` stands where they do not.
    #[error("a receipt holds record and salt, or says by which rule they were erased")]
    ErasedOrNot,
    /// Salt and record are not what was committed to, or the record is none.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// The record stands at another place than the receipt says.
    #[error("the record names another index than the receipt")]
    Index,
    /// The commitment is not shown to stand at the index.
    #[error("not shown to be in the log: {0}")]
    Proof(#[from] BadProof),
    /// The checkpoint is not the log's, or not of the pinned history.
    #[error(transparent)]
    Unlinked(#[from] Unlinked),
    /// The record was erased, so nobody can say what it was.
    #[error("the record was erased by rule; only its commitment is proven")]
    Erased,
    /// The record is for somebody else.
    #[error("the record is for another audience")]
    Audience,
    /// The record tells of something else.
    #[error("the record tells of another event")]
    Event,
    /// The record is about another item.
    #[error("the record is about another item")]
    ItemDigest,
}

impl BadReceipt {
    /// Returns the reason as it is written in reports.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Form(_) => "LENGTH",
            Self::ErasedOrNot => "ERASED_OR_NOT",
            Self::Record(record) => record.reason(),
            Self::Index => "INDEX",
            Self::Proof(proof) => proof.reason(),
            Self::Unlinked(unlinked) => unlinked.reason(),
            Self::Erased => "ERASED",
            Self::Audience => "AUDIENCE",
            Self::Event => "EVENT",
            Self::ItemDigest => "ITEM_DIGEST",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what failed by failing")]

    use super::*;

    /// A receipt of an erased record, whose checkpoint and proof nobody asks.
    fn erased() -> wire::Receipt {
        wire::Receipt {
            index: 4,
            commitment: vec![5; 32].into(),
            erased_by: "TRAFFIC_6_MONTHS".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn record_and_salt_are_here_or_a_rule_erased_them() {
        let judged = |change: fn(&mut wire::Receipt)| {
            let mut receipt = erased();
            change(&mut receipt);
            open(&receipt).map(|(index, _, record)| (index, record))
        };
        assert_eq!(judged(|_| {}), Ok((4, None)));
        assert_eq!(judged(|receipt| receipt.erased_by.clear()), Err(BadReceipt::ErasedOrNot));
        assert_eq!(judged(|receipt| receipt.salt = vec![1; 32].into()), Err(BadReceipt::ErasedOrNot));
        assert_eq!(judged(|receipt| receipt.record = vec![1].into()), Err(BadReceipt::ErasedOrNot));
        assert_eq!(judged(|receipt| receipt.commitment = vec![5; 31].into()), Err(BadReceipt::Form("commitment")));
        assert_eq!(judged(|receipt| receipt.erased_by = "x".repeat(65)), Err(BadReceipt::Form("erased_by")));
    }

    #[test]
    fn an_erased_record_is_nobodys_proof_of_what_it_was() {
        let checkpoint = Checkpoint { origin: "log".to_owned(), size: 5, root: tree::EMPTY_ROOT };
        let (index, commitment, record) = open(&erased()).unwrap();
        let pin_after = checkpoint.pin();
        let receipt = VerifiedReceipt { index, commitment, record, checkpoint, pin_after };
        let all = wire::Audience { of: Some(wire::audience::Of::Group(wire::Group::All.into())) };
        assert_eq!(receipt.expect(&all, EventKind::GatewayStarted, None), Err(BadReceipt::Erased));
    }
}
