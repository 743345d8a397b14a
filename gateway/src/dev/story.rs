//! The story: one signal about a fictional boy, and what the hub can and cannot do with it.
//!
//! Everything happens through the real client over real mutual TLS. Each step states what is tried and what came of
//! it; a step that does not come out as told ends the story with an error, so that the reader never sees a claim that
//! did not hold.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use seinpost_certs::world::{World, reroute};
use seinpost_client::answer::{Delivery, Say};
use seinpost_client::client::Client;
use seinpost_client::content::{self, Check, draft};
use seinpost_client::receive::{Received, ReceivedSignal, SignalContent, Start};
use seinpost_client::send::{KeepCopy, Outgoing, Submitted};
use seinpost_client::status::Which;
use seinpost_protocol::address::Function;
use seinpost_protocol::wire;
use seinpost_rpc::exchange_service_client::ExchangeServiceClient;

use super::{Failure, search, setup};

/// What the hub must not hold of the signal: the boy's names and a phrase of what was seen.
const WORDS: [&str; 4] = ["Voorbeeld", "Semmie", "Proefstraat", "parcel point"];
/// How long a step may wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells the story on standard output.
pub(super) async fn tell(world: &World, data: &Path, gateway: SocketAddr) -> Result<(), Failure> {
    let police = setup::client(world, "police-amsterdam")?;
    let safe_home = setup::client(world, "safe-home-amsterdam")?;
    let mayor = setup::client(world, "mayor-amsterdam")?;
    let auditor = setup::client(world, "auditor")?;

    println!("\nA hub at {gateway}, and a covenant of the whole country that its registrars signed; the hub did not.\n");
    let sent = send(&police).await?;
    refuse_the_mayor(&mayor, world).await?;
    let opened = open_and_answer(&safe_home, &sent).await?;
    ladder(&police, &sent).await?;
    refuse_the_evil_covenant(&police, world)?;
    search_the_hub(world, data)?;
    audit(&auditor).await?;
    audit_a_spoilt_copy(&auditor).await?;
    println!("\nThat was signal {}; the safe home read {} observations.", sent.id, opened);
    Ok(())
}

async fn send(police: &Client) -> Result<Submitted, Failure> {
    step(1, "Police Amsterdam tells the safe home for Amsterdam that a boy may be exploited");
    let covenant = police.refresh_covenant().await?;
    let codes = |list: &str, code: &str| covenant.code(list, code).is_some();
    let template = content::template(wire::SignalType::ExploitationSignal).ok_or("there is no template")?;
    let draft = draft::parse(template, &codes, draft::Writer { bsn_allowed: covenant.may_use_bsn(police.address()) })
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let plan = police.plan(&Outgoing::from(&draft)).await?;
    for reader in &plan.readers {
        say(&format!("sealed to    {}", reader.certificate_name.as_deref().unwrap_or(&reader.name)));
        say(&format!("legal basis  {} (rule {}): {}", reader.rule.legal_basis, reader.rule.id, reader.rule.reason_en));
    }
    let content = content::encode(&draft.content);
    let sent = police.send_planned(&plan, &content, &Check::default(), KeepCopy::No).await?;
    say(&format!("accepted     as record {} of the log; receipt {}", sent.index, sent.receipt.display()));
    Ok(sent)
}

async fn refuse_the_mayor(mayor: &Client, world: &World) -> Result<(), Failure> {
    step(2, "The mayor of the same town tries to read along");
    let mailboxes = [("safe-home-amsterdam", "the safe home"), ("youth-care-amsterdam", "youth care, in the same town hall")];
    for (identity, whose) in mailboxes {
        let request = wire::ReceiveRequest { address: Some(world.address(identity)?.into()), after: 0, seen_size: 0 };
        match ExchangeServiceClient::new(mayor.channel()).receive(request).await {
            Err(status) => say(&format!("refused      the mailbox of {whose}: {} ({:?})", status.message(), status.code())),
            Ok(_) => return Err(format!("the mayor could read the mailbox of {whose}").into()),
        }
    }
    Ok(())
}

async fn open_and_answer(safe_home: &Client, sent: &Submitted) -> Result<usize, Failure> {
    step(3, "The safe home receives, verifies, opens and answers");
    let mut mailbox = safe_home.receive(Start::Pinned, Arc::new(Check::default())).await?;
    loop {
        let received = mailbox.next_within(PATIENCE).await?.ok_or("the signal did not come")?;
        mailbox.acknowledge(&received)?;
        let Received::Signal(signal) = received else { continue };
        if signal.arrived.item.digest() != sent.digest {
            continue;
        }
        let read = read(&signal)?;
        let answered = safe_home.answer(Delivery::from(&*signal), Say::Readable).await?;
        say(&format!("answered     DELIVERED_READABLE, signed by the safe home, as record {}", answered.index));
        return Ok(read);
    }
}

fn read(signal: &ReceivedSignal) -> Result<usize, Failure> {
    let SignalContent::Readable { content: opened, .. } = &signal.content else {
        return Err("the safe home could not read the signal".into());
    };
    let content = wire::Content::decode(opened.as_bytes())?;
    let name = content.subject.as_ref().and_then(|subject| subject.names.as_ref());
    let name = name.map(|name| format!("{} {}", name.given.join(" "), name.family)).unwrap_or_default();
    let place = &signal.arrived.place;
    say(&format!("proven       number {} in its mailbox, record {} of the log", place.number, place.index));
    say(&format!("opened       \"{name}\": {} observations, as the signed header commits to", content.observations.len()));
    Ok(content.observations.len())
}

async fn ladder(police: &Client, sent: &Submitted) -> Result<(), Failure> {
    step(4, "The police sees how far it is, and who says so");
    let shown = police.item(Which::Id(sent.id)).await?;
    for step in &shown.steps {
        say(&format!("hub          {} (record {})", step.event.name(), step.index));
    }
    let answered = shown.recipients.iter().find_map(|recipient| recipient.answer.as_ref().map(|answer| (recipient, answer)));
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

fn search_the_hub(world: &World, data: &Path) -> Result<(), Failure> {
    step(6, "Every file of the hub is searched for the boy's name");
    let (mut files, mut bytes) = (0, 0);
    for folder in [data.to_owned(), world.hub_folder()] {
        let searched = search::folder(&folder, &WORDS)?;
        if let Some((file, word)) = searched.found {
            return Err(format!("{word} stands in {file}").into());
        }
        files += searched.files;
        bytes += searched.bytes;
    }
    say(&format!("not there    {} words in {files} files, {} MiB", WORDS.len(), bytes / (1024 * 1024)));
    Ok(())
}

async fn audit(auditor: &Client) -> Result<(), Failure> {
    step(7, "The auditor computes the log anew and checks every record, signature and rule");
    let report = auditor.audit(&mut |_| {}).await?;
    if let Some(fault) = report.faults.first() {
        return Err(format!("the log does not hold: {fault}").into());
    }
    let records: u64 = report.events.values().sum();
    say(&format!("holds        {records} records opened, {} signatures verified, root {}", report.items_verified, report.checkpoint.root));
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
    println!("{number}. {title}");
}

fn say(text: &str) {
    println!("     {text}");
}
