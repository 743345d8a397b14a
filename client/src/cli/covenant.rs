//! `covenant`, `route`, `codes`: what the covenant says, as tables.

use seinpost_protocol::address::{Function, function_code};
use seinpost_protocol::covenant::{COVENANT_BYTES_MAX, Covenant};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

use super::args::{self, CovenantShow, CovenantVerify};
use super::print::{Cell, Printer, column};
use super::{Doing as _, Outcome, report};
use crate::client::Client;
use crate::content::draft;
use crate::error::{Error, Fault, Result};
use crate::files;
use crate::profile::function_from_code;

pub(super) async fn run(command: &args::Covenant, client: &Client, printer: &Printer) -> Outcome {
    match command {
        args::Covenant::Show(arguments) => show(arguments, client, printer).await,
        args::Covenant::Verify(arguments) => verify(arguments, client, printer).await,
    }
}

/// `seinpost route FUNCTION MUNICIPALITY`: which address it is, and under which rules this profile may write to it.
pub(super) async fn route(arguments: &args::Route, client: &Client, printer: &Printer) -> Outcome {
    let deed = "no route can be shown";
    let covenant = client.refresh_covenant().await.doing(deed)?;
    let function = function(&arguments.function).doing(deed)?;
    let signal_type = signal_type(&arguments.signal_type).doing(deed)?;
    judge_municipality(&arguments.municipality, &covenant).doing(deed)?;
    let now = client.now();
    let Ok(to) = covenant.resolve(function, &arguments.municipality, signal_type, now) else {
        let what = format!("no route to {} for municipality {}", function_code(function), arguments.municipality);
        return Err(Error::NotFound(what)).doing(deed);
    };
    let name = covenant.participant(to.oin).map_or("", |participant| participant.name.as_str());
    let from = client.address().function;
    let rules: Vec<Vec<Cell>> = covenant
        .message()
        .rules
        .iter()
        .filter(|rule| holds(&rule.types, signal_type) && holds(&rule.from, from) && holds(&rule.to, function))
        .map(|rule| {
            vec![
                Cell::same(&rule.id),
                Cell::same(&rule.legal_basis),
                Cell::both(regimes(rule), rule_regimes(rule)),
                purposes(rule),
                Cell::same(reference(rule)),
                Cell::same(printer.label(&rule.reason_nl, &rule.reason_en)),
            ]
        })
        .collect();
    let demand_purpose = rules.iter().any(|row| !row[3].text.is_empty());
    if printer.for_people() {
        printer.line(format!("{} for {} is {name} ({to})", function_code(function), arguments.municipality));
    }
    if printer.for_people() && !rules.is_empty() {
        printer.line(format!("{} may send it {} under:", function_code(from), draft::type_code(signal_type)));
    }
    let columns = [
        column("RULE", "rule"),
        column("BASIS", "legal_basis"),
        column("REGIMES", "regimes").gives_way(),
        column(if demand_purpose { "PURPOSE" } else { "" }, "purposes"),
        column("REFERENCE", "reference").gives_way(),
        column("REASON", "reason").gives_way(),
    ];
    if printer.for_people() {
        printer.rows(&columns, &rules, "no rule permits it");
    } else {
        let rows: Vec<serde_json::Value> = rules
            .iter()
            .map(|row| {
                columns
                    .iter()
                    .zip(row)
                    .map(|(column, cell)| (column.name.to_owned(), cell.json.clone()))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            })
            .collect();
        printer.json(&serde_json::json!({"address": to.to_string(), "name": name, "rules": rows}));
    }
    Ok(if rules.is_empty() { report::REFUSED } else { report::DONE })
}

/// `seinpost codes [LIST]`.
pub(super) async fn codes(arguments: &args::Codes, client: &Client, printer: &Printer) -> Outcome {
    let deed = "no codes can be shown";
    let covenant = client.refresh_covenant().await.doing(deed)?;
    let Some(id) = &arguments.list else {
        let rows: Vec<_> = covenant
            .message()
            .code_lists
            .iter()
            .map(|list| vec![Cell::same(&list.id), Cell::number(list.codes.len() as u64)])
            .collect();
        printer.rows(&[column("LIST", "list"), column("CODES", "codes")], &rows, "the covenant has no code lists");
        return Ok(report::DONE);
    };
    let Some(list) = covenant.code_list(&code(id).to_lowercase()) else {
        let lists: Vec<&str> = covenant.message().code_lists.iter().map(|list| list.id.as_str()).collect();
        let error = Err(unknown(id, "the covenant has no such list", &lists));
        return error.doing(deed);
    };
    let rows: Vec<_> = list
        .codes
        .iter()
        .map(|code| {
            vec![
                Cell::same(&code.code),
                Cell::same(printer.label(&code.label_nl, &code.label_en)),
                Cell::same(&code.source),
            ]
        })
        .collect();
    printer.rows(
        &[column("CODE", "code"), column("LABEL", "label").shrinks(), column("SOURCE", "source").gives_way()],
        &rows,
        "the list is empty",
    );
    Ok(report::DONE)
}

async fn show(arguments: &CovenantShow, client: &Client, printer: &Printer) -> Outcome {
    let deed = "the covenant cannot be shown";
    let covenant = client.refresh_covenant().await.doing(deed)?;
    let message = covenant.message();
    let (columns, rows): (Vec<_>, Vec<Vec<Cell>>) = match arguments.part.as_str() {
        "summary" => return Ok(summary(&covenant, client.now(), printer)),
        "participants" => (
            vec![
                column("OIN", "oin"),
                column("NAME", "name").shrinks(),
                column("FUNCTIONS", "functions").shrinks(),
                column("", "municipality"),
                column("MAILBOX", "mailbox").gives_way(),
                column("", "suspended"),
            ],
            message.participants.iter().map(participant).collect(),
        ),
        "routes" => (
            vec![
                column("FUNCTION", "function"),
                column("MUNICIPALITIES", "municipalities").shrinks(),
                column("TO", "to").shrinks(),
                column("FROM", "from"),
                column("UNTIL", "until"),
            ],
            message.routes.iter().map(|route| route_row(route, &covenant)).collect(),
        ),
        "rules" => (
            vec![
                column("RULE", "rule"),
                column("TYPES", "types").shrinks(),
                column("FROM", "from").shrinks(),
                column("TO", "to").shrinks(),
                column("BASIS", "legal_basis"),
                column("REGIMES", "regimes").gives_way(),
                column("REFERENCE", "reference").gives_way(),
                column("REASON", "reason").gives_way(),
            ],
            message.rules.iter().map(|rule| rule_row(rule, printer)).collect(),
        ),
        "profiles" => (
            vec![
                column("PROFILE", "profile"),
                column("VERSION", "version"),
                column("TYPE", "type"),
                column("MUST", "must").shrinks(),
                column("MAY", "may").shrinks(),
            ],
            message
                .profiles
                .iter()
                .map(|profile| {
                    vec![
                        Cell::same(&profile.name),
                        Cell::number(profile.version.into()),
                        Cell::same(type_code(profile.r#type)),
                        Cell::same(profile.must.join(" ")),
                        Cell::same(profile.may.join(" ")),
                    ]
                })
                .collect(),
        ),
        "clocks" => (
            vec![
                column("CLOCK", "clock"),
                column("STEP", "step").gives_way(),
                column("WITHIN", "duration"),
                column("WORKING DAYS", "working_days"),
                column("ARTICLE", "article").shrinks(),
            ],
            message
                .clocks
                .iter()
                .map(|clock| {
                    vec![
                        Cell::same(&clock.id),
                        Cell::same(&clock.step),
                        Cell::same(&clock.duration),
                        Cell::both(if clock.working_days { "yes" } else { "no" }, clock.working_days),
                        Cell::same(&clock.article),
                    ]
                })
                .collect(),
        ),
        other => {
            let parts = ["summary", "participants", "routes", "rules", "profiles", "clocks"];
            return Err(unknown(other, "the covenant has no such part", &parts)).doing(deed);
        }
    };
    let wanted = arguments.filter.as_deref().unwrap_or("").to_lowercase();
    // Asked of the whole row: what a table shortens is still found.
    let holds =
        |cell: &Cell| [&cell.text, &cell.json.to_string()].iter().any(|text| text.to_lowercase().contains(&wanted));
    let rows: Vec<_> = rows.into_iter().filter(|row| row.iter().any(holds)).collect();
    printer.rows(&columns, &rows, "no row fits");
    Ok(report::DONE)
}

fn summary(covenant: &Covenant, now: Timestamp, printer: &Printer) -> u8 {
    let message = covenant.message();
    let municipalities = message.participants.iter().filter(|participant| !participant.municipality.is_empty()).count();
    if printer.for_people() {
        let days = covenant.valid_until().since(now).as_secs() / 86_400;
        printer.line(format!("covenant {} of {}", covenant.serial(), covenant.log_origin()));
        printer.line(format!("  digest        {}", covenant.digest()));
        printer.line(format!(
            "  valid         {} .. {} ({days} days left)",
            covenant.valid_from(),
            covenant.valid_until()
        ));
        printer.line(format!(
            "  registrars    {} of {} sign: {}",
            message.threshold,
            message.registrars.len(),
            message.registrars.iter().map(|registrar| registrar.name.as_str()).collect::<Vec<_>>().join(", ")
        ));
        printer.line(format!("  participants  {} ({municipalities} with a municipality)", message.participants.len()));
        printer.line(format!("  routes        {}", message.routes.len()));
        printer.line(format!("  rules         {}", message.rules.len()));
        printer.line(format!("  profiles      {}", message.profiles.len()));
        printer.line(format!("  code lists    {}", message.code_lists.len()));
    } else {
        printer.json(&serde_json::json!({
            "serial": covenant.serial(),
            "digest": covenant.digest().to_string(),
            "log_origin": covenant.log_origin(),
            "valid_from": covenant.valid_from().to_string(),
            "valid_until": covenant.valid_until().to_string(),
            "threshold": message.threshold,
            "registrars": message.registrars.iter().map(|registrar| registrar.name.clone()).collect::<Vec<_>>(),
            "participants": message.participants.len(),
            "routes": message.routes.len(),
            "rules": message.rules.len(),
            "profiles": message.profiles.len(),
            "code_lists": message.code_lists.len(),
        }));
    }
    report::DONE
}

async fn verify(arguments: &CovenantVerify, client: &Client, printer: &Printer) -> Outcome {
    let covenant = match &arguments.file {
        None => client.refresh_covenant().await,
        Some(file) => files::read(file, COVENANT_BYTES_MAX).and_then(|bytes| client.judge_covenant(bytes.into())),
    };
    let covenant = covenant.judging("the covenant is not to be trusted", "the covenant cannot be read")?;
    let signatures = covenant.item().signatures.len();
    let message = covenant.message();
    if printer.for_people() {
        printer.line(printer.green(&format!("covenant {} holds", covenant.serial())));
        printer.line(format!(
            "  {signatures} signatures, {} of {} registrars needed",
            message.threshold,
            message.registrars.len()
        ));
        printer.line(format!("  digest {}", covenant.digest()));
    } else {
        printer.json(&serde_json::json!({"serial": covenant.serial(), "digest": covenant.digest().to_string(), "signatures": signatures, "threshold": message.threshold}));
    }
    Ok(report::DONE)
}

fn participant(participant: &wire::Participant) -> Vec<Cell> {
    let functions: Vec<&str> = participant.functions.iter().map(|grant| function_code(grant.function())).collect();
    let contact = participant.contact.as_ref().map_or("", |contact| contact.mailbox.as_str());
    let name =
        if participant.suspended { format!("{} (suspended)", participant.name) } else { participant.name.clone() };
    vec![
        Cell::same(&participant.oin),
        Cell::both(name, participant.name.clone()),
        Cell::both(functions.join(" "), serde_json::json!(functions)),
        Cell::same(&participant.municipality),
        Cell::same(contact),
        Cell::both("", participant.suspended),
    ]
}

fn route_row(route: &wire::Route, covenant: &Covenant) -> Vec<Cell> {
    let to = route.to.as_ref().and_then(|to| seinpost_protocol::address::Address::try_from(to).ok());
    let name = to.and_then(|to| covenant.participant(to.oin)).map_or("", |participant| participant.name.as_str());
    let municipalities = if route.municipalities.len() > 6 {
        format!("{} … ({})", route.municipalities[..5].join(" "), route.municipalities.len())
    } else {
        route.municipalities.join(" ")
    };
    vec![
        Cell::same(function_code(route.function())),
        Cell::both(municipalities, serde_json::json!(route.municipalities)),
        Cell::both(name, to.map(|to| to.to_string()).unwrap_or_default()),
        Cell::same(&route.from),
        Cell::same(&route.until),
    ]
}

fn rule_row(rule: &wire::Rule, printer: &Printer) -> Vec<Cell> {
    let types: Vec<&str> = rule.types().map(draft::type_code).collect();
    let from: Vec<&str> = rule.from().map(function_code).collect();
    let to: Vec<&str> = rule.to().map(function_code).collect();
    let short = |codes: &[&str]| {
        if codes.len() > 3 { format!("{} … ({})", codes[..2].join(" "), codes.len()) } else { codes.join(" ") }
    };
    vec![
        Cell::same(&rule.id),
        Cell::both(short(&types), serde_json::json!(types)),
        Cell::both(short(&from), serde_json::json!(from)),
        Cell::both(short(&to), serde_json::json!(to)),
        Cell::same(&rule.legal_basis),
        Cell::both(regimes(rule), rule_regimes(rule)),
        Cell::same(reference(rule)),
        Cell::same(printer.label(&rule.reason_nl, &rule.reason_en)),
    ]
}

fn rule_regimes(rule: &wire::Rule) -> serde_json::Value {
    rule.regimes().map(|regime| regime.as_str_name().trim_start_matches("SOURCE_REGIME_")).collect::<Vec<_>>().into()
}

fn regimes(rule: &wire::Rule) -> String {
    rule.regimes().map(|regime| regime.as_str_name().trim_start_matches("SOURCE_REGIME_")).collect::<Vec<_>>().join(" ")
}

/// The purposes that a rule demands; none: any.
fn purposes(rule: &wire::Rule) -> Cell {
    let codes: Vec<&str> =
        rule.purposes().map(|purpose| purpose.as_str_name().trim_start_matches("PURPOSE_")).collect();
    Cell::both(codes.join(" "), codes)
}

fn reference(rule: &wire::Rule) -> &'static str {
    rule.reference().as_str_name().trim_start_matches("REFERENCE_")
}

fn type_code(number: i32) -> &'static str {
    wire::SignalType::try_from(number).map_or("?", draft::type_code)
}

fn holds<E: Into<i32>>(numbers: &[i32], value: E) -> bool {
    numbers.contains(&value.into())
}

pub(super) fn function(written: &str) -> Result<Function> {
    function_from_code(&code(written)).ok_or_else(|| unknown(written, "no function", &draft::function_codes()))
}

/// Says what a municipality's code looks like, and finds the code of what was probably meant.
fn judge_municipality(written: &str, covenant: &Covenant) -> Result<()> {
    if written.len() == 4 && written.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    let participants =
        covenant.message().participants.iter().filter(|participant| !participant.municipality.is_empty());
    let (wanted, code) = (written.to_lowercase(), format!("{written:0>4}"));
    let is_meant = |participant: &&wire::Participant| {
        participant.municipality == code || participant.name.to_lowercase().split(' ').any(|word| word == wanted)
    };
    let meant = participants.filter(is_meant);
    let meant: Vec<String> = meant.map(|meant| format!("{} ({})", meant.municipality, meant.name)).take(5).collect();
    let fault = Fault::new(written, "a municipality is four digits, as 0363");
    Err(Error::Usage(vec![if meant.is_empty() { fault } else { fault.hint(meant.join(", ")) }]))
}

pub(super) fn signal_type(written: &str) -> Result<wire::SignalType> {
    let name = format!("SIGNAL_TYPE_{}", code(written).trim_start_matches("SIGNAL_TYPE_"));
    wire::SignalType::from_str_name(&name)
        .filter(|signal_type| *signal_type != wire::SignalType::Unspecified)
        .ok_or_else(|| unknown(written, "no type of signal", &draft::TYPES.map(draft::type_code)))
}

/// A code as a person may type it: `safe-home` is SAFE_HOME.
pub(super) fn code(written: &str) -> String {
    written.to_ascii_uppercase().replace('-', "_")
}

/// Says that a word is none of those that are known, and which one was probably meant.
pub(super) fn unknown(written: &str, what: &str, known: &[&str]) -> Error {
    let what = match draft::nearest(written, known) {
        Some(near) => format!("{what}; did you mean {near}?"),
        None => what.to_owned(),
    };
    Error::Usage(vec![Fault::new(written, what).hint(known.join(", "))])
}
