//! Contents that are not what their header promises: the hub cannot see it, so each recipient's client finds it out.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use bytes::Bytes;
use seinpost_client::client::Client;
use seinpost_client::content::draft::{self, Writer};
use seinpost_client::receive::{ReceivedSignal, SignalContent};
use seinpost_protocol::wire::{Advice, AnswerCode, DeliveryState, SignalType, SizeClass};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::{Forge, Open};
use seinpost_tests::harness::hand::{Secret, pad};
use seinpost_tests::harness::hub::Hub;
use serde_json::{Value as Json, json};

/// A hub, a sender that seals what it likes, and its recipient.
struct Scene {
    hub: Hub,
    police: Forge,
    safe_home: Client,
}

impl Scene {
    async fn set() -> Self {
        let hub = Hub::start().await;
        let safe_home = hub.client("safe-home-amsterdam").await;
        let police = Forge::of(&hub, "police-amsterdam").await;
        Self { hub, police, safe_home }
    }

    fn example(&self) -> Json {
        self.hub.example(SignalType::ExploitationSignal)
    }

    /// Begins a signal with any bytes for content.
    fn signal_of(&self, content: &[u8]) -> Open {
        let codes = |_: &str, _: &str| true;
        let draft = draft::parse(&self.example().to_string(), &codes, Writer { bsn_allowed: true }).unwrap();
        self.police.signal_of(&draft.outgoing, content, &[&self.safe_home])
    }

    /// Sends a signal, which the hub accepts, and returns what the recipient makes of it, after it answered.
    async fn sent(&self, sealed: seinpost_tests::harness::forge::Sealed) -> Box<ReceivedSignal> {
        let request = self.police.submission(sealed);
        self.police.submit(request).await.expect("the hub is blind, so it accepts");
        let mut mailbox = agency::mailbox(&self.safe_home).await.unwrap();
        loop {
            let signal = agency::next_signal(&mut mailbox).await.unwrap();
            if !signal.arrived.place.redelivered {
                agency::acknowledge(&self.safe_home, &signal).await.unwrap();
                return signal;
            }
        }
    }
}

/// Returns a content that is right, as bytes.
fn content(file: &Json) -> Bytes {
    let codes = |_: &str, _: &str| true;
    let draft = draft::parse(&file.to_string(), &codes, Writer { bsn_allowed: true }).unwrap();
    seinpost_client::content::encode(&draft.content)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_by_hand_from_the_text_of_the_format_opens() {
    let scene = Scene::set().await;
    let content = content(&scene.example());
    let (secret, padded) = (Secret([5; 32]), pad(&content, SizeClass::Kib4));
    let mut open = scene.signal_of(&content);
    open.header.content_commitment = secret.commitment(&padded).into();
    let signal = scene.sent(open.seal_by_hand(&[secret], &padded)).await;
    assert_eq!(agency::content(&signal)["subject"]["names"]["family"], scene.hub.canary());
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_text_than_the_header_commits_to_is_not_shown() {
    let scene = Scene::set().await;
    let content = content(&scene.example());
    let (secret, padded) = (Secret([5; 32]), pad(&content, SizeClass::Kib4));
    // Committed to with another content, with another secret, in another size class.
    let mut other = scene.example();
    other["content"]["subject"]["names"]["given"] = json!(["Iemand"]);
    let other = pad(&self::content(&other), SizeClass::Kib4);
    let long = pad(&content, SizeClass::Kib16);
    for commitment in [secret.commitment(&other), Secret([6; 32]).commitment(&padded), secret.commitment(&long)] {
        let mut open = scene.signal_of(&content);
        open.header.content_commitment = commitment.into();
        let signal = scene.sent(open.seal_by_hand(&[secret], &padded)).await;
        assert!(matches!(signal.content, SignalContent::Unreadable { .. }), "it is not shown");
        assert_eq!(signal.content.answer(), Some(AnswerCode::CommitmentMismatch));
    }
    // The sender hears it as its fault.
    let page = scene.police.client.items(&seinpost_client::status::Filter::default(), None).await.unwrap();
    assert_eq!(page.rows.len(), 3);
    assert!(page.rows.iter().all(|row| row.state() == DeliveryState::AnsweredWithFault));
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn padding_that_holds_anything_but_zeros_is_not_shown() {
    let scene = Scene::set().await;
    let content = content(&scene.example());
    let secret = Secret([5; 32]);
    let good = pad(&content, SizeClass::Kib4);
    // A second message behind the first; a length that points beyond the end; one that cuts the content short.
    let mut smuggled = good.clone();
    let last = smuggled.len() - 1;
    smuggled[last] = b'!';
    let mut beyond = good.clone();
    beyond[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut short = good;
    short[..4].copy_from_slice(&10_u32.to_be_bytes());
    for padded in [smuggled, beyond, short] {
        let mut open = scene.signal_of(&content);
        open.header.content_commitment = secret.commitment(&padded).into();
        let signal = scene.sent(open.seal_by_hand(&[secret], &padded)).await;
        assert!(matches!(signal.content, SignalContent::Unreadable { .. }), "it is not shown");
        assert_eq!(signal.content.answer(), Some(AnswerCode::CommitmentMismatch));
    }
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_cannot_show_two_recipients_two_texts() {
    let scene = Scene::set().await;
    let youth_care = scene.hub.client("youth-care-amsterdam").await;
    let mut file = scene.example();
    file["to"] = json!([
        { "function": "SAFE_HOME", "municipality": "0363", "legal_basis": "BPG_4_2_1_I" },
        { "function": "MUNICIPALITY_CARE_REPORTS", "municipality": "0363", "legal_basis": "BPG_4_2_1_I" },
    ]);
    let content = content(&file);
    let (first, second) = (Secret([5; 32]), Secret([6; 32]));
    let padded = pad(&content, SizeClass::Kib4);
    // There is one sealed content and one commitment. To the second recipient the sender wraps another secret, under
    // which it would read something else.
    let mut open = scene.police.signal(&file, &[&scene.safe_home, &youth_care]);
    open.header.content_commitment = first.commitment(&padded).into();
    let request = scene.police.submission(open.seal_by_hand(&[first, second], &padded));
    scene.police.submit(request).await.unwrap();

    let mut answers = Vec::new();
    for client in [&scene.safe_home, &youth_care] {
        let mut mailbox = agency::mailbox(client).await.unwrap();
        let signal = agency::next_signal(&mut mailbox).await.unwrap();
        answers.push(signal.content.answer().unwrap());
        agency::acknowledge(client, &signal).await.unwrap();
    }
    assert_eq!(answers, [AnswerCode::DeliveredReadable, AnswerCode::CommitmentMismatch]);
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_with_more_or_less_than_its_profile_or_no_content_at_all_is_answered_with_what_is_wrong() {
    let scene = Scene::set().await;
    let changed = |change: fn(&mut seinpost_protocol::wire::Content)| {
        let mut content = seinpost_protocol::content::decode(&content(&scene.example())).unwrap();
        change(&mut content);
        seinpost_client::content::encode(&content)
    };
    // A profile is the law's "at least" and "at most"; codes are of the covenant; bytes are a content's one encoding.
    let cases: Vec<(&str, Bytes, AnswerCode)> = vec![
        ("less than must be", changed(|content| content.observations.clear()), AnswerCode::ProfileViolation),
        (
            "more than may be",
            changed(|content| {
                content.advice = Some(Advice { answers: vec!["Doe niets.".into()], ..Default::default() });
            }),
            AnswerCode::ExcessData,
        ),
        (
            "a code that is none",
            changed(|content| content.observations[0].indicator = "ETHNICITY".into()),
            AnswerCode::ProfileViolation,
        ),
        ("no content", Bytes::from_static(b"Dit is geen signaal maar losse tekst."), AnswerCode::ProfileViolation),
        ("nothing", Bytes::new(), AnswerCode::ProfileViolation),
    ];
    for (what, bytes, answer) in cases {
        let signal = scene.sent(scene.signal_of(&bytes).seal()).await;
        assert_eq!(signal.content.answer(), Some(answer), "{what}");
    }
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_in_a_larger_class_than_it_needs_is_not_taken_for_another() {
    let scene = Scene::set().await;
    // Every size class is carried, and what fits in a smaller one is the sender's waste, not the hub's concern.
    for (class, bytes) in [
        (SizeClass::Kib16, 5_000),
        (SizeClass::Kib64, 20_000),
        (SizeClass::Kib256, 100_000),
        (SizeClass::Kib1024, 900_000),
    ] {
        let open = scene.signal_of(&vec![b'x'; bytes]);
        assert_eq!(open.header.size_class(), class);
        let signal = scene.sent(open.seal()).await;
        assert_eq!(
            signal.content.answer(),
            Some(AnswerCode::ProfileViolation),
            "{class:?}: it opened, and is no content"
        );
    }
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_does_not_open_is_told_to_the_sender_and_a_new_key_is_sealed_to() {
    let scene = Scene::set().await;
    // The safe home loses its private keys, as when a disk dies; what was sealed to them it can never open.
    let sent = agency::send(&scene.police.client, &scene.example()).await.unwrap();
    let state = &scene.safe_home.profile().state;
    let seeds: Vec<_> = walk(&state.join("keys"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "seed"))
        .collect();
    assert_eq!(seeds.len(), 1);
    std::fs::remove_file(&seeds[0]).unwrap();
    let mut mailbox = agency::mailbox(&scene.safe_home).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(signal.content.answer(), Some(AnswerCode::UnreadableKey));
    agency::acknowledge(&scene.safe_home, &signal).await.unwrap();
    drop(mailbox);

    scene.safe_home.publish_key(seinpost_client::keys::Windows::default()).await.unwrap();
    let mut again = scene.example();
    again["supersedes"] = json!(sent.digest.to_string());
    agency::send(&scene.police.client, &again).await.unwrap();
    let mut mailbox = agency::mailbox(&scene.safe_home).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(agency::content(&signal)["subject"]["names"]["family"], scene.hub.canary());
    scene.hub.end().await;
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}
