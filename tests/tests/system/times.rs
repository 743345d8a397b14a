//! What time does: signals expire and are told of, late answers count until they are too late, covenants run out.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use seinpost_client::answer::{Delivery, Say};
use seinpost_client::client::Client;
use seinpost_client::clock::Clock;
use seinpost_client::keys::Windows;
use seinpost_client::receive::Received;
use seinpost_client::status::Which;
use seinpost_gateway::clock::Hand;
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::{DeliveryState, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::only_consignment;
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::world::now;

const DAY: Duration = Duration::from_secs(86_400);

/// A hub and its agencies under one time, which passes when the test says so.
struct Scene {
    hub: Hub,
    hand: Hand,
    time: Arc<Mutex<Timestamp>>,
}

impl Scene {
    async fn set() -> Self {
        let mut hub = Hub::prepare();
        let begin = now();
        let hand = hub.serve_with_clock(begin).await;
        Self { hub, hand, time: Arc::new(Mutex::new(begin)) }
    }

    fn open(&self, identity: &str) -> Client {
        let time = self.time.clone();
        self.hub.open_with_clock(identity, Clock::from_fn(move || *time.lock().unwrap()))
    }

    async fn client(&self, identity: &str) -> Client {
        let client = self.open(identity);
        client.publish_certificate().await.unwrap();
        client.publish_key(Windows::default()).await.unwrap();
        client
    }

    fn pass(&self, by: Duration) {
        self.hand.pass(by);
        let mut time = self.time.lock().unwrap();
        *time = *time + by;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_nobody_answers_expires_its_sender_is_told_and_a_late_answer_is_marked_until_it_is_too_late() {
    let scene = Scene::set().await;
    let (police, safe_home) = (scene.client("police-amsterdam").await, scene.client("safe-home-amsterdam").await);
    let example = scene.hub.example(SignalType::ExploitationSignal);
    let late = agency::send(&police, &example).await.unwrap();
    let never = agency::send(&police, &example).await.unwrap();
    let answer = async |client: &Client, sent: &seinpost_client::send::Submitted| {
        let (_, commitment) = only_consignment(sent);
        client.answer(Delivery { item_digest: sent.digest, commitment }, Say::Readable).await
    };

    // Fourteen days later both are expired, and the police hears it, with a receipt.
    scene.pass(14 * DAY + Duration::from_secs(60));
    let mut mailbox = agency::mailbox(&police).await.unwrap();
    let mut expired = Vec::new();
    agency::until(&mut mailbox, |received| {
        if let Received::Notice(notice) = received
            && notice.event == EventKind::Expiry
        {
            expired.push(notice.item_digest);
        }
        expired.len() == 2
    })
    .await
    .unwrap();
    assert_eq!(expired, [late.digest, never.digest]);
    let shown = police.item(Which::Id(late.id)).await.unwrap();
    assert_eq!(shown.recipients[0].state, DeliveryState::Expired);

    // The safe home still gets them, marked, and may answer; the answer is late, and the state stays.
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    assert!(agency::next_signal(&mut mailbox).await.unwrap().expired);
    answer(&safe_home, &late).await.unwrap();
    let shown = police.item(Which::Id(late.id)).await.unwrap();
    assert_eq!(shown.recipients[0].state, DeliveryState::Expired);
    assert!(shown.recipients[0].late && shown.recipients[0].answer_is_verified);

    // Thirty days after it expired a delivery is closed.
    scene.pass(30 * DAY);
    let error = answer(&safe_home, &never).await.unwrap_err();
    assert_eq!(error.reason(), Some("DELIVERY_CLOSED"), "{error}");
    let report = scene.open("auditor").audit(&mut |_| {}).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    assert_eq!(report.events.get(&EventKind::Expiry), Some(&2));
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_which_answer_is_late_by_the_covenants_clock() {
    let scene = Scene::set().await;
    scene.client("safe-home-amsterdam").await;
    let police = scene.client("police-amsterdam").await;
    let mut immediate = scene.hub.example(SignalType::ExploitationSignal);
    immediate["urgency"] = "IMMEDIATE".into();
    let urgent = agency::send(&police, &immediate).await.unwrap();
    agency::send(&police, &scene.hub.example(SignalType::ExploitationSignal)).await.unwrap();
    let operator = scene.open("operator");
    assert_eq!(operator.deliveries(None, true, 0, None).await.unwrap().rows, []);
    scene.pass(Duration::from_secs(16 * 60));
    let late = operator.deliveries(None, true, 0, None).await.unwrap().rows;
    assert_eq!(late.iter().map(|row| row.item_id.clone()).collect::<Vec<_>>(), [urgent.id.to_string()]);
    scene.pass(4 * Duration::from_secs(3600));
    assert_eq!(operator.deliveries(None, true, 0, None).await.unwrap().rows.len(), 2);
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_by_a_covenant_that_has_run_out() {
    let hub = Hub::start().await;
    hub.client("safe-home-amsterdam").await;
    hub.client("police-amsterdam").await;
    let later = Clock::from_fn(|| now() + 101 * DAY);
    let error =
        agency::send(&hub.open_with_clock("police-amsterdam", later), &hub.example(SignalType::ExploitationSignal))
            .await;
    assert_eq!(error.unwrap_err().reason(), Some("COVENANT_EXPIRED"));
    // Beyond thirty days more not even a walk to a new one may begin there.
    let much_later = Clock::from_fn(|| now() + 140 * DAY);
    let error = hub.open_with_clock("police-amsterdam", much_later).refresh_covenant().await.unwrap_err();
    assert_eq!(error.reason(), Some("COVENANT_START_TOO_OLD"));
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_the_next_covenant_leaves_out_permits_nothing_more_and_what_was_accepted_stays_accepted() {
    let mut hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = seinpost_tests::harness::forge::Forge::of(&hub, "police-amsterdam").await;
    let example = hub.example(SignalType::ExploitationSignal);
    let request = police.submission(police.signal(&example, &[&safe_home]).seal());
    let receipt = police.submit(request.clone()).await.unwrap().receipt.unwrap();
    let signed_before = police.submission(police.signal(&example, &[&safe_home]).seal());
    hub.stop().await;
    let strike = |covenant: &mut seinpost_protocol::wire::Covenant| {
        covenant.rules.retain(|rule| rule.legal_basis != "BPG_4_2_1_I");
    };
    let next = hub.world().covenant_after(hub.world().covenant(), strike, &[0, 1]).unwrap();
    hub.world().save_covenant(&next).unwrap();
    hub.serve().await;

    let police = seinpost_tests::harness::forge::Forge::of(&hub, "police-amsterdam").await;
    assert_eq!(police.covenant.serial(), 2);
    // The gateway judges by its own: what was signed under the old one and is new to it is refused.
    let status = police.submit(signed_before).await.unwrap_err();
    assert_eq!(seinpost_tests::harness::raw::reason(&status), "BASIS");
    let error = agency::send(&hub.open("police-amsterdam"), &example).await.unwrap_err();
    assert_eq!(error.reason(), Some("BASIS"), "the sender's own client refuses it too: {error}");
    // A retry of what was accepted earns its receipt, and its recipient verifies it by the covenant of its record.
    let again = police.submit(request).await.unwrap().receipt.unwrap();
    assert_eq!((again.index, again.commitment), (receipt.index, receipt.commitment));
    let mut mailbox = agency::mailbox(&hub.open("safe-home-amsterdam")).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(signal.arrived.covenant.serial(), 1);
    assert_eq!(agency::content(&signal)["subject"]["names"]["family"], hub.canary());
    let report = hub.open("auditor").audit(&mut |_| {}).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    hub.end().await;
}
