//! A store in memory, by the slow and obvious method: what the other must answer like.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::tree::leaf_hash;

use super::facts::{Facts, Name};
use super::{ENTRIES_MAX, Reader, Store};
use crate::commit::{BlobKind, Durable, Entry, Position};
use crate::fault::Fault;
use crate::tree::{TILE, subtree};

/// A store that is gone with its process. A clone is another handle on the same.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Shared);

#[derive(Debug, Clone, Default)]
struct Shared(Arc<RwLock<Held>>);

#[derive(Debug, Default)]
struct Held {
    commits: Vec<Durable>,
    entries: Vec<(Entry, Vec<(BlobKind, Position)>)>,
    items: BTreeMap<Digest, u64>,
    names: BTreeMap<Name, u64>,
    mailboxes: BTreeMap<(Address, u64), u64>,
    item_lists: BTreeMap<Address, Vec<u64>>,
}

impl MemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn apply(&mut self, commits: &[Durable]) -> Result<(), Fault> {
        let mut held = self.0.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut size = held.entries.len() as u64;
        let mut facts = Vec::new();
        for commit in commits {
            if commit.base != size {
                return Err(Fault::Moved { size, base: commit.base });
            }
            size = commit.size();
            for (index, entry) in std::iter::zip(commit.base.., &commit.entries) {
                facts.push((index, Facts::of(index, entry)?));
            }
        }
        for commit in commits {
            let first = held.entries.len();
            held.entries.extend(commit.entries.iter().map(|entry| (entry.clone(), Vec::new())));
            for (number, blob) in commit.blobs.iter().enumerate() {
                held.entries[first + blob.entry as usize].1.push((blob.kind, commit.position(number)));
            }
            held.commits.push(commit.clone());
        }
        for (index, facts) in facts {
            facts.accepts.map(|item| held.items.insert(item, index));
            facts.name.map(|name| held.names.insert(name, index));
            facts.mailbox.map(|place| held.mailboxes.insert(place, index));
            if let Some(address) = facts.item_of {
                held.item_lists.entry(address).or_default().push(index);
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn check(&mut self, commit: &Durable) -> Result<bool, Fault> {
        let held = self.0.read();
        let kept = held.commits.iter().find(|kept| kept.base == commit.base);
        let same = |kept: &Durable| (0..commit.blobs.len()).all(|blob| kept.position(blob) == commit.position(blob));
        Ok(kept.is_some_and(|kept| **kept == **commit && same(kept)))
    }

    fn clear(&mut self) -> Result<(), Fault> {
        self.0 = Shared::default();
        Ok(())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(self.0.clone())
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, name: &Name) -> Option<u64> {
        self.read().names.get(name).copied()
    }
}

impl Reader for Shared {
    fn applied(&self) -> u64 {
        self.read().entries.len() as u64
    }

    fn entry(&self, index: u64) -> Result<Option<Entry>, Fault> {
        let held = self.read();
        Ok(usize::try_from(index).ok().and_then(|index| held.entries.get(index)).map(|(entry, _)| entry.clone()))
    }

    fn entries(&self, from: u64, to: u64) -> Result<Vec<Entry>, Fault> {
        let to = to.min(from.saturating_add(ENTRIES_MAX)).min(self.applied());
        Ok((from..to).map(|index| self.read().entries[index as usize].0.clone()).collect())
    }

    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Digest>>, Fault> {
        let held = self.read();
        let mut hashes: Vec<_> = held.entries.iter().map(|(entry, _)| leaf_hash(&entry.commitment)).collect();
        for _ in 0..level {
            hashes = hashes.chunks_exact(TILE as usize).map(subtree).collect();
        }
        let tile = usize::try_from(number).ok().and_then(|number| hashes.chunks_exact(TILE as usize).nth(number));
        Ok(tile.map(<[Digest]>::to_vec))
    }

    fn blobs_of(&self, index: u64) -> Result<Vec<(BlobKind, Position)>, Fault> {
        let held = self.read();
        let entry = usize::try_from(index).ok().and_then(|index| held.entries.get(index));
        Ok(entry.map_or(Vec::new(), |(_, blobs)| blobs.clone()))
    }

    fn item_index(&self, item: &Digest) -> Result<Option<u64>, Fault> {
        Ok(self.read().items.get(item).copied())
    }

    fn mailbox(&self, address: &Address, after: u64, limit: usize) -> Result<Vec<(u64, u64)>, Fault> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        let held = self.read();
        let places = held.mailboxes.range((*address, first)..=(*address, u64::MAX));
        Ok(places.map(|((_, number), index)| (*number, *index)).take(limit).collect())
    }

    fn key_statements(&self, address: &Address, after: u64, limit: usize) -> Result<Vec<u64>, Fault> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        let names = Name::KeyStatement(*address, first)..=Name::KeyStatement(*address, u64::MAX);
        Ok(self.read().names.range(names).map(|(_, index)| *index).take(limit).collect())
    }

    fn certificate(&self, sha256: &Digest) -> Result<Option<u64>, Fault> {
        Ok(self.name(&Name::Certificate(*sha256)))
    }

    fn covenant(&self, serial: u64) -> Result<Option<u64>, Fault> {
        Ok(self.name(&Name::Covenant(serial)))
    }

    fn crl(&self, sha256: &Digest) -> Result<Option<u64>, Fault> {
        Ok(self.name(&Name::Crl(*sha256)))
    }

    fn checkpoint(&self, size: u64) -> Result<Option<Bytes>, Fault> {
        Ok(self.read().commits.iter().find(|commit| commit.size() == size).map(|commit| commit.checkpoint.clone()))
    }

    fn items_of(&self, address: &Address, before: u64, limit: usize) -> Result<Vec<u64>, Fault> {
        let held = self.read();
        let items = held.item_lists.get(address).map_or(&[][..], Vec::as_slice);
        Ok(items.iter().rev().copied().filter(|index| *index < before).take(limit).collect())
    }
}
