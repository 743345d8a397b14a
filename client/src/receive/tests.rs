//! What may come next in a mailbox, case by case.

use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

use super::Place;
use super::order::Order;
use crate::pins::MailboxPin;

fn pin(number: u64, index: u64, millis: i64) -> MailboxPin {
    let commitment = Digest::of(&index.to_be_bytes());
    MailboxPin { number, index, commitment, time: Timestamp::clamped(1_795_500_000_000 + millis) }
}

/// A record's place, and the place in the mailbox that the record itself names.
fn record(number: u64, index: u64, millis: i64, before: MailboxPin) -> (Place, wire::MailboxPlace) {
    let MailboxPin { commitment, time: recorded_at, .. } = pin(number, index, millis);
    let place = Place { number, index, commitment, recorded_at, redelivered: false };
    let mailbox =
        wire::MailboxPlace { number, previous_index: before.index, previous_commitment: before.commitment.into() };
    (place, mailbox)
}

#[test]
fn what_comes_next_has_the_next_number_names_the_last_record_and_stands_behind_it_in_log_and_time() {
    let last = pin(4, 40, 1_000);
    let judge = |(place, mailbox): (Place, wire::MailboxPlace)| Order::After(last).judge(&mailbox, &place);
    assert_eq!(judge(record(5, 50, 1_000, last)), Ok(()));
    let refused = |record, what: &str| {
        let said = judge(record).expect_err(what);
        assert!(said.contains(what), "{said}");
    };
    refused(record(6, 50, 1_000, last), "number 6 came after number 4");
    refused(record(5, 50, 1_000, pin(4, 39, 1_000)), "names another record before it");
    refused(record(5, 40, 1_000, last), "stands before number 4 in the log");
    refused(record(5, 50, 999, last), "earlier than number 4");
}

#[test]
fn who_begins_anew_begins_where_a_head_says_and_not_before_one_came() {
    let (place, mailbox) = record(7, 70, 0, pin(6, 60, 0));
    assert!(Order::From(None).judge(&mailbox, &place).is_err());
    assert!(Order::From(Some(6)).judge(&mailbox, &place).is_err());
    assert_eq!(Order::From(Some(7)).judge(&mailbox, &place), Ok(()));
    assert_eq!((Order::From(Some(7)).last_number(), Order::From(None).last_number()), (6, 0));
}

#[test]
fn what_comes_again_is_the_same_record_and_lies_where_it_lay() {
    let order = Order::After(pin(4, 40, 1_000));
    let again = |number, index, millis| order.judge_again(&record(number, index, millis, pin(0, 0, 0)).0);
    assert_eq!(again(4, 40, 1_000), Ok(()));
    assert_eq!(again(3, 39, 1_000), Ok(()));
    assert!(again(4, 41, 1_000).is_err(), "another record under the number");
    assert!(again(3, 41, 1_000).is_err(), "behind the last one in the log");
    assert!(again(3, 39, 1_001).is_err(), "later than the last one");
}
