//! A signal as a person writes it: a JSON file that holds only what a person knows.
//!
//! In comes the file's text and the covenant's code lists; out comes a [`Draft`] whose every value is right by itself, or all
//! faults of the file at once. Who may be written to, under which rule, and which profile applies, is asked
//! afterwards, when the draft is sent; ids, times, keys, sizes and the sender are filled in there too.

use seinpost_protocol::address::{Function, Oin, function_code};
use seinpost_protocol::content::{self, Codes, FieldFault};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use serde_json::Value as Json;

use super::json;
use crate::send::{Outgoing, To};

/// What the sender's function is allowed and addressed as while a draft is read.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// The covenant, or the person's explicit word, lets the writer use the citizen service number.
    pub bsn_allowed: bool,
}

/// A signal to be sent, right by itself.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What is sent, but for the content; urgency NORMAL where the file does not say, handling ascending.
    pub outgoing: Outgoing,
    /// What only the recipients read.
    pub content: wire::Content,
}

/// The types of signal that this version can send.
pub const TYPES: [wire::SignalType; 3] =
    [wire::SignalType::ExploitationSignal, wire::SignalType::Consultation, wire::SignalType::ConsultationAdvice];

/// Returns a type's short code, such as `EXPLOITATION_SIGNAL`.
#[must_use]
pub fn type_code(signal_type: wire::SignalType) -> &'static str {
    signal_type.as_str_name().trim_start_matches("SIGNAL_TYPE_")
}

/// A file as far as it can be read, with all its faults.
#[derive(Debug, Default)]
pub struct Reading {
    /// The draft, if its header could be read. One that comes with faults lacks what is at fault, recipients too: it
    /// serves to look for more faults, and never to be sent.
    pub draft: Option<Draft>,
    /// Where in the file the draft's recipients stand.
    pub places: Vec<usize>,
    /// All faults, in the file's order where it has one.
    pub faults: Vec<FieldFault>,
}

/// Reads a draft from the text of a JSON file.
///
/// # Errors
/// All faults of the file, in its order where the file has one.
pub fn parse(text: &str, codes: &dyn Codes, writer: Writer) -> Result<Draft, Vec<FieldFault>> {
    match read(text, codes, writer) {
        Reading { draft: Some(draft), faults, .. } if faults.is_empty() => Ok(draft),
        Reading { faults, .. } => Err(faults),
    }
}

/// Reads a draft as far as it can be read, with all faults of the file.
#[must_use]
pub fn read(text: &str, codes: &dyn Codes, writer: Writer) -> Reading {
    let faulty = |fault| Reading { faults: vec![fault], ..Reading::default() };
    let allowed = "a JSON object; seinpost template TYPE shows one";
    let file: Json = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let wrong = match error.classify() {
                serde_json::error::Category::Eof => "the JSON ends too early",
                _ => "not JSON",
            };
            let place = format!("line {}, column {}", error.line(), error.column());
            return faulty(FieldFault::new(place, wrong, allowed));
        }
    };
    let Json::Object(object) = file else {
        return faulty(FieldFault::new("the file", "not an object", allowed));
    };
    let mut reader = Reader { object, faults: Vec::new(), codes };
    let (draft, places) = reader.draft(writer);
    Reading { draft, places, faults: reader.faults }
}

struct Reader<'a> {
    object: serde_json::Map<String, Json>,
    faults: Vec<FieldFault>,
    codes: &'a dyn Codes,
}

impl Reader<'_> {
    /// Reads every field even after a fault, so that all faults are found; `None` only together with a fault. Beside it
    /// stand the places of its recipients.
    fn draft(&mut self, writer: Writer) -> (Option<Draft>, Vec<usize>) {
        let signal_type = self.required::<wire::SignalType>("type");
        if let Some(signal_type) = signal_type.filter(|signal_type| !TYPES.contains(signal_type)) {
            let known = TYPES.map(type_code).join(", ");
            self.fault("type", format!("{} is not yet known to this version", type_code(signal_type)), known);
        }
        let (places, to) = self.recipients().into_iter().unzip();
        let source_regime = self.required::<wire::SourceRegime>("source_regime");
        let purpose = self.required::<wire::Purpose>("purpose");
        let urgency = self.optional::<wire::Urgency>("urgency");
        let handling = self.handling();
        let conversation = self.text("conversation").and_then(|text| {
            self.parsed(
                "conversation",
                ItemId::try_from(text.as_str()).ok(),
                "the id of a signal of the conversation's opener, a UUIDv7 in lower case",
            )
        });
        let in_reply_to = self.digest("in_reply_to");
        let supersedes = self.digest("supersedes");
        let expires = self.text("expires").and_then(|text| {
            let time =
                text.parse::<jiff::Timestamp>().ok().and_then(|time| Timestamp::from_millis(time.as_millisecond()));
            self.parsed("expires", time, "RFC 3339, such as 2026-12-01T12:00:00+01:00, 1 hour to 30 days from now")
        });
        let retention_class = self.optional::<wire::RetentionClass>("retention_class");
        let content = self.content(writer);

        let unknown: Vec<String> = self.object.keys().cloned().collect();
        for name in unknown {
            let fields = "type, to, source_regime, purpose, urgency, handling, conversation, in_reply_to, supersedes, expires, retention_class, content";
            self.fault(name, "an unknown field", fields);
        }
        let draft = |content| {
            Some(Draft {
                outgoing: Outgoing {
                    signal_type: signal_type?,
                    to,
                    source_regime: source_regime?,
                    purpose: purpose?,
                    urgency: urgency.unwrap_or(wire::Urgency::Normal),
                    handling: handling.unwrap_or_default(),
                    conversation,
                    in_reply_to,
                    supersedes,
                    expires,
                    retention_class,
                },
                content,
            })
        };
        (content.and_then(draft), places)
    }

    /// Returns the recipients that could be read, each with its place in the file.
    fn recipients(&mut self) -> Vec<(usize, To)> {
        let Some(Json::Array(list)) = self.object.shift_remove("to") else {
            self.fault("to", "missing", "a list of 1..8 recipients: function, municipality or oin, legal_basis");
            return Vec::new();
        };
        // Eight, as the header has it: more are a mailing, and each costs a wrapped key.
        if list.is_empty() || list.len() > 8 {
            self.fault("to", format!("{} recipients", list.len()), "1..8");
        }
        list.into_iter().enumerate().filter_map(|(i, json)| Some((i, self.recipient(i, json)?))).collect()
    }

    fn recipient(&mut self, i: usize, json: Json) -> Option<To> {
        let Json::Object(object) = json else {
            self.fault(
                format!("to[{i}]"),
                "not an object",
                "{\"function\": …, \"municipality\": …, \"legal_basis\": …}",
            );
            return None;
        };
        let mut inner = Reader { object, faults: Vec::new(), codes: self.codes };
        let function = inner.required::<Function>("function");
        let municipality = inner.text("municipality");
        if let Some(code) = &municipality
            && !(code.len() == 4 && code.bytes().all(|byte| byte.is_ascii_digit()))
        {
            inner.fault("municipality", "no municipality code", "four digits, such as 0363");
        }
        let oin = inner
            .text("oin")
            .and_then(|text| inner.parsed("oin", Oin::try_from(text.as_str()).ok(), "20 digits or capital letters"));
        if municipality.is_none() && oin.is_none() && !inner.faults.iter().any(|fault| fault.field == "oin") {
            inner.fault("municipality", "missing", "a municipality code (the covenant finds the address), or an oin");
        }
        let legal_basis = inner.text("legal_basis");
        match &legal_basis {
            None => inner.fault("legal_basis", "missing", "a code (seinpost codes legal_basis)"),
            Some(code) if !self.codes.has("legal_basis", code) => {
                let shown = if code.len() <= 40 { code } else { "what is given" };
                let wrong = format!("{shown} is not in the list legal_basis");
                inner.fault("legal_basis", wrong, "a code of the list (seinpost codes legal_basis)");
            }
            Some(_) => {}
        }
        let basis_reference = inner.text("basis_reference");
        for name in inner.object.keys().cloned().collect::<Vec<_>>() {
            inner.fault(name, "an unknown field", "function, municipality, oin, legal_basis, basis_reference");
        }
        for mut fault in inner.faults {
            fault.field = format!("to[{i}].{}", fault.field);
            self.faults.push(fault);
        }
        Some(To { function: function?, municipality, oin, legal_basis: legal_basis?, basis_reference })
    }

    fn handling(&mut self) -> Option<Vec<wire::Handling>> {
        let list = match self.object.shift_remove("handling") {
            None | Some(Json::Null) => return Some(Vec::new()),
            Some(Json::Array(list)) => list,
            Some(_) => {
                self.fault("handling", "not a list", "a list of codes");
                return None;
            }
        };
        let codes: Option<Vec<wire::Handling>> =
            list.iter().enumerate().map(|(i, json)| self.code(&format!("handling[{i}]"), json)).collect();
        let mut codes = codes?;
        // The header has a set, ascending; the order in which a person writes it means nothing.
        codes.sort_unstable();
        codes.dedup();
        Some(codes)
    }

    fn content(&mut self, writer: Writer) -> Option<wire::Content> {
        let Some(json) = self.object.shift_remove("content") else {
            self.fault("content", "missing", "an object; seinpost template TYPE shows one");
            return None;
        };
        let (message, shape) = json::read(&json, &json::descriptor("Content"), "content");
        let content: wire::Content = message.transcode_to().expect("the descriptor and the type are of one build");
        let values = content::check(&content, self.codes, writer.bsn_allowed).into_iter().map(|mut fault| {
            fault.field = format!("content.{}", fault.field);
            fault
        });
        // What could not be read is left out of the content: that it is missing there is no second fault.
        let values = beyond(&shape, values);
        self.faults.extend(shape);
        self.faults.extend(values);
        Some(content)
    }

    fn required<E: Coded>(&mut self, name: &str) -> Option<E> {
        match self.object.shift_remove(name) {
            None | Some(Json::Null) => {
                self.fault(name, "missing", codes_of::<E>());
                None
            }
            Some(json) => self.code(name, &json),
        }
    }

    fn optional<E: Coded>(&mut self, name: &str) -> Option<E> {
        match self.object.shift_remove(name) {
            None | Some(Json::Null) => None,
            Some(json) => self.code(name, &json),
        }
    }

    fn code<E: Coded>(&mut self, name: &str, json: &Json) -> Option<E> {
        let found = json.as_str().and_then(|text| {
            let text = text.strip_prefix(E::PREFIX).unwrap_or(text);
            E::from_code(text)
        });
        if found.is_none() {
            let wrong = match json.as_str() {
                Some(text) if text.len() <= 40 => match nearest(text, &E::codes()) {
                    Some(near) => format!("{text} is not one of its values; {near} is"),
                    None => format!("{text} is not one of its values"),
                },
                _ => "not one of its values".to_owned(),
            };
            self.fault(name, wrong, codes_of::<E>());
        }
        found
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.object.shift_remove(name) {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) => Some(text),
            Some(_) => {
                self.fault(name, "not text", "text in quotes");
                None
            }
        }
    }

    fn digest(&mut self, name: &str) -> Option<Digest> {
        let text = self.text(name)?;
        let digest = hex::decode(&text).ok().and_then(|bytes| Digest::try_from(bytes.as_slice()).ok());
        self.parsed(name, digest, "the digest of an item: 64 hexadecimal digits")
    }

    fn parsed<T>(&mut self, name: &str, value: Option<T>, allowed: &str) -> Option<T> {
        if value.is_none() {
            self.fault(name, "not of the right form", allowed);
        }
        value
    }

    fn fault(&mut self, field: impl Into<String>, wrong: impl Into<String>, allowed: impl Into<String>) {
        self.faults.push(FieldFault::new(field, wrong, allowed));
    }
}

/// Returns those of `more` that stand at other places than what was found already, neither above nor below it.
pub fn beyond(found: &[FieldFault], more: impl IntoIterator<Item = FieldFault>) -> Vec<FieldFault> {
    let covers = |above: &str, below: &str| {
        below.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let is_known = |fault: &FieldFault| {
        found.iter().any(|known| covers(&known.field, &fault.field) || covers(&fault.field, &known.field))
    };
    more.into_iter().filter(|fault| !is_known(fault)).collect()
}

/// An enum that people write by its short code.
trait Coded: Sized {
    /// What the full name has before the short code.
    const PREFIX: &'static str;
    /// Finds the value of a short code; the unspecified one has none.
    fn from_code(code: &str) -> Option<Self>;
    /// The short codes, in order.
    fn codes() -> Vec<&'static str>;
}

fn codes_of<E: Coded>() -> String {
    E::codes().join(", ")
}

impl Coded for wire::SignalType {
    const PREFIX: &'static str = "SIGNAL_TYPE_";

    fn from_code(code: &str) -> Option<Self> {
        Self::from_str_name(&format!("SIGNAL_TYPE_{code}")).filter(|value| *value != Self::Unspecified)
    }

    /// Those that can be sent now: the format has more.
    fn codes() -> Vec<&'static str> {
        TYPES.map(type_code).to_vec()
    }
}

macro_rules! coded {
    ($($type:ty, $prefix:literal;)*) => {$(
        impl Coded for $type {
            const PREFIX: &'static str = $prefix;

            fn from_code(code: &str) -> Option<Self> {
                Self::from_str_name(&format!("{}{code}", $prefix)).filter(|value| i32::from(*value) != 0)
            }

            fn codes() -> Vec<&'static str> {
                // Values count from 1 without gaps.
                (1..).map_while(|number| Self::try_from(number).ok()).map(|value| value.as_str_name().trim_start_matches($prefix)).collect()
            }
        }
    )*};
}

coded! {
    wire::SourceRegime, "SOURCE_REGIME_";
    wire::Purpose, "PURPOSE_";
    wire::Urgency, "URGENCY_";
    wire::Handling, "HANDLING_";
    wire::RetentionClass, "RETENTION_CLASS_";
    Function, "FUNCTION_";
}

/// Returns the code that somebody meant who wrote this, if one is near: the same but for case and hyphens, or off by at
/// most two letters.
#[must_use]
pub fn nearest<'a>(written: &str, codes: &[&'a str]) -> Option<&'a str> {
    let written = written.to_uppercase().replace('-', "_");
    let (distance, code) = codes.iter().map(|code| (distance(&written, &code.to_uppercase()), *code)).min()?;
    (distance <= 2).then_some(code)
}

/// How many letters must be put in, taken out or replaced to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Returns the short codes of all functions, in order.
#[must_use]
pub fn function_codes() -> Vec<&'static str> {
    (1..).map_while(|number| Function::try_from(number).ok()).map(function_code).collect()
}

#[cfg(test)]
mod tests;
