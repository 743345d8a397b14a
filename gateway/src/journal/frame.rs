//! The bytes of a journal: segment headers, frames, and what the end of a segment means.
//!
//! In go commits, out come frames; in go bytes, out come commits or what is wrong with them. Pure: no file is opened
//! here. All numbers are big-endian. A segment begins with one sector (512 bytes):
//!
//! ```text
//! magic        16   "seinpost journal"
//! format       u32  1
//! segment      u64  number of the segment, from 0, without gaps
//! first base   u64  how many records the log held when the segment was begun
//! origin       u32 length, then the log's origin
//! CRC32C       u32  over all of the above
//! ```
//!
//! and zeros to the sector's end. Then frames, one per commit, each at the start of a sector, with zeros up to the next:
//!
//! ```text
//! length       u32  how many bytes follow, the CRC included
//! type         u8   1: commit
//! base         u64
//! count        u32  how many records, at least one
//! time         u64  milliseconds since 1970
//! commitments  count × 32
//! erased       count × u8    0: record and salt are here; else the number of the rule that erased them
//! records      u32 count, then each: u32 length (0 if erased), record
//! salts        u32 count, then each: u32 length (32, or 0 if erased), salt
//! blobs        u32 count, then each: u32 length, u32 entry, u8 kind, u8 erased, u32 CRC32C of the bytes, bytes
//! checkpoint   u32 length, signed note
//! CRC32C       u32  over type to checkpoint
//! ```
//!
//! Erasing copies a frame without the records, salts or bytes that a rule names; commitments, places and the checkpoint
//! stay, so that the tree can always be computed again. A frame begins a sector so that writing it never touches a
//! sector that holds an older, acknowledged one: what a power cut tears is the last frame alone.

use bytes::{Buf, BufMut, Bytes};
use seinpost_protocol::checkpoint::Checkpoint;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::note::Note;
use seinpost_protocol::record::RECORD_BYTES_MAX;
use seinpost_protocol::time::Timestamp;

use crate::commit::{Blob, BlobKind, Commit, Entry};
use crate::fault::Fault;

/// The unit in which disks write: what a power cut keeps or loses as a whole.
pub const SECTOR: usize = 512;
/// The largest frame, its length included. A batch ends at 4 MiB of what came in or 512 commands, whose records may
/// come to as much again; four times that is room, and still a bound on what a reader takes into memory.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// The longest checkpoint: the log's own line and some twenty of witnesses. It must fit into a slot of the head file, and
/// beside records into one value of the store.
pub const CHECKPOINT_BYTES_MAX: usize = 4000;
/// The longest origin that a header takes, so that a header is one sector.
pub const ORIGIN_BYTES_MAX: usize = 256;

const MAGIC: &[u8; 16] = b"seinpost journal";
const FORMAT: u32 = 1;
const TYPE_COMMIT: u8 = 1;
/// What stands between a blob's length and its bytes.
const BLOB_HEAD: usize = 4 + 1 + 1 + 4;
/// From the length to the time.
const FIXED: usize = 4 + 1 + 8 + 4 + 8;

/// The first sector of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The segment's number, from 0.
    pub segment: u64,
    /// How many records the log held when the segment was begun.
    pub first_base: u64,
    /// The log.
    pub origin: String,
}

impl Header {
    /// Returns the sector.
    ///
    /// # Panics
    /// If the origin is longer than [`ORIGIN_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> [u8; SECTOR] {
        assert!(self.origin.len() <= ORIGIN_BYTES_MAX, "origins are bounded where the journal is opened");
        let mut bytes = Vec::with_capacity(SECTOR);
        bytes.put_slice(MAGIC);
        bytes.put_u32(FORMAT);
        bytes.put_u64(self.segment);
        bytes.put_u64(self.first_base);
        put_bytes(&mut bytes, self.origin.as_bytes());
        bytes.put_u32(crc32c::crc32c(&bytes));
        let mut sector = [0; SECTOR];
        sector[..bytes.len()].copy_from_slice(&bytes);
        sector
    }

    /// Reads the sector, or says what is wrong with it.
    pub fn decode(sector: &[u8; SECTOR]) -> Result<Self, &'static str> {
        let mut rest = sector.as_slice();
        let magic = take(&mut rest, MAGIC.len())?;
        if magic != MAGIC {
            return Err("it is no journal segment");
        }
        if take_u32(&mut rest)? != FORMAT {
            return Err("the segment has a format that this version does not know");
        }
        let (segment, first_base) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
        let origin = take_bytes(&mut rest)?;
        let covered = SECTOR - rest.len();
        if take_u32(&mut rest)? != crc32c::crc32c(&sector[..covered]) {
            return Err("the segment's header has a wrong CRC");
        }
        let origin = str::from_utf8(origin).map_err(|_| "the origin is no text")?;
        Ok(Self { segment, first_base, origin: origin.to_owned() })
    }
}

/// Returns how many bytes a frame of `length` bytes takes with the zeros up to the next sector.
#[must_use]
pub const fn padded(length: usize) -> usize {
    length.next_multiple_of(SECTOR)
}

/// Writes the frame of `commit` into `out`, whose contents it replaces, zeros to the sector's end included; returns how long
/// the frame is without them, and where in it the bytes of each blob begin.
pub fn encode(commit: &Commit, out: &mut Vec<u8>) -> Result<(usize, Vec<u32>), Fault> {
    let length = encoded_bytes(commit)?;
    let mut blob_offsets = Vec::with_capacity(commit.blobs.len());
    out.clear();
    out.reserve(padded(length));
    out.put_u32(length as u32 - 4);
    out.put_u8(TYPE_COMMIT);
    out.put_u64(commit.base);
    out.put_u32(commit.entries.len() as u32);
    out.put_u64(commit.time.millis() as u64);
    commit.entries.iter().for_each(|entry| out.put_slice(entry.commitment.as_ref()));
    commit.entries.iter().for_each(|entry| out.put_u8(entry.erased_by));
    out.put_u32(commit.entries.len() as u32);
    commit.entries.iter().for_each(|entry| put_bytes(out, &entry.record));
    out.put_u32(commit.entries.len() as u32);
    commit.entries.iter().for_each(|entry| put_bytes(out, if entry.erased_by == 0 { &entry.salt } else { &[] }));
    out.put_u32(commit.blobs.len() as u32);
    for blob in &commit.blobs {
        out.put_u32(blob.bytes.len() as u32);
        out.put_u32(blob.entry);
        out.put_u8(blob.kind.number());
        out.put_u8(blob.erased_by);
        out.put_u32(crc32c::crc32c(&blob.bytes));
        blob_offsets.push(out.len() as u32);
        out.put_slice(&blob.bytes);
    }
    put_bytes(out, &commit.checkpoint);
    out.put_u32(crc32c::crc32c(&out[4..]));
    assert_eq!(out.len(), length, "the length was computed from the same commit");
    out.resize(padded(length), 0);
    Ok((length, blob_offsets))
}

/// Checks that the commit is one that a frame can hold, and returns how long the frame will be.
fn encoded_bytes(commit: &Commit) -> Result<usize, Fault> {
    let broken = |what: &str| Err(Fault::Broken(format!("{commit:?} {what}")));
    if commit.entries.is_empty() {
        return broken("has no records");
    }
    if commit.checkpoint.len() > CHECKPOINT_BYTES_MAX {
        return broken("has a checkpoint that is too long");
    }
    let mut length = FIXED + 4 + 4 + 4 + 4 + commit.checkpoint.len() + 4;
    for entry in &commit.entries {
        if entry.record.len() > RECORD_BYTES_MAX || entry.record.is_empty() != (entry.erased_by != 0) {
            return broken("has a record that is too long, or is erased and yet there, or neither");
        }
        length += 32 + 1 + 4 + entry.record.len() + 4 + if entry.erased_by == 0 { 32 } else { 0 };
    }
    for blob in &commit.blobs {
        if blob.entry as usize >= commit.entries.len() || (blob.erased_by != 0 && !blob.bytes.is_empty()) {
            return broken("has a blob of no record, or one that is erased and yet there");
        }
        length += 4 + BLOB_HEAD + blob.bytes.len();
    }
    if length > FRAME_BYTES_MAX { broken("is too large for a frame") } else { Ok(length) }
}

/// Returns how long the frame is that begins here, by its own word; `None` if that is no length of a frame.
#[must_use]
pub fn claimed_length(start: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(start.get(..4)?.try_into().expect("four bytes were taken")) as usize + 4;
    (FIXED < length && length <= FRAME_BYTES_MAX).then_some(length)
}

/// A frame that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub commit: Commit,
    /// Where in the frame the bytes of each blob begin.
    pub blob_offsets: Vec<u32>,
    /// How long it is, without the zeros up to the next sector.
    pub length: usize,
}

/// Reads a frame, from its length to its CRC and nothing more, or says what is wrong with it.
pub fn decode(frame: &Bytes) -> Result<Frame, &'static str> {
    if claimed_length(frame) != Some(frame.len()) {
        return Err("the length is none of a frame");
    }
    let covered = &frame[4..frame.len() - 4];
    let crc = u32::from_be_bytes(frame[frame.len() - 4..].try_into().expect("four bytes were taken"));
    if crc32c::crc32c(covered) != crc {
        return Err("the CRC is wrong");
    }
    // Below, a frame is wrong only if whoever wrote it was: so each rule is checked, but none needs its own variant.
    let mut rest = covered;
    if take(&mut rest, 1)? != [TYPE_COMMIT] {
        return Err("the frame has a type that this version does not know");
    }
    let base = take_u64(&mut rest)?;
    let count = take_u32(&mut rest)? as usize;
    let time = i64::try_from(take_u64(&mut rest)?).ok().and_then(Timestamp::from_millis).ok_or("the time is none")?;
    let commitments = take(&mut rest, count.checked_mul(32).ok_or(SHORT)?)?;
    let erased = take(&mut rest, count)?;
    if count == 0 {
        return Err("the commit has no records");
    }
    let mut entries = Vec::with_capacity(count);
    if take_u32(&mut rest)? as usize != count {
        return Err("there are not as many records as commitments");
    }
    for (commitment, &erased_by) in std::iter::zip(commitments.chunks_exact(32), erased) {
        let record = frame.slice_ref(take_bytes(&mut rest)?);
        if record.len() > RECORD_BYTES_MAX || record.is_empty() != (erased_by != 0) {
            return Err("a record is too long, or is erased and yet there, or neither");
        }
        let commitment = Digest::try_from(commitment).expect("32 bytes were taken");
        entries.push(Entry { record, salt: [0; 32], commitment, erased_by });
    }
    if take_u32(&mut rest)? as usize != count {
        return Err("there are not as many salts as commitments");
    }
    for entry in &mut entries {
        match (entry.erased_by, take_bytes(&mut rest)?) {
            (0, salt) => entry.salt = salt.try_into().map_err(|_| "a salt has not 32 bytes")?,
            (_, []) => {}
            (_, _) => return Err("a salt is erased and yet there"),
        }
    }
    let mut blobs = Vec::new();
    let mut blob_offsets = Vec::new();
    for _ in 0..take_u32(&mut rest)? {
        let length = take_u32(&mut rest)? as usize;
        let entry = take_u32(&mut rest)?;
        let kind = BlobKind::from_number(take(&mut rest, 1)?[0]).ok_or("a blob has an unknown kind")?;
        let erased_by = take(&mut rest, 1)?[0];
        let _crc = take_u32(&mut rest)?;
        let bytes = take(&mut rest, length)?;
        if entry as usize >= count || (erased_by != 0 && length != 0) {
            return Err("a blob is of no record, or is erased and yet there");
        }
        blob_offsets.push((bytes.as_ptr() as usize - frame.as_ptr() as usize) as u32);
        blobs.push(Blob { entry, kind, bytes: frame.slice_ref(bytes), erased_by });
    }
    let checkpoint = frame.slice_ref(take_bytes(&mut rest)?);
    if !rest.is_empty() || checkpoint.len() > CHECKPOINT_BYTES_MAX {
        return Err("the checkpoint is too long, or bytes stand behind it");
    }
    let head = checkpoint_of(&checkpoint).ok_or("the checkpoint is none")?;
    if head.size != base.checked_add(count as u64).ok_or("the base is none")? {
        return Err("the checkpoint is of another size");
    }
    let commit = Commit { base, time, entries, blobs, checkpoint, root: head.root };
    Ok(Frame { commit, blob_offsets, length: frame.len() })
}

/// Returns what a note says; its signature is not looked at.
pub(crate) fn checkpoint_of(note: &[u8]) -> Option<Checkpoint> {
    let note = Note::parse(note).ok()?;
    Checkpoint::parse(note.text()).ok().map(|(checkpoint, _)| checkpoint)
}

/// Returns how many bytes before a blob's own must be read to check it, which are its CRC.
pub(crate) const BLOB_CRC: usize = 4;

/// Checks a blob that was read from the journal with the [`BLOB_CRC`] bytes before it, and returns its bytes.
pub(crate) fn check_blob(mut read: Bytes) -> Option<Bytes> {
    let crc = read.try_get_u32().ok()?;
    (crc32c::crc32c(&read) == crc).then_some(read)
}

/// What stands in a segment behind its last good frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Zeros, as the segment was made.
    Clean,
    /// The last write, of which a part was kept: so nobody was told of it, and it is wiped. So many bytes from the start.
    Torn(usize),
    /// What no torn write explains.
    Damaged(&'static str),
}

/// Judges what stands behind the last good frame of the last segment, where the log holds `size` records; `tail` begins at
/// a sector and does not begin with a good frame.
///
/// Frames are written one after another, each only when the one before is on the disk, into zeros. So a torn write
/// leaves the sectors of one frame, some of them still zeros, and nothing behind. A good frame behind a bad one was
/// acknowledged, and so was the bad one: that is damage. So is a frame that is all there and yet wrong.
///
/// Sealed content is a stranger's bytes and might look like a good frame. At worst that turns the torn frame in which it
/// stands into damage, and an operator must look; it never makes an acknowledged record vanish.
#[must_use]
pub fn judge_tail(tail: &[u8], size: u64) -> Tail {
    let Some(last) = tail.iter().rposition(|&byte| byte != 0) else {
        return Tail::Clean;
    };
    let later_frame = (SECTOR..=last).step_by(SECTOR).any(|at| is_frame(&tail[at..], size));
    if later_frame {
        return Tail::Damaged("a frame is bad, and a good one stands behind it");
    }
    let claimed = claimed_length(tail);
    let sectors = claimed.map_or(FRAME_BYTES_MAX, padded);
    if last >= sectors {
        return Tail::Damaged("more stands behind the last good frame than one torn write leaves");
    }
    match claimed {
        Some(length) if length <= tail.len() && is_whole(&tail[..length]) => {
            Tail::Damaged("the last frame is all there, and is not what was written")
        }
        Some(_) | None => Tail::Torn(last + 1),
    }
}

/// Says whether no part of a frame is missing: a write that was cut short ends in zeros, and one of which a sector did not
/// reach the disk has a sector of zeros.
fn is_whole(frame: &[u8]) -> bool {
    frame.last() != Some(&0) && frame.chunks(SECTOR).all(|sector| sector.iter().any(|&byte| byte != 0))
}

/// Says whether a good frame that continues a log of at least `size` records begins here.
fn is_frame(bytes: &[u8], size: u64) -> bool {
    let Some(length) = claimed_length(bytes).filter(|&length| length <= bytes.len()) else {
        return false;
    };
    let base = u64::from_be_bytes(bytes[5..13].try_into().expect("eight bytes were taken"));
    bytes[4] == TYPE_COMMIT && base >= size && decode(&Bytes::copy_from_slice(&bytes[..length])).is_ok()
}

const SHORT: &str = "the frame ends too early";

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], &'static str> {
    rest.split_off(..length).ok_or(SHORT)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    let length = take_u32(rest)? as usize;
    take(rest, length)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, &'static str> {
    rest.try_get_u32().map_err(|_| SHORT)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, &'static str> {
    rest.try_get_u64().map_err(|_| SHORT)
}
