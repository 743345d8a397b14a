//! How an error is told, and with which exit code the program ends.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};

use super::args::Format;
use crate::error::{Error, Fault, Kind};

/// Done, and what was checked holds.
pub(super) const DONE: u8 = 0;
/// Refused by the gateway or by a rule.
pub(super) const REFUSED: u8 = 1;
/// Wrong use: flag, file, profile, field.
pub(super) const USAGE: u8 = 2;
/// Not verified; evidence saved.
pub(super) const NOT_VERIFIED: u8 = 3;
/// Not found.
pub(super) const NOT_FOUND: u8 = 4;
/// Not reachable or busy, worth trying again.
pub(super) const UNREACHABLE: u8 = 5;
/// Not allowed.
pub(super) const NOT_ALLOWED: u8 = 6;
/// A fault of ours.
pub(super) const FAULT: u8 = 70;
/// Interrupted.
pub(super) const INTERRUPTED: u8 = 130;

/// Tells what could not be done and why, on standard error, and returns the exit code: in sentences for people, as one JSON
/// object on one line for programs.
pub(super) fn report(deed: &str, error: &Error, format: Format) -> u8 {
    let text = match format {
        Format::Table => wrapped(&sentences(deed, error)),
        Format::Json | Format::Jsonl => format!("{}\n", object(deed, error)),
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
    exit_code(error.kind())
}

/// Tells that the arguments themselves are wrong, which the words of clap say best.
pub(super) fn report_arguments(error: &clap::Error, arguments: &[OsString]) {
    if !error.use_stderr() || !wants_json(arguments) {
        let _ = error.print();
        return;
    }
    let said = error.render().to_string();
    let message = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let error = Error::Usage(vec![Fault::new("arguments", message)]);
    let _ = writeln!(std::io::stderr(), "{}", object("the command is not understood", &error));
}

/// Whether JSON was asked for, as far as arguments that do not parse can say.
fn wants_json(arguments: &[OsString]) -> bool {
    let is_json = |value: &str| ["json", "jsonl"].contains(&value);
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    words.windows(2).any(|pair| pair[0] == "--output" && is_json(&pair[1]))
        || words.iter().any(|word| word.strip_prefix("--output=").is_some_and(is_json))
}

/// The error for programs: every name is always there, `null` where there is nothing to say.
fn object(deed: &str, error: &Error) -> serde_json::Value {
    let (code, message, faults) = match error {
        Error::Usage(faults) => (None, error.to_string(), &faults[..]),
        Error::Refused(refusal) => {
            (Some(refusal.reason.as_str()), apart(&refusal.message).0.to_owned(), &refusal.violations[..])
        }
        Error::NotVerified(failure) => (Some(failure.reason), failure.what.clone(), &[][..]),
        Error::NotFound(what) => (apart(what).1, apart(what).0.to_owned(), &[][..]),
        Error::Unreachable(trouble) => (trouble.reason.as_deref(), apart(&trouble.to_string()).0.to_owned(), &[][..]),
        Error::NotAllowed(refusal) => (refusal.reason.as_deref(), apart(&refusal.message).0.to_owned(), &[][..]),
        Error::Fault(what) => (None, what.clone(), &[][..]),
    };
    let nearest_rule = match error {
        Error::Refused(refusal) => refusal.nearest_rule.as_deref(),
        _ => None,
    };
    let retry_after = match error {
        Error::Unreachable(trouble) => trouble.retry_after.map(|wait| wait.as_secs().max(1)),
        _ => None,
    };
    let listed = faults.iter().map(|fault| {
        serde_json::json!({
            "path": fault.place,
            "message": fault.what,
            "allowed": Some(fault.hint.as_str()).filter(|hint| !hint.is_empty()),
        })
    });
    serde_json::json!({ "error": {
        "code": code.unwrap_or(kind_code(error.kind())),
        "message": message,
        "path": faults.first().map(|fault| fault.place.as_str()),
        "doing": deed,
        "exit_code": exit_code(error.kind()),
        "faults": listed.collect::<Vec<_>>(),
        "nearest_rule": nearest_rule,
        "evidence": error.evidence().map(|folder| folder.display().to_string()),
        "retry_after_seconds": retry_after,
    }})
}

/// The code of an error that has no reason of its own.
fn kind_code(kind: Kind) -> &'static str {
    match kind {
        Kind::Refused => "REFUSED",
        Kind::Usage => "USAGE",
        Kind::NotVerified => "NOT_VERIFIED",
        Kind::NotFound => "NOT_FOUND",
        Kind::Unreachable => "UNREACHABLE",
        Kind::NotAllowed => "NOT_ALLOWED",
        Kind::Fault => "FAULT",
    }
}

/// Wraps long lines at the terminal's width, with their indent kept; where there is no terminal they stay as they are.
fn wrapped(text: &str) -> String {
    match super::print::terminal_width() {
        Some(width) if std::io::stderr().is_terminal() => wrap(text, width),
        _ => text.to_owned(),
    }
}

fn wrap(text: &str, width: usize) -> String {
    let mut wrapped = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut used = 0;
        for word in line.split_whitespace() {
            let length = word.chars().count();
            if used == 0 || used + 1 + length > width {
                wrapped.push_str(if used == 0 { "" } else { "\n" });
                wrapped.push_str(indent);
                used = indent.len();
            } else {
                wrapped.push(' ');
                used += 1;
            }
            wrapped.push_str(word);
            used += length;
        }
        wrapped.push('\n');
    }
    wrapped
}

/// The error for people: what, where, why, what now.
fn sentences(deed: &str, error: &Error) -> String {
    let mut text = format!("error: {deed}\n");
    match error {
        Error::Usage(faults) => faults.iter().for_each(|fault| push_fault(&mut text, fault)),
        Error::Refused(refusal) => {
            let message = apart(&refusal.message).0;
            // A sentence that is the only violation's is said there, with its field.
            if !matches!(&refusal.violations[..], [only] if only.what == message) {
                text.push_str(&format!("  {message}\n"));
            }
            refusal.violations.iter().for_each(|fault| push_fault(&mut text, fault));
            if let Some(rule) = &refusal.nearest_rule {
                text.push_str(&format!("  nearest rule: {rule} (seinpost covenant show rules --filter {rule})\n"));
            }
        }
        Error::NotVerified(failure) => {
            text.push_str(&format!("  {}\n", failure.what));
            match &failure.evidence {
                Some(folder) => text.push_str(&format!(
                    "  evidence: {}\n  hint: keep it, and call the auditor and the other participants before using the hub again\n",
                    folder.display()
                )),
                None => text.push_str("  hint: nothing was accepted, shown or pinned\n"),
            }
        }
        Error::NotFound(what) => {
            let (what, reason) = apart(what);
            text.push_str(&format!("  {what}\n"));
            if reason.is_some() {
                // The gateway's word: unknown and foreign are one answer to it.
                text.push_str("  hint: what is not one's own is not found either; seinpost list shows what is\n");
            }
        }
        Error::Unreachable(trouble) => {
            let what = trouble.to_string();
            text.push_str(&format!("  {}\n", apart(&what).0));
            if let Some(wait) = trouble.retry_after {
                text.push_str(&format!("  the gateway asks to wait {} s\n", wait.as_secs().max(1)));
            }
            text.push_str(
                "  hint: try again; what was signed stays in the outbox, and the same file is never sent twice\n",
            );
        }
        Error::NotAllowed(refusal) => {
            let what = refusal.to_string();
            text.push_str(&format!(
                "  {}\n  hint: seinpost check shows which certificate and function this profile uses\n",
                apart(&what).0
            ));
        }
        Error::Fault(what) => {
            text.push_str(&format!(
                "  {what}\n  please report this, with the command and the program's version ({})\n",
                env!("CARGO_PKG_VERSION")
            ));
        }
    }
    let reason = match error {
        Error::NotFound(what) => apart(what).1,
        other => other.reason(),
    };
    if let Some(reason) = reason {
        // At the end and in brackets, so that it can be searched for.
        text.push_str(&format!("  [{reason}]\n"));
    }
    text
}

/// Returns the exit code of a kind of error.
pub(super) fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::Refused => REFUSED,
        Kind::Usage => USAGE,
        Kind::NotVerified => NOT_VERIFIED,
        Kind::NotFound => NOT_FOUND,
        Kind::Unreachable => UNREACHABLE,
        Kind::NotAllowed => NOT_ALLOWED,
        Kind::Fault => FAULT,
    }
}

/// Parts a message of the gateway from the reason that stands in brackets at its end.
fn apart(message: &str) -> (&str, Option<&str>) {
    let reason = message.strip_suffix(']').and_then(|rest| rest.rsplit_once(" ["));
    match reason {
        Some((what, reason)) if reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') => {
            (what, Some(reason))
        }
        _ => (message, None),
    }
}

fn push_fault(text: &mut String, fault: &Fault) {
    text.push_str(&format!("  {}: {}\n", fault.place, fault.what));
    if !fault.hint.is_empty() {
        text.push_str(&format!("  allowed: {}\n", fault.hint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{By, NotVerified, Refusal, Unreachable};

    #[test]
    fn an_error_for_programs_always_has_the_same_names() {
        let names = [
            "code",
            "doing",
            "evidence",
            "exit_code",
            "faults",
            "message",
            "nearest_rule",
            "path",
            "retry_after_seconds",
        ];
        let check = |error: Error, code: &str, exit: u8, path: Option<&str>, message: &str| {
            let told = object("it cannot be done", &error);
            let mut found: Vec<_> = told["error"].as_object().expect("an object").keys().cloned().collect();
            found.sort();
            assert_eq!(found, names);
            let error = &told["error"];
            assert_eq!((error["code"].as_str(), error["exit_code"].as_u64()), (Some(code), Some(exit.into())));
            assert_eq!((error["path"].as_str(), error["message"].as_str()), (path, Some(message)));
        };
        let faults = vec![Fault::new("signal.json: to[0]", "missing").hint("a function"), Fault::new("b", "wrong")];
        check(Error::Usage(faults), "USAGE", 2, Some("signal.json: to[0]"), "signal.json: to[0]: missing; b: wrong");
        let refusal = Refusal {
            by: By::Gateway,
            reason: "NO_ROUTE".into(),
            message: "no route [NO_ROUTE]".into(),
            nearest_rule: None,
            violations: Vec::new(),
        };
        check(Error::Refused(refusal), "NO_ROUTE", 1, None, "no route");
        check(Error::NotFound("none such [NOT_FOUND]".into()), "NOT_FOUND", 4, None, "none such");
        let failure = NotVerified { reason: "LOG_FORK", what: "two histories".into(), evidence: None };
        check(Error::NotVerified(failure), "LOG_FORK", 3, None, "two histories");
        let trouble = Error::Unreachable(Unreachable::new("refused"));
        check(trouble, "UNREACHABLE", 5, None, "the gateway cannot be reached: refused");
        check(Error::Fault("broken".into()), "FAULT", 70, None, "broken");
    }

    #[test]
    fn json_is_seen_to_be_asked_for_in_arguments_that_do_not_parse() {
        let wants = |words: &[&str]| wants_json(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(wants(&["seinpost", "sned", "--output", "json"]) && wants(&["seinpost", "--output=jsonl", "sned"]));
        assert!(!wants(&["seinpost", "sned", "--output", "table"]) && !wants(&["seinpost", "json"]));
    }

    #[test]
    fn a_long_line_is_wrapped_with_its_indent_and_a_long_word_is_left_whole() {
        let text = "error: it cannot be sent\n  police may send it to a safe home\n  [BASIS]\n";
        let expected = "error: it cannot be\nsent\n  police may send it\n  to a safe home\n  [BASIS]\n";
        assert_eq!(wrap(text, 20), expected);
        assert_eq!(wrap(text, 80), text);
        assert_eq!(wrap("  /a/path/that/is/long.json: gone\n", 12), "  /a/path/that/is/long.json:\n  gone\n");
    }
}
