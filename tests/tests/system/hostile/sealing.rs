//! A hub that wants to read, or to have others read something else: nothing is sealed to a key that is not the address's
//! own by a covenant that registrars signed, and what was sealed is shown as it was or not at all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_certs::world::reroute;
use seinpost_client::error::Kind;
use seinpost_client::keys::Windows;
use seinpost_client::receive::{Received, SignalContent};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_protocol::wire::{self, Function, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::Forge;
use seinpost_tests::harness::hostile::{HostileHub, Lies, PrivateLog, change};
use seinpost_tests::harness::world::now;

use super::{commitments, convicted, receiving, refused, scene, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_covenant_that_reroutes_and_was_not_signed_by_registrars_is_refused_before_anything_leaves() {
    let hub = scene().await;
    let mayor = hub.world().address("mayor-amsterdam").unwrap();
    let evil = |covenant: &mut wire::Covenant| reroute(covenant, Function::SafeHome, "0363", mayor);
    let genuine = hub.world().covenant().clone();
    // A next one that one registrar signed, where two must; and another one under the serial that is known.
    let next = hub.world().covenant_after(&genuine, evil, &[0]).unwrap();
    let mut same = hub.world().covenant_message();
    evil(&mut same);
    let same = hub.world().sign(&same, &[0, 1]).unwrap();
    for (shown, reason, evidence) in
        [(next, "TOO_FEW_OLD", None), (same, "COVENANT_FORK", Some(["known.covenant", "shown.covenant"]))]
    {
        let submissions = Arc::new(AtomicUsize::new(0));
        let lies = {
            let submissions = submissions.clone();
            Lies::none().instead(move |call, request| match call.method.as_str() {
                "GetCovenant" => {
                    let asked = wire::GetCovenantRequest::decode(request).unwrap().serial;
                    let covenant = if asked == 0 { Some(shown.clone()) } else { None };
                    covenant.map(|covenant| {
                        vec![wire::GetCovenantResponse { covenant: Some(covenant) }.encode_to_vec().into()]
                    })
                }
                "Submit" => {
                    submissions.fetch_add(1, Ordering::Relaxed);
                    None
                }
                _ => None,
            })
        };
        let liar = HostileHub::start(&hub, lies).await;
        let police = hub.open_at("police-amsterdam", liar.address());
        let error = send(&hub, &police).await.unwrap_err();
        match evidence {
            Some(evidence) => convicted(&error, reason, &evidence),
            None => refused(&error, reason),
        }
        assert_eq!(submissions.load(Ordering::Relaxed), 0, "nothing left");
        assert!(police.outbox().waiting().unwrap().is_empty(), "nothing was sealed");
    }
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_covenant_that_was_followed_by_another_is_not_shown_again_unnoticed() {
    let mut hub = scene().await;
    hub.stop().await;
    let genuine = hub.world().covenant().clone();
    let next = hub.world().covenant_after(&genuine, |_| {}, &[1, 2]).unwrap();
    hub.world().save_covenant(&next).unwrap();
    hub.serve().await;
    let police = hub.open("police-amsterdam");
    assert_eq!(police.refresh_covenant().await.unwrap().serial(), 2);
    let lies = Lies::none().instead(move |call, _| {
        let answer = wire::GetCovenantResponse { covenant: Some(genuine.clone()) };
        (call.method == "GetCovenant").then(|| vec![answer.encode_to_vec().into()])
    });
    let liar = HostileHub::start(&hub, lies).await;
    let error = send(&hub, &hub.open_at("police-amsterdam", liar.address())).await.unwrap_err();
    convicted(&error, "COVENANT_ROLLED_BACK", &["shown.covenant"]);
    hub.end().await;
}

/// Makes an address's first key statement as somebody else who may sign nothing for it would.
fn first_statement(by: &Forge, address: wire::Address, key: &seinpost_client::seal::PrivateKey) -> wire::KeyStatement {
    let mut signer = by.signer();
    (signer.address, signer.key_serial) = (Some(address), 0);
    wire::KeyStatement {
        signer: Some(signer),
        serial: 1,
        previous_digest: Bytes::new(),
        seal_from: Some(now().into()),
        seal_until: Some((now() + Duration::from_secs(80 * 86_400)).into()),
        open_until: Some((now() + Duration::from_secs(90 * 86_400)).into()),
        state: Some(wire::key_statement::State::Key(wire::SealingKey {
            suite: 1,
            public_key: key.public_key().to_bytes(),
        })),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_statement_of_the_hubs_own_making_is_not_sealed_to() {
    let hub = scene().await;
    // A key of which the hub has the private half, in the safe home's name, signed by whatever key the hub can get:
    // its accomplice's, whose certificate is published.
    let accomplice = Forge::of(&hub, "mayor-amsterdam").await;
    let safe_home = hub.world().address("safe-home-amsterdam").unwrap();
    let key = seinpost_client::seal::PrivateKey::generate().unwrap();
    let forged = |signer_address: wire::Address| {
        let statement = first_statement(&accomplice, signer_address, &key);
        accomplice.sign(ItemType::KeyStatement, &statement)
    };
    // (1) In place of the genuine one, under its receipt. (2) With the address of the accomplice. (3) None at all.
    // (4) The genuine one without its receipt.
    type Swap = Box<dyn Fn(&mut wire::GetKeyStatementsResponse) + Send + Sync>;
    let (in_its_name, in_its_own) = (forged(safe_home.into()), forged(accomplice.client.address().into()));
    let swaps: Vec<(Swap, Kind, &str)> = vec![
        (
            Box::new(move |answer| answer.statements[0].item = Some(in_its_name.clone())),
            Kind::NotVerified,
            "ITEM_DIGEST",
        ),
        (
            Box::new(move |answer| answer.statements[0].item = Some(in_its_own.clone())),
            Kind::NotVerified,
            "KEY_STATEMENT",
        ),
        (Box::new(|answer| answer.statements.clear()), Kind::NotVerified, "KEY_STATEMENT"),
        (Box::new(|answer| answer.statements[0].receipt = None), Kind::NotVerified, "KEY_STATEMENT"),
    ];
    for (swap, kind, reason) in swaps {
        let lies =
            Lies::none().on_the_way_out(move |call, message| match call.is("GetKeyStatements", "police-amsterdam") {
                true => vec![change(&message, |answer| swap(answer))],
                false => vec![message],
            });
        let liar = HostileHub::start(&hub, lies).await;
        let error = send(&hub, &hub.open_at("police-amsterdam", liar.address())).await.unwrap_err();
        assert_eq!((error.kind(), error.reason()), (kind, Some(reason)), "{error}");
    }
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_statement_that_stands_in_the_log_but_was_not_signed_by_its_address_is_not_sealed_to() {
    let hub = scene().await;
    let police = hub.open("police-amsterdam");
    let safe_home = hub.world().address("safe-home-amsterdam").unwrap();
    let accomplice = Forge::of(&hub, "prosecution-amsterdam").await;
    // The police wrote to the accomplice before, so that it has all that it takes to verify what the accomplice signs.
    let mut file = hub.example(SignalType::ExploitationSignal);
    file["to"][0] =
        serde_json::json!({ "function": "PROSECUTION", "municipality": "0363", "legal_basis": "WPG_16_1_B" });
    agency::send(&police, &file).await.unwrap();
    let pinned = police.checkpoint().await.unwrap().pin.size;
    let genuine = commitments(&hub).await;
    // The hub writes the forged statement into its real log, behind what anybody has seen, and signs that.
    let key = seinpost_client::seal::PrivateKey::generate().unwrap();
    let statement = first_statement(&accomplice, safe_home.into(), &key);
    let signer = statement.signer.clone().unwrap();
    let item = accomplice.sign(ItemType::KeyStatement, &statement);
    let digest = seinpost_protocol::item::digest_of(&item.payload_type, &item.payload);
    let mut log = PrivateLog::of(&hub, &genuine);
    assert!(log.size() >= pinned);
    let entry = log.append(|index| wire::Record {
        format: 1,
        index,
        time: Some(now().into()),
        audience: Some(wire::Audience { of: Some(wire::audience::Of::Group(wire::Group::All.into())) }),
        covenant_digest: police.covenant().unwrap().digest().into(),
        retention: wire::Retention::Permanent.into(),
        event: Some(wire::record::Event::SubmissionAcceptance(wire::SubmissionAcceptance {
            item_digest: digest.into(),
            item_id: signer.item_id.clone(),
            about: Some(wire::submission_acceptance::About::Key(wire::AboutKey {
                serial: 1,
                seal_from: statement.seal_from,
                seal_until: statement.seal_until,
                open_until: statement.open_until,
                withdrawn: false,
            })),
            addressees: vec![wire::Addressee {
                to: Some(safe_home.into()),
                rule_id: "own".to_owned(),
                index: index + 1,
                commitment: Digest::new([1; 32]).into(),
            }],
        })),
        ..Default::default()
    });
    let lies = Lies::none().instead(move |call, request| {
        if !call.is("GetKeyStatements", "police-amsterdam") {
            return None;
        }
        let request = wire::GetKeyStatementsRequest::decode(request).unwrap();
        let statements = vec![wire::KeyStatementEntry { item: Some(item.clone()), receipt: Some(log.receipt(&entry)) }];
        let consistency = log.consistency(request.seen_size);
        Some(vec![wire::GetKeyStatementsResponse { statements, consistency, newest_serial: 1 }.encode_to_vec().into()])
    });
    let liar = HostileHub::start(&hub, lies).await;
    let police = hub.open_at("police-amsterdam", liar.address());
    let error = send(&hub, &police).await.unwrap_err();
    // The certificate that it names is the prosecution's: its key may not sign for the safe home, whatever the log says.
    refused(&error, "SIGNER");
    assert!(police.outbox().waiting().unwrap().is_empty(), "nothing was sealed");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_key_statement_is_not_shown_again_unnoticed() {
    let hub = scene().await;
    let safe_home = hub.open("safe-home-amsterdam");
    safe_home.refresh_covenant().await.unwrap();
    safe_home.publish_key(Windows::default()).await.unwrap();
    // The police has sealed to the second; then the hub forgets it.
    send(&hub, &hub.open("police-amsterdam")).await.unwrap();
    let lies = Lies::none().on_the_way_out(|call, message| match call.is("GetKeyStatements", "police-amsterdam") {
        true => vec![change(&message, |answer: &mut wire::GetKeyStatementsResponse| {
            answer.statements.truncate(1);
            answer.newest_serial = 1;
        })],
        false => vec![message],
    });
    let liar = HostileHub::start(&hub, lies).await;
    let error = send(&hub, &hub.open_at("police-amsterdam", liar.address())).await.unwrap_err();
    refused(&error, "KEY_STATEMENT_ROLLED_BACK");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_recipients_cannot_be_shown_two_texts_by_the_hub() {
    let hub = scene().await;
    hub.client("youth-care-amsterdam").await;
    let police = hub.open("police-amsterdam");
    let mut file = hub.example(SignalType::ExploitationSignal);
    file["to"] = serde_json::json!([
        { "function": "SAFE_HOME", "municipality": "0363", "legal_basis": "BPG_4_2_1_I" },
        { "function": "MUNICIPALITY_CARE_REPORTS", "municipality": "0363", "legal_basis": "BPG_4_2_1_I" },
    ]);
    agency::send(&police, &file).await.unwrap();
    let other = agency::send(&police, &file).await.unwrap();
    // Youth care gets the second signal's content and key under the first signal's header.
    let (contents, tries) = (Mutex::new(None), Arc::new(AtomicUsize::new(0)));
    let counted = tries.clone();
    let lies = receiving("youth-care-amsterdam", move |mut message| {
        if let Some(Message::Delivery(delivery)) = &mut message.message
            && !delivery.sealed_content.is_empty()
        {
            let digest = delivery
                .item
                .as_ref()
                .map(|item| seinpost_protocol::item::digest_of(&item.payload_type, &item.payload));
            if digest == Some(other.digest) {
                *contents.lock().unwrap() = Some((delivery.sealed_content.clone(), delivery.wrapped_key.clone()));
            } else {
                counted.fetch_add(1, Ordering::Relaxed);
                match &*contents.lock().unwrap() {
                    Some((content, key)) => {
                        (delivery.sealed_content, delivery.wrapped_key) = (content.clone(), key.clone())
                    }
                    // Before it has any other, one flipped bit will do.
                    None => {
                        let mut content = delivery.sealed_content.to_vec();
                        content[0] ^= 1;
                        delivery.sealed_content = content.into();
                    }
                }
            }
        }
        vec![message]
    });
    let liar = HostileHub::start(&hub, lies).await;
    let youth_care = hub.open_at("youth-care-amsterdam", liar.address());
    let mut mailbox = agency::mailbox(&youth_care).await.unwrap();
    let signal = loop {
        // The client asks again by itself, since a hub may have spoilt what it sent; `next` waits for that.
        let received = mailbox.next().await.unwrap();
        mailbox.acknowledge(&received).unwrap();
        if let Received::Signal(signal) = received {
            break signal;
        }
    };
    match &signal.content {
        SignalContent::Unreadable { reason, answer, .. } => {
            assert_eq!(
                (*reason, *answer),
                ("HUB_FAULT", None),
                "it is the hub's fault, and no answer blames the sender"
            );
        }
        _ => panic!("what was not sent is not shown"),
    }
    assert!(tries.load(Ordering::Relaxed) >= 2, "it was fetched again");
    // The safe home, to which the hub did not lie, reads what the police wrote; and so does youth care from an honest hub.
    for identity in ["safe-home-amsterdam", "youth-care-amsterdam"] {
        let client = hub.open(identity);
        let mut mailbox = agency::mailbox_from_the_beginning(&client).await.unwrap();
        let signal = agency::next_signal(&mut mailbox).await.unwrap();
        assert_eq!(agency::content(&signal)["subject"]["names"]["family"], hub.canary());
    }
    hub.end().await;
}
