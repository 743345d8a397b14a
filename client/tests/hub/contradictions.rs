//! A hub or a peer that contradicts itself: an older covenant after a newer one, a second answer, another conversation, a
//! key outside its windows, a mailbox that is another when it is read again. Whoever sees both says so.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use seinpost_client::answer::{Delivery, Say};
use seinpost_client::client::Client;
use seinpost_client::error::Error;
use seinpost_client::keys::Windows;
use seinpost_client::receive::{Mailbox, Received, Start};
use seinpost_client::send::KeepCopy;
use seinpost_client::status::Which;
use seinpost_client::verify::ReceiptFile;
use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::wire;

use crate::fake::Lie;
use crate::{Check, PATIENCE, SAFE_HOME, Stage, TEXT, audit, outgoing, send};

#[tokio::test(flavor = "multi_thread")]
async fn no_record_is_judged_by_an_older_covenant_than_one_before_it() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    adopt_second(&stage, Duration::ZERO);
    let sent = send(&police).await;
    let mut mailbox = open(&safe_home, Start::Pinned).await;
    next_signal(&mut mailbox).await;
    next_signal(&mut mailbox).await;
    drop(mailbox);

    // The first covenant is still valid, and the registrars signed it; but it rules no more.
    stage.hub.lie(Lie::OldRuling);
    let fallen = stage.hub.log().size();
    let error = police.send(&outgoing(), TEXT, &Check, KeepCopy::No).await.unwrap_err();
    assert_eq!(error.reason(), Some("COVENANT_ROLLED_BACK"), "{error}");
    assert!(error.evidence().unwrap().join("receipt.bin").exists());
    assert_eq!(police.outbox().waiting().unwrap().len(), 1, "it is not called accepted");

    // Whether it is read on or again, and by a program that has just started.
    for start in [Start::Pinned, Start::Beginning] {
        let mut mailbox = open(&stage.client(SAFE_HOME), start).await;
        let received = loop {
            match next(&mut mailbox).await.unwrap() {
                Received::Signal(_) => {}
                received => break received,
            }
        };
        withheld(received, "COVENANT_ROLLED_BACK");
    }

    // A notice is harmless, and comes behind the alarm.
    stage.hub.hand_over(sent.digest, police.address(), safe_home.address());
    let mut mailbox = open(&police, Start::Pinned).await;
    let Received::Alarm(alarm) = next(&mut mailbox).await.unwrap() else { panic!("an alarm was to come") };
    assert_eq!(alarm.reason, "COVENANT_ROLLED_BACK");
    assert!(matches!(next(&mut mailbox).await.unwrap(), Received::Notice(_)));
    assert!(mailbox.is_drained());

    // Acceptance, consignment and notice.
    let wrong = (fallen..fallen + 3).map(|index| (index, "COVENANT_ROLLED_BACK")).collect::<Vec<_>>();
    assert_eq!(faults(&stage).await, wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn until_a_covenant_begins_the_one_before_it_rules_and_no_other() {
    let (stage, police, safe_home) = Stage::ready().await;
    adopt_second(&stage, Duration::from_secs(86_400));
    stage.hub.lie(Lie::OldRuling);
    send(&police).await;
    next_signal(&mut open(&safe_home, Start::Pinned).await).await;
    assert_eq!(faults(&stage).await, []);
    // Too early.
    stage.hub.repent();
    let early = stage.hub.log().size();
    let error = police.send(&outgoing(), TEXT, &Check, KeepCopy::No).await.unwrap_err();
    assert_eq!(error.reason(), Some("COVENANT_NOT_VALID"), "{error}");
    let faults = faults(&stage).await;
    assert!(faults.contains(&(early + 1, "COVENANT_NOT_VALID")), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_to_one_delivery_is_withheld_and_convicts_who_signed_both() {
    let (_stage, police, safe_home) = Stage::ready().await;
    let sent = send(&police).await;
    let delivery = next_signal(&mut open(&safe_home, Start::Pinned).await).await;
    let first = safe_home.answer(delivery, Say::Readable).await.unwrap();
    let mut mailbox = open(&police, Start::Pinned).await;
    assert!(matches!(next(&mut mailbox).await.unwrap(), Received::Answer(_)));
    let shown = police.item(Which::Id(sent.id)).await.unwrap();
    assert!(shown.alarms.is_empty(), "{:?}", shown.alarms);

    safe_home.answer(delivery, Say::NotCompetent).await.unwrap();
    let error = withheld(next(&mut mailbox).await.unwrap(), "ANSWERED_TWICE");
    assert!(error.to_string().contains("DELIVERED_READABLE") && error.to_string().contains("NOT_COMPETENT"), "{error}");
    let evidence = error.evidence().unwrap();
    let kept = |name: &str| ReceiptFile::read(&evidence.join(name)).unwrap();
    assert_eq!(kept("first.receipt").parsed().unwrap().digest(), first.digest);
    for name in ["first.receipt", "second.receipt"] {
        police.verify_receipt(&kept(name)).unwrap();
    }

    // The hub shows the second alone; the first is remembered.
    let shown = police.item(Which::Id(sent.id)).await.unwrap();
    assert_eq!(shown.alarms.iter().map(|alarm| alarm.reason).collect::<Vec<_>>(), ["ANSWERED_TWICE", "ANSWERED_TWICE"]);
    assert_eq!(shown.alarms[0].evidence.as_deref(), Some(evidence), "the same evidence is kept once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_the_log_itself_leads_to_somebody_else_convicts_the_hub() {
    let (stage, police, safe_home) = Stage::ready().await;
    stage.hub.lie(Lie::Reroute);
    let rerouted = stage.hub.log().size();
    let error = police.send(&outgoing(), TEXT, &Check, KeepCopy::No).await.unwrap_err();
    assert_eq!(error.reason(), Some("ACCEPTANCE"), "{error}");
    assert!(error.to_string().contains("consigned to others than it is addressed to"), "{error}");
    let evidence = error.evidence().unwrap();
    for piece in ["item.bin", "receipt.bin", "about.json"] {
        assert!(evidence.join(piece).exists(), "{piece}");
    }
    assert_eq!(police.outbox().waiting().unwrap().len(), 1, "it is not called accepted");
    // An honest hub would lead it to the safe home, which got nothing; the auditor names the acceptance and the consignment.
    assert_eq!(stage.hub.log().mailbox(safe_home.address()).len(), 1, "its own key statement");
    let faults = faults(&stage).await;
    assert!(faults.iter().any(|(index, _)| (rerouted..rerouted + 2).contains(index)), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_put_under_another_conversation_is_withheld() {
    let (stage, police, safe_home) = Stage::ready().await;
    stage.hub.lie(Lie::ForeignConversation);
    let sent = send(&police).await;
    withheld(next(&mut open(&safe_home, Start::Pinned).await).await.unwrap(), "CONVERSATION");
    assert_eq!(faults(&stage).await, [(sent.index + 1, "CONVERSATION")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_was_sealed_outside_its_keys_windows_or_after_its_withdrawal_is_withheld() {
    let (stage, police, safe_home) = Stage::ready().await;
    let windows = Windows { seal_for: Duration::from_secs(10 * 60), ..Windows::default() };
    safe_home.publish_key(windows).await.unwrap();
    let plan = police.plan(&outgoing()).await.unwrap();
    police.send_planned(&plan, TEXT, &Check, KeepCopy::No).await.unwrap();
    stage.millis.fetch_add(11 * MINUTE, Ordering::Relaxed);
    // The hub, which should refuse it, lets it pass.
    police.send_planned(&plan, TEXT, &Check, KeepCopy::No).await.unwrap();
    let mut mailbox = open(&safe_home, Start::Pinned).await;
    next_signal(&mut mailbox).await;
    withheld(next(&mut mailbox).await.unwrap(), "KEY_WINDOW");

    safe_home.publish_key(Windows::default()).await.unwrap();
    let plan = police.plan(&outgoing()).await.unwrap();
    safe_home.withdraw_key().await.unwrap();
    police.send_planned(&plan, TEXT, &Check, KeepCopy::No).await.unwrap();
    withheld(next(&mut mailbox).await.unwrap(), "KEY_WITHDRAWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_what_comes_next_is_told_once_that_the_hub_was_lost_and_once_that_it_is_back() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    stage.hub.lie(Lie::BreakStream);
    let mut mailbox = open(&safe_home, Start::Pinned).await;
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
    let (_stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    next_signal(&mut open(&safe_home, Start::Pinned).await).await;
    let pins = safe_home.profile().state.join("pins.json");
    let pinned = std::fs::read_to_string(&pins).unwrap();
    let commitment = safe_home.pins().read().unwrap().mailbox(safe_home.address()).unwrap().commitment;
    let (other, further) =
        (pinned.replace(&commitment.to_string(), &"00".repeat(32)), pinned.replace("\"number\": 2", "\"number\": 3"));
    assert!(other != pinned && further != pinned);

    // The head speaks of another record under the number that was read last, or of fewer than were read.
    refused_again(&safe_home, &pins, &other, "HEAD_LIE").await;
    refused_again(&safe_home, &pins, &further, "HEAD_BEHIND").await;
    // Or the record itself is another.
    send(&police).await;
    refused_again(&safe_home, &pins, &other, "MAILBOX_GAP").await;
    std::fs::write(&pins, pinned).unwrap();
    let mut mailbox = open(&safe_home, Start::Beginning).await;
    next_signal(&mut mailbox).await;
    next_signal(&mut mailbox).await;
}

async fn refused_again(safe_home: &Client, pins: &Path, pinned: &str, reason: &str) {
    std::fs::write(pins, pinned).unwrap();
    let mut mailbox = open(safe_home, Start::Beginning).await;
    let error = loop {
        match mailbox.next_within(PATIENCE).await {
            Ok(received) => drop(received.expect("something comes")),
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(reason), "{error}");
    assert!(error.evidence().is_some());
}

/// Adopts a second covenant that begins so far from now.
fn adopt_second(stage: &Stage, ahead: Duration) {
    let first = Covenant::verify(stage.world.covenant(), &Trust::Floor(stage.hub_file().floor())).unwrap();
    let begin = |next: &mut wire::Covenant| next.valid_from = Some((stage.clock.now() + ahead).into());
    let next = stage.world.covenant_after(first.item(), begin, &[0, 1]).unwrap();
    stage.hub.log().adopt(Covenant::verify(&next, &Trust::Last(&first)).unwrap());
}

/// The faults that an auditor finds, by record.
async fn faults(stage: &Stage) -> Vec<(u64, &'static str)> {
    let report = audit(&stage.client("auditor")).await.unwrap();
    report.faults.iter().map(|fault| (fault.index, fault.reason)).collect()
}

async fn open(client: &Client, start: Start) -> Mailbox {
    client.receive(start, Arc::new(Check)).await.unwrap()
}

/// Takes over what comes next, but for heads and key statements.
async fn next(mailbox: &mut Mailbox) -> Result<Received, Error> {
    loop {
        let received = mailbox.next_within(PATIENCE).await?.expect("something comes");
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

const MINUTE: i64 = 60_000;
