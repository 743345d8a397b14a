//! The first files of a hub: a commented configuration, and the log's key.
//!
//! In come a folder and the log's name; out go two files that nobody had before, and the verifier key that the
//! registrars put into the covenant. Nothing that is there is ever replaced: a log whose key is lost has lost its word.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::config;
use crate::log::{BadLogKey, LogSigner};

/// What keeps the first files from being written.
#[derive(Debug, thiserror::Error)]
pub enum NoInit {
    /// The log's name cannot be one.
    #[error("--origin: {0}")]
    Origin(&'static str),
    /// A file is there already.
    #[error("{} is there already; nothing was written", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("{file}: {cause}", file = .0.display(), cause = .1)]
    File(PathBuf, io::Error),
    /// No key can be made.
    #[error("a key cannot be made: {0}")]
    Key(#[from] BadLogKey),
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    Random,
}

/// Writes `gateway.toml` and `log.key` into a folder, and returns the log's verifier key.
pub fn write(folder: &Path, origin: &str) -> Result<String, NoInit> {
    if let Some(bad) = config::bad_origin(origin) {
        return Err(NoInit::Origin(bad));
    }
    let (configuration, key) = (folder.join("gateway.toml"), folder.join("log.key"));
    for file in [&configuration, &key] {
        if file.exists() {
            return Err(NoInit::Exists(file.clone()));
        }
    }
    let pem = new_key()?;
    let signer = LogSigner::from_pkcs8_pem(&pem, origin)?;
    fs::create_dir_all(folder).map_err(|error| NoInit::File(folder.to_owned(), error))?;
    write_new(&key, pem.as_bytes(), 0o600)?;
    write_new(&configuration, config::commented(&[("log.origin", origin)]).as_bytes(), 0o644)?;
    Ok(signer.key().vkey(origin))
}

/// Draws an Ed25519 key and writes it as every tool reads it: PKCS#8 version 1 (RFC 8410), PEM.
fn new_key() -> Result<Zeroizing<String>, NoInit> {
    const BEFORE_SEED: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let mut der = Zeroizing::new([0; 48]);
    der[..16].copy_from_slice(&BEFORE_SEED);
    SystemRandom::new().fill(&mut der[16..]).map_err(|_| NoInit::Random)?;
    let body = Zeroizing::new(BASE64.encode(&der[..]));
    Ok(Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *body)))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), NoInit> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| NoInit::File(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

    use std::os::unix::fs::PermissionsExt as _;

    use seinpost_protocol::checkpoint::LogKey;

    use super::*;

    #[test]
    fn the_first_files_are_a_configuration_and_a_secret_key() {
        let folder = tempfile::tempdir().unwrap();
        let hub = folder.path().join("hub");
        let vkey = write(&hub, "seinpost.test/init").unwrap();
        let (origin, key) = LogKey::from_vkey(&vkey).unwrap();
        assert_eq!(origin, "seinpost.test/init");
        let pem = fs::read_to_string(hub.join("log.key")).unwrap();
        assert_eq!(LogSigner::from_pkcs8_pem(&pem, &origin).unwrap().key(), key);
        assert_eq!(fs::metadata(hub.join("log.key")).unwrap().permissions().mode() & 0o777, 0o600);
        let config = config::Sources::read(&hub.join("gateway.toml")).unwrap().config().unwrap();
        assert_eq!(config.origin, "seinpost.test/init");
    }

    #[test]
    fn nothing_is_overwritten() {
        for there in ["log.key", "gateway.toml"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(there), "precious").unwrap();
            assert!(matches!(write(folder.path(), "seinpost.test/init"), Err(NoInit::Exists(_))), "{there}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
            assert_eq!(fs::read_to_string(folder.path().join(there)).unwrap(), "precious");
        }
    }

    #[test]
    fn two_keys_are_never_the_same() {
        assert_ne!(*new_key().unwrap(), *new_key().unwrap());
    }
}
