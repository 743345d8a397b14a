//! A hub or a peer that contradicts itself, over real TLS: an older covenant after a newer one, a second answer, another
//! conversation, a key outside its windows, a mailbox that is another when it is read again.
//!
//! The hub judges nothing, see `fake`; what is tested is that the client does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that unwraps what must be there fails at the line that says so"
)]

#[allow(dead_code, reason = "other tests have it tell other lies")]
mod fake;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fake::{Hub, Lie};
use seinpost_certs::world::{Options, World};
use seinpost_client::answer::{Delivery, Say};
use seinpost_client::client::Client;
use seinpost_client::clock::Clock;
use seinpost_client::error::{Error, Fault};
use seinpost_client::keys::Windows;
use seinpost_client::profile::Profile;
use seinpost_client::receive::{Mailbox, Received, Start};
use seinpost_client::send::{ContentCheck, ContentContext, ContentFault, KeepCopy, Outgoing, Submitted, To};
use seinpost_client::status::Which;
use seinpost_client::verify::ReceiptFile;
use seinpost_protocol::address::Function;
use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

const TEXT: &[u8] = b"Fictief: twee jongens van 15";
const START_MILLIS: i64 = 1_795_500_000_000;
const MINUTE: i64 = 60_000;

/// Takes any content.
struct Check;

impl ContentCheck for Check {
    fn before_sealing(&self, _: &[u8], _: &ContentContext<'_>) -> Result<(), Vec<Fault>> {
        Ok(())
    }

    fn after_opening(&self, _: &[u8], _: &ContentContext<'_>) -> Result<(), ContentFault> {
        Ok(())
    }
}

/// A hub, police and safe home with certificate and key; time goes on by a millisecond whenever somebody asks.
struct Stage {
    _folder: tempfile::TempDir,
    world: World,
    hub: Hub,
    clock: Clock,
    millis: Arc<AtomicI64>,
    police: Client,
    safe_home: Client,
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            listen: "127.0.0.1:1".into(),
            metrics: String::new(),
            origin: "log.seinpost.test/contradictions".into(),
            now: Timestamp::clamped(START_MILLIS),
        };
        let world = World::make(&folder.path().join("world"), &options).unwrap();
        let millis = Arc::new(AtomicI64::new(START_MILLIS));
        let ticking = Arc::clone(&millis);
        let clock = Clock::from_fn(move || Timestamp::clamped(ticking.fetch_add(1, Ordering::Relaxed)));
        let now = clock.clone();
        let hub = Hub::start(&world, move || now.now()).await;
        let client = |name: &str| {
            let profile = Profile::load(&world.profile(name)).unwrap();
            Client::open_at(profile, clock.clone()).unwrap()
        };
        let (police, safe_home) = (client("police-amsterdam"), client("safe-home-amsterdam"));
        for client in [&police, &safe_home] {
            client.publish_certificate().await.unwrap();
            client.publish_key(Windows::default()).await.unwrap();
        }
        Self { _folder: folder, world, hub, clock, millis, police, safe_home }
    }

    async fn send(&self) -> Submitted {
        self.police.send(&outgoing(), TEXT, &Check, KeepCopy::No).await.unwrap()
    }

    /// Adopts a second covenant that begins so far from now.
    fn adopt_second(&self, ahead: Duration) {
        let hub = HubFile::parse(&std::fs::read_to_string(self.world.hub_file()).unwrap()).unwrap();
        let first = Covenant::verify(self.world.covenant(), &Trust::Floor(hub.floor())).unwrap();
        let begin = |next: &mut wire::Covenant| next.valid_from = Some((self.clock.now() + ahead).into());
        let next = self.world.covenant_after(first.item(), begin, &[0, 1]).unwrap();
        self.hub.log().adopt(Covenant::verify(&next, &Trust::Last(&first)).unwrap());
    }

    /// The faults that an auditor finds, by record.
    async fn faults(&self) -> Vec<(u64, &'static str)> {
        let profile = Profile::load(&self.world.profile("auditor")).unwrap();
        let auditor = Client::open_at(profile, self.clock.clone()).unwrap();
        let report = auditor.audit(&mut |_| {}).await.unwrap();
        report.faults.iter().map(|fault| (fault.index, fault.reason)).collect()
    }

    fn pass(&self, millis: i64) {
        self.millis.fetch_add(millis, Ordering::Relaxed);
    }
}

fn outgoing() -> Outgoing {
    Outgoing {
        signal_type: wire::SignalType::ExploitationSignal,
        to: vec![To {
            function: Function::SafeHome,
            oin: None,
            municipality: Some("0363".into()),
            legal_basis: "BPG_4_2_1_I".into(),
            basis_reference: None,
        }],
        source_regime: wire::SourceRegime::Wpg8,
        purpose: wire::Purpose::ProtectChild,
        urgency: wire::Urgency::Today,
        handling: Vec::new(),
        conversation: None,
        in_reply_to: None,
        supersedes: None,
        expires: None,
        retention_class: None,
    }
}

async fn open(client: &Client, start: Start) -> Mailbox {
    client.receive(start, Arc::new(Check)).await.unwrap()
}

/// Takes over what comes next, but for heads and key statements.
async fn next(mailbox: &mut Mailbox) -> Result<Received, Error> {
    loop {
        let received = mailbox.next_within(Duration::from_secs(20)).await?.expect("something comes");
        mailbox.acknowledge(&received).unwrap();
        if !matches!(received, Received::Head(_) | Received::KeyStatement(_)) {
            return Ok(received);
        }
    }
}

async fn next_signal(mailbox: &mut Mailbox) -> Delivery {
    match next(mailbox).await.unwrap() {
        Received::Signal(signal) => Delivery::from(&*signal),
        Received::Withheld(withheld) => panic!("withheld: {}", withheld.error),
        _ => panic!("a signal was to come"),
    }
}

#[track_caller]
fn withheld(received: Received, reason: &str) -> Error {
    let Received::Withheld(withheld) = received else { panic!("it was to be withheld as {reason}") };
    assert_eq!(withheld.error.reason(), Some(reason), "{}", withheld.error);
    withheld.error
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_is_judged_by_an_older_covenant_than_one_before_it() {
    let stage = Stage::new().await;
    stage.send().await;
    stage.adopt_second(Duration::ZERO);
    let sent = stage.send().await;
    let mut mailbox = open(&stage.safe_home, Start::Pinned).await;
    next_signal(&mut mailbox).await;
    next_signal(&mut mailbox).await;
    drop(mailbox);

    // The first covenant is still valid, and the registrars signed it; but it rules no more.
    stage.hub.lie(Lie::OldRuling);
    let fallen = stage.hub.log().size();
    let error = stage.police.send(&outgoing(), TEXT, &Check, KeepCopy::No).await.unwrap_err();
    assert_eq!(error.reason(), Some("COVENANT_ROLLED_BACK"), "{error}");
    assert!(error.evidence().unwrap().join("receipt.bin").exists());
    assert_eq!(stage.police.outbox().waiting().unwrap().len(), 1, "it is not called accepted");

    // Whether it is read on or again, and by a program that has just started.
    for start in [Start::Pinned, Start::Beginning] {
        let profile = Profile::load(&stage.world.profile("safe-home-amsterdam")).unwrap();
        let safe_home = Client::open_at(profile, stage.clock.clone()).unwrap();
        let mut mailbox = open(&safe_home, start).await;
        let received = loop {
            match next(&mut mailbox).await.unwrap() {
                Received::Signal(_) => {}
                received => break received,
            }
        };
        withheld(received, "COVENANT_ROLLED_BACK");
    }

    // A notice is harmless, and comes behind the alarm.
    stage.hub.hand_over(sent.digest, stage.police.address(), stage.safe_home.address());
    let mut mailbox = open(&stage.police, Start::Pinned).await;
    let Received::Alarm(alarm) = next(&mut mailbox).await.unwrap() else { panic!("an alarm was to come") };
    assert_eq!(alarm.reason, "COVENANT_ROLLED_BACK");
    assert!(matches!(next(&mut mailbox).await.unwrap(), Received::Notice(_)));
    assert!(mailbox.is_drained());

    // Acceptance, consignment and notice.
    let wrong = (fallen..fallen + 3).map(|index| (index, "COVENANT_ROLLED_BACK")).collect::<Vec<_>>();
    assert_eq!(stage.faults().await, wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn until_a_covenant_begins_the_one_before_it_rules_and_no_other() {
    let stage = Stage::new().await;
    stage.adopt_second(Duration::from_secs(86_400));
    stage.hub.lie(Lie::OldRuling);
    stage.send().await;
    next_signal(&mut open(&stage.safe_home, Start::Pinned).await).await;
    assert_eq!(stage.faults().await, []);
    // Too early.
    stage.hub.repent();
    let early = stage.hub.log().size();
    let error = stage.police.send(&outgoing(), TEXT, &Check, KeepCopy::No).await.unwrap_err();
    assert_eq!(error.reason(), Some("COVENANT_NOT_VALID"), "{error}");
    let faults = stage.faults().await;
    assert!(faults.contains(&(early + 1, "COVENANT_NOT_VALID")), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_to_one_delivery_is_withheld_and_convicts_who_signed_both() {
    let stage = Stage::new().await;
    let sent = stage.send().await;
    let delivery = next_signal(&mut open(&stage.safe_home, Start::Pinned).await).await;
    let first = stage.safe_home.answer(delivery, Say::Readable).await.unwrap();
    let mut mailbox = open(&stage.police, Start::Pinned).await;
    assert!(matches!(next(&mut mailbox).await.unwrap(), Received::Answer(_)));
    let shown = stage.police.item(Which::Id(sent.id)).await.unwrap();
    assert!(shown.alarms.is_empty(), "{:?}", shown.alarms);

    stage.safe_home.answer(delivery, Say::NotCompetent).await.unwrap();
    let error = withheld(next(&mut mailbox).await.unwrap(), "ANSWERED_TWICE");
    assert!(error.to_string().contains("DELIVERED_READABLE") && error.to_string().contains("NOT_COMPETENT"), "{error}");
    let evidence = error.evidence().unwrap();
    let kept = |name: &str| ReceiptFile::read(&evidence.join(name)).unwrap();
    assert_eq!(kept("first.receipt").parsed().unwrap().digest(), first.digest);
    for name in ["first.receipt", "second.receipt"] {
        stage.police.verify_receipt(&kept(name)).unwrap();
    }

    // The hub shows the second alone; the first is remembered.
    let shown = stage.police.item(Which::Id(sent.id)).await.unwrap();
    assert_eq!(shown.alarms.iter().map(|alarm| alarm.reason).collect::<Vec<_>>(), ["ANSWERED_TWICE", "ANSWERED_TWICE"]);
    assert_eq!(shown.alarms[0].evidence.as_deref(), Some(evidence), "the same evidence is kept once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_put_under_another_conversation_is_withheld() {
    let stage = Stage::new().await;
    stage.hub.lie(Lie::ForeignConversation);
    let sent = stage.send().await;
    withheld(next(&mut open(&stage.safe_home, Start::Pinned).await).await.unwrap(), "CONVERSATION");
    assert_eq!(stage.faults().await, [(sent.index + 1, "CONVERSATION")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_was_sealed_outside_its_keys_windows_or_after_its_withdrawal_is_withheld() {
    let stage = Stage::new().await;
    let windows = Windows { seal_for: Duration::from_secs(10 * 60), ..Windows::default() };
    stage.safe_home.publish_key(windows).await.unwrap();
    let plan = stage.police.plan(&outgoing()).await.unwrap();
    stage.police.send_planned(&plan, TEXT, &Check, KeepCopy::No).await.unwrap();
    stage.pass(11 * MINUTE);
    // The hub, which should refuse it, lets it pass.
    stage.police.send_planned(&plan, TEXT, &Check, KeepCopy::No).await.unwrap();
    let mut mailbox = open(&stage.safe_home, Start::Pinned).await;
    next_signal(&mut mailbox).await;
    withheld(next(&mut mailbox).await.unwrap(), "KEY_WINDOW");

    stage.safe_home.publish_key(Windows::default()).await.unwrap();
    let plan = stage.police.plan(&outgoing()).await.unwrap();
    stage.safe_home.withdraw_key().await.unwrap();
    stage.police.send_planned(&plan, TEXT, &Check, KeepCopy::No).await.unwrap();
    withheld(next(&mut mailbox).await.unwrap(), "KEY_WITHDRAWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_what_comes_next_is_told_once_that_the_hub_was_lost_and_once_that_it_is_back() {
    let stage = Stage::new().await;
    stage.send().await;
    stage.hub.lie(Lie::BreakStream);
    let mut mailbox = open(&stage.safe_home, Start::Pinned).await;
    let mut told = Vec::new();
    while told.len() < 6 {
        told.push(match mailbox.next().await.unwrap() {
            Received::Head(_) => "head",
            Received::KeyStatement(_) => "key statement",
            Received::Signal(_) => "signal",
            Received::Waiting(_) => "waiting",
            Received::Resumed => "resumed",
            _ => "another",
        });
    }
    assert_eq!(told, ["head", "key statement", "waiting", "resumed", "head", "signal"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_read_again_from_the_beginning_must_be_the_one_that_was_read() {
    let stage = Stage::new().await;
    stage.send().await;
    next_signal(&mut open(&stage.safe_home, Start::Pinned).await).await;
    let pins = stage.safe_home.profile().state.join("pins.json");
    let pinned = std::fs::read_to_string(&pins).unwrap();
    let commitment = stage.safe_home.pins().read().unwrap().mailbox(stage.safe_home.address()).unwrap().commitment;
    let (other, further) =
        (pinned.replace(&commitment.to_string(), &"00".repeat(32)), pinned.replace("\"number\": 2", "\"number\": 3"));
    assert!(other != pinned && further != pinned);

    // The head speaks of another record under the number that was read last, or of fewer than were read.
    refused_again(&stage, &pins, &other, "HEAD_LIE").await;
    refused_again(&stage, &pins, &further, "HEAD_BEHIND").await;
    // Or the record itself is another.
    stage.send().await;
    refused_again(&stage, &pins, &other, "MAILBOX_GAP").await;
    std::fs::write(&pins, pinned).unwrap();
    let mut mailbox = open(&stage.safe_home, Start::Beginning).await;
    next_signal(&mut mailbox).await;
    next_signal(&mut mailbox).await;
}

async fn refused_again(stage: &Stage, pins: &Path, pinned: &str, reason: &str) {
    std::fs::write(pins, pinned).unwrap();
    let mut mailbox = open(&stage.safe_home, Start::Beginning).await;
    let error = loop {
        match mailbox.next_within(Duration::from_secs(20)).await {
            Ok(received) => drop(received.expect("something comes")),
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(reason), "{error}");
    assert!(error.evidence().is_some());
}
