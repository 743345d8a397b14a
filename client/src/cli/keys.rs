//! `keys new | publish | list`: the keys to which others seal.

use seinpost_protocol::address::{Function, function_code};
use seinpost_protocol::key_statement::State;

use super::args::Keys;
use super::enrol::short;
use super::print::{Cell, List, Printer, column};
use super::{Doing as _, Outcome, report};
use crate::client::Client;
use crate::error::{Error, NotAllowed, Result};
use crate::keys::Windows;
use crate::send::Submitted;

pub(super) async fn run(command: &Keys, client: &Client, printer: &Printer) -> Outcome {
    match command {
        Keys::New => new(client, printer).await,
        Keys::Publish => publish(client, printer).await,
        Keys::List => list(client, printer),
    }
}

/// Makes a key and publishes its statement: a key that nobody knows of seals nothing.
async fn new(client: &Client, printer: &Printer) -> Outcome {
    let deed = "no sealing key can be made";
    has_mailbox(client).doing(deed)?;
    client.publish_certificate().await.doing(deed)?;
    let submitted = client.publish_key(Windows::default()).await.doing(deed)?;
    if printer.for_people() || printer.quiet {
        told(&submitted, "a new sealing key is published", printer);
    } else {
        printer.json(&json(&submitted));
    }
    Ok(report::DONE)
}

/// Says before anything is published that nobody will ever seal to this address.
fn has_mailbox(client: &Client) -> Result<()> {
    let function = client.address().function;
    if !matches!(function, Function::Operator | Function::Auditor) {
        return Ok(());
    }
    let message = format!(
        "{} has no mailbox: nobody seals to it, and it signs nothing that a certificate would be needed for; nothing was \
         published",
        function_code(function)
    );
    Err(Error::NotAllowed(NotAllowed { reason: None, message }))
}

/// Publishes the certificate, and whatever statement still waits in the outbox; makes a first key if there is none.
async fn publish(client: &Client, printer: &Printer) -> Outcome {
    let deed = "the keys cannot be published";
    has_mailbox(client).doing(deed)?;
    client.publish_certificate().await.doing(deed)?;
    let mut sent = Vec::new();
    for (_, result) in client.send_waiting().await.doing(deed)? {
        sent.push(result.doing(deed)?);
    }
    if printer.for_people() {
        printer.line(format!("signing certificate {} is published", short(&client.identity().certificate_sha256())));
    }
    let now = client.now();
    let statements = client.sealing_keys().list().doing(deed)?;
    let in_force = statements.iter().any(|own| {
        own.has_private_key && matches!(&own.statement.state, State::Windowed { seal_until, .. } if *seal_until > now)
    });
    let mut what = "published from the outbox";
    if sent.is_empty() && !in_force {
        what = "a new sealing key is published";
        sent.push(client.publish_key(Windows::default()).await.doing(deed)?);
    }
    let mut list = List::begin(printer);
    for submitted in &sent {
        told(submitted, what, printer);
        list.add(&json(submitted));
    }
    Ok(report::DONE)
}

fn list(client: &Client, printer: &Printer) -> Outcome {
    let statements = client.sealing_keys().list().doing("the keys cannot be listed")?;
    let rows: Vec<Vec<Cell>> = statements
        .iter()
        .map(|own| {
            let mut row =
                vec![Cell::number(own.statement.serial), Cell::both(short(&own.digest), own.digest.to_string())];
            match &own.statement.state {
                State::Windowed { seal_from, seal_until, open_until, .. } => {
                    row.extend([seal_from, seal_until, open_until].map(|time| Cell::time(printer, time.millis())));
                }
                State::Withdrawn => row.extend([Cell::same("withdrawn"), Cell::none(), Cell::none()]),
            }
            row.push(Cell::both(if own.has_private_key { "yes" } else { "deleted" }, own.has_private_key));
            row
        })
        .collect();
    let columns = [
        column("SERIAL", "serial"),
        column("STATEMENT", "statement"),
        column("SEAL FROM", "seal_from"),
        column("SEAL UNTIL", "seal_until"),
        column("OPEN UNTIL", "open_until"),
        column("PRIVATE KEY", "private_key"),
    ];
    printer.rows(&columns, &rows, "no sealing key yet: seinpost keys new");
    Ok(report::DONE)
}

fn told(submitted: &Submitted, what: &str, printer: &Printer) {
    if printer.quiet {
        printer.line(submitted.id.to_string());
    } else if printer.for_people() {
        printer.line(format!("{what}: {}", submitted.id));
        printer.line(format!("receipt: {}", submitted.receipt.display()));
    }
}

fn json(submitted: &Submitted) -> serde_json::Value {
    serde_json::json!({"item_id": submitted.id.to_string(), "receipt": submitted.receipt.display().to_string()})
}
