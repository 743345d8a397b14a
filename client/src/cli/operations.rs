//! `ops deliveries`: how deliveries fare, and whom to call about those that are late.

use seinpost_protocol::address::{Address, function_code};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

use super::args::{Ops, OpsDeliveries};
use super::paging::{Bounds, PAGE, gather};
use super::print::{Cell, Printer, column};
use super::{Doing as _, Outcome, report};
use crate::client::Client;
use crate::content::draft::type_code;

pub(super) async fn run(command: &Ops, client: &Client, printer: &Printer) -> Outcome {
    match command {
        Ops::Deliveries(arguments) => deliveries(arguments, client, printer).await,
    }
}

async fn deliveries(arguments: &OpsDeliveries, client: &Client, printer: &Printer) -> Outcome {
    let deed = "the deliveries cannot be listed";
    let covenant = client.refresh_covenant().await.doing(deed)?;
    let bounds = Bounds { rows: arguments.limit as usize, pages: usize::MAX };
    let page_size = arguments.limit.min(PAGE);
    let ask = async |page: Option<&str>| client.deliveries(None, arguments.late, page_size, page).await;
    let summaries = gather(bounds, ask, |_| true).await.doing(deed)?;
    let mut late = 0;
    let rows: Vec<Vec<Cell>> = summaries
        .iter()
        .map(|delivery| {
            late += u64::from(delivery.late);
            let to = delivery.to.as_ref().and_then(|to| Address::try_from(to).ok());
            let participant = to.and_then(|to| covenant.participant(to.oin));
            // Whom to call matters where something is late, and nowhere else.
            let contact = participant.filter(|_| delivery.late).and_then(|participant| participant.contact.as_ref());
            let contact = contact.map_or("", |contact| {
                if delivery.urgency() == wire::Urgency::Immediate && !contact.urgent_phone.is_empty() {
                    &contact.urgent_phone
                } else {
                    &contact.phone
                }
            });
            let name = participant.map_or("", |participant| participant.name.as_str());
            vec![
                Cell::same(&delivery.item_id),
                Cell::both(if delivery.late { "LATE" } else { "" }, delivery.late),
                Cell::same(type_code(delivery.r#type())),
                Cell::same(delivery.urgency().as_str_name().trim_start_matches("URGENCY_")),
                Cell::same(state_code(delivery.state())),
                address_cell(delivery.from.as_ref()),
                Cell::both(
                    format!("{name} {}", to.map_or("", |to| function_code(to.function))),
                    to.map(|to| to.to_string()).unwrap_or_default(),
                ),
                time_cell(printer, delivery.consigned_at.as_ref()),
                answer_due(delivery, printer),
                time_cell(printer, delivery.expires.as_ref()),
                Cell::same(contact),
            ]
        })
        .collect();
    let columns = [
        column("SIGNAL", "item_id").of_ids(),
        column("LATE", "late"),
        column("TYPE", "type").gives_way(),
        column("URGENCY", "urgency").gives_way(),
        column("STATE", "state"),
        column("", "from"),
        column("TO", "to").shrinks(),
        column("CONSIGNED", "consigned_at").gives_way(),
        column("ANSWER DUE", "answer_due"),
        column("", "expires"),
        column("CALL", "contact"),
    ];
    printer.rows(&columns, &rows, "no deliveries");
    if late > 0 {
        printer.note(printer.red(&format!(
            "{late} late: the covenant's clock for the answer has run out; call who is named beside it"
        )));
    }
    Ok(report::DONE)
}

/// When the answer is due: for people only as long as it is owed.
fn answer_due(delivery: &wire::DeliverySummary, printer: &Printer) -> Cell {
    use wire::DeliveryState as S;
    let cell = time_cell(printer, delivery.answer_due.as_ref());
    match delivery.state() {
        S::Accepted | S::HandedOver => cell,
        S::Unspecified | S::Answered | S::AnsweredWithFault | S::Undeliverable | S::Expired => {
            Cell { text: "–".into(), ..cell }
        }
    }
}

/// Returns a state's short code, such as HANDED_OVER.
pub(super) fn state_code(state: wire::DeliveryState) -> &'static str {
    state.as_str_name().trim_start_matches("DELIVERY_STATE_")
}

/// An address: its function for people, all of it for programs.
pub(super) fn address_cell(address: Option<&wire::Address>) -> Cell {
    match address.and_then(|address| Address::try_from(address).ok()) {
        Some(address) => Cell::both(function_code(address.function), address.to_string()),
        None => Cell::none(),
    }
}

/// A time that the hub gave, or nothing.
pub(super) fn time_cell(printer: &Printer, time: Option<&prost_types::Timestamp>) -> Cell {
    match time.and_then(|time| Timestamp::try_from(time).ok()) {
        Some(time) => Cell::time(printer, time.millis()),
        None => Cell::none(),
    }
}
