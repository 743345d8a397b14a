//! The writer's half of a gateway on a journal and a store in memory: here the mechanics, in the rooms below what it
//! promises to whoever submits, across failing disks and restarts.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod bounds;
mod faults;
mod gated;
mod recording;
mod restart;
mod time;

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
