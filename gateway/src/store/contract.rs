//! What every store promises, asked of each implementation, through its traits alone.
//!
//! What the answers must be is computed here from the commits, record by record.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::tree::{leaf_hash, node_hash};
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;

use super::faulty::{Faulty, Outcome};
use super::{ENTRIES_MAX, Reader, Store};
use crate::commit::{BlobKind, Durable, Entry, Position};
use crate::fault::Fault;
use crate::journal::{Journal, MemoryJournal};
use crate::recover::recover;
use crate::samples::{Hub, address, name_of};

/// Asks everything of a kind of store. `fresh` makes an empty place and returns what opens the store there, again and again.
pub(super) fn check<S: Store, Open: Fn() -> S>(fresh: impl Fn() -> Open) {
    what_was_applied_is_found_under_each_of_its_names(fresh());
    commits_that_do_not_follow_are_refused_and_the_store_goes_on(fresh());
    a_store_holds_what_it_applied_and_says_so(fresh());
    a_cleared_store_knows_nothing_and_takes_all_again(fresh());
    for outcome in [Outcome::Lost, Outcome::Kept] {
        after_a_failed_apply_the_store_is_brought_up_to_the_journal(fresh(), outcome);
    }
}

/// Commits of all sizes, with a page's span and more in all.
pub(super) fn commits(journal: &mut MemoryJournal, counts: impl IntoIterator<Item = usize>) -> Vec<Durable> {
    let mut hub = Hub::default();
    let mut durables = Vec::new();
    for count in counts {
        durables.push(journal.append(hub.signals(count)).unwrap());
        durables.push(journal.append(hub.names()).unwrap());
    }
    durables
}

fn what_was_applied_is_found_under_each_of_its_names<S: Store>(open: impl Fn() -> S) {
    let commits = commits(&mut MemoryJournal::new(), [1, 2, 80, 700, 1, 1, 40, 600, 3]);
    let mut expected = Expected::default();
    let mut store = open();
    let reader = store.reader();
    expected.assert_held(&*reader);
    // As the applier takes them: now one commit, now many.
    for batch in commits.chunk_by(|one, next| !(one.base + next.base).is_multiple_of(3)) {
        store.apply(batch).unwrap();
        batch.iter().for_each(|commit| expected.add(commit));
        assert_eq!(reader.applied(), expected.entries.len() as u64);
        expected.assert_newest(&*reader);
    }
    store.apply(&[]).unwrap();
    store.sync().unwrap();
    expected.assert_held(&*reader);
    drop((store, reader));
    expected.assert_held(&*open().reader());
}

fn commits_that_do_not_follow_are_refused_and_the_store_goes_on<S: Store>(open: impl Fn() -> S) {
    let commits = commits(&mut MemoryJournal::new(), [2, 2, 2]);
    let mut store = open();
    store.apply(&commits[..2]).unwrap();
    for wrong in [&commits[1..], &commits[3..]] {
        assert!(matches!(store.apply(wrong), Err(Fault::Moved { size, .. }) if size == commits[1].size()));
    }
    store.apply(&commits[2..]).unwrap();
    Expected::of(&commits).assert_held(&*store.reader());
}

fn a_store_holds_what_it_applied_and_says_so<S: Store>(open: impl Fn() -> S) {
    let counts = [3, 700, 1, 700];
    let commits = commits(&mut MemoryJournal::new(), counts);
    let mut store = open();
    store.apply(&commits[..5]).unwrap();
    store.apply(&commits[5..]).unwrap();
    drop(store);
    let mut store = open();
    for commit in &commits {
        assert!(store.check(commit).unwrap(), "{commit:?}");
    }
    drop(store);
    // A hub whose third commit was another.
    let mut store = open();
    let mut journal = MemoryJournal::new();
    let other = self::commits(&mut journal, [3]);
    let mut hub = Hub::default();
    drop((hub.signals(3), hub.names()));
    let changed = journal.append(hub.signals(2)).unwrap();
    assert!(store.check(&other[0]).unwrap() && store.check(&other[1]).unwrap());
    assert!(!store.check(&changed).unwrap());
}

fn a_cleared_store_knows_nothing_and_takes_all_again<S: Store>(open: impl Fn() -> S) {
    let commits = commits(&mut MemoryJournal::new(), [3, 1500, 1]);
    let mut store = open();
    store.apply(&commits).unwrap();
    store.clear().unwrap();
    Expected::default().assert_held(&*store.reader());
    assert_eq!(store.reader().item_index(&name_of("item", 0)).unwrap(), None);
    store.apply(&commits[..1]).unwrap();
    store.apply(&commits[1..]).unwrap();
    Expected::of(&commits).assert_held(&*store.reader());
}

fn after_a_failed_apply_the_store_is_brought_up_to_the_journal<S: Store>(open: impl Fn() -> S, outcome: Outcome) {
    let mut journal = MemoryJournal::new();
    let commits = commits(&mut journal, [3, 1400, 1]);
    let mut store = Faulty::new(open(), 2, outcome);
    store.apply(&commits[..1]).unwrap();
    store.apply(&commits[1..2]).unwrap();
    assert!(matches!(store.apply(&commits[2..4]), Err(Fault::Disk { .. })));
    assert!(matches!(store.apply(&commits[2..4]), Err(Fault::Stopped)));
    assert!(matches!(store.sync(), Err(Fault::Stopped)));
    drop(store);
    let mut store = open();
    let kept = if outcome == Outcome::Kept { &commits[..4] } else { &commits[..2] };
    assert_eq!(store.reader().applied(), kept.last().unwrap().size());
    let recovered = recover(&journal, &mut store, None, &mut |_, _| Ok(()), &mut |_| ()).unwrap();
    assert!(!recovered.rebuilt);
    Expected::of(&commits).assert_held(&*store.reader());
}

/// What a store must answer.
#[derive(Default)]
pub(super) struct Expected {
    entries: Vec<(Entry, Vec<(BlobKind, Position)>)>,
    checkpoints: BTreeMap<u64, Bytes>,
    items: BTreeMap<Digest, u64>,
    mailboxes: BTreeMap<Address, Vec<(u64, u64)>>,
    lists: BTreeMap<Address, Vec<u64>>,
    statements: BTreeMap<Address, Vec<(u64, u64)>>,
    named: Vec<(Named, u64)>,
}

enum Named {
    Certificate(Digest),
    Covenant(u64),
    Crl(Digest),
}

impl Expected {
    pub(super) fn of(commits: &[Durable]) -> Self {
        let mut expected = Self::default();
        commits.iter().for_each(|commit| expected.add(commit));
        expected
    }

    fn add(&mut self, commit: &Durable) {
        self.checkpoints.insert(commit.size(), commit.checkpoint.clone());
        for (number, entry) in commit.entries.iter().enumerate() {
            let index = self.entries.len() as u64;
            let blobs = (0..commit.blobs.len()).filter(|&blob| commit.blobs[blob].entry as usize == number);
            let blobs = blobs.map(|blob| (commit.blobs[blob].kind, commit.position(blob)));
            self.entries.push((entry.clone(), blobs.collect()));
            let record = wire::Record::decode(entry.record.clone()).unwrap();
            let audience = match record.audience.unwrap().of.unwrap() {
                wire::audience::Of::Address(address) => Some(Address::try_from(&address).unwrap()),
                wire::audience::Of::Group(_) => None,
            };
            if let Some(place) = record.mailbox {
                self.mailboxes.entry(audience.unwrap()).or_default().push((place.number, index));
            }
            match record.event.unwrap() {
                Event::SubmissionAcceptance(acceptance) => {
                    self.items.insert(Digest::try_from(&acceptance.item_digest).unwrap(), index);
                    let sender = match acceptance.about.unwrap() {
                        wire::submission_acceptance::About::Key(key) => {
                            let to = acceptance.addressees[0].to.as_ref().unwrap();
                            let sender = Address::try_from(to).unwrap();
                            self.statements.entry(sender).or_default().push((key.serial, index));
                            sender
                        }
                        _ => audience.unwrap(),
                    };
                    self.lists.entry(sender).or_default().push(index);
                }
                Event::ContentConsignment(_) => self.lists.entry(audience.unwrap()).or_default().push(index),
                Event::CertificatePublished(it) => {
                    self.named.push((Named::Certificate(Digest::try_from(&it.leaf_sha256).unwrap()), index));
                }
                Event::CovenantAdopted(it) => self.named.push((Named::Covenant(it.serial), index)),
                Event::CrlAdopted(it) => {
                    self.named.push((Named::Crl(Digest::try_from(&it.sha256).unwrap()), index));
                }
                _ => {}
            }
        }
    }

    /// Asks for everything there is, and for what is not.
    pub(super) fn assert_held(&self, reader: &dyn Reader) {
        let size = self.entries.len() as u64;
        assert_eq!(reader.applied(), size);
        for index in (0..size).step_by(1 + self.entries.len() / 100) {
            let (entry, blobs) = &self.entries[index as usize];
            assert_eq!(reader.entry(index).unwrap().as_ref(), Some(entry));
            assert_eq!(reader.blobs_of(index).unwrap(), *blobs);
        }
        for absent in [size, size + 1, u64::MAX] {
            assert_eq!(reader.entry(absent).unwrap(), None);
            assert_eq!(reader.blobs_of(absent).unwrap(), []);
            assert_eq!(reader.checkpoint(absent.saturating_add(1)).unwrap(), None);
            assert_eq!(reader.covenant(absent).unwrap(), None);
        }
        let mut from = 0;
        while from < size {
            let some = reader.entries(from, u64::MAX).unwrap();
            assert!(some.len() as u64 == ENTRIES_MAX || from + some.len() as u64 == size);
            let expected = self.entries[from as usize..].iter().map(|(entry, _)| entry);
            assert!(some.iter().eq(expected.take(some.len())));
            from += some.len() as u64;
        }
        assert_eq!(reader.entries(size, size + 9).unwrap(), []);
        assert_eq!(reader.entries(9, 3).unwrap(), []);
        for size in 0..=size.min(200) {
            assert_eq!(reader.checkpoint(size).unwrap(), self.checkpoints.get(&size).cloned());
        }
        for (size, checkpoint) in &self.checkpoints {
            assert_eq!(reader.checkpoint(*size).unwrap().as_ref(), Some(checkpoint));
        }
        for (item, index) in self.items.iter().step_by(1 + self.items.len() / 200) {
            assert_eq!(reader.item_index(item).unwrap(), Some(*index));
        }
        assert_eq!(reader.item_index(&name_of("nothing", 0)).unwrap(), None);
        for (named, index) in &self.named {
            let found = match named {
                Named::Certificate(sha256) => reader.certificate(sha256),
                Named::Covenant(serial) => reader.covenant(*serial),
                Named::Crl(sha256) => reader.crl(sha256),
            };
            assert_eq!(found.unwrap(), Some(*index));
        }
        assert_eq!(reader.certificate(&name_of("nothing", 0)).unwrap(), None);
        assert_eq!(reader.crl(&name_of("nothing", 0)).unwrap(), None);
        self.assert_tiles(reader);
        for address in (0..10).map(address) {
            self.assert_of(reader, &address);
        }
    }

    fn assert_of(&self, reader: &dyn Reader, address: &Address) {
        let mailbox = self.mailboxes.get(address).map_or(&[][..], Vec::as_slice);
        let last = mailbox.len() as u64;
        for after in [0, 1, last / 3, last / 2, last.saturating_sub(1), last, last + 1, u64::MAX] {
            for limit in [0, 1, 7, usize::MAX] {
                let places = reader.mailbox(address, after, limit).unwrap();
                let expected = mailbox.iter().filter(|(number, _)| *number > after).take(limit);
                assert!(places.iter().eq(expected), "{address} after {after}, {limit}");
            }
        }
        let statements = self.statements.get(address).map_or(&[][..], Vec::as_slice);
        for (after, limit) in [(0, 100), (1, 100), (0, 1), (2, 0), (u64::MAX, 9)] {
            let expected = statements.iter().filter(|(serial, _)| *serial > after).take(limit).map(|(_, index)| *index);
            assert!(reader.key_statements(address, after, limit).unwrap().into_iter().eq(expected));
        }
        let list = self.lists.get(address).map_or(&[][..], Vec::as_slice);
        let size = self.entries.len() as u64;
        for before in [0, 1, size / 3, size / 2, size, u64::MAX] {
            for limit in [0, 1, 7, usize::MAX] {
                let expected = list.iter().rev().copied().filter(|index| *index < before).take(limit);
                assert!(reader.items_of(address, before, limit).unwrap().into_iter().eq(expected));
            }
        }
    }

    pub(super) fn assert_tiles(&self, reader: &dyn Reader) {
        let mut hashes: Vec<_> = self.entries.iter().map(|(entry, _)| leaf_hash(&entry.commitment)).collect();
        for level in 0..4 {
            let full = hashes.len() / 256;
            for number in 0..full {
                let tile = reader.tile(level, number as u64).unwrap();
                assert_eq!(tile.as_deref(), Some(&hashes[number * 256..(number + 1) * 256]), "{level}/{number}");
            }
            assert_eq!(reader.tile(level, full as u64).unwrap(), None, "only full tiles");
            assert_eq!(reader.tile(level, u64::MAX).unwrap(), None);
            let tiles = hashes.chunks_exact(256);
            hashes = tiles
                .map(|tile| {
                    let mut nodes = tile.to_vec();
                    while nodes.len() > 1 {
                        nodes = nodes.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
                    }
                    nodes[0]
                })
                .collect();
        }
        assert_eq!(reader.tile(9, 0).unwrap(), None);
        assert_eq!(reader.tile(255, 0).unwrap(), None);
    }

    /// Asks for what came last.
    fn assert_newest(&self, reader: &dyn Reader) {
        let index = self.entries.len() as u64 - 1;
        assert_eq!(reader.entry(index).unwrap().as_ref(), self.entries.last().map(|(entry, _)| entry));
        assert_eq!(reader.checkpoint(index + 1).unwrap().as_ref(), self.checkpoints.get(&(index + 1)));
        for (address, mailbox) in &self.mailboxes {
            let after = mailbox.len().saturating_sub(3) as u64;
            assert_eq!(reader.mailbox(address, after, 10).unwrap(), mailbox[after as usize..]);
        }
    }
}

/// The readers of a store are asked from other threads while it is written.
pub(super) fn readers_see_whole_mailboxes_while_the_store_is_written(store: &mut dyn Store) {
    let commits = commits(&mut MemoryJournal::new(), std::iter::repeat_n(150, 20));
    let reader: Arc<dyn Reader> = store.reader();
    let last = commits.last().unwrap().size();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while reader.applied() < last {
                let seen = reader.applied();
                for address in (0..5).map(address) {
                    let places = reader.mailbox(&address, 0, usize::MAX).unwrap();
                    assert!(places.iter().map(|(number, _)| *number).eq(1..=places.len() as u64));
                    assert!(places.is_sorted_by_key(|(_, index)| *index));
                    assert!(places.last().is_none_or(|(_, index)| *index < reader.applied()));
                    let items = reader.items_of(&address, u64::MAX, usize::MAX).unwrap();
                    assert!(items.is_sorted_by(|newer, older| newer > older));
                }
                assert!(seen == 0 || reader.entry(seen - 1).unwrap().is_some());
            }
        });
        for commit in &commits {
            store.apply(std::slice::from_ref(commit)).unwrap();
        }
    });
    Expected::of(&commits).assert_held(&*reader);
}
