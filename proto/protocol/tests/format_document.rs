//! Computes every example of `proto/FORMAT.md` again, from the document's own text.
//!
//! What comes in are its fenced blocks: `hex NAME` and `text NAME` hold bytes, `console NAME` holds commands and what
//! they print. A block that no test here or in `tests/tests/format_document.rs` asks fails, and so does a changed digit.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what failed by failing")]

#[path = "common/leaves.rs"]
mod leaves;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use prost::Message as _;
use seinpost_protocol::answer::Answer;
use seinpost_protocol::canonical;
use seinpost_protocol::certificate::SigningCertificate;
use seinpost_protocol::checkpoint::{self, Checkpoint, LogKey, Pin};
use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::item::{self, Item, ItemType, Payload};
use seinpost_protocol::mailbox_head::{self, Known};
use seinpost_protocol::receipt::{self, EventKind};
use seinpost_protocol::record::{self, Revealed};
use seinpost_protocol::signature::verify_ed25519;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::tree::{self, Frontier};
use seinpost_protocol::wire;
use serde_json::Value;

use leaves::Leaves;

const ORIGIN: &str = "log.seinpost.test/example";

/// Blocks of bytes that a test of this file reads.
const BYTES_ASKED: &[&str] = &[
    "address",
    "address-order",
    "address-long",
    "address-unknown",
    "address-zero",
    "seed-agency",
    "seed-other",
    "seed-log",
    "seed-registrar-1",
    "seed-registrar-2",
    "certificate",
    "covenant",
    "sealing-key",
    "key-statement",
    "header",
    "signal",
    "signal-item",
    "content-secret",
    "content",
    "tag",
    "wrapped-key",
    "answer",
    "gateway-started",
    "salt-0",
    "commitment-1",
    "commitment-2",
    "acceptance",
    "salt-3",
    "consignment",
    "salt-4",
    "note-1",
    "note-5",
    "public-log",
    "receipt",
    "mailbox-head",
    "hub.toml",
];

/// Blocks that `tests/tests/format_document.rs` reads: they take a private sealing key, or the journal.
const BYTES_ASKED_ELSEWHERE: &[&str] = &["seed-sealing", "segment-header", "frame", "head-slot"];

/// Consoles whose output is computed again, and one that prints nothing.
const CONSOLES: &[&str] = &[
    "helpers",
    "keys",
    "item",
    "certificate",
    "covenant",
    "key-statement",
    "signal",
    "sealing",
    "wrapped-key",
    "records",
    "tree",
    "checkpoint",
    "receipt",
    "mailbox-head",
    "hub-file",
];

#[test]
fn every_block_of_the_document_is_asked() {
    let document = Document::read();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    let in_document: BTreeSet<_> = document.hex.keys().chain(document.text.keys()).cloned().collect();
    assert_eq!(in_document, &names(BYTES_ASKED) | &names(BYTES_ASKED_ELSEWHERE));
    assert_eq!(document.consoles.keys().cloned().collect::<BTreeSet<_>>(), names(CONSOLES));
    document.prints("helpers", &[]);
}

#[test]
fn an_address_is_written_in_one_way_only() {
    let document = Document::read();
    let address: wire::Address = canonical::decode(document.bytes("address")).unwrap();
    assert_eq!(address, wire::Address { oin: "00000099155000000000".to_owned(), function: 1 });
    for other in ["address-order", "address-long", "address-unknown"] {
        let bytes = document.bytes(other);
        assert_eq!(wire::Address::decode(bytes.clone()).unwrap(), address, "{other} says the same");
        canonical::decode::<wire::Address>(bytes).expect_err(other);
    }
    canonical::decode::<wire::Address>(document.bytes("address-zero")).expect_err("a function that is not set");
}

/// The table's first row that fits a case must give its verdict, and each row must be the first that fits some case.
#[test]
fn the_table_of_verdicts_is_what_the_verifier_says() {
    let document = Document::read();
    let rows: Vec<_> = document.verdicts.iter().map(|(flag, verdict)| (flag.as_str(), verdict)).collect();
    assert_eq!(rows.last().map(|(flag, _)| *flag), Some(""), "the last row fits whatever is left");
    let mut fitted = BTreeSet::new();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/tlog/cctv-ed25519-edges.json");
    let edges: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in edges["cases"].as_array().unwrap() {
        let flags: Vec<&str> =
            case["flags"].as_array().into_iter().flatten().map(|flag| flag.as_str().unwrap()).collect();
        let row = rows.iter().position(|(flag, _)| flag.is_empty() || flags.contains(flag)).unwrap();
        fitted.insert(row);
        let unhex = |name: &str| hex::decode(case[name].as_str().unwrap()).unwrap();
        let key = unhex("key").try_into().unwrap();
        let verdict = match verify_ed25519(&key, case["msg"].as_str().unwrap().as_bytes(), &unhex("sig")) {
            Ok(()) => "ok",
            Err(bad) => bad.reason(),
        };
        assert_eq!(verdict, rows[row].1, "case {} with {flags:?}", case["number"]);
    }
    assert_eq!(fitted, (0..rows.len()).collect());
}

#[test]
fn the_keys_are_those_of_their_seeds() {
    let document = Document::read();
    let names = ["agency", "other", "log", "registrar-1", "registrar-2"];
    for name in names {
        assert_eq!(
            document.digest(&format!("seed-{name}")),
            Digest::of(format!("seinpost example key: {name}").as_bytes())
        );
    }
    let public = names.map(|name| hex::encode(document.key(name).verifying_key()));
    document.prints("keys", &public);
    assert_eq!(hex::encode(document.bytes("public-log")), public[2]);
}

#[test]
fn the_items_are_right_and_signed() {
    let document = Document::read();
    document.prints("item", &[document.item_digest(ItemType::Answer), document.signature(ItemType::Answer, "other")]);
    document.prints(
        "covenant",
        &[
            document.item_digest(ItemType::Covenant),
            document.signature(ItemType::Covenant, "registrar-1"),
            document.signature(ItemType::Covenant, "registrar-2"),
        ],
    );
    document.prints(
        "key-statement",
        &[
            Digest::of(&document.bytes("sealing-key")).to_string(),
            document.item_digest(ItemType::KeyStatement),
            document.signature(ItemType::KeyStatement, "other"),
        ],
    );
    document
        .prints("signal", &[document.item_digest(ItemType::Signal), document.signature(ItemType::Signal, "agency")]);

    for item_type in [ItemType::Answer, ItemType::KeyStatement, ItemType::Signal] {
        let item = Item::parse(document.item(item_type, &[]), ORIGIN).expect("an item that is right by itself");
        let seen = &item.signer().seen;
        assert_eq!(seen.note(), &document.bytes("note-1"));
        seen.verify(ORIGIN, &[document.log_key()]).unwrap();
        assert_eq!(item.signer().covenant_digest.to_string(), document.item_digest(ItemType::Covenant));
    }
}

#[test]
fn the_signal_is_signed_by_the_certificate_and_binds_what_travels_beside_it() {
    let document = Document::read();
    let certificate = SigningCertificate::parse(document.bytes("certificate")).unwrap();
    let facts =
        [certificate.sha256().to_string(), certificate.oin().to_string(), certificate.spki_sha256().to_string()];
    document.prints("certificate", &facts);

    let envelope = document.bytes("signal-item");
    assert_eq!(envelope, document.item(ItemType::Signal, &["agency"]).encode_to_vec());
    let item = Item::parse(item::decode_envelope(envelope).unwrap(), ORIGIN).unwrap();
    let item = item.verify(&certificate, false).expect("the agency's own signature");
    let Payload::Signal(signal) = item.payload() else { panic!("the item is a signal") };
    assert_eq!(signal.header_bytes, document.bytes("header"));
    signal.check_beside(&document.sealed_content(), &[document.bytes("wrapped-key")]).expect("the sealed parts");
    assert_eq!(signal.sealed.keys[0].key_statement_digest.to_string(), document.item_digest(ItemType::KeyStatement));
}

#[test]
fn the_key_statement_is_the_first_of_its_address() {
    let document = Document::read();
    let item = Item::parse(document.item(ItemType::KeyStatement, &[]), ORIGIN).unwrap();
    let Payload::KeyStatement(statement) = item.payload() else { panic!("the item is a key statement") };
    statement.follows(None, 0).unwrap();
    let signal = Item::parse(document.item(ItemType::Signal, &[]), ORIGIN).unwrap();
    let Payload::Signal(signal) = signal.payload() else { panic!("the item is a signal") };
    statement.check_window(signal.header.signer.signed_at, signal.header.expires).expect("sealed within its windows");
}

#[test]
fn sealing_gives_each_value_that_the_document_prints() {
    let document = Document::read();
    let padded = document.padded();
    let header = Digest::of(&document.bytes("header"));
    let blind = document.derive(&[], "seinpost.v1/content-blind");
    let commitment = Digest::of_parts(&[b"seinpost.v1/content\0\0\0\x01\0", &blind, &padded]);
    document.prints(
        "sealing",
        &[
            padded.len().to_string(),
            hex::encode(blind),
            commitment.to_string(),
            header.to_string(),
            hex::encode(document.derive(header.as_ref(), "seinpost.v1/content-key")),
            Digest::of(&document.sealed_content()).to_string(),
        ],
    );
    document.prints("wrapped-key", &[Digest::of(&document.bytes("wrapped-key")).to_string()]);

    let message: wire::SignalHeader = canonical::decode(document.bytes("header")).unwrap();
    assert_eq!(message.content_commitment, commitment.as_ref());
    let sealed = document.sealed_content();
    assert_eq!((sealed.len(), &sealed[4096 - 16..]), (4096, document.bytes("tag").as_ref()));
}

#[test]
fn the_records_open_their_commitments_and_belong_together() {
    let document = Document::read();
    let opened = [("salt-0", "gateway-started"), ("salt-4", "consignment"), ("salt-3", "acceptance")];
    document.prints("records", &opened.map(|(salt, record)| document.commitment(salt, record).to_string()));

    let decoded = |name: &str| record::decode(document.bytes(name)).expect("a record that is right by itself");
    assert_eq!(decoded("gateway-started").index, 0);
    let consignment = Revealed { record: document.bytes("consignment"), salt: document.bytes("salt-4") };
    let indexes = record::acceptance_matches(&decoded("acceptance"), &[consignment]).expect("one belongs to the other");
    assert_eq!(indexes, [4]);
    let answer = Answer::parse(document.bytes("answer")).unwrap();
    record::answer_matches(&decoded("acceptance"), &answer).expect("the answer names its own delivery");
}

#[test]
fn the_tree_has_the_roots_of_the_signed_notes() {
    let document = Document::read();
    let tree = document.tree();
    let root = tree::root(&tree, 5).unwrap();
    let printed: Vec<String> = tree.0.iter().chain([&root]).map(Digest::to_string).collect();
    document.prints("tree", &printed);

    for (name, size) in [("note-1", 1), ("note-5", 5)] {
        let opened = checkpoint::open(&document.bytes(name), ORIGIN, &[document.log_key()]).unwrap();
        let root = tree::root(&tree, size).unwrap();
        assert_eq!(opened, Checkpoint { origin: ORIGIN.to_owned(), size, root });
    }
    let mut frontier = Frontier::default();
    tree.0.iter().for_each(|leaf| frontier.append(*leaf));
    assert_eq!(frontier.root(), root);
}

#[test]
fn the_notes_are_signed_by_the_log() {
    let document = Document::read();
    let key = document.log_key();
    let line = |name: &str| {
        let note = document.bytes(name);
        let note = std::str::from_utf8(&note).unwrap();
        let body = note.split_inclusive('\n').take(3).collect::<String>();
        let (checkpoint, _) = Checkpoint::parse(&body).unwrap();
        let signature = document.key("log").sign(body.as_bytes()).to_bytes();
        assert_eq!(checkpoint::note(&checkpoint, key.key_id(ORIGIN), &signature), note.as_bytes());
        BASE64.encode([&key.key_id(ORIGIN).0[..], &signature].concat())
    };
    let printed = [key.key_id(ORIGIN).to_string(), key.vkey(ORIGIN), line("note-1"), line("note-5")];
    document.prints("checkpoint", &printed);
}

#[test]
fn the_receipt_proves_the_acceptance_to_who_has_seen_one_leaf() {
    let document = Document::read();
    let receipt: wire::Receipt = canonical::decode(document.bytes("receipt")).unwrap();
    let pin = Pin { size: 1, root: document.tree().0[0] };
    let consistency = tree::consistency_proof(&document.tree(), 1, 5).unwrap();
    let consistency: Vec<Bytes> = consistency.into_iter().map(Bytes::from).collect();
    let verified = receipt::verify(&receipt, ORIGIN, &[document.log_key()], &pin, &consistency).unwrap();
    let acceptance = record::decode(document.bytes("acceptance")).unwrap();
    let signal = item::digest_of(ItemType::Signal.payload_type(), &document.bytes("signal"));
    let audience = acceptance.audience.clone().unwrap();
    let proven = verified.expect(&audience, EventKind::SubmissionAcceptance, Some(&signal)).unwrap();
    assert_eq!(proven, &acceptance);
    document.prints("receipt", &[BASE64.encode(verified.checkpoint.root)]);
}

#[test]
fn the_mailbox_head_is_the_logs_word() {
    let document = Document::read();
    document.prints(
        "mailbox-head",
        &[document.item_digest(ItemType::MailboxHead), document.signature(ItemType::MailboxHead, "log")],
    );
    let item = document.item(ItemType::MailboxHead, &["log"]);
    let head = mailbox_head::MailboxHead::parse(&item).unwrap();
    let consignment = record::decode(document.bytes("consignment")).unwrap();
    let known = Known {
        origin: ORIGIN,
        keys: &[document.log_key()],
        address: head.address,
        pin: &Pin::NOTHING,
        last_seen: 1,
        now: Timestamp::try_from(consignment.time.as_ref().unwrap()).unwrap(),
    };
    let verified = mailbox_head::verify(&item, &known, &[]).unwrap();
    assert_eq!(verified.head.last, Some((4, document.commitment("salt-4", "consignment"))));
    mailbox_head::contradicts(&verified.head, verified.checkpoint.size, &consignment).unwrap();
}

#[test]
fn the_hub_file_is_where_trust_in_the_covenant_starts() {
    let document = Document::read();
    let text = String::from_utf8(document.bytes("hub.toml").to_vec()).unwrap();
    let file = HubFile::parse(&text).expect("a hub file without faults");
    document.prints("hub-file", &[file.digest().to_string()]);
    assert_eq!(file.log_keys, [document.log_key()]);
    let item = document.item(ItemType::Covenant, &["registrar-1", "registrar-2"]);
    let covenant = Covenant::verify(&item, &Trust::Floor(file.floor())).expect("the first covenant");
    assert_eq!(covenant.live_log_keys(), [document.log_key()]);
}

/// The blocks of FORMAT.md, and its table of verdicts.
struct Document {
    hex: BTreeMap<String, String>,
    text: BTreeMap<String, String>,
    consoles: BTreeMap<String, Vec<String>>,
    /// Flag and verdict; the last row has no flag.
    verdicts: Vec<(String, String)>,
}

impl Document {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../FORMAT.md");
        let text = std::fs::read_to_string(path).expect("FORMAT.md stands in proto/");
        let (mut hex, mut texts, mut consoles, mut verdicts) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(row) = verdict(line) {
                verdicts.push(row);
            }
            let Some(info) = line.strip_prefix("```") else { continue };
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let (kind, name) = info.split_once(' ').expect("a fence says what its block is");
            let twice = match kind {
                "hex" => hex.insert(name.to_owned(), body.join("\n")).is_some(),
                "text" => texts.insert(name.to_owned(), body.join("\n") + "\n").is_some(),
                "console" => {
                    let printed = body.iter().filter(|line| !line.starts_with("$ ") && !line.starts_with("> "));
                    consoles.insert(name.to_owned(), printed.map(|&line| line.to_owned()).collect()).is_some()
                }
                _ => panic!("a block {info} is not known"),
            };
            assert!(!twice, "there are two blocks {name}");
        }
        Self { hex, text: texts, consoles, verdicts }
    }

    /// The bytes of a block, with those of the blocks that it names.
    fn bytes(&self, name: &str) -> Bytes {
        if let Some(text) = self.text.get(name) {
            return Bytes::copy_from_slice(text.as_bytes());
        }
        let block = self.hex.get(name).unwrap_or_else(|| panic!("no block {name}"));
        let words = block.lines().flat_map(|line| line.split('#').next().unwrap().split_whitespace());
        let bytes = words.map(|word| match word.strip_prefix('<').and_then(|word| word.strip_suffix('>')) {
            Some(other) => self.bytes(other),
            None => hex::decode(word).unwrap_or_else(|_| panic!("{word} in {name} is not hexadecimal")).into(),
        });
        bytes.collect::<Vec<Bytes>>().concat().into()
    }

    fn digest(&self, name: &str) -> Digest {
        Digest::try_from(&self.bytes(name)).expect("32 bytes")
    }

    /// Checks what a console is said to print.
    fn prints(&self, name: &str, computed: &[String]) {
        assert_eq!(self.consoles[name], computed, "what the console {name} prints");
    }

    fn key(&self, name: &str) -> SigningKey {
        SigningKey::from_bytes(self.digest(&format!("seed-{name}")).as_bytes())
    }

    fn log_key(&self) -> LogKey {
        LogKey::new(*self.digest("public-log").as_bytes())
    }

    /// The block that holds the payload of a type has the type's name.
    fn payload(&self, item_type: ItemType) -> (&'static str, Bytes) {
        let name = match item_type {
            ItemType::Covenant => "covenant",
            ItemType::KeyStatement => "key-statement",
            ItemType::Signal => "signal",
            ItemType::Answer => "answer",
            ItemType::MailboxHead => "mailbox-head",
        };
        (item_type.payload_type(), self.bytes(name))
    }

    fn item_digest(&self, item_type: ItemType) -> String {
        let (payload_type, payload) = self.payload(item_type);
        item::digest_of(payload_type, &payload).to_string()
    }

    fn signature(&self, item_type: ItemType, signer: &str) -> String {
        let (payload_type, payload) = self.payload(item_type);
        hex::encode(self.key(signer).sign(&item::pae(payload_type, &payload)).to_bytes())
    }

    /// The envelope, signed by these; by none it bears an empty signature, which is nobody's.
    fn item(&self, item_type: ItemType, signers: &[&str]) -> wire::SignedItem {
        let (payload_type, payload) = self.payload(item_type);
        let sign = |signer: &&str| hex::decode(self.signature(item_type, signer)).unwrap().into();
        let signatures: Vec<Bytes> = signers.iter().map(sign).collect();
        let signatures = if signatures.is_empty() { vec![Bytes::new()] } else { signatures };
        let signatures = signatures.into_iter().map(|sig| wire::ItemSignature { sig, keyid: String::new() });
        wire::SignedItem { payload, payload_type: payload_type.to_owned(), signatures: signatures.collect() }
    }

    fn commitment(&self, salt: &str, record: &str) -> Digest {
        record::commitment(self.digest(salt).as_bytes(), &self.bytes(record))
    }

    fn tree(&self) -> Leaves {
        let commitments = [
            self.commitment("salt-0", "gateway-started"),
            self.digest("commitment-1"),
            self.digest("commitment-2"),
            self.commitment("salt-3", "acceptance"),
            self.commitment("salt-4", "consignment"),
        ];
        Leaves(commitments.iter().map(tree::leaf_hash).collect())
    }

    fn padded(&self) -> Vec<u8> {
        let content = self.bytes("content");
        let mut padded = [&u32::try_from(content.len()).unwrap().to_be_bytes(), content.as_ref()].concat();
        padded.resize(4096 - 16, 0);
        padded
    }

    /// HKDF of the content secret, in suite 1.
    fn derive(&self, salt: &[u8], label: &str) -> [u8; 32] {
        let prk = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, salt).extract(&self.bytes("content-secret"));
        let info = [label.as_bytes(), &1_u32.to_be_bytes()];
        let mut derived = [0; 32];
        prk.expand(&info, ring::hkdf::HKDF_SHA256).unwrap().fill(&mut derived).unwrap();
        derived
    }

    fn sealed_content(&self) -> Vec<u8> {
        let header = Digest::of(&self.bytes("header"));
        let key = self.derive(header.as_ref(), "seinpost.v1/content-key");
        let key = ring::aead::LessSafeKey::new(ring::aead::UnboundKey::new(&ring::aead::AES_256_GCM, &key).unwrap());
        let nonce = ring::aead::Nonce::assume_unique_for_key([0; 12]);
        let mut sealed = self.padded();
        key.seal_in_place_append_tag(nonce, ring::aead::Aad::from(header.as_ref()), &mut sealed).unwrap();
        sealed
    }
}

/// Reads a row of the table of verdicts: its flag (none in the last) and its verdict.
fn verdict(line: &str) -> Option<(String, String)> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    let [flag, _meaning, verdict] = cells.as_slice() else { return None };
    let code = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
    let flag = if *flag == "anything else" { String::new() } else { code(flag)? };
    Some((flag, code(verdict)?))
}
