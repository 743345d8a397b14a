//! What the core knows: everything that is open, and what must be remembered for a bounded time.
//!
//! Only [`apply`](crate::apply::apply) changes it. The gateway keeps two: the sequencer's own, which is ahead, and the
//! applied copy, which readers ask through the methods below. Nothing here grows with the length of the log: ids are
//! remembered for 32 days, deliveries and conversations for six months, the rest follows the covenant's participants.
//! (Covenants themselves are a few dozen bytes each, a few times a year.)

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seinpost_protocol::address::{Address, Oin};
use seinpost_protocol::answer::{self, code_state};
use seinpost_protocol::certificate::CrlNumber;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::{AnswerCode, DeliveryState, RetentionClass, SignalType, Urgency};

use crate::event::Windows;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How far an item id's own time may lie from `signed_at`; this lets the core forget ids by their own time.
pub const ID_TIME_SLACK: Duration = DAY;
/// How long an id is remembered after `signed_at`. A day longer than an item may be old, so that no replay succeeds.
pub const ID_REMEMBERED: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// Six months, taken as the shortest there are (1 September to 1 March): the law says *at most* six months.
pub const SIX_MONTHS: Duration = Duration::from_secs(181 * 24 * 60 * 60);
/// How long after `expires` a late answer is still taken.
pub const LATE_ANSWERS: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a window lasts in which a participant's refusals are counted.
const REJECTION_WINDOW: Duration = Duration::from_secs(60 * 60);

/// All that deciding needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) size: u64,
    pub(crate) time: Option<Timestamp>,
    pub(crate) covenants: BTreeMap<u64, AdoptedCovenant>,
    pub(crate) crls: BTreeMap<Digest, AdoptedCrl>,
    pub(crate) certificates: BTreeMap<Digest, Certificate>,
    /// An id is a UUIDv7, so that this order is one of time and the oldest are forgotten from the front.
    pub(crate) items: BTreeMap<(ItemId, Address), Known>,
    pub(crate) mailboxes: BTreeMap<Address, u64>,
    pub(crate) keys: BTreeMap<Address, Keys>,
    pub(crate) signals: BTreeMap<Digest, Signal>,
    /// By the index of the consignment, which is an order of time too.
    pub(crate) deliveries: BTreeMap<u64, Delivery>,
    /// (item digest, recipient) to the index of the consignment.
    pub(crate) consignments: BTreeMap<(Digest, Address), u64>,
    /// (sender or recipient, index of the consignment), so that an address's own are listed without those of others.
    pub(crate) by_party: BTreeSet<(Address, u64)>,
    /// (sender, id) to the digest of a signal, for as long as its deliveries are remembered.
    pub(crate) sent: BTreeMap<(Address, ItemId), Digest>,
    /// (recipient, mailbox number) to the index of the consignment, until answered.
    pub(crate) unanswered: BTreeMap<(Address, u64), u64>,
    /// Indexes of those same consignments, for who looks at all recipients together.
    pub(crate) waiting: BTreeSet<u64>,
    /// (expires, index of the consignment), until answered or expired.
    pub(crate) expiring: BTreeSet<(Timestamp, u64)>,
    pub(crate) conversations: BTreeMap<ItemId, Conversation>,
    /// (time of the last item, conversation).
    pub(crate) conversation_ages: BTreeSet<(Timestamp, ItemId)>,
    /// (when its content is to be erased, item digest).
    pub(crate) content_due: BTreeSet<(Timestamp, Digest)>,
    pub(crate) rejections: BTreeMap<Address, RejectionWindow>,
}

/// A covenant that was adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdoptedCovenant {
    /// Its serial.
    pub serial: u64,
    /// Its item digest.
    pub digest: Digest,
    /// From when it rules.
    pub valid_from: Timestamp,
    /// Until when it rules, at most.
    pub valid_until: Timestamp,
    /// Index of the adoption.
    pub index: u64,
}

/// The newest revocation list of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedCrl {
    /// Its number.
    pub number: CrlNumber,
    /// When it was made.
    pub this_update: Timestamp,
    /// When the next is due.
    pub next_update: Timestamp,
    /// SHA-256 of the list.
    pub sha256: Digest,
    /// Index of the adoption.
    pub index: u64,
}

/// A published signing certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub oin: Oin,
    /// SHA-256 of its public key.
    pub spki: Digest,
    /// When its validity ends.
    pub not_after: Timestamp,
    /// Index of the publication.
    pub index: u64,
}

/// An item that was accepted not long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its digest.
    pub digest: Digest,
    /// Index of its acceptance.
    pub index: u64,
}

/// The key statements of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Serial of the newest.
    pub serial: u64,
    /// Digest of the newest.
    pub digest: Digest,
    /// Index of the newest one's acceptance.
    pub index: u64,
    /// The newest withdraws all.
    pub withdrawn: bool,
    /// Those that somebody may still seal to or try to, by ascending serial.
    pub statements: Vec<KeyStatement>,
    /// When those of the last day were recorded, whatever became of them since.
    pub recent: Vec<Timestamp>,
}

impl Keys {
    /// Returns how many statements were recorded within a day before this time.
    #[must_use]
    pub fn stated_within_a_day(&self, time: Timestamp) -> usize {
        self.recent.iter().filter(|stated| time.since(**stated) < DAY).count()
    }
}

/// One key statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyStatement {
    /// Its serial.
    pub serial: u64,
    /// Its item digest.
    pub digest: Digest,
    /// Index of its acceptance.
    pub index: u64,
    /// When it may be used.
    pub windows: Windows,
    /// How it stands.
    pub standing: Standing,
}

/// How a key statement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No later one is known.
    InForce,
    /// A later one is known; what was sealed to this one is taken until then, included.
    SupersededUntil(Timestamp),
    /// It was withdrawn; nothing sealed to it is taken.
    Withdrawn,
}

/// A signal, in what its deliveries share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Who sent it.
    pub sender: Address,
    /// Its id.
    pub item_id: ItemId,
    /// Index of its acceptance.
    pub index: u64,
    /// Its type.
    pub signal_type: SignalType,
    /// Its urgency.
    pub urgency: Urgency,
    /// The conversation it stands in.
    pub conversation: ItemId,
    /// When an answer is no longer in time.
    pub expires: Timestamp,
    /// How long its content is kept.
    pub retention_class: RetentionClass,
    /// How many of its deliveries are neither answered nor expired.
    pub open: u32,
    /// When its content is to be erased; known once no delivery is open.
    pub content_due: Option<Timestamp>,
}

/// A signal at one of its recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Digest of the signal.
    pub item: Digest,
    /// Its id.
    pub item_id: ItemId,
    /// Who sent it.
    pub sender: Address,
    /// Whose answer is awaited.
    pub recipient: Address,
    /// Its number in the recipient's mailbox.
    pub number: u64,
    /// Index of its consignment.
    pub index: u64,
    /// The signal's type.
    pub signal_type: SignalType,
    /// The signal's urgency.
    pub urgency: Urgency,
    /// The conversation it stands in.
    pub conversation: ItemId,
    /// When it was consigned.
    pub consigned_at: Timestamp,
    /// When an answer is no longer in time.
    pub expires: Timestamp,
    /// Index of the hand-over, once it happened.
    pub handed_over: Option<u64>,
    /// Index of the expiry, once it happened.
    pub expired: Option<u64>,
    /// The answer, once given.
    pub answer: Option<Answered>,
}

/// The one answer of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Digest of the answer.
    pub item: Digest,
    /// Index of its acceptance.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// What it says.
    pub code: AnswerCode,
    /// It came after the signal had expired.
    pub late: bool,
}

/// Who takes part in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Each party with the number of its last record in it.
    pub parties: BTreeMap<Address, u64>,
    /// When its last item came.
    pub last: Timestamp,
}

/// How many refusals of one participant were recorded in the present window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectionWindow {
    /// When the window began.
    pub since: Timestamp,
    /// Records in it.
    pub recorded: u32,
}

impl State {
    /// Returns how many events were applied, which is the next index.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the time of the last event.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// Returns the digest and the index of the item that `address` gave this id, while it is remembered.
    #[must_use]
    pub fn known(&self, address: Address, item_id: ItemId) -> Option<(Digest, u64)> {
        self.items.get(&(item_id, address)).map(|known| (known.digest, known.index))
    }

    /// Returns the covenant that rules at `time`: of those whose time has come, the one with the highest serial.
    ///
    /// Whether it has run out by then is for the caller to see.
    #[must_use]
    pub fn covenant_at(&self, time: Timestamp) -> Option<&AdoptedCovenant> {
        self.covenants.values().rev().find(|covenant| covenant.valid_from <= time)
    }

    /// Returns the digest of the covenant that ruled at the last event.
    #[must_use]
    pub fn covenant(&self) -> Option<Digest> {
        self.time.and_then(|time| self.covenant_at(time)).map(|covenant| covenant.digest)
    }

    /// Returns the adopted covenant with the highest serial, which may not rule yet.
    #[must_use]
    pub fn newest_covenant(&self) -> Option<&AdoptedCovenant> {
        self.covenants.values().next_back()
    }

    /// Returns the adopted covenants, by serial.
    pub fn covenants(&self) -> impl Iterator<Item = &AdoptedCovenant> {
        self.covenants.values()
    }

    /// Returns the newest revocation list of each issuer, with SHA-256 of the issuer's name.
    pub fn newest_crls(&self) -> impl Iterator<Item = (&Digest, &AdoptedCrl)> {
        self.crls.iter()
    }

    /// Returns a published certificate by SHA-256 of its leaf; expired ones are forgotten in time.
    #[must_use]
    pub fn certificate(&self, sha256: &Digest) -> Option<&Certificate> {
        self.certificates.get(sha256)
    }

    /// Returns the key statements of an address.
    #[must_use]
    pub fn key_statement(&self, address: Address) -> Option<&Keys> {
        self.keys.get(&address)
    }

    /// Returns the number of the last record in an address's mailbox; 0: it is empty.
    #[must_use]
    pub fn mailbox_last(&self, address: Address) -> u64 {
        self.mailboxes.get(&address).copied().unwrap_or(0)
    }

    /// Returns a signal by its digest.
    #[must_use]
    pub fn signal(&self, item: Digest) -> Option<&Signal> {
        self.signals.get(&item)
    }

    /// Returns the signal that an address sent under this id; longer than [`State::known`] does.
    #[must_use]
    pub fn sent(&self, sender: Address, item_id: ItemId) -> Option<&Signal> {
        self.sent.get(&(sender, item_id)).and_then(|item| self.signals.get(item))
    }

    /// Returns a signal's delivery to one recipient.
    #[must_use]
    pub fn delivery(&self, item: Digest, recipient: Address) -> Option<&Delivery> {
        self.consignments.get(&(item, recipient)).and_then(|index| self.deliveries.get(index))
    }

    /// Returns all deliveries that are remembered, oldest first.
    pub fn deliveries(&self) -> impl DoubleEndedIterator<Item = &Delivery> {
        self.deliveries.values()
    }

    /// Returns the deliveries whose consignments stand before an index, newest first.
    pub fn deliveries_before(&self, index: u64) -> impl Iterator<Item = &Delivery> {
        self.deliveries.range(..index).rev().map(|(_, delivery)| delivery)
    }

    /// Returns the deliveries that an address sent or received and whose consignments stand before an index, newest first.
    pub fn deliveries_by_party(&self, party: Address, before: u64) -> impl Iterator<Item = &Delivery> {
        let own = self.by_party.range((party, 0)..(party, before)).rev();
        own.filter_map(|(_, index)| self.deliveries.get(index))
    }

    /// Returns the deliveries without an answer whose consignments stand at an index or behind it, oldest first, those
    /// that expired too.
    pub fn waiting(&self, from: u64) -> impl Iterator<Item = &Delivery> {
        self.waiting.range(from..).filter_map(|index| self.deliveries.get(index))
    }

    /// Returns a signal's deliveries, in the order of its recipients.
    pub fn deliveries_of(&self, item: Digest) -> impl Iterator<Item = &Delivery> {
        let from = self.signals.get(&item).map_or(u64::MAX, |signal| signal.index);
        self.deliveries.range(from..).map(|(_, delivery)| delivery).take_while(move |delivery| delivery.item == item)
    }

    /// Returns an address's deliveries without an answer, by mailbox number, those that expired too.
    pub fn unanswered(&self, recipient: Address) -> impl Iterator<Item = &Delivery> {
        self.unanswered
            .range((recipient, 0)..=(recipient, u64::MAX))
            .filter_map(|(_, index)| self.deliveries.get(index))
    }

    /// Returns a conversation.
    #[must_use]
    pub fn conversation(&self, id: ItemId) -> Option<&Conversation> {
        self.conversations.get(&id)
    }

    /// Says whether an address is party to a conversation.
    #[must_use]
    pub fn is_party(&self, conversation: ItemId, address: Address) -> bool {
        self.conversations.get(&conversation).is_some_and(|conversation| conversation.parties.contains_key(&address))
    }

    /// Returns the signals whose content is to be erased, with the time at which it is due, earliest first.
    pub fn content_due(&self) -> impl Iterator<Item = (Timestamp, Digest)> {
        self.content_due.iter().copied()
    }

    /// Returns the deliveries that are neither answered nor expired, the next to expire first.
    pub fn expiring(&self) -> impl Iterator<Item = &Delivery> {
        self.expiring.iter().filter_map(|(_, index)| self.deliveries.get(index))
    }
}

impl Delivery {
    /// Returns how far the delivery is. An expired one stays expired when a late answer comes.
    #[must_use]
    pub fn state(&self) -> DeliveryState {
        match (&self.answer, self.expired, self.handed_over) {
            (_, Some(_), _) => DeliveryState::Expired,
            (Some(answer), None, _) => match code_state(answer.code) {
                answer::DeliveryState::Answered => DeliveryState::Answered,
                answer::DeliveryState::AnsweredWithFault => DeliveryState::AnsweredWithFault,
                answer::DeliveryState::Undeliverable => DeliveryState::Undeliverable,
            },
            (None, None, Some(_)) => DeliveryState::HandedOver,
            (None, None, None) => DeliveryState::Accepted,
        }
    }
}

impl KeyStatement {
    /// Says whether one may still seal to it as far as later statements go; its windows are another question.
    #[must_use]
    pub fn usable_at(&self, time: Timestamp) -> bool {
        match self.standing {
            Standing::InForce => time <= self.windows.open_until,
            Standing::SupersededUntil(end) => time <= end && time <= self.windows.open_until,
            Standing::Withdrawn => false,
        }
    }
}

impl RejectionWindow {
    /// Says whether the window still lasts.
    #[must_use]
    pub fn lasts_at(&self, time: Timestamp) -> bool {
        time < self.since + REJECTION_WINDOW
    }
}

/// Returns how long the hub keeps a signal's content once its last delivery was answered or expired.
#[must_use]
pub fn content_kept(class: RetentionClass) -> Duration {
    match class {
        RetentionClass::HubUntilAnswer => Duration::ZERO,
        RetentionClass::Missing72h => 3 * DAY,
        // CORV, art. 4: within 24 hours. A class that is not set never passes the door; the default is the strictest
        // that still lets a recipient's reader fail for a day.
        RetentionClass::Hub24h | RetentionClass::Unspecified => DAY,
    }
}
