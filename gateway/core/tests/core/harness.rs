//! The mechanics behind the sentences: who and what there is, how to say it, and how it is compared.
//!
//! Every story begins at [`START`] with a covenant in force and one key statement of each address, all recorded. What
//! is expected is said without indexes and numbers; that those are dense is checked of every story by itself.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use seinpost_core::command::{
    Command, NewAnswer, NewCovenant, NewKeyStatement, NewSignal, Recipient, Rejection, Submission, Submitted,
};
use seinpost_core::decide::{Answer, Decision};
use seinpost_core::decider::Decider;
use seinpost_core::event::{About, Audience, Event, What, Windows};
use seinpost_core::refusal::Refusal;
use seinpost_core::state::{Delivery, State};
use seinpost_protocol::address::{Address, Function, Oin};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::{AnswerCode, RetentionClass, SignalType, Urgency};

/// 2026-11-24T12:00:00Z; where the clock of every story stands at first.
pub fn start() -> Timestamp {
    Timestamp::from_millis(1_795_521_600_000).unwrap()
}

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(60 * 60);
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An address, by the number in its OIN and its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Police,
    SafeHome,
    YouthCare,
    /// Of the same organisation as youth care.
    Mayor,
    Prosecution,
}
pub use Who::{Mayor, Police, Prosecution, SafeHome, YouthCare};

pub const EVERYBODY: [Who; 5] = [Police, SafeHome, YouthCare, Mayor, Prosecution];

impl Who {
    pub fn address(self) -> Address {
        let (oin, function) = match self {
            Police => ("00000099155000000000", Function::PoliceOperations),
            SafeHome => ("00000099155001000000", Function::SafeHome),
            YouthCare => ("00000099155002000000", Function::MunicipalityCareReports),
            Mayor => ("00000099155002000000", Function::Mayor),
            Prosecution => ("00000099155003000000", Function::Prosecution),
        };
        Address { oin: Oin::try_from(oin).unwrap(), function }
    }

    pub fn of(address: Address) -> Self {
        EVERYBODY.into_iter().find(|who| who.address() == address).unwrap()
    }
}

/// An item, by a number of the story's choosing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item(pub u16);
pub const SIGNAL: Item = Item(1);
pub const REPLY: Item = Item(2);
pub const OTHER: Item = Item(3);
pub const ANSWER: Item = Item(4);
pub const SECOND_ANSWER: Item = Item(5);
pub const STATEMENT: Item = Item(6);
pub const NEXT_STATEMENT: Item = Item(7);
pub const THIRD_STATEMENT: Item = Item(8);

impl Item {
    pub fn digest(self) -> Digest {
        Digest::of(&self.0.to_be_bytes())
    }

    /// The id of an item that was made at a time.
    pub fn id_at(self, time: Timestamp) -> ItemId {
        let [a, b] = self.0.to_be_bytes();
        ItemId::new(time, [0, 0, 0, 0, 0, 0, 0, 0, a, b])
    }

    /// The id of an item that was made when the story began.
    pub fn id(self) -> ItemId {
        self.id_at(start())
    }

    fn of(digest: Digest) -> Self {
        static ITEMS: LazyLock<BTreeMap<Digest, Item>> =
            LazyLock::new(|| (0..u16::MAX).map(Item).map(|item| (item.digest(), item)).collect());
        ITEMS[&digest]
    }
}

/// The first key statement of an address, which every story begins with.
pub fn first_key(who: Who) -> Item {
    Item(1000 + who as u16)
}

pub fn covenant_digest(serial: u64) -> Digest {
    Digest::of(format!("covenant {serial}").as_bytes())
}

/// A command and how far into the story it comes.
#[derive(Debug, Clone)]
pub struct Step {
    pub command: Command,
    pub after: Duration,
}

impl Step {
    pub fn now(command: Command) -> Self {
        Self { command, after: Duration::ZERO }
    }

    /// Lets the step come so long after the story began. What was signed at the beginning stays signed then.
    pub fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }

    /// Signs the item and lets it come so long after the story began.
    pub fn signed_after(mut self, after: Duration) -> Self {
        let submission = self.submission();
        let opens = matches!(&submission.what, Submitted::Signal(signal) if signal.conversation == submission.item_id);
        submission.signed_at = start() + after;
        submission.item_id = Item::of(submission.digest).id_at(start() + after);
        if let (true, Submitted::Signal(signal)) = (opens, &mut submission.what) {
            signal.conversation = submission.item_id;
        }
        self.after = after;
        self
    }

    /// Judged by a covenant other than the first.
    pub fn under(self, serial: u64) -> Self {
        self.with(|submission| submission.permit_covenant = covenant_digest(serial))
    }

    /// Changes the submission in what a story has no word for.
    pub fn with(mut self, change: impl FnOnce(&mut Submission)) -> Self {
        change(self.submission());
        self
    }

    pub fn from(self, who: Who) -> Self {
        self.with(|submission| submission.signer = who.address())
    }

    pub fn by(self, who: Who) -> Self {
        self.from(who)
    }

    pub fn of(self, who: Who) -> Self {
        self.from(who)
    }

    /// Addresses a signal; routes lead to all of them, and each has its first key.
    pub fn to(self, recipients: impl IntoIterator<Item = Who>) -> Self {
        let recipients = recipients.into_iter().map(|who| Recipient {
            address: who.address(),
            rule_id: "rule".to_owned(),
            routed: true,
            key_statement: first_key(who).digest(),
            key_floor: 0,
        });
        let recipients = recipients.collect();
        self.with_signal(|signal| signal.recipients = recipients)
    }

    /// No route leads to any recipient.
    pub fn unrouted(self) -> Self {
        self.with_signal(|signal| signal.recipients.iter_mut().for_each(|recipient| recipient.routed = false))
    }

    /// Seals to this statement, for all recipients.
    pub fn sealed_to(self, statement: Item) -> Self {
        let digest = statement.digest();
        self.with_signal(|signal| signal.recipients.iter_mut().for_each(|recipient| recipient.key_statement = digest))
    }

    /// The covenant's floor for all recipients' statements, or for the statement itself.
    pub fn floor(mut self, floor: u64) -> Self {
        match &mut self.submission().what {
            Submitted::Signal(signal) => signal.recipients.iter_mut().for_each(|recipient| recipient.key_floor = floor),
            Submitted::KeyStatement(statement) => statement.key_floor = floor,
            Submitted::Answer(_) => panic!("an answer has no floor"),
        }
        self
    }

    /// Writes in the conversation that an item of the story's beginning opened.
    pub fn in_conversation_of(self, item: Item) -> Self {
        self.with_signal(|signal| signal.conversation = item.id())
    }

    pub fn superseding(self, item: Item) -> Self {
        self.with_signal(|signal| signal.supersedes = Some(item.digest()))
    }

    /// Expires so long after the story began.
    pub fn expiring(self, after: Duration) -> Self {
        self.with_signal(|signal| signal.expires = start() + after)
    }

    pub fn kept(self, class: RetentionClass) -> Self {
        self.with_signal(|signal| signal.retention_class = class)
    }

    pub fn with_signal(self, change: impl FnOnce(&mut NewSignal)) -> Self {
        self.with(|submission| match &mut submission.what {
            Submitted::Signal(signal) => change(signal),
            Submitted::Answer(_) | Submitted::KeyStatement(_) => panic!("a signal is spoken of"),
        })
    }

    /// Says that the signal repeats an earlier one.
    pub fn duplicate_of(self, item: Item) -> Self {
        self.with(|submission| match &mut submission.what {
            Submitted::Answer(answer) => answer.duplicate_of = Some(item.digest()),
            Submitted::Signal(_) | Submitted::KeyStatement(_) => panic!("an answer is spoken of"),
        })
    }

    /// The statement's serial and the statement before it.
    pub fn serial(self, serial: u64, previous: Option<Item>) -> Self {
        self.with_statement(|statement| {
            statement.serial = serial;
            statement.previous = previous.map(Item::digest);
        })
    }

    /// Windows from the beginning of the story: sealing from, until, opening until.
    pub fn windows(self, seal_from: Duration, seal_until: Duration, open_until: Duration) -> Self {
        let [seal_from, seal_until, open_until] = [seal_from, seal_until, open_until].map(|after| start() + after);
        self.with_statement(|statement| statement.windows = Some(Windows { seal_from, seal_until, open_until }))
    }

    pub fn withdrawing(self) -> Self {
        self.with_statement(|statement| statement.windows = None)
    }

    fn with_statement(self, change: impl FnOnce(&mut NewKeyStatement)) -> Self {
        self.with(|submission| match &mut submission.what {
            Submitted::KeyStatement(statement) => change(statement),
            Submitted::Signal(_) | Submitted::Answer(_) => panic!("a key statement is spoken of"),
        })
    }

    fn submission(&mut self) -> &mut Submission {
        match &mut self.command {
            Command::Submit(submission) => submission,
            _ => panic!("an item is spoken of"),
        }
    }
}

fn submit(item: Item, what: Submitted) -> Step {
    Step::now(Command::Submit(Submission {
        signer: Police.address(),
        item_id: item.id(),
        digest: item.digest(),
        signed_at: start(),
        key_serial: 0,
        permit_covenant: covenant_digest(1),
        crls: vec![Digest::of(b"crl b"), Digest::of(b"crl a")],
        what,
    }))
}

/// A signal that opens its own conversation, to be addressed.
pub fn signal(item: Item) -> Step {
    submit(
        item,
        Submitted::Signal(NewSignal {
            signal_type: SignalType::ExploitationSignal,
            conversation: item.id(),
            supersedes: None,
            urgency: Urgency::Normal,
            expires: start() + 14 * DAY,
            retention_class: RetentionClass::Hub24h,
            recipients: Vec::new(),
        }),
    )
}

pub fn answer(item: Item, to: Item, code: AnswerCode) -> Step {
    submit(item, Submitted::Answer(NewAnswer { item: to.digest(), code, duplicate_of: None }))
}

/// A key statement whose windows are the widest: 90 days to seal, 30 more to open.
pub fn key_statement(item: Item) -> Step {
    let windows = Windows { seal_from: start(), seal_until: start() + 90 * DAY, open_until: start() + 120 * DAY };
    submit(
        item,
        Submitted::KeyStatement(NewKeyStatement { serial: 1, previous: None, windows: Some(windows), key_floor: 0 }),
    )
}

pub fn hand_over(item: Item, to: Who) -> Step {
    Step::now(Command::HandOver { item: item.digest(), recipient: to.address() })
}

pub fn tick() -> Step {
    Step::now(Command::Tick)
}

pub fn reject(who: Who, reason: &str) -> Step {
    Step::now(Command::Reject(Rejection {
        who: who.address(),
        reason: reason.to_owned(),
        nearest_rule: Some("rule-7".to_owned()),
    }))
}

pub fn covenant(serial: u64) -> Step {
    Step::now(Command::AdoptCovenant(NewCovenant {
        serial,
        digest: covenant_digest(serial),
        valid_from: start(),
        valid_until: start() + 200 * DAY,
    }))
}

/// What is expected of an event, without what the harness checks by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Accepted { item: Item, from: Who, to: Vec<Who>, late: bool },
    Consigned { item: Item, to: Who },
    HandedOver { item: Item, recipient: Who, told: Who },
    Expired { item: Item, recipient: Who, told: Who },
    Rejected { who: Who, reason: String, suppressed: u64 },
    Other(What),
}

impl Seen {
    /// Completes an expectation.
    pub fn from(mut self, who: Who) -> Self {
        match &mut self {
            Self::Accepted { from, .. } => *from = who,
            _ => panic!("only what was accepted is from somebody"),
        }
        self
    }

    /// Completes an expectation: each addressee gets a consignment too.
    pub fn to(mut self, whom: impl IntoIterator<Item = Who>) -> Self {
        match &mut self {
            Self::Accepted { to, .. } => *to = whom.into_iter().collect(),
            _ => panic!("only what was accepted is to somebody"),
        }
        self
    }

    /// Completes an expectation: the answer came late.
    pub fn late(mut self) -> Self {
        match &mut self {
            Self::Accepted { late, .. } => *late = true,
            _ => panic!("only an answer is late"),
        }
        self
    }

    fn with_consignments(self) -> Vec<Self> {
        match &self {
            Self::Accepted { item, to, .. } => {
                let consignments: Vec<_> = to.iter().map(|to| Self::Consigned { item: *item, to: *to }).collect();
                [vec![self.clone()], consignments].concat()
            }
            _ => vec![self],
        }
    }
}

pub fn accepted(item: Item) -> Seen {
    Seen::Accepted { item, from: Police, to: Vec::new(), late: false }
}

pub fn handed_over(item: Item, recipient: Who, told: Who) -> Seen {
    Seen::HandedOver { item, recipient, told }
}

pub fn expired(item: Item, recipient: Who, told: Who) -> Seen {
    Seen::Expired { item, recipient, told }
}

pub fn rejected(who: Who, reason: &str) -> Seen {
    Seen::Rejected { who, reason: reason.to_owned(), suppressed: 0 }
}

/// A story so far.
pub struct Given {
    pub decider: Decider,
    pub log: Vec<Event>,
    pub now: Timestamp,
}

/// What followed from the last step of a story.
pub struct When {
    pub story: Given,
    pub decision: Decision,
}

/// Tells what happened before; each step must have been taken.
pub fn given(steps: impl IntoIterator<Item = Step>) -> Given {
    let mut story = nothing();
    story.must(covenant(1));
    for who in EVERYBODY {
        story.must(key_statement(first_key(who)).of(who));
    }
    for step in steps {
        story.must(step);
    }
    story
}

/// A log without a record.
pub fn nothing() -> Given {
    Given { decider: Decider::default(), log: Vec::new(), now: start() }
}

impl Given {
    /// Takes a step that must not be refused.
    pub fn must(&mut self, step: Step) -> Decision {
        let decision = self.take(&step);
        assert!(!matches!(decision.answer, Answer::Refused(_)), "given {step:?}, but {:?}", decision.answer);
        decision
    }

    /// Takes a step, and checks what holds of every story.
    pub fn take(&mut self, step: &Step) -> Decision {
        self.now = start() + step.after;
        let decision = self.decider.decide(&step.command, self.now);
        self.log.extend(decision.events.iter().cloned());
        check_log(&self.log);
        decision
    }

    pub fn when(mut self, step: Step) -> When {
        let decision = self.take(&step);
        When { story: self, decision }
    }

    pub fn state(&self) -> &State {
        self.decider.state()
    }

    pub fn delivery(&self, item: Item, recipient: Who) -> &Delivery {
        self.state().delivery(item.digest(), recipient.address()).unwrap()
    }
}

impl When {
    /// Expects that exactly this is recorded.
    pub fn then(self, expected: impl IntoIterator<Item = Seen>) -> Given {
        let expected: Vec<Seen> = expected.into_iter().flat_map(Seen::with_consignments).collect();
        let seen: Vec<Seen> = self.decision.events.iter().map(seen).collect();
        assert_eq!(seen, expected, "answered {:?}", self.decision.answer);
        self.story
    }

    /// Expects a refusal that is recorded for whoever was refused.
    pub fn refused(self, refusal: Refusal, who: Who) -> Given {
        assert_eq!(self.decision.answer, Answer::Refused(refusal));
        self.then([rejected(who, refusal.reason())])
    }

    /// Expects a refusal that leaves no record.
    pub fn refused_unrecorded(self, refusal: Refusal) -> Given {
        assert_eq!(self.decision.answer, Answer::Refused(refusal));
        self.then([])
    }

    /// Expects the answer that the item's first submission got.
    pub fn already(self, item: Item) -> Given {
        let index = self.story.log.iter().find_map(|event| match &event.what {
            What::Accepted { item: digest, .. } if *digest == item.digest() => Some(event.index),
            _ => None,
        });
        assert_eq!(self.decision.answer, Answer::Already { index: index.unwrap() });
        self.then([])
    }

    pub fn nothing(self) -> Given {
        assert_eq!(self.decision.answer, Answer::Nothing);
        self.then([])
    }
}

fn seen(event: &Event) -> Seen {
    let audience = || match event.audience {
        Audience::Address(address) => Who::of(address),
        Audience::All | Audience::Oversight => panic!("{event:?} has the wrong audience"),
    };
    match &event.what {
        What::Accepted { item, about, addressees, .. } => Seen::Accepted {
            item: Item::of(*item),
            from: match about {
                About::Key { .. } => Who::of(addressees[0].to),
                About::Signal { .. } | About::Answer { .. } => audience(),
            },
            to: addressees.iter().map(|addressee| Who::of(addressee.to)).collect(),
            late: matches!(about, About::Answer { late: true, .. }),
        },
        What::Consigned { item } => Seen::Consigned { item: Item::of(*item), to: audience() },
        What::HandedOver { item, recipient } => {
            Seen::HandedOver { item: Item::of(*item), recipient: Who::of(*recipient), told: audience() }
        }
        What::Expired { item, recipient } => {
            Seen::Expired { item: Item::of(*item), recipient: Who::of(*recipient), told: audience() }
        }
        What::Rejected { reason, suppressed, .. } => {
            Seen::Rejected { who: audience(), reason: reason.clone(), suppressed: *suppressed }
        }
        other => Seen::Other(other.clone()),
    }
}

/// Checks what holds of every log: indexes and numbers are dense, time never falls, consignments follow their
/// acceptance in the order that it says. By the slow and obvious method.
pub fn check_log(log: &[Event]) {
    let mut mailboxes: BTreeMap<Address, u64> = BTreeMap::new();
    let mut conversations: BTreeMap<(ItemId, Address), u64> = BTreeMap::new();
    for (index, event) in log.iter().enumerate() {
        assert_eq!(event.index, index as u64);
        assert!(index == 0 || log[index - 1].time <= event.time, "time fell");
        assert!(event.crls.is_sorted_by(|earlier, later| earlier < later), "revocation lists are not ascending");
        if let Some(number) = event.mailbox {
            let Audience::Address(address) = event.audience else { panic!("a group has no mailbox") };
            let last = mailboxes.entry(address).or_default();
            *last += 1;
            assert_eq!(number, *last, "{address}'s mailbox has a gap");
        }
        if let Some((id, number)) = event.conversation {
            let Audience::Address(address) = event.audience else { panic!("a group writes no items") };
            let last = conversations.entry((id, address)).or_default();
            *last += 1;
            assert_eq!(number, *last, "{address} has a gap in a conversation");
        }
        if let What::Accepted { item, addressees, .. } = &event.what {
            for (behind, addressee) in addressees.iter().enumerate() {
                let consignment = &log[index + 1 + behind];
                assert_eq!(addressee.index, consignment.index);
                assert_eq!(consignment.audience, Audience::Address(addressee.to));
                assert_eq!(consignment.what, What::Consigned { item: *item });
                assert!(consignment.mailbox.is_some());
                assert_eq!(consignment.crls, event.crls);
                assert_eq!(consignment.conversation.map(|place| place.0), event.conversation.map(|place| place.0));
            }
        }
    }
}
