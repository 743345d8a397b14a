//! `ack` and `reject`: the recipient's signed word on a delivery, one and final.

use seinpost_protocol::digest::Digest;

use super::args::{Ack, Reject};
use super::print::Printer;
use super::{Doing as _, Outcome, covenant, ladder, report};
use crate::answer::{Delivery, Say};
use crate::client::Client;
use crate::error::{Error, Fault, Result};
use crate::send::Submitted;
use crate::status::Which;

/// The answers that reject, as `seinpost reject` takes them.
const REJECTIONS: [&str; 7] = [
    "UNREADABLE_KEY",
    "WRONG_RECIPIENT",
    "NOT_COMPETENT",
    "EXCESS_DATA",
    "PROFILE_VIOLATION",
    "COMMITMENT_MISMATCH",
    "DUPLICATE_OF",
];

/// `seinpost ack ID`.
pub(super) async fn ack(arguments: &Ack, client: &Client, printer: &Printer) -> Outcome {
    let deed = "the signal cannot be acknowledged";
    let delivery = delivery(&arguments.id, client).await.doing(deed)?;
    let submitted = client.answer(delivery, Say::Readable).await.doing(deed)?;
    told("DELIVERED_READABLE", &submitted, printer);
    Ok(report::DONE)
}

/// `seinpost reject ID CODE`.
pub(super) async fn reject(arguments: &Reject, client: &Client, printer: &Printer) -> Outcome {
    let deed = "the signal cannot be rejected";
    let say = say(arguments, client).await.doing(deed)?;
    let delivery = delivery(&arguments.id, client).await.doing(deed)?;
    let submitted = client.answer(delivery, say).await.doing(deed)?;
    told(say.code().as_str_name().trim_start_matches("ANSWER_CODE_"), &submitted, printer);
    Ok(report::DONE)
}

async fn say(arguments: &Reject, client: &Client) -> Result<Say> {
    let stray = |flag: &str, code: &str| {
        let what = format!("goes with {code} alone");
        Err(Error::Usage(vec![Fault::new(flag, what).hint(format!("leave it out, or seinpost reject ID {code}"))]))
    };
    let code = covenant::code(&arguments.code);
    if arguments.better.is_some() && code != "WRONG_RECIPIENT" {
        return stray("--better", "WRONG_RECIPIENT");
    }
    if arguments.duplicate_of.is_some() && code != "DUPLICATE_OF" {
        return stray("--duplicate-of", "DUPLICATE_OF");
    }
    match code.as_str() {
        "UNREADABLE_KEY" => Ok(Say::UnreadableKey),
        "NOT_COMPETENT" => Ok(Say::NotCompetent),
        "EXCESS_DATA" => Ok(Say::ExcessData),
        "PROFILE_VIOLATION" => Ok(Say::ProfileViolation),
        "COMMITMENT_MISMATCH" => Ok(Say::CommitmentMismatch),
        "WRONG_RECIPIENT" => match &arguments.better {
            Some(function) => covenant::function(function).map(Say::WrongRecipient),
            None => Err(missing("--better", "the function whose task it is, such as CERTIFIED_INSTITUTION")),
        },
        "DUPLICATE_OF" => match &arguments.duplicate_of {
            Some(id) => digest_of(id, client).await.map(Say::DuplicateOf),
            None => Err(missing("--duplicate-of", "the id or digest of the earlier signal")),
        },
        "DELIVERED_READABLE" => {
            let fault = Fault::new(&arguments.code, "rejects nothing").hint("seinpost ack ID");
            Err(Error::Usage(vec![fault]))
        }
        _ => Err(covenant::unknown(&arguments.code, "no answer that rejects", &REJECTIONS)),
    }
}

fn missing(flag: &str, hint: &str) -> Error {
    Error::Usage(vec![Fault::new(flag, "missing").hint(hint)])
}

async fn delivery(id: &str, client: &Client) -> Result<Delivery> {
    let digest = digest_of(id, client).await?;
    client.delivery(&digest).await.map_err(|error| match error {
        Error::NotFound(_) => {
            Error::NotFound(format!("{id} was not delivered to {}: only its recipients answer it", client.address()))
        }
        other => other,
    })
}

async fn digest_of(id: &str, client: &Client) -> Result<Digest> {
    match ladder::which(id, client).await? {
        Which::Digest(digest) => Ok(digest),
        Which::Id(id) => client.item(Which::Id(id)).await.map(|shown| shown.item.digest()),
    }
}

fn told(code: &str, submitted: &Submitted, printer: &Printer) {
    if printer.quiet {
        printer.line(submitted.id.to_string());
    } else if printer.for_people() {
        printer.line(format!("answered {code}: record {} of the log", submitted.index));
        printer.line(format!("  receipt {}", submitted.receipt.display()));
    } else {
        printer.json(&serde_json::json!({
            "item_id": submitted.id.to_string(),
            "answer": code,
            "index": submitted.index,
            "receipt": submitted.receipt.display().to_string(),
        }));
    }
}
