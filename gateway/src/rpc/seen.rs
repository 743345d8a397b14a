//! Gossip: what a signer last saw of the log, held against the log.
//!
//! Each item carries the checkpoint that its signer last verified. On the usual path it is one of ours, byte for byte,
//! and a look into memory settles it. One that bears our signature and is no prefix of our log is the worst news there
//! is: two histories exist under one key. It is kept as a file, and intake stops, also after a restart, until a person
//! has looked.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use seinpost_protocol::checkpoint::{BadSeen, LogKey, judge_seen};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::tree::EMPTY_ROOT;
use tracing::error;

use crate::errors::Refused;
use crate::store::Reader;
use crate::tree::TreeMemory;

/// Checkpoints kept in memory, about 250 bytes each: clients name one of the last minutes.
const RECENT_MAX: usize = 4096;

/// The checkpoints that went out, and the folder for evidence.
pub struct Seen {
    recent: Mutex<BTreeMap<u64, Bytes>>,
    evidence: PathBuf,
}

impl Seen {
    /// Keeps evidence in a folder below `data`.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { recent: Mutex::default(), evidence: data.join("evidence") }
    }

    /// Returns whether evidence of a second history lies in the folder: then intake stays closed.
    #[must_use]
    pub fn has_evidence(&self) -> bool {
        fs::read_dir(&self.evidence).is_ok_and(|mut files| files.next().is_some())
    }

    /// Remembers a checkpoint that is about to leave the house.
    pub(super) fn went_out(&self, size: u64, checkpoint: &Bytes) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.insert(size, checkpoint.clone()).is_none() && recent.len() > RECENT_MAX {
            recent.pop_first();
        }
    }

    /// Judges what a signer saw. `durable` is how many records the log holds for sure.
    pub(super) fn judge(
        &self,
        seen: &seinpost_protocol::checkpoint::Seen,
        origin: &str,
        keys: &[LogKey],
        tree: &TreeMemory,
        reader: &dyn Reader,
        durable: u64,
    ) -> Result<(), Refused> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner).get(&seen.size()).cloned();
        let own = match recent {
            Some(own) => Some(own),
            None => reader.checkpoint(seen.size()).map_err(|cause| {
                error!(%cause, "the store did not say which checkpoint was signed");
                Refused::of("INTERNAL")
            })?,
        };
        let root_at = |size| {
            if size == 0 {
                Some(EMPTY_ROOT)
            } else if size <= durable {
                tree.root(size)
            } else {
                None
            }
        };
        match judge_seen(seen, origin, keys, own.as_deref(), root_at) {
            Ok(()) => Ok(()),
            Err(BadSeen::Note(bad)) => Err(Refused::bad(bad.reason(), "signer.seen_checkpoint", bad)),
            Err(BadSeen::Fork) => {
                self.keep(seen.note(), own.as_deref());
                Err(Refused::of("SEEN_FORK").at("signer.seen_checkpoint"))
            }
        }
    }

    /// Keeps both checkpoints of a fork, so that anybody can be shown that one key signed them.
    fn keep(&self, theirs: &[u8], ours: Option<&[u8]>) {
        metrics::counter!("seinpost_forks_seen_total").increment(1);
        let name = Digest::of(theirs).to_string();
        let written = self.write(&format!("{name}.seen"), theirs).and_then(|()| match ours {
            Some(ours) => self.write(&format!("{name}.own"), ours),
            None => Ok(()),
        });
        match written {
            Ok(()) => {
                error!(evidence = %self.evidence.display(), name, "ALARM: our key signed a history that is not ours")
            }
            Err(cause) => {
                error!(%cause, name, "ALARM: our key signed a history that is not ours, and it cannot be kept")
            }
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.evidence)?;
        let path = self.evidence.join(name);
        let mut file = fs::File::create(&path)?;
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    }
}
