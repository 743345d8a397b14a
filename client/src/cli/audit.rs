//! `audit` and `verify`: what can be proven, in sentences and by exit code.

use seinpost_protocol::receipt::{EventKind, item_digest_of};
use seinpost_protocol::wire;

use super::args::{Audit, AuditRecords, Verify};
use super::enrol::short;
use super::print::{Cell, Printer, column};
use super::{Doing as _, Outcome, report};
use crate::audit::AuditReport;
use crate::client::Client;
use crate::profile::Profile;
use crate::records::Leaf;
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
    let unasked = "the receipt cannot be verified";
    let client = Client::open(profile).doing(unasked)?;
    let verdict = ReceiptFile::read(&arguments.receipt).and_then(|file| client.verify_receipt(&file));
    let verdict = verdict.judging("the receipt does not hold", unasked)?;
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
    let (fails, unasked) = ("the checkpoint does not hold", "the checkpoint cannot be verified");
    client.refresh_covenant().await.doing(unasked)?;
    let before = client.pins().read().doing(unasked)?.pin();
    let checkpoint = client.checkpoint().await.judging(fails, unasked)?;
    if printer.quiet {
        printer.line(checkpoint.pin.size.to_string());
    } else if printer.for_people() {
        printer.line(String::from_utf8_lossy(&checkpoint.note).trim_end());
        printer.note(extends(before.size, &printer.green("extends")));
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

/// Says what a checkpoint was compared with.
fn extends(seen_size: u64, word: &str) -> String {
    match seen_size {
        0 => "the first that this profile sees: there is none yet to compare it with".to_owned(),
        size => format!("{word} the {size} records that this profile saw before"),
    }
}

/// `seinpost audit verify`: exit 0 only if all holds.
async fn verify(client: &Client, printer: &Printer) -> Outcome {
    let mut bar = Progressing::new(printer.quiet);
    let report = client.audit(&mut |progress| bar.show(progress.done, progress.of)).await;
    bar.end();
    let report = report.judging("the log does not hold", "the log cannot be verified")?;
    if printer.quiet {
        printer.line(report.checkpoint.size.to_string());
    } else if printer.for_people() {
        tell(&report, printer);
    } else {
        printer.json(&json(&report));
    }
    Ok(if report.holds() { report::DONE } else { report::NOT_VERIFIED })
}

fn tell(report: &AuditReport, printer: &Printer) {
    let rows: Vec<Vec<Cell>> =
        report.events.iter().map(|(event, count)| vec![Cell::same(event.name()), Cell::number(*count)]).collect();
    printer.rows(&[column("EVENT", "event"), column("RECORDS", "records")], &rows, "no record could be opened");
    printer.line("");
    printer
        .line(format!("log           {} records; root computed anew and signed by the log:", report.checkpoint.size));
    printer.line(format!("              {}", report.checkpoint.root));
    printer.line(match report.pinned_size {
        0 => "first         this profile saw none before".to_owned(),
        size => format!("extends       the {size} records that this profile saw before"),
    });
    printer.line(format!(
        "signatures    {} items verified by the covenant and revocation lists that their records name",
        report.items_verified
    ));
    printer.line(format!("rules         {} signals asked again", report.permits_verified));
    printer.line(format!("covenants     {} adopted, each signed by its registrars", report.covenants));
    if let Some((first, last)) = report.span {
        printer.line(format!("time          {first} .. {last}, never falling"));
    }
    for fault in &report.faults {
        printer.line(printer.red(&fault.to_string()));
    }
    if report.more_faults {
        printer.line(printer.red("and more faults than are listed"));
    }
    printer.line("not checked:");
    report.not_checked.iter().for_each(|not| printer.line(format!("  {not}")));
    printer.line(if report.holds() { printer.green("the log holds") } else { printer.red("the log does not hold") });
}

fn json(report: &AuditReport) -> serde_json::Value {
    serde_json::json!({
        "holds": report.holds(),
        "size": report.checkpoint.size,
        "root": report.checkpoint.root.to_string(),
        "extends": report.pinned_size,
        "events": report.events.iter().map(|(event, count)| (event.name().to_owned(), (*count).into())).collect::<serde_json::Map<_, _>>(),
        "items_verified": report.items_verified,
        "permits_verified": report.permits_verified,
        "covenants": report.covenants,
        "first": report.span.map(|(first, _)| first.to_string()),
        "last": report.span.map(|(_, last)| last.to_string()),
        "faults": report.faults.iter().map(|fault| serde_json::json!({"index": fault.index, "reason": fault.reason, "what": fault.what})).collect::<Vec<_>>(),
        "more_faults": report.more_faults,
        "not_checked": report.not_checked.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// `seinpost audit records`: the leaves, opened where this profile may see them.
async fn records(arguments: &AuditRecords, client: &Client, printer: &Printer) -> Outcome {
    let deed = "the records cannot be listed";
    client.refresh_covenant().await.doing(deed)?;
    let leaves = client.records(arguments.from, arguments.to).await.doing(deed)?;
    let rows: Vec<Vec<Cell>> = leaves.iter().map(|leaf| row(leaf, printer)).collect();
    let columns = [
        column("INDEX", "index"),
        column("EVENT", "event"),
        column("TIME", "time"),
        column("AUDIENCE", "audience"),
        column("MAILBOX", "mailbox_number").gives_way(),
        column("COMMITMENT", "commitment").gives_way(),
        column("", "item_digest"),
    ];
    printer.rows(&columns, &rows, "no records");
    Ok(report::DONE)
}

fn row(leaf: &Leaf, printer: &Printer) -> Vec<Cell> {
    let mut row = vec![Cell::number(leaf.index)];
    match &leaf.record {
        Some(record) => {
            let event = record.event.as_ref().map_or("", |event| EventKind::of(event).name());
            let digest = record.event.as_ref().and_then(item_digest_of).map(hex::encode);
            row.push(Cell::same(event));
            row.push(super::operations::time_cell(printer, record.time.as_ref()));
            row.push(audience(record));
            row.push(record.mailbox.as_ref().map_or_else(Cell::none, |place| Cell::number(place.number)));
            row.push(Cell::both(short(&leaf.commitment), leaf.commitment.to_string()));
            row.push(digest.map_or_else(Cell::none, Cell::same));
        }
        None => {
            let what =
                leaf.erased_by.as_ref().map_or_else(|| "(for others)".to_owned(), |rule| format!("(erased by {rule})"));
            row.push(Cell::both(what, serde_json::Value::Null));
            row.extend([Cell::none(), Cell::none(), Cell::none()]);
            row.push(Cell::both(short(&leaf.commitment), leaf.commitment.to_string()));
            row.push(Cell::none());
        }
    }
    row
}

fn audience(record: &wire::Record) -> Cell {
    match record.audience.as_ref().and_then(|audience| audience.of.as_ref()) {
        Some(wire::audience::Of::Address(address)) => super::operations::address_cell(Some(address)),
        Some(wire::audience::Of::Group(group)) => {
            let name = wire::Group::try_from(*group).map_or("?", |group| group.as_str_name());
            Cell::same(name.trim_start_matches("GROUP_"))
        }
        None => Cell::none(),
    }
}

/// Shows how far a long reading is: a bar on a terminal, a plain line every ten seconds elsewhere.
struct Progressing {
    bar: Option<indicatif::ProgressBar>,
    quiet: bool,
    said: std::time::Instant,
}

impl Progressing {
    fn new(quiet: bool) -> Self {
        Self { bar: None, quiet, said: std::time::Instant::now() }
    }

    fn show(&mut self, done: u64, of: u64) {
        if self.quiet {
            return;
        }
        if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            // What takes less than a second needs no bar.
            if self.bar.is_none() && self.said.elapsed().as_secs() < 1 {
                return;
            }
            let bar = self.bar.get_or_insert_with(|| {
                let style = indicatif::ProgressStyle::with_template(
                    "verifying {wide_bar} {pos}/{len} records, {per_sec}, {eta} left",
                );
                indicatif::ProgressBar::new(of)
                    .with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()))
            });
            bar.set_position(done);
        } else if self.said.elapsed().as_secs() >= 10 {
            self.said = std::time::Instant::now();
            eprintln!("verifying: {done} of {of} records");
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
