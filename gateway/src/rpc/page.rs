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

/// What is looked at for one page at most. A filter that little fits ends a page early, with a token: the state stands
/// still while a list is read, and must not do so for long. So much takes about a millisecond.
const LOOKED_AT_MAX: usize = 4096;

/// Takes what fits from a list until a page is full or enough was looked at. Returns it with the last that was looked at,
/// behind which the next page begins, if there may be one.
pub(super) fn take<T: Copy>(
    mut list: impl Iterator<Item = T>,
    rows: usize,
    fits: impl Fn(T) -> bool,
) -> (Vec<T>, Option<T>) {
    let (mut page, mut last) = (Vec::new(), None);
    for one in list.by_ref().take(LOOKED_AT_MAX) {
        if fits(one) {
            if page.len() == rows {
                return (page, last);
            }
            page.push(one);
        }
        last = Some(one);
    }
    let more = list.next().is_some();
    (page, last.filter(|_| more))
}

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

    /// Goes through a list page by page, and returns the pages.
    fn pages(list: &[usize], rows: usize, fits: fn(usize) -> bool) -> Vec<Vec<usize>> {
        let (mut pages, mut from) = (Vec::new(), 0);
        loop {
            let (page, last) = take(list[from..].iter().copied(), rows, fits);
            pages.push(page);
            let Some(last) = last else { return pages };
            from = list.partition_point(|one| *one <= last);
        }
    }

    #[test]
    fn every_row_that_fits_stands_on_one_page_and_the_last_page_says_that_it_is() {
        let list: Vec<usize> = (0..10).collect();
        assert_eq!(pages(&list, 4, |_| true), [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
        assert_eq!(pages(&list, 5, |_| true), [vec![0, 1, 2, 3, 4], vec![5, 6, 7, 8, 9]]);
        assert_eq!(pages(&list, 2, |one| one.is_multiple_of(3)), [vec![0, 3], vec![6, 9]]);
        assert_eq!(pages(&list, 2, |_| false), [[0; 0]]);
        assert_eq!(pages(&[], 2, |_| true), [[0; 0]]);
    }

    #[test]
    fn a_page_costs_no_more_than_its_bound_however_little_fits() {
        let looked_at = std::cell::Cell::new(0);
        let endless = (0..).inspect(|_| looked_at.set(looked_at.get() + 1));
        let (page, last) = take(endless, 50, |one: usize| one == 17);
        assert_eq!((page, last), (vec![17], Some(LOOKED_AT_MAX - 1)));
        assert_eq!(looked_at.get(), LOOKED_AT_MAX + 1);
        let list: Vec<usize> = (0..2 * LOOKED_AT_MAX).collect();
        let found = pages(&list, 50, |one| one == LOOKED_AT_MAX + 7);
        assert_eq!(found.concat(), [LOOKED_AT_MAX + 7], "it is found on a later page");
    }

    #[test]
    fn a_page_has_at_most_200_rows() {
        assert_eq!([0, 1, 200, 201, u32::MAX].map(rows), [50, 1, 200, 200, 200]);
    }
}
