//! The real binary, killed under load again and again: what was receipted is there, in order, and once.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seinpost_client::receive::Received;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::digest_of;
use seinpost_protocol::wire::{self, SignalType};
use seinpost_rpc::exchange_service_client::ExchangeServiceClient;
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::Forge;
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::patience::{at_last, within};
use seinpost_tests::harness::raw;

const KILLS: u64 = 20;
const SENDERS: usize = 4;

/// What one sender heard: its items and their receipts, in its order.
type Heard = Vec<(Digest, wire::Receipt)>;

/// Draws the moment of each kill; the seed is printed, so that a run can be had again.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        // xorshift64: any spread will do.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(20 + self.0 % 180)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_twenty_times_under_load_has_every_receipt_still_true_and_mailboxes_without_a_gap() {
    let seed = std::env::var("SEINPOST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        u64::from(std::process::id()) ^ seinpost_tests::harness::world::now().millis().unsigned_abs() | 1
    });
    println!("SEINPOST_SEED={seed}");
    let mut moments = Moments(seed);
    let mut hub = Hub::start_apart().await;
    hub.keep_address();
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = Forge::of(&hub, "police-amsterdam").await;

    // The load: each sender sends one signal after the other, each until it has a receipt.
    let stop = Arc::new(AtomicBool::new(false));
    let receipts = Arc::new(Mutex::new(vec![Heard::new(); SENDERS]));
    let file = hub.example(SignalType::ExploitationSignal);
    let mut senders = Vec::new();
    for sender in 0..SENDERS {
        let forge = Forge::of(&hub, "police-amsterdam").await;
        let (stop, receipts, file, to) = (stop.clone(), receipts.clone(), file.clone(), safe_home.clone());
        let (address, credentials) = (hub.address(), hub.credentials("police-amsterdam"));
        senders.push(tokio::spawn(async move {
            let mut service = ExchangeServiceClient::new(raw::channel(address, &credentials));
            while !stop.load(Ordering::Relaxed) {
                let request = forge.submission(forge.signal(&file, &[&to]).seal());
                let item = request.item.as_ref().unwrap();
                let digest = digest_of(&item.payload_type, &item.payload);
                let given = async {
                    loop {
                        match service.submit(request.clone()).await {
                            Ok(answer) => return answer.into_inner().receipt.unwrap(),
                            Err(status) if gone(&status) => tokio::time::sleep(Duration::from_millis(10)).await,
                            Err(status) => panic!("{status:?}"),
                        }
                    }
                };
                let receipt = within("the gateway is back and gives a receipt", given).await;
                receipts.lock().unwrap()[sender].push((digest, receipt));
            }
        }));
    }
    for _ in 0..KILLS {
        let count = || receipts.lock().unwrap().iter().map(Vec::len).sum::<usize>();
        let before = count();
        // Killed while it is at work: something was receipted since the last start.
        at_last("something is receipted", async || (count() > before).then_some(())).await;
        tokio::time::sleep(moments.next()).await;
        hub.kill().await;
        hub.serve_apart().await;
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }

    // Every receipt stands where it stood, in the order in which its sender heard it.
    let auditor = hub.open("auditor");
    let copy = auditor.copy_log().await.unwrap();
    let receipts = receipts.lock().unwrap().clone();
    let mut accepted = BTreeMap::new();
    for heard in &receipts {
        assert!(
            heard.is_sorted_by_key(|(_, receipt)| receipt.index),
            "a sender's receipts are in the order of the log"
        );
        for (digest, receipt) in heard {
            let leaf = &copy.leaves[usize::try_from(receipt.index).unwrap()];
            assert_eq!(
                (&leaf.commitment, &leaf.record),
                (&receipt.commitment, &receipt.record),
                "record {}",
                receipt.index
            );
            assert!(accepted.insert(receipt.index, *digest).is_none(), "one place for one item");
            // The checkpoint that the receipt was cut from is of this history.
            let seen = seinpost_protocol::checkpoint::Seen::parse(receipt.checkpoint.clone()).unwrap();
            let mut tree = seinpost_protocol::tree::Frontier::default();
            for leaf in &copy.leaves[..usize::try_from(seen.size()).unwrap()] {
                tree.append(seinpost_protocol::tree::leaf_hash(&Digest::try_from(&leaf.commitment).unwrap()));
            }
            assert_eq!(*seen.root(), tree.root());
        }
    }
    let total = accepted.len();
    assert!(total as u64 >= KILLS, "there was a load");
    let report = auditor.audit(&mut |_| {}).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);

    // The recipient gets each once, in the order of the log; its client refuses a mailbox with a gap.
    let received = agency::read_all(&hub.open("safe-home-amsterdam")).await.unwrap();
    let mut signals = Vec::new();
    for (received, number) in received.iter().zip(1..) {
        assert_eq!(received.place().unwrap().number, number);
        if let Received::Signal(signal) = received {
            signals.push(signal.arrived.item.digest());
        }
    }
    assert_eq!(signals, accepted.into_values().collect::<Vec<_>>());
    drop(police);
    hub.end().await;
}

/// The gateway is gone, or was before it answered.
fn gone(status: &tonic::Status) -> bool {
    // What the gateway itself says has a reason; only that it is busy or ending may be tried again.
    status.code() == tonic::Code::Unavailable || raw::reason(status).is_empty()
}
