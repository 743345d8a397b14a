//! A small fictional hub for tests: it makes commits as the log would, and remembers what a reader must find again.
//!
//! Records are real and their commitments, roots and checkpoints right; signatures are zeros, because nothing behind the
//! log looks at them. Everything follows from how the hub is called, so that two hubs called alike make the same bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use seinpost_protocol::address::{Address, Function, Oin};
use seinpost_protocol::checkpoint::{self, Checkpoint};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::note::KeyId;
use seinpost_protocol::record;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::tree::{Frontier, leaf_hash};
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;

use crate::commit::{Blob, BlobKind, Commit, Entry};

pub(crate) const ORIGIN: &str = "test.seinpost.example/hub";

/// The hub.
#[derive(Debug, Default, Clone)]
pub(crate) struct Hub {
    frontier: Frontier,
    mailboxes: BTreeMap<Address, u64>,
    statements: BTreeMap<Address, u64>,
    entries: Vec<Entry>,
    blobs: Vec<Blob>,
    ticks: i64,
}

impl Hub {
    /// Returns the next commit: a number of signals, each with a sender and a recipient of its own choosing.
    pub(crate) fn signals(&mut self, count: usize) -> Commit {
        (0..count).for_each(|_| self.signal(64));
        self.seal()
    }

    /// Returns the next commit: one signal with content of so many bytes.
    pub(crate) fn signal_of(&mut self, content_bytes: usize) -> Commit {
        self.signal(content_bytes);
        self.seal()
    }

    /// Returns the next commit: one record of each kind that is looked up by a name of its own.
    pub(crate) fn names(&mut self) -> Commit {
        let index = self.next();
        let entry = self.entries.len() as u32;
        let name = |what: &str| Bytes::from(name_of(what, index));
        let addressee = address(index);
        let serial = {
            let last = self.statements.entry(addressee).or_default();
            *last += 1;
            *last
        };
        let statement = wire::SubmissionAcceptance {
            item_digest: name("item"),
            item_id: format!("statement {index}"),
            about: Some(wire::submission_acceptance::About::Key(wire::AboutKey { serial, ..Default::default() })),
            addressees: vec![wire::Addressee { to: Some(addressee.into()), index: index + 1, ..Default::default() }],
        };
        self.push(None, None, Event::SubmissionAcceptance(statement));
        self.consign(addressee, name("item"));
        let certificate = wire::CertificatePublished { leaf_sha256: name("certificate"), ..Default::default() };
        self.push(None, None, Event::CertificatePublished(certificate));
        let covenant = wire::CovenantAdopted { serial: index, digest: name("covenant"), ..Default::default() };
        self.push(None, None, Event::CovenantAdopted(covenant));
        let crl = wire::CrlAdopted { sha256: name("crl"), number: Bytes::from_static(b"1"), ..Default::default() };
        self.push(None, None, Event::CrlAdopted(crl));
        self.push(None, None, Event::GatewayStarted(wire::GatewayStarted::default()));
        self.blobs.push(Blob::new(entry + 2, BlobKind::Chain, Bytes::from_static(b"a chain")));
        self.blobs.push(Blob::new(entry + 3, BlobKind::Covenant, Bytes::from_static(b"a covenant")));
        self.blobs.push(Blob::new(entry + 4, BlobKind::Crl, Bytes::from_static(b"a list")));
        self.seal()
    }

    /// An acceptance for its sender, a consignment for its recipient, and a hand-over notice for the sender.
    fn signal(&mut self, content_bytes: usize) {
        let index = self.next();
        let entry = self.entries.len() as u32;
        let (from, to) = (address(index), address(index * 7 + 3));
        let item_digest = Bytes::from(name_of("item", index));
        let acceptance = wire::SubmissionAcceptance {
            item_digest: item_digest.clone(),
            item_id: format!("signal {index}"),
            about: Some(wire::submission_acceptance::About::Signal(wire::AboutSignal::default())),
            addressees: vec![wire::Addressee { to: Some(to.into()), index: index + 1, ..Default::default() }],
        };
        self.push(Some(from), None, Event::SubmissionAcceptance(acceptance));
        self.consign(to, item_digest.clone());
        let number = self.number(from);
        let handover = wire::ContentHandover { item_digest, recipient: Some(to.into()) };
        self.push(Some(from), Some(number), Event::ContentHandover(handover));
        let content: Vec<u8> = (0..content_bytes).map(|at| (at as u64 * 31 + index) as u8 | 1).collect();
        self.blobs.push(Blob::new(entry, BlobKind::Item, Bytes::from(format!("item {index}"))));
        self.blobs.push(Blob::new(entry, BlobKind::SealedContent, content.into()));
        self.blobs.push(Blob::new(entry, BlobKind::WrappedKey, Bytes::from(format!("key {index}"))));
    }

    fn consign(&mut self, to: Address, item_digest: Bytes) {
        let number = self.number(to);
        self.push(Some(to), Some(number), Event::ContentConsignment(wire::ContentConsignment { item_digest }));
    }

    fn number(&mut self, address: Address) -> u64 {
        let last = self.mailboxes.entry(address).or_default();
        *last += 1;
        *last
    }

    fn push(&mut self, audience: Option<Address>, mailbox: Option<u64>, event: Event) {
        let index = self.next();
        let audience = match audience {
            Some(address) => wire::audience::Of::Address(address.into()),
            None => wire::audience::Of::Group(wire::Group::All.into()),
        };
        let record = wire::Record {
            format: record::FORMAT,
            index,
            time: Some(self.time().into()),
            audience: Some(wire::Audience { of: Some(audience) }),
            mailbox: mailbox.map(|number| wire::MailboxPlace { number, ..Default::default() }),
            event: Some(event),
            ..Default::default()
        };
        let record = Bytes::from(record.encode_to_vec());
        let salt = *Digest::of(&index.to_be_bytes()).as_bytes();
        let commitment = record::commitment(&salt, &record);
        self.entries.push(Entry::new(record, salt, commitment));
    }

    fn next(&self) -> u64 {
        self.frontier.size() + self.entries.len() as u64
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(Timestamp::FIRST.millis() + self.ticks).expect("tests are short")
    }

    fn seal(&mut self) -> Commit {
        let (base, time) = (self.frontier.size(), self.time());
        let entries = std::mem::take(&mut self.entries);
        entries.iter().for_each(|entry| self.frontier.append(leaf_hash(&entry.commitment)));
        self.ticks += 1;
        let head = Checkpoint { origin: ORIGIN.to_owned(), size: self.frontier.size(), root: self.frontier.root() };
        let checkpoint = checkpoint::note(&head, KeyId([1, 2, 3, 4]), &[0; 64]).into();
        Commit { base, time, entries, blobs: std::mem::take(&mut self.blobs), checkpoint, root: head.root }
    }
}

/// Returns one of five addresses.
pub(crate) fn address(number: u64) -> Address {
    let oin = Oin::try_from(format!("{:020}", 99_000 + number % 5).as_str()).expect("twenty digits");
    Address { oin, function: if number.is_multiple_of(2) { Function::SafeHome } else { Function::Mayor } }
}

/// Returns the digest by which something that first stood at `index` is called.
pub(crate) fn name_of(what: &str, index: u64) -> Digest {
    Digest::of(format!("{what} {index}").as_bytes())
}
