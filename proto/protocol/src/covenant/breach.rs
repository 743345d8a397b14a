//! What may be wrong with a covenant: one name per rule, the field at fault, and the sentence that says so.
//!
//! Nothing is decided here. The codes are those of the vectors; several sentences share one, where a rule is asked by
//! the hub file or by the last accepted covenant, and what is to be done about it differs.

use std::fmt;

use crate::canonical::Malformed;
use crate::signature::BadKey;

/// A covenant that breaks a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCovenant {
    breach: Breach,
    field: String,
}

impl BadCovenant {
    /// Returns the rule that is broken.
    #[must_use]
    pub fn breach(&self) -> &Breach {
        &self.breach
    }

    /// Returns the path of the field at fault, such as `participants[3].functions[0]`; empty for the whole.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Returns the reason's code.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.breach.reason()
    }
}

impl fmt::Display for BadCovenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{} [{}]", self.breach, self.reason())
    }
}

impl std::error::Error for BadCovenant {}

/// The rules that a covenant may break.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Larger than [`COVENANT_BYTES_MAX`](super::COVENANT_BYTES_MAX), or more registrars or signatures than are looked at.
    #[error("the covenant is too large")]
    Size,
    /// The envelope holds something else.
    #[error("the item is no covenant")]
    PayloadType,
    /// The bytes are not canonical, or a field by itself is wrong.
    #[error("{0}")]
    Malformed(Malformed),
    /// It belongs to another log.
    #[error("the covenant belongs to another log")]
    Origin,
    /// A lower serial than what is trusted.
    #[error("the serial is lower than that of the covenant that is trusted")]
    SerialLower,
    /// Another covenant of the same serial, which enough registrars have signed: they signed two.
    #[error("another covenant of this serial has been accepted: the registrars signed two")]
    SerialFork,
    /// By the hub file: another covenant of the serial that it names, which enough registrars have signed.
    #[error(
        "the registrars signed this covenant, and hub.toml names another of this serial: its covenant_digest is \
             wrong, or they signed two; ask the operator, and compare by phone"
    )]
    FloorFork,
    /// Not the next one.
    #[error("covenants are accepted one by one, and between the last one and this there is another")]
    SerialGap,
    /// By the hub file: a later covenant than the one that it names.
    #[error("the first covenant is exactly the one that hub.toml names, and this is a later one")]
    FloorGap,
    /// It does not name the one before it.
    #[error("the covenant does not follow the one that was accepted last")]
    PreviousDigest,
    /// An empty or too long validity, or one that begins before the old one's.
    #[error("a covenant is valid for up to 100 days, and not from before the old one")]
    Validity,
    /// Too low or beyond the number of registrars.
    #[error("the threshold is at least 2 (1 in a test) and at most the number of registrars")]
    Threshold,
    /// One OIN or one key as two registrars.
    #[error("a registrar's OIN or key stands twice")]
    RegistrarTwice,
    /// The hub as a registrar.
    #[error("the hub is never a registrar")]
    RegistrarIsHub,
    /// A registrar's or log's key that is no good Ed25519 key.
    #[error("{0}")]
    Key(BadKey),
    /// No live log key, or a retired one without its end.
    #[error("there is a live log key, and a retired one has both a size and a root")]
    LogKeys,
    /// One key for two uses, two OINs, or for a registrar or the log beside another use.
    #[error("one key has one use and one owner")]
    KeyUsedTwice,
    /// A root that is no certificate.
    #[error("the root is no certificate")]
    Root,
    /// Text that must be an OIN and is none.
    #[error("an OIN has exactly 20 digits or capital letters")]
    Oin,
    /// Text that must be a municipality's code and is none.
    #[error("a municipality is four digits")]
    Municipality,
    /// One OIN as two participants.
    #[error("a participant stands twice")]
    ParticipantTwice,
    /// One function twice in a participant.
    #[error("a function stands twice in one participant")]
    FunctionTwice,
    /// A case function of the hub.
    #[error("the hub is operator or auditor and nothing else")]
    HubCaseFunction,
    /// OPERATOR or AUDITOR without bound keys.
    #[error("operators and auditors have bound keys")]
    HubUnbound,
    /// A grant that has keys and is unbound.
    #[error("a grant has bound keys or is unbound, never both")]
    UnboundWithKeys,
    /// A grant that is bound and lacks a key of a use.
    #[error("a bound grant has at least one key for transport and one for signing")]
    KeyPerUse,
    /// A binding that is over before it begins.
    #[error("a binding ends after it begins")]
    KeyDates,
    /// A route's day that does not exist, or an end that is not after the beginning.
    #[error("a route begins on a day and ends on a later one")]
    RouteDate,
    /// A rule's id is too long.
    #[error("a rule's id has at most 64 bytes")]
    RuleId,
    /// A rule id twice.
    #[error("a rule's id stands twice")]
    RuleTwice,
    /// A rule without types, senders, recipients or regimes.
    #[error("a rule names types, senders, recipients and regimes")]
    RuleEmpty,
    /// A code list, or a code in one, twice.
    #[error("a code list or a code in it stands twice")]
    CodeTwice,
    /// A profile's name and version twice.
    #[error("a profile of this name and version stands twice")]
    ProfileTwice,
    /// A clock's id twice.
    #[error("a clock's id stands twice")]
    ClockTwice,
    /// A clock's duration that cannot be read.
    #[error("a clock has a positive ISO 8601 duration up to ten years, of working days in whole days")]
    ClockDuration,
    /// A signature that is none of an old or new registrar's.
    #[error("a signature is none of the old or new registrars'")]
    Signature,
    /// By the hub file: a signature that is none of the registrars' that it lists, nor of the covenant's own.
    #[error(
        "a signature is by none of the registrars that hub.toml lists, nor of the covenant's own; one who signed \
             this covenant and left with it has to be listed in hub.toml too: ask the operator for one that lists \
             him, and compare it by phone"
    )]
    FloorSignature,
    /// Fewer old registrars than the old threshold.
    #[error("too few registrars of the last accepted covenant have signed")]
    TooFewOld,
    /// By the hub file: fewer of the registrars that it lists than its threshold.
    #[error("fewer of the registrars that hub.toml lists have signed than its threshold says")]
    FloorTooFew,
    /// Fewer new registrars than the new threshold.
    #[error("too few of the covenant's own registrars have signed")]
    TooFewNew,
}

impl Breach {
    /// Returns the reason's code.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Size => "SIZE",
            Self::PayloadType => "PAYLOAD_TYPE",
            Self::Malformed(malformed) => malformed.reason.as_str(),
            Self::Origin => "ORIGIN",
            Self::SerialLower => "SERIAL_LOWER",
            Self::SerialFork | Self::FloorFork => "SERIAL_FORK",
            Self::SerialGap | Self::FloorGap => "SERIAL_GAP",
            Self::PreviousDigest => "PREVIOUS_DIGEST",
            Self::Validity => "VALIDITY",
            Self::Threshold => "THRESHOLD",
            Self::RegistrarTwice => "REGISTRAR_TWICE",
            Self::RegistrarIsHub => "REGISTRAR_IS_HUB",
            Self::Key(bad) => bad.reason(),
            Self::LogKeys => "LOG_KEYS",
            Self::KeyUsedTwice => "KEY_USED_TWICE",
            Self::Root => "ROOT",
            Self::Oin => "OIN",
            Self::Municipality => "MUNICIPALITY",
            Self::ParticipantTwice => "PARTICIPANT_TWICE",
            Self::FunctionTwice => "FUNCTION_TWICE",
            Self::HubCaseFunction => "HUB_CASE_FUNCTION",
            Self::HubUnbound => "HUB_UNBOUND",
            Self::UnboundWithKeys => "UNBOUND_WITH_KEYS",
            Self::KeyPerUse => "KEY_PER_USE",
            Self::KeyDates => "KEY_DATES",
            Self::RouteDate => "ROUTE_DATE",
            Self::RuleId => "RULE_ID",
            Self::RuleTwice => "RULE_TWICE",
            Self::RuleEmpty => "RULE_EMPTY",
            Self::CodeTwice => "CODE_TWICE",
            Self::ProfileTwice => "PROFILE_TWICE",
            Self::ClockTwice => "CLOCK_TWICE",
            Self::ClockDuration => "CLOCK_DURATION",
            Self::Signature | Self::FloorSignature => "SIGNATURE",
            Self::TooFewOld | Self::FloorTooFew => "TOO_FEW_OLD",
            Self::TooFewNew => "TOO_FEW_NEW",
        }
    }

    pub(super) fn at(self, field: impl Into<String>) -> BadCovenant {
        BadCovenant { breach: self, field: field.into() }
    }
}
