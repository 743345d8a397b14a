//! What the hub itself records: covenants, certificates, revocation lists, starts, looks.

use seinpost_core::command::{Command, NewCertificate, NewCrl};
use seinpost_core::decide::Answer;
use seinpost_core::event::{Audience, Retention, What};
use seinpost_core::refusal::Refusal;
use seinpost_protocol::certificate::CrlNumber;
use seinpost_protocol::digest::Digest;

use crate::harness::*;

fn recorded_by(command: Command, audience: Audience, retention: Retention) -> What {
    let when = given([]).when(Step::now(command));
    let [event] = when.decision.events.try_into().unwrap();
    assert_eq!((event.audience, event.retention), (audience, retention));
    assert_eq!((event.mailbox, event.conversation), (None, None));
    event.what
}

#[test]
fn a_start_is_recorded_for_all() {
    let what = recorded_by(
        Command::Start { software: "seinpost-gateway 0.1.0".to_owned() },
        Audience::All,
        Retention::Permanent,
    );
    assert_eq!(what, What::GatewayStarted { software: "seinpost-gateway 0.1.0".to_owned() });
}

#[test]
fn a_look_is_recorded_for_oversight() {
    let command = Command::Access { who: Police.address(), call: "/call".to_owned(), filter: "é".repeat(300) };
    let what = recorded_by(command, Audience::Oversight, Retention::TrafficSixMonths);
    assert_eq!(what, What::Access { who: Police.address(), call: "/call".to_owned(), filter: "é".repeat(256) });
}

#[test]
fn a_confirmed_clock_is_recorded_with_the_time_of_the_last_record() {
    let what = recorded_by(Command::ConfirmClock, Audience::Oversight, Retention::Permanent);
    assert_eq!(what, What::ClockConfirmed { last_record: start() });
}

#[test]
fn before_the_first_covenant_nothing_but_it_is_recorded() {
    nothing()
        .when(Step::now(Command::Start { software: "x".to_owned() }))
        .refused_unrecorded(Refusal::NoCovenant)
        .when(tick())
        .refused_unrecorded(Refusal::NoCovenant);
    let first = nothing().when(covenant(7));
    assert_eq!(first.decision.events[0].covenant, covenant_digest(7), "it is recorded under itself");
}

#[test]
fn a_covenant_is_adopted_once_per_serial() {
    let story = given([]).when(covenant(1));
    assert_eq!(story.decision.answer, Answer::Already { index: 0 });
    let story = story.then([]).when(covenant(2));
    assert_eq!(story.decision.events[0].covenant, covenant_digest(1), "until it is applied the old one rules");
    let story = story.story.when(covenant(1));
    assert_eq!(story.decision.answer, Answer::Already { index: 0 });
    story.then([]).when(covenant(4)).refused_unrecorded(Refusal::CovenantSerial);
}

#[test]
fn another_covenant_under_a_known_serial_is_a_fork() {
    let mut fork = covenant(1);
    if let Command::AdoptCovenant(covenant) = &mut fork.command {
        covenant.digest = covenant_digest(99);
    }
    given([]).when(fork).refused_unrecorded(Refusal::CovenantFork);
}

fn certificate(number: u8, who: Who) -> Step {
    Step::now(Command::PublishCertificate(NewCertificate {
        oin: who.address().oin,
        leaf: Digest::of(&[number]),
        chain: vec![Digest::of(b"issuer")],
        spki: Digest::of(&[number, number]),
        not_after: start() + 10 * DAY,
        crls: Vec::new(),
    }))
}

fn with_certificate(mut step: Step, change: impl FnOnce(&mut NewCertificate)) -> Step {
    match &mut step.command {
        Command::PublishCertificate(certificate) => change(certificate),
        _ => panic!("a certificate is spoken of"),
    }
    step
}

#[test]
fn a_certificate_is_published_once() {
    let story = given([certificate(1, Police)]);
    let known = story.state().certificate(&Digest::of(&[1])).copied().unwrap();
    assert_eq!(known.oin, Police.address().oin);
    // The first chain is kept.
    let again = with_certificate(certificate(1, Police), |certificate| certificate.chain.clear());
    let again = story.when(again);
    assert_eq!(again.decision.answer, Answer::Already { index: known.index });
}

#[test]
fn an_expired_certificate_is_not_published() {
    given([]).when(certificate(1, Police).after(10 * DAY)).refused_unrecorded(Refusal::CertificateExpired);
}

#[test]
fn one_public_key_serves_one_organisation() {
    let same_key = |who| with_certificate(certificate(2, who), |certificate| certificate.spki = Digest::of(&[1, 1]));
    given([certificate(1, Police)]).when(same_key(SafeHome)).refused_unrecorded(Refusal::CertificateKey);
    let renewed = given([certificate(1, Police)]).when(same_key(Police));
    assert!(matches!(renewed.decision.answer, Answer::Recorded { .. }), "a renewal keeps its key");
}

#[test]
fn an_organisation_has_at_most_sixteen_live_certificates() {
    let full = given((0..16).map(|number| certificate(number, Police)));
    let full = full.when(certificate(16, Police)).refused_unrecorded(Refusal::CertificateMax);
    let other = full.when(certificate(17, SafeHome));
    assert!(matches!(other.decision.answer, Answer::Recorded { .. }));
    let later = with_certificate(certificate(16, Police), |certificate| certificate.not_after = start() + 20 * DAY);
    let later = other.story.when(later.after(10 * DAY));
    assert!(matches!(later.decision.answer, Answer::Recorded { .. }), "those that ended make room");
    assert!(later.story.state().certificate(&Digest::of(&[0])).is_none());
}

fn crl(number: &[u8], sha256: &str) -> Step {
    Step::now(Command::AdoptCrl(NewCrl {
        issuer: Digest::of(b"issuer"),
        number: CrlNumber::try_from(number).unwrap(),
        this_update: start(),
        next_update: start() + DAY,
        sha256: Digest::of(sha256.as_bytes()),
    }))
}

#[test]
fn the_number_of_a_revocation_list_never_falls() {
    let story = given([crl(&[9], "nine")]);
    // Numbers are compared as numbers: 256 is more than 9, whatever the bytes say one by one.
    let story = story.when(crl(&[1, 0], "256"));
    assert!(matches!(story.decision.answer, Answer::Recorded { .. }));
    let story = story.story.when(crl(&[255], "255")).refused_unrecorded(Refusal::CrlNumber);
    let story = story.when(crl(&[9], "nine")).refused_unrecorded(Refusal::CrlNumber);
    let story = story.when(crl(&[1, 0], "another 256")).refused_unrecorded(Refusal::CrlFork);
    let again = story.when(crl(&[1, 0], "256"));
    assert!(matches!(again.decision.answer, Answer::Already { .. }));
    let newest: Vec<_> = again.story.state().newest_crls().map(|(_, crl)| crl.sha256).collect();
    assert_eq!(newest, [Digest::of(b"256")]);
}

#[test]
fn every_refusal_has_its_own_reason_in_upper_snake() {
    let reasons: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.reason()).collect();
    assert_eq!(reasons.len(), Refusal::ALL.len());
    for reason in reasons {
        assert!(reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{reason}");
    }
}
