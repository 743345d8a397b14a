//! Receiving: one mailbox as a stream of things that were verified.
//!
//! Out of a [`Mailbox`] come signals, answers, key statements and notices, each with its receipt, in the mailbox's own
//! order and without a gap; what does not verify comes out too, withheld and saying why, so that one bad item does not
//! stop those behind it. What convicts the hub, or leaves no order to go on by, is an error. The stream is taken up
//! again by itself when it breaks. Nothing is written here: whoever takes something over keeps it (see `inbox`) and then
//! acknowledges it, and only then does the place in the mailbox move.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use seinpost_protocol::address::Address;
use seinpost_protocol::certificate::Chain;
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, Payload, VerifiedItem};
use seinpost_protocol::key_statement::State;
use seinpost_protocol::mailbox_head::{self, BadHead, HEAD_AGE_MAX, Known, MailboxHead, VerifiedHead};
use seinpost_protocol::receipt::{EventKind, VerifiedReceipt, item_digest_of};
use seinpost_protocol::record;
use seinpost_protocol::signal::Signal;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_protocol::wire::record::Event;

use crate::client::Client;
use crate::directory::Judges;
use crate::error::{Error, NotVerified, Result, Unreachable};
use crate::evidence::Evidence;
use crate::files;
use crate::keys::record_time;
use crate::link::{Asked, audience_of, bad_receipt, expect};
use crate::pins::MailboxPin;
use crate::seal::{self, Blind, CannotOpen, Content, Delivered, PrivateKey, SUITE};
use crate::send::{ContentCheck, ContentContext, ContentFault, judge_record_time};
use crate::verify::ReceiptFile;

/// How often what the hub spoilt is fetched again before it is withheld.
const FETCHES_MAX: u32 = 2;
/// Waits between two connections: the first, and the longest.
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Heads that are held against later records; they come every minute.
const HEADS_MAX: usize = 16;
/// So many streams in a row that promise records and end before one comes, over longer than a head is fresh, are no
/// chance.
const UNKEPT_STREAMS_MAX: u32 = 3;
/// How long a consigned item is remembered: items older than 30 days are not accepted.
const REMEMBER: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// After what was taken over last; what is open before that comes too, marked as redelivered.
    #[default]
    Pinned,
    /// At the first record that is not erased: restores a client that lost everything.
    Beginning,
}

/// One address's mailbox, as it arrives.
pub struct Mailbox {
    client: Client,
    check: Arc<dyn ContentCheck>,
    stream: Option<Stream>,
    order: Order,
    /// What was taken over last before this mailbox was opened: whatever is read again must fit it.
    pinned: Option<MailboxPin>,
    heads: VecDeque<Head>,
    /// The last number that this stream's head promised; with a new stream nothing is promised yet.
    promised: u64,
    /// Streams in a row that promised more and ended before anything came, and since when.
    unkept: Option<(u32, Timestamp)>,
    /// Redelivered numbers that were handed out since this mailbox was opened.
    redelivered: HashSet<u64>,
    /// How often a number was fetched in vain.
    fetched: HashMap<u64, u32>,
    consigned: ConsignedItems,
    /// What was judged already and comes out before anything else is read.
    next: VecDeque<Received>,
    /// Set while there is no connection: how long to wait before the next try, if that was not waited for yet.
    lost: Option<Duration>,
    wait: Duration,
}

struct Stream {
    messages: tonic::Streaming<wire::ReceiveResponse>,
    asked: Asked,
}

struct Head {
    head: MailboxHead,
    size: u64,
    item: wire::SignedItem,
}

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
    /// The connection broke or cannot be made; it is tried again until it stands. Told once, by [`Mailbox::next`] alone.
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
    conversation: Option<wire::ConversationPlace>,
}

impl Arrived {
    /// Says whether this address had a record in the item's conversation before.
    fn is_party(&self) -> bool {
        self.conversation.as_ref().is_some_and(|place| place.number > 1)
    }

    /// Checks that the record stands in the item's own conversation, or in none where the item has none.
    fn judge_conversation(&self, of_item: Option<&str>) -> Result<()> {
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

    fn item_digest(&self) -> Option<Digest> {
        match self {
            Self::Signal(signal) => Some(signal.arrived.item.digest()),
            Self::Answer(answer) => Some(answer.arrived.item.digest()),
            Self::KeyStatement(statement) => Some(statement.arrived.item.digest()),
            Self::Withheld(withheld) => Some(withheld.item_digest),
            Self::Notice(_) | Self::Head(_) | Self::Alarm(_) | Self::Waiting(_) | Self::Resumed => None,
        }
    }
}

impl Client {
    /// Opens one's own mailbox; the stream begins with the first [`Mailbox::next`].
    ///
    /// # Errors
    /// If there is no valid covenant, or the state cannot be read.
    pub async fn receive(&self, start: Start, check: Arc<dyn ContentCheck>) -> Result<Mailbox> {
        if self.covenant().is_err() {
            self.refresh_covenant().await?;
        }
        let pinned = self.inner.pins.read()?.mailbox(self.address());
        let order = match (start, pinned) {
            (Start::Pinned, Some(pinned)) => Order::After(pinned),
            (Start::Pinned, None) | (Start::Beginning, _) => Order::From(None),
        };
        Ok(Mailbox {
            consigned: ConsignedItems::open(&self.inner.profile.state, self.origin(), self.address(), pinned)?,
            client: self.clone(),
            check,
            stream: None,
            order,
            pinned,
            heads: VecDeque::new(),
            promised: 0,
            unkept: None,
            redelivered: HashSet::new(),
            fetched: HashMap::new(),
            next: VecDeque::new(),
            lost: None,
            wait: WAIT_FIRST,
        })
    }
}

impl Mailbox {
    /// Waits for what comes next. A connection that breaks is made anew, for as long as it takes; that it broke and that
    /// it stands again come out too, as [`Received::Waiting`] and [`Received::Resumed`].
    ///
    /// # Errors
    /// If the gateway refuses, or what it shows leaves no doubt that something is wrong with the log or the mailbox.
    pub async fn next(&mut self) -> Result<Received> {
        loop {
            if let Some(received) = self.next.pop_front() {
                return Ok(received);
            }
            if let Some(wait) = self.lost.filter(|_| self.stream.is_none()) {
                tokio::time::sleep(wait).await;
            }
            match self.try_next().await {
                Ok(received) => {
                    self.wait = WAIT_FIRST;
                    if self.lost.take().is_some() {
                        tracing::info!(address = %self.client.address(), "the mailbox is read again");
                        received.into_iter().for_each(|received| self.next.push_front(received));
                        return Ok(Received::Resumed);
                    }
                    if let Some(received) = received {
                        return Ok(received);
                    }
                }
                Err(Error::Unreachable(trouble)) if trouble.automatic => {
                    self.stream = None;
                    // The hub may ask for patience, but not for so much that nobody asks any more.
                    let wait = trouble.retry_after.unwrap_or(self.wait).min(WAIT_MAX);
                    self.wait = (self.wait * 2).min(WAIT_MAX);
                    if self.lost.replace(wait).is_none() {
                        tracing::warn!(address = %self.client.address(), trouble = %trouble.message, "the hub was lost");
                        return Ok(Received::Waiting(trouble));
                    }
                }
                Err(error) => {
                    self.stream = None;
                    return Err(error);
                }
            }
        }
    }

    /// Waits for what comes next, but not for a broken connection and no longer than given; `None`: nothing came.
    ///
    /// # Errors
    /// As [`Mailbox::next`], and if the gateway cannot be reached.
    pub async fn next_within(&mut self, patience: Duration) -> Result<Option<Received>> {
        let deadline = tokio::time::Instant::now() + patience;
        if let Some(received) = self.next.pop_front() {
            return Ok(Some(received));
        }
        loop {
            match tokio::time::timeout_at(deadline, self.try_next()).await {
                Ok(Ok(Some(received))) => return Ok(Some(received)),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    self.stream = None;
                    return Err(error);
                }
                // A message may have been half judged; it comes again with the next stream.
                Err(_) => {
                    self.stream = None;
                    return Ok(None);
                }
            }
        }
    }

    /// Says whether everything was handed out that the hub's last head promises.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.next.is_empty() && self.heads.back().is_some_and(|head| head.head.last_number <= self.order.last_number())
    }

    /// Moves the place in the mailbox behind something that was taken over; on `Ok` that survives a power cut.
    ///
    /// What was not acknowledged comes again. Redelivered records lie behind the place already.
    ///
    /// # Errors
    /// If the state cannot be written.
    pub fn acknowledge(&mut self, received: &Received) -> Result<()> {
        let Some(place) = received.place() else {
            return Ok(());
        };
        if let Some(digest) = received.item_digest() {
            self.consigned.keep(place, digest)?;
        }
        let pin = MailboxPin {
            number: place.number,
            index: place.index,
            commitment: place.commitment,
            time: place.recorded_at,
        };
        let address = self.client.address();
        self.client.inner.pins.update(|pins| {
            pins.raise_mailbox(address, pin);
            Ok(())
        })
    }

    /// Reads and judges one message; `None`: it was nothing to hand out.
    async fn try_next(&mut self) -> Result<Option<Received>> {
        if self.stream.is_none() {
            self.stream = Some(self.open_stream().await?);
            if self.promised > self.order.last_number() {
                let (streams, since) = self.unkept.unwrap_or((0, self.client.now()));
                self.unkept = Some((streams + 1, since));
            }
            self.promised = 0;
        }
        let stream = self.stream.as_mut().expect("the stream was just opened");
        let asked = stream.asked.clone();
        let message = match tokio::time::timeout(HEAD_AGE_MAX, stream.messages.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Err(unreachable("the gateway ended the stream")),
            Ok(Err(status)) => return Err(self.client.inner.connection.error(&status)),
            // A head is due every minute: two did not come.
            Err(_) => return Err(unreachable("the stream is silent for longer than 150 s")),
        };
        match message.message {
            Some(Message::MailboxHead(item)) => self.take_head(&asked, item, &message.consistency).await.map(Some),
            Some(Message::Delivery(delivery)) => self.take_delivery(&asked, delivery, &message.consistency).await,
            Some(Message::Notice(notice)) => self.take_notice(&asked, notice, &message.consistency).await,
            None => Err(Error::not_verified("RECEIVE", "the gateway sent a message that holds nothing")),
        }
    }

    async fn open_stream(&self) -> Result<Stream> {
        let asked = self.client.asked()?;
        let question = wire::ReceiveRequest {
            address: Some(self.client.address().into()),
            after: self.order.last_number(),
            seen_size: asked.seen_size(),
        };
        let connection = &self.client.inner.connection;
        let answer = connection.exchange().receive(tonic::Request::new(question)).await;
        let messages = answer.map_err(|status| connection.error(&status))?.into_inner();
        Ok(Stream { messages, asked })
    }

    async fn take_head(
        &mut self,
        asked: &Asked,
        item: wire::SignedItem,
        consistency: &[bytes::Bytes],
    ) -> Result<Received> {
        let verified = match self.judge_head(asked, &item, consistency).await? {
            Ok(verified) => verified,
            Err(alarm) => return Ok(Received::Alarm(alarm)),
        };
        let VerifiedHead { head, checkpoint, .. } = verified;
        if let Order::From(first) = &mut self.order {
            first.get_or_insert(head.first_number);
        }
        self.judge_promise(&head, &item)?;
        // Deleted by the earlier of two clocks: a wrong one of one's own would destroy what still opens.
        self.client.inner.sealing_keys.delete_expired(head.time.min(self.client.now()))?;
        // The hub repeats a head while nothing comes: what an earlier one promised must have come by now.
        let last = self.order.last_number();
        let alarm = (self.promised > last).then(|| {
            let before = self.heads.back().map(|before| before.item.encode_to_vec()).unwrap_or_default();
            self.client.accuse(Evidence {
                reason: "HELD_BACK",
                what: format!(
                    "the hub signed that the mailbox holds records up to {}, and sends none after {last}",
                    self.promised
                ),
                pieces: vec![("head.item", &before)],
            })
        });
        let alarm = alarm.or_else(|| self.judge_unkept(&head, last));
        self.promised = head.last_number;
        self.heads.push_back(Head { head: head.clone(), size: checkpoint.size, item });
        if self.heads.len() > HEADS_MAX {
            self.heads.pop_front();
        }
        match alarm {
            Some(Error::NotVerified(alarm)) => Ok(Received::Alarm(alarm)),
            _ => Ok(Received::Head(head)),
        }
    }

    /// Says whether the hub promises again and again and ends every stream before it sends anything.
    fn judge_unkept(&mut self, head: &MailboxHead, last: u64) -> Option<Error> {
        let (streams, since) = self.unkept?;
        if streams < UNKEPT_STREAMS_MAX || self.client.now().since(since) <= HEAD_AGE_MAX {
            return None;
        }
        self.unkept = None;
        let what = format!(
            "the hub signed that the mailbox holds records up to {}, and {streams} streams ended before one came after {last}",
            head.last_number
        );
        Some(Error::not_verified("HELD_BACK", what))
    }

    /// Verifies a head; the inner error is an alarm with which the mailbox can be read on.
    async fn judge_head(
        &mut self,
        asked: &Asked,
        item: &wire::SignedItem,
        consistency: &[bytes::Bytes],
    ) -> Result<std::result::Result<VerifiedHead, NotVerified>> {
        let not_right =
            |bad: &BadHead| Error::not_verified(bad.reason(), format!("the mailbox head does not hold: {bad}"));
        let head = MailboxHead::parse(item).map_err(|bad| not_right(&bad))?;
        // Linked first, so that another history is saved as evidence whatever else is wrong.
        let checkpoint = self.client.link_note(asked, &head.note, consistency).await?;
        let keys = self.client.log_keys();
        let pin = checkpoint.pin();
        let mut known = Known {
            origin: self.client.origin(),
            keys: &keys,
            address: self.client.address(),
            // Judged against its own tree, which is linked already; that it is not smaller is asked below.
            pin: &pin,
            last_seen: self.order.last_number(),
            now: self.client.now(),
        };
        if checkpoint.size < asked.seen_size() {
            return Err(self.client.accuse_shrinking(asked, &checkpoint, &head.note));
        }
        // Who reads again from the beginning still knows how far it had come.
        let seen = self.pinned.map_or(0, |pinned| pinned.number).max(self.order.last_number());
        let alarm = |bad: &BadHead| NotVerified {
            reason: bad.reason(),
            what: format!("mailbox of {}: {bad}", head.address),
            evidence: None,
        };
        match mailbox_head::verify(item, &known, &[]) {
            Ok(_) | Err(BadHead::LostUnread) if head.last_number < seen => Err(self.accuse_behind(&head, item, seen)),
            Err(BadHead::Behind) => Err(self.accuse_behind(&head, item, seen)),
            Ok(verified) => Ok(Ok(verified)),
            Err(BadHead::LostUnread) if matches!(self.order, Order::From(None)) => {
                // Whoever begins anew has lost nothing by what is erased.
                known.last_seen = head.first_number - 1;
                mailbox_head::verify(item, &known, &[]).map(Ok).map_err(|bad| not_right(&bad))
            }
            Err(bad @ BadHead::LostUnread) => {
                let what = alarm(&bad);
                let last = self.order.last_number();
                self.order = Order::From(Some(head.first_number));
                let what = NotVerified {
                    what: format!("{}: {} to {} are gone", what.what, last + 1, head.first_number - 1),
                    ..what
                };
                Ok(Err(what))
            }
            Err(bad @ (BadHead::Stale | BadHead::Ahead)) => {
                // Signed and linked, so where the mailbox begins can be believed.
                if let Order::From(first) = &mut self.order {
                    first.get_or_insert(head.first_number);
                }
                Ok(Err(alarm(&bad)))
            }
            Err(bad) => Err(not_right(&bad)),
        }
    }

    /// Holds what a head says of its last record against the record that was read under that number.
    fn judge_promise(&self, head: &MailboxHead, item: &wire::SignedItem) -> Result<()> {
        let last = match self.order {
            Order::After(last) => Some(last),
            Order::From(_) => None,
        };
        let known = last.into_iter().chain(self.pinned).find(|known| known.number == head.last_number);
        let (Some(known), Some((index, commitment))) = (known, head.last) else {
            return Ok(());
        };
        if (known.index, known.commitment) == (index, commitment) {
            return Ok(());
        }
        let shown = item.encode_to_vec();
        Err(self.client.accuse(Evidence {
            reason: "HEAD_LIE",
            what: format!("the hub signed another record as number {} than the one that it delivered", known.number),
            pieces: vec![("head.item", &shown)],
        }))
    }

    fn accuse_behind(&self, head: &MailboxHead, item: &wire::SignedItem, seen: u64) -> Error {
        let (bad, shown) = (BadHead::Behind, item.encode_to_vec());
        self.client.accuse(Evidence {
            reason: bad.reason(),
            what: format!("{bad}: {seen} was read, the head says {}", head.last_number),
            pieces: vec![("head.item", &shown)],
        })
    }

    async fn take_delivery(
        &mut self,
        asked: &Asked,
        delivery: wire::Delivery,
        consistency: &[bytes::Bytes],
    ) -> Result<Option<Received>> {
        let nothing = || Error::not_verified("RECEIVE", "the gateway sent a delivery without item or receipt");
        let item = delivery.item.clone().ok_or_else(nothing)?;
        let receipt = delivery.receipt.clone().ok_or_else(nothing)?;
        let linked = self.client.link_receipt(asked, &receipt, consistency).await?;
        let digest = seinpost_protocol::item::digest_of(&item.payload_type, &item.payload);
        let own = audience_of(self.client.address());
        let record = expect(&linked, &own, EventKind::ContentConsignment, Some(&digest))?.clone();
        let place = self.place(&linked, &record, &receipt)?;
        if place.redelivered && self.redelivered.contains(&place.number) {
            return Ok(None);
        }
        let judged = match (self.consigned.number_of(&digest), self.consigned.item_of(place.number)) {
            (Some(number), _) if number != place.number => {
                Err(self.accuse_double(&digest, number, place.number, &receipt))
            }
            (None, Some(other)) => Err(self.accuse_exchanged(place.number, &other, &digest, &receipt)),
            _ => self.judge_item(place, &item, &receipt, &record).await,
        };
        let received = match judged {
            Ok(arrived) => self.judge_payload(arrived, &delivery).await,
            Err(error) => Err(error),
        };
        let received = match received {
            Ok(Some(received)) => received,
            // Spoilt by the hub: it is fetched again with a new stream.
            Ok(None) => {
                self.stream = None;
                return Ok(None);
            }
            Err(error @ (Error::NotVerified(_) | Error::NotFound(_))) => {
                Received::Withheld(Box::new(Withheld { place, item_digest: digest, error, item, receipt }))
            }
            Err(error) => return Err(error),
        };
        self.hand_out(&place);
        Ok(Some(received))
    }

    async fn take_notice(
        &mut self,
        asked: &Asked,
        notice: wire::Notice,
        consistency: &[bytes::Bytes],
    ) -> Result<Option<Received>> {
        let receipt = notice
            .receipt
            .ok_or_else(|| Error::not_verified("RECEIVE", "the gateway sent a notice without receipt"))?;
        let linked = self.client.link_receipt(asked, &receipt, consistency).await?;
        // Nobody can say what was erased; that unread records are gone, the head says.
        let Some(record) = linked.record.clone() else {
            return Ok(None);
        };
        let event = record.event.as_ref().expect("a decoded record has an event");
        let (Event::ContentHandover(wire::ContentHandover { recipient, .. })
        | Event::Expiry(wire::Expiry { recipient, .. })) = event
        else {
            return Err(Error::not_verified("EVENT", "the gateway sent a notice of what is none"));
        };
        let kind = EventKind::of(event);
        expect(&linked, &audience_of(self.client.address()), kind, None)?;
        let digest = item_digest_of(event).and_then(|digest| Digest::try_from(digest).ok());
        let recipient = recipient.as_ref().and_then(|address| Address::try_from(address).ok());
        let (Some(item_digest), Some(recipient)) = (digest, recipient) else {
            return Err(Error::not_verified("EVENT", "a notice names no signal or recipient"));
        };
        let place = self.place(&linked, &record, &receipt)?;
        let ruling = self.client.ruling_of(&record, &receipt).await;
        let notice = ReceivedNotice { place, event: kind, item_digest, recipient, receipt };
        let notice = Received::Notice(Box::new(notice));
        match ruling {
            Ok(_) => {
                self.hand_out(&place);
                Ok(Some(notice))
            }
            // A notice asks nothing of anybody, so it is no harm to hand it out; that the hub lied is told first.
            Err(Error::NotVerified(alarm)) => {
                self.hand_out(&place);
                self.next.push_back(notice);
                Ok(Some(Received::Alarm(alarm)))
            }
            Err(error) => Err(error),
        }
    }

    /// Checks where a record stands: in this mailbox, next after the last one, not before it in time, and in no
    /// contradiction to a head.
    fn place(&self, linked: &VerifiedReceipt, record: &wire::Record, receipt: &wire::Receipt) -> Result<Place> {
        let mailbox = record
            .mailbox
            .as_ref()
            .ok_or_else(|| Error::not_verified("MAILBOX", "a delivered record stands in no mailbox"))?;
        let place = Place {
            number: mailbox.number,
            index: linked.index,
            commitment: linked.commitment,
            recorded_at: record_time(record),
            // By one's own order: the hub calls redelivered what it handed over before, whether or not it was kept.
            redelivered: mailbox.number <= self.order.last_number(),
        };
        let judged = if place.redelivered { self.order.judge_again(&place) } else { self.order.judge(mailbox, &place) };
        let judged = judged.and_then(|()| self.pinned.map_or(Ok(()), |pinned| judge_beside(&pinned, &place)));
        judged.map_err(|what| {
            let bytes = receipt.encode_to_vec();
            self.client.accuse(Evidence { reason: "MAILBOX_GAP", what, pieces: vec![("receipt.bin", &bytes)] })
        })?;
        for head in &self.heads {
            if let Err(lie) = mailbox_head::contradicts(&head.head, head.size, record) {
                let (shown, bytes) = (head.item.encode_to_vec(), receipt.encode_to_vec());
                return Err(self.client.accuse(Evidence {
                    reason: lie.reason(),
                    what: lie.to_string(),
                    pieces: vec![("head.item", &shown), ("receipt.bin", &bytes)],
                }));
            }
        }
        Ok(place)
    }

    fn hand_out(&mut self, place: &Place) {
        self.unkept = None;
        if place.redelivered {
            self.redelivered.insert(place.number);
        } else {
            self.order = Order::After(MailboxPin {
                number: place.number,
                index: place.index,
                commitment: place.commitment,
                time: place.recorded_at,
            });
        }
    }

    fn accuse_double(&self, digest: &Digest, number: u64, again: u64, receipt: &wire::Receipt) -> Error {
        let bytes = receipt.encode_to_vec();
        self.client.accuse(Evidence {
            reason: "CONSIGNED_TWICE",
            what: format!("item {digest} was consigned as number {number} and again as number {again}"),
            pieces: vec![("receipt.bin", &bytes)],
        })
    }

    fn accuse_exchanged(&self, number: u64, before: &Digest, now: &Digest, receipt: &wire::Receipt) -> Error {
        let bytes = receipt.encode_to_vec();
        self.client.accuse(Evidence {
            reason: "NUMBER_TWICE",
            what: format!("number {number} of the mailbox was item {before}, and now it is item {now}"),
            pieces: vec![("receipt.bin", &bytes)],
        })
    }

    /// Verifies an item as of its record's time: form, times, covenant, signer, gossip.
    async fn judge_item(
        &self,
        place: Place,
        item: &wire::SignedItem,
        receipt: &wire::Receipt,
        record: &wire::Record,
    ) -> Result<Arrived> {
        let client = &self.client;
        let item = Item::parse(item.clone(), client.origin())
            .map_err(|bad| Error::not_verified(bad.reason(), format!("a delivered item is not right: {bad}")))?;
        judge_record_time(record, item.signer().signed_at, client.now())?;
        client.ruling_of(record, receipt).await?;
        let (covenant, chain, item) = client.verify_recorded(item, record).await?;
        let signer = item.signer();
        client.covenant_by_digest(&signer.covenant_digest).await?;
        client.link_gossip(signer).await?;
        if signer.key_serial > 0 {
            // What a peer says of its own newest key: no older one is sealed to after this.
            client.inner.pins.update(|pins| pins.raise_key(signer.address, signer.key_serial, None))?;
        }
        let receipt =
            ReceiptFile::new(client.origin(), &covenant.digest(), item.wire().clone(), &chain, receipt.clone());
        Ok(Arrived { place, item, covenant, receipt, conversation: record.conversation.clone() })
    }

    /// Judges what the item says; `None`: the hub spoilt what travels beside it, and it is worth fetching again.
    async fn judge_payload(&mut self, arrived: Arrived, delivery: &wire::Delivery) -> Result<Option<Received>> {
        match arrived.item.payload().clone() {
            Payload::Signal(signal) => self.judge_signal(arrived, &signal, delivery),
            Payload::Answer(answer) => {
                let (acceptance, signal_id) = self.client.own_acceptance(&answer.item_digest).await?;
                record::answer_matches(&acceptance, &answer).map_err(|bad| {
                    Error::not_verified(
                        bad.reason(),
                        format!("an answer of {} does not fit: {bad}", answer.signer.address),
                    )
                })?;
                let conversation = acceptance.conversation.as_ref().map(|place| place.id.as_str());
                arrived.judge_conversation(conversation)?;
                self.client.judge_first_answer(&arrived.item.digest(), &answer, &arrived.receipt)?;
                Ok(Some(Received::Answer(Box::new(ReceivedAnswer { arrived, answer, signal_id }))))
            }
            Payload::KeyStatement(statement) => {
                let is_own = self.client.inner.sealing_keys.knows(&arrived.item.digest());
                if statement.signer.address != self.client.address() {
                    return Err(Error::not_verified(
                        "KEY_STATEMENT",
                        "a key statement of another address was consigned here",
                    ));
                }
                arrived.judge_conversation(None)?;
                Ok(Some(Received::KeyStatement(Box::new(ReceivedStatement { arrived, statement, is_own }))))
            }
        }
    }

    fn judge_signal(
        &mut self,
        arrived: Arrived,
        signal: &Signal,
        delivery: &wire::Delivery,
    ) -> Result<Option<Received>> {
        let own = self.client.address();
        let header = &signal.header;
        let Some(position) = header.recipients.iter().position(|recipient| recipient.address == own) else {
            return Err(Error::not_verified(
                "NOT_ADDRESSED",
                "a signal was consigned here that is addressed to others",
            ));
        };
        // Else a place in another conversation would make anybody party to this one.
        arrived.judge_conversation(Some(&header.conversation.to_string()))?;
        let permit = arrived.covenant.permit(header).map_err(|refused| {
            Error::not_verified("NOT_PERMITTED", format!("the hub let a signal pass that no rule permits: {refused}"))
        })?;
        let permitted = &permit.recipients[position];
        // Whom no route leads to was party to the conversation before; what it has there is counted in its records.
        if !permitted.routed && !arrived.is_party() {
            return Err(Error::not_verified(
                "NOT_PERMITTED",
                "the hub let a signal pass to which no route leads, in a conversation that this address is not party to",
            ));
        }
        let rule_id = permitted.rule_id.clone();
        self.judge_key(signal, position, &arrived)?;
        let content = if delivery.sealed_content.is_empty() {
            SignalContent::Erased
        } else {
            match self.open(signal, position, delivery)? {
                Ok(opened) => self.judge_content(opened, &arrived, signal),
                Err(CannotRead::Open(CannotOpen::HubFault)) if self.may_fetch_again(arrived.place.number) => {
                    return Ok(None);
                }
                Err(cannot) => cannot.into(),
            }
        };
        let answer_due = arrived.covenant.answer_due(
            header.signal_type,
            header.signer.address.function,
            own.function,
            header.urgency,
            arrived.place.recorded_at,
        );
        let received = ReceivedSignal { arrived, rule_id, expired: delivery.expired, answer_due, content };
        Ok(Some(Received::Signal(Box::new(received))))
    }

    /// Judges the own key statement that a signal names, as the hub must have: sealed within its windows, not after it was
    /// withdrawn. Of a statement that was made elsewhere nothing is known here; opening says so.
    fn judge_key(&self, signal: &Signal, position: usize, arrived: &Arrived) -> Result<()> {
        let named = &signal.sealed.keys[position].key_statement_digest;
        let statements = self.client.inner.sealing_keys.list()?;
        let Some(own) = statements.iter().find(|own| own.digest == *named) else {
            return Ok(());
        };
        let header = &signal.header;
        own.statement.check_window(header.signer.signed_at, header.expires).map_err(|bad| {
            let what = format!("the hub let a signal pass that was sealed outside the windows of its key: {bad}");
            Error::not_verified(bad.reason(), what)
        })?;
        let later = statements.iter().filter(|later| later.statement.serial > own.statement.serial);
        for later in later.filter(|later| later.statement.state == State::Withdrawn) {
            let recorded = self.client.kept_receipt(&later.digest)?.map(|file| file.receipt.index);
            if recorded.is_some_and(|index| index < arrived.place.index) {
                let what = "the hub let a signal pass that was sealed to a key after it was withdrawn";
                return Err(Error::not_verified("KEY_WITHDRAWN", what));
            }
        }
        Ok(())
    }

    fn open(
        &self,
        signal: &Signal,
        position: usize,
        delivery: &wire::Delivery,
    ) -> Result<std::result::Result<seal::Opened, CannotRead>> {
        let statement = &signal.sealed.keys[position].key_statement_digest;
        let keys = &self.client.inner.sealing_keys;
        let key = keys.private_key(statement)?;
        if key.is_none() && keys.knows(statement) {
            return Ok(Err(CannotRead::KeyGone));
        }
        Ok(open_signal(
            signal,
            position,
            &delivery.sealed_content,
            &delivery.wrapped_key,
            key.as_ref().map(|key| (statement, key)),
        ))
    }

    fn judge_content(&self, opened: seal::Opened, arrived: &Arrived, signal: &Signal) -> SignalContent {
        let header = &signal.header;
        let seal::Opened { content, blind, .. } = opened;
        let profile = &header.content_profile;
        let profile =
            arrived.covenant.profile(&profile.name, profile.version).expect("a permitted signal has its profile");
        let context = ContentContext {
            covenant: &arrived.covenant,
            profile,
            signal_type: header.signal_type,
            from: header.signer.address,
            to: header.recipients.iter().map(|recipient| recipient.address).collect(),
        };
        match self.check.after_opening(content.as_bytes(), &context) {
            Ok(()) => SignalContent::Readable { content, blind },
            Err(fault) => SignalContent::Unfit { content, blind, fault },
        }
    }

    fn may_fetch_again(&mut self, number: u64) -> bool {
        let fetched = self.fetched.entry(number).or_default();
        *fetched += 1;
        *fetched <= FETCHES_MAX
    }
}

impl Client {
    /// Verifies an item as of its record's time, by the covenant and the revocation lists that the record names.
    pub(crate) async fn verify_recorded(
        &self,
        item: Item,
        record: &wire::Record,
    ) -> Result<(Covenant, Arc<Chain>, VerifiedItem)> {
        let covenant = self.covenant_of(record).await?;
        let chain = self.certificate(&item.signer().certificate_sha256).await?;
        let lists = self.lists(&record.crl_sha256).await?;
        let judges = Judges { covenant: &covenant, lists: &lists, at: record_time(record) };
        let item = self.verify_signature(item, &chain, &judges)?;
        Ok((covenant, chain, item))
    }

    /// Returns the acceptance of a signal that this address sent, with its id: from the receipt kept here, else the hub.
    async fn own_acceptance(&self, digest: &Digest) -> Result<(wire::Record, String)> {
        if let Some(file) = self.kept_receipt(digest)? {
            let (_, _, record) = seinpost_protocol::receipt::open(&file.receipt).map_err(|bad| bad_receipt(&bad))?;
            if let (Some(record), Ok(item)) = (record, file.parsed()) {
                return Ok((record, item.signer().item_id.to_string()));
            }
        }
        let (acceptance, item) = self.own_acceptance_shown(digest).await?;
        Ok((acceptance, item.signer().item_id.to_string()))
    }
}

/// Opens a signal for the recipient at a place of its header; `own` is the one of one's own statements whose digest the
/// item names, with its private key.
///
/// # Errors
/// [`CannotRead::KeyNotMine`] where the item names another statement, before anything is tried.
pub fn open_signal(
    signal: &Signal,
    position: usize,
    sealed_content: &[u8],
    wrapped_key: &[u8],
    own: Option<(&Digest, &PrivateKey)>,
) -> std::result::Result<seal::Opened, CannotRead> {
    let named = signal.sealed.keys.get(position).ok_or(CannotRead::KeyNotMine)?;
    let (_, key) =
        own.filter(|(statement, _)| **statement == named.key_statement_digest).ok_or(CannotRead::KeyNotMine)?;
    let delivered = Delivered {
        header: &signal.header_bytes,
        content_commitment: &signal.header.content_commitment,
        size_class: signal.header.size_class,
        suite: SUITE,
        content_sha256: &signal.sealed.content_sha256,
        key_statement: &named.key_statement_digest,
        wrapped_sha256: &named.wrapped_sha256,
        sealed_content,
        wrapped: wrapped_key,
    };
    seal::open(&delivered, key).map_err(CannotRead::Open)
}

/// Why a signal cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotRead {
    /// It is sealed to a statement that was not made here: somebody may have published a key in one's name.
    #[error(
        "it is sealed to a key statement that was not made here; if no other system of this organisation made it, somebody else published a key in its name"
    )]
    KeyNotMine,
    /// It is sealed to one's own statement, whose private key is deleted or lost.
    #[error("the private key of the key statement that it is sealed to is deleted or lost")]
    KeyGone,
    /// The seals do not open.
    #[error(transparent)]
    Open(CannotOpen),
}

impl CannotRead {
    /// Returns the reason in UPPER_SNAKE.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::KeyNotMine => "KEY_NOT_MINE",
            Self::KeyGone => "KEY_GONE",
            Self::Open(cannot) => cannot.reason(),
        }
    }

    /// Returns what to answer to the sender; none where the sender is not at fault.
    #[must_use]
    pub fn answer(self) -> Option<wire::AnswerCode> {
        match self {
            Self::KeyNotMine | Self::KeyGone => Some(wire::AnswerCode::UnreadableKey),
            Self::Open(cannot) => match cannot {
                CannotOpen::HubFault | CannotOpen::Suite(_) => None,
                CannotOpen::UnreadableKey | CannotOpen::WrappedLength => Some(wire::AnswerCode::UnreadableKey),
                CannotOpen::SizeClass
                | CannotOpen::ContentUnreadable
                | CannotOpen::CommitmentMismatch
                | CannotOpen::Padding => Some(wire::AnswerCode::CommitmentMismatch),
            },
        }
    }
}

impl From<CannotRead> for SignalContent {
    fn from(cannot: CannotRead) -> Self {
        Self::Unreadable { reason: cannot.reason(), what: cannot.to_string(), answer: cannot.answer() }
    }
}

/// What comes next in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The record after this one.
    After(MailboxPin),
    /// The record with this number, whatever went before it; `None` until a head says which is the first.
    From(Option<u64>),
}

impl Order {
    /// Returns the number after which the stream begins.
    fn last_number(&self) -> u64 {
        match self {
            Self::After(last) => last.number,
            Self::From(first) => first.map_or(0, |first| first.saturating_sub(1)),
        }
    }

    fn judge(&self, mailbox: &wire::MailboxPlace, place: &Place) -> std::result::Result<(), String> {
        let number = mailbox.number;
        match self {
            Self::From(None) => Err(format!("number {number} came before any mailbox head")),
            Self::From(Some(first)) if number != *first => {
                Err(format!("number {number} came where the mailbox begins with {first}"))
            }
            Self::From(Some(_)) => Ok(()),
            Self::After(last) if number != last.number + 1 => {
                Err(format!("number {number} came after number {}", last.number))
            }
            Self::After(last)
                if mailbox.previous_index != last.index || mailbox.previous_commitment != last.commitment.as_ref() =>
            {
                Err(format!("number {number} names another record before it than the one that came"))
            }
            Self::After(last) if place.index <= last.index => {
                Err(format!("number {number} stands before number {} in the log", last.number))
            }
            Self::After(last) if place.recorded_at < last.time => {
                Err(format!("number {number} is of {}, earlier than number {}", place.recorded_at, last.number))
            }
            Self::After(_) => Ok(()),
        }
    }

    /// Judges a record that is said to have come before: under its number there was never another.
    fn judge_again(&self, place: &Place) -> std::result::Result<(), String> {
        match self {
            Self::After(last) => judge_beside(last, place),
            Self::From(_) => Ok(()),
        }
    }
}

/// Judges a record beside one that is known: the same number is the same record, and what comes before or behind it in
/// the mailbox does so in the log and in time as well.
fn judge_beside(known: &MailboxPin, place: &Place) -> std::result::Result<(), String> {
    let number = place.number;
    match number.cmp(&known.number) {
        Ordering::Equal if (place.index, place.commitment) != (known.index, known.commitment) => {
            Err(format!("another record came again as number {number} than the one that came first"))
        }
        Ordering::Less if place.index >= known.index || place.recorded_at > known.time => {
            Err(format!("number {number} came again from behind number {}", known.number))
        }
        Ordering::Greater if place.index <= known.index || place.recorded_at < known.time => {
            Err(format!("number {number} came from before number {}", known.number))
        }
        Ordering::Less | Ordering::Equal | Ordering::Greater => Ok(()),
    }
}

/// Which items were consigned here within 31 days of the newest that was taken over, so that a second consignment is
/// noticed: a record is at most 30 days younger than the item's signature, so an item that is forgotten comes too late to
/// be taken once more. Counted by the mailbox's own times, because a mailbox may be read long after.
///
/// A file of rows of 48 bytes: number and record time as big-endian 64-bit integers, digest. A torn last row is dropped;
/// its record was not acknowledged.
struct ConsignedItems {
    path: PathBuf,
    numbers: HashMap<Digest, u64>,
    items: HashMap<u64, Digest>,
}

const ROW_BYTES: usize = 48;
/// A million items in 31 days, ten times a country's year.
const CONSIGNED_BYTES_MAX: usize = 48 * 1_000_000;

impl ConsignedItems {
    fn open(state: &Path, origin: &str, address: Address, newest: Option<MailboxPin>) -> Result<Self> {
        // A state folder may serve several logs, and each counts its mailboxes for itself.
        let folder = state.join("mailboxes").join(&Digest::of(origin.as_bytes()).to_string()[..16]);
        files::create_folder(&folder)?;
        let path = folder.join(format!("{}.consigned", address.to_string().replace('/', "-")));
        let bytes = files::read_if_there(&path, CONSIGNED_BYTES_MAX)?.unwrap_or_default();
        let mut consigned = Self { path, numbers: HashMap::new(), items: HashMap::new() };
        let mut kept = Vec::with_capacity(bytes.len());
        for row in bytes.chunks_exact(ROW_BYTES) {
            let number = u64::from_be_bytes(row[..8].try_into().expect("eight bytes"));
            let time = i64::from_be_bytes(row[8..16].try_into().expect("eight bytes"));
            if newest.is_none_or(|newest| newest.time.since(Timestamp::clamped(time)) <= REMEMBER) {
                consigned.insert(number, Digest::try_from(&row[16..]).expect("32 bytes"));
                kept.extend_from_slice(row);
            }
        }
        if kept.len() < bytes.len() {
            files::write(&consigned.path, &kept, files::Mode::Plain)?;
        }
        Ok(consigned)
    }

    fn insert(&mut self, number: u64, digest: Digest) {
        self.numbers.insert(digest, number);
        self.items.insert(number, digest);
    }

    /// Returns the item that was consigned under a number.
    fn item_of(&self, number: u64) -> Option<Digest> {
        self.items.get(&number).copied()
    }

    /// Returns the number under which an item was consigned.
    fn number_of(&self, digest: &Digest) -> Option<u64> {
        self.numbers.get(digest).copied()
    }

    fn keep(&mut self, place: &Place, digest: Digest) -> Result<()> {
        if self.numbers.contains_key(&digest) || self.items.contains_key(&place.number) {
            return Ok(());
        }
        let mut row = [0; ROW_BYTES];
        row[..8].copy_from_slice(&place.number.to_be_bytes());
        row[8..16].copy_from_slice(&place.recorded_at.millis().to_be_bytes());
        row[16..].copy_from_slice(digest.as_bytes());
        let written = File::options().create(true).append(true).open(&self.path).and_then(|mut file| {
            file.write_all(&row)?;
            file.sync_data()
        });
        written.map_err(|error| Error::file(&self.path, &error))?;
        self.insert(place.number, digest);
        Ok(())
    }
}

fn unreachable(what: &str) -> Error {
    Error::Unreachable(Unreachable::new(what))
}
