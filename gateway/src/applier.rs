//! The thread `applier`: what the journal made true becomes readable, behind the answer.
//!
//! In come durable commits with their events beside them, in order; it writes all that wait as one batch into the store, moves the
//! applied copy of the state on, wakes the mailboxes touched, and when it has a moment makes the store and the head
//! file lasting. It never leads: nothing comes here that the journal does not have. A few batches behind, it lets the
//! sequencer wait. If it fails, everything stops: the store can be rebuilt, and readers must not see it stand still.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use seinpost_core::apply::apply;
use seinpost_core::event::{Audience, Event};
use seinpost_core::state::State;
use seinpost_protocol::address::Address;
use tokio::sync::watch;

use crate::commit::Durable;
use crate::fault::Fault;
use crate::head::{Head, HeadFile};
use crate::mailbox::Mailboxes;
use crate::queue::{Queue, Taken};
use crate::store::Store;

/// Commits in one store batch: under load a commit holds few commands, and the store is fastest with many at once.
const COMMITS_PER_BATCH_MAX: usize = 512;
/// How far the store may lag, in batches; beyond that the sequencer waits, and its own queue says that it is busy.
const BATCHES_BEHIND_MAX: usize = 4;
/// Bytes of commits that may wait, since each holds its items and content.
const BYTES_BEHIND_MAX: usize = 64 * 1024 * 1024;
/// After a batch it lets so much time pass, so that under load the next one holds many commits. Each batch makes sled write
/// its log twice and wait for the disk, on which the journal's answers wait too; a recipient hears at most so much later.
const BREATH: Duration = Duration::from_millis(10);
/// When nothing came for so long, what was applied is made lasting; until then the journal alone is.
const REST: Duration = Duration::from_millis(200);
/// At the latest after so many batches what was applied is made lasting, so that a restart has little to catch up on: some
/// seconds of a busy hub. More often would take the disk from the journal, on which answers wait.
const BATCHES_UNSYNCED_MAX: usize = 256;

/// The sequencer's end: hands commits over.
pub struct Applier {
    queue: Arc<Queue<Durable>>,
}

impl Applier {
    /// Hands a commit over; waits while the applier is too far behind.
    pub(crate) fn hand_over(&self, durable: Durable) -> Result<(), Fault> {
        let records: usize = durable.entries.iter().map(|entry| entry.record.len()).sum();
        let blobs: usize = durable.blobs.iter().map(|blob| blob.bytes.len()).sum();
        let gone = |_| Fault::Broken("the applier has ended".to_owned());
        self.queue.push(durable, records + blobs).map_err(gone)
    }

    /// Says that nothing more comes; what waits is still applied.
    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

/// The readers' end: what is applied. Cheap to clone.
#[derive(Clone)]
pub struct Applied {
    state: Arc<RwLock<State>>,
    size: watch::Receiver<u64>,
}

/// The gateway stops, so that nothing more will be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway stops")]
pub struct Stopped;

impl Applied {
    /// Asks the applied state. It stands still while asked, so ask for little.
    pub fn state<T>(&self, ask: impl FnOnce(&State) -> T) -> T {
        ask(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns how many records are applied.
    #[must_use]
    pub fn size(&self) -> u64 {
        *self.size.borrow()
    }

    /// Waits until the record at an index is applied, so that one who wrote it can read it.
    pub async fn wait(&self, index: u64) -> Result<(), Stopped> {
        let mut size = self.size.clone();
        size.wait_for(|size| *size > index).await.map(|_| ()).map_err(|_| Stopped)
    }
}

/// What the thread owns.
pub(crate) struct Work {
    queue: Arc<Queue<Durable>>,
    store: Box<dyn Store>,
    head: Option<HeadFile>,
    state: Arc<RwLock<State>>,
    size: watch::Sender<u64>,
    mailboxes: Mailboxes,
}

/// Prepares the applier for a store that holds what `state` holds; [`Work::run`] is its thread.
pub(crate) fn prepare(
    store: Box<dyn Store>,
    head: Option<HeadFile>,
    state: State,
    mailboxes: Mailboxes,
) -> (Applier, Applied, Work) {
    let queue = Arc::new(Queue::new(BATCHES_BEHIND_MAX * COMMITS_PER_BATCH_MAX, BYTES_BEHIND_MAX));
    let (sender, size) = watch::channel(state.size());
    let state = Arc::new(RwLock::new(state));
    let applied = Applied { state: state.clone(), size };
    let work = Work { queue: queue.clone(), store, head, state, size: sender, mailboxes };
    (Applier { queue }, applied, work)
}

impl Work {
    /// Applies until the queue is closed and empty.
    pub(crate) fn run(mut self) -> Result<(), Fault> {
        let done = self.apply_all();
        // Nobody may wait for an applier that is gone.
        self.queue.close_and_drop();
        done
    }

    fn apply_all(&mut self) -> Result<(), Fault> {
        let mut unsynced = 0;
        let mut last: Option<Durable> = None;
        loop {
            let rest = last.is_some().then_some(REST);
            let taken = self.queue.take(COMMITS_PER_BATCH_MAX, BYTES_BEHIND_MAX, rest);
            let closed = matches!(taken, Taken::Closed);
            if let Taken::Some(batch) = taken {
                last = self.apply(batch)?;
                std::thread::sleep(BREATH);
                unsynced += 1;
                if unsynced < BATCHES_UNSYNCED_MAX {
                    continue;
                }
            }
            if let Some(durable) = last.take() {
                self.sync(&durable)?;
                unsynced = 0;
            }
            if closed {
                return Ok(());
            }
        }
    }

    /// Applies a batch: store first, because whoever the state lets know of a record goes there for it.
    fn apply(&mut self, commits: Vec<Durable>) -> Result<Option<Durable>, Fault> {
        self.store.apply(&commits)?;
        let mut touched: BTreeSet<Address> = BTreeSet::new();
        // Commit by commit, so that nobody who asks the state waits for a whole batch.
        for commit in &commits {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            events(commit).iter().for_each(|event| apply(&mut state, event));
        }
        for event in commits.iter().flat_map(events) {
            if let (Audience::Address(address), Some(_)) = (event.audience, event.mailbox) {
                touched.insert(address);
            }
        }
        let size = commits.last().map_or(0, |last| last.size());
        self.size.send_replace(size);
        self.mailboxes.wake(touched);
        metrics::gauge!("seinpost_applied_records").set(size as f64);
        Ok(commits.into_iter().next_back())
    }

    /// Makes what was applied lasting. The head comes last: it must never be ahead.
    fn sync(&mut self, durable: &Durable) -> Result<(), Fault> {
        self.store.sync()?;
        if let Some(head) = &mut self.head {
            head.write(Head { size: durable.size(), root: durable.root, checkpoint: durable.checkpoint.clone() })?;
        }
        Ok(())
    }
}

/// Returns what a commit's records were written from.
fn events(commit: &Durable) -> &[Event] {
    commit.events().expect("the sequencer lays them beside each commit")
}
