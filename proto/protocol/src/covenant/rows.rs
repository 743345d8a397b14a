//! The decision table as bits: which rows have a type and pair, and in which column a row fails.
//!
//! Made once per covenant from its rules and profiles, in the document's order, so that the hot path asks a few words of
//! bits where the document holds lists. It knows no recipient and no text.

use crate::address::Function;
use crate::wire::{self, Reference, SignalType};

use super::permit::Intent;

/// The decision table as bits: for each value of type, from and to, the set of rows that have it.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    types: Vec<Vec<u64>>,
    from: Vec<Vec<u64>>,
    to: Vec<Vec<u64>>,
    /// By number of a type, the places of its profiles.
    pub(super) profiles: Vec<Vec<usize>>,
    /// By number of a type, those of them that no rule names: the type's own.
    pub(super) own_profiles: Vec<Vec<usize>>,
}

/// A row's columns after type, pair and basis.
pub(super) struct Row {
    pub(super) regimes: Set,
    pub(super) reference: bool,
    pub(super) purposes: Set,
    pub(super) urgencies: Set,
    pub(super) supersedes: bool,
    /// Places of the profiles that it names; `None`: the type's own.
    profiles: Option<Vec<usize>>,
}

/// The columns that a row of the right type and pair may fail in, in the order in which they are asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    Basis,
    Regime,
    Reference,
    Purpose,
    Urgency,
    Supersedes,
    Profile,
}

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
    pub(super) fn matching(
        &self,
        signal_type: SignalType,
        from: Function,
        to: Function,
    ) -> impl Iterator<Item = usize> {
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
    pub(super) fn serves(&self, row: &Row, profile: usize, signal_type: SignalType) -> bool {
        let of_type = signal_type as usize;
        match &row.profiles {
            Some(named) => named.contains(&profile) && self.profiles[of_type].contains(&profile),
            None => self.own_profiles[of_type].contains(&profile),
        }
    }
}

impl Row {
    /// Returns the first column after the basis in which the row does not fit, but for the profile.
    pub(super) fn fails_after_basis(&self, intent: &Intent<'_>, has_reference: bool) -> Option<Column> {
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

/// A set of enum values: bit n stands for the value with number n. The largest enum, of functions, ends at 25.
#[derive(Clone, Copy)]
pub(super) struct Set(u32);

impl Set {
    fn of(numbers: &[i32]) -> Self {
        Self(numbers.iter().fold(0, |bits, number| bits | (1 << number)))
    }

    fn or_all(numbers: &[i32]) -> Self {
        if numbers.is_empty() { Self(u32::MAX) } else { Self::of(numbers) }
    }

    pub(super) fn has(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }
}

/// Values of an enum of functions or types, 0 among them, rounded up.
const VALUES: usize = 32;
