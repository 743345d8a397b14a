//! Ed25519 at its edges: the one verifier of this system says the same as the second implementation on each case.

use seinpost_protocol::signature::{PublicKey, verify_ed25519};
use serde_json::Value;

use super::frame::{read, unhex};

fn cases<'a>(document: &'a Value, name: &str) -> &'a [Value] {
    let cases = document[name].as_array().expect("a list");
    assert!(!cases.is_empty());
    cases
}

#[test]
fn each_edge_has_the_verdict_that_is_written_down() {
    let (edges, verdicts) = (read("tlog/cctv-ed25519-edges.json"), read("items/ed25519-verdicts.json"));
    let verdict_of = |number: &Value| {
        let mut verdicts = cases(&verdicts, "verdicts").iter().filter(|verdict| verdict["number"] == *number);
        match (verdicts.next(), verdicts.next()) {
            (Some(verdict), None) => verdict["want"].as_str().expect("a verdict is a word").to_owned(),
            _ => panic!("case {number} needs exactly one verdict"),
        }
    };
    assert_eq!(cases(&edges, "cases").len(), cases(&verdicts, "verdicts").len());
    for case in cases(&edges, "cases") {
        let key = <[u8; 32]>::try_from(unhex(&case["key"]).as_ref()).expect("keys have 32 bytes");
        let message = case["msg"].as_str().expect("messages are text");
        let said = match verify_ed25519(&key, message.as_bytes(), &unhex(&case["sig"])) {
            Ok(()) => "ok",
            Err(bad) => bad.reason(),
        };
        assert_eq!(said, verdict_of(&case["number"]), "case {}: {}", case["number"], case["flags"]);
    }
}

#[test]
fn wycheproof_is_told_apart() {
    let document = read("tlog/wycheproof-ed25519.json");
    let mut count = 0;
    for group in cases(&document, "testGroups") {
        let key = unhex(&group["publicKey"]["pk"]);
        let spki = PublicKey::from_spki(&unhex(&group["publicKeyDer"]), false).expect("their keys are good");
        for test in cases(group, "tests") {
            let (message, signature) = (unhex(&test["msg"]), unhex(&test["sig"]));
            let valid = match test["result"].as_str() {
                Some("valid") => true,
                Some("invalid") => false,
                other => panic!("result {other:?} is not known"),
            };
            let bare = <[u8; 32]>::try_from(key.as_ref()).expect("keys have 32 bytes");
            let said = verify_ed25519(&bare, &message, &signature);
            assert_eq!(said.is_ok(), valid, "test {}: {}", test["tcId"], test["comment"]);
            assert_eq!(said, spki.verify(&message, &signature), "one rule for both doors");
            count += 1;
        }
    }
    assert_eq!(Some(count), document["numberOfTests"].as_u64());
}
