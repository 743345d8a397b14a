//! Which key may act for which address, in which use, and when.

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
