//! Lists that come in pages, gathered until there are enough rows.
//!
//! In comes how to ask for a page and which rows to keep; out go the rows, in the gateway's order.

use crate::error::Result;
use crate::status::Page;

/// Rows of one page: what the gateway gives at most.
pub(super) const PAGE: u32 = 200;

/// How much is gathered at most.
pub(super) struct Bounds {
    /// Rows that are kept.
    pub(super) rows: usize,
    /// Pages that are asked for.
    pub(super) pages: usize,
}

/// Asks for page after page, each with what the one before it said, and keeps the rows that fit.
pub(super) async fn gather<T>(
    bounds: Bounds,
    ask: impl AsyncFn(Option<&str>) -> Result<Page<T>>,
    fits: impl Fn(&T) -> bool,
) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    let mut page: Option<String> = None;
    for _ in 0..bounds.pages {
        if rows.len() >= bounds.rows {
            break;
        }
        let got = ask(page.as_deref()).await?;
        rows.extend(got.rows.into_iter().filter(|row| fits(row)));
        page = got.next;
        if page.is_none() {
            break;
        }
    }
    rows.truncate(bounds.rows);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Gathers from three pages of two numbers each, and returns what was gathered and what was asked with.
    async fn check(rows: usize, pages: usize, fits: impl Fn(&u32) -> bool) -> (Vec<u32>, Vec<String>) {
        let asked = RefCell::new(Vec::new());
        let ask = async |page: Option<&str>| {
            asked.borrow_mut().push(page.unwrap_or("first").to_owned());
            let first = page.map_or(1, |page| page.parse().expect("a number"));
            Ok(Page { rows: vec![first, first + 1], next: (first < 5).then(|| (first + 2).to_string()) })
        };
        let gathered = gather(Bounds { rows, pages }, ask, fits).await.expect("gathered");
        (gathered, asked.into_inner())
    }

    #[tokio::test]
    async fn pages_are_asked_for_until_there_are_enough_rows_or_no_more() {
        let asked = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(check(100, 100, |_| true).await, (vec![1, 2, 3, 4, 5, 6], asked(&["first", "3", "5"])));
        assert_eq!(check(3, 100, |_| true).await, (vec![1, 2, 3], asked(&["first", "3"])));
        assert_eq!(check(100, 2, |_| true).await, (vec![1, 2, 3, 4], asked(&["first", "3"])));
        assert_eq!(check(2, 100, |row| row % 3 == 0).await, (vec![3, 6], asked(&["first", "3", "5"])));
        assert_eq!(check(0, 100, |_| true).await, (vec![], asked(&[])));
    }
}
