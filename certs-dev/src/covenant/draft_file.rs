//! A draft as people write it: what a covenant says beside its tables, in one TOML file that names other files.
//!
//! ```toml
//! log_origin = "seinpost.test/dev"
//! serial = 2
//! previous = "hub/covenants/0001.covenant"       # absent for the first
//! valid_from = "2026-11-24T00:00:00Z"
//! days = 100                                     # up to 100
//! threshold = 2
//! registrars = ["registrars/police/registrar.toml", "registrars/municipalities/registrar.toml"]
//! transport_roots = ["ca/transport/root.pem"]
//! signing_roots = ["ca/signing/root.pem"]
//! log_keys = ["seinpost.test/dev+2371c80d+ASNx…"] # as the operator hands them out
//! keys_valid_from = "2026-11-24T00:00:00Z"       # of all bindings of keys
//! keys_days = 730
//!
//! [[keys]]                                       # a function without keys is bound to keys that nobody has
//! oin = "00000099400000000013"
//! function = "SAFE_HOME"
//! use = "TRANSPORT"
//! certificate = "identities/safe-home-amsterdam/tls.pem"
//!
//! [[unbound]]                                    # any key with a good certificate may act
//! oin = "00000099310000000007"
//! function = "CERTIFIED_INSTITUTION"
//! ```
//!
//! Paths are relative to the draft's folder.

use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::address::{Address, Oin, function_code};
use seinpost_protocol::checkpoint::LogKey;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::digest_of;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use serde::{Deserialize, Serialize};

use super::{AgencyKey, Draft, names};
use crate::fault::Fault;
use crate::files;
use crate::pki::{Validity, read_certificates};
use crate::registrar;

/// A draft's own words.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DraftFile {
    pub(crate) log_origin: String,
    pub(crate) serial: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<String>,
    pub(crate) valid_from: String,
    pub(crate) days: u64,
    pub(crate) threshold: u32,
    pub(crate) registrars: Vec<String>,
    pub(crate) transport_roots: Vec<String>,
    pub(crate) signing_roots: Vec<String>,
    pub(crate) log_keys: Vec<String>,
    pub(crate) keys_valid_from: String,
    pub(crate) keys_days: u64,
    #[serde(default)]
    pub(crate) keys: Vec<KeyText>,
    #[serde(default)]
    pub(crate) unbound: Vec<AddressText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyText {
    oin: String,
    function: String,
    r#use: String,
    certificate: String,
}

impl KeyText {
    pub(crate) fn new(address: Address, used_for: wire::Use, certificate: String) -> Self {
        let AddressText { oin, function } = AddressText::new(address);
        let used_for = used_for.as_str_name().trim_start_matches("USE_").to_owned();
        Self { oin, function, r#use: used_for, certificate }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressText {
    oin: String,
    function: String,
}

impl AddressText {
    pub(crate) fn new(address: Address) -> Self {
        Self { oin: address.oin.as_str().to_owned(), function: function_code(address.function).to_owned() }
    }
}

impl Draft {
    /// Reads a draft from its file and those that it names.
    ///
    /// # Errors
    /// [`Fault::File`] or [`Fault::Data`] naming the file or field and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let at = |field: &str| format!("{}: {field}", path.display());
        let file: DraftFile = toml::from_str(&files::read_text(path)?)
            .map_err(|error| Fault::data(path.display().to_string(), error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let first_of = |path: &String| read_certificates(&folder.join(path)).map(|mut all| all.swap_remove(0));

        let keys = file.keys.iter().map(|key| {
            let used_for = match key.r#use.as_str() {
                "TRANSPORT" => wire::Use::Transport,
                "SIGNING" => wire::Use::Signing,
                _ => return Err(Fault::data(at("keys.use"), "is TRANSPORT or SIGNING")),
            };
            let leaf = first_of(&key.certificate)?;
            let (_, leaf) = x509_parser::parse_x509_certificate(&leaf)
                .map_err(|error| Fault::data(folder.join(&key.certificate).display().to_string(), error.to_string()))?;
            Ok(AgencyKey {
                address: address(&at("keys"), &key.oin, &key.function)?,
                used_for,
                spki_sha256: Digest::of(leaf.public_key().raw),
            })
        });
        let unbound = file.unbound.iter().map(|one| address(&at("unbound"), &one.oin, &one.function));
        let log_keys = file.log_keys.iter().map(|text| match LogKey::from_vkey(text) {
            Ok((origin, key)) if origin == file.log_origin => Ok(*key.as_bytes()),
            Ok(_) => Err(Fault::data(at("log_keys"), "is the key of another log")),
            Err(error) => Err(Fault::data(at("log_keys"), error.to_string())),
        });
        let previous_digest = file.previous.as_ref().map(|previous| digest_in(&folder.join(previous))).transpose()?;
        Ok(Self {
            previous_digest,
            validity: Validity::days(time(&at("valid_from"), &file.valid_from)?, file.days),
            registrars: file
                .registrars
                .iter()
                .map(|path| registrar::read_entry(&folder.join(path)))
                .collect::<Result<_, _>>()?,
            threshold: file.threshold,
            transport_roots: file.transport_roots.iter().map(first_of).collect::<Result<_, _>>()?,
            signing_roots: file.signing_roots.iter().map(first_of).collect::<Result<_, _>>()?,
            log_keys: log_keys.collect::<Result<_, _>>()?,
            keys: keys.collect::<Result<_, Fault>>()?,
            keys_validity: Validity::days(time(&at("keys_valid_from"), &file.keys_valid_from)?, file.keys_days),
            unbound: unbound.collect::<Result<_, _>>()?,
            serial: file.serial,
            log_origin: file.log_origin,
        })
    }
}

/// Returns the digest of the covenant in a file.
fn digest_in(path: &Path) -> Result<Digest, Fault> {
    let item = wire::SignedItem::decode(Bytes::from(files::read(path)?))
        .map_err(|error| Fault::data(path.display().to_string(), error.to_string()))?;
    Ok(digest_of(&item.payload_type, &item.payload))
}

fn address(at: &str, oin: &str, function: &str) -> Result<Address, Fault> {
    let oin = Oin::try_from(oin).map_err(|error| Fault::data(at, error.to_string()))?;
    Ok(Address { oin, function: names::function(at, function)? })
}

fn time(at: &str, text: &str) -> Result<Timestamp, Fault> {
    let time = text.parse::<jiff::Timestamp>().ok().and_then(|time| Timestamp::from_millis(time.as_millisecond()));
    time.ok_or_else(|| Fault::data(at, "is no time from 2020 to 2099, such as 2026-11-24T00:00:00Z"))
}
