//! `OperationsService`: how deliveries fare, for operators.
//!
//! An operator sees who owes whom an answer and since when, because somebody must call; never a header's bytes, a legal
//! basis or content. Each look is recorded before it is shown, once for a list and not for each of its pages.

use std::sync::Arc;

use seinpost_core::state::{Delivery, State};
use seinpost_protocol::address::{Address, Function};
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::{self, DeliveryState};
use seinpost_rpc::operations_service_server::OperationsService;
use tonic::{Request, Response, Status};

use super::{Desk, caller, page};

/// The service.
pub(super) struct Operations(pub(super) Arc<Desk>);

/// The parts of the list, in its order: what waits for an answer, oldest first, then the rest, newest first.
const WAITING: u8 = 0;
const DONE: u8 = 1;

#[tonic::async_trait]
impl OperationsService for Operations {
    async fn list_deliveries(
        &self,
        request: Request<wire::ListDeliveriesRequest>,
    ) -> Result<Response<wire::ListDeliveriesResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let wanted = super::code::<DeliveryState>(request.state, "state")?;
        let filter =
            format!("state={} late_only={}", wanted.map_or("any", |state| state.as_str_name()), request.late_only);
        let who = Address { oin: caller.oin, function: Function::Operator };
        let name = format!("ListDeliveries {who} {filter}");
        let from = self.0.pages.place(&name, &request.page_token)?;
        if from.is_none() {
            self.0.record_access(who, "/seinpost.v1.OperationsService/ListDeliveries", filter).await?;
        }
        self.0.caught_up().await?;
        let now = self.0.now();
        let covenant = self.0.covenants.ruling(now);
        let rows = page::rows(request.page_size);
        let (deliveries, last) = self.0.state(|state| {
            let lateness = Lateness { covenant: &covenant, now };
            list(state, &lateness, wanted, request.late_only, from, rows)
        });
        let next_page_token = last.map(|(part, place)| self.0.pages.token(&name, part, place)).unwrap_or_default();
        Ok(Response::new(wire::ListDeliveriesResponse { deliveries, next_page_token }))
    }
}

/// When answers are due, by the covenant's clocks.
struct Lateness<'a> {
    covenant: &'a Covenant,
    now: Timestamp,
}

impl Lateness<'_> {
    fn due(&self, delivery: &Delivery) -> Option<Timestamp> {
        let (from, to) = (delivery.sender.function, delivery.recipient.function);
        self.covenant.answer_due(delivery.signal_type, from, to, delivery.urgency, delivery.consigned_at)
    }

    fn is_late(&self, delivery: &Delivery) -> bool {
        delivery.answer.is_none() && self.due(delivery).is_some_and(|due| due < self.now)
    }
}

/// Lists deliveries, and the place behind which the next page begins, if there may be one.
fn list(
    state: &State,
    lateness: &Lateness<'_>,
    wanted: Option<DeliveryState>,
    late_only: bool,
    from: Option<(u8, u64)>,
    rows: usize,
) -> (Vec<wire::DeliverySummary>, Option<(u8, u64)>) {
    let (part, place) = from.map_or((WAITING, None), |(part, place)| (part, Some(place)));
    // Those that wait begin behind the place, and none is left of them once the page before had others.
    let (waiting_from, done_before) = match (part, place) {
        (WAITING, None) => (0, u64::MAX),
        (WAITING, Some(place)) => (place.saturating_add(1), u64::MAX),
        (_, place) => (u64::MAX, place.unwrap_or(u64::MAX)),
    };
    // What is answered is not late.
    let done_before = if late_only { 0 } else { done_before };
    let waiting = state.waiting(waiting_from).map(|delivery| (WAITING, delivery));
    let done = state.deliveries_before(done_before).map(|delivery| (DONE, delivery));
    let (page, last) = page::take(waiting.chain(done), rows, |(part, delivery)| {
        (part == WAITING || delivery.answer.is_some())
            && wanted.is_none_or(|wanted| wanted == delivery.state())
            && (!late_only || lateness.is_late(delivery))
    });
    let last = last.map(|(part, delivery)| (part, delivery.index));
    (page.into_iter().map(|(_, delivery)| summary(delivery, lateness)).collect(), last)
}

fn summary(delivery: &Delivery, lateness: &Lateness<'_>) -> wire::DeliverySummary {
    wire::DeliverySummary {
        item_id: delivery.item_id.to_string(),
        r#type: delivery.signal_type.into(),
        from: Some(delivery.sender.into()),
        to: Some(delivery.recipient.into()),
        state: delivery.state().into(),
        urgency: delivery.urgency.into(),
        consigned_at: Some(delivery.consigned_at.into()),
        answer_due: lateness.due(delivery).map(Into::into),
        expires: Some(delivery.expires.into()),
        late: lateness.is_late(delivery),
    }
}
