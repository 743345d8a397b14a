//! Conversations: one's own id opens one, parties write to parties without a route, strangers learn nothing.

use seinpost_core::refusal::Refusal;
use seinpost_protocol::wire::AnswerCode::DeliveredReadable;

use crate::harness::*;

#[test]
fn a_party_writes_to_a_party_without_a_route() {
    given([signal(SIGNAL).from(Police).to([SafeHome, YouthCare])])
        .when(signal(REPLY).from(SafeHome).to([YouthCare, Police]).unrouted().in_conversation_of(SIGNAL))
        .then([accepted(REPLY).from(SafeHome).to([YouthCare, Police])]);
}

#[test]
fn a_new_address_in_a_conversation_needs_a_route() {
    let opened = || given([signal(SIGNAL).from(Police).to([SafeHome])]);
    opened()
        .when(signal(REPLY).from(SafeHome).to([YouthCare]).in_conversation_of(SIGNAL))
        .then([accepted(REPLY).from(SafeHome).to([YouthCare])]);
    opened()
        .when(signal(REPLY).from(SafeHome).to([YouthCare]).unrouted().in_conversation_of(SIGNAL))
        .refused(Refusal::NoRoute, SafeHome);
}

#[test]
fn one_unreachable_recipient_refuses_the_whole_signal() {
    let mixed = signal(REPLY).from(SafeHome).to([Police, Prosecution]).unrouted().in_conversation_of(SIGNAL);
    given([signal(SIGNAL).from(Police).to([SafeHome])]).when(mixed).refused(Refusal::NoRoute, SafeHome);
}

#[test]
fn whoever_opens_a_conversation_needs_a_route_to_all() {
    given([]).when(signal(SIGNAL).to([SafeHome]).unrouted()).refused(Refusal::NoRoute, Police);
}

#[test]
fn a_strangers_conversation_and_an_unknown_one_are_one_answer() {
    let opened = || given([signal(SIGNAL).from(Police).to([SafeHome])]);
    let stranger = signal(REPLY).from(Prosecution).to([SafeHome]).in_conversation_of(SIGNAL);
    let unknown = signal(REPLY).from(Prosecution).to([SafeHome]).in_conversation_of(OTHER);
    opened().when(stranger).refused(Refusal::NoRoute, Prosecution);
    opened().when(unknown).refused(Refusal::NoRoute, Prosecution);
}

#[test]
fn nobody_opens_a_conversation_under_an_id_that_somebody_else_opened_one_under() {
    let same_id = |item: Item, who| {
        signal(item)
            .from(who)
            .to([YouthCare])
            .with(|submission| submission.item_id = SIGNAL.id())
            .with_signal(|signal| signal.conversation = SIGNAL.id())
    };
    let opened = || given([signal(SIGNAL).from(Police).to([SafeHome])]);
    opened().when(same_id(OTHER, Prosecution)).refused(Refusal::NoRoute, Prosecution);
    // Not even a party: it is not its own.
    opened().when(same_id(OTHER, SafeHome)).refused(Refusal::NoRoute, SafeHome);
}

#[test]
fn numbers_in_a_conversation_count_for_each_party_alone() {
    let mut story = given([signal(SIGNAL).from(Police).to([SafeHome])]);
    let reply = story.must(signal(REPLY).from(SafeHome).to([Police]).in_conversation_of(SIGNAL));
    let places: Vec<_> = reply.events.iter().map(|event| event.conversation.unwrap().1).collect();
    assert_eq!(places, [2, 2]);
    let answered = story.must(answer(ANSWER, SIGNAL, DeliveredReadable).by(SafeHome));
    let places: Vec<_> = answered.events.iter().map(|event| event.conversation.unwrap()).collect();
    assert_eq!(places, [(SIGNAL.id(), 3), (SIGNAL.id(), 3)], "answers have their place in the signal's conversation");
}

#[test]
fn a_conversation_is_forgotten_six_months_after_its_last_item() {
    let opened = || given([covenant(2), signal(SIGNAL).from(Police).to([SafeHome]).under(2)]);
    let renewed = key_statement(STATEMENT)
        .of(Police)
        .serial(2, Some(first_key(Police)))
        .under(2)
        .windows(150 * DAY, 230 * DAY, 250 * DAY)
        .signed_after(160 * DAY);
    let reply = |after| {
        signal(REPLY)
            .from(SafeHome)
            .to([Police])
            .unrouted()
            .in_conversation_of(SIGNAL)
            .sealed_to(STATEMENT)
            .under(2)
            .signed_after(after)
            .expiring(after + DAY)
    };
    let mut story = opened();
    story.must(renewed.clone());
    story.when(reply(181 * DAY)).then([accepted(REPLY).from(SafeHome).to([Police])]);
    let mut story = opened();
    story.must(renewed);
    let story = story.when(reply(181 * DAY + SECOND)).refused(Refusal::NoRoute, SafeHome);
    assert!(story.state().conversation(SIGNAL.id()).is_none());
    assert_eq!(story.state().deliveries().count(), 0, "traffic data is forgotten with it");
    assert_eq!(story.state().deliveries_by_party(Police.address(), u64::MAX).count(), 0);
    assert_eq!(story.state().waiting(0).count(), 0);
    assert_eq!(story.state().sent(Police.address(), SIGNAL.id()), None);
}
