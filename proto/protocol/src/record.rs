//! Records: what the log says happened, each under a commitment that hides it from all but those it concerns.
//!
//! In come records with their salts; out come commitments, records that are right by themselves, and the word that an
//! acceptance, its consignments and an answer belong together. Where a record stands in the tree is for `tree` and
//! `receipt`; what it means for the state is for the core.

use bytes::Bytes;

use crate::address::Address;
use crate::answer::Answer;
use crate::canonical::{self, Malformed, Reason};
use crate::digest::Digest;
use crate::wire;
use crate::wire::record::Event;

/// The format of records that this version reads and writes.
pub const FORMAT: u32 = 1;
/// Most bytes of a record: an acceptance with eight addressees takes less than two KiB.
pub const RECORD_BYTES_MAX: usize = 8 * 1024;

/// Returns the commitment to a record: `H("seinpost.v1/record" || 00 || salt || record)`. The salt keeps anybody from
/// guessing what a leaf of the tree hides.
#[must_use]
pub fn commitment(salt: &[u8; 32], record: &[u8]) -> Digest {
    Digest::of_parts(&[b"seinpost.v1/record\0", salt, record])
}

/// Decodes a record and checks it by itself.
///
/// # Errors
/// Tells the first rule that is broken, and in which field.
pub fn decode(bytes: Bytes) -> Result<wire::Record, Malformed> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(Malformed::new(Reason::TooLarge));
    }
    let record: wire::Record = canonical::decode(bytes)?;
    if record.format != FORMAT {
        return Err(Malformed::at("format", Reason::Format));
    }
    if !record.crl_sha256.is_sorted_by(|earlier, later| earlier < later) {
        return Err(Malformed::at("crl_sha256", Reason::Order));
    }
    if let Some(place) = &record.mailbox {
        check_place(place.number, place.previous_index, &place.previous_commitment)
            .map_err(|fault| fault.within("mailbox"))?;
    }
    if let Some(place) = &record.conversation {
        check_place(place.number, place.previous_index, &place.previous_commitment)
            .map_err(|fault| fault.within("conversation"))?;
    }
    Ok(record)
}

fn check_place(number: u64, previous_index: u64, previous_commitment: &Bytes) -> Result<(), Malformed> {
    let has_previous = !previous_commitment.is_empty();
    if has_previous == (number > 1) && (has_previous || previous_index == 0) {
        Ok(())
    } else {
        Err(Malformed::new(Reason::Place))
    }
}

/// Opens a commitment: the salt has 32 bytes, the commitment is that of the record, and the record is right by itself.
///
/// # Errors
/// Tells the first rule that is broken.
pub fn open(record: Bytes, salt: &[u8], commitment: &Digest) -> Result<wire::Record, BadRecord> {
    let salt = <&[u8; 32]>::try_from(salt).map_err(|_| BadRecord::SaltLength)?;
    if self::commitment(salt, &record) != *commitment {
        return Err(BadRecord::Commitment);
    }
    Ok(decode(record)?)
}

/// Checks that consignments belong to an acceptance: one for each addressee, in their order, standing directly behind
/// it in the log. Returns their indexes.
///
/// # Errors
/// Tells the first rule that is broken.
pub fn acceptance_matches(acceptance: &wire::Record, consignments: &[Revealed]) -> Result<Vec<u64>, BadRecord> {
    let Some(Event::SubmissionAcceptance(accepted)) = &acceptance.event else {
        return Err(BadRecord::Event);
    };
    if consignments.len() != accepted.addressees.len() {
        return Err(BadRecord::ConsignmentCount);
    }
    let mut indexes = Vec::with_capacity(consignments.len());
    let mut next = acceptance.index;
    for (addressee, revealed) in accepted.addressees.iter().zip(consignments) {
        next = next.checked_add(1).ok_or(BadRecord::ConsignmentIndex)?;
        if addressee.index != next {
            return Err(BadRecord::ConsignmentIndex);
        }
        let commitment = Digest::try_from(&addressee.commitment).map_err(|_| BadRecord::Commitment)?;
        let consignment = open(revealed.record.clone(), &revealed.salt, &commitment)?;
        if consignment.index != next {
            return Err(BadRecord::ConsignmentIndex);
        }
        match &consignment.event {
            Some(Event::ContentConsignment(consigned)) if consigned.item_digest == accepted.item_digest => {}
            Some(Event::ContentConsignment(_)) => return Err(BadRecord::ItemDigest),
            Some(_) | None => return Err(BadRecord::Event),
        }
        let audience = consignment.audience.and_then(|audience| audience.of);
        if audience != addressee.to.clone().map(wire::audience::Of::Address) {
            return Err(BadRecord::Audience);
        }
        indexes.push(next);
    }
    Ok(indexes)
}

/// A record with the salt that its commitment hides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revealed {
    /// The record's bytes.
    pub record: Bytes,
    /// Its salt, 32 bytes if it is one.
    pub salt: Bytes,
}

/// Checks that an answer is to the delivery that this acceptance promised to the one who answers.
///
/// # Errors
/// Tells the first rule that is broken.
pub fn answer_matches(acceptance: &wire::Record, answer: &Answer) -> Result<(), BadRecord> {
    let Some(Event::SubmissionAcceptance(accepted)) = &acceptance.event else {
        return Err(BadRecord::Event);
    };
    if accepted.item_digest != answer.item_digest.as_ref() {
        return Err(BadRecord::ItemDigest);
    }
    let is_signer = |address: &wire::Address| Address::try_from(address).is_ok_and(|to| to == answer.signer.address);
    let mut addressees = accepted.addressees.iter();
    let addressee = addressees.find(|addressee| addressee.to.as_ref().is_some_and(is_signer));
    let addressee = addressee.ok_or(BadRecord::NotAddressee)?;
    if addressee.commitment == answer.delivery_commitment.as_ref() { Ok(()) } else { Err(BadRecord::DeliveryMismatch) }
}

/// A record that is not right, or records that do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// The record is not right by itself.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The salt has not 32 bytes.
    #[error("a salt has 32 bytes")]
    SaltLength,
    /// The commitment is another record's, or made with another salt.
    #[error("the commitment is not that of this record with this salt")]
    Commitment,
    /// The record is of another event than is asked for.
    #[error("the record is of another event")]
    Event,
    /// There is not one consignment for each addressee.
    #[error("an acceptance has one consignment for each addressee")]
    ConsignmentCount,
    /// The consignments do not stand directly behind their acceptance, in its order.
    #[error("consignments stand directly behind their acceptance, in its order")]
    ConsignmentIndex,
    /// The record is for another audience.
    #[error("the record is for another audience")]
    Audience,
    /// The record is of another item.
    #[error("the record is of another item")]
    ItemDigest,
    /// The one who answers is not among the addressees.
    #[error("the signal was not addressed to the one who answers")]
    NotAddressee,
    /// The answer names the delivery to another.
    #[error("the answer names another delivery")]
    DeliveryMismatch,
}

impl BadRecord {
    /// Returns the path of the field at fault, where one can be named; else an empty text.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Malformed(fault) => &fault.field,
            Self::SaltLength
            | Self::Commitment
            | Self::Event
            | Self::ConsignmentCount
            | Self::ConsignmentIndex
            | Self::Audience
            | Self::ItemDigest
            | Self::NotAddressee
            | Self::DeliveryMismatch => "",
        }
    }

    /// Returns the rule's word, as errors and logs write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(fault) => fault.reason.as_str(),
            Self::SaltLength => "SALT_LENGTH",
            Self::Commitment => "COMMITMENT",
            Self::Event => "EVENT",
            Self::ConsignmentCount => "CONSIGNMENT_COUNT",
            Self::ConsignmentIndex => "CONSIGNMENT_INDEX",
            Self::Audience => "AUDIENCE",
            Self::ItemDigest => "ITEM_DIGEST",
            Self::NotAddressee => "NOT_ADDRESSEE",
            Self::DeliveryMismatch => "DELIVERY_MISMATCH",
        }
    }
}
