//! The store on sled: the one file that knows it.
//!
//! sled 0.34.7 is fast and can be queried, and it is not to be trusted with the only copy: its `flush` syncs nothing on
//! Linux, values above a limit go to files that are never synced, a flipped bit can panic, hang or silently cut its tail.
//! Therefore: one tree, one writer, one atomic batch per apply with how far it is in the same batch; values of at most
//! 16 KiB in segments of 8 MiB, so that none spills, which is asserted; our own `fdatasync` behind each flush; a version and
//! a CRC in each value; opening under a time limit, and every call guarded against panics. Whatever goes wrong, the folder is
//! dropped and the store is built again from the journal.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::Duration;

use bytes::Bytes;
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::tree::leaf_hash;
use sled::{Db, IVec};

use super::facts::Facts;
use super::shape::{Edge, Pair, Partial, SPAN, Shape, Tail};
use super::values::{self, Chunk, HowFar, Stored};
use super::{ENTRIES_MAX, Reader, Store};
use crate::commit::{BlobKind, Durable, Entry, Position};
use crate::fault::Fault;
use crate::tree::{TILE, subtree};

/// sled's segments. A quarter of one is what a leaf of its tree may come to before it spills; seventeen of our largest values
/// are an eighth of that.
const SEGMENT_BYTES: usize = 8 << 20;
/// What sled may keep of its pages in memory; what is read is mostly new, and the hub must do with 512 MiB altogether.
const CACHE_BYTES: u64 = 64 << 20;
/// How long opening may take. It reads what was written last, which takes seconds where there is much; hanging was seen.
const OPEN_TIME_MAX: Duration = Duration::from_secs(120);
/// Up to this size every commit is compared at start, which takes about a second for each 200,000 records.
const CHECKED_WHOLLY: u64 = 1_000_000;
/// Of a longer log every commit that begins within so many records of its end is compared …
const CHECKED_TAIL: u64 = 65_536;
/// … and of the others one in so many.
const CHECKED_SHARE: u64 = 16;

/// The store in a data folder.
pub struct SledStore {
    /// `data`/store; in it one folder for each time the store was begun anew, of which the last counts.
    folder: PathBuf,
    open: Database,
    shape: Shape,
    /// What checking has come to, while it goes on.
    checked: Option<Shape>,
    stopped: bool,
}

/// An open database.
struct Database {
    /// sled's file, open for our own `fdatasync`.
    file: File,
    reader: Arc<SledReader>,
}

impl SledStore {
    /// Opens the store in the folder `data`. If there is none, or there is anything wrong with it, an empty one is begun: it
    /// is for `recover` to fill it.
    ///
    /// A fault means that not even an empty one can be had.
    pub fn open(data: &Path) -> Result<Self, Fault> {
        let folder = data.join("store");
        let last = last_generation(&folder)?;
        let opened = last.map(|last| Database::open(&folder.join(last.to_string())));
        let (open, shape) = match opened {
            Some(Ok(opened)) => opened,
            Some(Err(fault)) => {
                tracing::warn!(%fault, "the store cannot be used and is built again from the journal");
                Database::begin(&folder)?
            }
            None => Database::begin(&folder)?,
        };
        Ok(Self { folder, open, shape, checked: Some(Shape::default()), stopped: false })
    }
}

impl Store for SledStore {
    fn apply(&mut self, commits: &[Durable]) -> Result<(), Fault> {
        let ([first, ..], [.., last]) = (commits, commits) else { return Ok(()) };
        if self.stopped {
            return Err(Fault::Stopped);
        }
        if first.base != self.shape.applied() {
            return Err(Fault::Moved { size: self.shape.applied(), base: first.base });
        }
        self.stopped = true;
        self.checked = None;
        let (mut pairs, mut facts) = (Vec::new(), Vec::new());
        for commit in commits {
            self.shape.take(commit, &mut pairs, &mut facts)?;
        }
        let how_far = self.shape.how_far();
        if (how_far.applied, how_far.root) != (last.size(), last.root) {
            return Err(Fault::Broken(format!("applying {last:?} gave the root {}", how_far.root)));
        }
        pairs.push((values::HOW_FAR.to_vec(), values::seal(values::HOW_FAR, &how_far.encode())));
        let mut batch = sled::Batch::default();
        pairs.into_iter().for_each(|(key, value)| batch.insert(key, value));
        let reader = &self.open.reader;
        reader.guard(|db| db.apply_batch(batch))?;

        // The values are there before the tail says so: in between, readers find in the tail what is also on a page. How far
        // the store is changes while the tail is locked, so that whoever reads the one afterwards agrees with the other.
        let mut tail = reader.tail.write().unwrap_or_else(PoisonError::into_inner);
        reader.applied.store(how_far.applied, Ordering::Release);
        for fact in &facts {
            tail.push(fact);
        }
        drop(tail);
        self.stopped = false;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        if self.stopped {
            return Err(Fault::Stopped);
        }
        self.stopped = true;
        self.open.sync()?;
        self.stopped = false;
        Ok(())
    }

    fn check(&mut self, commit: &Durable) -> Result<bool, Fault> {
        let applied = self.shape.applied();
        let Some(checked) = &mut self.checked else {
            return Err(Fault::Broken("the store was asked to check after it was applied to".to_owned()));
        };
        let mut pairs = Vec::new();
        checked.take(commit, &mut pairs, &mut Vec::new())?;
        if commit.size() == applied {
            let how_far = checked.how_far().encode();
            pairs.push((values::HOW_FAR.to_vec(), values::seal(values::HOW_FAR, &how_far)));
        }
        let compared = applied <= CHECKED_WHOLLY
            || commit.base + CHECKED_TAIL >= applied
            || u64::from(Digest::of(&commit.base.to_be_bytes()).as_bytes()[0]).is_multiple_of(CHECKED_SHARE);
        if !compared {
            return Ok(true);
        }
        let reader = &self.open.reader;
        let holds = |(key, value): &Pair| Ok(reader.guard(|db| db.get(key))?.is_some_and(|held| held == *value));
        pairs.iter().try_fold(true, |all, pair| Ok(all && holds(pair)?))
    }

    fn clear(&mut self) -> Result<(), Fault> {
        // The old database goes on in its own folder for as long as somebody holds it, and nothing of it reaches the new one.
        // What is wrong with it may also make it panic when it is dropped.
        let (open, shape) = Database::begin(&self.folder)?;
        let old = std::mem::replace(&mut self.open, open);
        drop(catch_unwind(AssertUnwindSafe(|| drop(old))));
        (self.shape, self.checked, self.stopped) = (shape, Some(Shape::default()), false);
        Ok(())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.open.reader.clone()
    }
}

impl Database {
    /// Begins an empty store in a folder that none had before, and removes those.
    fn begin(folder: &Path) -> Result<(Self, Shape), Fault> {
        let next = last_generation(folder)?.map_or(0, |last| last + 1);
        let begun = Self::open(&folder.join(next.to_string()))?;
        for entry in fs::read_dir(folder).map_err(Fault::disk("list", folder))? {
            let old = entry.map_err(Fault::disk("list", folder))?.path();
            if old.file_name().is_some_and(|name| name.to_str() != Some(&next.to_string())) {
                fs::remove_dir_all(&old).map_err(Fault::disk("remove", &old))?;
            }
        }
        Ok(begun)
    }

    fn open(path: &Path) -> Result<(Self, Shape), Fault> {
        fs::create_dir_all(path).map_err(Fault::disk("make", path))?;
        let db = open_in_time(path)?;
        let at = path.join("db");
        let file = File::open(&at).map_err(Fault::disk("open", &at))?;
        let mut reader = SledReader { path: path.to_owned(), db, applied: AtomicU64::new(0), tail: RwLock::default() };
        let shape = reader.restore()?;
        reader.applied = AtomicU64::new(shape.applied());
        reader.tail = RwLock::new(shape.tail.clone());
        let open = Self { file, reader: Arc::new(reader) };
        open.nothing_spilled()?;
        Ok((open, shape))
    }

    fn sync(&self) -> Result<(), Fault> {
        let path = &self.reader.path;
        self.reader.guard(|db| db.flush())?;
        self.file.sync_data().map_err(Fault::disk("sync", path))?;
        self.nothing_spilled()
    }

    /// Asserts that no value was so large that sled put it into a file of its own.
    fn nothing_spilled(&self) -> Result<(), Fault> {
        let blobs = self.reader.path.join("blobs");
        match fs::read_dir(&blobs).map(|mut entries| entries.next().is_some()) {
            Ok(false) => Ok(()),
            Ok(true) => Err(self.reader.fault("a value went to a file of its own")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Fault::disk("list", &blobs)(error)),
        }
    }
}

/// Returns the number of the last folder in `folder`, if there is any.
fn last_generation(folder: &Path) -> Result<Option<u64>, Fault> {
    fs::create_dir_all(folder).map_err(Fault::disk("make", folder))?;
    let mut last = None;
    for entry in fs::read_dir(folder).map_err(Fault::disk("list", folder))? {
        let name = entry.map_err(Fault::disk("list", folder))?.file_name();
        last = last.max(name.to_str().and_then(|name| name.parse().ok()));
    }
    Ok(last)
}

/// Opens a database, which may fail, panic or hang.
fn open_in_time(path: &Path) -> Result<Db, Fault> {
    let config = sled::Config::new()
        .path(path)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(500));
    let fault = |what: String| Fault::Store { path: path.to_owned(), what };
    let (sender, receiver) = mpsc::sync_channel(1);
    let opener = std::thread::Builder::new().name("store-opener".to_owned()).spawn(move || {
        // Nobody listens any more if it took too long; then the database is dropped here.
        drop(sender.send(catch_unwind(AssertUnwindSafe(|| config.open()))));
    });
    let opener = opener.map_err(Fault::disk("start a thread for", path))?;
    let opened = receiver.recv_timeout(OPEN_TIME_MAX);
    if opened.is_ok() {
        opener.join().map_err(|_| fault("its opener panicked".to_owned()))?;
    }
    match opened {
        Ok(Ok(Ok(db))) => Ok(db),
        Ok(Ok(Err(error))) => Err(fault(error.to_string())),
        Ok(Err(_panic)) => Err(fault("opening it panicked".to_owned())),
        Err(_) => Err(fault(format!("opening it took more than {} seconds", OPEN_TIME_MAX.as_secs()))),
    }
}

/// What readers ask.
struct SledReader {
    path: PathBuf,
    db: Db,
    applied: AtomicU64,
    tail: RwLock<Tail>,
}

impl SledReader {
    /// Asks sled something; its panics are faults.
    fn guard<T>(&self, ask: impl FnOnce(&Db) -> sled::Result<T>) -> Result<T, Fault> {
        match catch_unwind(AssertUnwindSafe(|| ask(&self.db))) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.fault(error.to_string())),
            Err(_panic) => Err(self.fault("it panicked")),
        }
    }

    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::Store { path: self.path.clone(), what: what.into() }
    }

    fn lost(&self, what: &str, number: u64) -> Fault {
        self.fault(format!("{what} {number} is applied and not what was stored"))
    }

    /// Reads the value under a key and checks it.
    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>, Fault> {
        let Some(value) = self.guard(|db| db.get(key))? else { return Ok(None) };
        let body = values::open(key, &value).and_then(read);
        body.map(Some).ok_or_else(|| self.fault(format!("the value under {} is not what was stored", hex(key))))
    }

    /// Reads the numbers under each key of a range, in the order in which they are taken, until `take` has enough.
    fn scan<'a>(
        &self,
        pairs: impl Iterator<Item = sled::Result<(IVec, IVec)>> + 'a,
        mut take: impl FnMut(&[u8], Vec<u64>) -> bool,
    ) -> Result<(), Fault> {
        let mut pairs = pairs;
        while let Some((key, value)) = self.guard(|_| pairs.next().transpose())? {
            let numbers = values::open(&key, &value).and_then(values::read_numbers);
            let numbers = numbers.ok_or_else(|| self.fault(format!("the value under {} is bad", hex(&key))))?;
            if !take(&key, numbers) {
                break;
            }
        }
        Ok(())
    }

    /// Reads the entries from `from` up to `to`, all of which are applied, with the checkpoint of a commit that ends at `to`.
    fn stored(&self, from: u64, to: u64) -> Result<(Vec<Stored>, Bytes), Fault> {
        let mut stored = Vec::new();
        let mut checkpoint = Bytes::new();
        let mut next = from;
        while next < to {
            // The value that holds `next` is the last one that begins at or before it.
            let range = values::entries_key(0)..=values::entries_key(next);
            let found = self.guard(|db| db.range(range).next_back().transpose())?;
            let (key, value) = found.ok_or_else(|| self.lost("record", next))?;
            let first = values::key_number(&key).ok_or_else(|| self.lost("record", next))?;
            let chunk = values::open(&key, &value).and_then(Chunk::decode).ok_or_else(|| self.lost("record", first))?;
            let end = first + chunk.count;
            if end <= next {
                return Err(self.lost("record", next));
            }
            let wanted = chunk.read(|number| (next..to).contains(&(first + number)));
            stored.extend(wanted.ok_or_else(|| self.lost("record", first))?);
            if end == to {
                checkpoint = Bytes::copy_from_slice(chunk.checkpoint);
            }
            next = end;
        }
        Ok((stored, checkpoint))
    }

    /// Reads what is not full yet, and checks that it agrees with how far the store says it is.
    fn restore(&self) -> Result<Shape, Fault> {
        let Some(how_far) = self.get(values::HOW_FAR, HowFar::decode)? else {
            return if self.db.is_empty() {
                Ok(Shape::default())
            } else {
                Err(self.fault("it does not say how far it is"))
            };
        };
        let applied = how_far.applied;
        self.applied.store(applied, Ordering::Release);
        let mut shape = Shape { edge: Edge::default(), tail: Tail::at(applied / SPAN * SPAN) };
        let (stored, _) = self.stored(shape.tail.first, applied)?;
        for (index, stored) in std::iter::zip(shape.tail.first.., &stored) {
            shape.tail.push(&Facts::of(index, &stored.entry)?);
        }
        let leaves = stored.iter().skip((applied % SPAN / TILE * TILE) as usize);
        let hashes = leaves.map(|stored| leaf_hash(&stored.entry.commitment)).collect();
        let mut tiles = applied / TILE;
        shape.edge.levels.push(Partial { number: tiles, hashes });
        for level in 0_u8.. {
            if tiles == 0 {
                break;
            }
            let above = tiles / TILE;
            let mut hashes = Vec::new();
            for number in above * TILE..tiles {
                let tile = self.tile(level, number)?.ok_or_else(|| self.lost("tile", number))?;
                hashes.push(subtree(&tile));
            }
            shape.edge.levels.push(Partial { number: above, hashes });
            tiles = above;
        }
        if shape.how_far() == how_far { Ok(shape) } else { Err(self.fault("its root is not that of its tiles")) }
    }
}

impl Reader for SledReader {
    fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    fn entry(&self, index: u64) -> Result<Option<Entry>, Fault> {
        if index >= self.applied() {
            return Ok(None);
        }
        Ok(self.stored(index, index + 1)?.0.pop().map(|stored| stored.entry))
    }

    fn entries(&self, from: u64, to: u64) -> Result<Vec<Entry>, Fault> {
        let to = to.min(from.saturating_add(ENTRIES_MAX)).min(self.applied());
        Ok(self.stored(from, to)?.0.into_iter().map(|stored| stored.entry).collect())
    }

    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Digest>>, Fault> {
        // A full tile of level 7 would stand for all records that a number of 64 bits counts.
        let end = number.checked_add(1).and_then(|end| end.checked_mul(TILE.checked_pow(u32::from(level) + 1)?));
        if end.is_none_or(|end| end > self.applied()) {
            return Ok(None);
        }
        let tile = self.get(&values::tile_key(level, number), values::read_hashes)?;
        tile.filter(|tile| tile.len() as u64 == TILE).map(Some).ok_or_else(|| self.lost("tile", number))
    }

    fn blobs_of(&self, index: u64) -> Result<Vec<(BlobKind, Position)>, Fault> {
        if index >= self.applied() {
            return Ok(Vec::new());
        }
        Ok(self.stored(index, index + 1)?.0.pop().map_or(Vec::new(), |stored| stored.blobs))
    }

    fn item_index(&self, item: &Digest) -> Result<Option<u64>, Fault> {
        self.get(&values::item_key(item), values::read_number)
    }

    fn mailbox(&self, address: &Address, after: u64, limit: usize) -> Result<Vec<(u64, u64)>, Fault> {
        let Some(wanted) = after.checked_add(1).filter(|_| limit > 0) else { return Ok(Vec::new()) };
        let (span_first, recent) = {
            let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
            let page = tail.pages.get(address).map_or(&[][..], |page| page.mailbox.as_slice());
            let begin = page.partition_point(|(number, _)| *number < wanted);
            (tail.first, page[begin..].iter().take(limit).copied().collect::<Vec<_>>())
        };
        let mut places = Vec::new();
        if recent.first().is_none_or(|(number, _)| *number > wanted) {
            // The page that holds the first number wanted is the last one that begins at or before it.
            let (least, most) = (values::mailbox_key(address, 0), values::mailbox_key(address, u64::MAX));
            let at = values::mailbox_key(address, wanted);
            let page = self.guard(|db| db.range(least.clone()..=at.clone()).next_back().transpose())?;
            let begin = page.map_or(at, |(key, _)| key.to_vec());
            self.scan(self.db.range(begin..=most), |key, indexes| {
                let first = values::key_number(key).unwrap_or_default();
                let page = std::iter::zip(first.., indexes);
                // A page that was written since belongs to what the tail told before.
                places.extend(page.filter(|(number, index)| *number >= wanted && *index < span_first));
                places.len() < limit
            })?;
        }
        places.extend(recent);
        places.truncate(limit);
        if places.windows(2).any(|pair| pair[0].0 + 1 != pair[1].0) {
            return Err(self.fault(format!("a page of {address}'s mailbox is lost")));
        }
        Ok(places)
    }

    fn key_statements(&self, address: &Address, after: u64, limit: usize) -> Result<Vec<u64>, Fault> {
        let Some(first) = after.checked_add(1).filter(|_| limit > 0) else { return Ok(Vec::new()) };
        let range = values::key_statement_key(address, first)..=values::key_statement_key(address, u64::MAX);
        let mut indexes = Vec::new();
        self.scan(self.db.range(range), |_, index| {
            indexes.extend(index);
            indexes.len() < limit
        })?;
        Ok(indexes)
    }

    fn certificate(&self, sha256: &Digest) -> Result<Option<u64>, Fault> {
        self.get(&values::certificate_key(sha256), values::read_number)
    }

    fn covenant(&self, serial: u64) -> Result<Option<u64>, Fault> {
        self.get(&values::covenant_key(serial), values::read_number)
    }

    fn crl(&self, sha256: &Digest) -> Result<Option<u64>, Fault> {
        self.get(&values::crl_key(sha256), values::read_number)
    }

    fn checkpoint(&self, size: u64) -> Result<Option<Bytes>, Fault> {
        if size == 0 || size > self.applied() {
            return Ok(None);
        }
        Ok(Some(self.stored(size - 1, size)?.1).filter(|checkpoint| !checkpoint.is_empty()))
    }

    fn items_of(&self, address: &Address, before: u64, limit: usize) -> Result<Vec<u64>, Fault> {
        let Some(last) = before.checked_sub(1).filter(|_| limit > 0) else { return Ok(Vec::new()) };
        let (span_first, mut items) = {
            let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
            let page = tail.pages.get(address).map_or(&[][..], |page| page.items.as_slice());
            let recent = page.iter().rev().copied().filter(|index| *index < before);
            (tail.first, recent.take(limit).collect::<Vec<_>>())
        };
        if items.len() < limit {
            let range = values::items_key(address, 0)..=values::items_key(address, last / SPAN);
            self.scan(self.db.range(range).rev(), |_, page| {
                items.extend(page.into_iter().rev().filter(|index| *index < before && *index < span_first));
                items.len() < limit
            })?;
            items.truncate(limit);
        }
        Ok(items)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens the database of a store that is not open, for tests that spoil it behind the store's back.
#[cfg(test)]
pub(super) fn behind_its_back(folder: &Path) -> Db {
    sled::Config::new().path(folder).segment_size(SEGMENT_BYTES).open().expect("the database can be opened")
}
