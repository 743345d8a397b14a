//! Answering a delivery: the recipient's signed word on it, one per delivery and final.
//!
//! In comes which delivery and what to say; out goes the receipt of an item that is consigned to the signal's sender. An
//! answer names the delivery by the commitment of its consignment, which only its recipient and its sender know.

use bytes::Bytes;
use seinpost_protocol::address::Function;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire::{self, AnswerCode};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::outbox::Waiting;
use crate::receive::ReceivedSignal;
use crate::send::Submitted;
use crate::status::Which;

/// Which delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The signal's digest.
    pub item_digest: Digest,
    /// Commitment of the record by which it was consigned to this address.
    pub commitment: Digest,
}

impl From<&ReceivedSignal> for Delivery {
    fn from(signal: &ReceivedSignal) -> Self {
        Self { item_digest: signal.arrived.item.digest(), commitment: signal.arrived.place.commitment }
    }
}

/// What to say of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// Opened; commitment and profile hold.
    Readable,
    /// It cannot be opened; seal anew.
    UnreadableKey,
    /// Another function's task.
    WrongRecipient(Function),
    /// The right task, not its case.
    NotCompetent,
    /// More than the profile allows.
    ExcessData,
    /// Other than the profile allows.
    ProfileViolation,
    /// Not what the header commits to.
    CommitmentMismatch,
    /// The same as an earlier signal of this sender.
    DuplicateOf(Digest),
}

impl Say {
    /// Returns the answer's code.
    #[must_use]
    pub fn code(self) -> AnswerCode {
        match self {
            Self::Readable => AnswerCode::DeliveredReadable,
            Self::UnreadableKey => AnswerCode::UnreadableKey,
            Self::WrongRecipient(_) => AnswerCode::WrongRecipient,
            Self::NotCompetent => AnswerCode::NotCompetent,
            Self::ExcessData => AnswerCode::ExcessData,
            Self::ProfileViolation => AnswerCode::ProfileViolation,
            Self::CommitmentMismatch => AnswerCode::CommitmentMismatch,
            Self::DuplicateOf(_) => AnswerCode::DuplicateOf,
        }
    }
}

impl Client {
    /// Finds a delivery to this address by the signal's digest.
    ///
    /// # Errors
    /// If there is none, or its receipt does not hold.
    pub async fn delivery(&self, item_digest: &Digest) -> Result<Delivery> {
        let shown = self.item(Which::Digest(*item_digest)).await?;
        let commitment = shown.delivery_commitment().ok_or_else(|| {
            Error::NotFound(format!("no signal with digest {item_digest} was delivered to {}", self.address()))
        })?;
        Ok(Delivery { item_digest: *item_digest, commitment })
    }

    /// Answers a delivery.
    ///
    /// # Errors
    /// If it was answered before or is closed, the gateway refuses otherwise, or the receipt does not hold. When the
    /// gateway cannot be reached the answer waits in the outbox.
    pub async fn answer(&self, delivery: Delivery, say: Say) -> Result<Submitted> {
        let covenant = self.refresh_covenant().await?;
        let (id, _, signer) = self.new_signer(covenant.digest()).await?;
        let better_function = match say {
            Say::WrongRecipient(function) => function,
            _ => Function::Unspecified,
        };
        let duplicate_of = match say {
            Say::DuplicateOf(digest) => Bytes::from(digest),
            _ => Bytes::new(),
        };
        let answer = wire::Answer {
            signer: Some(signer),
            item_digest: delivery.item_digest.into(),
            delivery_commitment: delivery.commitment.into(),
            code: say.code().into(),
            better_function: better_function.into(),
            duplicate_of,
        };
        let item = self.sign(ItemType::Answer, &answer)?;
        let waiting = Waiting { id, request: wire::SubmitRequest { item: Some(item), ..Default::default() } };
        self.inner.outbox.put(&waiting)?;
        self.submit(waiting).await
    }
}
