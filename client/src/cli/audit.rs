//! `audit` and `verify`: what can be proven, in sentences and by exit code.

use super::args::{Audit, AuditRecords, Verify};
use super::enrol::short;
use super::print::{Cell, Printer, column};
use super::{Doing as _, Outcome, report};
use crate::client::Client;
use crate::profile::Profile;
use crate::verify::ReceiptFile;

pub(super) async fn run(command: &Audit, client: &Client, printer: &Printer) -> Outcome {
    match command {
        Audit::Checkpoint => checkpoint(client, printer).await,
        Audit::Records(arguments) => records(arguments, client, printer).await,
        Audit::Verify => verify(client, printer).await,
    }
}

/// `seinpost verify RECEIPT`: offline, by what the profile has pinned and kept.
pub(super) async fn verify_receipt(arguments: &Verify, profile: Profile, printer: &Printer) -> Outcome {
    let deed = "the receipt does not hold";
    let file = ReceiptFile::read(&arguments.receipt).doing(deed)?;
    let client = Client::open(profile).doing(deed)?;
    let verdict = client.verify_receipt(&file).doing(deed)?;
    if printer.quiet {
        printer.line(verdict.item_digest.to_string());
    } else if printer.for_people() {
        printer.line(format!("{} for item {}", printer.green("the receipt holds"), verdict.item_id));
        printer.line("proven:");
        verdict.proven.iter().for_each(|proven| printer.line(format!("  {proven}")));
        printer.line("not proven:");
        verdict.not_proven.iter().for_each(|not| printer.line(format!("  {not}")));
    } else {
        printer.json(&serde_json::json!({
            "item_id": verdict.item_id.to_string(),
            "item_digest": verdict.item_digest.to_string(),
            "proven": verdict.proven.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "not_proven": verdict.not_proven.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
    }
    Ok(report::DONE)
}

async fn checkpoint(client: &Client, printer: &Printer) -> Outcome {
    let deed = "the checkpoint does not hold";
    client.refresh_covenant().await.doing(deed)?;
    let before = client.pins().read().doing(deed)?.pin();
    let checkpoint = client.checkpoint().await.doing(deed)?;
    if printer.quiet {
        printer.line(checkpoint.pin.size.to_string());
    } else if printer.for_people() {
        printer.line(String::from_utf8_lossy(&checkpoint.note).trim_end());
        printer.note(format!("{} the {} records that this profile saw before", printer.green("extends"), before.size));
    } else {
        printer.json(&serde_json::json!({
            "size": checkpoint.pin.size,
            "root": checkpoint.pin.root.to_string(),
            "extends": before.size,
            "note": String::from_utf8_lossy(&checkpoint.note),
        }));
    }
    Ok(report::DONE)
}
