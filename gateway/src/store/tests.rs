//! The store's two implementations against its contract, and sled against what happens to it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use seinpost_protocol::digest::Digest;

use super::contract::{self, Expected, commits};
use super::{MemoryStore, SledStore, Store};
use crate::commit::Durable;
use crate::fault::Fault;
use crate::journal::MemoryJournal;
use crate::recover::{Recovered, recover};

#[test]
fn a_store_in_memory_keeps_the_contract() {
    contract::check(|| {
        let place = MemoryStore::new();
        move || place.clone()
    });
    contract::readers_see_whole_mailboxes_while_the_store_is_written(&mut MemoryStore::new());
}

#[test]
fn a_store_on_sled_keeps_the_contract() {
    contract::check(|| {
        let data = tempfile::tempdir().unwrap();
        move || SledStore::open(data.path()).unwrap()
    });
}

#[test]
fn sled_is_read_while_it_is_written() {
    let data = tempfile::tempdir().unwrap();
    contract::readers_see_whole_mailboxes_while_the_store_is_written(&mut SledStore::open(data.path()).unwrap());
}

#[test]
fn tiles_of_tiles_are_kept_and_nothing_spills() {
    let data = tempfile::tempdir().unwrap();
    // More than 65,536 records: one full tile of level 1.
    let commits = commits(&mut MemoryJournal::new(), std::iter::repeat_n(1100, 20));
    assert!(commits.last().unwrap().size() > 65_536);
    let mut store = SledStore::open(data.path()).unwrap();
    commits.chunks(7).for_each(|batch| store.apply(batch).unwrap());
    store.sync().unwrap();
    let expected = Expected::of(&commits);
    expected.assert_tiles(&*store.reader());
    drop(store);
    let store = SledStore::open(data.path()).unwrap();
    expected.assert_held(&*store.reader());
    assert_eq!(fs::read_dir(data.path().join("store/0/blobs")).unwrap().count(), 0);
}

fn recovered(journal: &MemoryJournal, store: &mut dyn Store) -> Recovered {
    recover(journal, store, None, &mut |_, _| Ok(()), &mut |_| ()).unwrap()
}

/// A journal of some thousand records, and a folder whose store has them all.
fn filled() -> (tempfile::TempDir, MemoryJournal, Vec<Durable>) {
    let data = tempfile::tempdir().unwrap();
    let mut journal = MemoryJournal::new();
    let commits = commits(&mut journal, [1, 40, 1500, 2, 30]);
    let mut store = SledStore::open(data.path()).unwrap();
    commits.iter().for_each(|commit| store.apply(std::slice::from_ref(commit)).unwrap());
    store.sync().unwrap();
    (data, journal, commits)
}

/// The store's files as they are, and how to put them back.
fn contents(data: &Path) -> Vec<(Vec<u8>, PathBuf)> {
    files(&data.join("store")).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect()
}

fn restore(data: &Path, contents: &[(Vec<u8>, PathBuf)]) {
    fs::remove_dir_all(data.join("store")).unwrap();
    fs::create_dir_all(data.join("store/0/blobs")).unwrap();
    contents.iter().for_each(|(bytes, path)| fs::write(path, bytes).unwrap());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn a_store_that_is_whole_is_used_as_it_is() {
    let (data, journal, commits) = filled();
    let mut store = SledStore::open(data.path()).unwrap();
    let recovered = recovered(&journal, &mut store);
    assert_eq!((recovered.rebuilt, recovered.applied), (false, 0));
    Expected::of(&commits).assert_held(&*store.reader());
}

#[test]
fn a_deleted_store_is_built_again() {
    let (data, journal, commits) = filled();
    fs::remove_dir_all(data.path().join("store")).unwrap();
    let mut store = SledStore::open(data.path()).unwrap();
    let recovered = recovered(&journal, &mut store);
    assert_eq!(recovered.applied, commits.last().unwrap().size());
    Expected::of(&commits).assert_held(&*store.reader());
}

#[test]
fn a_store_of_garbage_is_dropped_and_built_again() {
    let (data, journal, commits) = filled();
    for garbage in [&b""[..], b"garbage", &[0xff; 100_000]] {
        files(&data.path().join("store")).iter().for_each(|file| fs::write(file, garbage).unwrap());
        let mut store = SledStore::open(data.path()).unwrap();
        let recovered = recovered(&journal, &mut store);
        assert_eq!(recovered.applied, commits.last().unwrap().size());
        Expected::of(&commits).assert_held(&*store.reader());
        drop(store);
        assert_eq!(fs::read_dir(data.path().join("store")).unwrap().count(), 1, "nothing is left of the old one");
    }
}

#[test]
fn a_store_with_any_bit_flipped_or_any_end_missing_gives_right_answers_after_start() {
    let (data, journal, commits) = filled();
    let expected = Expected::of(&commits);
    let whole = contents(data.path());
    let mut rebuilt = 0;
    for trial in 0_u64..16 {
        restore(data.path(), &whole);
        let random = u64::from_be_bytes(*Digest::of(&trial.to_be_bytes()).as_bytes().first_chunk().unwrap());
        let (bytes, path) = &whole[random as usize % whole.len()];
        let written = bytes.iter().rposition(|&byte| byte != 0).map_or(1, |last| last + 1);
        let at = (random >> 8) as usize % written;
        let mut spoilt = bytes.clone();
        if trial % 4 == 0 {
            spoilt.truncate(at)
        } else {
            spoilt[at] ^= 1 << (trial % 8)
        }
        fs::write(path, spoilt).unwrap();
        let mut store = SledStore::open(data.path()).unwrap();
        let recovered = recovered(&journal, &mut store);
        rebuilt += u32::from(recovered.rebuilt || recovered.applied > 0);
        expected.assert_held(&*store.reader());
    }
    assert!(rebuilt > 0, "some of it must have hurt, or the test tests nothing");
}

/// Removes what stands under a key, behind the store's back.
fn remove(data: &Path, key: &[&[u8]]) {
    let db = super::sled::behind_its_back(&data.join("store/0"));
    assert!(db.remove(key.concat()).unwrap().is_some());
    db.flush().unwrap();
}

#[test]
fn a_lost_value_is_a_fault_and_not_an_unknown_record_and_start_notices_it() {
    let (data, journal, commits) = filled();
    let lost = commits[2].base;
    remove(data.path(), &[b"e", &lost.to_be_bytes()]);
    let mut store = SledStore::open(data.path()).unwrap();
    let reader = store.reader();
    assert!(reader.entry(lost - 1).unwrap().is_some());
    for index in lost..lost + 20 {
        assert!(matches!(reader.entry(index), Err(Fault::Store { .. })));
        assert!(matches!(reader.blobs_of(index), Err(Fault::Store { .. })));
    }
    assert!(matches!(reader.entries(0, 4000), Err(Fault::Store { .. })));
    assert!(recovered(&journal, &mut store).rebuilt);
    Expected::of(&commits).assert_held(&*store.reader());
}

#[test]
fn start_notices_whatever_key_is_lost() {
    let (data, journal, commits) = filled();
    let keys: Vec<_> = {
        let db = super::sled::behind_its_back(&data.path().join("store/0"));
        db.iter().keys().map(Result::unwrap).collect()
    };
    let whole = contents(data.path());
    let mut kinds = BTreeSet::new();
    for key in keys.iter().filter(|key| kinds.insert(key[0])) {
        restore(data.path(), &whole);
        remove(data.path(), &[key]);
        let mut store = SledStore::open(data.path()).unwrap();
        let recovered = recovered(&journal, &mut store);
        assert_eq!(recovered.applied, recovered.size, "key {:?}", key[0] as char);
        assert_eq!(store.reader().applied(), commits.last().unwrap().size());
    }
    assert_eq!(String::from_utf8(kinds.into_iter().collect()).unwrap(), "ceikmrstvx");
}

#[test]
fn a_store_is_brought_up_from_wherever_it_ends() {
    let mut journal = MemoryJournal::new();
    let commits = commits(&mut journal, [1, 3, 1400, 2]);
    let expected = Expected::of(&commits);
    for kept in 0..=commits.len() {
        let data = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(data.path()).unwrap();
        store.apply(&commits[..kept]).unwrap();
        drop(store);
        let mut store = SledStore::open(data.path()).unwrap();
        let recovered = recovered(&journal, &mut store);
        let had = kept.checked_sub(1).map_or(0, |last| commits[last].size());
        assert_eq!((recovered.rebuilt, recovered.applied), (had == 0, recovered.size - had));
        expected.assert_held(&*store.reader());
    }
}

#[test]
fn the_store_of_another_history_is_dropped() {
    let (data, _, commits) = filled();
    let mut journal = MemoryJournal::new();
    let other = contract::commits(&mut journal, [2, 40, 1500, 2, 30]);
    assert!(other.last().unwrap().size() >= commits.last().unwrap().size());
    let mut store = SledStore::open(data.path()).unwrap();
    assert!(recovered(&journal, &mut store).rebuilt);
    Expected::of(&other).assert_held(&*store.reader());
}

#[test]
fn a_store_that_is_ahead_of_the_journal_says_that_the_journal_lost_something() {
    let (data, _, commits) = filled();
    let mut journal = MemoryJournal::new();
    let fewer = contract::commits(&mut journal, [1, 40]);
    let mut store = SledStore::open(data.path()).unwrap();
    let recovered = recover(&journal, &mut store, None, &mut |_, _| Ok(()), &mut |_| ());
    let (size, held) = (fewer.last().unwrap().size(), commits.last().unwrap().size());
    assert!(matches!(recovered, Err(Fault::Shorter { journal, head }) if (journal, head) == (size, held)));
}
