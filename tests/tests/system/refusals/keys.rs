//! Sealing keys: which one a signal may be sealed to, and which statement of one follows the last.

use std::time::Duration;

use bytes::Bytes;
use seinpost_client::keys::Windows;
use seinpost_client::seal::PrivateKey;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire::{self, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::seal_to;
use seinpost_tests::harness::raw::reason;
use seinpost_tests::harness::world::now;
use tonic::Code;

use super::{DAY, Scene, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_sealed_to_a_key_statement_that_counts_or_refused() {
    let scene = Scene::set().await;
    let superseded = seal_to(&scene.safe_home);
    let sealed_to = async |statement: Digest| {
        let mut open = scene.signal();
        open.seal_to[0].statement = statement;
        scene.police.send(open).await
    };
    // A statement of nobody, and one of somebody else.
    let status = sealed_to(Digest::new([9; 32])).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_UNKNOWN");
    let foreign = seal_to(&scene.police.client);
    let status = sealed_to(foreign.statement).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_UNKNOWN");

    // One that is superseded is taken for a day more; one whose window is over is not.
    let short =
        Windows { seal_for: Duration::from_secs(3600), open_for: Duration::from_secs(3600), ..Windows::default() };
    scene.safe_home.publish_key(short).await.unwrap();
    sealed_to(superseded.statement).await.unwrap();
    let mut open = scene.signal();
    open.header.expires = Some((now() + DAY).into());
    let status = scene.police.send(open).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_WINDOW");
    let later = Windows { seal_from: Some(now() + DAY), ..Windows::default() };
    scene.safe_home.publish_key(later).await.unwrap();
    let status = scene.police.send(scene.signal()).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_WINDOW");

    // A key that was withdrawn counts at once no more.
    scene.safe_home.withdraw_key().await.unwrap();
    let withdrawn = scene.safe_home.sealing_keys().list().unwrap().last().unwrap().digest;
    let status = sealed_to(withdrawn).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_UNKNOWN");
    let status = sealed_to(superseded.statement).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_WITHDRAWN");
    // The sender's own client sees that before it seals.
    let error =
        agency::send(&scene.police.client, &scene.hub.example(SignalType::ExploitationSignal)).await.unwrap_err();
    assert_eq!(error.reason(), Some("KEY_WITHDRAWN"));
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_statement_that_does_not_follow_the_last_is_refused() {
    let scene = Scene::set().await;
    let last = scene.police.client.sealing_keys().list().unwrap().pop().unwrap();
    let statement = || {
        let mut signer = scene.police.signer();
        signer.key_serial = 1;
        wire::KeyStatement {
            signer: Some(signer),
            serial: 2,
            previous_digest: last.digest.into(),
            seal_from: Some(now().into()),
            seal_until: Some((now() + 80 * DAY).into()),
            open_until: Some((now() + 90 * DAY).into()),
            state: Some(wire::key_statement::State::Key(wire::SealingKey {
                suite: 1,
                public_key: PrivateKey::generate().unwrap().public_key().to_bytes(),
            })),
        }
    };
    type Change = fn(&mut wire::KeyStatement);
    let cases: &[(&str, Change, Code, &str)] = &[
        (
            "a gap",
            |s| {
                s.serial = 3;
                s.signer.as_mut().unwrap().key_serial = 2
            },
            Code::FailedPrecondition,
            "KEY_SERIAL",
        ),
        (
            "the last one's serial again",
            |s| {
                s.serial = 1;
                s.signer.as_mut().unwrap().key_serial = 0;
                s.previous_digest.clear()
            },
            Code::FailedPrecondition,
            "KEY_SERIAL",
        ),
        (
            "another previous",
            |s| s.previous_digest = Bytes::from_static(&[1; 32]),
            Code::FailedPrecondition,
            "KEY_PREVIOUS",
        ),
        ("no previous", |s| s.previous_digest.clear(), Code::FailedPrecondition, "KEY_PREVIOUS"),
        (
            "sealing for a year",
            |s| s.seal_until = Some((now() + 365 * DAY).into()),
            Code::InvalidArgument,
            "KEY_WINDOWS",
        ),
        ("opening for ever", |s| s.open_until = Some((now() + 200 * DAY).into()), Code::InvalidArgument, "KEY_WINDOWS"),
        ("another suite", |s| key(s).suite = 2, Code::InvalidArgument, "SUITE"),
        (
            "a key that is none",
            |s| key(s).public_key = Bytes::from(vec![0xff; 1216]),
            Code::InvalidArgument,
            "ENCAPSULATION_KEY",
        ),
        ("a short key", |s| key(s).public_key.truncate(1215), Code::InvalidArgument, "LENGTH"),
    ];
    let mut wrong = Vec::new();
    for (what, change, code, expected) in cases {
        let mut changed = statement();
        change(&mut changed);
        let status = scene.police.submit_item(scene.police.sign(ItemType::KeyStatement, &changed)).await;
        match status {
            Err(status) if (status.code(), reason(&status).as_str()) == (*code, expected) => {}
            other => wrong.push(format!("{what}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.police.submit_item(scene.police.sign(ItemType::KeyStatement, &statement())).await.unwrap();
    scene.hub.end().await;
}

fn key(statement: &mut wire::KeyStatement) -> &mut wire::SealingKey {
    match &mut statement.state {
        Some(wire::key_statement::State::Key(key)) => key,
        _ => panic!("the statement states a key"),
    }
}
