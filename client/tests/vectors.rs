//! Runs the vectors of a second implementation that need private keys: suite 1, and whole signals as a recipient opens
//! them, with every intermediate value.
//!
//! All files of `tests/vectors/items` are read; what belongs to the protocol crate's own runner is listed, and an
//! operation, an input, a value or a member that nobody knows makes the test fail. The values between content secret
//! and wrapped key are computed here by hand (RFC 9180, 5.1), so that the product is held against two others.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]
#![allow(clippy::expect_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use hpke::{Deserializable as _, Kem as _};
use ring::{aead, hmac};
use seinpost_client::receive::open_signal;
use seinpost_client::seal::{
    self, ContentSecret, Delivered, ENCAPSULATION_BYTES, PrivateKey, PublicKey, SUITE, SealTo, Sealing, WRAPPED_BYTES,
};
use seinpost_protocol::certificate::SigningCertificate;
use seinpost_protocol::checkpoint::LogKey;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{self, Item, Payload};
use seinpost_protocol::signal::size_class_bytes;
use seinpost_protocol::wire::SizeClass;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// What the protocol crate's own runner asks.
const OPS_OF_THE_PROTOCOL: &[&str] = &[
    "acceptance",
    "act",
    "answer",
    "canonical",
    "checkpoint",
    "consistency",
    "covenant",
    "envelope",
    "gossip",
    "head",
    "head-lie",
    "header",
    "inclusion",
    "item",
    "pae",
    "permit",
    "receipt",
    "record",
    "resolve",
    "retired",
    "seen",
    "statement",
    "submit",
    "tree",
    "verify",
    "window",
];

/// What is asked here. `encapsulation-key` is asked there too: the protocol checks a key by hand, hpke by its own.
const OPS: &[(&str, Op)] = &[
    ("seal", seal_content),
    ("open", open_content),
    ("unpad", unpad),
    ("deliver", deliver),
    ("encapsulation-key", encapsulation_key),
];

/// Words of which the product's own reason must be the same; by any other word only the refusal is demanded.
const WORDS: &[&str] = &[
    "COMMITMENT_MISMATCH",
    "CONTENT_TOO_LARGE",
    "CONTENT_UNREADABLE",
    "ENCAPSULATION_KEY",
    "HUB_FAULT",
    "KEY_NOT_MINE",
    "PADDING",
    "SIZE_CLASS",
    "SUITE",
    "UNREADABLE_KEY",
    "WRAPPED_LENGTH",
    "SIGNATURE",
    "CERTIFICATE_DIGEST",
];

type Op = fn(&Inputs) -> Result<Value, String>;

#[test]
fn the_vectors_that_need_private_keys_come_out_as_the_second_implementation_has_them() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/items");
    let mut asked = BTreeSet::new();
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the vectors are there") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let Some(cases) = document["cases"].as_array().filter(|_| document["bases"].is_object()) else {
            continue;
        };
        for case in cases {
            let (name, op) = (case["name"].as_str().unwrap(), case["op"].as_str().unwrap());
            if OPS_OF_THE_PROTOCOL.contains(&op) {
                continue;
            }
            let Some((op, ask)) = OPS.iter().find(|(known, _)| *known == op) else {
                faults.push(format!("{name}: op {op} is not known"));
                continue;
            };
            asked.insert(*op);
            if let Err(fault) = check(case, &Inputs::of(case, &document["bases"]), *ask) {
                faults.push(format!("{name}: {fault}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n  {}", faults.len(), faults.join("\n  "));
    assert_eq!(asked.len(), OPS.len(), "only {asked:?} were asked");
}

#[test]
fn a_runner_that_takes_everything_would_prove_nothing() {
    let judge = |case: &str, op: Op| {
        let case: Value = serde_json::from_str(case).unwrap();
        check(&case, &Inputs::of(&case, &json!({})), op)
    };
    let good = r#"{"op":"unpad","in":{"padded":"0000000161","size":21},"want":"ok","values":{"content":"61"}}"#;
    assert_eq!(judge(good, unpad), Ok(()));
    for bad in [
        good.replace(r#""content":"61""#, r#""content":"62""#),
        good.replace(r#""content":"61""#, r#""text":"61""#),
        good.replace(r#""size":21"#, r#""size":21,"more":1"#),
        good.replace(r#""size":21"#, r#""size":22"#),
        good.replace(r#""op":"unpad""#, r#""op":"unpad","new":1"#),
        good.replace(r#""ok""#, r#""refused","reason":"PADDING""#),
    ] {
        assert!(judge(&bad, unpad).is_err(), "{bad}");
    }
    let refused = r#"{"op":"unpad","in":{"padded":"00000002","size":20},"want":"refused","reason":"PADDING"}"#;
    assert_eq!(judge(refused, unpad), Ok(()));
    assert!(judge(&refused.replace("PADDING", "SUITE"), unpad).is_err());
}

fn check(case: &Value, inputs: &Inputs, ask: Op) -> Result<(), String> {
    for member in case.as_object().unwrap().keys() {
        if !["name", "op", "base", "in", "want", "reason", "values", "choice", "note"].contains(&member.as_str()) {
            return Err(format!("member {member} is not known"));
        }
    }
    match (case["want"].as_str(), ask(inputs)) {
        (Some("ok"), Ok(got)) => {
            for (name, want) in case.get("values").and_then(Value::as_object).unwrap_or(&Map::new()) {
                match got.get(name) {
                    None => return Err(format!("value {name} is not known")),
                    Some(got) if got != want => return Err(format!("{name} is {got}, not {want}")),
                    Some(_) => {}
                }
            }
            inputs.all_used()
        }
        (Some("ok"), Err(reason)) => Err(format!("refused: {reason}")),
        (Some("refused"), Ok(_)) => Err(format!("accepted, though {}", case["reason"])),
        (Some("refused"), Err(got)) => {
            let want = case["reason"].as_str().unwrap();
            if WORDS.contains(&want) && got != want {
                Err(format!("refused for {got}, not for {want}"))
            } else {
                Ok(())
            }
        }
        (want, _) => Err(format!("want {want:?} is not known")),
    }
}

/// Seals with given secrets, and computes beside it what stands between.
fn seal_content(inputs: &Inputs) -> Result<Value, String> {
    let (header, content) = (inputs.bytes("header"), inputs.bytes("content"));
    let secret = inputs.bytes32("content_secret");
    let class = inputs.size_class();
    let recipients: Vec<Inputs> = inputs.list("recipients").iter().map(Inputs::from_value).collect();

    let sealing = match Sealing::with(&content, class, ContentSecret::given(secret)) {
        Ok(sealing) => sealing,
        Err(seal::CannotSeal::ContentTooLarge { .. }) => return Err("CONTENT_TOO_LARGE".into()),
        Err(seal::CannotSeal::NoRandomness(_)) => unreachable!("nothing is drawn"),
    };
    let blind = *sealing.blind().as_bytes();
    let commitment = sealing.commitment();
    assert_eq!(sealing.blind().commitment(&content, class), Some(commitment));
    let to: Vec<SealTo> = recipients
        .iter()
        .map(|recipient| {
            let public_key = recipient.bytes("public_key");
            let key = PublicKey::from_bytes(&public_key).expect("a key");
            let private = PrivateKey::from_seed(&recipient.bytes32("private_key"));
            assert_eq!(private.public_key().to_bytes(), public_key);
            SealTo { key, statement: recipient.digest("key_statement_digest") }
        })
        .collect();
    let randomness = recipients
        .iter()
        .map(|recipient| Zeroizing::new(<[u8; 64]>::try_from(&recipient.bytes("encapsulation_random")[..]).unwrap()))
        .collect();
    let sealed = sealing.finish_with(&header, &to, randomness);

    let header_sha256 = Digest::of(&header);
    let content_key = hkdf(header_sha256.as_ref(), &secret, b"seinpost.v1/content-key\x00\x00\x00\x01");
    let wrapped: Vec<Value> = recipients
        .iter()
        .zip(&sealed.wrapped)
        .map(|(recipient, wrapped)| {
            let info = [
                &b"seinpost.v1/content-secret\x00\x00\x00\x01\x00"[..],
                header_sha256.as_ref(),
                &recipient.bytes("key_statement_digest"),
                sealed.content_sha256.as_ref(),
            ]
            .concat();
            let schedule = KeySchedule::of(&recipient.bytes32("private_key"), wrapped, &info);
            assert_eq!(schedule.open(&wrapped[ENCAPSULATION_BYTES..]), secret);
            assert_eq!(wrapped.len(), WRAPPED_BYTES);
            recipient.all_used().unwrap();
            json!({
                "info": hex::encode(info),
                "shared_secret": hex::encode(schedule.shared_secret),
                "hpke_key": hex::encode(schedule.key),
                "hpke_nonce": hex::encode(schedule.nonce),
                "wrapped": hex::encode(wrapped),
                "wrapped_sha256": Digest::of(wrapped).to_string(),
            })
        })
        .collect();
    let mut padded = sealed.sealed_content.to_vec();
    let padded = gcm_open(&content_key, &[0; 12], header_sha256.as_ref(), &mut padded);
    Ok(json!({
        "header_sha256": header_sha256.to_string(),
        "blind": hex::encode(blind),
        "content_key": hex::encode(content_key),
        "sealed_content": hex::encode(&sealed.sealed_content),
        "content_sha256": sealed.content_sha256.to_string(),
        "wrapped": wrapped,
        "padded_sha256": Digest::of(padded).to_string(),
        "content_commitment": commitment.to_string(),
    }))
}

fn open_content(inputs: &Inputs) -> Result<Value, String> {
    let (header, sealed_content, wrapped) =
        (inputs.bytes("header"), inputs.bytes("sealed_content"), inputs.bytes("wrapped"));
    let delivered = Delivered {
        header: &header,
        content_commitment: &inputs.digest("content_commitment"),
        size_class: inputs.size_class(),
        suite: u32::try_from(inputs.number("suite")).unwrap(),
        content_sha256: &inputs.digest("content_sha256"),
        key_statement: &inputs.digest("key_statement_digest"),
        wrapped_sha256: &inputs.digest("wrapped_sha256"),
        sealed_content: &sealed_content,
        wrapped: &wrapped,
    };
    let key = PrivateKey::from_seed(&inputs.bytes32("private_key"));
    let opened = seal::open(&delivered, &key).map_err(|cannot| cannot.reason().to_owned())?;
    Ok(json!({
        "content": hex::encode(opened.content.as_bytes()),
        "content_secret": hex::encode(opened.secret.expose()),
        "blind": hex::encode(opened.blind.as_bytes()),
    }))
}

fn unpad(inputs: &Inputs) -> Result<Value, String> {
    let size = usize::try_from(inputs.number("size")).unwrap();
    let padded = inputs.bytes("padded");
    let content = seal::unpad(&padded, size).ok_or("PADDING")?;
    Ok(json!({ "content": hex::encode(content) }))
}

/// Verifies a whole signal as a recipient does, and opens it with the key of one statement.
fn deliver(inputs: &Inputs) -> Result<Value, String> {
    let origin = inputs.text("log_origin");
    let envelope = item::decode_envelope(inputs.bytes("item").into()).map_err(|bad| bad.reason().to_owned())?;
    let parsed = Item::parse(envelope, origin).map_err(|bad| bad.reason().to_owned())?;
    let certificate = SigningCertificate::parse(inputs.bytes("certificate").into()).expect("a certificate");
    let verified = parsed.verify(&certificate, false).map_err(|bad| bad.reason().to_owned())?;
    let log_key = LogKey::new(inputs.bytes32("log_key"));
    verified.signer().seen.verify(origin, &[log_key]).map_err(|bad| bad.reason().to_owned())?;
    let Payload::Signal(signal) = verified.payload() else {
        panic!("what is delivered here is a signal");
    };
    // The recipient knows its statement by the digest that it keeps, or has the statement itself.
    let stated = inputs.digest("key_statement_digest");
    let statement = inputs.bytes_if_any("key_statement").map_or(stated, |item| {
        let item = item::decode_envelope(item.into()).expect("a statement's item");
        item::digest_of(&item.payload_type, &item.payload)
    });
    let key = PrivateKey::from_seed(&inputs.bytes32("private_key"));
    let opened = open_signal(
        signal,
        usize::try_from(inputs.number("recipient")).unwrap(),
        &inputs.bytes("sealed_content"),
        &inputs.bytes("wrapped_key"),
        Some((&statement, &key)),
    )
    .map_err(|cannot| cannot.reason().to_owned())?;
    Ok(json!({
        "item_digest": verified.digest().to_string(),
        "content": hex::encode(opened.content.as_bytes()),
        "blind": hex::encode(opened.blind.as_bytes()),
    }))
}

fn encapsulation_key(inputs: &Inputs) -> Result<Value, String> {
    PublicKey::from_bytes(&inputs.bytes("public_key")).map_err(|_| "ENCAPSULATION_KEY".to_owned())?;
    Ok(json!({}))
}

/// HPKE's key schedule in base mode for X-Wing, HKDF-SHA256, AES-256-GCM, computed by hand.
struct KeySchedule {
    shared_secret: Vec<u8>,
    key: Vec<u8>,
    nonce: Vec<u8>,
}

impl KeySchedule {
    fn of(seed: &[u8; 32], wrapped: &[u8], info: &[u8]) -> Self {
        type XWing = hpke::kem::XWing;
        let private = <XWing as hpke::Kem>::PrivateKey::from_bytes(seed).unwrap();
        let encapsulation = <XWing as hpke::Kem>::EncappedKey::from_bytes(&wrapped[..ENCAPSULATION_BYTES]).unwrap();
        let shared_secret = XWing::decap(&private, None, &encapsulation).unwrap().0.to_vec();

        let suite = b"HPKE\x64\x7a\x00\x01\x00\x02";
        let extract = |salt: &[u8], label: &[u8], ikm: &[u8]| mac(salt, &[&b"HPKE-v1"[..], suite, label, ikm].concat());
        let context = [&[0][..], &extract(b"", b"psk_id_hash", b""), &extract(b"", b"info_hash", info)].concat();
        let secret = extract(&shared_secret, b"secret", b"");
        let expand = |label: &[u8], length: u16| {
            let labeled = [&length.to_be_bytes()[..], b"HPKE-v1", suite, label, &context, &[1]].concat();
            mac(&secret, &labeled)[..usize::from(length)].to_vec()
        };
        Self { key: expand(b"key", 32), nonce: expand(b"base_nonce", 12), shared_secret }
    }

    fn open(&self, ciphertext: &[u8]) -> Vec<u8> {
        let mut buffer = ciphertext.to_vec();
        gcm_open(&self.key, &self.nonce, b"", &mut buffer).to_vec()
    }
}

fn gcm_open<'a>(key: &[u8], nonce: &[u8], aad: &[u8], buffer: &'a mut [u8]) -> &'a [u8] {
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, key).unwrap());
    let nonce = aead::Nonce::try_assume_unique_for_key(nonce).unwrap();
    key.open_in_place(nonce, aead::Aad::from(aad), buffer).unwrap()
}

/// HKDF-SHA256 for one block, by hand.
fn hkdf(salt: &[u8], ikm: &[u8], info: &[u8]) -> Vec<u8> {
    mac(&mac(salt, ikm), &[info, &[1]].concat())
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// A case's inputs laid over its base's; who reads one has used it.
struct Inputs {
    map: Map<String, Value>,
    used: RefCell<BTreeSet<String>>,
}

impl Inputs {
    fn of(case: &Value, bases: &Value) -> Self {
        let mut map = case.get("base").map_or_else(Map::new, |base| {
            bases[base.as_str().unwrap()].as_object().expect("the base is there").clone()
        });
        map.extend(case["in"].as_object().unwrap().clone());
        Self { map, used: RefCell::default() }
    }

    fn from_value(value: &Value) -> Self {
        Self { map: value.as_object().unwrap().clone(), used: RefCell::default() }
    }

    fn value(&self, name: &str) -> &Value {
        self.find(name).unwrap_or_else(|| panic!("no input {name}"))
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.used.borrow_mut().insert(name.to_owned());
        self.map.get(name)
    }

    fn text(&self, name: &str) -> &str {
        self.value(name).as_str().unwrap()
    }

    fn number(&self, name: &str) -> u64 {
        self.value(name).as_u64().unwrap()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.value(name).as_array().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.text(name)).unwrap()
    }

    fn bytes_if_any(&self, name: &str) -> Option<Vec<u8>> {
        self.find(name).map(|value| hex::decode(value.as_str().unwrap()).unwrap())
    }

    fn bytes32(&self, name: &str) -> [u8; 32] {
        self.bytes(name).try_into().unwrap()
    }

    fn digest(&self, name: &str) -> Digest {
        Digest::new(self.bytes32(name))
    }

    fn size_class(&self) -> SizeClass {
        let class = SizeClass::from_str_name(&format!("SIZE_CLASS_{}", self.text("size_class"))).expect("a class");
        assert!(size_class_bytes(class) >= 4_096);
        class
    }

    fn all_used(&self) -> Result<(), String> {
        let unused: Vec<_> = self.map.keys().filter(|name| !self.used.borrow().contains(*name)).collect();
        if unused.is_empty() { Ok(()) } else { Err(format!("inputs {unused:?} were not used")) }
    }
}

#[test]
fn the_suite_is_the_one_that_the_vectors_are_of() {
    assert_eq!(SUITE, 1);
    assert_eq!(hpke::kem::XWing::KEM_ID, 0x647a);
}
