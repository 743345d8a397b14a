//! The one form of each message, held against `schema.json`, in which a second implementation wrote it down.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use proptest::prelude::*;
use seinpost_protocol::canonical::{self, Checked, Malformed, Reason};
use seinpost_protocol::wire;
use serde_json::Value;

fn vectors(file: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/items").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The messages, written by hand from the schema and from nothing that this crate knows.
struct Schema(Value);

impl Schema {
    fn fields(&self, message: &str) -> &[Value] {
        self.0["messages"][message]["fields"].as_array().unwrap()
    }

    fn is_message(&self, kind: &str) -> bool {
        self.0["messages"].get(kind).is_some()
    }

    /// A message with every field set, but of a oneof only the first.
    fn full(&self, message: &str) -> Vec<u8> {
        self.build(message, |_, written| Some(written))
    }

    /// The same, with each field's bytes changed or left out by the caller.
    fn build(&self, message: &str, change: impl Fn(&Value, Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut chosen = false;
        for field in self.fields(message) {
            let member = field["kind"] == "|";
            if !(member && chosen) {
                let written = field_bytes(field, &self.value(field));
                bytes.extend(change(field, written).unwrap_or_default());
                chosen |= member;
            }
        }
        bytes
    }

    fn value(&self, field: &Value) -> Vec<u8> {
        let list = field["kind"] == "*";
        match field["type"].as_str().unwrap() {
            "bytes" => vec![7; usize::try_from(field["size"].as_u64().unwrap_or(5)).unwrap()],
            "string" => b"text".to_vec(),
            // 2026, and whole milliseconds.
            "int64" => varint(1_780_000_000),
            "int32" => varint(5_000_000),
            "uint32" | "uint64" | "bool" => varint(1),
            message if self.is_message(message) => self.full(message),
            // The values of a set ascend, and are packed.
            enumeration if list => {
                self.0["enums"][enumeration].as_object().map(|values| varints(2.min(values.len()))).unwrap()
            }
            _ => varint(1),
        }
    }
}

fn varints(count: usize) -> Vec<u8> {
    (1..=count).flat_map(|value| varint(value as u64)).collect()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn is_scalar(field: &Value) -> bool {
    matches!(field["type"].as_str().unwrap(), "int64" | "int32" | "uint32" | "uint64" | "bool") || is_enumeration(field)
}

fn is_enumeration(field: &Value) -> bool {
    schema().0["enums"].get(field["type"].as_str().unwrap()).is_some()
}

fn field_bytes(field: &Value, value: &[u8]) -> Vec<u8> {
    let number = field["number"].as_u64().unwrap();
    if is_scalar(field) && field["kind"] != "*" {
        [varint(number << 3), value.to_vec()].concat()
    } else {
        [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
    }
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema(vectors("schema.json")))
}

/// Decodes as the named message; returns what it encodes to.
fn decode(message: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Malformed> {
    fn as_message<M: Checked>(bytes: Vec<u8>) -> Result<Vec<u8>, Malformed> {
        canonical::decode::<M>(Bytes::from(bytes)).map(|message| message.encode_to_vec())
    }
    macro_rules! table {
        ($($message:ident)*) => {
            match message {
                "Timestamp" => as_message::<prost_types::Timestamp>(bytes),
                $(stringify!($message) => as_message::<wire::$message>(bytes),)*
                other => panic!("the schema has a message {other} that is not known"),
            }
        };
    }
    table! {
        SignedItem ItemSignature Signer Address SignalManifest Sealed WrappedKeyRef SignalHeader Recipient ContentProfile
        KeyStatement SealingKey Withdrawn Answer Covenant Registrar Root LogKey Participant Contact FunctionGrant BoundKey
        Route Rule CodeList Code Profile Clock Record Audience MailboxPlace ConversationPlace SubmissionAcceptance
        AboutSignal AboutAnswer AboutKey Addressee ContentConsignment ContentHandover Expiry SubmissionRejection
        MailboxHead Receipt
    }
}

fn messages() -> impl Iterator<Item = &'static str> {
    schema().0["messages"].as_object().unwrap().keys().map(String::as_str)
}

#[track_caller]
fn refused(message: &str, bytes: Vec<u8>, reason: Reason, field: &str) {
    let said = decode(message, bytes).map(hex::encode);
    assert_eq!(said, Err(Malformed { field: field.to_owned(), reason }), "{message}");
}

#[test]
fn every_message_of_the_schema_is_taken_with_all_its_fields() {
    for message in messages() {
        let full = schema().full(message);
        assert_eq!(decode(message, full.clone()).unwrap(), full, "{message}");
    }
}

#[test]
fn a_field_may_be_absent_only_where_the_schema_says_so() {
    for message in messages() {
        for field in schema().fields(message) {
            let name = field["name"].as_str().unwrap();
            let without = schema().build(message, |other, written| (other != field).then_some(written));
            match field["kind"].as_str().unwrap() {
                "?" | "*" => drop(decode(message, without).unwrap_or_else(|fault| panic!("{message}: {fault}"))),
                "|" if without != schema().full(message) => refused(message, without, Reason::Oneof, ""),
                "|" => {}
                // An enum that is absent is 0.
                _ if is_enumeration(field) => refused(message, without, Reason::Enum, name),
                // Seconds that are absent are 1970.
                _ if message == "Timestamp" => refused(message, without, Reason::TimestampRange, ""),
                _ => refused(message, without, Reason::Missing, name),
            }
        }
    }
}

#[test]
fn bytes_that_have_a_length_have_that_length() {
    for message in messages() {
        for field in schema().fields(message).iter().filter(|field| field["size"].is_u64()) {
            let name = field["name"].as_str().unwrap();
            let size = usize::try_from(field["size"].as_u64().unwrap()).unwrap();
            for wrong in [size - 1, size + 1] {
                let bytes = schema().build(message, |other, written| {
                    Some(if other == field { field_bytes(field, &vec![7; wrong]) } else { written })
                });
                refused(message, bytes, Reason::Length, name);
            }
        }
    }
}

#[test]
fn codes_are_known_and_there_is_no_more_to_each_enum_than_the_schema_has() {
    for message in messages() {
        for field in schema().fields(message).iter().filter(|field| is_enumeration(field)) {
            let name = field["name"].as_str().unwrap();
            let known: BTreeSet<u64> = schema().0["enums"][field["type"].as_str().unwrap()]
                .as_object()
                .unwrap()
                .values()
                .map(|value| value.as_u64().unwrap())
                .collect();
            for code in 1..=known.len() as u64 + 2 {
                let mut chosen = false;
                let mut bytes = Vec::new();
                // Of a oneof, the member that is asked about and no other.
                for other in schema().fields(message) {
                    let member = other["kind"] == "|";
                    if other == field {
                        bytes.extend(field_bytes(field, &varint(code)));
                        chosen |= member;
                    } else if !member || (field["kind"] != "|" && !chosen) {
                        bytes.extend(field_bytes(other, &schema().value(other)));
                        chosen |= member;
                    }
                }
                if known.contains(&code) {
                    decode(message, bytes).unwrap_or_else(|fault| panic!("{message} {code}: {fault}"));
                } else {
                    refused(message, bytes, Reason::Enum, name);
                }
            }
        }
    }
}

#[test]
fn a_field_that_is_not_known_is_refused_in_every_message_and_named() {
    for message in messages() {
        let number = 500;
        for value in [&[0x00][..], &[0x01]] {
            let mut bytes = schema().full(message);
            bytes.extend([varint(number << 3), value.to_vec()].concat());
            refused(message, bytes, Reason::UnknownField, "500");
        }
        let mut bytes = [varint(number << 3 | 2), varint(0)].concat();
        bytes.extend(schema().full(message));
        refused(message, bytes, Reason::UnknownField, "500");
    }
}

#[test]
fn a_fault_is_named_by_its_path() {
    let header = schema().full("SignalHeader");
    let spoilt = |from: &[u8], to: &[u8]| {
        let at = header.windows(from.len()).position(|window| window == from).unwrap();
        [&header[..at], to, &header[at + from.len()..]].concat()
    };
    // signer.address, its OIN and then its function.
    refused(
        "SignalHeader",
        spoilt(b"\x0a\x04text\x10\x01", b"\x0a\x04text\x10\x7f"),
        Reason::Enum,
        "signer.address.function",
    );
    refused(
        "SignalHeader",
        spoilt(b"\x0a\x04text\x10\x01", b"\x0a\x04te\xfft\x10\x01"),
        Reason::Undecodable,
        "signer.address.oin",
    );
    refused(
        "SignalHeader",
        spoilt(b"\x0a\x04text\x10\x01", b"\x0a\x04text\x30\x01"),
        Reason::UnknownField,
        "signer.address.6",
    );
}

#[test]
fn a_fault_in_a_list_is_named_by_the_list() {
    let field = |name: &str| schema().fields("SignalHeader").iter().find(|field| field["name"] == name).unwrap();
    let good = schema().full("Recipient");
    let with = |name: &'static str, values: &[&[u8]]| {
        schema().build("SignalHeader", |other, written| {
            let list = || values.iter().flat_map(|value| field_bytes(field(name), value)).collect();
            Some(if other["name"] == name { list() } else { written })
        })
    };
    let spoilt = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    let no_function = spoilt(b"\x10\x01", b"\x10\x7f");
    let unknown = spoilt(b"\x10\x01", b"\x30\x01");
    let header = with("recipients", &[&good, &good, &no_function]);
    refused("SignalHeader", header, Reason::Enum, "recipients.address.function");
    let header = with("recipients", &[&good, &unknown, &good]);
    refused("SignalHeader", header, Reason::UnknownField, "recipients.address.6");
    refused("SignalHeader", with("recipients", &[&good, b""]), Reason::Missing, "recipients.address");
    refused("SignalHeader", with("handling", &[&[1, 99]]), Reason::Enum, "handling");
    let proof = |sizes: [usize; 2]| {
        schema().build("Receipt", |other, written| {
            let list = || sizes.iter().flat_map(|size| field_bytes(other, &vec![7; *size])).collect();
            Some(if other["name"] == "proof" { list() } else { written })
        })
    };
    assert!(decode("Receipt", proof([32, 32])).is_ok());
    refused("Receipt", proof([32, 31]), Reason::Length, "proof");
    refused("Receipt", proof([0, 32]), Reason::Length, "proof");
}

#[test]
fn a_message_is_written_in_one_way_and_every_other_is_refused() {
    // Address { oin "text", function 1 }
    let good = b"\x0a\x04text\x10\x01";
    assert_eq!(decode("Address", good.to_vec()).unwrap(), good);
    let not_canonical: &[(&[u8], &str)] = &[
        (b"\x10\x01\x0a\x04text", "fields in another order"),
        (b"\x0a\x04text\x10\x01\x10\x01", "a field twice"),
        (b"\x0a\x04else\x0a\x04text\x10\x01", "text twice, of which the last counts"),
        (b"\x8a\x00\x04text\x10\x01", "an over-long key"),
        (b"\x0a\x84\x00text\x10\x01", "an over-long length"),
        (b"\x0a\x04text\x10\x81\x00", "an over-long number"),
        (b"\x0a\x04text\x10\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00", "a number in ten bytes"),
        (b"\x0a\x04text\x10\x81\x80\x80\x80\x10", "a number beyond 32 bits that is cut to one that is known"),
        (b"\x0a\x04text\x10\x00\x10\x01", "a 0 that is written, and then not"),
    ];
    for (bytes, what) in not_canonical {
        assert_eq!(decode("Address", bytes.to_vec()).unwrap_err().reason, Reason::NotCanonical, "{what}");
    }
    let undecodable: &[(&[u8], &str)] = &[
        (b"\x08\x04", "text as a number"),
        (b"\x0a\x04text\x12\x01\x01", "a number as text"),
        (b"\x0a\x04text\x15\x01\x00\x00\x00", "a number of four bytes"),
        (b"\x0a\x04text\x11\x01\x00\x00\x00\x00\x00\x00\x00", "a number of eight bytes"),
        (b"\x0b\x0c\x0a\x04text\x10\x01", "a group"),
        (b"\x0a\x05text", "text that is longer than the message"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01text", "text of 2^64 - 1 bytes"),
        (b"\x0a\x04text\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "a number of more than 64 bits"),
        (b"\x0a\x04text\x10\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", "a number in eleven bytes"),
        (b"\x0a\x04text\x10", "a number without an end"),
        (b"\x02\x01a\x0a\x04text\x10\x01", "a field with number 0"),
        (b"\x0a\x04te\xc0\x80\x10\x01", "text that is no UTF-8"),
        (b"\x0a\x04t\xed\xa0\x80\x10\x01", "half a surrogate pair"),
    ];
    for (bytes, what) in undecodable {
        assert_eq!(decode("Address", bytes.to_vec()).unwrap_err().reason, Reason::Undecodable, "{what}");
    }
    let enums: &[(&[u8], &str)] = &[
        (b"\x0a\x04text\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "-1"),
        (b"\x0a\x04text\x10\xff\xff\xff\xff\x07", "2^31 - 1"),
        (b"\x0a\x04text", "0, which is not written"),
    ];
    for (bytes, what) in enums {
        assert_eq!(decode("Address", bytes.to_vec()).unwrap_err().reason, Reason::Enum, "{what}");
    }
    // That 0 is written where it could be left out, and the lists of codes one by one.
    let zero = b"\x0a\x04text\x10\x00".to_vec();
    assert_eq!(decode("Address", zero).unwrap_err().reason, Reason::NotCanonical);
    let handling = schema().fields("SignalHeader").iter().find(|field| field["name"] == "handling").unwrap();
    let unpacked = schema().build("SignalHeader", |other, written| {
        let number = handling["number"].as_u64().unwrap();
        let each = || [varint(number << 3), varint(1), varint(number << 3), varint(2)].concat();
        Some(if other == handling { each() } else { written })
    });
    refused("SignalHeader", unpacked, Reason::NotCanonical, "");
}

/// Good messages of the second implementation, to be spoilt.
fn good() -> &'static [(String, Vec<u8>)] {
    static GOOD: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    GOOD.get_or_init(read_good)
}

fn read_good() -> Vec<(String, Vec<u8>)> {
    let mut good = Vec::new();
    for case in vectors("encoding.json")["cases"].as_array().unwrap() {
        if case["want"] == "ok" {
            let message = case["in"]["message"].as_str().unwrap().to_owned();
            good.push((message, hex::decode(case["in"]["bytes"].as_str().unwrap()).unwrap()));
        }
    }
    good.extend(messages().map(|message| (message.to_owned(), schema().full(message))));
    good
}

proptest! {
    #[test]
    fn what_is_taken_encodes_to_the_very_bytes_however_they_were_spoilt(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..4),
    ) {
        let (message, mut bytes) = good()[which.index(good().len())].clone();
        for (place, byte, kind) in edits {
            let place = if bytes.is_empty() { 0 } else { place.index(bytes.len()) };
            match kind {
                0 if !bytes.is_empty() => bytes[place] = byte,
                1 if !bytes.is_empty() => drop(bytes.remove(place)),
                _ => bytes.insert(place, byte),
            }
        }
        if let Ok(again) = decode(&message, bytes.clone()) {
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn bytes_of_no_meaning_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for message in messages() {
            if let Ok(again) = decode(message, bytes.clone()) {
                prop_assert_eq!(again, bytes.clone());
            }
        }
    }
}
