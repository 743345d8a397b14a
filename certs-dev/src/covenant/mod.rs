//! The development covenant: from tables that people read to the document that registrars sign.
//!
//! In come the [`Tables`] and a [`Draft`] with what is not in them: origin, serial, dates, registrars, roots and the
//! keys that agencies really have. Out comes a [`wire::Covenant`], the same bytes for the same input. It is not yet
//! signed, and whether it holds by its own rules is `protocol`'s to say, not this module's.

pub(crate) mod draft_file;
mod names;
mod participants;
mod rules;
mod tables;

use std::collections::BTreeSet;

use bytes::Bytes;
use seinpost_protocol::address::{Address, Oin};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire;

use crate::fault::Fault;
use crate::pki::Validity;

pub use rules::Cell;
pub use tables::Tables;

/// What a covenant says beside its tables.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The log that it belongs to.
    pub log_origin: String,
    /// Its number; the first is 1.
    pub serial: u64,
    /// The digest of the one before it; none for the first.
    pub previous_digest: Option<Digest>,
    /// When it is valid: up to 100 days.
    pub validity: Validity,
    /// Who signs it and its successor.
    pub registrars: Vec<wire::Registrar>,
    /// How many of them must.
    pub threshold: u32,
    /// The roots of transport certificates, DER.
    pub transport_roots: Vec<Vec<u8>>,
    /// The roots of signing certificates, DER.
    pub signing_roots: Vec<Vec<u8>>,
    /// The log's Ed25519 keys.
    pub log_keys: Vec<[u8; 32]>,
    /// The keys that agencies have; a function without any is bound to keys that nobody has.
    pub keys: Vec<AgencyKey>,
    /// When all bindings of keys are valid.
    pub keys_validity: Validity,
    /// Addresses in which any key with a good certificate may act.
    pub unbound: BTreeSet<Address>,
}

/// A key that an agency has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgencyKey {
    /// Where it may act.
    pub address: Address,
    /// For what.
    pub used_for: wire::Use,
    /// The digest of its SubjectPublicKeyInfo.
    pub spki_sha256: Digest,
}

/// Builds the covenant of a draft and tables.
///
/// # Errors
/// [`Fault::Data`] naming the table, its row and what is wrong: a name that is not known, an address that is bound but
/// does not take part.
pub fn build(tables: &Tables, draft: &Draft) -> Result<wire::Covenant, Fault> {
    let root = |der: &Vec<u8>| wire::Root { der: Bytes::copy_from_slice(der), oins: Vec::new() };
    let covenant = wire::Covenant {
        log_origin: draft.log_origin.clone(),
        serial: draft.serial,
        previous_digest: draft.previous_digest.map(Bytes::from).unwrap_or_default(),
        valid_from: Some(draft.validity.from.into()),
        valid_until: Some(draft.validity.until.into()),
        registrars: draft.registrars.clone(),
        threshold: draft.threshold,
        transport_roots: draft.transport_roots.iter().map(root).collect(),
        signing_roots: draft.signing_roots.iter().map(root).collect(),
        log_keys: draft
            .log_keys
            .iter()
            .map(|key| wire::LogKey { ed25519: Bytes::copy_from_slice(key), until_size: 0, until_root: Bytes::new() })
            .collect(),
        participants: participants::participants(tables, draft)?,
        routes: participants::routes(tables)?,
        rules: rules::rules(tables)?,
        code_lists: rules::code_lists(tables)?,
        profiles: rules::profiles(tables)?,
        clocks: rules::clocks(tables)?,
        seen_checkpoint: Bytes::new(),
        hub_oin: hub_oin().as_str().to_owned(),
    };
    let known = |address: &Address| {
        covenant.participants.iter().any(|participant| {
            participant.oin == address.oin.as_str()
                && participant.functions.iter().any(|grant| grant.function() == address.function)
        })
    };
    match draft.keys.iter().map(|key| &key.address).chain(&draft.unbound).find(|address| !known(address)) {
        Some(unknown) => Err(Fault::data("the draft", format!("{unknown} does not take part"))),
        None => Ok(covenant),
    }
}

/// Returns every (type, from, to) that the chain needs, against which a test holds the rules.
///
/// # Errors
/// [`Fault::Data`] if the table names what is not known.
pub fn needed_cells(tables: &Tables) -> Result<BTreeSet<Cell>, Fault> {
    rules::needed_cells(tables)
}

/// Returns the OIN of a number within a kind, as `organisations.toml` explains: `00000099`, two digits, ten digits.
///
/// # Errors
/// [`Fault::Data`] if the kind has more than two digits.
pub fn oin(kind: u32, number: u32) -> Result<Oin, Fault> {
    let text = format!("00000099{kind:02}{number:010}");
    Oin::try_from(text.as_str())
        .map_err(|_| Fault::data("organisations.toml", format!("kind {kind} has more than two digits")))
}

/// Returns the hub's OIN.
#[must_use]
pub fn hub_oin() -> Oin {
    oin(90, 1).expect("90 has two digits")
}

/// Returns an OIN that no covenant here knows.
#[must_use]
pub fn unknown_oin() -> Oin {
    oin(99, 1).expect("99 has two digits")
}
