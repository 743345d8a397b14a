//! What a covenant promises, each rule by the sentence that it proves; the vectors ask the same of whole items.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use ed25519_dalek::{Signer as _, SigningKey};
use prost::Message as _;

use super::*;
use crate::item::ItemType;
use crate::wire::{Function as F, Purpose, Reference, SignalType as T, SourceRegime as R, Urgency, Use};

const ORIGIN: &str = "log.seinpost.test/unit";
const HUB: &str = "00000099000000000900";
const POLICE: &str = "00000099000000000001";
const SAFE_HOME: &str = "00000099000000000002";
const TOWN: &str = "00000099000000000003";
const GUARDIAN: &str = "00000099000000000004";
const GONE: &str = "00000099000000000005";
const BEGIN: i64 = 1_795_429_800_000;
const DAY: i64 = 86_400_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn time(millis: i64) -> Option<prost_types::Timestamp> {
    Some(at(millis).into())
}

fn oin(text: &str) -> Oin {
    Oin::try_from(text).unwrap()
}

fn address(oin_text: &str, function: F) -> Address {
    Address { oin: oin(oin_text), function }
}

fn key(of: u8) -> SigningKey {
    SigningKey::from_bytes(&[of; 32])
}

fn raw(of: u8) -> bytes::Bytes {
    key(of).verifying_key().to_bytes().to_vec().into()
}

/// The key digest that a test binds; of no real key.
fn spki(of: u8) -> Digest {
    Digest::of(&[of])
}

fn registrar(of: u8) -> wire::Registrar {
    wire::Registrar { name: format!("registrar {of}"), oin: format!("000000999990000000{of:02}"), ed25519: raw(of) }
}

fn bound(of: u8, used_for: Use) -> wire::BoundKey {
    wire::BoundKey {
        spki_sha256: spki(of).into(),
        r#use: used_for.into(),
        valid_from: time(BEGIN),
        valid_until: time(BEGIN + 50 * DAY),
    }
}

/// A grant with a transport key and a signing key, numbered one after the other.
fn grant(function: F, first_key: u8) -> wire::FunctionGrant {
    let keys = vec![bound(first_key, Use::Transport), bound(first_key + 1, Use::Signing)];
    wire::FunctionGrant { function: function.into(), keys, ..Default::default() }
}

fn unbound(function: F) -> wire::FunctionGrant {
    wire::FunctionGrant { function: function.into(), unbound: true, ..Default::default() }
}

fn participant(oin: &str, functions: Vec<wire::FunctionGrant>) -> wire::Participant {
    wire::Participant { oin: oin.to_owned(), name: format!("{oin} (TEST)"), functions, ..Default::default() }
}

fn numbers<E: Into<i32> + Copy>(values: &[E]) -> Vec<i32> {
    values.iter().map(|value| (*value).into()).collect()
}

fn rule(id: &str, types: &[T], from: &[F], to: &[F], basis: &str, regimes: &[R]) -> wire::Rule {
    wire::Rule {
        id: id.to_owned(),
        types: numbers(types),
        from: numbers(from),
        to: numbers(to),
        legal_basis: basis.to_owned(),
        regimes: numbers(regimes),
        reference: Reference::None.into(),
        ..Default::default()
    }
}

fn profile(name: &str, version: u32, signal_type: T) -> wire::Profile {
    wire::Profile {
        name: name.to_owned(),
        version,
        r#type: signal_type.into(),
        must: vec!["handler".to_owned()],
        may: vec![],
    }
}

fn route(function: F, municipality: &str, to: Address, from: &str, until: &str) -> wire::Route {
    wire::Route {
        function: function.into(),
        types: vec![],
        municipalities: vec![municipality.to_owned()],
        to: Some(to.into()),
        from: from.to_owned(),
        until: until.to_owned(),
    }
}

fn clock(id: &str, types: &[T], urgency: Option<Urgency>, duration: &str, working_days: bool) -> wire::Clock {
    wire::Clock {
        id: id.to_owned(),
        types: numbers(types),
        urgency: urgency.map_or(0, Into::into),
        step: STEP_ANSWER.to_owned(),
        duration: duration.to_owned(),
        working_days,
        ..Default::default()
    }
}

const POLICE_FUNCTIONS: [F; 2] = [F::PoliceOperations, F::RoyalMarechaussee];
const USUAL: [R; 2] = [R::Wpg8, R::Wpg13];
const ALL_POLICE: [R; 4] = [R::Wpg8, R::Wpg9, R::Wpg10, R::Wpg13];

/// A small covenant that is good.
fn message() -> wire::Covenant {
    let mut town = participant(
        TOWN,
        vec![grant(F::MunicipalityCareReports, 20), grant(F::Mayor, 22), unbound(F::MunicipalityNotices)],
    );
    town.municipality = "0363".to_owned();
    let mut gone = participant(GONE, vec![unbound(F::MunicipalityCareReports), unbound(F::Shelter)]);
    gone.municipality = "0457".to_owned();
    gone.suspended = true;
    let mut safe_home = participant(SAFE_HOME, vec![grant(F::SafeHome, 12)]);
    safe_home.functions[0].bsn = true;
    safe_home.functions[0].key_floor = 3;

    let mut wpg_19 = rule(
        "wpg-19",
        &[T::CareReport, T::ExploitationSignal],
        &POLICE_FUNCTIONS,
        &[F::SafeHome, F::MunicipalityCareReports],
        "WPG_19",
        &ALL_POLICE,
    );
    wpg_19.reference = Reference::Decision.into();
    wpg_19.four_eyes = true;
    let mut mayor = rule("mayor", &[T::ExploitationSignal], &POLICE_FUNCTIONS, &[F::Mayor], "WPG_16_1_C", &USUAL);
    mayor.purposes = numbers(&[Purpose::PublicOrder]);
    mayor.profiles = vec!["EX-MAYOR".to_owned()];
    let mut vital = rule(
        "vital",
        &[T::ExploitationSignal],
        &[F::SafeHome],
        &[F::PoliceOperations],
        "VITAL_INTEREST",
        &[R::Wmo, R::Medical],
    );
    vital.urgencies = numbers(&[Urgency::Immediate]);
    let mut correction =
        rule("correction", &[T::Correction], &POLICE_FUNCTIONS, &[F::SafeHome, F::Mayor], "WPG_30", &ALL_POLICE);
    correction.supersedes = true;
    let both = [T::CareReport, T::ExploitationSignal];
    wire::Covenant {
        log_origin: ORIGIN.to_owned(),
        serial: 7,
        previous_digest: Digest::of(b"the sixth").into(),
        valid_from: time(BEGIN),
        valid_until: time(BEGIN + 91 * DAY),
        registrars: vec![registrar(1), registrar(2), registrar(3)],
        threshold: 2,
        log_keys: vec![wire::LogKey { ed25519: raw(9), ..Default::default() }],
        participants: vec![
            participant(POLICE, vec![grant(F::PoliceOperations, 10)]),
            safe_home,
            town,
            participant(GUARDIAN, vec![unbound(F::CertifiedInstitution)]),
            participant(HUB, vec![grant(F::Operator, 30), grant(F::Auditor, 32)]),
            gone,
        ],
        routes: vec![
            route(F::SafeHome, "0363", address(SAFE_HOME, F::SafeHome), "2026-01-01", "2027-01-01"),
            route(F::MunicipalityCareReports, "0457", address(TOWN, F::MunicipalityCareReports), "2022-03-24", ""),
            route(F::Shelter, "0363", address(GONE, F::Shelter), "2026-01-01", ""),
        ],
        rules: vec![
            rule("bpg-vt", &both, &POLICE_FUNCTIONS, &[F::SafeHome], "BPG_4_2_1_I", &USUAL),
            rule("bpg-zof", &both, &POLICE_FUNCTIONS, &[F::MunicipalityCareReports], "BPG_4_2_1_I", &USUAL),
            mayor,
            wpg_19,
            vital,
            correction,
        ],
        code_lists: vec![wire::CodeList {
            id: "means".to_owned(),
            codes: vec![wire::Code {
                code: "DEBT".to_owned(),
                label_nl: "schuld".to_owned(),
                label_en: "debt".to_owned(),
                source: String::new(),
            }],
        }],
        profiles: vec![
            profile("EX", 1, T::ExploitationSignal),
            profile("EX", 2, T::ExploitationSignal),
            profile("EX-MAYOR", 1, T::ExploitationSignal),
            profile("CR", 1, T::CareReport),
            profile("CX", 1, T::Correction),
        ],
        clocks: vec![
            clock("missing", &[T::MissingFromCare], None, "PT15M", false),
            clock("immediate", &[], Some(Urgency::Immediate), "PT15M", false),
            clock("normal", &[], Some(Urgency::Normal), "P1D", true),
        ],
        hub_oin: HUB.to_owned(),
        ..Default::default()
    }
}

/// The covenant's item, signed by the registrars of these numbers.
fn signed(message: &wire::Covenant, by: &[u8]) -> wire::SignedItem {
    let payload: bytes::Bytes = message.encode_to_vec().into();
    let payload_type = ItemType::Covenant.payload_type().to_owned();
    let pae = crate::item::pae(&payload_type, &payload);
    let signatures = by
        .iter()
        .map(|of| wire::ItemSignature { sig: key(*of).sign(&pae).to_bytes().to_vec().into(), keyid: String::new() });
    wire::SignedItem { signatures: signatures.collect(), payload, payload_type }
}

fn floor_of(item: &wire::SignedItem) -> Floor {
    let message = wire::Covenant::decode(item.payload.clone()).unwrap();
    Floor {
        log_origin: ORIGIN.to_owned(),
        registrars: vec![registrar(1), registrar(2), registrar(3)],
        threshold: 2,
        serial: message.serial,
        digest: crate::item::digest_of(&item.payload_type, &item.payload),
        test: false,
    }
}

fn covenant_of(message: &wire::Covenant) -> Covenant {
    let item = signed(message, &[1, 2]);
    Covenant::verify(&item, &Trust::Floor(floor_of(&item))).unwrap()
}

fn covenant() -> Covenant {
    covenant_of(&message())
}

/// The one after a covenant.
fn next_of(last: &Covenant) -> wire::Covenant {
    wire::Covenant { serial: last.serial() + 1, previous_digest: last.digest().into(), ..last.message().clone() }
}

mod verify {
    use super::*;

    /// Changes the good covenant, has it signed, and expects the rule that it breaks, and where.
    fn check(change: impl FnOnce(&mut wire::Covenant), reason: &str, field: &str) {
        let last = covenant();
        let mut message = next_of(&last);
        change(&mut message);
        let bad = Covenant::verify(&signed(&message, &[1, 2]), &Trust::Last(&last)).unwrap_err();
        assert_eq!((bad.reason(), bad.field()), (reason, field), "{bad}");
    }

    fn taken(change: impl FnOnce(&mut wire::Covenant)) -> Covenant {
        let last = covenant();
        let mut message = next_of(&last);
        change(&mut message);
        Covenant::verify(&signed(&message, &[1, 2]), &Trust::Last(&last)).unwrap()
    }

    #[test]
    fn the_next_covenant_is_taken_and_remembers_where_it_came_from() {
        let next = taken(|_| {});
        assert_eq!((next.serial(), next.previous_digest()), (8, Some(covenant().digest())));
        assert_eq!(next.hub_oin(), oin(HUB));
        assert_eq!(next.live_log_keys().len(), 1);
    }

    #[test]
    fn a_covenant_must_not_be_larger_than_2_mib() {
        let filled = |extra: usize| {
            move |covenant: &mut wire::Covenant| covenant.code_lists[0].codes[0].label_nl = "x".repeat(extra)
        };
        let last = covenant();
        let size = |message: &wire::Covenant| signed(message, &[1, 2]).encoded_len();
        let mut message = next_of(&last);
        filled(COVENANT_BYTES_MAX - 10_000)(&mut message);
        let exact = COVENANT_BYTES_MAX - 10_000 + COVENANT_BYTES_MAX - size(&message);
        assert_eq!(taken(filled(exact)).item().encoded_len(), COVENANT_BYTES_MAX);
        check(filled(exact + 1), "SIZE", "");
        let bytes = vec![0; COVENANT_BYTES_MAX + 1].into();
        let bad = Covenant::verify_bytes(bytes, &Trust::Last(&last)).unwrap_err();
        assert_eq!(bad.reason(), "SIZE", "before anything is decoded");
    }

    #[test]
    fn an_item_of_another_type_is_no_covenant() {
        let last = covenant();
        let mut item = signed(&next_of(&last), &[1, 2]);
        item.payload_type = ItemType::Signal.payload_type().to_owned();
        assert_eq!(Covenant::verify(&item, &Trust::Last(&last)).unwrap_err().reason(), "PAYLOAD_TYPE");
    }

    #[test]
    fn a_file_with_an_unknown_field_in_the_envelope_is_refused() {
        let last = covenant();
        let item = signed(&next_of(&last), &[1, 2]);
        let good = item.encode_to_vec();
        assert!(Covenant::verify_bytes(good.clone().into(), &Trust::Last(&last)).is_ok());
        let bad = [good, vec![0x7a, 0x00]].concat();
        assert_eq!(Covenant::verify_bytes(bad.into(), &Trust::Last(&last)).unwrap_err().reason(), "UNKNOWN_FIELD");
    }

    #[test]
    fn the_payload_must_be_canonical() {
        let last = covenant();
        let mut item = signed(&next_of(&last), &[1, 2]);
        item.payload = [item.payload.as_ref(), &[0xf8, 0x01, 0x01]].concat().into();
        assert_eq!(Covenant::verify(&item, &Trust::Last(&last)).unwrap_err().reason(), "UNKNOWN_FIELD");
    }

    #[test]
    fn the_succession_holds() {
        check(|covenant| covenant.log_origin = "other.log".to_owned(), "ORIGIN", "log_origin");
        check(|covenant| covenant.serial = 6, "SERIAL_LOWER", "serial");
        check(|covenant| covenant.serial = 7, "SERIAL_FORK", "serial");
        check(|covenant| covenant.serial = 9, "SERIAL_GAP", "serial");
        check(|covenant| covenant.serial = u64::MAX, "SERIAL_GAP", "serial");
        check(|covenant| covenant.previous_digest = Digest::of(b"").into(), "PREVIOUS_DIGEST", "previous_digest");
        check(|covenant| covenant.previous_digest.clear(), "PREVIOUS_DIGEST", "previous_digest");
    }

    #[test]
    fn registrars_are_accused_of_two_covenants_only_by_their_own_signatures() {
        let last = covenant();
        let floor = floor_of(last.item());
        let other = wire::Covenant { hub_oin: POLICE.to_owned(), ..last.message().clone() };
        let changed = wire::SignedItem { payload: other.encode_to_vec().into(), ..last.item().clone() };
        let refused = |item: &wire::SignedItem, trust: &Trust<'_>| Covenant::verify(item, trust).unwrap_err();

        for trust in [Trust::Last(&last), Trust::Floor(floor)] {
            let bad = refused(&changed, &trust);
            assert_eq!((bad.reason(), bad.field()), ("SIGNATURE", "signatures[0]"), "a changed byte: {bad}");
            assert_eq!(refused(&signed(&other, &[]), &trust).reason(), "TOO_FEW_OLD", "nobody signed");
            assert_eq!(refused(&signed(&other, &[1]), &trust).reason(), "TOO_FEW_OLD", "one is not enough");
            assert_eq!(refused(&signed(&other, &[1, 8]), &trust).reason(), "SIGNATURE", "a stranger");
            let bad = refused(&signed(&other, &[1, 3]), &trust);
            assert_eq!((bad.reason(), bad.field()), ("SERIAL_FORK", "serial"), "two signed both: {bad}");
        }
    }

    #[test]
    fn a_covenant_of_too_many_registrars_is_refused_before_its_signatures_are_tried() {
        let last = covenant();
        for message in [next_of(&last), last.message().clone()] {
            let mut message = message;
            message.registrars.resize(33, registrar(3));
            let bad = Covenant::verify(&signed(&message, &[1, 2]), &Trust::Last(&last)).unwrap_err();
            assert_eq!((bad.reason(), bad.field()), ("SIZE", "registrars"));
        }
        let bad = Covenant::verify(&signed(&next_of(&last), &[1; 65]), &Trust::Last(&last)).unwrap_err();
        assert_eq!((bad.reason(), bad.field()), ("SIZE", ""));
    }

    #[test]
    fn the_first_covenant_of_all_follows_nothing() {
        let mut message = message();
        message.serial = 1;
        let item = signed(&message, &[1, 2]);
        let bad = Covenant::verify(&item, &Trust::Floor(floor_of(&item))).unwrap_err();
        assert_eq!(bad.reason(), "PREVIOUS_DIGEST");
        message.previous_digest.clear();
        assert_eq!(covenant_of(&message).previous_digest(), None);
    }

    #[test]
    fn by_the_hub_file_exactly_its_covenant_is_taken() {
        let item = signed(&message(), &[1, 2]);
        let floor = floor_of(&item);
        let refused = |floor: Floor| Covenant::verify(&item, &Trust::Floor(floor)).unwrap_err().reason();
        assert!(Covenant::verify(&item, &Trust::Floor(floor.clone())).is_ok());
        assert_eq!(refused(Floor { digest: Digest::of(b"other"), ..floor.clone() }), "SERIAL_FORK");
        assert_eq!(refused(Floor { serial: 8, ..floor.clone() }), "SERIAL_LOWER");
        assert_eq!(refused(Floor { serial: 6, ..floor.clone() }), "SERIAL_GAP", "though it may be the next one");
        assert_eq!(refused(Floor { log_origin: "other.log".to_owned(), ..floor.clone() }), "ORIGIN");
        let others = vec![registrar(4), registrar(5), registrar(6)];
        assert_eq!(refused(Floor { registrars: others, ..floor }), "TOO_FEW_OLD");
    }

    #[test]
    fn who_signed_the_first_covenant_and_left_with_it_is_listed_in_the_hub_file() {
        let before = covenant();
        let mut message = next_of(&before);
        message.registrars = vec![registrar(3), registrar(4), registrar(5)];
        let item = signed(&message, &[1, 3, 4]);
        assert!(Covenant::verify(&item, &Trust::Last(&before)).is_ok());

        let with = |of: &[u8]| Floor { registrars: of.iter().map(|of| registrar(*of)).collect(), ..floor_of(&item) };
        let bad = Covenant::verify(&item, &Trust::Floor(with(&[3, 4, 5]))).unwrap_err();
        assert_eq!((bad.reason(), bad.field()), ("SIGNATURE", "signatures[0]"));
        assert!(bad.to_string().contains("has to be listed in hub.toml too"), "it says what to do: {bad}");
        let listed = Covenant::verify(&item, &Trust::Floor(with(&[1, 3, 4, 5]))).unwrap();

        let mut third = next_of(&listed);
        third.registrars.clone_from(&message.registrars);
        assert!(Covenant::verify(&signed(&third, &[4, 5]), &Trust::Last(&listed)).is_ok());
        let bad = Covenant::verify(&signed(&third, &[1, 4, 5]), &Trust::Last(&listed)).unwrap_err();
        assert_eq!(bad.reason(), "SIGNATURE", "the hub file's list counts for the first covenant alone");
    }

    #[test]
    fn a_hub_file_whose_threshold_lets_anybody_sign_trusts_nobody() {
        let item = signed(&message(), &[1, 2]);
        let floor = floor_of(&item);
        for (threshold, test, good) in [(0, false, false), (1, false, false), (0, true, false), (1, true, true)] {
            let floor = Floor { threshold, test, ..floor.clone() };
            assert_eq!(Covenant::verify(&item, &Trust::Floor(floor)).is_ok(), good, "{threshold} {test}");
        }
        let twins = vec![registrar(1), wire::Registrar { oin: HUB.to_owned(), ..registrar(1) }];
        let floor = Floor { registrars: twins, ..floor };
        let bad = Covenant::verify(&signed(&message(), &[1, 2]), &Trust::Floor(floor)).unwrap_err();
        assert_eq!(bad.reason(), "TOO_FEW_OLD", "one key under two OINs counts once");
    }

    #[test]
    fn the_same_covenant_again_is_the_one_already_held() {
        let last = covenant();
        let trust = Trust::Last(&last);
        let again = Covenant::verify(&signed(last.message(), &[2, 3]), &trust).unwrap();
        assert_eq!(again.item(), last.item(), "with the signatures that it first came with");
        let forged = signed(last.message(), &[1, 4]);
        assert_eq!(Covenant::verify(&forged, &trust).unwrap_err().reason(), "SIGNATURE");
        let bare = signed(last.message(), &[1]);
        assert_eq!(Covenant::verify(&bare, &trust).unwrap_err().reason(), "TOO_FEW_OLD");
    }

    #[test]
    fn a_covenant_that_leaving_registrars_signed_can_be_read_again_when_only_it_is_trusted() {
        let last = covenant();
        let mut message = next_of(&last);
        message.registrars = vec![registrar(3), registrar(4), registrar(5)];
        let item = signed(&message, &[1, 2, 3, 4]);
        let next = Covenant::verify(&item, &Trust::Last(&last)).unwrap();
        assert!(Covenant::verify(&item, &Trust::Last(&next)).is_ok());
    }

    #[test]
    fn validity_is_not_empty_and_at_most_100_days() {
        let until = |millis| move |covenant: &mut wire::Covenant| covenant.valid_until = time(millis);
        check(until(BEGIN), "VALIDITY", "valid_until");
        check(until(BEGIN - 1), "VALIDITY", "valid_until");
        check(until(BEGIN + 100 * DAY + 1), "VALIDITY", "valid_until");
        assert_eq!(taken(until(BEGIN + 100 * DAY)).valid_until(), at(BEGIN + 100 * DAY));
        check(|covenant| covenant.valid_from = time(BEGIN - 1), "VALIDITY", "valid_from");
    }

    #[test]
    fn validity_is_from_and_not_until() {
        let covenant = covenant();
        let valid = |millis| covenant.is_valid_at(at(millis));
        assert_eq!([valid(BEGIN - 1), valid(BEGIN)], [false, true]);
        assert_eq!([valid(BEGIN + 91 * DAY - 1), valid(BEGIN + 91 * DAY)], [true, false]);
    }

    #[test]
    fn a_walk_may_start_from_a_covenant_that_is_over_for_up_to_30_days() {
        let covenant = covenant();
        let over = BEGIN + 91 * DAY;
        assert!(covenant.may_start_a_walk_at(at(over + 30 * DAY - 1)));
        assert!(!covenant.may_start_a_walk_at(at(over + 30 * DAY)));
    }

    #[test]
    fn the_old_covenant_rules_until_the_new_one_begins() {
        let old = covenant();
        let new = taken(|covenant| {
            covenant.valid_from = time(BEGIN + 10 * DAY);
            covenant.valid_until = time(BEGIN + 20 * DAY);
        });
        let ruling = |millis| Covenant::ruling_at([&new, &old], at(millis)).map(Covenant::serial);
        assert_eq!(ruling(BEGIN - 1), None);
        assert_eq!(ruling(BEGIN + 10 * DAY - 1), Some(7));
        assert_eq!(ruling(BEGIN + 10 * DAY), Some(8));
        assert_eq!(ruling(BEGIN + 20 * DAY), None, "the old one does not come back");
    }

    #[test]
    fn the_threshold_lies_between_2_and_the_number_of_registrars() {
        check(|covenant| covenant.threshold = 1, "THRESHOLD", "threshold");
        check(|covenant| covenant.threshold = 4, "THRESHOLD", "threshold");
        check(|covenant| covenant.registrars.clear(), "THRESHOLD", "threshold");
    }

    #[test]
    fn in_a_test_one_registrar_is_enough() {
        let mut message = message();
        message.threshold = 1;
        let item = signed(&message, &[1, 2]);
        let floor = Floor { test: true, ..floor_of(&item) };
        let first = Covenant::verify(&item, &Trust::Floor(floor)).unwrap();
        let next = Covenant::verify(&signed(&next_of(&first), &[3]), &Trust::Last(&first)).unwrap();
        assert!(next.is_test(), "it stays a test's");
    }

    #[test]
    fn registrars_are_distinct_and_not_the_hub() {
        check(|covenant| covenant.registrars[2].oin = registrar(1).oin, "REGISTRAR_TWICE", "registrars[2]");
        check(|covenant| covenant.registrars[2].ed25519 = raw(1), "REGISTRAR_TWICE", "registrars[2]");
        check(|covenant| covenant.registrars[2].oin = HUB.to_owned(), "REGISTRAR_IS_HUB", "registrars[2]");
        check(|covenant| covenant.registrars[2].oin = "1".to_owned(), "OIN", "registrars[2].oin");
        check(|covenant| covenant.registrars = (1..=33).map(registrar).collect(), "SIZE", "registrars");
        let many = taken(|covenant| covenant.registrars = (1..=8).chain(40..64).map(registrar).collect());
        assert_eq!(many.message().registrars.len(), 32);
    }

    #[test]
    fn keys_of_registrars_and_log_are_good_ed25519_keys() {
        let zero = || bytes::Bytes::from_static(&[0; 32]);
        check(move |covenant| covenant.registrars[0].ed25519 = zero(), "KEY_SMALL_ORDER", "registrars[0]");
        check(move |covenant| covenant.log_keys[0].ed25519 = zero(), "KEY_SMALL_ORDER", "log_keys[0]");
        let no_point = || bytes::Bytes::from_static(&[2; 32]);
        check(move |covenant| covenant.registrars[0].ed25519 = no_point(), "KEY_ENCODING", "registrars[0]");
    }

    #[test]
    fn a_retired_log_key_has_its_end_and_another_lives() {
        let retired = |of: u8| wire::LogKey { ed25519: raw(of), until_size: 5, until_root: spki(1).into() };
        check(move |covenant| covenant.log_keys = vec![retired(9)], "LOG_KEYS", "log_keys");
        check(|covenant| covenant.log_keys.clear(), "LOG_KEYS", "log_keys");
        check(move |covenant| covenant.log_keys.push(retired(9)), "KEY_USED_TWICE", "log_keys[1]");
        let no_root = move || wire::LogKey { until_root: bytes::Bytes::new(), ..retired(8) };
        check(move |covenant| covenant.log_keys.push(no_root()), "LOG_KEYS", "log_keys[1]");
        let no_size = move || wire::LogKey { until_size: 0, ..retired(8) };
        check(move |covenant| covenant.log_keys.push(no_size()), "LOG_KEYS", "log_keys[1]");
        let good = taken(move |covenant| covenant.log_keys.insert(0, retired(8)));
        assert_eq!(
            good.live_log_keys().iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>(),
            [raw(9).to_vec()]
        );
    }

    #[test]
    fn a_root_is_a_certificate_and_nothing_behind_it() {
        let root = |der: &'static [u8]| wire::Root { der: der.into(), oins: vec![] };
        check(move |covenant| covenant.signing_roots = vec![root(b"no")], "ROOT", "signing_roots[0]");
        check(move |covenant| covenant.transport_roots = vec![root(b"\x30\x00")], "ROOT", "transport_roots[0]");
    }

    fn spki_of_raw(of: u8) -> bytes::Bytes {
        crate::signature::PublicKey::from_ed25519(raw(of).as_ref().try_into().unwrap()).unwrap().spki_sha256().into()
    }

    #[test]
    fn one_key_has_one_use_and_one_owner() {
        let first = |covenant: &mut wire::Covenant, key: bytes::Bytes| {
            covenant.participants[0].functions[0].keys[0].spki_sha256 = key;
        };
        let field = "participants[0].functions[0].keys[0]";
        check(|covenant| first(covenant, spki_of_raw(1)), "KEY_USED_TWICE", field);
        check(|covenant| first(covenant, spki_of_raw(9)), "KEY_USED_TWICE", field);
        check(|covenant| first(covenant, spki(11).into()), "KEY_USED_TWICE", "participants[0].functions[0].keys[1]");
        check(|covenant| first(covenant, spki(12).into()), "KEY_USED_TWICE", "participants[1].functions[0].keys[0]");
        // Two functions of one OIN may share a key in one use.
        taken(|covenant| covenant.participants[2].functions[1].keys[0].spki_sha256 = spki(20).into());
        check(
            |covenant| covenant.participants[2].functions[1].keys[1].spki_sha256 = spki(20).into(),
            "KEY_USED_TWICE",
            "participants[2].functions[1].keys[1]",
        );
    }

    #[test]
    fn a_grant_has_keys_of_both_uses_or_is_unbound() {
        let field = "participants[0].functions[0]";
        let grant = |covenant: &mut wire::Covenant| std::mem::take(&mut covenant.participants[0].functions[0]);
        let put = |covenant: &mut wire::Covenant, grant| covenant.participants[0].functions[0] = grant;
        check(
            move |covenant| {
                let all = grant(covenant);
                put(covenant, wire::FunctionGrant { unbound: true, ..all });
            },
            "UNBOUND_WITH_KEYS",
            field,
        );
        for keep in [None, Some(Use::Transport), Some(Use::Signing)] {
            check(
                move |covenant| {
                    let mut all = grant(covenant);
                    all.keys.retain(|key| Some(key.r#use()) == keep);
                    put(covenant, all);
                },
                "KEY_PER_USE",
                field,
            );
        }
        check(
            |covenant| covenant.participants[0].functions[0].keys[1].valid_until = time(BEGIN),
            "KEY_DATES",
            "participants[0].functions[0].keys[1]",
        );
        taken(|covenant| {
            for key in &mut covenant.participants[0].functions[0].keys {
                (key.valid_from, key.valid_until) = (time(BEGIN - 9 * DAY), time(BEGIN - DAY));
            }
        });
    }

    #[test]
    fn operators_and_auditors_are_bound_and_the_hub_is_nothing_else() {
        let hub = |grant: wire::FunctionGrant| {
            move |covenant: &mut wire::Covenant| covenant.participants[4].functions = vec![grant]
        };
        check(hub(unbound(F::Operator)), "HUB_UNBOUND", "participants[4].functions[0]");
        check(hub(unbound(F::Auditor)), "HUB_UNBOUND", "participants[4].functions[0]");
        check(hub(unbound(F::SafeHome)), "HUB_CASE_FUNCTION", "participants[4].functions[0]");
        check(hub(grant(F::Inspectorate, 30)), "HUB_CASE_FUNCTION", "participants[4].functions[0]");
        let elsewhere = |covenant: &mut wire::Covenant| covenant.participants[3].functions.push(unbound(F::Auditor));
        check(elsewhere, "HUB_UNBOUND", "participants[3].functions[1]");
        check(|covenant| covenant.hub_oin = POLICE.to_owned(), "HUB_CASE_FUNCTION", "participants[0].functions[0]");
        check(|covenant| covenant.hub_oin = "hub".to_owned(), "OIN", "hub_oin");
    }

    #[test]
    fn a_rules_id_is_short_enough_for_a_record_to_name_eight() {
        check(|covenant| covenant.rules[1].id = "r".repeat(65), "RULE_ID", "rules[1].id");
    }

    #[test]
    fn nothing_stands_twice() {
        let twice = |covenant: &mut wire::Covenant| {
            let first = covenant.participants[3].clone();
            covenant.participants.push(first);
        };
        check(twice, "PARTICIPANT_TWICE", "participants[6]");
        let twice =
            |covenant: &mut wire::Covenant| covenant.participants[3].functions.push(unbound(F::CertifiedInstitution));
        check(twice, "FUNCTION_TWICE", "participants[3].functions[1]");
        check(|covenant| covenant.rules[1].id = "bpg-vt".to_owned(), "RULE_TWICE", "rules[1].id");
        check(|covenant| covenant.profiles[1].version = 1, "PROFILE_TWICE", "profiles[1]");
        check(|covenant| covenant.clocks[1].id = "missing".to_owned(), "CLOCK_TWICE", "clocks[1].id");
        let twice = |covenant: &mut wire::Covenant| {
            let list = covenant.code_lists[0].clone();
            covenant.code_lists.push(list);
        };
        check(twice, "CODE_TWICE", "code_lists[1].id");
        let twice = |covenant: &mut wire::Covenant| {
            let code = covenant.code_lists[0].codes[0].clone();
            covenant.code_lists[0].codes.push(code);
        };
        check(twice, "CODE_TWICE", "code_lists[0].codes[1]");
    }

    #[test]
    fn a_rule_has_all_its_columns() {
        check(|covenant| covenant.rules[0].types.clear(), "RULE_EMPTY", "rules[0].types");
        check(|covenant| covenant.rules[0].from.clear(), "RULE_EMPTY", "rules[0].from");
        check(|covenant| covenant.rules[0].to.clear(), "RULE_EMPTY", "rules[0].to");
        check(|covenant| covenant.rules[0].regimes.clear(), "RULE_EMPTY", "rules[0].regimes");
    }

    #[test]
    fn days_durations_and_municipalities_can_be_read() {
        check(|covenant| covenant.routes[0].from = "2026-02-30".to_owned(), "ROUTE_DATE", "routes[0].from");
        check(|covenant| covenant.routes[0].until = "2026-01-01".to_owned(), "ROUTE_DATE", "routes[0].until");
        check(|covenant| covenant.routes[0].until = "soon".to_owned(), "ROUTE_DATE", "routes[0].until");
        check(|covenant| covenant.clocks[0].duration = "15 min".to_owned(), "CLOCK_DURATION", "clocks[0].duration");
        check(|covenant| covenant.clocks[2].duration = "PT8H".to_owned(), "CLOCK_DURATION", "clocks[2].duration");
        let code = |covenant: &mut wire::Covenant| covenant.routes[0].municipalities.push("363".to_owned());
        check(code, "MUNICIPALITY", "routes[0].municipalities[1]");
        let code = |covenant: &mut wire::Covenant| covenant.participants[2].municipality = "０".to_owned();
        check(code, "MUNICIPALITY", "participants[2].municipality");
        check(|covenant| covenant.participants[0].oin = "police".to_owned(), "OIN", "participants[0].oin");
        check(|covenant| covenant.routes[0].to.as_mut().unwrap().oin = "x".to_owned(), "OIN", "routes[0].to.oin");
    }

    /// Who must sign the next covenant, which has registrars 2, 3 and 4 where 1, 2 and 3 were.
    fn signed_by(by: &[u8]) -> Result<u64, &'static str> {
        let last = covenant();
        let mut message = next_of(&last);
        message.registrars = vec![registrar(2), registrar(3), registrar(4)];
        let next = Covenant::verify(&signed(&message, by), &Trust::Last(&last));
        next.map(|next| next.serial()).map_err(|bad| bad.reason())
    }

    #[test]
    fn enough_old_and_enough_new_registrars_have_signed_and_nobody_else() {
        assert_eq!(signed_by(&[2, 3]), Ok(8), "two of each");
        assert_eq!(signed_by(&[1, 2, 4]), Ok(8), "one of them both old and new");
        assert_eq!(signed_by(&[1, 2, 3, 4]), Ok(8));
        assert_eq!(signed_by(&[2, 2, 3]), Ok(8), "one of them twice");
        assert_eq!(signed_by(&[]), Err("TOO_FEW_OLD"));
        assert_eq!(signed_by(&[2, 2]), Err("TOO_FEW_OLD"), "twice is once");
        assert_eq!(signed_by(&[2, 4]), Err("TOO_FEW_OLD"));
        assert_eq!(signed_by(&[1, 2]), Err("TOO_FEW_NEW"));
        assert_eq!(signed_by(&[2, 3, 5]), Err("SIGNATURE"), "a stranger");
        assert_eq!(signed_by(&[2, 3, 9]), Err("SIGNATURE"), "the log's key is no registrar's");
        assert_eq!(signed_by(&[2; 65]), Err("SIZE"));
    }

    #[test]
    fn a_signature_over_other_bytes_is_nobodys() {
        let last = covenant();
        let mut item = signed(&next_of(&last), &[1, 2]);
        let mut sig = item.signatures[1].sig.to_vec();
        sig[40] ^= 1;
        item.signatures[1].sig = sig.into();
        let bad = Covenant::verify(&item, &Trust::Last(&last)).unwrap_err();
        assert_eq!((bad.reason(), bad.field()), ("SIGNATURE", "signatures[1]"));
        item.signatures[1].sig = bytes::Bytes::new();
        assert_eq!(Covenant::verify(&item, &Trust::Last(&last)).unwrap_err().reason(), "SIGNATURE");
    }

    proptest::proptest! {
        /// Whatever registrars sign, it is taken or refused; nothing that was checked before is assumed in vain.
        #[test]
        fn a_covenant_with_a_changed_byte_is_never_a_panic(place in proptest::prelude::any::<usize>(), byte: u8) {
            let last = covenant();
            let mut payload = next_of(&last).encode_to_vec();
            let place = place % payload.len();
            payload[place] = byte;
            let payload: bytes::Bytes = payload.into();
            let payload_type = ItemType::Covenant.payload_type().to_owned();
            let pae = crate::item::pae(&payload_type, &payload);
            let signatures = [1, 2].map(|of| wire::ItemSignature {
                sig: key(of).sign(&pae).to_bytes().to_vec().into(),
                keyid: String::new(),
            });
            let item = wire::SignedItem { signatures: signatures.to_vec(), payload, payload_type };
            if let Ok(next) = Covenant::verify(&item, &Trust::Last(&last)) {
                proptest::prop_assert_eq!(next.serial(), 8);
                next.cells().for_each(drop);
            }
        }
    }

    #[test]
    fn a_hint_who_signed_is_never_looked_at() {
        let last = covenant();
        let mut item = signed(&next_of(&last), &[1, 2]);
        item.signatures[0].keyid = "00".to_owned();
        assert!(Covenant::verify(&item, &Trust::Last(&last)).is_ok());
    }

    #[test]
    fn a_walk_goes_serial_by_serial_and_names_the_one_that_breaks_a_rule() {
        let first = signed(&message(), &[1, 2]);
        let floor = Trust::Floor(floor_of(&first));
        let seventh = covenant();
        let eighth = taken(|_| {});
        let mut ninth_message = next_of(&eighth);
        ninth_message.registrars = vec![registrar(4), registrar(5)];
        let ninth = signed(&ninth_message, &[1, 2, 4, 5]);
        let tenth_message = wire::Covenant {
            serial: 10,
            previous_digest: crate::item::digest_of(&ninth.payload_type, &ninth.payload).into(),
            ..ninth_message
        };
        let tenth = signed(&tenth_message, &[4, 5]);
        let all = [&first, eighth.item(), &ninth, &tenth];
        assert_eq!(walk(&floor, all).unwrap().unwrap().serial(), 10);
        assert_eq!(walk(&Trust::Last(&seventh), [all[1], all[2]]).unwrap().unwrap().serial(), 9);
        assert_eq!(walk(&Trust::Last(&seventh), []).unwrap().unwrap().serial(), 7);
        assert!(walk(&floor, []).unwrap().is_none());
        let (place, bad) = walk(&floor, [all[0], all[1], all[3]]).unwrap_err();
        assert_eq!((place, bad.reason()), (2, "SERIAL_GAP"));
        let (place, bad) = walk(&floor, [all[0], all[1], all[0]]).unwrap_err();
        assert_eq!((place, bad.reason()), (2, "SERIAL_LOWER"));
    }
}

mod act {
    use super::*;

    #[track_caller]
    fn check(to_act: Address, used_for: Use, key: u8, expected: Result<bool, &str>) {
        let acting = covenant().may_act(to_act, used_for, &spki(key), at(BEGIN));
        assert_eq!(acting.map(|acting| acting.bound).map_err(NoRight::reason), expected);
    }

    #[test]
    fn a_bound_key_acts_where_it_is_bound_and_nowhere_else() {
        check(address(TOWN, F::Mayor), Use::Signing, 23, Ok(true));
        check(address(TOWN, F::Mayor), Use::Transport, 23, Err("KEY_NOT_BOUND"));
        check(address(TOWN, F::MunicipalityCareReports), Use::Signing, 23, Err("KEY_NOT_BOUND"));
        check(address(TOWN, F::MunicipalityNotices), Use::Signing, 23, Err("KEY_BOUND_ELSEWHERE"));
        check(address(GUARDIAN, F::CertifiedInstitution), Use::Signing, 23, Err("KEY_BOUND_ELSEWHERE"));
        check(address(POLICE, F::PoliceOperations), Use::Signing, 23, Err("KEY_NOT_BOUND"));
        check(address(TOWN, F::Prosecution), Use::Signing, 23, Err("NO_FUNCTION"));
    }

    #[test]
    fn a_free_key_acts_in_unbound_functions_alone() {
        check(address(TOWN, F::MunicipalityNotices), Use::Signing, 99, Ok(false));
        check(address(TOWN, F::Mayor), Use::Signing, 99, Err("KEY_NOT_BOUND"));
        check(address(GONE, F::Shelter), Use::Signing, 99, Err("SUSPENDED"));
        check(address("00000099000000000777", F::Shelter), Use::Signing, 99, Err("NO_FUNCTION"));
    }

    #[test]
    fn keys_of_registrars_and_log_act_for_nobody() {
        for of in [1, 9] {
            let key = crate::signature::PublicKey::from_ed25519(raw(of).as_ref().try_into().unwrap()).unwrap();
            let to_act = address(GUARDIAN, F::CertifiedInstitution);
            let no = covenant().may_act(to_act, Use::Signing, &key.spki_sha256(), at(BEGIN)).unwrap_err();
            assert_eq!(no, NoRight::KeyBoundElsewhere);
        }
    }

    #[test]
    fn a_binding_holds_from_and_not_until() {
        let covenant = covenant();
        let mayor = address(TOWN, F::Mayor);
        let acts = |millis| covenant.may_act(mayor, Use::Signing, &spki(23), at(millis)).map(|acting| acting.bound);
        assert_eq!(acts(BEGIN - 1), Err(NoRight::KeyBindingDates));
        assert_eq!([acts(BEGIN), acts(BEGIN + 50 * DAY - 1)], [Ok(true), Ok(true)]);
        assert_eq!(acts(BEGIN + 50 * DAY), Err(NoRight::KeyBindingDates));
    }

    #[test]
    fn of_two_rows_for_one_key_either_may_hold() {
        let mut message = message();
        let keys = &mut message.participants[2].functions[1].keys;
        let mut later = keys[1].clone();
        (later.valid_from, later.valid_until) = (time(BEGIN + 60 * DAY), time(BEGIN + 70 * DAY));
        keys.push(later);
        let covenant = covenant_of(&message);
        let mayor = address(TOWN, F::Mayor);
        let acts = |days: i64| covenant.may_act(mayor, Use::Signing, &spki(23), at(BEGIN + days * DAY)).is_ok();
        assert_eq!([acts(49), acts(55), acts(65), acts(75)], [true, false, true, false]);
    }

    #[test]
    fn a_key_that_was_bound_stays_out_of_unbound_functions_when_its_binding_is_over() {
        let notices = address(TOWN, F::MunicipalityNotices);
        let no = covenant().may_act(notices, Use::Signing, &spki(23), at(BEGIN + 90 * DAY)).unwrap_err();
        assert_eq!(no, NoRight::KeyBoundElsewhere);
    }

    #[test]
    fn all_functions_of_a_key_are_listed() {
        let mut message = message();
        message.participants[2].functions[1].keys[0].spki_sha256 = spki(20).into();
        let covenant = covenant_of(&message);
        let functions = |key| covenant.functions(oin(TOWN), Use::Transport, &spki(key), at(BEGIN));
        assert_eq!(functions(20), [F::MunicipalityCareReports, F::Mayor]);
        assert_eq!(functions(99), [F::MunicipalityNotices]);
        assert_eq!(functions(10), []);
        assert_eq!(covenant.functions(oin(GONE), Use::Transport, &spki(99), at(BEGIN)), [], "suspended");
    }
}

mod resolve {
    use super::*;

    fn to(covenant: &Covenant, function: F, municipality: &str) -> Option<Address> {
        covenant.resolve(function, municipality, T::ExploitationSignal, at(BEGIN)).ok()
    }

    #[test]
    fn a_row_comes_before_a_municipalitys_own_function() {
        let covenant = covenant();
        assert_eq!(to(&covenant, F::SafeHome, "0363"), Some(address(SAFE_HOME, F::SafeHome)));
        assert_eq!(to(&covenant, F::Mayor, "0363"), Some(address(TOWN, F::Mayor)));
        let merged = Some(address(TOWN, F::MunicipalityCareReports));
        assert_eq!(to(&covenant, F::MunicipalityCareReports, "0457"), merged, "a municipality that was merged");
    }

    #[test]
    fn who_takes_no_part_is_no_address() {
        let covenant = covenant();
        assert_eq!(to(&covenant, F::Shelter, "0457"), None, "own, suspended");
        assert_eq!(to(&covenant, F::Shelter, "0363"), None, "by a row, suspended");
        assert_eq!(to(&covenant, F::SafeHome, "9999"), None);
        assert_eq!(to(&covenant, F::SafeHome, "363"), None);
        assert_eq!(to(&covenant, F::SafeHome, ""), None);
    }

    #[test]
    fn the_first_row_that_fits_decides_even_if_it_leads_nowhere() {
        let mut message = message();
        message.routes.insert(0, route(F::Mayor, "0363", address(GUARDIAN, F::Mayor), "2026-01-01", ""));
        assert_eq!(to(&covenant_of(&message), F::Mayor, "0363"), None);
        message.routes[0].types = numbers(&[T::CareReport]);
        assert_eq!(to(&covenant_of(&message), F::Mayor, "0363"), Some(address(TOWN, F::Mayor)));
    }

    #[test]
    fn a_row_holds_on_its_days_in_amsterdam() {
        let covenant = covenant();
        let found = |text: &str| {
            let at = at(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
            covenant.resolve(F::SafeHome, "0363", T::CareReport, at).is_ok()
        };
        assert_eq!([found("2025-12-31T22:59:59.999Z"), found("2025-12-31T23:00:00Z")], [false, true]);
        assert_eq!([found("2026-12-31T22:59:59.999Z"), found("2026-12-31T23:00:00Z")], [true, false]);
    }
}

mod permit {
    use super::*;

    fn intent<'a>(signal_type: T, recipients: &[(Address, &'a str)]) -> Intent<'a> {
        let recipients = recipients.iter().map(|(address, legal_basis)| IntentRecipient {
            address: *address,
            legal_basis,
            has_reference: false,
            municipality: None,
        });
        Intent {
            from: F::PoliceOperations,
            signal_type,
            recipients: recipients.collect(),
            source_regime: R::Wpg8,
            purpose: Purpose::ProtectChild,
            urgency: Urgency::Normal,
            supersedes: false,
            profile: None,
            signed_at: at(BEGIN),
        }
    }

    fn with_profile<'a>(covenant: &Covenant, name: &'a str, version: u32) -> Option<IntentProfile<'a>> {
        Some(IntentProfile { name, version, sha256: covenant.profile_sha256(name, version).unwrap() })
    }

    fn vt() -> Address {
        address(SAFE_HOME, F::SafeHome)
    }

    fn mayor() -> Address {
        address(TOWN, F::Mayor)
    }

    #[track_caller]
    fn refused(intent: &Intent<'_>, reason: Refusal, recipient: usize, nearest: Option<&str>, message: &str) {
        let refused = covenant().permit_intent(intent).unwrap_err();
        assert_eq!(
            (refused.reason, refused.recipient, refused.nearest_rule.as_deref()),
            (reason, recipient, nearest),
            "{refused}"
        );
        assert_eq!(refused.message, message);
    }

    #[test]
    fn a_permit_names_covenant_rule_and_profile() {
        let covenant = covenant();
        let mut intent = intent(T::ExploitationSignal, &[(vt(), "BPG_4_2_1_I")]);
        let permit = covenant.permit_intent(&intent).unwrap();
        assert_eq!(permit.covenant, covenant.digest());
        assert_eq!(permit.recipients[0].rule_id, "bpg-vt");
        assert_eq!(permit.profile, ("EX".to_owned(), 2), "the highest version of the type's own");
        assert_eq!(covenant.profile_for(&permit).unwrap().name, "EX");
        intent.profile = with_profile(&covenant, "EX", 1);
        assert_eq!(covenant.permit_intent(&intent).unwrap().profile, ("EX".to_owned(), 1));
    }

    #[test]
    fn a_permit_says_whether_a_route_leads_to_the_recipient() {
        let covenant = covenant();
        let routed = |municipality, at| {
            let mut intent = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I")]);
            intent.recipients[0].municipality = municipality;
            intent.signed_at = at;
            covenant.permit_intent(&intent).unwrap().recipients[0].routed
        };
        assert!(routed(Some("0363"), at(BEGIN)));
        assert!(!routed(None, at(BEGIN)));
        assert!(!routed(Some("0457"), at(BEGIN)), "another municipality's");
        assert!(!routed(Some("0363"), at(1_798_758_000_000)), "the row is over on the day of signing");
    }

    #[test]
    fn a_route_may_lead_to_another_function() {
        let mut message = message();
        let zof = address(TOWN, F::MunicipalityCareReports);
        message.routes.insert(0, route(F::SafeHome, "0400", zof, "2026-01-01", ""));
        let covenant = covenant_of(&message);
        assert_eq!(covenant.resolve(F::SafeHome, "0400", T::CareReport, at(BEGIN)), Ok(zof));
        let mut intent = intent(T::CareReport, &[(zof, "BPG_4_2_1_I")]);
        intent.recipients[0].municipality = Some("0400");
        assert!(covenant.permit_intent(&intent).unwrap().recipients[0].routed);
    }

    #[test]
    fn who_takes_no_part_receives_nothing() {
        let mut message = message();
        message.participants[1].suspended = true;
        let intent = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I")]);
        let suspended = covenant_of(&message).permit_intent(&intent).unwrap_err();
        message.participants.remove(1);
        let unknown = covenant_of(&message).permit_intent(&intent).unwrap_err();
        assert_eq!(suspended, unknown, "unknown and suspended are one answer");
        assert_eq!(suspended.reason, Refusal::NoRoute);
    }

    #[test]
    fn a_refusal_says_what_would_do() {
        let mut care_report = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I")]);
        care_report.source_regime = R::Wpg9;
        refused(
            &care_report,
            Refusal::BasisRegime,
            0,
            Some("bpg-vt"),
            "Police may send CARE_REPORT to Veilig Thuis on BPG_4_2_1_I (regime WPG_8 or WPG_13), or on WPG_19 (needs \
             basis_reference: the number of the decision). You gave BPG_4_2_1_I with WPG_9. [BASIS_REGIME]",
        );
        care_report.recipients[0].legal_basis = "WPG_19";
        refused(
            &care_report,
            Refusal::BasisReference,
            0,
            Some("wpg-19"),
            "Police may send CARE_REPORT to Veilig Thuis on BPG_4_2_1_I (regime WPG_8 or WPG_13), or on WPG_19 (needs \
             basis_reference: the number of the decision). You gave WPG_19 without basis_reference. [BASIS_REFERENCE]",
        );
        care_report.recipients[0].has_reference = true;
        assert_eq!(covenant().permit_intent(&care_report).unwrap().recipients[0].rule_id, "wpg-19");
        care_report.recipients[0].legal_basis = "JW_2_3";
        refused(
            &care_report,
            Refusal::Basis,
            0,
            Some("bpg-vt"),
            "Police may send CARE_REPORT to Veilig Thuis on BPG_4_2_1_I (regime WPG_8 or WPG_13), or on WPG_19. You gave \
             JW_2_3. [BASIS]",
        );
    }

    #[test]
    fn each_column_that_fails_is_named() {
        let mut to_mayor = intent(T::ExploitationSignal, &[(mayor(), "WPG_16_1_C")]);
        refused(
            &to_mayor,
            Refusal::BasisPurpose,
            0,
            Some("mayor"),
            "Police may send EXPLOITATION_SIGNAL to Mayor on WPG_16_1_C (purpose PUBLIC_ORDER). You gave WPG_16_1_C for \
             PROTECT_CHILD. [BASIS_PURPOSE]",
        );
        to_mayor.purpose = Purpose::PublicOrder;
        let covenant = covenant();
        to_mayor.profile = with_profile(&covenant, "EX", 1);
        refused(
            &to_mayor,
            Refusal::BasisProfile,
            0,
            Some("mayor"),
            "Police may send EXPLOITATION_SIGNAL to Mayor on WPG_16_1_C (profile EX-MAYOR 1). You gave WPG_16_1_C with \
             profile EX 1. [BASIS_PROFILE]",
        );
        to_mayor.profile = with_profile(&covenant, "EX-MAYOR", 1);
        assert!(covenant.permit_intent(&to_mayor).is_ok());
        to_mayor.profile.as_mut().unwrap().sha256 = Digest::of(b"another covenant's");
        refused(
            &to_mayor,
            Refusal::BasisProfile,
            0,
            Some("mayor"),
            "Police may send EXPLOITATION_SIGNAL to Mayor on WPG_16_1_C (profile EX-MAYOR 1). You gave WPG_16_1_C with \
             profile EX-MAYOR 1, whose digest is another in this covenant. [BASIS_PROFILE]",
        );

        let mut danger = intent(T::ExploitationSignal, &[(address(POLICE, F::PoliceOperations), "VITAL_INTEREST")]);
        (danger.from, danger.source_regime) = (F::SafeHome, R::Wmo);
        refused(
            &danger,
            Refusal::BasisUrgency,
            0,
            Some("vital"),
            "Veilig Thuis may send EXPLOITATION_SIGNAL to Police on VITAL_INTEREST (urgency IMMEDIATE). You gave \
             VITAL_INTEREST as NORMAL. [BASIS_URGENCY]",
        );
        danger.urgency = Urgency::Immediate;
        assert!(covenant.permit_intent(&danger).is_ok());

        let mut correction = intent(T::Correction, &[(vt(), "WPG_30")]);
        refused(
            &correction,
            Refusal::BasisSupersedes,
            0,
            Some("correction"),
            "Police may send CORRECTION to Veilig Thuis on WPG_30 (needs supersedes: the signal that it changes). You \
             gave WPG_30 without supersedes. [BASIS_SUPERSEDES]",
        );
        correction.supersedes = true;
        assert!(covenant.permit_intent(&correction).is_ok());
    }

    #[test]
    fn a_pair_without_a_row_is_told_what_it_has() {
        refused(
            &intent(T::CareReport, &[(mayor(), "BPG_4_2_1_I")]),
            Refusal::NoRule,
            0,
            None,
            "Police may not send CARE_REPORT to Mayor on any basis. To Mayor it may send EXPLOITATION_SIGNAL or \
             CORRECTION. CARE_REPORT it may send to Municipality (care reports) or Veilig Thuis. [NO_RULE]",
        );
        refused(
            &intent(T::Consultation, &[(address(GUARDIAN, F::CertifiedInstitution), "X")]),
            Refusal::NoRule,
            0,
            None,
            "Police may not send CONSULTATION to Certified institution on any basis. [NO_RULE]",
        );
    }

    #[test]
    fn the_nearest_row_is_the_one_that_fails_last() {
        let mut message = message();
        let mut near = message.rules[0].clone();
        near.id = "nearer".to_owned();
        near.urgencies = numbers(&[Urgency::Immediate]);
        near.regimes = numbers(&[R::Wpg9]);
        message.rules.push(near);
        let covenant = covenant_of(&message);
        let mut intent = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I")]);
        intent.source_regime = R::Wpg9;
        let refused = covenant.permit_intent(&intent).unwrap_err();
        assert_eq!((refused.reason, refused.nearest_rule.as_deref()), (Refusal::BasisUrgency, Some("nearer")));
        intent.source_regime = R::Wpg10;
        let refused = covenant.permit_intent(&intent).unwrap_err();
        assert_eq!(refused.nearest_rule.as_deref(), Some("bpg-vt"), "of equals the first in the document");
    }

    #[test]
    fn the_first_recipient_without_a_row_is_named() {
        let mut two = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I"), (mayor(), "WPG_16_1_C")]);
        let refused = covenant().permit_intent(&two).unwrap_err();
        assert_eq!((refused.reason, refused.recipient), (Refusal::NoRule, 1), "though no profile was given");
        two.recipients.swap(0, 1);
        assert_eq!(covenant().permit_intent(&two).unwrap_err().recipient, 0);
        two.recipients.clear();
        assert_eq!(covenant().permit_intent(&two).unwrap_err().reason, Refusal::NoRoute, "nobody is nobody known");
    }

    #[test]
    fn recipients_whose_profiles_differ_need_two_signals() {
        let covenant = covenant();
        let mut both = intent(T::ExploitationSignal, &[(vt(), "BPG_4_2_1_I"), (mayor(), "WPG_16_1_C")]);
        both.purpose = Purpose::PublicOrder;
        for (profile, recipient, nearest) in [
            (with_profile(&covenant, "EX", 1), 1, "mayor"),
            (with_profile(&covenant, "EX-MAYOR", 1), 0, "bpg-vt"),
            (None, 0, "bpg-vt"),
        ] {
            both.profile = profile;
            let refused = covenant.permit_intent(&both).unwrap_err();
            assert_eq!(
                (refused.reason, refused.recipient, refused.nearest_rule.as_deref()),
                (Refusal::ProfileSplit, recipient, Some(nearest))
            );
            assert!(refused.message.contains("No one profile serves all recipients: send two signals."), "{refused}");
        }
        // Without a row apart from the profile for each, two signals would not do either.
        both.purpose = Purpose::ProtectChild;
        both.profile = with_profile(&covenant, "EX", 1);
        assert_eq!(covenant.permit_intent(&both).unwrap_err().reason, Refusal::BasisPurpose);
    }

    #[test]
    fn a_profile_that_some_row_serves_for_all_is_no_split() {
        let covenant = covenant();
        let mut two = intent(
            T::ExploitationSignal,
            &[(vt(), "BPG_4_2_1_I"), (address(TOWN, F::MunicipalityCareReports), "BPG_4_2_1_I")],
        );
        two.profile = with_profile(&covenant, "EX-MAYOR", 1);
        assert_eq!(covenant.permit_intent(&two).unwrap_err().reason, Refusal::BasisProfile);
        two.profile = Some(IntentProfile { name: "CR", version: 1, sha256: covenant.profile_sha256("CR", 1).unwrap() });
        let refused = covenant.permit_intent(&two).unwrap_err();
        assert_eq!(refused.reason, Refusal::BasisProfile, "a profile of another type");
    }

    #[test]
    fn a_row_takes_only_profiles_of_the_signals_type() {
        let mut message = message();
        message.rules[0].profiles = vec!["CR".to_owned()];
        let covenant = covenant_of(&message);
        let care_report = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I")]);
        assert_eq!(covenant.permit_intent(&care_report).unwrap().profile.0, "CR");
        let exploitation = intent(T::ExploitationSignal, &[(vt(), "BPG_4_2_1_I")]);
        let refused = covenant.permit_intent(&exploitation).unwrap_err();
        assert_eq!(refused.reason, Refusal::BasisProfile);
        assert!(refused.message.contains("on BPG_4_2_1_I (no profile serves it)"), "{refused}");
        // CR is named by a rule now, so it is no type's own any more.
        let zof = intent(T::CareReport, &[(address(TOWN, F::MunicipalityCareReports), "BPG_4_2_1_I")]);
        assert_eq!(covenant.permit_intent(&zof).unwrap_err().reason, Refusal::BasisProfile);
    }

    #[test]
    fn a_refusal_stays_short_whatever_the_covenant_holds() {
        let mut message = message();
        for number in 0..200 {
            let mut rule = message.rules[0].clone();
            rule.id = format!("more-{number}");
            rule.legal_basis = format!("MORE_{number}");
            message.rules.push(rule);
        }
        let intent = intent(T::CareReport, &[(vt(), "NONE")]);
        let refused = covenant_of(&message).permit_intent(&intent).unwrap_err();
        assert!(refused.message.len() < 1_100, "{}", refused.message.len());
        assert!(refused.message.contains(" …") && refused.message.ends_with(" [BASIS]"), "{refused}");
    }

    #[test]
    fn every_cell_holds_the_rows_that_a_slow_reader_finds() {
        let mut message = message();
        for number in 0..130 {
            let mut rule = message.rules[number % 6].clone();
            rule.id = format!("more-{number}");
            message.rules.push(rule);
        }
        let covenant = covenant_of(&message);
        let mut cells = 0;
        for cell in covenant.cells() {
            let slow = message.rules.iter().filter(|rule| {
                rule.types().any(|it| it == cell.signal_type)
                    && rule.from().any(|it| it == cell.from)
                    && rule.to().any(|it| it == cell.to)
            });
            assert!(slow.eq(cell.rules.iter().copied()), "{cell:?}");
            cells += 1;
        }
        assert_eq!(cells, 22 * 25 * 25);
    }

    #[test]
    fn invariants_can_be_asked_of_every_cell() {
        let covenant = covenant();
        assert!(covenant.cells().flat_map(|cell| cell.rules).all(|rule| !rule.legal_basis.is_empty()));
        assert!(covenant.cells().filter(|cell| cell.to == F::Rapporteur).all(|cell| cell.rules.is_empty()));
        let to_mayor: Vec<_> = covenant
            .cells()
            .filter(|cell| cell.to == F::Mayor && !cell.rules.is_empty())
            .map(|cell| (cell.signal_type, cell.from))
            .collect();
        let police = F::PoliceOperations;
        let kmar = F::RoyalMarechaussee;
        let (ex, cx) = (T::ExploitationSignal, T::Correction);
        assert_eq!(to_mayor, [(ex, police), (ex, kmar), (cx, police), (cx, kmar)]);
    }
}

mod lists {
    use super::*;

    #[test]
    fn codes_and_rules_have_their_labels() {
        let covenant = covenant();
        assert_eq!(covenant.code("means", "DEBT").map(|code| code.label_nl.as_str()), Some("schuld"));
        assert_eq!(covenant.code("means", "GIFTS"), None);
        assert_eq!(covenant.code("none", "DEBT"), None);
        assert!(crate::content::Codes::has(&covenant, "means", "DEBT"));
        assert_eq!(covenant.rule("wpg-19").map(|rule| rule.four_eyes), Some(true));
        assert_eq!(covenant.rule("none"), None);
    }

    #[test]
    fn a_profiles_digest_is_that_of_its_message() {
        let covenant = covenant();
        let message = profile("EX", 2, T::ExploitationSignal).encode_to_vec();
        assert_eq!(covenant.profile_sha256("EX", 2), Some(Digest::of(&message)));
        assert_eq!(covenant.profile_sha256("EX", 3), None);
    }

    #[test]
    fn a_grant_says_who_may_use_citizens_numbers_and_which_keys_count() {
        let covenant = covenant();
        let vt = address(SAFE_HOME, F::SafeHome);
        assert!(covenant.may_use_bsn(vt) && !covenant.may_use_bsn(address(TOWN, F::Mayor)));
        assert_eq!((covenant.key_floor(vt), covenant.key_floor(address(TOWN, F::Mayor))), (3, 0));
    }

    #[test]
    fn the_first_clock_that_fits_says_when_an_answer_is_due() {
        let covenant = covenant();
        let clock = |signal_type, urgency| {
            let clock = covenant.answer_clock(signal_type, F::Shelter, F::PoliceOperations, urgency);
            clock.map(|clock| clock.id.as_str())
        };
        assert_eq!(clock(T::MissingFromCare, Urgency::Normal), Some("missing"));
        assert_eq!(clock(T::CareReport, Urgency::Immediate), Some("immediate"));
        assert_eq!(clock(T::CareReport, Urgency::Normal), Some("normal"));
        assert_eq!(clock(T::CareReport, Urgency::Today), None);
        // BEGIN is a Monday, 13:30 in Amsterdam.
        let due = |urgency| covenant.answer_due(T::CareReport, F::Shelter, F::SafeHome, urgency, at(BEGIN));
        assert_eq!(due(Urgency::Immediate), Some(at(BEGIN + 15 * 60 * 1_000)));
        assert_eq!(due(Urgency::Normal), Some(at(BEGIN + DAY)));
        assert_eq!(due(Urgency::Today), None);
    }

    #[test]
    fn a_clock_of_another_step_is_no_answer_clock() {
        let mut message = message();
        message.clocks[0].step = "triage".to_owned();
        let covenant = covenant_of(&message);
        let clock = covenant.answer_clock(T::MissingFromCare, F::Shelter, F::SafeHome, Urgency::Normal);
        assert_eq!(clock.map(|clock| clock.id.as_str()), Some("normal"));
    }

    #[test]
    fn every_function_has_a_label_in_both_languages() {
        for function in functions() {
            assert!(!function_label_nl(function).is_empty() && !function_label_en(function).is_empty());
        }
        assert_eq!((functions().count(), signal_types().count()), (25, 22));
    }
}
