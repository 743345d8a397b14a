//! The story: one signal about a fictional boy, and what the hub can and cannot do with it.
//!
//! Everything happens through the real client over real mutual TLS. Each step states what is tried and what came of
//! it; a step that does not come out as told ends the story with an error, so that the reader never sees a claim that
//! did not hold.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use seinpost_certs::world::{World, reroute};
use seinpost_client::answer::{Delivery, Say};
use seinpost_client::client::Client;
use seinpost_client::content::{self, Check, draft};
use seinpost_client::receive::{Received, ReceivedSignal, SignalContent, Start};
use seinpost_client::send::{KeepCopy, Submitted};
use seinpost_client::status::Which;
use seinpost_protocol::address::Function;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::wire;
use seinpost_rpc::exchange_service_client::ExchangeServiceClient;

use super::{Failure, search, setup};

/// What the hub must not hold of the signal: the boy's names and a phrase of what was seen.
const WORDS: [&str; 4] = ["Voorbeeld", "Semmie", "Proefstraat", "parcel point"];
/// How long a step may wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the story leaves behind for the reader to look at.
pub(super) struct Told {
    /// The signal's id.
    pub signal: ItemId,
    /// The sender's receipt.
    pub receipt: PathBuf,
}

/// Tells the story on standard output.
pub(super) async fn tell(world: &World, data: &Path, gateway: SocketAddr) -> Result<Told, Failure> {
    let police = setup::client(world, "police-amsterdam")?;
    let safe_home = setup::client(world, "safe-home-amsterdam")?;
    let mayor = setup::client(world, "mayor-amsterdam")?;
    let auditor = setup::client(world, "auditor")?;

    tell!("\nA hub at {gateway}, and a covenant of the whole country that its registrars signed; the hub did not.\n");
    let sent = send(&police).await?;
    refuse_the_mayor(&mayor, world).await?;
    let inbox = open_and_answer(&safe_home, &sent).await?;
    ladder(&police, &sent).await?;
    refuse_the_evil_covenant(&police, world)?;
    search_the_hub(world, data, &inbox)?;
    audit(&auditor).await?;
    audit_a_spoilt_copy(&auditor).await?;
    Ok(Told { signal: sent.id, receipt: sent.receipt })
}

async fn send(police: &Client) -> Result<Submitted, Failure> {
    step(1, "Police Amsterdam tells the safe home for Amsterdam that a boy may be exploited");
    let covenant = police.refresh_covenant().await?;
    let codes = |list: &str, code: &str| covenant.code(list, code).is_some();
    let template = content::template(wire::SignalType::ExploitationSignal).ok_or("there is no template")?;
    let draft = draft::parse(template, &codes, draft::Writer { bsn_allowed: covenant.may_use_bsn(police.address()) })
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let plan = police.plan(&draft.outgoing).await?;
    for reader in &plan.readers {
        say(&format!("sealed to    {}", reader.certificate_name.as_deref().unwrap_or(&reader.name)));
        say(&format!("legal basis  {} (rule {}): {}", reader.rule.legal_basis, reader.rule.id, reader.rule.reason_en));
    }
    let content = content::encode(&draft.content);
    let sent = police.send_planned(&plan, &content, &Check::default(), KeepCopy::No).await?;
    say(&format!("accepted     by the hub as record {} of its log: signal {}", sent.index, sent.id));
    say(&format!("receipt      {}", sent.receipt.display()));
    Ok(sent)
}

async fn refuse_the_mayor(mayor: &Client, world: &World) -> Result<(), Failure> {
    step(2, "The mayor of the same town tries to read along");
    let mailboxes =
        [("safe-home-amsterdam", "the safe home"), ("youth-care-amsterdam", "youth care, in the same town hall")];
    for (identity, whose) in mailboxes {
        let request = wire::ReceiveRequest { address: Some(world.address(identity)?.into()), after: 0, seen_size: 0 };
        match ExchangeServiceClient::new(mayor.channel()).receive(request).await {
            Err(status) => say(&format!("refused      the mailbox of {whose}: {}", status.message())),
            Ok(_) => return Err(format!("the mayor could read the mailbox of {whose}").into()),
        }
    }
    Ok(())
}

/// Returns the folder in which the safe home keeps what it received.
async fn open_and_answer(safe_home: &Client, sent: &Submitted) -> Result<PathBuf, Failure> {
    step(3, "The safe home receives, verifies, opens and answers");
    let inbox = safe_home.inbox()?;
    let mut mailbox = safe_home.receive(Start::Pinned, Arc::new(Check::default())).await?;
    loop {
        let received = mailbox.next_within(PATIENCE).await?.ok_or("the signal did not come")?;
        let kept = inbox.keep(&received)?;
        mailbox.acknowledge(&received)?;
        let Received::Signal(signal) = received else { continue };
        if signal.arrived.item.digest() != sent.digest {
            continue;
        }
        let kept = kept.ok_or("the signal was not kept")?;
        read(&signal)?;
        say(&format!("kept         {}", kept.display()));
        let answered = safe_home.answer(Delivery::from(&*signal), Say::Readable).await?;
        say(&format!("answered     DELIVERED_READABLE, signed by the safe home, as record {}", answered.index));
        return Ok(kept);
    }
}

fn read(signal: &ReceivedSignal) -> Result<(), Failure> {
    let SignalContent::Readable { content: opened, .. } = &signal.content else {
        return Err("the safe home could not read the signal".into());
    };
    let content = wire::Content::decode(opened.as_bytes())?;
    let name = content.subject.as_ref().and_then(|subject| subject.names.as_ref());
    let name = name.map(|name| format!("{} {}", name.given.join(" "), name.family)).unwrap_or_default();
    let place = &signal.arrived.place;
    say(&format!("proven       number {} in its mailbox, record {} of the log", place.number, place.index));
    say(&format!(
        "opened       \"{name}\", {} observations: what the signed header commits to",
        content.observations.len()
    ));
    Ok(())
}

async fn ladder(police: &Client, sent: &Submitted) -> Result<(), Failure> {
    step(4, "The police sees how far it is, and who says so");
    let shown = police.item(Which::Id(sent.id)).await?;
    for step in &shown.steps {
        let what = match step.event {
            EventKind::SubmissionAcceptance => "accepted",
            EventKind::ContentHandover => "handed over to the safe home's system",
            EventKind::ContentConsignment => "consigned the answer to the police",
            other => other.name(),
        };
        say(&format!("hub          {what}, record {}", step.index));
    }
    let answered =
        shown.recipients.iter().find_map(|recipient| recipient.answer.as_ref().map(|answer| (recipient, answer)));
    let Some((recipient, answer)) = answered.filter(|(recipient, _)| recipient.answer_is_verified) else {
        return Err("the answer is not there, or its signature does not hold".into());
    };
    let code = answer.code.as_str_name().trim_start_matches("ANSWER_CODE_");
    say(&format!("recipient    {code}, signed by {}", recipient.address));
    Ok(())
}

fn refuse_the_evil_covenant(police: &Client, world: &World) -> Result<(), Failure> {
    step(5, "Somebody at the hub makes a covenant that sends the safe home's mail to somebody else");
    let shelter = world.address("shelter")?;
    // One registrar's key was stolen; the other did not sign.
    let evil = world.covenant_after(
        world.covenant(),
        |covenant| reroute(covenant, Function::SafeHome, "0363", shelter),
        &[0],
    )?;
    match police.judge_covenant(evil.encode_to_vec().into()) {
        Ok(_) => Err("the client took a covenant that one registrar alone had signed".into()),
        Err(error) => {
            say(&format!("refused      {error}"));
            Ok(())
        }
    }
}

fn search_the_hub(world: &World, data: &Path, inbox: &Path) -> Result<(), Failure> {
    step(6, "Every file of the hub is searched for the boy's name");
    let hub = world.hub_folder();
    let mut folders = vec![hub.as_path()];
    if !data.starts_with(&hub) {
        folders.push(data);
    }
    let (mut files, mut bytes) = (0, 0);
    for folder in folders {
        let searched = search::folder(folder, &WORDS)?;
        if let Some((file, word)) = searched.found {
            return Err(format!("{word} stands in {file}").into());
        }
        files += searched.files;
        bytes += searched.bytes;
    }
    say(&format!("not there    {} words in {files} files, {} MiB", WORDS.len(), bytes / (1024 * 1024)));
    // A search that finds nothing proves something only if it would find what is there.
    if search::folder(inbox, &WORDS)?.found.is_none() {
        return Err("the search does not find the name where it stands".into());
    }
    say("found        where it should be: in the safe home's own inbox");
    Ok(())
}

async fn audit(auditor: &Client) -> Result<(), Failure> {
    step(7, "The auditor computes the log anew and checks every record, signature and rule");
    let report = auditor.audit(&mut |_| {}).await?;
    if let Some(fault) = report.faults.first() {
        return Err(format!("the log does not hold: {fault}").into());
    }
    let records: u64 = report.events.values().sum();
    say(&format!(
        "holds        {records} records opened, {} signatures verified, root {}",
        report.items_verified, report.checkpoint.root
    ));
    for not in &report.not_checked {
        say(&format!("not checked  {not}"));
    }
    Ok(())
}

async fn audit_a_spoilt_copy(auditor: &Client) -> Result<(), Failure> {
    step(8, "One byte of a copy of the log is changed");
    let mut copy = auditor.copy_log().await?;
    let spoilt = copy.leaves.iter().rposition(|leaf| !leaf.record.is_empty()).ok_or("the copy holds no record")?;
    let mut record = copy.leaves[spoilt].record.to_vec();
    let middle = record.len() / 2;
    record[middle] ^= 1;
    copy.leaves[spoilt].record = record.into();
    let report = auditor.audit_copy(&copy).await?;
    let named = report.faults.iter().find(|fault| fault.index == spoilt as u64);
    let Some(fault) = named else {
        return Err("the auditor did not find the changed byte".into());
    };
    say(&format!("found        {fault}"));
    Ok(())
}

fn step(number: u32, title: &str) {
    tell!("{number}. {title}");
}

fn say(text: &str) {
    tell!("     {text}");
}
