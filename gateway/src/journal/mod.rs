//! The journal: what is in it is true, what is not never happened.
//!
//! The sequencer hands over a sealed [`Commit`] by value and gets a [`Durable`] back, or a fault. Two implementations:
//! segments of zero-filled files ([`FileJournal`]), and memory for tests and simulations ([`MemoryJournal`]). A journal decides
//! nothing, checks no signature, and never changes what it once acknowledged; erasing copies, see [`frame`].

pub mod frame;
mod disk;
mod segment;
mod file;
mod memory;
pub mod faulty;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::commit::{Commit, Durable, Position};
use crate::fault::Fault;

pub use file::{FileJournal, Options, Torn};
pub use memory::MemoryJournal;

/// The commits of one log, in order, without gaps, kept through a power cut.
pub trait Journal: Send {
    /// Returns how many records the log holds: the base of the next commit.
    fn size(&self) -> u64;

    /// Makes sure that the next commit will find room. To be asked before a batch is decided: a batch that was decided and
    /// cannot be written costs a restart, one that was not can be put off.
    ///
    /// [`Fault::Full`] says that there is no room now; the journal is as it was and may be asked again.
    fn prepare(&mut self) -> Result<(), Fault>;

    /// Writes a commit behind the others. `Ok` means that a power cut does not undo it.
    ///
    /// [`Fault::Moved`] says that the log does not end at the commit's base, [`Fault::Full`] and [`Fault::Broken`] that it cannot be
    /// written; then nothing was, and the journal goes on. After any other fault the commit may have been kept or not:
    /// the journal refuses every further one with [`Fault::Stopped`], and only opening it anew tells.
    fn append(&mut self, commit: Commit) -> Result<Durable, Fault>;

    /// Reads the commits again, beginning with the one that holds record `from`, up to where the log ends now.
    ///
    /// A fault ends the iteration; nothing behind it can be trusted to follow.
    fn replay(&self, from: u64) -> Box<dyn Iterator<Item = Result<Durable, Fault>> + '_>;

    /// Returns a handle that reads blobs by their position, from any thread.
    fn reader(&self) -> BlobReader;
}

/// Reads the bytes of blobs where a [`Durable`] says they stand. Cheap to clone.
///
/// Each read is checked against the blob's own CRC32C. That finds a failing disk; a gateway that lies is found by
/// whoever gets the bytes, who compares them with the digests that were signed.
#[derive(Clone)]
pub struct BlobReader(Arc<dyn ReadBlob>);

impl BlobReader {
    /// Returns the bytes at a position. A position of no bytes, as of an erased blob, reads as none.
    pub fn read(&self, position: &Position) -> Result<Bytes, Fault> {
        if position.length == 0 { Ok(Bytes::new()) } else { self.0.read(position) }
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobReader")
    }
}

/// Where blobs are read from; of at least one byte.
trait ReadBlob: Send + Sync {
    fn read(&self, position: &Position) -> Result<Bytes, Fault>;
}
