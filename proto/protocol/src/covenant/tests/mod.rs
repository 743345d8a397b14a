//! What a covenant promises, each rule by the sentence that it proves; the vectors ask the same of whole items.
//!
//! Here stands what all rooms build with: a small covenant that is good, its registrars, and one way to break it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod act;
mod lists;
mod permit;
mod resolve;
mod signatures;
mod succession;
mod tables;

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
