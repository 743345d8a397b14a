//! `seinpost check`: a profile tested from its files to its mailbox, one line each, with what to do.

use std::time::Duration;

use seinpost_protocol::address::{Function, function_code};
use seinpost_protocol::key_statement::State;
use seinpost_protocol::wire;

use super::args::Global;
use super::enrol::short;
use super::print::{Cell, Printer, column};
use super::{Failure, Outcome, report, select};
use crate::client::Client;
use crate::error::{Error, Kind};

/// How long before the end of a certificate, covenant or key a warning is given: time enough to get a new one.
const SOON_DAYS: u64 = 30;
/// How far two clocks may be apart before a warning is given: the hub refuses what is signed 5 minutes ahead of it.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// One line of the test.
struct Line {
    what: &'static str,
    state: Grade,
    says: String,
    /// What to do; empty where nothing is.
    hint: &'static str,
    /// The exit code if it failed.
    code: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Grade {
    Ok,
    Warning,
    Failed,
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

struct Lines(Vec<Line>);

impl Lines {
    fn ok(&mut self, what: &'static str, says: impl Into<String>) {
        self.0.push(Line { what, state: Grade::Ok, says: says.into(), hint: "", code: report::DONE });
    }

    fn warn(&mut self, what: &'static str, says: impl Into<String>, hint: &'static str) {
        self.0.push(Line { what, state: Grade::Warning, says: says.into(), hint, code: report::DONE });
    }

    fn fail(&mut self, what: &'static str, says: impl Into<String>, hint: &'static str, code: u8) {
        self.0.push(Line { what, state: Grade::Failed, says: says.into(), hint, code });
    }

    fn error(&mut self, what: &'static str, error: &Error, hint: &'static str) {
        self.fail(what, error.to_string(), hint, report::exit_code(error.kind()));
    }

    /// Says until when something is good, and warns when that is soon.
    fn until(&mut self, what: &'static str, says: &str, left: Duration, hint: &'static str) {
        let days = left.as_secs() / 86_400;
        let says = format!("{says}; {days} days left");
        if days < SOON_DAYS { self.warn(what, says, hint) } else { self.ok(what, says) }
    }
}

pub(super) async fn run(global: &Global, printer: &Printer) -> Outcome {
    let mut lines = Lines(Vec::new());
    // Each question needs what the one before found: after a failure that leaves nothing to ask with, it ends.
    match select::client(global) {
        Ok(client) => ask(&client, &mut lines).await,
        Err(Failure { error, .. }) => lines.error("profile", &error, "mend the profile; all its faults are named here"),
    }
    print(&lines.0, printer);
    // The first failure is what keeps the rest from working.
    Ok(lines.0.iter().find(|line| line.state == Grade::Failed).map_or(report::DONE, |line| line.code))
}

async fn ask(client: &Client, lines: &mut Lines) {
    let now = client.now();
    let address = client.address();
    lines.ok("profile", format!("{} in {}", function_code(address.function), client.profile().path.display()));

    let certificate = client.identity().certificate();
    if certificate.is_valid_at(now) {
        let says = format!("signing certificate {} of {}", short(&certificate.sha256()), certificate.oin());
        lines.until(
            "certificate",
            &says,
            certificate.not_after().since(now),
            "ask your certificate authority for a new one",
        );
    } else {
        lines.fail(
            "certificate",
            "the signing certificate is not valid now",
            "ask your certificate authority for a new one",
            report::NOT_ALLOWED,
        );
    }

    let covenant = match client.refresh_covenant().await {
        Ok(covenant) => covenant,
        Err(error) => {
            let hint = match error.kind() {
                Kind::Unreachable => "is the gateway's address right, and does a firewall let it through?",
                Kind::NotAllowed => "is this transport certificate the one that the covenant binds to this function?",
                _ => "compare the hub file by telephone",
            };
            return lines.error("gateway", &error, hint);
        }
    };
    lines.ok(
        "gateway",
        format!("{} answers over mutual TLS as {}", client.profile().gateway, client.profile().hub.hub_oin),
    );
    let says = format!("serial {} by {} registrars", covenant.serial(), covenant.item().signatures.len());
    lines.until("covenant", &says, covenant.valid_until().since(now), "ask the registrars when the next one comes");

    let name = covenant.participant(address.oin).map(|participant| participant.name.clone());
    match (&name, covenant.takes_part(address)) {
        (Some(name), true) => lines.ok("participant", format!("{name}, {}", function_code(address.function))),
        _ => lines.fail(
            "participant",
            "the covenant does not list this address",
            "ask a registrar: seinpost init prints what is needed",
            report::NOT_ALLOWED,
        ),
    }
    match covenant.may_act(address, wire::Use::Signing, &certificate.spki_sha256(), now) {
        Ok(acting) => lines.ok(
            "signing key",
            if acting.bound { "bound to this function" } else { "any key of this OIN may act in this function" },
        ),
        Err(reason) => lines.fail(
            "signing key",
            reason.to_string(),
            "the covenant must bind this key for SIGNING",
            report::NOT_ALLOWED,
        ),
    }

    match client.checkpoint().await {
        Ok(checkpoint) => {
            lines.ok("log", format!("size {}, extends what this profile has pinned", checkpoint.pin.size))
        }
        Err(error) => lines.error("log", &error, "keep the evidence, and call the auditor"),
    }
    // Who looks after the hub neither sends nor receives.
    if !matches!(address.function, Function::Operator | Function::Auditor) {
        mailbox(client, lines).await;
        sealing_key(client, lines);
    }
    match client.outbox().waiting() {
        Ok(waiting) if waiting.is_empty() => lines.ok("outbox", "nothing waits"),
        Ok(waiting) => lines.warn(
            "outbox",
            format!("{} items were signed and not yet accepted", waiting.len()),
            "seinpost send with the same file sends that signal; seinpost keys publish sends all that waits",
        ),
        Err(error) => lines.error("outbox", &error, "look at the files in the state folder"),
    }
}

/// Asks whether this address may read at all, by a question that hands nothing over, and compares the clocks.
async fn mailbox(client: &Client, lines: &mut Lines) {
    let hint = "is this transport certificate bound to this function?";
    let hubs = match client.reach().await {
        Ok(hubs) => hubs,
        Err(error) if error.kind() == Kind::NotVerified => {
            return lines.error("mailbox", &error, "keep the evidence, and call the auditor");
        }
        Err(error) => return lines.error("mailbox", &error, hint),
    };
    lines.ok("mailbox", "reachable; asking has handed nothing over");
    let Some(hubs) = hubs else {
        return lines.warn(
            "clock",
            "the gateway does not say its time",
            "compare this machine's clock with the operator's",
        );
    };
    let now = client.now();
    let (apart, side) = if hubs > now { (hubs.since(now), "behind") } else { (now.since(hubs), "ahead of") };
    if apart > CLOCKS_APART {
        lines.warn(
            "clock",
            format!("{} s {side} the hub's", apart.as_secs()),
            "set this machine's clock by a time server, or ask the operator about the hub's",
        );
    } else {
        // The gateway says its time to the second.
        lines.ok("clock", format!("within {} s of the hub's", apart.as_secs() + 1));
    }
}

fn sealing_key(client: &Client, lines: &mut Lines) {
    let now = client.now();
    let statements = match client.sealing_keys().list() {
        Ok(statements) => statements,
        Err(error) => return lines.error("sealing key", &error, "look at the files in the state folder"),
    };
    let newest = statements.iter().max_by_key(|own| own.statement.serial);
    match newest.map(|own| (own.statement.serial, own.has_private_key, &own.statement.state)) {
        Some((serial, true, State::Windowed { seal_until, .. })) if *seal_until > now => {
            lines.until("sealing key", &format!("serial {serial}"), seal_until.since(now), "seinpost keys new");
        }
        Some((_, _, State::Withdrawn)) => {
            lines.warn("sealing key", "withdrawn: nobody can seal to this address", "seinpost keys new")
        }
        Some(_) => lines.warn("sealing key", "over: nobody can seal to this address", "seinpost keys new"),
        None => lines.warn("sealing key", "none yet: nobody can seal to this address", "seinpost keys new"),
    }
}

fn print(lines: &[Line], printer: &Printer) {
    if printer.quiet {
        // A script goes by the exit code; what is not right is said all the same.
        let wrong = lines.iter().filter(|line| line.state != Grade::Ok);
        return wrong.for_each(|line| printer.line(format!("{}  {}: {}", line.state.word(), line.what, line.says)));
    }
    if printer.for_people() {
        for line in lines {
            let word = match line.state {
                Grade::Ok => printer.green("ok     "),
                Grade::Warning => printer.yellow("warning"),
                Grade::Failed => printer.red("failed "),
            };
            printer.line(format!("{word}  {:<12} {}", line.what, line.says));
            if !line.hint.is_empty() {
                printer.line(format!("{:<23}{}", "", line.hint));
            }
        }
        return;
    }
    let columns = [column("CHECK", "check"), column("STATE", "state"), column("SAYS", "says"), column("DO", "hint")];
    let rows: Vec<Vec<Cell>> = lines
        .iter()
        .map(|line| {
            vec![Cell::same(line.what), Cell::same(line.state.word()), Cell::same(&line.says), Cell::same(line.hint)]
        })
        .collect();
    printer.rows(&columns, &rows, "nothing was checked");
}
