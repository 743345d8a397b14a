//! The journal on a disk: segments of zero-filled files, one frame per commit, one `fdatasync` per frame.
//!
//! In come commits from the one thread that owns the journal; what goes out of [`append`](Journal::append) is durable. A
//! segment is filled with zeros before it is used, ahead of time and by a thread of its own, because an `fdatasync` of a
//! file that neither grows nor gets new blocks costs about half, and because the disk can then no longer be full in the
//! middle of a commit. No byte that was acknowledged is ever written again.
//!
//! Opening reads the last segment and wipes what a torn write left; everything else that is not as it was written is
//! [`Fault::Damage`], naming file and byte, and nobody starts on it. See [`frame`] for the bytes.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::disk::Disk;
use super::frame::{self, FRAME_BYTES_MAX, Frame, Header, ORIGIN_BYTES_MAX, SECTOR, Tail};
use super::segment::{self, Segment, Segments};
use super::{BlobReader, Journal};
use crate::commit::{Blob, Commit, Durable, Position};
use crate::fault::Fault;
use crate::head::Head;

/// How the journal is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The log's origin, at most [`ORIGIN_BYTES_MAX`] bytes. A journal of another origin is refused.
    pub origin: String,
    /// The size of the segments made from now on, a multiple of [`SECTOR`]. It should be several times
    /// [`FRAME_BYTES_MAX`]; a commit that is larger than a segment is refused.
    pub segment_bytes: u64,
}

impl Options {
    /// The size that segments have unless configured: a few minutes of a busy hub, a quarter of a second of zero-filling.
    pub const SEGMENT_BYTES: u64 = 64 << 20;
}

/// The end of a write that a power cut tore, found and wiped when the journal was opened. Nobody was told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment's file.
    pub path: PathBuf,
    /// Where it began.
    pub offset: u64,
    /// How many bytes were wiped.
    pub bytes: usize,
}

/// The journal of one data folder, which it holds locked as long as it lives.
#[derive(Debug)]
pub struct FileJournal {
    disk: Disk,
    folder: PathBuf,
    options: Options,
    /// The first base of each segment, by number.
    first_bases: Vec<u64>,
    /// The last segment, open for writing.
    last: Segment,
    /// Where in it the next frame goes.
    at: u64,
    size: u64,
    next: Next,
    /// The frame under construction; kept, so that it need not be allocated each time.
    buffer: Vec<u8>,
    stopped: bool,
    torn: Option<Torn>,
    free_bytes_min: u64,
    /// Tells the filler that the journal is closed.
    closed: Arc<AtomicBool>,
    segments: Arc<Segments>,
    _lock: File,
}

/// The segment that comes after the last one.
#[derive(Debug)]
enum Next {
    None,
    Filling(JoinHandle<Result<File, Fault>>),
    Filled(File),
}

impl FileJournal {
    /// Opens the journal in the folder `data`, or begins one if there is none and `head` knows of none.
    ///
    /// Refused are a folder in use, another log's journal, a damaged one, and one that is shorter than `head` says.
    pub fn open(data: &Path, options: Options, head: Option<&Head>) -> Result<Self, Fault> {
        Self::open_on(Disk::default(), data, options, head)
    }

    /// See [`FileJournal::open`].
    pub(super) fn open_on(disk: Disk, data: &Path, options: Options, head: Option<&Head>) -> Result<Self, Fault> {
        let bytes = options.segment_bytes;
        if options.origin.len() > ORIGIN_BYTES_MAX || !bytes.is_multiple_of(SECTOR as u64) || bytes < 2 * SECTOR as u64
        {
            return Err(Fault::Broken("the journal's options are not what their description allows".to_owned()));
        }
        disk.act("make", data, || fs::create_dir_all(data))?;
        let lock = disk.act("open", data, || File::open(data))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Fault::InUse(data.to_owned())),
            Err(TryLockError::Error(error)) => return Err(Fault::disk("lock", data)(error)),
        }
        let folder = data.join("journal");
        disk.act("make", &folder, || fs::create_dir_all(&folder))?;
        disk.sync_folder(data)?;

        let held = head.map_or(0, |head| head.size);
        let mut first_bases = Vec::new();
        let mut last = None;
        for number in 0..disk.act("list", &folder, || segment::count(&folder))? {
            let path = segment::path(&folder, number);
            let (segment, header) = Segment::open(&disk, path, &options.origin, number)?;
            first_bases.push(header.first_base);
            last = Some(segment);
        }
        let last = match last {
            Some(last) => last,
            None if held > 0 => return Err(Fault::Shorter { journal: 0, head: held }),
            None => {
                first_bases.push(0);
                let file = segment::fill(&disk, &segment::next_path(&folder), bytes, &AtomicBool::new(false))?;
                let header = Header { segment: 0, first_base: 0, origin: options.origin.clone() };
                Segment::begin(&disk, &folder, file, header)?
            }
        };
        let size = *first_bases.last().expect("there is at least one segment");
        let segments = Arc::new(Segments::new(folder.clone()));
        let mut journal = Self {
            disk,
            folder,
            options,
            first_bases,
            last,
            at: SECTOR as u64,
            size,
            next: Next::None,
            buffer: Vec::new(),
            stopped: false,
            torn: None,
            free_bytes_min: 0,
            closed: Arc::default(),
            segments,
            _lock: lock,
        };
        let last_at = journal.find_end()?;
        if journal.size < held {
            return Err(Fault::Shorter { journal: journal.size, head: held });
        }
        journal.wipe_torn()?;
        journal.settle(last_at)?;
        journal.begin_next()?;
        Ok(journal)
    }

    /// Keeps so many bytes of the disk free: below them nothing more is taken. The store and the head file grow too, and sled
    /// does not survive a full disk; reading goes on, and so does intake as soon as there is room.
    #[must_use]
    pub const fn with_floor(mut self, free_bytes_min: u64) -> Self {
        self.free_bytes_min = free_bytes_min;
        self
    }

    /// Returns what was wiped when the journal was opened, for the operator's log.
    #[must_use]
    pub const fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// Walks the last segment to behind its last good frame, and judges what stands there. Returns where that frame begins.
    fn find_end(&mut self) -> Result<u64, Fault> {
        let mut last_at = self.at;
        while let Ok(Frame { commit, length, .. }) = self.last.read_frame(self.at)? {
            if commit.base != self.size {
                return Err(self.last.damage(self.at, format!("after {} records comes {commit:?}", self.size)));
            }
            self.size = commit.size();
            last_at = self.at;
            self.at += frame::padded(length) as u64;
        }
        let mut tail = vec![0; self.last.bytes.saturating_sub(self.at) as usize];
        self.last.file.read_exact_at(&mut tail, self.at).map_err(Fault::disk("read", &self.last.path))?;
        match frame::judge_tail(&tail, self.size) {
            Tail::Clean => {}
            Tail::Torn(bytes) => self.torn = Some(Torn { path: self.last.path.clone(), offset: self.at, bytes }),
            Tail::Damaged(what) => return Err(self.last.damage(self.at, what)),
        }
        Ok(last_at)
    }

    /// Turns what a torn write left back into zeros, so that the next frame again is written into zeros.
    fn wipe_torn(&self) -> Result<(), Fault> {
        let Some(torn) = &self.torn else {
            return Ok(());
        };
        let Segment { path, file, .. } = &self.last;
        self.disk.act("wipe the torn end of", path, || file.write_all_at(&vec![0; torn.bytes], torn.offset))?;
        self.disk.act("sync", path, || file.sync_data())
    }

    /// Makes durable what was found: from here on it counts.
    ///
    /// Whoever wrote the last frame may have been killed before its `fdatasync`, or have stopped because that failed, and then
    /// what was read came from the kernel's cache alone and another `fdatasync` would do nothing. So the last frame is
    /// written once more; those before it were on the disk before it was written. The same bytes come into the same
    /// sectors, so being torn does not harm them.
    fn settle(&self, last_at: u64) -> Result<(), Fault> {
        let Segment { path, file, .. } = &self.last;
        let mut frame = vec![0; (self.at - last_at) as usize];
        file.read_exact_at(&mut frame, last_at).map_err(Fault::disk("read", path))?;
        self.disk.act("write to", path, || file.write_all_at(&frame, last_at))?;
        self.disk.act("sync", path, || file.sync_all())?;
        self.disk.sync_folder(&self.folder)
    }

    /// How many bytes the last segment still takes.
    const fn left(&self) -> u64 {
        self.last.bytes.saturating_sub(self.at)
    }

    /// Sees to it that the next segment is being made, once the last one is an eighth full: early enough for any rate, and
    /// a gateway that is only started and stopped need not make one.
    fn begin_next(&mut self) -> Result<(), Fault> {
        if self.at > self.last.bytes / 8 { self.fill_next() } else { Ok(()) }
    }

    fn fill_next(&mut self) -> Result<(), Fault> {
        if matches!(self.next, Next::None) {
            let (disk, path, bytes) = (self.disk.clone(), segment::next_path(&self.folder), self.options.segment_bytes);
            let closed = self.closed.clone();
            let thread = std::thread::Builder::new().name("journal-filler".to_owned());
            let filler = thread.spawn(move || segment::fill(&disk, &path, bytes, &closed));
            self.next = Next::Filling(filler.map_err(Fault::disk("start a thread for", &self.folder))?);
        }
        Ok(())
    }

    /// Waits until the next segment is made.
    fn await_next(&mut self) -> Result<(), Fault> {
        self.fill_next()?;
        self.next = match std::mem::replace(&mut self.next, Next::None) {
            Next::Filling(filler) => {
                Next::Filled(filler.join().map_err(|_| Fault::Broken("the journal's filler panicked".to_owned()))??)
            }
            filled => filled,
        };
        Ok(())
    }

    /// Makes the next segment the last one.
    fn rotate(&mut self) -> Result<(), Fault> {
        self.await_next()?;
        let Next::Filled(file) = std::mem::replace(&mut self.next, Next::None) else {
            return Err(Fault::Broken("the next segment was awaited and is not there".to_owned()));
        };
        self.stopped = true;
        let segment = self.first_bases.len() as u64;
        let header = Header { segment, first_base: self.size, origin: self.options.origin.clone() };
        self.last = Segment::begin(&self.disk, &self.folder, file, header)?;
        self.stopped = false;
        self.first_bases.push(self.size);
        self.at = SECTOR as u64;
        Ok(())
    }
}

impl Journal for FileJournal {
    fn size(&self) -> u64 {
        self.size
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        if self.stopped {
            return Err(Fault::Stopped);
        }
        if self.left() < FRAME_BYTES_MAX as u64 {
            self.await_next()?;
        }
        if self.free_bytes_min > 0 && segment::free_bytes(&self.folder)? < self.free_bytes_min {
            return Err(Fault::Full { path: self.folder.clone(), source: ErrorKind::StorageFull.into() });
        }
        Ok(())
    }

    fn append(&mut self, commit: Commit) -> Result<Durable, Fault> {
        if self.stopped {
            return Err(Fault::Stopped);
        }
        if commit.base != self.size {
            return Err(Fault::Moved { size: self.size, base: commit.base });
        }
        let (_, blob_offsets) = frame::encode(&commit, &mut self.buffer)?;
        let bytes = self.buffer.len() as u64;
        if bytes > self.left() {
            if bytes > self.options.segment_bytes - SECTOR as u64 {
                return Err(Fault::Broken(format!("{commit:?} is larger than a segment")));
            }
            self.rotate()?;
        }

        // If one of these fails, nobody knows what the disk holds. A second fdatasync may succeed and mean nothing: the
        // kernel has dropped the pages that it could not write. So there is no second try.
        self.stopped = true;
        let Segment { path, file, .. } = &self.last;
        self.disk.act("write to", path, || file.write_all_at(&self.buffer, self.at))?;
        self.disk.act("sync", path, || file.sync_data())?;
        self.stopped = false;

        let positions = positions(&commit, &blob_offsets, self.first_bases.len() as u64 - 1, self.at);
        self.at += bytes;
        self.size = commit.size();
        let durable = Durable::new(commit, positions);
        // Durable it is, whatever becomes of the next segment: if that cannot even be begun now, `prepare` will say so.
        drop(self.begin_next());
        Ok(durable)
    }

    fn replay(&self, from: u64) -> Box<dyn Iterator<Item = Result<Durable, Fault>> + '_> {
        // The last segment that begins at or before `from`. An empty one has the base of the one behind it.
        let segment = self.first_bases.partition_point(|&base| base <= from).saturating_sub(1);
        let size = self.first_bases[segment];
        Box::new(Replay { journal: self, from, segment, open: None, at: 0, size })
    }

    fn reader(&self) -> BlobReader {
        BlobReader(self.segments.clone())
    }
}

impl Drop for FileJournal {
    /// Ends the thread that fills the next segment: it writes into the folder whose lock ends here.
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Next::Filling(filler) = std::mem::replace(&mut self.next, Next::None) {
            // Its fault is nobody's any more: the segment is made again when it is needed.
            drop(filler.join());
        }
    }
}

/// Reads the frames of a journal in order, from segment to segment.
struct Replay<'a> {
    journal: &'a FileJournal,
    from: u64,
    segment: usize,
    open: Option<Segment>,
    at: u64,
    /// How many records came before the next frame.
    size: u64,
}

impl Replay<'_> {
    /// Returns the next commit, also one before `from`.
    fn step(&mut self) -> Result<Durable, Fault> {
        let Self { journal, .. } = *self;
        loop {
            let segment = match self.open.take() {
                Some(segment) => segment,
                None => {
                    let path = segment::path(&journal.folder, self.segment as u64);
                    self.at = SECTOR as u64;
                    Segment::open(&journal.disk, path, &journal.options.origin, self.segment as u64)?.0
                }
            };
            match segment.read_frame(self.at)? {
                Ok(Frame { commit, blob_offsets, length }) if commit.base == self.size => {
                    let positions = positions(&commit, &blob_offsets, self.segment as u64, self.at);
                    self.size = commit.size();
                    self.at += frame::padded(length) as u64;
                    self.open = Some(segment);
                    return Ok(Durable::new(commit, positions));
                }
                Ok(Frame { commit, .. }) => {
                    return Err(segment.damage(self.at, format!("after {} records comes {commit:?}", self.size)));
                }
                // No frame, but the next segment goes on from here: this was the segment's end.
                Err(_) if journal.first_bases.get(self.segment + 1) == Some(&self.size) => self.segment += 1,
                Err(what) => return Err(segment.damage(self.at, format!("after {} records: {what}", self.size))),
            }
        }
    }
}

impl Iterator for Replay<'_> {
    type Item = Result<Durable, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.size < self.journal.size {
            match self.step() {
                Ok(durable) if durable.size() <= self.from => {}
                Ok(durable) => return Some(Ok(durable)),
                Err(fault) => {
                    self.size = u64::MAX;
                    return Some(Err(fault));
                }
            }
        }
        None
    }
}

/// Returns where each blob of a commit stands whose frame begins at `at`.
fn positions(commit: &Commit, blob_offsets: &[u32], segment: u64, at: u64) -> Vec<Position> {
    let place = |(offset, blob): (&u32, &Blob)| Position {
        segment,
        offset: at + u64::from(*offset),
        length: blob.bytes.len() as u32,
    };
    std::iter::zip(blob_offsets, &commit.blobs).map(place).collect()
}
