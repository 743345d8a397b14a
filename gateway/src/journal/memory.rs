//! A journal in memory: the contract without a disk, for tests and simulations.
//!
//! The commits stand behind a shared handle that plays the disk, so that a test opens the same journal again after a
//! "crash". Frames are encoded and decoded as on a real disk, so that what a file would refuse is refused here too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{BlobReader, Journal, ReadBlob, frame};
use crate::commit::{Commit, Durable, Position};
use crate::fault::Fault;

/// A journal whose disk is memory. A clone is another handle on the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<Vec<Durable>>>);

impl MemoryJournal {
    /// Returns an empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn commits(&self) -> MutexGuard<'_, Vec<Durable>> {
        // A push cannot leave the list half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn size(&self) -> u64 {
        self.commits().last().map_or(0, |last| last.size())
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn append(&mut self, commit: Commit) -> Result<Durable, Fault> {
        let mut commits = self.commits();
        let size = commits.last().map_or(0, |last| last.size());
        if commit.base != size {
            return Err(Fault::Moved { size, base: commit.base });
        }
        let mut bytes = Vec::new();
        let (length, _) = frame::encode(&commit, &mut bytes)?;
        bytes.truncate(length);
        let commit = frame::decode(&bytes.into()).map_err(|what| Fault::Broken(what.to_owned()))?.commit;
        // Each commit is a segment of its own, and a blob's offset its number.
        let segment = commits.len() as u64;
        let positions = std::iter::zip(0.., &commit.blobs)
            .map(|(offset, blob)| Position { segment, offset, length: blob.bytes.len() as u32 })
            .collect();
        let durable = Durable::new(commit, positions);
        commits.push(durable.clone());
        Ok(durable)
    }

    fn replay(&self, from: u64) -> Box<dyn Iterator<Item = Result<Durable, Fault>> + '_> {
        let commits = self.commits();
        let first = commits.partition_point(|commit| commit.size() <= from);
        let later = commits[first..].to_vec();
        Box::new(later.into_iter().map(Ok))
    }

    fn reader(&self) -> BlobReader {
        BlobReader(Arc::new(self.clone()))
    }
}

impl ReadBlob for MemoryJournal {
    fn read(&self, position: &Position) -> Result<Bytes, Fault> {
        let commits = self.commits();
        let commit = usize::try_from(position.segment).ok().and_then(|segment| commits.get(segment));
        let blob = commit.and_then(|commit| commit.blobs.get(usize::try_from(position.offset).ok()?));
        match blob {
            Some(blob) if blob.bytes.len() == position.length as usize => Ok(blob.bytes.clone()),
            Some(_) | None => Err(Fault::Broken(format!("no blob stands at {position:?}"))),
        }
    }
}
