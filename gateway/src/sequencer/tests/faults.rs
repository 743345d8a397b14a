//! Whichever write fails, and whether or not it was kept: every receipt that was given stays true.

use super::gated::{Gated, gated};
use super::*;

#[tokio::test]
async fn a_write_that_fails_is_never_answered_and_the_restart_finds_out_what_was_kept() {
    for write in [Write::Lost, Write::Kept] {
        let memory = MemoryJournal::new();
        let failing = |journal| Box::new(faulty::Faulty::new(journal, 2, write)) as Box<dyn Journal>;
        let hub = open_with(&memory, noon(), failing, |store| Box::new(store));
        prepare(&hub).await;
        let size = hub.sequencer.newest().size;
        assert!(matches!(hub.submit(signal(1)).await, Outcome::Stopped));
        hub.running.failed().await;
        assert!(matches!(hub.submit(signal(2)).await, Outcome::Stopped));
        assert_eq!(hub.sequencer.newest().size, size, "what may be lost was never shown");
        assert!(matches!(hub.running.stop(), Err(Fault::Disk { .. })), "the process must end with an error");

        let hub = open(&memory);
        match (write, hub.submit(signal(1)).await) {
            (Write::Lost, Outcome::Recorded { index, .. }) | (Write::Kept, Outcome::Already { index }) => {
                assert_eq!(index, size);
            }
            (write, outcome) => panic!("{write:?}: {outcome:?}"),
        }
        hub.stop();
    }
}

#[tokio::test]
async fn every_receipt_stays_true_whichever_write_fails() {
    let commands = || [covenant(), key_statement(), signal(1), signal(2), answer_to(1), signal(3), answer_to(3)];
    for fails_at in 0..commands().len() as u64 {
        for write in [Write::Lost, Write::Kept] {
            let memory = MemoryJournal::new();
            let failing = |journal| Box::new(faulty::Faulty::new(journal, fails_at, write)) as Box<dyn Journal>;
            let hub = open_with(&memory, noon(), failing, |store| Box::new(store));
            let mut receipts: Vec<Option<(u64, Digest)>> = Vec::new();
            for command in commands() {
                receipts.push(match hub.submit(command).await {
                    Outcome::Recorded { durable, index } => {
                        Some((index, durable.entries[(index - durable.base) as usize].commitment))
                    }
                    Outcome::Stopped => None,
                    other => panic!("{other:?}"),
                });
            }
            assert_eq!(receipts.iter().flatten().count() as u64, fails_at);
            assert!(hub.running.stop().is_err());

            let hub = open(&memory);
            for (command, receipt) in std::iter::zip(commands(), receipts) {
                let (index, recorded) = match hub.submit(command).await {
                    Outcome::Recorded { index, .. } => (index, true),
                    Outcome::Already { index } => (index, false),
                    other => panic!("{other:?}"),
                };
                hub.applied.wait(index).await.unwrap();
                if let Some((known, commitment)) = receipt {
                    assert_eq!((index, recorded), (known, false));
                    assert_eq!(hub.reader.entry(index).unwrap().unwrap().commitment, commitment);
                }
            }
            hub.stop();
        }
    }
}

#[tokio::test]
async fn whatever_waits_when_a_write_fails_hears_that_the_gateway_stopped() {
    let Gated { hub, release, .. } = gated().await;
    let waiting: Vec<_> = (0..20).map(|number| hub.sequencer.submit(signal(number), beside(number))).collect();
    // Without a release the journal fails.
    drop(release);
    for outcome in join_all(waiting).await {
        assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
    }
    assert!(hub.running.stop().is_err());
}

#[tokio::test]
async fn what_was_answered_survives_a_store_that_fails() {
    for write in [Write::Lost, Write::Kept] {
        let memory = MemoryJournal::new();
        let failing = |inner| Box::new(store::faulty::Faulty::new(inner, 0, write)) as Box<dyn Store>;
        let hub = open_with(&memory, noon(), |journal| Box::new(journal), failing);
        // The answer stands in the journal before the store is asked.
        let index = hub.index(covenant()).await;
        hub.running.failed().await;
        assert!(hub.applied.wait(index).await.is_err(), "nobody waits for ever");
        assert!(matches!(hub.submit(key_statement()).await, Outcome::Stopped));
        assert!(matches!(hub.running.stop(), Err(Fault::Disk { .. })), "the applier's fault is the one that is told");

        let hub = open(&memory);
        assert!(matches!(hub.submit(covenant()).await, Outcome::Already { index: known } if known == index));
        hub.applied.wait(index).await.unwrap();
        hub.stop();
    }
}
