//! The log by itself: what its records name, what it refuses to go on from, and its key.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use ed25519_dalek::pkcs8::EncodePrivateKey;
use seinpost_core::command::{Command, NewCovenant, NewCrl};
use seinpost_core::decider::Decider;
use seinpost_protocol::certificate::CrlNumber;
use seinpost_protocol::note::Vkey;
use std::time::Duration;

use super::*;
use crate::journal::{Journal, MemoryJournal};

const ORIGIN: &str = "test.seinpost.example/log";

fn noon() -> Timestamp {
    Timestamp::from_millis(1_795_521_600_000).unwrap()
}

fn secret() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn empty_tree() -> TreeMemory {
    TreeMemory::new(Arc::new(|_| None))
}

fn sealed(log: &mut Log, decider: &mut Decider, command: &Command, blobs: Vec<(BlobKind, Bytes)>) -> Commit {
    let decision = decider.decide(command, noon());
    let subject = decision.events[0].index;
    log.seal(&[Sealing { events: decision.events, blobs, subject }]).unwrap()
}

fn covenant() -> Command {
    let (valid_from, valid_until) = (noon(), noon() + Duration::from_secs(60 * 60));
    Command::AdoptCovenant(NewCovenant { serial: 1, digest: Digest::of(b"covenant"), valid_from, valid_until })
}

fn reject() -> Command {
    let who = Address {
        oin: seinpost_protocol::address::Oin::try_from("00000099155000000000").unwrap(),
        function: wire::Function::SafeHome,
    };
    Command::Reject(seinpost_core::command::Rejection { who, reason: "NO_RULE".to_owned(), nearest_rule: None })
}

#[test]
fn a_batch_is_one_commit_and_blobs_travel_beside_the_record_that_the_receipt_is_about() {
    let signer = LogSigner::new(secret(), ORIGIN).unwrap();
    let mut log = Log::new(signer, empty_tree(), &Replayed::default());
    let mut decider = Decider::default();
    let crl = Command::AdoptCrl(NewCrl {
        issuer: Digest::of(b"issuer"),
        number: CrlNumber::try_from([1].as_slice()).unwrap(),
        this_update: noon(),
        next_update: noon(),
        sha256: Digest::of(b"list"),
    });
    let batch: Vec<Sealing> = [(covenant(), BlobKind::Covenant), (Command::Tick, BlobKind::Item), (crl, BlobKind::Crl)]
        .into_iter()
        .map(|(command, kind)| {
            let decision = decider.decide(&command, noon());
            let subject = decision.events.first().map_or(0, |event| event.index);
            Sealing { events: decision.events, blobs: vec![(kind, Bytes::from_static(b"blob"))], subject }
        })
        .collect();
    let commit = log.seal(&batch).unwrap();
    assert_eq!((commit.base, commit.size(), commit.time), (0, 2, noon()));
    let beside: Vec<_> = commit.blobs.iter().map(|blob| (blob.entry, blob.kind)).collect();
    assert_eq!(beside, [(0, BlobKind::Covenant), (1, BlobKind::Crl)], "where nothing is recorded nothing is kept");
    assert_eq!(log.size(), 2);
    assert_eq!(log.checkpoint(), &commit.checkpoint);
}

#[test]
fn nothing_to_record_is_no_commit_and_no_checkpoint() {
    let signer = LogSigner::new(secret(), ORIGIN).unwrap();
    let mut log = Log::new(signer.clone(), empty_tree(), &Replayed::default());
    let before = log.checkpoint().clone();
    assert!(log.seal(&[]).is_none());
    assert!(log.seal(&[Sealing { events: Vec::new(), blobs: Vec::new(), subject: 0 }]).is_none());
    assert_eq!(log.checkpoint(), &before);
    let first = checkpoint::open(&before, ORIGIN, &[signer.key()]).unwrap();
    assert_eq!((first.size, first.root), (0, EMPTY_ROOT), "an empty log has a checkpoint too");
}

#[test]
fn a_journal_whose_records_do_not_follow_each_other_is_no_start() {
    let signer = LogSigner::new(secret(), ORIGIN).unwrap();
    let mut log = Log::new(signer, empty_tree(), &Replayed::default());
    let mut decider = Decider::default();
    let mut journal = MemoryJournal::new();
    for command in [covenant(), reject(), reject()] {
        journal.append(sealed(&mut log, &mut decider, &command, Vec::new())).unwrap();
    }
    let commits: Vec<Durable> = journal.replay(0).map(Result::unwrap).collect();
    let records = |commit: &Durable| {
        let entries = std::iter::zip(commit.base.., &commit.entries);
        entries.map(|(index, entry)| (index, record::decode(entry.record.clone()).unwrap())).collect::<Vec<_>>()
    };
    let mut replayed = Replayed::default();
    for commit in &commits {
        replayed.absorb(commit, &records(commit)).unwrap();
    }
    assert_eq!(replayed.state, *decider.state());
    assert_eq!(replayed.heads, log.heads);

    let changed = |change: fn(&mut wire::Record)| {
        let mut replayed = Replayed::default();
        replayed.absorb(&commits[0], &records(&commits[0])).unwrap();
        let mut second = records(&commits[1]);
        change(&mut second[0].1);
        replayed.absorb(&commits[1], &second)
    };
    assert!(changed(|_| {}).is_ok());
    assert!(changed(|record| record.index += 1).is_err(), "an index is left out");
    assert!(changed(|record| record.format = 2).is_err(), "of another format");
    assert!(changed(|record| record.time = None).is_err(), "of no time");
    let mut skipped = Replayed::default();
    assert!(skipped.absorb(&commits[1], &records(&commits[1])).is_err(), "a commit is left out");
}

#[test]
fn a_record_that_names_another_one_before_it_is_no_start() {
    let event = |index, number| Event {
        index,
        time: noon(),
        audience: Audience::Address(Address {
            oin: seinpost_protocol::address::Oin::try_from("00000099155000000000").unwrap(),
            function: wire::Function::SafeHome,
        }),
        covenant: Digest::of(b"covenant"),
        crls: Vec::new(),
        retention: seinpost_core::event::Retention::TrafficSixMonths,
        mailbox: Some(number),
        conversation: None,
        what: What::Consigned { item: Digest::of(b"item") },
    };
    let signer = LogSigner::new(secret(), ORIGIN).unwrap();
    let mut log = Log::new(signer, empty_tree(), &Replayed::default());
    let sealing = Sealing { events: vec![event(0, 1), event(1, 2)], blobs: Vec::new(), subject: 0 };
    let commit = MemoryJournal::new().append(log.seal(&[sealing]).unwrap()).unwrap();
    let records: Vec<_> = std::iter::zip(0.., &commit.entries)
        .map(|(index, entry)| (index, record::decode(entry.record.clone()).unwrap()))
        .collect();
    let second = records[1].1.mailbox.clone().unwrap();
    assert_eq!(second.previous_index, 0);
    assert_eq!(second.previous_commitment, commit.entries[0].commitment.as_ref());
    Replayed::default().absorb(&commit, &records).unwrap();

    let mut other = records.clone();
    other[1].1.mailbox.as_mut().unwrap().previous_commitment = Digest::of(b"another record").into();
    assert!(Replayed::default().absorb(&commit, &other).is_err());
    let mut other = records;
    other[1].1.mailbox.as_mut().unwrap().number = 3;
    assert!(Replayed::default().absorb(&commit, &other).is_err(), "a gap");
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der))
}

#[test]
fn the_key_is_read_from_pkcs8_and_signs_under_the_origins_name() {
    let der = secret().to_pkcs8_der().unwrap();
    let signer = LogSigner::from_pkcs8_pem(&pem(der.as_bytes()), ORIGIN).unwrap();
    let vkey = signer.key().vkey(ORIGIN);
    assert_eq!(Vkey::parse(&vkey).unwrap().key, secret().verifying_key().to_bytes());
    let note = signer.checkpoint(0, EMPTY_ROOT);
    assert!(checkpoint::open(&note, ORIGIN, &[signer.key()]).is_ok());
    assert!(checkpoint::open(&note, "test.seinpost.example/other", &[signer.key()]).is_err());
}

#[test]
fn what_is_no_log_key_is_refused() {
    let der = secret().to_pkcs8_der().unwrap();
    let read = |text: &str, origin: &str| LogSigner::from_pkcs8_pem(text, origin).err();
    assert_eq!(read("", ORIGIN), Some(BadLogKey::Pem));
    assert_eq!(read("-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----", ORIGIN), Some(BadLogKey::Pem));
    let two = [pem(der.as_bytes()), pem(der.as_bytes())].concat();
    assert_eq!(read(&two, ORIGIN), Some(BadLogKey::Pem));
    assert_eq!(read(&pem(&der.as_bytes()[1..]), ORIGIN), Some(BadLogKey::Key));
    // An origin that begins like a DSSE envelope would let one signature be read as another.
    assert_eq!(read(&pem(der.as_bytes()), "DSSEv1/log"), Some(BadLogKey::Origin));
    assert_eq!(read(&pem(der.as_bytes()), "a log"), Some(BadLogKey::Origin));
}
