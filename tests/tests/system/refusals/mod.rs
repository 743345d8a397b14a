//! What the gateway refuses of items, with which status and reason, and which of two faults it names first.
//!
//! Here stand the scene in which all of it happens, with what is changed in it, and the proof that it is right until then.
//! The rooms are in the order in which the gateway asks.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod form;
mod permits;
mod keys;
mod answers;
mod order;

use std::time::Duration;

use bytes::Bytes;
use seinpost_protocol::wire::{self, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::{Forge, Open};
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::raw::reason;
use tonic::{Code, Status};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_forge_makes_is_right_until_it_is_changed() {
    let scene = Scene::set().await;
    scene.police.send(scene.signal()).await.unwrap();
    let mut mailbox = agency::mailbox(&scene.safe_home).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(agency::content(&signal)["subject"]["names"]["family"], scene.hub.canary());
    scene.hub.end().await;
}

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

fn signer(header: &mut wire::SignalHeader) -> &mut wire::Signer {
    header.signer.as_mut().unwrap()
}

fn signature(request: &mut wire::SubmitRequest) -> &mut wire::ItemSignature {
    &mut request.item.as_mut().unwrap().signatures[0]
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes.into()
}

const DAY: Duration = Duration::from_secs(86_400);
