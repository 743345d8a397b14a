//! Time: what expires is told, a record's time never falls, refusals are counted by the hour.

use seinpost_core::decide::Answer;
use seinpost_core::refusal::Refusal;
use seinpost_protocol::wire::AnswerCode::DeliveredReadable;
use seinpost_protocol::wire::DeliveryState;

use crate::harness::*;

#[test]
fn what_expires_is_told_to_the_sender_for_each_recipient_that_did_not_answer() {
    let mut story = given([signal(SIGNAL).from(Police).to([SafeHome, YouthCare, Prosecution]).expiring(2 * DAY)]);
    story.must(answer(ANSWER, SIGNAL, DeliveredReadable).by(YouthCare));
    let story = story
        .when(tick().after(2 * DAY))
        .then([expired(SIGNAL, SafeHome, Police), expired(SIGNAL, Prosecution, Police)]);
    assert_eq!(story.delivery(SIGNAL, SafeHome).state(), DeliveryState::Expired);
    assert_eq!(story.delivery(SIGNAL, YouthCare).state(), DeliveryState::Answered);
    assert_eq!(
        story.state().unanswered(SafeHome.address()).count(),
        1,
        "it is redelivered until its content is erased"
    );
    story.when(tick().after(3 * DAY)).nothing();
}

#[test]
fn nothing_expires_before_its_time() {
    given([signal(SIGNAL).to([SafeHome]).expiring(2 * DAY)]).when(tick().after(2 * DAY - SECOND)).nothing();
}

#[test]
fn a_long_stop_is_worked_off_in_bounded_ticks_the_longest_expired_first() {
    let mut story = given([]);
    for number in 0..300_u16 {
        let step = signal(Item(2000 + number)).to([SafeHome, YouthCare]).expiring(DAY + u32::from(number) * MINUTE);
        story.must(step);
    }
    let first = story.must(tick().after(10 * DAY));
    assert_eq!(first.events.len(), 512);
    let second = story.must(tick().after(10 * DAY));
    assert_eq!(second.events.len(), 2 * 300 - 512);
    assert_eq!(story.must(tick().after(10 * DAY)).answer, Answer::Nothing);
    assert_eq!(story.state().expiring().count(), 0);
}

#[test]
fn a_records_time_never_falls() {
    let mut story = given([signal(SIGNAL).to([SafeHome]).after(HOUR)]);
    let earlier = story.must(hand_over(SIGNAL, SafeHome).after(MINUTE));
    assert_eq!(earlier.events[0].time, start() + HOUR);
}

#[test]
fn ten_refusals_an_hour_are_recorded_and_the_rest_is_told_in_one_summary() {
    let mut story = given([]);
    for number in 0..10 {
        story = story.when(reject(Police, "NO_RULE").after(number * MINUTE)).then([rejected(Police, "NO_RULE")]);
    }
    story = story.when(reject(Police, "ELEVENTH").after(20 * MINUTE)).nothing();
    story = story.when(reject(Police, "TWELFTH").after(21 * MINUTE)).nothing();
    // The core's own refusals count too, and are answered all the same.
    story =
        story.when(signal(SIGNAL).to([SafeHome]).unrouted().after(22 * MINUTE)).refused_unrecorded(Refusal::NoRoute);
    // Somebody else's are counted apart.
    story = story.when(reject(Prosecution, "NO_RULE").after(23 * MINUTE)).then([rejected(Prosecution, "NO_RULE")]);
    story = story.when(tick().after(59 * MINUTE)).nothing();
    let summary = Seen::Rejected { who: Police, reason: "ELEVENTH".to_owned(), suppressed: 2 };
    story = story.when(tick().after(HOUR)).then([summary]);
    story = story.when(tick().after(2 * HOUR)).nothing();
    story.when(reject(Police, "NO_RULE").after(2 * HOUR)).then([rejected(Police, "NO_RULE")]);
}

#[test]
fn texts_are_cut_to_what_a_record_holds() {
    let story = given([]).when(reject(Police, &"R".repeat(100)));
    story.then([rejected(Police, &"R".repeat(64))]);
}
