//! What the gateway refuses of items, with which status and reason, and which of two faults it names first.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_client::keys::Windows;
use seinpost_client::seal::PrivateKey;
use seinpost_protocol::address::{Address, Oin};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire::{self, Function, SignalType};
use seinpost_rpc::audit_service_client::AuditServiceClient;
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::{Forge, Open, item_id, seal_to};
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::raw::{self, fields, reason};
use seinpost_tests::harness::world::now;
use serde_json::json;
use tonic::{Code, Status};

const DAY: Duration = Duration::from_secs(86_400);

/// A hub with a sender that makes items by hand and the recipient of its signals.
struct Scene {
    hub: Hub,
    police: Forge,
    safe_home: seinpost_client::client::Client,
}

impl Scene {
    async fn set() -> Self {
        let hub = Hub::start().await;
        let safe_home = hub.client("safe-home-amsterdam").await;
        let police = Forge::of(&hub, "police-amsterdam").await;
        Self { hub, police, safe_home }
    }

    fn signal(&self) -> Open {
        self.police.signal(&self.hub.example(SignalType::ExploitationSignal), &[&self.safe_home])
    }

    /// Sends a signal that was changed before it was sealed and signed.
    async fn changed(&self, change: impl FnOnce(&mut wire::SignalHeader)) -> Status {
        let mut open = self.signal();
        change(&mut open.header);
        self.police.send(open).await.unwrap_err()
    }
}

#[track_caller]
fn refused(status: &Status, code: Code, expected: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (code, expected), "{}", status.message());
    assert!(status.message().ends_with(&format!("[{expected}]")), "{}", status.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_forge_makes_is_right_until_it_is_changed() {
    let scene = Scene::set().await;
    scene.police.send(scene.signal()).await.unwrap();
    let mut mailbox = agency::mailbox(&scene.safe_home).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(agency::content(&signal)["subject"]["names"]["family"], scene.hub.canary());
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_a_header_that_is_wrong_is_refused_by_its_path() {
    let scene = Scene::set().await;
    type Change = fn(&mut wire::SignalHeader);
    let cases: &[(&str, Change, &str, &str)] = &[
        ("another log", |h| signer(h).log_origin = "seinpost.test/other".into(), "LOG_ORIGIN", "signer.log_origin"),
        ("an id that is none", |h| signer(h).item_id = "1".into(), "ITEM_ID", "signer.item_id"),
        ("an upper-case id", |h| signer(h).item_id.make_ascii_uppercase(), "ITEM_ID", "signer.item_id"),
        (
            "an id of another day",
            |h| signer(h).item_id = item_id(now() - 2 * DAY).to_string(),
            "ITEM_ID_TIME",
            "signer.item_id",
        ),
        (
            "a mandate",
            |h| signer(h).mandate_digest = Bytes::from_static(&[1; 32]),
            "MANDATE_UNKNOWN",
            "signer.on_behalf_of",
        ),
        ("no checkpoint", |h| signer(h).seen_checkpoint = Bytes::new(), "MISSING", "signer.seen_checkpoint"),
        (
            "a short digest",
            |h| signer(h).covenant_digest = Bytes::from_static(&[1; 31]),
            "LENGTH",
            "signer.covenant_digest",
        ),
        ("an unknown type", |h| h.r#type = 99, "ENUM", "type"),
        ("no type", |h| h.r#type = 0, "ENUM", "type"),
        ("an unknown purpose", |h| h.purpose = 77, "ENUM", "purpose"),
        ("no recipient", |h| h.recipients.clear(), "RECIPIENT_COUNT", "recipients"),
        ("a recipient twice", |h| h.recipients.push(h.recipients[0].clone()), "RECIPIENT_TWICE", "recipients"),
        (
            "a municipality of three digits",
            |h| h.recipients[0].municipality = "363".into(),
            "MUNICIPALITY",
            "recipients.municipality",
        ),
        (
            "a name for a number",
            |h| h.recipients[0].basis_reference = "Jan".into(),
            "BASIS_REFERENCE",
            "recipients.basis_reference",
        ),
        (
            "a BSN for a number",
            |h| h.recipients[0].basis_reference = "9999.90-482".into(),
            "BASIS_REFERENCE_BSN",
            "recipients.basis_reference",
        ),
        ("handling out of order", |h| h.handling = vec![2, 1], "HANDLING", "handling"),
        ("handling twice", |h| h.handling = vec![2, 2], "HANDLING", "handling"),
        ("too short a life", |h| h.expires = Some((now() + DAY / 48).into()), "EXPIRES", "expires"),
        ("too long a life", |h| h.expires = Some((now() + 31 * DAY).into()), "EXPIRES", "expires"),
        ("nanoseconds", |h| signer(h).signed_at.as_mut().unwrap().nanos += 1, "TIMESTAMP_NANOS", "signer.signed_at"),
        (
            "a commitment of 33 bytes",
            |h| h.content_commitment = Bytes::from_static(&[1; 33]),
            "LENGTH",
            "content_commitment",
        ),
        ("no size class", |h| h.size_class = 0, "ENUM", "size_class"),
    ];
    let mut wrong = Vec::new();
    for (what, change, expected, path) in cases {
        let status = scene.changed(change).await;
        let named = fields(&status);
        let fits = named.iter().any(|field| field.ends_with(path));
        if (status.code(), reason(&status).as_str()) != (Code::InvalidArgument, expected) || !fits {
            wrong.push(format!("{what}: {:?} {} at {named:?}", status.code(), status.message()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.hub.end().await;
}

fn signer(header: &mut wire::SignalHeader) -> &mut wire::Signer {
    header.signer.as_mut().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_with_more_in_it_than_it_may_hold_is_refused() {
    let scene = Scene::set().await;
    let sealed = scene.signal().seal();
    // A field that no version knows: what belongs in the content might hide in it.
    let mut smuggling = sealed.clone();
    smuggling.manifest.header = [&smuggling.manifest.header[..], b"\xfa\x01\x05Semmi"].concat().into();
    let status = scene.police.submit(scene.police.submission(smuggling)).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "UNKNOWN_FIELD");

    // The same message in another encoding.
    let mut other = sealed.clone();
    other.manifest.header = [&other.manifest.header[..], b"\x40\x01"].concat().into();
    let status = scene.police.submit(scene.police.submission(other)).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "NOT_CANONICAL");

    let mut large = sealed.clone();
    large.manifest.header = vec![0; 16 * 1024 + 1].into();
    let status = scene.police.submit(scene.police.submission(large)).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "HEADER_TOO_LARGE");

    // In the envelope, which nothing signs, somebody on the way may add what he likes: it does not get into the hub.
    let word = "Smokkelwaar der envelop";
    scene.hub.guard(word);
    let mut request = scene.police.submission(sealed);
    let item = request.item.take().unwrap().encode_to_vec();
    let item = [&item[..], b"\x92\x03\x17", word.as_bytes()].concat();
    let mut bytes = vec![0x0a];
    prost::encoding::encode_varint(item.len() as u64, &mut bytes);
    bytes.extend_from_slice(&item);
    bytes.extend_from_slice(&request.encode_to_vec());
    let answered = raw::call(&scene.police.channel, "/seinpost.v1.ExchangeService/Submit", bytes.into()).await;
    match answered {
        Ok(answers) => assert_eq!(answers.len(), 1),
        Err(status) => refused(&status, Code::InvalidArgument, "UNKNOWN_FIELD"),
    }
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_travels_beside_an_item_is_what_was_signed_or_refused() {
    let scene = Scene::set().await;
    let good = scene.police.submission(scene.signal().seal());
    type Change = fn(&mut wire::SubmitRequest);
    let cases: &[(&str, Change, &str)] = &[
        ("a flipped bit of content", |r| r.sealed_content = flipped(&r.sealed_content), "CONTENT_SHA256"),
        ("no content", |r| r.sealed_content.clear(), "SIZE_CLASS"),
        ("shorter content", |r| r.sealed_content.truncate(4095), "SIZE_CLASS"),
        ("a flipped bit of a key", |r| r.wrapped_keys[0] = flipped(&r.wrapped_keys[0]), "WRAPPED_SHA256"),
        ("no key", |r| r.wrapped_keys.clear(), "WRAPPED_COUNT"),
        ("a key more", |r| r.wrapped_keys.push(r.wrapped_keys[0].clone()), "WRAPPED_COUNT"),
        ("a shorter key", |r| r.wrapped_keys[0].truncate(1167), "WRAPPED_LENGTH"),
        ("a flipped bit of the signature", |r| signature(r).sig = flipped(&signature(r).sig), "SIGNATURE"),
        ("no signature", |r| r.item.as_mut().unwrap().signatures.clear(), "SIGNATURE_COUNT"),
        (
            "two signatures",
            |r| {
                let one = signature(r).clone();
                r.item.as_mut().unwrap().signatures.push(one)
            },
            "SIGNATURE_COUNT",
        ),
        ("no item", |r| r.item = None, "FIELD"),
        (
            "an item of another type",
            |r| r.item.as_mut().unwrap().payload_type = "application/vnd.seinpost.follow-up.v1+protobuf".into(),
            "PAYLOAD_TYPE",
        ),
        (
            "a covenant",
            |r| r.item.as_mut().unwrap().payload_type = ItemType::Covenant.payload_type().into(),
            "PAYLOAD_TYPE",
        ),
        (
            "a mailbox head",
            |r| r.item.as_mut().unwrap().payload_type = ItemType::MailboxHead.payload_type().into(),
            "PAYLOAD_TYPE",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, change, expected) in cases {
        let mut request = good.clone();
        change(&mut request);
        let status = scene.police.submit(request).await.unwrap_err();
        if (status.code(), reason(&status).as_str()) != (Code::InvalidArgument, expected) {
            wrong.push(format!("{what}: {:?} {}", status.code(), status.message()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // None of them was recorded: the good one still is new, and is taken.
    scene.police.submit(good).await.unwrap();
    scene.hub.end().await;
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes.into()
}

fn signature(request: &mut wire::SubmitRequest) -> &mut wire::ItemSignature {
    &mut request.item.as_mut().unwrap().signatures[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn types_of_later_are_refused_as_not_yet_known() {
    let scene = Scene::set().await;
    for number in 1..=22 {
        let signal_type = SignalType::try_from(number).unwrap();
        if [SignalType::ExploitationSignal, SignalType::Consultation, SignalType::ConsultationAdvice]
            .contains(&signal_type)
        {
            continue;
        }
        let status = scene.changed(|header| header.r#type = number).await;
        refused(&status, Code::FailedPrecondition, "TYPE_NOT_YET");
    }
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_or_route_permits_is_refused_with_what_would_do() {
    let scene = Scene::set().await;
    let oin = |text: &str| Oin::try_from(text).unwrap().to_string();
    let stranger = oin("00000099999999999999");
    type Change = Box<dyn Fn(&mut wire::SignalHeader)>;
    let cases: Vec<(&str, Change, &str)> = vec![
        ("a basis of another rule", Box::new(|h| h.recipients[0].legal_basis = "WPG_16_1_B".into()), "BASIS"),
        ("a basis that is none", Box::new(|h| h.recipients[0].legal_basis = "BECAUSE".into()), "BASIS"),
        (
            "a regime that the basis does not open",
            Box::new(|h| h.source_regime = wire::SourceRegime::Wpg9.into()),
            "BASIS_REGIME",
        ),
        (
            "a basis that needs a decision",
            Box::new(|h| h.recipients[0].legal_basis = "WPG_19".into()),
            "BASIS_REFERENCE",
        ),
        ("a function that no rule names", Box::new(|h| to(h).function = Function::Rapporteur.into()), "NO_RULE"),
        ("an organisation that nobody knows", Box::new(move |h| to(h).oin = stranger.clone()), "NO_ROUTE"),
        ("another safe home than the route's", Box::new(|h| h.recipients[0].municipality = "0599".into()), "NO_ROUTE"),
        ("no municipality", Box::new(|h| h.recipients[0].municipality.clear()), "NO_ROUTE"),
        (
            "a conversation that never was",
            Box::new(|h| {
                h.conversation = item_id(now()).to_string();
                h.recipients[0].municipality.clear();
            }),
            "NO_ROUTE",
        ),
        (
            "a profile that is not the type's",
            Box::new(|h| h.content_profile.as_mut().unwrap().name = "care-report".into()),
            "BASIS_PROFILE",
        ),
        (
            "another text of the profile",
            Box::new(|h| h.content_profile.as_mut().unwrap().sha256 = Bytes::from_static(&[3; 32])),
            "BASIS_PROFILE",
        ),
        (
            "a covenant that was never adopted",
            Box::new(|h| signer(h).covenant_digest = Bytes::from_static(&[3; 32])),
            "COVENANT_UNKNOWN",
        ),
        ("a signal of nobody to supersede", Box::new(|h| h.supersedes = Bytes::from_static(&[3; 32])), "SUPERSEDES"),
    ];
    let mut wrong = Vec::new();
    for (what, change, expected) in cases {
        let status = scene.changed(change).await;
        if (status.code(), reason(&status).as_str()) != (Code::FailedPrecondition, expected) {
            wrong.push(format!("{what}: {:?} {}", status.code(), status.message()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    // The sentence tells what would do.
    let status = scene.changed(|header| header.source_regime = wire::SourceRegime::Wpg9.into()).await;
    for word in ["EXPLOITATION_SIGNAL", "BPG_4_2_1_I", "WPG_8", "WPG_13", "WPG_9"] {
        assert!(status.message().contains(word), "{word} in {:?}", status.message());
    }
    scene.hub.end().await;
}

fn to(header: &mut wire::SignalHeader) -> &mut wire::Address {
    header.recipients[0].address.as_mut().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mayor_gets_what_the_rule_for_mayors_allows_and_nothing_of_the_child() {
    let scene = Scene::set().await;
    let mayor = scene.hub.client("mayor-amsterdam").await;
    let mut file = scene.hub.example(SignalType::ExploitationSignal);
    file["to"][0] = json!({ "function": "MAYOR", "municipality": "0363", "legal_basis": "WPG_16_1_C" });
    file["purpose"] = json!("PUBLIC_ORDER");
    // With the child in it the sender's own client refuses, field by field.
    let error = agency::send(&scene.police.client, &file).await.unwrap_err().to_string();
    for field in ["content.subject", "content.authority", "content.safety"] {
        assert!(error.contains(field), "{field} in {error}");
    }
    // For another purpose no rule permits it, whatever it says.
    let mut caring = file.clone();
    caring["purpose"] = json!("CARE");
    assert_eq!(agency::send(&scene.police.client, &caring).await.unwrap_err().reason(), Some("BASIS_PURPOSE"));
    for field in ["subject", "authority", "safety"] {
        file["content"].as_object_mut().unwrap().remove(field);
    }
    agency::send(&scene.police.client, &file).await.unwrap();

    // A sender that does not check is found out by the mayor's client.
    let excess = scene.hub.example(SignalType::ExploitationSignal)["content"].clone();
    file["content"] = excess;
    scene.police.send(scene.police.signal(&file, &[&mayor])).await.unwrap();
    let mut mailbox = agency::mailbox(&mayor).await.unwrap();
    let first = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(first.content.answer(), Some(wire::AnswerCode::DeliveredReadable));
    let second = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(second.content.answer(), Some(wire::AnswerCode::ExcessData));
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_to_the_hubs_own_functions_or_to_itself() {
    let scene = Scene::set().await;
    let own = Address { oin: scene.police.client.address().oin, function: Function::PoliceOperations };
    let status = scene.changed(|header| header.recipients[0].address = Some(own.into())).await;
    assert!(["SELF", "BASIS"].contains(&reason(&status).as_str()), "{}", status.message());
    let operator = scene.hub.world().address("operator").unwrap();
    let status = scene.changed(|header| header.recipients[0].address = Some(operator.into())).await;
    refused(&status, Code::FailedPrecondition, "NO_RULE");
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_another_signs_anew_as_its_own_is_refused() {
    let scene = Scene::set().await;
    let prosecution = Forge::of(&scene.hub, "prosecution-amsterdam").await;
    let request = scene.police.submission(scene.signal().seal());

    // As it is, over another's connection.
    let status = prosecution.submit(request.clone()).await.unwrap_err();
    refused(&status, Code::PermissionDenied, "SIGNER_NOT_PEER");
    // The police's payload under the thief's signature, over the thief's connection.
    let payload = request.item.as_ref().unwrap().payload.clone();
    let mut stolen = request.clone();
    stolen.item = Some(prosecution.sign_bytes(ItemType::Signal, payload.clone()));
    let status = prosecution.submit(stolen.clone()).await.unwrap_err();
    refused(&status, Code::PermissionDenied, "SIGNER_NOT_PEER");
    // Over the police's own connection the thief's signature is none of the police's.
    let status = scene.police.submit(stolen).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "SIGNATURE");

    // With the thief's own signer in the header: taken, as the thief's word, but what the police sealed is bound to the
    // police's header and does not open under another.
    let open = scene.signal();
    let mut sealed = open.seal();
    let mut header = wire::SignalHeader::decode(sealed.manifest.header.clone()).unwrap();
    let signer = prosecution.signer();
    header.conversation = signer.item_id.clone();
    header.signer = Some(signer);
    header.recipients[0].legal_basis = "WMO_4_1_1_3".into();
    header.r#type = SignalType::Consultation.into();
    header.source_regime = wire::SourceRegime::None.into();
    let profile =
        scene.police.covenant.message().profiles.iter().find(|profile| profile.name == "consultation").unwrap();
    header.content_profile = Some(wire::ContentProfile {
        name: profile.name.clone(),
        version: profile.version,
        sha256: Digest::of(&profile.encode_to_vec()).into(),
    });
    sealed.manifest.header = header.encode_to_vec().into();
    prosecution.submit(prosecution.submission(sealed)).await.unwrap();
    let mut mailbox = agency::mailbox(&scene.safe_home).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(signal.content.answer(), Some(wire::AnswerCode::UnreadableKey));
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_sealed_to_a_key_statement_that_counts_or_refused() {
    let scene = Scene::set().await;
    let superseded = seal_to(&scene.safe_home);
    let sealed_to = async |statement: Digest| {
        let mut open = scene.signal();
        open.seal_to[0].statement = statement;
        scene.police.send(open).await
    };
    // A statement of nobody, and one of somebody else.
    let status = sealed_to(Digest::new([9; 32])).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_UNKNOWN");
    let foreign = seal_to(&scene.police.client);
    let status = sealed_to(foreign.statement).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_UNKNOWN");

    // One that is superseded is taken for a day more; one whose window is over is not.
    let short =
        Windows { seal_for: Duration::from_secs(3600), open_for: Duration::from_secs(3600), ..Windows::default() };
    scene.safe_home.publish_key(short).await.unwrap();
    sealed_to(superseded.statement).await.unwrap();
    let mut open = scene.signal();
    open.header.expires = Some((now() + DAY).into());
    let status = scene.police.send(open).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_WINDOW");
    let later = Windows { seal_from: Some(now() + DAY), ..Windows::default() };
    scene.safe_home.publish_key(later).await.unwrap();
    let status = scene.police.send(scene.signal()).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_WINDOW");

    // A key that was withdrawn counts at once no more.
    scene.safe_home.withdraw_key().await.unwrap();
    let withdrawn = scene.safe_home.sealing_keys().list().unwrap().last().unwrap().digest;
    let status = sealed_to(withdrawn).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_UNKNOWN");
    let status = sealed_to(superseded.statement).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_WITHDRAWN");
    // The sender's own client sees that before it seals.
    let error =
        agency::send(&scene.police.client, &scene.hub.example(SignalType::ExploitationSignal)).await.unwrap_err();
    assert_eq!(error.reason(), Some("KEY_WITHDRAWN"));
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_statement_that_does_not_follow_the_last_is_refused() {
    let scene = Scene::set().await;
    let last = scene.police.client.sealing_keys().list().unwrap().pop().unwrap();
    let statement = || {
        let mut signer = scene.police.signer();
        signer.key_serial = 1;
        wire::KeyStatement {
            signer: Some(signer),
            serial: 2,
            previous_digest: last.digest.into(),
            seal_from: Some(now().into()),
            seal_until: Some((now() + 80 * DAY).into()),
            open_until: Some((now() + 90 * DAY).into()),
            state: Some(wire::key_statement::State::Key(wire::SealingKey {
                suite: 1,
                public_key: PrivateKey::generate().unwrap().public_key().to_bytes(),
            })),
        }
    };
    type Change = fn(&mut wire::KeyStatement);
    let cases: &[(&str, Change, Code, &str)] = &[
        (
            "a gap",
            |s| {
                s.serial = 3;
                s.signer.as_mut().unwrap().key_serial = 2
            },
            Code::FailedPrecondition,
            "KEY_SERIAL",
        ),
        (
            "the last one's serial again",
            |s| {
                s.serial = 1;
                s.signer.as_mut().unwrap().key_serial = 0;
                s.previous_digest.clear()
            },
            Code::FailedPrecondition,
            "KEY_SERIAL",
        ),
        (
            "another previous",
            |s| s.previous_digest = Bytes::from_static(&[1; 32]),
            Code::FailedPrecondition,
            "KEY_PREVIOUS",
        ),
        ("no previous", |s| s.previous_digest.clear(), Code::FailedPrecondition, "KEY_PREVIOUS"),
        (
            "sealing for a year",
            |s| s.seal_until = Some((now() + 365 * DAY).into()),
            Code::InvalidArgument,
            "KEY_WINDOWS",
        ),
        ("opening for ever", |s| s.open_until = Some((now() + 200 * DAY).into()), Code::InvalidArgument, "KEY_WINDOWS"),
        ("another suite", |s| key(s).suite = 2, Code::InvalidArgument, "SUITE"),
        (
            "a key that is none",
            |s| key(s).public_key = Bytes::from(vec![0xff; 1216]),
            Code::InvalidArgument,
            "ENCAPSULATION_KEY",
        ),
        ("a short key", |s| key(s).public_key.truncate(1215), Code::InvalidArgument, "LENGTH"),
    ];
    let mut wrong = Vec::new();
    for (what, change, code, expected) in cases {
        let mut changed = statement();
        change(&mut changed);
        let status = scene.police.submit_item(scene.police.sign(ItemType::KeyStatement, &changed)).await;
        match status {
            Err(status) if (status.code(), reason(&status).as_str()) == (*code, expected) => {}
            other => wrong.push(format!("{what}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.police.submit_item(scene.police.sign(ItemType::KeyStatement, &statement())).await.unwrap();
    scene.hub.end().await;
}

fn key(statement: &mut wire::KeyStatement) -> &mut wire::SealingKey {
    match &mut statement.state {
        Some(wire::key_statement::State::Key(key)) => key,
        _ => panic!("the statement states a key"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_names_a_delivery_to_its_signer_or_is_refused() {
    let scene = Scene::set().await;
    let submitted =
        agency::send(&scene.police.client, &scene.hub.example(SignalType::ExploitationSignal)).await.unwrap();
    let consigned = &submitted.consigned[0];
    let safe_home = Forge::of(&scene.hub, "safe-home-amsterdam").await;
    let answer = |forge: &Forge| wire::Answer {
        signer: Some(forge.signer()),
        item_digest: submitted.digest.into(),
        delivery_commitment: consigned.commitment.into(),
        code: wire::AnswerCode::DeliveredReadable.into(),
        better_function: 0,
        duplicate_of: Bytes::new(),
    };
    type Change = fn(&mut wire::Answer);
    let cases: &[(&str, Change, Code, &str)] = &[
        (
            "an item that nobody sent",
            |a| a.item_digest = Bytes::from_static(&[1; 32]),
            Code::FailedPrecondition,
            "DELIVERY_UNKNOWN",
        ),
        (
            "another commitment",
            |a| a.delivery_commitment = Bytes::from_static(&[1; 32]),
            Code::FailedPrecondition,
            "DELIVERY_MISMATCH",
        ),
        (
            "a better function for a readable one",
            |a| a.better_function = Function::Mayor.into(),
            Code::InvalidArgument,
            "BETTER_FUNCTION",
        ),
        (
            "the wrong recipient and nobody better",
            |a| a.code = wire::AnswerCode::WrongRecipient.into(),
            Code::InvalidArgument,
            "BETTER_FUNCTION",
        ),
        (
            "a duplicate of nothing",
            |a| a.code = wire::AnswerCode::DuplicateOf.into(),
            Code::InvalidArgument,
            "DUPLICATE_OF",
        ),
        (
            "a duplicate of what nobody sent",
            |a| {
                a.code = wire::AnswerCode::DuplicateOf.into();
                a.duplicate_of = Bytes::from_static(&[1; 32])
            },
            Code::FailedPrecondition,
            "DUPLICATE_OF_UNKNOWN",
        ),
        ("no code", |a| a.code = 0, Code::InvalidArgument, "ENUM"),
    ];
    let mut wrong = Vec::new();
    for (what, change, code, expected) in cases {
        let mut changed = answer(&safe_home);
        change(&mut changed);
        match safe_home.submit_item(safe_home.sign(ItemType::Answer, &changed)).await {
            Err(status) if (status.code(), reason(&status).as_str()) == (*code, expected) => {}
            other => wrong.push(format!("{what}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Somebody else has no such delivery, although it knows everything about it.
    let prosecution = Forge::of(&scene.hub, "prosecution-amsterdam").await;
    let status = prosecution.submit_item(prosecution.sign(ItemType::Answer, &answer(&prosecution))).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "DELIVERY_UNKNOWN");
    safe_home.submit_item(safe_home.sign(ItemType::Answer, &answer(&safe_home))).await.unwrap();
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_counts_from_thirty_days_ago_to_five_minutes_ahead() {
    let scene = Scene::set().await;
    let signed_at = async |at| {
        let mut open = scene.signal();
        let signer = scene.police.signer_at(at);
        open.header.conversation = signer.item_id.clone();
        open.header.signer = Some(signer);
        open.header.expires = Some((at + 30 * DAY).into());
        scene.police.send(open).await.unwrap_err()
    };
    let minute = Duration::from_secs(60);
    refused(&signed_at(now() - 30 * DAY - minute).await, Code::FailedPrecondition, "ITEM_TOO_OLD");
    refused(&signed_at(now() + 6 * minute).await, Code::FailedPrecondition, "ITEM_FROM_FUTURE");
    // Signed a month ago but for an hour, it is not too old; that it expires within the next hour is another matter: its
    // key did not exist then.
    refused(&signed_at(now() - 29 * DAY).await, Code::FailedPrecondition, "KEY_WINDOW");
    let mut open = scene.signal();
    let at = now() - 2 * DAY;
    let signer = scene.police.signer_at(at);
    open.header.conversation = signer.item_id.clone();
    open.header.signer = Some(signer);
    open.header.expires = Some((at + DAY).into());
    refused(&scene.police.send(open).await.unwrap_err(), Code::FailedPrecondition, "EXPIRED_ON_ARRIVAL");
    scene.hub.end().await;
}

/// Faults, in the order in which the gateway asks; each is wrong in that way alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// Not right by itself.
    Form,
    /// Signed for an address that is not the connection's.
    Peer,
    /// Too old.
    Age,
    /// With a certificate that was never published.
    Certificate,
    /// With a signature that does not verify.
    Signature,
    /// With an id that the signer used before for another item, which is said to who holds the key alone.
    TakenId,
    /// With a checkpoint that the log did not sign.
    Seen,
    /// On a basis that no rule has.
    Rule,
    /// Sealed to a statement that is unknown.
    Decide,
}

impl Flaw {
    const ALL: [Self; 9] = [
        Self::Form,
        Self::Peer,
        Self::Age,
        Self::Certificate,
        Self::Signature,
        Self::TakenId,
        Self::Seen,
        Self::Rule,
        Self::Decide,
    ];

    fn reason(self) -> &'static str {
        match self {
            Self::Form => "MANDATE_UNKNOWN",
            Self::Peer => "SIGNER_NOT_PEER",
            Self::Age => "ITEM_TOO_OLD",
            Self::Certificate => "CERTIFICATE_UNKNOWN",
            Self::Signature => "SIGNATURE",
            Self::TakenId => "ALREADY_EXISTS",
            Self::Seen => "NOTE_SIGNATURE",
            Self::Rule => "BASIS",
            Self::Decide => "KEY_UNKNOWN",
        }
    }

    /// Changes what is signed.
    fn spoil(self, scene: &Scene, taken: &str, open: &mut Open) {
        match self {
            Self::Form => signer(&mut open.header).mandate_digest = Bytes::from_static(&[1; 32]),
            Self::Peer => signer(&mut open.header).address = Some(scene.safe_home.address().into()),
            Self::Age => {
                let at = now() - 31 * DAY;
                let old = scene.police.signer_at(at);
                open.header.conversation = old.item_id.clone();
                let signer = signer(&mut open.header);
                (signer.item_id, signer.signed_at) = (old.item_id, old.signed_at);
                open.header.expires = Some((at + DAY).into());
            }
            Self::Certificate => signer(&mut open.header).certificate_sha256 = Bytes::from_static(&[1; 32]),
            Self::Signature => {}
            Self::TakenId => {
                signer(&mut open.header).item_id = taken.to_owned();
                open.header.conversation = taken.to_owned();
            }
            Self::Seen => {
                let signer = signer(&mut open.header);
                let note = String::from_utf8(signer.seen_checkpoint.to_vec()).unwrap();
                // Another root under the same signature; the size stays, so that it could be ours.
                let mut lines: Vec<String> = note.lines().map(str::to_owned).collect();
                lines[2] = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".to_owned();
                signer.seen_checkpoint = (lines.join("\n") + "\n").into();
            }
            Self::Rule => open.header.recipients[0].legal_basis = "BECAUSE".into(),
            Self::Decide => open.seal_to[0].statement = Digest::new([9; 32]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_faults_the_one_is_named_that_is_asked_first() {
    let scene = Scene::set().await;
    let taken = scene.signal();
    let taken_id = taken.header.signer.as_ref().unwrap().item_id.clone();
    scene.police.send(taken).await.unwrap();

    let mut wrong = Vec::new();
    for (place, first) in Flaw::ALL.into_iter().enumerate() {
        // Alone, to see that each is what it says; then with each of those that are asked later.
        for second in std::iter::once(first).chain(Flaw::ALL.into_iter().skip(place + 1)) {
            // An id that was used just now cannot be of an item of a month ago: its form would be wrong.
            if (first, second) == (Flaw::Age, Flaw::TakenId) {
                continue;
            }
            let mut open = scene.signal();
            first.spoil(&scene, &taken_id, &mut open);
            if second != first {
                second.spoil(&scene, &taken_id, &mut open);
            }
            let mut request = scene.police.submission(open.seal());
            if [first, second].contains(&Flaw::Signature) {
                signature(&mut request).sig = flipped(&signature(&mut request).sig);
            }
            match scene.police.submit(request).await {
                Err(status) if reason(&status) == first.reason() => {}
                other => wrong.push(format!(
                    "{first:?} and {second:?}: {:?}",
                    other.map(|_| "accepted").map_err(|s| s.message().to_owned())
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_item_earns_its_receipt_again_whatever_changed_since() {
    let scene = Scene::set().await;
    let request = scene.police.submission(scene.signal().seal());
    let first = scene.police.submit(request.clone()).await.unwrap().receipt.unwrap();
    // The key that it was sealed to is withdrawn, so that as a new item it would be refused.
    scene.safe_home.withdraw_key().await.unwrap();
    let status = scene.police.send(scene.signal()).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_WITHDRAWN");
    // What is bad beside it, and even its signature, is not asked again: it is the item that is known.
    let mut spoilt = request.clone();
    signature(&mut spoilt).sig = flipped(&signature(&mut spoilt).sig);
    spoilt.sealed_content.clear();
    for request in [request, spoilt] {
        let again = scene.police.submit(request).await.unwrap().receipt.unwrap();
        assert_eq!((again.index, &again.commitment, &again.record), (first.index, &first.commitment, &first.record));
    }
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_refuses_is_recorded_for_the_refused_alone_and_what_is_badly_formed_is_not() {
    let scene = Scene::set().await;
    let records = async || {
        let mut audit = AuditServiceClient::new(scene.police.channel.clone());
        let mut stream = audit.list_records(wire::ListRecordsRequest { from: 0, to: 0 }).await.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(row) = stream.message().await.unwrap() {
            if !row.record.is_empty() {
                let record = wire::Record::decode(row.record).unwrap();
                if let Some(wire::record::Event::SubmissionRejection(rejection)) = record.event {
                    events.push((record.audience.unwrap(), rejection.reason));
                }
            }
        }
        events
    };
    refused(&scene.changed(|header| header.r#type = 99).await, Code::InvalidArgument, "ENUM");
    assert_eq!(records().await, []);
    refused(
        &scene.changed(|header| header.recipients[0].legal_basis = "BECAUSE".into()).await,
        Code::FailedPrecondition,
        "BASIS",
    );
    let own = wire::Audience { of: Some(wire::audience::Of::Address(scene.police.client.address().into())) };
    assert_eq!(records().await, [(own, "BASIS".to_owned())]);
    scene.hub.end().await;
}
