//! What may come next in a mailbox: numbers without a gap, each naming the one before it, never back in log or time.
//!
//! In come places that receipts proved, out goes whether one may stand where it came. Pure: who is to be accused, and
//! with what, is for whoever asks.

use std::cmp::Ordering;

use seinpost_protocol::wire;

use super::Place;
use crate::pins::MailboxPin;

/// What comes next in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The record after this one.
    After(MailboxPin),
    /// The record with this number, whatever went before it; `None` until a head says which is the first.
    From(Option<u64>),
}

impl Order {
    /// Returns the number after which the stream begins.
    pub(super) fn last_number(&self) -> u64 {
        match self {
            Self::After(last) => last.number,
            Self::From(first) => first.map_or(0, |first| first.saturating_sub(1)),
        }
    }

    /// Judges the record that came next.
    pub(super) fn judge(&self, mailbox: &wire::MailboxPlace, place: &Place) -> Result<(), String> {
        let number = mailbox.number;
        match self {
            Self::From(None) => Err(format!("number {number} came before any mailbox head")),
            Self::From(Some(first)) if number != *first => {
                Err(format!("number {number} came where the mailbox begins with {first}"))
            }
            Self::From(Some(_)) => Ok(()),
            Self::After(last) if number != last.number + 1 => {
                Err(format!("number {number} came after number {}", last.number))
            }
            Self::After(last)
                if mailbox.previous_index != last.index || mailbox.previous_commitment != last.commitment.as_ref() =>
            {
                Err(format!("number {number} names another record before it than the one that came"))
            }
            Self::After(last) if place.index <= last.index => {
                Err(format!("number {number} stands before number {} in the log", last.number))
            }
            Self::After(last) if place.recorded_at < last.time => {
                Err(format!("number {number} is of {}, earlier than number {}", place.recorded_at, last.number))
            }
            Self::After(_) => Ok(()),
        }
    }

    /// Judges a record that is said to have come before: under its number there was never another.
    pub(super) fn judge_again(&self, place: &Place) -> Result<(), String> {
        match self {
            Self::After(last) => judge_beside(last, place),
            Self::From(_) => Ok(()),
        }
    }
}

/// Judges a record beside one that is known: the same number is the same record, and what comes before or behind it in
/// the mailbox does so in the log and in time as well.
pub(super) fn judge_beside(known: &MailboxPin, place: &Place) -> Result<(), String> {
    let number = place.number;
    match number.cmp(&known.number) {
        Ordering::Equal if (place.index, place.commitment) != (known.index, known.commitment) => {
            Err(format!("another record came again as number {number} than the one that came first"))
        }
        Ordering::Less if place.index >= known.index || place.recorded_at > known.time => {
            Err(format!("number {number} came again from behind number {}", known.number))
        }
        Ordering::Greater if place.index <= known.index || place.recorded_at < known.time => {
            Err(format!("number {number} came from before number {}", known.number))
        }
        Ordering::Less | Ordering::Equal | Ordering::Greater => Ok(()),
    }
}
