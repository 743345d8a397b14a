//! The covenant: verified against what is trusted, and asked who may act, where a signal goes, which rule permits it.

use seinpost_protocol::address::{Address, Function, Oin};
use seinpost_protocol::covenant::{BadCovenant, Covenant, Floor, Trust};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::signal::SignalHeader;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use serde_json::{Value, json};

use prost::Message as _;

use super::frame::{Family, Inputs, Refusal, Values, unhex};

pub(crate) const FAMILY: Family =
    Family { ops: &[("covenant", covenant), ("act", act), ("resolve", resolve), ("permit", permit)], reasons: &[] };

fn covenant(inputs: &Inputs) -> Result<Values, Refusal> {
    let trust = inputs.value("trust");
    let floor = floor(trust);
    // The last accepted one came to be trusted by the floor too.
    let last = match &trust["covenant"] {
        Value::Null => None,
        item => {
            Some(Covenant::verify_bytes(unhex(item), &Trust::Floor(floor.clone())).expect("what is trusted is good"))
        }
    };
    let trust = last.as_ref().map_or(Trust::Floor(floor), Trust::Last);
    let covenant = Covenant::verify_bytes(inputs.bytes("covenant"), &trust).map_err(refused)?;
    Ok(Values::default().with("digest", covenant.digest().to_string()).with("serial", covenant.serial()))
}

fn floor(trust: &Value) -> Floor {
    let registrars =
        trust["registrars"].as_array().expect("there are registrars").iter().map(|registrar| wire::Registrar {
            name: String::new(),
            oin: registrar["oin"].as_str().expect("an OIN is text").to_owned(),
            ed25519: unhex(&registrar["ed25519"]),
        });
    Floor {
        log_origin: trust["log_origin"].as_str().expect("an origin is text").to_owned(),
        registrars: registrars.collect(),
        threshold: trust["threshold"].as_u64().and_then(|number| u32::try_from(number).ok()).expect("a threshold"),
        serial: trust["serial"].as_u64().expect("a serial"),
        digest: Digest::try_from(&unhex(&trust["digest"])).expect("a digest"),
        test: trust["test"].as_bool().expect("a flag"),
    }
}

fn refused(bad: BadCovenant) -> Refusal {
    Refusal::at(bad.reason(), bad.field())
}

fn act(inputs: &Inputs) -> Result<Values, Refusal> {
    let covenant = given(inputs);
    let address = inputs.value("address");
    let oin = Oin::try_from(address["oin"].as_str().expect("an OIN is text")).expect("an OIN");
    let address = Address { oin, function: function(&address["function"]) };
    let used_for = wire::Use::from_str_name(&format!("USE_{}", inputs.text("use"))).expect("a use");
    let spki = Digest::try_from(&inputs.bytes("spki_sha256")).expect("a digest");
    let at = time(inputs, "now_ms");
    let acting = covenant.may_act(address, used_for, &spki, at);
    let listed = covenant.functions(oin, used_for, &spki, at).contains(&address.function);
    assert_eq!(listed, acting.is_ok(), "what a key may do is asked in two ways");
    acting.map(|acting| Values::default().with("bound", acting.bound)).map_err(|no| Refusal::of(no.reason()))
}

fn resolve(inputs: &Inputs) -> Result<Values, Refusal> {
    let signal_type = wire::SignalType::from_str_name(&format!("SIGNAL_TYPE_{}", inputs.text("type"))).expect("a type");
    let function = function(inputs.value("function"));
    let to = given(inputs).resolve(function, inputs.text("municipality"), signal_type, time(inputs, "at_ms"));
    let to = to.map_err(|no| Refusal::of(no.reason()))?;
    let code = seinpost_protocol::address::function_code(to.function);
    Ok(Values::default().with("to", json!({ "oin": to.oin.as_str(), "function": code })))
}

fn permit(inputs: &Inputs) -> Result<Values, Refusal> {
    let header = SignalHeader::parse(inputs.bytes("header")).expect("a header that is good by itself");
    match given(inputs).permit(&header) {
        Ok(permit) => {
            let rules: Vec<String> = permit.recipients.into_iter().map(|permitted| permitted.rule_id).collect();
            Ok(Values::default().with("rules", rules))
        }
        Err(refused) => {
            let nearest = refused.nearest_rule.as_deref().unwrap_or("-");
            let at = format!("recipients[{}] nearest {nearest}", refused.recipient);
            Err(Refusal::at(refused.reason.as_str(), at))
        }
    }
}

/// The covenant that these cases are asked of, taken at its own word: by whom it is signed is another file's affair.
fn given(inputs: &Inputs) -> Covenant {
    let bytes = inputs.bytes("covenant");
    let item = wire::SignedItem::decode(bytes.clone()).expect("an item");
    let message = wire::Covenant::decode(item.payload.clone()).expect("a covenant");
    let floor = Floor {
        log_origin: message.log_origin,
        registrars: message.registrars,
        threshold: message.threshold,
        serial: message.serial,
        digest: seinpost_protocol::item::digest_of(&item.payload_type, &item.payload),
        test: false,
    };
    Covenant::verify_bytes(bytes, &Trust::Floor(floor)).expect("the covenant of these cases is good")
}

fn function(name: &Value) -> Function {
    let name = name.as_str().expect("a function is named");
    Function::from_str_name(&format!("FUNCTION_{name}")).expect("a function")
}

fn time(inputs: &Inputs, name: &str) -> Timestamp {
    let millis = i64::try_from(inputs.number(name)).expect("a time");
    Timestamp::from_millis(millis).expect("a time within 2020–2100")
}
