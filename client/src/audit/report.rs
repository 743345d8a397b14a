//! What an audit found: counts, what is wrong, and as plainly what was not looked at.
//!
//! Plain values with the sentences that tell them; nothing here reads or judges.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use seinpost_protocol::checkpoint::Checkpoint;
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

/// How far the audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records read.
    pub done: u64,
    /// Records in all.
    pub of: u64,
}

/// What an audit found.
#[derive(Debug, Clone)]
pub struct AuditReport {
    /// The checkpoint up to which the log was read; it is signed by the log and its root was computed anew.
    pub checkpoint: Checkpoint,
    /// The size that was pinned before.
    pub pinned_size: u64,
    /// Records that were opened, by event.
    pub events: BTreeMap<EventKind, u64>,
    /// Items of acceptances whose signature, certificate and right to sign were verified.
    pub items_verified: u64,
    /// Signals of which the rules were asked again.
    pub permits_verified: u64,
    /// Covenants that the log adopted, all verified by their registrars' signatures.
    pub covenants: u64,
    /// Times of the first and last record that was opened.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What is wrong; up to a thousand.
    pub faults: Vec<AuditFault>,
    /// Whether there are more faults than are listed.
    pub more_faults: bool,
    /// What was not looked at.
    pub not_checked: Vec<NotChecked>,
}

impl AuditReport {
    /// Says whether nothing was found to be wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }
}

/// A copy of the log: its end, and every leaf as the gateway showed it.
#[derive(Debug, Clone)]
pub struct LogCopy {
    /// The checkpoint, a signed note.
    pub note: Bytes,
    /// The leaves in order, opened where whoever copied may see them.
    pub leaves: Vec<wire::ListRecordsResponse>,
}

/// Something that is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFault {
    /// The record.
    pub index: u64,
    /// The reason in UPPER_SNAKE.
    pub reason: &'static str,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {} [{}]", self.index, self.what, self.reason)
    }
}

/// Something that an audit did not look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotChecked {
    /// Records that are for others: their commitments are in the tree, what they say was not seen.
    ForOthers(u64),
    /// Records that were erased, by rule.
    Erased {
        /// The rule.
        rule: String,
        /// How many.
        records: u64,
    },
    /// Acceptances whose item the gateway did not show: the signature was not verified.
    ItemsNotShown(u64),
    /// Items that were signed with certificates or under lists that the gateway does not have: named among the faults.
    Content,
    /// The time is the hub's clock; no witness bounds it yet.
    Time,
    /// That others are shown the same log: their pins, the checkpoints in their items and witnesses say so.
    SameForAll,
}

impl fmt::Display for NotChecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForOthers(records) => {
                write!(f, "what {records} records for others say: only their commitments were seen")
            }
            Self::Erased { rule, records } => write!(f, "what {records} records said that were erased by rule {rule}"),
            Self::ItemsNotShown(items) => write!(f, "the signatures of {items} items that the gateway did not show"),
            Self::Content => f.write_str("content: nobody at the hub or in its audit can read it"),
            Self::Time => f.write_str("times, beyond the word of the hub's clock"),
            Self::SameForAll => f.write_str("that others are shown the same log: compare checkpoints with them"),
        }
    }
}
