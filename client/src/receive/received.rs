//! What comes out of a mailbox: each thing with what was verified of it, and what was not verified without it.
//!
//! Plain values: nothing here verifies, reads or writes. Whoever holds an [`Arrived`] has an item whose signature, signer,
//! time and place were verified, since only the judging room makes one.

use seinpost_protocol::address::Address;
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Payload, VerifiedItem};
use seinpost_protocol::mailbox_head::MailboxHead;
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::signal::Signal;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

use crate::error::{Error, NotVerified, Result, Unreachable};
use crate::seal::{Blind, Content};
use crate::send::ContentFault;
use crate::verify::ReceiptFile;

/// Something that came out of a mailbox.
pub enum Received {
    /// What the hub signs that the mailbox holds: at the start, and every minute while nothing comes.
    Head(MailboxHead),
    /// A signal for this address.
    Signal(Box<ReceivedSignal>),
    /// An answer to a signal that this address sent.
    Answer(Box<ReceivedAnswer>),
    /// A key statement of this address.
    KeyStatement(Box<ReceivedStatement>),
    /// A hand-over or an expiry of a signal that this address sent.
    Notice(Box<ReceivedNotice>),
    /// An item that does not verify, withheld.
    Withheld(Box<Withheld>),
    /// Something is wrong with the mailbox as a whole, but it can be read on.
    Alarm(NotVerified),
    /// The connection broke or cannot be made; it is tried again until it stands. Told once, by [`Mailbox::next`](super::Mailbox::next) alone.
    Waiting(Unreachable),
    /// The connection that was waited for stands again.
    Resumed,
}

/// Where a record stands in the mailbox and in the log; proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number in the mailbox.
    pub number: u64,
    /// Its index in the log.
    pub index: u64,
    /// Its commitment: an answer names the delivery by it.
    pub commitment: Digest,
    /// When the hub recorded it.
    pub recorded_at: Timestamp,
    /// Whether it came before and is still open.
    pub redelivered: bool,
}

/// An item of which signature, signer, time and place were verified.
pub struct Arrived {
    /// Where it stands.
    pub place: Place,
    /// The item.
    pub item: VerifiedItem,
    /// The covenant by which the hub judged it.
    pub covenant: Covenant,
    /// The receipt with what belongs to it, for offline verification.
    pub receipt: ReceiptFile,
    /// Where it stands among this address's records of its conversation.
    pub(super) conversation: Option<wire::ConversationPlace>,
}

impl Arrived {
    /// Says whether this address had a record in the item's conversation before.
    pub(super) fn is_party(&self) -> bool {
        self.conversation.as_ref().is_some_and(|place| place.number > 1)
    }

    /// Checks that the record stands in the item's own conversation, or in none where the item has none.
    pub(super) fn judge_conversation(&self, of_item: Option<&str>) -> Result<()> {
        let of_record = self.conversation.as_ref().map(|place| place.id.as_str());
        if of_record == of_item {
            return Ok(());
        }
        let named = |conversation: Option<&str>| conversation.unwrap_or("none").to_owned();
        let what =
            format!("the hub put an item of conversation {} under conversation {}", named(of_item), named(of_record));
        Err(Error::not_verified("CONVERSATION", what))
    }
}

/// A signal that arrived.
pub struct ReceivedSignal {
    /// The item and its place.
    pub arrived: Arrived,
    /// The rule that permits it.
    pub rule_id: String,
    /// Whether its expiry is over; a late answer is still taken for 30 days.
    pub expired: bool,
    /// When the covenant's clock says that the answer is due.
    pub answer_due: Option<Timestamp>,
    /// What it says, or why that is not shown.
    pub content: SignalContent,
}

impl ReceivedSignal {
    /// Returns the signal.
    #[must_use]
    pub fn signal(&self) -> &Signal {
        match self.arrived.item.payload() {
            Payload::Signal(signal) => signal,
            Payload::Answer(_) | Payload::KeyStatement(_) => unreachable!("a received signal is a signal"),
        }
    }
}

/// The content of a signal that arrived.
pub enum SignalContent {
    /// It was opened, is what the header commits to, and fits its profile.
    Readable {
        /// The content.
        content: Content,
        /// With the content it proves what was sent.
        blind: Blind,
    },
    /// It was opened and is what the header commits to, but not what the profile allows.
    Unfit {
        /// The content.
        content: Content,
        /// With the content it proves what was sent.
        blind: Blind,
        /// What is wrong, and what to answer.
        fault: ContentFault,
    },
    /// It is not shown.
    Unreadable {
        /// The reason in UPPER_SNAKE.
        reason: &'static str,
        /// What is wrong.
        what: String,
        /// What to answer to the sender; none where the hub is at fault and not the sender.
        answer: Option<wire::AnswerCode>,
    },
    /// The hub has erased it by its retention class.
    Erased,
}

impl SignalContent {
    /// Returns what to answer, as far as this client can tell: whether it is one's task, only people can.
    #[must_use]
    pub fn answer(&self) -> Option<wire::AnswerCode> {
        match self {
            Self::Readable { .. } => Some(wire::AnswerCode::DeliveredReadable),
            Self::Unfit { fault, .. } => Some(fault.answer),
            Self::Unreadable { answer, .. } => *answer,
            Self::Erased => None,
        }
    }
}

/// An answer that arrived, to a delivery that this address's own receipt names.
pub struct ReceivedAnswer {
    /// The item and its place.
    pub arrived: Arrived,
    /// The answer.
    pub answer: seinpost_protocol::answer::Answer,
    /// The id of the signal that it answers.
    pub signal_id: String,
}

/// A key statement of this very address.
pub struct ReceivedStatement {
    /// The item and its place.
    pub arrived: Arrived,
    /// The statement.
    pub statement: seinpost_protocol::key_statement::KeyStatement,
    /// Whether it was made with this state folder. If not, and no other system of this organisation made it, somebody
    /// else has the signing key.
    pub is_own: bool,
}

/// A notice on a signal that this address sent.
pub struct ReceivedNotice {
    /// Where it stands.
    pub place: Place,
    /// `CONTENT_HANDOVER` or `EXPIRY`.
    pub event: EventKind,
    /// The signal.
    pub item_digest: Digest,
    /// The recipient that it is about.
    pub recipient: Address,
    /// The receipt.
    pub receipt: wire::Receipt,
}

/// An item that is proven to stand in the mailbox, but does not verify.
pub struct Withheld {
    /// Where it stands.
    pub place: Place,
    /// Its digest.
    pub item_digest: Digest,
    /// Why it is withheld.
    pub error: Error,
    /// The item, for whoever looks into it.
    pub item: wire::SignedItem,
    /// Its receipt.
    pub receipt: wire::Receipt,
}

impl Received {
    /// Returns where it stands, if it is a record of the mailbox.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Signal(signal) => Some(&signal.arrived.place),
            Self::Answer(answer) => Some(&answer.arrived.place),
            Self::KeyStatement(statement) => Some(&statement.arrived.place),
            Self::Notice(notice) => Some(&notice.place),
            Self::Withheld(withheld) => Some(&withheld.place),
            Self::Head(_) | Self::Alarm(_) | Self::Waiting(_) | Self::Resumed => None,
        }
    }

    pub(super) fn item_digest(&self) -> Option<Digest> {
        match self {
            Self::Signal(signal) => Some(signal.arrived.item.digest()),
            Self::Answer(answer) => Some(answer.arrived.item.digest()),
            Self::KeyStatement(statement) => Some(statement.arrived.item.digest()),
            Self::Withheld(withheld) => Some(withheld.item_digest),
            Self::Notice(_) | Self::Head(_) | Self::Alarm(_) | Self::Waiting(_) | Self::Resumed => None,
        }
    }
}
