//! A hub that lies, in one way at a time: who catches it, with which reason, and which evidence is kept.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_certs::world::reroute;
use seinpost_client::client::Client;
use seinpost_client::clock::Clock;
use seinpost_client::error::{Error, Kind};
use seinpost_client::keys::Windows;
use seinpost_client::receive::{Received, SignalContent};
use seinpost_client::status::Which;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_protocol::wire::{self, Function, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::{Forge, only_consignment};
use seinpost_tests::harness::hostile::{Call, HostileHub, Lies, PrivateLog, change};
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::world::now;

/// Demands that the client convicts the hub for a reason, and kept these files, all of them with something in them.
#[track_caller]
fn convicted(error: &Error, reason: &str, evidence: &[&str]) {
    assert_eq!((error.kind(), error.reason()), (Kind::NotVerified, Some(reason)), "{error}");
    let folder = error.evidence().unwrap_or_else(|| panic!("no evidence was kept: {error}"));
    let about: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("about.json")).unwrap()).unwrap();
    assert_eq!(about["reason"], reason);
    for name in evidence {
        assert!(!std::fs::read(folder.join(name)).unwrap().is_empty(), "{name}");
    }
}

/// Demands that the client takes something for not verified, where there is nothing that would convict the hub.
#[track_caller]
fn refused(error: &Error, reason: &str) {
    assert_eq!((error.kind(), error.reason()), (Kind::NotVerified, Some(reason)), "{error}");
}

/// A hub with its honest beginning: the safe home and the police have enrolled.
async fn scene() -> Hub {
    let hub = Hub::start().await;
    hub.client("safe-home-amsterdam").await;
    hub.client("police-amsterdam").await;
    hub
}

async fn send(hub: &Hub, from: &Client) -> Result<seinpost_client::send::Submitted, Error> {
    agency::send(from, &hub.example(SignalType::ExploitationSignal)).await
}

/// What is received by an identity, as typed messages, to be changed.
fn receiving(
    peer: &'static str,
    lie: impl Fn(wire::ReceiveResponse) -> Vec<wire::ReceiveResponse> + Send + Sync + 'static,
) -> Lies {
    Lies::none().on_the_way_out(move |call, message| {
        if !call.is("Receive", peer) {
            return vec![message];
        }
        let message = wire::ReceiveResponse::decode(message).unwrap();
        lie(message).into_iter().map(|message| message.encode_to_vec().into()).collect()
    })
}

fn is_signal(message: &wire::ReceiveResponse) -> bool {
    matches!(&message.message, Some(Message::Delivery(delivery)) if !delivery.sealed_content.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_hub_that_does_not_lie_everything_goes_as_it_should() {
    let hub = scene().await;
    let middle = HostileHub::start(&hub, Lies::none()).await;
    let police = hub.open_at("police-amsterdam", middle.address());
    let safe_home = hub.open_at("safe-home-amsterdam", middle.address());
    let submitted = send(&hub, &police).await.unwrap();
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    agency::acknowledge(&safe_home, &signal).await.unwrap();
    let shown = police.item(Which::Id(submitted.id)).await.unwrap();
    assert_eq!(shown.recipients[0].state, wire::DeliveryState::Answered);
    let report = hub.open_at("auditor", middle.address()).audit(&mut |_| {}).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_skipped_is_missed_by_the_recipient_when_the_next_one_comes() {
    let hub = scene().await;
    let police = hub.open("police-amsterdam");
    agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
    send(&hub, &police).await.unwrap();
    send(&hub, &police).await.unwrap();
    let skipped = AtomicBool::new(false);
    let lies = receiving("safe-home-amsterdam", move |message| {
        if is_signal(&message) && !skipped.swap(true, Ordering::Relaxed) { Vec::new() } else { vec![message] }
    });
    let liar = HostileHub::start(&hub, lies).await;
    let safe_home = hub.open_at("safe-home-amsterdam", liar.address());
    let error = agency::read_all(&safe_home).await.err().unwrap();
    convicted(&error, "MAILBOX_GAP", &["receipt.bin"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_delivery_that_is_held_back_is_missed_by_the_recipient_when_the_head_comes_again() {
    let hub = scene().await;
    let police = hub.open("police-amsterdam");
    agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
    send(&hub, &police).await.unwrap();
    // The hub keeps the signal to itself and repeats its head, as it must every minute.
    let head = Mutex::new(None);
    let lies = receiving("safe-home-amsterdam", move |message| {
        if matches!(message.message, Some(Message::MailboxHead(_))) {
            *head.lock().unwrap() = Some(message.clone());
        }
        if is_signal(&message) { vec![head.lock().unwrap().clone().unwrap()] } else { vec![message] }
    });
    let liar = HostileHub::start(&hub, lies).await;
    let safe_home = hub.open_at("safe-home-amsterdam", liar.address());
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    assert!(matches!(agency::next(&mut mailbox).await.unwrap(), Received::Head(_)));
    let error = agency::next(&mut mailbox).await.err().unwrap();
    convicted(&error, "HELD_BACK", &["head.item"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_head_of_yesterday_is_refused_as_one_of_a_log_that_shrank() {
    let hub = scene().await;
    let (saved, replaying) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
    let lies = {
        let (saved, replaying) = (saved.clone(), replaying.clone());
        receiving("safe-home-amsterdam", move |message| {
            if matches!(message.message, Some(Message::MailboxHead(_))) {
                let first = saved.lock().unwrap().get_or_insert(message.clone()).clone();
                return vec![if replaying.load(Ordering::Relaxed) { first } else { message }];
            }
            vec![message]
        })
    };
    let liar = HostileHub::start(&hub, lies).await;
    let safe_home = hub.open_at("safe-home-amsterdam", liar.address());
    agency::read_all(&safe_home).await.unwrap();
    send(&hub, &hub.open("police-amsterdam")).await.unwrap();
    agency::read_all(&safe_home).await.unwrap();
    // From now on the hub shows the head that it signed first: the mailbox before the signal came.
    replaying.store(true, Ordering::Relaxed);
    let error = agency::read_all(&safe_home).await.err().unwrap();
    convicted(&error, "LOG_SHRANK", &["pinned.checkpoint", "shown.checkpoint"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_head_that_is_minutes_old_is_an_alarm() {
    let hub = scene().await;
    // The hub goes on showing a head that was true three minutes ago; by the client's clock three minutes have passed.
    let later = Clock::from_fn(|| now() + Duration::from_secs(180));
    let safe_home = hub.open_with_clock("safe-home-amsterdam", later);
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    let error = agency::next(&mut mailbox).await.err().unwrap();
    refused(&error, "HEAD_STALE");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_head_that_leaves_out_a_record_is_convicted_by_the_record() {
    let hub = scene().await;
    let police = hub.open("police-amsterdam");
    agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
    send(&hub, &police).await.unwrap();
    // The hub signs that the mailbox ends before the signal, in a log that has it; the signal comes all the same, later.
    let log = PrivateLog::of(&hub, &[]);
    let lies = receiving("safe-home-amsterdam", move |mut message| {
        if let Some(Message::MailboxHead(item)) = &mut message.message {
            let mut head = wire::MailboxHead::decode(item.payload.clone()).unwrap();
            assert_eq!((head.first_number, head.last_number), (1, 2));
            // It knows what it signed before for number 1: the safe home's own key statement.
            (head.last_number, head.last_index, head.last_commitment) = FIRST.lock().unwrap().clone().unwrap();
            *item = log.sign(ItemType::MailboxHead, &head);
        }
        vec![message]
    });
    static FIRST: Mutex<Option<(u64, u64, Bytes)>> = Mutex::new(None);
    let pinned = hub
        .open("safe-home-amsterdam")
        .pins()
        .read()
        .unwrap()
        .mailbox(hub.world().address("safe-home-amsterdam").unwrap());
    let pinned = pinned.unwrap();
    *FIRST.lock().unwrap() = Some((pinned.number, pinned.index, pinned.commitment.into()));
    let liar = HostileHub::start(&hub, lies).await;
    let safe_home = hub.open_at("safe-home-amsterdam", liar.address());
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    assert!(matches!(agency::next(&mut mailbox).await.unwrap(), Received::Head(_)));
    let error = agency::next(&mut mailbox).await.err().unwrap();
    convicted(&error, "HEAD_LIE", &["head.item", "receipt.bin"]);
    hub.end().await;
}

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
        [(next, "COVENANT", None), (same, "COVENANT_FORK", Some(["known.covenant", "shown.covenant"]))]
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

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_is_led_to_somebody_else_is_not_believed_by_its_sender() {
    let hub = scene().await;
    // The hub takes the signal and says, in good form, that it was consigned to another mailbox.
    let elsewhere = hub.world().address("mayor-amsterdam").unwrap();
    let log = PrivateLog::of(&hub, &[]);
    let lies = Lies::none().on_the_way_out(move |call, message| {
        if !call.is("Submit", "police-amsterdam") {
            return vec![message];
        }
        let mut log = log.clone();
        vec![change(&message, |answer: &mut wire::SubmitResponse| {
            let receipt = answer.receipt.as_mut().unwrap();
            let mut record = wire::Record::decode(receipt.record.clone()).unwrap();
            if let Some(wire::record::Event::SubmissionAcceptance(accepted)) = &mut record.event {
                accepted.addressees[0].to = Some(elsewhere.into());
            }
            let entry = log.append(|_| record);
            // Commitment and salt are right; only the tree is not the one that it signed.
            (receipt.record, receipt.salt) = (entry.record, Bytes::copy_from_slice(&entry.salt));
            receipt.commitment = entry.commitment.into();
        })]
    });
    let liar = HostileHub::start(&hub, lies).await;
    let police = hub.open_at("police-amsterdam", liar.address());
    let error = send(&hub, &police).await.unwrap_err();
    refused(&error, "INCLUSION");
    assert_eq!(police.outbox().waiting().unwrap().len(), 1, "it waits for a receipt that holds");
    // From the honest hub the same item earns its receipt.
    let sent = hub.open("police-amsterdam").send_waiting().await.unwrap();
    assert_eq!(only_consignment(sent[0].1.as_ref().unwrap()).0, hub.world().address("safe-home-amsterdam").unwrap());
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_cut_from_a_private_tree_is_refused_and_both_checkpoints_are_kept() {
    let hub = scene().await;
    // The hub answers the submission itself: with a record, a proof and a checkpoint that its log key signed, of a tree
    // that nobody else will ever see.
    let records = commitments(&hub).await;
    let mut private = PrivateLog::of(&hub, &records[..records.len() - 1]);
    for _ in 0..4 {
        private.append(|index| wire::Record { index, ..Default::default() });
    }
    let police_address = hub.world().address("police-amsterdam").unwrap();
    let safe_home = hub.world().address("safe-home-amsterdam").unwrap();
    let covenant = hub.open("police-amsterdam").covenant().unwrap().digest();
    let lies = Lies::none().instead(move |call, request| {
        if !call.is("Submit", "police-amsterdam") {
            return None;
        }
        let request = wire::SubmitRequest::decode(request).unwrap();
        let item = request.item.unwrap();
        let digest = seinpost_protocol::item::digest_of(&item.payload_type, &item.payload);
        let parsed = seinpost_protocol::item::Item::parse(item, seinpost_tests::harness::world::ORIGIN).unwrap();
        let mut log = private.clone();
        let entry = log.append(|index| wire::Record {
            format: 1,
            index,
            time: Some(now().into()),
            audience: Some(wire::Audience { of: Some(wire::audience::Of::Address(police_address.into())) }),
            covenant_digest: covenant.into(),
            crl_sha256: Vec::new(),
            retention: wire::Retention::Traffic6Months.into(),
            mailbox: None,
            conversation: Some(wire::ConversationPlace {
                id: parsed.signer().item_id.to_string(),
                number: 1,
                ..Default::default()
            }),
            event: Some(wire::record::Event::SubmissionAcceptance(wire::SubmissionAcceptance {
                item_digest: digest.into(),
                item_id: parsed.signer().item_id.to_string(),
                about: Some(wire::submission_acceptance::About::Signal(wire::AboutSignal {
                    r#type: SignalType::ExploitationSignal.into(),
                    urgency: wire::Urgency::Today.into(),
                    expires: Some((now() + Duration::from_secs(14 * 86_400)).into()),
                    retention_class: wire::RetentionClass::Hub24h.into(),
                })),
                addressees: vec![wire::Addressee {
                    to: Some(safe_home.into()),
                    rule_id: "bpg-4-2-1-i".to_owned(),
                    index: index + 1,
                    commitment: Digest::new([1; 32]).into(),
                }],
            })),
        });
        let answer = wire::SubmitResponse {
            receipt: Some(log.receipt(&entry)),
            consistency: log.consistency(request.seen_size),
        };
        Some(vec![answer.encode_to_vec().into()])
    });
    let liar = HostileHub::start(&hub, lies).await;
    let police = hub.open_at("police-amsterdam", liar.address());
    let error = send(&hub, &police).await.unwrap_err();
    convicted(&error, "LOG_FORK", &["pinned.checkpoint", "shown.checkpoint"]);
    assert_eq!(police.outbox().waiting().unwrap().len(), 1, "it is not taken for accepted");
    hub.end().await;
}

/// All commitments of the log so far.
async fn commitments(hub: &Hub) -> Vec<Digest> {
    let copy = hub.open("auditor").copy_log().await.unwrap();
    copy.leaves.iter().map(|leaf| Digest::try_from(&leaf.commitment).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_is_wrong_in_any_part_is_refused() {
    let hub = scene().await;
    let police = hub.open("police-amsterdam");
    let other = send(&hub, &police).await.unwrap();
    let other = seinpost_client::verify::ReceiptFile::read(&other.receipt).unwrap().receipt;
    type Spoil = Arc<dyn Fn(&mut wire::Receipt) + Send + Sync>;
    let flip = |bytes: &Bytes, at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        Bytes::from(bytes)
    };
    let cases: Vec<(&str, Spoil)> = vec![
        ("another index", Arc::new(|receipt| receipt.index += 1)),
        (
            "a flipped bit of the record",
            Arc::new(move |receipt| receipt.record = flip(&receipt.record, receipt.record.len() - 1)),
        ),
        ("a flipped bit of the salt", Arc::new(move |receipt| receipt.salt = flip(&receipt.salt, 0))),
        ("another commitment", Arc::new(move |receipt| receipt.commitment = flip(&receipt.commitment, 0))),
        ("a flipped bit of the proof", Arc::new(move |receipt| receipt.proof[0] = flip(&receipt.proof[0], 0))),
        ("a shorter proof", Arc::new(|receipt| drop(receipt.proof.pop()))),
        ("a longer proof", Arc::new(|receipt| receipt.proof.push(Bytes::from_static(&[1; 32])))),
        (
            "a checkpoint that the log did not sign",
            Arc::new(move |receipt| receipt.checkpoint = flip(&receipt.checkpoint, receipt.checkpoint.len() - 3)),
        ),
        ("no checkpoint", Arc::new(|receipt| receipt.checkpoint.clear())),
        (
            "no record, as if erased",
            Arc::new(|receipt| {
                receipt.record.clear();
                receipt.salt.clear();
                receipt.erased_by = "TRAFFIC_6_MONTHS".to_owned()
            }),
        ),
        ("the receipt of another item", Arc::new(move |receipt| *receipt = other.clone())),
        ("none", Arc::new(|receipt| *receipt = wire::Receipt::default())),
    ];
    let mut believed = Vec::new();
    for (what, spoil) in cases {
        let lies = Lies::none().on_the_way_out(move |call, message| match call.is("Submit", "police-amsterdam") {
            true => vec![change(&message, |answer: &mut wire::SubmitResponse| spoil(answer.receipt.as_mut().unwrap()))],
            false => vec![message],
        });
        let liar = HostileHub::start(&hub, lies).await;
        let police = hub.open_at("police-amsterdam", liar.address());
        match send(&hub, &police).await {
            Err(error) if error.kind() == Kind::NotVerified => {}
            other => {
                believed.push(format!("{what}: {:?}", other.map(|sent| sent.index).map_err(|error| error.to_string())))
            }
        }
        assert!(!police.outbox().waiting().unwrap().is_empty(), "{what}: it waits for a receipt that holds");
    }
    assert!(believed.is_empty(), "{believed:#?}");
    // From the honest hub every one of them earns its receipt after all.
    let sent = police.send_waiting().await.unwrap();
    assert_eq!(sent.iter().filter(|(_, sent)| sent.is_ok()).count(), 12);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_head_that_is_wrong_in_any_part_is_refused() {
    let hub = scene().await;
    send(&hub, &hub.open("police-amsterdam")).await.unwrap();
    let log = PrivateLog::of(&hub, &[]);
    let police = hub.world().address("police-amsterdam").unwrap();
    let forge = Forge::of(&hub, "police-amsterdam").await;
    let note = forge.client.checkpoint().await.unwrap().note;
    type Spoil = Arc<dyn Fn(&mut wire::MailboxHead) + Send + Sync>;
    let cases: Vec<(&str, bool, Spoil)> = vec![
        ("signed by an agency", false, Arc::new(|_| {})),
        ("of another mailbox", true, Arc::new(move |head| head.address = Some(police.into()))),
        ("of another log", true, Arc::new(|head| head.log_origin = "seinpost.test/other".to_owned())),
        ("of an hour ago", true, Arc::new(|head| head.time = Some((now() - Duration::from_secs(3600)).into()))),
        ("of tomorrow", true, Arc::new(|head| head.time = Some((now() + Duration::from_secs(86_400)).into()))),
        ("whose last record lies beyond its tree", true, Arc::new(|head| head.last_index += 1_000_000)),
        ("that begins behind its end", true, Arc::new(|head| head.first_number = head.last_number + 2)),
        (
            "whose checkpoint the log did not sign",
            true,
            Arc::new(move |head| {
                let mut bytes = note.to_vec();
                let at = bytes.len() - 3;
                bytes[at] ^= 1;
                head.checkpoint = bytes.into();
            }),
        ),
    ];
    let mut believed = Vec::new();
    for (what, by_the_log, spoil) in cases {
        let (log, forge_key) = (log.clone(), forge.client.clone());
        let lies = receiving("safe-home-amsterdam", move |mut message| {
            if let Some(Message::MailboxHead(item)) = &mut message.message {
                let mut head = wire::MailboxHead::decode(item.payload.clone()).unwrap();
                spoil(&mut head);
                *item = match by_the_log {
                    true => log.sign(ItemType::MailboxHead, &head),
                    false => forge_key.identity().sign(ItemType::MailboxHead, head.encode_to_vec().into()).unwrap(),
                };
            }
            vec![message]
        });
        let liar = HostileHub::start(&hub, lies).await;
        let safe_home = hub.open_at("safe-home-amsterdam", liar.address());
        let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
        match agency::next(&mut mailbox).await {
            Err(error) if error.kind() == Kind::NotVerified => {}
            _ => believed.push(what),
        }
    }
    assert!(believed.is_empty(), "{believed:#?}");
    hub.end().await;
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
        let mut signer = accomplice.signer();
        signer.address = Some(signer_address);
        signer.key_serial = 0;
        let statement = wire::KeyStatement {
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
        };
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
    let mut signer = accomplice.signer();
    (signer.address, signer.key_serial) = (Some(safe_home.into()), 0);
    let statement = wire::KeyStatement {
        signer: Some(signer.clone()),
        serial: 1,
        previous_digest: Bytes::new(),
        seal_from: Some(now().into()),
        seal_until: Some((now() + Duration::from_secs(80 * 86_400)).into()),
        open_until: Some((now() + Duration::from_secs(90 * 86_400)).into()),
        state: Some(wire::key_statement::State::Key(wire::SealingKey {
            suite: 1,
            public_key: seinpost_client::seal::PrivateKey::generate().unwrap().public_key().to_bytes(),
        })),
    };
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

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_forked_for_one_client_is_convicted_by_that_client() {
    let (hub, other) = forked().await;
    // The police goes on with the one, until the hub leads it to the other.
    send(&hub, &hub.open("police-amsterdam")).await.unwrap();
    let elsewhere = other.address();
    let liar = HostileHub::start(
        &hub,
        Lies::none().towards(move |call| (call.peer == "police-amsterdam").then_some(elsewhere)),
    )
    .await;
    // The other history grows beyond what the police has seen, so that sizes say nothing.
    while commitments(&other).await.len() < commitments(&hub).await.len() + 3 {
        send(&other, &other.open("police-amsterdam")).await.unwrap();
    }
    let error = send(&hub, &hub.open_at("police-amsterdam", liar.address())).await.unwrap_err();
    convicted(&error, "LOG_FORK", &["pinned.checkpoint", "shown.checkpoint"]);
    other.end().await;
    hub.end().await;
}

/// Two hubs with one log key and one history up to a point, from which on each has its own.
async fn forked() -> (Hub, Hub) {
    let mut hub = scene().await;
    hub.stop().await;
    let mut other = hub.twin();
    hub.serve().await;
    other.serve().await;
    (hub, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_from_past_the_fork_convicts_the_hub_at_the_client_on_the_other_branch() {
    let hub = scene().await;
    let address = |identity: &str| hub.world().address(identity).unwrap();
    let safe_home = address("safe-home-amsterdam");
    // An honest signal comes before, so that the safe home has all that it takes to verify what the police signs.
    send(&hub, &hub.open("police-amsterdam")).await.unwrap();
    agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
    let mailbox = hub.open("safe-home-amsterdam").pins().read().unwrap().mailbox(safe_home).unwrap();

    // The branch that the safe home is shown begins here; the police's goes on with a signal to somebody else.
    let records = commitments(&hub).await;
    hub.client("prosecution-amsterdam").await;
    let signal = send(&hub, &hub.open("police-amsterdam")).await.unwrap();
    let copy = hub.open("auditor").copy_log().await.unwrap();
    let acceptance = &copy.leaves[usize::try_from(signal.index).unwrap()];
    let consignment = &copy.leaves[usize::try_from(signal.consigned[0].index).unwrap()];
    let genuine = wire::Record::decode(consignment.record.clone()).unwrap();
    let item = acceptance.item.clone().unwrap();

    // On the safe home's branch the signal is consigned all the same, in good form; only the log is another.
    let mut branch = PrivateLog::of(&hub, &records);
    let entry = branch.append(|index| wire::Record {
        index,
        mailbox: Some(wire::MailboxPlace {
            number: mailbox.number + 1,
            previous_index: mailbox.index,
            previous_commitment: mailbox.commitment.into(),
        }),
        ..genuine.clone()
    });
    let head = {
        let (branch, entry) = (branch.clone(), entry.clone());
        move || {
            let head = wire::MailboxHead {
                log_origin: seinpost_tests::harness::world::ORIGIN.to_owned(),
                address: Some(safe_home.into()),
                first_number: 1,
                last_number: mailbox.number + 1,
                last_index: entry.index,
                last_commitment: entry.commitment.into(),
                checkpoint: branch.checkpoint(branch.size()),
                time: Some(now().into()),
            };
            branch.sign(ItemType::MailboxHead, &head)
        }
    };
    let lies = Lies::none().instead(move |call, request| {
        if call.peer != "safe-home-amsterdam" {
            return None;
        }
        let answer = match call.method.as_str() {
            "Receive" => {
                let seen = wire::ReceiveRequest::decode(request).unwrap().seen_size;
                let consistency = branch.consistency(seen);
                let delivery = wire::Delivery {
                    item: Some(item.clone()),
                    sealed_content: Bytes::from_static(&[1; 4096]),
                    wrapped_key: Bytes::from_static(&[1; 1168]),
                    receipt: Some(branch.receipt(&entry)),
                    redelivered: false,
                    expired: false,
                };
                let messages = [Message::MailboxHead(head()), Message::Delivery(delivery)];
                let response =
                    |message| wire::ReceiveResponse { consistency: consistency.clone(), message: Some(message) };
                return Some(messages.into_iter().map(|message| response(message).encode_to_vec().into()).collect());
            }
            "GetConsistencyProof" => {
                // It proves what it can: nothing leads from the police's branch to this one.
                let asked = wire::GetConsistencyProofRequest::decode(request).unwrap();
                let proof =
                    if asked.new_size <= branch.size() { branch.consistency(asked.old_size) } else { Vec::new() };
                wire::GetConsistencyProofResponse { proof, new_size: asked.new_size }.encode_to_vec()
            }
            _ => return None,
        };
        Some(vec![answer.into()])
    });
    let liar = HostileHub::start(&hub, lies).await;
    let client = hub.open_at("safe-home-amsterdam", liar.address());
    let mut mailbox = agency::mailbox(&client).await.unwrap();
    assert!(matches!(agency::next(&mut mailbox).await.unwrap(), Received::Head(_)));
    let error = agency::next(&mut mailbox).await.err().unwrap();
    convicted(&error, "SEEN_FORK", &["pinned.checkpoint", "peer.checkpoint"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_honest_gateway_stops_intake_when_an_item_shows_a_second_history_under_its_key() {
    let mut hub = scene().await;
    let safe_home = hub.open("safe-home-amsterdam");
    let police = Forge::of(&hub, "police-amsterdam").await;
    // Somebody who has a copy of the log's key signed another history, and the police saw it.
    let other = PrivateLog::of(&hub, &[Digest::new([1; 32]), Digest::new([2; 32]), Digest::new([3; 32])]);
    let mut signal = police.signal(&hub.example(SignalType::ExploitationSignal), &[&safe_home]);
    signal.header.signer.as_mut().unwrap().seen_checkpoint = other.checkpoint(3);
    let status = police.send(signal).await.unwrap_err();
    assert_eq!(seinpost_tests::harness::raw::reason(&status), "SEEN_FORK");
    // Both checkpoints are kept, and intake stays closed, also after a restart, until a person has looked.
    let evidence = std::fs::read_dir(hub.data().join("evidence")).unwrap().count();
    assert!(evidence >= 2, "{evidence} files");
    for _ in 0..2 {
        let forge = Forge::of(&hub, "police-amsterdam").await;
        let good = forge.signal(&hub.example(SignalType::ExploitationSignal), &[&hub.open("safe-home-amsterdam")]);
        let status = forge.send(good).await.unwrap_err();
        assert_eq!(seinpost_tests::harness::raw::reason(&status), "INTAKE_STOPPED");
        agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
        hub.restart().await;
    }
    std::fs::rename(hub.data().join("evidence"), hub.scratch().join("evidence")).unwrap();
    hub.restart().await;
    send(&hub, &hub.open("police-amsterdam")).await.unwrap();
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_hub_changed_is_named_by_the_auditor() {
    let hub = scene().await;
    let submitted = send(&hub, &hub.open("police-amsterdam")).await.unwrap();
    let index = submitted.index;
    let flip = |bytes: &Bytes| {
        let mut bytes = bytes.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        Bytes::from(bytes)
    };
    // The record alone; or record and commitment, so that they fit each other and no longer the tree.
    let liar = |whole: bool| {
        Lies::none().on_the_way_out(move |call: &Call, message| {
            if call.method != "ListRecords" {
                return vec![message];
            }
            vec![change(&message, |row: &mut wire::ListRecordsResponse| {
                if row.index == index {
                    row.record = flip(&row.record);
                    if whole {
                        let salt = <[u8; 32]>::try_from(&row.salt[..]).unwrap();
                        row.commitment = seinpost_protocol::record::commitment(&salt, &row.record).into();
                    }
                }
            })]
        })
    };
    let middle = HostileHub::start(&hub, liar(false)).await;
    let report = hub.open_at("auditor", middle.address()).audit(&mut |_| {}).await.unwrap();
    let named: Vec<_> = report.faults.iter().map(|fault| (fault.index, fault.reason)).collect();
    assert!(named.contains(&(index, "COMMITMENT")), "{named:?}");
    let middle = HostileHub::start(&hub, liar(true)).await;
    let error = hub.open_at("auditor", middle.address()).audit(&mut |_| {}).await.unwrap_err();
    convicted(&error, "ROOT", &["shown.checkpoint"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_under_the_same_root_is_not_taken_for_the_hub() {
    let hub = scene().await;
    let thief = HostileHub::start_as(&hub, Lies::none(), "prosecution-amsterdam").await;
    let error = send(&hub, &hub.open_at("police-amsterdam", thief.address())).await.unwrap_err();
    refused(&error, "NOT_THE_HUB");
    hub.end().await;
}
