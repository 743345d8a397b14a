//! One signal from sender to recipient and back, over real mutual TLS, and what each of those around it sees.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use seinpost_client::answer::{Delivery, Say};
use seinpost_client::content;
use seinpost_client::content::draft::{self, Writer};
use seinpost_client::error::Kind;
use seinpost_client::receive::{Received, SignalContent};
use seinpost_client::send::Submitted;
use seinpost_client::status::{Filter, Which};
use seinpost_client::verify::{Proven, ReceiptFile};
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::wire::{AnswerCode, DeliveryState, Function, ItemDirection, ReceiveRequest, SignalType};
use seinpost_tests::harness::agency::{self, until};
use seinpost_tests::harness::forge::{Forge, item_id, only_consignment};
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::raw::reason;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_its_recipient_and_the_answer_its_sender_and_each_has_proof() {
    let hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;

    // The police sends, and gets a receipt that names the one consignment.
    let submitted = agency::send(&police, &hub.example(SignalType::ExploitationSignal)).await.unwrap();
    let (to, commitment) = only_consignment(&submitted);
    assert_eq!(to, safe_home.address());
    let verdict = police.verify_receipt(&ReceiptFile::read(&submitted.receipt).unwrap()).unwrap();
    assert!(
        verdict
            .proven
            .iter()
            .any(|proven| matches!(proven, Proven::Accepted { from, .. } if *from == police.address()))
    );
    assert!(verdict.proven.contains(&Proven::PinnedHistory), "{verdict:?}");
    assert!(verdict.proven.iter().any(|proven| matches!(proven, Proven::Entitled { .. })), "{verdict:?}");

    // The safe home gets the consignment that the police was promised, and reads what the police wrote.
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(signal.arrived.item.digest(), submitted.digest);
    assert_eq!(signal.arrived.place.commitment, commitment);
    assert!(!signal.rule_id.is_empty());
    assert!(signal.answer_due.is_some(), "a clock of the covenant says when an answer is due");
    assert_eq!(agency::content(&signal)["subject"]["names"]["family"], hub.canary());
    let answer = agency::acknowledge(&safe_home, &signal).await.unwrap();
    assert_eq!(only_consignment(&answer).0, police.address());

    // The police hears of the hand-over by the hub and has the answer of the safe home.
    let mut mailbox = agency::mailbox(&police).await.unwrap();
    let (mut handed_over, mut answered) = (false, false);
    until(&mut mailbox, |received| {
        match received {
            Received::Notice(notice) => {
                assert_eq!(notice.event, EventKind::ContentHandover);
                assert_eq!((notice.item_digest, notice.recipient), (submitted.digest, safe_home.address()));
                handed_over = true;
            }
            Received::Answer(answer) => {
                assert_eq!(answer.signal_id, submitted.id.to_string());
                assert_eq!(answer.answer.code, AnswerCode::DeliveredReadable);
                assert_eq!(answer.answer.signer.address, safe_home.address());
                answered = true;
            }
            _ => {}
        }
        handed_over && answered
    })
    .await
    .unwrap();

    // The ladder, each step with its receipt.
    let shown = police.item(Which::Id(submitted.id)).await.unwrap();
    assert!(shown.is_verified);
    let [recipient] = shown.recipients.as_slice() else { panic!("one recipient") };
    assert_eq!((recipient.address, recipient.state), (safe_home.address(), DeliveryState::Answered));
    assert!(recipient.answer_is_verified && !recipient.late);
    let mut events: Vec<EventKind> = shown.steps.iter().map(|step| step.event).collect();
    assert_eq!(events.remove(0), EventKind::SubmissionAcceptance);
    assert!(
        events.contains(&EventKind::ContentHandover) && events.contains(&EventKind::ContentConsignment),
        "{events:?}"
    );

    // Both have it in their lists; nobody else has.
    for (client, direction) in [(&police, ItemDirection::Sent), (&safe_home, ItemDirection::Received)] {
        let page = client.items(&Filter { direction, ..Filter::default() }, None).await.unwrap();
        let [row] = page.rows.as_slice() else { panic!("{} rows", page.rows.len()) };
        assert_eq!((row.item_id.as_str(), row.state()), (submitted.id.to_string().as_str(), DeliveryState::Answered));
    }
    let prosecution = hub.client("prosecution-amsterdam").await;
    assert_eq!(prosecution.items(&Filter::default(), None).await.unwrap().rows.len(), 0);
    let foreign = prosecution.item(Which::Digest(submitted.digest)).await.err().unwrap();
    assert_eq!(foreign.kind(), Kind::NotFound);

    // The operator sees that it was answered, and nothing of what it says.
    let operator = hub.open("operator");
    let page = operator.deliveries(None, false, 0, None).await.unwrap();
    let [delivery] = page.rows.as_slice() else { panic!("{} deliveries", page.rows.len()) };
    assert_eq!((delivery.item_id.as_str(), delivery.late), (submitted.id.to_string().as_str(), false));
    assert_eq!(delivery.state(), DeliveryState::Answered);

    // The auditor reads the whole log again and finds that all of it holds.
    let report = hub.open("auditor").audit(&mut |_| {}).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    assert_eq!((report.items_verified, report.permits_verified), (5, 1), "three keys, a signal, an answer");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mayor_of_the_same_town_hall_cannot_read_the_mailbox_of_youth_care() {
    let hub = Hub::start().await;
    let youth_care = hub.client("youth-care-amsterdam").await;
    let mayor = hub.client("mayor-amsterdam").await;
    assert_eq!(youth_care.address().oin, mayor.address().oin, "one town hall, one OIN");
    let police = hub.client("police-amsterdam").await;
    let mut file = hub.example(SignalType::ExploitationSignal);
    file["to"][0]["function"] = json!("MUNICIPALITY_CARE_REPORTS");
    let submitted = agency::send(&police, &file).await.unwrap();
    assert_eq!(only_consignment(&submitted).0, youth_care.address());

    // With the mayor's certificate, youth care's mailbox is none.
    let mut exchange = Forge::of(&hub, "mayor-amsterdam").await.exchange();
    let request = ReceiveRequest { address: Some(youth_care.address().into()), after: 0, seen_size: 0 };
    let refused = exchange.receive(request).await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    assert_eq!(reason(&refused), "NOT_FOUND");
    let refused = mayor.item(Which::Digest(submitted.digest)).await.err().unwrap();
    assert_eq!(refused.kind(), Kind::NotFound);
    // Her own mailbox holds her own key statement and no signal.
    let own = agency::read_all(&mayor).await.unwrap();
    assert!(own.iter().all(|received| matches!(received, Received::KeyStatement(statement) if statement.is_own)));

    let mut mailbox = agency::mailbox(&youth_care).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(agency::content(&signal)["subject"]["names"]["family"], hub.canary());
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_template_is_sent_as_it_is() {
    let hub = Hub::start().await;
    let police = hub.client("police-amsterdam").await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    for word in [
        "Sem Voorbeeld",
        "Proefstraat",
        "Voorbeeld College",
        "parcel point",
        "telephone contracts",
        "Duty desk",
        "mentor to note",
    ] {
        hub.guard(word);
    }
    for (from, to, signal_type) in [
        (&police, &safe_home, SignalType::ExploitationSignal),
        (&police, &safe_home, SignalType::Consultation),
        (&safe_home, &police, SignalType::ConsultationAdvice),
    ] {
        let text = content::template(signal_type).unwrap();
        let file: serde_json::Value = serde_json::from_str(text).unwrap();
        let submitted = agency::send(from, &file).await.unwrap();
        let mut mailbox = agency::mailbox(to).await.unwrap();
        let signal = agency::next_signal(&mut mailbox).await.unwrap();
        assert_eq!(signal.arrived.item.digest(), submitted.digest);
        // What the recipient opens is, byte for byte, what was read from the file.
        let codes = |_: &str, _: &str| true;
        let draft = draft::parse(text, &codes, Writer { bsn_allowed: true }).unwrap();
        let SignalContent::Readable { content, .. } = &signal.content else {
            panic!("{signal_type:?} is not readable")
        };
        assert_eq!(content.as_bytes(), content::encode(&draft.content), "{signal_type:?}");
        let answered = agency::acknowledge(to, &signal).await.unwrap();
        assert_eq!(only_consignment(&answered).0, from.address());
    }
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn advice_is_given_in_the_conversation_of_the_question_without_a_route() {
    let hub = Hub::start().await;
    let police = hub.client("police-amsterdam").await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let question = agency::send(&police, &hub.example(SignalType::Consultation)).await.unwrap();
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    let signal = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(signal.signal().header.conversation, question.id);

    let mut advice = hub.example(SignalType::ConsultationAdvice);
    advice["to"][0] = json!({
        "function": "POLICE_OPERATIONS", "oin": police.address().oin.to_string(), "legal_basis": "WMO_4_1_1_3",
    });
    advice["in_reply_to"] = json!(question.digest.to_string());
    // Outside of the conversation nothing leads there without a municipality; inside it needs no route.
    let refused = agency::send(&safe_home, &advice).await.unwrap_err();
    assert_eq!(refused.reason(), Some("NO_ROUTE"));
    advice["conversation"] = json!(question.id.to_string());
    let given = agency::send(&safe_home, &advice).await.unwrap();

    let mut mailbox = agency::mailbox(&police).await.unwrap();
    let arrived = agency::next_signal(&mut mailbox).await.unwrap();
    assert_eq!(arrived.arrived.item.digest(), given.digest);
    assert_eq!(arrived.signal().header.in_reply_to, Some(question.digest));
    assert_eq!(agency::content(&arrived)["advice"]["answers"][0], format!("Bel {}.", hub.canary()));
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_to_a_conversation_hears_what_it_hears_of_one_that_does_not_exist() {
    let hub = Hub::start().await;
    let police = hub.client("police-amsterdam").await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let question = agency::send(&police, &hub.example(SignalType::Consultation)).await.unwrap();

    // The prosecution may consult the safe home, but not in this conversation of others, nor in one that never was.
    let prosecution = hub.client("prosecution-amsterdam").await;
    let mut file = hub.example(SignalType::Consultation);
    let mut said = Vec::new();
    for conversation in [question.id, item_id(police.now())] {
        file["conversation"] = json!(conversation.to_string());
        let refused = agency::send(&prosecution, &file).await.unwrap_err();
        assert_eq!(refused.reason(), Some("NO_ROUTE"));
        said.push(refused.to_string());
    }
    assert_eq!(said[0], said[1]);
    file.as_object_mut().unwrap().remove("conversation");
    agency::send(&prosecution, &file).await.unwrap();
    drop(safe_home);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signal_to_two_recipients_is_one_text_of_which_each_gets_its_own_key_and_sees_only_its_own_delivery() {
    let hub = Hub::start().await;
    let police = hub.client("police-amsterdam").await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let youth_care = hub.client("youth-care-amsterdam").await;
    let mut file = hub.example(SignalType::ExploitationSignal);
    file["to"] = json!([
        { "function": "SAFE_HOME", "municipality": "0363", "legal_basis": "BPG_4_2_1_I" },
        { "function": "MUNICIPALITY_CARE_REPORTS", "municipality": "0363", "legal_basis": "BPG_4_2_1_I" },
    ]);
    let submitted = agency::send(&police, &file).await.unwrap();
    let addressed: Vec<_> = submitted.consigned.iter().map(|consigned| consigned.to).collect();
    assert_eq!(addressed, [safe_home.address(), youth_care.address()]);

    let mut texts = Vec::new();
    for (client, consigned) in [&safe_home, &youth_care].into_iter().zip(&submitted.consigned) {
        let mut mailbox = agency::mailbox(client).await.unwrap();
        let signal = agency::next_signal(&mut mailbox).await.unwrap();
        assert_eq!(signal.arrived.place.commitment, consigned.commitment);
        texts.push(agency::content(&signal));
    }
    assert_eq!(texts[0], texts[1]);

    // The safe home answers; youth care cannot see that, the police sees both.
    let delivery = safe_home.delivery(&submitted.digest).await.unwrap();
    safe_home.answer(delivery, Say::WrongRecipient(Function::MunicipalityCareReports)).await.unwrap();
    let shown = police.item(Which::Id(submitted.id)).await.unwrap();
    let states: Vec<_> = shown.recipients.iter().map(|recipient| recipient.state).collect();
    assert_eq!(states[0], DeliveryState::Undeliverable);
    assert!([DeliveryState::Accepted, DeliveryState::HandedOver].contains(&states[1]), "{states:?}");
    let seen = youth_care.item(Which::Digest(submitted.digest)).await.unwrap();
    assert_eq!(seen.recipients.len(), 0);
    assert_eq!(seen.steps.len(), 1, "its own consignment and nothing else");
    let page = youth_care.items(&Filter::default(), None).await.unwrap();
    assert!(page.rows.iter().all(|row| row.to == Some(youth_care.address().into())));
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_final_and_each_kind_of_it_changes_the_delivery_as_the_ladder_says() {
    let hub = Hub::start().await;
    let police = hub.client("police-amsterdam").await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let send = async || agency::send(&police, &hub.example(SignalType::ExploitationSignal)).await.unwrap();
    let first = send().await;
    let answer = async |submitted: &Submitted, say: Say| {
        let (_, commitment) = only_consignment(submitted);
        safe_home.answer(Delivery { item_digest: submitted.digest, commitment }, say).await
    };
    answer(&first, Say::Readable).await.unwrap();
    for (say, state) in [
        (Say::UnreadableKey, DeliveryState::Undeliverable),
        (Say::WrongRecipient(Function::ChildProtectionBoard), DeliveryState::Undeliverable),
        (Say::NotCompetent, DeliveryState::Undeliverable),
        (Say::ExcessData, DeliveryState::AnsweredWithFault),
        (Say::ProfileViolation, DeliveryState::AnsweredWithFault),
        (Say::CommitmentMismatch, DeliveryState::AnsweredWithFault),
        (Say::DuplicateOf(first.digest), DeliveryState::AnsweredWithFault),
    ] {
        let submitted = send().await;
        answer(&submitted, say).await.unwrap();
        let shown = police.item(Which::Id(submitted.id)).await.unwrap();
        assert_eq!(shown.recipients[0].state, state, "{say:?}");
        let refused = answer(&submitted, Say::Readable).await.unwrap_err();
        assert_eq!(refused.reason(), Some("ALREADY_ANSWERED"), "{say:?}");
    }
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_supersedes_ones_own_and_nobody_elses() {
    let hub = Hub::start().await;
    let police = hub.client("police-amsterdam").await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let prosecution = hub.client("prosecution-amsterdam").await;
    let own = agency::send(&police, &hub.example(SignalType::Consultation)).await.unwrap();
    let foreign = agency::send(&prosecution, &hub.example(SignalType::Consultation)).await.unwrap();

    let mut file = hub.example(SignalType::Consultation);
    file["supersedes"] = json!(foreign.digest.to_string());
    assert_eq!(agency::send(&police, &file).await.unwrap_err().reason(), Some("SUPERSEDES"));
    file["supersedes"] = json!(own.digest.to_string());
    let corrected = agency::send(&police, &file).await.unwrap();
    let received = agency::read_all(&safe_home).await.unwrap();
    let supersedes: Vec<_> = received
        .iter()
        .filter_map(|received| match received {
            Received::Signal(signal) => Some((signal.arrived.item.digest(), signal.signal().header.supersedes)),
            _ => None,
        })
        .collect();
    assert_eq!(supersedes, [(own.digest, None), (foreign.digest, None), (corrected.digest, Some(own.digest))]);
    hub.end().await;
}
