//! `ExchangeService`: submitting, receiving, and looking at one's own items.
//!
//! Every call is made for one of the caller's own addresses; for any other, and for an object that is not the address's
//! own, the answer is that there is none. The questions about a submission stand in `submit.rs`, their order in a stream
//! in `submit_stream.rs`, a mailbox's reader in `receive.rs`.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::Stream;
use seinpost_core::state::{Delivery, State};
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, ItemId, Payload};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::record::Event;
use seinpost_protocol::wire::{self, DeliveryState, ItemDirection, SignalType};
use seinpost_rpc::exchange_service_server::ExchangeService;
use tonic::{Request, Response, Status, Streaming};

use super::{Desk, caller, own_address, page, receive, submit, submit_stream};
use crate::accept::{ConnectInfo, Leaving};
use crate::budget::Account;
use crate::errors::{Refused, fault};

/// The service.
pub(super) struct Exchange(pub(super) Arc<Desk>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ExchangeService for Exchange {
    async fn submit(&self, request: Request<wire::SubmitRequest>) -> Result<Response<wire::SubmitResponse>, Status> {
        let caller = caller(&request)?;
        submit::submit(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    type SubmitStreamStream = Answers<wire::SubmitStreamResponse>;

    async fn submit_stream(
        &self,
        request: Request<Streaming<wire::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        let caller = caller(&request)?;
        let account = request.extensions().get::<Account>().cloned().unwrap_or_default();
        let leaving = leaving(&request)?;
        let answers = submit_stream::answers(self.0.clone(), caller, account, request.into_inner(), leaving);
        Ok(Response::new(Box::pin(answers)))
    }

    type ReceiveStream = Answers<wire::ReceiveResponse>;

    async fn receive(&self, request: Request<wire::ReceiveRequest>) -> Result<Response<Self::ReceiveStream>, Status> {
        let address = own_address(&caller(&request)?, request.get_ref().address.as_ref())?;
        let leaving = leaving(&request)?;
        // Whoever answered a delivery and comes back is not told of it again.
        self.0.caught_up().await?;
        let watch = self.0.mailboxes.open(address).ok_or_else(|| Refused::of("TOO_MANY_STREAMS"))?;
        let wire::ReceiveRequest { after, seen_size, .. } = request.into_inner();
        let messages = receive::read(self.0.clone(), address, after, seen_size, watch, leaving);
        Ok(Response::new(Box::pin(messages)))
    }

    async fn get_item(
        &self,
        request: Request<wire::GetItemRequest>,
    ) -> Result<Response<wire::GetItemResponse>, Status> {
        let address = own_address(&caller(&request)?, request.get_ref().address.as_ref())?;
        let wire::GetItemRequest { which, seen_size, .. } = request.into_inner();
        let which = which.ok_or_else(|| Refused::of("FIELD").at("which"))?;
        self.0.caught_up().await?;
        self.0.blocking(move |desk| get_item(desk, address, &which, seen_size)).await.map(Response::new)
    }

    async fn list_items(
        &self,
        request: Request<wire::ListItemsRequest>,
    ) -> Result<Response<wire::ListItemsResponse>, Status> {
        let address = own_address(&caller(&request)?, request.get_ref().address.as_ref())?;
        let wanted = Wanted::read(request.get_ref())?;
        let name = format!("ListItems {address} {wanted:?}");
        let from = self.0.pages.place(&name, &request.get_ref().page_token)?.map(|(_, index)| index);
        let rows = page::rows(request.get_ref().page_size);
        self.0.caught_up().await?;
        let (items, last) = self.0.state(|state| list_items(state, address, &wanted, from, rows));
        let next_page_token = last.map(|last| self.0.pages.token(&name, 0, last)).unwrap_or_default();
        Ok(Response::new(wire::ListItemsResponse { items, next_page_token }))
    }
}

fn leaving<T>(request: &Request<T>) -> Result<Leaving, Status> {
    let connection = request.extensions().get::<ConnectInfo>();
    connection.map(|connection| connection.leaving.clone()).ok_or_else(|| Refused::of("NOT_PERMITTED").into())
}

/// Shows an item to its sender or to one of its recipients; to everybody else there is none.
fn get_item(
    desk: &Desk,
    address: Address,
    which: &wire::get_item_request::Which,
    pin: u64,
) -> Result<wire::GetItemResponse, Status> {
    use wire::get_item_request::Which;
    let none = || Status::from(Refused::of("NOT_FOUND"));
    let acceptance = match which {
        Which::ItemId(id) => {
            let id = ItemId::try_from(id.as_str()).map_err(|bad| Refused::bad("ITEM_ID", "item_id", bad))?;
            desk.state(|state| sent(state, address, id))
        }
        Which::ItemDigest(digest) => {
            let digest = Digest::try_from(digest).map_err(|bad| Refused::bad("LENGTH", "item_digest", bad))?;
            desk.reader.item_index(&digest).map_err(fault)?
        }
    };
    let acceptance = acceptance.ok_or_else(none)?;
    let record = super::decode(&desk.entry(acceptance)?)?;
    let Some(Event::SubmissionAcceptance(accepted)) = &record.event else {
        return Err(fault(format_args!("record {acceptance} is no acceptance")));
    };
    let signed = desk.item_at(acceptance)?;
    let item = Item::parse(signed.clone(), &desk.origin).map_err(fault)?;
    let wire_address = wire::Address::from(address);
    let is_sender = item.signer().address == address;
    let own: Vec<u64> = accepted
        .addressees
        .iter()
        .filter(|addressee| addressee.to.as_ref() == Some(&wire_address))
        .map(|addressee| addressee.index)
        .collect();
    if !is_sender && own.is_empty() {
        return Err(none());
    }

    // The steps that are this address's to know; a test walks a conversation and compares them with the mailboxes.
    let mut steps = own;
    let mut recipients = Vec::new();
    let deliveries: Vec<Delivery> = desk.state(|state| state.deliveries_of(item.digest()).cloned().collect());
    if is_sender {
        steps.push(acceptance);
        for delivery in &deliveries {
            steps.extend(delivery.handed_over);
            steps.extend(delivery.expired);
            // An answer's one consignment, to the sender, stands behind its acceptance.
            steps.extend(delivery.answer.map(|answer| answer.index + 1));
        }
        if matches!(item.payload(), Payload::Signal(_)) {
            for delivery in &deliveries {
                recipients.push(recipient_state(desk, delivery)?);
            }
        }
    } else {
        let delivery = deliveries.iter().find(|delivery| delivery.recipient == address);
        steps.extend(delivery.and_then(|delivery| delivery.answer).map(|answer| answer.index));
    }
    steps.sort_unstable();
    steps.dedup();

    let against = desk.newest();
    let mut receipts = Vec::with_capacity(steps.len());
    for index in steps {
        let entry = desk.entry(index)?;
        if entry.erased_by == 0 && !super::may_see(&super::decode(&entry)?, address) {
            return Err(fault(format_args!("record {index} is not for the address that asked")));
        }
        receipts.push(against.receipt(index, &entry)?);
    }
    Ok(wire::GetItemResponse { item: Some(signed), receipts, recipients, consistency: against.consistency(pin) })
}

/// Finds an item that an address sent: by its id while that is remembered, a signal as long as its deliveries are.
fn sent(state: &State, address: Address, id: ItemId) -> Option<u64> {
    if let Some((_, index)) = state.known(address, id) {
        return Some(index);
    }
    state.sent(address, id).map(|signal| signal.index)
}

fn recipient_state(desk: &Desk, delivery: &Delivery) -> Result<wire::RecipientState, Status> {
    let answer = delivery.answer.map(|answer| desk.item_at(answer.index)).transpose()?;
    Ok(wire::RecipientState {
        address: Some(delivery.recipient.into()),
        state: delivery.state().into(),
        answer,
        late: delivery.answer.is_some_and(|answer| answer.late),
    })
}

/// Which rows a list shall have.
#[derive(Debug)]
struct Wanted {
    direction: ItemDirection,
    state: Option<DeliveryState>,
    signal_type: Option<SignalType>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Wanted {
    fn read(request: &wire::ListItemsRequest) -> Result<Self, Status> {
        Ok(Self {
            direction: super::code(request.direction, "direction")?.unwrap_or(ItemDirection::Unspecified),
            state: super::code(request.state, "state")?,
            signal_type: super::code(request.r#type, "type")?,
            after: super::time(request.after.as_ref(), "after")?,
            before: super::time(request.before.as_ref(), "before")?,
        })
    }

    /// Says whether a delivery of the address's own fits; from when on was asked before.
    fn fits(&self, delivery: &Delivery, address: Address) -> bool {
        let side = match self.direction {
            ItemDirection::Unspecified => true,
            ItemDirection::Sent => delivery.sender == address,
            ItemDirection::Received => delivery.recipient == address,
        };
        side && self.state.is_none_or(|state| state == delivery.state())
            && self.signal_type.is_none_or(|signal_type| signal_type == delivery.signal_type)
            && self.before.is_none_or(|before| delivery.consigned_at < before)
    }
}

/// Lists an address's signals, newest first, and the index behind which the next page begins, if there may be one.
fn list_items(
    state: &State,
    address: Address,
    wanted: &Wanted,
    from: Option<u64>,
    rows: usize,
) -> (Vec<wire::ItemSummary>, Option<u64>) {
    let own = state.deliveries_by_party(address, from.unwrap_or(u64::MAX));
    // The newest come first, and the time of records never falls.
    let own = own.take_while(|delivery| wanted.after.is_none_or(|after| delivery.consigned_at >= after));
    let (page, last) = page::take(own, rows, |delivery| wanted.fits(delivery, address));
    (page.into_iter().map(|delivery| summary(delivery, address)).collect(), last.map(|last| last.index))
}

fn summary(delivery: &Delivery, address: Address) -> wire::ItemSummary {
    wire::ItemSummary {
        item_id: delivery.item_id.to_string(),
        item_digest: delivery.item.into(),
        r#type: delivery.signal_type.into(),
        from: Some(delivery.sender.into()),
        to: Some(delivery.recipient.into()),
        state: delivery.state().into(),
        urgency: delivery.urgency.into(),
        recorded_at: Some(delivery.consigned_at.into()),
        expires: Some(delivery.expires.into()),
        conversation: delivery.conversation.to_string(),
        answer: delivery.answer.map_or(0, |answer| answer.code.into()),
        // The number is the recipient's alone: it tells how much else lies in the mailbox.
        mailbox_number: if delivery.recipient == address { delivery.number } else { 0 },
    }
}
