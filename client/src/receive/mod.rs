//! Receiving: one mailbox as a stream of things that were verified.
//!
//! Out of a [`Mailbox`] come signals, answers, key statements and notices, each with its receipt, in the mailbox's own
//! order and without a gap; what does not verify comes out too, withheld and saying why, so that one bad item does not
//! stop those behind it. What convicts the hub, or leaves no order to go on by, is an error. The stream is taken up
//! again by itself when it breaks. Nothing is written here: whoever takes something over keeps it (see `inbox`) and then
//! acknowledges it, and only then does the place in the mailbox move.
//!
//! This file walks the stream; the rooms behind it say what is right. `received`: what comes out. `order`: what may come
//! next. `heads`: what the hub signs that the mailbox holds. `consigned`: which items were here before. `judge`: what an
//! item must be. `open`: the seals.

mod received;
mod order;
mod heads;
mod consigned;
mod judge;
mod open;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::mailbox_head::{self, HEAD_AGE_MAX};
use seinpost_protocol::receipt::{EventKind, VerifiedReceipt, item_digest_of};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_protocol::wire::record::Event;

use self::consigned::ConsignedItems;
use self::heads::Head;
use self::order::{Order, judge_beside};
use crate::client::Client;
use crate::error::{Error, Result, Unreachable};
use crate::evidence::Evidence;
use crate::keys::record_time;
use crate::link::{Asked, audience_of, expect};
use crate::pins::MailboxPin;
use crate::send::ContentCheck;

pub use self::open::{CannotRead, open_signal};
pub use self::received::{
    Arrived, Place, Received, ReceivedAnswer, ReceivedNotice, ReceivedSignal, ReceivedStatement, SignalContent,
    Withheld,
};

/// Waits between two connections: the first, and the longest.
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(30);

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
}

fn unreachable(what: &str) -> Error {
    Error::Unreachable(Unreachable::new(what))
}
