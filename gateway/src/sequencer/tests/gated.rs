//! A hub whose journal writes only when it is released, so that a test knows what waits behind a write.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// The hub, which has a covenant and the safe home's key.
pub(super) struct Gated {
    pub(super) hub: Hub,
    /// One for each write; when it is dropped, the next write fails.
    pub(super) release: mpsc::Sender<()>,
    /// Tells of each write that waits how many records it holds.
    pub(super) appends: mpsc::Receiver<usize>,
    /// Whether the journal says that it is full.
    pub(super) full: Arc<AtomicBool>,
}

pub(super) async fn gated() -> Gated {
    let (release, gate) = mpsc::channel();
    let (appended, appends) = mpsc::channel();
    let full = Arc::new(AtomicBool::new(false));
    let switch = full.clone();
    let journal = |inner| Box::new(GatedJournal { inner, gate, appended, full: switch }) as Box<dyn Journal>;
    let hub = open_with(&MemoryJournal::new(), noon(), journal, |store| Box::new(store));
    for command in [covenant(), key_statement()] {
        release.send(()).unwrap();
        hub.index(command).await;
        appends.recv().unwrap();
    }
    Gated { hub, release, appends, full }
}

struct GatedJournal {
    inner: MemoryJournal,
    gate: mpsc::Receiver<()>,
    appended: mpsc::Sender<usize>,
    full: Arc<AtomicBool>,
}

impl Journal for GatedJournal {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        if self.full.load(Ordering::SeqCst) {
            return Err(Fault::Full { path: "journal".into(), source: io::Error::other("told to be full") });
        }
        self.inner.prepare()
    }

    fn append(&mut self, commit: Commit) -> Result<Durable, Fault> {
        let _ = self.appended.send(commit.entries.len());
        self.gate.recv().map_err(|_| Fault::Stopped)?;
        self.inner.append(commit)
    }

    fn replay(&self, from: u64) -> Box<dyn Iterator<Item = Result<Durable, Fault>> + '_> {
        self.inner.replay(from)
    }

    fn reader(&self) -> BlobReader {
        self.inner.reader()
    }
}
