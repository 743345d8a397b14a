//! What one field of a content may be, whatever message it stands in: texts, counts, codes, dates, times, numbers.
//!
//! In comes a field's path, its value and its bound; what is wrong goes to the list of faults ([`Check`]), which ends at
//! [`FAULTS_MAX`] and never holds a word longer than a line. Which field has which bound is said by the part it is in.

use super::{Codes, FAULTS_MAX, FieldFault, bsn_within};
use crate::time::{Timestamp, parse_day};

/// Longest word on what is wrong, in characters.
const WRONG_CHARS_MAX: usize = 200;

/// A content being checked: by which codes, and what was found.
pub(super) struct Check<'a> {
    pub(super) codes: &'a dyn Codes,
    pub(super) bsn_allowed: bool,
    pub(super) faults: Vec<FieldFault>,
}

impl Check<'_> {
    /// A consultation names nobody: a number that passes for a BSN in its text is refused.
    pub(super) fn anonymous(&mut self, at: &str, text: &str, chars_min: usize, chars_max: usize) {
        self.text(at, text, chars_min, chars_max);
        if bsn_within(text).is_some() {
            self.fault(at, "holds a number that passes for a BSN", "text that identifies nobody");
        }
    }

    pub(super) fn text(&mut self, at: &str, text: &str, chars_min: usize, chars_max: usize) {
        let chars = text.chars().count();
        if chars < chars_min {
            self.fault(at, "empty", format!("{chars_min}..{chars_max} characters"));
        } else if chars > chars_max {
            self.fault(at, format!("{chars} characters"), format!("up to {chars_max} characters"));
        }
        if text.chars().any(|character| character.is_control() && character != '\n' && character != '\t') {
            self.fault(at, "holds a control character", "text, with line ends and tabs");
        }
    }

    pub(super) fn texts(&mut self, at: &str, texts: &[String], count_max: usize, chars_max: usize) {
        self.count(at, texts.len(), 0, count_max);
        for (i, text) in texts.iter().enumerate().take(count_max) {
            self.text(&format!("{at}[{i}]"), text, 1, chars_max);
        }
    }

    pub(super) fn codes(&mut self, at: &str, list: &str, codes: &[String], count_min: usize, count_max: usize) {
        self.count(at, codes.len(), count_min, count_max);
        for (i, code) in codes.iter().enumerate().take(count_max) {
            self.code(&format!("{at}[{i}]"), list, code);
            if codes.iter().take(i).any(|earlier| earlier == code) {
                self.fault(format!("{at}[{i}]"), format!("{code} stands twice"), "each code once");
            }
        }
    }

    pub(super) fn code(&mut self, at: &str, list: &str, code: &str) {
        if code.is_empty() {
            self.fault(at, "missing", format!("a code of the list {list} (seinpost codes {list})"));
        } else if !self.codes.has(list, code) {
            // The code is the writer's own and must be found again, but a long one may be anything: it is not echoed.
            let shown = if code.len() <= 40 { code } else { "what is given" };
            self.fault(
                at,
                format!("{shown} is not in the list {list}"),
                format!("a code of the list (seinpost codes {list})"),
            );
        }
    }

    pub(super) fn count(&mut self, at: &str, count: usize, min: usize, max: usize) {
        if count < min || count > max {
            self.fault(at, format!("{count} of them"), format!("{min}..{max}"));
        }
    }

    pub(super) fn digits(&mut self, at: &str, text: &str, min: usize, max: usize) {
        if text.len() < min || text.len() > max || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let length = if min == max { min.to_string() } else { format!("{min}..{max}") };
            self.fault(at, "not of the right form", format!("{length} digits"));
        }
    }

    pub(super) fn municipality(&mut self, at: &str, code: &str) {
        if !code.is_empty() {
            self.digits(at, code, 4, 4);
        }
    }

    pub(super) fn phone(&mut self, at: &str, phone: &str) {
        let digits = phone.strip_prefix('+').unwrap_or(phone);
        if phone.len() > 20 || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ') {
            self.fault(at, "no telephone number", "up to 20 digits and spaces, with an optional leading +");
        }
    }

    pub(super) fn language(&mut self, at: &str, tag: &str) {
        let fits =
            (2..=12).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !tag.is_empty() && !fits {
            self.fault(at, "no language tag", "2..12 letters, digits or -, such as nl or ti");
        }
    }

    pub(super) fn date(&mut self, at: &str, text: &str, month_suffices: bool) {
        let full = if month_suffices && text.len() == 7 { format!("{text}-01") } else { text.to_owned() };
        if parse_day(&full).is_none() {
            let form = if month_suffices { "YYYY-MM-DD or YYYY-MM" } else { "YYYY-MM-DD" };
            self.fault(at, if text.is_empty() { "missing" } else { "no date" }, form);
        }
    }

    pub(super) fn time(&mut self, at: &str, time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
        let time = time?;
        match Timestamp::try_from(time) {
            Ok(time) => Some(time),
            Err(_) => {
                self.fault(
                    at,
                    "no time within 2020..2100 in whole milliseconds",
                    "RFC 3339, such as 2026-11-20T14:30:00Z",
                );
                None
            }
        }
    }

    pub(super) fn known<E: TryFrom<i32>>(&mut self, at: &str, name: &str, value: i32) {
        if value == 0 {
            self.fault(format!("{at}.{name}"), "missing", "one of its values (seinpost template shows them)");
        } else {
            self.known_or_absent::<E>(at, name, value);
        }
    }

    pub(super) fn known_or_absent<E: TryFrom<i32>>(&mut self, at: &str, name: &str, value: i32) {
        if value != 0 && E::try_from(value).is_err() {
            self.fault(format!("{at}.{name}"), "an unknown value", "one of its values");
        }
    }

    pub(super) fn fault(&mut self, field: impl Into<String>, wrong: impl Into<String>, allowed: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            // What was written stands in it at times, which may be as long as the content, or steer a terminal.
            let visible =
                |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
            let wrong: String = wrong.into().chars().take(WRONG_CHARS_MAX).map(visible).collect();
            self.faults.push(FieldFault::new(field, wrong, allowed));
        }
    }
}
