//! Key statements: an address says to which key signals for it are to be sealed, and until when.
//!
//! In come a payload and what is known of the statement before; out comes a [`KeyStatement`] that is right by itself
//! and follows. Statements of an address form a chain from 1 upwards, so that the hub cannot slip a key of its own in
//! without its victim seeing it. Private keys never come here.

use std::time::Duration;

use bytes::Bytes;

use crate::canonical;
use crate::digest::Digest;
use crate::item::{BadItem, Signer, digest_if_any, time};
use crate::signal::SUITE;
use crate::time::Timestamp;
use crate::wire;

/// Bytes of a public key in suite 1 (X-Wing): 1,184 of ML-KEM-768, then 32 of X25519.
pub const PUBLIC_KEY_BYTES: usize = 1_216;
/// How far ahead of its signing a key may be sealed to: a quarter, so that a stolen key does not open for ever.
pub const SEAL_AHEAD_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How much longer than sealed to a key may be opened with: as long as a signal can live.
pub const OPEN_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What an address says of its sealing key, right by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatement {
    /// Who says so; the statement is on this address's key.
    pub signer: Signer,
    /// 1 for the first, then one more each time.
    pub serial: u64,
    /// Digest of the statement before, absent in the first.
    pub previous: Option<Digest>,
    /// What is said.
    pub state: State,
}

/// What a statement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Seal to this key, within these windows; both ends are within.
    Windowed {
        /// The earliest `signed_at` of a signal that is sealed to it.
        seal_from: Timestamp,
        /// The latest.
        seal_until: Timestamp,
        /// The latest `expires` of such a signal; then the private key is deleted.
        open_until: Timestamp,
        /// How it is sealed to.
        suite: u32,
        /// The public key, [`PUBLIC_KEY_BYTES`] long.
        public_key: Bytes,
    },
    /// Seal to nothing of this address until its next statement.
    Withdrawn,
}

impl KeyStatement {
    /// Reads the payload of a key statement's item.
    ///
    /// # Errors
    /// Tells the first rule that is broken.
    pub fn parse(payload: Bytes) -> Result<Self, BadItem> {
        let statement: wire::KeyStatement = canonical::decode(payload)?;
        let signer = Signer::parse(statement.signer.as_ref())?;
        let previous = digest_if_any(&statement.previous_digest);
        if signer.key_serial != statement.serial - 1 {
            return Err(BadItem::KeySerial);
        }
        if statement.serial == 1 && previous.is_some() {
            return Err(BadItem::KeyPrevious);
        }
        let windows = [&statement.seal_from, &statement.seal_until, &statement.open_until].map(Option::as_ref);
        let state = match statement.state.expect("a checked statement says something") {
            wire::key_statement::State::Key(key) => State::windowed(&signer, windows, key)?,
            wire::key_statement::State::Withdrawn(wire::Withdrawn {}) if windows == [None; 3] => State::Withdrawn,
            wire::key_statement::State::Withdrawn(wire::Withdrawn {}) => return Err(BadItem::KeyWindows),
        };
        Ok(Self { signer, serial: statement.serial, previous, state })
    }

    /// Checks that this statement follows the newest one that is known of its address, given by digest and serial;
    /// those below the covenant's `key_floor` do not count, and the first at the floor needs none before it.
    ///
    /// # Errors
    /// Tells whether serial or previous digest is at fault.
    pub fn follows(&self, previous: Option<(&Digest, u64)>, key_floor: u64) -> Result<(), BadItem> {
        let first = key_floor.max(1);
        if self.serial < first {
            return Err(BadItem::KeyBelowFloor);
        }
        let counting = previous.filter(|(_, serial)| *serial >= first);
        let next = match counting {
            // Serials are counted by one, so the last of all numbers is out of reach.
            Some((_, serial)) => serial.saturating_add(1),
            None => first,
        };
        if self.serial != next {
            return Err(BadItem::KeySerial);
        }
        match (self.previous, counting.or(previous)) {
            (Some(named), Some((known, _))) if named == *known => Ok(()),
            (None, _) if counting.is_none() => Ok(()),
            _ => Err(BadItem::KeyPrevious),
        }
    }

    /// Checks that a signal with these times may be sealed to this statement.
    ///
    /// # Errors
    /// Tells whether the times or the statement are at fault.
    pub fn check_window(&self, signed_at: Timestamp, expires: Timestamp) -> Result<(), BadItem> {
        match &self.state {
            State::Windowed { seal_from, seal_until, open_until, .. } => {
                key_window(*seal_from, *seal_until, *open_until, signed_at, expires)
            }
            State::Withdrawn => Err(BadItem::KeyWithdrawn),
        }
    }
}

impl State {
    fn windowed(
        signer: &Signer,
        windows: [Option<&prost_types::Timestamp>; 3],
        key: wire::SealingKey,
    ) -> Result<Self, BadItem> {
        if key.suite != SUITE {
            return Err(BadItem::Suite);
        }
        if !is_encapsulation_key(&key.public_key) {
            return Err(BadItem::EncapsulationKey);
        }
        if windows.contains(&None) {
            return Err(BadItem::KeyWindows);
        }
        let [seal_from, seal_until, open_until] = windows.map(time);
        let longer = |from: Timestamp, to: Timestamp, max: Duration| to.since(from) > max;
        if seal_from >= seal_until
            || seal_until > open_until
            || longer(signer.signed_at, seal_until, SEAL_AHEAD_MAX)
            || longer(seal_until, open_until, OPEN_AFTER_MAX)
        {
            return Err(BadItem::KeyWindows);
        }
        Ok(Self::Windowed { seal_from, seal_until, open_until, suite: key.suite, public_key: key.public_key })
    }
}

/// Checks a signal's times against the windows of a statement to which it is sealed; all ends are within.
///
/// # Errors
/// [`BadItem::KeyWindow`].
pub fn key_window(
    seal_from: Timestamp,
    seal_until: Timestamp,
    open_until: Timestamp,
    signed_at: Timestamp,
    expires: Timestamp,
) -> Result<(), BadItem> {
    if seal_from <= signed_at && signed_at <= seal_until && expires <= open_until {
        Ok(())
    } else {
        Err(BadItem::KeyWindow)
    }
}

/// Whether bytes are a public key of suite 1: the check of FIPS 203, 7.2, that every coefficient is reduced. Each takes
/// 12 bits, low bits first, and q is 3329. Of X25519 every 32 bytes are a key.
#[must_use]
pub fn is_encapsulation_key(key: &[u8]) -> bool {
    let reduced = |pair: &[u8]| {
        let [a, b, c] = [pair[0], pair[1], pair[2]].map(u16::from);
        (a | (b & 0x0f) << 8) < 3329 && (b >> 4 | c << 4) < 3329
    };
    key.len() == PUBLIC_KEY_BYTES && key[..1152].chunks_exact(3).all(reduced)
}
