//! What a gateway starts with, and what it refuses to start with.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use common::{Hub, at_last, now, refused};
use seinpost_gateway::clock::Clock;
use seinpost_gateway::serve::{NoStart, Options};
use seinpost_protocol::wire;
use tonic::Code;

/// Asserts that the gateway does not start, and that it says why.
#[track_caller]
fn no_start(started: Result<(), NoStart>, why: &str) {
    let cause = started.expect_err(why).to_string();
    assert!(cause.contains(why), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_covenant_is_adopted_once_and_never_goes_back() {
    let mut hub = Hub::start().await;
    hub.stop().await;
    let first = hub.world.covenant().clone();
    let next = hub.world.covenant_after(&first, |covenant| covenant.rules.truncate(10), &[0, 1]).unwrap();
    let file = hub.world.save_covenant(&next).unwrap();
    hub.go().await.unwrap();
    let police = hub.agency("police-amsterdam");
    let newest = police.covenants().get_covenant(wire::GetCovenantRequest { serial: 0 }).await.unwrap().into_inner();
    assert_eq!(newest.covenant.as_ref(), Some(&next));
    let older = police.covenants().get_covenant(wire::GetCovenantRequest { serial: 1 }).await.unwrap().into_inner();
    assert_eq!(older.covenant.as_ref(), Some(&first));
    hub.stop().await;
    // The same again is no news; the log holds one adoption of each.
    hub.go().await.unwrap();
    let auditor = hub.agency("auditor");
    let request = wire::ListRecordsRequest { from: 0, to: 0 };
    let stream = auditor.audit().list_records(request).await.unwrap().into_inner();
    let lines: Vec<_> = tokio_stream::StreamExt::collect::<Result<_, _>>(stream).await.unwrap();
    let count = |is: fn(&wire::record::Event) -> bool| {
        let records = lines
            .iter()
            .map(|line: &wire::ListRecordsResponse| seinpost_protocol::record::decode(line.record.clone()).unwrap());
        records.filter(|record| record.event.as_ref().is_some_and(is)).count()
    };
    assert_eq!(count(|event| matches!(event, wire::record::Event::CovenantAdopted(_))), 2);
    assert_eq!(count(|event| matches!(event, wire::record::Event::CrlAdopted(_))), 4);
    assert_eq!(count(|event| matches!(event, wire::record::Event::GatewayStarted(_))), 3);
    hub.stop().await;

    fs::remove_file(&file).unwrap();
    no_start(hub.go().await, "the newest covenant here has serial 1, but the log adopted 2 already");
    let other = hub.world.covenant_after(&first, |covenant| covenant.rules.truncate(11), &[0, 1]).unwrap();
    hub.world.save_covenant(&other).unwrap();
    no_start(hub.go().await, "the log adopted another covenant under serial 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_the_covenant_that_rules_while_the_next_waits_and_registrars_may_leave() {
    let mut hub = Hub::start().await;
    hub.stop().await;
    let first = hub.world.covenant().clone();
    // The first registrar signs the covenant with which he leaves; the other two are who is left.
    let begins = now() + Duration::from_secs(3600);
    let next = |covenant: &mut wire::Covenant| {
        covenant.registrars.remove(0);
        covenant.valid_from = Some(begins.into());
    };
    let waiting = hub.world.covenant_after(&first, next, &[0, 1, 2]).unwrap();
    hub.world.save_covenant(&waiting).unwrap();
    for _ in 0..2 {
        hub.go().await.unwrap();
        let police = hub.agency("police-amsterdam");
        for (serial, covenant) in [(0, &waiting), (1, &first)] {
            let request = wire::GetCovenantRequest { serial };
            let known = police.covenants().get_covenant(request).await.unwrap().into_inner();
            assert_eq!(known.covenant.as_ref(), Some(covenant));
        }
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_registrars_a_gap_a_fork_and_an_expired_one_are_refused() {
    for (signers, change, why) in [
        ([0].as_slice(), (|_: &mut wire::Covenant| {}) as fn(&mut wire::Covenant), "TOO_FEW"),
        (&[0, 1], |covenant| covenant.serial = 3, "SERIAL_GAP"),
        (&[0, 1], |covenant| covenant.previous_digest = vec![7; 32].into(), "PREVIOUS_DIGEST"),
        (&[0, 1], |covenant| covenant.serial = 1, "with other content than"),
        (
            &[0, 1],
            |covenant| covenant.valid_until = Some((now() - Duration::from_secs(3600)).into()),
            "no covenant is in force now",
        ),
    ] {
        let mut hub = Hub::made();
        let next = hub.world.covenant_after(hub.world.covenant(), change, signers).unwrap();
        let folder = hub.world.hub_folder().join("covenants");
        fs::write(folder.join("next.covenant"), prost::Message::encode_to_vec(&next)).unwrap();
        no_start(hub.go().await, why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_list_whose_number_falls_is_refused() {
    let mut hub = Hub::made();
    let crls = hub.world.hub_folder().join("crls");
    let older: Vec<_> = fs::read_dir(&crls).unwrap().map(|file| file.unwrap().path()).collect();
    let older: Vec<_> = older.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    let credentials = hub.world.good(wire::Use::Transport, now()).unwrap();
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(credentials.certificate_pem.as_bytes());
    let der: rustls::pki_types::CertificateDer<'_> = der.unwrap();
    hub.world.revoke(&der, now() - Duration::from_secs(60)).unwrap();
    hub.go().await.unwrap();
    hub.stop().await;
    for (bytes, path) in older {
        fs::write(path, bytes).unwrap();
    }
    no_start(hub.go().await, "numbers never fall");
    for file in fs::read_dir(&crls).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    no_start(hub.go().await, "there is no revocation list");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hubs_own_files_are_checked_and_all_faults_named_at_once() {
    let mut hub = Hub::made();
    let folder = hub.world.hub_folder();
    fs::set_permissions(folder.join("log.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(folder.join("tls/server.pem"), "no certificate").unwrap();
    let cause = hub.go().await.unwrap_err().to_string();
    assert!(cause.contains("log.key: others may read it") && cause.contains("tls.certificate:"), "{cause}");

    // A key of our own making is not the log's.
    let mut hub = Hub::made();
    let elsewhere = tempfile::tempdir().unwrap();
    seinpost_gateway::init::write(elsewhere.path(), common::ORIGIN).unwrap();
    fs::copy(elsewhere.path().join("log.key"), hub.world.hub_folder().join("log.key")).unwrap();
    no_start(hub.go().await, "is not among the log keys");

    // A participant's certificate does not make a hub.
    let mut hub = Hub::made();
    for file in ["tls.pem", "tls.key"] {
        let to = hub.world.hub_folder().join("tls").join(file.replace("tls", "server"));
        fs::copy(hub.world.identity_folder("shelter").join(file), to).unwrap();
    }
    no_start(hub.go().await, "but the covenant says that the hub's is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_in_doubt_takes_nothing_until_an_operator_confirms_it() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let seen = police.seen().await;
    let signal = police.finish(&police.signal(&seen, home.address, home_key));
    hub.stop().await;

    // The clock stands an hour before the last record.
    let early = || Options {
        clock: Some(Box::new(|last| Clock::by_hand(now() - Duration::from_secs(3600), last).0)),
        confirm_clock: false,
    };
    hub.go_with(hub.config(), early()).await.unwrap();
    let police = hub.agency("police-amsterdam");
    assert_eq!(police.seen().await, seen, "reading goes on, and nothing was recorded");
    refused(police.submit(signal.clone()).await, Code::Unavailable, "CLOCK_DOUBT");
    hub.stop().await;

    // Two days later; the operator says that this is right.
    hub.go_with(
        hub.config(),
        Options {
            clock: Some(Box::new(|last| Clock::by_hand(now() + Duration::from_secs(2 * 86_400), last).0)),
            confirm_clock: true,
        },
    )
    .await
    .unwrap();
    let police = hub.agency("police-amsterdam");
    police.submit(signal).await.unwrap();
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_revocation_list_alarms_first_and_closes_after_its_grace() {
    let mut hub = Hub::made();
    let validity = seinpost_certs::pki::Validity {
        from: now() - Duration::from_secs(7200),
        until: now() - Duration::from_secs(60),
    };
    hub.world.save_crls(validity).unwrap();
    // Overdue by a minute, within a day's grace: everything goes on.
    hub.go().await.unwrap();
    hub.ready("police-amsterdam").await;
    hub.stop().await;
    // Overdue for longer than a grace of a second: nobody's certificate has a known status any more.
    let config = seinpost_gateway::config::Config { crl_grace: Duration::from_secs(1), ..hub.config() };
    hub.go_with(config, Options::default()).await.unwrap();
    let police = hub.agency("police-amsterdam");
    let request = wire::GetCheckpointRequest { seen_size: 0 };
    at_last("the door closes", async || police.audit().get_checkpoint(request).await.err()).await;
    hub.stop().await;
}

fn gateway(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_seinpost-gateway")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_says_where_each_value_came_from_and_names_every_fault() {
    let hub = Hub::made();
    let file = hub.world.gateway_config();
    let (code, out, err) = gateway(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(&format!("log.origin = \"{}\"  (from {})", common::ORIGIN, file.display())), "{out}");
    assert!(out.contains("limits.handshakes = 256  (from the default)"), "{out}");

    let text = fs::read_to_string(&file).unwrap().replace("data = \"data\"", "dta = \"data\"\nreflection = 7");
    fs::write(&file, text).unwrap();
    let (code, _, err) = gateway(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(err.contains("dta: unknown key; did you mean data?") && err.contains("reflection:"), "{err}");
    let (code, _, err) = gateway(&["serve", "--config", "/nowhere/gateway.toml"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("seinpost-gateway init"), "{err}");
}

#[test]
fn init_writes_what_check_then_asks_to_complete() {
    let folder = tempfile::tempdir().unwrap();
    let hub = folder.path().join("hub");
    let (code, out, err) = gateway(&["init", "--dir", hub.to_str().unwrap(), "--origin", "seinpost.test/new"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("origin = seinpost.test/new") && out.contains("vkey = seinpost.test/new+"), "{out}");
    let (code, _, err) = gateway(&["init", "--dir", hub.to_str().unwrap(), "--origin", "seinpost.test/new"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("is there already"), "{err}");
    let (code, _, err) = gateway(&["check", "--config", hub.join("gateway.toml").to_str().unwrap()]);
    assert_eq!(code, Some(2));
    for missing in ["covenant.hub", "tls.certificate", "tls.key"] {
        assert!(err.contains(missing), "{err}");
    }
}
