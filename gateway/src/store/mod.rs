//! The store: the log as it can be asked, behind the journal.
//!
//! The applier hands over what is durable; readers ask by index, item, mailbox number, name or size. What the store holds
//! follows from the journal alone, so it may be deleted and is built again; it is never the only copy of anything. It
//! holds records, commitments, checkpoints, tiles and indexes, and of items and sealed content only where in the journal
//! they stand, so that erasing them is one job.
//!
//! Two implementations: sled ([`SledStore`]), and memory for tests ([`MemoryStore`]).

mod facts;
mod values;
mod shape;
mod sled;
mod memory;
pub mod faulty;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;

use crate::commit::{BlobKind, Durable, Entry, Position};
use crate::fault::Fault;

pub use self::sled::SledStore;
pub use memory::MemoryStore;

/// Most entries that one call of [`Reader::entries`] returns: with records of the largest size some 32 MiB, in practice two.
pub const ENTRIES_MAX: u64 = 4096;

/// What is written by one thread.
///
/// [`Fault::Moved`] says that a commit does not begin where the store ends; nothing was applied, and the store goes on. After
/// any other fault it is in doubt and takes nothing more; opening it anew tells, or clearing it helps.
pub trait Store: Send {
    /// Applies commits, all of them or none, so that readers see them. The first begins where the last one applied ended.
    ///
    /// `Ok` does not mean that a power cut leaves them: the journal does that.
    fn apply(&mut self, commits: &[Durable]) -> Result<(), Fault>;

    /// Brings what was applied to the disk, so that less is to be applied again after a power cut. To be called when nothing
    /// waits, and at the latest every so many batches.
    fn sync(&mut self) -> Result<(), Fault>;

    /// Says whether the store holds what it must of a commit that it applied. To be asked for all commits that it applied,
    /// in order, before anything is applied. Of a very long log a sample is compared.
    fn check(&mut self, commit: &Durable) -> Result<bool, Fault>;

    /// Forgets everything. Readers handed out before read what was; they are not to be used any more.
    fn clear(&mut self) -> Result<(), Fault>;

    /// Returns a handle for readers. It sees what is applied later, too.
    fn reader(&self) -> Arc<dyn Reader>;
}

/// What is asked by many threads.
///
/// `None` and an empty list mean that there is no such thing in what is applied. A store that lost something answers with
/// a fault: "unknown" would be a lie.
pub trait Reader: Send + Sync {
    /// Returns how many records are applied. What a commit wrote is seen by whoever saw `applied` reach its size.
    fn applied(&self) -> u64;

    /// Returns the entry at an index.
    fn entry(&self, index: u64) -> Result<Option<Entry>, Fault>;

    /// Returns the entries from `from` up to but not including `to`, as far as there are, and at most [`ENTRIES_MAX`] at a time.
    fn entries(&self, from: u64, to: u64) -> Result<Vec<Entry>, Fault>;

    /// Returns the 256 hashes of a full tile; the right edge of the tree is `TreeMemory`'s to give.
    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Digest>>, Fault>;

    /// Returns what travels beside the record at an index and where the journal keeps it, in order. The position of what is
    /// erased has the length 0.
    fn blobs_of(&self, index: u64) -> Result<Vec<(BlobKind, Position)>, Fault>;

    /// Returns the index of the acceptance of an item.
    fn item_index(&self, item: &Digest) -> Result<Option<u64>, Fault>;

    /// Returns mailbox numbers greater than `after` with the indexes of their records, in order.
    fn mailbox(&self, address: &Address, after: u64, limit: usize) -> Result<Vec<(u64, u64)>, Fault>;

    /// Returns the indexes of the acceptances of an address's key statements of a serial greater than `after`, in order.
    fn key_statements(&self, address: &Address, after: u64, limit: usize) -> Result<Vec<u64>, Fault>;

    /// Returns the index of the record that published a certificate, by the digest of the leaf.
    fn certificate(&self, sha256: &Digest) -> Result<Option<u64>, Fault>;

    /// Returns the index of the record that adopted a covenant.
    fn covenant(&self, serial: u64) -> Result<Option<u64>, Fault>;

    /// Returns the index of the record that adopted a revocation list.
    fn crl(&self, sha256: &Digest) -> Result<Option<u64>, Fault>;

    /// Returns the checkpoint that was signed at exactly this size.
    fn checkpoint(&self, size: u64) -> Result<Option<Bytes>, Fault>;

    /// Returns the indexes of the items of an address below `before`, newest first: of the acceptances of those that it sent,
    /// and of the consignments of those that it received.
    fn items_of(&self, address: &Address, before: u64, limit: usize) -> Result<Vec<u64>, Fault>;
}
