//! The writer's half of a gateway on a journal and a store in memory: what it promises to whoever submits, across
//! failing disks and restarts.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use futures_util::FutureExt;
use futures_util::future::join_all;
use seinpost_core::command::{NewAnswer, NewCovenant, NewKeyStatement, NewSignal, Recipient, Submission, Submitted};
use seinpost_core::event::Windows;
use seinpost_protocol::address::{Function, Oin};
use seinpost_protocol::checkpoint::{self, LogKey, Pin};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::record::{Revealed, acceptance_matches, decode};
use seinpost_protocol::wire::{self, AnswerCode, RetentionClass, SignalType, Urgency};
use seinpost_protocol::{mailbox_head, record};

use super::*;
use crate::clock::Hand;
use crate::journal::faulty::{self, Outcome as Write};
use crate::journal::{BlobReader, MemoryJournal};
use crate::log::{LogSigner, Replayed};
use crate::recover::recover;
use crate::store::{self, MemoryStore, Reader};

const ORIGIN: &str = "test.seinpost.example/log";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn noon() -> Timestamp {
    Timestamp::from_millis(1_795_521_600_000).unwrap()
}

fn signer() -> LogSigner {
    LogSigner::new(SigningKey::from_bytes(&[7; 32]), ORIGIN).unwrap()
}

fn log_key() -> LogKey {
    signer().key()
}

fn police() -> Address {
    Address { oin: Oin::try_from("00000099155000000000").unwrap(), function: Function::PoliceOperations }
}

fn safe_home() -> Address {
    Address { oin: Oin::try_from("00000099155001000000").unwrap(), function: Function::SafeHome }
}

fn covenant_digest() -> Digest {
    Digest::of(b"covenant")
}

fn covenant() -> Command {
    Command::AdoptCovenant(NewCovenant {
        serial: 1,
        digest: covenant_digest(),
        valid_from: noon() - DAY,
        valid_until: noon() + 90 * DAY,
    })
}

fn submission(name: &str, number: u64, signer: Address, what: impl FnOnce(ItemId) -> Submitted) -> Command {
    let random = *item_digest(name, number).as_bytes().first_chunk().unwrap();
    let item_id = ItemId::new(noon(), random);
    Command::Submit(Submission {
        signer,
        item_id,
        digest: item_digest(name, number),
        signed_at: noon(),
        key_serial: 0,
        permit_covenant: covenant_digest(),
        crls: Vec::new(),
        what: what(item_id),
    })
}

fn item_digest(name: &str, number: u64) -> Digest {
    Digest::of_parts(&[name.as_bytes(), &number.to_be_bytes()])
}

fn key_statement() -> Command {
    let windows = Windows { seal_from: noon(), seal_until: noon() + 90 * DAY, open_until: noon() + 120 * DAY };
    submission("key", 1, safe_home(), |_| {
        Submitted::KeyStatement(NewKeyStatement { serial: 1, previous: None, windows: Some(windows), key_floor: 0 })
    })
}

fn signal(number: u64) -> Command {
    submission("signal", number, police(), |item_id| {
        Submitted::Signal(NewSignal {
            signal_type: SignalType::ExploitationSignal,
            conversation: item_id,
            supersedes: None,
            urgency: Urgency::Normal,
            expires: noon() + 14 * DAY,
            retention_class: RetentionClass::Hub24h,
            recipients: vec![Recipient {
                address: safe_home(),
                rule_id: "rule".to_owned(),
                routed: true,
                key_statement: item_digest("key", 1),
                key_floor: 0,
            }],
        })
    })
}

fn answer_to(number: u64) -> Command {
    submission("answer", number, safe_home(), |_| {
        let code = AnswerCode::DeliveredReadable;
        Submitted::Answer(NewAnswer { item: item_digest("signal", number), code, duplicate_of: None })
    })
}

/// What travels beside a signal.
fn beside(number: u64) -> Vec<(BlobKind, Bytes)> {
    let named = |what: &str| Bytes::from(format!("{what} {number}"));
    vec![
        (BlobKind::Item, named("item")),
        (BlobKind::SealedContent, named("sealed content")),
        (BlobKind::WrappedKey, named("wrapped key")),
    ]
}

/// A gateway's writing half, and the handles that survive it.
struct Hub {
    sequencer: Sequencer,
    applied: Applied,
    running: Running,
    hand: Hand,
    mailboxes: Mailboxes,
    reader: Arc<dyn Reader>,
    blobs: BlobReader,
    journal: MemoryJournal,
}

/// Starts on what a journal holds, with wrappers around journal and store for what is to go wrong.
fn open_with(
    memory: &MemoryJournal,
    at: Timestamp,
    journal: impl FnOnce(MemoryJournal) -> Box<dyn Journal>,
    wrap: impl FnOnce(MemoryStore) -> Box<dyn Store>,
) -> Hub {
    open_all(memory, at, journal, wrap, None)
}

fn open_with_head(memory: &MemoryJournal, folder: &Path) -> Hub {
    let head = HeadFile::open(folder).unwrap();
    open_all(memory, noon(), |journal| Box::new(journal), |store| Box::new(store), Some(head))
}

fn open_all(
    memory: &MemoryJournal,
    at: Timestamp,
    journal: impl FnOnce(MemoryJournal) -> Box<dyn Journal>,
    wrap: impl FnOnce(MemoryStore) -> Box<dyn Store>,
    head: Option<HeadFile>,
) -> Hub {
    let mut store = MemoryStore::new();
    let mut replayed = Replayed::default();
    let recovered =
        recover(memory, &mut store, None, &mut |commit, records| replayed.absorb(commit, records), &mut |_| {})
            .unwrap();
    let (clock, hand) = Clock::by_hand(at, recovered.time);
    let log = Log::new(signer(), recovered.tree, &replayed);
    let reader = store.reader();
    let mailboxes = Mailboxes::default();
    let parts = Parts {
        state: replayed.state,
        log,
        journal: journal(memory.clone()),
        store: wrap(store),
        head,
        clock,
        mailboxes: mailboxes.clone(),
    };
    let (sequencer, applied, running) = start(parts).unwrap();
    Hub { sequencer, applied, running, hand, mailboxes, reader, blobs: memory.reader(), journal: memory.clone() }
}

fn open(memory: &MemoryJournal) -> Hub {
    open_with(memory, noon(), |journal| Box::new(journal), |store| Box::new(store))
}

/// A gateway that has a covenant and the safe home's key.
async fn ready() -> Hub {
    let hub = open(&MemoryJournal::new());
    prepare(&hub).await;
    hub
}

async fn prepare(hub: &Hub) {
    hub.index(covenant()).await;
    hub.index(key_statement()).await;
}

impl Hub {
    async fn submit(&self, command: Command) -> Outcome {
        self.sequencer.submit(command, Vec::new()).await
    }

    /// Submits what must be recorded, and returns where.
    async fn index(&self, command: Command) -> u64 {
        match self.submit(command).await {
            Outcome::Recorded { index, .. } => index,
            other => panic!("not recorded: {other:?}"),
        }
    }

    /// Stops, and reads the journal as a stranger would.
    fn stop(self) -> MemoryJournal {
        self.running.stop().unwrap();
        check_journal(&self.journal);
        self.journal
    }
}

/// Checks all of a journal by the slow and obvious method: each commitment opens, each root is that of its leaves and
/// signed, each acceptance names its consignments, and every mailbox and conversation is a chain without a gap.
fn check_journal(journal: &MemoryJournal) {
    let mut records: Vec<(wire::Record, Revealed, Digest)> = Vec::new();
    let mut frontier = seinpost_protocol::tree::Frontier::default();
    for commit in journal.replay(0) {
        let commit = commit.unwrap();
        assert_eq!(commit.base, records.len() as u64);
        for entry in &commit.entries {
            let record = record::open(entry.record.clone(), &entry.salt, &entry.commitment).unwrap();
            let revealed = Revealed { record: entry.record.clone(), salt: Bytes::copy_from_slice(&entry.salt) };
            records.push((record, revealed, entry.commitment));
            frontier.append(seinpost_protocol::tree::leaf_hash(&entry.commitment));
        }
        let checkpoint = checkpoint::open(&commit.checkpoint, ORIGIN, &[log_key()]).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (commit.size(), frontier.root()));
        assert_eq!(commit.root, frontier.root());
    }
    let salts: std::collections::BTreeSet<_> = records.iter().map(|(_, revealed, _)| revealed.salt.clone()).collect();
    assert_eq!(salts.len(), records.len(), "no salt is used twice");

    let mut chains: BTreeMap<String, (u64, u64, Digest)> = BTreeMap::new();
    for (index, (record, _, commitment)) in records.iter().enumerate() {
        let audience = format!("{:?}", record.audience);
        let mut link = |chain: String, number: u64, previous_index: u64, previous_commitment: &Bytes| {
            let last = chains.insert(chain, (number, index as u64, *commitment));
            let named = Digest::try_from(previous_commitment).ok().map(|digest| (number - 1, previous_index, digest));
            assert_eq!(named, last);
        };
        if let Some(place) = &record.mailbox {
            link(format!("mailbox {audience}"), place.number, place.previous_index, &place.previous_commitment);
        }
        if let Some(place) = &record.conversation {
            let chain = format!("{} {audience}", place.id);
            link(chain, place.number, place.previous_index, &place.previous_commitment);
        }
        if let Some(wire::record::Event::SubmissionAcceptance(acceptance)) = &record.event {
            let behind = &records[index + 1..][..acceptance.addressees.len()];
            let consignments: Vec<Revealed> = behind.iter().map(|(_, revealed, _)| revealed.clone()).collect();
            acceptance_matches(record, &consignments).unwrap();
        }
    }
}

#[tokio::test]
async fn a_signal_is_recorded_with_what_travels_beside_it_and_can_be_read_when_it_is_applied() {
    let hub = ready().await;
    let Outcome::Recorded { durable, index } = hub.sequencer.submit(signal(1), beside(1)).await else {
        panic!("not recorded")
    };
    assert_eq!(durable.base, index);
    hub.applied.wait(index).await.unwrap();
    let item = item_digest("signal", 1);
    assert_eq!(hub.reader.item_index(&item).unwrap(), Some(index));
    let blobs = hub.reader.blobs_of(index).unwrap();
    let read: Vec<_> = blobs.iter().map(|(kind, position)| (*kind, hub.blobs.read(position).unwrap())).collect();
    assert_eq!(read, beside(1));
    assert!(hub.reader.blobs_of(index + 1).unwrap().is_empty());
    assert_eq!(
        hub.applied.state(|state| state.delivery(item, safe_home()).map(|delivery| delivery.index)),
        Some(index + 1)
    );
    hub.stop();
}

#[tokio::test]
async fn a_hundred_parallel_repeats_are_one_record_and_a_hundred_answers() {
    let hub = ready().await;
    let before = hub.sequencer.newest().size;
    let outcomes = join_all((0..100).map(|_| hub.sequencer.submit(signal(1), beside(1)))).await;
    let mut recorded = 0;
    for outcome in outcomes {
        match outcome {
            Outcome::Recorded { index, .. } => {
                assert_eq!(index, before);
                recorded += 1;
            }
            Outcome::Already { index } => assert_eq!(index, before),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(recorded, 1);
    assert_eq!(hub.sequencer.newest().size, before + 2);
    hub.stop();
}

#[tokio::test]
async fn what_is_submitted_in_order_is_recorded_in_order_under_dense_numbers() {
    let hub = ready().await;
    let first = hub.sequencer.newest().size;
    let outcomes = join_all((0..300).map(|number| hub.sequencer.submit(signal(number), beside(number)))).await;
    for (number, outcome) in (0..).zip(outcomes) {
        let Outcome::Recorded { durable, index } = outcome else { panic!("{outcome:?}") };
        assert_eq!(index, first + 2 * number);
        assert!((durable.base..durable.size()).contains(&index));
    }
    hub.applied.wait(first + 599).await.unwrap();
    let places = hub.reader.mailbox(&safe_home(), 1, 1000).unwrap();
    let expected: Vec<_> = (0..300).map(|number| (number + 2, first + 2 * number + 1)).collect();
    assert_eq!(places, expected, "number 1 is the safe home's own key statement");
    hub.stop();
}

#[tokio::test]
async fn a_refusal_is_recorded_and_what_came_with_it_is_kept_by_nobody() {
    let hub = ready().await;
    let Outcome::Refused(refusal) = hub.sequencer.submit(answer_to(1), beside(1)).await else { panic!("not refused") };
    assert_eq!(refusal, Refusal::DeliveryUnknown);
    let last = hub.sequencer.newest().size - 1;
    hub.applied.wait(last).await.unwrap();
    let entry = hub.reader.entry(last).unwrap().unwrap();
    let event = decode(entry.record).unwrap().event.unwrap();
    assert!(
        matches!(event, wire::record::Event::SubmissionRejection(rejection) if rejection.reason == "DELIVERY_UNKNOWN")
    );
    assert!(hub.reader.blobs_of(last).unwrap().is_empty());
    hub.stop();
}

#[tokio::test]
async fn the_owner_of_a_mailbox_is_woken_when_its_record_can_be_read() {
    let hub = ready().await;
    hub.applied.wait(hub.sequencer.newest().size - 1).await.unwrap();
    let mut of_recipient = hub.mailboxes.open(safe_home()).unwrap();
    let mut of_sender = hub.mailboxes.open(police()).unwrap();
    let index = hub.index(signal(1)).await;
    // A wake says "look again" and no more: the first may be that of the safe home's own key statement.
    while hub.reader.mailbox(&safe_home(), 1, 10).unwrap() != [(2, index + 1)] {
        of_recipient.changed().await;
    }
    assert!(of_sender.changed().now_or_never().is_none(), "an acceptance stands in no mailbox");
    hub.index(answer_to(1)).await;
    of_sender.changed().await;
    assert_eq!(hub.reader.mailbox(&police(), 0, 10).unwrap().len(), 1);
    hub.stop();
}

#[tokio::test]
async fn a_mailbox_head_covers_all_that_was_answered_before() {
    let hub = ready().await;
    let empty = hub.sequencer.mailbox_head(police()).await.unwrap();
    assert_eq!((empty.last, empty.first_number), (None, 1));
    let Outcome::Recorded { index, durable } = hub.submit(signal(1)).await else { panic!("not recorded") };
    let head = hub.sequencer.mailbox_head(safe_home()).await.unwrap();
    let last = head.last.unwrap();
    assert_eq!((last.number, last.index, last.commitment), (2, index + 1, durable.entries[1].commitment));
    for facts in [empty, head] {
        let item = signer().sign_head(&facts);
        let pin = Pin::NOTHING;
        let keys = [log_key()];
        let known = mailbox_head::Known {
            origin: ORIGIN,
            keys: &keys,
            address: facts.address,
            pin: &pin,
            last_seen: 0,
            now: noon(),
        };
        let verified = mailbox_head::verify(&item, &known, &[]).unwrap();
        assert_eq!(verified.head.last_number, facts.last.map_or(0, |last| last.number));
        assert_eq!(verified.checkpoint.size, facts.size);
        assert_eq!(verified.head.time, noon());
    }
    hub.stop();
}

#[tokio::test]
async fn a_restart_goes_on_where_the_log_ended() {
    let hub = ready().await;
    let index = hub.index(signal(1)).await;
    let before = hub.sequencer.newest();
    let journal = hub.stop();
    let hub = open(&journal);
    assert_eq!(hub.sequencer.newest(), before);
    assert!(matches!(hub.submit(signal(1)).await, Outcome::Already { index: known } if known == index));
    hub.index(answer_to(1)).await;
    hub.index(signal(2)).await;
    let journal = hub.stop();
    let state = open(&journal).applied.state(Clone::clone);
    let hub = open(&journal);
    assert_eq!(hub.applied.state(Clone::clone), state, "two replays are one state");
    hub.stop();
}

#[tokio::test]
async fn the_head_file_holds_what_was_applied_and_is_never_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let memory = MemoryJournal::new();
    let hub = open_with_head(&memory, folder.path());
    let index = hub.index(covenant()).await;
    hub.applied.wait(index).await.unwrap();
    let early = HeadFile::open(folder.path()).unwrap().latest().map_or(0, |head| head.size);
    assert!(early <= hub.applied.size());
    hub.index(key_statement()).await;
    let newest = hub.sequencer.newest();
    hub.stop();
    let head = HeadFile::open(folder.path()).unwrap();
    let head = head.latest().unwrap();
    assert_eq!(
        (head.size, &head.checkpoint),
        (newest.size, &newest.checkpoint),
        "a stop leaves nothing to catch up on"
    );
}

#[tokio::test]
async fn a_stop_decides_all_that_waits_and_takes_nothing_more() {
    let hub = ready().await;
    let waiting: Vec<_> = (0..50).map(|number| hub.sequencer.submit(signal(number), beside(number))).collect();
    let sequencer = hub.sequencer.clone();
    hub.stop();
    for outcome in join_all(waiting).await {
        assert!(matches!(outcome, Outcome::Recorded { .. }), "{outcome:?}");
    }
    assert!(matches!(sequencer.submit(signal(99), Vec::new()).await, Outcome::Stopped));
    assert!(sequencer.mailbox_head(police()).await.is_none());
}

#[tokio::test]
async fn a_write_that_fails_is_never_answered_and_the_restart_finds_out_what_was_kept() {
    for write in [Write::Lost, Write::Kept] {
        let memory = MemoryJournal::new();
        let failing = |journal| Box::new(faulty::Faulty::new(journal, 2, write)) as Box<dyn Journal>;
        let hub = open_with(&memory, noon(), failing, |store| Box::new(store));
        prepare(&hub).await;
        let size = hub.sequencer.newest().size;
        assert!(matches!(hub.submit(signal(1)).await, Outcome::Stopped));
        hub.running.failed().await;
        assert!(matches!(hub.submit(signal(2)).await, Outcome::Stopped));
        assert_eq!(hub.sequencer.newest().size, size, "what may be lost was never shown");
        assert!(matches!(hub.running.stop(), Err(Fault::Disk { .. })), "the process must end with an error");

        let hub = open(&memory);
        match (write, hub.submit(signal(1)).await) {
            (Write::Lost, Outcome::Recorded { index, .. }) | (Write::Kept, Outcome::Already { index }) => {
                assert_eq!(index, size);
            }
            (write, outcome) => panic!("{write:?}: {outcome:?}"),
        }
        hub.stop();
    }
}

#[tokio::test]
async fn every_receipt_stays_true_whichever_write_fails() {
    let commands = || [covenant(), key_statement(), signal(1), signal(2), answer_to(1), signal(3), answer_to(3)];
    for fails_at in 0..commands().len() as u64 {
        for write in [Write::Lost, Write::Kept] {
            let memory = MemoryJournal::new();
            let failing = |journal| Box::new(faulty::Faulty::new(journal, fails_at, write)) as Box<dyn Journal>;
            let hub = open_with(&memory, noon(), failing, |store| Box::new(store));
            let mut receipts: Vec<Option<(u64, Digest)>> = Vec::new();
            for command in commands() {
                receipts.push(match hub.submit(command).await {
                    Outcome::Recorded { durable, index } => {
                        Some((index, durable.entries[(index - durable.base) as usize].commitment))
                    }
                    Outcome::Stopped => None,
                    other => panic!("{other:?}"),
                });
            }
            assert_eq!(receipts.iter().flatten().count() as u64, fails_at);
            assert!(hub.running.stop().is_err());

            let hub = open(&memory);
            for (command, receipt) in std::iter::zip(commands(), receipts) {
                let (index, recorded) = match hub.submit(command).await {
                    Outcome::Recorded { index, .. } => (index, true),
                    Outcome::Already { index } => (index, false),
                    other => panic!("{other:?}"),
                };
                hub.applied.wait(index).await.unwrap();
                if let Some((known, commitment)) = receipt {
                    assert_eq!((index, recorded), (known, false));
                    assert_eq!(hub.reader.entry(index).unwrap().unwrap().commitment, commitment);
                }
            }
            hub.stop();
        }
    }
}

#[tokio::test]
async fn whatever_waits_when_a_write_fails_hears_that_the_gateway_stopped() {
    let memory = MemoryJournal::new();
    let (release, gate) = mpsc::channel();
    let gated =
        |journal| Box::new(Gated { inner: journal, gate, appended: mpsc::channel().0, full: None }) as Box<dyn Journal>;
    let hub = open_with(&memory, noon(), gated, |store| Box::new(store));
    release.send(()).unwrap();
    hub.index(covenant()).await;
    let waiting: Vec<_> = (0..20).map(|number| hub.sequencer.submit(signal(number), beside(number))).collect();
    // Without a release the journal fails.
    drop(release);
    for outcome in join_all(waiting).await {
        assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
    }
    assert!(hub.running.stop().is_err());
}

#[tokio::test]
async fn what_was_answered_survives_a_store_that_fails() {
    for write in [Write::Lost, Write::Kept] {
        let memory = MemoryJournal::new();
        let failing = |inner| Box::new(store::faulty::Faulty::new(inner, 0, write)) as Box<dyn Store>;
        let hub = open_with(&memory, noon(), |journal| Box::new(journal), failing);
        // The answer stands in the journal before the store is asked.
        let index = hub.index(covenant()).await;
        hub.running.failed().await;
        assert!(hub.applied.wait(index).await.is_err(), "nobody waits for ever");
        assert!(matches!(hub.submit(key_statement()).await, Outcome::Stopped));
        assert!(matches!(hub.running.stop(), Err(Fault::Disk { .. })), "the applier's fault is the one that is told");

        let hub = open(&memory);
        assert!(matches!(hub.submit(covenant()).await, Outcome::Already { index: known } if known == index));
        hub.applied.wait(index).await.unwrap();
        hub.stop();
    }
}

#[tokio::test]
async fn a_clock_in_doubt_lets_nothing_in_until_it_is_confirmed_in_a_record() {
    let hub = ready().await;
    hub.index(signal(1)).await;
    let size = hub.sequencer.newest().size;
    hub.hand.set(noon() + DAY);
    for command in [signal(2), answer_to(1), Command::Tick, covenant()] {
        assert!(matches!(hub.submit(command).await, Outcome::ClockInDoubt));
    }
    assert!(hub.sequencer.mailbox_head(police()).await.is_none());
    assert_eq!(hub.sequencer.newest().size, size);

    assert_eq!(hub.index(Command::ConfirmClock).await, size);
    assert_eq!(hub.index(signal(2)).await, size + 1);
    let journal = hub.stop();
    let last: Vec<_> = journal.replay(size).map(|commit| commit.unwrap().time).collect();
    assert_eq!(last, [noon() + DAY, noon() + DAY]);
}

#[tokio::test]
async fn a_gateway_that_starts_long_before_or_after_its_last_record_waits_for_an_operator() {
    let journal = ready().await.stop();
    for at in [noon() - Duration::from_secs(6), noon() + DAY + Duration::from_secs(1)] {
        let hub = open_with(&journal, at, |journal| Box::new(journal), |store| Box::new(store));
        assert!(matches!(hub.submit(signal(1)).await, Outcome::ClockInDoubt));
        hub.stop();
    }
    let hub = open_with(&journal, noon() + DAY, |journal| Box::new(journal), |store| Box::new(store));
    assert!(matches!(hub.submit(signal(1)).await, Outcome::Recorded { .. }));
    hub.stop();
}

#[tokio::test]
async fn a_tick_tells_what_expired_and_nothing_to_tell_is_no_record() {
    let hub = ready().await;
    hub.index(signal(1)).await;
    assert!(matches!(hub.submit(Command::Tick).await, Outcome::Nothing));
    hub.hand.pass(14 * DAY);
    let index = hub.index(Command::Tick).await;
    assert!(matches!(hub.submit(Command::Tick).await, Outcome::Nothing));
    assert_eq!(hub.sequencer.newest().size, index + 1);
    hub.stop();
}

/// A journal that waits for a release before each append and says when it waits; without one it fails. It can be full.
struct Gated {
    inner: MemoryJournal,
    gate: mpsc::Receiver<()>,
    appended: mpsc::Sender<usize>,
    full: Option<Arc<std::sync::atomic::AtomicBool>>,
}

impl Journal for Gated {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        match &self.full {
            Some(full) if full.load(std::sync::atomic::Ordering::SeqCst) => {
                Err(Fault::Full { path: "journal".into(), source: io::Error::other("told to be full") })
            }
            Some(_) | None => self.inner.prepare(),
        }
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

#[tokio::test]
async fn what_waits_shares_a_commit_of_bounded_size_and_a_full_queue_says_so() {
    let memory = MemoryJournal::new();
    let (release, gate) = mpsc::channel();
    let (appended, appends) = mpsc::channel();
    let gated = |journal| Box::new(Gated { inner: journal, gate, appended, full: None }) as Box<dyn Journal>;
    let hub = open_with(&memory, noon(), gated, |store| Box::new(store));
    for command in [covenant(), key_statement()] {
        release.send(()).unwrap();
        hub.index(command).await;
        appends.recv().unwrap();
    }
    // The first is being written; all others wait behind it.
    let first = hub.sequencer.submit(signal(0), beside(0));
    assert_eq!(appends.recv().unwrap(), 2);
    let waiting: Vec<_> =
        (1..=COMMANDS_WAITING_MAX as u64).map(|number| hub.sequencer.submit(signal(number), beside(number))).collect();
    assert!(matches!(hub.submit(signal(1_000_000)).await, Outcome::Busy), "a full queue is an answer");
    for _ in 0..=COMMANDS_WAITING_MAX.div_ceil(COMMANDS_PER_BATCH_MAX) {
        release.send(()).unwrap();
    }
    assert!(matches!(first.await, Outcome::Recorded { .. }));
    for outcome in join_all(waiting).await {
        let Outcome::Recorded { durable, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(durable.entries.len(), 2 * COMMANDS_PER_BATCH_MAX);
    }
    hub.stop();
}

#[tokio::test]
async fn bytes_bound_the_queue_and_the_batch_too() {
    let memory = MemoryJournal::new();
    let (release, gate) = mpsc::channel();
    let (appended, appends) = mpsc::channel();
    let gated = |journal| Box::new(Gated { inner: journal, gate, appended, full: None }) as Box<dyn Journal>;
    let hub = open_with(&memory, noon(), gated, |store| Box::new(store));
    for command in [covenant(), key_statement()] {
        release.send(()).unwrap();
        hub.index(command).await;
        appends.recv().unwrap();
    }
    let content = Bytes::from(vec![0; 1024 * 1024]);
    let submit = |number| hub.sequencer.submit(signal(number), vec![(BlobKind::SealedContent, content.clone())]);
    let first = submit(0);
    appends.recv().unwrap();
    let waiting: Vec<_> = (1..64).map(submit).collect();
    assert!(matches!(submit(64).await, Outcome::Busy));
    for _ in 0..64 {
        release.send(()).unwrap();
    }
    assert!(matches!(first.await, Outcome::Recorded { .. }));
    for outcome in join_all(waiting).await {
        let Outcome::Recorded { durable, .. } = outcome else { panic!("{outcome:?}") };
        assert!(durable.entries.len() <= 2 * 3, "three megabytes and what the commands take");
    }
    hub.stop();
}

#[tokio::test]
async fn without_room_on_the_disk_nothing_is_taken_and_nothing_is_lost() {
    let full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let memory = MemoryJournal::new();
    let (release, gate) = mpsc::channel();
    (0..10).for_each(|_| release.send(()).unwrap());
    let switch = full.clone();
    let gated = |journal| {
        Box::new(Gated { inner: journal, gate, appended: mpsc::channel().0, full: Some(switch) }) as Box<dyn Journal>
    };
    let hub = open_with(&memory, noon(), gated, |store| Box::new(store));
    prepare(&hub).await;
    full.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(hub.submit(signal(1)).await, Outcome::Full));
    assert!(hub.sequencer.mailbox_head(safe_home()).await.is_some(), "reading goes on");
    full.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(hub.submit(signal(1)).await, Outcome::Recorded { .. }));
    hub.stop();
}
