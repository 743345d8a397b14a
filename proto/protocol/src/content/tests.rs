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

/// A content in which everything that may be written is written.
fn full() -> wire::Content {
    let person = || wire::PersonNames {
        given: vec!["Sam".into()],
        prefix: "de".into(),
        family: "Voorbeeld".into(),
        aliases: vec!["Sammie".into()],
    };
    let place = || wire::Place { town: "Amsterdam".into(), ..Default::default() };
    wire::Content {
        subject: Some(wire::Subject {
            names: Some(person()),
            birth: Some(wire::Birth { year: 2010, ..Default::default() }),
            residence: Some(place()),
            whereabouts: Some(place()),
            ..Default::default()
        }),
        authority: vec![wire::Authority { kind: 1, name: "Somebody".into(), ..Default::default() }],
        measures: vec![wire::Measure {
            kind: 1,
            by_oin: "00000099155005000000".into(),
            from: "2026-02-28".into(),
            until: String::new(),
        }],
        other_persons: vec![wire::OtherPerson {
            role: 1,
            identity: Some(wire::Subject { names: Some(person()), ..Default::default() }),
        }],
        safety: Some(wire::Safety { do_not_contact: vec!["home".into()], ..Default::default() }),
        question: Some(wire::Question {
            observations: vec![wire::AnonymousObservation { indicator: "GOOD".into(), kind: 1, ..Default::default() }],
            question: "What now?".into(),
            ..Default::default()
        }),
        advice: Some(wire::Advice {
            answers: vec!["This".into()],
            next_steps: vec!["That".into()],
            ..Default::default()
        }),
        ..right()
    }
}

/// Fills one text with so many characters of two bytes each.
type Fill = fn(&mut wire::Content, String);

#[test]
fn each_text_has_its_bound_in_characters() {
    macro_rules! texts {
        ($($path:literal, $max:literal: |$content:ident| $place:expr;)*) => {
            [$(($path, $max, (|$content: &mut wire::Content, text: String| $place = text) as Fill),)*]
        };
    }
    let texts = texts! {
        "subject.names.given[0]", 60: |content| names(content).given[0];
        "subject.names.prefix", 20: |content| names(content).prefix;
        "subject.names.family", 120: |content| names(content).family;
        "subject.names.aliases[0]", 60: |content| names(content).aliases[0];
        "subject.school", 120: |content| subject(content).school;
        "subject.residence.street", 160: |content| subject(content).residence.as_mut().expect("set").street;
        "subject.residence.postal_code", 10: |content| subject(content).residence.as_mut().expect("set").postal_code;
        "subject.whereabouts.town", 80: |content| subject(content).whereabouts.as_mut().expect("set").town;
        "authority[0].name", 160: |content| content.authority[0].name;
        "authority[0].contact", 160: |content| content.authority[0].contact;
        "authority[0].not_informed_reason", 500: |content| content.authority[0].not_informed_reason;
        "observations[0].text", 2_000: |content| content.observations[0].text;
        "safety.do_not_contact[0]", 160: |content| content.safety.as_mut().expect("set").do_not_contact[0];
        "safety.medical_need", 500: |content| content.safety.as_mut().expect("set").medical_need;
        "safety.safe_contact_way", 500: |content| content.safety.as_mut().expect("set").safe_contact_way;
        "question.setting", 200: |content| content.question.as_mut().expect("set").setting;
        "question.observations[0].region", 60: |content| content.question.as_mut().expect("set").observations[0].region;
        "question.observations[0].text", 2_000: |content| content.question.as_mut().expect("set").observations[0].text;
        "question.question", 4_000: |content| content.question.as_mut().expect("set").question;
        "advice.answers[0]", 4_000: |content| content.advice.as_mut().expect("set").answers[0];
        "advice.next_steps[0]", 500: |content| content.advice.as_mut().expect("set").next_steps[0];
        "handler.name", 120: |content| content.handler.as_mut().expect("set").name;
        "handler.role", 120: |content| content.handler.as_mut().expect("set").role;
        "handler.reachable_hours", 80: |content| content.handler.as_mut().expect("set").reachable_hours;
    };
    assert_eq!(check(&full(), &any_code, true), []);
    for (path, max, fill) in texts {
        let faults = |text: String| {
            let mut content = full();
            fill(&mut content, text);
            check(&content, &any_code, true).into_iter().map(|fault| fault.field).collect::<Vec<_>>()
        };
        assert!(faults("é".repeat(max)).is_empty(), "{path}");
        assert_eq!(faults("é".repeat(max + 1)), [path]);
        for control in ["a\0", "a\r", "a\u{1b}[2J", "a\u{7f}", "a\u{85}"] {
            assert_eq!(faults(control.to_owned()), [path], "{control:?}");
        }
        assert!(faults("a\n\tb".to_owned()).is_empty(), "{path}");
    }
}

fn names(content: &mut wire::Content) -> &mut wire::PersonNames {
    subject(content).names.as_mut().expect("the full content has names")
}

#[test]
fn each_list_has_its_bound() {
    type Grow = fn(&mut wire::Content, usize);
    macro_rules! lists {
        ($($path:literal, $max:literal: |$content:ident| $list:expr;)*) => {
            [$(($path, $max, (|$content: &mut wire::Content, count: usize| {
                let list = &mut $list;
                let one = list[0].clone();
                list.resize(count, one);
            }) as Grow),)*]
        };
    }
    let lists = lists! {
        "subject.names.given", 8: |content| names(content).given;
        "subject.names.aliases", 8: |content| names(content).aliases;
        "authority", 8: |content| content.authority;
        "measures", 8: |content| content.measures;
        "observations", 40: |content| content.observations;
        "other_persons", 16: |content| content.other_persons;
        "safety.do_not_contact", 8: |content| content.safety.as_mut().expect("set").do_not_contact;
        "question.observations", 40: |content| content.question.as_mut().expect("set").observations;
        "advice.answers", 10: |content| content.advice.as_mut().expect("set").answers;
        "advice.next_steps", 10: |content| content.advice.as_mut().expect("set").next_steps;
    };
    for (path, max, grow) in lists {
        for (count, expected) in [(max, vec![]), (max + 1, vec![path.to_owned()])] {
            let mut content = full();
            grow(&mut content, count);
            let faults = check(&content, &any_code, true).into_iter().map(|fault| fault.field);
            assert_eq!(faults.collect::<Vec<_>>(), expected, "{path} {count}");
        }
    }
    for (count, expected) in [(16, &[][..]), (17, &["exploitation.activities"])] {
        let activities = (0..count).map(|number: u8| format!("GOOD{number}")).collect::<Vec<_>>();
        check_faults(|content| content.exploitation.get_or_insert_default().activities = activities, expected);
    }
    for (count, expected) in [(12, &[][..]), (13, &["exploitation.means"])] {
        let means = (0..count).map(|number: u8| format!("GOOD{number}")).collect::<Vec<_>>();
        check_faults(|content| content.exploitation.get_or_insert_default().means = means, expected);
    }
}

#[test]
fn numbers_and_tags_have_their_form() {
    let with = |change: fn(&mut wire::Subject, String), text: &str, expected: &[&str]| {
        check_faults(
            |content| {
                *content = full();
                change(subject(content), text.to_owned());
            },
            expected,
        );
    };
    let number = |change: fn(&mut wire::Subject, String), good: &[&str], bad: &[&str], path: &str| {
        let only = |text: &str, expected: &[&str]| {
            check_faults(
                |content| {
                    content.subject = Some(wire::Subject::default());
                    change(subject(content), text.to_owned());
                },
                expected,
            );
        };
        good.iter().for_each(|text| only(text, &[]));
        bad.iter().for_each(|text| only(text, &[path]));
    };
    number(
        |subject, text| subject.v_number = text,
        &["1234567890"],
        &["123456789", "12345678901", "123456789x", "１23456789"],
        "subject.v_number",
    );
    number(
        |subject, text| subject.skn = text,
        &["1234567", "1234567890"],
        &["123456", "12345678901", "123456x", "123 4567"],
        "subject.skn",
    );
    let language: fn(&mut wire::Subject, String) = |subject, text| subject.language = text;
    ["", "nl", "zh-Hant", "abcdefghijkl"].iter().for_each(|good| with(language, good, &[]));
    ["n", "abcdefghijklm", "n l", "nl_NL", "né"].iter().for_each(|bad| with(language, bad, &["subject.language"]));
    let country: fn(&mut wire::Subject, String) =
        |subject, text| subject.residence.get_or_insert_default().country = text;
    ["", "BE"].iter().for_each(|good| with(country, good, &[]));
    ["be", "B", "BEL", "B1", "É"].iter().for_each(|bad| with(country, bad, &["subject.residence.country"]));
    let municipality: fn(&mut wire::Subject, String) =
        |subject, text| subject.residence.get_or_insert_default().municipality = text;
    ["", "0363"].iter().for_each(|good| with(municipality, good, &[]));
    ["363", "00363", "036x", "０363"]
        .iter()
        .for_each(|bad| with(municipality, bad, &["subject.residence.municipality"]));
    let year = |year: u32, expected: &[&str]| {
        check_faults(
            |content| {
                *content = full();
                subject(content).birth.get_or_insert_default().year = year;
            },
            expected,
        );
    };
    [1900, 2099].into_iter().for_each(|good| year(good, &[]));
    [1, 1899, 2100, u32::MAX].into_iter().for_each(|bad| year(bad, &["subject.birth.year"]));
    year(0, &["subject.birth"]);
}
