//! The head file: how far the log is known to have come, kept apart from the journal.
//!
//! The applier writes it after a commit was applied, so it lags behind the journal by what is not applied yet and never
//! leads. At start it makes a journal that is shorter than it was, or another than it was, refuse: an older copy of the
//! journal cannot be told from a whole one by itself, and the log would sign a second history over it.
//!
//! The file has two slots of one page each, written in turn, so that a torn write leaves the other:
//!
//! ```text
//! magic       16   "seinpost headfil"
//! format      u32  1
//! sequence    u64  counts the writes; the higher of two good slots is the newer
//! size        u64
//! root        32
//! checkpoint  u32 length, signed note
//! CRC32C      u32  over all of the above
//! ```

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};
use seinpost_protocol::digest::Digest;

use crate::fault::Fault;
use crate::journal::frame::CHECKPOINT_BYTES_MAX;

/// One slot: a page, so that no slot shares a sector with the other.
const SLOT: usize = 4096;
const MAGIC: &[u8; 16] = b"seinpost headfil";
const FORMAT: u32 = 1;

/// How far the log has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How many records it holds.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// The signed note that says so.
    pub checkpoint: Bytes,
}

/// The head file of a data folder.
#[derive(Debug)]
pub struct HeadFile {
    path: PathBuf,
    file: Option<File>,
    sequence: u64,
    latest: Option<Head>,
}

impl HeadFile {
    /// Opens `data`/head, or prepares to make it with the first write.
    pub fn open(data: &Path) -> Result<Self, Fault> {
        let path = data.join("head");
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { path, file: None, sequence: 0, latest: None });
            }
            Err(error) => return Err(Fault::disk("open", &path)(error)),
        };
        let mut slots = [0; 2 * SLOT];
        let mut read = 0;
        while read < slots.len() {
            match file.read_at(&mut slots[read..], read as u64).map_err(Fault::disk("read", &path))? {
                0 => break,
                more => read += more,
            }
        }
        // A frame's checkpoint always fits beside the 76 other bytes of a slot.
        const { assert!(CHECKPOINT_BYTES_MAX + 76 <= SLOT) };
        let newest = slots.chunks(SLOT).filter_map(decode).max_by_key(|(sequence, _)| *sequence);
        if newest.is_none() && slots.iter().any(|&byte| byte != 0) {
            let what =
                "neither of its slots is good; compare the log's size with what its clients saw before deleting it";
            return Err(Fault::Damage { path, offset: 0, what: what.to_owned() });
        }
        let (sequence, latest) = newest.map_or((0, None), |(sequence, head)| (sequence, Some(head)));
        Ok(Self { path, file: Some(file), sequence, latest })
    }

    /// Returns the head that was written last.
    #[must_use]
    pub const fn latest(&self) -> Option<&Head> {
        self.latest.as_ref()
    }

    /// Writes a head; `Ok` means that it survives a power cut. Its size never falls. After a fault the head before it still
    /// stands, or the new one does.
    pub fn write(&mut self, head: Head) -> Result<(), Fault> {
        let lower = self.latest.as_ref().is_some_and(|latest| head.size < latest.size);
        if lower || head.checkpoint.len() > CHECKPOINT_BYTES_MAX {
            return Err(Fault::Broken(format!("the head file cannot take a head of {} records", head.size)));
        }
        let made = match &self.file {
            Some(_) => None,
            None => Some(self.make()?),
        };
        let file = self.file.as_ref().or(made.as_ref()).expect("it was there or was made");
        let sequence = self.sequence + 1;
        let at = (sequence % 2) * SLOT as u64;
        file.write_all_at(&encode(sequence, &head), at).map_err(Fault::disk("write to", &self.path))?;
        file.sync_data().map_err(Fault::disk("sync", &self.path))?;
        if made.is_some() {
            let folder = self.path.parent().expect("the path was joined to a folder");
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(Fault::disk("sync", folder))?;
            self.file = made;
        }
        self.sequence = sequence;
        self.latest = Some(head);
        Ok(())
    }

    fn make(&self) -> Result<File, Fault> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&self.path);
        let file = file.map_err(Fault::disk("make", &self.path))?;
        file.write_all_at(&[0; 2 * SLOT], 0).map_err(Fault::disk("write to", &self.path))?;
        file.sync_all().map_err(Fault::disk("sync", &self.path))?;
        Ok(file)
    }
}

fn encode(sequence: u64, head: &Head) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT);
    slot.put_slice(MAGIC);
    slot.put_u32(FORMAT);
    slot.put_u64(sequence);
    slot.put_u64(head.size);
    slot.put_slice(head.root.as_ref());
    slot.put_u32(head.checkpoint.len() as u32);
    slot.put_slice(&head.checkpoint);
    slot.put_u32(crc32c::crc32c(&slot));
    slot.resize(SLOT, 0);
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Head)> {
    let mut rest = slot;
    let magic = rest.split_off(..MAGIC.len())?;
    if magic != MAGIC || rest.try_get_u32().ok()? != FORMAT {
        return None;
    }
    let (sequence, size) = (rest.try_get_u64().ok()?, rest.try_get_u64().ok()?);
    let root = Digest::try_from(rest.split_off(..32)?).ok()?;
    let length = rest.try_get_u32().ok()? as usize;
    let checkpoint = Bytes::copy_from_slice(rest.split_off(..length)?);
    let covered = slot.len() - rest.len();
    if rest.try_get_u32().ok()? != crc32c::crc32c(&slot[..covered]) {
        return None;
    }
    Some((sequence, Head { size, root, checkpoint }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

    use super::*;

    fn head(size: u64) -> Head {
        Head { size, root: Digest::of(&size.to_be_bytes()), checkpoint: Bytes::from(format!("note of {size}")) }
    }

    #[test]
    fn the_head_written_last_is_read_again() {
        let data = tempfile::tempdir().unwrap();
        let mut file = HeadFile::open(data.path()).unwrap();
        assert_eq!(file.latest(), None);
        for size in [1, 1, 5, 9] {
            file.write(head(size)).unwrap();
            assert_eq!(file.latest(), Some(&head(size)));
            assert_eq!(HeadFile::open(data.path()).unwrap().latest(), Some(&head(size)));
        }
    }

    #[test]
    fn a_head_that_falls_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let mut file = HeadFile::open(data.path()).unwrap();
        file.write(head(5)).unwrap();
        assert!(matches!(file.write(head(4)), Err(Fault::Broken(_))));
        assert_eq!(HeadFile::open(data.path()).unwrap().latest(), Some(&head(5)));
    }

    #[test]
    fn a_write_that_is_torn_at_any_byte_leaves_the_head_before_it() {
        let data = tempfile::tempdir().unwrap();
        let mut file = HeadFile::open(data.path()).unwrap();
        file.write(head(5)).unwrap();
        let before = std::fs::read(data.path().join("head")).unwrap();
        file.write(head(6)).unwrap();
        let after = std::fs::read(data.path().join("head")).unwrap();
        let written: Vec<usize> = (0..after.len()).filter(|&at| before[at] != after[at]).collect();
        for &cut in &written {
            let torn: Vec<u8> = [&after[..cut], &before[cut..]].concat();
            // The second write went to the first slot, so that cutting at `cut` keeps the second slot as it was.
            std::fs::write(data.path().join("head"), torn).unwrap();
            assert_eq!(HeadFile::open(data.path()).unwrap().latest(), Some(&head(5)), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_slot_and_a_second_one_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("head");
        let mut file = HeadFile::open(data.path()).unwrap();
        file.write(head(5)).unwrap();
        file.write(head(6)).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(HeadFile::open(data.path()).unwrap().latest(), Some(&head(5)));
        bytes[SLOT + 40] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(HeadFile::open(data.path()), Err(Fault::Damage { .. })));
    }
}
