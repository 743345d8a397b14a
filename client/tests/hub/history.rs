//! The log's history: one that is rewritten, shortened or forked is found out, with evidence, and nothing else is.

use seinpost_client::client::Client;
use seinpost_client::error::Kind;
use seinpost_client::keys::Windows;
use seinpost_client::profile::Profile;
use seinpost_client::receive::Received;
use seinpost_client::send::KeepCopy;
use seinpost_client::verify::ReceiptFile;
use seinpost_protocol::checkpoint::Seen;
use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::wire;

use crate::fake::{self, Hub, Lie};
use crate::{Check, POLICE, SAFE_HOME, Stage, TEXT, audit, fails, next, next_signal, open, outgoing, send, text_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_rewritten_is_found_out_with_evidence() {
    let (stage, police, _) = Stage::ready().await;
    police.checkpoint().await.unwrap();
    stage.hub.rewrite(4);
    let error = police.checkpoint().await.unwrap_err();
    assert_eq!(error.reason(), Some("LOG_FORK"));
    let folder = error.evidence().expect("evidence is saved");
    for file in ["pinned.checkpoint", "shown.checkpoint", "consistency.txt", "about.json"] {
        assert!(folder.join(file).exists(), "{file}");
    }
    // Nothing is sent on such a log, and the pin stays.
    let pin = police.pins().read().unwrap().pin();
    assert_eq!(police.send(&outgoing(), TEXT, &Check, KeepCopy::No).await.unwrap_err().kind(), Kind::NotVerified);
    assert_eq!(police.pins().read().unwrap().pin(), pin);
    assert_eq!(audit(&police).await.unwrap_err().reason(), Some("LOG_FORK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_shrank_is_found_out_with_evidence() {
    let (stage, police, safe_home) = Stage::ready().await;
    police.checkpoint().await.unwrap();
    safe_home.checkpoint().await.unwrap();
    stage.hub.forget_from(9);
    let error = police.checkpoint().await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotVerified);
    assert!(error.evidence().is_some(), "{error}");
    let error = fails(&mut open(&safe_home).await).await;
    assert!(error.evidence().is_some(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_was_cut_wrong_is_asked_for_again_before_anybody_is_accused() {
    let (stage, police, safe_home) = Stage::ready().await;
    stage.hub.lie(Lie::CutProofWrong);
    send(&police).await;
    assert_eq!(text_of(&*next_signal(&mut open(&safe_home).await).await), TEXT);
    assert!(!police.profile().state.join("evidence").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_shown_another_history_gives_it_away_by_what_it_signs() {
    let (stage, _, safe_home) = Stage::ready().await;
    // The same keys, another history: what the hub shows the police.
    let elsewhere = tempfile::tempdir().unwrap();
    let world = stage.world.copy_to(&elsewhere.path().join("world")).unwrap();
    let clock = stage.clock.clone();
    let branch = Hub::start(&world, move || clock.now()).await;
    let client =
        |name: &str| Client::open_at(Profile::load(&world.profile(name)).unwrap(), stage.clock.clone()).unwrap();
    let (police, double) = (client(POLICE), client(SAFE_HOME));
    for client in [&police, &double] {
        client.publish_certificate().await.unwrap();
        client.publish_key(Windows::default()).await.unwrap();
    }
    send(&police).await;
    let request = branch.log().leaves.iter().rev().find_map(fake::Leaf::submission).unwrap();
    // It reaches the safe home on its own branch.
    stage.hub.log().take(request).unwrap();
    let received = next(&mut open(&safe_home).await).await;
    let Received::Withheld(withheld) = received else {
        panic!("it must not be shown");
    };
    assert_eq!(withheld.error.reason(), Some("SEEN_FORK"), "{}", withheld.error);
    assert!(withheld.error.evidence().unwrap().join("peer.checkpoint").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_key_that_a_covenant_retires_signs_nothing_more_for_who_has_read_it() {
    let (stage, police, _) = Stage::ready().await;
    let receipt = ReceiptFile::read(&send(&police).await.receipt).unwrap();
    let seen = Seen::parse(stage.hub.log().checkpoint()).unwrap();
    let floor = Covenant::verify(stage.world.covenant(), &Trust::Floor(stage.hub_file().floor())).unwrap();
    let next = stage.world.covenant_after(
        floor.item(),
        |next| {
            (next.log_keys[0].until_size, next.log_keys[0].until_root) = (seen.size(), (*seen.root()).into());
            let ed25519 = seinpost_certs::key::Key::generate(seinpost_certs::key::KeyKind::Ed25519).unwrap();
            let ed25519 = bytes::Bytes::copy_from_slice(&ed25519.ed25519_public().unwrap());
            next.log_keys.push(wire::LogKey { ed25519, ..Default::default() });
        },
        &[0, 1],
    );
    police.checkpoint().await.unwrap();
    stage.hub.log().adopt(Covenant::verify(&next.unwrap(), &Trust::Last(&floor)).unwrap());
    police.refresh_covenant().await.unwrap();
    // The hub goes on under the old key, as whoever stole it would.
    assert_eq!(police.checkpoint().await.unwrap_err().reason(), Some("NOTE_UNKNOWN_KEY"));
    assert!(police.verify_receipt(&receipt).is_ok(), "what it signed before still counts");
}
