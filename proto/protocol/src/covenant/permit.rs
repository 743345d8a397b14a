//! Which row of the decision table permits a signal; if none does, which comes nearest, and what would do.
//!
//! Default deny: a signal passes if for each recipient some row fits in every column. A permit is the first row that
//! fits, in the document's order, so that everybody names the same one. All domains are finite, so what the rows permit
//! together can be enumerated ([`Covenant::cells`]) and compared with what a lawyer meant.

use std::fmt::{self, Write as _};

use crate::address::{Address, Function};
use crate::digest::Digest;
use crate::signal::SignalHeader;
use crate::time::Timestamp;
use crate::wire::{self, Purpose, Reference, SignalType, SourceRegime, Urgency};

use super::Covenant;
use super::labels::{function_label_en, purpose_code, reference_noun, regime_code, signal_type_code, urgency_code};

/// Longest text of a refusal in bytes: it travels in a header of the answer, whose list ends at 16 KiB.
const MESSAGE_BYTES_MAX: usize = 1_024;

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

    fn rows_of(&self, signal_type: SignalType, from: Function, to: Function) -> impl Iterator<Item = usize> {
        self.0.index.rows.matching(signal_type, from, to)
    }

    /// Finds the profile of this name, version and digest among those of the type.
    fn profile_at(&self, signal_type: SignalType, wanted: &IntentProfile<'_>) -> Option<usize> {
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

    fn refuse_pair(&self, intent: &Intent<'_>, at: usize) -> Refused {
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
    fn explain(&self, intent: &Intent<'_>, at: usize, reason: Refusal) -> String {
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

enum Verdict {
    /// The first row that fits.
    Fits(usize),
    /// The row that fails last and its column; none has type and pair.
    Nearest(Option<(usize, Column)>),
}

/// The columns that a row of the right type and pair may fail in, in the order in which they are asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Basis,
    Regime,
    Reference,
    Purpose,
    Urgency,
    Supersedes,
    Profile,
}

fn no_route(at: usize) -> Refused {
    let message = Message::new("No address is known for this recipient.".to_owned());
    Refused { reason: Refusal::NoRoute, recipient: at, nearest_rule: None, message: message.end(Refusal::NoRoute) }
}

/// A set of enum values: bit n stands for the value with number n. The largest enum, of functions, ends at 25.
#[derive(Clone, Copy)]
struct Set(u32);

impl Set {
    fn of(numbers: &[i32]) -> Self {
        Self(numbers.iter().fold(0, |bits, number| bits | (1 << number)))
    }

    fn or_all(numbers: &[i32]) -> Self {
        if numbers.is_empty() { Self(u32::MAX) } else { Self::of(numbers) }
    }

    fn has(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }
}

/// The decision table as bits: for each value of type, from and to, the set of rows that have it.
pub(super) struct Rows {
    rows: Vec<Row>,
    types: Vec<Vec<u64>>,
    from: Vec<Vec<u64>>,
    to: Vec<Vec<u64>>,
    /// By number of a type, the places of its profiles.
    profiles: Vec<Vec<usize>>,
    /// By number of a type, those of them that no rule names: the type's own.
    own_profiles: Vec<Vec<usize>>,
}

/// A row's columns after type, pair and basis.
struct Row {
    regimes: Set,
    reference: bool,
    purposes: Set,
    urgencies: Set,
    supersedes: bool,
    /// Places of the profiles that it names; `None`: the type's own.
    profiles: Option<Vec<usize>>,
}

/// Values of an enum of functions or types, 0 among them, rounded up.
const VALUES: usize = 32;

impl Rows {
    pub(super) fn new(message: &wire::Covenant) -> Self {
        let words = message.rules.len().div_ceil(64);
        let none = || vec![vec![0; words]; VALUES];
        let mut rows = Self {
            rows: Vec::with_capacity(message.rules.len()),
            types: none(),
            from: none(),
            to: none(),
            profiles: vec![Vec::new(); VALUES],
            own_profiles: vec![Vec::new(); VALUES],
        };
        for (at, rule) in message.rules.iter().enumerate() {
            for (column, values) in
                [(&mut rows.types, &rule.types), (&mut rows.from, &rule.from), (&mut rows.to, &rule.to)]
            {
                for value in values {
                    column[usize::try_from(*value).expect("an enum is not negative")][at / 64] |= 1 << (at % 64);
                }
            }
            let named =
                message.profiles.iter().enumerate().filter(|(_, profile)| rule.profiles.contains(&profile.name));
            rows.rows.push(Row {
                regimes: Set::of(&rule.regimes),
                reference: rule.reference() != Reference::None,
                purposes: Set::or_all(&rule.purposes),
                urgencies: Set::or_all(&rule.urgencies),
                supersedes: rule.supersedes,
                profiles: (!rule.profiles.is_empty()).then(|| named.map(|(at, _)| at).collect()),
            });
        }
        for (at, profile) in message.profiles.iter().enumerate() {
            let of_type = profile.r#type() as usize;
            rows.profiles[of_type].push(at);
            if !message.rules.iter().any(|rule| rule.profiles.contains(&profile.name)) {
                rows.own_profiles[of_type].push(at);
            }
        }
        rows
    }

    /// Returns the rows of a type and pair, in the document's order.
    fn matching(&self, signal_type: SignalType, from: Function, to: Function) -> impl Iterator<Item = usize> {
        let [types, from, to] = [&self.types[signal_type as usize], &self.from[from as usize], &self.to[to as usize]];
        types.iter().zip(from).zip(to).enumerate().flat_map(|(word, ((types, from), to))| {
            let mut bits = types & from & to;
            std::iter::from_fn(move || {
                (bits != 0).then(|| {
                    let bit = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    word * 64 + bit
                })
            })
        })
    }

    /// Returns whether a row lets a type pass with the profile at that place.
    fn serves(&self, row: &Row, profile: usize, signal_type: SignalType) -> bool {
        let of_type = signal_type as usize;
        match &row.profiles {
            Some(named) => named.contains(&profile) && self.profiles[of_type].contains(&profile),
            None => self.own_profiles[of_type].contains(&profile),
        }
    }
}

impl Row {
    fn fails_after_basis(&self, intent: &Intent<'_>, has_reference: bool) -> Option<Column> {
        if !self.regimes.has(intent.source_regime as u32) {
            Some(Column::Regime)
        } else if self.reference && !has_reference {
            Some(Column::Reference)
        } else if !self.purposes.has(intent.purpose as u32) {
            Some(Column::Purpose)
        } else if !self.urgencies.has(intent.urgency as u32) {
            Some(Column::Urgency)
        } else if self.supersedes && !intent.supersedes {
            Some(Column::Supersedes)
        } else {
            None
        }
    }
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
