//! A profile: one file per identity, saying which hub, which address, which keys, where state is kept.
//!
//! In comes a TOML file; out goes a profile of which every file was looked at, or all its faults at once. Paths are
//! relative to the profile's folder. Keys are read when they are used, by `sign` and `connect`; this room only asks
//! whether others may read them.

use std::path::{Path, PathBuf};

use seinpost_protocol::address::{Address, Function, Oin};
use seinpost_protocol::hub::{HUB_FILE_BYTES_MAX, HubFile};
use serde::Deserialize;

use crate::error::{Error, Fault, Result};
use crate::files;

/// A profile is a handful of lines.
const PROFILE_BYTES_MAX: usize = 64 * 1024;
/// Certificates and keys: a chain is at most 16 KiB of DER, PEM adds a third and comments.
pub(crate) const PEM_BYTES_MAX: usize = 128 * 1024;

/// Which hub, as whom, with which keys.
#[derive(Clone)]
pub struct Profile {
    /// The profile's own file.
    pub path: PathBuf,
    /// The gateway, `host:port`.
    pub gateway: String,
    /// What the operator handed out: log, registrars, floor, transport roots.
    pub hub: HubFile,
    /// Who one is.
    pub address: Address,
    /// Certificate for TLS, leaf first, PEM.
    pub tls_certificate: PathBuf,
    /// Its key, PKCS#8 PEM.
    pub tls_key: PathBuf,
    /// Certificate for signing, leaf first, PEM.
    pub signing_certificate: PathBuf,
    /// Its key, PKCS#8 PEM.
    pub signing_key: PathBuf,
    /// Folder for pins, covenants, sealing keys, outbox, receipts, inbox, evidence.
    pub state: PathBuf,
}

/// The file's fields. What is not here is refused, so that a misspelt line does not pass unseen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    gateway: String,
    hub: PathBuf,
    oin: String,
    function: String,
    tls_certificate: PathBuf,
    tls_key: PathBuf,
    signing_certificate: PathBuf,
    signing_key: PathBuf,
    state: PathBuf,
}

impl Profile {
    /// Reads a profile and looks at every file it names.
    ///
    /// # Errors
    /// All faults that were found, each with its place.
    pub fn load(path: &Path) -> Result<Self> {
        let place = |field: &str| format!("{}: {field}", path.display());
        let text = String::from_utf8(files::read(path, PROFILE_BYTES_MAX)?)
            .map_err(|_| Error::usage(path.display().to_string(), "the file is not UTF-8 text"))?;
        let file: ProfileFile = toml::from_str(&text).map_err(|error| {
            Error::Usage(vec![Fault::new(path.display().to_string(), error.to_string().trim_end())])
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = |name: &Path| plain(&folder.join(name));
        let mut faults = Vec::new();

        if !is_host_and_port(&file.gateway) {
            faults.push(
                Fault::new(place("gateway"), format!("{:?} is no host and port", file.gateway))
                    .hint("for example \"seinpost.example.nl:8443\""),
            );
        }
        let oin = Oin::try_from(file.oin.as_str());
        if let Err(error) = oin {
            faults.push(Fault::new(place("oin"), error.to_string()));
        }
        let function = function_from_code(&file.function);
        if function.is_none() {
            faults.push(
                Fault::new(place("function"), format!("{:?} is no function", file.function))
                    .hint("for example SAFE_HOME or POLICE_OPERATIONS"),
            );
        }
        for (field, name, secret) in [
            ("tls_certificate", &file.tls_certificate, false),
            ("tls_key", &file.tls_key, true),
            ("signing_certificate", &file.signing_certificate, false),
            ("signing_key", &file.signing_key, true),
        ] {
            faults.extend(look_at(&beside(name), &place(field), secret));
        }
        let hub = read_hub(&beside(&file.hub), &place("hub"), &mut faults);

        match (oin, function, hub) {
            (Ok(oin), Some(function), Some(hub)) if faults.is_empty() => Ok(Self {
                path: path.to_owned(),
                gateway: file.gateway,
                hub,
                address: Address { oin, function },
                tls_certificate: beside(&file.tls_certificate),
                tls_key: beside(&file.tls_key),
                signing_certificate: beside(&file.signing_certificate),
                signing_key: beside(&file.signing_key),
                state: beside(&file.state),
            }),
            _ => Err(Error::Usage(faults)),
        }
    }
}

/// Writes a path without `.` and without `folder/..`, since people read it and paste it. Behind a link `..` leads
/// elsewhere: there it stays.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(plain.components().next_back(), Some(Component::Normal(_))) && !plain.is_symlink() =>
            {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain }
}

/// Reads a function's code, `SAFE_HOME` or the long `FUNCTION_SAFE_HOME`.
#[must_use]
pub fn function_from_code(code: &str) -> Option<Function> {
    let name = format!("FUNCTION_{}", code.strip_prefix("FUNCTION_").unwrap_or(code));
    Function::from_str_name(&name).filter(|function| *function != Function::Unspecified)
}

fn read_hub(path: &Path, place: &str, faults: &mut Vec<Fault>) -> Option<HubFile> {
    let text = files::read(path, HUB_FILE_BYTES_MAX).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| Error::usage(path.display().to_string(), "the file is not UTF-8 text"))
    });
    match text {
        Ok(text) => match HubFile::parse(&text) {
            Ok(hub) => return Some(hub),
            Err(found) => {
                faults.extend(found.iter().map(|fault| Fault::new(path.display().to_string(), fault.to_string())));
            }
        },
        Err(error) => faults.push(Fault::new(place, error.to_string())),
    }
    None
}

/// Asks whether a file is there, and whether only those who should can read it.
fn look_at(path: &Path, place: &str, secret: bool) -> Option<Fault> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Some(Fault::new(place, format!("{} is no file", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Some(Fault::new(place, format!("{} does not exist", path.display())));
        }
        Err(error) => return Some(Fault::new(place, format!("{}: {error}", path.display()))),
    };
    if secret && is_open_to_others(&metadata) {
        let what = format!("{} can be read by every user of this machine", path.display());
        return Some(Fault::new(place, what).hint(format!("chmod 600 {}", path.display())));
    }
    None
}

/// A group may read, since service managers hand over keys through an access list that shows as group rights.
#[cfg(unix)]
fn is_open_to_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o027 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &std::fs::Metadata) -> bool {
    false
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host_is_good = if bare.len() == host.len() {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
    } else {
        bare.parse::<std::net::Ipv6Addr>().is_ok()
    };
    host_is_good && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests;
