//! What is known while the log is read: the tree so far, and what earlier records make later ones owe.
//!
//! In come leaves in the log's order, out goes a report. What is wrong with a record is noted and reading goes on; what is
//! right or wrong is for the checks to say.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use seinpost_protocol::address::Address;
use seinpost_protocol::checkpoint::{Checkpoint, Pin};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::record;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::tree::{Frontier, leaf_hash};
use seinpost_protocol::wire;

use super::{AuditFault, AuditReport, NotChecked};
use crate::client::Client;
use crate::error::Result;
use crate::keys::record_time;

/// Faults that are listed; what lies behind so many is not better known by more.
const FAULTS_MAX: usize = 1_000;

/// What is known while the log is read.
pub(super) struct Walk {
    pub(super) tree: Frontier,
    pub(super) pin: Pin,
    pub(super) root_at_pin: Option<Digest>,
    pub(super) events: BTreeMap<EventKind, u64>,
    pub(super) items_verified: u64,
    pub(super) permits_verified: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    pub(super) faults: Vec<AuditFault>,
    pub(super) more_faults: bool,
    pub(super) for_others: u64,
    pub(super) last_hidden: Option<u64>,
    pub(super) erased: BTreeMap<String, u64>,
    pub(super) items_not_shown: u64,
    /// Consignments that an acceptance promised, by index.
    pub(super) promised: HashMap<u64, Promise>,
    /// The last record of each mailbox and of each conversation of an address: number, index, commitment.
    pub(super) mailboxes: HashMap<Address, Last>,
    pub(super) conversations: HashMap<(Address, String), Last>,
    /// Covenants by digest that were adopted so far, and the last serial.
    pub(super) covenants: HashMap<Digest, Adopted>,
    pub(super) last_covenant: u64,
    /// Lists that were adopted so far, and the highest number of each issuer.
    pub(super) lists: HashSet<Digest>,
    pub(super) list_numbers: HashMap<Bytes, Bytes>,
    /// Items that were accepted: none is twice.
    pub(super) accepted: HashSet<Digest>,
}

pub(super) struct Promise {
    pub(super) commitment: Digest,
    pub(super) item_digest: Bytes,
    pub(super) to: Option<wire::Address>,
    /// The conversation in which the acceptance stands.
    pub(super) conversation: Option<String>,
    pub(super) acceptance: u64,
}

/// A covenant that the log adopted, as the record of its adoption has it.
#[derive(Clone, Copy)]
pub(super) struct Adopted {
    pub(super) serial: u64,
    pub(super) valid_from: Timestamp,
}

#[derive(Clone, Copy)]
pub(super) struct Last {
    pub(super) number: u64,
    pub(super) index: u64,
    pub(super) commitment: Digest,
}

/// Something wrong with a record: reason and what.
pub(super) type Wrong = (&'static str, String);

impl Walk {
    /// Begins before the first leaf.
    pub(super) fn new(pin: Pin) -> Self {
        let tree = Frontier::default();
        Self {
            root_at_pin: (pin.size == 0).then(|| tree.root()),
            tree,
            pin,
            events: BTreeMap::new(),
            items_verified: 0,
            permits_verified: 0,
            first: None,
            last: None,
            faults: Vec::new(),
            more_faults: false,
            for_others: 0,
            last_hidden: None,
            erased: BTreeMap::new(),
            items_not_shown: 0,
            promised: HashMap::new(),
            mailboxes: HashMap::new(),
            conversations: HashMap::new(),
            covenants: HashMap::new(),
            last_covenant: 0,
            lists: HashSet::new(),
            list_numbers: HashMap::new(),
            accepted: HashSet::new(),
        }
    }

    /// Takes the next leaf. What is wrong with the record is noted; only what the network does is an error, which ends the
    /// audit, since the leaf is half taken then.
    pub(super) async fn take(
        &mut self,
        client: &Client,
        leaf: &wire::ListRecordsResponse,
        commitment: &Digest,
    ) -> Result<()> {
        let promise = self.promised.remove(&leaf.index);
        if let Some(promise) = &promise
            && promise.commitment != *commitment
        {
            let what = format!("acceptance {} promised another consignment here", promise.acceptance);
            self.fault(leaf.index, ("CONSIGNMENT_COMMITMENT", what));
        }
        if leaf.record.is_empty() {
            self.last_hidden = Some(leaf.index);
            match leaf.erased_by.as_str() {
                "" => self.for_others += 1,
                rule => *self.erased.entry(rule.to_owned()).or_default() += 1,
            }
        } else {
            match record::open(leaf.record.clone(), &leaf.salt, commitment) {
                Ok(record) if record.index == leaf.index => {
                    self.take_record(client, leaf, &record, commitment, promise.as_ref()).await?;
                }
                Ok(record) => {
                    self.fault(leaf.index, ("INDEX", format!("the record names the index {}", record.index)));
                }
                Err(bad) => self.fault(leaf.index, (bad.reason(), format!("the record does not open: {bad}"))),
            }
        }
        self.tree.append(leaf_hash(commitment));
        if self.tree.size() == self.pin.size {
            self.root_at_pin = Some(self.tree.root());
        }
        Ok(())
    }

    async fn take_record(
        &mut self,
        client: &Client,
        leaf: &wire::ListRecordsResponse,
        record: &wire::Record,
        commitment: &Digest,
        promise: Option<&Promise>,
    ) -> Result<()> {
        let index = leaf.index;
        let event = record.event.as_ref().expect("a decoded record has an event");
        *self.events.entry(EventKind::of(event)).or_default() += 1;
        let time = record_time(record);
        if self.last.is_some_and(|last| time < last) {
            self.fault(index, ("RECORD_TIME", format!("the record is of {time}, earlier than one before it")));
        }
        self.first.get_or_insert(time);
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        for wrong in self.judge_places(record, index, commitment) {
            self.fault(index, wrong);
        }
        // Before a covenant is adopted it rules nothing, its own adoption least of all.
        let ruling = self.ruling_at(self.last.unwrap_or(time));
        if let Err(wrong) = self.judge_event(client, leaf, record, event, promise).await? {
            self.fault(index, wrong);
        }
        for wrong in self.judge_names(record, event, ruling) {
            self.fault(index, wrong);
        }
        Ok(())
    }

    /// Notes what was promised up to the end and did not come.
    pub(super) fn finish(&mut self, size: u64) {
        let mut missing: Vec<(u64, u64)> =
            self.promised.drain().map(|(index, promise)| (promise.acceptance, index)).collect();
        missing.sort_unstable();
        for (acceptance, index) in missing {
            let what = format!("it promises a consignment at {index}, and the log ends at {size}");
            self.fault(acceptance, ("CONSIGNMENT_INDEX", what));
        }
    }

    fn fault(&mut self, index: u64, (reason, what): Wrong) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(AuditFault { index, reason, what });
        } else {
            self.more_faults = true;
        }
    }

    /// Says what was found up to the end.
    pub(super) fn report(self, checkpoint: Checkpoint, pinned_size: u64) -> AuditReport {
        let mut not_checked = Vec::new();
        if self.for_others > 0 {
            not_checked.push(NotChecked::ForOthers(self.for_others));
        }
        not_checked.extend(self.erased.into_iter().map(|(rule, records)| NotChecked::Erased { rule, records }));
        if self.items_not_shown > 0 {
            not_checked.push(NotChecked::ItemsNotShown(self.items_not_shown));
        }
        not_checked.extend([NotChecked::Content, NotChecked::Time, NotChecked::SameForAll]);
        AuditReport {
            checkpoint,
            pinned_size,
            events: self.events,
            items_verified: self.items_verified,
            permits_verified: self.permits_verified,
            covenants: u64::try_from(self.covenants.len()).expect("a count fits"),
            span: self.first.zip(self.last),
            faults: self.faults,
            more_faults: self.more_faults,
            not_checked,
        }
    }
}
