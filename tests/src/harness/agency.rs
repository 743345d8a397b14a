//! What agencies do all day, in a line each: send a file, read a mailbox, answer.

use std::sync::Arc;

use seinpost_client::answer::{Delivery, Say};
use seinpost_client::client::Client;
use seinpost_client::content::draft::{self, Writer};
use seinpost_client::content::{self, Check};
use seinpost_client::error::{Error, Fault, Result};
use seinpost_client::receive::{Mailbox, Received, ReceivedSignal, SignalContent, Start};
use seinpost_client::send::{KeepCopy, Submitted};
use seinpost_protocol::wire;
use serde_json::Value as Json;

use super::patience::PATIENCE;

/// Sends a signal as a person writes it, as `seinpost send FILE` does.
pub async fn send(client: &Client, file: &Json) -> Result<Submitted> {
    let covenant = client.refresh_covenant().await?;
    let codes = |list: &str, code: &str| covenant.code(list, code).is_some();
    let writer = Writer { bsn_allowed: covenant.may_use_bsn(client.address()) };
    let draft = draft::parse(&file.to_string(), &codes, writer)
        .map_err(|faults| Error::Usage(faults.into_iter().map(Fault::from).collect()))?;
    client.send(&draft.outgoing, &content::encode(&draft.content), &Check::default(), KeepCopy::No).await
}

/// Opens a mailbox behind what was taken over last.
pub async fn mailbox(client: &Client) -> Result<Mailbox> {
    client.receive(Start::Pinned, Arc::new(Check::default())).await
}

/// Opens a mailbox from its first record on.
pub async fn mailbox_from_the_beginning(client: &Client) -> Result<Mailbox> {
    client.receive(Start::Beginning, Arc::new(Check::default())).await
}

/// Reads until a signal comes, taking over what comes before it.
///
/// # Errors
/// What the client says to the hub's doings; an alarm and a withheld item are errors here too.
pub async fn next_signal(mailbox: &mut Mailbox) -> Result<Box<ReceivedSignal>> {
    loop {
        let received = next(mailbox).await?;
        mailbox.acknowledge(&received)?;
        if let Received::Signal(signal) = received {
            return Ok(signal);
        }
    }
}

/// Reads one thing; an alarm and a withheld item are errors.
///
/// # Errors
/// What the client says to the hub's doings.
///
/// # Panics
/// If nothing comes.
pub async fn next(mailbox: &mut Mailbox) -> Result<Received> {
    match mailbox.next_within(PATIENCE).await? {
        Some(Received::Alarm(alarm)) => Err(Error::NotVerified(alarm)),
        Some(Received::Withheld(withheld)) => Err(withheld.error),
        Some(received) => Ok(received),
        None => panic!("nothing came within {PATIENCE:?}"),
    }
}

/// Reads and takes over all that the mailbox holds now, up to what its first head promises.
///
/// # Errors
/// What the client says to the hub's doings.
pub async fn read_all(client: &Client) -> Result<Vec<Received>> {
    let mut mailbox = mailbox(client).await?;
    let mut all = Vec::new();
    loop {
        let received = next(&mut mailbox).await?;
        mailbox.acknowledge(&received)?;
        if received.place().is_some() {
            all.push(received);
        }
        if mailbox.is_drained() {
            return Ok(all);
        }
    }
}

/// Answers a signal with what the client itself found.
///
/// # Errors
/// What the gateway says.
///
/// # Panics
/// If the client found nothing to answer.
pub async fn acknowledge(client: &Client, signal: &ReceivedSignal) -> Result<Submitted> {
    let code = signal.content.answer().expect("the client knows what to answer");
    let say = match code {
        wire::AnswerCode::DeliveredReadable => Say::Readable,
        wire::AnswerCode::UnreadableKey => Say::UnreadableKey,
        wire::AnswerCode::ExcessData => Say::ExcessData,
        wire::AnswerCode::ProfileViolation => Say::ProfileViolation,
        wire::AnswerCode::CommitmentMismatch => Say::CommitmentMismatch,
        other => panic!("a client does not answer {other:?} by itself"),
    };
    client.answer(Delivery::from(signal), say).await
}

/// Returns a signal's content as JSON, as a draft has it.
///
/// # Panics
/// If it is not readable.
#[must_use]
pub fn content(signal: &ReceivedSignal) -> Json {
    match &signal.content {
        SignalContent::Readable { content, .. } => {
            let bytes = bytes::Bytes::copy_from_slice(content.as_bytes());
            content::to_json(&seinpost_protocol::content::decode(&bytes).expect("the client has checked it"))
        }
        SignalContent::Unfit { fault, .. } => panic!("the content is unfit: {fault:?}"),
        SignalContent::Unreadable { reason, what, .. } => panic!("the content is unreadable: {reason}: {what}"),
        SignalContent::Erased => panic!("the content is erased"),
    }
}

/// Reads and takes over until the test has what it wants.
///
/// # Errors
/// What the client says to the hub's doings.
pub async fn until(mailbox: &mut Mailbox, mut wanted: impl FnMut(&Received) -> bool) -> Result<()> {
    loop {
        let received = next(mailbox).await?;
        mailbox.acknowledge(&received)?;
        if wanted(&received) {
            return Ok(());
        }
    }
}
