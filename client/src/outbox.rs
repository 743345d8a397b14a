//! The outbox: what is signed and sealed is written here before its first byte leaves, and stays until its receipt.
//!
//! Sealing and signing draw randomness, so doing either again makes another item. A retry sends the bytes of this
//! file, and the gateway answers them with the same receipt as before. What stands here is sealed already: no content.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::wire;

use crate::error::{Error, Result};
use crate::files::{self, Mode};

/// A submission is at most 1.25 MiB on the wire.
const SUBMISSION_BYTES_MAX: usize = 1_310_720;
const EXTENSION: &str = "submission";
/// Beside a submission: the digest of the file that it was made from, so that a person who sends the file again, not
/// knowing what became of it, sends the same item and not a second one.
const SOURCE: &str = "source";

/// The folder of finished submissions that have no receipt yet.
#[derive(Debug, Clone)]
pub struct Outbox {
    folder: PathBuf,
}

/// A finished submission, waiting for its receipt.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The item's id.
    pub id: ItemId,
    /// What is sent, but for `seen_size`, which each request says anew.
    pub request: wire::SubmitRequest,
}

impl Outbox {
    /// Opens the outbox of a state folder, which is made if need be.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open(state: &Path) -> Result<Self> {
        let folder = state.join("outbox");
        files::create_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Writes a finished submission; on `Ok` it survives a power cut.
    pub(crate) fn put(&self, waiting: &Waiting) -> Result<()> {
        let path = self.path(&waiting.id);
        if path.exists() {
            return Err(Error::Fault(format!("{}: an item of this id waits already", path.display())));
        }
        files::write(&path, &waiting.request.encode_to_vec(), Mode::Secret)
    }

    /// Writes a finished submission together with the digest of what it was made from.
    pub(crate) fn put_made_from(&self, waiting: &Waiting, source: &Digest) -> Result<()> {
        // First the note: one that belongs to nothing does no harm, a submission without it would be made again.
        files::write(&self.source_path(&waiting.id), source.to_string().as_bytes(), Mode::Secret)?;
        self.put(waiting)
    }

    /// Finds what waits and was made from this.
    pub(crate) fn made_from(&self, source: &Digest) -> Result<Option<Waiting>> {
        for waiting in self.waiting()? {
            let noted = files::read_if_there(&self.source_path(&waiting.id), 64)?;
            if noted.is_some_and(|noted| noted == source.to_string().as_bytes()) {
                return Ok(Some(waiting));
            }
        }
        Ok(None)
    }

    /// Lists what waits, oldest first.
    ///
    /// # Errors
    /// If a file cannot be read or holds no submission.
    pub fn waiting(&self) -> Result<Vec<Waiting>> {
        files::list(&self.folder, EXTENSION)?.iter().map(|path| Self::read(path)).collect()
    }

    /// Forgets a submission whose receipt is kept, or that was refused for good.
    pub(crate) fn remove(&self, id: &ItemId) -> Result<()> {
        files::remove(&self.path(id))?;
        let source = self.source_path(id);
        if source.exists() { files::remove(&source) } else { Ok(()) }
    }

    fn source_path(&self, id: &ItemId) -> PathBuf {
        self.folder.join(format!("{id}.{SOURCE}"))
    }

    fn path(&self, id: &ItemId) -> PathBuf {
        self.folder.join(format!("{id}.{EXTENSION}"))
    }

    fn read(path: &Path) -> Result<Waiting> {
        let damaged = |what: &str| Error::Fault(format!("{}: {what}", path.display()));
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let id = ItemId::try_from(name).map_err(|_| damaged("the file's name is no item id"))?;
        let bytes = Bytes::from(files::read(path, SUBMISSION_BYTES_MAX)?);
        let request = wire::SubmitRequest::decode(bytes).map_err(|_| damaged("the file holds no submission"))?;
        if request.item.is_none() {
            return Err(damaged("the file holds no submission"));
        }
        Ok(Waiting { id, request })
    }
}

#[cfg(test)]
mod tests;
