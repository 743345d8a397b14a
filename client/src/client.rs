//! The client as a whole: one identity at one hub.
//!
//! A [`Client`] is opened from a profile and cheap to clone; each of the rooms beside this one adds the calls that it
//! is about. Opening reads and checks files and sends nothing; the connection is made by the first call that needs it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{ItemId, ItemType};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

use crate::clock::Clock;
use crate::connect::Connection;
use crate::covenant::Covenants;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::files;
use crate::keys::SealingKeys;
use crate::outbox::Outbox;
use crate::pins::{Pins, Ruled};
use crate::profile::{PEM_BYTES_MAX, Profile};
use crate::sign::Identity;

/// One identity at one hub. Cheap to clone; all clones share connection, pins and caches.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) profile: Profile,
    pub(crate) identity: Identity,
    pub(crate) clock: Clock,
    pub(crate) pins: Pins,
    pub(crate) outbox: Outbox,
    pub(crate) sealing_keys: SealingKeys,
    pub(crate) connection: Connection,
    pub(crate) directory: Directory,
    covenants: Mutex<Covenants>,
    /// Roots of sizes that were shown to be of the pinned history, so that gossip need not ask again.
    roots: Mutex<BTreeMap<u64, Digest>>,
    /// What is pinned of how the log ruled, so that the file is not read for each record.
    ruled: Mutex<Ruled>,
}

/// Sizes whose roots are remembered; each is forty bytes, and gossip is about recent ones.
const ROOTS_MAX: usize = 4_096;

impl Client {
    /// Opens a profile with the machine's clock. Must be called within a tokio runtime; nothing is sent yet.
    ///
    /// # Errors
    /// All that is wrong with keys, certificates and state.
    pub fn open(profile: Profile) -> Result<Self> {
        Self::open_at(profile, Clock::system())
    }

    /// Opens a profile with a given clock.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub fn open_at(profile: Profile, clock: Clock) -> Result<Self> {
        let pem = |path| files::read(path, PEM_BYTES_MAX);
        let key = zeroize::Zeroizing::new(pem(&profile.signing_key)?);
        let places = (profile.signing_certificate.display().to_string(), profile.signing_key.display().to_string());
        let identity = Identity::from_pem(&pem(&profile.signing_certificate)?, &key, (&places.0, &places.1))?;
        let oin = identity.certificate().oin();
        if oin != profile.address.oin {
            let what = format!("the certificate is of OIN {oin}, the profile of {}", profile.address.oin);
            return Err(Error::usage(places.0, what));
        }
        let pins = Pins::open(&profile.state, &profile.hub.origin)?;
        let covenants = Covenants::load(&profile.state, &profile.hub, &pins)?;
        let directory = Directory::open(&profile.state)?;
        let trust = covenants.transport_trust(clock.now(), directory.lists_at_hand());
        let connection = Connection::new(&profile, trust, &clock)?;
        let inner = Inner {
            outbox: Outbox::open(&profile.state)?,
            sealing_keys: SealingKeys::open(&profile.state, &profile.hub.origin, profile.address)?,
            identity,
            clock,
            pins,
            connection,
            directory,
            covenants: Mutex::new(covenants),
            roots: Mutex::default(),
            ruled: Mutex::default(),
            profile,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the profile.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.inner.profile
    }

    /// Returns who one is.
    #[must_use]
    pub fn address(&self) -> Address {
        self.inner.profile.address
    }

    /// Returns what is remembered of the hub.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.inner.pins
    }

    /// Returns one's signing key with its certificate.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// Returns what is signed and waits for a receipt.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.inner.outbox
    }

    /// Returns one's own sealing keys.
    #[must_use]
    pub fn sealing_keys(&self) -> &SealingKeys {
        &self.inner.sealing_keys
    }

    /// Returns the time by the client's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Returns the connection itself, for calls that this library does not wrap: mutually authenticated, with the hub's
    /// identity checked, and nothing that comes over it verified.
    #[must_use]
    pub fn channel(&self) -> tonic::transport::Channel {
        self.inner.connection.channel()
    }

    pub(crate) fn origin(&self) -> &str {
        &self.inner.profile.hub.origin
    }

    pub(crate) fn covenants(&self) -> MutexGuard<'_, Covenants> {
        self.inner.covenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ruled(&self) -> MutexGuard<'_, Ruled> {
        self.inner.ruled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether a root is known to be of the pinned history; `None`: of that size none is known.
    pub(crate) fn is_known_root(&self, size: u64, root: &Digest) -> Option<bool> {
        let roots = self.inner.roots.lock().unwrap_or_else(PoisonError::into_inner);
        roots.get(&size).map(|known| known == root)
    }

    pub(crate) fn remember_root(&self, size: u64, root: Digest) {
        let mut roots = self.inner.roots.lock().unwrap_or_else(PoisonError::into_inner);
        roots.insert(size, root);
        if roots.len() > ROOTS_MAX {
            roots.pop_first();
        }
    }

    /// Saves evidence and returns the error that tells of it.
    pub(crate) fn accuse(&self, evidence: Evidence<'_>) -> Error {
        evidence.accuse(&self.inner.profile.state, self.now())
    }

    /// Starts an item: everything that each payload begins with, under the freshest checkpoint that can be had.
    pub(crate) async fn new_signer(&self, covenant: Digest) -> Result<(ItemId, Timestamp, wire::Signer)> {
        let seen = self.checkpoint().await?;
        let now = self.now();
        let id = new_item_id(now)?;
        let signer = wire::Signer {
            log_origin: self.origin().to_owned(),
            item_id: id.to_string(),
            address: Some(self.address().into()),
            certificate_sha256: self.inner.identity.certificate_sha256().into(),
            signed_at: Some(now.into()),
            seen_checkpoint: seen.note,
            covenant_digest: covenant.into(),
            key_serial: self.inner.pins.read()?.key(self.address()).map_or(0, |pinned| pinned.serial),
            on_behalf_of: None,
            mandate_digest: bytes::Bytes::new(),
        };
        Ok((id, now, signer))
    }

    /// Signs a payload.
    pub(crate) fn sign(&self, item_type: ItemType, payload: &impl prost::Message) -> Result<wire::SignedItem> {
        self.inner.identity.sign(item_type, bytes::Bytes::from(payload.encode_to_vec()))
    }
}

/// Draws a new id of the given time (UUIDv7), from the operating system's random bytes.
pub(crate) fn new_item_id(now: Timestamp) -> Result<ItemId> {
    let mut random = [0; 10];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
        .map_err(|_| Error::Fault(crate::seal::NoRandomness.to_string()))?;
    Ok(ItemId::new(now, random))
}

/// A cache with a bound: when it is full it begins anew, since what it holds can be had again.
pub(crate) struct Cache<K, V> {
    entries: Mutex<HashMap<K, V>>,
    entries_max: usize,
}

impl<K: Eq + std::hash::Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries: Mutex::default(), entries_max }
    }

    pub(crate) fn find(&self, key: &K) -> Option<V> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(crate) fn keep(&self, key: K, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.entries_max {
            entries.clear();
        }
        entries.insert(key, value);
    }
}
