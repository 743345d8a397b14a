//! What a content must be, each bound at its edge, by the path of the field at fault.

use bytes::Bytes;
use prost::Message as _;

use super::*;

fn any_code(_: &str, code: &str) -> bool {
    code.starts_with("GOOD")
}

fn right() -> wire::Content {
    wire::Content {
        subject: Some(wire::Subject { bsn: "999990408".into(), sex: wire::Sex::Male.into(), ..Default::default() }),
        observations: vec![wire::Observation {
            indicator: "GOOD".into(),
            kind: wire::ObservationKind::Fact.into(),
            text: "a".repeat(2_000),
            ..Default::default()
        }],
        exploitation: Some(wire::Exploitation { activities: vec!["GOOD".into()], ..Default::default() }),
        handler: Some(wire::Handler { name: "Duty desk".into(), phone: "+31 20 0000000".into(), ..Default::default() }),
        ..Default::default()
    }
}

/// Changes the right content and demands exactly these faults, by field.
fn check_faults(change: impl FnOnce(&mut wire::Content), fields: &[&str]) {
    let mut content = right();
    change(&mut content);
    let faults = check(&content, &any_code, true);
    assert_eq!(faults.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), fields, "{faults:?}");
}

fn subject(content: &mut wire::Content) -> &mut wire::Subject {
    content.subject.as_mut().expect("the right content has a subject")
}

#[test]
fn a_right_content_has_no_fault() {
    check_faults(|_| {}, &[]);
}

#[test]
fn what_is_made_to_be_wrong_in_many_ways_and_at_length_is_told_in_bounds() {
    let mut content = right();
    content.observations = vec![wire::Observation::default(); 400_000];
    content.other_persons = vec![wire::OtherPerson::default(); 100_000];
    subject(&mut content).bsn = "9".repeat(1_000_000);
    let activities = (0..200_000).map(|number: u32| format!("{number:x}"));
    content.exploitation.get_or_insert_default().activities = activities.collect();
    let faults = check(&content, &any_code, true);
    assert!(faults.len() <= FAULTS_MAX, "{}", faults.len());
    assert!(faults.iter().any(|fault| fault.field == "observations" && fault.wrong == "400000 of them"));
    assert!(faults.iter().map(|fault| fault.to_string().len()).sum::<usize>() < 64 * 1024);
}

#[test]
fn the_test_persons_pass_the_eleven_test_and_others_do_not() {
    for bsn in ["999990408", "999993653", "999990482"] {
        assert!(passes_eleven_test(bsn), "{bsn}");
    }
    for number in ["123456789", "999990409", "000000000", "99999040", "9999904080", "99999040x", ""] {
        assert!(!passes_eleven_test(number), "{number}");
    }
}

#[test]
fn a_bsn_that_fails_the_test_is_named_with_what_would_be_right() {
    check_faults(|content| subject(content).bsn = "123456789".into(), &["subject.bsn"]);
}

#[test]
fn a_bsn_needs_the_covenants_leave_and_a_sex_beside_it() {
    let faults = check(&right(), &any_code, false);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].field, "subject.bsn");
    check_faults(|content| subject(content).sex = 0, &["subject.sex"]);
}

#[test]
fn a_person_is_identified_in_exactly_one_way() {
    check_faults(|content| subject(content).bsn.clear(), &["subject"]);
    check_faults(|content| subject(content).v_number = "1234567890".into(), &["subject"]);
    check_faults(
        |content| {
            subject(content).bsn.clear();
            subject(content).names = Some(wire::PersonNames { family: "Voorbeeld".into(), ..Default::default() });
        },
        &["subject.birth"],
    );
}

#[test]
fn each_bound_holds_at_its_edge() {
    check_faults(|content| content.observations[0].text.push('a'), &["observations[0].text"]);
    check_faults(|content| content.observations = vec![content.observations[0].clone(); 40], &[]);
    check_faults(|content| content.observations = vec![content.observations[0].clone(); 41], &["observations"]);
    check_faults(
        |content| content.exploitation.as_mut().expect("it is there").activities.clear(),
        &["exploitation.activities"],
    );
    check_faults(|content| content.handler.as_mut().expect("it is there").name.clear(), &["handler.name"]);
    check_faults(|content| content.handler.as_mut().expect("it is there").phone = "call me".into(), &["handler.phone"]);
}

#[test]
fn an_unknown_code_and_an_unknown_enum_value_are_refused_by_path() {
    check_faults(|content| content.observations[0].indicator = "BAD".into(), &["observations[0].indicator"]);
    check_faults(|content| content.observations[0].kind = 99, &["observations[0].kind"]);
    check_faults(
        |content| content.exploitation.as_mut().expect("it is there").activities = vec!["GOOD".into(), "GOOD".into()],
        &["exploitation.activities[1]"],
    );
}

#[test]
fn all_faults_are_named_in_one_go() {
    check_faults(
        |content| {
            subject(content).bsn = "1".into();
            content.observations[0].indicator = "BAD".into();
            content.handler.as_mut().expect("it is there").email = "nobody".into();
        },
        &["subject.bsn", "observations[0].indicator", "handler.email"],
    );
}

#[test]
fn a_consultation_that_holds_a_bsn_is_refused_however_it_is_written() {
    for text in ["bsn 999990408?", "9999.90.408", "999 990 408", "in 12999990408 hidden"] {
        check_faults(
            |content| {
                content.question = Some(wire::Question { question: text.into(), age_band: 1, ..Default::default() });
            },
            &["question.question"],
        );
    }
    check_faults(
        |content| content.question = Some(wire::Question { question: "123456789".into(), ..Default::default() }),
        &[],
    );
}

#[test]
fn dates_exist_and_periods_run_forward() {
    let measure = |from: &str, until: &str| wire::Measure {
        kind: 1,
        by_oin: "00000099155005000000".into(),
        from: from.into(),
        until: until.into(),
    };
    for none in [
        "2025-02-29",
        "2026-02-30",
        "2026-13-01",
        "2026-00-01",
        "2026-01-00",
        "2026-1-01",
        "20260228",
        "2026-02-28Z",
        "2026-W09-6",
        "2026/02/28",
        "2026-02-28 ",
        "-026-02-28",
        "+026-02-28",
        "２026-02-2",
        "28-02-2026",
        "2026-02",
        "",
    ] {
        check_faults(|content| content.measures = vec![measure(none, "")], &["measures[0].from"]);
    }
    check_faults(|content| content.measures = vec![measure("2024-02-29", "")], &[]);
    check_faults(|content| content.measures = vec![measure("2026-02-28", "2026-02-27")], &["measures[0].until"]);
    check_faults(|content| content.measures = vec![measure("2026-02-28", "2027-02-28")], &[]);
}

#[test]
fn content_with_an_unknown_field_is_not_canonical() {
    let mut bytes = right().encode_to_vec();
    assert!(decode(&Bytes::from(bytes.clone())).is_ok());
    bytes.extend([0xf8, 0x3f, 0x01]);
    assert!(decode(&Bytes::from(bytes)).is_err());
}
