//! Key statements: a chain per address; what is sealed to must be in force, in its windows, and not withdrawn.

use seinpost_core::event::{About, Audience, Retention, What};
use seinpost_core::refusal::Refusal;
use seinpost_protocol::wire::AnswerCode;

use crate::harness::*;

/// The second statement of the safe home, with windows in days.
fn second(seal_from: u32, seal_until: u32, open_until: u32) -> Step {
    key_statement(STATEMENT).of(SafeHome).serial(2, Some(first_key(SafeHome))).windows(
        seal_from * DAY,
        seal_until * DAY,
        open_until * DAY,
    )
}

#[test]
fn a_key_statement_is_for_all_to_see_and_is_consigned_to_its_own_address() {
    let story = given([]).when(second(0, 90, 120));
    let events = story.decision.events.clone();
    story.then([accepted(STATEMENT).from(SafeHome).to([SafeHome])]);
    assert_eq!(events[0].audience, Audience::All);
    assert_eq!(events[0].retention, Retention::Permanent);
    assert_eq!((events[0].mailbox, events[0].conversation), (None, None));
    assert!(matches!(&events[0].what, What::Accepted { about: About::Key { serial: 2, windows: Some(_) }, .. }));
    assert_eq!((events[1].mailbox, events[1].conversation), (Some(2), None));
}

#[test]
fn a_consigned_key_statement_waits_for_no_answer() {
    let story = given([]);
    assert_eq!(story.state().unanswered(SafeHome.address()).count(), 0);
    story
        .when(answer(ANSWER, first_key(SafeHome), AnswerCode::DeliveredReadable).by(SafeHome))
        .refused(Refusal::DeliveryUnknown, SafeHome);
}

#[test]
fn a_serial_is_the_next_one() {
    for serial in [1, 3, u64::MAX] {
        given([])
            .when(second(0, 90, 120).serial(serial, Some(first_key(SafeHome))))
            .refused(Refusal::KeySerial, SafeHome);
    }
}

#[test]
fn nobody_names_a_key_statement_of_its_own_that_it_never_made() {
    let naming = |serial, step: Step| step.with(|submission| submission.key_serial = serial);
    for out_of_reach in [2, u64::MAX] {
        given([]).when(naming(out_of_reach, signal(SIGNAL).to([SafeHome]))).refused(Refusal::KeyNotMade, Police);
        given([signal(SIGNAL).to([SafeHome])])
            .when(naming(out_of_reach, answer(ANSWER, SIGNAL, AnswerCode::DeliveredReadable).by(SafeHome)))
            .refused(Refusal::KeyNotMade, SafeHome);
    }
    given([key_statement(STATEMENT).of(Police).serial(2, Some(first_key(Police)))])
        .when(naming(2, signal(SIGNAL).to([SafeHome])))
        .then([accepted(SIGNAL).from(Police).to([SafeHome])]);
}

#[test]
fn a_statement_names_the_one_before_it() {
    given([]).when(second(0, 90, 120).serial(2, Some(OTHER))).refused(Refusal::KeyPrevious, SafeHome);
    given([]).when(second(0, 90, 120).serial(2, None)).refused(Refusal::KeyPrevious, SafeHome);
}

#[test]
fn a_first_statement_has_serial_one_and_none_before_it() {
    let first = |serial, previous| {
        let mut story = nothing();
        story.must(covenant(1));
        story.when(key_statement(STATEMENT).of(SafeHome).serial(serial, previous))
    };
    first(1, None).then([accepted(STATEMENT).from(SafeHome).to([SafeHome])]);
    first(2, None).refused(Refusal::KeySerial, SafeHome);
    first(0, None).refused(Refusal::KeySerial, SafeHome);
    first(1, Some(OTHER)).refused(Refusal::KeyPrevious, SafeHome);
}

#[test]
fn after_theft_the_first_statement_at_the_floor_needs_none_before_it() {
    let stolen = || given([second(0, 90, 120)]);
    let recovery = |serial, previous| key_statement(NEXT_STATEMENT).of(SafeHome).serial(serial, previous).floor(10);
    stolen().when(recovery(10, None)).then([accepted(NEXT_STATEMENT).from(SafeHome).to([SafeHome])]);
    stolen().when(recovery(10, Some(STATEMENT))).then([accepted(NEXT_STATEMENT).from(SafeHome).to([SafeHome])]);
    stolen().when(recovery(10, Some(OTHER))).refused(Refusal::KeyPrevious, SafeHome);
    stolen().when(recovery(3, Some(STATEMENT))).refused(Refusal::KeyBelowFloor, SafeHome);
    stolen().when(recovery(11, None)).refused(Refusal::KeySerial, SafeHome);
    // From there on the chain goes its usual way.
    let mut recovered = stolen();
    recovered.must(recovery(10, None));
    recovered
        .when(key_statement(THIRD_STATEMENT).of(SafeHome).serial(11, Some(NEXT_STATEMENT)).floor(10))
        .then([accepted(THIRD_STATEMENT).from(SafeHome).to([SafeHome])]);
}

#[test]
fn what_is_sealed_to_a_statement_below_the_floor_is_refused() {
    given([second(0, 90, 120)]).when(signal(SIGNAL).to([SafeHome]).floor(2)).refused(Refusal::KeyBelowFloor, Police);
    given([second(0, 90, 120)]).when(signal(SIGNAL).to([SafeHome]).sealed_to(STATEMENT).floor(2)).then([accepted(
        SIGNAL,
    )
    .from(Police)
    .to([SafeHome])]);
}

#[test]
fn what_is_sealed_to_no_statement_of_the_recipient_is_refused() {
    given([]).when(signal(SIGNAL).to([SafeHome]).sealed_to(OTHER)).refused(Refusal::KeyUnknown, Police);
    given([]).when(signal(SIGNAL).to([SafeHome]).sealed_to(first_key(YouthCare))).refused(Refusal::KeyUnknown, Police);
}

#[test]
fn a_superseded_statement_is_taken_for_a_day_after_the_later_one_is_known() {
    // The safe home's second statement is recorded at hour 1 and may be used at once.
    let superseded = || given([second(0, 90, 120).after(HOUR)]);
    superseded()
        .when(signal(SIGNAL).to([SafeHome]).after(25 * HOUR))
        .then([accepted(SIGNAL).from(Police).to([SafeHome])]);
    superseded().when(signal(SIGNAL).to([SafeHome]).after(25 * HOUR + SECOND)).refused(Refusal::KeySuperseded, Police);
}

#[test]
fn a_superseded_statement_is_taken_for_a_day_after_the_later_one_may_be_used() {
    let superseded = || given([second(3, 90, 120)]);
    superseded()
        .when(signal(SIGNAL).to([SafeHome]).after(4 * DAY))
        .then([accepted(SIGNAL).from(Police).to([SafeHome])]);
    superseded().when(signal(SIGNAL).to([SafeHome]).after(4 * DAY + SECOND)).refused(Refusal::KeySuperseded, Police);
}

#[test]
fn nothing_is_sealed_to_a_withdrawn_statement() {
    let withdrawn = || given([second(0, 90, 120).withdrawing()]);
    withdrawn().when(signal(SIGNAL).to([SafeHome])).refused(Refusal::KeyWithdrawn, Police);
    // Nor after a new one was published: withdrawn is withdrawn.
    let mut renewed = withdrawn();
    renewed.must(key_statement(NEXT_STATEMENT).of(SafeHome).serial(3, Some(STATEMENT)));
    renewed
        .when(signal(SIGNAL).to([SafeHome]))
        .refused(Refusal::KeyWithdrawn, Police)
        .when(signal(OTHER).to([SafeHome]).sealed_to(NEXT_STATEMENT))
        .then([accepted(OTHER).from(Police).to([SafeHome])]);
}

#[test]
fn a_withdrawal_itself_is_nothing_to_seal_to() {
    given([second(0, 90, 120).withdrawing()])
        .when(signal(SIGNAL).to([SafeHome]).sealed_to(STATEMENT))
        .refused(Refusal::KeyUnknown, Police);
}

#[test]
fn a_signal_lies_within_the_windows_of_what_it_is_sealed_to() {
    let story = || given([second(2, 10, 20)]);
    let signed = |after: u32, expires: u32| {
        signal(SIGNAL).to([SafeHome]).sealed_to(STATEMENT).signed_after(after * DAY).expiring(expires * DAY)
    };
    for (after, expires) in [(2, 20), (10, 20), (5, 6)] {
        story().when(signed(after, expires)).then([accepted(SIGNAL).from(Police).to([SafeHome])]);
    }
    for (after, expires) in [(1, 20), (11, 20), (5, 21)] {
        story().when(signed(after, expires)).refused(Refusal::KeyWindow, Police);
    }
}

#[test]
fn an_address_has_at_most_thirty_two_usable_statements_but_may_always_withdraw() {
    let mut story = given([]);
    let mut last = first_key(Police);
    for serial in 2..=32 {
        let next = Item(100 + serial);
        story.must(key_statement(next).of(Police).serial(u64::from(serial), Some(last)));
        last = next;
    }
    story
        .when(key_statement(STATEMENT).of(Police).serial(33, Some(last)))
        .refused(Refusal::KeyMax, Police)
        .when(key_statement(NEXT_STATEMENT).of(Police).serial(33, Some(last)).withdrawing())
        .then([accepted(NEXT_STATEMENT).from(Police).to([Police])]);
}

#[test]
fn withdrawing_and_stating_anew_does_not_fill_the_log() {
    let mut story = given([]);
    let (mut last, mut serial) = (first_key(Police), 1);
    let mut next = || {
        serial += 1;
        let step = key_statement(Item(100 + serial)).of(Police).serial(u64::from(serial), Some(last));
        last = Item(100 + serial);
        step
    };
    // With the first, which every story begins with, these are thirty-two within a day, and nothing is in force.
    for _ in 0..15 {
        story.must(next().withdrawing());
        story.must(next());
    }
    story.must(next().withdrawing());
    let (more, again) = (next(), next());
    story
        .when(more.clone())
        .refused(Refusal::KeyMax, Police)
        .when(again.serial(33, Some(Item(132))).withdrawing())
        .refused(Refusal::KeyMax, Police)
        .when(more.signed_after(DAY))
        .then([accepted(Item(133)).from(Police).to([Police])]);
}
