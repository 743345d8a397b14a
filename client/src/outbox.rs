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
mod tests {
    use super::*;

    fn waiting(id: &str, sealed: &'static [u8]) -> Waiting {
        let item = wire::SignedItem { payload: Bytes::from_static(b"payload"), ..wire::SignedItem::default() };
        let request =
            wire::SubmitRequest { item: Some(item), sealed_content: Bytes::from_static(sealed), ..Default::default() };
        Waiting { id: ItemId::try_from(id).expect("an id"), request }
    }

    const FIRST: &str = "0192f0a0-0000-7000-8000-000000000001";
    const SECOND: &str = "0192f0a0-0001-7000-8000-000000000001";

    #[test]
    fn what_waits_comes_back_oldest_first_as_the_same_bytes_until_it_is_removed() {
        let state = tempfile::tempdir().expect("a folder");
        let outbox = Outbox::open(state.path()).expect("opened");
        let (first, second) = (waiting(FIRST, b"one"), waiting(SECOND, b"two"));
        outbox.put(&second).expect("written");
        outbox.put(&first).expect("written");
        let found = Outbox::open(state.path()).expect("opened").waiting().expect("read");
        assert_eq!(found.iter().map(|waiting| waiting.id).collect::<Vec<_>>(), [first.id, second.id]);
        assert_eq!(found[1].request, second.request);
        outbox.remove(&first.id).expect("removed");
        assert_eq!(outbox.waiting().expect("read").len(), 1);
    }

    #[test]
    fn what_was_made_from_a_file_is_found_by_it_until_it_is_removed() {
        let state = tempfile::tempdir().expect("a folder");
        let outbox = Outbox::open(state.path()).expect("opened");
        let (first, second) = (waiting(FIRST, b"one"), waiting(SECOND, b"two"));
        let (file, other) = (Digest::of(b"a file"), Digest::of(b"another"));
        outbox.put(&first).expect("written");
        outbox.put_made_from(&second, &file).expect("written");
        let found = |source| outbox.made_from(source).expect("read").map(|waiting| waiting.id);
        assert_eq!((found(&file), found(&other)), (Some(second.id), None));
        outbox.remove(&second.id).expect("removed");
        assert_eq!(found(&file), None);
        assert_eq!(std::fs::read_dir(state.path().join("outbox")).expect("a folder").count(), 1);
    }

    #[test]
    fn an_id_is_never_written_twice() {
        let state = tempfile::tempdir().expect("a folder");
        let outbox = Outbox::open(state.path()).expect("opened");
        outbox.put(&waiting(FIRST, b"one")).expect("written");
        assert!(outbox.put(&waiting(FIRST, b"other")).is_err());
        assert_eq!(outbox.waiting().expect("read")[0].request.sealed_content.as_ref(), b"one");
    }

    #[test]
    fn what_was_left_aside_by_a_crash_is_not_taken_for_a_submission() {
        let state = tempfile::tempdir().expect("a folder");
        let outbox = Outbox::open(state.path()).expect("opened");
        let torn = state.path().join("outbox").join(format!(".{FIRST}.submission.1-0.partial"));
        std::fs::write(torn, b"half").expect("written");
        assert!(outbox.waiting().expect("read").is_empty());
    }
}
