//! Start-up: the journal is read from its first record, and everything else is made to agree with it.
//!
//! In come the journal, the head file's word, and a store in any condition; out go the tree, where the log stands, and to
//! a callback every commit with its records, from which the core computes its state. Each commitment is recomputed, each
//! root compared with the checkpoint in its frame, and the head with the commit of its size. The journal is never
//! changed here: if it is not what it was, nobody starts. A store that is behind gets what it misses; one that is wrong in
//! any way is begun anew; one that is ahead says, as the head file does, that the journal lost something.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prost::Message;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::record;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::tree::{EMPTY_ROOT, leaf_hash};
use seinpost_protocol::wire;
use tracing::warn;

use crate::commit::Durable;
use crate::fault::Fault;
use crate::head::Head;
use crate::journal::Journal;
use crate::store::{Reader, Store};
use crate::tree::TreeMemory;

/// What start-up found.
#[derive(Debug)]
pub struct Recovered {
    /// The tree over all records.
    pub tree: TreeMemory,
    /// How many records the log holds.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// The last checkpoint; none if the log is empty.
    pub checkpoint: Option<Bytes>,
    /// The time of the last record; none if the log is empty.
    pub time: Option<Timestamp>,
    /// How many records the store did not have.
    pub applied: u64,
    /// Whether the store was built anew: it was gone, or not to be used.
    pub rebuilt: bool,
}

/// Takes a commit and its records with their indexes.
pub type Each<'a> = dyn FnMut(&Durable, &[(u64, wire::Record)]) -> Result<(), Fault> + 'a;

/// How far start-up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many records were read.
    pub read: u64,
    /// How many there are.
    pub size: u64,
    /// Whether the store is being built anew.
    pub rebuilding: bool,
}

/// Progress is told each time so many records were read.
const PROGRESS_RECORDS: u64 = 16_384;
/// As many commits as the applier takes at once …
const BATCH_COMMITS: usize = 512;
/// … and no more than what two frames of the largest size hold in memory.
const BATCH_BYTES: usize = 32 << 20;

/// Reads the journal, brings the store up to it, and hands each commit with its records and their indexes to `each`; erased
/// records are left out.
///
/// The fault of a store that cannot be built anew either is returned as it is.
pub fn recover(
    journal: &dyn Journal,
    store: &mut dyn Store,
    head: Option<&Head>,
    each: &mut Each<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, Fault> {
    let size = journal.size();
    if let Some(head) = head.filter(|head| head.size > size) {
        return Err(Fault::Shorter { journal: size, head: head.size });
    }
    // The tree asks the store for old nodes only once it serves; until then the store may still be replaced.
    let reader = Arc::new(OnceLock::<Arc<dyn Reader>>::new());
    let older = reader.clone();
    let tree = TreeMemory::new(Arc::new(move |tile| older.get()?.tile(0, tile).ok().flatten()));

    let mut recovered =
        Recovered { tree, size: 0, root: EMPTY_ROOT, checkpoint: None, time: None, applied: 0, rebuilt: false };
    let mut filler = Filler::new(store, size)?;
    let mut told = 0;
    for commit in journal.replay(0) {
        let commit = commit?;
        verify(&commit, &recovered.tree)?;
        if let Some(head) = head.filter(|head| (commit.base + 1..=commit.size()).contains(&head.size)) {
            agrees(&commit, head)?;
        }
        filler.take(journal, &commit)?;
        each(&commit, &records(&commit)?)?;
        if commit.size() - told >= PROGRESS_RECORDS || commit.size() == size {
            told = commit.size();
            progress(Progress { read: told, size, rebuilding: filler.rebuilt });
        }
        recovered.size = commit.size();
        recovered.root = commit.root;
        recovered.checkpoint = Some(commit.checkpoint.clone());
        recovered.time = Some(commit.time);
    }
    if recovered.size != size {
        return Err(Fault::Broken(format!("the journal holds {size} records and gave {}", recovered.size)));
    }
    (recovered.applied, recovered.rebuilt) = filler.finish(journal)?;
    let served = reader.set(store.reader());
    assert!(served.is_ok(), "the reader is set once, here");
    Ok(recovered)
}

/// Grows the tree by a commit, and checks that it is what its checkpoint says.
fn verify(commit: &Durable, tree: &TreeMemory) -> Result<(), Fault> {
    for (index, entry) in std::iter::zip(commit.base.., &commit.entries) {
        let opens = entry.erased_by != 0 || record::commitment(&entry.salt, &entry.record) == entry.commitment;
        if !opens {
            return Err(Fault::Broken(format!("record {index} in the journal is not what its commitment stands for")));
        }
    }
    tree.append(&commit.entries.iter().map(|entry| leaf_hash(&entry.commitment)).collect::<Vec<_>>());
    match tree.root(commit.size()) {
        Some(root) if root == commit.root => Ok(()),
        root => Err(Fault::Broken(format!("{commit:?} in the journal gives the root {root:?}"))),
    }
}

/// Checks that the commit that holds the head's last record is the one that the head was taken of.
fn agrees(commit: &Durable, head: &Head) -> Result<(), Fault> {
    if commit.size() == head.size && commit.root == head.root {
        return Ok(());
    }
    let journal = if commit.size() == head.size { commit.root.to_string() } else { "none".to_owned() };
    Err(Fault::Forked { size: head.size, journal, head: head.root.to_string() })
}

fn records(commit: &Durable) -> Result<Vec<(u64, wire::Record)>, Fault> {
    let there = std::iter::zip(commit.base.., &commit.entries).filter(|(_, entry)| entry.erased_by == 0);
    there
        .map(|(index, entry)| {
            let record = wire::Record::decode(entry.record.clone());
            let record = record.map_err(|_| Fault::Broken(format!("record {index} in the journal cannot be read")))?;
            Ok((index, record))
        })
        .collect()
}

/// Checks what the store has and gives it what it misses.
struct Filler<'a> {
    store: &'a mut dyn Store,
    /// How many records of the journal the store said it has.
    has: u64,
    waiting: Vec<Durable>,
    waiting_bytes: usize,
    applied: u64,
    rebuilt: bool,
    /// Whether it was emptied here, which is tried once.
    emptied: bool,
}

impl<'a> Filler<'a> {
    fn new(store: &'a mut dyn Store, size: u64) -> Result<Self, Fault> {
        // What was applied was durable, so a store that leads is a witness, as the head file is.
        match store.reader().applied() {
            has if has > size => Err(Fault::Shorter { journal: size, head: has }),
            has => Ok(Self {
                store,
                has,
                waiting: Vec::new(),
                waiting_bytes: 0,
                applied: 0,
                // Somebody deleted it, or it was begun anew when it was opened.
                rebuilt: has == 0 && size > 0,
                emptied: false,
            }),
        }
    }

    fn take(&mut self, journal: &dyn Journal, commit: &Durable) -> Result<(), Fault> {
        let wrong = if commit.size() <= self.has {
            match self.store.check(commit) {
                Ok(true) => return Ok(()),
                Ok(false) => Some(format!("it does not hold {commit:?} as the journal does")),
                Err(fault) => Some(fault.to_string()),
            }
        } else if commit.base < self.has {
            Some(format!("it ends within {commit:?}"))
        } else {
            None
        };
        if let Some(wrong) = wrong {
            warn!(wrong, "the store is built again from the journal");
            self.rebuild(journal, commit.base)?;
        }
        self.waiting_bytes += commit.entries.iter().map(|entry| entry.record.len()).sum::<usize>()
            + commit.blobs.iter().map(|blob| blob.bytes.len()).sum::<usize>();
        self.waiting.push(commit.clone());
        if self.waiting.len() >= BATCH_COMMITS || self.waiting_bytes >= BATCH_BYTES {
            self.apply(journal)?;
        }
        Ok(())
    }

    /// Applies what waits. A store that fails is begun anew, once.
    fn apply(&mut self, journal: &dyn Journal) -> Result<(), Fault> {
        let Some(last) = self.waiting.last() else { return Ok(()) };
        let end = last.size();
        match self.store.apply(&self.waiting) {
            Ok(()) => {
                self.applied += end - self.waiting[0].base;
                self.waiting.clear();
                self.waiting_bytes = 0;
                Ok(())
            }
            Err(fault) if !self.emptied => {
                warn!(%fault, "the store is built again from the journal");
                self.rebuild(journal, end)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Empties the store and applies everything up to the commit that begins at `end`.
    fn rebuild(&mut self, journal: &dyn Journal, end: u64) -> Result<(), Fault> {
        self.store.clear()?;
        (self.has, self.applied, self.rebuilt, self.emptied) = (0, 0, true, true);
        self.waiting.clear();
        self.waiting_bytes = 0;
        for commit in journal.replay(0) {
            let commit = commit?;
            if commit.base >= end {
                break;
            }
            self.take(journal, &commit)?;
        }
        self.apply(journal)
    }

    fn finish(mut self, journal: &dyn Journal) -> Result<(u64, bool), Fault> {
        self.apply(journal)?;
        self.store.sync()?;
        Ok((self.applied, self.rebuilt))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

    use super::*;
    use crate::journal::{FileJournal, MemoryJournal, Options};
    use crate::samples::{Hub, ORIGIN};
    use crate::store::MemoryStore;
    use crate::store::faulty::{Faulty, Outcome};

    fn journal() -> MemoryJournal {
        let mut journal = MemoryJournal::new();
        let mut hub = Hub::default();
        for count in [1, 2, 400] {
            journal.append(hub.signals(count)).unwrap();
            journal.append(hub.names()).unwrap();
        }
        journal
    }

    fn recovered(journal: &dyn Journal, store: &mut dyn Store, head: Option<&Head>) -> Result<Recovered, Fault> {
        recover(journal, store, head, &mut |_, _| Ok(()), &mut |_| ())
    }

    fn head(commit: &Durable) -> Head {
        Head { size: commit.size(), root: commit.root, checkpoint: commit.checkpoint.clone() }
    }

    #[test]
    fn every_record_is_handed_over_once_in_order_and_progress_is_told() {
        let journal = journal();
        let (mut next, mut told) = (0, Vec::new());
        let mut each = |commit: &Durable, records: &[(u64, wire::Record)]| {
            assert_eq!((commit.base, commit.entries.len()), (next, records.len()));
            for (index, record) in records {
                assert_eq!((*index, record.index), (next, next));
                next += 1;
            }
            Ok(())
        };
        let mut store = MemoryStore::new();
        let recovered = recover(&journal, &mut store, None, &mut each, &mut |progress| told.push(progress)).unwrap();
        let last = journal.replay(0).last().unwrap().unwrap();
        assert_eq!(next, journal.size());
        assert_eq!(told.last(), Some(&Progress { read: next, size: next, rebuilding: true }));
        assert_eq!((recovered.size, recovered.root), (last.size(), last.root));
        assert_eq!(recovered.checkpoint.as_ref(), Some(&last.checkpoint));
        assert_eq!(recovered.time, Some(last.time));
        assert_eq!(recovered.tree.root(last.size()), Some(last.root));
        assert_eq!(store.reader().applied(), next);
    }

    #[test]
    fn an_empty_journal_is_the_empty_log() {
        let recovered = recovered(&MemoryJournal::new(), &mut MemoryStore::new(), None).unwrap();
        assert_eq!((recovered.size, recovered.root, recovered.checkpoint), (0, EMPTY_ROOT, None));
    }

    #[test]
    fn a_fault_of_the_callback_ends_it() {
        let mut each = |_: &Durable, _: &[(u64, wire::Record)]| Err(Fault::Broken("no".to_owned()));
        let recovered = recover(&journal(), &mut MemoryStore::new(), None, &mut each, &mut |_| ());
        assert!(matches!(recovered, Err(Fault::Broken(_))));
    }

    #[test]
    fn the_head_must_be_of_this_history() {
        let journal = journal();
        let commits: Vec<_> = journal.replay(0).map(Result::unwrap).collect();
        for commit in &commits {
            recovered(&journal, &mut MemoryStore::new(), Some(&head(commit))).unwrap();
        }
        let mut other = head(&commits[1]);
        other.root = commits[0].root;
        let refused = recovered(&journal, &mut MemoryStore::new(), Some(&other));
        assert!(matches!(refused, Err(Fault::Forked { size, .. }) if size == other.size));
        let mut within = head(&commits[1]);
        within.size -= 1;
        assert!(matches!(recovered(&journal, &mut MemoryStore::new(), Some(&within)), Err(Fault::Forked { .. })));
    }

    #[test]
    fn an_older_journal_under_a_newer_head_is_refused_naming_both_sizes() {
        let data = tempfile::tempdir().unwrap();
        let options = Options { origin: ORIGIN.to_owned(), segment_bytes: 256 * 1024 };
        let mut journal = FileJournal::open(data.path(), options.clone(), None).unwrap();
        let mut hub = Hub::default();
        journal.append(hub.signals(2)).unwrap();
        let path = data.path().join("journal/00000000.segment");
        let older = std::fs::read(&path).unwrap();
        let newer = head(&journal.append(hub.signals(5)).unwrap());
        drop(journal);
        std::fs::write(&path, older).unwrap();
        let text = FileJournal::open(data.path(), options.clone(), Some(&newer)).unwrap_err().to_string();
        assert!(text.contains(" 6 records") && text.contains("held 21 before"), "{text}");
        // And without the check at opening, start-up refuses.
        let journal = FileJournal::open(data.path(), options, None).unwrap();
        let refused = recovered(&journal, &mut MemoryStore::new(), Some(&newer));
        assert!(matches!(refused, Err(Fault::Shorter { journal: 6, head: 21 })));
    }

    #[test]
    fn a_commit_whose_checkpoint_is_not_of_its_records_is_refused() {
        let mut journal = MemoryJournal::new();
        let mut hub = Hub::default();
        journal.append(hub.signals(1)).unwrap();
        let mut wrong = hub.signals(1);
        wrong.entries.swap(0, 1);
        journal.append(wrong).unwrap();
        assert!(matches!(recovered(&journal, &mut MemoryStore::new(), None), Err(Fault::Broken(_))));

        let mut journal = MemoryJournal::new();
        let mut wrong = Hub::default().signals(1);
        wrong.entries[1].salt[0] ^= 1;
        journal.append(wrong).unwrap();
        assert!(matches!(recovered(&journal, &mut MemoryStore::new(), None), Err(Fault::Broken(_))));
    }

    #[test]
    fn erased_records_leave_the_tree_as_it_was() {
        let mut journal = MemoryJournal::new();
        let mut erased = Hub::default().signals(2);
        for number in [0, 4] {
            erased.entries[number].record = Bytes::new();
            erased.entries[number].erased_by = 1;
        }
        erased.blobs[1].bytes = Bytes::new();
        erased.blobs[1].erased_by = 2;
        journal.append(erased.clone()).unwrap();
        let mut seen = Vec::new();
        let mut each = |_: &Durable, records: &[(u64, wire::Record)]| {
            seen.extend(records.iter().map(|(index, _)| *index));
            Ok(())
        };
        let mut store = MemoryStore::new();
        let recovered = recover(&journal, &mut store, None, &mut each, &mut |_| ()).unwrap();
        assert_eq!((recovered.root, seen), (erased.root, vec![1, 2, 3, 5]));
        let entry = store.reader().entry(4).unwrap().unwrap();
        assert_eq!((entry.record.len(), entry.salt, entry.erased_by), (0, [0; 32], 1));
        assert_eq!(store.reader().blobs_of(0).unwrap()[1].1.length, 0);
    }

    #[test]
    fn a_store_that_fails_while_it_is_filled_is_begun_anew_once() {
        let journal = journal();
        for outcome in [Outcome::Lost, Outcome::Kept] {
            let mut store = Faulty::new(MemoryStore::new(), 0, outcome);
            let recovered = recovered(&journal, &mut store, None).unwrap();
            assert_eq!((recovered.rebuilt, recovered.applied), (true, journal.size()));
            assert_eq!(store.reader().applied(), journal.size());
            assert_eq!(store.reader().checkpoint(journal.size()).unwrap(), recovered.checkpoint);
        }
    }
}
