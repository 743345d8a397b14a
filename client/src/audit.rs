//! `audit verify`: the whole log read again, by the slow and obvious method, by somebody who does not trust the hub.
//!
//! The end is fixed first, so that what is added meanwhile is not half judged. Then every commitment is read and the
//! tree computed anew; its root must be the one that the log signed, and at the size of the pin the one that was
//! pinned. Every record that one may see is opened: its place, its time, its audience, what it says of other records, of
//! covenants, lists and certificates; every acceptance's item is verified by the covenant and the lists that its record
//! names. What is wrong is listed, not only the first of it. What was *not* looked at is counted and said.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use seinpost_protocol::address::Address;
use seinpost_protocol::certificate::Crl;
use seinpost_protocol::checkpoint::{Checkpoint, Pin};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, Payload};
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::record;
use seinpost_protocol::signal::RECIPIENTS_MAX;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::tree::{Frontier, leaf_hash};
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;

use crate::client::Client;
use crate::connect::{Connection, request};
use crate::error::{Error, Result, Unreachable};
use crate::evidence::Evidence;
use crate::keys::record_time;
use crate::link::Asked;

/// Faults that are listed; what lies behind so many is not better known by more.
const FAULTS_MAX: usize = 1_000;
/// How often a stream that broke is taken up again.
const TRIES_MAX: u32 = 5;
/// The wait before it is; the n-th time n times as long.
const WAIT: Duration = Duration::from_millis(500);
/// How often whoever watches is told.
const PROGRESS_EVERY: u64 = 256;

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

/// What is known while the log is read.
struct Walk {
    tree: Frontier,
    pin: Pin,
    root_at_pin: Option<Digest>,
    events: BTreeMap<EventKind, u64>,
    items_verified: u64,
    permits_verified: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    faults: Vec<AuditFault>,
    more_faults: bool,
    for_others: u64,
    last_hidden: Option<u64>,
    erased: BTreeMap<String, u64>,
    items_not_shown: u64,
    /// Consignments that an acceptance promised, by index.
    promised: HashMap<u64, Promise>,
    /// The last record of each mailbox and of each conversation of an address: number, index, commitment.
    mailboxes: HashMap<Address, Last>,
    conversations: HashMap<(Address, String), Last>,
    /// Covenants by digest that were adopted so far, and the last serial.
    covenants: HashMap<Digest, Adopted>,
    last_covenant: u64,
    /// Lists that were adopted so far, and the highest number of each issuer.
    lists: HashSet<Digest>,
    list_numbers: HashMap<Bytes, Bytes>,
    /// Items that were accepted: none is twice.
    accepted: HashSet<Digest>,
}

struct Promise {
    commitment: Digest,
    item_digest: Bytes,
    to: Option<wire::Address>,
    /// The conversation in which the acceptance stands.
    conversation: Option<String>,
    acceptance: u64,
}

/// A covenant that the log adopted, as the record of its adoption has it.
#[derive(Clone, Copy)]
struct Adopted {
    serial: u64,
    valid_from: Timestamp,
}

#[derive(Clone, Copy)]
struct Last {
    number: u64,
    index: u64,
    commitment: Digest,
}

/// Something wrong with a record: reason and what.
type Wrong = (&'static str, String);

impl Walk {
    fn new(pin: Pin) -> Self {
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
    async fn take(&mut self, client: &Client, leaf: &wire::ListRecordsResponse, commitment: &Digest) -> Result<()> {
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

    /// Checks that mailbox and conversation are counted without a gap.
    fn judge_places(&mut self, record: &wire::Record, index: u64, commitment: &Digest) -> Vec<Wrong> {
        let audience = record.audience.as_ref().and_then(|audience| audience.of.as_ref());
        let address = match audience {
            Some(wire::audience::Of::Address(address)) => Address::try_from(address).ok(),
            _ => None,
        };
        let mut wrong = Vec::new();
        if let Some(place) = &record.mailbox {
            match address {
                Some(address) => {
                    let last = self.mailboxes.get(&address).copied();
                    let place = (place.number, place.previous_index, &place.previous_commitment);
                    wrong.extend(follows(last, place, "mailbox"));
                    self.mailboxes.insert(address, Last { number: place.0, index, commitment: *commitment });
                }
                None => wrong.push(("MAILBOX", "it stands in a mailbox, but is for no one address".to_owned())),
            }
        }
        if let Some(place) = &record.conversation {
            match address {
                Some(address) => {
                    let key = (address, place.id.clone());
                    let last = self.conversations.get(&key).copied();
                    let place = (place.number, place.previous_index, &place.previous_commitment);
                    wrong.extend(follows(last, place, "conversation"));
                    self.conversations.insert(key, Last { number: place.0, index, commitment: *commitment });
                }
                None => {
                    wrong.push(("CONVERSATION", "it stands in a conversation, but is for no one address".to_owned()))
                }
            }
        }
        wrong
    }

    /// Returns the serial of the covenant by which the hub must judge at a time: of those that were adopted and have begun
    /// the newest, and the oldest before any has.
    fn ruling_at(&self, at: Timestamp) -> Option<u64> {
        let begun = self.covenants.values().filter(|adopted| adopted.valid_from <= at).map(|adopted| adopted.serial);
        begun.max().or_else(|| self.covenants.values().map(|adopted| adopted.serial).min())
    }

    /// Checks that a record names the covenant that ruled, and lists that the log had adopted.
    fn judge_names(&self, record: &wire::Record, event: &Event, ruling: Option<u64>) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let covenant = Digest::try_from(&record.covenant_digest).ok();
        let named = covenant.and_then(|covenant| self.covenants.get(&covenant)).map(|adopted| adopted.serial);
        // The first covenant can only be adopted under itself; others may.
        let is_own = matches!(event, Event::CovenantAdopted(adopted) if Some(adopted.serial) == named);
        match (named, ruling) {
            (None, _) => {
                wrong.push(("COVENANT_UNKNOWN", "it names a covenant that the log had not adopted".to_owned()))
            }
            (Some(named), Some(ruling)) if named < ruling => {
                wrong.push(("COVENANT_ROLLED_BACK", format!("it names covenant {named}, and covenant {ruling} ruled")));
            }
            (Some(named), Some(ruling)) if named > ruling && !is_own => {
                wrong.push((
                    "COVENANT_NOT_VALID",
                    format!("it names covenant {named}, and covenant {ruling} still ruled"),
                ));
            }
            (Some(_), _) => {}
        }
        for list in &record.crl_sha256 {
            if !Digest::try_from(list).is_ok_and(|list| self.lists.contains(&list)) {
                wrong.push((
                    "CRL_UNKNOWN",
                    format!("it names a revocation list that the log had not adopted: {}", hex::encode(list)),
                ));
            }
        }
        wrong
    }

    /// Says whether the acceptance of a consignment may be one of the records before it that could not be opened.
    fn may_be_promised_unseen(&self, index: u64) -> bool {
        let addressees_max = u64::try_from(RECIPIENTS_MAX).expect("a small number");
        self.last_hidden.is_some_and(|hidden| hidden + addressees_max >= index)
    }

    async fn judge_event(
        &mut self,
        client: &Client,
        leaf: &wire::ListRecordsResponse,
        record: &wire::Record,
        event: &Event,
        promise: Option<&Promise>,
    ) -> Result<std::result::Result<(), Wrong>> {
        match event {
            Event::SubmissionAcceptance(accepted) => self.judge_acceptance(client, leaf, record, accepted).await,
            Event::ContentConsignment(_) if promise.is_none() && self.may_be_promised_unseen(leaf.index) => Ok(Ok(())),
            Event::ContentConsignment(consigned) => Ok(judge_consignment(record, consigned, promise)),
            Event::CovenantAdopted(adopted) => Ok(self.judge_adoption(client, adopted)),
            Event::CrlAdopted(adopted) => self.judge_list(client, adopted).await,
            Event::CertificatePublished(published) => judge_certificate(client, published).await,
            Event::ContentHandover(_)
            | Event::Expiry(_)
            | Event::SubmissionRejection(_)
            | Event::GatewayStarted(_)
            | Event::Access(_)
            | Event::ClockConfirmed(_) => Ok(Ok(())),
        }
    }

    async fn judge_acceptance(
        &mut self,
        client: &Client,
        leaf: &wire::ListRecordsResponse,
        record: &wire::Record,
        accepted: &wire::SubmissionAcceptance,
    ) -> Result<std::result::Result<(), Wrong>> {
        for (addressee, index) in accepted.addressees.iter().zip(leaf.index + 1..) {
            let Ok(commitment) = Digest::try_from(&addressee.commitment) else {
                return Ok(Err(("LENGTH", "it names a consignment by no commitment".to_owned())));
            };
            if addressee.index != index {
                return Ok(Err(("CONSIGNMENT_INDEX", "its consignments do not stand directly behind it".to_owned())));
            }
            let promise = Promise {
                commitment,
                item_digest: accepted.item_digest.clone(),
                to: addressee.to.clone(),
                conversation: record.conversation.as_ref().map(|place| place.id.clone()),
                acceptance: leaf.index,
            };
            self.promised.insert(index, promise);
        }
        let Ok(digest) = Digest::try_from(&accepted.item_digest) else {
            return Ok(Err(("LENGTH", "it names an item by no digest".to_owned())));
        };
        if !self.accepted.insert(digest) {
            return Ok(Err(("ACCEPTED_TWICE", format!("item {digest} was accepted before"))));
        }
        let Some(item) = leaf.item.clone() else {
            self.items_not_shown += 1;
            return Ok(Ok(()));
        };
        let item = match Item::parse(item, client.origin()) {
            Ok(item) if item.digest() == digest => item,
            Ok(_) => {
                return Ok(Err(("ITEM_DIGEST", "the gateway shows another item than the record names".to_owned())));
            }
            Err(bad) => return Ok(Err((bad.reason(), format!("the accepted item is not right: {bad}")))),
        };
        let judged = patiently(async || client.verify_recorded(item.clone(), record).await).await;
        let (covenant, _, verified) = match judged {
            Ok(verified) => verified,
            Err(error) => return wrong_or_error(error),
        };
        self.items_verified += 1;
        if let Err(wrong) = judge_audience(record, verified.signer().address, verified.payload()) {
            return Ok(Err(wrong));
        }
        if accepted.item_id != verified.signer().item_id.to_string() {
            return Ok(Err(("ITEM_ID", "it names another id than the item".to_owned())));
        }
        if !crate::send::is_about(accepted, verified.payload()) {
            return Ok(Err(("ABOUT", "it says of the item what the item does not say".to_owned())));
        }
        if !crate::send::is_in_conversation(record, verified.payload()) {
            return Ok(Err(("CONVERSATION", "it stands in another conversation than the item".to_owned())));
        }
        let Payload::Signal(signal) = verified.payload() else {
            return Ok(Ok(()));
        };
        let permit = match covenant.permit(&signal.header) {
            Ok(permit) => permit,
            Err(refused) => return Ok(Err(("NOT_PERMITTED", format!("no rule permits what was accepted: {refused}")))),
        };
        self.permits_verified += 1;
        let rules = permit
            .recipients
            .iter()
            .map(|permitted| (wire::Address::from(permitted.address), permitted.rule_id.as_str()));
        let named = accepted
            .addressees
            .iter()
            .map(|addressee| (addressee.to.clone().unwrap_or_default(), addressee.rule_id.as_str()));
        if rules.eq(named) {
            Ok(Ok(()))
        } else {
            Ok(Err(("RULE", "it names other recipients or rules than the signal and the covenant".to_owned())))
        }
    }

    fn judge_adoption(&mut self, client: &Client, adopted: &wire::CovenantAdopted) -> std::result::Result<(), Wrong> {
        let digest =
            Digest::try_from(&adopted.digest).map_err(|_| ("LENGTH", "it names a covenant by no digest".to_owned()))?;
        let valid_from = adopted.valid_from.as_ref().and_then(|from| Timestamp::try_from(from).ok());
        let valid_from = valid_from.expect("a checked record has its times");
        self.covenants.insert(digest, Adopted { serial: adopted.serial, valid_from });
        let before = std::mem::replace(&mut self.last_covenant, adopted.serial);
        if before != 0 && adopted.serial != before + 1 {
            return Err(("SERIAL_GAP", format!("covenant {} was adopted after covenant {before}", adopted.serial)));
        }
        let covenants = client.covenants();
        match covenants.by_serial(adopted.serial) {
            Some(covenant)
                if covenant.digest() == digest
                    && adopted.valid_from == Some(covenant.valid_from().into())
                    && adopted.valid_until == Some(covenant.valid_until().into()) =>
            {
                Ok(())
            }
            Some(covenant) if covenant.digest() == digest => {
                Err(("COVENANT", "the record says of the covenant what the covenant does not say".to_owned()))
            }
            Some(covenant) => Err((
                "COVENANT_FORK",
                format!(
                    "covenant {} was adopted as {digest}; its registrars signed {}",
                    adopted.serial,
                    covenant.digest()
                ),
            )),
            // Before the floor of the hub file nobody here can say who signed.
            None if adopted.serial < client.profile().hub.covenant_serial => Ok(()),
            None => Err((
                "COVENANT_UNKNOWN",
                format!("covenant {} was adopted, and the hub does not show it", adopted.serial),
            )),
        }
    }

    async fn judge_list(
        &mut self,
        client: &Client,
        adopted: &wire::CrlAdopted,
    ) -> Result<std::result::Result<(), Wrong>> {
        let Ok(digest) = Digest::try_from(&adopted.sha256) else {
            return Ok(Err(("LENGTH", "it names a list by no digest".to_owned())));
        };
        self.lists.insert(digest);
        let before = self.list_numbers.insert(adopted.issuer_sha256.clone(), adopted.number.clone());
        if before.is_some_and(|before| (before.len(), &before) >= (adopted.number.len(), &adopted.number)) {
            return Ok(Err((
                "CRL_NUMBER_FELL",
                "the number of the list is not higher than that of the one before".to_owned(),
            )));
        }
        let fetched = patiently(async || client.lists(std::slice::from_ref(&adopted.sha256)).await).await;
        let list = match fetched {
            Ok(lists) => lists.into_iter().next(),
            Err(error) => return wrong_or_error(error),
        };
        let says = |list: &Crl| {
            list.issuer_sha256().as_ref() == adopted.issuer_sha256.as_ref()
                && list.number().as_bytes() == &adopted.number
                && adopted.this_update == Some(list.this_update().into())
                && adopted.next_update == Some(list.next_update().into())
        };
        if list.as_ref().is_some_and(says) {
            Ok(Ok(()))
        } else {
            Ok(Err(("CRL", "the record says of the list what the list does not say".to_owned())))
        }
    }

    /// Notes what was promised up to the end and did not come.
    fn finish(&mut self, size: u64) {
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

    fn report(self, checkpoint: Checkpoint, pinned_size: u64) -> AuditReport {
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

/// Checks that a place follows the last one that was seen. After erasure the one before may not have been seen.
fn follows(
    last: Option<Last>,
    (number, previous_index, previous_commitment): (u64, u64, &Bytes),
    what: &str,
) -> Option<Wrong> {
    let last = last?;
    if number != last.number + 1 {
        return Some(("PLACE", format!("its {what} number is {number}, after {}", last.number)));
    }
    let names_last = previous_index == last.index && previous_commitment.as_ref() == last.commitment.as_ref();
    (!names_last).then(|| ("PLACE", format!("its {what} place names another record before it than {}", last.index)))
}

fn judge_consignment(
    record: &wire::Record,
    consigned: &wire::ContentConsignment,
    promise: Option<&Promise>,
) -> std::result::Result<(), Wrong> {
    let Some(promise) = promise else {
        return Err(("CONSIGNMENT", "no acceptance that could be opened promised it".to_owned()));
    };
    if promise.item_digest != consigned.item_digest {
        return Err(("ITEM_DIGEST", format!("it consigns another item than acceptance {} took", promise.acceptance)));
    }
    let to = promise.to.clone().map(wire::audience::Of::Address);
    if record.audience.as_ref().and_then(|audience| audience.of.clone()) != to {
        return Err(("AUDIENCE", format!("it is for another than acceptance {} says", promise.acceptance)));
    }
    if record.mailbox.is_none() {
        return Err(("MAILBOX", "it stands in no mailbox".to_owned()));
    }
    if record.conversation.as_ref().map(|place| &place.id) != promise.conversation.as_ref() {
        let what = format!("it stands in another conversation than acceptance {}", promise.acceptance);
        return Err(("CONVERSATION", what));
    }
    Ok(())
}

/// Checks that an acceptance is for its sender, a key statement's for all.
fn judge_audience(record: &wire::Record, signer: Address, payload: &Payload) -> std::result::Result<(), Wrong> {
    let expected = match payload {
        Payload::KeyStatement(_) => crate::link::audience_all(),
        Payload::Signal(_) | Payload::Answer(_) => crate::link::audience_of(signer),
    };
    if record.audience.as_ref() == Some(&expected) {
        Ok(())
    } else {
        Err(("AUDIENCE", "the acceptance is for another than its sender".to_owned()))
    }
}

async fn judge_certificate(
    client: &Client,
    published: &wire::CertificatePublished,
) -> Result<std::result::Result<(), Wrong>> {
    let Ok(digest) = Digest::try_from(&published.leaf_sha256) else {
        return Ok(Err(("LENGTH", "it names a certificate by no digest".to_owned())));
    };
    let chain = match patiently(async || client.certificate(&digest).await).await {
        Ok(chain) => chain,
        Err(error) => return wrong_or_error(error),
    };
    let says = published.oin == chain.leaf.oin().as_str()
        && published.spki_sha256 == chain.leaf.spki_sha256().as_ref()
        && published.not_after == Some(chain.leaf.not_after().into());
    if says {
        Ok(Ok(()))
    } else {
        Ok(Err(("CERTIFICATE", "the record says of the certificate what it does not say".to_owned())))
    }
}

/// Takes what does not verify as a fault of the log, and lets through what the network does.
fn wrong_or_error(error: Error) -> Result<std::result::Result<(), Wrong>> {
    match error {
        Error::NotVerified(failure) => Ok(Err((failure.reason, failure.what))),
        Error::NotFound(what) => Ok(Err(("NOT_FOUND", what))),
        other => Err(other),
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
