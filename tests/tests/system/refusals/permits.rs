//! What no rule or route of the covenant permits its signer: refused with what would do.

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::address::{Address, Oin};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire::{self, Function, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::{Forge, item_id};
use seinpost_tests::harness::raw::reason;
use seinpost_tests::harness::world::now;
use serde_json::json;
use tonic::Code;

use super::{Scene, refused, signer};

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
