//! Covenants as this client has verified them: from the hub file's floor on, serial by serial.
//!
//! The hub only passes covenants on. Each is verified by its registrars' signatures from the one before, kept in the
//! state folder, and verified again when it is loaded. A lower serial than the pinned one, another covenant of a
//! serial that is known, a start that is over for too long are refused; the first two are evidence. Which covenant
//! rules now is asked with a time; none may.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::checkpoint::LogKey;
use seinpost_protocol::covenant::{BadCovenant, COVENANT_BYTES_MAX, Covenant, Trust};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::item::digest_of;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

use crate::client::Client;
use crate::connect::{Connection, TransportTrust, request};
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::files::{self, Mode};
use crate::pins::Pins;

/// Covenants that a walk takes at most: one a week for twenty years. A hub that claims more is not followed.
const WALK_MAX: u64 = 1_040;

/// The covenants that were verified, ascending and without gaps.
pub(crate) struct Covenants {
    folder: PathBuf,
    hub: HubFile,
    walked: Vec<Covenant>,
}

impl Covenants {
    /// Loads and verifies what is kept, from the floor on.
    ///
    /// A file that does not verify ends the walk as if it were not there: it can be had again from the hub, and what
    /// comes then must fit the pins.
    pub(crate) fn load(state: &Path, hub: &HubFile, pins: &Pins) -> Result<Self> {
        let folder = state.join("covenants").join(&Digest::of(hub.origin.as_bytes()).to_string()[..16]);
        files::create_folder(&folder)?;
        let mut covenants = Self { folder, hub: hub.clone(), walked: Vec::new() };
        while let Some(bytes) = files::read_if_there(&covenants.path(covenants.next_serial()), COVENANT_BYTES_MAX)? {
            let Ok(covenant) = covenants.with_trust(|trust| Covenant::verify_bytes(Bytes::from(bytes), trust)) else {
                break;
            };
            covenants.walked.push(covenant);
        }
        if let Some(pinned) = pins.read()?.covenant()
            && let Some(kept) = covenants.by_serial(pinned.serial)
            && kept.digest() != pinned.digest
        {
            return Err(Error::not_verified(
                "COVENANT_FORK",
                format!("the covenant with serial {} that is kept is not the one that is pinned", pinned.serial),
            ));
        }
        Ok(covenants)
    }

    pub(crate) fn latest(&self) -> Option<&Covenant> {
        self.walked.last()
    }

    pub(crate) fn all(&self) -> &[Covenant] {
        &self.walked
    }

    pub(crate) fn by_digest(&self, digest: &Digest) -> Option<&Covenant> {
        self.walked.iter().find(|covenant| covenant.digest() == *digest)
    }

    pub(crate) fn by_serial(&self, serial: u64) -> Option<&Covenant> {
        self.walked.iter().find(|covenant| covenant.serial() == serial)
    }

    /// Returns the covenant that rules at a time.
    ///
    /// # Errors
    /// If none does: the hub has none that is valid, or none was fetched yet.
    pub(crate) fn ruling_at(&self, at: Timestamp) -> Result<Covenant> {
        Covenant::ruling_at(&self.walked, at).cloned().ok_or_else(|| match self.latest() {
            None => Error::not_verified("NO_COVENANT", "no covenant was fetched yet"),
            Some(latest) => Error::not_verified(
                "COVENANT_EXPIRED",
                format!(
                    "no covenant is valid now: the newest, serial {}, holds from {} until {}",
                    latest.serial(),
                    latest.valid_from(),
                    latest.valid_until()
                ),
            ),
        })
    }

    /// Returns the keys whose signatures on checkpoints of any size count now: the newest covenant's, before that the hub
    /// file's.
    pub(crate) fn log_keys(&self) -> Vec<LogKey> {
        // While two covenants overlap, the older rules but the newer may name the key that the gateway signs with. What
        // the newer retires is retired: it would not say at which size, were that not past.
        let mut keys: Vec<LogKey> = self.walked.iter().rev().take(2).flat_map(Covenant::live_log_keys).collect();
        let retired = self.retired_log_keys();
        keys.retain(|key| !retired.iter().any(|(retired, _)| retired == key));
        if self.walked.is_empty() {
            keys.extend_from_slice(&self.hub.log_keys);
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Returns the keys whose signatures on a checkpoint of this size count, if it is shown to be of the pinned history:
    /// retired ones too, up to where they ended.
    pub(crate) fn log_keys_at(&self, size: u64) -> Vec<LogKey> {
        let mut keys = self.log_keys();
        keys.extend(self.retired_log_keys().into_iter().filter(|(_, until)| size <= *until).map(|(key, _)| key));
        keys
    }

    /// Returns the keys that the newest covenant retires, with the sizes at which they ended.
    fn retired_log_keys(&self) -> Vec<(LogKey, u64)> {
        let keys = self.latest().map_or(&[][..], |latest| &latest.message().log_keys);
        let retired = keys.iter().filter(|key| key.until_size != 0);
        retired.filter_map(|key| Some((LogKey::new(key.ed25519.as_ref().try_into().ok()?), key.until_size))).collect()
    }

    /// Returns whom to take for the hub: by the hub file at first, by the covenant after that.
    pub(crate) fn transport_trust(&self, now: Timestamp, revocation_lists: Vec<Bytes>) -> TransportTrust {
        match Covenant::ruling_at(&self.walked, now).or(self.latest()) {
            Some(covenant) => TransportTrust {
                hub_oin: covenant.hub_oin(),
                roots: covenant.message().transport_roots.clone(),
                revocation_lists,
            },
            None => TransportTrust {
                hub_oin: self.hub.hub_oin,
                roots: self
                    .hub
                    .transport_roots
                    .iter()
                    .map(|der| wire::Root { der: der.clone(), oins: Vec::new() })
                    .collect(),
                revocation_lists,
            },
        }
    }

    fn next_serial(&self) -> u64 {
        self.latest().map_or(self.hub.covenant_serial, |latest| latest.serial() + 1)
    }

    fn with_trust<T>(&self, ask: impl FnOnce(&Trust<'_>) -> T) -> T {
        match self.latest() {
            Some(latest) => ask(&Trust::Last(latest)),
            None => ask(&Trust::Floor(self.hub.floor())),
        }
    }

    fn path(&self, serial: u64) -> PathBuf {
        self.folder.join(format!("{serial:08}.covenant"))
    }

    /// Verifies the next covenant, keeps it, and goes on from it.
    fn take(&mut self, item: &wire::SignedItem, pins: &Pins) -> Result<()> {
        let serial = self.next_serial();
        let covenant = self
            .with_trust(|trust| Covenant::verify(item, trust))
            .map_err(|bad| bad_covenant(&format!("covenant {serial} from the hub"), &bad))?;
        files::write(&self.path(serial), &item.encode_to_vec(), Mode::Plain)?;
        pins.update(|pins| pins.raise_covenant(serial, covenant.digest()))?;
        self.walked.push(covenant);
        Ok(())
    }
}

impl Client {
    /// Returns the covenant that rules now, as last fetched.
    ///
    /// # Errors
    /// If none was fetched yet or none is valid now.
    pub fn covenant(&self) -> Result<Covenant> {
        self.covenants().ruling_at(self.now())
    }

    /// Fetches what is new of the covenant, serial by serial, and returns the one that rules now.
    ///
    /// # Errors
    /// If the hub shows a lower serial than before, another covenant of a known serial, or one that its registrars did
    /// not sign; if the walk would start from one that is over for more than 30 days; if none is valid now.
    pub async fn refresh_covenant(&self) -> Result<Covenant> {
        let newest = self.fetch_covenant(0).await?;
        let (serial, digest) = name_of(&newest)?;
        let (have, next) = {
            let covenants = self.covenants();
            self.judge_newest(&covenants, &newest, serial, digest)?;
            if let Some(start) = covenants.latest() {
                self.judge_start(start)?;
            }
            (covenants.latest().map(Covenant::serial), covenants.next_serial())
        };
        if serial >= next {
            if serial - next >= WALK_MAX {
                return Err(Error::not_verified(
                    "COVENANT_WALK",
                    format!("from serial {next} to {serial} is too far to walk"),
                ));
            }
            for wanted in next..serial {
                let item = self.fetch_covenant(wanted).await?;
                self.take_covenant(&item, wanted)?;
            }
            self.take_covenant(&newest, serial)?;
        }
        if have.is_none()
            && let Some(start) = self.covenants().all().first()
        {
            self.judge_start(start)?;
        }
        let trust = self.covenants().transport_trust(self.now(), self.inner.directory.lists_at_hand());
        self.inner.connection.trust(trust);
        self.covenant()
    }

    /// Judges a covenant that came some other way than from the hub, by what this profile trusts: the one in force
    /// once more, or the next. Nothing is kept or pinned.
    ///
    /// # Errors
    /// If it is not what the registrars that this profile trusts have signed.
    pub fn judge_covenant(&self, bytes: Bytes) -> Result<Covenant> {
        self.covenants()
            .with_trust(|trust| Covenant::verify_bytes(bytes, trust))
            .map_err(|bad| bad_covenant("the covenant", &bad))
    }

    /// Returns a covenant by the digest that a record or signer names, fetching what is new if it is not known.
    pub(crate) async fn covenant_by_digest(&self, digest: &Digest) -> Result<Covenant> {
        let known = self.covenants().by_digest(digest).cloned();
        if let Some(covenant) = known {
            return Ok(covenant);
        }
        self.refresh_covenant().await?;
        let known = self.covenants().by_digest(digest).cloned();
        known.ok_or_else(|| {
            Error::not_verified(
                "COVENANT_UNKNOWN",
                format!("no covenant that its registrars signed has the digest {digest}"),
            )
        })
    }

    async fn fetch_covenant(&self, serial: u64) -> Result<wire::SignedItem> {
        let question = wire::GetCovenantRequest { serial };
        let ask = |connection: Connection| async move { connection.covenant().get_covenant(request(question)).await };
        let answer = self.inner.connection.ask(ask).await?;
        answer.covenant.ok_or_else(|| Error::not_verified("COVENANT", "the hub's answer holds no covenant"))
    }

    /// Holds what the hub calls its newest covenant against what is known.
    fn judge_newest(&self, covenants: &Covenants, item: &wire::SignedItem, serial: u64, digest: Digest) -> Result<()> {
        let pinned = self.inner.pins.read()?.covenant();
        let known = covenants.latest().map_or(0, Covenant::serial).max(pinned.map_or(0, |pinned| pinned.serial));
        if serial < known {
            let what = format!("the hub shows covenant {serial} as its newest; covenant {known} was seen before");
            let shown = item.encode_to_vec();
            return Err(self.accuse(Evidence {
                reason: "COVENANT_ROLLED_BACK",
                what,
                pieces: vec![("shown.covenant", &shown)],
            }));
        }
        let of_serial = covenants.by_serial(serial);
        let other = of_serial.is_some_and(|known| known.digest() != digest)
            || pinned.is_some_and(|pinned| pinned.serial == serial && pinned.digest != digest);
        if other {
            let what = format!("the hub shows another covenant with serial {serial} than before: {digest}");
            let shown = item.encode_to_vec();
            let kept = of_serial.map(|known| known.item().encode_to_vec()).unwrap_or_default();
            return Err(self.accuse(Evidence {
                reason: "COVENANT_FORK",
                what,
                pieces: vec![("known.covenant", &kept), ("shown.covenant", &shown)],
            }));
        }
        Ok(())
    }

    fn judge_start(&self, start: &Covenant) -> Result<()> {
        if start.may_start_a_walk_at(self.now()) {
            return Ok(());
        }
        let what = format!(
            "the last covenant that is known, serial {}, is over since {}: ask the operator for a new hub.toml and compare it by phone",
            start.serial(),
            start.valid_until()
        );
        Err(Error::not_verified("COVENANT_START_TOO_OLD", what))
    }

    /// Takes the next covenant, unless another task was quicker.
    fn take_covenant(&self, item: &wire::SignedItem, serial: u64) -> Result<()> {
        let mut covenants = self.covenants();
        if covenants.next_serial() > serial {
            return Ok(());
        }
        covenants.take(item, &self.inner.pins)
    }
}

/// Says what keeps a covenant from being taken, with its code where every error has it.
fn bad_covenant(which: &str, bad: &BadCovenant) -> Error {
    let what = bad.to_string();
    let what = what.strip_suffix(&format!(" [{}]", bad.reason())).unwrap_or(&what);
    Error::not_verified(bad.reason(), format!("{which} does not hold: {what}"))
}

/// Reads serial and digest of a covenant that is not yet verified, to know how far there is to walk.
fn name_of(item: &wire::SignedItem) -> Result<(u64, Digest)> {
    let message = wire::Covenant::decode(item.payload.clone())
        .map_err(|_| Error::not_verified("COVENANT", "the hub's answer holds no covenant"))?;
    Ok((message.serial, digest_of(&item.payload_type, &item.payload)))
}
