//! Faults: what goes wrong on our side, never a peer's doing.
//!
//! A disk fails, a file holds other bytes than were written, an invariant does not hold. Whoever meets a fault of a
//! write no longer knows what the disk holds: it stops, and the restart finds out. The one exception is
//! [`Fault::Full`], where nothing was written at all. A fault names files, sizes and offsets, and never what a record or an
//! item says, so it can be logged as it is.

use std::io;
use std::path::{Path, PathBuf};

/// Something of ours is broken.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Disk {
        /// The deed, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no room for the journal to go on. Nothing was written; when there is room again, it goes on.
    #[error("no room for the journal at {}: {source}", path.display())]
    Full {
        /// The file or folder that would grow.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what was written to it, and it is not the torn end of the last write.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damage {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The journal ends earlier than it did: an older copy was put back, or its end was lost.
    #[error(
        "the journal holds {journal} records but held {head} before: an older copy was put back, or its end is lost; \
         put the newest copy back, do not let the log start again from here"
    )]
    Shorter {
        /// How many records the journal holds.
        journal: u64,
        /// How many it held by the word of the head file or the store.
        head: u64,
    },
    /// The journal holds another history than it did.
    #[error(
        "the journal's first {size} records have the root {journal} but had {head} before: it is another history, and the          log must not sign it"
    )]
    Forked {
        /// How many records the head file speaks of.
        size: u64,
        /// Their root by the journal, or none if no commit ends there.
        journal: String,
        /// Their root by the head file.
        head: String,
    },
    /// The data is of another log.
    #[error("{} belongs to the log {found}, not to {expected}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The origin it names.
        found: String,
        /// The origin of this gateway.
        expected: String,
    },
    /// Another process holds the data folder.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The log no longer ends where the commit begins; nothing was written.
    #[error("the commit begins at {base} but the log ends at {size}")]
    Moved {
        /// Where the log ends.
        size: u64,
        /// Where the commit begins.
        base: u64,
    },
    /// A write failed before, so nobody knows what the disk holds; only a restart finds out.
    #[error("a write failed before; only a restart finds out what was kept")]
    Stopped,
    /// The store failed or lost something. It can be deleted: it is rebuilt from the journal.
    #[error("the store at {} failed: {what}", path.display())]
    Store {
        /// The store's folder.
        path: PathBuf,
        /// What went wrong.
        what: String,
    },
    /// Something that cannot be is.
    #[error("a broken invariant: {0}")]
    Broken(String),
}

impl Fault {
    /// Returns a function that turns an I/O error into a fault: `.map_err(Fault::disk("open", &path))`.
    pub fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { doing, path: path.to_owned(), source }
    }
}
