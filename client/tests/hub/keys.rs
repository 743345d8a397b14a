//! Sealing keys: to which one is sealed and to which never again, and what becomes of one's own.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use seinpost_certs::pki::Validity;
use seinpost_client::client::Client;
use seinpost_client::error::Kind;
use seinpost_client::keys::Windows;
use seinpost_client::profile::Profile;
use seinpost_client::receive::{Received, SignalContent};
use seinpost_protocol::wire;

use crate::fake::Lie;
use crate::{PATIENCE, POLICE, SAFE_HOME, Stage, next_signal, open, outgoing, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_key_is_sealed_to_and_an_older_one_never_again() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    safe_home.publish_key(Windows::default()).await.unwrap();
    assert_eq!(police.plan(&outgoing()).await.unwrap().readers[0].key_serial, 2);
    stage.hub.lie(Lie::OldStatement);
    let error = police.plan(&outgoing()).await.err().expect("the newest statement is kept back");
    assert_eq!(error.reason(), Some("KEY_STATEMENT_ROLLED_BACK"));
    stage.hub.repent();
    safe_home.withdraw_key().await.unwrap();
    let error = police.plan(&outgoing()).await.err().expect("it is withdrawn");
    assert_eq!((error.kind(), error.reason()), (Kind::Refused, Some("KEY_WITHDRAWN")));
    // Five statements take three pages, and the chain is walked over them.
    for _ in 0..3 {
        safe_home.publish_key(Windows::default()).await.unwrap();
    }
    assert_eq!(stage.client(POLICE).plan(&outgoing()).await.unwrap().readers[0].key_serial, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sealed_to_the_key_from_before_a_withdrawal_while_the_next_has_not_begun() {
    let (stage, police, safe_home) = Stage::ready().await;
    safe_home.withdraw_key().await.unwrap();
    let tomorrow = stage.clock.now() + Duration::from_secs(24 * 60 * 60);
    safe_home.publish_key(Windows { seal_from: Some(tomorrow), ..Windows::default() }).await.unwrap();
    let error = police.plan(&outgoing()).await.err().expect("the lost key is not sealed to");
    assert_eq!((error.kind(), error.reason()), (Kind::Refused, Some("KEY_WITHDRAWN")));
    stage.millis.fetch_add(25 * 60 * 60 * 1000, Ordering::Relaxed);
    assert_eq!(police.plan(&outgoing()).await.unwrap().readers[0].key_serial, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sealed_to_a_key_whose_signer_is_revoked() {
    let (mut stage, police, safe_home) = Stage::ready().await;
    let leaf = safe_home.identity().certificate().der().clone();
    let now = stage.clock.now();
    stage.world.revoke(&leaf, now).unwrap();
    let der = std::fs::read(stage.world.hub_folder().join("crls/signing-issuing.crl")).unwrap();
    stage.hub.log().adopt_list(der.into());
    let error = police.plan(&outgoing()).await.err().expect("the signer is revoked");
    assert_eq!((error.kind(), error.reason()), (Kind::NotVerified, Some("CERTIFICATE_REVOKED")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sealed_by_a_revocation_list_that_is_older_than_one_before() {
    let (mut stage, police, _) = Stage::ready().await;
    police.plan(&outgoing()).await.unwrap();
    let old = std::fs::read(stage.world.hub_folder().join("crls/signing-issuing.crl")).unwrap();
    let somebody = stage.client("shelter").identity().certificate().der().clone();
    let now = stage.clock.now();
    stage.world.revoke(&somebody, now).unwrap();
    let new = std::fs::read(stage.world.hub_folder().join("crls/signing-issuing.crl")).unwrap();
    stage.hub.log().adopt_list(new.into());
    // Another client: what is newest is asked anew only after some minutes.
    stage.client(POLICE).plan(&outgoing()).await.unwrap();
    stage.hub.log().adopt_list(old.into());
    let error = stage.client(POLICE).plan(&outgoing()).await.err().expect("the list is older");
    assert_eq!(error.reason(), Some("CRL_NUMBER_FELL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sealed_by_a_revocation_list_that_is_overdue_beyond_its_grace() {
    let (mut stage, _, _) = Stage::ready().await;
    stage.world.revoke(stage.client("shelter").identity().certificate().der(), stage.clock.now()).unwrap();
    stage.world.save_crls(Validity::days(stage.clock.now(), 1)).unwrap();
    let list = std::fs::read(stage.world.hub_folder().join("crls/signing-issuing.crl")).unwrap();
    stage.hub.log().adopt_list(list.into());
    let hour = 60 * 60 * 1000;
    stage.millis.fetch_add(47 * hour, Ordering::Relaxed);
    stage.client(POLICE).plan(&outgoing()).await.unwrap();
    stage.millis.fetch_add(2 * hour, Ordering::Relaxed);
    let error = stage.client(POLICE).plan(&outgoing()).await.err().expect("the list is overdue");
    assert_eq!(error.reason(), Some("CRL_STALE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_second_statement_is_made_under_a_serial_that_the_hub_forgot() {
    let (stage, _, safe_home) = Stage::ready().await;
    safe_home.publish_key(Windows::default()).await.unwrap();
    stage.hub.lie(Lie::OldStatement);
    let error = safe_home.publish_key(Windows::default()).await.unwrap_err();
    assert_eq!(error.reason(), Some("KEY_STATEMENT_ROLLED_BACK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_statement_that_one_did_not_make_is_seen_in_ones_own_mailbox() {
    let (stage, _, safe_home) = Stage::ready().await;
    // Somebody has the signing key, and another state folder.
    let thief = stage.world.add_profile("thief", SAFE_HOME, &stage.hub.address, None, None).unwrap();
    let thief = Client::open_at(Profile::load(&thief).unwrap(), stage.clock.clone()).unwrap();
    thief.publish_key(Windows::default()).await.unwrap();
    let mut mailbox = open(&safe_home).await;
    let mut own = Vec::new();
    while own.len() < 2 {
        let received = mailbox.next_within(PATIENCE).await.unwrap().unwrap();
        mailbox.acknowledge(&received).unwrap();
        if let Received::KeyStatement(statement) = received {
            own.push((statement.statement.serial, statement.is_own));
        }
    }
    assert_eq!(own, [(1, true), (2, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_whose_key_is_lost_or_was_never_ours_is_not_readable_and_says_why() {
    let (_stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    let keys = safe_home.profile().state.join("keys");
    let mut removed = 0;
    for entry in walk(&keys) {
        if entry.extension().is_some_and(|extension| extension == "seed") {
            std::fs::remove_file(&entry).unwrap();
            removed += 1;
        }
    }
    assert_eq!(removed, 1);
    let signal = next_signal(&mut open(&safe_home).await).await;
    assert_eq!(signal.content.answer(), Some(wire::AnswerCode::UnreadableKey));
    assert!(matches!(signal.content, SignalContent::Unreadable { reason: "KEY_GONE", .. }));
    std::fs::remove_dir_all(&keys).unwrap();
    std::fs::create_dir_all(keys.join(safe_home.address().to_string().replace('/', "-"))).unwrap();
    send(&police).await;
    let mut mailbox = open(&safe_home).await;
    let signal = next_signal(&mut mailbox).await;
    assert!(matches!(signal.content, SignalContent::Unreadable { reason: "KEY_NOT_MINE", .. }));
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn private_keys_are_deleted_when_nothing_may_be_opened_with_them_any_more() {
    let (stage, _, safe_home) = Stage::ready().await;
    let day = Duration::from_secs(24 * 60 * 60);
    let windows = Windows { seal_from: None, seal_for: 10 * day, open_for: 5 * day };
    safe_home.publish_key(windows).await.unwrap();
    let keys = safe_home.sealing_keys();
    let listed = keys.list().unwrap();
    assert_eq!(listed.iter().map(|own| own.statement.serial).collect::<Vec<_>>(), [1, 2]);
    assert!(keys.delete_expired(stage.clock.now()).unwrap().is_empty());
    assert_eq!(keys.delete_expired(stage.clock.now() + 16 * day).unwrap(), [listed[1].digest]);
    let listed = keys.list().unwrap();
    assert_eq!(listed.iter().map(|own| own.has_private_key).collect::<Vec<_>>(), [true, false]);
    assert!(keys.private_key(&listed[1].digest).unwrap().is_none());
}
