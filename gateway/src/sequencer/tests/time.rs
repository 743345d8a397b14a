//! The clock: in doubt nothing is recorded; when time has passed, what expired is told.

use super::*;

#[tokio::test]
async fn a_clock_in_doubt_lets_nothing_in_until_it_is_confirmed_in_a_record() {
    let hub = ready().await;
    hub.index(signal(1)).await;
    let size = hub.sequencer.newest().size;
    hub.hand.set(noon() + DAY);
    for command in [signal(2), answer_to(1), Command::Tick, covenant()] {
        assert!(matches!(hub.submit(command).await, Outcome::ClockInDoubt));
    }
    assert!(hub.sequencer.mailbox_head(police()).await.is_none());
    assert_eq!(hub.sequencer.newest().size, size);

    assert_eq!(hub.index(Command::ConfirmClock).await, size);
    assert_eq!(hub.index(signal(2)).await, size + 1);
    let journal = hub.stop();
    let last: Vec<_> = journal.replay(size).map(|commit| commit.unwrap().time).collect();
    assert_eq!(last, [noon() + DAY, noon() + DAY]);
}

#[tokio::test]
async fn a_gateway_that_starts_long_before_or_after_its_last_record_waits_for_an_operator() {
    let journal = ready().await.stop();
    for at in [noon() - Duration::from_secs(6), noon() + DAY + Duration::from_secs(1)] {
        let hub = open_with(&journal, at, |journal| Box::new(journal), |store| Box::new(store));
        assert!(matches!(hub.submit(signal(1)).await, Outcome::ClockInDoubt));
        hub.stop();
    }
    let hub = open_with(&journal, noon() + DAY, |journal| Box::new(journal), |store| Box::new(store));
    assert!(matches!(hub.submit(signal(1)).await, Outcome::Recorded { .. }));
    hub.stop();
}

#[tokio::test]
async fn a_tick_tells_what_expired_and_nothing_to_tell_is_no_record() {
    let hub = ready().await;
    hub.index(signal(1)).await;
    assert!(matches!(hub.submit(Command::Tick).await, Outcome::Nothing));
    hub.hand.pass(14 * DAY);
    let index = hub.index(Command::Tick).await;
    assert!(matches!(hub.submit(Command::Tick).await, Outcome::Nothing));
    assert_eq!(hub.sequencer.newest().size, index + 1);
    hub.stop();
}
