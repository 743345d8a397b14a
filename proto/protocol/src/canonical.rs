//! The one way to write a message: bytes are taken only if encoding what they say gives the same bytes again.
//!
//! What is signed or recorded is hashed as it was transmitted, so two encodings of one message would be two messages,
//! and a field that a reader does not know would be signed unread. In come the bytes of a message, out comes the
//! message with all that its type demands of its fields one by one: enums that are known and never 0, a `oneof` with
//! something in it, whole milliseconds within 2020–2100, digests of 32 bytes, and nothing missing. What fields must be
//! to *each other* is for the room of that message; this one knows no rule of the domain.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, Timestamp};

use crate::wire;

/// A message that is signed or recorded, so that it is written in one way only.
pub trait Checked: Message + Default {
    /// Full name in the `.proto` files, such as `seinpost.v1.Answer`.
    const NAME: &'static str;

    /// Checks each field by itself, at every depth; that the bytes were canonical is [`decode`]'s affair.
    ///
    /// # Errors
    /// Names the first field, in the order of their numbers, that is not what its type demands.
    fn check(&self) -> Result<(), Malformed>;
}

/// Decodes a message, encodes it again, compares, and then checks every field by itself.
///
/// The bytes should be bounded before: a decoded message may take some fifty times their room.
///
/// # Errors
/// Tells which rule the bytes break, and in which field.
pub fn decode<M: Checked>(bytes: Bytes) -> Result<M, Malformed> {
    let Ok(message) = M::decode(bytes.clone()) else {
        return Err(explain(M::NAME, &bytes).unwrap_or_else(|| Malformed::new(Reason::Undecodable)));
    };
    if message.encode_to_vec() != bytes {
        return Err(explain(M::NAME, &bytes).unwrap_or_else(|| Malformed::new(Reason::NotCanonical)));
    }
    message.check()?;
    Ok(message)
}

/// Decodes a message of an envelope: fields may stand in any order and be written in any way, but all must be known.
///
/// # Errors
/// Tells whether the bytes do not decode, or which field is not known.
pub fn decode_envelope<M: Message + Default>(name: &'static str, bytes: Bytes) -> Result<M, Malformed> {
    let message = M::decode(bytes.clone());
    match explain(name, &bytes) {
        Some(fault) => Err(fault),
        None => message.map_err(|_| Malformed::new(Reason::Undecodable)),
    }
}

/// Bytes that are no message of their type, or not in the one form in which it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Path of the field at fault, such as `signer.address.function`; an unknown field by its number; empty where it
    /// is the whole message.
    pub field: String,
    /// The rule that is broken.
    pub reason: Reason,
}

impl Malformed {
    pub(crate) fn new(reason: Reason) -> Self {
        Self { field: String::new(), reason }
    }

    pub(crate) fn at(field: &str, reason: Reason) -> Self {
        Self { field: field.to_owned(), reason }
    }

    /// Returns the same fault as seen from the message that holds it in `field`.
    #[must_use]
    pub fn within(mut self, field: &str) -> Self {
        self.field = if self.field.is_empty() { field.to_owned() } else { format!("{field}.{}", self.field) };
        self
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { self.reason.fmt(f) } else { write!(f, "{}: {}", self.field, self.reason) }
    }
}

impl std::error::Error for Malformed {}

/// The rules of the one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The bytes are no protobuf of this type.
    #[error("the bytes do not decode as this message")]
    Undecodable,
    /// There is a field that this version of the type does not have.
    #[error("the field is not known")]
    UnknownField,
    /// The bytes say the same as other, canonical bytes.
    #[error("the message is not written in its canonical form")]
    NotCanonical,
    /// A field that must be there is not.
    #[error("the field is missing")]
    Missing,
    /// Of a choice, nothing is set.
    #[error("exactly one member of the choice must be set")]
    Oneof,
    /// A code that is 0 or not in its list.
    #[error("the code is not set or not known")]
    Enum,
    /// Bytes that must have a certain length have another.
    #[error("the length is wrong")]
    Length,
    /// A time that is not in whole milliseconds.
    #[error("a time must be in whole milliseconds")]
    TimestampNanos,
    /// A time outside of 2020–2100.
    #[error("a time must lie from 2020-01-01 up to 2100-01-01")]
    TimestampRange,
    /// A record of a format that this version does not write.
    #[error("the record's format is not known")]
    Format,
    /// A list that must be ascending is not.
    #[error("the list must be strictly ascending")]
    Order,
    /// Fields of a record that must be there together or not at all.
    #[error("number 1 has no previous place, every other number has one")]
    Place,
    /// More bytes than the message may have.
    #[error("the message is too large")]
    TooLarge,
}

impl Reason {
    /// Returns the rule's word, as errors and logs write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "UNDECODABLE",
            Self::UnknownField => "UNKNOWN_FIELD",
            Self::NotCanonical => "NOT_CANONICAL",
            Self::Missing => "MISSING",
            Self::Oneof => "ONEOF",
            Self::Enum => "ENUM",
            Self::Length => "LENGTH",
            Self::TimestampNanos => "TIMESTAMP_NANOS",
            Self::TimestampRange => "TIMESTAMP_RANGE",
            Self::Format => "FORMAT",
            Self::Order => "ORDER",
            Self::Place => "PLACE",
            Self::TooLarge => "TOO_LARGE",
        }
    }
}

/// Gives every message its checks: per field, in the order of the numbers, the rule that it must keep, and the name of
/// its `oneof`, if it has one. A field that is left out does not compile.
macro_rules! checked {
    ($($message:ident { $($field:ident: $rule:expr),* $(,)? $(; one of $choice:ident)? })*) => {
        $(
            impl Checked for wire::$message {
                const NAME: &'static str = concat!("seinpost.v1.", stringify!($message));

                fn check(&self) -> Result<(), Malformed> {
                    let Self { $($field: _,)* $($choice: _)? } = self;
                    $($rule(&self.$field).map_err(|fault: Malformed| fault.within(name(stringify!($field))))?;)*
                    // A choice has no place in a path; its members have.
                    $(one_of(&self.$choice)?;)?
                    Ok(())
                }
            }
        )*
    };
}

checked! {
    SignedItem { payload: set, payload_type: set, signatures: messages }
    ItemSignature { sig: set, keyid: free }
    Signer {
        log_origin: set,
        item_id: set,
        address: message,
        certificate_sha256: digest,
        signed_at: message,
        seen_checkpoint: set,
        covenant_digest: digest,
        key_serial: free,
        on_behalf_of: message_if_any,
        mandate_digest: digest_if_any,
    }
    Address { oin: set, function: code::<wire::Function> }

    SignalManifest { header: set, sealed: message }
    Sealed { suite: set, content_sha256: digest, keys: messages }
    WrappedKeyRef { key_statement_digest: digest, wrapped_sha256: digest }
    SignalHeader {
        signer: message,
        r#type: code::<wire::SignalType>,
        conversation: set,
        in_reply_to: digest_if_any,
        supersedes: digest_if_any,
        recipients: messages,
        source_regime: code::<wire::SourceRegime>,
        purpose: code::<wire::Purpose>,
        urgency: code::<wire::Urgency>,
        handling: codes::<wire::Handling>,
        content_profile: message,
        content_commitment: digest,
        expires: message,
        retention_class: code::<wire::RetentionClass>,
        size_class: code::<wire::SizeClass>,
    }
    Recipient { address: message, legal_basis: set, basis_reference: free, municipality: free }
    ContentProfile { name: set, version: set, sha256: digest }

    KeyStatement {
        signer: message,
        serial: set,
        previous_digest: digest_if_any,
        seal_from: message_if_any,
        seal_until: message_if_any,
        open_until: message_if_any;
        one of state
    }
    SealingKey { suite: set, public_key: bytes::<1_216> }
    Withdrawn {}

    Answer {
        signer: message,
        item_digest: digest,
        delivery_commitment: digest,
        code: code::<wire::AnswerCode>,
        better_function: code_if_any::<wire::Function>,
        duplicate_of: digest_if_any,
    }

    Covenant {
        log_origin: set,
        serial: set,
        previous_digest: digest_if_any,
        valid_from: message,
        valid_until: message,
        registrars: messages,
        threshold: set,
        transport_roots: messages,
        signing_roots: messages,
        log_keys: messages,
        participants: messages,
        routes: messages,
        rules: messages,
        code_lists: messages,
        profiles: messages,
        clocks: messages,
        seen_checkpoint: free,
        hub_oin: set,
    }
    Registrar { name: set, oin: set, ed25519: bytes::<32> }
    Root { der: set, oins: free }
    LogKey { ed25519: bytes::<32>, until_size: free, until_root: digest_if_any }
    Participant {
        oin: set,
        name: set,
        municipality: free,
        contact: message_if_any,
        functions: messages,
        suspended: free,
    }
    Contact { mailbox: set, phone: set, urgent_phone: free }
    FunctionGrant { function: code::<wire::Function>, keys: messages, unbound: free, key_floor: free, bsn: free }
    BoundKey { spki_sha256: digest, r#use: code::<wire::Use>, valid_from: message, valid_until: message }
    Route {
        function: code::<wire::Function>,
        types: codes::<wire::SignalType>,
        municipalities: free,
        to: message,
        from: set,
        until: free,
    }
    Rule {
        id: set,
        types: codes::<wire::SignalType>,
        from: codes::<wire::Function>,
        to: codes::<wire::Function>,
        legal_basis: set,
        regimes: codes::<wire::SourceRegime>,
        reference: code::<wire::Reference>,
        urgencies: codes::<wire::Urgency>,
        purposes: codes::<wire::Purpose>,
        article: free,
        reason_nl: free,
        reason_en: free,
        source: free,
        profiles: free,
        supersedes: free,
        four_eyes: free,
        condition_nl: free,
        condition_en: free,
    }
    CodeList { id: set, codes: messages }
    Code { code: set, label_nl: set, label_en: set, source: free }
    Profile { name: set, version: set, r#type: code::<wire::SignalType>, must: free, may: free }
    Clock {
        id: set,
        types: codes::<wire::SignalType>,
        from: codes::<wire::Function>,
        to: codes::<wire::Function>,
        urgency: code_if_any::<wire::Urgency>,
        step: set,
        duration: set,
        working_days: free,
        article: free,
    }

    Record {
        format: set,
        index: free,
        time: message,
        audience: message,
        covenant_digest: digest,
        crl_sha256: digests,
        retention: code::<wire::Retention>,
        mailbox: message_if_any,
        conversation: message_if_any;
        one of event
    }
    Audience { ; one of of }
    MailboxPlace { number: set, previous_index: free, previous_commitment: digest_if_any }
    ConversationPlace { id: set, number: set, previous_index: free, previous_commitment: digest_if_any }
    SubmissionAcceptance { item_digest: digest, item_id: set, addressees: messages; one of about }
    AboutSignal {
        r#type: code::<wire::SignalType>,
        urgency: code::<wire::Urgency>,
        expires: message,
        retention_class: code::<wire::RetentionClass>,
    }
    AboutAnswer { code: code::<wire::AnswerCode>, consignment_index: set, late: free }
    AboutKey {
        serial: set,
        seal_from: message_if_any,
        seal_until: message_if_any,
        open_until: message_if_any,
        withdrawn: free,
    }
    Addressee { to: message, rule_id: set, index: set, commitment: digest }
    ContentConsignment { item_digest: digest }
    ContentHandover { item_digest: digest, recipient: message }
    Expiry { item_digest: digest, recipient: message }
    SubmissionRejection { reason: set, nearest_rule: free, suppressed: free }
    CertificatePublished {
        oin: set,
        leaf_sha256: digest,
        // A chain has at most four certificates, the leaf among them.
        chain_sha256: |chain: &[Bytes]| at_most(3, chain.len()).and_then(|()| digests(chain)),
        spki_sha256: digest,
        not_after: message,
    }
    CovenantAdopted { serial: set, digest: digest, valid_from: message, valid_until: message }
    CrlAdopted {
        issuer_sha256: digest,
        number: crl_number,
        this_update: message,
        next_update: message,
        sha256: digest,
    }
    GatewayStarted { software: text::<64>, format: set }
    Access { who: message, call: text::<128>, filter: |filter: &String| at_most(256, filter.chars().count()) }
    ClockConfirmed { last_record: message_if_any }

    MailboxHead {
        log_origin: set,
        address: message,
        first_number: free,
        last_number: free,
        last_index: free,
        last_commitment: digest_if_any,
        checkpoint: set,
        time: message,
    }
    Receipt {
        record: free,
        salt: free,
        index: free,
        commitment: digest,
        proof: digests,
        checkpoint: set,
        erased_by: free,
    }
}

/// A field's name in the `.proto` files, where no word is kept from use.
fn name(field: &'static str) -> &'static str {
    field.trim_start_matches("r#")
}

impl Checked for Timestamp {
    const NAME: &'static str = "google.protobuf.Timestamp";

    fn check(&self) -> Result<(), Malformed> {
        if !(0..1_000_000_000).contains(&self.nanos) || self.nanos % 1_000_000 != 0 {
            return Err(Malformed::new(Reason::TimestampNanos));
        }
        crate::time::Timestamp::try_from(self).map_err(|_| Malformed::new(Reason::TimestampRange))?;
        Ok(())
    }
}

/// What a `oneof` may hold, each member with its own checks.
trait Member {
    fn check(&self) -> Result<(), Malformed>;
}

macro_rules! member {
    ($choice:path { $($variant:ident => $field:literal: $rule:expr),* $(,)? }) => {
        impl Member for $choice {
            fn check(&self) -> Result<(), Malformed> {
                match self {
                    $(Self::$variant(value) => $rule(value).map_err(|fault: Malformed| fault.within($field)),)*
                }
            }
        }
    };
}

member!(wire::key_statement::State { Key => "key": Checked::check, Withdrawn => "withdrawn": Checked::check });
member!(wire::audience::Of { Address => "address": Checked::check, Group => "group": code::<wire::Group> });
member!(wire::submission_acceptance::About {
    Signal => "signal": Checked::check,
    Answer => "answer": Checked::check,
    Key => "key": Checked::check,
});
member!(wire::record::Event {
    SubmissionAcceptance => "submission_acceptance": Checked::check,
    ContentConsignment => "content_consignment": Checked::check,
    ContentHandover => "content_handover": Checked::check,
    Expiry => "expiry": Checked::check,
    SubmissionRejection => "submission_rejection": Checked::check,
    CertificatePublished => "certificate_published": Checked::check,
    CovenantAdopted => "covenant_adopted": Checked::check,
    CrlAdopted => "crl_adopted": Checked::check,
    GatewayStarted => "gateway_started": Checked::check,
    Access => "access": Checked::check,
    ClockConfirmed => "clock_confirmed": Checked::check,
});

// The rules. Each says no with the fault as seen from the field; the message adds the field's name.

/// No rule: absent, false and 0 mean something.
#[allow(clippy::unnecessary_wraps, reason = "it stands in one table with rules that refuse")]
fn free<T>(_: &T) -> Result<(), Malformed> {
    Ok(())
}

/// A number that is not 0, or text or bytes that are not empty.
fn set<T: Default + PartialEq>(value: &T) -> Result<(), Malformed> {
    if *value == T::default() { Err(Malformed::new(Reason::Missing)) } else { Ok(()) }
}

fn bytes<const LENGTH: usize>(bytes: &Bytes) -> Result<(), Malformed> {
    set(bytes)?;
    if bytes.len() == LENGTH { Ok(()) } else { Err(Malformed::new(Reason::Length)) }
}

fn digest(digest: &Bytes) -> Result<(), Malformed> {
    bytes::<32>(digest)
}

fn digest_if_any(bytes: &Bytes) -> Result<(), Malformed> {
    if bytes.is_empty() { Ok(()) } else { digest(bytes) }
}

fn digests(digests: &[Bytes]) -> Result<(), Malformed> {
    // An empty one among several is written, so it is there, but too short.
    if digests.iter().all(|digest| digest.len() == 32) { Ok(()) } else { Err(Malformed::new(Reason::Length)) }
}

fn text<const CHARS_MAX: usize>(text: &String) -> Result<(), Malformed> {
    set(text)?;
    at_most(CHARS_MAX, text.chars().count())
}

fn at_most(max: usize, count: usize) -> Result<(), Malformed> {
    if count <= max { Ok(()) } else { Err(Malformed::new(Reason::Length)) }
}

/// Big-endian without leading zeros, up to 20 bytes (RFC 5280, 5.2.3); the number 0 is one zero byte.
fn crl_number(number: &Bytes) -> Result<(), Malformed> {
    set(number)?;
    at_most(20, number.len())?;
    if number[0] == 0 && number.len() > 1 { Err(Malformed::new(Reason::NotCanonical)) } else { Ok(()) }
}

fn code<E: TryFrom<i32>>(code: &i32) -> Result<(), Malformed> {
    if *code != 0 && E::try_from(*code).is_ok() { Ok(()) } else { Err(Malformed::new(Reason::Enum)) }
}

fn code_if_any<E: TryFrom<i32>>(value: &i32) -> Result<(), Malformed> {
    if *value == 0 { Ok(()) } else { code::<E>(value) }
}

fn codes<E: TryFrom<i32>>(values: &[i32]) -> Result<(), Malformed> {
    values.iter().try_for_each(code::<E>)
}

fn message<M: Checked>(message: &Option<M>) -> Result<(), Malformed> {
    message.as_ref().ok_or(Malformed::new(Reason::Missing))?.check()
}

fn message_if_any<M: Checked>(message: &Option<M>) -> Result<(), Malformed> {
    message.as_ref().map_or(Ok(()), Checked::check)
}

fn messages<M: Checked>(messages: &[M]) -> Result<(), Malformed> {
    messages.iter().try_for_each(Checked::check)
}

fn one_of<C: Member>(choice: &Option<C>) -> Result<(), Malformed> {
    choice.as_ref().ok_or(Malformed::new(Reason::Oneof))?.check()
}

/// Walks over bytes that were refused and finds the first field that is not known or does not decode.
///
/// Only a refusal pays for this. Messages of this project do not nest in themselves, so the depth is bounded by the
/// descriptors and not by the bytes.
fn explain(name: &str, mut bytes: &[u8]) -> Option<Malformed> {
    let descriptor = descriptors().get(name)?;
    while !bytes.is_empty() {
        let Ok((number, wire_type)) = decode_key(&mut bytes) else {
            return Some(Malformed::new(Reason::Undecodable));
        };
        if matches!(wire_type, WireType::StartGroup | WireType::EndGroup) {
            return Some(Malformed::new(Reason::Undecodable));
        }
        let i32_number = i32::try_from(number).expect("field numbers have 29 bits");
        let Some(field) = descriptor.field.iter().find(|field| field.number() == i32_number) else {
            return Some(Malformed::at(&number.to_string(), Reason::UnknownField));
        };
        if let Some(fault) = explain_field(field, number, wire_type, &mut bytes) {
            return Some(fault.within(field.name()));
        }
    }
    None
}

fn explain_field(
    field: &FieldDescriptorProto,
    number: u32,
    wire_type: WireType,
    bytes: &mut &[u8],
) -> Option<Malformed> {
    let undecodable = || Some(Malformed::new(Reason::Undecodable));
    let varint = !matches!(field.r#type(), Type::Message | Type::String | Type::Bytes);
    let packed = field.label() == prost_types::field_descriptor_proto::Label::Repeated;
    match wire_type {
        WireType::LengthDelimited if varint && !packed => return undecodable(),
        WireType::LengthDelimited => {}
        WireType::Varint if varint => {
            return skip_field(wire_type, number, bytes, DecodeContext::default()).err().and_then(|_| undecodable());
        }
        _ => return undecodable(),
    }
    let length = decode_varint(bytes).ok().and_then(|length| usize::try_from(length).ok());
    let Some((value, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
        return undecodable();
    };
    *bytes = rest;
    match field.r#type() {
        Type::Message => explain(field.type_name().trim_start_matches('.'), value),
        Type::String if std::str::from_utf8(value).is_err() => undecodable(),
        _ => None,
    }
}

/// The messages of `proto/` by full name.
fn descriptors() -> &'static HashMap<String, DescriptorProto> {
    static DESCRIPTORS: OnceLock<HashMap<String, DescriptorProto>> = OnceLock::new();
    DESCRIPTORS.get_or_init(|| {
        let files = FileDescriptorSet::decode(crate::DESCRIPTORS).expect("the build wrote these descriptors");
        let mut messages = HashMap::new();
        for file in files.file {
            for message in file.message_type {
                messages.insert(format!("{}.{}", file.package.as_deref().unwrap_or_default(), message.name()), message);
            }
        }
        messages
    })
}
