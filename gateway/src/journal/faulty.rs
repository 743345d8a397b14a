//! A journal that fails when it is told to, so that whoever writes to one is tested against both ends of a failed write.
//!
//! A write fails in two ways that look alike to the writer: nothing was kept, or all was. Code that is right under only
//! one of them is wrong.

use std::io;
use std::path::Path;

use super::{BlobReader, Journal};
use crate::commit::{Commit, Durable};
use crate::fault::Fault;

/// What becomes of a write that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of it is there after a restart.
    Lost,
    /// All of it is there after a restart.
    Kept,
}

/// A journal of which one `append` fails, after which it is stopped, as any journal is.
#[derive(Debug)]
pub struct Faulty<J> {
    inner: J,
    /// How many more appends succeed.
    left: u64,
    outcome: Outcome,
    stopped: bool,
}

impl<J: Journal> Faulty<J> {
    /// Returns a journal that takes `appends` commits and fails at the next.
    pub const fn new(inner: J, appends: u64, outcome: Outcome) -> Self {
        Self { inner, left: appends, outcome, stopped: false }
    }
}

impl<J: Journal> Journal for Faulty<J> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        if self.stopped { Err(Fault::Stopped) } else { self.inner.prepare() }
    }

    fn append(&mut self, commit: Commit) -> Result<Durable, Fault> {
        if self.stopped {
            return Err(Fault::Stopped);
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return self.inner.append(commit);
        }
        self.stopped = true;
        if self.outcome == Outcome::Kept {
            self.inner.append(commit)?;
        }
        Err(Fault::disk("append to", Path::new("journal"))(io::Error::other("told to fail")))
    }

    fn replay(&self, from: u64) -> Box<dyn Iterator<Item = Result<Durable, Fault>> + '_> {
        self.inner.replay(from)
    }

    fn reader(&self) -> BlobReader {
        self.inner.reader()
    }
}
