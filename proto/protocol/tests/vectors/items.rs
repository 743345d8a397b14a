//! Items: envelopes, headers, key statements, and whole signals as the gateway takes them.

use bytes::Bytes;

use seinpost_protocol::certificate::SigningCertificate;
use seinpost_protocol::checkpoint::LogKey;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{self, BadItem, Item, ItemType, Payload, VerifiedItem};
use seinpost_protocol::key_statement::{self, KeyStatement};
use seinpost_protocol::signal::SignalHeader;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

use super::frame::{Family, Inputs, Refusal, Values};

pub(crate) const FAMILY: Family = Family {
    ops: &[
        ("pae", pae),
        ("envelope", envelope),
        ("item", agency_item),
        ("header", header),
        ("statement", statement),
        ("window", window),
        ("encapsulation-key", encapsulation_key),
        ("submit", submit),
    ],
    reasons: &[
        // An address that is none is refused before it is compared with the certificate's.
        ("CERTIFICATE_OIN", &["OIN"]),
    ],
};

pub(crate) fn bad_item(bad: BadItem) -> Refusal {
    // A field is compared only where it is a fault of encoding: the vectors name no other.
    match &bad {
        BadItem::Malformed(fault) => super::messages::malformed(fault.clone()),
        _ => Refusal::of(bad.reason()),
    }
}

fn pae(inputs: &Inputs) -> Result<Values, Refusal> {
    let (payload_type, payload) = (inputs.text("payload_type"), inputs.bytes("payload"));
    let pae = item::pae(payload_type, &payload);
    assert_eq!(Digest::of(&pae), item::digest_of(payload_type, &payload));
    let digest = item::digest_of(payload_type, &payload);
    Ok(Values::default().with_bytes("pae", pae).with_bytes("item_digest", digest))
}

fn envelope(inputs: &Inputs) -> Result<Values, Refusal> {
    let envelope = item::decode_envelope(inputs.bytes("item")).map_err(bad_item)?;
    let item_type = ItemType::of(&envelope).map_err(bad_item)?;
    Ok(Values::default()
        .with("type", type_name(item_type))
        .with_bytes("payload", &envelope.payload)
        .with_bytes("item_digest", item::digest_of(&envelope.payload_type, &envelope.payload))
        .with("signatures", envelope.signatures.len()))
}

/// The vectors name a type by what is its own in its payload type.
fn type_name(item_type: ItemType) -> &'static str {
    let name = item_type.payload_type().strip_prefix("application/vnd.seinpost.");
    name.and_then(|name| name.strip_suffix(".v1+protobuf")).expect("all types are written alike")
}

fn verified(inputs: &Inputs) -> Result<VerifiedItem, Refusal> {
    let origin = inputs.text("log_origin");
    let envelope = item::decode_envelope(inputs.bytes("item")).map_err(bad_item)?;
    let item = Item::parse(envelope, origin).map_err(bad_item)?;
    let certificate =
        SigningCertificate::parse(inputs.bytes("certificate")).map_err(|bad| bad_item(BadItem::Certificate(bad)))?;
    let item = item.verify(&certificate, false).map_err(bad_item)?;
    let key = LogKey::new(inputs.bytes("log_key").as_ref().try_into().expect("a log key has 32 bytes"));
    item.signer().seen.verify(origin, &[key]).map_err(|bad| Refusal::of(bad.reason()))?;
    Ok(item)
}

fn agency_item(inputs: &Inputs) -> Result<Values, Refusal> {
    let item = verified(inputs)?;
    Ok(Values::default().with("type", type_name(item.item_type())).with_bytes("item_digest", item.digest()))
}

fn header(inputs: &Inputs) -> Result<Values, Refusal> {
    let bytes = inputs.bytes("header");
    SignalHeader::parse(bytes.clone()).map_err(bad_item)?;
    Ok(Values::default().with_bytes("header_sha256", Digest::of(&bytes)))
}

fn submit(inputs: &Inputs) -> Result<Values, Refusal> {
    let item = verified(inputs)?;
    let Payload::Signal(signal) = item.payload() else {
        panic!("what is submitted here is a signal");
    };
    signal.check_beside(&inputs.bytes("sealed_content"), &inputs.bytes_list("wrapped_keys")).map_err(bad_item)?;
    Ok(Values::default()
        .with_bytes("item_digest", item.digest())
        .with_bytes("header_sha256", Digest::of(&signal.header_bytes)))
}

/// A statement and its digest, whoever signed it.
fn read_statement(item: Bytes) -> Result<(KeyStatement, Digest), Refusal> {
    let wire::SignedItem { payload, payload_type, .. } = item::decode_envelope(item).map_err(bad_item)?;
    let digest = item::digest_of(&payload_type, &payload);
    Ok((KeyStatement::parse(payload).map_err(bad_item)?, digest))
}

fn statement(inputs: &Inputs) -> Result<Values, Refusal> {
    let (statement, digest) = read_statement(inputs.bytes("item"))?;
    let previous = inputs.bytes_if_any("previous").map(read_statement).transpose()?;
    let previous = previous.as_ref().map(|(statement, digest)| (digest, statement.serial));
    statement.follows(previous, inputs.number_if_any("key_floor").unwrap_or(0)).map_err(bad_item)?;
    Ok(Values::default().with_bytes("item_digest", digest).with("serial", statement.serial))
}

fn window(inputs: &Inputs) -> Result<Values, Refusal> {
    let (statement, _) = read_statement(inputs.bytes("item"))?;
    let time = |name| {
        let millis = i64::try_from(inputs.number(name)).expect("times lie before 2100");
        Timestamp::from_millis(millis).expect("times lie within 2020–2100")
    };
    statement.check_window(time("signed_at_ms"), time("expires_ms")).map_err(bad_item)?;
    Ok(Values::default())
}

fn encapsulation_key(inputs: &Inputs) -> Result<Values, Refusal> {
    if key_statement::is_encapsulation_key(&inputs.bytes("public_key")) {
        Ok(Values::default())
    } else {
        Err(bad_item(BadItem::EncapsulationKey))
    }
}
