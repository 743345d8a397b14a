//! `status` and `list`: how far a signal is, each step with who said so and its proof.

use seinpost_protocol::address::{Address, function_code};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{ItemId, Payload};
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::wire;

use super::args::{List, Status};
use super::enrol::short;
use super::operations::{address_cell, state_code, time_cell};
use super::paging::{Bounds, PAGE, gather};
use super::print::{Cell, Printer, column};
use super::{Doing as _, Outcome, covenant, report};
use crate::client::Client;
use crate::content::draft::type_code;
use crate::error::{Error, Fault, Result};
use crate::status::{Filter, RecipientView, ShownItem, Step, Which};

/// Pages that a shortened id is looked for in: as many signals as an address sees in some weeks.
const PAGES_SEARCHED: usize = 10;

/// `seinpost status ID`.
pub(super) async fn status(arguments: &Status, client: &Client, printer: &Printer) -> Outcome {
    let deed = "the status cannot be shown";
    let which = which(&arguments.id, client).await.doing(deed)?;
    let shown = match client.item(which).await {
        // Before it is called unknown: a hub that fell back to an older copy of its log knows it no more.
        Err(unknown @ Error::NotFound(_)) => client.checkpoint().await.and(Err(unknown)),
        other => other,
    };
    let shown = shown.doing(deed)?;
    if printer.for_people() {
        tell(&shown, client, printer);
    } else if printer.quiet {
        shown.recipients.iter().for_each(|recipient| printer.line(state_code(recipient.state)));
    } else {
        printer.json(&json(&shown));
    }
    Ok(if shown.alarms.is_empty() { report::DONE } else { report::NOT_VERIFIED })
}

/// `seinpost list`.
pub(super) async fn list(arguments: &List, client: &Client, printer: &Printer) -> Outcome {
    let deed = "the signals cannot be listed";
    // A list proves nothing by itself; that nothing was forgotten since, the checkpoint does.
    client.checkpoint().await.doing(deed)?;
    let filter = Filter {
        direction: match (arguments.sent, arguments.received) {
            (true, _) => wire::ItemDirection::Sent,
            (_, true) => wire::ItemDirection::Received,
            _ => wire::ItemDirection::Unspecified,
        },
        signal_type: arguments.signal_type.as_deref().map(covenant::signal_type).transpose().doing(deed)?,
        page_size: PAGE,
        ..Filter::default()
    };
    let bounds = Bounds { rows: arguments.limit as usize, pages: usize::MAX };
    let fits = |item: &wire::ItemSummary| !arguments.waiting || is_waiting(item.state());
    let items = gather(bounds, async |page| client.items(&filter, page).await, fits).await.doing(deed)?;
    if printer.quiet {
        items.iter().for_each(|item| printer.line(&item.item_id));
        return Ok(report::DONE);
    }
    let me = wire::Address::from(client.address());
    let rows: Vec<Vec<Cell>> = items
        .iter()
        .map(|item| {
            let sent = item.from.as_ref() == Some(&me);
            vec![
                Cell::same(&item.item_id),
                Cell::same(if sent { "SENT" } else { "RECEIVED" }),
                Cell::same(type_code(item.r#type())),
                Cell::same(item.urgency().as_str_name().trim_start_matches("URGENCY_")),
                Cell::same(state_code(item.state())),
                with(sent, item),
                time_cell(printer, item.recorded_at.as_ref()),
                time_cell(printer, item.expires.as_ref()),
                Cell::both("", hex::encode(&item.item_digest)),
                Cell::both("", item.conversation.clone()),
            ]
        })
        .collect();
    let columns = [
        column("SIGNAL", "item_id").of_ids(),
        column("", "direction"),
        column("TYPE", "type"),
        column("URGENCY", "urgency").gives_way(),
        column("STATE", "state"),
        column("WITH", "with"),
        column("RECORDED", "recorded_at").gives_way(),
        column("EXPIRES", "expires").gives_way(),
        column("", "item_digest"),
        column("", "conversation"),
    ];
    printer.rows(&columns, &rows, if arguments.waiting { "nothing waits for an answer" } else { "no signals" });
    Ok(report::DONE)
}

/// The other side: for people with an arrow that says which way the signal went.
fn with(sent: bool, item: &wire::ItemSummary) -> Cell {
    let cell = address_cell(if sent { item.to.as_ref() } else { item.from.as_ref() });
    Cell { text: format!("{} {}", if sent { "to" } else { "from" }, cell.text), ..cell }
}

/// Finds an item by its id, the first characters of its id where they are unique, or its digest.
pub(super) async fn which(text: &str, client: &Client) -> Result<Which> {
    if let Ok(id) = ItemId::try_from(text) {
        // One's own by id; what was received is found by its digest.
        return match summary(client, |item| item.item_id == text).await?.as_slice() {
            [item, ..] if item.from.as_ref() != Some(&client.address().into()) => by_digest(item),
            _ => Ok(Which::Id(id)),
        };
    }
    if text.len() == 64
        && let Some(digest) = hex::decode(text).ok().and_then(|bytes| Digest::try_from(bytes.as_slice()).ok())
    {
        return Ok(Which::Digest(digest));
    }
    // Eight characters of a UUIDv7 are a minute; fewer would fit too much.
    if text.len() < 8 {
        let fault = Fault::new(text, "too short for an id")
            .hint("a signal's id, at least its first 8 characters, or its digest");
        return Err(Error::Usage(vec![fault]));
    }
    let mut found = summary(client, |item| item.item_id.starts_with(text)).await?;
    found.dedup_by(|a, b| a.item_digest == b.item_digest);
    match found.as_slice() {
        [] => Err(Error::NotFound(format!("no signal of this address begins with {text}"))),
        [item] => by_digest(item),
        several => {
            let ids: Vec<&str> = several.iter().map(|item| item.item_id.as_str()).collect();
            Err(Error::Usage(vec![Fault::new(text, "fits several signals").hint(ids.join(", "))]))
        }
    }
}

fn by_digest(item: &wire::ItemSummary) -> Result<Which> {
    Digest::try_from(&item.item_digest)
        .map(Which::Digest)
        .map_err(|_| Error::Fault("the gateway lists an item without a digest".into()))
}

async fn summary(client: &Client, fits: impl Fn(&wire::ItemSummary) -> bool) -> Result<Vec<wire::ItemSummary>> {
    let filter = Filter { page_size: PAGE, ..Filter::default() };
    let bounds = Bounds { rows: usize::MAX, pages: PAGES_SEARCHED };
    gather(bounds, async |page| client.items(&filter, page).await, fits).await
}

fn is_waiting(state: wire::DeliveryState) -> bool {
    use wire::DeliveryState as S;
    match state {
        S::Accepted | S::HandedOver => true,
        S::Unspecified | S::Answered | S::AnsweredWithFault | S::Undeliverable | S::Expired => false,
    }
}

/// The ladder, rung by rung: what happened, when, who says so, and what proves it.
fn tell(shown: &ShownItem, client: &Client, printer: &Printer) {
    let signer = shown.item.signer();
    let kind = match shown.item.payload() {
        Payload::Signal(signal) => type_code(signal.header.signal_type),
        Payload::Answer(_) => "answer",
        Payload::KeyStatement(_) => "key statement",
    };
    printer.line(format!("{kind} {}", signer.item_id));
    printer.line(format!("from {}", who(signer.address, client)));
    let by_hub = |what: &str, step: &Step| {
        printer.line(format!(
            "  {what:<27}  {:<11}  the hub        record {} {}",
            printer.time(step.at.millis()),
            step.index,
            short(&step.commitment)
        ));
    };
    for step in shown.steps.iter().filter(|step| step.recipient.is_none() && answer_of(step, shown).is_none()) {
        by_hub(said(step, shown), step);
    }
    for recipient in &shown.recipients {
        printer.line(format!("to {}: {}", who(recipient.address, client), word(recipient.state, printer)));
        for step in shown.steps.iter().filter(|step| step.recipient == Some(recipient.address)) {
            by_hub(said(step, shown), step);
        }
        let Some(answer) = &recipient.answer else { continue };
        let code = answer.code.as_str_name().trim_start_matches("ANSWER_CODE_");
        let rung = shown.steps.iter().find(|step| answer_of(step, shown) == Some(recipient.address));
        let when = printer.time(rung.map_or(answer.signer.signed_at, |step| step.at).millis());
        let proof = match rung {
            Some(step) if recipient.answer_is_verified => {
                format!("signed, record {} {}", step.index, short(&step.commitment))
            }
            _ => printer.red("its signature could not be verified here"),
        };
        let late = if recipient.late { ", late" } else { "" };
        printer.line(format!("  {:<27}  {when:<11}  the recipient  {proof}{late}", format!("answered {code}")));
    }
    for alarm in &shown.alarms {
        printer.line(printer.red(&format!("ALARM  {alarm}")));
        if let Some(folder) = &alarm.evidence {
            printer.line(format!("       evidence: {}", folder.display()));
        }
    }
    if !shown.recipients.is_empty() {
        printer.note(
            "\"the hub\": proven to stand in its log, and no more than its word; \"the recipient\": signed by it",
        );
    }
    if !shown.is_verified {
        printer.note(printer.yellow("the item's own signature could not be verified here"));
    }
}

/// Whose answer it is that a step is about.
fn answer_of(step: &Step, shown: &ShownItem) -> Option<Address> {
    let of =
        |recipient: &&RecipientView| recipient.answer_digest.is_some() && recipient.answer_digest == step.item_digest;
    shown.recipients.iter().find(of).map(|recipient| recipient.address)
}

fn said(step: &Step, shown: &ShownItem) -> &'static str {
    let is_own = step.item_digest == Some(shown.item.digest());
    match step.event {
        EventKind::SubmissionAcceptance if is_own => "accepted by the hub",
        EventKind::SubmissionAcceptance => "answer accepted by the hub",
        EventKind::ContentConsignment if is_own => "put into the mailbox",
        EventKind::ContentConsignment => "answer put into the mailbox",
        EventKind::ContentHandover => "handed over",
        EventKind::Expiry => "expired",
        other => other.name(),
    }
}

fn word(state: wire::DeliveryState, printer: &Printer) -> String {
    use wire::DeliveryState as S;
    match state {
        S::Unspecified => "unknown".into(),
        S::Accepted => "accepted by the hub, not yet handed over".into(),
        S::HandedOver => printer.yellow("handed over to its system, not yet answered"),
        S::Answered => printer.green("answered by the recipient"),
        S::AnsweredWithFault => printer.red("answered with a fault: correct or withdraw it"),
        S::Undeliverable => printer.red("undeliverable: the recipient cannot or may not take it"),
        S::Expired => printer.red("expired: no answer in time"),
    }
}

fn who(address: Address, client: &Client) -> String {
    let covenant = client.covenant().ok();
    let name = covenant
        .as_ref()
        .and_then(|covenant| covenant.participant(address.oin))
        .map(|participant| participant.name.clone());
    format!("{}, {}", name.unwrap_or_else(|| address.oin.to_string()), function_code(address.function))
}

fn json(shown: &ShownItem) -> serde_json::Value {
    let signer = shown.item.signer();
    let signal_type = match shown.item.payload() {
        Payload::Signal(signal) => Some(type_code(signal.header.signal_type)),
        Payload::Answer(_) | Payload::KeyStatement(_) => None,
    };
    serde_json::json!({
        "item_id": signer.item_id.to_string(),
        "item_digest": shown.item.digest().to_string(),
        "type": signal_type,
        "from": signer.address.to_string(),
        "signature_verified": shown.is_verified,
        "steps": shown.steps.iter().map(|step| serde_json::json!({
            "event": step.event.name(),
            "at": step.at.to_string(),
            "recipient": step.recipient.map(|recipient| recipient.to_string()),
            "item_digest": step.item_digest.map(|digest| digest.to_string()),
            "index": step.index,
            "commitment": step.commitment.to_string(),
            "mailbox_number": step.number,
        })).collect::<Vec<_>>(),
        "recipients": shown.recipients.iter().map(|recipient| serde_json::json!({
            "address": recipient.address.to_string(),
            "state": state_code(recipient.state),
            "answer": recipient.answer.as_ref().map(|answer| answer.code.as_str_name().trim_start_matches("ANSWER_CODE_")),
            "answer_verified": recipient.answer_is_verified,
            "late": recipient.late,
        })).collect::<Vec<_>>(),
        "alarms": shown.alarms.iter().map(|alarm| serde_json::json!({
            "reason": alarm.reason,
            "what": alarm.what,
            "evidence": alarm.evidence.as_ref().map(|folder| folder.display().to_string()),
        })).collect::<Vec<_>>(),
    })
}
