//! The exchange through its door: one signal from end to end, what each sees of it, and what nobody else does.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod common;

use common::{Agency, Hub, digest_in, refused, within};
use seinpost_protocol::checkpoint::{LogKey, Pin};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::receipt;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_protocol::wire::{self, AnswerCode, DeliveryState};
use tonic::{Code, Streaming};

async fn next(mailbox: &mut Streaming<wire::ReceiveResponse>) -> Message {
    let message = within("a message comes", mailbox.message()).await.unwrap();
    message.expect("the stream goes on").message.unwrap()
}

async fn delivery(mailbox: &mut Streaming<wire::ReceiveResponse>) -> wire::Delivery {
    loop {
        match next(mailbox).await {
            Message::Delivery(delivery) => return delivery,
            Message::MailboxHead(_) | Message::Notice(_) => {}
        }
    }
}

fn log_keys(hub: &Hub) -> Vec<LogKey> {
    hub.covenant().live_log_keys()
}

fn commitment(receipt: &wire::Receipt) -> Digest {
    Digest::try_from(&receipt.commitment).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_goes_to_its_recipient_and_its_answer_comes_back() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let signal = police.finish(&police.signal(&police.seen().await, home.address, home_key));
    let receipt = police.submit(signal.clone()).await.unwrap();
    receipt::verify(&receipt, common::ORIGIN, &log_keys(&hub), &Pin::NOTHING, &[]).unwrap();

    // The mailbox: its head first, the own key statement, the signal.
    let mut mailbox = home.receive(0).await.unwrap();
    assert!(matches!(next(&mut mailbox).await, Message::MailboxHead(_)));
    let own = delivery(&mut mailbox).await;
    assert_eq!(own.item.unwrap().payload_type, "application/vnd.seinpost.key-statement.v1+protobuf");
    let got = delivery(&mut mailbox).await;
    assert_eq!(got.item.as_ref(), signal.item.as_ref());
    assert_eq!(got.sealed_content, signal.sealed_content);
    assert_eq!(got.wrapped_key, signal.wrapped_keys[0]);
    assert!(!got.redelivered && !got.expired);
    let consigned = got.receipt.unwrap();
    receipt::verify(&consigned, common::ORIGIN, &log_keys(&hub), &Pin::NOTHING, &[]).unwrap();

    // The sender hears of the hand-over, then of the answer.
    let mut back = police.receive(0).await.unwrap();
    let notice = loop {
        if let Message::Notice(notice) = next(&mut back).await {
            break notice;
        }
    };
    receipt::verify(&notice.receipt.unwrap(), common::ORIGIN, &log_keys(&hub), &Pin::NOTHING, &[]).unwrap();
    let answer =
        home.answer(&home.seen().await, digest_in(&signal), commitment(&consigned), AnswerCode::DeliveredReadable);
    home.submit(answer.clone()).await.unwrap();
    let answered = delivery(&mut back).await;
    assert_eq!(answered.item.as_ref(), answer.item.as_ref());
    assert!(answered.sealed_content.is_empty() && answered.wrapped_key.is_empty());

    // The ladder, as the sender and as the recipient see it.
    let of = |agency: &Agency, digest: Digest| wire::GetItemRequest {
        address: Some(agency.address.into()),
        which: Some(wire::get_item_request::Which::ItemDigest(digest.into())),
        seen_size: 0,
    };
    let seen = police.exchange().get_item(of(&police, digest_in(&signal))).await.unwrap().into_inner();
    assert_eq!(seen.receipts.len(), 3, "accepted, handed over, answered");
    assert_eq!(seen.recipients.len(), 1);
    assert_eq!(seen.recipients[0].state(), DeliveryState::Answered);
    assert_eq!(seen.recipients[0].answer.as_ref(), answer.item.as_ref());
    for receipt in &seen.receipts {
        receipt::verify(receipt, common::ORIGIN, &log_keys(&hub), &Pin::NOTHING, &[]).unwrap();
    }
    let seen = home.exchange().get_item(of(&home, digest_in(&signal))).await.unwrap().into_inner();
    assert_eq!(seen.receipts.len(), 2, "consigned, and the own answer accepted");
    assert!(seen.recipients.is_empty(), "others' states are not the recipient's to see");

    // Neither a stranger nor the mayor of the same town hall learns that it exists.
    let (mayor, youth) = (hub.agency("mayor-amsterdam"), hub.agency("youth-care-amsterdam"));
    for stranger in [&mayor, &youth] {
        refused(stranger.exchange().get_item(of(stranger, digest_in(&signal))).await, Code::NotFound, "NOT_FOUND");
        refused(stranger.exchange().get_item(of(&police, digest_in(&signal))).await, Code::NotFound, "NOT_FOUND");
        refused(stranger.exchange().get_item(of(stranger, Digest::of(b"nothing"))).await, Code::NotFound, "NOT_FOUND");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_names_a_key_statement_of_its_own_that_it_never_made() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let seen = police.seen().await;
    let naming = |key_serial| {
        let mut draft = police.signal(&seen, home.address, home_key);
        draft.signer().key_serial = key_serial;
        police.finish(&draft)
    };
    for out_of_reach in [2, u64::MAX] {
        refused(police.submit(naming(out_of_reach)).await, Code::FailedPrecondition, "KEY_NOT_MADE");
    }
    police.submit(naming(1)).await.unwrap();
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_two_recipients_gets_its_own_wrapped_key_and_sees_nothing_of_the_other() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let (youth, youth_key) = hub.ready("youth-care-amsterdam").await;
    let mut draft = police.signal(&police.seen().await, home.address, home_key);
    let other = police.signal(&police.seen().await, youth.address, youth_key);
    draft.header.recipients.extend(other.header.recipients);
    draft.key_statements.push(youth_key);
    draft.wrapped_keys.push(vec![0xb2; 1168].into());
    let signal = police.finish(&draft);
    police.submit(signal.clone()).await.unwrap();
    for (place, agency) in [&home, &youth].into_iter().enumerate() {
        let mut mailbox = agency.receive(1).await.unwrap();
        let got = delivery(&mut mailbox).await;
        assert_eq!(got.wrapped_key, signal.wrapped_keys[place]);
        assert_eq!(got.sealed_content, signal.sealed_content);
        let consigned = commitment(got.receipt.as_ref().unwrap());
        let seen = agency.seen().await;
        // Neither may answer in the other's name.
        let foreign =
            [&youth, &home][place].answer(&seen, digest_in(&signal), consigned, AnswerCode::DeliveredReadable);
        let foreign = [&youth, &home][place].submit(foreign).await;
        refused(foreign, Code::FailedPrecondition, "DELIVERY_MISMATCH");
        agency
            .submit(agency.answer(&seen, digest_in(&signal), consigned, AnswerCode::DeliveredReadable))
            .await
            .unwrap();
        let again = agency.answer(&seen, digest_in(&signal), consigned, AnswerCode::UnreadableKey);
        refused(agency.submit(again).await, Code::FailedPrecondition, "ALREADY_ANSWERED");
    }
    let request = wire::GetItemRequest {
        address: Some(police.address.into()),
        which: Some(wire::get_item_request::Which::ItemId(draft.signer().item_id.clone())),
        seen_size: 0,
    };
    let seen = police.exchange().get_item(request).await.unwrap().into_inner();
    let states: Vec<_> =
        seen.recipients.iter().map(|recipient| (recipient.address.clone(), recipient.state())).collect();
    let answered = |agency: &Agency| (Some(agency.address.into()), DeliveryState::Answered);
    assert_eq!(states, [answered(&home), answered(&youth)], "in the header's order");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_is_read_by_its_own_address_alone() {
    let mut hub = Hub::start().await;
    let (mayor, youth) = (hub.agency("mayor-amsterdam"), hub.agency("youth-care-amsterdam"));
    let request = wire::ReceiveRequest { address: Some(youth.address.into()), after: 0, seen_size: 0 };
    assert_eq!(mayor.address.oin, youth.address.oin, "one town hall");
    refused(mayor.exchange().receive(request).await, Code::NotFound, "NOT_FOUND");
    assert!(matches!(next(&mut youth.receive(0).await.unwrap()).await, Message::MailboxHead(_)));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_delivery_is_told_again_until_it_is_answered() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let signal = police.finish(&police.signal(&police.seen().await, home.address, home_key));
    police.submit(signal.clone()).await.unwrap();
    let first = {
        let mut mailbox = home.receive(1).await.unwrap();
        delivery(&mut mailbox).await
    };
    assert!(!first.redelivered);
    let again = delivery(&mut home.receive(2).await.unwrap()).await;
    assert!(again.redelivered);
    assert_eq!(again.item, first.item);
    assert_eq!(again.receipt.as_ref().unwrap().index, first.receipt.as_ref().unwrap().index);
    let consigned = commitment(first.receipt.as_ref().unwrap());
    home.submit(home.answer(&home.seen().await, digest_in(&signal), consigned, AnswerCode::DeliveredReadable))
        .await
        .unwrap();
    // From the start everything comes again, answered ones too; behind the last number nothing is open any more.
    let mut mailbox = home.receive(0).await.unwrap();
    assert!(!delivery(&mut mailbox).await.redelivered);
    let restored = delivery(&mut mailbox).await;
    assert_eq!((restored.item.as_ref(), restored.redelivered), (signal.item.as_ref(), false));
    let mut mailbox = home.receive(2).await.unwrap();
    assert!(matches!(next(&mut mailbox).await, Message::MailboxHead(_)));
    let later = police.finish(&police.signal(&police.seen().await, home.address, home_key));
    police.submit(later.clone()).await.unwrap();
    assert_eq!(delivery(&mut mailbox).await.item.as_ref(), later.item.as_ref(), "what comes next is new");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ninth_reader_of_one_mailbox_is_told_to_wait() {
    let mut hub = Hub::start().await;
    let youth = hub.agency("youth-care-amsterdam");
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut reader = youth.receive(0).await.unwrap();
        next(&mut reader).await;
        readers.push(reader);
    }
    refused(youth.receive(0).await, Code::ResourceExhausted, "TOO_MANY_STREAMS");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_answers_in_order_and_a_bad_item_does_not_end_it() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let seen = police.seen().await;
    let mut requests: Vec<wire::SubmitRequest> =
        (0..20).map(|_| police.finish(&police.signal(&seen, home.address, home_key))).collect();
    requests[7].item.as_mut().unwrap().signatures[0].sig = vec![7; 64].into();
    requests[8] = wire::SubmitRequest::default();
    let stream: Vec<_> =
        requests.iter().map(|request| wire::SubmitStreamRequest { submit: Some(request.clone()) }).collect();
    let answers = police.exchange().submit_stream(tokio_stream::iter(stream)).await.unwrap().into_inner();
    let answers: Vec<wire::SubmitStreamResponse> =
        tokio_stream::StreamExt::collect::<Result<_, _>>(answers).await.unwrap();
    assert_eq!(answers.len(), 20);
    for (place, answer) in answers.iter().enumerate() {
        use wire::submit_stream_response::Result as Answer;
        match (place, answer.result.as_ref().unwrap()) {
            (7, Answer::Refused(status)) => {
                assert_eq!(status.code, i32::from(Code::InvalidArgument));
                assert!(!status.details.is_empty(), "it carries what Submit's own status does");
            }
            (8, Answer::Refused(status)) => assert_eq!(status.code, i32::from(Code::InvalidArgument)),
            (_, Answer::Accepted(accepted)) => {
                let receipt = accepted.receipt.as_ref().unwrap();
                let record = seinpost_protocol::record::decode(receipt.record.clone()).unwrap();
                let Some(wire::record::Event::SubmissionAcceptance(accepted)) = record.event else { panic!("{place}") };
                assert_eq!(accepted.item_id, answer.item_id);
                assert_eq!(accepted.item_digest, digest_in(&requests[place]).as_ref());
            }
            (place, Answer::Refused(status)) => panic!("{place} is refused: {}", status.message),
        }
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_a_page_token_is_good_for_its_own_list_alone() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let seen = police.seen().await;
    for _ in 0..5 {
        police.submit(police.finish(&police.signal(&seen, home.address, home_key))).await.unwrap();
    }
    let ask = |token: &str, direction: i32| wire::ListItemsRequest {
        address: Some(police.address.into()),
        page_size: 2,
        page_token: token.to_owned(),
        direction,
        ..wire::ListItemsRequest::default()
    };
    let (mut token, mut ids) = (String::new(), Vec::new());
    for rows in [2, 2, 1] {
        let page = police.exchange().list_items(ask(&token, 0)).await.unwrap().into_inner();
        assert_eq!(page.items.len(), rows);
        assert!(page.items.iter().all(|item| item.mailbox_number == 0), "the number is the recipient's alone");
        ids.extend(page.items.into_iter().map(|item| item.item_id));
        token = page.next_page_token;
    }
    assert!(token.is_empty());
    ids.dedup();
    assert_eq!(ids.len(), 5);

    let operator = hub.agency("operator");
    let ask_operator = |token: &str| wire::ListDeliveriesRequest {
        page_size: 2,
        page_token: token.to_owned(),
        ..wire::ListDeliveriesRequest::default()
    };
    let page = operator.operations().list_deliveries(ask_operator("")).await.unwrap().into_inner();
    assert_eq!(page.deliveries.len(), 2);
    assert!(page.deliveries[0].answer_due.is_some(), "the covenant's clock says when");
    let token = page.next_page_token;
    let page = operator.operations().list_deliveries(ask_operator(&token)).await.unwrap().into_inner();
    assert_eq!(page.deliveries.len(), 2);
    refused(police.exchange().list_items(ask(&token, 0)).await, Code::InvalidArgument, "PAGE_TOKEN");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_sees_every_record_and_a_participant_its_own_and_everybodys() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let signal = police.finish(&police.signal(&police.seen().await, home.address, home_key));
    let accepted = police.submit(signal.clone()).await.unwrap();
    let auditor = hub.agency("auditor");

    let records = |agency: Agency| async move {
        let request = wire::ListRecordsRequest { from: 0, to: 0 };
        let stream = agency.audit().list_records(request).await.unwrap().into_inner();
        tokio_stream::StreamExt::collect::<Result<Vec<_>, _>>(stream).await.unwrap()
    };
    let all = records(auditor.clone()).await;
    assert!(all.iter().enumerate().all(|(place, line)| line.index == place as u64), "every leaf, in order");
    assert!(all.iter().all(|line| !line.record.is_empty() && line.salt.len() == 32));
    let line = &all[usize::try_from(accepted.index).unwrap()];
    assert_eq!(line.item.as_ref(), signal.item.as_ref());
    assert_eq!(line.record, accepted.record);
    // The look itself stands in the log, and was there before the answer began.
    let accesses = |lines: &[wire::ListRecordsResponse]| {
        let is_access = |line: &&wire::ListRecordsResponse| {
            let record = seinpost_protocol::record::decode(line.record.clone()).unwrap();
            matches!(record.event, Some(wire::record::Event::Access(_)))
        };
        lines.iter().filter(|line| !line.record.is_empty()).filter(is_access).count()
    };
    assert_eq!(accesses(&all), 1);

    let own = records(police.clone()).await;
    let opened = |index: u64| !own[usize::try_from(index).unwrap()].record.is_empty();
    assert!(opened(accepted.index), "its own acceptance");
    assert!(!opened(accepted.index + 1), "the recipient's consignment is not the sender's to see");
    assert!(own.iter().all(|line| line.commitment.len() == 32), "but every commitment");
    assert!(own.iter().all(|line| line.item.is_none()));
    assert_eq!(accesses(&own), 0, "what oversight does is oversight's to see");
    refused(
        hub.agency("operator").audit().list_records(wire::ListRecordsRequest { from: 0, to: 0 }).await,
        Code::PermissionDenied,
        "NOT_PERMITTED",
    );
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_between_any_sizes_are_given_and_lead_to_the_checkpoint() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let checkpoint = police.seen().await;
    let keys = log_keys(&hub);
    let checkpoint = seinpost_protocol::checkpoint::open(&checkpoint, common::ORIGIN, &keys).unwrap();
    for index in 0..checkpoint.size {
        let request = wire::GetInclusionProofRequest { index, size: checkpoint.size };
        let answer = police.audit().get_inclusion_proof(request).await.unwrap().into_inner();
        let leaf = seinpost_protocol::tree::leaf_hash(&Digest::try_from(&answer.commitment).unwrap());
        let proof = seinpost_protocol::tree::proof_from_wire(&answer.proof).unwrap();
        seinpost_protocol::tree::verify_inclusion(&leaf, index, checkpoint.size, &proof, &checkpoint.root).unwrap();
    }
    let beyond = wire::GetInclusionProofRequest { index: 0, size: checkpoint.size + 1000 };
    refused(police.audit().get_inclusion_proof(beyond).await, Code::InvalidArgument, "FIELD");
    let outside = wire::GetInclusionProofRequest { index: checkpoint.size, size: checkpoint.size };
    refused(police.audit().get_inclusion_proof(outside).await, Code::NotFound, "NOT_FOUND");
    let backwards = wire::GetConsistencyProofRequest { old_size: 3, new_size: 2 };
    refused(police.audit().get_consistency_proof(backwards).await, Code::InvalidArgument, "FIELD");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn covenant_certificates_lists_and_statements_are_read_back_as_they_were_recorded() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let home = hub.agency("safe-home-amsterdam");
    let mut covenants = home.covenants();
    let covenant = covenants.get_covenant(wire::GetCovenantRequest { serial: 0 }).await.unwrap().into_inner();
    assert_eq!(covenant.covenant.as_ref(), Some(hub.world.covenant()));
    refused(covenants.get_covenant(wire::GetCovenantRequest { serial: 9 }).await, Code::NotFound, "NOT_FOUND");
    let sha256 = Digest::of(&police.chain[0]);
    let request = wire::GetCertificateRequest { sha256: sha256.into(), seen_size: 0 };
    let certificate = covenants.get_certificate(request).await.unwrap().into_inner();
    assert_eq!((&certificate.leaf, &certificate.chain[..]), (&police.chain[0], &police.chain[1..]));
    receipt::verify(&certificate.receipt.unwrap(), common::ORIGIN, &log_keys(&hub), &Pin::NOTHING, &[]).unwrap();
    // Published again, by the first chain or any other: the same receipt.
    let again = police.publish().await.unwrap();
    assert_eq!(again.index, police.publish().await.unwrap().index);
    let lists = covenants.get_revocation_list(wire::GetRevocationListRequest::default()).await.unwrap().into_inner();
    assert_eq!(lists.lists.len(), 4, "of two roots and two issuing authorities");
    let request = wire::GetRevocationListRequest { sha256: Digest::of(&lists.lists[0]).into() };
    assert_eq!(covenants.get_revocation_list(request).await.unwrap().into_inner().lists, lists.lists[..1]);
    let request = wire::GetKeyStatementsRequest { address: Some(police.address.into()), after_serial: 0, seen_size: 0 };
    let statements = covenants.get_key_statements(request).await.unwrap().into_inner();
    assert_eq!((statements.statements.len(), statements.newest_serial), (1, 1));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_everything_is_as_it_was() {
    let mut hub = Hub::start().await;
    let (police, _) = hub.ready("police-amsterdam").await;
    let (home, home_key) = hub.ready("safe-home-amsterdam").await;
    let signal = police.finish(&police.signal(&police.seen().await, home.address, home_key));
    let before = police.submit(signal.clone()).await.unwrap();
    hub.stop().await;
    hub.go().await.unwrap();
    let police = hub.agency("police-amsterdam");
    let after = police.submit(signal.clone()).await.unwrap();
    assert_eq!((&after.record, &after.salt, after.index), (&before.record, &before.salt, before.index));
    let home = hub.agency("safe-home-amsterdam");
    let mut mailbox = home.receive(1).await.unwrap();
    assert_eq!(delivery(&mut mailbox).await.item.as_ref(), signal.item.as_ref());
    hub.stop().await;
}
