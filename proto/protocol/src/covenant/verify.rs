//! The one way to a covenant: an item, what is trusted so far, and every rule between the two.
//!
//! Gateway, clients and auditors call [`Covenant::verify`] alike: at start, at adoption, at each fetch and load. The
//! questions go from cheap to dear: size, form, place in the succession, what the tables say by themselves and to each
//! other, signatures. It reads no clock; a covenant that is over is a covenant.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::canonical;
use crate::digest::Digest;
use crate::item::{self, ItemType};
use crate::signature;
use crate::time::Timestamp;
use crate::wire;

use super::breach::{BadCovenant, Breach};
use super::index::Index;
use super::{Covenant, Inner, tables};

/// Largest covenant, its item with signatures, in bytes: the whole country takes some hundred KiB, and a client holds
/// two while it walks. (2 MiB, under the 4 MiB that a client decodes.)
pub const COVENANT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest validity: 100 days, so that a hub that withholds the next covenant stops working within a season.
pub const VALIDITY_MAX: Duration = Duration::from_secs(100 * 24 * 60 * 60);
/// Most registrars: far beyond any board that signs by hand, and a bound on the work of finding a signature's signer.
const REGISTRARS_MAX: usize = 32;
/// Most signatures: all of the old registrars and all of the new, as many as those can be.
const SIGNATURES_MAX: usize = 2 * REGISTRARS_MAX;

/// What a covenant is verified by.
#[derive(Debug, Clone)]
pub enum Trust<'a> {
    /// The hub file: nothing has been accepted yet, and only the covenant that it names will be.
    Floor(Floor),
    /// The last accepted covenant: the same again will be, and the next.
    Last(&'a Covenant),
}

/// Where trust starts: the hub file's word on the first covenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Floor {
    /// The log that the covenant must belong to.
    pub log_origin: String,
    /// The first registrars.
    pub registrars: Vec<wire::Registrar>,
    /// How many of them must have signed.
    pub threshold: u32,
    /// The first covenant's serial.
    pub serial: u64,
    /// The first covenant's digest.
    pub digest: Digest,
    /// The origin is a test's: one signature may do.
    pub test: bool,
}

impl Covenant {
    /// Checks a covenant's item against what is trusted so far; the only way to a covenant.
    ///
    /// By the hub file, exactly the covenant that it names; by the last accepted one, the same again or the next. Of the
    /// same again, the one already held is returned, with the signatures that it came with.
    ///
    /// # Errors
    /// [`BadCovenant`] names the first rule that it breaks.
    pub fn verify(item: &wire::SignedItem, trust: &Trust<'_>) -> Result<Self, BadCovenant> {
        if item.encoded_len() > COVENANT_BYTES_MAX || item.signatures.len() > SIGNATURES_MAX {
            return Err(Breach::Size.at(""));
        }
        if item.payload_type != ItemType::Covenant.payload_type() {
            return Err(Breach::PayloadType.at("payload_type"));
        }
        let message: wire::Covenant = canonical::decode(item.payload.clone()).map_err(|malformed| {
            let field = malformed.field.clone();
            Breach::Malformed(malformed).at(field)
        })?;
        let digest = item::digest_of(&item.payload_type, &item.payload);

        // Before any signature is looked at: each is held against every registrar.
        if message.registrars.len() > REGISTRARS_MAX {
            return Err(Breach::Size.at("registrars"));
        }

        let old = Old::of(trust);
        if message.log_origin == old.log_origin && message.serial == old.serial && digest != old.digest {
            // Signatures first: whoever changes a byte of a covenant makes another of its serial, and only if enough
            // registrars signed that too is it theirs to answer for.
            signed(item, &message, &old)?;
            return Err(old.says(Breach::SerialFork, Breach::FloorFork).at("serial"));
        }
        let previous_digest = succeeds(&message, &old)?;
        if let Some(last) = old.last.filter(|last| last.digest() == digest) {
            // Word for word the item that was accepted needs no second look; and it would not bear one, since the
            // registrars before it, who signed it too, may be unknown by now.
            if last.item().signatures != item.signatures {
                signed(item, &message, &old)?;
            }
            return Ok(last.clone());
        }
        let (valid_from, valid_until) = valid(&message, &old)?;
        let tables = tables::read(&message, old.test)?;
        signed(item, &message, &old)?;

        let hub_oin = tables::oin(&message.hub_oin, || "hub_oin".to_owned())?;
        let index = Index::new(&message, tables);
        let item = item.clone();
        let test = old.test;
        Ok(Self(std::sync::Arc::new(Inner {
            item,
            message,
            digest,
            previous_digest,
            valid_from,
            valid_until,
            hub_oin,
            test,
            index,
        })))
    }

    /// Checks a covenant as it is kept in a file: the bytes of its item, in which no field is unknown.
    ///
    /// # Errors
    /// As [`Covenant::verify`].
    pub fn verify_bytes(bytes: Bytes, trust: &Trust<'_>) -> Result<Self, BadCovenant> {
        if bytes.len() > COVENANT_BYTES_MAX {
            return Err(Breach::Size.at(""));
        }
        let item = canonical::decode_envelope("seinpost.v1.SignedItem", bytes)
            .map_err(|malformed| Breach::Malformed(malformed).at("item"))?;
        Self::verify(&item, trust)
    }
}

/// Verifies covenants one by one from what is trusted, and returns the last.
///
/// Those on the way may be over; that the start is not over for too long is the caller's to ask
/// ([`Covenant::may_start_a_walk_at`]), and that the last is valid too. Without items the start itself is the end, and
/// there is none when nothing has been accepted yet.
///
/// # Errors
/// The place of the first that breaks a rule, counted from 0, and the rule.
pub fn walk<'i>(
    trust: &Trust<'_>,
    items: impl IntoIterator<Item = &'i wire::SignedItem>,
) -> Result<Option<Covenant>, (usize, BadCovenant)> {
    let mut last: Option<Covenant> = match trust {
        Trust::Floor(_) => None,
        Trust::Last(last) => Some((*last).clone()),
    };
    for (at, item) in items.into_iter().enumerate() {
        let next = match &last {
            None => Covenant::verify(item, trust),
            Some(last) => Covenant::verify(item, &Trust::Last(last)),
        };
        last = Some(next.map_err(|bad| (at, bad))?);
    }
    Ok(last)
}

/// What is trusted so far, in one shape.
struct Old<'a> {
    last: Option<&'a Covenant>,
    log_origin: &'a str,
    registrars: &'a [wire::Registrar],
    threshold: u32,
    serial: u64,
    digest: Digest,
    test: bool,
}

impl<'a> Old<'a> {
    fn of(trust: &'a Trust<'_>) -> Self {
        match trust {
            Trust::Floor(floor) => Self {
                last: None,
                log_origin: &floor.log_origin,
                registrars: &floor.registrars,
                threshold: floor.threshold,
                serial: floor.serial,
                digest: floor.digest,
                test: floor.test,
            },
            Trust::Last(last) => Self {
                last: Some(last),
                log_origin: last.log_origin(),
                registrars: &last.message().registrars,
                threshold: last.message().threshold,
                serial: last.serial(),
                digest: last.digest(),
                test: last.is_test(),
            },
        }
    }

    /// Returns the breach in the words of what is trusted: the last accepted covenant, or the hub file.
    fn says(&self, by_last: Breach, by_floor: Breach) -> Breach {
        if self.last.is_some() { by_last } else { by_floor }
    }
}

/// Its place: the same log, the same covenant again or the next, which names the one before it.
fn succeeds(message: &wire::Covenant, old: &Old<'_>) -> Result<Option<Digest>, BadCovenant> {
    if message.log_origin != old.log_origin {
        return Err(Breach::Origin.at("log_origin"));
    }
    let is_next = old.last.is_some() && old.serial.checked_add(1) == Some(message.serial);
    if message.serial < old.serial {
        return Err(Breach::SerialLower.at("serial"));
    }
    if message.serial > old.serial && !is_next {
        return Err(old.says(Breach::SerialGap, Breach::FloorGap).at("serial"));
    }
    let previous = Digest::try_from(&message.previous_digest).ok();
    // The first of all follows nothing; every other follows something, and the next one what is trusted.
    if previous.is_none() != (message.serial == 1) || is_next && previous != Some(old.digest) {
        return Err(Breach::PreviousDigest.at("previous_digest"));
    }
    Ok(previous)
}

fn valid(message: &wire::Covenant, old: &Old<'_>) -> Result<(Timestamp, Timestamp), BadCovenant> {
    let from = tables::time(message.valid_from.as_ref());
    let until = tables::time(message.valid_until.as_ref());
    if until <= from || until.since(from) > VALIDITY_MAX {
        return Err(Breach::Validity.at("valid_until"));
    }
    if old.last.is_some_and(|last| from < last.valid_from()) {
        return Err(Breach::Validity.at("valid_from"));
    }
    Ok((from, until))
}

/// Every signature is an old or new registrar's; enough of both have signed, each counted once.
fn signed(item: &wire::SignedItem, message: &wire::Covenant, old: &Old<'_>) -> Result<(), BadCovenant> {
    // The hub file's own word is not taken for granted: with a threshold of 0 anybody could have signed.
    let lowest = if old.test { 1 } else { 2 };
    if old.threshold < lowest || old.registrars.len() > REGISTRARS_MAX {
        return Err(Breach::Threshold.at("trust"));
    }
    let signed = item::pae(&item.payload_type, &item.payload);
    let mut keys: HashSet<&Bytes> = HashSet::new();
    for (at, signature) in item.signatures.iter().enumerate() {
        let all = old.registrars.iter().chain(&message.registrars);
        let signer = all.map(|registrar| &registrar.ed25519).find(|key| {
            let key = <&[u8; 32]>::try_from(key.as_ref());
            key.is_ok_and(|key| signature::verify_ed25519(key, &signed, &signature.sig).is_ok())
        });
        let unknown = || old.says(Breach::Signature, Breach::FloorSignature).at(format!("signatures[{at}]"));
        keys.insert(signer.ok_or_else(unknown)?);
    }
    if count(old.registrars, &keys) < old.threshold as usize {
        return Err(old.says(Breach::TooFewOld, Breach::FloorTooFew).at("signatures"));
    }
    if count(&message.registrars, &keys) < message.threshold as usize {
        return Err(Breach::TooFewNew.at("signatures"));
    }
    Ok(())
}

/// Counts the registrars who signed, by distinct OIN and distinct key, whichever is less.
fn count(registrars: &[wire::Registrar], keys: &HashSet<&Bytes>) -> usize {
    let signers = registrars.iter().filter(|registrar| keys.contains(&registrar.ed25519));
    let (oins, keys): (HashSet<_>, HashSet<_>) =
        signers.map(|registrar| (registrar.oin.as_str(), &registrar.ed25519)).unzip();
    oins.len().min(keys.len())
}
