//! Content: what a person writes, what is sealed, what a recipient reads.
//!
//! A signal comes in as a JSON file ([`draft`]) and its content leaves as canonical bytes ready to be sealed; opened
//! bytes come in and leave as JSON for a person or a program. On both ways the content is checked by itself (codes,
//! bounds, numbers: `seinpost_protocol::content`) and against the content profile that the covenant gives its type
//! ([`profile`]). Nothing here seals, sends, or keeps anything.

mod check;
pub mod draft;
mod json;
pub mod profile;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use seinpost_protocol::content::{self, Codes, FieldFault};
use seinpost_protocol::wire;

pub use check::Check;
pub use draft::{Draft, Writer};
pub use profile::{Departure, DepartureKind, departures};

/// Why an opened content is not what its header promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It holds more than the profile allows: the answer EXCESS_DATA.
    Excess(Vec<Departure>),
    /// It lacks what the profile demands, or is wrong by itself: the answer PROFILE_VIOLATION.
    Violation(Vec<FieldFault>),
}

/// Encodes a content as the bytes that are sealed.
#[must_use]
pub fn encode(content: &wire::Content) -> Bytes {
    content.encode_to_vec().into()
}

/// Checks a content to be sent against its profile: every departure is a fault of the writer's file.
#[must_use]
pub fn faults_against(content: &wire::Content, profile: &wire::Profile) -> Vec<FieldFault> {
    departures(&dynamic(content), profile)
        .into_iter()
        .map(|departure| {
            let field = format!("content.{}", departure.path);
            match departure.kind {
                DepartureKind::Missing => {
                    FieldFault::new(field, format!("missing: the profile {} demands it", profile.name), "fill it")
                }
                DepartureKind::Excess => {
                    FieldFault::new(field, format!("more than the profile {} allows", profile.name), "leave it out")
                }
            }
        })
        .collect()
}

/// Reads an opened content and checks it by itself and against its profile.
///
/// # Errors
/// What the recipient answers with: too much, or not what was promised.
pub fn read(bytes: &Bytes, profile: &wire::Profile, codes: &dyn Codes) -> Result<wire::Content, Unfit> {
    let content = content::decode(bytes).map_err(|fault| Unfit::Violation(vec![fault]))?;
    let found = departures(&dynamic(&content), profile);
    let excess: Vec<Departure> = found.iter().filter(|found| found.kind == DepartureKind::Excess).cloned().collect();
    if !excess.is_empty() {
        return Err(Unfit::Excess(excess));
    }
    // Whether the sender may use a BSN is the profile's to say, and the sender's client has asked its covenant.
    let mut faults = content::check(&content, codes, true);
    faults.extend(found.into_iter().map(|missing| {
        FieldFault::new(missing.path, format!("missing: the profile {} demands it", profile.name), "a filled field")
    }));
    if faults.is_empty() { Ok(content) } else { Err(Unfit::Violation(faults)) }
}

/// Writes a content as JSON, as a draft has it.
#[must_use]
pub fn to_json(content: &wire::Content) -> serde_json::Value {
    json::write(&dynamic(content))
}

/// Returns a filled, fictional example of a signal of this type, ready to be sent; `None`: not a type of this version.
#[must_use]
pub fn template(signal_type: wire::SignalType) -> Option<&'static str> {
    match signal_type {
        wire::SignalType::ExploitationSignal => Some(include_str!("templates/EXPLOITATION_SIGNAL.json")),
        wire::SignalType::Consultation => Some(include_str!("templates/CONSULTATION.json")),
        wire::SignalType::ConsultationAdvice => Some(include_str!("templates/CONSULTATION_ADVICE.json")),
        _ => None,
    }
}

fn dynamic(content: &wire::Content) -> DynamicMessage {
    let mut message = DynamicMessage::new(json::descriptor("Content"));
    message.merge(content.encode_to_vec().as_slice()).expect("a content decodes as a content");
    message
}
