//! A whole world in one folder: PKI, registrars, covenant, a hub's configuration and its first agencies.
//!
//! `dev` and the tests start from here. [`World::make`] makes the folder if it is not there and reads it if it is,
//! without changing it; the time comes in as an argument. What tests need beside it is made from what stands there:
//! later and evil covenants, credentials that are wrong in exactly one way, further profiles.
//!
//! ```text
//! DIR/world.toml                 what this world was made with; written last, so that half a world is none
//! DIR/hub.toml                   what the operator hands out
//! DIR/covenant.toml              the draft of the first covenant, from which the next may be written
//! DIR/ca/{transport,signing}/    root and issuing authority of each hierarchy
//! DIR/registrars/NAME/           three registrars, of whom two sign
//! DIR/hub/                       the hub's own: gateway.toml hub.toml log.key tls/ covenants/ crls/, later data/
//! DIR/identities/NAME/           tls.pem tls.key signing.pem signing.key of one agency in one function
//! DIR/profiles/NAME.toml         its profile
//! DIR/revoked/{transport,signing}.{pem,key}    credentials that have been revoked
//! ```

mod credentials;
mod hub;
mod identities;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::address::{Address, Function};
use seinpost_protocol::checkpoint::LogKey;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::covenant::{self, Draft, Tables};
use crate::fault::Fault;
use crate::files;
use crate::key::{Key, KeyKind};
use crate::pki::{Hierarchy, Usage, Validity};
use crate::registrar::{self, Registrar};

pub use credentials::{Credentials, Wrong};
pub use identities::{Identity, UNBOUND};

use credentials::{request, save_credentials};
use identities::{Keys, PLANS, profile_toml, unbound_oin};

/// What a world is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the gateway is told to listen, such as `127.0.0.1:8443`; port 0 lets the system choose.
    pub listen: String,
    /// Where it is told to show its metrics; empty: nowhere.
    pub metrics: String,
    /// Name of the log, such as `seinpost.test/dev`.
    pub origin: String,
    /// The time. What is made is valid from a day before, so that a clock that is a little behind shuts nobody out.
    pub now: Timestamp,
}

/// How long a covenant of a world is valid, in days: as long as one may be.
const COVENANT_DAYS: u64 = 100;
/// How long certificates and bindings of keys are valid, in days: longer than any development folder lives.
const CERTIFICATE_DAYS: u64 = 730;
/// How many of the three registrars must sign.
const THRESHOLD: u32 = 2;

/// The registrars: folder, name.
const REGISTRARS: [(&str, &str); 3] = [
    ("police", "Convenantbeheerder politie (TEST)"),
    ("municipalities", "Convenantbeheerder gemeenten (TEST)"),
    ("youth-care", "Convenantbeheerder jeugdzorg (TEST)"),
];

/// A development world in its folder.
pub struct World {
    folder: PathBuf,
    origin: String,
    covenant: wire::SignedItem,
    registrars: Vec<Registrar>,
    transport: Hierarchy,
    signing: Hierarchy,
}

/// `world.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorldFile {
    origin: String,
}

impl World {
    /// Makes a world in a folder, or reads the one that is there and leaves it as it is.
    ///
    /// # Errors
    /// [`Fault::Exists`] if some of its files are there without the rest; others if files cannot be read or written.
    pub fn make(folder: &Path, options: &Options) -> Result<Self, Fault> {
        if folder.join("world.toml").exists() { Self::load(folder) } else { Self::create(folder, options) }
    }

    /// Reads a world from its folder.
    ///
    /// # Errors
    /// If a file is missing or not what it should be.
    pub fn load(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join("world.toml");
        let file: WorldFile = toml::from_str(&files::read_text(&path)?)
            .map_err(|error| Fault::data(path.display().to_string(), error.to_string()))?;
        let path = folder.join(covenant_path(1));
        let covenant = wire::SignedItem::decode(Bytes::from(files::read(&path)?))
            .map_err(|error| Fault::data(path.display().to_string(), error.to_string()))?;
        let registrars = REGISTRARS.iter().map(|(name, _)| Registrar::load(&folder.join("registrars").join(name)));
        Ok(Self {
            folder: folder.to_owned(),
            origin: file.origin,
            covenant,
            registrars: registrars.collect::<Result<_, _>>()?,
            transport: Hierarchy::load(&folder.join("ca/transport"))?,
            signing: Hierarchy::load(&folder.join("ca/signing"))?,
        })
    }

    fn create(folder: &Path, options: &Options) -> Result<Self, Fault> {
        // Whole seconds: certificates have no finer ones, and a covenant's thousand times are shorter so.
        let start = Timestamp::clamped(options.now.millis() / 1000 * 1000) - Duration::from_secs(86_400);
        let certificates = Validity::days(start, CERTIFICATE_DAYS);

        let mut transport = Hierarchy::generate("Seinpost transport", start)?;
        let mut signing = Hierarchy::generate("Seinpost signing", start)?;
        let registrars =
            (1..).zip(REGISTRARS).map(|(number, (_, name))| Registrar::generate(name, covenant::oin(92, number)?));
        let registrars: Vec<Registrar> = registrars.collect::<Result<_, Fault>>()?;
        let log_key = Key::generate(KeyKind::Ed25519)?;
        let identities = PLANS.iter().map(Keys::generate).collect::<Result<Vec<_>, Fault>>()?;

        let log_key_public = log_key.ed25519_public().expect("the log's key is Ed25519");
        let draft = Draft {
            log_origin: options.origin.clone(),
            serial: 1,
            previous_digest: None,
            validity: Validity::days(start, COVENANT_DAYS),
            registrars: registrars.iter().map(Registrar::entry).collect(),
            threshold: THRESHOLD,
            transport_roots: vec![transport.root.certificate().to_vec()],
            signing_roots: vec![signing.root.certificate().to_vec()],
            log_keys: vec![log_key_public],
            keys: identities.iter().flat_map(Keys::bound).collect(),
            keys_validity: certificates,
            unbound: identities
                .iter()
                .filter(|keys| !keys.plan.bound)
                .map(|keys| keys.address)
                .collect::<BTreeSet<_>>(),
        };
        let message = covenant::build(&Tables::development()?, &draft)?;
        let covenant = registrar::sign_covenant(&message, &[&registrars[0], &registrars[1]])?;

        files::make_folder(folder)?;
        for ((name, _), registrar) in REGISTRARS.iter().zip(&registrars) {
            registrar.save(&folder.join("registrars").join(name))?;
        }
        for keys in &identities {
            keys.save(folder, &message, &transport, &signing, certificates)?;
        }
        for (hierarchy, name, usage) in
            [(&mut transport, "transport", Usage::Client), (&mut signing, "signing", Usage::Signing)]
        {
            let key = Key::generate(KeyKind::P256)?;
            let issued = hierarchy.issue(&request(&message, unbound_oin(), "revoked", usage, certificates), &key)?;
            hierarchy.issuing.revoke(&issued.leaf, options.now - Duration::from_secs(3600))?;
            hierarchy.save(&folder.join("ca").join(name))?;
            save_credentials(&folder.join("revoked"), name, &issued.to_pem(), &key)?;
        }

        let world = Self {
            folder: folder.to_owned(),
            origin: options.origin.clone(),
            covenant,
            registrars,
            transport,
            signing,
        };
        world.save_hub(&message, options, &log_key, certificates)?;
        world.save_draft(start, &LogKey::new(log_key_public))?;
        world.point_profiles_at(&options.listen)?;
        let file = toml::to_string(&WorldFile { origin: options.origin.clone() }).expect("a text is TOML");
        files::write_new(&folder.join("world.toml"), file)?;
        Ok(world)
    }

    /// Copies the world into a new folder, without what a gateway or a client has kept: the same keys, another history.
    ///
    /// # Errors
    /// [`Fault::Exists`] if there is a world already, [`Fault::File`] if a file cannot be read or written.
    pub fn copy_to(&self, folder: &Path) -> Result<Self, Fault> {
        copy(&self.folder, folder)?;
        Self::load(folder)
    }

    /// Returns the world's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the hub's own folder.
    #[must_use]
    pub fn hub_folder(&self) -> PathBuf {
        self.folder.join("hub")
    }

    /// Returns the file of the gateway's configuration.
    #[must_use]
    pub fn gateway_config(&self) -> PathBuf {
        self.hub_folder().join("gateway.toml")
    }

    /// Returns the hub file that clients have, `hub.toml`.
    #[must_use]
    pub fn hub_file(&self) -> PathBuf {
        self.folder.join("hub.toml")
    }

    /// Returns the name of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns all identities.
    pub fn identities(&self) -> impl Iterator<Item = Identity> {
        PLANS.iter().map(|plan| Identity { name: plan.name, address: plan.address() })
    }

    /// Returns the address of an identity.
    ///
    /// # Errors
    /// [`Fault::Data`] if there is no such identity.
    pub fn address(&self, identity: &str) -> Result<Address, Fault> {
        let found = self.identities().find(|one| one.name == identity);
        found.map(|one| one.address).ok_or_else(|| Fault::data(identity, "is no identity of this world"))
    }

    /// Returns the folder of an identity's certificates and keys.
    #[must_use]
    pub fn identity_folder(&self, identity: &str) -> PathBuf {
        self.folder.join("identities").join(identity)
    }

    /// Returns the file of an identity's profile.
    #[must_use]
    pub fn profile(&self, identity: &str) -> PathBuf {
        self.folder.join("profiles").join(format!("{identity}.toml"))
    }

    /// Writes the gateway's address into the profile of every identity: for a gateway whose port the system chose.
    ///
    /// # Errors
    /// [`Fault::File`] if a profile cannot be written.
    pub fn point_profiles_at(&self, gateway: &str) -> Result<(), Fault> {
        files::make_folder(&self.folder.join("profiles"))?;
        for Identity { name, address } in self.identities() {
            files::replace(&self.profile(name), profile_toml(name, gateway, address))?;
        }
        Ok(())
    }

    /// Writes a further profile, such as one with wrong credentials; what is not given is the other identity's own.
    /// Returns its file. Its state is its own.
    ///
    /// # Errors
    /// [`Fault::Exists`] if there is one of that name.
    pub fn add_profile(
        &self,
        name: &str,
        like: &str,
        gateway: &str,
        transport: Option<&Credentials>,
        signing: Option<&Credentials>,
    ) -> Result<PathBuf, Fault> {
        let address = self.address(like)?;
        let folder = self.identity_folder(name);
        files::make_folder(&folder)?;
        for (stem, given) in [("tls", transport), ("signing", signing)] {
            let own = |extension: &str| files::read(&self.identity_folder(like).join(format!("{stem}.{extension}")));
            let (certificate, key) = match given {
                Some(given) => (given.certificate_pem.as_bytes().to_vec(), given.key_pem.as_bytes().to_vec()),
                None => (own("pem")?, own("key")?),
            };
            files::write_secret(&folder.join(format!("{stem}.key")), Zeroizing::new(key))?;
            files::write_new(&folder.join(format!("{stem}.pem")), certificate)?;
        }
        let profile = self.profile(name);
        files::write_new(&profile, profile_toml(name, gateway, address))?;
        Ok(profile)
    }

    /// Returns the first covenant as the registrars signed it.
    #[must_use]
    pub fn covenant(&self) -> &wire::SignedItem {
        &self.covenant
    }

    /// Returns the first covenant's message.
    #[must_use]
    pub fn covenant_message(&self) -> wire::Covenant {
        message(&self.covenant)
    }

    /// Returns the registrars; any two may sign.
    #[must_use]
    pub fn registrars(&self) -> &[Registrar] {
        &self.registrars
    }

    /// Makes the covenant that follows another, changed as told and signed by some of the registrars (by their place).
    /// It rules from the same moment as the other, so that it counts at once.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if signing fails.
    pub fn covenant_after(
        &self,
        previous: &wire::SignedItem,
        change: impl FnOnce(&mut wire::Covenant),
        signers: &[usize],
    ) -> Result<wire::SignedItem, Fault> {
        let mut next = message(previous);
        next.serial += 1;
        next.previous_digest = digest(previous).into();
        change(&mut next);
        self.sign(&next, signers)
    }

    /// Signs a covenant, whatever it says, by some of the registrars (by their place).
    ///
    /// # Errors
    /// [`Fault::Certificate`] if signing fails.
    pub fn sign(&self, covenant: &wire::Covenant, signers: &[usize]) -> Result<wire::SignedItem, Fault> {
        let signers: Vec<&Registrar> = signers.iter().map(|at| &self.registrars[*at]).collect();
        registrar::sign_covenant(covenant, &signers)
    }

    /// Writes a covenant into the hub's folder, under its serial, and returns its file.
    ///
    /// # Errors
    /// [`Fault::Exists`] if there is one of that serial.
    pub fn save_covenant(&self, item: &wire::SignedItem) -> Result<PathBuf, Fault> {
        let path = self.folder.join(covenant_path(message(item).serial));
        files::write_new(&path, item.encode_to_vec())?;
        Ok(path)
    }

    /// Returns the hierarchy of transport certificates.
    #[must_use]
    pub fn transport(&self) -> &Hierarchy {
        &self.transport
    }

    /// Returns the hierarchy of signing certificates.
    #[must_use]
    pub fn signing(&self) -> &Hierarchy {
        &self.signing
    }

    /// Revokes a certificate of either hierarchy and writes new revocation lists into the hub's folder.
    ///
    /// # Errors
    /// [`Fault::Data`] if neither hierarchy issued it.
    pub fn revoke(&mut self, certificate: &[u8], at: Timestamp) -> Result<(), Fault> {
        if self.transport.issuing.revoke(certificate, at).is_err() {
            self.signing.issuing.revoke(certificate, at)?;
        }
        self.save_crls(Validity::days(at, COVENANT_DAYS))
    }

    /// Writes new revocation lists of all four authorities into the hub's folder, in place of those that are there. Each
    /// has the next number: two lists of one number would be two words of one authority.
    ///
    /// # Errors
    /// [`Fault::File`] if they cannot be written.
    pub fn save_crls(&mut self, validity: Validity) -> Result<(), Fault> {
        for (name, hierarchy) in [("transport", &mut self.transport), ("signing", &mut self.signing)] {
            let folder = self.folder.join("ca").join(name);
            for (name, authority) in [("root", &mut hierarchy.root), ("issuing", &mut hierarchy.issuing)] {
                authority.renew_crl();
                authority.save_revocations(&folder, name)?;
            }
        }
        self.write_crls(validity)
    }
}

/// Makes all mail to a function for a municipality go to somebody else: what an evil covenant would do.
pub fn reroute(covenant: &mut wire::Covenant, function: Function, municipality: &str, to: Address) {
    let route = wire::Route {
        function: function.into(),
        types: Vec::new(),
        municipalities: vec![municipality.to_owned()],
        to: Some(to.into()),
        from: "2015-01-01".to_owned(),
        until: String::new(),
    };
    covenant.routes.insert(0, route);
}

/// Copies a folder's files with their rights; the hub's data and the clients' state stay behind.
fn copy(from: &Path, to: &Path) -> Result<(), Fault> {
    files::make_folder(to)?;
    for entry in std::fs::read_dir(from).map_err(Fault::file(from))? {
        let entry = entry.map_err(Fault::file(from))?;
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if name != "data" && name != "state" {
                copy(&path, &to.join(name))?;
            }
        } else if path.extension().is_some_and(|extension| extension == "key") {
            files::write_secret(&to.join(name), Zeroizing::new(files::read(&path)?))?;
        } else {
            files::write_new(&to.join(name), files::read(&path)?)?;
        }
    }
    Ok(())
}

fn covenant_path(serial: u64) -> PathBuf {
    PathBuf::from(format!("hub/covenants/{serial:04}.covenant"))
}

fn message(item: &wire::SignedItem) -> wire::Covenant {
    wire::Covenant::decode(item.payload.clone()).expect("this crate encoded the covenant")
}

fn digest(item: &wire::SignedItem) -> Digest {
    item::digest_of(&item.payload_type, &item.payload)
}
