//! Certificates with their keys: good ones, and those that are wrong in exactly one way.
//!
//! A test shows a wrong one beside a good one that differs in nothing else, so that a refusal proves which rule refused.

use std::path::Path;
use std::time::Duration;

use seinpost_protocol::address::Oin;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use zeroize::Zeroizing;

use super::World;
use super::identities::unbound_oin;
use crate::covenant;
use crate::fault::Fault;
use crate::files;
use crate::key::{Key, KeyKind};
use crate::pki::{Hierarchy, Request, Usage, Validity};

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

impl World {
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

pub(super) fn request(message: &wire::Covenant, oin: Oin, name: &str, usage: Usage, validity: Validity) -> Request {
    let participant = message.participants.iter().find(|participant| participant.oin == oin.as_str());
    Request {
        oins: vec![oin.as_str().to_owned()],
        common_name: name.to_owned(),
        organisation: participant.map_or("Nobody (TEST)", |participant| participant.name.as_str()).to_owned(),
        usage,
        validity,
    }
}

pub(super) fn save_credentials(folder: &Path, stem: &str, certificates: &str, key: &Key) -> Result<(), Fault> {
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
