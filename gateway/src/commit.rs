//! A commit: what the sequencer decided in one go, as the log sealed it and as the journal keeps it.
//!
//! The log makes a [`Commit`]; the journal takes it by value and returns a [`Durable`], which nobody else can make: to hold
//! one is to know that a power cut does not undo it. Nothing here encodes, writes or reads.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use seinpost_core::event::Event;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;

/// The records of one batch, all that travels beside them, and the checkpoint that covers them.
#[derive(Clone, PartialEq, Eq)]
pub struct Commit {
    /// The index of the first record: how many the log held before.
    pub base: u64,
    /// The one time of the batch.
    pub time: Timestamp,
    /// The records, in order; never none.
    pub entries: Vec<Entry>,
    /// Items, sealed content, wrapped keys, certificates, covenants and revocation lists, in order.
    pub blobs: Vec<Blob>,
    /// The signed note over the log's head after this commit.
    pub checkpoint: Bytes,
    /// The root in that note.
    pub root: Digest,
}

impl Commit {
    /// Returns how many records the log holds after this commit.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.base + self.entries.len() as u64
    }
}

/// Neither records nor what travels with them belong into a log line, so only the place is shown.
impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commit({}..{}, {} blobs, root {})", self.base, self.size(), self.blobs.len(), self.root)
    }
}

/// One leaf of the log and what it stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The encoded record; empty once erased.
    pub record: Bytes,
    /// The salt that makes the commitment say nothing; zeros once erased.
    pub salt: [u8; 32],
    /// The commitment, which is never erased.
    pub commitment: Digest,
    /// The number of the retention rule that erased record and salt; 0 while they are here.
    pub erased_by: u8,
}

impl Entry {
    /// Returns the entry of a record that is here.
    #[must_use]
    pub const fn new(record: Bytes, salt: [u8; 32], commitment: Digest) -> Self {
        Self { record, salt, commitment, erased_by: 0 }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}, {} bytes, erased by {})", self.commitment, self.record.len(), self.erased_by)
    }
}

/// Bytes that belong to a record and are not in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    /// Which record of the commit, counted from 0.
    pub entry: u32,
    /// What the bytes are.
    pub kind: BlobKind,
    /// The bytes; none once erased.
    pub bytes: Bytes,
    /// The number of the retention rule that erased them; 0 while they are here.
    pub erased_by: u8,
}

impl Blob {
    /// Returns a blob whose bytes are here.
    #[must_use]
    pub const fn new(entry: u32, kind: BlobKind, bytes: Bytes) -> Self {
        Self { entry, kind, bytes, erased_by: 0 }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({:?} of {}, {} bytes, erased by {})", self.kind, self.entry, self.bytes.len(), self.erased_by)
    }
}

/// What the bytes of a blob are. The numbers stand in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlobKind {
    /// A signed item.
    Item = 1,
    /// The sealed content of a signal.
    SealedContent = 2,
    /// The content's key, wrapped for one recipient; as many as there are recipients, in their order.
    WrappedKey = 3,
    /// A signing certificate and those above it.
    Chain = 4,
    /// A covenant.
    Covenant = 5,
    /// A certificate revocation list.
    Crl = 6,
}

impl BlobKind {
    /// Returns the number that stands in the journal.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Item,
            2 => Self::SealedContent,
            3 => Self::WrappedKey,
            4 => Self::Chain,
            5 => Self::Covenant,
            6 => Self::Crl,
            _ => return None,
        })
    }
}

/// Where the bytes of a blob stand in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number of the segment.
    pub segment: u64,
    /// The first byte, counted from the start of the segment.
    pub offset: u64,
    /// How many bytes.
    pub length: u32,
}

/// A commit that survives a power cut, with the place of each of its blobs. Cheap to clone.
#[derive(Clone)]
pub struct Durable(Arc<Inner>);

struct Inner {
    commit: Commit,
    positions: Vec<Position>,
    /// What the records were written from, where that was in this process.
    events: OnceLock<Vec<Event>>,
}

impl Durable {
    /// Says that the journal keeps `commit`, with its blobs at `positions`. Journals alone may say so.
    pub(crate) fn new(commit: Commit, positions: Vec<Position>) -> Self {
        assert_eq!(commit.blobs.len(), positions.len(), "each blob has its position");
        Self(Arc::new(Inner { commit, positions, events: OnceLock::new() }))
    }

    /// Returns where blob number `blob` of the commit stands.
    ///
    /// # Panics
    /// If the commit has no such blob.
    #[must_use]
    pub fn position(&self, blob: usize) -> Position {
        self.0.positions[blob]
    }

    /// Lays beside the commit the events that its records were written from, so that nobody need read them back from those.
    pub(crate) fn with_events(self, events: Vec<Event>) -> Self {
        assert_eq!(self.0.commit.entries.len(), events.len(), "each record was written from its event");
        let laid = self.0.events.set(events);
        assert!(laid.is_ok(), "a commit is decided once");
        self
    }

    /// Returns the events of its records, in order; `None` for a commit that was read from a journal.
    pub(crate) fn events(&self) -> Option<&[Event]> {
        self.0.events.get().map(Vec::as_slice)
    }

    /// Returns the blobs of one record of the commit with their places, in order.
    pub fn blobs_of(&self, entry: u32) -> impl Iterator<Item = (&Blob, Position)> {
        let blobs = std::iter::zip(&self.0.commit.blobs, self.0.positions.iter().copied());
        blobs.filter(move |(blob, _)| blob.entry == entry)
    }
}

impl Deref for Durable {
    type Target = Commit;

    fn deref(&self) -> &Commit {
        &self.0.commit
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Durable({:?})", self.0.commit)
    }
}
