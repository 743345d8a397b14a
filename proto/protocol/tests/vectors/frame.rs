//! What all families share: reading a file, laying a case over its base, asking, comparing.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Map, Value};

/// What belongs together and stands in one file here.
pub(crate) struct Family {
    /// Operations by the name that the vectors give them.
    pub(crate) ops: &'static [(&'static str, Op)],
    /// A reason in the vectors' words, and those of this crate that say the same; a word that both use is not listed.
    pub(crate) reasons: &'static [(&'static str, &'static [&'static str])],
}

/// Asks this crate the question of one case.
pub(crate) type Op = fn(&Inputs) -> Result<Values, Refusal>;

/// What came out: the values that a case may name in `values`, each in the form in which the vectors write it.
#[derive(Default)]
pub(crate) struct Values(Map<String, Value>);

impl Values {
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Bytes are written in hexadecimal.
    pub(crate) fn with_bytes(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.with(name, hex::encode(bytes))
    }
}

/// This crate said no.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Its own word for the rule.
    pub(crate) reason: String,
    /// The field that is at fault, where it names one; compared with a case's `at`.
    pub(crate) field: String,
}

impl Refusal {
    pub(crate) fn of(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), field: String::new() }
    }

    pub(crate) fn at(reason: impl Into<String>, field: impl Into<String>) -> Self {
        Self { reason: reason.into(), field: field.into() }
    }
}

/// The inputs of a case, laid over its base's. Who reads one has used it; an acceptance must have used all.
pub(crate) struct Inputs {
    map: Map<String, Value>,
    used: RefCell<BTreeSet<String>>,
}

impl Inputs {
    pub(crate) fn new(map: Map<String, Value>) -> Self {
        Self { map, used: RefCell::default() }
    }

    /// The input as it stands in JSON; `null` counts as absent.
    pub(crate) fn find(&self, name: &str) -> Option<&Value> {
        self.used.borrow_mut().insert(name.to_owned());
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn value(&self, name: &str) -> &Value {
        self.find(name).unwrap_or_else(|| panic!("no input {name}"))
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.value(name).as_str().unwrap_or_else(|| panic!("input {name} is no text"))
    }

    pub(crate) fn bytes(&self, name: &str) -> Bytes {
        unhex(self.value(name))
    }

    pub(crate) fn bytes_if_any(&self, name: &str) -> Option<Bytes> {
        self.find(name).map(unhex)
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.value(name).as_u64().unwrap_or_else(|| panic!("input {name} is no number"))
    }

    pub(crate) fn number_if_any(&self, name: &str) -> Option<u64> {
        self.find(name).map(|_| self.number(name))
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.find(name).is_some_and(|value| value.as_bool().expect("a flag is true or false"))
    }

    pub(crate) fn list(&self, name: &str) -> &[Value] {
        self.value(name).as_array().unwrap_or_else(|| panic!("input {name} is no list"))
    }

    pub(crate) fn bytes_list(&self, name: &str) -> Vec<Bytes> {
        self.list(name).iter().map(unhex).collect()
    }

    fn unused(&self) -> Vec<&String> {
        self.map.keys().filter(|name| !self.used.borrow().contains(*name)).collect()
    }
}

/// Reads hexadecimal.
pub(crate) fn unhex(value: &Value) -> Bytes {
    hex::decode(value.as_str().expect("bytes are text")).expect("bytes are hexadecimal").into()
}

/// The folder `tests/vectors` of the repository.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

/// Reads a file of vectors by its path below `tests/vectors`.
pub(crate) fn read(path: &str) -> Value {
    let text = std::fs::read(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs all cases of one file of `items`, and fails with all that went wrong.
pub(crate) fn run(file: &str, families: &[&Family], ops_of_others: &[&str]) {
    let document = read(&format!("items/{file}"));
    let bases = document["bases"].as_object().expect("a file has bases");
    let cases = document["cases"].as_array().expect("a file has cases");
    assert!(!cases.is_empty(), "{file} has no case");
    let mut faults = Vec::new();
    for case in cases {
        let name = case["name"].as_str().expect("a case has a name");
        let op = case["op"].as_str().expect("a case has an op");
        if ops_of_others.contains(&op) {
            continue;
        }
        let Some((family, ask)) = families
            .iter()
            .find_map(|family| family.ops.iter().find(|(known, _)| *known == op).map(|(_, ask)| (*family, *ask)))
        else {
            faults.push(format!("{name}: op {op} is not known"));
            continue;
        };
        if let Err(fault) = check(case, &inputs(case, bases), family, ask) {
            faults.push(format!("{name}: {fault}"));
        }
    }
    assert!(faults.is_empty(), "{file}: {} of {} cases:\n  {}", faults.len(), cases.len(), faults.join("\n  "));
}

fn inputs(case: &Value, bases: &Map<String, Value>) -> Inputs {
    let mut map = match case.get("base") {
        Some(base) => bases[base.as_str().expect("a base is named")].as_object().expect("a base is a set").clone(),
        None => Map::new(),
    };
    for (name, value) in case["in"].as_object().expect("a case has inputs") {
        map.insert(name.clone(), value.clone());
    }
    Inputs::new(map)
}

fn check(case: &Value, inputs: &Inputs, family: &Family, ask: Op) -> Result<(), String> {
    for member in case.as_object().expect("a case is an object").keys() {
        let known = ["name", "op", "base", "in", "want", "reason", "values", "at", "choice", "note"];
        if !known.contains(&member.as_str()) {
            return Err(format!("member {member} is not known"));
        }
    }
    match (case["want"].as_str(), ask(inputs)) {
        (Some("ok"), Ok(got)) => {
            for (name, want) in case["values"].as_object().expect("an acceptance has values") {
                match got.0.get(name) {
                    None => return Err(format!("value {name} is not known")),
                    Some(got) if got != want => return Err(format!("{name} is {got}, not {want}")),
                    Some(_) => {}
                }
            }
            match inputs.unused() {
                unused if unused.is_empty() => Ok(()),
                unused => Err(format!("inputs {unused:?} were not used")),
            }
        }
        (Some("ok"), Err(refusal)) => Err(format!("refused: {refusal:?}")),
        (Some("refused"), Ok(_)) => Err(format!("accepted, though {}", case["reason"])),
        (Some("refused"), Err(refusal)) => {
            let reason = case["reason"].as_str().expect("a refusal has a reason");
            let same = family.reasons.iter().filter(|(word, _)| *word == reason).flat_map(|(_, ours)| *ours);
            if refusal.reason != reason && !same.into_iter().any(|ours| *ours == refusal.reason) {
                if WORDS.split_ascii_whitespace().any(|word| word == reason) {
                    return Err(format!("refused for {refusal:?}, not for {reason}"));
                }
                eprintln!("{}: {reason} is a new word; refused for {refusal:?}", case["name"]);
            }
            // Where the vectors write a dot behind, they name what the fault lies in.
            match case.get("at").map(|at| at.as_str().expect("a field is text").trim_end_matches('.')) {
                Some(at) if refusal.field != at => Err(format!("refused at {:?}, not at {at}", refusal.field)),
                _ => Ok(()),
            }
        }
        (want, _) => Err(format!("want {want:?} is not known")),
    }
}

/// The vectors' words for a reason: each is compared, by itself or through a family's table. By a word that is not here
/// a refusal is demanded and nothing more, since it is the other implementation's to choose; add it, and what it means.
const WORDS: &str = "\
    ADDRESS AUDIENCE BASIS BASIS_PROFILE BASIS_PURPOSE BASIS_REFERENCE BASIS_REFERENCE_BSN BASIS_REGIME \
    BASIS_SUPERSEDES BASIS_URGENCY BETTER_FUNCTION CERTIFICATE_DIGEST CERTIFICATE_EKU CERTIFICATE_OIN \
    CERTIFICATE_USAGE CHECKPOINT COMMITMENT COMMITMENT_MISMATCH CONSIGNMENT_COUNT CONSIGNMENT_INDEX CONSISTENCY \
    CONTENT_SHA256 CONTENT_TOO_LARGE CONTENT_UNREADABLE CONVERSATION DELIVERY_MISMATCH DUPLICATE_OF \
    ENCAPSULATION_KEY ENUM ERASED_OR_NOT EVENT EXPIRES FORMAT FUNCTION_TWICE HANDLING HEAD_BEHIND HEAD_INDEX \
    HEAD_LIE HEAD_STALE HUB_CASE_FUNCTION HUB_FAULT HUB_UNBOUND INCLUSION INDEX INDEX_BEYOND_TREE ITEM_DIGEST \
    ITEM_ID ITEM_ID_TIME KEY_ALGORITHM KEY_BELOW_FLOOR KEY_BINDING_DATES KEY_BOUND_ELSEWHERE KEY_COUNT KEY_ENCODING \
    KEY_NOT_BOUND KEY_NOT_MINE KEY_PER_USE KEY_PREVIOUS KEY_RETIRED KEY_RSA_EXPONENT KEY_RSA_SIZE KEY_SERIAL \
    KEY_SMALL_ORDER KEY_USED_TWICE KEY_WINDOW KEY_WINDOWS KEY_WITHDRAWN LENGTH LOG_KEYS LOG_ORIGIN LOST_UNREAD \
    MANDATE_UNKNOWN MISSING MUNICIPALITY NOTE NOTE_OTHER_LINE NOTE_SIGNATURE NOTE_UNKNOWN_KEY NOT_ADDRESSEE \
    NOT_CANONICAL NO_FUNCTION NO_ROUTE NO_RULE ONEOF ORIGIN PADDING PARTICIPANT_TWICE PAYLOAD_TYPE PREVIOUS_DIGEST \
    PROFILE_SPLIT PROOF_LENGTH RECIPIENT_COUNT RECIPIENT_TWICE REGISTRAR_TWICE ROUTE_DATE RULE_EMPTY RULE_TWICE \
    SALT_LENGTH SEEN_FORK SERIAL_FORK SERIAL_GAP SERIAL_LOWER SIGNATURE SIGNATURE_COUNT SIGNATURE_ENCODING \
    SIGNATURE_SMALL_ORDER SIZE_CLASS SMALLER_TREE SUITE SUSPENDED TAG THRESHOLD TIMESTAMP_NANOS TIMESTAMP_RANGE \
    TOO_FEW_NEW TOO_FEW_OLD TRUNCATED UNBOUND_WITH_KEYS UNKNOWN_FIELD UNREADABLE_KEY UTF8 VALIDITY VARINT WIRE_TYPE \
    WRAPPED_COUNT WRAPPED_LENGTH WRAPPED_SHA256";

pub(crate) fn assert_files_known(with_cases: &[&str], without: &[&str]) {
    for entry in std::fs::read_dir(folder().join("items")).expect("the vectors stand in tests/vectors/items") {
        let name = entry.expect("the folder can be read").file_name().into_string().expect("names are UTF-8");
        let known = with_cases.contains(&name.as_str()) || without.contains(&name.as_str());
        assert!(known || !name.ends_with(".json"), "{name} is not known");
    }
}

pub(crate) fn assert_one_owner(families: &[&Family], ops_of_others: &[&str]) {
    let mut seen: BTreeSet<&str> = ops_of_others.iter().copied().collect();
    for (op, _) in families.iter().flat_map(|family| family.ops) {
        assert!(seen.insert(op), "op {op} has two owners");
    }
}

/// A runner that takes everything would prove nothing.
mod tests {
    use super::*;

    const LENIENT: Family =
        Family { ops: &[("say", |inputs| Ok(Values::default().with("said", inputs.text("word"))))], reasons: &[] };
    const STRICT: Family = Family {
        ops: &[("say", |inputs| Err(Refusal::at(inputs.text("word"), "mouth")))],
        reasons: &[("SILENCE", &["QUIET"])],
    };

    fn judged(family: &Family, case: &str) -> Result<(), String> {
        let case: Value = serde_json::from_str(case).expect("the case is JSON");
        check(&case, &inputs(&case, &Map::new()), family, family.ops[0].1)
    }

    #[test]
    fn a_case_that_does_not_come_out_as_it_should_is_a_fault() {
        assert!(judged(&LENIENT, r#"{"in":{"word":"a"},"want":"ok","values":{"said":"a"}}"#).is_ok());
        assert!(judged(&LENIENT, r#"{"in":{"word":"a"},"want":"ok","values":{"said":"b"}}"#).is_err());
        assert!(judged(&LENIENT, r#"{"in":{"word":"a"},"want":"ok","values":{"sung":"a"}}"#).is_err());
        assert!(judged(&LENIENT, r#"{"in":{"word":"a","tune":"b"},"want":"ok","values":{}}"#).is_err());
        assert!(judged(&LENIENT, r#"{"in":{"word":"a"},"want":"ok","values":{},"new":1}"#).is_err());
        assert!(judged(&LENIENT, r#"{"in":{"word":"a"},"want":"refused","reason":"A"}"#).is_err());
        assert!(judged(&LENIENT, r#"{"in":{"word":"a"},"want":"perhaps"}"#).is_err());
    }

    #[test]
    fn a_refusal_must_be_by_the_rule_that_corresponds() {
        assert!(judged(&STRICT, r#"{"in":{"word":"LOUD"},"want":"refused","reason":"LOUD","at":"mouth."}"#).is_ok());
        assert!(judged(&STRICT, r#"{"in":{"word":"QUIET"},"want":"refused","reason":"SILENCE"}"#).is_ok());
        assert!(judged(&STRICT, r#"{"in":{"word":"LOUD"},"want":"refused","reason":"SIGNATURE"}"#).is_err());
        assert!(judged(&STRICT, r#"{"in":{"word":"LOUD"},"want":"refused","reason":"LOUD","at":"ear"}"#).is_err());
        assert!(judged(&STRICT, r#"{"in":{"word":"LOUD"},"want":"ok","values":{}}"#).is_err());
    }

    #[test]
    fn of_a_new_word_only_the_refusal_is_demanded() {
        assert!(judged(&STRICT, r#"{"in":{"word":"LOUD"},"want":"refused","reason":"MURMUR"}"#).is_ok());
        assert!(judged(&LENIENT, r#"{"in":{"word":"LOUD"},"want":"refused","reason":"MURMUR"}"#).is_err());
    }
}
