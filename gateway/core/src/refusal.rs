//! The domain saying no: one variant per rule, named for the rule.
//!
//! What comes out is a code for machines and a sentence for people. Neither says anything about other participants:
//! what is unknown and what is somebody else's have one answer.

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The id was used before, for other bytes.
    #[error("this item_id was used before for an item with another digest; a changed item takes a new id")]
    AlreadyExists,
    /// Signed too long ago.
    #[error("the item was signed more than 30 days ago; sign it anew with a new id")]
    TooOld,
    /// Signed ahead of the hub's clock.
    #[error("the item was signed more than 5 minutes ahead of the hub's clock")]
    FromTheFuture,
    /// The id's time and the signature's are too far apart.
    #[error("the item_id's time lies more than 24 hours from signed_at")]
    IdTime,
    /// No covenant rules at this time.
    #[error("no covenant is in force; the hub waits for one from the registrars")]
    NoCovenant,
    /// The permit was made by another covenant than the one that rules.
    #[error("the covenant has changed since the permit was made")]
    PermitStale,
    /// The signal's time had passed when it came.
    #[error("the signal expired before it arrived")]
    ExpiredOnArrival,
    /// Too few or too many recipients, or one twice.
    #[error("a signal has 1 to 8 distinct recipients")]
    Recipients,
    /// A signal to oneself.
    #[error("a signal may not be addressed to its own sender")]
    ToSelf,
    /// A recipient that is neither routed nor party, or a conversation that is not the sender's.
    #[error("no route leads to this recipient and it is not party to a conversation of the sender")]
    NoRoute,
    /// The signal to be superseded is not known as the sender's own.
    #[error("supersedes names no signal of the sender")]
    Supersedes,
    /// The key statement is none of the recipient's.
    #[error("the key statement is not known; fetch the recipient's newest and seal again")]
    KeyUnknown,
    /// The covenant's floor lies above the key statement.
    #[error("the key statement lies below the covenant's floor; fetch the recipient's newest and seal again")]
    KeyBelowFloor,
    /// The key statement was withdrawn.
    #[error("the key statement was withdrawn; fetch the recipient's newest and seal again")]
    KeyWithdrawn,
    /// The key statement was superseded more than a day ago.
    #[error("the key statement was superseded more than 24 hours ago; fetch the recipient's newest and seal again")]
    KeySuperseded,
    /// The signal's times do not fit the key statement's windows.
    #[error("signed_at must lie in the key statement's sealing window, and expires not after its open_until")]
    KeyWindow,
    /// A key statement's serial is not the next.
    #[error("the key statement's serial is not the next of this address")]
    KeySerial,
    /// An item names a key statement of its own signer that was never made.
    #[error("the signer has made no key statement of this serial")]
    KeyNotMade,
    /// A key statement names another predecessor than the last.
    #[error("previous_digest is not the digest of this address's last key statement")]
    KeyPrevious,
    /// Too many key statements are in force at once, or were made within a day.
    #[error("this address has 32 key statements in force or of the last day; wait until some have ended, or withdraw")]
    KeyMax,
    /// No such delivery to the answerer.
    #[error("there is no delivery of this item to the signer")]
    DeliveryUnknown,
    /// The delivery has its one answer.
    #[error("the delivery was answered before; an answer is final")]
    AlreadyAnswered,
    /// The time for late answers has passed.
    #[error("the signal expired more than 30 days ago; its delivery is closed")]
    DeliveryClosed,
    /// The signal said to be repeated is not an earlier one from the same sender.
    #[error("duplicate_of names no earlier signal from the same sender")]
    DuplicateOf,
    /// The certificate's validity has ended.
    #[error("the certificate's validity has ended")]
    CertificateExpired,
    /// The certificate's public key is published for another organisation.
    #[error("the certificate's public key is in use elsewhere")]
    CertificateKey,
    /// Too many live certificates of one organisation.
    #[error("this organisation has 16 live certificates; wait until one has ended")]
    CertificateMax,
    /// The covenant's serial is not the next.
    #[error("the covenant's serial is not the next")]
    CovenantSerial,
    /// Another covenant was adopted under this serial.
    #[error("another covenant was adopted under this serial")]
    CovenantFork,
    /// The revocation list's number is lower than its issuer's last.
    #[error("the revocation list's number is lower than its issuer's last")]
    CrlNumber,
    /// Another revocation list was adopted under this number.
    #[error("another revocation list was adopted under this number")]
    CrlFork,
}

impl Refusal {
    /// Every refusal, for tables and tests.
    pub const ALL: [Self; 31] = [
        Self::AlreadyExists,
        Self::TooOld,
        Self::FromTheFuture,
        Self::IdTime,
        Self::NoCovenant,
        Self::PermitStale,
        Self::ExpiredOnArrival,
        Self::Recipients,
        Self::ToSelf,
        Self::NoRoute,
        Self::Supersedes,
        Self::KeyUnknown,
        Self::KeyBelowFloor,
        Self::KeyWithdrawn,
        Self::KeySuperseded,
        Self::KeyWindow,
        Self::KeySerial,
        Self::KeyNotMade,
        Self::KeyPrevious,
        Self::KeyMax,
        Self::DeliveryUnknown,
        Self::AlreadyAnswered,
        Self::DeliveryClosed,
        Self::DuplicateOf,
        Self::CertificateExpired,
        Self::CertificateKey,
        Self::CertificateMax,
        Self::CovenantSerial,
        Self::CovenantFork,
        Self::CrlNumber,
        Self::CrlFork,
    ];

    /// Returns the code that records and peers see.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::TooOld => "ITEM_TOO_OLD",
            Self::FromTheFuture => "ITEM_FROM_FUTURE",
            Self::IdTime => "ITEM_ID_TIME",
            Self::NoCovenant => "NO_COVENANT",
            Self::PermitStale => "PERMIT_STALE",
            Self::ExpiredOnArrival => "EXPIRED_ON_ARRIVAL",
            Self::Recipients => "RECIPIENTS",
            Self::ToSelf => "SELF",
            Self::NoRoute => "NO_ROUTE",
            Self::Supersedes => "SUPERSEDES",
            Self::KeyUnknown => "KEY_UNKNOWN",
            Self::KeyBelowFloor => "KEY_BELOW_FLOOR",
            Self::KeyWithdrawn => "KEY_WITHDRAWN",
            Self::KeySuperseded => "KEY_SUPERSEDED",
            Self::KeyWindow => "KEY_WINDOW",
            Self::KeySerial => "KEY_SERIAL",
            Self::KeyNotMade => "KEY_NOT_MADE",
            Self::KeyPrevious => "KEY_PREVIOUS",
            Self::KeyMax => "KEY_MAX",
            Self::DeliveryUnknown => "DELIVERY_UNKNOWN",
            Self::AlreadyAnswered => "ALREADY_ANSWERED",
            Self::DeliveryClosed => "DELIVERY_CLOSED",
            Self::DuplicateOf => "DUPLICATE_OF_UNKNOWN",
            Self::CertificateExpired => "CERTIFICATE_EXPIRED",
            Self::CertificateKey => "CERTIFICATE_KEY",
            Self::CertificateMax => "CERTIFICATE_MAX",
            Self::CovenantSerial => "COVENANT_SERIAL",
            Self::CovenantFork => "COVENANT_FORK",
            Self::CrlNumber => "CRL_NUMBER",
            Self::CrlFork => "CRL_FORK",
        }
    }
}
