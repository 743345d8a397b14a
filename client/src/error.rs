//! What can go wrong, sorted by what whoever called can do about it.
//!
//! A program asks [`Error::kind`] and gets one of seven answers, which the command line turns into exit codes; the
//! reason in UPPER_SNAKE can be searched for. No error holds content of a signal, a person's name or a key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic_types::StatusExt as _;

/// The result of whatever this library does.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The gateway or a rule says no; trying the same again will not help.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file, a profile, a field or an argument is wrong; all faults that were found.
    #[error("{}", Faults(.0))]
    Usage(Vec<Fault>),
    /// A signature, proof, checkpoint or history does not hold.
    #[error(transparent)]
    NotVerified(#[from] NotVerified),
    /// It does not exist, or is not one's own to see.
    #[error("not found: {0}")]
    NotFound(String),
    /// The gateway cannot be reached or is busy; the same may be tried again.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// Certificate or function give no right to it.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// A fault of ours or of the gateway, to be reported.
    #[error("{0}")]
    Fault(String),
}

/// The kinds of error, one per thing that a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// See [`Error::Refused`].
    Refused,
    /// See [`Error::Usage`].
    Usage,
    /// See [`Error::NotVerified`].
    NotVerified,
    /// See [`Error::NotFound`].
    NotFound,
    /// See [`Error::Unreachable`].
    Unreachable,
    /// See [`Error::NotAllowed`].
    NotAllowed,
    /// See [`Error::Fault`].
    Fault,
}

/// Writes what the other side says so that it steers no terminal: it need not be the hub that one hopes for.
fn printable(text: &str) -> String {
    let visible = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    text.chars().map(visible).collect()
}

impl Error {
    /// Returns which kind of error it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) => Kind::Refused,
            Self::Usage(_) => Kind::Usage,
            Self::NotVerified(_) => Kind::NotVerified,
            Self::NotFound(_) => Kind::NotFound,
            Self::Unreachable(_) => Kind::Unreachable,
            Self::NotAllowed(_) => Kind::NotAllowed,
            Self::Fault(_) => Kind::Fault,
        }
    }

    /// Returns the reason in UPPER_SNAKE, where there is one to search for.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => Some(&refusal.reason),
            Self::NotVerified(failure) => Some(failure.reason),
            Self::Unreachable(trouble) => trouble.reason.as_deref(),
            Self::NotAllowed(refusal) => refusal.reason.as_deref(),
            Self::Usage(_) | Self::NotFound(_) | Self::Fault(_) => None,
        }
    }

    /// Returns the folder in which evidence against the hub was saved, if any was.
    #[must_use]
    pub fn evidence(&self) -> Option<&Path> {
        match self {
            Self::NotVerified(failure) => failure.evidence.as_deref(),
            _ => None,
        }
    }

    /// Makes an error of one fault.
    pub(crate) fn usage(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Usage(vec![Fault::new(place, what)])
    }

    /// Makes an error of something that did not verify.
    pub(crate) fn not_verified(reason: &'static str, what: impl Into<String>) -> Self {
        Self::NotVerified(NotVerified { reason, what: what.into(), evidence: None })
    }

    /// Makes an error of a file operation; a missing file or a missing right is the user's to mend, the rest ours.
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::usage(path.display().to_string(), "the file does not exist"),
            std::io::ErrorKind::PermissionDenied => {
                Self::usage(path.display().to_string(), "the file cannot be opened: permission denied")
            }
            std::io::ErrorKind::IsADirectory => Self::usage(path.display().to_string(), "a folder, not a file"),
            std::io::ErrorKind::NotADirectory => {
                Self::usage(path.display().to_string(), "a part of this path is a file, not a folder")
            }
            _ => Self::Fault(format!("{}: {error}", path.display())),
        }
    }

    /// Turns a call's status into what the caller can do about it.
    ///
    /// A status that carries a source was made on this side of the wire: the connection broke, whatever its code.
    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        use tonic::Code;
        if std::error::Error::source(status).is_some() {
            return Self::Unreachable(Unreachable::new(deepest(status)));
        }
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| printable(&info.reason));
        let message = printable(status.message());
        match status.code() {
            Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists | Code::OutOfRange => {
                Self::Refused(Refusal {
                    by: By::Gateway,
                    reason: reason.unwrap_or_else(|| format!("{:?}", status.code())),
                    message,
                    nearest_rule: details
                        .error_info()
                        .and_then(|info| info.metadata.get("nearest_rule").map(|rule| printable(rule))),
                    violations: details
                        .bad_request()
                        .map(|bad| &bad.field_violations[..])
                        .unwrap_or_default()
                        .iter()
                        .map(|violation| Fault::new(printable(&violation.field), printable(&violation.description)))
                        .collect(),
                })
            }
            Code::PermissionDenied | Code::Unauthenticated => Self::NotAllowed(NotAllowed { reason, message }),
            Code::NotFound => Self::NotFound(message),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted | Code::ResourceExhausted => {
                Self::Unreachable(Unreachable {
                    message,
                    reason,
                    retry_after: details.retry_info().and_then(|info| info.retry_delay),
                    automatic: status.code() == Code::Unavailable,
                })
            }
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss | Code::Unimplemented => {
                Self::Fault(format!("the gateway reports a fault of its own: {message}"))
            }
        }
    }
}

/// Says what the innermost cause says, which names the thing that happened; the layers above say "transport error".
fn deepest(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The gateway or a rule said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} [{reason}]")]
pub struct Refusal {
    /// Who said it.
    pub by: By,
    /// The rule's name in UPPER_SNAKE.
    pub reason: String,
    /// What is the matter and what would do, in English.
    pub message: String,
    /// The rule of the covenant that comes nearest.
    pub nearest_rule: Option<String>,
    /// The fields at fault, where the gateway names them.
    pub violations: Vec<Fault>,
}

impl Refusal {
    /// Tells it as the fault of one place among several, with its code and the rule that comes nearest.
    pub(crate) fn fault(&self, place: String) -> Fault {
        let fault = Fault::new(place, format!("{} [{}]", self.message, self.reason));
        match &self.nearest_rule {
            Some(rule) => fault.hint(format!("what rule {rule} says (seinpost covenant show rules --filter {rule})")),
            None => fault,
        }
    }
}

/// Who refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The gateway, by an answer on the wire.
    Gateway,
    /// This client, by the covenant, before anything left.
    Covenant,
}

/// One fault in what was given: where, what, and what would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file and field, such as `profile.toml: signing_key`.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
    /// What is allowed instead, or what to do; empty if the fault says it all.
    pub hint: String,
}

impl Fault {
    /// Makes a fault without a hint.
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), hint: String::new() }
    }

    /// Adds what is allowed or what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

struct Faults<'a>(&'a [Fault]);

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        self.0.iter().try_for_each(|fault| {
            let separator = if std::mem::take(&mut first) { "" } else { "; " };
            write!(f, "{separator}{fault}")
        })
    }
}

/// A signature, proof, checkpoint or history does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} [{reason}]")]
pub struct NotVerified {
    /// The reason in UPPER_SNAKE.
    pub reason: &'static str,
    /// What does not hold.
    pub what: String,
    /// The folder in which the evidence was saved.
    pub evidence: Option<PathBuf>,
}

/// The gateway cannot be reached or is busy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the gateway cannot be reached: {message}")]
pub struct Unreachable {
    /// What happened.
    pub message: String,
    /// The gateway's reason, if it gave one.
    pub reason: Option<String>,
    /// How long the gateway asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether the same may be tried again without asking anybody: true for UNAVAILABLE and a broken connection.
    pub automatic: bool,
}

impl Unreachable {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), reason: None, retry_after: None, automatic: true }
    }
}

/// Certificate or function give no right to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not allowed: {message}")]
pub struct NotAllowed {
    /// The gateway's reason, if it gave one.
    pub reason: Option<String>,
    /// What is not allowed.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_side_says_steers_no_terminal() {
        let error = Error::from_status(&tonic::Status::not_found("none\u{1b}[2J\u{7}\nsuch"));
        assert!(
            matches!(&error, Error::NotFound(what) if what.starts_with("none") && !what.contains(char::is_control))
        );
    }
}
