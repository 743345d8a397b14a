//! A hub that lies, in one way at a time: who catches it, with which reason, and which evidence is kept.
//!
//! Here stand what all rooms begin with and demand, and the two that frame them: a hub that does not lie, and one that is
//! not the hub. The rooms are in the order of a signal's way.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod sealing;
mod receipts;
mod mailbox;
mod history;

use prost::Message as _;
use seinpost_client::client::Client;
use seinpost_client::error::{Error, Kind};
use seinpost_client::pins::MailboxPin;
use seinpost_client::status::Which;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_protocol::wire::{self, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::hostile::{HostileHub, Lies};
use seinpost_tests::harness::hub::Hub;

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
async fn somebody_else_under_the_same_root_is_not_taken_for_the_hub() {
    let hub = scene().await;
    let thief = HostileHub::start_as(&hub, Lies::none(), "prosecution-amsterdam").await;
    let error = send(&hub, &hub.open_at("police-amsterdam", thief.address())).await.unwrap_err();
    refused(&error, "NOT_THE_HUB");
    hub.end().await;
}

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

/// All commitments of the log so far.
async fn commitments(hub: &Hub) -> Vec<Digest> {
    let copy = hub.open("auditor").copy_log().await.unwrap();
    copy.leaves.iter().map(|leaf| Digest::try_from(&leaf.commitment).unwrap()).collect()
}

/// What the safe home took over last from its mailbox.
fn pinned_mailbox(hub: &Hub) -> MailboxPin {
    let safe_home = hub.world().address("safe-home-amsterdam").unwrap();
    hub.open("safe-home-amsterdam").pins().read().unwrap().mailbox(safe_home).unwrap()
}
