//! Items: what an agency signs (DSSE), and who signed it.
//!
//! In comes an envelope; out comes an [`Item`] whose payload is canonical and right by itself, and from that, with the
//! signer's certificate, a [`VerifiedItem`]. An item is named everywhere by the digest of what is signed. Whether the
//! signer may say what it says is for the covenant, whether it said so before is for the log: nothing here knows either.
//! Covenants and mailbox heads are items too, signed with bare keys; their rooms use the envelope's rules from here.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use uuid::{Uuid, Variant};

use crate::address::{Address, NotAnAddress};
use crate::answer::Answer;
use crate::canonical::{self, Malformed};
use crate::certificate::{BadCertificate, SigningCertificate};
use crate::checkpoint::Seen;
use crate::digest::Digest;
use crate::key_statement::KeyStatement;
use crate::note::BadNote;
use crate::signal::Signal;
use crate::signature::BadSignature;
use crate::time::Timestamp;
use crate::wire;

/// Most bytes of an agency's payload: a header of 16 KiB and eight references to wrapped keys, with room to spare. The
/// bound stands before decoding, because a decoded message takes many times its bytes.
pub const PAYLOAD_BYTES_MAX: usize = 20 * 1024;
/// Most bytes of a signature's `keyid`: the hexadecimal SHA-256 of a key, with room. Nobody looks at it and nothing signs
/// it, but it is kept and handed on with the item, so that without a bound it would be room for anything.
pub const KEYID_BYTES_MAX: usize = 128;
/// How far an item's id may lie from the time at which it was signed: a day lets a draft wait overnight.
pub const ITEM_ID_SLACK: Duration = Duration::from_secs(24 * 60 * 60);

/// An agency's item, right by itself, and not yet verified.
#[derive(Debug, Clone)]
pub struct Item {
    wire: wire::SignedItem,
    item_type: ItemType,
    digest: Digest,
    payload: Payload,
}

/// What an agency can sign.
#[allow(clippy::large_enum_variant, reason = "the signal, which is the largest, is also what comes most")]
#[derive(Debug, Clone)]
pub enum Payload {
    /// A signal: something to tell.
    Signal(Signal),
    /// An answer to a signal that was delivered.
    Answer(Answer),
    /// A statement on the key to which signals for the signer are sealed.
    KeyStatement(KeyStatement),
}

impl Item {
    /// Reads an agency's item: one signature, a type that agencies sign, a payload that is canonical and right by
    /// itself, and written for this log.
    ///
    /// # Errors
    /// Tells the first rule that is broken.
    pub fn parse(wire: wire::SignedItem, log_origin: &str) -> Result<Self, BadItem> {
        let item_type = ItemType::of(&wire)?;
        if wire.signatures.len() != 1 {
            return Err(BadItem::SignatureCount);
        }
        if wire.signatures[0].keyid.len() > KEYID_BYTES_MAX {
            return Err(Malformed::at("signatures.keyid", canonical::Reason::TooLarge).into());
        }
        if wire.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(BadItem::PayloadTooLarge);
        }
        let payload = match item_type {
            ItemType::Signal => Payload::Signal(Signal::parse(wire.payload.clone())?),
            ItemType::Answer => Payload::Answer(Answer::parse(wire.payload.clone())?),
            ItemType::KeyStatement => Payload::KeyStatement(KeyStatement::parse(wire.payload.clone())?),
            ItemType::Covenant | ItemType::MailboxHead => return Err(BadItem::PayloadType),
        };
        let item = Self { digest: digest_of(&wire.payload_type, &wire.payload), wire, item_type, payload };
        if item.signer().log_origin != log_origin {
            return Err(BadItem::LogOrigin);
        }
        Ok(item)
    }

    /// Checks that the item was signed by the certificate's key, that the certificate is the one it names, the signer's
    /// own, and one for signing; `bound` says that the covenant binds this key for signing. Whether anybody vouches for
    /// the certificate, and its dates, are asked of the certificate's chain.
    ///
    /// # Errors
    /// Tells the first rule that is broken.
    pub fn verify(self, certificate: &SigningCertificate, bound: bool) -> Result<VerifiedItem, BadItem> {
        let signer = self.signer();
        if certificate.sha256() != signer.certificate_sha256 {
            return Err(BadItem::CertificateDigest);
        }
        if certificate.oin() != signer.address.oin {
            return Err(BadItem::Certificate(BadCertificate::Oin));
        }
        certificate.check_usage(bound)?;
        let [signature] = self.wire.signatures.as_slice() else {
            unreachable!("an item has exactly one signature, as `parse` found");
        };
        certificate.key().verify(&pae(&self.wire.payload_type, &self.wire.payload), &signature.sig)?;
        Ok(VerifiedItem(self))
    }

    /// Returns the digest that names the item.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the type.
    #[must_use]
    pub const fn item_type(&self) -> ItemType {
        self.item_type
    }

    /// Returns the envelope as it came.
    #[must_use]
    pub const fn wire(&self) -> &wire::SignedItem {
        &self.wire
    }

    /// Returns what was signed.
    #[must_use]
    pub const fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Returns who says to have signed it.
    #[must_use]
    pub const fn signer(&self) -> &Signer {
        match &self.payload {
            Payload::Signal(signal) => &signal.header.signer,
            Payload::Answer(answer) => &answer.signer,
            Payload::KeyStatement(statement) => &statement.signer,
        }
    }
}

/// An item that was signed with the key of the certificate that it names.
#[derive(Debug, Clone)]
pub struct VerifiedItem(Item);

impl VerifiedItem {
    /// Returns the item without the proof.
    #[must_use]
    pub fn into_item(self) -> Item {
        self.0
    }
}

impl Deref for VerifiedItem {
    type Target = Item;

    fn deref(&self) -> &Item {
        &self.0
    }
}

/// Decodes an envelope from its bytes. Its fields may be written in any way, since they are not hashed as a whole, but
/// there must be none that is not known: whoever adds one later may mean something by it.
///
/// # Errors
/// Tells whether the bytes do not decode, or which field is not known.
pub fn decode_envelope(bytes: Bytes) -> Result<wire::SignedItem, BadItem> {
    Ok(canonical::decode_envelope("seinpost.v1.SignedItem", bytes)?)
}

/// Returns the bytes that are signed (DSSE's pre-authentication encoding): lengths go before, so that no two pairs of
/// type and payload give the same bytes.
///
/// ```
/// // DSSE's own example.
/// let signed = seinpost_protocol::item::pae("http://example.com/HelloWorld", b"hello world");
/// assert_eq!(signed, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
/// ```
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    [pae_head(payload_type, payload).as_bytes(), payload].concat()
}

/// Returns the digest that names an item: of the bytes that are signed, whoever signs them.
#[must_use]
pub fn digest_of(payload_type: &str, payload: &[u8]) -> Digest {
    Digest::of_parts(&[pae_head(payload_type, payload).as_bytes(), payload])
}

fn pae_head(payload_type: &str, payload: &[u8]) -> String {
    format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len())
}

/// The types of item. Who may sign which is decided by the room that reads it: [`Item`] for agencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemType {
    /// The agreement of all participants; signed by registrars.
    Covenant,
    /// On an address's sealing key; signed by an agency.
    KeyStatement,
    /// Something to tell; signed by an agency.
    Signal,
    /// What became of a signal; signed by an agency.
    Answer,
    /// What stands in a mailbox; signed by the log.
    MailboxHead,
}

impl ItemType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Covenant, Self::KeyStatement, Self::Signal, Self::Answer, Self::MailboxHead];

    /// Returns the type that an envelope names.
    ///
    /// # Errors
    /// [`BadItem::PayloadType`] where it is none of them, letter by letter.
    pub fn of(item: &wire::SignedItem) -> Result<Self, BadItem> {
        let mut known = Self::ALL.into_iter();
        known.find(|known| known.payload_type() == item.payload_type).ok_or(BadItem::PayloadType)
    }

    /// Returns the name that is signed with the payload.
    #[must_use]
    pub const fn payload_type(self) -> &'static str {
        match self {
            Self::Covenant => "application/vnd.seinpost.covenant.v1+protobuf",
            Self::KeyStatement => "application/vnd.seinpost.key-statement.v1+protobuf",
            Self::Signal => "application/vnd.seinpost.signal.v1+protobuf",
            Self::Answer => "application/vnd.seinpost.answer.v1+protobuf",
            Self::MailboxHead => "application/vnd.seinpost.mailbox-head.v1+protobuf",
        }
    }
}

/// The first field of everything that an agency signs: who, when, to which log, and what it had seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The log for which this was signed, so that nothing can be replayed from test to production.
    pub log_origin: String,
    /// The item's id, the signer's own; a second submission under it is the first one repeated.
    pub item_id: ItemId,
    /// In whose name.
    pub address: Address,
    /// Digest of the certificate whose key signed, which stops substitution of another certificate with that key.
    pub certificate_sha256: Digest,
    /// When, by the signer's own clock.
    pub signed_at: Timestamp,
    /// The checkpoint that the signer last verified; its signature is not yet verified.
    pub seen: Seen,
    /// The covenant that the signer read.
    pub covenant_digest: Digest,
    /// The signer's own newest key statement, 0 for none: nobody seals to an older one after reading this.
    pub key_serial: u64,
}

impl Signer {
    /// Reads the signer of a message whose fields were checked one by one.
    pub(crate) fn parse(signer: Option<&wire::Signer>) -> Result<Self, BadItem> {
        let signer = signer.expect("a checked message has its signer");
        if signer.on_behalf_of.is_some() || !signer.mandate_digest.is_empty() {
            return Err(BadItem::MandateUnknown);
        }
        let item_id = ItemId::try_from(signer.item_id.as_str()).map_err(|_| BadItem::ItemId)?;
        let address = signer.address.as_ref().expect("a checked signer has its address");
        let address = Address::try_from(address).map_err(|fault| match fault {
            NotAnAddress::Oin(_) => BadItem::Oin,
            NotAnAddress::Function => unreachable!("a checked address has a function"),
        })?;
        let signed_at = time(signer.signed_at.as_ref());
        if !item_id.is_near(signed_at) {
            return Err(BadItem::ItemIdTime);
        }
        Ok(Self {
            log_origin: signer.log_origin.clone(),
            item_id,
            address,
            certificate_sha256: digest(&signer.certificate_sha256),
            signed_at,
            seen: Seen::parse(signer.seen_checkpoint.clone())?,
            covenant_digest: digest(&signer.covenant_digest),
            key_serial: signer.key_serial,
        })
    }
}

/// Reads a time that must be there, of a message whose fields were checked one by one.
pub(crate) fn time(time: Option<&prost_types::Timestamp>) -> Timestamp {
    let time = time.expect("a checked message has its times");
    Timestamp::try_from(time).expect("a checked time lies within 2020–2100")
}

/// Reads a digest that must be there, of a message whose fields were checked one by one.
pub(crate) fn digest(bytes: &Bytes) -> Digest {
    Digest::try_from(bytes).expect("a checked digest has 32 bytes")
}

/// Reads a digest that may be absent, of a message whose fields were checked one by one.
pub(crate) fn digest_if_any(bytes: &Bytes) -> Option<Digest> {
    if bytes.is_empty() { None } else { Some(digest(bytes)) }
}

/// An item's id: a UUID of version 7, which begins with the time at which it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId([u8; 16]);

impl ItemId {
    /// Makes an id from a time and ten random bytes, of which six bits give way to version and variant.
    #[must_use]
    pub fn new(time: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(time.millis()).expect("times begin in 2020");
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().into_bytes())
    }

    /// Returns the 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Takes 16 bytes that were an id before, as a state that was saved holds them.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let uuid = Uuid::from_bytes(bytes);
        (uuid.get_version_num() == 7 && uuid.get_variant() == Variant::RFC4122).then_some(Self(bytes))
    }

    /// Returns the time at which the id was made, by its maker's clock, moved into 2020–2100.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        Timestamp::clamped(self.millis())
    }

    fn millis(&self) -> i64 {
        let [a, b, c, d, e, f, ..] = self.0;
        i64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    fn is_near(&self, signed_at: Timestamp) -> bool {
        u128::from(self.millis().abs_diff(signed_at.millis())) <= ITEM_ID_SLACK.as_millis()
    }
}

impl TryFrom<&str> for ItemId {
    type Error = NotAnItemId;

    /// Takes the canonical text alone: lower case, with hyphens.
    fn try_from(text: &str) -> Result<Self, NotAnItemId> {
        let id = Uuid::try_parse(text).ok().and_then(|uuid| Self::from_bytes(uuid.into_bytes())).ok_or(NotAnItemId)?;
        let mut buffer = Uuid::encode_buffer();
        if Uuid::from_bytes(id.0).hyphenated().encode_lower(&mut buffer) == text { Ok(id) } else { Err(NotAnItemId) }
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(Uuid::from_bytes(self.0).as_hyphenated(), f)
    }
}

impl fmt::Debug for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An item's id is a UUID of version 7 in lower-case canonical text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is a UUID of version 7 in lower-case canonical text")]
pub struct NotAnItemId;

/// An item that is not right by itself, does not verify, or does not fit what travels beside it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadItem {
    /// Bytes that are not in the one form of their message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The type is not known, or is not an agency's to sign.
    #[error("the payload's type is not one that an agency signs")]
    PayloadType,
    /// The payload has more bytes than any that an agency has to sign.
    #[error("a payload has at most 20 KiB")]
    PayloadTooLarge,
    /// There is no signature, or more than one.
    #[error("an agency's item has exactly one signature")]
    SignatureCount,
    /// The item was signed for another log.
    #[error("the item was signed for another log")]
    LogOrigin,
    /// The id is no UUID of version 7 in lower-case canonical text.
    #[error("{NotAnItemId}")]
    ItemId,
    /// The id was made more than a day before or after the item was signed.
    #[error("the item's id must be made within 24 hours of signed_at")]
    ItemIdTime,
    /// The signer's or a recipient's OIN is none.
    #[error("an OIN has exactly 20 digits or capital letters")]
    Oin,
    /// The signer speaks for another; mandates do not exist yet.
    #[error("mandates do not exist yet: leave on_behalf_of and mandate_digest out")]
    MandateUnknown,
    /// The checkpoint that the signer carries is none.
    #[error(transparent)]
    Seen(#[from] BadNote),
    /// The certificate is not the one that the item names.
    #[error("the item names another certificate")]
    CertificateDigest,
    /// The certificate is not the signer's, or is none for signing items.
    #[error(transparent)]
    Certificate(#[from] BadCertificate),
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] BadSignature),

    /// The header has more than 16 KiB.
    #[error("a header has at most 16 KiB")]
    HeaderTooLarge,
    /// The conversation is not named by an item's id.
    #[error("a conversation is named by the id of the item that opened it")]
    Conversation,
    /// There are no recipients, or more than eight.
    #[error("a signal has 1 to 8 recipients")]
    RecipientCount,
    /// One address stands twice among the recipients.
    #[error("the recipients must be distinct by OIN and function")]
    RecipientTwice,
    /// A reference has other characters than it may, or too many.
    #[error("a basis_reference has 1 to 32 of the characters A-Z 0-9 . / -")]
    BasisReference,
    /// A reference holds what may be a citizen service number.
    #[error("a basis_reference must not hold nine digits that pass the eleven-test")]
    BasisReferenceBsn,
    /// A municipality is not named by its four digits.
    #[error("a municipality is named by four digits")]
    Municipality,
    /// The handling is no set.
    #[error("handling must be strictly ascending")]
    Handling,
    /// The signal expires too soon or too late.
    #[error("a signal expires 1 hour to 30 days after signed_at")]
    Expires,
    /// It is sealed, or is to be sealed to, by a suite that does not exist.
    #[error("suite 1 is the only one")]
    Suite,
    /// There is not one wrapped key named for each recipient.
    #[error("there must be one wrapped key for each recipient, in their order")]
    KeyCount,
    /// The wrapped keys beside the item are not as many as it names.
    #[error("the wrapped keys beside the item are not as many as it names")]
    WrappedCount,
    /// The sealed content has not the length of its size class.
    #[error("the sealed content must have exactly the length of its size class")]
    SizeClass,
    /// The sealed content is not the one that was signed.
    #[error("the sealed content is not the one that was signed")]
    ContentSha256,
    /// A wrapped key has not the length that its suite gives it.
    #[error("a wrapped key has 1,168 bytes")]
    WrappedLength,
    /// A wrapped key is not the one that was signed.
    #[error("a wrapped key is not the one that was signed")]
    WrappedSha256,

    /// A statement's serial is not the next one, or the signer's key_serial not the one before.
    #[error("a key statement's serial is one more than the last, and its key_serial the last")]
    KeySerial,
    /// A statement does not name the one before it, or the first names one.
    #[error("a key statement names the digest of the one before it, and the first names none")]
    KeyPrevious,
    /// A statement's serial lies below what the covenant says counts.
    #[error("the covenant says that key statements of so low a serial do not count")]
    KeyBelowFloor,
    /// A statement's windows are missing, out of order or too long; or a withdrawal has some.
    #[error("seal_from < seal_until <= open_until, at most 90 days ahead and 30 more; a withdrawal has none")]
    KeyWindows,
    /// The public key is none of ML-KEM-768.
    #[error("the encapsulation key is not well-formed")]
    EncapsulationKey,
    /// A signal was signed or expires outside of the windows of a statement to which it is sealed.
    #[error("signed_at must lie from seal_from to seal_until, and expires must not be after open_until")]
    KeyWindow,
    /// A signal is sealed to a statement that withdraws.
    #[error("the key was withdrawn")]
    KeyWithdrawn,

    /// A better function is named where it has no place, or is missing.
    #[error("better_function belongs to WRONG_RECIPIENT and to no other code")]
    BetterFunction,
    /// An earlier item is named where it has no place, or is missing.
    #[error("duplicate_of belongs to DUPLICATE_OF and to no other code")]
    DuplicateOf,
}

impl BadItem {
    /// Returns the path of the field at fault, as far as one can be named; else an empty text.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Malformed(fault) => &fault.field,
            Self::PayloadType => "payload_type",
            Self::PayloadTooLarge => "payload",
            Self::SignatureCount | Self::Signature(_) => "signatures",
            Self::LogOrigin => "signer.log_origin",
            Self::ItemId | Self::ItemIdTime => "signer.item_id",
            Self::Oin => "address.oin",
            Self::MandateUnknown => "signer.on_behalf_of",
            Self::Seen(_) => "signer.seen_checkpoint",
            Self::CertificateDigest | Self::Certificate(_) => "signer.certificate_sha256",
            Self::HeaderTooLarge => "header",
            Self::Conversation => "conversation",
            Self::RecipientCount | Self::RecipientTwice => "recipients",
            Self::BasisReference | Self::BasisReferenceBsn => "recipients.basis_reference",
            Self::Municipality => "recipients.municipality",
            Self::Handling => "handling",
            Self::Expires => "expires",
            Self::Suite => "suite",
            Self::KeyCount => "sealed.keys",
            Self::WrappedCount | Self::WrappedLength | Self::WrappedSha256 => "wrapped_keys",
            Self::SizeClass | Self::ContentSha256 => "sealed_content",
            Self::KeySerial | Self::KeyBelowFloor => "serial",
            Self::KeyPrevious => "previous_digest",
            Self::KeyWindows => "seal_until",
            Self::EncapsulationKey => "key.public_key",
            Self::KeyWindow | Self::KeyWithdrawn => "sealed.keys.key_statement_digest",
            Self::BetterFunction => "better_function",
            Self::DuplicateOf => "duplicate_of",
        }
    }

    /// Returns the rule's word, as errors and logs write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(fault) => fault.reason.as_str(),
            Self::PayloadType => "PAYLOAD_TYPE",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::SignatureCount => "SIGNATURE_COUNT",
            Self::LogOrigin => "LOG_ORIGIN",
            Self::ItemId => "ITEM_ID",
            Self::ItemIdTime => "ITEM_ID_TIME",
            Self::Oin => "OIN",
            Self::MandateUnknown => "MANDATE_UNKNOWN",
            Self::Seen(note) => note.reason(),
            Self::CertificateDigest => "CERTIFICATE_DIGEST",
            Self::Certificate(certificate) => certificate.reason(),
            Self::Signature(signature) => signature.reason(),
            Self::HeaderTooLarge => "HEADER_TOO_LARGE",
            Self::Conversation => "CONVERSATION",
            Self::RecipientCount => "RECIPIENT_COUNT",
            Self::RecipientTwice => "RECIPIENT_TWICE",
            Self::BasisReference => "BASIS_REFERENCE",
            Self::BasisReferenceBsn => "BASIS_REFERENCE_BSN",
            Self::Municipality => "MUNICIPALITY",
            Self::Handling => "HANDLING",
            Self::Expires => "EXPIRES",
            Self::Suite => "SUITE",
            Self::KeyCount => "KEY_COUNT",
            Self::WrappedCount => "WRAPPED_COUNT",
            Self::SizeClass => "SIZE_CLASS",
            Self::ContentSha256 => "CONTENT_SHA256",
            Self::WrappedLength => "WRAPPED_LENGTH",
            Self::WrappedSha256 => "WRAPPED_SHA256",
            Self::KeySerial => "KEY_SERIAL",
            Self::KeyPrevious => "KEY_PREVIOUS",
            Self::KeyBelowFloor => "KEY_BELOW_FLOOR",
            Self::KeyWindows => "KEY_WINDOWS",
            Self::EncapsulationKey => "ENCAPSULATION_KEY",
            Self::KeyWindow => "KEY_WINDOW",
            Self::KeyWithdrawn => "KEY_WITHDRAWN",
            Self::BetterFunction => "BETTER_FUNCTION",
            Self::DuplicateOf => "DUPLICATE_OF",
        }
    }
}
