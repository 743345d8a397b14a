//! One stream of submissions: what rests on what came before it finds it done.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{Agency, Hub, digest_in, now};
use prost::Message as _;
use seinpost_gateway::clock::Clock;
use seinpost_gateway::serve::Options;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire;
use seinpost_protocol::wire::submit_stream_response::Result as Answer;

/// Submits all of them in one stream, and returns what became of each: the index of its acceptance, or its refusal.
async fn stream(agency: &Agency, requests: &[wire::SubmitRequest]) -> Vec<Result<u64, String>> {
    stream_and(agency, requests, || {}).await
}

/// As [`stream`], and does something once the first is answered.
async fn stream_and(
    agency: &Agency,
    requests: &[wire::SubmitRequest],
    after_the_first: impl FnOnce(),
) -> Vec<Result<u64, String>> {
    let requests: Vec<_> =
        requests.iter().map(|request| wire::SubmitStreamRequest { submit: Some(request.clone()) }).collect();
    let mut answers = agency.exchange().submit_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut after_the_first = Some(after_the_first);
    let mut became = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        became.push(match answer.result.unwrap() {
            Answer::Accepted(accepted) => Ok(accepted.receipt.unwrap().index),
            Answer::Refused(status) => Err(status.message),
        });
        if let Some(once) = after_the_first.take() {
            once();
        }
    }
    became
}

/// Asserts that all were accepted, each behind the one before it.
fn assert_in_order(became: &[Result<u64, String>]) {
    let indexes: Vec<u64> = became.iter().map(|one| *one.as_ref().unwrap()).collect();
    assert!(indexes.is_sorted_by(|before, after| before < after), "{indexes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longest_to_check_is_decided_before_what_came_after_it() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let seen = police.seen().await;
    let mut requests = Vec::new();
    for _ in 0..4 {
        let mut opening = police.signal(&seen, home.address, home_key);
        opening.sealed_content = vec![0x5e; 1024 * 1024].into();
        opening.header.size_class = wire::SizeClass::Kib1024.into();
        requests.push(police.finish(&opening));
        // Nobody may write in a conversation that is not yet there.
        for _ in 0..4 {
            let mut more = police.signal(&seen, home.address, home_key);
            more.header.conversation.clone_from(&opening.header.conversation);
            requests.push(police.finish(&more));
        }
    }
    assert_in_order(&stream(&police, &requests).await);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_statements_follow_each_other_and_are_named_behind_themselves() {
    let mut hub = Hub::start().await;
    let (police, first) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let seen = police.seen().await;
    let mut requests = Vec::new();
    let mut previous = first;
    for serial in 2..=20 {
        // The statement by hand, because each names the one before it.
        let made = police.key_statement(&seen, serial);
        let mut statement = wire::KeyStatement::decode(made.item.unwrap().payload).unwrap();
        statement.previous_digest = previous.into();
        let item = police.sign(ItemType::KeyStatement, statement.encode_to_vec());
        let statement = wire::SubmitRequest { item: Some(item), ..wire::SubmitRequest::default() };
        previous = digest_in(&statement);
        requests.push(statement);
        let mut naming = police.signal(&seen, home.address, home_key);
        naming.signer().key_serial = serial;
        requests.push(police.finish(&naming));
    }
    assert_in_order(&stream(&police, &requests).await);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_covenant_that_begins_to_rule_in_the_middle_of_a_stream_changes_no_order() {
    let mut hub = Hub::made();
    let begins = now() + Duration::from_secs(3600);
    let change = |covenant: &mut wire::Covenant| {
        covenant.valid_from = Some(begins.into());
        covenant.valid_until = Some((begins + Duration::from_secs(86_400)).into());
    };
    let next = hub.world.covenant_after(hub.world.covenant(), change, &[0, 1]).unwrap();
    hub.world.save_covenant(&next).unwrap();
    let (give, given) = mpsc::channel();
    let clock = move |last| {
        let (clock, hand) = Clock::by_hand(now(), last);
        give.send(hand).unwrap();
        clock
    };
    let options = Options { clock: Some(Box::new(clock)), ..Options::default() };
    hub.go_with(hub.config(), options).await.unwrap();
    let hand = given.recv().unwrap();

    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let seen = police.seen().await;
    let mut requests = Vec::new();
    for _ in 0..150 {
        let opening = police.signal(&seen, home.address, home_key);
        let mut more = police.signal(&seen, home.address, home_key);
        more.header.conversation.clone_from(&opening.header.conversation);
        requests.extend([police.finish(&opening), police.finish(&more)]);
    }
    // What waits then was permitted by the covenant before, and is judged anew.
    let became = stream_and(&police, &requests, || hand.pass(Duration::from_secs(3600))).await;
    assert_eq!(became.len(), requests.len());
    assert_in_order(&became);
    hub.stop().await;
}
