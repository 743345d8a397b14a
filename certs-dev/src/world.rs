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

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::address::{Address, Function, Oin, function_code};
use seinpost_protocol::checkpoint::LogKey;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::hub::{Hub, HubFile};
use seinpost_protocol::item;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::covenant::draft_file::{AddressText, DraftFile, KeyText};
use crate::covenant::{self, AgencyKey, Draft, Tables, hub_oin};
use crate::fault::Fault;
use crate::files;
use crate::key::{Key, KeyKind};
use crate::pki::{Hierarchy, Request, Usage, Validity};
use crate::registrar::{self, Registrar};

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

/// Who has usable keys.
struct Plan {
    name: &'static str,
    kind: u32,
    number: u32,
    function: Function,
    transport: KeyKind,
    signing: KeyKind,
    bound: bool,
}

const fn plan(name: &'static str, kind: u32, number: u32, function: Function, signing: KeyKind) -> Plan {
    Plan { name, kind, number, function, transport: KeyKind::P256, signing, bound: true }
}

const PLANS: [Plan; 12] = [
    plan("police-amsterdam", 20, 5, Function::PoliceOperations, KeyKind::Ed25519),
    plan("safe-home-amsterdam", 40, 13, Function::SafeHome, KeyKind::P256),
    // Two functions of one town hall: neither may open what is for the other.
    plan("youth-care-amsterdam", 10, 363, Function::MunicipalityCareReports, KeyKind::Ed25519),
    plan("mayor-amsterdam", 10, 363, Function::Mayor, KeyKind::P256),
    plan("prosecution-amsterdam", 22, 5, Function::Prosecution, KeyKind::Ed25519),
    plan("shelter", 51, 13, Function::Shelter, KeyKind::Ed25519),
    plan("child-protection", 30, 5, Function::ChildProtectionBoard, KeyKind::P256),
    Plan { transport: KeyKind::Rsa3072, ..plan("guardian", 32, 1, Function::GuardianUnaccompanied, KeyKind::Rsa3072) },
    Plan { bound: false, ..plan(UNBOUND, 31, 7, Function::CertifiedInstitution, KeyKind::Ed25519) },
    plan("expert-centre", 61, 1, Function::ExpertCentre, KeyKind::Ed25519),
    plan("operator", 90, 1, Function::Operator, KeyKind::Ed25519),
    plan("auditor", 91, 1, Function::Auditor, KeyKind::Ed25519),
];

/// The identity whose function has no bound keys: any key with a good certificate of its OIN may act in it.
pub const UNBOUND: &str = "certified-institution";

/// A development world in its folder.
pub struct World {
    folder: PathBuf,
    origin: String,
    covenant: wire::SignedItem,
    registrars: Vec<Registrar>,
    transport: Hierarchy,
    signing: Hierarchy,
}

/// An agency in one function, with usable keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, such as `police-amsterdam`.
    pub name: &'static str,
    /// Its address.
    pub address: Address,
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

    /// Writes what the hub needs: configuration, log key, transport certificate, covenant, revocation lists.
    fn save_hub(
        &self,
        message: &wire::Covenant,
        options: &Options,
        log_key: &Key,
        certificates: Validity,
    ) -> Result<(), Fault> {
        let hub = self.hub_folder();
        for name in ["tls", "covenants", "crls"] {
            files::make_folder(&hub.join(name))?;
        }
        let server_key = Key::generate(KeyKind::P256)?;
        let server = self
            .transport
            .issue(&request(message, hub_oin(), "localhost", Usage::Server, certificates), &server_key)?;
        save_credentials(&hub.join("tls"), "server", &server.to_pem(), &server_key)?;
        files::write_secret(&hub.join("log.key"), log_key.to_pem().as_bytes())?;
        self.save_covenant(&self.covenant)?;
        self.write_crls(Validity::days(options.now - Duration::from_secs(3600), COVENANT_DAYS))?;

        let log_key = LogKey::new(log_key.ed25519_public().expect("the log's key is Ed25519"));
        let file = HubFile::write(&Hub {
            origin: options.origin.clone(),
            hub_oin: hub_oin(),
            test: true,
            threshold: THRESHOLD,
            registrars: message.registrars.clone(),
            covenant_serial: message.serial,
            covenant_digest: digest(&self.covenant),
            log_keys: vec![log_key],
            transport_roots: message.transport_roots.iter().map(|root| root.der.clone()).collect(),
        });
        let file = file.map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Fault::data("hub.toml", faults.join("; "))
        })?;
        files::write_new(&hub.join("hub.toml"), file.to_toml())?;
        files::write_new(&self.folder.join("hub.toml"), file.to_toml())?;
        files::write_new(&hub.join("gateway.toml"), gateway_toml(options))
    }

    /// Writes the draft of the first covenant, `covenant.toml`: who changes it and builds again has the next one.
    fn save_draft(&self, start: Timestamp, log_key: &LogKey) -> Result<(), Fault> {
        let keys = PLANS.iter().filter(|plan| plan.bound).flat_map(|plan| {
            let certificate = |stem: &str| format!("identities/{}/{stem}.pem", plan.name);
            [
                KeyText::new(plan.address(), wire::Use::Transport, certificate("tls")),
                KeyText::new(plan.address(), wire::Use::Signing, certificate("signing")),
            ]
        });
        let draft = DraftFile {
            log_origin: self.origin.clone(),
            serial: 1,
            previous: None,
            valid_from: start.to_string(),
            days: COVENANT_DAYS,
            threshold: THRESHOLD,
            registrars: REGISTRARS.iter().map(|(name, _)| format!("registrars/{name}/registrar.toml")).collect(),
            transport_roots: vec!["ca/transport/root.pem".to_owned()],
            signing_roots: vec!["ca/signing/root.pem".to_owned()],
            log_keys: vec![log_key.vkey(&self.origin)],
            keys_valid_from: start.to_string(),
            keys_days: CERTIFICATE_DAYS,
            keys: keys.collect(),
            unbound: PLANS.iter().filter(|plan| !plan.bound).map(|plan| AddressText::new(plan.address())).collect(),
        };
        let text = toml::to_string(&draft).expect("texts and numbers are TOML");
        let head = "# The first covenant of this world. For the next one: raise `serial`, name the one before in `previous`\n\
                    # (\"hub/covenants/0001.covenant\"), and let seinpost-certs covenant build and sign it.\n";
        files::write_new(&self.folder.join("covenant.toml"), format!("{head}{text}"))
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

    fn write_crls(&self, validity: Validity) -> Result<(), Fault> {
        for (name, hierarchy) in [("transport", &self.transport), ("signing", &self.signing)] {
            let [root, issuing] = hierarchy.crls(validity)?;
            let folder = self.hub_folder().join("crls");
            files::replace(&folder.join(format!("{name}-root.crl")), root)?;
            files::replace(&folder.join(format!("{name}-issuing.crl")), issuing)?;
        }
        Ok(())
    }

    /// Makes new, good credentials of the identity without bound keys: what a wrong one is compared with.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if they cannot be made.
    pub fn good(&self, used_for: wire::Use, now: Timestamp) -> Result<Credentials, Fault> {
        self.credentials(used_for, None, now)
    }

    /// Makes credentials that are wrong in exactly one way.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if they cannot be made.
    pub fn wrong(&self, used_for: wire::Use, wrong: Wrong, now: Timestamp) -> Result<Credentials, Fault> {
        self.credentials(used_for, Some(wrong), now)
    }

    fn credentials(&self, used_for: wire::Use, wrong: Option<Wrong>, now: Timestamp) -> Result<Credentials, Fault> {
        let is_transport = used_for != wire::Use::Signing;
        let (own, other, name) = if is_transport {
            (&self.transport, &self.signing, "transport")
        } else {
            (&self.signing, &self.transport, "signing")
        };
        let day = Duration::from_secs(86_400);
        let mut kind = KeyKind::P256;
        let usage = if is_transport { Usage::Client } else { Usage::Signing };
        let validity = Validity { from: now - day, until: now + 30 * day };
        let mut request = request(&self.covenant_message(), unbound_oin(), "test", usage, validity);
        match wrong {
            None
            | Some(Wrong::ForeignAuthority | Wrong::OtherHierarchy | Wrong::SelfSigned | Wrong::KeyBoundElsewhere) => {}
            Some(Wrong::Expired) => request.validity = Validity { from: now - 3 * day, until: now - day },
            Some(Wrong::NotYetValid) => request.validity = Validity { from: now + day, until: now + 3 * day },
            Some(Wrong::NoOin) => request.oins.clear(),
            Some(Wrong::TwoOins) => request.oins.push(covenant::oin(31, 8)?.as_str().to_owned()),
            Some(Wrong::UnknownOin) => request.oins = vec![covenant::unknown_oin().as_str().to_owned()],
            Some(Wrong::Usage) => request.usage = if is_transport { Usage::Mail } else { Usage::SigningAndClient },
            Some(Wrong::ShortRsa) => kind = KeyKind::Rsa2048,
            Some(Wrong::Revoked) => return read_credentials(&self.folder.join("revoked"), name),
            Some(Wrong::ServerCertificate) => return read_credentials(&self.hub_folder().join("tls"), "server"),
        }
        let key = if wrong == Some(Wrong::KeyBoundElsewhere) {
            let stem = if is_transport { "tls" } else { "signing" };
            read_key(&self.identity_folder("police-amsterdam").join(format!("{stem}.key")))?
        } else {
            Key::generate(kind)?
        };
        let issued = match wrong {
            Some(Wrong::ForeignAuthority) => {
                Hierarchy::generate("Somebody else's", now - day)?.issue(&request, &key)?
            }
            Some(Wrong::OtherHierarchy) => other.issue(&request, &key)?,
            Some(Wrong::SelfSigned) => request.self_signed(&key)?,
            _ => own.issue(&request, &key)?,
        };
        Ok(Credentials { certificate_pem: issued.to_pem(), key_pem: key.to_pem() })
    }
}

/// A certificate with those above it, and its key. Has no `Debug`: it is secret.
pub struct Credentials {
    /// The certificates, the leaf first.
    pub certificate_pem: String,
    /// The private key, PKCS#8.
    pub key_pem: Zeroizing<String>,
}

/// What is wrong with credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Over since yesterday.
    Expired,
    /// Valid from tomorrow.
    NotYetValid,
    /// Revoked, as the list of its issuer says.
    Revoked,
    /// From a hierarchy that nobody here knows.
    ForeignAuthority,
    /// From the hierarchy of the other use.
    OtherHierarchy,
    /// Without an OIN.
    NoOin,
    /// With two OINs.
    TwoOins,
    /// With the OIN of nobody.
    UnknownOin,
    /// For another usage: for transport one without `clientAuth`, for signing one with it.
    Usage,
    /// The hub's own certificate for accepting connections.
    ServerCertificate,
    /// With a key that the covenant binds to another agency.
    KeyBoundElsewhere,
    /// Signed by its own key.
    SelfSigned,
    /// With an RSA key of 2,048 bits.
    ShortRsa,
}

impl Wrong {
    /// All that can be wrong.
    pub const ALL: [Self; 13] = [
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::ForeignAuthority,
        Self::OtherHierarchy,
        Self::NoOin,
        Self::TwoOins,
        Self::UnknownOin,
        Self::Usage,
        Self::ServerCertificate,
        Self::KeyBoundElsewhere,
        Self::SelfSigned,
        Self::ShortRsa,
    ];
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

/// The keys of one identity while a world is made.
struct Keys {
    plan: &'static Plan,
    address: Address,
    transport: Key,
    signing: Key,
}

impl Keys {
    fn generate(plan: &'static Plan) -> Result<Self, Fault> {
        Ok(Self {
            plan,
            address: plan.address(),
            transport: Key::generate(plan.transport)?,
            signing: Key::generate(plan.signing)?,
        })
    }

    fn bound(&self) -> Vec<AgencyKey> {
        let key = |used_for, key: &Key| AgencyKey { address: self.address, used_for, spki_sha256: key.spki_sha256() };
        let all = vec![key(wire::Use::Transport, &self.transport), key(wire::Use::Signing, &self.signing)];
        if self.plan.bound { all } else { Vec::new() }
    }

    fn save(
        &self,
        folder: &Path,
        message: &wire::Covenant,
        transport: &Hierarchy,
        signing: &Hierarchy,
        validity: Validity,
    ) -> Result<(), Fault> {
        let folder = folder.join("identities").join(self.plan.name);
        let request = |usage| request(message, self.address.oin, self.plan.name, usage, validity);
        let tls = transport.issue(&request(Usage::Client), &self.transport)?;
        save_credentials(&folder, "tls", &tls.to_pem(), &self.transport)?;
        let signed = signing.issue(&request(Usage::Signing), &self.signing)?;
        save_credentials(&folder, "signing", &signed.to_pem(), &self.signing)
    }
}

impl Plan {
    fn address(&self) -> Address {
        let oin = covenant::oin(self.kind, self.number).expect("the kinds of the plans have two digits");
        Address { oin, function: self.function }
    }
}

fn unbound_oin() -> Oin {
    let plan = PLANS.iter().find(|plan| !plan.bound).expect("one of the plans is unbound");
    plan.address().oin
}

fn request(message: &wire::Covenant, oin: Oin, name: &str, usage: Usage, validity: Validity) -> Request {
    let participant = message.participants.iter().find(|participant| participant.oin == oin.as_str());
    Request {
        oins: vec![oin.as_str().to_owned()],
        common_name: name.to_owned(),
        organisation: participant.map_or("Nobody (TEST)", |participant| participant.name.as_str()).to_owned(),
        usage,
        validity,
    }
}

fn save_credentials(folder: &Path, stem: &str, certificates: &str, key: &Key) -> Result<(), Fault> {
    files::make_folder(folder)?;
    files::write_secret(&folder.join(format!("{stem}.key")), key.to_pem().as_bytes())?;
    files::write_new(&folder.join(format!("{stem}.pem")), certificates)
}

fn read_credentials(folder: &Path, stem: &str) -> Result<Credentials, Fault> {
    let key_pem = Zeroizing::new(files::read_text(&folder.join(format!("{stem}.key")))?);
    Ok(Credentials { certificate_pem: files::read_text(&folder.join(format!("{stem}.pem")))?, key_pem })
}

fn read_key(path: &Path) -> Result<Key, Fault> {
    Key::from_pem(&Zeroizing::new(files::read_text(path)?))
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

fn profile_toml(name: &str, gateway: &str, address: Address) -> String {
    let folder = format!("../identities/{name}");
    format!(
        "# {name}: who one is at the development hub.\n\
         gateway = \"{gateway}\"\n\
         hub = \"../hub.toml\"\n\
         oin = \"{}\"\n\
         function = \"{}\"\n\
         tls_certificate = \"{folder}/tls.pem\"\n\
         tls_key = \"{folder}/tls.key\"\n\
         signing_certificate = \"{folder}/signing.pem\"\n\
         signing_key = \"{folder}/signing.key\"\n\
         state = \"{folder}/state\"\n",
        address.oin,
        function_code(address.function),
    )
}

fn gateway_toml(options: &Options) -> String {
    format!(
        "# The development hub. `seinpost-gateway init` shows every key with its meaning.\n\
         listen = \"{}\"\n\
         metrics = \"{}\"\n\
         data = \"data\"\n\
         \n\
         [log]\n\
         origin = \"{}\"\n\
         key = \"log.key\"\n\
         \n\
         [tls]\n\
         certificate = \"tls/server.pem\"\n\
         key = \"tls/server.key\"\n\
         \n\
         [covenant]\n\
         hub = \"hub.toml\"\n\
         folder = \"covenants\"\n\
         \n\
         [crl]\n\
         folder = \"crls\"\n\
         \n\
         [limits]\n\
         # Small, so that a fresh hub is there at once.\n\
         segment = \"20MiB\"\n",
        options.listen, options.metrics, options.origin,
    )
}
