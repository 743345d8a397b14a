//! The seals of a signal: opened with the one key that it names, and no other.
//!
//! In comes a signal with what was delivered beside it; out goes its content, which is what the header commits to, or why
//! it cannot be read and what that makes the answer. What the content means is for whoever reads it.

use seinpost_protocol::digest::Digest;
use seinpost_protocol::signal::Signal;
use seinpost_protocol::wire;

use super::{Mailbox, SignalContent};
use crate::error::Result;
use crate::seal::{self, CannotOpen, Delivered, PrivateKey, SUITE};

impl Mailbox {
    /// Opens a delivery with the own key that its signal names.
    pub(super) fn open(
        &self,
        signal: &Signal,
        position: usize,
        delivery: &wire::Delivery,
    ) -> Result<std::result::Result<seal::Opened, CannotRead>> {
        let statement = &signal.sealed.keys[position].key_statement_digest;
        let keys = &self.client.inner.sealing_keys;
        let key = keys.private_key(statement)?;
        if key.is_none() && keys.knows(statement) {
            return Ok(Err(CannotRead::KeyGone));
        }
        Ok(open_signal(
            signal,
            position,
            &delivery.sealed_content,
            &delivery.wrapped_key,
            key.as_ref().map(|key| (statement, key)),
        ))
    }
}

/// Opens a signal for the recipient at a place of its header; `own` is the one of one's own statements whose digest the
/// item names, with its private key.
///
/// # Errors
/// [`CannotRead::KeyNotMine`] where the item names another statement, before anything is tried.
pub fn open_signal(
    signal: &Signal,
    position: usize,
    sealed_content: &[u8],
    wrapped_key: &[u8],
    own: Option<(&Digest, &PrivateKey)>,
) -> std::result::Result<seal::Opened, CannotRead> {
    let named = signal.sealed.keys.get(position).ok_or(CannotRead::KeyNotMine)?;
    let (_, key) =
        own.filter(|(statement, _)| **statement == named.key_statement_digest).ok_or(CannotRead::KeyNotMine)?;
    let delivered = Delivered {
        header: &signal.header_bytes,
        content_commitment: &signal.header.content_commitment,
        size_class: signal.header.size_class,
        suite: SUITE,
        content_sha256: &signal.sealed.content_sha256,
        key_statement: &named.key_statement_digest,
        wrapped_sha256: &named.wrapped_sha256,
        sealed_content,
        wrapped: wrapped_key,
    };
    seal::open(&delivered, key).map_err(CannotRead::Open)
}

/// Why a signal cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotRead {
    /// It is sealed to a statement that was not made here: somebody may have published a key in one's name.
    #[error(
        "it is sealed to a key statement that was not made here; if no other system of this organisation made it, somebody else published a key in its name"
    )]
    KeyNotMine,
    /// It is sealed to one's own statement, whose private key is deleted or lost.
    #[error("the private key of the key statement that it is sealed to is deleted or lost")]
    KeyGone,
    /// The seals do not open.
    #[error(transparent)]
    Open(CannotOpen),
}

impl CannotRead {
    /// Returns the reason in UPPER_SNAKE.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::KeyNotMine => "KEY_NOT_MINE",
            Self::KeyGone => "KEY_GONE",
            Self::Open(cannot) => cannot.reason(),
        }
    }

    /// Returns what to answer to the sender; none where the sender is not at fault.
    #[must_use]
    pub fn answer(self) -> Option<wire::AnswerCode> {
        match self {
            Self::KeyNotMine | Self::KeyGone => Some(wire::AnswerCode::UnreadableKey),
            Self::Open(cannot) => match cannot {
                CannotOpen::HubFault | CannotOpen::Suite(_) => None,
                CannotOpen::UnreadableKey | CannotOpen::WrappedLength => Some(wire::AnswerCode::UnreadableKey),
                CannotOpen::SizeClass
                | CannotOpen::ContentUnreadable
                | CannotOpen::CommitmentMismatch
                | CannotOpen::Padding => Some(wire::AnswerCode::CommitmentMismatch),
            },
        }
    }
}

impl From<CannotRead> for SignalContent {
    fn from(cannot: CannotRead) -> Self {
        Self::Unreadable { reason: cannot.reason(), what: cannot.to_string(), answer: cannot.answer() }
    }
}
