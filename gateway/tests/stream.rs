//! One stream of submissions: what rests on what came before it finds it done.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that unwraps what must be there fails at the line that says so"
)]

mod common;

use common::{Agency, Hub, digest_in};
use prost::Message as _;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire;
use seinpost_protocol::wire::submit_stream_response::Result as Answer;

/// Submits all of them in one stream, and returns what became of each: the index of its acceptance, or its refusal.
async fn stream(agency: &Agency, requests: &[wire::SubmitRequest]) -> Vec<Result<u64, String>> {
    let requests: Vec<_> =
        requests.iter().map(|request| wire::SubmitStreamRequest { submit: Some(request.clone()) }).collect();
    let answers = agency.exchange().submit_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let answers: Vec<wire::SubmitStreamResponse> =
        tokio_stream::StreamExt::collect::<Result<_, _>>(answers).await.unwrap();
    let became = answers.into_iter().map(|answer| match answer.result.unwrap() {
        Answer::Accepted(accepted) => Ok(accepted.receipt.unwrap().index),
        Answer::Refused(status) => Err(status.message),
    });
    became.collect()
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
