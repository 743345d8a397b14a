//! Starting again: after an orderly end, after damage, on an older copy, with another clock; and what clients say to it.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use seinpost_client::client::Client;
use seinpost_client::clock::Clock;
use seinpost_client::error::{Error, Kind};
use seinpost_client::receive::Received;
use seinpost_client::send::Submitted;
use seinpost_client::status::Which;
use seinpost_client::verify::{Proven, ReceiptFile};
use seinpost_gateway::fault::Fault;
use seinpost_gateway::serve::{NoStart, Options};
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::{self, DeliveryState, SignalType};
use seinpost_rpc::covenant_service_client::CovenantServiceClient;
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::Forge;
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::patience::at_last;
use seinpost_tests::harness::raw::{self, reason};
use seinpost_tests::harness::world::{copy_folder, now};
use tonic::Code;

async fn send(hub: &Hub, client: &Client) -> Submitted {
    agency::send(client, &hub.example(SignalType::ExploitationSignal)).await.unwrap()
}

fn put_back(copied: &Path, to: &Path) {
    if to.is_dir() {
        fs::remove_dir_all(to).unwrap();
    }
    if copied.is_dir() { copy_folder(copied, to) } else { fs::copy(copied, to).map(|_| ()).unwrap() }
}

/// The journal's segments in their order.
fn segments(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = entries.filter(|path| path.file_name().unwrap() != "next").collect();
    segments.sort();
    assert!(!segments.is_empty());
    segments
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_again_after_a_restart() {
    let mut hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    let answered = send(&hub, &police).await;
    let waiting = send(&hub, &police).await;
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    agency::acknowledge(&safe_home, &signal).await.unwrap();
    drop(mailbox);
    hub.restart().await;

    let (police, safe_home) = (hub.open("police-amsterdam"), hub.open("safe-home-amsterdam"));
    for (submitted, answered) in [(&answered, true), (&waiting, false)] {
        let shown = police.item(Which::Id(submitted.id)).await.unwrap();
        assert_eq!(shown.recipients[0].state == DeliveryState::Answered, answered);
        let verdict = police.verify_receipt_online(&ReceiptFile::read(&submitted.receipt).unwrap()).await.unwrap();
        assert!(verdict.proven.contains(&Proven::PinnedHistory));
    }
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    assert_eq!(agency::next_signal(&mut mailbox).await.unwrap().arrived.item.digest(), waiting.digest);
    send(&hub, &police).await;
    let report = hub.open("auditor").audit(&mut |_| {}).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_told_to_stop_answers_what_it_took_and_takes_nothing_else() {
    let mut hub = Hub::start().await;
    hub.keep_address();
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = Forge::of(&hub, "police-amsterdam").await;
    let example = hub.example(SignalType::ExploitationSignal);
    let requests: Vec<_> = (0..60).map(|_| police.submission(police.signal(&example, &[&safe_home]).seal())).collect();
    // They are under way when it is told: the first was answered, and the others were sent with it.
    let first = tokio::sync::Notify::new();
    let submitting = join_all(requests.iter().map(async |request| {
        let answer = police.submit(request.clone()).await;
        first.notify_one();
        answer
    }));
    let stopping = async {
        first.notified().await;
        hub.stop().await;
    };
    let (answers, ()) = tokio::join!(submitting, stopping);
    hub.serve().await;

    let police = Forge::of(&hub, "police-amsterdam").await;
    for (request, answer) in requests.into_iter().zip(answers) {
        let again = police.submit(request).await.unwrap().receipt.unwrap();
        match answer {
            // What was receipted is there, at its place.
            Ok(first) => assert_eq!(first.receipt.unwrap().index, again.index),
            // It ends, it has ended, or the machine is so slow that the call's time was over.
            Err(status) => {
                let is_end = [Code::Unavailable, Code::DeadlineExceeded].contains(&status.code());
                assert!(is_end || reason(&status).is_empty(), "{status:?}");
            }
        }
    }
    let signals = agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
    assert_eq!(signals.iter().filter(|received| matches!(received, Received::Signal(_))).count(), 60, "each once");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_deleted_is_rebuilt_from_the_journal() {
    let mut hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    let submitted = send(&hub, &police).await;
    hub.stop().await;
    fs::remove_dir_all(hub.data().join("store")).unwrap();
    hub.serve().await;

    let (police, safe_home) = (hub.open("police-amsterdam"), {
        drop(safe_home);
        hub.open("safe-home-amsterdam")
    });
    let shown = police.item(Which::Digest(submitted.digest)).await.unwrap();
    assert!(shown.is_verified);
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(agency::content(&signal)["subject"]["names"]["family"], hub.canary());
    agency::acknowledge(&safe_home, &signal).await.unwrap();
    let report = hub.open("auditor").audit(&mut |_| {}).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_torn_end_of_a_write_that_nobody_was_told_of_is_wiped_and_the_log_goes_on() {
    let mut hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    let kept = send(&hub, &police).await;
    hub.stop().await;
    let (data, before) = (hub.data(), hub.scratch().join("before"));
    copy_folder(&data, &before);
    // What the next commits would have written, of which the first half reaches the disk.
    let last = segments(&data).pop().unwrap();
    let old = fs::read(&last).unwrap();
    hub.serve().await;
    hub.stop().await;
    let new = fs::read(&last).unwrap();
    let first = old.iter().zip(&new).position(|(old, new)| old != new).expect("a start writes a frame");
    let end = new.len() - new.iter().rev().position(|byte| *byte != 0).unwrap();
    put_back(&before, &data);
    let mut torn = old;
    let half = first + (end - first) / 2;
    torn[first..half].copy_from_slice(&new[first..half]);
    fs::write(&last, torn).unwrap();
    hub.serve().await;

    let shown = hub.open("police-amsterdam").item(Which::Digest(kept.digest)).await.unwrap();
    assert!(shown.is_verified);
    let more = send(&hub, &hub.open("police-amsterdam")).await;
    let received = agency::read_all(&safe_home_again(&hub, safe_home)).await.unwrap();
    let digests: Vec<_> = received
        .iter()
        .filter_map(|received| match received {
            Received::Signal(signal) => Some(signal.arrived.item.digest()),
            _ => None,
        })
        .collect();
    assert_eq!(digests, [kept.digest, more.digest]);
    hub.end().await;
}

/// The same agency at the port where the gateway is now.
fn safe_home_again(hub: &Hub, before: Client) -> Client {
    drop(before);
    hub.open("safe-home-amsterdam")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_damaged_in_the_middle_is_no_torn_end_and_keeps_the_gateway_from_starting() {
    let mut hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    for _ in 0..3 {
        send(&hub, &police).await;
    }
    drop(safe_home);
    hub.stop().await;
    let segment = segments(&hub.data()).remove(0);
    let whole = fs::read(&segment).unwrap();
    let end = whole.len() - whole.iter().rev().position(|byte| *byte != 0).unwrap();
    for place in [end / 4, end / 2, end * 3 / 4] {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        fs::write(&segment, &damaged).unwrap();
        // With the store at hand and without it: it is found when the journal is read.
        let _ = fs::remove_dir_all(hub.data().join("store"));
        let refused = hub.try_serve(Options::default()).await.unwrap_err();
        match &refused {
            NoStart::Data(Fault::Damage { path, offset, .. }) => {
                assert_eq!(path, &segment);
                assert!(*offset <= place as u64, "{offset} is named, {place} is damaged");
            }
            other => panic!("{other}"),
        }
    }
    fs::write(&segment, whole).unwrap();
    hub.serve().await;
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_journal_under_a_newer_head_is_refused_and_both_sizes_are_named() {
    let mut hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    let older = police.checkpoint().await.unwrap().pin.size;
    hub.stop().await;
    let (data, before) = (hub.data(), hub.scratch().join("before"));
    copy_folder(&data, &before);
    hub.serve().await;
    send(&hub, &hub.open("police-amsterdam")).await;
    drop(safe_home);
    hub.stop().await;

    // The journal alone, and the journal with its store: the head file knows better.
    for parts in [&["journal"][..], &["journal", "store"][..]] {
        for part in parts {
            put_back(&before.join(part), &data.join(part));
        }
        let refused = hub.try_serve(Options::default()).await.unwrap_err();
        match &refused {
            NoStart::Data(Fault::Shorter { journal, head }) => {
                assert!(*journal >= older && head > journal, "{refused}");
                for size in [journal, head] {
                    assert!(refused.to_string().contains(&size.to_string()), "{refused}");
                }
            }
            other => panic!("{other}"),
        }
    }
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_everything_starts_and_every_client_that_saw_more_convicts_it() {
    let mut hub = Hub::start().await;
    for identity in ["safe-home-amsterdam", "police-amsterdam"] {
        hub.client(identity).await;
    }
    hub.stop().await;
    let (data, before) = (hub.data(), hub.scratch().join("before"));
    copy_folder(&data, &before);
    hub.serve().await;
    let submitted = send(&hub, &hub.open("police-amsterdam")).await;
    agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
    hub.open("auditor").audit(&mut |_| {}).await.unwrap();
    let mut youth_care = Forge::of(&hub, "youth-care-amsterdam").await;
    hub.stop().await;
    put_back(&before, &data);
    hub.serve().await;

    let convicts = |error: &Error, what: &str| {
        assert_eq!(error.kind(), Kind::NotVerified, "{what}: {error}");
        let reasons = ["LOG_SHRANK", "LOG_FORK", "SMALLER_TREE"];
        assert!(error.reason().is_some_and(|reason| reasons.contains(&reason)), "{what}: {error}");
        let evidence = error.evidence().unwrap_or_else(|| panic!("{what}: no evidence: {error}"));
        for name in ["about.json", "pinned.checkpoint", "shown.checkpoint"] {
            assert!(fs::metadata(evidence.join(name)).unwrap().len() > 0, "{what}: {name}");
        }
    };
    let example = hub.example(SignalType::ExploitationSignal);
    convicts(&agency::send(&hub.open("police-amsterdam"), &example).await.unwrap_err(), "send");
    convicts(&hub.open("police-amsterdam").checkpoint().await.unwrap_err(), "checkpoint");
    convicts(&agency::read_all(&hub.open("safe-home-amsterdam")).await.err().unwrap(), "receive");
    convicts(&hub.open("auditor").audit(&mut |_| {}).await.unwrap_err(), "audit verify");
    let error = hub.open("police-amsterdam").item(Which::Id(submitted.id)).await.err().unwrap();
    // The hub does not know the item; a client that only heard "not found" would believe it.
    convicts(&error, "status");

    // The gateway itself is convicted by the first item of somebody who saw more: it keeps what its own key signed, and
    // takes nothing from anybody. (Here a person looks, and lets it go on all the same.)
    youth_care.channel = raw::channel(hub.address(), &hub.credentials("youth-care-amsterdam"));
    let chain = youth_care.client.identity().chain();
    let certificate =
        wire::PublishCertificateRequest { leaf: chain.leaf.der().clone(), chain: chain.above.clone(), seen_size: 0 };
    let mut service = CovenantServiceClient::new(youth_care.channel.clone());
    service.publish_certificate(certificate).await.unwrap();
    let mut question = hub.example(SignalType::Consultation);
    question["to"][0] =
        serde_json::json!({ "function": "SAFE_HOME", "municipality": "0363", "legal_basis": "NO_PERSON" });
    let signal = youth_care.signal(&question, &[&hub.open("safe-home-amsterdam")]);
    let status = youth_care.send(signal).await.unwrap_err();
    assert_eq!(reason(&status), "SEEN_FORK", "{status:?}");
    assert!(fs::read_dir(data.join("evidence")).unwrap().count() > 0);
    hub.stop().await;
    fs::rename(data.join("evidence"), hub.scratch().join("evidence")).unwrap();
    hub.serve().await;

    // It grows until it is longer than what was seen: the sizes say nothing now, the roots do.
    let newcomer = hub.client("prosecution-amsterdam").await;
    let mut consultation = hub.example(SignalType::Consultation);
    consultation["to"][0]["municipality"] = "0363".into();
    while newcomer.checkpoint().await.unwrap().pin.size < hub.open("auditor").pins().read().unwrap().pin().size + 4 {
        agency::send(&newcomer, &consultation).await.unwrap();
    }
    convicts(&agency::send(&hub.open("police-amsterdam"), &example).await.unwrap_err(), "send, later");
    convicts(&agency::read_all(&hub.open("safe-home-amsterdam")).await.err().unwrap(), "receive, later");
    convicts(&hub.open("auditor").audit(&mut |_| {}).await.unwrap_err(), "audit verify, later");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_a_day_ahead_records_nothing_and_expires_nothing() {
    jump(|begin| begin + DAY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_steps_an_hour_back_records_nothing_and_expires_nothing() {
    jump(|begin| begin - DAY / 24).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_says_2100_records_nothing_and_expires_nothing() {
    jump(|_| Timestamp::LAST).await;
}

const DAY: Duration = Duration::from_secs(86_400);

/// Lets the gateway's clock jump while it serves.
async fn jump(to: impl Fn(Timestamp) -> Timestamp) {
    let mut hub = Hub::prepare();
    let begin = now();
    let hand = hub.serve_with_clock(begin).await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    let submitted = send(&hub, &police).await;
    let before = police.checkpoint().await.unwrap().pin.size;

    let forge = Forge::of(&hub, "police-amsterdam").await;
    let signal = forge.signal(&hub.example(SignalType::ExploitationSignal), &[&safe_home]);
    let request = forge.submission(signal.seal());

    hand.set(to(begin));
    // Nothing is taken, and nothing is refused for good: the same item comes again when the clock is right. By a clock that
    // is beyond every certificate nobody is even let that far.
    let doubted = forge.submit(request.clone()).await.unwrap_err();
    if to(begin) != Timestamp::LAST {
        assert_eq!((doubted.code(), reason(&doubted).as_str()), (Code::Unavailable, "CLOCK_DOUBT"));
    }
    // Several ticks pass, each of which could expire something; and a clock that comes back by itself is not trusted for it.
    hub.ticked(3).await;
    hand.set(begin);
    // A connection that was cut meanwhile says nothing; the next one does.
    let says_why = async || Some(forge.submit(request.clone()).await.unwrap_err()).filter(|no| !reason(no).is_empty());
    let doubted = at_last("the gateway says why it takes nothing", says_why).await;
    assert_eq!((doubted.code(), reason(&doubted).as_str()), (Code::Unavailable, "CLOCK_DOUBT"));
    // What is there can be read, and is as it was.
    let shown = police.item(Which::Id(submitted.id)).await.unwrap();
    assert_eq!(shown.recipients[0].state, DeliveryState::Accepted);
    assert_eq!(police.checkpoint().await.unwrap().pin.size, before, "nothing was recorded");

    // With the right clock it starts, and the item that was not taken is taken.
    hub.stop().await;
    hub.serve().await;
    let forge = Forge::of(&hub, "police-amsterdam").await;
    forge.submit(request).await.unwrap();
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_down_for_long_or_wakes_before_its_last_record_waits_for_the_operators_word() {
    let mut hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    send(&hub, &police).await;
    drop((safe_home, police));
    hub.stop().await;
    let begin = now();
    for (what, at) in [("two days later", begin + 2 * DAY), ("an hour before", begin - DAY / 24)] {
        drop(hub.serve_with_clock(at).await);
        let forge = Forge::of(&hub, "police-amsterdam").await;
        let by_hub = async |forge: &Forge| {
            let mut signal =
                forge.signal(&hub.example(SignalType::ExploitationSignal), &[&hub.open("safe-home-amsterdam")]);
            let signer = forge.signer_at(at.max(begin));
            signal.header.conversation = signer.item_id.clone();
            signal.header.signer = Some(signer);
            signal.header.expires = Some((at.max(begin) + 14 * DAY).into());
            forge.send(signal).await
        };
        let doubted = by_hub(&forge).await.unwrap_err();
        assert_eq!((doubted.code(), reason(&doubted).as_str()), (Code::Unavailable, "CLOCK_DOUBT"), "{what}");
        hub.stop().await;
    }
    // Two days later, and the operator confirms: it goes on, and the confirmation is in the log.
    hub.serve_with_confirmed_clock(begin + 2 * DAY).await;
    let forge = Forge::of(&hub, "police-amsterdam").await;
    let mut signal = forge.signal(&hub.example(SignalType::ExploitationSignal), &[&hub.open("safe-home-amsterdam")]);
    let signer = forge.signer_at(begin + 2 * DAY);
    signal.header.conversation = signer.item_id.clone();
    signal.header.signer = Some(signer);
    forge.send(signal).await.unwrap();
    let report =
        hub.open_with_clock("auditor", Clock::from_fn(move || begin + 2 * DAY)).audit(&mut |_| {}).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    assert_eq!(report.events.get(&EventKind::ClockConfirmed), Some(&1));
    hub.end().await;
}
