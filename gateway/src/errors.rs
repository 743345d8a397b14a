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

include!("errors/table.rs");

/// A refusal on its way to the peer.
#[derive(Debug)]
pub struct Refused {
    reason: &'static str,
    field: Option<String>,
    text: Option<Cow<'static, str>>,
    nearest_rule: Option<String>,
}

impl Refused {
    /// Refuses for a reason of the table.
    #[must_use]
    pub const fn of(reason: &'static str) -> Self {
        Self { reason, field: None, text: None, nearest_rule: None }
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

    /// Returns whether this is a refusal of the domain (a rule, a state) and not a message that is bad by itself.
    ///
    /// Only these are recorded: bad messages are answered at the door, and what may pass by itself is no refusal.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        find(self.reason).is_some_and(|row| row.code == Code::FailedPrecondition && row.retry.is_none())
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let Some(row) = find(refused.reason) else {
            // A test holds every reason to the table, so this is a reason that nobody foresaw.
            return fault(format_args!("the reason {} has no row in the table of errors", refused.reason));
        };
        let text = refused.text.unwrap_or(Cow::Borrowed(row.text));
        let mut metadata = HashMap::new();
        if let Some(rule) = refused.nearest_rule {
            metadata.insert("nearest_rule".to_owned(), rule);
        }
        let mut details = ErrorDetails::with_error_info(row.reason, DOMAIN, metadata);
        if let Some(field) = refused.field {
            details.add_bad_request_violation(field, text.as_ref());
        }
        if let Some(after) = row.retry {
            details.set_retry_info(Some(after));
        }
        Self::with_error_details(row.code, format!("{text} [{}]", row.reason), details)
    }
}

/// Answers for a fault of ours: the peer gets an id, the operator's log the cause.
pub fn fault(cause: impl Display) -> Status {
    let id = uuid::Uuid::now_v7();
    error!(%id, %cause, "a call ended in a fault of ours");
    metrics::counter!("seinpost_faults_total").increment(1);
    let metadata = HashMap::from([("id".to_owned(), id.to_string())]);
    let details = ErrorDetails::with_error_info("INTERNAL", DOMAIN, metadata);
    Status::with_error_details(Code::Internal, format!("a fault of the hub; report it by this id: {id} [INTERNAL]"), details)
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

fn find(reason: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.reason == reason)
}
