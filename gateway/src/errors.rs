//! What a peer hears when it does not get what it asked for: one table, reason → status → text.
//!
//! Refusals (the domain says no), bad messages (bytes that do not parse or verify) and faults (ours) all leave the
//! gateway through this file. Each carries a `google.rpc.ErrorInfo` with the reason and the domain `seinpost`; bad
//! fields are named by path, and what may be tried again says when. A fault is told by an id alone, under which the
//! operator finds it. Nothing here ever says anything about another participant: what is unknown and what is
//! somebody else's share one reason.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::error;

/// The domain of all reasons.
pub const DOMAIN: &str = "seinpost";

/// One line of the table.
#[derive(Debug)]
struct Row {
    reason: &'static str,
    code: Code,
    /// What happened and what would do; a more precise text may take its place.
    text: &'static str,
    /// After how long it may be tried again.
    retry: Option<Duration>,
}

const fn row(reason: &'static str, code: Code, text: &'static str) -> Row {
    Row { reason, code, text, retry: None }
}

const fn later(reason: &'static str, code: Code, seconds: u64, text: &'static str) -> Row {
    Row { reason, code, text, retry: Some(Duration::from_secs(seconds)) }
}

/// A refusal on its way to the peer.
#[derive(Debug)]
pub struct Refused {
    reason: &'static str,
    /// A rule of the protocol refused: the message is bad by itself.
    bad_message: bool,
    field: Option<String>,
    text: Option<Cow<'static, str>>,
    nearest_rule: Option<String>,
}

impl Refused {
    /// Refuses for a reason of the table.
    #[must_use]
    pub const fn of(reason: &'static str) -> Self {
        Self { reason, bad_message: false, field: None, text: None, nearest_rule: None }
    }

    /// Refuses a message that is bad by itself, in the protocol's own words.
    #[must_use]
    pub fn bad(reason: &'static str, field: &str, text: impl Display) -> Self {
        let (field, text) = (Some(field.to_owned()), Some(Cow::Owned(text.to_string())));
        Self { reason, bad_message: true, field, text, nearest_rule: None }
    }

    /// Names the field that is wrong, by its path in the request.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says it more precisely than the table does.
    #[must_use]
    pub fn saying(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Names the rule that came nearest to permitting it.
    #[must_use]
    pub fn nearest(mut self, rule: Option<String>) -> Self {
        self.nearest_rule = rule;
        self
    }

    /// Returns the reason.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// Returns the rule that came nearest, if a rule refused.
    #[must_use]
    pub fn nearest_rule(&self) -> Option<&str> {
        self.nearest_rule.as_deref()
    }

    fn row(&self) -> Option<&'static Row> {
        if self.bad_message {
            return BAD_MESSAGES.contains(&self.reason).then_some(&BAD_MESSAGE);
        }
        TABLE.iter().find(|row| row.reason == self.reason)
    }

    /// Returns whether this is a refusal of the domain (a rule, a state) and not a message that is bad by itself.
    ///
    /// Only these are recorded: bad messages are answered at the door, and what may pass by itself is no refusal.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.row().is_some_and(|row| row.code == Code::FailedPrecondition)
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let Some(row) = refused.row() else {
            // A test holds every reason to the table, so this is a reason that nobody foresaw.
            return fault(format_args!("the reason {} has no row in the table of errors", refused.reason));
        };
        let text = refused.text.unwrap_or(Cow::Borrowed(row.text));
        let mut metadata = HashMap::new();
        if let Some(rule) = refused.nearest_rule {
            metadata.insert("nearest_rule".to_owned(), rule);
        }
        let mut details = ErrorDetails::with_error_info(refused.reason, DOMAIN, metadata);
        if let Some(field) = refused.field {
            details.add_bad_request_violation(field, text.as_ref());
        }
        if let Some(after) = row.retry {
            details.set_retry_info(Some(after));
        }
        Self::with_error_details(row.code, format!("{text} [{}]", refused.reason), details)
    }
}

/// Answers for a fault of ours: the peer gets an id, the operator's log the cause.
pub fn fault(cause: impl Display) -> Status {
    let id = uuid::Uuid::now_v7();
    error!(%id, %cause, "a call ended in a fault of ours");
    metrics::counter!("seinpost_faults_total").increment(1);
    let metadata = HashMap::from([("id".to_owned(), id.to_string())]);
    let details = ErrorDetails::with_error_info("INTERNAL", DOMAIN, metadata);
    Status::with_error_details(
        Code::Internal,
        format!("a fault of the hub; report it by this id: {id} [INTERNAL]"),
        details,
    )
}

/// Gives a status that the server's own machinery made the reason and text of the table; others pass unchanged.
#[must_use]
pub fn with_reason(status: Status) -> Status {
    if !status.details().is_empty() || status.code() == Code::Ok {
        return status;
    }
    match status.code() {
        // tonic says so when a message is no protobuf of its type, or ends before its stated length.
        Code::Internal | Code::InvalidArgument => Refused::of("MALFORMED").at("request").into(),
        Code::OutOfRange => Refused::of("MESSAGE_TOO_LARGE").into(),
        Code::DeadlineExceeded | Code::Cancelled => Refused::of("DEADLINE").into(),
        Code::ResourceExhausted | Code::Unavailable => Refused::of("BUSY").into(),
        Code::Unimplemented => Refused::of("NO_SUCH_CALL").into(),
        _ => fault(status),
    }
}

/// What the domain refuses by rule, route or state: right by itself, and not now or not so.
const fn no(reason: &'static str, text: &'static str) -> Row {
    row(reason, Code::FailedPrecondition, text)
}

const TABLE: &[Row] = &[
    // Calls.
    row("NO_SUCH_CALL", Code::Unimplemented, "there is no such call"),
    row("NOT_PERMITTED", Code::PermissionDenied, "your certificate and functions give no right to this call"),
    row(
        "SIGNER_NOT_PEER",
        Code::PermissionDenied,
        "the item is signed for an address that is not the connection's own",
    ),
    row(
        "CERTIFICATE_NOT_OWN",
        Code::PermissionDenied,
        "the certificate names another organisation than the connection's",
    ),
    row("NOT_FOUND", Code::NotFound, "there is no such object among your own"),
    row("MALFORMED", Code::InvalidArgument, "the request is no message of this call's type"),
    row("COMPRESSED", Code::InvalidArgument, "compressed messages are not taken; send them uncompressed"),
    row("FIELD", Code::InvalidArgument, "the field is missing or has an impossible value"),
    row("PAGE_TOKEN", Code::InvalidArgument, "the page token is not one that this call gave out"),
    row("MESSAGE_TOO_LARGE", Code::ResourceExhausted, "the message is larger than this call takes"),
    row("METADATA_TOO_LARGE", Code::ResourceExhausted, "a binary header is larger than 1 KiB; none is needed"),
    // What passes by itself.
    later("BUDGET", Code::ResourceExhausted, 1, "too many bytes of yours are under way; wait for answers, then go on"),
    later("TOO_MANY_STREAMS", Code::ResourceExhausted, 60, "this mailbox is read by 8 streams already; end one"),
    later("DISK_FLOOR", Code::ResourceExhausted, 60, "the hub's disk is nearly full; its operator has been told"),
    later("BUSY", Code::Unavailable, 1, "the hub is busy; try again"),
    later("DRAINING", Code::Unavailable, 1, "the hub or this connection is about to end; connect anew"),
    later(
        "IDLE",
        Code::Unavailable,
        1,
        "nothing came on this stream for too long; open it again when there is something",
    ),
    later(
        "CLOCK_DOUBT",
        Code::Unavailable,
        60,
        "the hub doubts its clock and takes nothing until its operator confirmed it",
    ),
    later(
        "CRL_OVERDUE",
        Code::Unavailable,
        60,
        "a revocation list is overdue for too long; its operator has been told",
    ),
    later("PERMIT_STALE", Code::Unavailable, 1, "the covenant changed while the item was judged; send it again"),
    later(
        "DEADLINE",
        Code::DeadlineExceeded,
        1,
        "the call took too long; the same item may be sent again and earns the same receipt",
    ),
    row("INTERNAL", Code::Internal, "a fault of the hub"),
    // Items.
    row(
        "ALREADY_EXISTS",
        Code::AlreadyExists,
        "this item_id was used before for an item with another digest; a changed item takes a new id",
    ),
    no("ITEM_TOO_OLD", "the item was signed more than 30 days ago; sign it anew with a new id"),
    no("ITEM_FROM_FUTURE", "the item was signed more than 5 minutes ahead of the hub's clock; check yours"),
    no("NO_COVENANT", "no covenant is in force; the hub waits for one from the registrars"),
    no("COVENANT_UNKNOWN", "the item names a covenant that this hub never adopted; its operator has been told"),
    no(
        "SEEN_FORK",
        "the checkpoint seen by the signer is no prefix of this log; kept as evidence, and intake has stopped",
    ),
    no("INTAKE_STOPPED", "intake has stopped because two histories of this log were seen; reading goes on"),
    no("TYPE_NOT_YET", "signals of this type are not yet exchanged"),
    row("CERTIFICATE_UNKNOWN", Code::InvalidArgument, "the signing certificate is not published; publish it first"),
    no("EXPIRED_ON_ARRIVAL", "the signal expired before it arrived"),
    row("RECIPIENTS", Code::InvalidArgument, "a signal has 1 to 8 distinct recipients"),
    row("SELF", Code::InvalidArgument, "a signal may not be addressed to its own sender"),
    row("ITEM_ID_TIME", Code::InvalidArgument, "the item_id's time lies more than 24 hours from signed_at"),
    // Rules and routes.
    no("NO_ROUTE", "no route leads to this recipient, and it is not party to a conversation of yours"),
    no("NO_RULE", "no rule permits this type from you to this recipient"),
    no("BASIS", "no rule permits it on this legal basis"),
    no("BASIS_REGIME", "no rule permits it under this source regime"),
    no("BASIS_REFERENCE", "the legal basis needs a basis_reference"),
    no("BASIS_PURPOSE", "no rule permits it for this purpose"),
    no("BASIS_URGENCY", "no rule permits it in this urgency"),
    no("BASIS_SUPERSEDES", "a rule permits it only for a signal that supersedes another"),
    no("BASIS_PROFILE", "no rule permits it with this content profile"),
    no("PROFILE_SPLIT", "no one content profile serves all recipients; send two signals"),
    no("SUPERSEDES", "supersedes names no signal of yours"),
    // Rights of the signing key.
    row("NO_FUNCTION", Code::PermissionDenied, "the covenant does not grant this function to your organisation"),
    row("SUSPENDED", Code::PermissionDenied, "your organisation is suspended"),
    row("KEY_NOT_BOUND", Code::PermissionDenied, "the signing key is not bound to this function"),
    row("KEY_BOUND_ELSEWHERE", Code::PermissionDenied, "the signing key is bound elsewhere and acts only there"),
    row("KEY_BINDING_DATES", Code::PermissionDenied, "the signing key's binding is not valid now"),
    // Sealing keys.
    no("KEY_UNKNOWN", "the key statement is not known; fetch the recipient's newest and seal again"),
    no(
        "KEY_BELOW_FLOOR",
        "the key statement lies below the covenant's floor; fetch the recipient's newest and seal again",
    ),
    no("KEY_WITHDRAWN", "the key statement was withdrawn; fetch the recipient's newest and seal again"),
    no(
        "KEY_SUPERSEDED",
        "the key statement was superseded more than 24 hours ago; fetch the recipient's newest and seal again",
    ),
    no("KEY_WINDOW", "signed_at must lie in the key statement's sealing window, and expires not after its open_until"),
    no("KEY_SERIAL", "the key statement's serial is not the next of this address"),
    no("KEY_NOT_MADE", "the signer has made no key statement of this serial"),
    no("KEY_PREVIOUS", "previous_digest is not the digest of this address's last key statement"),
    later(
        "KEY_MAX",
        Code::ResourceExhausted,
        3600,
        "this address has 32 key statements in force or of the last day; wait until some have ended, or withdraw",
    ),
    // Answers.
    no("DELIVERY_UNKNOWN", "there is no delivery of this item to the signer"),
    no("DELIVERY_MISMATCH", "delivery_commitment is not the commitment of the delivery to the signer"),
    no("ALREADY_ANSWERED", "the delivery was answered before; an answer is final"),
    no("DELIVERY_CLOSED", "the signal expired more than 30 days ago; its delivery is closed"),
    no("DUPLICATE_OF_UNKNOWN", "duplicate_of names no earlier signal from the same sender"),
    // Certificates.
    no("CERTIFICATE_EXPIRED", "the certificate is not valid now"),
    no("CERTIFICATE_KEY", "the certificate's public key is in use elsewhere"),
    later(
        "CERTIFICATE_MAX",
        Code::ResourceExhausted,
        3600,
        "your organisation has 16 live certificates; wait until one has ended",
    ),
    row("CERTIFICATE_REVOKED", Code::PermissionDenied, "a certificate of the chain was revoked"),
    row(
        "REVOCATION_UNKNOWN",
        Code::PermissionDenied,
        "no revocation list tells the status of a certificate of the chain",
    ),
    row(
        "CHAIN_UNKNOWN_ISSUER",
        Code::PermissionDenied,
        "no root that may vouch for this organisation vouches for this certificate",
    ),
    row("CHAIN_DATES", Code::PermissionDenied, "a certificate of the chain is not valid now"),
    row(
        "CHAIN_INVALID",
        Code::PermissionDenied,
        "a certificate of the chain cannot vouch for the one below it, or is malformed",
    ),
    row("CHAIN_ROOT", Code::PermissionDenied, "a root of the covenant cannot be read"),
    // Adoption, which happens at start and is told to the operator alone.
    no("COVENANT_SERIAL", "the covenant's serial is not the next"),
    no("COVENANT_FORK", "another covenant was adopted under this serial"),
    no("CRL_NUMBER", "the revocation list's number is lower than its issuer's last"),
    no("CRL_FORK", "another revocation list was adopted under this number"),
];

const BAD_MESSAGE: Row = row("", Code::InvalidArgument, "the message is not as it must be");

/// The protocol's own rules about bytes, fields, signatures and digests: always `INVALID_ARGUMENT`, and the sentence is
/// the protocol's. Some share their word with a refusal by rule or state above, which asks the same of what is open.
const BAD_MESSAGES: &[&str] = &[
    "CERTIFICATE",
    "CERTIFICATE_OIN",
    "CERTIFICATE_USAGE",
    "CERTIFICATE_EKU",
    "CHAIN_EMPTY",
    "CHAIN_TOO_LONG",
    "PAYLOAD_TYPE",
    "PAYLOAD_TOO_LARGE",
    "SIGNATURE_COUNT",
    "LOG_ORIGIN",
    "ITEM_ID",
    "OIN",
    "MANDATE_UNKNOWN",
    "CERTIFICATE_DIGEST",
    "HEADER_TOO_LARGE",
    "CONVERSATION",
    "RECIPIENT_COUNT",
    "RECIPIENT_TWICE",
    "BASIS_REFERENCE_BSN",
    "MUNICIPALITY",
    "HANDLING",
    "EXPIRES",
    "SUITE",
    "KEY_COUNT",
    "WRAPPED_COUNT",
    "SIZE_CLASS",
    "CONTENT_SHA256",
    "WRAPPED_LENGTH",
    "WRAPPED_SHA256",
    "KEY_WINDOWS",
    "ENCAPSULATION_KEY",
    "BETTER_FUNCTION",
    "DUPLICATE_OF",
    "UNDECODABLE",
    "UNKNOWN_FIELD",
    "NOT_CANONICAL",
    "MISSING",
    "ONEOF",
    "ENUM",
    "LENGTH",
    "TIMESTAMP_NANOS",
    "TIMESTAMP_RANGE",
    "FORMAT",
    "ORDER",
    "PLACE",
    "TOO_LARGE",
    "KEY_ALGORITHM",
    "KEY_ENCODING",
    "KEY_SMALL_ORDER",
    "KEY_RSA_SIZE",
    "KEY_RSA_EXPONENT",
    "SIGNATURE_ENCODING",
    "SIGNATURE_SMALL_ORDER",
    "SIGNATURE",
    "NOTE",
    "NOTE_UNKNOWN_KEY",
    "NOTE_SIGNATURE",
    "NOTE_AMBIGUOUS",
    "NOTE_OTHER_LINE",
    "CHECKPOINT",
    "ORIGIN",
    "ITEM_ID_TIME",
    "BASIS_REFERENCE",
    "KEY_SERIAL",
    "KEY_PREVIOUS",
    "KEY_BELOW_FLOOR",
    "KEY_WINDOW",
    "KEY_WITHDRAWN",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use seinpost_core::refusal::Refusal;

    use super::*;

    /// The words that a source file of the protocol gives its rules: `Self::Something => "WORD"`.
    fn words(source: &str) -> BTreeSet<&str> {
        let arms = source.lines().filter_map(|line| line.trim().strip_suffix("\",")?.split_once("=> \""));
        let words = arms.map(|(_, word)| word);
        words.filter(|word| word.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))).collect()
    }

    #[test]
    fn every_rule_of_the_protocol_about_messages_has_its_status() {
        let mut found = BTreeSet::new();
        for source in [
            include_str!("../../proto/protocol/src/item.rs"),
            include_str!("../../proto/protocol/src/canonical.rs"),
            include_str!("../../proto/protocol/src/signature.rs"),
            include_str!("../../proto/protocol/src/note.rs"),
        ] {
            found.extend(words(source));
        }
        assert!(found.len() > 50, "the sources are read");
        let known: BTreeSet<_> = BAD_MESSAGES.iter().copied().collect();
        let missing: Vec<_> = found.difference(&known).collect();
        assert!(missing.is_empty(), "without a status: {missing:?}");
    }

    #[test]
    fn every_rule_about_rights_routes_and_chains_has_a_row() {
        for source in [
            include_str!("../../proto/protocol/src/covenant/permit.rs"),
            include_str!("../../proto/protocol/src/covenant/index.rs"),
            include_str!("../../proto/protocol/src/covenant/routes.rs"),
        ] {
            for word in words(source) {
                assert!(TABLE.iter().any(|row| row.reason == word), "{word} has no row");
            }
        }
        for refusal in Refusal::ALL {
            assert!(TABLE.iter().any(|row| row.reason == refusal.reason()), "{} has no row", refusal.reason());
        }
    }

    #[test]
    fn reasons_are_distinct_and_every_text_is_a_sentence_for_people() {
        let reasons: BTreeSet<_> = TABLE.iter().map(|row| row.reason).collect();
        assert_eq!(reasons.len(), TABLE.len(), "one row a reason");
        for row in TABLE {
            assert!(row.text.len() > 12 && !row.text.ends_with('.'), "{}", row.reason);
            let passes = matches!(row.code, Code::Unavailable | Code::DeadlineExceeded);
            assert!(!passes || row.retry.is_some(), "{} may be tried again, but when?", row.reason);
        }
    }

    #[test]
    fn a_refusal_carries_reason_domain_field_rule_and_time() {
        let status = Status::from(Refused::of("BASIS_REGIME").saying("not so").nearest(Some("R1".to_owned())));
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not so [BASIS_REGIME]"));
        let info = status.get_details_error_info().expect("there is one");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("BASIS_REGIME", "seinpost"));
        assert_eq!(info.metadata.get("nearest_rule").map(String::as_str), Some("R1"));
        let status = Status::from(Refused::bad("ENUM", "header.type", "the code is not known"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.get_details_bad_request().expect("there is one").field_violations[0].field, "header.type");
        let status = Status::from(Refused::of("BUDGET"));
        let retry = status.get_details_retry_info().expect("there is one").retry_delay;
        assert_eq!(retry, Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_fault_tells_the_peer_an_id_and_nothing_else() {
        let status = fault("/var/lib/seinpost: disk on fire");
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("disk"), "{}", status.message());
        assert!(status.get_details_error_info().expect("there is one").metadata.contains_key("id"));
        let unforeseen = Status::from(Refused::of("NO_SUCH_REASON"));
        assert_eq!(unforeseen.code(), Code::Internal);
    }

    #[test]
    fn a_status_of_the_servers_own_machinery_gets_a_reason() {
        for (code, reason) in [
            (Code::Internal, "MALFORMED"),
            (Code::OutOfRange, "MESSAGE_TOO_LARGE"),
            (Code::Unimplemented, "NO_SUCH_CALL"),
            (Code::Cancelled, "DEADLINE"),
        ] {
            let status = with_reason(Status::new(code, "as tonic says it"));
            assert_eq!(status.get_details_error_info().expect("there is one").reason, reason);
        }
        let own = Status::from(Refused::of("NOT_FOUND"));
        assert_eq!(with_reason(own.clone()).details(), own.details());
    }
}
