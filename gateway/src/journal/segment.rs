//! One file of the journal: made of zeros, begun with a header, filled with frames, read by position.
//!
//! What is judged, and in which order things are written, is [`file`](super::file)'s affair; here is the plain work.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::ReadBlob;
use super::disk::Disk;
use super::frame::{self, FRAME_BYTES_MAX, Frame, Header, SECTOR};
use crate::commit::Position;
use crate::fault::Fault;

/// A segment's file, open for reading and writing.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) bytes: u64,
}

impl Segment {
    /// Opens a segment and reads its header.
    pub(super) fn open(disk: &Disk, path: PathBuf, origin: &str, number: u64) -> Result<(Self, Header), Fault> {
        let file = disk.act("open", &path, || OpenOptions::new().read(true).write(true).open(&path))?;
        let bytes = disk.act("ask for the length of", &path, || file.metadata())?.len();
        let segment = Self { path, file, bytes };
        let mut sector = [0; SECTOR];
        if bytes < SECTOR as u64 {
            return Err(segment.damage(0, "the segment ends before its header does"));
        }
        segment.file.read_exact_at(&mut sector, 0).map_err(Fault::disk("read", &segment.path))?;
        let header = Header::decode(&sector).map_err(|what| segment.damage(0, what))?;
        if header.segment != number {
            return Err(segment.damage(0, format!("it is segment {}", header.segment)));
        }
        if header.origin != origin {
            return Err(Fault::Foreign { path: segment.path, found: header.origin, expected: origin.to_owned() });
        }
        Ok((segment, header))
    }

    /// Gives a filled file its header and its name. From here on it is a segment, also after a power cut.
    pub(super) fn begin(disk: &Disk, folder: &Path, file: File, header: Header) -> Result<Self, Fault> {
        let (from, to) = (next_path(folder), path(folder, header.segment));
        disk.act("write the header of", &from, || file.write_all_at(&header.encode(), 0))?;
        disk.act("sync", &from, || file.sync_all())?;
        disk.act("rename", &from, || fs::rename(&from, &to))?;
        disk.sync_folder(folder)?;
        let bytes = disk.act("ask for the length of", &to, || file.metadata())?.len();
        Ok(Self { path: to, file, bytes })
    }

    /// Reads the frame at `at`, or says why there is none.
    pub(super) fn read_frame(&self, at: u64) -> Result<Result<Frame, &'static str>, Fault> {
        let mut start = [0; 4];
        if at + 4 > self.bytes {
            return Ok(Err("the segment ends"));
        }
        self.file.read_exact_at(&mut start, at).map_err(Fault::disk("read", &self.path))?;
        let Some(length) = frame::claimed_length(&start).filter(|&length| at + length as u64 <= self.bytes) else {
            return Ok(Err("the length is none of a frame"));
        };
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at).map_err(Fault::disk("read", &self.path))?;
        Ok(frame::decode(&Bytes::from(bytes)))
    }

    /// Says that something in the file is not as it was written.
    pub(super) fn damage(&self, offset: u64, what: impl Into<String>) -> Fault {
        Fault::Damage { path: self.path.clone(), offset, what: what.into() }
    }
}

/// Returns how many bytes the disk of a folder still has for us.
pub(super) fn free_bytes(folder: &Path) -> Result<u64, Fault> {
    let disk =
        rustix::fs::statvfs(folder).map_err(io::Error::from).map_err(Fault::disk("ask for the room at", folder))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// How much is zero-filled at a time: the disk is ours for the next commit soon again.
const FILL_BYTES: usize = 1 << 20;

/// Makes a file of zeros, all of them on the disk. What is zero already is not written again: a gateway that is started
/// often finds the file that it made before. Ends early with [`Fault::Stopped`] when nobody wants the file any more.
pub(super) fn fill(disk: &Disk, path: &Path, bytes: u64, unwanted: &AtomicBool) -> Result<File, Fault> {
    let filled = (|| {
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = disk.act("make", path, open)?;
        // A file that was cut or is longer is begun anew: its length must be that of the segment, and blocks that were never
        // written would be given out in the middle of a commit.
        if disk.act("ask for the length of", path, || file.metadata())?.len() != bytes {
            disk.act("empty", path, || file.set_len(0))?;
        }
        let zeros = vec![0; FILL_BYTES];
        let mut found = vec![0; FILL_BYTES];
        for at in (0..bytes).step_by(FILL_BYTES) {
            if unwanted.load(Ordering::Relaxed) {
                return Err(Fault::Stopped);
            }
            let length = FILL_BYTES.min((bytes - at) as usize);
            let there = file.read_exact_at(&mut found[..length], at).is_ok() && found[..length] == zeros[..length];
            if !there {
                disk.act("fill", path, || file.write_all_at(&zeros[..length], at))?;
                disk.act("sync", path, || file.sync_data())?;
            }
        }
        disk.act("sync", path, || file.sync_all())?;
        Ok(file)
    })();
    filled.map_err(|fault| {
        // Kept, it would look filled next time, though its zeros may not have reached the disk.
        drop(fs::remove_file(path));
        match fault {
            Fault::Disk { path, source, .. }
                if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
            {
                Fault::Full { path, source }
            }
            other => other,
        }
    })
}

/// The segments as the readers of blobs see them.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    open: Mutex<BTreeMap<u64, Arc<File>>>,
}

/// How many segments readers hold open: what is read is mostly new, and descriptors are few.
const OPEN_SEGMENTS_MAX: usize = 64;

impl Segments {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    fn file(&self, number: u64) -> io::Result<Arc<File>> {
        // An entry is inserted or it is not; a panic elsewhere leaves the map whole.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(path(&self.folder, number))?);
        if open.len() >= OPEN_SEGMENTS_MAX {
            open.pop_first();
        }
        open.insert(number, file.clone());
        Ok(file)
    }
}

impl ReadBlob for Segments {
    fn read(&self, position: &Position) -> Result<Bytes, Fault> {
        let path = path(&self.folder, position.segment);
        let length = position.length as usize;
        let Some(offset) = position.offset.checked_sub(frame::BLOB_CRC as u64).filter(|_| length < FRAME_BYTES_MAX)
        else {
            return Err(Fault::Broken(format!("no blob stands at {position:?}")));
        };
        let mut bytes = vec![0; frame::BLOB_CRC + length];
        self.file(position.segment)
            .and_then(|file| file.read_exact_at(&mut bytes, offset))
            .map_err(Fault::disk("read a blob from", &path))?;
        frame::check_blob(bytes.into()).ok_or_else(|| Fault::Damage {
            path,
            offset: position.offset,
            what: "a blob is not what was written".to_owned(),
        })
    }
}

/// Returns the file of a segment.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.segment"))
}

/// Returns the file that will be the next segment.
pub(super) fn next_path(folder: &Path) -> PathBuf {
    folder.join("next")
}

/// Returns one more than the highest number of a segment in the folder. Those below must be there, which opening finds out.
pub(super) fn count(folder: &Path) -> io::Result<u64> {
    let mut end = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".segment")?.parse::<u64>().ok());
        end = end.max(number.map_or(0, |number| number + 1));
    }
    Ok(end)
}
