//! A stop leaves nothing undone, and a start goes on where the log ended.

use super::*;

#[tokio::test]
async fn a_restart_goes_on_where_the_log_ended() {
    let hub = ready().await;
    let index = hub.index(signal(1)).await;
    let before = hub.sequencer.newest();
    let journal = hub.stop();
    let hub = open(&journal);
    assert_eq!(hub.sequencer.newest(), before);
    assert!(matches!(hub.submit(signal(1)).await, Outcome::Already { index: known } if known == index));
    hub.index(answer_to(1)).await;
    hub.index(signal(2)).await;
    let journal = hub.stop();
    let state = open(&journal).applied.state(Clone::clone);
    let hub = open(&journal);
    assert_eq!(hub.applied.state(Clone::clone), state, "two replays are one state");
    hub.stop();
}

#[tokio::test]
async fn the_head_file_holds_what_was_applied_and_is_never_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let memory = MemoryJournal::new();
    let hub = open_with_head(&memory, folder.path());
    let index = hub.index(covenant()).await;
    hub.applied.wait(index).await.unwrap();
    let early = HeadFile::open(folder.path()).unwrap().latest().map_or(0, |head| head.size);
    assert!(early <= hub.applied.size());
    hub.index(key_statement()).await;
    let newest = hub.sequencer.newest();
    hub.stop();
    let head = HeadFile::open(folder.path()).unwrap();
    let head = head.latest().unwrap();
    assert_eq!(
        (head.size, &head.checkpoint),
        (newest.size, &newest.checkpoint),
        "a stop leaves nothing to catch up on"
    );
}

#[tokio::test]
async fn a_stop_decides_all_that_waits_and_takes_nothing_more() {
    let hub = ready().await;
    let waiting: Vec<_> = (0..50).map(|number| hub.sequencer.submit(signal(number), beside(number))).collect();
    let sequencer = hub.sequencer.clone();
    hub.stop();
    for outcome in join_all(waiting).await {
        assert!(matches!(outcome, Outcome::Recorded { .. }), "{outcome:?}");
    }
    assert!(matches!(sequencer.submit(signal(99), Vec::new()).await, Outcome::Stopped));
    assert!(sequencer.mailbox_head(police()).await.is_none());
}
