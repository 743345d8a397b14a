//! Delivering once and in order, whatever happens on the way: repeats, races, broken streams, lost states.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::collections::BTreeSet;

use futures_util::future::join_all;
use seinpost_client::keys::Windows;
use seinpost_client::receive::Received;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::Item;
use seinpost_protocol::wire::submit_stream_response::Result as Answer;
use seinpost_protocol::wire::{self, SignalType};
use seinpost_rpc::exchange_service_client::ExchangeServiceClient;
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::{Forge, only_consignment};
use seinpost_tests::harness::hostile::{HostileHub, Lies};
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::patience::{at_last, within};
use seinpost_tests::harness::raw::{self, reason};
use seinpost_tests::harness::world::ORIGIN;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_repeats_at_once_earn_one_receipt_and_one_delivery() {
    let hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = Forge::of(&hub, "police-amsterdam").await;
    let signal = police.signal(&hub.example(SignalType::ExploitationSignal), &[&safe_home]);
    let request = police.submission(signal.seal());
    // Over several connections, as the machines of one agency.
    let channels: Vec<_> = (0..4).map(|_| raw::channel(hub.address(), &hub.credentials("police-amsterdam"))).collect();
    let submit = |at: usize| {
        let (mut service, request) =
            (ExchangeServiceClient::new(channels[at % channels.len()].clone()), request.clone());
        tokio::spawn(within("each is answered", async move {
            loop {
                match service.submit(request.clone()).await {
                    Ok(answer) => return answer.into_inner().receipt.unwrap(),
                    // On a machine that is slow enough the gateway's own patience ends first; then it is one repeat more.
                    Err(status) => assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}"),
                }
            }
        }))
    };
    let receipts: Vec<_> = join_all((0..100).map(submit)).await.into_iter().map(Result::unwrap).collect();
    let told: BTreeSet<_> =
        receipts.iter().map(|receipt| (receipt.index, receipt.commitment.clone(), receipt.record.clone())).collect();
    assert_eq!(told.len(), 1, "one acceptance");
    let signals = agency::read_all(&safe_home).await.unwrap();
    assert_eq!(signals.iter().filter(|received| matches!(received, Received::Signal(_))).count(), 1);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_items_with_one_id_one_is_taken_and_the_others_hear_that_the_id_is_used() {
    let hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = Forge::of(&hub, "police-amsterdam").await;
    let signer = police.signer();
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let mut open = police.signal(&hub.example(SignalType::ExploitationSignal), &[&safe_home]);
            open.header.conversation = signer.item_id.clone();
            open.header.signer = Some(signer.clone());
            police.submission(open.seal())
        })
        .collect();
    let answers = join_all(requests.iter().map(|request| police.submit(request.clone()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for status in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!((status.code(), reason(status).as_str()), (Code::AlreadyExists, "ALREADY_EXISTS"));
    }
    // And later too; the one that was taken still earns its receipt.
    for (request, answer) in requests.iter().zip(&answers) {
        let again = police.submit(request.clone()).await;
        match (answer, again) {
            (Ok(first), Ok(again)) => assert_eq!(first.receipt.as_ref().unwrap().index, again.receipt.unwrap().index),
            (Err(_), Err(status)) => assert_eq!(reason(&status), "ALREADY_EXISTS"),
            (first, again) => panic!("{first:?}, then {again:?}"),
        }
    }
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_whose_answer_was_lost_on_the_way_is_sent_again_and_delivered_once() {
    let hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    hub.client("police-amsterdam").await;
    // The gateway accepts and answers; the answer never arrives.
    let lost =
        Lies::none().on_the_way_out(|call, message| if call.method == "Submit" { Vec::new() } else { vec![message] });
    let middle = HostileHub::start(&hub, lost).await;
    let cut_off = hub.open_at("police-amsterdam", middle.address());
    agency::send(&cut_off, &hub.example(SignalType::ExploitationSignal)).await.unwrap_err();
    let waiting = cut_off.outbox().waiting().unwrap();
    assert_eq!(waiting.len(), 1);

    let police = hub.open("police-amsterdam");
    let sent = police.send_waiting().await.unwrap();
    let submitted = sent[0].1.as_ref().unwrap();
    assert_eq!((sent.len(), sent[0].0), (1, waiting[0].id));
    assert!(police.outbox().waiting().unwrap().is_empty());
    let received = agency::read_all(&safe_home).await.unwrap();
    let signals: Vec<_> = received
        .iter()
        .filter_map(|received| match received {
            Received::Signal(signal) => Some((signal.arrived.item.digest(), signal.arrived.place.commitment)),
            _ => None,
        })
        .collect();
    assert_eq!(signals, [(submitted.digest, only_consignment(submitted).1)]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_has_eight_readers_at_one_time_and_the_ninth_is_told_when_to_come_again() {
    let hub = Hub::start().await;
    let safe_home = Forge::of(&hub, "safe-home-amsterdam").await;
    let shelter = Forge::of(&hub, "shelter").await;
    let open = async |forge: &Forge| {
        let address = Some(forge.client.address().into());
        let mut stream =
            forge.exchange().receive(wire::ReceiveRequest { address, after: 0, seen_size: 0 }).await?.into_inner();
        stream.message().await.map(|_| stream)
    };
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push(open(&safe_home).await.unwrap());
    }
    let refused = open(&safe_home).await.err().unwrap();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"));
    assert!(tonic_types::StatusExt::get_error_details(&refused).retry_info().is_some());
    // Others are not affected, and a reader that leaves makes room.
    drop(open(&shelter).await.unwrap());
    readers.pop();
    let ninth = at_last("there is room for another", async || open(&safe_home).await.ok()).await;
    drop((readers, ninth));
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_submissions_is_answered_in_its_order_and_a_bad_one_does_not_end_it() {
    let hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = Forge::of(&hub, "police-amsterdam").await;
    let good = || police.submission(police.signal(&hub.example(SignalType::ExploitationSignal), &[&safe_home]).seal());
    let mut requests: Vec<_> = (0..12).map(|_| good()).collect();
    requests[3].item.as_mut().unwrap().payload_type.clear();
    requests[7].sealed_content.clear();
    requests[9].item = None;
    let submissions: Vec<_> =
        requests.iter().map(|request| wire::SubmitStreamRequest { submit: Some(request.clone()) }).collect();
    let mut answers = police.exchange().submit_stream(tokio_stream::iter(submissions)).await.unwrap().into_inner();
    let mut indexes = Vec::new();
    for (at, request) in requests.into_iter().enumerate() {
        let answer = answers.message().await.unwrap().unwrap();
        match (at, answer.result.unwrap()) {
            (3 | 7 | 9, Answer::Refused(status)) => assert_eq!(status.code, i32::from(Code::InvalidArgument)),
            (_, Answer::Accepted(accepted)) => {
                indexes.push(accepted.receipt.unwrap().index);
                let item = Item::parse(request.item.unwrap(), ORIGIN).unwrap();
                assert_eq!(answer.item_id, item.signer().item_id.to_string());
            }
            (at, other) => panic!("{at}: {other:?}"),
        }
    }
    assert!(answers.message().await.unwrap().is_none(), "the stream ends with the last answer");
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), 9, "each was recorded by itself");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_is_read_on_where_it_was_when_the_gateway_went_away() {
    let mut hub = Hub::start().await;
    hub.keep_address();
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    let send = async || agency::send(&police, &hub.example(SignalType::ExploitationSignal)).await.unwrap();
    let (first, second) = (send().await, send().await);
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    assert_eq!(agency::next_signal(&mut mailbox).await.unwrap().arrived.item.digest(), first.digest);
    // The second is handed out and not taken over when the gateway goes away.
    let Received::Signal(signal) = mailbox.next().await.unwrap() else { panic!("the second signal is next") };
    assert_eq!(signal.arrived.item.digest(), second.digest);
    hub.restart().await;
    let third = agency::send(&police, &hub.example(SignalType::ExploitationSignal)).await.unwrap();

    // The same reader connects anew by itself and goes on: what is open comes again, marked, then what is new.
    let next = async |mailbox: &mut seinpost_client::receive::Mailbox| loop {
        if let Received::Signal(signal) = mailbox.next().await.unwrap() {
            return (signal.arrived.item.digest(), signal.arrived.place.redelivered);
        }
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(next(&mut mailbox).await);
    }
    assert_eq!(seen, [(first.digest, true), (second.digest, true), (third.digest, false)]);
    // One that begins again stands where something was taken over last: behind the first signal.
    let mut again = agency::mailbox(&safe_home).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(next(&mut again).await);
    }
    assert_eq!(seen, [(first.digest, true), (second.digest, false), (third.digest, false)]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_answered_comes_again_and_what_is_answered_comes_to_who_lost_everything() {
    let hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(agency::send(&police, &hub.example(SignalType::ExploitationSignal)).await.unwrap().digest);
    }
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    let mut signals = Vec::new();
    for _ in 0..3 {
        signals.push(agency::next_signal(&mut mailbox).await.unwrap());
    }
    agency::acknowledge(&safe_home, &signals[1]).await.unwrap();
    drop(mailbox);

    let digests = |received: &[Received]| -> Vec<(Digest, bool)> {
        let signal = |received: &Received| match received {
            Received::Signal(signal) => Some((signal.arrived.item.digest(), signal.arrived.place.redelivered)),
            _ => None,
        };
        received.iter().filter_map(signal).collect()
    };
    let mut again = agency::mailbox(&safe_home).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(Received::Signal(agency::next_signal(&mut again).await.unwrap()));
    }
    assert_eq!(digests(&seen), [(sent[0], true), (sent[2], true)]);
    // From the beginning: all, in the order of their numbers.
    let mut all = agency::mailbox_from_the_beginning(&safe_home).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(agency::next_signal(&mut all).await.unwrap().arrived.item.digest());
    }
    assert_eq!(seen, sent);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_reader_hears_at_once_and_only_of_its_own() {
    let hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let shelter = hub.client("shelter").await;
    let police = hub.client("police-amsterdam").await;
    agency::read_all(&safe_home).await.unwrap();
    agency::read_all(&shelter).await.unwrap();
    let mut waiting = agency::mailbox(&safe_home).await.unwrap();
    let mut other = agency::mailbox(&shelter).await.unwrap();
    assert!(matches!(waiting.next().await.unwrap(), Received::Head(_)));
    assert!(matches!(other.next().await.unwrap(), Received::Head(_)));
    let reading = tokio::spawn(async move { agency::next_signal(&mut waiting).await.unwrap().arrived.item.digest() });
    let submitted = agency::send(&police, &hub.example(SignalType::ExploitationSignal)).await.unwrap();
    assert_eq!(only_consignment(&submitted).0, safe_home.address());
    assert_eq!(reading.await.unwrap(), submitted.digest);
    // What the shelter gets next is what it then writes to itself: of the signal it got nothing.
    shelter.publish_key(Windows::default()).await.unwrap();
    let next = agency::next(&mut other).await.unwrap();
    assert!(matches!(next, Received::KeyStatement(statement) if statement.is_own), "nothing else is for the shelter");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_costs_at_most_sixteen_mebibytes() {
    const MIB: u64 = 1024 * 1024;
    let mut hub = Hub::start_apart().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = Forge::of(&hub, "police-amsterdam").await;
    let codes = |_: &str, _: &str| true;
    let writer = seinpost_client::content::Writer { bsn_allowed: true };
    let text = hub.example(SignalType::ExploitationSignal).to_string();
    let draft = seinpost_client::content::draft::parse(&text, &codes, writer).unwrap();
    // Forty mebibytes wait in the mailbox: far more than may be held for anybody.
    let content = vec![b'x'; 1_000_000];
    for _ in 0..40 {
        police.send(police.signal_of(&draft.outgoing, &content, &[&safe_home])).await.unwrap();
    }
    hub.restart().await;
    let (first, second) = (Forge::of(&hub, "safe-home-amsterdam").await, Forge::of(&hub, "safe-home-amsterdam").await);
    let open = async |forge: &Forge| {
        let request = wire::ReceiveRequest { address: Some(safe_home.address().into()), after: 0, seen_size: 0 };
        forge.exchange().receive(request).await.unwrap().into_inner()
    };
    // What the process needs in order to serve a reader of all that, it has when it has served one.
    let read_all = async || {
        let (mut stream, mut most) = (open(&first).await, 0);
        for _ in 0..40 {
            next_signal(&mut stream).await;
            most = most.max(hub.process().memory_bytes());
        }
        most
    };
    let before = read_all().await;
    // Over another connection somebody reads the first message and no more. While the whole mailbox is read beside it, the
    // gateway has all the time that it takes to read as much for the one that stopped.
    let mut stopped = open(&second).await;
    stopped.message().await.unwrap().unwrap();
    let grown = read_all().await.saturating_sub(before);
    assert!(grown <= 16 * MIB, "a stopped reader costs {} MiB", grown / MIB);

    // Nothing is lost by it: whoever reads on gets everything.
    for _ in 0..40 {
        next_signal(&mut stopped).await;
    }
    hub.end().await;
}

/// Reads from a mailbox until a signal comes.
async fn next_signal(stream: &mut tonic::Streaming<wire::ReceiveResponse>) {
    let signal = async {
        loop {
            if let Some(wire::receive_response::Message::Delivery(delivery)) =
                stream.message().await.unwrap().unwrap().message
                && !delivery.sealed_content.is_empty()
            {
                return;
            }
        }
    };
    within("a signal comes", signal).await;
}
