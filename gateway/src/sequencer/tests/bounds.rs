//! The queue, a batch and the disk have bounds: what is above them is told so, and nothing is lost.

use std::sync::atomic::Ordering;

use super::gated::{Gated, gated};
use super::*;

/// Lets all writes go on, and returns of each command that waited how many records share its commit.
async fn sharing(release: &mpsc::Sender<()>, writes: usize, waiting: Vec<Reply>) -> Vec<usize> {
    (0..writes).for_each(|_| release.send(()).unwrap());
    let outcomes = join_all(waiting).await.into_iter().map(|outcome| match outcome {
        Outcome::Recorded { durable, .. } => durable.entries.len(),
        other => panic!("not recorded: {other:?}"),
    });
    outcomes.collect()
}

#[tokio::test]
async fn what_waits_shares_a_commit_of_bounded_size_and_a_full_queue_says_so() {
    let Gated { hub, release, appends, .. } = gated().await;
    let submit = |number| hub.sequencer.submit(signal(number), beside(number));
    // The first is being written; all others wait behind it.
    let first = submit(0);
    assert_eq!(appends.recv().unwrap(), 2);
    let waiting: Vec<_> = (1..=COMMANDS_WAITING_MAX as u64).map(submit).collect();
    assert!(matches!(hub.submit(signal(1_000_000)).await, Outcome::Busy), "a full queue is an answer");
    let writes = 1 + COMMANDS_WAITING_MAX.div_ceil(COMMANDS_PER_BATCH_MAX);
    let shared = sharing(&release, writes, waiting).await;
    assert!(shared.iter().all(|records| *records == 2 * COMMANDS_PER_BATCH_MAX), "{shared:?}");
    assert!(matches!(first.await, Outcome::Recorded { .. }));
    hub.stop();
}

#[tokio::test]
async fn bytes_bound_the_queue_and_the_batch_too() {
    let Gated { hub, release, appends, .. } = gated().await;
    let content = Bytes::from(vec![0; 1024 * 1024]);
    let submit = |number| hub.sequencer.submit(signal(number), vec![(BlobKind::SealedContent, content.clone())]);
    let first = submit(0);
    appends.recv().unwrap();
    let waiting: Vec<_> = (1..64).map(submit).collect();
    assert!(matches!(submit(64).await, Outcome::Busy));
    let shared = sharing(&release, 64, waiting).await;
    assert!(shared.iter().all(|records| *records <= 2 * 3), "three megabytes and what the commands take: {shared:?}");
    assert!(matches!(first.await, Outcome::Recorded { .. }));
    hub.stop();
}

#[tokio::test]
async fn without_room_on_the_disk_nothing_is_taken_and_nothing_is_lost() {
    let Gated { hub, release, full, .. } = gated().await;
    full.store(true, Ordering::SeqCst);
    assert!(matches!(hub.submit(signal(1)).await, Outcome::Full));
    assert!(hub.sequencer.mailbox_head(safe_home()).await.is_some(), "reading goes on");
    full.store(false, Ordering::SeqCst);
    release.send(()).unwrap();
    assert!(matches!(hub.submit(signal(1)).await, Outcome::Recorded { .. }));
    hub.stop();
}
