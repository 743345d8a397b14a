//! What follows from a command: [`decide`].
//!
//! In comes the state, a command and the time; out go the events to be recorded and the answer. The questions are
//! asked in one order, and the first that is answered with no decides: known item (so that a retry gets its receipt
//! whatever changed in between), age, covenant, then what the kind of item asks. It changes nothing: the events take
//! effect when they are applied.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::key_statement::key_window;
use seinpost_protocol::time::Timestamp;

use crate::command::{
    Command, NewAnswer, NewCertificate, NewCovenant, NewCrl, NewKeyStatement, NewSignal, Recipient, Rejection,
    Submission, Submitted,
};
use crate::event::{
    About, Addressee, Audience, Event, RULE_OF_ANSWERS, RULE_OF_KEY_STATEMENTS, Retention, What, Windows,
};
use crate::refusal::Refusal;
use crate::state::{Conversation, Delivery, ID_TIME_SLACK, LATE_ANSWERS, SIX_MONTHS, Standing, State};

/// How old an item may be. Ids are remembered a day longer, so that none is ever taken twice.
const ITEM_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How far ahead of the hub's clock an item may be signed: two clocks that are kept well differ by seconds, and a
/// signature from further ahead would be a date that its signer chose.
const ITEM_AHEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// Recipients of one signal (DOMAIN: 1 to 8); each costs a record and a wrapped key.
const RECIPIENTS_MAX: usize = 8;
/// Key statements of one address that may be sealed to at once, and that it may make within a day. A new one supersedes
/// after a day, so that one a day is three; the rest is room for a bad day. Each stays in the log for ever, for all.
const KEY_STATEMENTS_MAX: usize = 32;
/// Live signing certificates of one organisation: one per function and its successor, with room for the largest.
const CERTIFICATES_MAX: usize = 16;
/// Expiries told in one tick: about 128 KiB of records, so that a long stop is worked off in batches of usual size.
const EXPIRIES_PER_TICK_MAX: usize = 512;
/// Refusals of one participant that are recorded one by one in a window; what comes above is counted and told once.
/// Enough for a person who tries, and a faulty machine cannot fill the log.
const REJECTIONS_PER_WINDOW_MAX: u32 = 10;

/// What follows from a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to be recorded, in this order; a refusal of a known participant may be recorded too.
    pub events: Vec<Event>,
    /// What whoever asked is told.
    pub answer: Answer,
    /// A refusal that is not recorded, because too many of this participant were; it is counted, and told in a summary.
    pub suppressed: Option<Rejection>,
}

/// What whoever asked is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is recorded, at this index.
    Recorded {
        /// Index of the event that the receipt is about: for an item its acceptance.
        index: u64,
    },
    /// It was recorded before, at this index.
    Already {
        /// Index of the event that the receipt is about.
        index: u64,
    },
    /// It is refused.
    Refused(Refusal),
    /// There was nothing to record.
    Nothing,
}

/// Decides what follows from a command at the time `now`.
#[must_use]
pub fn decide(state: &State, command: &Command, now: Timestamp) -> Decision {
    // A record's time never falls, whatever the clock does.
    let time = state.time.map_or(now, |last| last.max(now));
    let ruling = state.covenant_at(time).or_else(|| state.covenants().next()).map(|covenant| covenant.digest);
    let covenant = match (ruling, command) {
        (Some(digest), _) => digest,
        // The first covenant is recorded under itself; before it there is nothing to go by.
        (None, Command::AdoptCovenant(covenant)) => covenant.digest,
        (None, _) => return Decision::answer(Answer::Refused(Refusal::NoCovenant)),
    };
    let draft = Draft { state, time, covenant, crls: Vec::new(), events: Vec::new(), mailboxes: BTreeMap::new() };
    match command {
        Command::Submit(submission) => submit(draft, submission),
        Command::HandOver { item, recipient } => hand_over(draft, *item, *recipient),
        Command::Tick => tick(draft),
        Command::Reject(rejection) => reject(draft, rejection, 0),
        Command::Summarise { first, more } => reject(draft, first, *more),
        Command::PublishCertificate(certificate) => publish_certificate(draft, certificate),
        Command::AdoptCovenant(covenant) => adopt_covenant(draft, covenant),
        Command::AdoptCrl(crl) => adopt_crl(draft, crl),
        Command::Start { software } => {
            draft.only(Audience::All, Retention::Permanent, What::GatewayStarted { software: clip(software, 64) })
        }
        Command::Access { who, call, filter } => {
            let what = What::Access { who: *who, call: clip(call, 128), filter: clip(filter, 256) };
            draft.only(Audience::Oversight, Retention::TrafficSixMonths, what)
        }
        Command::ConfirmClock => {
            let last_record = state.time.unwrap_or(time);
            draft.only(Audience::Oversight, Retention::Permanent, What::ClockConfirmed { last_record })
        }
    }
}

/// Decides on an item. Its refusal is recorded, within bounds.
fn submit(draft: Draft<'_>, submission: &Submission) -> Decision {
    let refusal = match draft.state.known(submission.signer, submission.item_id) {
        Some((digest, index)) if digest == submission.digest => return Decision::answer(Answer::Already { index }),
        Some(_) => Refusal::AlreadyExists,
        None => match judge(draft.clone(), submission) {
            Ok(decision) => return decision,
            // The permit is made anew and the item comes again: nobody was refused.
            Err(Refusal::PermitStale) => return Decision::answer(Answer::Refused(Refusal::PermitStale)),
            Err(refusal) => refusal,
        },
    };
    let rejection = Rejection { who: submission.signer, reason: refusal.reason().to_owned(), nearest_rule: None };
    Decision { answer: Answer::Refused(refusal), ..reject(draft, &rejection, 0) }
}

/// Asks what is asked of every item, then what its kind asks.
fn judge(mut draft: Draft<'_>, submission: &Submission) -> Result<Decision, Refusal> {
    if submission.signed_at + ITEM_AGE_MAX < draft.time {
        return Err(Refusal::TooOld);
    }
    if submission.signed_at > draft.time + ITEM_AHEAD_MAX {
        return Err(Refusal::FromTheFuture);
    }
    // The door asks this too. It is asked again where it is relied on: ids are forgotten by their own time.
    let id_time = submission.item_id.time();
    if id_time + ID_TIME_SLACK < submission.signed_at || submission.signed_at + ID_TIME_SLACK < id_time {
        return Err(Refusal::IdTime);
    }
    match draft.state.covenant_at(draft.time) {
        Some(covenant) if draft.time < covenant.valid_until => {}
        Some(_) | None => return Err(Refusal::NoCovenant),
    }
    if submission.permit_covenant != draft.covenant {
        return Err(Refusal::PermitStale);
    }
    draft.crls.clone_from(&submission.crls);
    draft.crls.sort_unstable();
    draft.crls.dedup();
    match &submission.what {
        Submitted::Signal(signal) => {
            names_a_key_of_its_own(&draft, submission)?;
            accept_signal(draft, submission, signal)
        }
        Submitted::Answer(answer) => {
            names_a_key_of_its_own(&draft, submission)?;
            accept_answer(draft, submission, answer)
        }
        // It names the serial before its own, which is asked together with that.
        Submitted::KeyStatement(statement) => accept_key_statement(draft, submission, statement),
    }
}

/// Asks whether the signer has made the key statement that it calls its newest: peers never seal to an older one after
/// reading this, so that a number out of reach would shut the address off for good. Asked here and not at the door,
/// because the statement may have come just before, in the same stream.
fn names_a_key_of_its_own(draft: &Draft<'_>, submission: &Submission) -> Result<(), Refusal> {
    let made = draft.state.key_statement(submission.signer).map_or(0, |keys| keys.serial);
    if submission.key_serial > made { Err(Refusal::KeyNotMade) } else { Ok(()) }
}

fn accept_signal(draft: Draft<'_>, submission: &Submission, signal: &NewSignal) -> Result<Decision, Refusal> {
    let sender = submission.signer;
    let recipients = &signal.recipients;
    if signal.expires <= draft.time {
        return Err(Refusal::ExpiredOnArrival);
    }
    let distinct: BTreeSet<Address> = recipients.iter().map(|recipient| recipient.address).collect();
    if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX || distinct.len() < recipients.len() {
        return Err(Refusal::Recipients);
    }
    if distinct.contains(&sender) {
        return Err(Refusal::ToSelf);
    }
    // One's own id opens a conversation; any other must be known and one's own. If somebody else opened one under this
    // very id, it is a stranger's: the answer is the same as for one that nobody knows.
    let known = draft.conversation(signal.conversation);
    let own = known.is_some_and(|conversation| conversation.parties.contains_key(&sender));
    let may_write = if signal.conversation == submission.item_id { known.is_none() } else { own };
    if !may_write {
        return Err(Refusal::NoRoute);
    }
    let reachable = |recipient: &Recipient| {
        recipient.routed || known.is_some_and(|conversation| conversation.parties.contains_key(&recipient.address))
    };
    if !recipients.iter().all(reachable) {
        return Err(Refusal::NoRoute);
    }
    if let Some(superseded) = signal.supersedes
        && draft.state.signal(superseded).is_none_or(|superseded| superseded.sender != sender)
    {
        return Err(Refusal::Supersedes);
    }
    for recipient in recipients {
        judge_key(&draft, recipient, submission.signed_at, signal.expires)?;
    }

    let about = About::Signal {
        signal_type: signal.signal_type,
        urgency: signal.urgency,
        expires: signal.expires,
        retention_class: signal.retention_class,
    };
    let to = recipients.iter().map(|recipient| (recipient.address, recipient.rule_id.as_str()));
    Ok(draft.accept(submission, Some(signal.conversation), about, to))
}

/// Asks whether a signal may be sealed to the key statement that it names for a recipient.
fn judge_key(
    draft: &Draft<'_>,
    recipient: &Recipient,
    signed_at: Timestamp,
    expires: Timestamp,
) -> Result<(), Refusal> {
    let statement = draft
        .state
        .key_statement(recipient.address)
        .and_then(|keys| keys.statements.iter().find(|statement| statement.digest == recipient.key_statement))
        .ok_or(Refusal::KeyUnknown)?;
    if statement.serial < recipient.key_floor {
        return Err(Refusal::KeyBelowFloor);
    }
    match statement.standing {
        Standing::Withdrawn => return Err(Refusal::KeyWithdrawn),
        Standing::SupersededUntil(end) if end < draft.time => return Err(Refusal::KeySuperseded),
        Standing::SupersededUntil(_) | Standing::InForce => {}
    }
    let Windows { seal_from, seal_until, open_until } = statement.windows;
    key_window(seal_from, seal_until, open_until, signed_at, expires).map_err(|_| Refusal::KeyWindow)
}

fn accept_answer(mut draft: Draft<'_>, submission: &Submission, answer: &NewAnswer) -> Result<Decision, Refusal> {
    let answerer = submission.signer;
    let delivery = *draft.state.delivery(answer.item, answerer).ok_or(Refusal::DeliveryUnknown)?;
    if delivery.answer.is_some() {
        return Err(Refusal::AlreadyAnswered);
    }
    if delivery.expires + LATE_ANSWERS < draft.time {
        return Err(Refusal::DeliveryClosed);
    }
    if let Some(original) = answer.duplicate_of
        && draft
            .state
            .delivery(original, answerer)
            .is_none_or(|original| original.sender != delivery.sender || original.index >= delivery.index)
    {
        return Err(Refusal::DuplicateOf);
    }

    let late = delivery.expires <= draft.time;
    if late && delivery.expired.is_none() {
        // The clock's tick has not come by yet. The expiry is told first, so that a late answer always follows one.
        draft.expire(&delivery);
    }
    let about = About::Answer { code: answer.code, consignment: delivery.index, late };
    Ok(draft.accept(submission, Some(delivery.conversation), about, [(delivery.sender, RULE_OF_ANSWERS)].into_iter()))
}

fn accept_key_statement(
    draft: Draft<'_>,
    submission: &Submission,
    statement: &NewKeyStatement,
) -> Result<Decision, Refusal> {
    let keys = draft.state.key_statement(submission.signer);
    let (serial, digest) = keys.map_or((0, None), |keys| (keys.serial, Some(keys.digest)));
    if serial < statement.key_floor {
        // After theft: what the thief published does not count, and the first at the floor needs no predecessor.
        if statement.serial < statement.key_floor {
            return Err(Refusal::KeyBelowFloor);
        }
        if statement.serial != statement.key_floor {
            return Err(Refusal::KeySerial);
        }
        if statement.previous.is_some() && statement.previous != digest {
            return Err(Refusal::KeyPrevious);
        }
    } else {
        if serial.checked_add(1) != Some(statement.serial) {
            return Err(Refusal::KeySerial);
        }
        if statement.previous != digest {
            return Err(Refusal::KeyPrevious);
        }
        let usable = keys.map_or(0, |keys| keys.statements.iter().filter(|key| key.usable_at(draft.time)).count());
        let stated = keys.map_or(0, |keys| keys.stated_within_a_day(draft.time));
        // A withdrawal is always taken where there is something to withdraw: it is what one does when a key is lost.
        let withdraws = statement.windows.is_none() && keys.is_some_and(|keys| !keys.withdrawn);
        if !withdraws && usable.max(stated) >= KEY_STATEMENTS_MAX {
            return Err(Refusal::KeyMax);
        }
    }

    let about = About::Key { serial: statement.serial, windows: statement.windows };
    Ok(draft.accept(submission, None, about, [(submission.signer, RULE_OF_KEY_STATEMENTS)].into_iter()))
}

/// Tells the sender, once, that its signal went to a recipient's transport. This is the hub's word and no more.
fn hand_over(mut draft: Draft<'_>, item: Digest, recipient: Address) -> Decision {
    let Some(delivery) = draft.state.delivery(item, recipient) else {
        return Decision::answer(Answer::Refused(Refusal::DeliveryUnknown));
    };
    if let Some(index) = delivery.handed_over {
        return Decision::answer(Answer::Already { index });
    }
    let index = draft.mail(delivery.sender, None, What::HandedOver { item, recipient });
    draft.recorded(index)
}

/// Tells the senders of signals whose time has passed without an answer, the longest expired first.
fn tick(mut draft: Draft<'_>) -> Decision {
    let first = draft.next_index();
    let state = draft.state;
    let expired = state.expiring().take_while(|delivery| delivery.expires <= draft.time).take(EXPIRIES_PER_TICK_MAX);
    for delivery in expired.copied().collect::<Vec<_>>() {
        draft.expire(&delivery);
    }
    if draft.events.is_empty() { Decision::answer(Answer::Nothing) } else { draft.recorded(first) }
}

/// Records a refusal, unless too many of this participant were in the present window: then it is to be counted.
fn reject(draft: Draft<'_>, rejection: &Rejection, suppressed: u64) -> Decision {
    let window = draft.state.rejections.get(&rejection.who).filter(|window| window.lasts_at(draft.time));
    if window.is_some_and(|window| window.recorded >= REJECTIONS_PER_WINDOW_MAX) {
        return Decision { suppressed: Some(rejection.clone()), ..Decision::answer(Answer::Nothing) };
    }
    let what = What::Rejected {
        reason: clip(&rejection.reason, 64),
        nearest_rule: rejection.nearest_rule.as_deref().map(|rule| clip(rule, 64)),
        suppressed,
    };
    draft.only(Audience::Address(rejection.who), Retention::TrafficSixMonths, what)
}

fn publish_certificate(mut draft: Draft<'_>, certificate: &NewCertificate) -> Decision {
    if let Some(known) = draft.state.certificate(&certificate.leaf) {
        return Decision::answer(Answer::Already { index: known.index });
    }
    if certificate.not_after <= draft.time {
        return Decision::answer(Answer::Refused(Refusal::CertificateExpired));
    }
    let live = || draft.state.certificates.values().filter(|known| known.not_after > draft.time);
    if live().any(|known| known.spki == certificate.spki && known.oin != certificate.oin) {
        return Decision::answer(Answer::Refused(Refusal::CertificateKey));
    }
    if live().filter(|known| known.oin == certificate.oin).count() >= CERTIFICATES_MAX {
        return Decision::answer(Answer::Refused(Refusal::CertificateMax));
    }
    draft.crls.clone_from(&certificate.crls);
    draft.crls.sort_unstable();
    draft.crls.dedup();
    let what = What::CertificatePublished {
        oin: certificate.oin,
        leaf: certificate.leaf,
        chain: certificate.chain.clone(),
        spki: certificate.spki,
        not_after: certificate.not_after,
    };
    draft.only(Audience::All, Retention::Permanent, what)
}

/// Adopts a covenant once per serial, serial by serial. Whether it follows its predecessor in all else, and who signed
/// it, was checked when it was read; an expired one may be adopted on the way to its successor, but nothing is taken
/// under it.
fn adopt_covenant(draft: Draft<'_>, covenant: &NewCovenant) -> Decision {
    let state = draft.state;
    if let Some(known) = state.covenants.get(&covenant.serial) {
        let answer = match known.digest == covenant.digest {
            true => Answer::Already { index: known.index },
            false => Answer::Refused(Refusal::CovenantFork),
        };
        return Decision::answer(answer);
    }
    if state.newest_covenant().is_some_and(|newest| newest.serial.checked_add(1) != Some(covenant.serial)) {
        return Decision::answer(Answer::Refused(Refusal::CovenantSerial));
    }
    let what = What::CovenantAdopted {
        serial: covenant.serial,
        digest: covenant.digest,
        valid_from: covenant.valid_from,
        valid_until: covenant.valid_until,
    };
    draft.only(Audience::All, Retention::Permanent, what)
}

/// Adopts a revocation list, if its number does not fall: an older one would bring a revoked certificate back to life.
fn adopt_crl(draft: Draft<'_>, crl: &NewCrl) -> Decision {
    if let Some(newest) = draft.state.crls.get(&crl.issuer) {
        if newest.sha256 == crl.sha256 {
            return Decision::answer(Answer::Already { index: newest.index });
        }
        match crl.number.cmp(&newest.number) {
            Ordering::Less => return Decision::answer(Answer::Refused(Refusal::CrlNumber)),
            Ordering::Equal => return Decision::answer(Answer::Refused(Refusal::CrlFork)),
            Ordering::Greater => {}
        }
    }
    let what = What::CrlAdopted {
        issuer: crl.issuer,
        number: crl.number.clone(),
        this_update: crl.this_update,
        next_update: crl.next_update,
        sha256: crl.sha256,
    };
    draft.only(Audience::All, Retention::Permanent, what)
}

/// A decision in the making: what all its events share, and the numbers that they have used up.
#[derive(Clone)]
struct Draft<'a> {
    state: &'a State,
    time: Timestamp,
    covenant: Digest,
    crls: Vec<Digest>,
    events: Vec<Event>,
    /// Mailboxes that the events before have already moved on, with their last number.
    mailboxes: BTreeMap<Address, u64>,
}

impl<'a> Draft<'a> {
    /// Returns a conversation, if its last item is not six months past.
    fn conversation(&self, id: ItemId) -> Option<&'a Conversation> {
        self.state.conversation(id).filter(|conversation| self.time <= conversation.last + SIX_MONTHS)
    }

    fn next_index(&self) -> u64 {
        let drafted = u64::try_from(self.events.len()).expect("a count fits in 64 bits");
        self.state.size.checked_add(drafted).expect("a log never holds 2^64 records")
    }

    /// Records an item's acceptance, with a consignment per addressee behind it.
    ///
    /// In a conversation the acceptance has a place too, counted for its sender, so that what one sent counts as well.
    /// A key statement stands in none, and its acceptance is for everybody to see.
    fn accept<'r>(
        mut self,
        submission: &Submission,
        conversation: Option<ItemId>,
        about: About,
        to: impl Iterator<Item = (Address, &'r str)> + Clone,
    ) -> Decision {
        let acceptance = self.next_index();
        let addressees = (acceptance + 1..)
            .zip(to.clone())
            .map(|(index, (to, rule_id))| Addressee { to, rule_id: rule_id.to_owned(), index })
            .collect();
        let what = What::Accepted { item: submission.digest, item_id: submission.item_id, about, addressees };
        let place = |address| conversation.map(|id| (id, self.next_in_conversation(id, address)));
        let sender_place = place(submission.signer);
        let places: Vec<_> = to.map(|(address, _)| (address, place(address))).collect();
        match conversation {
            Some(_) => {
                let audience = Audience::Address(submission.signer);
                self.push(audience, Retention::TrafficSixMonths, None, sender_place, what);
            }
            None => {
                self.push(Audience::All, Retention::Permanent, None, None, what);
            }
        }
        for (address, place) in places {
            self.mail(address, place, What::Consigned { item: submission.digest });
        }
        self.recorded(acceptance)
    }

    /// Records that a delivery expired, in its sender's mailbox.
    fn expire(&mut self, delivery: &Delivery) {
        // No certificate was judged for it.
        let crls = std::mem::take(&mut self.crls);
        self.mail(delivery.sender, None, What::Expired { item: delivery.item, recipient: delivery.recipient });
        self.crls = crls;
    }

    /// Records something in an address's mailbox, under its next number.
    fn mail(&mut self, address: Address, conversation: Option<(ItemId, u64)>, what: What) -> u64 {
        let last = self.mailboxes.get(&address).copied().unwrap_or_else(|| self.state.mailbox_last(address));
        let number = last.checked_add(1).expect("a mailbox never holds 2^64 records");
        self.mailboxes.insert(address, number);
        self.push(Audience::Address(address), Retention::TrafficSixMonths, Some(number), conversation, what)
    }

    /// Returns an address's next number in a conversation. One decision gives each address at most one.
    fn next_in_conversation(&self, id: ItemId, address: Address) -> u64 {
        let last = self.state.conversation(id).and_then(|conversation| conversation.parties.get(&address)).copied();
        last.unwrap_or(0).checked_add(1).expect("a conversation never holds 2^64 records")
    }

    fn push(
        &mut self,
        audience: Audience,
        retention: Retention,
        mailbox: Option<u64>,
        conversation: Option<(ItemId, u64)>,
        what: What,
    ) -> u64 {
        let index = self.next_index();
        self.events.push(Event {
            index,
            time: self.time,
            audience,
            covenant: self.covenant,
            crls: self.crls.clone(),
            retention,
            mailbox,
            conversation,
            what,
        });
        index
    }

    /// Ends with one event that stands in no mailbox and no conversation.
    fn only(mut self, audience: Audience, retention: Retention, what: What) -> Decision {
        let index = self.push(audience, retention, None, None, what);
        self.recorded(index)
    }

    fn recorded(self, index: u64) -> Decision {
        Decision { events: self.events, answer: Answer::Recorded { index }, suppressed: None }
    }
}

impl Decision {
    /// A decision that records nothing.
    fn answer(answer: Answer) -> Self {
        Self { events: Vec::new(), answer, suppressed: None }
    }
}

/// Cuts a text to at most so many characters. What is recorded must be readable for ever, so that its bounds hold
/// whoever asked.
fn clip(text: &str, characters_max: usize) -> String {
    text.chars().take(characters_max).collect()
}
