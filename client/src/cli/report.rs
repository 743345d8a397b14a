//! How an error is told, and with which exit code the program ends.

use std::io::Write as _;

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

/// Tells what could not be done and why, on standard error, and returns the exit code.
pub(super) fn report(deed: &str, error: &Error) -> u8 {
    let mut text = format!("error: {deed}\n");
    match error {
        Error::Usage(faults) => faults.iter().for_each(|fault| push_fault(&mut text, fault)),
        Error::Refused(refusal) => {
            text.push_str(&format!("  {}\n", apart(&refusal.message).0));
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
    let _ = std::io::stderr().write_all(text.as_bytes());
    exit_code(error.kind())
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
