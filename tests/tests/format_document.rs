//! Computes those examples of `proto/FORMAT.md` again that take more than the protocol crate: the private sealing key,
//! which the client alone can use, and the journal and head file, which the gateway alone writes. The others are asked
//! by `proto/protocol/tests/format_document.rs`, which also fails on a block that neither knows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what failed by failing")]

use std::fs;

use bytes::Bytes;
use seinpost_client::seal::{self, Delivered, PrivateKey, Sealing};
use seinpost_gateway::commit::{Commit, Entry};
use seinpost_gateway::head::{Head, HeadFile};
use seinpost_gateway::journal::frame::{self, Header, SECTOR};
use seinpost_protocol::checkpoint::Checkpoint;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::note::Note;
use seinpost_protocol::record;
use seinpost_protocol::signal::{SUITE, Signal};
use seinpost_protocol::time::Timestamp;

/// One slot of the head file, as section 16 says.
const SLOT: usize = 4096;

#[test]
fn the_recipient_opens_what_the_document_seals() {
    let document = Document::read();
    let signal = Signal::parse(document.bytes("signal")).unwrap();
    let sealing = Sealing::with(
        &document.bytes("content"),
        signal.header.size_class,
        seal::ContentSecret::given(document.array("content-secret")),
    );
    let sealed = sealing.unwrap().finish(&signal.header_bytes, &[]).unwrap();
    assert_eq!(&sealed.sealed_content[SLOT - 16..], document.bytes("tag"));

    let key = PrivateKey::from_seed(&document.array("seed-sealing"));
    assert_eq!(key.public_key().to_bytes(), document.bytes("sealing-key"));
    let own = &signal.sealed.keys[0];
    let delivered = Delivered {
        header: &signal.header_bytes,
        content_commitment: &signal.header.content_commitment,
        size_class: signal.header.size_class,
        suite: SUITE,
        content_sha256: &signal.sealed.content_sha256,
        key_statement: &own.key_statement_digest,
        wrapped_sha256: &own.wrapped_sha256,
        sealed_content: &sealed.sealed_content,
        wrapped: &document.bytes("wrapped-key"),
    };
    let opened = seal::open(&delivered, &key).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(opened.content.as_bytes(), document.bytes("content"));
    let commitment = opened.blind.commitment(opened.content.as_bytes(), signal.header.size_class);
    assert_eq!(commitment, Some(signal.header.content_commitment));
}

#[test]
fn the_gateway_writes_the_journal_as_the_document_shows_it() {
    let document = Document::read();
    let header = Header { segment: 0, first_base: 0, origin: "log.seinpost.test/example".to_owned() };
    let (shown, written) = (document.bytes("segment-header"), header.encode());
    assert_eq!((&written[..shown.len()], written[shown.len()..].iter().all(|&byte| byte == 0)), (&shown[..], true));
    assert_eq!(Header::decode(&written), Ok(header));

    let commit = document.first_commit();
    let shown = document.bytes("frame");
    let mut written = Vec::new();
    let (length, blobs) = frame::encode(&commit, &mut written).unwrap();
    assert_eq!((&written[..length], written.len() % SECTOR, blobs.len()), (&shown[..], 0, 0));
    assert_eq!(frame::decode(&shown).expect("a good frame").commit, commit);
}

#[test]
fn the_gateway_writes_the_head_file_as_the_document_shows_it() {
    let document = Document::read();
    let commit = document.first_commit();
    let folder = tempfile::tempdir().unwrap();
    let head = Head { size: commit.size(), root: commit.root, checkpoint: commit.checkpoint };
    HeadFile::open(folder.path()).unwrap().write(head.clone()).unwrap();

    let mut written = vec![0; 2 * SLOT];
    let shown = document.bytes("head-slot");
    written[SLOT..SLOT + shown.len()].copy_from_slice(&shown);
    assert_eq!(fs::read(folder.path().join("head")).unwrap(), written);
    assert_eq!(HeadFile::open(folder.path()).unwrap().latest(), Some(&head));
}

/// The blocks of bytes in FORMAT.md.
struct Document(String);

impl Document {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/FORMAT.md");
        Self(fs::read_to_string(path).expect("FORMAT.md stands in proto/"))
    }

    fn block(&self, kind: &str, name: &str) -> Option<&str> {
        let (_, rest) = self.0.split_once(&format!("\n```{kind} {name}\n"))?;
        rest.split_once("```\n").map(|(block, _)| block)
    }

    /// The bytes of a block, with those of the blocks that it names.
    fn bytes(&self, name: &str) -> Bytes {
        if let Some(text) = self.block("text", name) {
            return Bytes::copy_from_slice(text.as_bytes());
        }
        let block = self.block("hex", name).unwrap_or_else(|| panic!("no block {name}"));
        let words = block.lines().flat_map(|line| line.split('#').next().unwrap().split_whitespace());
        let bytes = words.map(|word| match word.strip_prefix('<').and_then(|word| word.strip_suffix('>')) {
            Some(other) => self.bytes(other),
            None => hex::decode(word).unwrap_or_else(|_| panic!("{word} in {name} is not hexadecimal")).into(),
        });
        bytes.collect::<Vec<Bytes>>().concat().into()
    }

    fn array(&self, name: &str) -> [u8; 32] {
        self.bytes(name).as_ref().try_into().expect("32 bytes")
    }

    /// The commit of the example's first record, put together from what the document says of it elsewhere.
    fn first_commit(&self) -> Commit {
        let (record, salt) = (self.bytes("gateway-started"), self.array("salt-0"));
        let time = record::decode(record.clone()).unwrap().time.expect("a record has a time");
        let checkpoint = self.bytes("note-1");
        let note = Note::parse(&checkpoint).unwrap();
        let (Checkpoint { root, .. }, _) = Checkpoint::parse(note.text()).unwrap();
        let commitment: Digest = record::commitment(&salt, &record);
        Commit {
            base: 0,
            time: Timestamp::try_from(&time).unwrap(),
            entries: vec![Entry::new(record, salt, commitment)],
            blobs: Vec::new(),
            checkpoint,
            root,
        }
    }
}
