//! One reader of one mailbox: the head, what is still open, then all that comes.
//!
//! The stream is pulled: nothing is read from the disk before the connection has room for it, so a reader that stops
//! costs one page and what HTTP/2 has buffered, and never the mailbox. Messages come in the order of their numbers;
//! after an idle minute the head is said again, so that a reader knows that silence is true. The hand-over is recorded
//! when a signal first goes to a transport; that is the hub's word and no more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use prost::Message as _;
use seinpost_core::command::Command;
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_protocol::wire::record::Event;
use seinpost_protocol::wire::{self, ReceiveResponse};
use tokio::time::sleep;
use tonic::Status;
use tracing::warn;

use super::Desk;
use super::receipts::Against;
use crate::accept::Leaving;
use crate::commit::BlobKind;
use crate::errors::{Refused, fault};
use crate::mailbox::Watch;
use crate::sequencer::Outcome;

/// How long a reader hears nothing before it hears the head again; clients alarm at 150 s.
const IDLE: Duration = Duration::from_secs(60);
/// Messages read ahead at one time.
const PAGE_MESSAGES: usize = 64;
/// Bytes of content after which a page ends; the last message may exceed it by its own size, so that a reader buffers
/// less than 4 MiB.
const PAGE_BYTES: usize = 1024 * 1024;
/// How often a hand-over is offered to a busy sequencer, and how long it rests between: ten seconds in all. One that is
/// lost all the same is recorded when the signal goes out again.
const HAND_OVER_TRIES: u32 = 50;
const HAND_OVER_REST: Duration = Duration::from_millis(200);

/// Reads the mailbox of `address` from behind number `after`.
pub(super) fn read(
    desk: Arc<Desk>,
    address: Address,
    after: u64,
    pin: u64,
    watch: Watch,
    leaving: Leaving,
) -> impl Stream<Item = Result<ReceiveResponse, Status>> + Send {
    let reader = Reader {
        desk,
        address,
        pin,
        open: Some(Open { next: 1, last: after }),
        after,
        ready: VecDeque::new(),
        head_due: true,
        ended: false,
        watch,
        leaving,
    };
    unfold(reader, |mut reader| async move { reader.next().await.map(|message| (message, reader)) })
}

struct Reader {
    desk: Arc<Desk>,
    address: Address,
    pin: u64,
    /// What was handed over before and is still open, while it is being gone through.
    open: Option<Open>,
    /// The last number that was read.
    after: u64,
    ready: VecDeque<Ready>,
    head_due: bool,
    ended: bool,
    watch: Watch,
    leaving: Leaving,
}

/// The numbers below which open deliveries are told again.
#[derive(Clone, Copy)]
struct Open {
    next: u64,
    last: u64,
}

/// A message that is ready to go, and the signal whose first hand-over it is.
struct Ready {
    message: ReceiveResponse,
    hand_over: Option<Digest>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<ReceiveResponse, Status>> {
        if self.ended {
            return None;
        }
        let next = self.advance().await;
        self.ended = next.is_err();
        Some(next)
    }

    async fn advance(&mut self) -> Result<ReceiveResponse, Status> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                if let Some(item) = ready.hand_over {
                    tokio::spawn(hand_over(self.desk.clone(), item, self.address));
                }
                return Ok(ready.message);
            }
            if self.head_due {
                self.head_due = false;
                return self.head().await;
            }
            // Woken before the read, so that what comes during it wakes again.
            self.watch.seen();
            let (address, pin, open, after) = (self.address, self.pin, self.open, self.after);
            let page = self.desk.blocking(move |desk| page(desk, address, pin, open, after)).await?;
            (self.open, self.after) = (page.open, page.after);
            self.ready = page.ready;
            // After what is open comes what is new, so an empty page of the one is no silence of the other.
            if !self.ready.is_empty() || open.is_some() {
                continue;
            }
            tokio::select! {
                () = self.watch.changed() => {}
                () = sleep(IDLE) => self.head_due = true,
                () = self.leaving.wait() => return Err(Refused::of("DRAINING").into()),
            }
        }
    }

    /// Says what stands in the mailbox, signed by the log.
    async fn head(&self) -> Result<ReceiveResponse, Status> {
        let (item, size) = self.desk.mailbox_head(self.address).await?;
        let consistency = self.desk.newest().consistency_of(size, self.pin);
        Ok(ReceiveResponse { consistency, message: Some(Message::MailboxHead(item)) })
    }
}

/// What was read in one go, and where to go on.
struct Page {
    ready: VecDeque<Ready>,
    open: Option<Open>,
    after: u64,
}

/// Reads the next messages: first open deliveries up to where the reader begins, then all behind it.
fn page(desk: &Desk, address: Address, pin: u64, open: Option<Open>, after: u64) -> Result<Page, Status> {
    let mut page = Page { ready: VecDeque::new(), open, after };
    let places: Vec<(u64, u64)> = match open {
        Some(Open { next, last }) => desk.state(|state| {
            let open = state.unanswered(address).map(|delivery| (delivery.number, delivery.index));
            open.skip_while(|(number, _)| *number < next)
                .take_while(|(number, _)| *number <= last)
                .take(PAGE_MESSAGES)
                .collect()
        }),
        None => desk.reader.mailbox(&address, after, PAGE_MESSAGES).map_err(fault)?,
    };
    if places.is_empty() {
        page.open = None;
        return Ok(page);
    }
    // Read after the places, so that it covers them: what is applied was durable before.
    let against = desk.newest();
    let mut bytes = 0;
    for (number, index) in places {
        if bytes >= PAGE_BYTES {
            break;
        }
        let ready = ready(desk, address, index, pin, &against, open.is_some())?;
        bytes += ready.message.encoded_len();
        page.ready.push_back(ready);
        match &mut page.open {
            Some(open) => open.next = number + 1,
            None => page.after = number,
        }
    }
    Ok(page)
}

/// Makes the message of one record of the mailbox.
fn ready(
    desk: &Desk,
    address: Address,
    index: u64,
    pin: u64,
    against: &Against,
    redelivered: bool,
) -> Result<Ready, Status> {
    let entry = desk.entry(index)?;
    let receipt = Some(against.receipt(index, &entry)?);
    let consistency = against.consistency(pin);
    let notice = |receipt| ReceiveResponse {
        consistency: consistency.clone(),
        message: Some(Message::Notice(wire::Notice { receipt })),
    };
    if entry.erased_by != 0 {
        return Ok(Ready { message: notice(receipt), hand_over: None });
    }
    let record = super::decode(&entry)?;
    if !super::is_for(&record, address) {
        return Err(fault(format_args!("record {index} stands in a mailbox that is not its audience's")));
    }
    let Some(Event::ContentConsignment(consigned)) = &record.event else {
        return Ok(Ready { message: notice(receipt), hand_over: None });
    };
    let item = Digest::try_from(&consigned.item_digest).map_err(fault)?;
    let acceptance = desk.reader.item_index(&item).map_err(fault)?;
    let acceptance = acceptance.ok_or_else(|| fault(format_args!("no acceptance of {item}")))?;
    // The consignments stand behind the acceptance in the order of the recipients, and so do the wrapped keys.
    let place = index.checked_sub(acceptance + 1).and_then(|place| usize::try_from(place).ok());
    let place = place.ok_or_else(|| fault(format_args!("consignment {index} before its acceptance {acceptance}")))?;
    let beside = desk.reader.blobs_of(acceptance).map_err(fault)?;
    let read = |kind: BlobKind, nth: usize| {
        let position = beside.iter().filter(|(other, _)| *other == kind).map(|(_, position)| position).nth(nth);
        position.map_or(Ok(Bytes::new()), |position| desk.blobs.read(position).map_err(fault))
    };
    let signed = wire::SignedItem::decode(read(BlobKind::Item, 0)?).map_err(fault)?;
    let sealed_content = read(BlobKind::SealedContent, 0)?;
    let wrapped_key = read(BlobKind::WrappedKey, place)?;
    let delivery = desk.state(|state| {
        let delivery = state.delivery(item, address)?;
        Some((delivery.handed_over.is_some(), delivery.answer.is_some(), delivery.expired.is_some()))
    });
    let (handed_over, answered, expired) = delivery.unwrap_or((true, true, false));
    let delivery = wire::Delivery {
        item: Some(signed),
        sealed_content,
        wrapped_key,
        receipt,
        redelivered: redelivered || handed_over && !answered,
        expired,
    };
    let message = ReceiveResponse { consistency, message: Some(Message::Delivery(delivery)) };
    Ok(Ready { message, hand_over: (!handed_over).then_some(item) })
}

/// Records that a signal went to its recipient's transport.
async fn hand_over(desk: Arc<Desk>, item: Digest, recipient: Address) {
    for _ in 0..HAND_OVER_TRIES {
        match desk.sequencer.submit(Command::HandOver { item, recipient }, Vec::new()).await {
            Outcome::Busy => sleep(HAND_OVER_REST).await,
            _ => return,
        }
    }
    warn!(%item, "a hand-over could not be recorded yet; it will be when the signal goes out again");
}
