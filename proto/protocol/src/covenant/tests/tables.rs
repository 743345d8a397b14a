//! What makes a covenant invalid by itself: each rule of its keys, grants and tables, by the field at fault.

use super::*;

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
    assert_eq!(good.live_log_keys().iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>(), [raw(9).to_vec()]);
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
