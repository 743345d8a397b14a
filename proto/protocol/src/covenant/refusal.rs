//! Why the rules refuse a signal: the reason, the nearest row, and in one sentence what would do.
//!
//! In comes an intent and the column in which its nearest row failed; out goes a [`Refused`], whose text names every row
//! of the type and pair with what it would take, so that a sender reads what to change and a lawyer which row to ask
//! about. It decides nothing, and says nothing that the covenant in everybody's hands does not say.

use std::fmt::{self, Write as _};

use super::Covenant;
use super::labels::{function_label_en, purpose_code, reference_noun, regime_code, signal_type_code, urgency_code};
use super::permit::{Intent, IntentRecipient, functions, signal_types};

/// Longest text of a refusal in bytes: it travels in a header of the answer, whose list ends at 16 KiB.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// Why no row permits a signal: of the nearest row, the column that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No row has this type from this function to that one.
    NoRule,
    /// Rows have type and pair, but none this legal basis.
    Basis,
    /// Not under this source regime.
    BasisRegime,
    /// The basis needs the number of a decision, consent or order.
    BasisReference,
    /// Not for this purpose.
    BasisPurpose,
    /// Not in this urgency.
    BasisUrgency,
    /// Only for a signal that supersedes another.
    BasisSupersedes,
    /// Not with this content profile, or the covenant has no such profile.
    BasisProfile,
    /// Every recipient has a row, but no one profile serves all: two signals would do.
    ProfileSplit,
    /// The recipient is not known or takes no part.
    NoRoute,
}

impl Refusal {
    /// Returns the reason's code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "NO_RULE",
            Self::Basis => "BASIS",
            Self::BasisRegime => "BASIS_REGIME",
            Self::BasisReference => "BASIS_REFERENCE",
            Self::BasisPurpose => "BASIS_PURPOSE",
            Self::BasisUrgency => "BASIS_URGENCY",
            Self::BasisSupersedes => "BASIS_SUPERSEDES",
            Self::BasisProfile => "BASIS_PROFILE",
            Self::ProfileSplit => "PROFILE_SPLIT",
            Self::NoRoute => "NO_ROUTE",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No row permits a signal to one of its recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub reason: Refusal,
    /// The first recipient that is refused, counted from 0.
    pub recipient: usize,
    /// Id of the row that fails last; none when no row has type and pair.
    pub nearest_rule: Option<String>,
    /// What would do, in an English sentence that ends in the reason's code in brackets.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

impl Covenant {
    pub(super) fn refuse_pair(&self, intent: &Intent<'_>, at: usize) -> Refused {
        let to = intent.recipients[at].address.function;
        let (from_label, to_label) = (function_label_en(intent.from), function_label_en(to));
        let code = signal_type_code(intent.signal_type);
        let types: Vec<&str> = signal_types()
            .filter(|other| self.rows_of(*other, intent.from, to).next().is_some())
            .map(signal_type_code)
            .collect();
        let receivers: Vec<&str> = functions()
            .filter(|other| self.rows_of(intent.signal_type, intent.from, *other).next().is_some())
            .map(function_label_en)
            .collect();
        let mut message = Message::new(format!("{from_label} may not send {code} to {to_label} on any basis."));
        if !types.is_empty() {
            message.push(format!(" To {to_label} it may send {}.", list(&types, "or")));
        }
        if !receivers.is_empty() {
            message.push(format!(" {code} it may send to {}.", list(&receivers, "or")));
        }
        let reason = Refusal::NoRule;
        Refused { reason, recipient: at, nearest_rule: None, message: message.end(reason) }
    }

    /// Says for each row of the type and pair what it would take, and what was given instead.
    pub(super) fn explain(&self, intent: &Intent<'_>, at: usize, reason: Refusal) -> String {
        let recipient = &intent.recipients[at];
        let to = recipient.address.function;
        let profile = match &intent.profile {
            Some(profile) => self.profile_at(intent.signal_type, profile),
            None => None,
        };
        let mut message = Message::new(format!(
            "{} may send {} to {} ",
            function_label_en(intent.from),
            signal_type_code(intent.signal_type),
            function_label_en(to)
        ));
        let mut joint = "";
        for row in self.rows_of(intent.signal_type, intent.from, to) {
            let rule = &self.message().rules[row];
            let mut text = format!("{joint}on {}", rule.legal_basis);
            let needs = self.needs(row, intent, recipient, profile, reason);
            if !needs.is_empty() {
                let _ = write!(text, " ({})", needs.join("; "));
            }
            message.push(text);
            joint = ", or ";
        }
        let given = match reason {
            Refusal::NoRule | Refusal::Basis | Refusal::NoRoute => String::new(),
            Refusal::BasisRegime => format!(" with {}", regime_code(intent.source_regime)),
            Refusal::BasisReference => " without basis_reference".to_owned(),
            Refusal::BasisPurpose => format!(" for {}", purpose_code(intent.purpose)),
            Refusal::BasisUrgency => format!(" as {}", urgency_code(intent.urgency)),
            Refusal::BasisSupersedes => " without supersedes".to_owned(),
            Refusal::BasisProfile | Refusal::ProfileSplit => match &intent.profile {
                Some(given) if profile.is_none() && self.profile(given.name, given.version).is_some() => {
                    format!(" with profile {} {}, whose digest is another in this covenant", given.name, given.version)
                }
                Some(given) => format!(" with profile {} {}", given.name, given.version),
                None => String::new(),
            },
        };
        message.push(format!(". You gave {}{given}.", recipient.legal_basis));
        if reason == Refusal::ProfileSplit {
            message.push(" No one profile serves all recipients: send two signals.".to_owned());
        }
        message.end(reason)
    }

    /// Says what a row would take that the intent does not give, apart from the basis.
    fn needs(
        &self,
        row: usize,
        intent: &Intent<'_>,
        recipient: &IntentRecipient<'_>,
        profile: Option<usize>,
        reason: Refusal,
    ) -> Vec<String> {
        let rows = &self.0.index.rows;
        let (rule, row) = (&self.message().rules[row], &rows.rows[row]);
        let mut needs = Vec::new();
        if !row.regimes.has(intent.source_regime as u32) {
            needs.push(format!("regime {}", list(&codes(rule.regimes().map(regime_code)), "or")));
        }
        if row.reference && !recipient.has_reference {
            needs.push(format!("needs basis_reference: the number of the {}", reference_noun(rule.reference())));
        }
        if !row.purposes.has(intent.purpose as u32) {
            needs.push(format!("purpose {}", list(&codes(rule.purposes().map(purpose_code)), "or")));
        }
        if !row.urgencies.has(intent.urgency as u32) {
            needs.push(format!("urgency {}", list(&codes(rule.urgencies().map(urgency_code)), "or")));
        }
        if row.supersedes && !intent.supersedes {
            needs.push("needs supersedes: the signal that it changes".to_owned());
        }
        let serves = profile.is_some_and(|at| rows.serves(row, at, intent.signal_type));
        // Who leaves the choice open hears of profiles only where there is none to choose.
        let is_told = intent.profile.is_some() || matches!(reason, Refusal::BasisProfile | Refusal::ProfileSplit);
        if !serves && is_told {
            let names: Vec<String> = self
                .profiles_of(rule, intent.signal_type)
                .map(|profile| format!("{} {}", profile.name, profile.version))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            needs.push(if names.is_empty() {
                "no profile serves it".to_owned()
            } else {
                format!("profile {}", list(&names, "or"))
            });
        }
        needs
    }
}

pub(super) fn no_route(at: usize) -> Refused {
    let message = Message::new("No address is known for this recipient.".to_owned());
    Refused { reason: Refusal::NoRoute, recipient: at, nearest_rule: None, message: message.end(Refusal::NoRoute) }
}

/// A refusal's text, cut at a whole part where it grows too long.
struct Message {
    text: String,
    is_cut: bool,
}

impl Message {
    fn new(text: String) -> Self {
        Self { text, is_cut: false }
    }

    fn push(&mut self, part: String) {
        if self.text.len() + part.len() <= MESSAGE_BYTES_MAX {
            self.text.push_str(&part);
        } else if !self.is_cut {
            self.text.push_str(" …");
            self.is_cut = true;
        }
    }

    fn end(mut self, reason: Refusal) -> String {
        let _ = write!(self.text, " [{reason}]");
        self.text
    }
}

fn codes(codes: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    codes.collect()
}

/// Writes `A`, `A or B`, `A, B or C`.
fn list(words: &[&str], joint: &str) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} {joint} {last}", first.join(", ")),
    }
}
