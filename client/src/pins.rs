//! What this client remembers of the hub, so that the hub cannot take it back.
//!
//! Per log origin: the largest checkpoint that was verified, the newest covenant, the highest key statement of each
//! address, the place of the last record of one's own mailboxes, the highest number of each revocation list, from which
//! record on the log ruled by which covenant. All of it only moves up; it stands in one file, changed under a lock and replaced in one piece, since several programs may
//! share one state. Nothing here verifies: what comes in was verified by whoever calls. Losing the file means first
//! contact: whatever the hub shows then is believed, which is why it is compared by phone.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use seinpost_protocol::address::{Address, Oin};
use seinpost_protocol::checkpoint::{Checkpoint, Pin, Seen};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::{self, Mode};
use crate::profile::function_from_code;

/// A pin per address of a few hundred bytes; a country has some thousand addresses.
const PINS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Version of the file's form.
const FORMAT: u32 = 1;

/// The pins of one log origin, in a file that other origins may share.
#[derive(Debug, Clone)]
pub struct Pins {
    path: PathBuf,
    lock: PathBuf,
    origin: String,
}

impl Pins {
    /// Opens the pins of a state folder, which is made if need be.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open(state: &Path, origin: &str) -> Result<Self> {
        files::create_folder(state)?;
        Ok(Self { path: state.join("pins.json"), lock: state.join("pins.lock"), origin: origin.to_owned() })
    }

    /// Reads what is pinned for the origin.
    ///
    /// # Errors
    /// If the file is there but cannot be read or understood: that is no reason to begin anew.
    pub fn read(&self) -> Result<OriginPins> {
        Ok(self.file()?.origins.remove(&self.origin).map(|stored| self.parse(stored)).transpose()?.unwrap_or_default())
    }

    /// Changes what is pinned, alone: no other program reads or writes in between, and on `Ok` the change is durable.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut OriginPins) -> Result<T>) -> Result<T> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.lock)
            .map_err(|error| Error::file(&self.lock, &error))?;
        // Held for one read and one write; it goes with the file handle, also when the program dies.
        lock.lock().map_err(|error| Error::file(&self.lock, &error))?;
        let mut file = self.file()?;
        let before =
            file.origins.remove(&self.origin).map(|stored| self.parse(stored)).transpose()?.unwrap_or_default();
        let mut pins = before.clone();
        let answer = change(&mut pins)?;
        if pins != before {
            file.origins.insert(self.origin.clone(), StoredOrigin::from(&pins));
            let text = serde_json::to_vec_pretty(&file).expect("pins are strings and numbers");
            files::write(&self.path, &text, Mode::Plain)?;
        }
        Ok(answer)
    }

    fn file(&self) -> Result<StoredFile> {
        let Some(bytes) = files::read_if_there(&self.path, PINS_BYTES_MAX)? else {
            return Ok(StoredFile { format: FORMAT, origins: BTreeMap::new() });
        };
        let file: StoredFile = serde_json::from_slice(&bytes).map_err(|error| self.damaged(&error.to_string()))?;
        if file.format == FORMAT { Ok(file) } else { Err(self.damaged("its format is of another version")) }
    }

    fn parse(&self, stored: StoredOrigin) -> Result<OriginPins> {
        OriginPins::try_from(stored).map_err(|what| self.damaged(what))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::Fault(format!(
            "{}: the pins cannot be read: {what}; restore them from a backup, or remove the file and compare the \
             checkpoint and covenant by phone",
            self.path.display()
        ))
    }
}

/// What is pinned of one log origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginPins {
    checkpoint: Option<PinnedCheckpoint>,
    covenant: Option<PinnedCovenant>,
    keys: BTreeMap<Address, PinnedKey>,
    mailboxes: BTreeMap<Address, MailboxPin>,
    lists: BTreeMap<Digest, Vec<u8>>,
    ruled: Ruled,
}

/// From which record on the log ruled by which covenant: for each serial the lowest index of a record that named it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ruled(BTreeMap<u64, u64>);

/// A covenant that a record before the one in question had named, though it is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fallen {
    /// The newer covenant's serial.
    pub(crate) serial: u64,
    /// The record that named it.
    pub(crate) index: u64,
}

impl Ruled {
    /// Notes by which covenant a record was judged, and says whether that was news; a newer one that a record before it
    /// named is a contradiction, and nothing is noted.
    pub(crate) fn note(&mut self, serial: u64, index: u64) -> std::result::Result<bool, Fallen> {
        if let Some((serial, first)) = self.0.range(serial.saturating_add(1)..).find(|(_, first)| **first < index) {
            return Err(Fallen { serial: *serial, index: *first });
        }
        let is_news = self.0.get(&serial).is_none_or(|first| index < *first);
        if is_news {
            self.0.insert(serial, index);
        }
        Ok(is_news)
    }
}

/// The largest checkpoint that was verified, as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedCheckpoint {
    /// The signed note.
    pub note: Bytes,
    /// Its size and root.
    pub pin: Pin,
}

/// The newest covenant that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedCovenant {
    /// Its serial.
    pub serial: u64,
    /// Its item digest.
    pub digest: Digest,
}

/// The highest key statement known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedKey {
    /// Its serial.
    pub serial: u64,
    /// Its item digest; absent where only the address's own word is known, from an item that it signed.
    pub digest: Option<Digest>,
}

/// The place of the last record of an own mailbox that was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxPin {
    /// Its number.
    pub number: u64,
    /// Its index in the log.
    pub index: u64,
    /// Its commitment.
    pub commitment: Digest,
    /// Its time.
    pub time: Timestamp,
}

/// What became of a checkpoint that was to be pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raised {
    /// It is pinned, or a larger one is that it was compared with.
    Settled,
    /// Another program moved the pin meanwhile: the checkpoint must be compared with this one first.
    Moved(PinnedCheckpoint),
}

impl OriginPins {
    /// Returns the pinned checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&PinnedCheckpoint> {
        self.checkpoint.as_ref()
    }

    /// Returns the size and root to compare with; nothing at first contact.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.checkpoint.as_ref().map_or(Pin::NOTHING, |pinned| pinned.pin)
    }

    /// Returns the pinned covenant.
    #[must_use]
    pub fn covenant(&self) -> Option<PinnedCovenant> {
        self.covenant
    }

    /// Returns the highest key statement known of an address.
    #[must_use]
    pub fn key(&self, address: Address) -> Option<PinnedKey> {
        self.keys.get(&address).copied()
    }

    /// Returns the place in an own mailbox.
    #[must_use]
    pub fn mailbox(&self, address: Address) -> Option<MailboxPin> {
        self.mailboxes.get(&address).copied()
    }

    /// Returns from which record on the log ruled by which covenant.
    pub(crate) fn ruled(&self) -> &Ruled {
        &self.ruled
    }

    /// Pins by which covenant a record was judged.
    pub(crate) fn raise_ruled(&mut self, serial: u64, index: u64) -> std::result::Result<bool, Fallen> {
        self.ruled.note(serial, index)
    }

    /// Pins a checkpoint that was shown to be of one history with `compared`, if it is larger.
    pub(crate) fn raise_checkpoint(&mut self, compared: &Pin, checkpoint: &Checkpoint, note: &Bytes) -> Raised {
        let new = checkpoint.pin();
        match &self.checkpoint {
            Some(pinned) if pinned.pin != *compared && pinned.pin != new => return Raised::Moved(pinned.clone()),
            Some(pinned) if pinned.pin.size >= new.size => {}
            _ => self.checkpoint = Some(PinnedCheckpoint { note: note.clone(), pin: new }),
        }
        Raised::Settled
    }

    /// Pins a covenant that was verified from the one before.
    pub(crate) fn raise_covenant(&mut self, serial: u64, digest: Digest) -> Result<()> {
        match self.covenant {
            Some(pinned) if pinned.serial == serial && pinned.digest != digest => Err(Error::not_verified(
                "COVENANT_FORK",
                format!("two covenants have the serial {serial}: {} and {digest}", pinned.digest),
            )),
            Some(pinned) if pinned.serial >= serial => Ok(()),
            _ => {
                self.covenant = Some(PinnedCovenant { serial, digest });
                Ok(())
            }
        }
    }

    /// Pins the serial of an address's key statement, with its digest where that is known.
    ///
    /// An equal serial with another digest is refused; a lower serial leaves the pin and is for the caller to judge.
    pub(crate) fn raise_key(&mut self, address: Address, serial: u64, digest: Option<Digest>) -> Result<()> {
        match self.keys.get_mut(&address) {
            Some(pinned) if pinned.serial > serial => {}
            Some(pinned) if pinned.serial == serial => match (pinned.digest, digest) {
                (Some(known), Some(shown)) if known != shown => {
                    return Err(Error::not_verified(
                        "KEY_STATEMENT_FORK",
                        format!("{address} has two key statements with serial {serial}: {known} and {shown}"),
                    ));
                }
                (None, Some(shown)) => pinned.digest = Some(shown),
                _ => {}
            },
            _ => {
                self.keys.insert(address, PinnedKey { serial, digest });
            }
        }
        Ok(())
    }

    /// Pins the place in an own mailbox, if it is further on.
    pub(crate) fn raise_mailbox(&mut self, address: Address, place: MailboxPin) {
        if self.mailboxes.get(&address).is_none_or(|pinned| pinned.number < place.number) {
            self.mailboxes.insert(address, place);
        }
    }

    /// Pins the number of an issuer's revocation list; one that falls is refused, since it would undo a revocation.
    pub(crate) fn raise_list(&mut self, issuer: Digest, number: &[u8]) -> Result<()> {
        let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
        match self.lists.get(&issuer) {
            Some(pinned) if (pinned.len(), &pinned[..]) > (number.len(), number) => Err(Error::not_verified(
                "CRL_NUMBER_FELL",
                format!("the newest revocation list of issuer {issuer} is older than one that was shown before"),
            )),
            Some(pinned) if pinned[..] == *number => Ok(()),
            _ => {
                self.lists.insert(issuer, number.to_vec());
                Ok(())
            }
        }
    }
}

/// The file as it is written: every digest in hexadecimal, every address as `OIN/FUNCTION`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFile {
    format: u32,
    origins: BTreeMap<String, StoredOrigin>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct StoredOrigin {
    checkpoint: Option<String>,
    covenant: Option<StoredSerial>,
    key_statements: BTreeMap<String, StoredSerial>,
    mailboxes: BTreeMap<String, StoredPlace>,
    revocation_lists: BTreeMap<String, String>,
    /// Covenant serial to record index.
    ruled_from: BTreeMap<u64, u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSerial {
    serial: u64,
    digest: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPlace {
    number: u64,
    index: u64,
    commitment: String,
    time_millis: i64,
}

impl From<&OriginPins> for StoredOrigin {
    fn from(pins: &OriginPins) -> Self {
        let serial =
            |serial, digest: Option<Digest>| StoredSerial { serial, digest: digest.map(|digest| digest.to_string()) };
        Self {
            checkpoint: pins.checkpoint.as_ref().map(|pinned| String::from_utf8_lossy(&pinned.note).into_owned()),
            covenant: pins.covenant.map(|pinned| serial(pinned.serial, Some(pinned.digest))),
            key_statements: pins
                .keys
                .iter()
                .map(|(address, pinned)| (address.to_string(), serial(pinned.serial, pinned.digest)))
                .collect(),
            mailboxes: pins
                .mailboxes
                .iter()
                .map(|(address, place)| {
                    let stored = StoredPlace {
                        number: place.number,
                        index: place.index,
                        commitment: place.commitment.to_string(),
                        time_millis: place.time.millis(),
                    };
                    (address.to_string(), stored)
                })
                .collect(),
            revocation_lists: pins
                .lists
                .iter()
                .map(|(issuer, number)| (issuer.to_string(), hex::encode(number)))
                .collect(),
            ruled_from: pins.ruled.0.clone(),
        }
    }
}

impl TryFrom<StoredOrigin> for OriginPins {
    type Error = &'static str;

    fn try_from(stored: StoredOrigin) -> std::result::Result<Self, &'static str> {
        let checkpoint = stored
            .checkpoint
            .map(|note| {
                let note = Bytes::from(note);
                let seen = Seen::parse(note.clone()).map_err(|_| "the checkpoint is no signed note")?;
                Ok::<_, &'static str>(PinnedCheckpoint { note, pin: Pin { size: seen.size(), root: *seen.root() } })
            })
            .transpose()?;
        let covenant = stored
            .covenant
            .map(|pinned| {
                let digest =
                    pinned.digest.as_deref().and_then(digest_from_hex).ok_or("the covenant's digest is none")?;
                Ok::<_, &'static str>(PinnedCovenant { serial: pinned.serial, digest })
            })
            .transpose()?;
        let mut pins = Self { checkpoint, covenant, ruled: Ruled(stored.ruled_from), ..Self::default() };
        for (address, pinned) in stored.key_statements {
            let address = address_from_text(&address).ok_or("an address is none")?;
            let digest = match pinned.digest {
                None => None,
                Some(text) => Some(digest_from_hex(&text).ok_or("a key statement's digest is none")?),
            };
            pins.keys.insert(address, PinnedKey { serial: pinned.serial, digest });
        }
        for (address, place) in stored.mailboxes {
            let address = address_from_text(&address).ok_or("an address is none")?;
            let place = MailboxPin {
                number: place.number,
                index: place.index,
                commitment: digest_from_hex(&place.commitment).ok_or("a commitment is none")?,
                time: Timestamp::from_millis(place.time_millis).ok_or("a time is none")?,
            };
            pins.mailboxes.insert(address, place);
        }
        for (issuer, number) in stored.revocation_lists {
            let issuer = digest_from_hex(&issuer).ok_or("an issuer's digest is none")?;
            pins.lists.insert(issuer, hex::decode(number).map_err(|_| "a list's number is none")?);
        }
        Ok(pins)
    }
}

/// Reads a digest from 64 hexadecimal characters.
#[must_use]
pub fn digest_from_hex(text: &str) -> Option<Digest> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(Digest::new(bytes))
}

/// Reads an address as `OIN/FUNCTION`.
#[must_use]
pub fn address_from_text(text: &str) -> Option<Address> {
    let (oin, function) = text.split_once('/')?;
    Some(Address { oin: Oin::try_from(oin).ok()?, function: function_from_code(function)? })
}

#[cfg(test)]
mod tests;
