//! What was submitted is recorded, in order, once, and can be read; who waits for it is told.

use super::*;

#[tokio::test]
async fn a_signal_is_recorded_with_what_travels_beside_it_and_can_be_read_when_it_is_applied() {
    let hub = ready().await;
    let Outcome::Recorded { durable, index } = hub.sequencer.submit(signal(1), beside(1)).await else {
        panic!("not recorded")
    };
    assert_eq!(durable.base, index);
    hub.applied.wait(index).await.unwrap();
    let item = item_digest("signal", 1);
    assert_eq!(hub.reader.item_index(&item).unwrap(), Some(index));
    let blobs = hub.reader.blobs_of(index).unwrap();
    let read: Vec<_> = blobs.iter().map(|(kind, position)| (*kind, hub.blobs.read(position).unwrap())).collect();
    assert_eq!(read, beside(1));
    assert!(hub.reader.blobs_of(index + 1).unwrap().is_empty());
    assert_eq!(
        hub.applied.state(|state| state.delivery(item, safe_home()).map(|delivery| delivery.index)),
        Some(index + 1)
    );
    hub.stop();
}

#[tokio::test]
async fn a_hundred_parallel_repeats_are_one_record_and_a_hundred_answers() {
    let hub = ready().await;
    let before = hub.sequencer.newest().size;
    let outcomes = join_all((0..100).map(|_| hub.sequencer.submit(signal(1), beside(1)))).await;
    let mut recorded = 0;
    for outcome in outcomes {
        match outcome {
            Outcome::Recorded { index, .. } => {
                assert_eq!(index, before);
                recorded += 1;
            }
            Outcome::Already { index } => assert_eq!(index, before),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(recorded, 1);
    assert_eq!(hub.sequencer.newest().size, before + 2);
    hub.stop();
}

#[tokio::test]
async fn what_is_submitted_in_order_is_recorded_in_order_under_dense_numbers() {
    let hub = ready().await;
    let first = hub.sequencer.newest().size;
    let outcomes = join_all((0..300).map(|number| hub.sequencer.submit(signal(number), beside(number)))).await;
    for (number, outcome) in (0..).zip(outcomes) {
        let Outcome::Recorded { durable, index } = outcome else { panic!("{outcome:?}") };
        assert_eq!(index, first + 2 * number);
        assert!((durable.base..durable.size()).contains(&index));
    }
    hub.applied.wait(first + 599).await.unwrap();
    let places = hub.reader.mailbox(&safe_home(), 1, 1000).unwrap();
    let expected: Vec<_> = (0..300).map(|number| (number + 2, first + 2 * number + 1)).collect();
    assert_eq!(places, expected, "number 1 is the safe home's own key statement");
    hub.stop();
}

#[tokio::test]
async fn a_refusal_is_recorded_and_what_came_with_it_is_kept_by_nobody() {
    let hub = ready().await;
    let Outcome::Refused(refusal) = hub.sequencer.submit(answer_to(1), beside(1)).await else { panic!("not refused") };
    assert_eq!(refusal, Refusal::DeliveryUnknown);
    let last = hub.sequencer.newest().size - 1;
    hub.applied.wait(last).await.unwrap();
    let entry = hub.reader.entry(last).unwrap().unwrap();
    let event = decode(entry.record).unwrap().event.unwrap();
    assert!(
        matches!(event, wire::record::Event::SubmissionRejection(rejection) if rejection.reason == "DELIVERY_UNKNOWN")
    );
    assert!(hub.reader.blobs_of(last).unwrap().is_empty());
    hub.stop();
}

#[tokio::test]
async fn the_owner_of_a_mailbox_is_woken_when_its_record_can_be_read() {
    let hub = ready().await;
    hub.applied.wait(hub.sequencer.newest().size - 1).await.unwrap();
    let mut of_recipient = hub.mailboxes.open(safe_home()).unwrap();
    let mut of_sender = hub.mailboxes.open(police()).unwrap();
    let index = hub.index(signal(1)).await;
    // A wake says "look again" and no more: the first may be that of the safe home's own key statement.
    while hub.reader.mailbox(&safe_home(), 1, 10).unwrap() != [(2, index + 1)] {
        of_recipient.changed().await;
    }
    assert!(of_sender.changed().now_or_never().is_none(), "an acceptance stands in no mailbox");
    hub.index(answer_to(1)).await;
    of_sender.changed().await;
    assert_eq!(hub.reader.mailbox(&police(), 0, 10).unwrap().len(), 1);
    hub.stop();
}

#[tokio::test]
async fn a_mailbox_head_covers_all_that_was_answered_before() {
    let hub = ready().await;
    let empty = hub.sequencer.mailbox_head(police()).await.unwrap();
    assert_eq!((empty.last, empty.first_number), (None, 1));
    let Outcome::Recorded { index, durable } = hub.submit(signal(1)).await else { panic!("not recorded") };
    let head = hub.sequencer.mailbox_head(safe_home()).await.unwrap();
    let last = head.last.unwrap();
    assert_eq!((last.number, last.index, last.commitment), (2, index + 1, durable.entries[1].commitment));
    for facts in [empty, head] {
        let item = signer().sign_head(&facts);
        let pin = Pin::NOTHING;
        let keys = [log_key()];
        let known = mailbox_head::Known {
            origin: ORIGIN,
            keys: &keys,
            address: facts.address,
            pin: &pin,
            last_seen: 0,
            now: noon(),
        };
        let verified = mailbox_head::verify(&item, &known, &[]).unwrap();
        assert_eq!(verified.head.last_number, facts.last.map_or(0, |last| last.number));
        assert_eq!(verified.checkpoint.size, facts.size);
        assert_eq!(verified.head.time, noon());
    }
    hub.stop();
}
