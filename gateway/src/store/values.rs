//! The bytes of the store: keys and values, without the database that keeps them.
//!
//! Every key begins with a letter for its kind; numbers in keys are big-endian, so that their order is the keys' order.
//! Every value is
//!
//! ```text
//! version  u8   1
//! CRC32C   u32  over key and body: a value under another's key is as wrong as a flipped bit
//! body
//! ```
//!
//! | key | body |
//! |---|---|
//! | `m` | how far: applied u64, root 32 |
//! | `e` first index u64 | entries of one commit, cut where a value would exceed 16 KiB: see [`Chunk`] |
//! | `t` level u8, number u64 | a full tile: 256 × 32 |
//! | `i` item digest 32 | index u64 of its acceptance |
//! | `x` address 22, first number u64 | mailbox places of one address within one span of 4,096 records: index u64 each |
//! | `s` address 22, span u64 | items of one address within one span: index u64 each |
//! | `k` address 22, serial u64 | index u64 of the key statement's acceptance |
//! | `c` leaf digest 32, `v` serial u64, `r` CRL digest 32 | index u64 of the record that published or adopted it |
//!
//! An address is 20 characters and u16 function.

use bytes::{Buf, BufMut, Bytes};
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;

use crate::commit::{BlobKind, Durable, Entry, Position};
use crate::journal::frame::CHECKPOINT_BYTES_MAX;

/// The largest value. Seventeen of them share a leaf of sled's tree, and a leaf must stay below a quarter of a segment, or
/// sled writes it to a file of its own without ever syncing it: 64 KiB would do for that. But to read one record is to check
/// the whole value, and measured, writing costs the same in quarters.
pub(super) const VALUE_BYTES_MAX: usize = 16 * 1024;

const VERSION: u8 = 1;

/// Returns the value of a body.
pub(super) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(5 + body.len());
    value.put_u8(VERSION);
    value.put_u32(crc32c::crc32c_append(crc32c::crc32c(key), body));
    value.put_slice(body);
    value
}

/// Returns the body of a value, or `None` if it is not what was stored under this key.
pub(super) fn open<'a>(key: &[u8], mut value: &'a [u8]) -> Option<&'a [u8]> {
    let version = value.try_get_u8().ok()?;
    let crc = value.try_get_u32().ok()?;
    (version == VERSION && crc == crc32c::crc32c_append(crc32c::crc32c(key), value)).then_some(value)
}

pub(super) const HOW_FAR: &[u8] = b"m";

pub(super) fn entries_key(first: u64) -> Vec<u8> {
    key(b'e', &[&first.to_be_bytes()])
}

pub(super) fn tile_key(level: u8, number: u64) -> Vec<u8> {
    key(b't', &[&[level], &number.to_be_bytes()])
}

pub(super) fn item_key(item: &Digest) -> Vec<u8> {
    key(b'i', &[item.as_ref()])
}

pub(super) fn mailbox_key(address: &Address, number: u64) -> Vec<u8> {
    key(b'x', &[&address_bytes(address), &number.to_be_bytes()])
}

pub(super) fn items_key(address: &Address, span: u64) -> Vec<u8> {
    key(b's', &[&address_bytes(address), &span.to_be_bytes()])
}

pub(super) fn key_statement_key(address: &Address, serial: u64) -> Vec<u8> {
    key(b'k', &[&address_bytes(address), &serial.to_be_bytes()])
}

pub(super) fn certificate_key(sha256: &Digest) -> Vec<u8> {
    key(b'c', &[sha256.as_ref()])
}

pub(super) fn covenant_key(serial: u64) -> Vec<u8> {
    key(b'v', &[&serial.to_be_bytes()])
}

pub(super) fn crl_key(sha256: &Digest) -> Vec<u8> {
    key(b'r', &[sha256.as_ref()])
}

/// Returns the number at the end of a key.
pub(super) fn key_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk()?))
}

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

fn address_bytes(address: &Address) -> [u8; 22] {
    let mut bytes = [0; 22];
    bytes[..20].copy_from_slice(address.oin.as_str().as_bytes());
    bytes[20..].copy_from_slice(&(address.function as u16).to_be_bytes());
    bytes
}

/// How far the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HowFar {
    pub(super) applied: u64,
    pub(super) root: Digest,
}

impl HowFar {
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.applied.to_be_bytes()[..], self.root.as_ref()].concat()
    }

    pub(super) fn decode(mut body: &[u8]) -> Option<Self> {
        let applied = body.try_get_u64().ok()?;
        Some(Self { applied, root: Digest::try_from(body).ok()? })
    }
}

pub(super) fn numbers(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    numbers.into_iter().flat_map(u64::to_be_bytes).collect()
}

pub(super) fn read_numbers(body: &[u8]) -> Option<Vec<u64>> {
    let (numbers, []) = body.as_chunks::<8>() else { return None };
    Some(numbers.iter().map(|number| u64::from_be_bytes(*number)).collect())
}

pub(super) fn read_number(body: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(body.try_into().ok()?))
}

pub(super) fn hashes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

pub(super) fn read_hashes(body: &[u8]) -> Option<Vec<Digest>> {
    let (hashes, []) = body.as_chunks::<32>() else { return None };
    Some(hashes.iter().map(|hash| Digest::new(*hash)).collect())
}

/// Some entries of one commit, one after another, and behind the commit's last entry its checkpoint:
///
/// ```text
/// count       u16
/// checkpoint  u16 length (0: the commit goes on in the next value), signed note
/// then each:  commitment 32, erased u8, u16 length, record, salt 32 (none if erased),
///             u16 count of blobs, each: kind u8, segment u64, offset u64, length u32
/// ```
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    pub(super) count: u64,
    pub(super) checkpoint: &'a [u8],
    entries: &'a [u8],
}

/// An entry as a chunk holds it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) entry: Entry,
    pub(super) blobs: Vec<(BlobKind, Position)>,
}

impl<'a> Chunk<'a> {
    /// Returns the bodies for a commit, each with the index of its first entry.
    pub(super) fn encode(commit: &Durable) -> Vec<(u64, Vec<u8>)> {
        let mut blobs: Vec<Vec<(BlobKind, Position)>> = vec![Vec::new(); commit.entries.len()];
        for (number, blob) in commit.blobs.iter().enumerate() {
            blobs[blob.entry as usize].push((blob.kind, commit.position(number)));
        }
        let mut chunks = Vec::new();
        let (mut first, mut count, mut entries) = (commit.base, 0_u16, Vec::new());
        for (index, (entry, blobs)) in std::iter::zip(commit.base.., std::iter::zip(&commit.entries, blobs)) {
            let start = entries.len();
            put_entry(&mut entries, entry, &blobs);
            // The last value also takes the checkpoint, so there is always room for one.
            if count > 0 && 4 + CHECKPOINT_BYTES_MAX + entries.len() > VALUE_BYTES_MAX - 5 {
                let next = entries.split_off(start);
                chunks.push((first, body(count, &[], &entries)));
                (first, count, entries) = (index, 0, next);
            }
            count += 1;
        }
        chunks.push((first, body(count, &commit.checkpoint, &entries)));
        chunks
    }

    pub(super) fn decode(mut body: &'a [u8]) -> Option<Self> {
        let count = u64::from(body.try_get_u16().ok()?);
        let length = usize::from(body.try_get_u16().ok()?);
        Some(Self { count, checkpoint: body.split_off(..length)?, entries: body })
    }

    /// Reads the entries, of which `take` says by their number in the chunk which it wants; `None` if they are not what
    /// [`Chunk::encode`] wrote.
    pub(super) fn read(&self, take: impl Fn(u64) -> bool) -> Option<Vec<Stored>> {
        let mut rest = self.entries;
        let mut stored = Vec::new();
        for number in 0..self.count {
            if take(number) { stored.push(get_entry(&mut rest)?) } else { skip_entry(&mut rest)? }
        }
        rest.is_empty().then_some(stored)
    }
}

fn body(count: u16, checkpoint: &[u8], entries: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + checkpoint.len() + entries.len());
    body.put_u16(count);
    body.put_u16(checkpoint.len() as u16);
    body.put_slice(checkpoint);
    body.put_slice(entries);
    body
}

const BLOB_BYTES: usize = 1 + 8 + 8 + 4;

fn put_entry(out: &mut Vec<u8>, entry: &Entry, blobs: &[(BlobKind, Position)]) {
    out.put_slice(entry.commitment.as_ref());
    out.put_u8(entry.erased_by);
    out.put_u16(entry.record.len() as u16);
    out.put_slice(&entry.record);
    if entry.erased_by == 0 {
        out.put_slice(&entry.salt);
    }
    out.put_u16(blobs.len() as u16);
    for (kind, position) in blobs {
        out.put_u8(kind.number());
        out.put_u64(position.segment);
        out.put_u64(position.offset);
        out.put_u32(position.length);
    }
}

fn get_entry(rest: &mut &[u8]) -> Option<Stored> {
    let commitment = take_32(rest).map(Digest::new)?;
    let erased_by = rest.try_get_u8().ok()?;
    let length = usize::from(rest.try_get_u16().ok()?);
    let record = Bytes::copy_from_slice(rest.split_off(..length)?);
    let salt = if erased_by == 0 { take_32(rest)? } else { [0; 32] };
    let blobs = (0..rest.try_get_u16().ok()?).map(|_| {
        let kind = BlobKind::from_number(rest.try_get_u8().ok()?)?;
        let (segment, offset) = (rest.try_get_u64().ok()?, rest.try_get_u64().ok()?);
        Some((kind, Position { segment, offset, length: rest.try_get_u32().ok()? }))
    });
    let blobs = blobs.collect::<Option<_>>()?;
    Some(Stored { entry: Entry { record, salt, commitment, erased_by }, blobs })
}

fn skip_entry(rest: &mut &[u8]) -> Option<()> {
    rest.split_off(..32)?;
    let erased_by = rest.try_get_u8().ok()?;
    let length = usize::from(rest.try_get_u16().ok()?);
    rest.split_off(..length + if erased_by == 0 { 32 } else { 0 })?;
    let blobs = usize::from(rest.try_get_u16().ok()?);
    rest.split_off(..blobs * BLOB_BYTES)?;
    Some(())
}

fn take_32(rest: &mut &[u8]) -> Option<[u8; 32]> {
    rest.split_off(..32)?.try_into().ok()
}
