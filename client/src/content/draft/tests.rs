//! What a person writes, and all that can be wrong with it.

use super::*;
use crate::content::{template, to_json};

const WRITER: Writer = Writer { bsn_allowed: true };

#[test]
fn a_word_that_is_off_by_a_letter_finds_the_right_one() {
    let codes = ["SAFE_HOME", "SHELTER", "MAYOR"];
    for written in ["SAFE_HOMES", "safe-home", "SAVE_HOME", "SAFEHOME"] {
        assert_eq!(nearest(written, &codes), Some("SAFE_HOME"), "{written}");
    }
    assert_eq!(nearest("MAJOR", &codes), Some("MAYOR"));
    assert_eq!(nearest("BAKER", &codes), None);
    assert_eq!(nearest("indicators", &["activity", "indicator"]), Some("indicator"));
    assert_eq!(nearest("", &[]), None);
}

fn any(_: &str, code: &str) -> bool {
    code != "NO_SUCH_CODE"
}

fn fields(text: &str) -> Vec<String> {
    match parse(text, &any, WRITER) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.into_iter().map(|fault| fault.field).collect(),
    }
}

fn changed(change: impl FnOnce(&mut Json)) -> String {
    let mut file: Json =
        serde_json::from_str(template(wire::SignalType::ExploitationSignal).expect("it has one")).expect("it is JSON");
    change(&mut file);
    file.to_string()
}

#[test]
fn every_template_is_a_draft_without_a_fault() {
    for signal_type in TYPES {
        let text = template(signal_type).expect("every type of this version has a template");
        let draft = parse(text, &any, WRITER).expect("the template is right");
        assert_eq!(draft.outgoing.signal_type, signal_type);
    }
}

#[test]
fn content_written_as_json_reads_back_the_same() {
    for signal_type in TYPES {
        let text = template(signal_type).expect("every type of this version has a template");
        let draft = parse(text, &any, WRITER).expect("the template is right");
        let again = changed(|file| {
            file["type"] = type_code(signal_type).into();
            file["content"] = to_json(&draft.content);
        });
        assert_eq!(parse(&again, &any, WRITER).expect("it reads back").content, draft.content);
    }
}

#[test]
fn all_faults_of_a_file_are_named_in_one_go() {
    let text = changed(|file| {
        file["purpose"] = "FUN".into();
        file["sender"] = "me".into();
        file["to"][0]["municipality"] = "363".into();
        file["content"]["observations"][1]["indicator"] = "NO_SUCH_CODE".into();
        file["content"]["handler"]["phone"] = "call me".into();
    });
    let expected =
        ["to[0].municipality", "purpose", "content.observations[1].indicator", "content.handler.phone", "sender"];
    assert_eq!(fields(&text), expected);
}

#[test]
fn each_recipient_is_read_by_itself_and_keeps_its_place() {
    let text = changed(|file| {
        let good = file["to"][0].clone();
        file["to"] = Json::Array(vec![good.clone(), good.clone(), good]);
        file["to"][0]["function"] = "BAKER".into();
        file["to"][1]["legal_basis"] = "NO_SUCH_CODE".into();
        file["content"]["handler"]["phone"] = "call me".into();
    });
    let reading = read(&text, &any, WRITER);
    let fields: Vec<&str> = reading.faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["to[0].function", "to[1].legal_basis", "content.handler.phone"]);
    assert_eq!(reading.places, [1, 2]);
    assert_eq!(reading.draft.expect("its header can be read").outgoing.to.len(), 2);
}

#[test]
fn faults_of_shape_in_the_content_are_named_in_one_go() {
    let text = changed(|file| {
        file["content"]["subject"]["shoe_size"] = 43.into();
        file["content"]["observations"][0]["kind"] = "RUMOUR".into();
        file["content"]["observations"][0]["seen"]["from"] = "yesterday".into();
        file["content"]["exploitation"]["ongoing"] = "yes".into();
    });
    let expected = [
        "content.subject.shoe_size",
        "content.observations[0].seen.from",
        "content.observations[0].kind",
        "content.exploitation.ongoing",
    ];
    let mut found = fields(&text);
    found.sort();
    let mut expected = expected.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn long_enum_names_and_camel_case_are_taken_too() {
    let text = changed(|file| {
        file["type"] = "SIGNAL_TYPE_EXPLOITATION_SIGNAL".into();
        file["urgency"] = "URGENCY_TODAY".into();
        file["content"]["subject"]["sex"] = "SEX_MALE".into();
        let observation = file["content"]["observations"][1].as_object_mut().expect("it is an object");
        let place = observation.remove("place_kind").expect("it is there");
        observation.insert("placeKind".into(), place);
    });
    assert_eq!(fields(&text), Vec::<String>::new());
}

#[test]
fn types_of_later_are_refused_by_name() {
    assert_eq!(fields(&changed(|file| file["type"] = "CARE_REPORT".into())), ["type"]);
    assert_eq!(fields(&changed(|file| file["type"] = "UNSPECIFIED".into())), ["type"]);
}

#[test]
fn a_recipient_needs_a_municipality_or_an_oin() {
    let without = changed(|file| {
        file["to"][0].as_object_mut().expect("it is an object").remove("municipality");
    });
    assert_eq!(fields(&without), ["to[0].municipality"]);
    let with_oin = changed(|file| {
        let to = file["to"][0].as_object_mut().expect("it is an object");
        to.remove("municipality");
        to.insert("oin".into(), "00000099155001000000".into());
    });
    assert_eq!(fields(&with_oin), Vec::<String>::new());
    assert_eq!(fields(&changed(|file| file["to"] = Json::Array(Vec::new()))), ["to"]);
}

#[test]
fn handling_is_a_set_whatever_its_order() {
    let text = changed(|file| file["handling"] = serde_json::json!(["NOT_TO_FILE", "NO_ONWARD", "NOT_TO_FILE"]));
    let draft = parse(&text, &any, WRITER).expect("the file is right");
    assert_eq!(draft.outgoing.handling, [wire::Handling::NoOnward, wire::Handling::NotToFile]);
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    let faults = parse("{\"type\": ", &any, WRITER).expect_err("it is cut short");
    assert_eq!(faults[0].field, "line 1, column 9");
}
