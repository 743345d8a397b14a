//! Every call of the file journal to the operating system that can fail, through one door, so that tests can make each
//! of them fail in turn. In a release build the door is a plain function call.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::fault::Fault;

/// The door to the disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) gate: Option<std::sync::Arc<Gate>>,
}

impl Disk {
    /// Does one thing to `path`.
    pub(super) fn act<T>(
        &self,
        doing: &'static str,
        path: &Path,
        deed: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, Fault> {
        #[cfg(test)]
        if let Some(gate) = &self.gate {
            return gate.pass(deed).map_err(Fault::disk(doing, path));
        }
        deed().map_err(Fault::disk(doing, path))
    }

    /// Brings a folder's names to the disk: without it a power cut may forget a file that was made or renamed.
    pub(super) fn sync_folder(&self, folder: &Path) -> Result<(), Fault> {
        self.act("sync", folder, || File::open(folder)?.sync_all())
    }
}

/// Lets deeds pass until one is told to fail; from then on all fail, as on a disk that is gone.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) left: std::sync::atomic::AtomicI64,
    pub(super) outcome: super::faulty::Outcome,
    pub(super) error: io::ErrorKind,
}

#[cfg(test)]
impl Gate {
    fn pass<T>(&self, deed: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) {
            1.. => deed(),
            0 if self.outcome == super::faulty::Outcome::Kept => deed().and_then(|_| Err(self.error.into())),
            _ => Err(self.error.into()),
        }
    }
}
