//! A hub that withholds from a mailbox, or lies about what stands in it: its reader misses what was promised.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message as _;
use seinpost_client::clock::Clock;
use seinpost_client::error::Kind;
use seinpost_client::receive::Received;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::Forge;
use seinpost_tests::harness::hostile::{HostileHub, PrivateLog};
use seinpost_tests::harness::world::now;

use super::{convicted, is_signal, pinned_mailbox, receiving, refused, scene, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_skipped_is_missed_by_the_recipient_when_the_next_one_comes() {
    let hub = scene().await;
    let police = hub.open("police-amsterdam");
    agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
    send(&hub, &police).await.unwrap();
    send(&hub, &police).await.unwrap();
    let skipped = AtomicBool::new(false);
    let lies = receiving("safe-home-amsterdam", move |message| {
        if is_signal(&message) && !skipped.swap(true, Ordering::Relaxed) { Vec::new() } else { vec![message] }
    });
    let liar = HostileHub::start(&hub, lies).await;
    let safe_home = hub.open_at("safe-home-amsterdam", liar.address());
    let error = agency::read_all(&safe_home).await.err().unwrap();
    convicted(&error, "MAILBOX_GAP", &["receipt.bin"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_delivery_that_is_held_back_is_missed_by_the_recipient_when_the_head_comes_again() {
    let hub = scene().await;
    let police = hub.open("police-amsterdam");
    agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
    send(&hub, &police).await.unwrap();
    // The hub keeps the signal to itself and repeats its head, as it must every minute.
    let head = Mutex::new(None);
    let lies = receiving("safe-home-amsterdam", move |message| {
        if matches!(message.message, Some(Message::MailboxHead(_))) {
            *head.lock().unwrap() = Some(message.clone());
        }
        if is_signal(&message) { vec![head.lock().unwrap().clone().unwrap()] } else { vec![message] }
    });
    let liar = HostileHub::start(&hub, lies).await;
    let safe_home = hub.open_at("safe-home-amsterdam", liar.address());
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    assert!(matches!(agency::next(&mut mailbox).await.unwrap(), Received::Head(_)));
    let error = agency::next(&mut mailbox).await.err().unwrap();
    convicted(&error, "HELD_BACK", &["head.item"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_head_of_yesterday_is_refused_as_one_of_a_log_that_shrank() {
    let hub = scene().await;
    let (saved, replaying) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
    let lies = {
        let (saved, replaying) = (saved.clone(), replaying.clone());
        receiving("safe-home-amsterdam", move |message| {
            if matches!(message.message, Some(Message::MailboxHead(_))) {
                let first = saved.lock().unwrap().get_or_insert(message.clone()).clone();
                return vec![if replaying.load(Ordering::Relaxed) { first } else { message }];
            }
            vec![message]
        })
    };
    let liar = HostileHub::start(&hub, lies).await;
    let safe_home = hub.open_at("safe-home-amsterdam", liar.address());
    agency::read_all(&safe_home).await.unwrap();
    send(&hub, &hub.open("police-amsterdam")).await.unwrap();
    agency::read_all(&safe_home).await.unwrap();
    // From now on the hub shows the head that it signed first: the mailbox before the signal came.
    replaying.store(true, Ordering::Relaxed);
    let error = agency::read_all(&safe_home).await.err().unwrap();
    convicted(&error, "LOG_SHRANK", &["pinned.checkpoint", "shown.checkpoint"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_head_that_is_minutes_old_is_an_alarm() {
    let hub = scene().await;
    // The hub goes on showing a head that was true three minutes ago; by the client's clock three minutes have passed.
    let later = Clock::from_fn(|| now() + Duration::from_secs(180));
    let safe_home = hub.open_with_clock("safe-home-amsterdam", later);
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    let error = agency::next(&mut mailbox).await.err().unwrap();
    refused(&error, "HEAD_STALE");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_head_that_leaves_out_a_record_is_convicted_by_the_record() {
    let hub = scene().await;
    let police = hub.open("police-amsterdam");
    agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
    send(&hub, &police).await.unwrap();
    // The hub signs that the mailbox ends before the signal, in a log that has it; the signal comes all the same, later.
    let log = PrivateLog::of(&hub, &[]);
    let first = pinned_mailbox(&hub);
    let lies = receiving("safe-home-amsterdam", move |mut message| {
        if let Some(Message::MailboxHead(item)) = &mut message.message {
            let mut head = wire::MailboxHead::decode(item.payload.clone()).unwrap();
            assert_eq!((head.first_number, head.last_number), (1, 2));
            // It knows what it signed before for number 1: the safe home's own key statement.
            (head.last_number, head.last_index) = (first.number, first.index);
            head.last_commitment = first.commitment.into();
            *item = log.sign(ItemType::MailboxHead, &head);
        }
        vec![message]
    });
    let liar = HostileHub::start(&hub, lies).await;
    let safe_home = hub.open_at("safe-home-amsterdam", liar.address());
    let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
    assert!(matches!(agency::next(&mut mailbox).await.unwrap(), Received::Head(_)));
    let error = agency::next(&mut mailbox).await.err().unwrap();
    convicted(&error, "HEAD_LIE", &["head.item", "receipt.bin"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_head_that_is_wrong_in_any_part_is_refused() {
    let hub = scene().await;
    send(&hub, &hub.open("police-amsterdam")).await.unwrap();
    let log = PrivateLog::of(&hub, &[]);
    let police = hub.world().address("police-amsterdam").unwrap();
    let forge = Forge::of(&hub, "police-amsterdam").await;
    let note = forge.client.checkpoint().await.unwrap().note;
    type Spoil = Arc<dyn Fn(&mut wire::MailboxHead) + Send + Sync>;
    let cases: Vec<(&str, bool, Spoil)> = vec![
        ("signed by an agency", false, Arc::new(|_| {})),
        ("of another mailbox", true, Arc::new(move |head| head.address = Some(police.into()))),
        ("of another log", true, Arc::new(|head| head.log_origin = "seinpost.test/other".to_owned())),
        ("of an hour ago", true, Arc::new(|head| head.time = Some((now() - Duration::from_secs(3600)).into()))),
        ("of tomorrow", true, Arc::new(|head| head.time = Some((now() + Duration::from_secs(86_400)).into()))),
        ("whose last record lies beyond its tree", true, Arc::new(|head| head.last_index += 1_000_000)),
        ("that begins behind its end", true, Arc::new(|head| head.first_number = head.last_number + 2)),
        (
            "whose checkpoint the log did not sign",
            true,
            Arc::new(move |head| {
                let mut bytes = note.to_vec();
                let at = bytes.len() - 3;
                bytes[at] ^= 1;
                head.checkpoint = bytes.into();
            }),
        ),
    ];
    let mut believed = Vec::new();
    for (what, by_the_log, spoil) in cases {
        let (log, forge_key) = (log.clone(), forge.client.clone());
        let lies = receiving("safe-home-amsterdam", move |mut message| {
            if let Some(Message::MailboxHead(item)) = &mut message.message {
                let mut head = wire::MailboxHead::decode(item.payload.clone()).unwrap();
                spoil(&mut head);
                *item = match by_the_log {
                    true => log.sign(ItemType::MailboxHead, &head),
                    false => forge_key.identity().sign(ItemType::MailboxHead, head.encode_to_vec().into()).unwrap(),
                };
            }
            vec![message]
        });
        let liar = HostileHub::start(&hub, lies).await;
        let safe_home = hub.open_at("safe-home-amsterdam", liar.address());
        let mut mailbox = agency::mailbox(&safe_home).await.unwrap();
        match agency::next(&mut mailbox).await {
            Err(error) if error.kind() == Kind::NotVerified => {}
            _ => believed.push(what),
        }
    }
    assert!(believed.is_empty(), "{believed:#?}");
    hub.end().await;
}
