//! Which row of the decision table permits a signal; if none does, which comes nearest, and what would do.
//!
//! Default deny: a signal passes if for each recipient some row fits in every column. A permit is the first row that
//! fits, in the document's order, so that everybody names the same one. All domains are finite, so what the rows permit
//! together can be enumerated ([`Covenant::cells`]) and compared with what a lawyer meant.

use crate::address::{Address, Function};
use crate::digest::Digest;
use crate::signal::SignalHeader;
use crate::time::Timestamp;
use crate::wire::{self, Purpose, SignalType, SourceRegime, Urgency};

use super::Covenant;
use super::refusal::{Refusal, Refused, no_route};
use super::rows::Column;

/// What a signal asks the rules: a header's columns, or what a client means to write into one.
#[derive(Debug, Clone)]
pub struct Intent<'a> {
    /// The sender's function.
    pub from: Function,
    /// The type of the signal.
    pub signal_type: SignalType,
    /// To whom, on which basis.
    pub recipients: Vec<IntentRecipient<'a>>,
    /// Under which law the data were held.
    pub source_regime: SourceRegime,
    /// What for.
    pub purpose: Purpose,
    /// How urgent.
    pub urgency: Urgency,
    /// It names a signal that it supersedes.
    pub supersedes: bool,
    /// The content profile; `None`: whichever serves all recipients.
    pub profile: Option<IntentProfile<'a>>,
    /// When it is signed, which is the day of its routes.
    pub signed_at: Timestamp,
}

/// One recipient of an [`Intent`].
#[derive(Debug, Clone, Copy)]
pub struct IntentRecipient<'a> {
    /// The address.
    pub address: Address,
    /// The code of the legal basis.
    pub legal_basis: &'a str,
    /// A reference stands beside it.
    pub has_reference: bool,
    /// The municipality for which the address was resolved.
    pub municipality: Option<&'a str>,
}

/// The content profile of an [`Intent`].
#[derive(Debug, Clone, Copy)]
pub struct IntentProfile<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: u32,
    /// The digest of the profile's message, by which the sender knew it.
    pub sha256: Digest,
}

impl<'a> From<&'a SignalHeader> for Intent<'a> {
    fn from(header: &'a SignalHeader) -> Self {
        let recipients = header.recipients.iter().map(|recipient| IntentRecipient {
            address: recipient.address,
            legal_basis: &recipient.legal_basis,
            has_reference: recipient.basis_reference.is_some(),
            municipality: recipient.municipality.as_deref(),
        });
        Self {
            from: header.signer.address.function,
            signal_type: header.signal_type,
            recipients: recipients.collect(),
            source_regime: header.source_regime,
            purpose: header.purpose,
            urgency: header.urgency,
            supersedes: header.supersedes.is_some(),
            profile: Some(IntentProfile {
                name: &header.content_profile.name,
                version: header.content_profile.version,
                sha256: header.content_profile.sha256,
            }),
            signed_at: header.signer.signed_at,
        }
    }
}

/// For each recipient the rule that lets the signal pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// The covenant that was asked.
    pub covenant: Digest,
    /// In the signal's order.
    pub recipients: Vec<Permitted>,
    /// Name and version of the profile that all share.
    pub profile: (String, u32),
}

/// A recipient to whom a rule lets the signal pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permitted {
    /// The recipient.
    pub address: Address,
    /// Id of the first row that fits.
    pub rule_id: String,
    /// A route leads to the address; if not, sender and recipient must both be party to the conversation.
    pub routed: bool,
}

/// One cell of the decision table: a type, from a function, to a function.
#[derive(Debug, Clone)]
pub struct Cell<'a> {
    /// The type.
    pub signal_type: SignalType,
    /// The sender's function.
    pub from: Function,
    /// The recipient's function.
    pub to: Function,
    /// All rows of the cell, in the document's order; none: nothing of this type passes here, on whatever basis.
    pub rules: Vec<&'a wire::Rule>,
}

/// Returns all types of signals.
pub fn signal_types() -> impl Iterator<Item = SignalType> + Clone {
    (1..).map_while(|number| SignalType::try_from(number).ok())
}

/// Returns all functions.
pub fn functions() -> impl Iterator<Item = Function> + Clone {
    (1..).map_while(|number| Function::try_from(number).ok())
}

impl Covenant {
    /// Answers which rule permits a signal to each of its recipients.
    ///
    /// That the signer may act, and for what is not routed, that both are party to the conversation, is for others to
    /// ask; the header has been checked by itself.
    ///
    /// # Errors
    /// [`Refused`] names the first recipient without a row, the row that comes nearest, and what would do.
    pub fn permit(&self, header: &SignalHeader) -> Result<Permit, Refused> {
        self.permit_intent(&Intent::from(header))
    }

    /// Answers as [`Covenant::permit`] for what is not yet a header.
    ///
    /// Without a profile it takes the one that serves all: the highest version, and of several names the first in the
    /// document.
    ///
    /// # Errors
    /// As [`Covenant::permit`].
    pub fn permit_intent(&self, intent: &Intent<'_>) -> Result<Permit, Refused> {
        if intent.recipients.is_empty() {
            return Err(no_route(0));
        }
        let profile = match &intent.profile {
            Some(profile) => self.profile_at(intent.signal_type, profile),
            None => Some(self.profile_serving(intent).ok_or_else(|| self.refuse_without_profile(intent))?),
        };
        let mut recipients = Vec::with_capacity(intent.recipients.len());
        for (at, recipient) in intent.recipients.iter().enumerate() {
            let rule = match self.judge(intent, recipient, profile) {
                Verdict::Fits(rule) => rule,
                Verdict::Nearest(nearest) => return Err(self.refuse(intent, at, nearest)),
            };
            // Said after the rules, so that it tells nothing which the covenant in everybody's hands does not tell.
            if !self.takes_part(recipient.address) {
                return Err(no_route(at));
            }
            let municipality = recipient.municipality;
            let routed = municipality
                .is_some_and(|code| self.is_routed(recipient.address, code, intent.signal_type, intent.signed_at));
            let rule_id = self.message().rules[rule].id.clone();
            recipients.push(Permitted { address: recipient.address, rule_id, routed });
        }
        let profile = profile.map(|at| &self.profiles()[at]).expect("a row that fits has a profile");
        Ok(Permit { covenant: self.digest(), recipients, profile: (profile.name.clone(), profile.version) })
    }

    /// Enumerates every type from every function to every function, with the rows that permit it.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        let pairs = functions().flat_map(|from| functions().map(move |to| (from, to)));
        signal_types().flat_map(move |signal_type| {
            pairs.clone().map(move |(from, to)| Cell {
                signal_type,
                from,
                to,
                rules: self.rows_of(signal_type, from, to).map(|row| &self.message().rules[row]).collect(),
            })
        })
    }

    /// Returns the profiles with which a row lets a type pass: those it names, else the type's own.
    pub fn profiles_of<'a>(
        &'a self,
        rule: &'a wire::Rule,
        signal_type: SignalType,
    ) -> impl Iterator<Item = &'a wire::Profile> {
        let own = &self.0.index.rows.own_profiles[signal_type as usize];
        self.profiles().iter().enumerate().filter_map(move |(at, profile)| {
            let serves = if rule.profiles.is_empty() {
                own.contains(&at)
            } else {
                profile.r#type() == signal_type && rule.profiles.contains(&profile.name)
            };
            serves.then_some(profile)
        })
    }

    pub(super) fn rows_of(&self, signal_type: SignalType, from: Function, to: Function) -> impl Iterator<Item = usize> {
        self.0.index.rows.matching(signal_type, from, to)
    }

    /// Finds the profile of this name, version and digest among those of the type.
    pub(super) fn profile_at(&self, signal_type: SignalType, wanted: &IntentProfile<'_>) -> Option<usize> {
        let of_type = &self.0.index.rows.profiles[signal_type as usize];
        of_type.iter().copied().find(|at| {
            let profile = &self.profiles()[*at];
            profile.name == wanted.name
                && profile.version == wanted.version
                && self.0.index.profile_sha256(*at) == wanted.sha256
        })
    }

    /// Finds the profile that serves all recipients, each by some row that fits apart from the profile.
    fn profile_serving(&self, intent: &Intent<'_>) -> Option<usize> {
        let mut best: Option<usize> = None;
        for at in self.0.index.rows.profiles[intent.signal_type as usize].iter().copied() {
            let serves = |recipient| matches!(self.judge(intent, recipient, Some(at)), Verdict::Fits(_));
            let is_better = best.is_none_or(|best| {
                let (best, this) = (&self.profiles()[best], &self.profiles()[at]);
                best.name == this.name && best.version < this.version
            });
            if is_better && intent.recipients.iter().all(serves) {
                best = Some(at);
            }
        }
        best
    }

    fn judge(&self, intent: &Intent<'_>, recipient: &IntentRecipient<'_>, profile: Option<usize>) -> Verdict {
        let mut nearest = None;
        for row in self.rows_of(intent.signal_type, intent.from, recipient.address.function) {
            let Some(column) = self.fails_in(row, intent, recipient, profile) else {
                return Verdict::Fits(row);
            };
            if nearest.is_none_or(|(_, furthest)| furthest < column) {
                nearest = Some((row, column));
            }
        }
        Verdict::Nearest(nearest)
    }

    /// Returns the first column in which a row of this type and pair does not fit.
    fn fails_in(
        &self,
        row: usize,
        intent: &Intent<'_>,
        recipient: &IntentRecipient<'_>,
        profile: Option<usize>,
    ) -> Option<Column> {
        let rows = &self.0.index.rows;
        if self.message().rules[row].legal_basis != recipient.legal_basis {
            return Some(Column::Basis);
        }
        let row = &rows.rows[row];
        row.fails_after_basis(intent, recipient.has_reference).or_else(|| {
            (!profile.is_some_and(|at| rows.serves(row, at, intent.signal_type))).then_some(Column::Profile)
        })
    }

    /// No profile serves all: tells of the first recipient that has no row apart from it, else of the first.
    fn refuse_without_profile(&self, intent: &Intent<'_>) -> Refused {
        let mut first = None;
        for (at, recipient) in intent.recipients.iter().enumerate() {
            match self.judge(intent, recipient, None) {
                Verdict::Nearest(Some((row, Column::Profile))) => first = first.or(Some((at, row))),
                Verdict::Nearest(nearest) => return self.refuse(intent, at, nearest),
                Verdict::Fits(_) => unreachable!("no row fits without a profile"),
            }
        }
        let (at, nearest) = first.map_or((0, None), |(at, row)| (at, Some((row, Column::Profile))));
        self.refuse(intent, at, nearest)
    }

    fn refuse(&self, intent: &Intent<'_>, at: usize, nearest: Option<(usize, Column)>) -> Refused {
        let Some((row, column)) = nearest else {
            return self.refuse_pair(intent, at);
        };
        let reason = match column {
            Column::Basis => Refusal::Basis,
            Column::Regime => Refusal::BasisRegime,
            Column::Reference => Refusal::BasisReference,
            Column::Purpose => Refusal::BasisPurpose,
            Column::Urgency => Refusal::BasisUrgency,
            Column::Supersedes => Refusal::BasisSupersedes,
            Column::Profile if self.is_split(intent) => Refusal::ProfileSplit,
            Column::Profile => Refusal::BasisProfile,
        };
        let nearest_rule = Some(self.message().rules[row].id.clone());
        let message = self.explain(intent, at, reason);
        Refused { reason, recipient: at, nearest_rule, message }
    }

    /// Each recipient has a row apart from the profile, and no one profile serves all.
    fn is_split(&self, intent: &Intent<'_>) -> bool {
        let fits_apart = |recipient: &IntentRecipient<'_>| {
            let mut rows = self.rows_of(intent.signal_type, intent.from, recipient.address.function);
            // A row that serves no profile at all is no row: nothing would ever pass by it.
            rows.any(|row| {
                self.fails_in(row, intent, recipient, None) == Some(Column::Profile)
                    && self.profiles_of(&self.message().rules[row], intent.signal_type).next().is_some()
            })
        };
        intent.recipients.len() > 1
            && intent.recipients.iter().all(fits_apart)
            && self.profile_serving(intent).is_none()
    }
}

enum Verdict {
    /// The first row that fits.
    Fits(usize),
    /// The row that fails last and its column; none has type and pair.
    Nearest(Option<(usize, Column)>),
}
