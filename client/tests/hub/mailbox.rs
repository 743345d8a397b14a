//! What a mailbox hands out: everything once and in order, verified or withheld, and an alarm where the hub keeps back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use seinpost_client::error::Kind;
use seinpost_client::receive::{Received, SignalContent, Start};
use seinpost_client::send::KeepCopy;

use crate::fake::Lie;
use crate::{Check, PATIENCE, Stage, TEXT, audit, fails, next, next_signal, open, outgoing, send, text_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_taken_up_where_it_was_and_nothing_comes_twice() {
    let (stage, police, safe_home) = Stage::ready().await;
    for _ in 0..3 {
        send(&police).await;
    }
    stage.hub.lie(Lie::BreakStream);
    let mut mailbox = safe_home.receive(Start::Pinned, Arc::new(Check)).await.unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < 4 {
        let received = mailbox.next().await.unwrap();
        numbers.extend(received.place().map(|place| place.number));
    }
    assert_eq!(numbers, [1, 2, 3, 4]);
    // Nothing was acknowledged: a new start brings all again, the restored one too.
    for start in [Start::Pinned, Start::Beginning] {
        let mut mailbox = safe_home.receive(start, Arc::new(Check)).await.unwrap();
        loop {
            if let Some(place) = mailbox.next().await.unwrap().place() {
                assert_eq!(place.number, 1);
                break;
            }
        }
    }
    assert!(audit(&police).await.unwrap().holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_does_not_come_again_as_new() {
    let (_stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    let signal = next_signal(&mut open(&safe_home).await).await;
    let pinned = safe_home.pins().read().unwrap().mailbox(safe_home.address()).unwrap();
    assert_eq!((pinned.number, pinned.commitment), (signal.arrived.place.number, signal.arrived.place.commitment));
    let sent = send(&police).await;
    let again = next_signal(&mut open(&safe_home).await).await;
    assert_eq!(again.arrived.item.digest(), sent.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_with_a_gap_or_a_false_head_convicts_the_hub() {
    for (lie, reason) in [(Lie::SkipNumber, "MAILBOX_GAP"), (Lie::ShortHead, "HEAD_LIE")] {
        let (stage, police, safe_home) = Stage::ready().await;
        send(&police).await;
        send(&police).await;
        stage.hub.lie(lie);
        let error = fails(&mut open(&safe_home).await).await;
        assert_eq!(error.reason(), Some(reason), "{error}");
        assert!(error.evidence().is_some());
        // The truth heals it: nothing was taken over that was not verified.
        stage.hub.repent();
        assert_eq!(text_of(&*next_signal(&mut open(&safe_home).await).await), TEXT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_promises_and_does_not_send_or_speaks_of_yesterday_raises_an_alarm() {
    for (lie, reason) in [(Lie::HoldBack, "HELD_BACK"), (Lie::StaleHead, "HEAD_STALE")] {
        let (stage, police, safe_home) = Stage::ready().await;
        send(&police).await;
        stage.hub.lie(lie);
        let mut mailbox = open(&safe_home).await;
        let Received::Alarm(alarm) = next(&mut mailbox).await else {
            panic!("an alarm was to come");
        };
        assert_eq!(alarm.reason, reason);
        stage.hub.repent();
        assert_eq!(text_of(&*next_signal(&mut mailbox).await), TEXT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_promises_on_every_stream_and_ends_it_raises_an_alarm() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    stage.hub.lie(Lie::OnlyHead);
    let mut mailbox = open(&safe_home).await;
    let mut heads = 0;
    let alarm = loop {
        match mailbox.next_within(PATIENCE).await {
            Ok(Some(Received::Head(_))) => heads += 1,
            Ok(Some(Received::Alarm(alarm))) => break alarm,
            Ok(_) => panic!("nothing else is sent"),
            Err(error) => assert_eq!(error.kind(), Kind::Unreachable),
        }
        assert!(heads < 10, "it goes on for ever");
        stage.millis.fetch_add(60_000, Ordering::Relaxed);
    };
    assert_eq!((alarm.reason, heads), ("HELD_BACK", 3));
    stage.hub.repent();
    next_signal(&mut open(&safe_home).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_erased_before_they_were_read_raise_an_alarm_and_the_rest_is_read() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    next_signal(&mut open(&safe_home).await).await;
    for _ in 0..3 {
        send(&police).await;
    }
    stage.hub.lie_times(Lie::ErasedBefore, 5);
    let mut mailbox = open(&safe_home).await;
    let Received::Alarm(alarm) = next(&mut mailbox).await else {
        panic!("an alarm was to come");
    };
    assert_eq!(alarm.reason, "LOST_UNREAD");
    assert!(alarm.what.contains("3 to 4"), "{alarm}");
    assert_eq!(next_signal(&mut mailbox).await.arrived.place.number, 5);
    // Who begins anew has lost nothing that it knew of.
    let mut mailbox = safe_home.receive(Start::Beginning, Arc::new(Check)).await.unwrap();
    assert!(matches!(mailbox.next().await.unwrap(), Received::Head(head) if head.first_number == 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_the_hub_spoilt_is_fetched_again_and_never_blamed_on_the_sender() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    stage.hub.lie_times(Lie::SpoilContentOnce, 1);
    assert_eq!(text_of(&*next_signal(&mut open(&safe_home).await).await), TEXT);
    stage.hub.lie(Lie::SpoilContent);
    send(&police).await;
    let signal = next_signal(&mut open(&safe_home).await).await;
    let SignalContent::Unreadable { reason, answer, .. } = signal.content else {
        panic!("spoilt content must not be shown");
    };
    assert_eq!((reason, answer), ("HUB_FAULT", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_consigned_twice_is_withheld_the_second_time() {
    let (stage, police, safe_home) = Stage::ready().await;
    let sent = send(&police).await;
    stage.hub.consign_again(sent.digest, safe_home.address());
    let mut mailbox = open(&safe_home).await;
    assert_eq!(text_of(&*next_signal(&mut mailbox).await), TEXT);
    let Received::Withheld(withheld) = next(&mut mailbox).await else {
        panic!("it came twice");
    };
    assert_eq!(withheld.error.reason(), Some("CONSIGNED_TWICE"));
    // And an audit finds that nobody promised it.
    let report = audit(&police).await.unwrap();
    assert_eq!(report.faults.iter().map(|fault| fault.reason).collect::<Vec<_>>(), ["CONSIGNMENT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_consigned_again_after_a_month_is_withheld_too() {
    let (stage, police, safe_home) = Stage::ready().await;
    let day = 24 * 60 * 60 * 1000;
    let sent = send(&police).await;
    next_signal(&mut open(&safe_home).await).await;
    // Read late: by the mailbox's own time both were consigned within the days for which items are remembered.
    stage.hub.consign_again(sent.digest, safe_home.address());
    stage.millis.fetch_add(33 * day, Ordering::Relaxed);
    let Received::Withheld(withheld) = next(&mut open(&safe_home).await).await else {
        panic!("it came twice");
    };
    assert_eq!(withheld.error.reason(), Some("CONSIGNED_TWICE"));
    // Another item moves the mailbox's time on, so that the first is forgotten; by then it is too old to be recorded.
    send(&police).await;
    next_signal(&mut open(&safe_home).await).await;
    stage.hub.consign_again(sent.digest, safe_home.address());
    let Received::Withheld(withheld) = next(&mut open(&safe_home).await).await else {
        panic!("it came a third time");
    };
    assert_eq!(withheld.error.reason(), Some("RECORD_TIME"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_without_a_route_in_a_conversation_of_strangers_is_withheld() {
    let (_stage, police, safe_home) = Stage::ready().await;
    let mut unrouted = outgoing();
    unrouted.to[0].municipality = None;
    unrouted.to[0].oin = Some(safe_home.address().oin);
    // The hub, which should know that the two never spoke under this id, lets it pass.
    unrouted.conversation = Some("01a0a0a0-0000-7000-8000-000000000001".try_into().unwrap());
    police.send(&unrouted, TEXT, &Check, KeepCopy::No).await.unwrap();
    let Received::Withheld(withheld) = next(&mut open(&safe_home).await).await else {
        panic!("nobody may write to whom no route leads");
    };
    assert_eq!(withheld.error.reason(), Some("NOT_PERMITTED"));
}
