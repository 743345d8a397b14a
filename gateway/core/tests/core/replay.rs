//! Random lives of an exchange, judged from the outside: every answer is compared with what a reader of the log, who
//! goes through all of it again for every question, would have said; and a replay of the records gives the same state.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use seinpost_core::apply::apply;
use seinpost_core::command::{Command, Submission, Submitted};
use seinpost_core::decide::{Answer, Decision};
use seinpost_core::event::{About, Addressee, Audience, Event, What};
use seinpost_core::refusal::Refusal;
use seinpost_core::state::{Delivery, State};
use seinpost_protocol::address::Address;
use seinpost_protocol::certificate::CrlNumber;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::AnswerCode;

use crate::harness::*;

/// What can happen. Items are few, so that they are repeated, answered twice and misused.
#[derive(Debug, Clone)]
enum Op {
    Signal { item: u16, from: Who, to: Vec<Who>, routed: bool, conversation: u16, supersedes: Option<u16>, lives: u32 },
    Answer { item: u16, of: u16, by: Who, code: AnswerCode },
    Key { item: u16, of: Who, serial_off_by: u64, withdraws: bool },
    HandOver { item: u16, to: Who },
    Reject { who: Who },
    Forge { item: u16 },
    Tick,
    Covenant,
    Wait { hours: u32 },
    ClockFalls { minutes: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let item = 0..12_u16;
    let who = select(EVERYBODY.to_vec());
    let code = select(vec![AnswerCode::DeliveredReadable, AnswerCode::NotCompetent, AnswerCode::ExcessData]);
    let to = proptest::sample::subsequence(EVERYBODY.to_vec(), 1..=3);
    prop_oneof![
        6 => (item.clone(), who.clone(), to, any::<bool>(), item.clone(), proptest::option::weighted(0.2, item.clone()), 1..100_u32)
            .prop_map(|(item, from, to, routed, conversation, supersedes, lives)| Op::Signal {
                item, from, to, routed, conversation, supersedes, lives
            }),
        6 => (item.clone(), item.clone(), who.clone(), code)
            .prop_map(|(item, of, by, code)| Op::Answer { item: 100 + item, of, by, code }),
        1 => (0..50_u16, who.clone(), prop_oneof![8 => Just(0_u64), 1 => Just(1)], proptest::bool::weighted(0.1))
            .prop_map(|(item, of, serial_off_by, withdraws)| Op::Key { item: 200 + item, of, serial_off_by, withdraws }),
        3 => (item.clone(), who.clone()).prop_map(|(item, to)| Op::HandOver { item, to }),
        1 => who.prop_map(|who| Op::Reject { who }),
        1 => item.prop_map(|item| Op::Forge { item }),
        2 => Just(Op::Tick),
        1 => Just(Op::Covenant),
        3 => prop_oneof![8 => 1..72_u32, 1 => 300..5000_u32].prop_map(|hours| Op::Wait { hours }),
        1 => (1..600_u32).prop_map(|minutes| Op::ClockFalls { minutes }),
    ]
}

/// One life: the core, its log, the clock, and how many covenants there are.
struct Life {
    story: Given,
    clock: Duration,
    covenants: u64,
}

impl Life {
    fn step(&self, op: &Op) -> Option<Step> {
        // An item has one time for ever, so that repeating it means the same item; items of later times are others.
        let signed = DAY * u32::try_from(self.clock.as_secs() / DAY.as_secs()).unwrap();
        let fresh = |item: u16| Item(item + 300 * (u16::try_from(signed.as_secs() / DAY.as_secs()).unwrap() % 100));
        let sign = |step: Step| step.signed_after(signed).under(self.covenants).after(self.clock);
        Some(match op {
            Op::Signal { item, from, to, routed, conversation, supersedes, lives } => {
                let step = signal(fresh(*item)).from(*from).to(to.iter().copied()).expiring(signed + *lives * HOUR * 5);
                let step = if *routed { step } else { step.unrouted() };
                let step = sign(step);
                let step = if conversation == item {
                    step
                } else {
                    step.with_signal(|signal| signal.conversation = fresh(*conversation).id_at(start() + signed))
                };
                let step = supersedes.map_or(step.clone(), |item| step.superseding(fresh(item)));
                // Whom it is sealed to: the newest statement that the state knows, as a client would.
                let state = self.story.state();
                step.with_signal(|signal| {
                    for recipient in &mut signal.recipients {
                        if let Some(newest) =
                            state.key_statement(recipient.address).and_then(|keys| keys.statements.last())
                        {
                            recipient.key_statement = newest.digest;
                        }
                    }
                })
            }
            Op::Answer { item, of, by, code } => sign(answer(fresh(*item), fresh(*of), *code).by(*by)),
            Op::Key { item, of, serial_off_by, withdraws } => {
                let keys = self.story.state().key_statement(of.address()).unwrap();
                let step = key_statement(fresh(*item)).of(*of).serial(keys.serial + 1 + serial_off_by, None);
                let step = step.windows(signed, signed + 90 * DAY, signed + 120 * DAY);
                let step = if *withdraws { step.withdrawing() } else { step };
                let digest = keys.digest;
                sign(step).with(|submission| match &mut submission.what {
                    Submitted::KeyStatement(statement) => statement.previous = Some(digest),
                    Submitted::Signal(_) | Submitted::Answer(_) => unreachable!(),
                })
            }
            Op::HandOver { item, to } => hand_over(fresh(*item), *to).after(self.clock),
            Op::Reject { who } => reject(*who, "NO_RULE").after(self.clock),
            Op::Forge { item } => {
                let step = sign(signal(fresh(*item)).from(Police).to([SafeHome]));
                step.with(|submission| submission.digest = Digest::of_parts(&[b"other", submission.digest.as_ref()]))
            }
            Op::Tick => tick().after(self.clock),
            Op::Covenant => {
                let mut step = covenant(self.covenants + 1).after(self.clock);
                if let Command::AdoptCovenant(covenant) = &mut step.command {
                    covenant.valid_until = start() + 1000 * DAY;
                }
                step
            }
            Op::Wait { .. } | Op::ClockFalls { .. } => return None,
        })
    }

    fn live(&mut self, op: &Op) {
        match op {
            Op::Wait { hours } => self.clock += *hours * HOUR,
            Op::ClockFalls { minutes } => self.clock = self.clock.saturating_sub(*minutes * MINUTE),
            Op::Covenant => self.covenants += 1,
            _ => {}
        }
        let covenants = self.covenants - u64::from(matches!(op, Op::Covenant));
        let step = Life { story: std::mem::replace(&mut self.story, nothing()), clock: self.clock, covenants };
        let command = step.step(op);
        self.story = step.story;
        let Some(step) = command else { return };
        let before = self.story.log.clone();
        let decision = self.story.take(&step);
        let time = (start() + step.after).max(before.last().unwrap().time);
        Reader { log: &before, time }.check(&step.command, &decision);
        let state = self.story.state();
        assert_eq!(replayed(&self.story.log), *state);
        check_lists(state);
    }
}

/// Every list is what somebody would pick out who goes through all deliveries.
fn check_lists(state: &State) {
    let mut all: Vec<&Delivery> = state.deliveries().collect();
    let waiting: Vec<&Delivery> = all.iter().copied().filter(|delivery| delivery.answer.is_none()).collect();
    let places = waiting.iter().map(|delivery| delivery.index).chain([0, state.size()]);
    for from in places {
        let behind: Vec<&Delivery> = waiting.iter().copied().filter(|delivery| delivery.index >= from).collect();
        assert_eq!(state.waiting(from).collect::<Vec<_>>(), behind);
    }
    all.reverse();
    for before in all.iter().map(|delivery| delivery.index).chain([0, state.size()]) {
        let older = || all.iter().copied().filter(|delivery| delivery.index < before);
        assert_eq!(state.deliveries_before(before).collect::<Vec<_>>(), older().collect::<Vec<_>>());
        for party in EVERYBODY.map(Who::address) {
            let own = older().filter(|delivery| delivery.sender == party || delivery.recipient == party);
            assert_eq!(state.deliveries_by_party(party, before).collect::<Vec<_>>(), own.collect::<Vec<_>>());
        }
    }
    for delivery in all {
        let sent = state.sent(delivery.sender, delivery.item_id);
        assert_eq!(sent, state.signal(delivery.item), "a signal is found by its id as long as it has deliveries");
    }
}

/// Applies what is read back from the records of a log.
fn replayed(log: &[Event]) -> State {
    let mut state = State::default();
    for event in log {
        let read = Event::from_record(&event.to_record()).unwrap();
        assert_eq!(read, *event);
        apply(&mut state, &read);
    }
    state
}

/// Somebody who knows nothing but the log, and reads it from the first record for every question.
struct Reader<'a> {
    log: &'a [Event],
    time: Timestamp,
}

impl Reader<'_> {
    fn check(&self, command: &Command, decision: &Decision) {
        match command {
            Command::Submit(submission) => self.check_submission(submission, decision),
            Command::HandOver { item, recipient } => {
                let expected = match (self.consignment(*item, *recipient), self.hand_over(*item, *recipient)) {
                    (None, _) => Answer::Refused(Refusal::DeliveryUnknown),
                    (Some(_), Some(index)) => Answer::Already { index },
                    (Some(_), None) => Answer::Recorded { index: self.log.len() as u64 },
                };
                assert_eq!(decision.answer, expected);
            }
            Command::Tick => {
                let told: Vec<(Digest, Address)> = decision.events.iter().filter_map(expiry).collect();
                let mut due = self.overdue();
                due.sort_by_key(|(expires, index, ..)| (*expires, *index));
                let due: Vec<(Digest, Address)> = due.into_iter().map(|(_, _, item, to)| (item, to)).collect();
                assert_eq!(told, due);
            }
            Command::Reject(rejection) => {
                let recorded = decision.events.iter().any(|event| matches!(event.what, What::Rejected { .. }));
                assert_eq!(decision.suppressed.is_some(), !recorded);
                let hour = self.rejections(rejection.who);
                assert!(hour <= 10, "{hour} refusals of one participant in its window");
            }
            _ => {}
        }
    }

    fn check_submission(&self, submission: &Submission, decision: &Decision) {
        let acceptance = decision.events.iter().find(|event| matches!(event.what, What::Accepted { .. }));
        match (self.expected(submission), decision.answer) {
            (Err(expected), Answer::Refused(refusal)) => assert_eq!(refusal, expected),
            (Ok(Some(index)), Answer::Already { index: answered }) => assert_eq!(answered, index),
            (Ok(None), Answer::Recorded { index }) => {
                let acceptance = acceptance.expect("what is recorded is accepted");
                assert_eq!(acceptance.index, index);
                if let Submitted::Answer(answer) = &submission.what {
                    self.check_answer(submission, answer.item, acceptance, decision);
                }
                return;
            }
            (expected, answer) => panic!("{submission:?}: expected {expected:?}, but {answer:?}"),
        }
        assert!(acceptance.is_none(), "nothing is accepted");
    }

    fn check_answer(&self, submission: &Submission, item: Digest, acceptance: &Event, decision: &Decision) {
        let consignment = self.consignment(item, submission.signer).unwrap();
        let (sender, expires) = self.sent(item).unwrap();
        let What::Accepted { about: About::Answer { consignment: answered, late, .. }, addressees, .. } =
            &acceptance.what
        else {
            panic!("an answer was accepted as something else")
        };
        assert_eq!(*answered, consignment);
        assert_eq!(*late, expires <= self.time);
        let told = decision.events.iter().any(|event| expiry(event).is_some());
        assert_eq!(*late, told || self.expiry(item, submission.signer));
        assert_eq!(addressees.iter().map(|addressee| addressee.to).collect::<Vec<_>>(), [sender]);
    }

    /// What the log says must become of an item: taken, taken before, or refused.
    fn expected(&self, submission: &Submission) -> Result<Option<u64>, Refusal> {
        for event in self.log {
            if let What::Accepted { item, item_id, addressees, about } = &event.what
                && *item_id == submission.item_id
                && sender(event, about, addressees) == submission.signer
                && item_id.time() + 32 * DAY >= self.log.last().unwrap().time
            {
                return if *item == submission.digest { Ok(Some(event.index)) } else { Err(Refusal::AlreadyExists) };
            }
        }
        if submission.signed_at + 30 * DAY < self.time {
            return Err(Refusal::TooOld);
        }
        if submission.signed_at > self.time + 5 * MINUTE {
            return Err(Refusal::FromTheFuture);
        }
        let ruling = self.log.iter().rev().find_map(|event| match event.what {
            What::CovenantAdopted { digest, valid_until, .. } => Some((digest, valid_until)),
            _ => None,
        });
        let (ruling, valid_until) = ruling.unwrap();
        if valid_until <= self.time {
            return Err(Refusal::NoCovenant);
        }
        if ruling != submission.permit_covenant {
            return Err(Refusal::PermitStale);
        }
        match &submission.what {
            Submitted::Signal(signal) => {
                if signal.expires <= self.time {
                    return Err(Refusal::ExpiredOnArrival);
                }
                if signal.recipients.iter().any(|recipient| recipient.address == submission.signer) {
                    return Err(Refusal::ToSelf);
                }
                let parties = self.parties(signal.conversation);
                let may_write = if signal.conversation == submission.item_id {
                    parties.is_empty()
                } else {
                    parties.contains(&submission.signer)
                };
                let reachable =
                    signal.recipients.iter().all(|recipient| recipient.routed || parties.contains(&recipient.address));
                if !may_write || !reachable {
                    return Err(Refusal::NoRoute);
                }
                if let Some(superseded) = signal.supersedes
                    && self.sent(superseded).is_none_or(|(sender, _)| sender != submission.signer)
                {
                    return Err(Refusal::Supersedes);
                }
                for recipient in &signal.recipients {
                    self.key(recipient.address, recipient.key_statement, submission.signed_at, signal.expires)?;
                }
                Ok(None)
            }
            Submitted::Answer(answer) => {
                if self.consignment(answer.item, submission.signer).is_none() {
                    return Err(Refusal::DeliveryUnknown);
                }
                if self.answered(answer.item, submission.signer) {
                    return Err(Refusal::AlreadyAnswered);
                }
                let (_, expires) = self.sent(answer.item).unwrap();
                if expires + 30 * DAY < self.time { Err(Refusal::DeliveryClosed) } else { Ok(None) }
            }
            Submitted::KeyStatement(statement) => {
                let newest = self.statements(submission.signer).last().map(|(_, _, serial, _)| *serial).unwrap();
                if statement.serial == newest + 1 { Ok(None) } else { Err(Refusal::KeySerial) }
            }
        }
    }

    /// Everything about traffic is forgotten half a year after; for conversations that is after their last item.
    fn remembered(&self, event: &Event) -> bool {
        event.time + 181 * DAY >= self.log.last().unwrap().time
    }

    /// Sender and expiry of a signal.
    fn sent(&self, signal: Digest) -> Option<(Address, Timestamp)> {
        self.log.iter().filter(|event| self.remembered(event)).find_map(|event| match (&event.what, event.audience) {
            (What::Accepted { item, about: About::Signal { expires, .. }, .. }, Audience::Address(sender))
                if *item == signal =>
            {
                Some((sender, *expires))
            }
            _ => None,
        })
    }

    fn consignment(&self, signal: Digest, to: Address) -> Option<u64> {
        self.sent(signal)?;
        let mut consigned = self
            .log
            .iter()
            .filter(|event| event.what == What::Consigned { item: signal } && event.audience == Audience::Address(to));
        consigned.next().map(|event| event.index)
    }

    fn answered(&self, signal: Digest, by: Address) -> bool {
        let consignment = self.consignment(signal, by).unwrap();
        let mut answers = self.log.iter().filter(|event| {
            matches!(&event.what, What::Accepted { about: About::Answer { consignment: answered, .. }, .. } if *answered == consignment)
        });
        let answered = answers.next().is_some();
        assert!(answers.next().is_none(), "a delivery was answered twice");
        answered
    }

    fn hand_over(&self, signal: Digest, to: Address) -> Option<u64> {
        let mut told = self.log.iter().filter(|event| event.what == What::HandedOver { item: signal, recipient: to });
        let first = told.next().map(|event| event.index);
        assert!(told.next().is_none(), "a hand-over was told twice");
        first
    }

    fn expiry(&self, signal: Digest, of: Address) -> bool {
        let told = self.log.iter().filter(|event| expiry(event) == Some((signal, of))).count();
        assert!(told <= 1, "an expiry was told twice");
        told == 1
    }

    /// Deliveries that are past their time, not answered and not told of.
    fn overdue(&self) -> Vec<(Timestamp, u64, Digest, Address)> {
        let mut overdue = Vec::new();
        for event in self.log {
            if let (What::Consigned { item }, Audience::Address(to)) = (&event.what, event.audience)
                && let Some((_, expires)) = self.sent(*item)
                && expires <= self.time
                && !self.answered(*item, to)
                && !self.expiry(*item, to)
            {
                overdue.push((expires, event.index, *item, to));
            }
        }
        overdue
    }

    /// Who is party to a conversation, while it is remembered.
    fn parties(&self, conversation: ItemId) -> Vec<Address> {
        let of_it: Vec<&Event> =
            self.log.iter().filter(|event| event.conversation.is_some_and(|place| place.0 == conversation)).collect();
        let alive = of_it.last().is_some_and(|last| last.time + 181 * DAY >= self.time);
        let address = |event: &&Event| match event.audience {
            Audience::Address(address) => address,
            Audience::All | Audience::Oversight => panic!("a conversation is between addresses"),
        };
        if alive { of_it.iter().map(address).collect() } else { Vec::new() }
    }

    /// (when, digest, serial, windows) of all statements of an address.
    #[allow(clippy::type_complexity, reason = "the type is written out once, where it is used")]
    fn statements(&self, of: Address) -> Vec<(Timestamp, Digest, u64, Option<seinpost_core::event::Windows>)> {
        let statements = self.log.iter().filter_map(|event| match &event.what {
            What::Accepted { item, about: About::Key { serial, windows }, addressees, .. }
                if addressees[0].to == of =>
            {
                Some((event.time, *item, *serial, *windows))
            }
            _ => None,
        });
        statements.collect()
    }

    fn key(&self, of: Address, named: Digest, signed_at: Timestamp, expires: Timestamp) -> Result<(), Refusal> {
        let statements = self.statements(of);
        let Some(at) = statements.iter().position(|(_, digest, ..)| *digest == named) else {
            return Err(Refusal::KeyUnknown);
        };
        let later = &statements[at + 1..];
        // What nobody can seal to any more is forgotten when the next statement comes.
        let windows = statements[at].3.ok_or(Refusal::KeyUnknown)?;
        let superseded =
            later.first().and_then(|(known, _, _, next)| Some((*known).max(next.as_ref()?.seal_from) + DAY));
        for (number, (known, ..)) in later.iter().enumerate() {
            let withdrawn = later[..=number].iter().any(|(.., windows)| windows.is_none());
            if windows.open_until < *known || (!withdrawn && superseded.is_some_and(|end| end < *known)) {
                return Err(Refusal::KeyUnknown);
            }
        }
        if later.iter().any(|(.., windows)| windows.is_none()) {
            return Err(Refusal::KeyWithdrawn);
        }
        if superseded.is_some_and(|end| end < self.time) {
            return Err(Refusal::KeySuperseded);
        }
        let fits = windows.seal_from <= signed_at && signed_at <= windows.seal_until && expires <= windows.open_until;
        if fits { Ok(()) } else { Err(Refusal::KeyWindow) }
    }

    /// How many refusals of a participant were recorded in the hour that began with the first of them.
    fn rejections(&self, who: Address) -> usize {
        let mut since: Option<Timestamp> = None;
        let mut recorded = 0;
        for event in self.log {
            if matches!(event.what, What::Rejected { .. }) && event.audience == Audience::Address(who) {
                if since.is_none_or(|since| event.time >= since + HOUR) {
                    since = Some(event.time);
                    recorded = 0;
                }
                recorded += 1;
            }
        }
        recorded
    }
}

fn expiry(event: &Event) -> Option<(Digest, Address)> {
    match event.what {
        What::Expired { item, recipient } => Some((item, recipient)),
        _ => None,
    }
}

fn sender(event: &Event, about: &About, addressees: &[Addressee]) -> Address {
    match (about, event.audience) {
        (About::Key { .. }, _) => addressees[0].to,
        (_, Audience::Address(address)) => address,
        (_, audience) => panic!("{audience:?} sends nothing"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_what_a_reader_of_the_whole_log_would_give(ops in prop::collection::vec(op(), 1..60)) {
        let mut life = Life { story: given([]), clock: Duration::ZERO, covenants: 1 };
        for op in &ops {
            life.live(op);
        }
    }
}

#[test]
fn every_kind_of_event_is_read_back_from_its_record_as_it_was() {
    use seinpost_core::command::{NewCertificate, NewCrl};
    let mut story = given([
        signal(SIGNAL).to([SafeHome, YouthCare]).expiring(DAY),
        answer(ANSWER, SIGNAL, AnswerCode::DeliveredReadable).by(YouthCare),
        key_statement(STATEMENT).of(Police).serial(2, Some(first_key(Police))).withdrawing(),
        hand_over(SIGNAL, SafeHome),
        reject(Police, "NO_RULE"),
        Step::now(Command::Start { software: "seinpost-gateway".to_owned() }),
        Step::now(Command::Access { who: Mayor.address(), call: "/call".to_owned(), filter: String::new() }),
        Step::now(Command::ConfirmClock),
        Step::now(Command::PublishCertificate(NewCertificate {
            oin: Police.address().oin,
            leaf: Digest::of(b"leaf"),
            chain: vec![Digest::of(b"issuer"), Digest::of(b"above")],
            spki: Digest::of(b"key"),
            not_after: start() + DAY,
            crls: vec![Digest::of(b"crl")],
        })),
        Step::now(Command::AdoptCrl(NewCrl {
            issuer: Digest::of(b"issuer"),
            number: CrlNumber::try_from([1, 0].as_slice()).unwrap(),
            this_update: start(),
            next_update: start() + DAY,
            sha256: Digest::of(b"crl"),
        })),
    ]);
    story.must(tick().after(DAY));
    let kinds: std::collections::BTreeSet<_> = story
        .log
        .iter()
        .map(|event| format!("{:?}", event.what).split([' ', '{']).next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.len(), 11, "{kinds:?}");
    assert_eq!(replayed(&story.log), *story.state());
}

#[test]
fn a_record_of_another_format_or_without_what_is_needed_is_no_event() {
    let story = given([signal(SIGNAL).to([SafeHome])]);
    let record = story.log.iter().find(|event| event.conversation.is_some()).unwrap().to_record();
    let broken = |change: fn(&mut seinpost_protocol::wire::Record)| {
        let mut record = record.clone();
        change(&mut record);
        Event::from_record(&record).unwrap_err().0
    };
    assert_eq!(broken(|record| record.format = 2), "format");
    assert_eq!(broken(|record| record.time = None), "time");
    assert_eq!(broken(|record| record.audience = None), "audience");
    assert_eq!(broken(|record| record.retention = 0), "retention");
    assert_eq!(broken(|record| record.event = None), "event");
    assert_eq!(broken(|record| record.covenant_digest.clear()), "covenant_digest");
    assert_eq!(broken(|record| record.conversation.as_mut().unwrap().id.clear()), "conversation.id");
}
