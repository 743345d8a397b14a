//! `send`, `receive`, `ack`, `reject`, `status`, `list`: the daily work of an agency.

use std::io::Read as _;
use std::path::Path;

use seinpost_protocol::address::function_code;
use seinpost_protocol::content::CONTENT_BYTES_MAX;

use super::args::Send;
use super::enrol::short;
use super::print::{Cell, Printer, column};
use super::{Doing as _, Outcome, report};
use crate::client::Client;
use crate::content::draft::{self, Writer, type_code};
use crate::content::{self, Check};
use crate::error::{Error, Fault, Result};
use crate::send::{KeepCopy, Outgoing, Plan, Submitted};

/// Largest file that is read as a signal: JSON takes a few times the bytes of its content.
const FILE_BYTES_MAX: u64 = 4 * CONTENT_BYTES_MAX as u64;

/// `seinpost send FILE`.
pub(super) async fn send(arguments: &Send, client: &Client, printer: &Printer) -> Outcome {
    let deed = "the signal cannot be sent";
    let text = read(&arguments.file).doing(deed)?;
    let covenant = client.refresh_covenant().await.doing(deed)?;
    let listed = covenant.may_use_bsn(client.address());
    let codes = |list: &str, code: &str| covenant.code(list, code).is_some();
    let writer = Writer { bsn_allowed: listed || arguments.bsn_allowed };
    let in_file = |faults: Vec<Fault>| {
        let name = arguments.file.display();
        let faults = faults.into_iter().map(|fault| Fault { place: format!("{name}: {}", fault.place), ..fault });
        Error::Usage(faults.collect())
    };
    let draft = draft::parse(&text, &codes, writer)
        .map_err(|faults| in_file(faults.into_iter().map(Fault::from).collect()))
        .map_err(with_template_hint)
        .doing(deed)?;
    if arguments.bsn_allowed && !listed {
        printer.note(printer.yellow("warning: the covenant does not list this function for the BSN; it is used on your word"));
    }

    let plan = client.plan(&Outgoing::from(&draft)).await.doing(deed)?;
    let faults = content::faults_against(&draft.content, plan.profile());
    if !faults.is_empty() {
        return Err(in_file(faults.into_iter().map(Fault::from).collect())).doing(deed);
    }
    if arguments.dry_run {
        return Ok(dry_run(&draft, &plan, printer));
    }
    for reader in &plan.readers {
        let name = reader.certificate_name.as_deref().unwrap_or(&reader.name);
        printer.note(format!("sealing to {name}, {} ({})", function_code(reader.address.function), reader.address.oin));
        if reader.is_first_sight {
            printer.note("  first sight of this key; if in doubt, compare it by telephone");
        }
    }
    let check = Check { bsn_allowed: arguments.bsn_allowed };
    let submitted =
        client.send_planned(&plan, &content::encode(&draft.content), &check, KeepCopy::No).await.doing(deed)?;
    accepted(&submitted, printer);
    Ok(report::DONE)
}

fn accepted(submitted: &Submitted, printer: &Printer) {
    if printer.quiet {
        printer.line(submitted.id.to_string());
    } else if printer.for_people() {
        printer.line(format!("{} by the hub: {}", printer.green("accepted"), submitted.id));
        for consigned in &submitted.consigned {
            printer.line(format!("  consigned to {} as record {} (rule {})", consigned.to, consigned.index, consigned.rule_id));
        }
        printer.line(format!("  receipt {}", submitted.receipt.display()));
        printer.next(format!("Follow it with: seinpost status {}", submitted.id));
    } else {
        printer.json(&serde_json::json!({
            "item_id": submitted.id.to_string(),
            "item_digest": submitted.digest.to_string(),
            "index": submitted.index,
            "recorded_at": submitted.recorded_at.to_string(),
            "covenant": submitted.covenant.to_string(),
            "consigned": submitted.consigned.iter().map(|consigned| serde_json::json!({
                "to": consigned.to.to_string(),
                "rule": consigned.rule_id,
                "index": consigned.index,
                "commitment": consigned.commitment.to_string(),
            })).collect::<Vec<_>>(),
            "receipt": submitted.receipt.display().to_string(),
        }));
    }
}

fn dry_run(draft: &content::Draft, plan: &Plan, printer: &Printer) -> u8 {
    let rows: Vec<Vec<Cell>> = plan
        .readers
        .iter()
        .map(|reader| {
            vec![
                Cell::same(reader.certificate_name.as_deref().unwrap_or(&reader.name)),
                Cell::same(function_code(reader.address.function)),
                Cell::both(reader.address.oin.to_string(), reader.address.to_string()),
                Cell::same(&reader.rule.id),
                Cell::same(&reader.rule.legal_basis),
                Cell::same(printer.label(&reader.rule.reason_nl, &reader.rule.reason_en)),
                Cell::both(short(&reader.key_statement), reader.key_statement.to_string()),
            ]
        })
        .collect();
    if printer.for_people() {
        let profile = plan.profile();
        printer.line(format!("nothing was sent; this {} would be readable by:", type_code(draft.signal_type)));
        printer.note(format!("profile {} version {}; covenant {}", profile.name, profile.version, plan.covenant.serial()));
    }
    let columns = [
        column("ORGANISATION", "organisation"),
        column("FUNCTION", "function"),
        column("OIN", "address"),
        column("RULE", "rule"),
        column("BASIS", "legal_basis"),
        column("REASON", "reason"),
        column("KEY", "key_statement"),
    ];
    printer.rows(&columns, &rows, "nobody");
    report::DONE
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
    };
    match read {
        Ok(bytes) if bytes as u64 > FILE_BYTES_MAX => {
            let limit = format!("up to {} MiB", FILE_BYTES_MAX / (1024 * 1024));
            Err(Error::Usage(vec![Fault::new(path.display().to_string(), "too large").hint(limit)]))
        }
        Ok(_) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(Error::Usage(vec![Fault::new(path.display().to_string(), "not UTF-8 text")]))
        }
        Err(error) => Err(Error::file(path, &error)),
    }
}

/// Adds where a filled example is to be had.
fn with_template_hint(error: Error) -> Error {
    match error {
        Error::Usage(mut faults) => {
            if let Some(last) = faults.last_mut() {
                last.hint.push_str("\n  hint: seinpost template EXPLOITATION_SIGNAL shows a filled example");
            }
            Error::Usage(faults)
        }
        other => other,
    }
}
