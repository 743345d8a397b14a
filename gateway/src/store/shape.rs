//! What must stand in the store for a commit, computed without looking into the store.
//!
//! Some of what is stored is written only when it is full: tiles of 256 hashes, and pages of an address's mailbox and items
//! for each span of 4,096 records. Until then it is kept here in memory. So a commit comes with the same keys and values
//! whenever and with whatever others it is applied, which is how a store is checked: compute again and compare.
//!
//! Pages are why a signal costs one small key, that of its item, and little more: a key for each mailbox place and one for
//! each item on a list would be three or more per signal. A page per address and span is one key for all that an address
//! got in 4,096 records.

use std::collections::BTreeMap;

use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::tree::{EMPTY_ROOT, leaf_hash, node_hash};

use super::facts::{Facts, Name};
use super::values::{self, Chunk, HowFar};
use crate::commit::Durable;
use crate::fault::Fault;
use crate::tree::{TILE, subtree};

/// How many records share a page of an address. The records of an unfinished span are read again when the store is opened
/// and held in memory by what they tell the indexes: some hundred KiB.
pub(super) const SPAN: u64 = 4096;

/// A key and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// What is not yet full.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    pub(super) edge: Edge,
    pub(super) tail: Tail,
}

impl Shape {
    /// Returns how many records it has taken.
    pub(super) const fn applied(&self) -> u64 {
        self.tail.next
    }

    /// Takes the next commit: appends what is to be stored for it to `out`, and the facts of its records to `facts`.
    ///
    /// After a fault the shape has taken a part of the commit and is of no more use.
    pub(super) fn take(&mut self, commit: &Durable, out: &mut Vec<Pair>, facts: &mut Vec<Facts>) -> Result<(), Fault> {
        if commit.base != self.applied() {
            return Err(Fault::Moved { size: self.applied(), base: commit.base });
        }
        let mut put = |key: Vec<u8>, body: &[u8]| {
            let value = values::seal(&key, body);
            out.push((key, value));
        };
        for (first, body) in Chunk::encode(commit) {
            put(values::entries_key(first), &body);
        }
        let events = commit.events();
        for (place, (index, entry)) in std::iter::zip(commit.base.., &commit.entries).enumerate() {
            let fact = match events {
                // What was just made need not be read.
                Some(events) => Facts::of_event(&events[place]),
                None => Facts::of(index, entry)?,
            };
            debug_assert_eq!(Facts::of(index, entry).ok().as_ref(), Some(&fact), "record {index} tells what happened");
            let body = index.to_be_bytes();
            if let Some(item) = &fact.accepts {
                put(values::item_key(item), &body);
            }
            match &fact.name {
                Some(Name::KeyStatement(address, serial)) => put(values::key_statement_key(address, *serial), &body),
                Some(Name::Certificate(sha256)) => put(values::certificate_key(sha256), &body),
                Some(Name::Covenant(serial)) => put(values::covenant_key(*serial), &body),
                Some(Name::Crl(sha256)) => put(values::crl_key(sha256), &body),
                None => {}
            }
            if let Some((span, pages)) = self.tail.push(&fact) {
                for (address, page) in pages {
                    if let Some((first, _)) = page.mailbox.first() {
                        let indexes = page.mailbox.iter().map(|(_, index)| *index);
                        put(values::mailbox_key(&address, *first), &values::numbers(indexes));
                    }
                    if !page.items.is_empty() {
                        put(values::items_key(&address, span), &values::numbers(page.items));
                    }
                }
            }
            self.edge.push(leaf_hash(&entry.commitment), |level, number, hashes| {
                put(values::tile_key(level, number), &values::hashes(hashes));
            });
            facts.push(fact);
        }
        Ok(())
    }

    /// Returns how far it has come, as the store remembers it.
    pub(super) fn how_far(&self) -> HowFar {
        HowFar { applied: self.applied(), root: self.edge.root() }
    }
}

/// The tiles that are not full, from the leaves up: at the right edge of the tree.
#[derive(Debug, Clone, Default)]
pub(super) struct Edge {
    pub(super) levels: Vec<Partial>,
}

/// One tile that is not full.
#[derive(Debug, Clone, Default)]
pub(super) struct Partial {
    /// The number of the tile within its level.
    pub(super) number: u64,
    /// Its hashes so far, fewer than 256.
    pub(super) hashes: Vec<Digest>,
}

impl Edge {
    /// Appends a leaf; calls `full` with level, number and hashes of each tile that it fills.
    fn push(&mut self, leaf: Digest, mut full: impl FnMut(u8, u64, &[Digest])) {
        let mut hash = leaf;
        for level in 0_u8.. {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Partial::default());
            }
            let Partial { number, hashes } = &mut self.levels[usize::from(level)];
            hashes.push(hash);
            if (hashes.len() as u64) < TILE {
                return;
            }
            full(level, *number, hashes);
            hash = subtree(hashes);
            *number += 1;
            hashes.clear();
        }
    }

    /// Returns the root of the whole tree.
    pub(super) fn root(&self) -> Digest {
        // Largest subtrees first: each level's hashes in groups by the binary digits of their number.
        let mut peaks = Vec::new();
        for Partial { hashes, .. } in self.levels.iter().rev() {
            let mut rest = hashes.as_slice();
            for power in (0..8).rev().map(|bit| 1 << bit).filter(|power| hashes.len() & power != 0) {
                let (group, behind) = rest.split_at(power);
                peaks.push(subtree(group));
                rest = behind;
            }
        }
        peaks.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or(EMPTY_ROOT)
    }
}

/// What the records of the span that is not full tell the indexes by address.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail {
    /// The first record of the span.
    pub(super) first: u64,
    /// The next record.
    pub(super) next: u64,
    pub(super) pages: BTreeMap<Address, Page>,
}

/// What an address got in one span.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    /// Mailbox numbers and indexes, in order.
    pub(super) mailbox: Vec<(u64, u64)>,
    /// Indexes of its items, in order.
    pub(super) items: Vec<u64>,
}

impl Tail {
    /// Returns the tail of a store that holds whole spans up to `first`.
    pub(super) const fn at(first: u64) -> Self {
        Self { first, next: first, pages: BTreeMap::new() }
    }

    /// Takes the facts of the next record; returns the span's number and its pages if that fills it.
    pub(super) fn push(&mut self, facts: &Facts) -> Option<(u64, BTreeMap<Address, Page>)> {
        let index = self.next;
        self.next += 1;
        if let Some((address, number)) = facts.mailbox {
            self.pages.entry(address).or_default().mailbox.push((number, index));
        }
        if let Some(address) = facts.item_of {
            self.pages.entry(address).or_default().items.push(index);
        }
        if !self.next.is_multiple_of(SPAN) {
            return None;
        }
        self.first = self.next;
        Some((index / SPAN, std::mem::take(&mut self.pages)))
    }
}
