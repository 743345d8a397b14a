//! What an agency sends: explained before it leaves, proven after, and sent as the same bytes until it is.

use std::sync::atomic::Ordering;

use seinpost_client::answer::{Delivery, Say};
use seinpost_client::client::Client;
use seinpost_client::clock::Clock;
use seinpost_client::error::{By, Error, Kind};
use seinpost_client::receive::Received;
use seinpost_client::send::KeepCopy;
use seinpost_client::status::Which;
use seinpost_client::verify::{NotProven, Proven, ReceiptFile};
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::wire;

use crate::fake::Lie;
use crate::{Check, POLICE, Stage, TEXT, audit, next, next_signal, open, outgoing, send, text_of};

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
async fn a_plan_is_sealed_while_its_keys_were_just_asked_and_not_later() {
    let (stage, police, _) = Stage::ready().await;
    let plan = police.plan(&outgoing()).await.unwrap();
    stage.millis.fetch_add(14 * 60_000, Ordering::Relaxed);
    police.send_planned(&plan, TEXT, &Check, KeepCopy::No).await.unwrap();
    stage.millis.fetch_add(2 * 60_000, Ordering::Relaxed);
    let error = police.send_planned(&plan, TEXT, &Check, KeepCopy::No).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
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
