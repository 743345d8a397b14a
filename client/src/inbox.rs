//! The inbox: what was received, in folders that a person or program takes further.
//!
//! A folder per record of the mailbox, written aside, flushed and then renamed, so that a folder that is there is whole;
//! only after that may the record be acknowledged. In it:
//!
//! - `header.json`: what it is, in the names and codes of the command line's JSON;
//! - `content`: the opened content's bytes, and `blind`: 32 bytes that with it prove to a court what was sent;
//! - `item`: the signed item (`seinpost.v1.SignedItem`);
//! - `receipt`: a receipt file (see `verify`), or for what has no item `receipt.bin`, a `seinpost.v1.Receipt`.
//!
//! Content is readable by the owner alone. Nothing here is deleted: how long an agency keeps what it received is for
//! its own rules.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use seinpost_protocol::address::{Address, function_code};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire;
use serde_json::{Map, Value, json};

use crate::answer::Delivery;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::files::{self, Mode};
use crate::pins::digest_from_hex;
use crate::receive::{Arrived, Place, Received, ReceivedSignal, SignalContent};
use crate::seal::Content;

/// A header with eight recipients is below 8 KiB.
const HEADER_BYTES_MAX: usize = 256 * 1024;
/// Content is at most 1 MiB.
const CONTENT_BYTES_MAX: usize = 1_048_576;
const FORMAT: &str = "seinpost.inbox.v1";

/// A folder of folders, one per record.
#[derive(Debug, Clone)]
pub struct Inbox {
    folder: PathBuf,
}

/// One folder of an inbox.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The folder.
    pub path: PathBuf,
    /// What `header.json` holds.
    pub header: Value,
}

impl Inbox {
    /// Opens an inbox, which is made if need be.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        files::create_folder(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Keeps something that was received; on `Ok` it survives a power cut, and may be acknowledged. Heads and alarms are
    /// not kept. What is kept already stays as it is, unless it can be read now and could not be then.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, received: &Received) -> Result<Option<PathBuf>> {
        let (Some(place), Some(name)) = (received.place(), name_of(received)) else {
            return Ok(None);
        };
        let path = self.folder.join(format!("{:08}-{name}", place.number));
        let brings_content = matches!(received, Received::Signal(signal) if readable(&signal.content).is_some());
        let is_kept = path.join("header.json").exists();
        if is_kept && (!brings_content || path.join("content").exists()) {
            return Ok(Some(path));
        }
        let aside = self.folder.join(format!(".{:08}-{name}.{}.partial", place.number, std::process::id()));
        let kept = self.write_aside(&aside, received).and_then(|()| {
            // A folder is not renamed over another: what was there goes first, and what is aside is whole.
            remove_folder(&path)
                .and_then(|()| fs::rename(&aside, &path))
                .and_then(|()| files::sync_folder(&self.folder))
                .map_err(|error| Error::file(&path, &error))
        });
        kept.inspect_err(|_| {
            // What stands aside is nobody's; that it could not be removed either says nothing new.
            let _ = remove_folder(&aside);
        })?;
        Ok(Some(path))
    }

    fn write_aside(&self, aside: &Path, received: &Received) -> Result<()> {
        remove_folder(aside).map_err(|error| Error::file(aside, &error))?;
        files::create_folder(aside)?;
        let mut pieces: Vec<(&str, Vec<u8>, Mode)> = Vec::new();
        if let Received::Signal(signal) = received
            && let Some((content, blind)) = readable(&signal.content)
        {
            pieces.push(("content", content.as_bytes().to_vec(), Mode::Secret));
            pieces.push(("blind", blind.as_bytes().to_vec(), Mode::Secret));
        }
        let arrived = |arrived: &Arrived| {
            [
                ("item", arrived.item.wire().encode_to_vec(), Mode::Plain),
                ("receipt", arrived.receipt.to_bytes(), Mode::Plain),
            ]
        };
        match received {
            Received::Signal(signal) => pieces.extend(arrived(&signal.arrived)),
            Received::Answer(answer) => pieces.extend(arrived(&answer.arrived)),
            Received::KeyStatement(statement) => pieces.extend(arrived(&statement.arrived)),
            Received::Notice(notice) => pieces.push(("receipt.bin", notice.receipt.encode_to_vec(), Mode::Plain)),
            Received::Withheld(withheld) => {
                pieces.push(("item", withheld.item.encode_to_vec(), Mode::Plain));
                pieces.push(("receipt.bin", withheld.receipt.encode_to_vec(), Mode::Plain));
            }
            Received::Head(_) | Received::Alarm(_) | Received::Waiting(_) | Received::Resumed => {
                unreachable!("what has no place is not kept")
            }
        }
        let header = format!("{:#}\n", describe(received));
        pieces.push(("header.json", header.into_bytes(), Mode::Plain));
        let written = pieces.iter_mut().try_for_each(|(name, bytes, mode)| {
            let created = files::create(&aside.join(name), bytes, *mode);
            zeroize::Zeroize::zeroize(bytes);
            created
        });
        written.and_then(|()| files::sync_folder(aside)).map_err(|error| Error::file(aside, &error))
    }

    /// Lists what is kept, by number.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let listed = fs::read_dir(&self.folder).map_err(|error| Error::file(&self.folder, &error))?;
        for entry in listed {
            let path = entry.map_err(|error| Error::file(&self.folder, &error))?.path();
            let is_aside = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if is_aside {
                continue;
            }
            let Some(bytes) = files::read_if_there(&path.join("header.json"), HEADER_BYTES_MAX)? else {
                continue;
            };
            let header = serde_json::from_slice(&bytes)
                .map_err(|error| Error::Fault(format!("{}: {error}", path.join("header.json").display())))?;
            entries.push(Entry { path, header });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Finds a signal by its id, the beginning of its id or digest where that is one signal's alone, or its number.
    ///
    /// # Errors
    /// If there is none, or more than one begins so.
    pub fn find(&self, reference: &str) -> Result<Entry> {
        let mut found: Vec<Entry> = self.entries()?.into_iter().filter(|entry| entry.is_called(reference)).collect();
        match found.len() {
            0 => Err(Error::NotFound(format!("no signal {reference} in {}", self.folder.display()))),
            1 => Ok(found.remove(0)),
            many => Err(Error::usage(reference, format!("{many} signals begin so; give more of the id"))),
        }
    }
}

impl Entry {
    /// Returns what it is: `signal`, `answer`, `key_statement`, `notice`, `withheld`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("kind")
    }

    /// Returns the delivery that an answer would name; only signals are answered.
    #[must_use]
    pub fn delivery(&self) -> Option<Delivery> {
        let is_signal = self.kind() == "signal";
        let item_digest = digest_from_hex(self.text("item_digest")).filter(|_| is_signal)?;
        Some(Delivery { item_digest, commitment: digest_from_hex(self.text("commitment"))? })
    }

    /// Returns what to answer as far as the client could tell; none where people must look.
    #[must_use]
    pub fn suggested_answer(&self) -> Option<wire::AnswerCode> {
        wire::AnswerCode::from_str_name(&format!("ANSWER_CODE_{}", self.header["suggested_answer"].as_str()?))
    }

    /// Reads the content, if it was readable.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn content(&self) -> Result<Option<Content>> {
        Ok(files::read_if_there(&self.path.join("content"), CONTENT_BYTES_MAX)?.map(Content::new))
    }

    fn is_called(&self, reference: &str) -> bool {
        let reference = reference.trim();
        let begins = |field: &str| reference.len() >= 4 && self.text(field).starts_with(reference);
        let is_number = reference.parse::<u64>().is_ok_and(|number| self.header["number"].as_u64() == Some(number));
        self.kind() == "signal" && (begins("item_id") || begins("item_digest") || is_number)
    }

    fn text(&self, field: &str) -> &str {
        self.header[field].as_str().unwrap_or_default()
    }
}

impl Client {
    /// Opens the inbox of the profile's state folder.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn inbox(&self) -> Result<Inbox> {
        Inbox::open(&self.inner.profile.state.join("inbox"))
    }
}

/// Describes something that was received, without its content: stable names, short codes, UTC, hexadecimal.
#[must_use]
pub fn describe(received: &Received) -> Value {
    let mut header = Map::new();
    let mut put = |name: &str, value: Value| header.insert(name.to_owned(), value);
    put("format", FORMAT.into());
    match received {
        Received::Head(head) => {
            put("kind", "head".into());
            put("first_number", head.first_number.into());
            put("last_number", head.last_number.into());
            put("time", head.time.to_string().into());
        }
        Received::Alarm(alarm) => {
            put("kind", "alarm".into());
            put("reason", alarm.reason.into());
            put("what", alarm.what.clone().into());
            put("evidence", alarm.evidence.as_ref().map(|path| path.display().to_string()).into());
        }
        Received::Waiting(trouble) => {
            put("kind", "waiting".into());
            put("what", trouble.to_string().into());
        }
        Received::Resumed => {
            put("kind", "resumed".into());
        }
        Received::Signal(signal) => {
            put("kind", "signal".into());
            put_arrived(&mut header, &signal.arrived);
            put_signal(&mut header, signal);
        }
        Received::Answer(answer) => {
            put("kind", "answer".into());
            put_arrived(&mut header, &answer.arrived);
            header.insert("answers".into(), answer.answer.item_digest.to_string().into());
            header.insert("answers_id".into(), answer.signal_id.clone().into());
            header.insert("code".into(), short(answer.answer.code.as_str_name(), "ANSWER_CODE_").into());
            header.insert("better_function".into(), answer.answer.better_function.map(function_code).into());
            header.insert("duplicate_of".into(), answer.answer.duplicate_of.map(|digest| digest.to_string()).into());
        }
        Received::KeyStatement(statement) => {
            put("kind", "key_statement".into());
            put_arrived(&mut header, &statement.arrived);
            header.insert("serial".into(), statement.statement.serial.into());
            header.insert("is_own".into(), statement.is_own.into());
        }
        Received::Notice(notice) => {
            put("kind", "notice".into());
            put_place(&mut header, &notice.place);
            header.insert("event".into(), notice.event.name().into());
            header.insert("item_digest".into(), notice.item_digest.to_string().into());
            header.insert("recipient".into(), address(&notice.recipient));
        }
        Received::Withheld(withheld) => {
            put("kind", "withheld".into());
            put_place(&mut header, &withheld.place);
            header.insert("item_digest".into(), withheld.item_digest.to_string().into());
            header.insert("reason".into(), withheld.error.reason().into());
            header.insert("what".into(), withheld.error.to_string().into());
            header.insert("evidence".into(), withheld.error.evidence().map(|path| path.display().to_string()).into());
        }
    }
    Value::Object(header)
}

fn put_place(header: &mut Map<String, Value>, place: &Place) {
    header.insert("number".into(), place.number.into());
    header.insert("index".into(), place.index.into());
    header.insert("commitment".into(), place.commitment.to_string().into());
    header.insert("recorded_at".into(), place.recorded_at.to_string().into());
    header.insert("redelivered".into(), place.redelivered.into());
}

fn put_arrived(header: &mut Map<String, Value>, arrived: &Arrived) {
    put_place(header, &arrived.place);
    let signer = arrived.item.signer();
    let name = arrived.covenant.participant(signer.address.oin).map(|participant| participant.name.clone());
    header.insert("item_id".into(), signer.item_id.to_string().into());
    header.insert("item_digest".into(), arrived.item.digest().to_string().into());
    header.insert("from".into(), address(&signer.address));
    header.insert("from_name".into(), name.into());
    header.insert("signed_at".into(), signer.signed_at.to_string().into());
    header.insert("covenant_serial".into(), arrived.covenant.serial().into());
    header.insert("covenant_digest".into(), arrived.covenant.digest().to_string().into());
}

fn put_signal(header: &mut Map<String, Value>, received: &ReceivedSignal) {
    let signal = &received.signal().header;
    let digest = |digest: Option<Digest>| Value::from(digest.map(|digest| digest.to_string()));
    let recipients = signal.recipients.iter().map(|recipient| {
        json!({
            "oin": recipient.address.oin.as_str(),
            "function": function_code(recipient.address.function),
            "legal_basis": recipient.legal_basis,
            "basis_reference": recipient.basis_reference,
            "municipality": recipient.municipality,
        })
    });
    header.insert("type".into(), short(signal.signal_type.as_str_name(), "SIGNAL_TYPE_").into());
    header.insert("rule_id".into(), received.rule_id.clone().into());
    header.insert("conversation".into(), signal.conversation.to_string().into());
    header.insert("in_reply_to".into(), digest(signal.in_reply_to));
    header.insert("supersedes".into(), digest(signal.supersedes));
    header.insert("to".into(), recipients.collect());
    header.insert("source_regime".into(), short(signal.source_regime.as_str_name(), "SOURCE_REGIME_").into());
    header.insert("purpose".into(), short(signal.purpose.as_str_name(), "PURPOSE_").into());
    header.insert("urgency".into(), short(signal.urgency.as_str_name(), "URGENCY_").into());
    let handling = signal.handling.iter().map(|handling| short(handling.as_str_name(), "HANDLING_"));
    header.insert("handling".into(), handling.collect());
    let profile = json!({ "name": signal.content_profile.name, "version": signal.content_profile.version });
    header.insert("content_profile".into(), profile);
    header.insert("content_commitment".into(), signal.content_commitment.to_string().into());
    header.insert("retention_class".into(), short(signal.retention_class.as_str_name(), "RETENTION_CLASS_").into());
    header.insert("size_class".into(), short(signal.size_class.as_str_name(), "SIZE_CLASS_").into());
    header.insert("expires".into(), signal.expires.to_string().into());
    header.insert("expired".into(), received.expired.into());
    header.insert("answer_due".into(), received.answer_due.map(|due| due.to_string()).into());

    let (state, reason, faults) = match &received.content {
        SignalContent::Readable { .. } => ("readable", None, Vec::new()),
        SignalContent::Unfit { fault, .. } => ("unfit", None, fault.faults.iter().map(ToString::to_string).collect()),
        SignalContent::Unreadable { reason, what, .. } => ("unreadable", Some(*reason), vec![what.clone()]),
        SignalContent::Erased => ("erased", None, Vec::new()),
    };
    header.insert("content".into(), state.into());
    header.insert("reason".into(), reason.into());
    header.insert("faults".into(), faults.into());
    let answer = received.content.answer().map(|code| short(code.as_str_name(), "ANSWER_CODE_"));
    header.insert("suggested_answer".into(), answer.into());
}

fn address(address: &Address) -> Value {
    json!({ "oin": address.oin.as_str(), "function": function_code(address.function) })
}

fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

fn readable(content: &SignalContent) -> Option<(&Content, &crate::seal::Blind)> {
    match content {
        SignalContent::Readable { content, blind } | SignalContent::Unfit { content, blind, .. } => {
            Some((content, blind))
        }
        SignalContent::Unreadable { .. } | SignalContent::Erased => None,
    }
}

fn name_of(received: &Received) -> Option<String> {
    match received {
        Received::Signal(signal) => Some(signal.arrived.item.signer().item_id.to_string()),
        Received::Answer(answer) => Some(format!("answer-{}", answer.arrived.item.signer().item_id)),
        Received::KeyStatement(statement) => Some(format!("key-{}", statement.statement.serial)),
        Received::Notice(notice) => Some(notice.event.name().to_lowercase().replace('_', "-")),
        Received::Withheld(withheld) => Some(format!("withheld-{}", &withheld.item_digest.to_string()[..16])),
        Received::Head(_) | Received::Alarm(_) | Received::Waiting(_) | Received::Resumed => None,
    }
}

fn remove_folder(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
