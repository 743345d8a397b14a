//! What the covenant lists: codes, profiles, clocks, labels and rights that a grant holds.

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
