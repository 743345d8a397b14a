//! What the receipt of an acceptance must say: this item, for this client, consigned to those whom it is addressed to.
//!
//! In comes a receipt that is proven to stand in the log, and the item that was sent; out goes what was accepted. The
//! questions that an audit asks of an acceptance too stand here once, for both.

use std::path::PathBuf;
use std::time::Duration;

use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, ItemId, Payload};
use seinpost_protocol::key_statement::State;
use seinpost_protocol::receipt::{EventKind, VerifiedReceipt};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::keys::record_time;
use crate::link::{audience_all, audience_of, expect};

/// How far a record's time may lie before the item's own, behind it, and ahead of one's own clock. What is older when it
/// is recorded may have been recorded before, by then forgotten.
const RECORD_BEFORE_MAX: Duration = Duration::from_secs(5 * 60);
const RECORD_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const RECORD_AHEAD_MAX: Duration = Duration::from_secs(10 * 60);

/// An item that the hub accepted, by a receipt that was verified.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// Its id.
    pub id: ItemId,
    /// Its digest.
    pub digest: Digest,
    /// The index of its acceptance in the log.
    pub index: u64,
    /// When the hub recorded it.
    pub recorded_at: Timestamp,
    /// The covenant by which the hub judged it.
    pub covenant: Digest,
    /// To whom it was consigned, in order.
    pub consigned: Vec<Consigned>,
    /// Where the receipt is kept.
    pub receipt: PathBuf,
}

/// One consignment that an acceptance names.
#[derive(Debug, Clone)]
pub struct Consigned {
    /// To whom.
    pub to: Address,
    /// The rule by which it was permitted; `answer` or `key-statement` where the format itself permits it.
    pub rule_id: String,
    /// Its index in the log.
    pub index: u64,
    /// Its commitment.
    pub commitment: Digest,
}

impl Client {
    /// Checks that an acceptance is of this item, for this client, and names its addressees.
    pub(super) fn judge_acceptance(&self, item: &Item, receipt: &VerifiedReceipt) -> Result<Submitted> {
        let audience = match item.payload() {
            Payload::KeyStatement(_) => audience_all(),
            Payload::Signal(_) | Payload::Answer(_) => audience_of(self.address()),
        };
        let record = expect(receipt, &audience, EventKind::SubmissionAcceptance, Some(&item.digest()))?;
        let Some(Event::SubmissionAcceptance(accepted)) = &record.event else {
            unreachable!("the event was asked for");
        };
        let wrong = |what: &str| {
            Error::not_verified("ACCEPTANCE", format!("the hub's receipt is not of what was sent: {what}"))
        };
        if accepted.item_id != item.signer().item_id.to_string() {
            return Err(wrong("it names another id"));
        }
        if !is_about(accepted, item.payload()) {
            return Err(wrong("it says of the item what the item does not say"));
        }
        if !is_in_conversation(record, item.payload()) {
            return Err(wrong("it stands in another conversation"));
        }
        let recorded_at = judge_record_time(record, item.signer().signed_at, self.now())?;
        let mut consigned = Vec::with_capacity(accepted.addressees.len());
        for addressee in &accepted.addressees {
            consigned.push(Consigned {
                to: addressee
                    .to
                    .as_ref()
                    .and_then(|to| Address::try_from(to).ok())
                    .ok_or_else(|| wrong("an addressee is none"))?,
                rule_id: addressee.rule_id.clone(),
                index: addressee.index,
                commitment: Digest::try_from(&addressee.commitment).map_err(|_| wrong("a commitment is none"))?,
            });
        }
        let is_in_order = consigned.iter().zip(receipt.index + 1..).all(|(consigned, index)| consigned.index == index);
        if !is_in_order {
            return Err(wrong("its consignments do not stand directly behind it"));
        }
        let to = consigned.iter().map(|consigned| consigned.to);
        let is_addressed = match item.payload() {
            Payload::Signal(signal) => signal.header.recipients.iter().map(|recipient| recipient.address).eq(to),
            Payload::KeyStatement(statement) => to.eq([statement.signer.address]),
            // To whom it answers, only the signal says; there is one.
            Payload::Answer(_) => consigned.len() == 1,
        };
        if !is_addressed {
            return Err(wrong("it is consigned to others than it is addressed to"));
        }
        Ok(Submitted {
            id: item.signer().item_id,
            digest: item.digest(),
            index: receipt.index,
            recorded_at,
            covenant: Digest::try_from(&record.covenant_digest).map_err(|_| wrong("it names no covenant"))?,
            consigned,
            receipt: self.receipt_path(&item.signer().item_id),
        })
    }
}

/// Says whether an acceptance says of an item what the item says: by this the hub, which opens no item twice, goes on.
pub(crate) fn is_about(accepted: &wire::SubmissionAcceptance, payload: &Payload) -> bool {
    use wire::submission_acceptance::About;
    match (&accepted.about, payload) {
        (Some(About::Signal(about)), Payload::Signal(signal)) => {
            let header = &signal.header;
            about.r#type() == header.signal_type
                && about.urgency() == header.urgency
                && about.expires == Some(header.expires.into())
                && about.retention_class() == header.retention_class
        }
        (Some(About::Answer(about)), Payload::Answer(answer)) => about.code() == answer.code,
        (Some(About::Key(about)), Payload::KeyStatement(statement)) => {
            let windows = match statement.state {
                State::Windowed { seal_from, seal_until, open_until, .. } => {
                    [seal_from, seal_until, open_until].map(|time| Some(time.into()))
                }
                State::Withdrawn => [None; 3],
            };
            about.serial == statement.serial
                && about.withdrawn == (statement.state == State::Withdrawn)
                && [about.seal_from, about.seal_until, about.open_until] == windows
        }
        _ => false,
    }
}

/// Says whether an acceptance or consignment stands in the conversation that its item names; which one an answer is of,
/// only the signal says.
pub(crate) fn is_in_conversation(record: &wire::Record, payload: &Payload) -> bool {
    match (&record.conversation, payload) {
        (Some(place), Payload::Signal(signal)) => place.id == signal.header.conversation.to_string(),
        (Some(_), Payload::Answer(_)) | (None, Payload::KeyStatement(_)) => true,
        (None, Payload::Signal(_) | Payload::Answer(_)) | (Some(_), Payload::KeyStatement(_)) => false,
    }
}

/// Checks a record's time against the item's own and one's own clock.
pub(crate) fn judge_record_time(record: &wire::Record, signed_at: Timestamp, now: Timestamp) -> Result<Timestamp> {
    let time = record_time(record);
    if signed_at.since(time) > RECORD_BEFORE_MAX {
        let what = format!("the hub recorded at {time} what was signed at {signed_at}");
        return Err(Error::not_verified("RECORD_TIME", what));
    }
    if time.since(signed_at) > RECORD_AFTER_MAX {
        let what = format!("the hub recorded at {time} what was signed at {signed_at}, more than 30 days before");
        return Err(Error::not_verified("RECORD_TIME", what));
    }
    if time.since(now) > RECORD_AHEAD_MAX {
        let what =
            format!("the hub's record is of {time}, more than ten minutes ahead of this machine's clock ({now})");
        return Err(Error::not_verified("RECORD_TIME", what));
    }
    Ok(time)
}
