//! A store that fails when it is told to; see [`journal::faulty`](crate::journal::faulty).

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Reader, Store};
use crate::commit::Durable;
use crate::fault::Fault;

pub use crate::journal::faulty::Outcome;

/// A store of which one `apply` fails, after which it is stopped until it is cleared.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    /// How many more applies succeed.
    left: u64,
    outcome: Outcome,
    stopped: bool,
}

impl<S: Store> Faulty<S> {
    /// Returns a store that applies so many batches and fails at the next.
    pub const fn new(inner: S, applies: u64, outcome: Outcome) -> Self {
        Self { inner, left: applies, outcome, stopped: false }
    }
}

impl<S: Store> Store for Faulty<S> {
    fn apply(&mut self, commits: &[Durable]) -> Result<(), Fault> {
        if self.stopped {
            return Err(Fault::Stopped);
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return self.inner.apply(commits);
        }
        self.stopped = true;
        if self.outcome == Outcome::Kept {
            self.inner.apply(commits)?;
        }
        Err(Fault::disk("apply to", Path::new("store"))(io::Error::other("told to fail")))
    }

    fn sync(&mut self) -> Result<(), Fault> {
        if self.stopped { Err(Fault::Stopped) } else { self.inner.sync() }
    }

    fn check(&mut self, commit: &Durable) -> Result<bool, Fault> {
        self.inner.check(commit)
    }

    fn clear(&mut self) -> Result<(), Fault> {
        self.inner.clear()?;
        self.stopped = false;
        self.left = u64::MAX;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.inner.reader()
    }
}
