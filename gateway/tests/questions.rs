//! The order of questions about a submission: inputs that are wrong in two ways earn the earlier refusal.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Agency, Draft, Hub, new_id, now, reason, refused};
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::wire::{self, Function};
use tonic::Code;

/// One thing that is wrong with a submission, in the order in which it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    /// The header is not right by itself.
    Parse,
    /// It is signed for another function of the same town hall, or another agency.
    Peer,
    /// Its id was used for other bytes; said only to who holds the key.
    Known,
    /// It was signed too long ago.
    Age,
    /// Its certificate is not published.
    Certificate,
    /// Its signature is somebody's, not this item's.
    Signature,
    /// The content beside it is another.
    Beside,
    /// The checkpoint that it carries is not signed by the log.
    Seen,
    /// The covenant that it names was never adopted.
    Covenant,
    /// No rule permits its legal basis.
    Rule,
    /// The key statement that it is sealed to is nobody's; asked by the core.
    Key,
}

const ALL: [Wrong; 11] = [
    Wrong::Parse,
    Wrong::Peer,
    Wrong::Known,
    Wrong::Age,
    Wrong::Certificate,
    Wrong::Signature,
    Wrong::Beside,
    Wrong::Seen,
    Wrong::Covenant,
    Wrong::Rule,
    Wrong::Key,
];

impl Wrong {
    fn expected(self) -> (Code, &'static str) {
        match self {
            Self::Parse => (Code::InvalidArgument, "EXPIRES"),
            Self::Peer => (Code::PermissionDenied, "SIGNER_NOT_PEER"),
            Self::Known => (Code::AlreadyExists, "ALREADY_EXISTS"),
            Self::Age => (Code::FailedPrecondition, "ITEM_TOO_OLD"),
            Self::Certificate => (Code::InvalidArgument, "CERTIFICATE_UNKNOWN"),
            Self::Signature => (Code::InvalidArgument, "SIGNATURE"),
            Self::Beside => (Code::InvalidArgument, "CONTENT_SHA256"),
            Self::Seen => (Code::InvalidArgument, "NOTE_SIGNATURE"),
            Self::Covenant => (Code::FailedPrecondition, "COVENANT_UNKNOWN"),
            Self::Rule => (Code::FailedPrecondition, "BASIS"),
            Self::Key => (Code::FailedPrecondition, "KEY_UNKNOWN"),
        }
    }
}

/// Which of two faults is told. An id that was used before is told of only once the signature holds, so whatever lies
/// between that and the signature comes first; age is not asked of it at all.
fn told(first: Wrong, second: Wrong) -> Wrong {
    match (first, second) {
        (Wrong::Known, Wrong::Certificate | Wrong::Signature | Wrong::Beside) => second,
        (first, _) => first,
    }
}

struct Bench {
    police: Agency,
    home: Address,
    home_key: Digest,
    seen: Bytes,
    used: ItemId,
}

impl Bench {
    /// Makes a submission that is wrong in the given ways and in no other.
    fn submission(&self, wrongs: &[Wrong]) -> wire::SubmitRequest {
        let wrong = |wrong| wrongs.contains(&wrong);
        let mut draft = self.police.signal(&self.seen, self.home, self.home_key);
        if wrong(Wrong::Age) {
            let long_ago = now() - Duration::from_secs(31 * 86_400);
            let id = ItemId::new(long_ago, [7; 10]).to_string();
            draft.header.conversation.clone_from(&id);
            let signer = draft.signer();
            (signer.item_id, signer.signed_at) = (id, Some(long_ago.into()));
            draft.header.expires = Some((long_ago + Duration::from_secs(14 * 86_400)).into());
        }
        if wrong(Wrong::Known) {
            // An id's own time is the time at which it was used; what is too old has another.
            let id = if wrong(Wrong::Age) { new_id() } else { self.used };
            draft.signer().item_id = id.to_string();
            draft.header.conversation = id.to_string();
        }
        if wrong(Wrong::Parse) {
            draft.header.expires = draft.header.signer.as_ref().unwrap().signed_at;
        }
        if wrong(Wrong::Peer) {
            draft.signer().address.as_mut().unwrap().function = Function::PoliceTrafficking.into();
        }
        if wrong(Wrong::Certificate) {
            draft.signer().certificate_sha256 = Digest::of(b"no certificate").into();
        }
        if wrong(Wrong::Seen) {
            let note = String::from_utf8(self.seen.to_vec()).unwrap();
            let (size, rest) = note.strip_prefix(&format!("{}\n", common::ORIGIN)).unwrap().split_once('\n').unwrap();
            let other = format!("{}\n{}\n{rest}", common::ORIGIN, size.parse::<u64>().unwrap() - 1);
            draft.signer().seen_checkpoint = other.into();
        }
        if wrong(Wrong::Covenant) {
            draft.signer().covenant_digest = Digest::of(b"no covenant").into();
        }
        if wrong(Wrong::Rule) {
            draft.header.recipients[0].legal_basis = "WMO_4_1_1_3".to_owned();
        }
        if wrong(Wrong::Key) {
            draft.key_statements[0] = Digest::of(b"no statement");
        }
        self.finish(&draft, wrong(Wrong::Signature), wrong(Wrong::Beside))
    }

    fn finish(&self, draft: &Draft, signature: bool, beside: bool) -> wire::SubmitRequest {
        let mut request = self.police.finish(draft);
        if signature {
            let other = self.police.sign(seinpost_protocol::item::ItemType::Signal, b"something else".to_vec());
            request.item.as_mut().unwrap().signatures = other.signatures;
        }
        if beside {
            request.sealed_content = vec![0; common::CONTENT].into();
        }
        request
    }
}

async fn bench(hub: &Hub) -> Bench {
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let seen = police.seen().await;
    let mut draft = police.signal(&seen, home.address, home_key);
    let used = ItemId::try_from(draft.signer().item_id.as_str()).unwrap();
    police.submit(police.finish(&draft)).await.unwrap();
    Bench { police, home: home.address, home_key, seen, used }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_two_ways_earns_the_earlier_refusal() {
    let mut hub = Hub::start().await;
    let bench = bench(&hub).await;
    bench.police.submit(bench.submission(&[])).await.expect("the control: nothing is wrong");
    for (place, first) in ALL.into_iter().enumerate() {
        let (code, expected) = first.expected();
        let status = bench.police.submit(bench.submission(&[first])).await.expect_err(expected);
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{first:?} alone: {status}");
        for second in ALL.into_iter().skip(place + 1) {
            // What is too old cannot bear an id of today, so these two cannot be wrong together.
            if (first, second) == (Wrong::Known, Wrong::Age) {
                continue;
            }
            let (code, expected) = told(first, second).expected();
            let status = bench.police.submit(bench.submission(&[first, second])).await.expect_err(expected);
            let found = reason(&status);
            assert_eq!((status.code(), found.as_str()), (code, expected), "{first:?} and {second:?}: {status}");
        }
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_refuses_is_recorded_and_what_is_bad_by_itself_is_not() {
    let mut hub = Hub::start().await;
    let bench = bench(&hub).await;
    let auditor = hub.agency("auditor");
    let rejections = || async {
        let request = wire::ListRecordsRequest { from: 0, to: 0 };
        let stream = auditor.audit().list_records(request).await.unwrap().into_inner();
        let lines: Vec<_> = tokio_stream::StreamExt::collect::<Result<_, _>>(stream).await.unwrap();
        let records = lines
            .iter()
            .map(|line: &wire::ListRecordsResponse| seinpost_protocol::record::decode(line.record.clone()).unwrap());
        let reasons = records.filter_map(|record| match record.event {
            Some(wire::record::Event::SubmissionRejection(rejection)) => Some(rejection.reason),
            _ => None,
        });
        reasons.collect::<Vec<_>>()
    };
    for wrong in
        [Wrong::Parse, Wrong::Peer, Wrong::Age, Wrong::Certificate, Wrong::Signature, Wrong::Beside, Wrong::Seen]
    {
        bench.police.submit(bench.submission(&[wrong])).await.unwrap_err();
    }
    assert_eq!(rejections().await, Vec::<String>::new());
    for wrong in [Wrong::Covenant, Wrong::Rule, Wrong::Key] {
        bench.police.submit(bench.submission(&[wrong])).await.unwrap_err();
    }
    assert_eq!(rejections().await, ["COVENANT_UNKNOWN", "BASIS", "KEY_UNKNOWN"]);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_repeats_at_once_are_one_record_and_one_receipt() {
    let mut hub = Hub::start().await;
    let bench = bench(&hub).await;
    let request = bench.submission(&[]);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (police, request) = (bench.police.clone(), request.clone());
        calls.spawn(async move {
            loop {
                match police.submit(request.clone()).await {
                    Ok(receipt) => return receipt,
                    // Only what is unavailable may be tried again as it is; a full budget says when.
                    Err(status) => {
                        assert!(matches!(status.code(), Code::Unavailable | Code::ResourceExhausted), "{status}")
                    }
                }
            }
        });
    }
    let receipts = calls.join_all().await;
    assert!(receipts.iter().all(|receipt| receipt.record == receipts[0].record && receipt.salt == receipts[0].salt));
    // Another valid signature over the same payload is the same item; the first is kept.
    let mut again = request.clone();
    again.sealed_content = Bytes::new();
    assert_eq!(bench.police.submit(again).await.unwrap().record, receipts[0].record);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_earns_its_receipt_although_the_rules_have_changed() {
    let mut hub = Hub::start().await;
    let bench = bench(&hub).await;
    let request = bench.submission(&[]);
    let first = bench.police.submit(request.clone()).await.unwrap();
    hub.stop().await;
    // The next covenant permits nothing at all.
    let next = hub.world.covenant_after(hub.world.covenant(), |covenant| covenant.rules.clear(), &[0, 1]).unwrap();
    hub.world.save_covenant(&next).unwrap();
    hub.go().await.unwrap();
    let police = hub.agency("police-amsterdam");
    let again = police.submit(request).await.unwrap();
    assert_eq!((again.record, again.index), (first.record, first.index));
    let mut fresh = Bench { police: police.clone(), ..bench };
    fresh.seen = police.seen().await;
    // An older covenant named is no ground for refusal; the gateway judges by its own.
    refused(police.submit(fresh.submission(&[])).await, Code::FailedPrecondition, "NO_RULE");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_conversation_and_an_unknown_one_and_a_missing_route_are_one_answer() {
    let mut hub = Hub::start().await;
    let bench = bench(&hub).await;
    let unknown = new_id().to_string();
    let (prosecution, _) = hub.ready("prosecution-amsterdam").await;
    let mut draft = bench.police.signal(&bench.seen, bench.home, bench.home_key);
    draft.header.conversation.clone_from(&unknown);
    let mut messages = Vec::new();
    let status = bench.police.submit(bench.police.finish(&draft)).await;
    messages.push(refused(status, Code::FailedPrecondition, "NO_ROUTE").message().to_owned());
    // No route leads from Amsterdam to a safe home for Groningen.
    let mut draft = bench.police.signal(&bench.seen, bench.home, bench.home_key);
    draft.header.recipients[0].municipality = "0014".to_owned();
    let status = bench.police.submit(bench.police.finish(&draft)).await;
    messages.push(refused(status, Code::FailedPrecondition, "NO_ROUTE").message().to_owned());
    assert!(messages.iter().all(|message| *message == messages[0]), "{messages:?}");
    drop(prosecution);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_another_history_stops_intake_and_is_kept() {
    use ed25519_dalek::Signer as _;
    use ed25519_dalek::pkcs8::DecodePrivateKey as _;
    use seinpost_protocol::checkpoint::{Checkpoint, LogKey, note};

    let mut hub = Hub::start().await;
    let bench = bench(&hub).await;
    // The hub's own key, in the hands of whoever runs a second history.
    let pem = std::fs::read_to_string(hub.world.hub_folder().join("log.key")).unwrap();
    let der: Vec<u8> = {
        use base64::Engine as _;
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        base64::engine::general_purpose::STANDARD.decode(body).unwrap()
    };
    let key = ed25519_dalek::SigningKey::from_pkcs8_der(&der).unwrap();
    let public = LogKey::new(key.verifying_key().to_bytes());
    let forked = Checkpoint { origin: common::ORIGIN.to_owned(), size: 5, root: Digest::of(b"another history") };
    let signature = key.sign(forked.body().as_bytes()).to_bytes();
    let forked: Bytes = note(&forked, public.key_id(common::ORIGIN), &signature).into();

    let mut draft = bench.police.signal(&bench.seen, bench.home, bench.home_key);
    draft.signer().seen_checkpoint = forked.clone();
    refused(bench.police.submit(bench.police.finish(&draft)).await, Code::FailedPrecondition, "SEEN_FORK");
    let good = bench.submission(&[]);
    refused(bench.police.submit(good.clone()).await, Code::FailedPrecondition, "INTAKE_STOPPED");
    let evidence = hub.config().data.join("evidence");
    let kept: Vec<_> =
        std::fs::read_dir(&evidence).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(kept.iter().any(|note| *note == forked), "the evidence is kept");
    // Reading goes on, and a retry of what was taken earns its receipt.
    assert!(!bench.police.seen().await.is_empty());

    // A restart does not forget it; a person who moved the evidence away opens intake again.
    hub.stop().await;
    hub.go().await.unwrap();
    let police = hub.agency("police-amsterdam");
    refused(police.submit(good.clone()).await, Code::FailedPrecondition, "INTAKE_STOPPED");
    hub.stop().await;
    std::fs::remove_dir_all(&evidence).unwrap();
    hub.go().await.unwrap();
    hub.agency("police-amsterdam").submit(good.clone()).await.unwrap();
    hub.stop().await;
}
