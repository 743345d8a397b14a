//! Pages of lists (AIP-158): a bounded number of rows, and a token that says where the next page begins.
//!
//! A token is opaque and bound to who asked for what: it bears a code under a key of this process, so that nobody begins
//! a list in its middle, where the look that a first page records would be missing. It holds a place in the log and
//! nothing else; after a restart a list begins anew.

use ring::hmac;
use tonic::Status;

use crate::errors::Refused;

/// Rows of a page that does not say how many it wants.
const ROWS: usize = 50;
/// Rows of one page at most: some 40 KiB of answer.
const ROWS_MAX: usize = 200;

/// Returns how many rows a page has.
pub(super) fn rows(page_size: u32) -> usize {
    match usize::try_from(page_size) {
        Ok(0) => ROWS,
        Ok(rows) => rows.min(ROWS_MAX),
        Err(_) => ROWS_MAX,
    }
}

/// Writes and reads the tokens of this process.
pub struct Pages(hmac::Key);

impl Pages {
    /// Draws a key.
    ///
    /// # Panics
    /// If the system has no random numbers, without which nothing here can go on.
    #[must_use]
    pub fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        Self(hmac::Key::generate(hmac::HMAC_SHA256, &random).expect("the system has random numbers"))
    }

    /// Writes a token for a place in one of a list's parts; `list` says who asked for what.
    pub(super) fn token(&self, list: &str, part: u8, place: u64) -> String {
        let place = format!("{part:02x}{place:016x}");
        format!("{place}{}", self.code(list, &place))
    }

    /// Reads a token that was written for the same list; `None` where there is none.
    pub(super) fn place(&self, list: &str, token: &str) -> Result<Option<(u8, u64)>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let read = || {
            let (place, code) = token.split_at_checked(18)?;
            hmac::verify(&self.0, Self::named(list, place).as_bytes(), &hex::decode(code).ok()?).ok()?;
            let (part, place) = place.split_at_checked(2)?;
            Some((u8::from_str_radix(part, 16).ok()?, u64::from_str_radix(place, 16).ok()?))
        };
        read().map(Some).ok_or_else(|| Refused::of("PAGE_TOKEN").at("page_token").into())
    }

    fn code(&self, list: &str, place: &str) -> String {
        hex::encode(hmac::sign(&self.0, Self::named(list, place).as_bytes()))
    }

    fn named(list: &str, place: &str) -> String {
        format!("{place} {list}")
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_for_the_list_that_it_was_written_for_and_for_no_other() {
        let pages = Pages::new();
        for (part, place) in [(0, 0), (1, 77), (255, u64::MAX)] {
            let token = pages.token("mine", part, place);
            assert_eq!(pages.place("mine", &token).expect("own"), Some((part, place)));
            assert!(pages.place("yours", &token).is_err());
            assert!(Pages::new().place("mine", &token).is_err(), "another process's");
        }
        assert_eq!(pages.place("mine", "").expect("none"), None);
        for foreign in ["0", "000000000000000000", "00000000000000000\u{e9}", &"0".repeat(50)] {
            assert!(pages.place("mine", foreign).is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_page_has_at_most_200_rows() {
        assert_eq!([0, 1, 200, 201, u32::MAX].map(rows), [50, 1, 200, 200, 200]);
    }
}
