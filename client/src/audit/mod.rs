//! `audit verify`: the whole log read again, by the slow and obvious method, by somebody who does not trust the hub.
//!
//! The end is fixed first, so that what is added meanwhile is not half judged. Then every commitment is read and the
//! tree computed anew; its root must be the one that the log signed, and at the size of the pin the one that was
//! pinned. Every record that one may see is opened: its place, its time, its audience, what it says of other records, of
//! covenants, lists and certificates; every acceptance's item is verified by the covenant and the lists that its record
//! names. What is wrong is listed, not only the first of it. What was *not* looked at is counted and said.
//!
//! This file reads the log and judges its tree. `walk`: what is known while it is read; `checks`: what each record must
//! be; `report`: what was found.

mod walk;
mod checks;
mod report;

use std::time::Duration;

use bytes::Bytes;
use seinpost_protocol::checkpoint::Checkpoint;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire;

use self::walk::Walk;
use crate::client::Client;
use crate::connect::{Connection, request};
use crate::error::{Error, Result, Unreachable};
use crate::evidence::Evidence;
use crate::link::Asked;

pub use self::report::{AuditFault, AuditReport, LogCopy, NotChecked, Progress};

/// How often a stream that broke is taken up again.
const TRIES_MAX: u32 = 5;
/// The wait before it is; the n-th time n times as long.
const WAIT: Duration = Duration::from_millis(500);
/// How often whoever watches is told.
const PROGRESS_EVERY: u64 = 256;

impl Client {
    /// Reads and verifies the whole log up to its newest checkpoint, and pins that.
    ///
    /// # Errors
    /// If the gateway cannot be reached, or the log is not the one that was pinned or signed: with evidence. What is
    /// wrong with single records is in the report.
    pub async fn audit(&self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<AuditReport> {
        self.refresh_covenant().await?;
        let asked = self.asked()?;
        // Not pinned yet: the tree below it is computed first, and that is worth more than a proof.
        let (checkpoint, note) = self.end_of_log(&asked).await?;
        let mut walk = Walk::new(*asked.pin());
        let mut tries = 0;
        while walk.tree.size() < checkpoint.size {
            let begun = walk.tree.size();
            let Some(broken) = self.read_records(&mut walk, &checkpoint, progress).await? else {
                continue;
            };
            // As long as it goes on it goes on at once.
            tries = if walk.tree.size() > begun { 0 } else { tries + 1 };
            if tries > TRIES_MAX || !broken.automatic {
                return Err(Error::Unreachable(broken));
            }
            tokio::time::sleep(WAIT * tries).await;
        }
        self.judge_tree(&walk, &asked, &checkpoint, &note)?;
        walk.finish(checkpoint.size);
        self.link_note(&asked, &note, &self.consistency(asked.pin().size.min(checkpoint.size), checkpoint.size).await?)
            .await?;
        progress(Progress { done: checkpoint.size, of: checkpoint.size });
        Ok(walk.report(checkpoint, asked.pin().size))
    }

    /// Copies the log up to its newest checkpoint, for an audit that another makes or that comes later.
    ///
    /// # Errors
    /// If the gateway cannot be reached, or its checkpoint does not hold.
    pub async fn copy_log(&self) -> Result<LogCopy> {
        self.refresh_covenant().await?;
        let (checkpoint, note) = self.end_of_log(&self.asked()?).await?;
        let connection = &self.inner.connection;
        let question = wire::ListRecordsRequest { from: 0, to: checkpoint.size };
        let answer = connection.audit().list_records(tonic::Request::new(question)).await;
        let mut stream = answer.map_err(|status| connection.error(&status))?.into_inner();
        let mut leaves = Vec::new();
        while let Some(leaf) = stream.message().await.map_err(|status| connection.error(&status))? {
            leaves.push(leaf);
        }
        Ok(LogCopy { note, leaves })
    }

    /// Verifies a copy of the log as [`Client::audit`] verifies the log itself; nothing is pinned.
    ///
    /// # Errors
    /// If its checkpoint is not of this log or not what its leaves add up to. What is wrong with single records is in the
    /// report.
    pub async fn audit_copy(&self, copy: &LogCopy) -> Result<AuditReport> {
        let asked = self.asked()?;
        let checkpoint = seinpost_protocol::checkpoint::open(&copy.note, self.origin(), &self.log_keys())
            .map_err(|bad| Error::not_verified(bad.reason(), format!("the copy's checkpoint does not hold: {bad}")))?;
        let mut walk = Walk::new(*asked.pin());
        for (index, leaf) in copy.leaves.iter().enumerate() {
            let commitment = Digest::try_from(&leaf.commitment)
                .ok()
                .filter(|_| leaf.index == index as u64 && leaf.index < checkpoint.size)
                .ok_or_else(|| {
                    Error::not_verified(
                        "RECORD_ORDER",
                        format!("the copy's leaf {index} is not that of record {index}"),
                    )
                })?;
            walk.take(self, leaf, &commitment).await?;
        }
        self.judge_tree(&walk, &asked, &checkpoint, &copy.note)?;
        walk.finish(checkpoint.size);
        Ok(walk.report(checkpoint, asked.pin().size))
    }

    async fn end_of_log(&self, asked: &Asked) -> Result<(Checkpoint, Bytes)> {
        let question = wire::GetCheckpointRequest { seen_size: asked.seen_size() };
        let ask = |connection: Connection| async move { connection.audit().get_checkpoint(request(question)).await };
        let note = self.inner.connection.ask(ask).await?.checkpoint;
        let checkpoint = seinpost_protocol::checkpoint::open(&note, self.origin(), &self.log_keys())
            .map_err(|bad| Error::not_verified(bad.reason(), format!("the hub's checkpoint does not hold: {bad}")))?;
        if checkpoint.size < asked.seen_size() {
            return Err(self.accuse_shrinking(asked, &checkpoint, &note));
        }
        Ok((checkpoint, note))
    }

    /// Reads on from where the walk is, to the end or until the stream breaks; then says by what.
    async fn read_records(
        &self,
        walk: &mut Walk,
        checkpoint: &Checkpoint,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Option<Unreachable>> {
        let connection = &self.inner.connection;
        let broken = |status: &tonic::Status| match connection.error(status) {
            Error::Unreachable(trouble) => Ok(Some(trouble)),
            error => Err(error),
        };
        let question = wire::ListRecordsRequest { from: walk.tree.size(), to: checkpoint.size };
        let mut stream = match connection.audit().list_records(tonic::Request::new(question)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return broken(&status),
        };
        loop {
            let leaf = match stream.message().await {
                Ok(Some(leaf)) => leaf,
                Ok(None) if walk.tree.size() == checkpoint.size => return Ok(None),
                Ok(None) => {
                    let read = walk.tree.size();
                    let what = format!("the gateway ended the stream at {read} of {} records", checkpoint.size);
                    return Ok(Some(Unreachable::new(what)));
                }
                Err(status) => return broken(&status),
            };
            if leaf.index != walk.tree.size() || leaf.index >= checkpoint.size {
                let what = format!("the gateway shows record {} where {} was to come", leaf.index, walk.tree.size());
                return Err(Error::not_verified("RECORD_ORDER", what));
            }
            let commitment = Digest::try_from(&leaf.commitment).map_err(|_| {
                Error::not_verified("LENGTH", format!("the commitment of record {} is none", leaf.index))
            })?;
            walk.take(self, &leaf, &commitment).await?;
            if walk.tree.size().is_multiple_of(PROGRESS_EVERY) {
                progress(Progress { done: walk.tree.size(), of: checkpoint.size });
            }
        }
    }

    /// Holds the computed tree against what was signed and what was pinned.
    fn judge_tree(&self, walk: &Walk, asked: &Asked, checkpoint: &Checkpoint, note: &Bytes) -> Result<()> {
        if walk.tree.root() != checkpoint.root {
            let what = format!(
                "the log's key signed another root at {} records than its records have: {} is computed",
                checkpoint.size,
                walk.tree.root()
            );
            return Err(self.accuse(Evidence { reason: "ROOT", what, pieces: vec![("shown.checkpoint", note)] }));
        }
        match walk.root_at_pin {
            Some(root) if root != asked.pin().root => {
                let pinned = self.inner.pins.read()?.checkpoint().map(|pinned| pinned.note.clone()).unwrap_or_default();
                let what = format!(
                    "the records do not extend the history that was pinned at {} records: {root} is computed",
                    asked.pin().size
                );
                Err(self.accuse(Evidence {
                    reason: "LOG_FORK",
                    what,
                    pieces: vec![("pinned.checkpoint", &pinned), ("shown.checkpoint", note)],
                }))
            }
            _ => Ok(()),
        }
    }
}

/// Asks again where only the connection is at fault.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        match ask().await {
            Err(Error::Unreachable(trouble)) if trouble.automatic && tries < TRIES_MAX => {
                tries += 1;
                tokio::time::sleep(WAIT * tries).await;
            }
            answer => return answer,
        }
    }
}
