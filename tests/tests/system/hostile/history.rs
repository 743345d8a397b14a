//! A hub with two histories, or another one than it signed: whoever saw both convicts it, and so does the auditor.

use bytes::Bytes;
use prost::Message as _;
use seinpost_client::receive::Received;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_protocol::wire::{self, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::Forge;
use seinpost_tests::harness::hostile::{Call, HostileHub, Lies, PrivateLog, change};
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::world::now;

use super::{commitments, convicted, pinned_mailbox, scene, send};

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
    let mailbox = pinned_mailbox(&hub);

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
