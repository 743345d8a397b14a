//! Which items were consigned to a mailbox, so that one that is consigned again is noticed.
//!
//! In comes each item that was taken over, with its number; out goes under which number an item came before, and which
//! item came under a number. It is written when an item is acknowledged, and never judges what it finds.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;

use super::Place;
use crate::error::{Error, Result};
use crate::files;
use crate::pins::MailboxPin;

/// How long a consigned item is remembered: items older than 30 days are not accepted.
const REMEMBER: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Which items were consigned here within 31 days of the newest that was taken over, so that a second consignment is
/// noticed: a record is at most 30 days younger than the item's signature, so an item that is forgotten comes too late to
/// be taken once more. Counted by the mailbox's own times, because a mailbox may be read long after.
///
/// A file of rows of 48 bytes: number and record time as big-endian 64-bit integers, digest. A torn last row is dropped;
/// its record was not acknowledged.
pub(super) struct ConsignedItems {
    path: PathBuf,
    numbers: HashMap<Digest, u64>,
    items: HashMap<u64, Digest>,
}

const ROW_BYTES: usize = 48;
/// A million items in 31 days, ten times a country's year.
const CONSIGNED_BYTES_MAX: usize = 48 * 1_000_000;

impl ConsignedItems {
    /// Reads what is remembered of a mailbox, and forgets what is too old by the newest record that was taken over.
    pub(super) fn open(state: &Path, origin: &str, address: Address, newest: Option<MailboxPin>) -> Result<Self> {
        // A state folder may serve several logs, and each counts its mailboxes for itself.
        let folder = state.join("mailboxes").join(&Digest::of(origin.as_bytes()).to_string()[..16]);
        files::create_folder(&folder)?;
        let path = folder.join(format!("{}.consigned", address.to_string().replace('/', "-")));
        let bytes = files::read_if_there(&path, CONSIGNED_BYTES_MAX)?.unwrap_or_default();
        let mut consigned = Self { path, numbers: HashMap::new(), items: HashMap::new() };
        let mut kept = Vec::with_capacity(bytes.len());
        for row in bytes.chunks_exact(ROW_BYTES) {
            let number = u64::from_be_bytes(row[..8].try_into().expect("eight bytes"));
            let time = i64::from_be_bytes(row[8..16].try_into().expect("eight bytes"));
            if newest.is_none_or(|newest| newest.time.since(Timestamp::clamped(time)) <= REMEMBER) {
                consigned.insert(number, Digest::try_from(&row[16..]).expect("32 bytes"));
                kept.extend_from_slice(row);
            }
        }
        if kept.len() < bytes.len() {
            files::write(&consigned.path, &kept, files::Mode::Plain)?;
        }
        Ok(consigned)
    }

    fn insert(&mut self, number: u64, digest: Digest) {
        self.numbers.insert(digest, number);
        self.items.insert(number, digest);
    }

    /// Returns the item that was consigned under a number.
    pub(super) fn item_of(&self, number: u64) -> Option<Digest> {
        self.items.get(&number).copied()
    }

    /// Returns the number under which an item was consigned.
    pub(super) fn number_of(&self, digest: &Digest) -> Option<u64> {
        self.numbers.get(digest).copied()
    }

    /// Remembers an item; on `Ok` that survives a power cut.
    pub(super) fn keep(&mut self, place: &Place, digest: Digest) -> Result<()> {
        if self.numbers.contains_key(&digest) || self.items.contains_key(&place.number) {
            return Ok(());
        }
        let mut row = [0; ROW_BYTES];
        row[..8].copy_from_slice(&place.number.to_be_bytes());
        row[8..16].copy_from_slice(&place.recorded_at.millis().to_be_bytes());
        row[16..].copy_from_slice(digest.as_bytes());
        let written = File::options().create(true).append(true).open(&self.path).and_then(|mut file| {
            file.write_all(&row)?;
            file.sync_data()
        });
        written.map_err(|error| Error::file(&self.path, &error))?;
        self.insert(place.number, digest);
        Ok(())
    }
}
