//! The client against a hub that tells the truth, and against the same hub as it lies, over real TLS.
//!
//! What is tested is what the client promises: what it sends is explained before it leaves and proven after; what it
//! receives is verified or withheld; and a hub that rewrites, forgets, withholds or contradicts itself is found out, with
//! evidence. The hub judges nothing; see `fake`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that unwraps what must be there fails at the line that says so"
)]

mod fake;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use fake::{Hub, Lie};
use seinpost_certs::pki::Validity;
use seinpost_certs::world::{Options, World, Wrong};
use seinpost_client::answer::{Delivery, Say};
use seinpost_client::audit::{AuditReport, NotChecked};
use seinpost_client::client::Client;
use seinpost_client::clock::Clock;
use seinpost_client::error::{By, Error, Fault, Kind};
use seinpost_client::keys::Windows;
use seinpost_client::profile::Profile;
use seinpost_client::receive::{Mailbox, Received, ReceivedSignal, SignalContent, Start};
use seinpost_client::send::{ContentCheck, ContentContext, ContentFault, KeepCopy, Outgoing, Submitted, To};
use seinpost_client::status::Which;
use seinpost_client::verify::{Judges, NotProven, Proven, ReceiptFile, verify};
use seinpost_protocol::address::Function;
use seinpost_protocol::checkpoint::{Pin, Seen};
use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

const POLICE: &str = "police-amsterdam";
const SAFE_HOME: &str = "safe-home-amsterdam";
/// How long a test waits for what must come; a test that passes never waits so long.
const PATIENCE: Duration = Duration::from_secs(180);
const TEXT: &[u8] = b"Fictief: twee jongens van 15";

/// Takes any content, but for that which begins with a word.
struct Check;

impl ContentCheck for Check {
    fn before_sealing(&self, content: &[u8], context: &ContentContext<'_>) -> Result<(), Vec<Fault>> {
        assert_eq!(context.profile.r#type(), context.signal_type);
        if content.starts_with(b"bad") { Err(vec![Fault::new("content", "begins badly")]) } else { Ok(()) }
    }

    fn after_opening(&self, content: &[u8], _: &ContentContext<'_>) -> Result<(), ContentFault> {
        if content.starts_with(b"much") {
            let faults = vec![Fault::new("content", "is too much")];
            return Err(ContentFault { answer: wire::AnswerCode::ExcessData, faults });
        }
        Ok(())
    }
}

/// A world with a hub; its time goes on by a millisecond whenever somebody asks.
struct Stage {
    _folder: tempfile::TempDir,
    _made: Arc<(tempfile::TempDir, World)>,
    world: World,
    hub: Hub,
    clock: Clock,
    millis: Arc<AtomicI64>,
}

const START_MILLIS: i64 = 1_795_500_000_000;

fn clock(millis: &Arc<AtomicI64>) -> Clock {
    let millis = Arc::clone(millis);
    Clock::from_fn(move || Timestamp::clamped(millis.fetch_add(1, Ordering::Relaxed)))
}

fn start() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(START_MILLIS))
}

/// The one world that is made for all tests that run together, since its keys take a second; it goes with the last.
fn made() -> Arc<(tempfile::TempDir, World)> {
    static MADE: Mutex<Weak<(tempfile::TempDir, World)>> = Mutex::new(Weak::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = made.upgrade() {
        return made;
    }
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        listen: "127.0.0.1:1".into(),
        metrics: String::new(),
        origin: "log.seinpost.test/client".into(),
        now: Timestamp::clamped(START_MILLIS),
    };
    let world = World::make(&folder.path().join("world"), &options).unwrap();
    let new = Arc::new((folder, world));
    *made = Arc::downgrade(&new);
    new
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let millis = start();
        let clock = clock(&millis);
        let made = made();
        let world = made.1.copy_to(&folder.path().join("world")).unwrap();
        let now = clock.clone();
        let hub = Hub::start(&world, move || now.now()).await;
        Self { _folder: folder, _made: made, world, hub, clock, millis }
    }

    /// A stage on which police and safe home have published certificate and key.
    async fn ready() -> (Self, Client, Client) {
        let stage = Self::new().await;
        let (police, safe_home) = (stage.client(POLICE), stage.client(SAFE_HOME));
        for client in [&police, &safe_home] {
            client.publish_certificate().await.unwrap();
            client.publish_key(Windows::default()).await.unwrap();
        }
        (stage, police, safe_home)
    }

    fn client(&self, name: &str) -> Client {
        let profile = Profile::load(&self.world.profile(name)).unwrap();
        Client::open_at(profile, self.clock.clone()).unwrap()
    }

    fn hub_file(&self) -> HubFile {
        HubFile::parse(&std::fs::read_to_string(self.world.hub_file()).unwrap()).unwrap()
    }
}

fn outgoing() -> Outgoing {
    Outgoing {
        signal_type: wire::SignalType::ExploitationSignal,
        to: vec![To {
            function: Function::SafeHome,
            oin: None,
            municipality: Some("0363".into()),
            legal_basis: "BPG_4_2_1_I".into(),
            basis_reference: None,
        }],
        source_regime: wire::SourceRegime::Wpg8,
        purpose: wire::Purpose::ProtectChild,
        urgency: wire::Urgency::Today,
        handling: vec![wire::Handling::NotToParents, wire::Handling::NoOnward],
        conversation: None,
        in_reply_to: None,
        supersedes: None,
        expires: None,
        retention_class: None,
    }
}

async fn send(police: &Client) -> Submitted {
    police.send(&outgoing(), TEXT, &Check, KeepCopy::No).await.unwrap()
}

async fn open(client: &Client) -> Mailbox {
    client.receive(Start::Pinned, Arc::new(Check)).await.unwrap()
}

/// Reads until something comes that is no head, key statement or notice.
async fn next(mailbox: &mut Mailbox) -> Received {
    loop {
        let received = mailbox.next_within(PATIENCE).await.unwrap().expect("something comes");
        mailbox.acknowledge(&received).unwrap();
        if !matches!(received, Received::Head(_) | Received::KeyStatement(_) | Received::Notice(_)) {
            return received;
        }
    }
}

/// Reads until an error ends the stream.
async fn fails(mailbox: &mut Mailbox) -> Error {
    loop {
        match mailbox.next_within(PATIENCE).await {
            Ok(received) => mailbox.acknowledge(&received.expect("something comes")).unwrap(),
            Err(error) => return error,
        }
    }
}

async fn next_signal(mailbox: &mut Mailbox) -> Box<ReceivedSignal> {
    match next(mailbox).await {
        Received::Signal(signal) => signal,
        Received::Withheld(withheld) => panic!("withheld: {}", withheld.error),
        Received::Alarm(alarm) => panic!("alarm: {alarm}"),
        _ => panic!("no signal"),
    }
}

async fn audit(client: &Client) -> Result<AuditReport, Error> {
    client.audit(&mut |_| {}).await
}

fn text_of(signal: &ReceivedSignal) -> &[u8] {
    match &signal.content {
        SignalContent::Readable { content, .. } => content.as_bytes(),
        SignalContent::Unfit { fault, .. } => panic!("unfit: {:?}", fault.faults),
        SignalContent::Unreadable { reason, .. } => panic!("unreadable: {reason}"),
        SignalContent::Erased => panic!("erased"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_sent_proven_received_kept_answered_and_seen_to_be_answered() {
    let (stage, police, safe_home) = Stage::ready().await;

    let plan = police.plan(&outgoing()).await.unwrap();
    let reader = &plan.readers[0];
    assert_eq!(reader.address, safe_home.address());
    assert!(reader.routed && reader.is_first_sight && reader.key_serial == 1);
    assert_eq!(reader.rule.legal_basis, "BPG_4_2_1_I");
    assert!(!reader.name.is_empty() && reader.certificate_name.is_some());

    let sent = police.send_planned(&plan, TEXT, &Check, KeepCopy::Yes).await.unwrap();
    assert_eq!(sent.consigned.len(), 1);
    assert!(police.outbox().waiting().unwrap().is_empty());
    let copy = police.profile().state.join("sent").join(sent.id.to_string());
    assert_eq!(std::fs::read(copy.join("content")).unwrap(), TEXT);

    let file = ReceiptFile::read(&sent.receipt).unwrap();
    let verdict = police.verify_receipt(&file).unwrap();
    assert!(
        verdict.proven.iter().any(|proven| matches!(proven, Proven::Promised { to, .. } if *to == safe_home.address()))
    );
    assert!(verdict.proven.iter().any(|proven| matches!(proven, Proven::Signed { .. })));
    assert!(verdict.not_proven.contains(&NotProven::Read));
    let verdict = police.verify_receipt_online(&file).await.unwrap();
    assert!(verdict.proven.contains(&Proven::PinnedHistory));
    assert!(verdict.proven.iter().any(|proven| matches!(proven, Proven::Entitled { covenant: 1, .. })));

    let mut mailbox = open(&safe_home).await;
    let signal = next_signal(&mut mailbox).await;
    assert_eq!(text_of(&signal), TEXT);
    assert_eq!(signal.rule_id, sent.consigned[0].rule_id);
    assert_eq!(signal.arrived.place.commitment, sent.consigned[0].commitment);
    assert!(signal.answer_due.is_some() && mailbox.is_drained());
    let inbox = safe_home.inbox().unwrap();
    let delivery = Delivery::from(&*signal);
    let path = inbox.keep(&Received::Signal(signal)).unwrap().unwrap();
    assert_eq!(std::fs::read(path.join("content")).unwrap(), TEXT);
    let entry = inbox.find(&sent.id.to_string()).unwrap();
    assert_eq!(entry.delivery(), Some(delivery));
    assert_eq!(entry.suggested_answer(), Some(wire::AnswerCode::DeliveredReadable));
    assert_eq!(entry.header["from"]["function"], "POLICE_OPERATIONS");
    // The recipient's receipt proves alone what it got.
    let kept = ReceiptFile::read(&path.join("receipt")).unwrap();
    let verdict = safe_home.verify_receipt(&kept).unwrap();
    assert!(verdict.proven.iter().any(|proven| matches!(proven, Proven::Consigned { number: 2, .. })));
    // Content, blind and header prove to anybody what was sent.
    let blind = seinpost_client::seal::Blind::new(std::fs::read(path.join("blind")).unwrap().try_into().unwrap());
    let commitment = entry.header["content_commitment"].as_str().unwrap();
    let computed = blind.commitment(TEXT, wire::SizeClass::Kib4).unwrap();
    assert_eq!(computed.to_string(), commitment);

    assert_eq!(safe_home.delivery(&sent.digest).await.unwrap(), delivery);
    let answered = safe_home.answer(delivery, Say::Readable).await.unwrap();
    assert_eq!(answered.consigned[0].to, police.address());

    stage.hub.hand_over(sent.digest, police.address(), safe_home.address());
    let mut mailbox = open(&police).await;
    let Received::Answer(answer) = next(&mut mailbox).await else {
        panic!("an answer was to come");
    };
    assert_eq!((answer.answer.code, answer.signal_id), (wire::AnswerCode::DeliveredReadable, sent.id.to_string()));

    let shown = police.item(Which::Id(sent.id)).await.unwrap();
    assert!(shown.is_verified && shown.recipients[0].answer_is_verified);
    let events: Vec<EventKind> = shown.steps.iter().map(|step| step.event).collect();
    assert!(events.contains(&EventKind::SubmissionAcceptance) && events.contains(&EventKind::ContentHandover));

    let report = audit(&police).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    assert_eq!((report.items_verified, report.permits_verified, report.covenants), (4, 1, 1));
    assert_eq!(police.pins().read().unwrap().pin(), report.checkpoint.pin());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_permits_is_refused_with_what_would_do_before_anything_leaves() {
    let (stage, police, _) = Stage::ready().await;
    let size = stage.hub.log().size();
    let mut outgoing = outgoing();
    outgoing.source_regime = wire::SourceRegime::Wpg9;
    let Err(Error::Refused(refusal)) = police.send(&outgoing, TEXT, &Check, KeepCopy::No).await else {
        panic!("no rule permits it");
    };
    assert_eq!((refusal.by, refusal.reason.as_str()), (By::Covenant, "BASIS_REGIME"));
    assert!(refusal.nearest_rule.is_some() && refusal.message.contains("BPG_4_2_1_I"), "{refusal}");

    outgoing.to[0].municipality = Some("9999".into());
    let error = police.plan(&outgoing).await.err().expect("no route");
    assert_eq!(error.reason(), Some("NO_ROUTE"));
    outgoing.to[0].municipality = None;
    assert_eq!(police.plan(&outgoing).await.err().expect("nobody named").kind(), Kind::Usage);
    assert_eq!(stage.hub.log().size(), size);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_does_not_pass_is_not_sealed_and_content_that_should_not_have_passed_is_marked() {
    let (_stage, police, safe_home) = Stage::ready().await;
    let refused = police.send(&outgoing(), b"bad", &Check, KeepCopy::No).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Usage);
    assert!(police.outbox().waiting().unwrap().is_empty());
    police.send(&outgoing(), b"much too much", &Check, KeepCopy::No).await.unwrap();
    let signal = next_signal(&mut open(&safe_home).await).await;
    assert_eq!(signal.content.answer(), Some(wire::AnswerCode::ExcessData));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_whose_answer_is_lost_is_sent_again_as_the_same_bytes() {
    let (stage, police, _) = Stage::ready().await;
    stage.hub.lie_times(Lie::LoseAnswer, 2);
    let before = stage.hub.log().size();
    let sent = send(&police).await;
    assert_eq!(stage.hub.log().size(), before + 2, "one acceptance, one consignment");
    assert_eq!(sent.index, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_outbox_is_sent_later_under_its_own_id() {
    let (stage, police, _) = Stage::ready().await;
    stage.hub.lie(Lie::OtherReceipt);
    let error = police.send(&outgoing(), TEXT, &Check, KeepCopy::No).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotVerified, "{error}");
    let waiting = police.outbox().waiting().unwrap();
    assert_eq!(waiting.len(), 1, "what has no receipt stays");
    stage.hub.repent();
    let results = stage.client(POLICE).send_waiting().await.unwrap();
    assert_eq!(results[0].0, waiting[0].id);
    assert_eq!(results[0].1.as_ref().unwrap().id, waiting[0].id);
    assert!(police.outbox().waiting().unwrap().is_empty());
}

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
async fn a_mailbox_with_a_gap_or_a_false_head_convicts_the_hub() {
    for (lie, reason) in [(Lie::SkipNumber, "MAILBOX_GAP"), (Lie::ShortHead, "HEAD_LIE")] {
        let (stage, police, safe_home) = Stage::ready().await;
        send(&police).await;
        send(&police).await;
        stage.hub.lie(lie);
        let error = fails(&mut open(&safe_home).await).await;
        assert_eq!(error.reason(), Some(reason), "{error}");
        assert!(error.evidence().is_some());
        // The truth heals it: nothing was taken over that was not verified.
        stage.hub.repent();
        assert_eq!(text_of(&*next_signal(&mut open(&safe_home).await).await), TEXT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_promises_and_does_not_send_or_speaks_of_yesterday_raises_an_alarm() {
    for (lie, reason) in [(Lie::HoldBack, "HELD_BACK"), (Lie::StaleHead, "HEAD_STALE")] {
        let (stage, police, safe_home) = Stage::ready().await;
        send(&police).await;
        stage.hub.lie(lie);
        let mut mailbox = open(&safe_home).await;
        let Received::Alarm(alarm) = next(&mut mailbox).await else {
            panic!("an alarm was to come");
        };
        assert_eq!(alarm.reason, reason);
        stage.hub.repent();
        assert_eq!(text_of(&*next_signal(&mut mailbox).await), TEXT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_taken_up_where_it_was_and_nothing_comes_twice() {
    let (stage, police, safe_home) = Stage::ready().await;
    for _ in 0..3 {
        send(&police).await;
    }
    stage.hub.lie(Lie::BreakStream);
    let mut mailbox = safe_home.receive(Start::Pinned, Arc::new(Check)).await.unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < 4 {
        let received = mailbox.next().await.unwrap();
        numbers.extend(received.place().map(|place| place.number));
    }
    assert_eq!(numbers, [1, 2, 3, 4]);
    // Nothing was acknowledged: a new start brings all again, the restored one too.
    for start in [Start::Pinned, Start::Beginning] {
        let mut mailbox = safe_home.receive(start, Arc::new(Check)).await.unwrap();
        loop {
            if let Some(place) = mailbox.next().await.unwrap().place() {
                assert_eq!(place.number, 1);
                break;
            }
        }
    }
    assert!(audit(&police).await.unwrap().holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_does_not_come_again_as_new() {
    let (_stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    let signal = next_signal(&mut open(&safe_home).await).await;
    let pinned = safe_home.pins().read().unwrap().mailbox(safe_home.address()).unwrap();
    assert_eq!((pinned.number, pinned.commitment), (signal.arrived.place.number, signal.arrived.place.commitment));
    let sent = send(&police).await;
    let again = next_signal(&mut open(&safe_home).await).await;
    assert_eq!(again.arrived.item.digest(), sent.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_the_hub_spoilt_is_fetched_again_and_never_blamed_on_the_sender() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    stage.hub.lie_times(Lie::SpoilContentOnce, 1);
    assert_eq!(text_of(&*next_signal(&mut open(&safe_home).await).await), TEXT);
    stage.hub.lie(Lie::SpoilContent);
    send(&police).await;
    let signal = next_signal(&mut open(&safe_home).await).await;
    let SignalContent::Unreadable { reason, answer, .. } = signal.content else {
        panic!("spoilt content must not be shown");
    };
    assert_eq!((reason, answer), ("HUB_FAULT", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_consigned_twice_is_withheld_the_second_time() {
    let (stage, police, safe_home) = Stage::ready().await;
    let sent = send(&police).await;
    stage.hub.consign_again(sent.digest, safe_home.address());
    let mut mailbox = open(&safe_home).await;
    assert_eq!(text_of(&*next_signal(&mut mailbox).await), TEXT);
    let Received::Withheld(withheld) = next(&mut mailbox).await else {
        panic!("it came twice");
    };
    assert_eq!(withheld.error.reason(), Some("CONSIGNED_TWICE"));
    // And an audit finds that nobody promised it.
    let report = audit(&police).await.unwrap();
    assert_eq!(report.faults.iter().map(|fault| fault.reason).collect::<Vec<_>>(), ["CONSIGNMENT"]);
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
async fn a_receipt_that_was_touched_does_not_verify() {
    let (_stage, police, _) = Stage::ready().await;
    let sent = send(&police).await;
    let text = std::fs::read_to_string(&sent.receipt).unwrap();
    let good: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(ReceiptFile::parse(text.as_bytes()).is_ok());
    for field in ["item_id", "item_digest", "covenant_digest", "log_origin", "format"] {
        let mut bad = good.clone();
        bad[field] = serde_json::Value::from("00".repeat(32));
        let read = ReceiptFile::parse(bad.to_string().as_bytes());
        assert!(read.is_err() || police.verify_receipt(&read.unwrap()).is_err(), "{field}");
    }
    let mut file = ReceiptFile::read(&sent.receipt).unwrap();
    let mut salt = file.receipt.salt.to_vec();
    salt[0] ^= 1;
    file.receipt.salt = salt.into();
    assert_eq!(police.verify_receipt(&file).unwrap_err().reason(), Some("COMMITMENT"));
    let mut file = ReceiptFile::read(&sent.receipt).unwrap();
    let mut signature = file.item.signatures[0].sig.to_vec();
    signature[0] ^= 1;
    file.item.signatures[0].sig = signature.into();
    let error = police.verify_receipt(&file).unwrap_err();
    assert!(error.reason().unwrap().starts_with("SIGNATURE"), "{error}");
    let mut file = ReceiptFile::read(&sent.receipt).unwrap();
    file.certificates.clear();
    assert_eq!(police.verify_receipt(&file).unwrap_err().kind(), Kind::NotVerified);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_verified_with_the_hub_file_alone_and_says_what_that_leaves_open() {
    let (stage, police, _) = Stage::ready().await;
    let sent = send(&police).await;
    let file = ReceiptFile::read(&sent.receipt).unwrap();
    let hub = stage.hub_file();
    let verdict = verify(&file, &Judges { hub: &hub, covenants: &[], lists: &[], pin: None }).unwrap();
    assert!(verdict.proven.iter().any(|proven| matches!(proven, Proven::InLog { index, .. } if *index == sent.index)));
    assert!(
        verdict
            .proven
            .iter()
            .any(|proven| matches!(proven, Proven::Accepted { from, .. } if *from == police.address()))
    );
    assert!(!verdict.proven.iter().any(|proven| matches!(proven, Proven::Entitled { .. })));
    assert!(verdict.not_proven.iter().any(|open| matches!(open, NotProven::Entitled { .. })));
    assert!(verdict.not_proven.contains(&NotProven::SameForAll { pinned_size: None }));
    let pin = Pin { size: sent.index + 2, root: Digest::new([1; 32]) };
    let error = verify(&file, &Judges { hub: &hub, covenants: &[], lists: &[], pin: Some(pin) }).unwrap_err();
    assert_eq!(error.reason(), Some("LOG_FORK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_covenant_retires_counts_for_what_it_signed_before() {
    let (stage, police, _) = Stage::ready().await;
    let early = ReceiptFile::read(&send(&police).await.receipt).unwrap();
    let late = ReceiptFile::read(&send(&police).await.receipt).unwrap();
    let hub = stage.hub_file();
    let size = early.parsed().map(|_| Seen::parse(early.receipt.checkpoint.clone()).unwrap().size()).unwrap();
    let root = *Seen::parse(early.receipt.checkpoint.clone()).unwrap().root();
    let floor = Covenant::verify(stage.world.covenant(), &Trust::Floor(hub.floor())).unwrap();
    let retire = |until_size: u64| {
        let next = stage.world.covenant_after(
            floor.item(),
            |next| {
                let old = &mut next.log_keys[0];
                (old.until_size, old.until_root) = (until_size, root.into());
                let ed25519 = seinpost_certs::key::Key::generate(seinpost_certs::key::KeyKind::Ed25519).unwrap();
                let ed25519 = bytes::Bytes::copy_from_slice(&ed25519.ed25519_public().unwrap());
                next.log_keys.push(wire::LogKey { ed25519, ..Default::default() });
            },
            &[0, 1],
        );
        vec![floor.clone(), Covenant::verify(&next.unwrap(), &Trust::Last(&floor)).unwrap()]
    };
    let judge = |file: &ReceiptFile, covenants: &[Covenant]| {
        verify(file, &Judges { hub: &hub, covenants, lists: &[], pin: None })
    };
    let at_its_end = judge(&early, &retire(size)).unwrap();
    assert!(!at_its_end.not_proven.iter().any(|open| matches!(open, NotProven::RetiredKey { .. })));
    let before_its_end = judge(&early, &retire(size + 100)).unwrap();
    assert!(before_its_end.not_proven.contains(&NotProven::RetiredKey { until_size: size + 100 }));
    assert_eq!(judge(&late, &retire(size)).unwrap_err().reason(), Some("KEY_RETIRED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_erased_before_they_were_read_raise_an_alarm_and_the_rest_is_read() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    next_signal(&mut open(&safe_home).await).await;
    for _ in 0..3 {
        send(&police).await;
    }
    stage.hub.lie_times(Lie::ErasedBefore, 5);
    let mut mailbox = open(&safe_home).await;
    let Received::Alarm(alarm) = next(&mut mailbox).await else {
        panic!("an alarm was to come");
    };
    assert_eq!(alarm.reason, "LOST_UNREAD");
    assert!(alarm.what.contains("3 to 4"), "{alarm}");
    assert_eq!(next_signal(&mut mailbox).await.arrived.place.number, 5);
    // Who begins anew has lost nothing that it knew of.
    let mut mailbox = safe_home.receive(Start::Beginning, Arc::new(Check)).await.unwrap();
    assert!(matches!(mailbox.next().await.unwrap(), Received::Head(head) if head.first_number == 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_by_a_participant_says_what_it_did_not_see_and_accuses_nobody_for_it() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    stage.hub.lie(Lie::HideOthers);
    let report = audit(&safe_home).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    // The signal's acceptance, for the police, and its consignment of a key statement to itself.
    assert!(report.not_checked.contains(&NotChecked::ForOthers(2)), "{:?}", report.not_checked);
    assert!(report.not_checked.contains(&NotChecked::Content));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_names_every_record_that_is_wrong() {
    let (stage, police, _) = Stage::ready().await;
    send(&police).await;
    {
        // A leaf that opens to nothing, and one whose record names another place: committed to as they are.
        let mut log = stage.hub.log();
        let last = log.leaves.last().unwrap().clone();
        log.leaves.push(last);
    }
    let report = audit(&stage.client("auditor")).await.unwrap();
    assert_eq!(report.faults.iter().map(|fault| fault.reason).collect::<Vec<_>>(), ["INDEX"]);
    assert!(!report.holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sends_at_once_share_pins_without_accusing_anybody() {
    let (_stage, police, safe_home) = Stage::ready().await;
    let other = Client::open_at(
        police.profile().clone(),
        Clock::from_fn({
            let now = police.clone();
            move || now.now()
        }),
    )
    .unwrap();
    let outgoing = outgoing();
    let sends = (0..8).map(|n| {
        let client = if n % 2 == 0 { police.clone() } else { other.clone() };
        let outgoing = outgoing.clone();
        tokio::spawn(async move { client.send(&outgoing, TEXT, &Check, KeepCopy::No).await })
    });
    let sends: Vec<_> = sends.collect();
    for sent in sends {
        sent.await.unwrap().unwrap();
    }
    let mut mailbox = open(&safe_home).await;
    for _ in 0..8 {
        assert_eq!(text_of(&*next_signal(&mut mailbox).await), TEXT);
    }
    assert!(!police.profile().state.join("evidence").exists());
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

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_consigned_again_after_a_month_is_withheld_too() {
    let (stage, police, safe_home) = Stage::ready().await;
    let day = 24 * 60 * 60 * 1000;
    let sent = send(&police).await;
    next_signal(&mut open(&safe_home).await).await;
    // Read late: by the mailbox's own time both were consigned within the days for which items are remembered.
    stage.hub.consign_again(sent.digest, safe_home.address());
    stage.millis.fetch_add(33 * day, Ordering::Relaxed);
    let Received::Withheld(withheld) = next(&mut open(&safe_home).await).await else {
        panic!("it came twice");
    };
    assert_eq!(withheld.error.reason(), Some("CONSIGNED_TWICE"));
    // Another item moves the mailbox's time on, so that the first is forgotten; by then it is too old to be recorded.
    send(&police).await;
    next_signal(&mut open(&safe_home).await).await;
    stage.hub.consign_again(sent.digest, safe_home.address());
    let Received::Withheld(withheld) = next(&mut open(&safe_home).await).await else {
        panic!("it came a third time");
    };
    assert_eq!(withheld.error.reason(), Some("RECORD_TIME"));
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
async fn a_signal_without_a_route_in_a_conversation_of_strangers_is_withheld() {
    let (_stage, police, safe_home) = Stage::ready().await;
    let mut unrouted = outgoing();
    unrouted.to[0].municipality = None;
    unrouted.to[0].oin = Some(safe_home.address().oin);
    // The hub, which should know that the two never spoke under this id, lets it pass.
    unrouted.conversation = Some("01a0a0a0-0000-7000-8000-000000000001".try_into().unwrap());
    police.send(&unrouted, TEXT, &Check, KeepCopy::No).await.unwrap();
    let Received::Withheld(withheld) = next(&mut open(&safe_home).await).await else {
        panic!("nobody may write to whom no route leads");
    };
    assert_eq!(withheld.error.reason(), Some("NOT_PERMITTED"));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_promises_on_every_stream_and_ends_it_raises_an_alarm() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    stage.hub.lie(Lie::OnlyHead);
    let mut mailbox = open(&safe_home).await;
    let mut heads = 0;
    let alarm = loop {
        match mailbox.next_within(PATIENCE).await {
            Ok(Some(Received::Head(_))) => heads += 1,
            Ok(Some(Received::Alarm(alarm))) => break alarm,
            Ok(_) => panic!("nothing else is sent"),
            Err(error) => assert_eq!(error.kind(), Kind::Unreachable),
        }
        assert!(heads < 10, "it goes on for ever");
        stage.millis.fetch_add(60_000, Ordering::Relaxed);
    };
    assert_eq!((alarm.reason, heads), ("HELD_BACK", 3));
    stage.hub.repent();
    next_signal(&mut open(&safe_home).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_sealed_while_its_keys_were_just_asked_and_not_later() {
    let (stage, police, _) = Stage::ready().await;
    let plan = police.plan(&outgoing()).await.unwrap();
    stage.millis.fetch_add(14 * 60_000, Ordering::Relaxed);
    police.send_planned(&plan, TEXT, &Check, KeepCopy::No).await.unwrap();
    stage.millis.fetch_add(2 * 60_000, Ordering::Relaxed);
    let error = police.send_planned(&plan, TEXT, &Check, KeepCopy::No).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
}
