//! Registrars: who signs a covenant, with raw Ed25519 keys, k of n.
//!
//! A registrar's folder holds its key and a public file with name, OIN and key. Signing adds a signature to an item
//! and asks no question about what it says; whether enough have signed is for whoever verifies.

use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::address::Oin;
use seinpost_protocol::item::{self, ItemType};
use seinpost_protocol::wire;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::files;
use crate::key::{Key, KeyKind};

/// A registrar with its key.
pub struct Registrar {
    name: String,
    oin: Oin,
    key: Key,
}

/// The public file of a registrar.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicFile {
    name: String,
    oin: String,
    /// The public key, hexadecimal.
    ed25519: String,
}

impl Registrar {
    /// Makes a registrar with a new key.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if the system gives no random bytes.
    pub fn generate(name: impl Into<String>, oin: Oin) -> Result<Self, Fault> {
        Ok(Self { name: name.into(), oin, key: Key::generate(KeyKind::Ed25519)? })
    }

    /// Returns the registrar as a covenant lists it.
    #[must_use]
    pub fn entry(&self) -> wire::Registrar {
        let key = self.key.ed25519_public().expect("a registrar's key is Ed25519");
        wire::Registrar {
            name: self.name.clone(),
            oin: self.oin.as_str().to_owned(),
            ed25519: Bytes::copy_from_slice(&key),
        }
    }

    /// Signs an item: adds a signature over its type and payload.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if signing fails.
    pub fn sign(&self, signed_item: &mut wire::SignedItem) -> Result<(), Fault> {
        let signed = item::pae(&signed_item.payload_type, &signed_item.payload);
        signed_item.signatures.push(wire::ItemSignature {
            sig: self.key.sign(&signed)?.into(),
            keyid: self.key.spki_sha256().to_string(),
        });
        Ok(())
    }

    /// Writes `registrar.key` and the public `registrar.toml` into a folder.
    ///
    /// # Errors
    /// [`Fault::Exists`] if there is one already, [`Fault::File`] if they cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Fault> {
        files::make_folder(folder)?;
        files::write_secret(&folder.join("registrar.key"), self.key.to_pem().as_bytes())?;
        let entry = self.entry();
        let public = PublicFile { name: entry.name, oin: entry.oin, ed25519: hex::encode(&entry.ed25519) };
        files::write_new(&folder.join("registrar.toml"), toml::to_string(&public).expect("three texts are TOML"))
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`Fault::File`], [`Fault::Data`] or [`Fault::Certificate`] if a file is missing or not what it should be.
    pub fn load(folder: &Path) -> Result<Self, Fault> {
        let entry = read_entry(&folder.join("registrar.toml"))?;
        let key = Key::from_pem(&zeroize::Zeroizing::new(files::read_text(&folder.join("registrar.key"))?))?;
        if key.ed25519_public().is_none_or(|public| public != *entry.ed25519) {
            return Err(Fault::data(
                folder.display().to_string(),
                "registrar.key is not the key that registrar.toml names",
            ));
        }
        let oin = Oin::try_from(entry.oin.as_str())
            .map_err(|error| Fault::data(folder.display().to_string(), error.to_string()))?;
        Ok(Self { name: entry.name, oin, key })
    }
}

/// Reads the public file of a registrar, as a covenant lists it.
///
/// # Errors
/// [`Fault::File`] or [`Fault::Data`] if it cannot be read.
pub fn read_entry(path: &Path) -> Result<wire::Registrar, Fault> {
    let wrong = |wrong: String| Fault::data(path.display().to_string(), wrong);
    let public: PublicFile = toml::from_str(&files::read_text(path)?).map_err(|error| wrong(error.to_string()))?;
    let key = hex::decode(&public.ed25519).ok().filter(|key| key.len() == 32);
    let key = key.ok_or_else(|| wrong("ed25519 is not 64 hexadecimal digits".to_owned()))?;
    Ok(wire::Registrar { name: public.name, oin: public.oin, ed25519: key.into() })
}

/// Puts a covenant into an item and lets registrars sign it.
///
/// # Errors
/// [`Fault::Certificate`] if signing fails.
pub fn sign_covenant(covenant: &wire::Covenant, registrars: &[&Registrar]) -> Result<wire::SignedItem, Fault> {
    let mut item = unsigned(covenant);
    for registrar in registrars {
        registrar.sign(&mut item)?;
    }
    Ok(item)
}

/// Puts a covenant into an item that nobody has signed yet.
#[must_use]
pub fn unsigned(covenant: &wire::Covenant) -> wire::SignedItem {
    wire::SignedItem {
        payload: covenant.encode_to_vec().into(),
        payload_type: ItemType::Covenant.payload_type().to_owned(),
        signatures: Vec::new(),
    }
}
