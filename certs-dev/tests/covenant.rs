//! What the development covenant promises, held against it by enumeration: every cell, every route, every function.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use prost::Message as _;
use seinpost_certs::covenant::{AgencyKey, Draft, Tables, build, hub_oin, needed_cells, oin};
use seinpost_certs::pki::{Authority, Validity};
use seinpost_certs::registrar::{Registrar, sign_covenant};
use seinpost_protocol::address::{Address, Function};
use seinpost_protocol::covenant::{COVENANT_BYTES_MAX, Covenant, Floor, Trust, functions, signal_types};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::{self, SignalType, SourceRegime};

const ORIGIN: &str = "seinpost.test/covenant";

fn at(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
}

fn draft(registrars: &[Registrar], root: &Authority) -> Draft {
    let from = at("2026-01-01T00:00:00Z");
    Draft {
        log_origin: ORIGIN.to_owned(),
        serial: 1,
        previous_digest: None,
        validity: Validity::days(from, 100),
        registrars: registrars.iter().map(Registrar::entry).collect(),
        threshold: 2,
        transport_roots: vec![root.certificate().to_vec()],
        signing_roots: vec![root.certificate().to_vec()],
        log_keys: vec![*ed25519_public_of_rfc_8032()],
        keys: Vec::new(),
        keys_validity: Validity::days(from, 730),
        unbound: BTreeSet::new(),
    }
}

/// The public key of RFC 8032's first test.
fn ed25519_public_of_rfc_8032() -> &'static [u8; 32] {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    KEY.get_or_init(|| {
        hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap().try_into().unwrap()
    })
}

/// The covenant as the registrars signed it and `protocol` verified it.
fn covenant() -> &'static Covenant {
    static COVENANT: OnceLock<Covenant> = OnceLock::new();
    COVENANT.get_or_init(|| {
        let registrars: Vec<Registrar> = (1..=3)
            .map(|number| Registrar::generate(format!("Registrar {number}"), oin(92, number).unwrap()).unwrap())
            .collect();
        let root = Authority::root("Root (TEST)", Validity::days(at("2026-01-01T00:00:00Z"), 3650)).unwrap();
        let message = build(&Tables::development().unwrap(), &draft(&registrars, &root)).unwrap();
        let item = sign_covenant(&message, &[&registrars[0], &registrars[2]]).unwrap();
        let trust = Trust::Floor(Floor {
            log_origin: ORIGIN.to_owned(),
            registrars: registrars.iter().map(Registrar::entry).collect(),
            threshold: 2,
            serial: 1,
            digest: item::digest_of(&item.payload_type, &item.payload),
            test: false,
        });
        Covenant::verify(&item, &trust).unwrap()
    })
}

fn names<T: Copy + Ord>(all: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    all.into_iter().collect()
}

const CORRECTIONS: [SignalType; 3] = [SignalType::Correction, SignalType::Withdrawal, SignalType::HandlingChange];

#[test]
fn the_covenant_of_the_whole_country_fits_four_times_into_what_a_covenant_may_be() {
    let bytes = covenant().item().encoded_len();
    println!(
        "{bytes} bytes, {} participants, {} rules",
        covenant().message().participants.len(),
        covenant().message().rules.len()
    );
    assert!(bytes * 4 < COVENANT_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn the_same_tables_and_draft_give_the_same_bytes() {
    let registrars = [Registrar::generate("R", oin(92, 1).unwrap()).unwrap()];
    let root = Authority::root("Root (TEST)", Validity::days(at("2026-01-01T00:00:00Z"), 3650)).unwrap();
    let draft = draft(&registrars, &root);
    let build = || build(&Tables::development().unwrap(), &draft).unwrap().encode_to_vec();
    assert_eq!(build(), build());
}

#[test]
fn each_of_the_1880_cells_that_the_chain_needs_has_a_row_that_permits_it() {
    let needed = needed_cells(&Tables::development().unwrap()).unwrap();
    let counts = needed.iter().fold(BTreeMap::new(), |mut counts: BTreeMap<SignalType, u32>, cell| {
        *counts.entry(cell.0).or_default() += 1;
        counts
    });
    println!("{counts:?}");
    assert_eq!(needed.len(), 1_880, "the count that the domain's table gives");
    let permitted: BTreeSet<_> = covenant()
        .cells()
        .filter(|cell| !cell.rules.is_empty())
        .map(|cell| (cell.signal_type, cell.from, cell.to))
        .collect();
    let missing: Vec<_> = needed.difference(&permitted).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn who_may_write_may_record_what_was_said_except_to_a_mayor() {
    let cells: Vec<_> = covenant().cells().filter(|cell| !cell.rules.is_empty()).collect();
    let written = names(
        cells
            .iter()
            .filter(|cell| cell.signal_type != SignalType::OralDisclosureRecord)
            .map(|cell| (cell.from, cell.to)),
    );
    let said = names(
        cells
            .iter()
            .filter(|cell| cell.signal_type == SignalType::OralDisclosureRecord)
            .map(|cell| (cell.from, cell.to)),
    );
    let silent: BTreeSet<_> = written.difference(&said).copied().collect();
    let law = [
        Function::PoliceOperations,
        Function::PoliceTrafficking,
        Function::RoyalMarechaussee,
        Function::LabourInspectorate,
    ];
    assert_eq!(silent, names(law.map(|from| (from, Function::Mayor))));
    assert!(said.is_subset(&written));
}

#[test]
fn nothing_passes_without_a_legal_basis_that_the_covenant_explains() {
    for rule in &covenant().message().rules {
        let basis = covenant().code("legal_basis", &rule.legal_basis);
        assert!(basis.is_some_and(|basis| !basis.label_nl.is_empty() && !basis.label_en.is_empty()), "{}", rule.id);
        assert!(!rule.article.is_empty() && !rule.source.is_empty(), "{}", rule.id);
        assert!(!rule.reason_nl.is_empty() && !rule.reason_en.is_empty(), "{}", rule.id);
        assert_eq!(rule.condition_nl.is_empty(), rule.condition_en.is_empty(), "{}", rule.id);
    }
}

#[test]
fn the_rapporteur_and_who_watches_receive_no_signal_and_send_none() {
    let outside = [Function::Rapporteur, Function::Inspectorate, Function::Operator, Function::Auditor];
    for cell in covenant().cells().filter(|cell| outside.contains(&cell.to) || outside.contains(&cell.from)) {
        assert!(cell.rules.is_empty(), "{:?} {:?} → {:?}", cell.signal_type, cell.from, cell.to);
    }
}

#[test]
fn the_mayor_receives_only_exploitation_signals_and_corrections_and_only_from_police_and_labour_inspectorate() {
    let law = [
        Function::PoliceOperations,
        Function::PoliceTrafficking,
        Function::RoyalMarechaussee,
        Function::LabourInspectorate,
    ];
    let mut received = BTreeSet::new();
    for cell in covenant().cells().filter(|cell| cell.to == Function::Mayor && !cell.rules.is_empty()) {
        assert!(law.contains(&cell.from), "{:?} from {:?}", cell.signal_type, cell.from);
        received.insert(cell.signal_type);
    }
    assert_eq!(received, names(CORRECTIONS.into_iter().chain([SignalType::ExploitationSignal])));
}

#[test]
fn the_mayor_sends_nothing() {
    assert!(covenant().cells().all(|cell| cell.from != Function::Mayor || cell.rules.is_empty()));
}

#[test]
fn the_mayor_is_told_what_happens_and_not_to_whom() {
    let rule = covenant().rule("wpg-16-1-c").unwrap();
    let [profile] = rule.profiles.as_slice() else { panic!("{:?}", rule.profiles) };
    let profile = covenant().profile(profile, 1).unwrap();
    let persons = ["subject", "authority", "other_persons", "attachments"];
    assert!(profile.must.iter().chain(&profile.may).all(|path| !persons.contains(&path.as_str())), "{profile:?}");
    let cell = covenant().cells().find(|cell| {
        (cell.signal_type, cell.from, cell.to)
            == (SignalType::ExploitationSignal, Function::PoliceOperations, Function::Mayor)
    });
    assert_eq!(cell.unwrap().rules.len(), 1, "no other row leads there");
}

#[test]
fn investigation_data_go_to_a_municipality_only_on_a_decision() {
    let town_hall = [
        Function::MunicipalityRequester,
        Function::MunicipalityNotices,
        Function::MunicipalityCareReports,
        Function::Mayor,
        Function::SchoolAttendance,
        Function::CareCoordinator,
    ];
    let secret = [SourceRegime::Wpg9, SourceRegime::Wpg10];
    let mut found = BTreeSet::new();
    for cell in covenant().cells().filter(|cell| town_hall.contains(&cell.to)) {
        for rule in cell.rules.iter().filter(|rule| rule.regimes().any(|regime| secret.contains(&regime))) {
            assert!(["WPG_19", "WPG_20"].contains(&rule.legal_basis.as_str()), "{} to {:?}", rule.id, cell.to);
            assert_eq!(rule.reference(), wire::Reference::Decision, "{}", rule.id);
            found.insert(rule.id.as_str());
        }
    }
    assert_eq!(found, names(["wpg-19", "wpg-20"]));
}

#[test]
fn care_reaches_police_without_consent_only_by_the_four_rows_that_say_so() {
    let care = [Function::YouthCareProvider, Function::Shelter, Function::MunicipalityRequester];
    let mut bases = BTreeSet::new();
    for cell in covenant().cells().filter(|cell| care.contains(&cell.from) && cell.to == Function::PoliceOperations) {
        let rules = cell.rules.iter().filter(|rule| rule.reference() != wire::Reference::Consent && !rule.supersedes);
        bases.extend(rules.map(|rule| rule.legal_basis.as_str()));
    }
    // NO_PERSON and the right to ask advice carry no person.
    bases.retain(|basis| !["NO_PERSON", "WMO_4_1_1_3"].contains(basis));
    assert_eq!(bases, names(["SV_161", "VITAL_INTEREST", "DUTY_MISSING", "SV_162_2"]));
}

#[test]
fn every_type_has_one_profile_of_its_own_and_a_handler_is_always_a_must() {
    let named: BTreeSet<&str> =
        covenant().message().rules.iter().flat_map(|rule| rule.profiles.iter().map(String::as_str)).collect();
    for signal_type in signal_types() {
        let own = covenant()
            .profiles()
            .iter()
            .filter(|profile| profile.r#type() == signal_type && !named.contains(profile.name.as_str()));
        assert_eq!(own.count(), 1, "{signal_type:?}");
    }
    for profile in covenant().profiles() {
        assert!(profile.must.iter().any(|path| path == "handler"), "{}", profile.name);
        let all = profile.must.iter().chain(&profile.may);
        assert_eq!(names(all.clone()).len(), all.count(), "{}: a path twice", profile.name);
    }
}

#[test]
fn every_type_and_function_has_labels_in_both_languages() {
    for signal_type in signal_types() {
        let code = signal_type.as_str_name().trim_start_matches("SIGNAL_TYPE_");
        assert!(covenant().code("signal_type", code).is_some(), "{code}");
    }
    for function in functions() {
        assert!(
            covenant().code("function", seinpost_protocol::address::function_code(function)).is_some(),
            "{function:?}"
        );
    }
    for list in &covenant().message().code_lists {
        assert!(list.codes.iter().all(|code| !code.label_nl.is_empty() && !code.label_en.is_empty()), "{}", list.id);
    }
}

/// The functions that somebody has for each municipality.
const SERVING: [Function; 19] = [
    Function::PoliceOperations,
    Function::PoliceTrafficking,
    Function::RoyalMarechaussee,
    Function::Prosecution,
    Function::MunicipalityRequester,
    Function::MunicipalityNotices,
    Function::MunicipalityCareReports,
    Function::Mayor,
    Function::SafeHome,
    Function::CertifiedInstitution,
    Function::GuardianUnaccompanied,
    Function::ChildProtectionBoard,
    Function::YouthCareProvider,
    Function::Shelter,
    Function::AsylumReception,
    Function::CareCoordinator,
    Function::CareSafetyHouse,
    Function::SchoolAttendance,
    Function::LabourInspectorate,
];

fn municipalities() -> Vec<&'static str> {
    let all = covenant().message().participants.iter().map(|participant| participant.municipality.as_str());
    all.filter(|code| !code.is_empty()).collect()
}

#[test]
fn each_function_has_an_address_for_each_municipality_today() {
    assert_eq!(municipalities().len(), 343, "342 and Weesp");
    let now = at("2026-02-01T12:00:00Z");
    for municipality in municipalities() {
        for function in SERVING.into_iter().chain([Function::ExpertCentre, Function::VictimRegistry]) {
            let address = covenant().resolve(function, municipality, SignalType::ExploitationSignal, now);
            assert!(address.is_ok_and(|address| address.function == function), "{function:?} for {municipality}");
        }
    }
}

#[test]
fn a_town_halls_own_functions_lead_to_itself() {
    let now = at("2026-02-01T12:00:00Z");
    for participant in
        covenant().message().participants.iter().filter(|one| !one.municipality.is_empty() && !one.suspended)
    {
        for function in [Function::Mayor, Function::MunicipalityCareReports, Function::SchoolAttendance] {
            let to = covenant().resolve(function, &participant.municipality, SignalType::CareReport, now).unwrap();
            assert_eq!(to.oin.as_str(), participant.oin);
        }
    }
}

#[test]
fn from_the_day_of_its_merger_all_mail_for_weesp_goes_where_amsterdams_goes() {
    let resolve = |function, municipality, time: &str| {
        covenant().resolve(function, municipality, SignalType::ExploitationSignal, at(time)).ok()
    };
    // Midnight of 24 March 2022 in Amsterdam is 23:00 of the day before.
    let (before, after) = ("2022-03-23T22:59:59.999Z", "2022-03-23T23:00:00Z");
    for function in SERVING {
        assert_eq!(resolve(function, "0457", after), resolve(function, "0363", after), "{function:?}");
        assert!(resolve(function, "0457", after).is_some(), "{function:?}");
    }
    let gooi = Address { oin: oin(40, 14).unwrap(), function: Function::SafeHome };
    assert_eq!(resolve(Function::SafeHome, "0457", before), Some(gooi), "it belonged to Gooi en Vechtstreek");
    assert_eq!(resolve(Function::Mayor, "0457", before), None, "its own functions are suspended");
    let weesp = covenant().participant(oin(10, 457).unwrap()).unwrap();
    assert!(weesp.suspended);
}

#[test]
fn every_participant_is_marked_as_a_test_and_has_a_functional_mailbox_of_its_own() {
    let mut mailboxes = BTreeSet::new();
    for participant in &covenant().message().participants {
        assert!(participant.name.ends_with(" (TEST)"), "{}", participant.name);
        assert!(participant.oin.starts_with("00000099"), "{}", participant.oin);
        let contact = participant.contact.as_ref().unwrap();
        assert!(contact.mailbox.ends_with(".test"), "{}", contact.mailbox);
        assert!(contact.phone.starts_with("+31 0") && contact.urgent_phone.starts_with("+31 0"), "{contact:?}");
        assert!(mailboxes.insert(contact.mailbox.as_str()), "{} twice", contact.mailbox);
    }
}

#[test]
fn every_function_but_those_of_profiles_is_bound_to_keys_that_nobody_has_each_its_own() {
    let mut keys = BTreeSet::new();
    for participant in &covenant().message().participants {
        for grant in &participant.functions {
            assert_eq!(
                grant.keys.iter().map(wire::BoundKey::r#use).collect::<Vec<_>>(),
                [wire::Use::Transport, wire::Use::Signing]
            );
            assert!(
                grant.keys.iter().all(|key| keys.insert(key.spki_sha256.clone())),
                "{} {grant:?}",
                participant.name
            );
        }
    }
}

#[test]
fn who_may_use_the_citizen_service_number_is_as_the_domain_lists_it() {
    let may = |function| {
        covenant()
            .message()
            .participants
            .iter()
            .flat_map(|one| &one.functions)
            .find(|grant| grant.function() == function)
            .unwrap()
            .bsn
    };
    for function in [
        Function::SafeHome,
        Function::CertifiedInstitution,
        Function::YouthCareProvider,
        Function::Mayor,
        Function::PoliceOperations,
    ] {
        assert!(may(function), "{function:?}");
    }
    for function in [
        Function::GuardianUnaccompanied,
        Function::Shelter,
        Function::ExpertCentre,
        Function::VictimRegistry,
        Function::CareSafetyHouse,
    ] {
        assert!(!may(function), "{function:?}");
    }
}

#[test]
fn an_answer_is_due_sooner_when_it_is_urgent() {
    let consigned = at("2026-02-06T15:00:00Z"); // a Friday
    let due = |urgency| {
        covenant().answer_due(
            SignalType::ExploitationSignal,
            Function::PoliceOperations,
            Function::SafeHome,
            urgency,
            consigned,
        )
    };
    assert_eq!(due(wire::Urgency::Immediate), Some(at("2026-02-06T15:15:00Z")));
    assert_eq!(due(wire::Urgency::Today), Some(at("2026-02-06T19:00:00Z")));
    assert_eq!(due(wire::Urgency::Normal), Some(at("2026-02-09T15:00:00Z")));
    let missing = covenant().answer_clock(
        SignalType::MissingFromCare,
        Function::Shelter,
        Function::PoliceOperations,
        wire::Urgency::Normal,
    );
    assert_eq!(missing.unwrap().duration, "PT15M");
}

#[test]
fn a_key_that_is_bound_is_in_the_covenant_and_an_unbound_function_has_none() {
    let registrars = [Registrar::generate("R", oin(92, 1).unwrap()).unwrap()];
    let root = Authority::root("Root (TEST)", Validity::days(at("2026-01-01T00:00:00Z"), 3650)).unwrap();
    let mut draft = draft(&registrars, &root);
    let mayor = Address { oin: oin(10, 363).unwrap(), function: Function::Mayor };
    let free = Address { oin: oin(31, 1).unwrap(), function: Function::CertifiedInstitution };
    let key = Digest::of(b"a key");
    draft.keys = vec![AgencyKey { address: mayor, used_for: wire::Use::Transport, spki_sha256: key }];
    draft.unbound = BTreeSet::from([free]);
    let built = build(&Tables::development().unwrap(), &draft).unwrap();
    let grant = |address: Address| {
        let participant = built.participants.iter().find(|one| one.oin == address.oin.as_str()).unwrap();
        participant.functions.iter().find(|grant| grant.function() == address.function).unwrap()
    };
    assert_eq!(grant(mayor).keys[0].spki_sha256, key.as_bytes().as_slice());
    assert_eq!(grant(mayor).keys.len(), 2, "what is not given is thrown away");
    assert!(grant(free).unbound && grant(free).keys.is_empty());
}

#[test]
fn a_key_for_an_address_that_takes_no_part_is_refused() {
    let registrars = [Registrar::generate("R", oin(92, 1).unwrap()).unwrap()];
    let root = Authority::root("Root (TEST)", Validity::days(at("2026-01-01T00:00:00Z"), 3650)).unwrap();
    let mut draft = draft(&registrars, &root);
    draft.unbound = BTreeSet::from([Address { oin: hub_oin(), function: Function::SafeHome }]);
    let fault = build(&Tables::development().unwrap(), &draft).unwrap_err().to_string();
    assert!(fault.contains("does not take part"), "{fault}");
}
