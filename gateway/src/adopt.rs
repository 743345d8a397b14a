//! What the gateway goes by: covenants and revocation lists, from the operator's folders, against the log.
//!
//! In come files, the hub file, and what the log adopted before; out go the covenants that rule or will, the newest
//! list of each issuer, and which of them are new and must be recorded. A covenant is verified by the succession, never
//! by where it lies: the operator can withhold one from this gateway, and can change none. What does not fit together
//! (a lower serial, a fork of one, too few registrars, all expired, a list whose number falls) is named, and the gateway
//! does not start: every reason for it is one to call the registrars or the authority.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use prost::Message as _;
use seinpost_core::state::State;
use seinpost_protocol::certificate::{CRL_BYTES_MAX, Crl};
use seinpost_protocol::covenant::{COVENANT_BYTES_MAX, Covenant, Floor, Trust};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::item::{decode_envelope, digest_of, pae};
use seinpost_protocol::signature::verify_ed25519;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

/// Files of a folder that are looked at: a covenant a quarter, a list an authority. More is the wrong folder.
const FILES_MAX: usize = 1024;

/// The covenants that rule or will rule, exchanged as a whole.
#[derive(Clone)]
pub struct Covenants(Arc<ArcSwap<Vec<Covenant>>>);

impl Covenants {
    /// Takes adopted covenants, ascending by serial, at least one.
    #[must_use]
    pub fn new(adopted: Vec<Covenant>) -> Self {
        assert!(!adopted.is_empty(), "a gateway never runs without a covenant");
        Self(Arc::new(ArcSwap::from_pointee(adopted)))
    }

    /// Returns the covenant that rules: of those that have begun the one with the highest serial.
    ///
    /// It may have run out by now; whether intake goes on is for the caller to see ([`Covenant::is_valid_at`]).
    #[must_use]
    pub fn ruling(&self, now: Timestamp) -> Covenant {
        let all = self.0.load();
        let begun = all.iter().rev().find(|covenant| covenant.valid_from() <= now);
        begun.unwrap_or_else(|| all.first().expect("there is at least one")).clone()
    }
}

/// What was read from the folders and fits the log.
pub struct Adopted {
    /// The covenant that rules now, those that will, and the one before, ascending by serial.
    pub covenants: Vec<Covenant>,
    /// Those that the log has not recorded yet, ascending by serial.
    pub new_covenants: Vec<Covenant>,
    /// The newest list of each issuer.
    pub crls: Vec<Crl>,
    /// Those that the log has not recorded yet.
    pub new_crls: Vec<Crl>,
}

/// Something in a folder that does not fit; named by file where it is one file's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {}: {text}", file.display())]
pub struct Misfit {
    /// The key of the configuration that names its folder.
    pub key: &'static str,
    /// The file or folder.
    pub file: PathBuf,
    /// What is wrong with it.
    pub text: String,
}

/// Begins a misfit; the folder it lies in is added by whoever reads that folder.
fn misfit(file: &Path, text: impl ToString) -> Misfit {
    Misfit { key: "", file: file.to_owned(), text: text.to_string() }
}

/// Says which folder the misfits lie in.
fn within(key: &'static str) -> impl Fn(Vec<Misfit>) -> Vec<Misfit> {
    move |misfits| misfits.into_iter().map(|misfit| Misfit { key, ..misfit }).collect()
}

const COVENANTS: &str = "covenant.folder";
const CRLS: &str = "crl.folder";

/// The folders to read.
pub struct Folders<'a> {
    /// Covenants.
    pub covenants: &'a Path,
    /// Revocation lists.
    pub crls: &'a Path,
}

/// Reads the folders and fits them to the hub file and to what the log recorded. `recorded` is what the log adopted, from
/// the log's own bytes and ascending by serial: the covenant that rules now and all after it.
pub fn read(
    folders: &Folders<'_>,
    hub: &HubFile,
    state: &State,
    recorded: &[wire::SignedItem],
    now: Timestamp,
) -> Result<Adopted, Vec<Misfit>> {
    let mut misfits = Vec::new();
    let read = read_covenants(folders.covenants, hub, state, recorded, now).map_err(within(COVENANTS));
    let (covenants, new_covenants) = match read {
        Ok(read) => read,
        Err(more) => {
            misfits.extend(more);
            (Vec::new(), Vec::new())
        }
    };
    let (crls, new_crls) = match read_crls(folders.crls, state).map_err(within(CRLS)) {
        Ok(read) => read,
        Err(more) => {
            misfits.extend(more);
            (Vec::new(), Vec::new())
        }
    };
    if misfits.is_empty() { Ok(Adopted { covenants, new_covenants, crls, new_crls }) } else { Err(misfits) }
}

/// Reads the folders as far as that goes without a hub file, which says whom to believe; returns what cannot be used.
#[must_use]
pub fn look(folders: &Folders<'_>) -> Vec<Misfit> {
    let covenants = match files(folders.covenants, "covenant") {
        Ok(files) if files.is_empty() => vec![misfit(folders.covenants, "there is no covenant (*.covenant)")],
        Ok(files) => files.iter().filter_map(|file| peek(file).err()).collect(),
        Err(misfit) => vec![misfit],
    };
    let crls = read_crls(folders.crls, &State::default()).err().unwrap_or_default();
    within(COVENANTS)(covenants).into_iter().chain(within(CRLS)(crls)).collect()
}

/// Walks serial by serial from what is trusted: the hub file at first, then what the log adopted last.
fn read_covenants(
    folder: &Path,
    hub: &HubFile,
    state: &State,
    recorded: &[wire::SignedItem],
    now: Timestamp,
) -> Result<(Vec<Covenant>, Vec<Covenant>), Vec<Misfit>> {
    let mut misfits = Vec::new();
    // By serial: the file, the item and its digest.
    let mut found: BTreeMap<u64, (PathBuf, wire::SignedItem, Digest)> = BTreeMap::new();
    for file in files(folder, "covenant").map_err(|misfit| vec![misfit])? {
        match peek(&file) {
            Ok((serial, item, digest)) => match found.get(&serial) {
                Some((other, _, known)) if *known != digest => {
                    let text = format!("serial {serial} again, with other content than {}", other.display());
                    misfits.push(misfit(&file, text));
                }
                Some(_) => {}
                None => {
                    found.insert(serial, (file, item, digest));
                }
            },
            Err(fault) => misfits.push(fault),
        }
    }
    for adopted in state.covenants() {
        match found.get(&adopted.serial) {
            Some((file, _, digest)) if *digest != adopted.digest => {
                misfits.push(misfit(file, format!("the log adopted another covenant under serial {}", adopted.serial)));
            }
            _ => {}
        }
        if adopted.serial == hub.covenant_serial && adopted.digest != hub.covenant_digest {
            let text = format!("the hub file names another covenant of serial {} than the log adopted", adopted.serial);
            misfits.push(misfit(folder, text));
        }
    }
    if !misfits.is_empty() {
        return Err(misfits);
    }

    let (mut covenants, mut new) = (Vec::new(), Vec::new());
    if let Some(newest) = state.newest_covenant() {
        let highest = found.keys().next_back().copied().unwrap_or(0);
        if highest < newest.serial {
            let text = format!(
                "the newest covenant here has serial {highest}, but the log adopted {} already; put that one here too",
                newest.serial
            );
            return Err(vec![misfit(folder, text)]);
        }
    }
    for item in recorded {
        covenants.push(adopted_before(item, state, hub).map_err(|text| vec![misfit(folder, text)])?);
    }
    let after = covenants.last().map_or(0, Covenant::serial);
    for (serial, (file, item, _)) in found {
        let verified = match covenants.last() {
            // What lies below the floor was never this gateway's to judge.
            None if serial < hub.covenant_serial => continue,
            None => Covenant::verify(&item, &Trust::Floor(hub.floor())),
            Some(_) if serial <= after => continue,
            Some(last) => Covenant::verify(&item, &Trust::Last(last)),
        };
        let covenant = verified.map_err(|bad| vec![misfit(&file, bad)])?;
        covenants.push(covenant.clone());
        new.push(covenant);
    }
    let Some(newest) = covenants.last() else {
        let text = format!("there is no covenant of serial {}, which the hub file begins with", hub.covenant_serial);
        return Err(vec![misfit(folder, text)]);
    };
    if Covenant::ruling_at(&covenants, now).is_none() {
        let text = format!(
            "no covenant is in force now: the newest, serial {}, is valid from {} to {}",
            newest.serial(),
            newest.valid_from(),
            newest.valid_until()
        );
        return Err(vec![misfit(folder, text)]);
    }
    Ok((covenants, new))
}

/// Makes a covenant that the log adopted: it was verified then, and the log's own digest is what vouches now.
///
/// Registrars who left with it had to sign it, and are known to nobody any more: only those who stayed are asked.
fn adopted_before(item: &wire::SignedItem, state: &State, hub: &HubFile) -> Result<Covenant, String> {
    let message = wire::Covenant::decode(item.payload.clone()).map_err(|error| error.to_string())?;
    let adopted = state.covenants().find(|adopted| adopted.serial == message.serial);
    let adopted = adopted.ok_or_else(|| format!("the log adopted no covenant of serial {}", message.serial))?;
    let signed = pae(&item.payload_type, &item.payload);
    let stayed = |signature: &wire::ItemSignature| {
        let keys = message.registrars.iter().filter_map(|registrar| registrar.ed25519.as_ref().try_into().ok());
        keys.into_iter().any(|key| verify_ed25519(key, &signed, &signature.sig).is_ok())
    };
    let mut item = item.clone();
    item.signatures.retain(stayed);
    let floor = Floor {
        log_origin: hub.origin.clone(),
        registrars: message.registrars.clone(),
        threshold: message.threshold,
        serial: message.serial,
        digest: adopted.digest,
        test: hub.test,
    };
    Covenant::verify(&item, &Trust::Floor(floor)).map_err(|bad| format!("the log's own covenant: {bad}"))
}

/// Reads a covenant's file as far as its place in the succession.
fn peek(file: &Path) -> Result<(u64, wire::SignedItem, Digest), Misfit> {
    let bytes = bounded(file, COVENANT_BYTES_MAX)?;
    let item = decode_envelope(bytes).map_err(|bad| misfit(file, bad))?;
    let message = wire::Covenant::decode(item.payload.clone()).map_err(|_| misfit(file, "this is no covenant"))?;
    let digest = digest_of(&item.payload_type, &item.payload);
    Ok((message.serial, item, digest))
}

/// Reads the newest list of each issuer, and holds their numbers to what the log adopted.
fn read_crls(folder: &Path, state: &State) -> Result<(Vec<Crl>, Vec<Crl>), Vec<Misfit>> {
    let mut misfits = Vec::new();
    let mut newest: BTreeMap<Digest, (PathBuf, Crl)> = BTreeMap::new();
    for file in files(folder, "crl").map_err(|misfit| vec![misfit])? {
        let crl = bounded(&file, CRL_BYTES_MAX).and_then(|bytes| Crl::parse(bytes).map_err(|bad| misfit(&file, bad)));
        match crl {
            Ok(crl) => match newest.get(&crl.issuer_sha256()) {
                Some((other, known)) if known.number() == crl.number() && known.sha256() != crl.sha256() => {
                    misfits.push(misfit(&file, format!("another list of the same number as {}", other.display())));
                }
                Some((_, known)) if known.number() >= crl.number() => {}
                _ => {
                    newest.insert(crl.issuer_sha256(), (file, crl));
                }
            },
            Err(fault) => misfits.push(fault),
        }
    }
    let mut new = Vec::new();
    for (file, crl) in newest.values() {
        let adopted = state.newest_crls().find(|(issuer, _)| **issuer == crl.issuer_sha256()).map(|(_, crl)| crl);
        let number = adopted.map(|adopted| crl.number().cmp(&adopted.number));
        match (adopted, number) {
            (Some(adopted), _) if adopted.sha256 == crl.sha256() => {}
            (Some(_), Some(Ordering::Less)) => {
                misfits.push(misfit(file, "the log adopted a list with a higher number; numbers never fall"));
            }
            (Some(_), Some(Ordering::Equal)) => {
                misfits.push(misfit(file, "the log adopted another list under this number"));
            }
            _ => new.push(crl.clone()),
        }
    }
    if newest.is_empty() && misfits.is_empty() {
        let text = "there is no revocation list: no certificate's status could be known, so nobody could connect";
        misfits.push(misfit(folder, text));
    }
    if !misfits.is_empty() {
        return Err(misfits);
    }
    Ok((newest.into_values().map(|(_, crl)| crl).collect(), new))
}

/// Lists the files of a folder with an extension, by name.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Misfit> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| misfit(folder, error))? {
        let path = entry.map_err(|error| misfit(folder, error))?.path();
        if path.extension() == Some(OsStr::new(extension)) {
            files.push(path);
        }
    }
    if files.len() > FILES_MAX {
        return Err(misfit(folder, format!("more than {FILES_MAX} files")));
    }
    files.sort();
    Ok(files)
}

/// Reads a file that may not be larger than a bound.
fn bounded(file: &Path, bytes_max: usize) -> Result<Bytes, Misfit> {
    let length = fs::metadata(file).map_err(|error| misfit(file, error))?.len();
    if usize::try_from(length).is_ok_and(|length| length <= bytes_max) {
        return fs::read(file).map(Bytes::from).map_err(|error| misfit(file, error));
    }
    Err(misfit(file, format!("larger than {bytes_max} bytes")))
}
