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

/// Lists deliveries, and the place of the last row if others follow.
fn list(
    state: &State,
    lateness: &Lateness<'_>,
    wanted: Option<DeliveryState>,
    late_only: bool,
    from: Option<(u8, u64)>,
    rows: usize,
) -> (Vec<wire::DeliverySummary>, Option<(u8, u64)>) {
    let waits = |delivery: &Delivery| delivery.answer.is_none();
    let (part, place) = from.map_or((WAITING, None), |(part, place)| (part, Some(place)));
    let waiting = state
        .deliveries()
        .filter(|delivery| part == WAITING && waits(delivery) && place.is_none_or(|place| delivery.index > place))
        .map(|delivery| (WAITING, delivery));
    let done = state
        .deliveries()
        .rev()
        .filter(|delivery| !waits(delivery) && (part == WAITING || place.is_none_or(|place| delivery.index < place)))
        .map(|delivery| (DONE, delivery));
    let mut fitting = waiting.chain(done).filter(|(_, delivery)| {
        wanted.is_none_or(|wanted| wanted == delivery.state()) && (!late_only || lateness.is_late(delivery))
    });
    let page: Vec<(u8, &Delivery)> = fitting.by_ref().take(rows).collect();
    let more = fitting.next().is_some();
    let last = page.last().filter(|_| more).map(|(part, delivery)| (*part, delivery.index));
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
