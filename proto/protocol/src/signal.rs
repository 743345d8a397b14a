//! Signals: a header that the hub reads, and content that only sender and recipients can.
//!
//! In come the manifest that was signed and what travels beside it; out comes a [`Signal`] whose header is right by
//! itself and whose sealed parts are those that were signed. What the header asks for, the covenant permits or not; the
//! seals are made and broken by the client alone. This room never sees content.

use std::time::Duration;

use bytes::Bytes;

use crate::address::Address;
use crate::canonical;
use crate::digest::Digest;
use crate::item::{BadItem, ItemId, Signer, digest, digest_if_any, time};
use crate::time::Timestamp;
use crate::wire;

pub use crate::wire::{Handling, Purpose, RetentionClass, SignalType, SizeClass, SourceRegime, Urgency};

/// Most bytes of a header: eight recipients take one, the rest is room for references.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most recipients of a signal: more is a mailing, and each sees the others.
pub const RECIPIENTS_MAX: usize = 8;
/// Most characters of a reference: a number in a register, too short for a story.
pub const BASIS_REFERENCE_CHARS_MAX: usize = 32;
/// A signal lives at least as long as its most urgent answer may take, with a margin.
pub const EXPIRES_AFTER_MIN: Duration = Duration::from_secs(60 * 60);
/// A signal lives at most as long as an item may wait to be submitted, so that ids can be forgotten.
pub const EXPIRES_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The suite by which everything is sealed: HPKE with X-Wing, HKDF-SHA256, AES-256-GCM.
pub const SUITE: u32 = 1;
/// Bytes of a wrapped key in suite 1: an encapsulation of 1,120, a secret of 32, a tag of 16.
pub const WRAPPED_KEY_BYTES: usize = 1_168;

/// A signal, right by itself.
#[derive(Debug, Clone)]
pub struct Signal {
    /// What the hub may know.
    pub header: SignalHeader,
    /// The header as it was signed; its digest goes into all that is sealed.
    pub header_bytes: Bytes,
    /// What the sealed parts beside the item must be.
    pub sealed: Sealed,
}

/// Digests of what travels beside the item, so that nothing can be stripped, added or wrapped anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Digest of the sealed content.
    pub content_sha256: Digest,
    /// One for each recipient, in the header's order.
    pub keys: Vec<WrappedKeyRef>,
}

/// Which key opens for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrappedKeyRef {
    /// The recipient's key statement to whose key the content secret was sealed.
    pub key_statement_digest: Digest,
    /// Digest of the sealed content secret.
    pub wrapped_sha256: Digest,
}

impl Signal {
    /// Reads the payload of a signal's item.
    ///
    /// # Errors
    /// Tells the first rule that is broken.
    pub fn parse(payload: Bytes) -> Result<Self, BadItem> {
        let manifest: wire::SignalManifest = canonical::decode(payload)?;
        let header = SignalHeader::parse(manifest.header.clone())?;
        let sealed = manifest.sealed.expect("a checked manifest has its seals");
        if sealed.suite != SUITE {
            return Err(BadItem::Suite);
        }
        if sealed.keys.len() != header.recipients.len() {
            return Err(BadItem::KeyCount);
        }
        let keys = sealed.keys.iter().map(|key| WrappedKeyRef {
            key_statement_digest: digest(&key.key_statement_digest),
            wrapped_sha256: digest(&key.wrapped_sha256),
        });
        let sealed = Sealed { content_sha256: digest(&sealed.content_sha256), keys: keys.collect() };
        Ok(Self { header, header_bytes: manifest.header, sealed })
    }

    /// Checks that what travels beside the item is what was signed.
    ///
    /// # Errors
    /// Tells the first that is not.
    pub fn check_beside(&self, sealed_content: &[u8], wrapped_keys: &[Bytes]) -> Result<(), BadItem> {
        if wrapped_keys.len() != self.sealed.keys.len() {
            return Err(BadItem::WrappedCount);
        }
        if sealed_content.len() != size_class_bytes(self.header.size_class) {
            return Err(BadItem::SizeClass);
        }
        for (wrapped, signed) in wrapped_keys.iter().zip(&self.sealed.keys) {
            if wrapped.len() != WRAPPED_KEY_BYTES {
                return Err(BadItem::WrappedLength);
            }
            if Digest::of(wrapped) != signed.wrapped_sha256 {
                return Err(BadItem::WrappedSha256);
            }
        }
        // The dearest comes last.
        if Digest::of(sealed_content) != self.sealed.content_sha256 {
            return Err(BadItem::ContentSha256);
        }
        Ok(())
    }
}

/// What the hub may know of a signal, kept boring on purpose: it holds no person and no free text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalHeader {
    /// Who signed it.
    pub signer: Signer,
    /// What kind of signal it is.
    pub signal_type: SignalType,
    /// The conversation to which it belongs: its own id opens one.
    pub conversation: ItemId,
    /// The item to which it replies.
    pub in_reply_to: Option<Digest>,
    /// The item that it replaces.
    pub supersedes: Option<Digest>,
    /// To whom, one to eight, distinct by address.
    pub recipients: Vec<Recipient>,
    /// The law under which the sender holds the data.
    pub source_regime: SourceRegime,
    /// What it is meant for.
    pub purpose: Purpose,
    /// How soon it must be read.
    pub urgency: Urgency,
    /// What the recipient must mind, in ascending order.
    pub handling: Vec<Handling>,
    /// Which fields the content must and may have.
    pub content_profile: ContentProfile,
    /// Commits to the content, so that all recipients hold one text.
    pub content_commitment: Digest,
    /// Until when an answer counts.
    pub expires: Timestamp,
    /// How long the hub keeps the sealed content.
    pub retention_class: RetentionClass,
    /// Length of the sealed content.
    pub size_class: SizeClass,
}

/// One to whom a signal is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Where to.
    pub address: Address,
    /// Code of the legal basis, in the covenant that the signer read.
    pub legal_basis: String,
    /// The sender's own number of the decision, consent or order on which it relies.
    pub basis_reference: Option<String>,
    /// Four digits; where set, the address is the one to which the covenant routes this municipality.
    pub municipality: Option<String>,
}

/// Which content profile of the covenant the content follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentProfile {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Digest of its message as it stands in the covenant.
    pub sha256: Digest,
}

impl SignalHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// Tells the first rule that is broken.
    pub fn parse(bytes: Bytes) -> Result<Self, BadItem> {
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(BadItem::HeaderTooLarge);
        }
        let header: wire::SignalHeader = canonical::decode(bytes)?;
        let signer = Signer::parse(header.signer.as_ref())?;
        let conversation = ItemId::try_from(header.conversation.as_str()).map_err(|_| BadItem::Conversation)?;
        if !(1..=RECIPIENTS_MAX).contains(&header.recipients.len()) {
            return Err(BadItem::RecipientCount);
        }
        let mut recipients: Vec<Recipient> = Vec::with_capacity(header.recipients.len());
        for recipient in &header.recipients {
            let recipient = Recipient::try_from(recipient)?;
            if recipients.iter().any(|other| other.address == recipient.address) {
                return Err(BadItem::RecipientTwice);
            }
            recipients.push(recipient);
        }
        if !header.handling.is_sorted_by(|earlier, later| earlier < later) {
            return Err(BadItem::Handling);
        }
        let expires = time(header.expires.as_ref());
        // Counted in whole numbers: adding to a time stops at the end of 2099.
        let lives = expires.millis() - signer.signed_at.millis();
        let lives = u64::try_from(lives).map_err(|_| BadItem::Expires)?;
        if !(EXPIRES_AFTER_MIN..=EXPIRES_AFTER_MAX).contains(&Duration::from_millis(lives)) {
            return Err(BadItem::Expires);
        }
        let profile = header.content_profile.as_ref().expect("a checked header has its profile");
        Ok(Self {
            signer,
            signal_type: header.r#type(),
            conversation,
            in_reply_to: digest_if_any(&header.in_reply_to),
            supersedes: digest_if_any(&header.supersedes),
            recipients,
            source_regime: header.source_regime(),
            purpose: header.purpose(),
            urgency: header.urgency(),
            handling: header.handling().collect(),
            content_profile: ContentProfile {
                name: profile.name.clone(),
                version: profile.version,
                sha256: digest(&profile.sha256),
            },
            content_commitment: digest(&header.content_commitment),
            expires,
            retention_class: header.retention_class(),
            size_class: header.size_class(),
        })
    }
}

impl TryFrom<&wire::Recipient> for Recipient {
    type Error = BadItem;

    fn try_from(recipient: &wire::Recipient) -> Result<Self, BadItem> {
        let address = recipient.address.as_ref().expect("a checked recipient has its address");
        let text_if_any = |text: &String| if text.is_empty() { None } else { Some(text.clone()) };
        let recipient = Self {
            address: Address::try_from(address).map_err(|_| BadItem::Oin)?,
            legal_basis: recipient.legal_basis.clone(),
            basis_reference: text_if_any(&recipient.basis_reference),
            municipality: text_if_any(&recipient.municipality),
        };
        if let Some(reference) = &recipient.basis_reference {
            check_basis_reference(reference)?;
        }
        if recipient.municipality.as_ref().is_some_and(|municipality| !is_municipality(municipality)) {
            return Err(BadItem::Municipality);
        }
        Ok(recipient)
    }
}

/// Checks that a reference can be a number in a register, and cannot be a person's.
fn check_basis_reference(reference: &str) -> Result<(), BadItem> {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || is_separator(byte);
    if !(1..=BASIS_REFERENCE_CHARS_MAX).contains(&reference.len()) || !reference.bytes().all(allowed) {
        return Err(BadItem::BasisReference);
    }
    // Separators are how people write the number; a letter is what ends it.
    let packed: Vec<u8> = reference.bytes().filter(|byte| !is_separator(*byte)).collect();
    if packed.windows(9).any(passes) { Err(BadItem::BasisReferenceBsn) } else { Ok(()) }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'.' | b'/' | b'-')
}

/// Whether a text is the code of a municipality: four digits, whether or not there is such a municipality.
#[must_use]
pub fn is_municipality(text: &str) -> bool {
    text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is nine digits that pass the eleven-test, as every citizen service number does: nine times the first,
/// eight times the second and so on, but minus the ninth, is a multiple of eleven.
///
/// ```
/// use seinpost_protocol::signal::passes_eleven_test;
/// // A test person of the Dutch register; 9·9 + 8·9 + 7·9 + 6·9 + 5·9 + 4·0 + 3·4 + 2·0 − 8 = 319 = 29·11.
/// assert!(passes_eleven_test("999990408"));
/// assert!(!passes_eleven_test("123456789"));
/// ```
#[must_use]
pub fn passes_eleven_test(text: &str) -> bool {
    text.len() == 9 && passes(text.as_bytes())
}

fn passes(digits: &[u8]) -> bool {
    let weights = [9, 8, 7, 6, 5, 4, 3, 2, -1];
    let sum: i32 =
        digits.iter().zip(weights).map(|(digit, weight)| weight * (i32::from(*digit) - i32::from(b'0'))).sum();
    digits.iter().all(u8::is_ascii_digit) && sum % 11 == 0
}

/// Returns the length of the sealed content of a size class, in bytes.
///
/// # Panics
/// Never for the size class of a [`SignalHeader`]: the class that is not specified is in none.
#[must_use]
pub fn size_class_bytes(class: SizeClass) -> usize {
    match class {
        SizeClass::Unspecified => unreachable!("a header has a size class"),
        SizeClass::Kib4 => 4 * 1024,
        SizeClass::Kib16 => 16 * 1024,
        SizeClass::Kib64 => 64 * 1024,
        SizeClass::Kib256 => 256 * 1024,
        SizeClass::Kib1024 => 1024 * 1024,
    }
}
