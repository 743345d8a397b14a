//! Answers: what a recipient says became of a signal; one per delivery, and final.
//!
//! In comes a payload, out comes an [`Answer`] that is right by itself. Whether there is such a delivery, and whether
//! it was answered before, is for the log.

use bytes::Bytes;

use crate::canonical;
use crate::digest::Digest;
use crate::item::{BadItem, Signer, digest, digest_if_any};
use crate::wire;

pub use crate::wire::{AnswerCode, Function};

/// A recipient's answer, right by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who answers: the addressee of the delivery.
    pub signer: Signer,
    /// The signal that is answered.
    pub item_digest: Digest,
    /// Commitment of the record by which it was consigned to the signer, so that the answer is to this delivery.
    pub delivery_commitment: Digest,
    /// What became of it.
    pub code: AnswerCode,
    /// Whose task it is; set with [`AnswerCode::WrongRecipient`] and no other code.
    pub better_function: Option<Function>,
    /// The earlier item; set with [`AnswerCode::DuplicateOf`] and no other code.
    pub duplicate_of: Option<Digest>,
}

impl Answer {
    /// Reads the payload of an answer's item.
    ///
    /// # Errors
    /// Tells the first rule that is broken.
    pub fn parse(payload: Bytes) -> Result<Self, BadItem> {
        let answer: wire::Answer = canonical::decode(payload)?;
        let better_function = Some(answer.better_function()).filter(|function| *function != Function::Unspecified);
        let answer = Self {
            signer: Signer::parse(answer.signer.as_ref())?,
            item_digest: digest(&answer.item_digest),
            delivery_commitment: digest(&answer.delivery_commitment),
            code: answer.code(),
            better_function,
            duplicate_of: digest_if_any(&answer.duplicate_of),
        };
        if answer.better_function.is_some() != (answer.code == AnswerCode::WrongRecipient) {
            return Err(BadItem::BetterFunction);
        }
        if answer.duplicate_of.is_some() != (answer.code == AnswerCode::DuplicateOf) {
            return Err(BadItem::DuplicateOf);
        }
        Ok(answer)
    }
}

/// What a delivery becomes by an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// The recipient has it and can read it.
    Answered,
    /// The recipient has it, and the sender must correct or withdraw it.
    AnsweredWithFault,
    /// It did not reach the one who should have it: sender and operator are told.
    Undeliverable,
}

/// Returns what a delivery becomes by an answer with this code.
///
/// # Panics
/// Never for the code of an [`Answer`]: the code that is not specified is in none.
#[must_use]
pub fn code_state(code: AnswerCode) -> DeliveryState {
    match code {
        AnswerCode::Unspecified => unreachable!("an answer has a code"),
        AnswerCode::DeliveredReadable => DeliveryState::Answered,
        AnswerCode::UnreadableKey | AnswerCode::WrongRecipient | AnswerCode::NotCompetent => {
            DeliveryState::Undeliverable
        }
        AnswerCode::ExcessData
        | AnswerCode::ProfileViolation
        | AnswerCode::CommitmentMismatch
        | AnswerCode::DuplicateOf => DeliveryState::AnsweredWithFault,
    }
}
