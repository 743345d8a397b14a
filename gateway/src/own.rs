//! What is the hub's own: its hub file, the log's key, its transport certificate and key.
//!
//! In comes a configuration that names the files; out comes what is in them, or all that is wrong with them at once.
//! Secrets are read only from files that nobody else may read. Nothing here opens the log or listens.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::time::Timestamp;
use zeroize::Zeroizing;

use crate::config::{Config, Fault};
use crate::log::LogSigner;
use crate::tls::Identity;

/// What is the hub's own: each right by itself.
pub(crate) struct Own {
    pub(crate) hub: HubFile,
    pub(crate) signer: LogSigner,
    pub(crate) identity: Identity,
}

impl Own {
    /// Reads the hub's own files.
    pub(crate) fn read(config: &Config) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let hub = read("covenant.hub", &config.hub, &mut faults).and_then(|text| match HubFile::parse(&text) {
            Ok(hub) => Some(hub),
            Err(bad) => {
                faults.extend(bad.iter().map(|bad| fault("covenant.hub", &config.hub, bad)));
                None
            }
        });
        if let Some(hub) = &hub
            && hub.origin != config.origin
        {
            faults.push(fault(
                "log.origin",
                &config.hub,
                format!("is {:?}, but the hub file says {:?}", config.origin, hub.origin),
            ));
        }
        let signer = secret("log.key", &config.log_key, &mut faults).and_then(|text| {
            LogSigner::from_pkcs8_pem(&text, &config.origin)
                .map_err(|bad| faults.push(fault("log.key", &config.log_key, bad)))
                .ok()
        });
        let certificate = read("tls.certificate", &config.tls_certificate, &mut faults);
        let key = secret("tls.key", &config.tls_key, &mut faults);
        let identity = certificate.zip(key).and_then(|(certificate, key)| {
            Identity::from_pem(certificate.as_bytes(), key.as_bytes())
                .map_err(|bad| faults.push(fault("tls.certificate", &config.tls_certificate, bad)))
                .ok()
        });
        match (hub, signer, identity) {
            (Some(hub), Some(signer), Some(identity)) if faults.is_empty() => Ok(Self { hub, signer, identity }),
            _ => Err(faults),
        }
    }

    /// Checks what must hold between these and the covenants that rule or will; returns when the transport certificate ends.
    pub(crate) fn check_against(&self, config: &Config, covenants: &[Covenant]) -> Result<Timestamp, Vec<Fault>> {
        let mut faults = Vec::new();
        let Some(newest) = covenants.last() else {
            return Err(vec![fault("covenant.folder", &config.covenants, "no covenant was adopted")]);
        };
        // The key must be live in all that rule or will: a log whose key is retired says nothing that counts.
        if !covenants.iter().all(|covenant| covenant.live_log_keys().contains(&self.signer.key())) {
            let text = "is not among the log keys that the covenant calls live";
            faults.push(fault("log.key", &config.log_key, text));
        }
        let mut until = Timestamp::FIRST;
        match self.identity.leaf() {
            Ok((oin, not_after)) => {
                until = not_after;
                if oin != newest.hub_oin() {
                    let text =
                        format!("bears the OIN {oin}, but the covenant says that the hub's is {}", newest.hub_oin());
                    faults.push(fault("tls.certificate", &config.tls_certificate, text));
                }
            }
            Err(bad) => faults.push(fault("tls.certificate", &config.tls_certificate, bad)),
        }
        if faults.is_empty() { Ok(until) } else { Err(faults) }
    }
}

/// Says what is wrong with a file, by the key of the configuration that names it.
pub(crate) fn fault(key: &str, file: &Path, text: impl fmt::Display) -> Fault {
    Fault { key: key.to_owned(), text: text.to_string(), origin: file.display().to_string() }
}

fn read(key: &str, file: &Path, faults: &mut Vec<Fault>) -> Option<String> {
    fs::read_to_string(file).map_err(|error| faults.push(fault(key, file, error))).ok()
}

/// Reads a file that nobody but its owner may read.
fn secret(key: &str, file: &Path, faults: &mut Vec<Fault>) -> Option<Zeroizing<String>> {
    let mode = fs::metadata(file).map(|about| about.permissions().mode());
    match mode {
        Ok(mode) if mode & 0o077 != 0 => {
            let text = format!("others may read it (mode {:03o}); `chmod 600` it", mode & 0o777);
            faults.push(fault(key, file, text));
            None
        }
        _ => read(key, file, faults).map(Zeroizing::new),
    }
}
