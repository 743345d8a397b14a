//! Items that are nearly right: each rule of header, answer, key statement and signature is broken by itself.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use seinpost_protocol::answer::{AnswerCode, DeliveryState, code_state};
use seinpost_protocol::certificate::SigningCertificate;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{self, BadItem, Item, ItemId, ItemType, KEYID_BYTES_MAX, PAYLOAD_BYTES_MAX, Payload};
use seinpost_protocol::key_statement::{KeyStatement, State, is_encapsulation_key};
use seinpost_protocol::signal::{SignalHeader, SizeClass, is_municipality, passes_eleven_test, size_class_bytes};
use seinpost_protocol::signature::{BadKey, PublicKey};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use serde_json::Value;

const ORIGIN: &str = "log.seinpost.test/dev";

fn hex_of(value: &Value) -> Bytes {
    hex::decode(value.as_str().unwrap()).unwrap().into()
}

/// The inputs of a case of the vectors, with its base's below them.
fn case(file: &str, name: &str) -> impl Fn(&str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/items").join(file);
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let case = document["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap().clone();
    let base = case["base"].as_str().map_or(Value::Null, |base| document["bases"][base].clone());
    move |input| hex_of(case["in"].get(input).unwrap_or(&base[input]))
}

fn header() -> wire::SignalHeader {
    wire::SignalHeader::decode(case("headers.json", "two recipients")("header")).unwrap()
}

/// Parses a header that was changed.
fn changed(change: impl FnOnce(&mut wire::SignalHeader)) -> Result<SignalHeader, BadItem> {
    let mut header = header();
    change(&mut header);
    SignalHeader::parse(header.encode_to_vec().into())
}

fn with_reference(reference: &str) -> Result<SignalHeader, BadItem> {
    changed(|header| header.recipients[0].basis_reference = reference.to_owned())
}

#[test]
fn no_bit_of_what_was_signed_can_be_changed() {
    let input = case("items.json", "answer by police");
    let (bytes, certificate) = (input("item"), SigningCertificate::parse(input("certificate")).unwrap());
    let original = item::decode_envelope(bytes.clone()).unwrap();
    let judge = |bytes: Vec<u8>| {
        let envelope = item::decode_envelope(bytes.into()).ok()?;
        Item::parse(envelope, ORIGIN).ok()?.verify(&certificate, false).ok()
    };
    assert!(judge(bytes.to_vec()).is_some());
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut spoilt = bytes.to_vec();
            spoilt[place] ^= 1 << bit;
            if let Some(taken) = judge(spoilt) {
                // Only the key's hint may differ: nobody looks at it.
                assert_eq!(taken.wire().payload, original.payload, "byte {place}");
                assert_eq!(taken.wire().payload_type, original.payload_type, "byte {place}");
                assert_eq!(taken.wire().signatures[0].sig, original.signatures[0].sig, "byte {place}");
            }
        }
    }
}

#[test]
fn an_item_is_bounded_before_it_is_decoded() {
    let wire = wire::SignedItem {
        payload: vec![0; PAYLOAD_BYTES_MAX + 1].into(),
        payload_type: ItemType::Signal.payload_type().to_owned(),
        signatures: vec![wire::ItemSignature { sig: Bytes::from_static(b"s"), keyid: String::new() }],
    };
    assert_eq!(Item::parse(wire, ORIGIN).unwrap_err(), BadItem::PayloadTooLarge);
}

#[test]
fn a_header_of_eight_recipients_fits_and_a_longer_one_than_16_kib_does_not() {
    assert_eq!(changed(|_| ()).unwrap().recipients.len(), 2);
    let too_long = changed(|header| header.recipients[0].legal_basis = "L".repeat(16 * 1024));
    assert_eq!(too_long.unwrap_err(), BadItem::HeaderTooLarge);
}

#[test]
fn what_a_header_says_is_what_was_written() {
    let wire = header();
    let header = changed(|_| ()).unwrap();
    assert_eq!(header.signal_type, wire.r#type());
    assert_eq!(header.conversation.to_string(), wire.conversation);
    assert_eq!(header.recipients[1].legal_basis, wire.recipients[1].legal_basis);
    assert_eq!(header.content_commitment.as_ref(), wire.content_commitment);
    assert_eq!(header.signer.log_origin, ORIGIN);
    let (signer, wire) = (&header.signer, wire.signer.unwrap());
    assert_eq!(signer.item_id.to_string(), wire.item_id);
    assert_eq!(signer.seen.note(), &wire.seen_checkpoint);
    assert_eq!(signer.covenant_digest.as_ref(), wire.covenant_digest);
}

#[test]
fn an_oin_is_an_oin_wherever_it_stands() {
    let small = |address: &mut Option<wire::Address>| address.as_mut().unwrap().oin = "0000009915500000000a".to_owned();
    assert_eq!(changed(|header| small(&mut header.recipients[1].address)).unwrap_err(), BadItem::Oin);
    let by_signer = changed(|header| small(&mut header.signer.as_mut().unwrap().address));
    assert_eq!(by_signer.unwrap_err(), BadItem::Oin);
}

#[test]
fn handling_is_a_set_in_one_order() {
    let with = |handling: &[i32]| changed(|header| header.handling = handling.to_vec());
    assert_eq!(with(&[1, 3, 6]).unwrap().handling.len(), 3);
    for not_a_set in [&[3, 1][..], &[2, 2]] {
        assert_eq!(with(not_a_set).unwrap_err(), BadItem::Handling);
    }
}

#[test]
fn expiry_is_counted_in_full_at_the_end_of_time() {
    let last = Timestamp::LAST;
    let expiring = |before: Duration, after: Duration| {
        changed(|header| {
            let signer = header.signer.as_mut().unwrap();
            let signed_at = last - before;
            signer.signed_at = Some(signed_at.into());
            signer.item_id = ItemId::new(signed_at, [9; 10]).to_string();
            header.expires = Some((signed_at + after).into());
        })
    };
    let hour = Duration::from_secs(3600);
    assert!(expiring(hour, hour).is_ok());
    // Half an hour later than this there is no time to write down.
    assert_eq!(expiring(hour / 2, hour).unwrap_err(), BadItem::Expires);
}

#[test]
fn a_reference_may_be_a_number_but_not_a_persons() {
    for good in ["A", "2026/0001", "B-12.345/X", "99999040", "999990409", "9999904A08", &"9".repeat(8)] {
        assert!(with_reference(good).is_ok(), "{good}");
    }
    for person in ["999990408", "9999.90.408", "X-999990408", "1999990408", "9/9/9/9/9/0/4/0/8", "A999993653Z"] {
        assert_eq!(with_reference(person).unwrap_err(), BadItem::BasisReferenceBsn, "{person}");
    }
    for other in ["a", "A B", "A_B", "É", &"A".repeat(33)] {
        assert_eq!(with_reference(other).unwrap_err(), BadItem::BasisReference, "{other}");
    }
}

#[test]
fn nine_digits_pass_or_fail_the_eleven_test() {
    for person in ["999990408", "999993653", "999990482"] {
        assert!(passes_eleven_test(person), "{person}");
    }
    for other in ["123456789", "99999040", "9999904080", "99999040A", "999 99040", ""] {
        assert!(!passes_eleven_test(other), "{other}");
    }
}

#[test]
fn a_municipality_has_four_digits() {
    assert!(is_municipality("0363"));
    for other in ["363", "03630", "036A", "٠٣٦٣", ""] {
        assert!(!is_municipality(other), "{other}");
    }
}

#[test]
fn size_classes_grow_by_four() {
    let classes = [SizeClass::Kib4, SizeClass::Kib16, SizeClass::Kib64, SizeClass::Kib256, SizeClass::Kib1024];
    assert_eq!(classes.map(size_class_bytes), [4096, 16_384, 65_536, 262_144, 1_048_576]);
}

#[test]
fn an_id_has_one_text_and_a_time() {
    let time = Timestamp::from_millis(1_795_000_000_123).unwrap();
    let id = ItemId::new(time, [0xff; 10]);
    let text = id.to_string();
    assert_eq!(id.time(), time);
    assert_eq!(ItemId::try_from(text.as_str()), Ok(id));
    assert_eq!(ItemId::from_bytes(*id.as_bytes()), Some(id));
    let hyphens_gone = text.replace('-', "");
    for other in
        [text.to_uppercase(), hyphens_gone, format!("{{{text}}}"), format!("urn:uuid:{text}"), text[1..].to_owned()]
    {
        assert!(ItemId::try_from(other.as_str()).is_err(), "{other}");
    }
    // Version 4, and another variant.
    let mut bytes = *id.as_bytes();
    bytes[6] = 0x4f;
    assert_eq!(ItemId::from_bytes(bytes), None);
    bytes = *id.as_bytes();
    bytes[8] = 0xff;
    assert_eq!(ItemId::from_bytes(bytes), None);
}

#[test]
fn ids_stand_in_the_order_of_their_times() {
    let at = |millis: i64| ItemId::new(Timestamp::from_millis(1_795_000_000_000 + millis).unwrap(), [0xff; 10]);
    assert!(at(0) < at(1));
    assert!(at(1).to_string() < at(256).to_string());
}

#[test]
fn an_id_is_made_within_a_day_of_signing() {
    let signed_at = changed(|_| ()).unwrap().signer.signed_at;
    let day = Duration::from_secs(86_400);
    let with = |time: Timestamp| {
        changed(|header| header.signer.as_mut().unwrap().item_id = ItemId::new(time, [1; 10]).to_string())
    };
    for time in [signed_at - day, signed_at + day] {
        assert!(with(time).is_ok());
    }
    let millisecond = Duration::from_millis(1);
    for time in [signed_at - day - millisecond, signed_at + day + millisecond] {
        assert_eq!(with(time).unwrap_err(), BadItem::ItemIdTime);
    }
    // The last of all milliseconds that an id can say, far beyond 2100.
    let far = changed(|header| {
        header.signer.as_mut().unwrap().item_id = "ffffffff-ffff-7000-8000-000000000000".to_owned();
    });
    assert_eq!(far.unwrap_err(), BadItem::ItemIdTime);
}

fn statement() -> wire::KeyStatement {
    let envelope = item::decode_envelope(case("key-statements.json", "second")("item")).unwrap();
    wire::KeyStatement::decode(envelope.payload).unwrap()
}

fn changed_statement(change: impl FnOnce(&mut wire::KeyStatement)) -> Result<KeyStatement, BadItem> {
    let mut statement = statement();
    change(&mut statement);
    KeyStatement::parse(statement.encode_to_vec().into())
}

/// A statement with this serial that names `previous`.
fn numbered(serial: u64, previous: Option<Digest>) -> KeyStatement {
    changed_statement(|statement| {
        statement.serial = serial;
        statement.signer.as_mut().unwrap().key_serial = serial - 1;
        statement.previous_digest = previous.map(Bytes::from).unwrap_or_default();
    })
    .unwrap()
}

#[test]
fn statements_follow_one_another() {
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    type Known<'a> = Option<(&'a Digest, u64)>;
    let check = |serial, named, known: Known<'_>, floor, verdict: Result<(), BadItem>| {
        assert_eq!(numbered(serial, named).follows(known, floor), verdict, "{serial} {named:?} {known:?} {floor}");
    };
    check(1, None, None, 0, Ok(()));
    check(1, None, None, 1, Ok(()));
    check(2, Some(one), Some((&one, 1)), 0, Ok(()));
    check(2, Some(other), Some((&one, 1)), 0, Err(BadItem::KeyPrevious));
    check(2, None, Some((&one, 1)), 0, Err(BadItem::KeyPrevious));
    check(2, Some(one), None, 0, Err(BadItem::KeySerial));
    check(1, None, Some((&one, 1)), 0, Err(BadItem::KeySerial));
    check(3, Some(one), Some((&one, 1)), 0, Err(BadItem::KeySerial));
    // After theft the covenant sets a floor: the first at it stands alone, whatever the thief published below it.
    check(9, Some(one), Some((&one, 8)), 10, Err(BadItem::KeyBelowFloor));
    check(10, None, Some((&one, 8)), 10, Ok(()));
    check(10, None, None, 10, Ok(()));
    check(10, Some(one), Some((&one, 9)), 10, Ok(()));
    check(10, Some(other), Some((&one, 9)), 10, Err(BadItem::KeyPrevious));
    check(10, Some(other), None, 10, Err(BadItem::KeyPrevious));
    check(11, None, Some((&one, 8)), 10, Err(BadItem::KeySerial));
    // And above it the chain holds as ever.
    check(11, Some(one), Some((&one, 10)), 10, Ok(()));
    check(11, None, Some((&one, 10)), 10, Err(BadItem::KeyPrevious));
    check(u64::MAX, Some(one), Some((&one, u64::MAX)), 0, Ok(()));
}

#[test]
fn a_statement_names_the_serial_before_its_own() {
    let wrong = changed_statement(|statement| statement.signer.as_mut().unwrap().key_serial = 7);
    assert_eq!(wrong.unwrap_err(), BadItem::KeySerial);
}

#[test]
fn windows_are_there_in_order_and_bounded() {
    let State::Windowed { seal_from, seal_until, open_until, .. } = changed_statement(|_| ()).unwrap().state else {
        panic!("the statement has windows");
    };
    let signed_at = changed_statement(|_| ()).unwrap().signer.signed_at;
    let with = |windows: [Option<Timestamp>; 3]| {
        let [from, until, open] = windows.map(|time| time.map(prost_types::Timestamp::from));
        let statement = changed_statement(|statement| {
            (statement.seal_from, statement.seal_until, statement.open_until) = (from, until, open);
        });
        statement.map(|_| ())
    };
    let (ms, day) = (Duration::from_millis(1), Duration::from_secs(86_400));
    let (ahead, after) = (signed_at + 90 * day, 30 * day);
    let windows = |from, until, open| with([Some(from), Some(until), Some(open)]);
    assert_eq!(windows(seal_from, seal_until, open_until), Ok(()));
    assert_eq!(windows(seal_from, ahead, ahead + after), Ok(()));
    assert_eq!(windows(seal_from, seal_until, seal_until), Ok(()));
    assert_eq!(windows(seal_from, ahead + ms, ahead + ms), Err(BadItem::KeyWindows));
    assert_eq!(windows(seal_from, seal_until, seal_until + after + ms), Err(BadItem::KeyWindows));
    assert_eq!(windows(seal_until, seal_until, open_until), Err(BadItem::KeyWindows));
    assert_eq!(windows(seal_from, seal_until, seal_until - ms), Err(BadItem::KeyWindows));
    for absent in 0..3 {
        let mut windows = [Some(seal_from), Some(seal_until), Some(open_until)];
        windows[absent] = None;
        assert_eq!(with(windows), Err(BadItem::KeyWindows), "{absent}");
    }
    let withdrawal = changed_statement(|statement| {
        statement.state = Some(wire::key_statement::State::Withdrawn(wire::Withdrawn {}));
        (statement.seal_from, statement.seal_until) = (None, None);
    });
    assert_eq!(withdrawal.unwrap_err(), BadItem::KeyWindows);
}

#[test]
fn each_coefficient_of_an_encapsulation_key_is_reduced() {
    let good = case("key-statements.json", "encapsulation key")("public_key");
    assert!(is_encapsulation_key(&good));
    assert!(!is_encapsulation_key(&good[1..]));
    for pair in [0, 1, 383] {
        // 3328 = 0xd00 is the largest, 3329 = 0xd01 is q; first in the low twelve bits, then in the high ones.
        for (bytes, reduced) in [
            ([0x00, 0x0d, 0x00], true),
            ([0x01, 0x0d, 0x00], false),
            ([0xff, 0x0f, 0x00], false),
            ([0x00, 0x00, 0xd0], true),
            ([0x00, 0x10, 0xd0], false),
            ([0x00, 0xf0, 0xff], false),
        ] {
            let mut key = good.to_vec();
            key[3 * pair..3 * pair + 3].copy_from_slice(&bytes);
            assert_eq!(is_encapsulation_key(&key), reduced, "{pair}: {bytes:02x?}");
        }
    }
    // What follows the coefficients is a seed and a key of X25519, and may be anything.
    let mut key = good.to_vec();
    key[1152..].fill(0xff);
    assert!(is_encapsulation_key(&key));
}

#[test]
fn an_answer_says_what_becomes_of_the_delivery() {
    let input = case("items.json", "answer by police");
    let item = Item::parse(item::decode_envelope(input("item")).unwrap(), ORIGIN).unwrap();
    let Payload::Answer(answer) = item.payload() else {
        panic!("the item is an answer");
    };
    assert_eq!(code_state(answer.code), DeliveryState::Answered);
    assert_eq!(code_state(AnswerCode::WrongRecipient), DeliveryState::Undeliverable);
    assert_eq!(code_state(AnswerCode::CommitmentMismatch), DeliveryState::AnsweredWithFault);
}

#[test]
fn an_item_of_another_log_or_with_another_count_of_signatures_is_refused() {
    let envelope = item::decode_envelope(case("items.json", "answer by police")("item")).unwrap();
    assert_eq!(Item::parse(envelope.clone(), "log.seinpost.example").unwrap_err(), BadItem::LogOrigin);
    let with =
        |count: usize| wire::SignedItem { signatures: vec![envelope.signatures[0].clone(); count], ..envelope.clone() };
    assert!(Item::parse(with(1), ORIGIN).is_ok());
    for count in [0, 2] {
        assert_eq!(Item::parse(with(count), ORIGIN).unwrap_err(), BadItem::SignatureCount);
    }
    // The hint beside it is signed by nobody, and no room for more than a hint.
    let hinting = |bytes: usize| {
        let signature = wire::ItemSignature { keyid: "k".repeat(bytes), ..envelope.signatures[0].clone() };
        wire::SignedItem { signatures: vec![signature], ..envelope.clone() }
    };
    assert!(Item::parse(hinting(KEYID_BYTES_MAX), ORIGIN).is_ok());
    let too_long = Item::parse(hinting(KEYID_BYTES_MAX + 1), ORIGIN).unwrap_err();
    assert_eq!((too_long.field(), too_long.reason()), ("signatures.keyid", "TOO_LARGE"));
}

/// Every byte of a key's SubjectPublicKeyInfo before the key itself decides what is signed with it.
#[test]
fn a_public_key_has_one_form() {
    for (name, head) in [("Ed25519", 12), ("P-256", 27), ("P-384", 24), ("RSA 3072", 32)] {
        let spki = case("signatures.json", name)("spki");
        assert!(PublicKey::from_spki(&spki, false).is_ok(), "{name}");
        for place in 0..head {
            for bit in 0..8 {
                let mut other = spki.to_vec();
                other[place] ^= 1 << bit;
                assert!(PublicKey::from_spki(&other, false).is_err(), "{name}: byte {place}, bit {bit}");
            }
        }
        for cut in 0..spki.len() {
            assert!(PublicKey::from_spki(&spki[..cut], false).is_err(), "{name} cut to {cut}");
        }
        assert_eq!(PublicKey::from_spki(&[&spki[..], &[0]].concat(), false).err(), Some(BadKey::Encoding), "{name}");
    }
}

#[test]
fn an_ed25519_key_is_the_same_key_with_and_without_its_frame() {
    let spki = case("signatures.json", "Ed25519")("spki");
    let bare = <[u8; 32]>::try_from(&spki[12..]).unwrap();
    let key = PublicKey::from_ed25519(&bare).unwrap();
    assert_eq!(key.spki_sha256(), Digest::of(&spki));
}

proptest! {
    #[test]
    fn one_wrong_digit_is_always_found(number in 0..1_000_000_000_u32, place in 0..9_usize, by in 1..10_u8) {
        // Weights and differences are no multiples of eleven, so a passing number fails with one digit changed.
        let text = format!("{number:09}");
        let mut other = text.clone().into_bytes();
        other[place] = b'0' + (other[place] - b'0' + by) % 10;
        let other = String::from_utf8(other).unwrap();
        prop_assert!(!(passes_eleven_test(&text) && passes_eleven_test(&other)));
    }

    #[test]
    fn separators_and_neighbours_hide_nothing(
        seed in 0..100_000_000_u32,
        separators in prop::collection::vec(prop::sample::select(vec!["", ".", "/", "-"]), 10),
        before in "[A-Z0-9]{0,5}",
        after in "[A-Z0-9]{0,5}",
    ) {
        // Complete eight digits to nine that pass, where a ninth exists.
        let nine = (0..10).map(|last| format!("{seed:08}{last}")).find(|text| passes_eleven_test(text));
        if let Some(nine) = nine {
            let spread: String = nine.chars().zip(&separators).map(|(digit, separator)| format!("{separator}{digit}")).collect();
            let verdict = with_reference(&format!("{before}{spread}{after}"));
            prop_assert_eq!(verdict.unwrap_err(), BadItem::BasisReferenceBsn);
        }
    }

    #[test]
    fn letters_end_a_run_of_digits(runs in prop::collection::vec("[0-9]{1,8}", 1..4)) {
        let reference = runs.join("X");
        prop_assume!(reference.len() <= 32);
        prop_assert!(with_reference(&reference).is_ok());
    }

    #[test]
    fn no_pair_of_type_and_payload_is_signed_as_another(
        types in ("[a-z ]{0,6}", "[a-z ]{0,6}"),
        payloads in (prop::collection::vec(any::<u8>(), 0..6), prop::collection::vec(any::<u8>(), 0..6)),
    ) {
        let same = types.0 == types.1 && payloads.0 == payloads.1;
        let (one, other) = (item::pae(&types.0, &payloads.0), item::pae(&types.1, &payloads.1));
        prop_assert_eq!(one == other, same);
        prop_assert_eq!(Digest::of(&one), item::digest_of(&types.0, &payloads.0));
    }
}
