//! `send` and `receive`: the daily work of an agency.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use seinpost_protocol::address::{Function, function_code};
use seinpost_protocol::content::{CONTENT_BYTES_MAX, FieldFault};
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire;

use super::args::{Receive, Send};
use super::enrol::short;
use super::print::{Cell, List, Printer, column};
use super::{Doing as _, Outcome, report};
use crate::answer::{Delivery, Say};
use crate::client::Client;
use crate::content::draft::{self, Draft, Reading, Writer, type_code};
use crate::content::{self, Check};
use crate::error::{Error, Fault, Result};
use crate::inbox::{Inbox, describe};
use crate::receive::{Received, ReceivedSignal, SignalContent, Start};
use crate::send::{Plan, Submitted};

/// Largest file that is read as a signal: JSON takes a few times the bytes of its content.
const FILE_BYTES_MAX: u64 = 4 * CONTENT_BYTES_MAX as u64;

/// `seinpost send FILE`.
pub(super) async fn send(arguments: &Send, client: &Client, printer: &Printer) -> Outcome {
    let deed = "the signal cannot be sent";
    let text = read(&arguments.file).doing(deed)?;
    let covenant = client.refresh_covenant().await.doing(deed)?;
    let source = Digest::of(text.as_bytes());
    if !arguments.dry_run
        && let Some(waiting) = client.outbox().made_from(&source).doing(deed)?
    {
        printer.note("this file was signed before and never acknowledged: the same item is sent, not a second one");
        let submitted = client.submit(waiting).await.doing(deed)?;
        accepted(&submitted, printer);
        return Ok(report::DONE);
    }
    let listed = covenant.may_use_bsn(client.address());
    let codes = |list: &str, code: &str| covenant.code(list, code).is_some();
    let writer = Writer { bsn_allowed: listed || arguments.bsn_allowed };
    let in_file = |faults: Vec<Fault>| {
        let name = arguments.file.display();
        let faults = faults.into_iter().map(|fault| Fault { place: format!("{name}: {}", fault.place), ..fault });
        Error::Usage(faults.collect())
    };
    let Reading { draft, places, faults } = draft::read(&text, &codes, writer);
    let draft = match draft {
        Some(draft) if faults.is_empty() => draft,
        draft => {
            let faults = match draft {
                Some(draft) => all_faults(&draft, &places, faults, client, &covenant).await,
                None => faults.into_iter().map(Fault::from).collect(),
            };
            return Err(with_template_hint(in_file(faults))).doing(deed);
        }
    };
    if arguments.bsn_allowed && !listed {
        printer.note(
            printer.yellow("warning: the covenant does not list this function for the BSN; it is used on your word"),
        );
    }

    let plan = match client.plan(&draft.outgoing).await {
        Ok(plan) => plan,
        // What the content lacks is told in the same go as what a rule refuses.
        Err(refused @ Error::Refused(_))
            if !profile_faults(&draft, client.address().function, &covenant).is_empty() =>
        {
            let faults = all_faults(&draft, &places, Vec::new(), client, &covenant).await;
            // A key that is not there is no fault of the file, and is told by itself.
            return Err(if faults.is_empty() { refused } else { in_file(faults) }).doing(deed);
        }
        Err(error) => return Err(error).doing(deed),
    };
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
    let waiting = client.seal(&plan, &content::encode(&draft.content), &check).await.doing(deed)?;
    client.outbox().put_made_from(&waiting, &source).doing(deed)?;
    let submitted = client.submit(waiting).await.doing(deed)?;
    accepted(&submitted, printer);
    Ok(report::DONE)
}

/// Finds what else is wrong with a file: what routes and rules refuse, and what the profile demands or does not allow.
async fn all_faults(
    draft: &Draft,
    places: &[usize],
    found: Vec<FieldFault>,
    client: &Client,
    covenant: &Covenant,
) -> Vec<Fault> {
    let is_known = |place: &str| found.iter().any(|known| known.field.starts_with(place));
    let refused: Vec<Fault> = match client.refusals(&draft.outgoing) {
        Ok(refusals) => {
            let placed = refusals.iter().map(|(at, refusal)| (format!("to[{}]", places[*at]), refusal));
            placed.filter(|(place, _)| !is_known(place)).map(|(place, refusal)| refusal.fault(place)).collect()
        }
        Err(Error::Usage(faults)) => faults,
        Err(_) => Vec::new(),
    };
    // The profile of what is permitted, else the one that every rule names which may be meant, if they name but one.
    let against = match client.plan(&draft.outgoing).await {
        Ok(plan) => content::faults_against(&draft.content, plan.profile()),
        Err(_) => profile_faults(draft, client.address().function, covenant),
    };
    let against = draft::beyond(&found, against);
    found.into_iter().map(Fault::from).chain(refused).chain(against.into_iter().map(Fault::from)).collect()
}

/// What the content lacks or has too much of by the profile of the rules for its type and functions, whichever of them was
/// meant; nothing, if they do not agree on one.
fn profile_faults(draft: &Draft, from: Function, covenant: &Covenant) -> Vec<FieldFault> {
    let outgoing = &draft.outgoing;
    let is_meant = |rule: &&wire::Rule| {
        rule.types().any(|of| of == outgoing.signal_type)
            && rule.from().any(|of| of == from)
            && rule.to().any(|of| outgoing.to.iter().any(|to| to.function == of))
    };
    let rules = covenant.message().rules.iter().filter(is_meant);
    let profiles: Vec<_> = rules.flat_map(|rule| covenant.profiles_of(rule, outgoing.signal_type)).collect();
    let newest = profiles.iter().max_by_key(|profile| profile.version);
    let newest = newest.filter(|newest| profiles.iter().all(|profile| profile.name == newest.name));
    newest.map_or_else(Vec::new, |profile| content::faults_against(&draft.content, profile))
}

fn accepted(submitted: &Submitted, printer: &Printer) {
    if printer.quiet {
        printer.line(submitted.id.to_string());
    } else if printer.for_people() {
        printer.line(format!("{}: {}", printer.green("accepted by the hub"), submitted.id));
        for consigned in &submitted.consigned {
            printer.line(format!("  for {}: record {}, rule {}", consigned.to, consigned.index, consigned.rule_id));
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

fn dry_run(draft: &Draft, plan: &Plan, printer: &Printer) -> u8 {
    if printer.for_people() {
        let profile = plan.profile();
        printer.line(format!("nothing was sent; this {} would be readable by:", type_code(draft.outgoing.signal_type)));
        for reader in &plan.readers {
            let name = reader.certificate_name.as_deref().unwrap_or(&reader.name);
            let reason = printer.label(&reader.rule.reason_nl, &reader.rule.reason_en);
            printer.line(format!("  {name}, {} ({})", function_code(reader.address.function), reader.address.oin));
            printer.line(format!("    rule {} on {}: {reason}", reader.rule.id, reader.rule.legal_basis));
            printer.line(format!(
                "    key  {}{}",
                short(&reader.key_statement),
                if reader.is_first_sight { ", seen for the first time" } else { "" }
            ));
        }
        printer.note(format!(
            "profile {} version {}, covenant {}",
            profile.name,
            profile.version,
            plan.covenant.serial()
        ));
        return report::DONE;
    }
    let rows: Vec<Vec<Cell>> = plan
        .readers
        .iter()
        .map(|reader| {
            vec![
                Cell::same(reader.address.to_string()),
                Cell::same(reader.certificate_name.as_deref().unwrap_or(&reader.name)),
                Cell::same(function_code(reader.address.function)),
                Cell::same(&reader.rule.id),
                Cell::same(&reader.rule.legal_basis),
                Cell::same(printer.label(&reader.rule.reason_nl, &reader.rule.reason_en)),
                Cell::same(reader.key_statement.to_string()),
            ]
        })
        .collect();
    let columns = [
        column("ADDRESS", "address"),
        column("ORGANISATION", "organisation"),
        column("FUNCTION", "function"),
        column("RULE", "rule"),
        column("BASIS", "legal_basis"),
        column("REASON", "reason"),
        column("KEY", "key_statement"),
    ];
    printer.rows(&columns, &rows, "nobody");
    report::DONE
}

/// How long `receive` waits for the mailbox to say what it holds, and for each thing that it said.
const PATIENCE: Duration = Duration::from_secs(15);

/// `seinpost receive`: everything is verified, written and flushed before it is acknowledged or answered.
pub(super) async fn receive(arguments: &Receive, client: &Client, printer: &Printer) -> Outcome {
    let deed = "the mailbox cannot be received";
    let inbox = match &arguments.into {
        Some(folder) => Inbox::open(folder),
        None => client.inbox(),
    };
    let inbox = inbox.doing(deed)?;
    let start = if arguments.again { Start::Beginning } else { Start::Pinned };
    let mut mailbox = client.receive(start, Arc::new(Check::default())).await.doing(deed)?;
    let mut list = List::begin(printer);
    let (mut code, mut came) = (report::DONE, 0_u32);
    loop {
        let received = if arguments.follow {
            mailbox.next().await.doing(deed)?
        } else {
            match mailbox.next_within(PATIENCE).await.doing(deed)? {
                Some(received) => received,
                None => break,
            }
        };
        let kept = inbox.keep(&received).doing(deed)?;
        // Answered before the place moves on: after whatever break, what was not answered comes again.
        let answered = match &received {
            Received::Signal(signal) if arguments.ack => {
                Some(acknowledge(signal, client).await.doing("the signal cannot be acknowledged")?)
            }
            _ => None,
        };
        mailbox.acknowledge(&received).doing(deed)?;
        if matches!(received, Received::Withheld(_) | Received::Alarm(_)) {
            code = report::NOT_VERIFIED;
        }
        if received.place().is_some() || matches!(received, Received::Alarm(_)) {
            came += 1;
            tell(&received, kept.as_deref(), arguments.show, client, &mut list, printer);
        }
        match &received {
            Received::Waiting(trouble) => printer.note(format!("{trouble}; it is tried again until it is there")),
            Received::Resumed => printer.note("the gateway is reached again"),
            _ => {}
        }
        if let Some(answered) = answered {
            printer.note(format!("  {answered}"));
        }
        if !arguments.follow && mailbox.is_drained() {
            break;
        }
    }
    if came == 0 {
        printer.note("nothing new");
    }
    Ok(code)
}

/// Answers what was readable, and says what came of it; what was not is for a person to look at, who answers with `ack`
/// or `reject`. A refused answer is no reason not to read on: the next try would be refused as well.
async fn acknowledge(signal: &ReceivedSignal, client: &Client) -> Result<String> {
    if signal.content.answer() != Some(wire::AnswerCode::DeliveredReadable) {
        return Ok("not answered: look at it, and answer with seinpost ack or seinpost reject".to_owned());
    }
    match client.answer(Delivery::from(signal), Say::Readable).await {
        Ok(submitted) => Ok(format!("answered DELIVERED_READABLE; receipt {}", submitted.receipt.display())),
        // It was answered before this profile lost its place: that answer stands.
        Err(Error::Refused(refusal)) if refusal.reason == "ALREADY_ANSWERED" => Ok("answered before".to_owned()),
        Err(Error::Refused(refusal)) => Ok(format!("not answered: {refusal}")),
        Err(error) => Err(error),
    }
}

fn tell(received: &Received, kept: Option<&Path>, show: bool, client: &Client, list: &mut List<'_>, printer: &Printer) {
    let content = match received {
        Received::Signal(signal) if show => shown(signal),
        _ => None,
    };
    if !printer.for_people() {
        if printer.quiet {
            if let Received::Signal(signal) = received {
                printer.line(signal.arrived.item.signer().item_id.to_string());
            }
            return;
        }
        let mut object = describe(received);
        object["folder"] = kept.map(|path| path.display().to_string()).into();
        if let Some(content) = content {
            object["content"] = content;
        }
        list.add(&object);
        return;
    }
    match received {
        Received::Signal(signal) => tell_signal(signal, client, printer),
        Received::Answer(answer) => printer.line(format!(
            "answer     {} to {} by {}",
            answer.answer.code.as_str_name().trim_start_matches("ANSWER_CODE_"),
            answer.signal_id,
            answer.arrived.item.signer().address
        )),
        Received::Notice(notice) => {
            printer.line(format!(
                "notice     {} at {} ({})",
                notice.event.name(),
                notice.recipient,
                short(&notice.item_digest)
            ));
        }
        Received::KeyStatement(statement) if statement.is_own => {
            printer.line(format!("key        statement {} of this address, made here", statement.statement.serial));
        }
        Received::KeyStatement(statement) => printer.line(printer.red(&format!(
            "ALARM      key statement {} of this address was not made with this profile: if nobody of yours made it, \
             somebody else has the signing key",
            statement.statement.serial
        ))),
        Received::Withheld(withheld) => printer.line(printer.red(&format!("withheld   {}", withheld.error))),
        Received::Alarm(alarm) => printer.line(printer.red(&format!("ALARM      {alarm}"))),
        Received::Head(_) | Received::Waiting(_) | Received::Resumed => {}
    }
    if let Some(path) = kept {
        printer.note(format!("  {}", path.display()));
    }
    if let Some(content) = content {
        printer.line(serde_json::to_string_pretty(&content).expect("a JSON value can be written"));
    }
}

fn tell_signal(signal: &ReceivedSignal, client: &Client, printer: &Printer) {
    let header = &signal.signal().header;
    let from = header.signer.address;
    let name = client.covenant().ok().and_then(|covenant| covenant.participant(from.oin).map(|from| from.name.clone()));
    let urgency = header.urgency.as_str_name().trim_start_matches("URGENCY_");
    printer.line(format!(
        "signal     {} {} {urgency} from {}, {}",
        header.signer.item_id,
        type_code(header.signal_type),
        name.unwrap_or_default(),
        function_code(from.function)
    ));
    if signal.arrived.place.redelivered {
        printer.line("  came before, and is not answered yet");
    }
    if header.urgency == wire::Urgency::Immediate {
        printer.line(printer.red("  IMMEDIATE: call the sender first"));
    }
    if !header.handling.is_empty() {
        let handling: Vec<&str> =
            header.handling.iter().map(|handling| handling.as_str_name().trim_start_matches("HANDLING_")).collect();
        printer.line(printer.yellow(&format!("  conditions: {}", handling.join(", "))));
    }
    if let Some(due) = signal.answer_due {
        printer.line(format!("  answer due {}", printer.time(due.millis())));
    }
    match &signal.content {
        SignalContent::Readable { .. } => {}
        SignalContent::Unfit { fault, .. } => {
            printer.line(printer.red(&format!(
                "  not what its profile allows: {}",
                fault.answer.as_str_name().trim_start_matches("ANSWER_CODE_")
            )));
            fault.faults.iter().for_each(|fault| printer.line(format!("    {fault}")));
        }
        SignalContent::Unreadable { reason, what, .. } => {
            printer.line(printer.red(&format!("  not shown: {what} [{reason}]")))
        }
        SignalContent::Erased => printer.line("  its content was erased at the hub by its retention class"),
    }
}

/// The content as JSON, where there is one to show.
fn shown(signal: &ReceivedSignal) -> Option<serde_json::Value> {
    let (SignalContent::Readable { content, .. } | SignalContent::Unfit { content, .. }) = &signal.content else {
        return None;
    };
    wire::Content::decode(content.as_bytes()).ok().map(|content| content::to_json(&content))
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
                if last.hint.is_empty() {
                    last.hint.push_str("what the covenant permits; seinpost route shows under which rules");
                }
                last.hint.push_str("\n  hint: seinpost template EXPLOITATION_SIGNAL shows a filled example");
            }
            Error::Usage(faults)
        }
        other => other,
    }
}
