//! What the content of a signal must be by itself: every bound, every code, every number that must pass a test.
//!
//! In comes a content as decoded, with the covenant's code lists; out goes the list of all its faults, each with its
//! path, so that a person mends a file once and not once per fault. Which fields a type must and may fill is the
//! content profile's to say (the client checks it, since the hub is blind); here stands what holds for every type.
//! A fault names the field and the rule; it quotes what was written only for codes and numbers that the writer must
//! find again, and is shown to the writer alone.

mod fields;
mod parts;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use crate::wire;

use fields::Check;

/// Longest content in bytes: the largest size class, 1,024 KiB, less four bytes of length and sixteen of tag.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024 - 20;
/// Most observations in one content: what a person can weigh, and a bound on the work of checking.
pub const OBSERVATIONS_MAX: usize = 40;
/// Longest text of an observation, in characters: a page.
pub const OBSERVATION_TEXT_CHARS_MAX: usize = 2_000;
/// Longest question or answer of a consultation, in characters: two pages.
pub const QUESTION_CHARS_MAX: usize = 4_000;

/// Most faults that are told of one content. Who opens a content opens what somebody else made: a mebibyte may hold half a
/// million empty observations, each wrong in three ways.
pub const FAULTS_MAX: usize = 256;

/// One thing that is wrong with a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// Path of the field, such as `observations[2].indicator`.
    pub field: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What would be right.
    pub allowed: String,
}

impl FieldFault {
    /// Makes a fault of one field.
    pub fn new(field: impl Into<String>, wrong: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { field: field.into(), wrong: wrong.into(), allowed: allowed.into() }
    }
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; allowed: {}", self.field, self.wrong, self.allowed)
    }
}

/// Answers whether a code list of the covenant has a code.
pub trait Codes {
    /// Returns whether the list has the code.
    fn has(&self, list: &str, code: &str) -> bool;
}

impl<F: Fn(&str, &str) -> bool> Codes for F {
    fn has(&self, list: &str, code: &str) -> bool {
        self(list, code)
    }
}

/// Name of the covenant's code list of activities.
pub const LIST_ACTIVITY: &str = "activity";
/// Name of the covenant's code list of means.
pub const LIST_MEANS: &str = "means";
/// Name of the covenant's code list of indicators.
pub const LIST_INDICATOR: &str = "indicator";

/// Decodes a content from its canonical bytes.
///
/// # Errors
/// A fault at the path `content` if the bytes are no content, hold a field that is not known, or are not the one
/// canonical encoding of what they say.
pub fn decode(bytes: &Bytes) -> Result<wire::Content, FieldFault> {
    if bytes.len() > CONTENT_BYTES_MAX {
        return Err(FieldFault::new("content", "too long", format!("up to {CONTENT_BYTES_MAX} bytes")));
    }
    let content = wire::Content::decode(bytes.clone())
        .map_err(|_| FieldFault::new("content", "cannot be decoded", "a seinpost.v1.Content"))?;
    if content.encode_to_vec() != bytes.as_ref() {
        return Err(FieldFault::new("content", "holds an unknown field or is not canonical", "a seinpost.v1.Content"));
    }
    Ok(content)
}

/// Checks a content by itself and returns all its faults; none: it is right.
///
/// `bsn_allowed` says whether the covenant lets the sender use the citizen service number.
pub fn check(content: &wire::Content, codes: &dyn Codes, bsn_allowed: bool) -> Vec<FieldFault> {
    let mut check = Check { codes, bsn_allowed, faults: Vec::new() };
    check.content(content);
    check.faults
}

/// Returns the first run of nine digits in `text` that passes the eleven-test, with `.`, `/`, `-` and spaces left
/// out: what looks like a BSN must not stand in free text.
pub fn bsn_within(text: &str) -> Option<String> {
    let mut run = String::new();
    for character in text.chars().chain(std::iter::once('x')) {
        match character {
            '0'..='9' => run.push(character),
            '.' | '/' | '-' | ' ' => {}
            _ => {
                let found = run.as_bytes().windows(9).find_map(|nine| {
                    let nine = std::str::from_utf8(nine).expect("digits are ASCII");
                    passes_eleven_test(nine).then(|| nine.to_owned())
                });
                if found.is_some() {
                    return found;
                }
                run.clear();
            }
        }
    }
    None
}

/// Returns whether `number` is nine digits that pass the eleven-test of the BSN: 9·d₁ + 8·d₂ + … + 2·d₈ − d₉ is a
/// multiple of eleven, and not all digits are zero.
#[must_use]
pub fn passes_eleven_test(number: &str) -> bool {
    let digits = number.as_bytes();
    if digits.len() != 9 || !digits.iter().all(u8::is_ascii_digit) || digits.iter().all(|digit| *digit == b'0') {
        return false;
    }
    let weights = [9, 8, 7, 6, 5, 4, 3, 2, -1];
    let sum: i32 = digits.iter().zip(weights).map(|(digit, weight)| i32::from(digit - b'0') * weight).sum();
    sum % 11 == 0
}
