//! Signals: accepted once, consigned to each recipient, refused for a stated reason.

use seinpost_core::event::{About, Audience, Retention, What};
use seinpost_core::refusal::Refusal;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire::{DeliveryState, RetentionClass};

use crate::harness::*;

#[test]
fn a_signal_is_accepted_for_its_sender_and_consigned_to_each_recipient() {
    given([])
        .when(signal(SIGNAL).from(Police).to([SafeHome, Prosecution]))
        .then([accepted(SIGNAL).from(Police).to([SafeHome, Prosecution])]);
}

#[test]
fn an_acceptance_says_what_the_signal_is_and_no_more() {
    let story = given([]).when(signal(SIGNAL).from(Police).to([SafeHome]));
    let [acceptance, consignment] = story.decision.events.try_into().unwrap();
    assert_eq!(acceptance.audience, Audience::Address(Police.address()));
    assert_eq!(acceptance.retention, Retention::TrafficSixMonths);
    assert_eq!(acceptance.covenant, covenant_digest(1));
    assert_eq!(acceptance.mailbox, None);
    assert_eq!(acceptance.conversation, Some((SIGNAL.id(), 1)));
    let mut crls = [Digest::of(b"crl a"), Digest::of(b"crl b")];
    crls.sort();
    assert_eq!(acceptance.crls, crls);
    let What::Accepted { item_id, about: About::Signal { expires, .. }, addressees, .. } = acceptance.what else {
        panic!("no acceptance")
    };
    assert_eq!((item_id, expires), (SIGNAL.id(), start() + 14 * DAY));
    assert_eq!((addressees[0].index, addressees[0].rule_id.as_str()), (acceptance.index + 1, "rule"));
    assert_eq!(consignment.mailbox, Some(2), "the mailbox began with the address's own key statement");
    assert_eq!(consignment.conversation, Some((SIGNAL.id(), 1)));
    assert_eq!(consignment.retention, Retention::TrafficSixMonths);
}

#[test]
fn the_same_item_again_is_the_same_acceptance() {
    given([signal(SIGNAL).to([SafeHome])]).when(signal(SIGNAL).to([SafeHome])).already(SIGNAL);
}

#[test]
fn the_same_item_again_is_the_same_acceptance_whatever_changed_in_between() {
    given([
        signal(SIGNAL).to([SafeHome]),
        covenant(2),
        key_statement(STATEMENT).of(SafeHome).serial(2, Some(first_key(SafeHome))).withdrawing().under(2),
    ])
    .when(signal(SIGNAL).to([SafeHome]).after(30 * DAY))
    .already(SIGNAL);
}

#[test]
fn an_id_that_was_used_for_another_item_is_refused() {
    given([signal(SIGNAL).to([SafeHome])])
        .when(signal(SIGNAL).to([SafeHome]).with(|submission| submission.digest = OTHER.digest()))
        .refused(Refusal::AlreadyExists, Police);
}

#[test]
fn two_senders_may_choose_one_id() {
    given([signal(SIGNAL).from(Police).to([SafeHome])])
        .when(
            signal(OTHER)
                .from(Prosecution)
                .to([YouthCare])
                .with(|submission| submission.item_id = SIGNAL.id())
                .with_signal(|signal| signal.conversation = OTHER.id()),
        )
        .refused(Refusal::NoRoute, Prosecution)
        .when(
            answer(OTHER, SIGNAL, seinpost_protocol::wire::AnswerCode::DeliveredReadable)
                .by(SafeHome)
                .with(|submission| submission.item_id = SIGNAL.id()),
        )
        .then([accepted(OTHER).from(SafeHome).to([Police])]);
}

#[test]
fn an_item_of_thirty_days_is_taken_and_an_older_one_is_refused() {
    let late = || signal(SIGNAL).to([SafeHome]).expiring(60 * DAY);
    given([]).when(late().after(30 * DAY)).then([accepted(SIGNAL).from(Police).to([SafeHome])]);
    given([]).when(late().after(30 * DAY + SECOND)).refused(Refusal::TooOld, Police);
}

#[test]
fn an_item_five_minutes_ahead_is_taken_and_one_further_ahead_is_refused() {
    let ahead = |by| {
        signal(SIGNAL).to([SafeHome]).with(move |submission| {
            submission.signed_at = start() + by;
        })
    };
    given([]).when(ahead(5 * MINUTE)).then([accepted(SIGNAL).from(Police).to([SafeHome])]);
    given([]).when(ahead(5 * MINUTE + SECOND)).refused(Refusal::FromTheFuture, Police);
}

#[test]
fn an_id_from_another_day_is_refused_because_it_could_be_forgotten_too_early() {
    let made = |before| {
        signal(SIGNAL)
            .to([SafeHome])
            .with(move |submission| submission.item_id = SIGNAL.id_at(start() - before))
            .with_signal(move |signal| {
                signal.conversation = SIGNAL.id_at(start() - before);
            })
    };
    given([]).when(made(DAY)).then([accepted(SIGNAL).from(Police).to([SafeHome])]);
    given([]).when(made(DAY + SECOND)).refused(Refusal::IdTime, Police);
}

#[test]
fn an_id_is_remembered_as_long_as_its_item_could_come_again() {
    // Signed when the story began; the record of day 29 lets the core forget what is older.
    given([signal(SIGNAL).to([SafeHome]), covenant(2).after(31 * DAY)])
        .when(signal(SIGNAL).to([SafeHome]).after(31 * DAY))
        .already(SIGNAL);
}

#[test]
fn an_id_is_forgotten_when_its_item_is_too_old_whoever_signed_it() {
    let story = given([signal(SIGNAL).to([SafeHome]), covenant(2).after(32 * DAY + SECOND)]);
    assert_eq!(story.state().known(Police.address(), SIGNAL.id()), None);
    story.when(signal(SIGNAL).to([SafeHome]).after(32 * DAY + SECOND)).refused(Refusal::TooOld, Police);
}

#[test]
fn a_signal_that_expires_before_it_arrives_is_refused() {
    let urgent = || signal(SIGNAL).to([SafeHome]).expiring(HOUR);
    given([]).when(urgent().after(HOUR)).refused(Refusal::ExpiredOnArrival, Police);
    given([]).when(urgent().after(HOUR - SECOND)).then([accepted(SIGNAL).from(Police).to([SafeHome])]);
}

#[test]
fn a_permit_by_another_covenant_is_stale_and_nobody_was_refused() {
    given([covenant(2)]).when(signal(SIGNAL).to([SafeHome])).refused_unrecorded(Refusal::PermitStale);
}

#[test]
fn the_old_covenant_rules_until_the_new_one_does() {
    let coming = || {
        let mut step = covenant(2);
        if let seinpost_core::command::Command::AdoptCovenant(covenant) = &mut step.command {
            covenant.valid_from = start() + DAY;
        }
        step
    };
    given([coming()])
        .when(signal(SIGNAL).to([SafeHome]).after(DAY - SECOND))
        .then([accepted(SIGNAL).from(Police).to([SafeHome])]);
    given([coming()])
        .when(signal(SIGNAL).to([SafeHome]).after(DAY).under(2))
        .then([accepted(SIGNAL).from(Police).to([SafeHome])]);
    given([coming()]).when(signal(SIGNAL).to([SafeHome]).after(DAY)).refused_unrecorded(Refusal::PermitStale);
}

#[test]
fn nothing_is_taken_under_a_covenant_that_has_run_out() {
    given([])
        .when(signal(SIGNAL).to([SafeHome]).signed_after(200 * DAY).expiring(201 * DAY))
        .refused(Refusal::NoCovenant, Police);
}

#[test]
fn nothing_is_taken_before_there_is_a_covenant() {
    nothing().when(signal(SIGNAL).to([SafeHome])).refused_unrecorded(Refusal::NoCovenant);
}

#[test]
fn a_signal_to_oneself_is_refused() {
    given([]).when(signal(SIGNAL).from(Police).to([SafeHome, Police])).refused(Refusal::ToSelf, Police);
}

#[test]
fn another_function_of_one_organisation_is_somebody_else() {
    given([]).when(signal(SIGNAL).from(YouthCare).to([Mayor])).then([accepted(SIGNAL).from(YouthCare).to([Mayor])]);
}

#[test]
fn a_signal_has_recipients_each_once_and_at_most_eight() {
    given([]).when(signal(SIGNAL).to([])).refused(Refusal::Recipients, Police);
    given([]).when(signal(SIGNAL).to([SafeHome, SafeHome])).refused(Refusal::Recipients, Police);
    let nine = signal(SIGNAL).to([SafeHome]).with_signal(|signal| {
        let recipient = signal.recipients[0].clone();
        signal.recipients = (1..10)
            .map(|number| {
                let mut recipient = recipient.clone();
                recipient.address.function = number.try_into().unwrap();
                recipient
            })
            .collect();
    });
    given([]).when(nine).refused(Refusal::Recipients, Police);
}

#[test]
fn a_signal_supersedes_only_one_of_its_own_sender() {
    let first = || signal(SIGNAL).from(Police).to([SafeHome]);
    given([first()])
        .when(signal(REPLY).from(Police).to([SafeHome]).superseding(SIGNAL))
        .then([accepted(REPLY).from(Police).to([SafeHome])]);
    given([first()])
        .when(signal(REPLY).from(SafeHome).to([YouthCare]).superseding(SIGNAL))
        .refused(Refusal::Supersedes, SafeHome);
    given([first()])
        .when(signal(REPLY).from(Police).to([SafeHome]).superseding(OTHER))
        .refused(Refusal::Supersedes, Police);
}

#[test]
fn the_state_shows_a_delivery_as_it_was_consigned() {
    let story = given([signal(SIGNAL).from(Police).to([SafeHome, Prosecution])]);
    let delivery = story.delivery(SIGNAL, Prosecution);
    assert_eq!(delivery.sender, Police.address());
    assert_eq!(delivery.state(), DeliveryState::Accepted);
    assert_eq!(delivery.item_id, SIGNAL.id());
    let all: Vec<_> =
        story.state().deliveries_of(SIGNAL.digest()).map(|delivery| Who::of(delivery.recipient)).collect();
    assert_eq!(all, [SafeHome, Prosecution]);
    let waiting: Vec<_> = story.state().unanswered(SafeHome.address()).map(|delivery| delivery.number).collect();
    assert_eq!(waiting, [2]);
}

#[test]
fn a_retention_class_counts_from_the_last_answer_or_expiry() {
    use seinpost_protocol::wire::AnswerCode::DeliveredReadable;
    for (class, kept) in [
        (RetentionClass::HubUntilAnswer, std::time::Duration::ZERO),
        (RetentionClass::Hub24h, DAY),
        (RetentionClass::Missing72h, 3 * DAY),
    ] {
        let mut story = given([
            signal(SIGNAL).to([SafeHome, YouthCare]).expiring(2 * DAY).kept(class),
            answer(ANSWER, SIGNAL, DeliveredReadable).by(SafeHome).after(DAY),
        ]);
        assert_eq!(story.state().content_due().count(), 0, "one delivery is open");
        story.must(tick().after(2 * DAY));
        let due = start() + 2 * DAY + kept;
        assert_eq!(story.state().content_due().collect::<Vec<_>>(), [(due, SIGNAL.digest())]);
        // A late answer does not keep the content longer.
        story.must(answer(SECOND_ANSWER, SIGNAL, DeliveredReadable).by(YouthCare).after(3 * DAY));
        assert_eq!(story.state().signal(SIGNAL.digest()).unwrap().content_due, Some(due));
    }
}
