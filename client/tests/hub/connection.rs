//! With whom an agency speaks: the hub and nobody else, by a covenant that is in force and never an older one.

use std::sync::atomic::Ordering;

use seinpost_certs::world::Wrong;
use seinpost_client::client::Client;
use seinpost_client::error::Kind;
use seinpost_client::profile::Profile;
use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::wire;

use crate::fake::{Hub, Lie};
use crate::{POLICE, SAFE_HOME, Stage, clock, made, outgoing, start};

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_bear_the_hubs_oin_is_not_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock(&start());
    let world = made().1.copy_to(&folder.path().join("world")).unwrap();
    let other = world.identity_folder("youth-care-amsterdam");
    let now = clock.clone();
    let _hub = Hub::start_as(&world, move || now.now(), &other.join("tls.pem"), &other.join("tls.key")).await;
    let client = Client::open_at(Profile::load(&world.profile(POLICE)).unwrap(), clock).unwrap();
    let error = client.refresh_covenant().await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (Kind::NotVerified, Some("NOT_THE_HUB")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_gateway_does_not_take_is_not_allowed_and_no_gateway_is_unreachable() {
    let stage = Stage::new().await;
    let wrong = stage.world.wrong(wire::Use::Transport, Wrong::ForeignAuthority, stage.clock.now()).unwrap();
    let profile =
        stage.world.add_profile("stranger", "certified-institution", &stage.hub.address, Some(&wrong), None).unwrap();
    let client = Client::open_at(Profile::load(&profile).unwrap(), stage.clock.clone()).unwrap();
    let error = client.refresh_covenant().await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotAllowed, "{error}");

    stage.world.point_profiles_at("127.0.0.1:1").unwrap();
    let error = stage.client(POLICE).refresh_covenant().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn covenants_are_walked_serial_by_serial_and_never_back() {
    let (stage, police, _) = Stage::ready().await;
    let floor = Covenant::verify(stage.world.covenant(), &Trust::Floor(stage.hub_file().floor())).unwrap();
    let mut last = floor.clone();
    for name in ["second", "third"] {
        let item =
            stage.world.covenant_after(last.item(), |next| next.participants[0].name = name.into(), &[0, 2]).unwrap();
        last = Covenant::verify(&item, &Trust::Last(&last)).unwrap();
        stage.hub.log().adopt(last.clone());
    }
    assert_eq!(police.refresh_covenant().await.unwrap().serial(), 3);
    assert_eq!(stage.client(POLICE).covenant().unwrap().serial(), 3, "kept, and verified when it is loaded");

    stage.hub.lie(Lie::OldCovenant);
    let error = police.refresh_covenant().await.unwrap_err();
    assert_eq!(error.reason(), Some("COVENANT_ROLLED_BACK"));
    assert!(error.evidence().is_some());
    stage.hub.repent();

    // Two registrars signed another third one: only evidence can say so.
    let second =
        stage.world.covenant_after(floor.item(), |next| next.participants[0].name = "second".into(), &[0, 2]).unwrap();
    let second = Covenant::verify(&second, &Trust::Last(&floor)).unwrap();
    let other =
        stage.world.covenant_after(second.item(), |next| next.participants[0].name = "evil".into(), &[1, 2]).unwrap();
    stage.hub.log().adopt(Covenant::verify(&other, &Trust::Last(&second)).unwrap());
    let error = police.refresh_covenant().await.unwrap_err();
    assert_eq!(error.reason(), Some("COVENANT_FORK"));
    assert!(error.evidence().unwrap().join("shown.covenant").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_covenant_rules_nothing_and_one_that_is_long_over_starts_no_walk() {
    let (stage, police, _) = Stage::ready().await;
    let day = 24 * 60 * 60 * 1000;
    stage.millis.fetch_add(101 * day, Ordering::Relaxed);
    let error = police.plan(&outgoing()).await.err().expect("the covenant is over");
    assert_eq!(error.reason(), Some("COVENANT_EXPIRED"));
    stage.millis.fetch_add(30 * day, Ordering::Relaxed);
    assert_eq!(police.refresh_covenant().await.unwrap_err().reason(), Some("COVENANT_START_TOO_OLD"));
    // By the hub file alone neither.
    assert_eq!(stage.client(SAFE_HOME).refresh_covenant().await.unwrap_err().reason(), Some("COVENANT_START_TOO_OLD"));
}
