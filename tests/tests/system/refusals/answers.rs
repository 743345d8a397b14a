//! Answers: each names a delivery to its signer, and says something that fits.

use bytes::Bytes;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire::{self, Function, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::Forge;
use seinpost_tests::harness::raw::reason;
use tonic::Code;

use super::{Scene, refused};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_names_a_delivery_to_its_signer_or_is_refused() {
    let scene = Scene::set().await;
    let submitted =
        agency::send(&scene.police.client, &scene.hub.example(SignalType::ExploitationSignal)).await.unwrap();
    let consigned = &submitted.consigned[0];
    let safe_home = Forge::of(&scene.hub, "safe-home-amsterdam").await;
    let answer = |forge: &Forge| wire::Answer {
        signer: Some(forge.signer()),
        item_digest: submitted.digest.into(),
        delivery_commitment: consigned.commitment.into(),
        code: wire::AnswerCode::DeliveredReadable.into(),
        better_function: 0,
        duplicate_of: Bytes::new(),
    };
    type Change = fn(&mut wire::Answer);
    let cases: &[(&str, Change, Code, &str)] = &[
        (
            "an item that nobody sent",
            |a| a.item_digest = Bytes::from_static(&[1; 32]),
            Code::FailedPrecondition,
            "DELIVERY_UNKNOWN",
        ),
        (
            "another commitment",
            |a| a.delivery_commitment = Bytes::from_static(&[1; 32]),
            Code::FailedPrecondition,
            "DELIVERY_MISMATCH",
        ),
        (
            "a better function for a readable one",
            |a| a.better_function = Function::Mayor.into(),
            Code::InvalidArgument,
            "BETTER_FUNCTION",
        ),
        (
            "the wrong recipient and nobody better",
            |a| a.code = wire::AnswerCode::WrongRecipient.into(),
            Code::InvalidArgument,
            "BETTER_FUNCTION",
        ),
        (
            "a duplicate of nothing",
            |a| a.code = wire::AnswerCode::DuplicateOf.into(),
            Code::InvalidArgument,
            "DUPLICATE_OF",
        ),
        (
            "a duplicate of what nobody sent",
            |a| {
                a.code = wire::AnswerCode::DuplicateOf.into();
                a.duplicate_of = Bytes::from_static(&[1; 32])
            },
            Code::FailedPrecondition,
            "DUPLICATE_OF_UNKNOWN",
        ),
        ("no code", |a| a.code = 0, Code::InvalidArgument, "ENUM"),
    ];
    let mut wrong = Vec::new();
    for (what, change, code, expected) in cases {
        let mut changed = answer(&safe_home);
        change(&mut changed);
        match safe_home.submit_item(safe_home.sign(ItemType::Answer, &changed)).await {
            Err(status) if (status.code(), reason(&status).as_str()) == (*code, expected) => {}
            other => wrong.push(format!("{what}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Somebody else has no such delivery, although it knows everything about it.
    let prosecution = Forge::of(&scene.hub, "prosecution-amsterdam").await;
    let status = prosecution.submit_item(prosecution.sign(ItemType::Answer, &answer(&prosecution))).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "DELIVERY_UNKNOWN");
    safe_home.submit_item(safe_home.sign(ItemType::Answer, &answer(&safe_home))).await.unwrap();
    scene.hub.end().await;
}
