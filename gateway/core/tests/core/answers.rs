//! Answers and hand-overs: one of each per delivery, told to the sender of the signal.

use seinpost_core::event::{About, Audience, What};
use seinpost_core::refusal::Refusal;
use seinpost_protocol::wire::AnswerCode::{
    CommitmentMismatch, DeliveredReadable, DuplicateOf, ExcessData, NotCompetent, ProfileViolation, UnreadableKey,
    WrongRecipient,
};
use seinpost_protocol::wire::DeliveryState;

use crate::harness::*;

fn sent() -> Given {
    given([signal(SIGNAL).from(Police).to([SafeHome, YouthCare]).expiring(2 * DAY)])
}

#[test]
fn an_answer_is_consigned_to_the_sender_of_the_signal() {
    sent()
        .when(answer(ANSWER, SIGNAL, DeliveredReadable).by(YouthCare))
        .then([accepted(ANSWER).from(YouthCare).to([Police])]);
}

#[test]
fn an_answer_names_the_consignment_of_its_own_signer() {
    let story = sent();
    let index = story.delivery(SIGNAL, YouthCare).index;
    let when = story.when(answer(ANSWER, SIGNAL, DeliveredReadable).by(YouthCare));
    let What::Accepted { about: About::Answer { consignment, late, code }, .. } = when.decision.events[0].what else {
        panic!("no answer was accepted")
    };
    assert_eq!((consignment, late, code), (index, false, DeliveredReadable));
    assert_eq!(when.decision.events[0].audience, Audience::Address(YouthCare.address()));
}

#[test]
fn an_answer_is_final() {
    let mut story = sent();
    story.must(answer(ANSWER, SIGNAL, NotCompetent).by(YouthCare));
    story
        .when(answer(SECOND_ANSWER, SIGNAL, DeliveredReadable).by(YouthCare))
        .refused(Refusal::AlreadyAnswered, YouthCare)
        .when(answer(ANSWER, SIGNAL, NotCompetent).by(YouthCare))
        .already(ANSWER)
        .when(answer(SECOND_ANSWER, SIGNAL, DeliveredReadable).by(SafeHome))
        .then([accepted(SECOND_ANSWER).from(SafeHome).to([Police])]);
}

#[test]
fn only_a_recipient_answers_and_what_is_foreign_is_unknown() {
    for (who, item) in [(Police, SIGNAL), (Prosecution, SIGNAL), (Mayor, SIGNAL), (YouthCare, OTHER)] {
        sent().when(answer(ANSWER, item, DeliveredReadable).by(who)).refused(Refusal::DeliveryUnknown, who);
    }
}

#[test]
fn nobody_answers_an_answer() {
    let mut story = sent();
    story.must(answer(ANSWER, SIGNAL, DeliveredReadable).by(YouthCare));
    story.when(answer(SECOND_ANSWER, ANSWER, DeliveredReadable).by(Police)).refused(Refusal::DeliveryUnknown, Police);
}

#[test]
fn each_code_leaves_the_delivery_in_its_state() {
    for (code, state) in [
        (DeliveredReadable, DeliveryState::Answered),
        (UnreadableKey, DeliveryState::Undeliverable),
        (WrongRecipient, DeliveryState::Undeliverable),
        (NotCompetent, DeliveryState::Undeliverable),
        (ExcessData, DeliveryState::AnsweredWithFault),
        (ProfileViolation, DeliveryState::AnsweredWithFault),
        (CommitmentMismatch, DeliveryState::AnsweredWithFault),
    ] {
        let mut story = sent();
        story.must(answer(ANSWER, SIGNAL, code).by(YouthCare));
        assert_eq!(story.delivery(SIGNAL, YouthCare).state(), state);
        assert_eq!(story.delivery(SIGNAL, SafeHome).state(), DeliveryState::Accepted, "the other's is untouched");
    }
}

#[test]
fn a_late_answer_is_taken_and_marked_and_the_delivery_stays_expired() {
    let mut story = sent();
    story.must(tick().after(2 * DAY));
    let story =
        story
            .when(answer(ANSWER, SIGNAL, DeliveredReadable).by(YouthCare).after(3 * DAY))
            .then([accepted(ANSWER).from(YouthCare).to([Police]).late()]);
    assert_eq!(story.delivery(SIGNAL, YouthCare).state(), DeliveryState::Expired);
    assert!(story.delivery(SIGNAL, YouthCare).answer.unwrap().late);
}

#[test]
fn an_answer_before_the_expiry_was_told_is_told_after_it() {
    sent()
        .when(answer(ANSWER, SIGNAL, DeliveredReadable).by(YouthCare).after(2 * DAY))
        .then([expired(SIGNAL, YouthCare, Police), accepted(ANSWER).from(YouthCare).to([Police]).late()]);
    sent().when(answer(ANSWER, SIGNAL, DeliveredReadable).by(YouthCare).after(2 * DAY - SECOND)).then([accepted(
        ANSWER,
    )
    .from(YouthCare)
    .to([Police])]);
}

#[test]
fn a_delivery_is_closed_thirty_days_after_it_expired() {
    let late = |after| answer(ANSWER, SIGNAL, DeliveredReadable).by(YouthCare).signed_after(after);
    sent()
        .when(late(32 * DAY))
        .then([expired(SIGNAL, YouthCare, Police), accepted(ANSWER).from(YouthCare).to([Police]).late()]);
    sent().when(late(32 * DAY + SECOND)).refused(Refusal::DeliveryClosed, YouthCare);
}

#[test]
fn a_duplicate_is_of_an_earlier_signal_from_the_same_sender() {
    let story = || {
        given([
            signal(SIGNAL).from(Police).to([SafeHome]),
            signal(OTHER).from(Prosecution).to([SafeHome]),
            signal(REPLY).from(Police).to([SafeHome]),
        ])
    };
    let duplicate = |item, of| answer(ANSWER, item, DuplicateOf).by(SafeHome).duplicate_of(of);
    story().when(duplicate(REPLY, SIGNAL)).then([accepted(ANSWER).from(SafeHome).to([Police])]);
    for (item, of) in [(REPLY, OTHER), (REPLY, REPLY), (SIGNAL, REPLY), (REPLY, STATEMENT)] {
        story().when(duplicate(item, of)).refused(Refusal::DuplicateOf, SafeHome);
    }
}

#[test]
fn a_hand_over_is_told_to_the_sender_once() {
    let story = sent().when(hand_over(SIGNAL, SafeHome)).then([handed_over(SIGNAL, SafeHome, Police)]);
    assert_eq!(story.delivery(SIGNAL, SafeHome).state(), DeliveryState::HandedOver);
    let notice = story.log.last().unwrap();
    assert_eq!((notice.mailbox, notice.conversation), (Some(2), None), "a notice stands in the mailbox alone");
    let again = story.when(hand_over(SIGNAL, SafeHome));
    assert!(matches!(again.decision.answer, seinpost_core::decide::Answer::Already { .. }));
    again.then([]).when(hand_over(SIGNAL, YouthCare)).then([handed_over(SIGNAL, YouthCare, Police)]);
}

#[test]
fn answers_and_key_statements_earn_no_hand_over() {
    let mut story = sent();
    story.must(answer(ANSWER, SIGNAL, DeliveredReadable).by(YouthCare));
    story
        .when(hand_over(ANSWER, Police))
        .refused_unrecorded(Refusal::DeliveryUnknown)
        .when(hand_over(first_key(SafeHome), SafeHome))
        .refused_unrecorded(Refusal::DeliveryUnknown);
}
