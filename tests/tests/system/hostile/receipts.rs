//! A hub that takes a signal and gives no receipt that holds: its sender keeps the signal until it has one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_client::error::Kind;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire::{self, SignalType};
use seinpost_tests::harness::forge::only_consignment;
use seinpost_tests::harness::hostile::{HostileHub, Lies, PrivateLog, change};
use seinpost_tests::harness::world::now;

use super::{commitments, convicted, refused, scene, send};

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
