//! The hub file (`hub.toml`): what one must believe before anything can be verified.
//!
//! The operator hands it out, and its digest is compared by phone, once. In comes its text, out goes a [`HubFile`] or
//! all its faults, so that it is mended in one go. After the first covenant has been accepted only the covenant counts;
//! then this file says no more than which log and which first covenant were meant.
//!
//! The first covenant may be any of the log's, so that a hub file need not lead through years of them. Every signature
//! that it came with must be a registrar's: its own, or one of this file's. So the file lists those too who signed that
//! covenant as registrars of the one before and left with it; for all that comes later the list says nothing.
//!
//! ```toml
//! origin = "log.seinpost.test/dev"              # the log's name
//! hub_oin = "00000099155900000000"              # which the hub's certificate bears
//! test = true                                   # absent: false
//! threshold = 2                                 # so many registrars must have signed
//! covenant_serial = 1                           # the first covenant is exactly this one
//! covenant_digest = "a4a2984d…"                 # 64 hexadecimal digits
//! log_keys = ["log.seinpost.test/dev+2371c80d+ASNx…"]
//! transport_roots = ["-----BEGIN CERTIFICATE-----…"]
//!
//! [[registrars]]
//! name = "Registrar 1"
//! oin = "00000099900000000001"
//! ed25519 = "e42f2e14…"                         # the public key, 64 hexadecimal digits
//! ```

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::ops::Deref;

use base64::Engine as _;
use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use crate::address::Oin;
use crate::checkpoint::{LogKey, is_origin};
use crate::covenant::Floor;
use crate::digest::Digest;
use crate::signature::PublicKey;
use crate::wire;

/// Largest hub file in bytes: a few roots and keys; what is larger is some other file.
pub const HUB_FILE_BYTES_MAX: usize = 64 * 1024;

/// What a hub file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Hub {
    /// The log's origin.
    pub origin: String,
    /// The hub's OIN: without it any participant under the same root could be the hub.
    pub hub_oin: Oin,
    /// The origin is a test's, where one registrar may be enough.
    pub test: bool,
    /// How many of the registrars must have signed the first covenant.
    pub threshold: u32,
    /// The registrars whose signatures the first covenant may bear: its own, and those who left with it.
    pub registrars: Vec<wire::Registrar>,
    /// The first covenant's serial.
    pub covenant_serial: u64,
    /// The first covenant's digest.
    pub covenant_digest: Digest,
    /// The log's keys.
    pub log_keys: Vec<LogKey>,
    /// Roots of the hub's transport certificate, in DER.
    pub transport_roots: Vec<Bytes>,
}

/// A hub file that holds together: what it says, and the bytes that were compared by phone.
#[derive(Debug, Clone, PartialEq)]
pub struct HubFile {
    hub: Hub,
    text: String,
}

impl Deref for HubFile {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

/// One thing that is wrong with a hub file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFault {
    /// Which field, such as `registrars[1].ed25519`; empty where it is the file.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub wrong: String,
}

impl fmt::Display for HubFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.wrong) } else { write!(f, "{}: {}", self.field, self.wrong) }
    }
}

/// The file's own words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    origin: String,
    hub_oin: String,
    #[serde(default)]
    test: bool,
    threshold: u32,
    covenant_serial: u64,
    covenant_digest: String,
    log_keys: Vec<String>,
    transport_roots: Vec<String>,
    registrars: Vec<RegistrarText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrarText {
    name: String,
    oin: String,
    ed25519: String,
}

impl HubFile {
    /// Writes a hub file, with a line of explanation beside each field; the same bytes for the same hub.
    ///
    /// # Errors
    /// All its faults.
    pub fn write(hub: &Hub) -> Result<Self, Vec<HubFault>> {
        // Reading is where every rule is asked.
        Self::parse(&hub.to_toml())
    }

    /// Reads a hub file.
    ///
    /// # Errors
    /// All its faults: of the file's shape the first, of its fields every one.
    pub fn parse(text: &str) -> Result<Self, Vec<HubFault>> {
        if text.len() > HUB_FILE_BYTES_MAX {
            return Err(vec![fault("", format!("a hub file has at most {HUB_FILE_BYTES_MAX} bytes"))]);
        }
        let read: Text =
            toml::from_str(text).map_err(|error| vec![fault("", error.to_string().trim_end().to_owned())])?;
        let mut faults = Vec::new();

        if !is_origin(&read.origin) {
            faults.push(fault("origin", "not a log's name"));
        }
        let hub_oin = oin("hub_oin", &read.hub_oin, &mut faults);
        let registrars = registrars(&read.registrars, hub_oin, &mut faults);
        let lowest = if read.test { 1 } else { 2 };
        if read.threshold < lowest || read.threshold as usize > read.registrars.len() {
            faults.push(fault("threshold", format!("at least {lowest} and at most the number of registrars")));
        }
        if read.covenant_serial == 0 {
            faults.push(fault("covenant_serial", "serials count from 1"));
        }
        let covenant_digest = bytes_of("covenant_digest", &read.covenant_digest, &mut faults).map(Digest::new);
        let log_keys = log_keys(&read, &mut faults);
        let transport_roots = transport_roots(&read.transport_roots, &mut faults);

        match (hub_oin, covenant_digest) {
            (Some(hub_oin), Some(covenant_digest)) if faults.is_empty() => {
                let hub = Hub {
                    origin: read.origin,
                    hub_oin,
                    test: read.test,
                    threshold: read.threshold,
                    registrars,
                    covenant_serial: read.covenant_serial,
                    covenant_digest,
                    log_keys,
                    transport_roots,
                };
                Ok(Self { hub, text: text.to_owned() })
            }
            (_, _) => Err(faults),
        }
    }

    /// Returns the file's text, byte for byte.
    #[must_use]
    pub fn to_toml(&self) -> &str {
        &self.text
    }

    /// Returns what the first covenant is verified by.
    #[must_use]
    pub fn floor(&self) -> Floor {
        Floor {
            log_origin: self.origin.clone(),
            registrars: self.registrars.clone(),
            threshold: self.threshold,
            serial: self.covenant_serial,
            digest: self.covenant_digest,
            test: self.test,
        }
    }

    /// Returns the digest of the file's bytes, which is compared by phone.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }
}

impl Hub {
    fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut line = |arguments: fmt::Arguments<'_>| {
            let _ = text.write_fmt(arguments);
            text.push('\n');
        };
        line(format_args!("# What a client of this hub must believe before it can verify anything."));
        line(format_args!("# Compare the SHA-256 of this file by phone before the first use.\n"));
        line(format_args!("# Name of the hub's log."));
        line(format_args!("origin = {}", quoted(&self.origin)));
        line(format_args!("# OIN that the hub's transport certificate must bear."));
        line(format_args!("hub_oin = \"{}\"", self.hub_oin));
        line(format_args!("# Whether the log is a test's."));
        line(format_args!("test = {}", self.test));
        line(format_args!("# So many of the registrars below have signed the first covenant."));
        line(format_args!("threshold = {}", self.threshold));
        line(format_args!("# The first covenant: its serial and digest."));
        line(format_args!("covenant_serial = {}", self.covenant_serial));
        line(format_args!("covenant_digest = \"{}\"", self.covenant_digest));
        line(format_args!("# Keys with which the log signs its checkpoints."));
        line(format_args!("log_keys = ["));
        for key in &self.log_keys {
            line(format_args!("    {},", quoted(&key.vkey(&self.origin))));
        }
        line(format_args!("]"));
        line(format_args!("# Roots that the hub's transport certificate may chain to."));
        line(format_args!("transport_roots = ["));
        for root in &self.transport_roots {
            line(format_args!("    \"\"\"\n{}\"\"\",", pem(root)));
        }
        line(format_args!("]"));
        line(format_args!("# Registrars who may have signed the first covenant: its own, and those who left with it."));
        for registrar in &self.registrars {
            line(format_args!("\n[[registrars]]"));
            line(format_args!("name = {}", quoted(&registrar.name)));
            line(format_args!("oin = {}", quoted(&registrar.oin)));
            line(format_args!("ed25519 = \"{}\"", hex::encode(&registrar.ed25519)));
        }
        text
    }
}

fn registrars(texts: &[RegistrarText], hub_oin: Option<Oin>, faults: &mut Vec<HubFault>) -> Vec<wire::Registrar> {
    let (mut oins, mut keys) = (HashSet::new(), HashSet::new());
    let mut registrars = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        if text.name.is_empty() {
            faults.push(fault(format!("registrars[{at}].name"), "a registrar has a name"));
        }
        let field = format!("registrars[{at}].oin");
        if let Some(oin) = oin(&field, &text.oin, faults) {
            if Some(oin) == hub_oin {
                faults.push(fault(field, "the hub is never a registrar"));
            } else if !oins.insert(oin) {
                faults.push(fault(field, "this registrar stands twice"));
            }
        }
        let field = format!("registrars[{at}].ed25519");
        let Some(key) = bytes_of(&field, &text.ed25519, faults) else {
            continue;
        };
        if let Err(bad) = PublicKey::from_ed25519(&key) {
            faults.push(fault(field, bad.to_string()));
        } else if !keys.insert(key) {
            faults.push(fault(field, "this key stands twice"));
        }
        let (name, oin) = (text.name.clone(), text.oin.clone());
        registrars.push(wire::Registrar { name, oin, ed25519: Bytes::copy_from_slice(&key) });
    }
    registrars
}

fn log_keys(read: &Text, faults: &mut Vec<HubFault>) -> Vec<LogKey> {
    let mut keys = Vec::new();
    for (at, text) in read.log_keys.iter().enumerate() {
        let field = format!("log_keys[{at}]");
        match LogKey::from_vkey(text) {
            Err(bad) => faults.push(fault(field, bad.to_string())),
            Ok((name, _)) if name != read.origin => faults.push(fault(field, "the key is another log's")),
            Ok((_, key)) if keys.contains(&key) => faults.push(fault(field, "this key stands twice")),
            Ok((_, key)) => match PublicKey::from_ed25519(key.as_bytes()) {
                Err(bad) => faults.push(fault(field, bad.to_string())),
                Ok(_) => keys.push(key),
            },
        }
    }
    if read.log_keys.is_empty() {
        faults.push(fault("log_keys", "at least one key"));
    }
    keys
}

fn transport_roots(texts: &[String], faults: &mut Vec<HubFault>) -> Vec<Bytes> {
    let mut roots = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let field = format!("transport_roots[{at}]");
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match found.as_deref() {
            Ok([der]) if is_certificate(der) => roots.push(Bytes::copy_from_slice(der)),
            _ => faults.push(fault(field, "exactly one certificate in PEM")),
        }
    }
    if texts.is_empty() {
        faults.push(fault("transport_roots", "at least one certificate"));
    }
    roots
}

fn is_certificate(der: &[u8]) -> bool {
    x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty())
}

fn oin(field: &str, text: &str, faults: &mut Vec<HubFault>) -> Option<Oin> {
    let oin = Oin::try_from(text);
    oin.map_err(|bad| faults.push(fault(field, bad.to_string()))).ok()
}

fn bytes_of(field: &str, text: &str, faults: &mut Vec<HubFault>) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let read = hex::decode_to_slice(text, &mut bytes);
    read.map_err(|_| faults.push(fault(field, "64 hexadecimal digits"))).ok()?;
    Some(bytes)
}

fn fault(field: impl Into<String>, wrong: impl Into<String>) -> HubFault {
    HubFault { field: field.into(), wrong: wrong.into() }
}

/// Writes a text as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Writes a certificate in PEM (RFC 7468), 64 characters a line.
fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for at in (0..text.len()).step_by(64) {
        pem.push_str(&text[at..text.len().min(at + 64)]);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A self-signed certificate of nobody.
    const ROOT: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBjjCCATOgAwIBAgIUSeG70xBXD7grGhDqBgTKZimBDQgwCgYIKoZIzj0EAwIw\n\
        GzEZMBcGA1UEAwwQVGVzdCBSb290IChURVNUKTAgFw0yNjExMjQxMzQ1MDZaGA8y\n\
        MDgxMDgyNzEzNDUwNlowGzEZMBcGA1UEAwwQVGVzdCBSb290IChURVNUKTBZMBMG\n\
        ByqGSM49AgEGCCqGSM49AwEHA0IABOmftGML9pMvKuZ+nVYZq9ncpgK6h6wz27Og\n\
        nqg3lG8ialeXkAzqmNAP+ADTke95Xuks+PQoags1kO7otX08c+KjUzBRMB0GA1Ud\n\
        DgQWBBTWlotqhiFzQ1Jrr1DrItzVUxnnrTAfBgNVHSMEGDAWgBTWlotqhiFzQ1Jr\n\
        r1DrItzVUxnnrTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQDn\n\
        vNdayLobaKuHvskr7N3xGWF10pNB9RP4dElC0H0HZQIhAP5mOWFWhIevKz8wwNjY\n\
        vsx1CwTANmV8pnrnh99sjfCg\n\
        -----END CERTIFICATE-----\n";

    fn key(of: u8) -> [u8; 32] {
        ed25519_dalek::SigningKey::from_bytes(&[of; 32]).verifying_key().to_bytes()
    }

    fn registrar(of: u8) -> wire::Registrar {
        let oin = format!("000000999990000000{of:02}");
        wire::Registrar { name: format!("Registrar \"{of}\""), oin, ed25519: key(of).to_vec().into() }
    }

    fn hub() -> Hub {
        Hub {
            origin: "log.seinpost.test/unit".to_owned(),
            hub_oin: Oin::try_from("00000099000000000900").expect("an OIN"),
            test: false,
            threshold: 2,
            registrars: vec![registrar(1), registrar(2), registrar(3)],
            covenant_serial: 7,
            covenant_digest: Digest::of(b"the seventh"),
            log_keys: vec![LogKey::new(key(9))],
            transport_roots: vec![
                CertificateDer::from_pem_slice(ROOT.as_bytes()).expect("a certificate").to_vec().into(),
            ],
        }
    }

    fn text() -> String {
        HubFile::write(&hub()).expect("a good hub").to_toml().to_owned()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = HubFile::write(&hub()).expect("a good hub");
        assert_eq!(*written, hub());
        assert_eq!(HubFile::parse(written.to_toml()).as_ref(), Ok(&written));
        assert_eq!(written.digest(), Digest::of(written.to_toml().as_bytes()));
        assert!(written.to_toml().contains(ROOT), "a person recognises the certificate");
    }

    #[test]
    fn the_floor_is_the_files_word_on_the_first_covenant() {
        let floor = HubFile::write(&hub()).expect("a good hub").floor();
        assert_eq!(
            (floor.serial, floor.digest, floor.threshold, floor.test),
            (7, Digest::of(b"the seventh"), 2, false)
        );
        assert_eq!((floor.log_origin, floor.registrars), (hub().origin, hub().registrars));
    }

    #[test]
    fn the_digest_is_of_the_bytes_as_they_are() {
        let text = format!("{}\n# a remark\n", text());
        let read = HubFile::parse(&text).expect("a remark changes nothing");
        assert_eq!(*read, hub());
        assert_eq!(read.digest(), Digest::of(text.as_bytes()));
        assert_eq!(read.to_toml(), text, "it is kept as it was compared");
    }

    #[test]
    fn in_a_test_one_registrar_is_enough() {
        let one = |test| HubFile::write(&Hub { test, threshold: 1, registrars: vec![registrar(1)], ..hub() });
        assert!(one(true).is_ok());
        assert_eq!(fields(one(false)), ["threshold"]);
        assert_eq!(fields(HubFile::write(&Hub { threshold: 0, test: true, ..hub() })), ["threshold"]);
    }

    fn fields(read: Result<HubFile, Vec<HubFault>>) -> Vec<String> {
        read.expect_err("a fault").into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let twin = wire::Registrar { name: String::new(), ..registrar(1) };
        let hub_as_registrar = wire::Registrar { oin: hub().hub_oin.to_string(), ..registrar(4) };
        let zero = wire::Registrar { oin: "x".to_owned(), ed25519: vec![0; 32].into(), ..registrar(5) };
        let hub = Hub {
            origin: "DSSEv1 log".to_owned(),
            registrars: vec![registrar(1), twin, hub_as_registrar, zero],
            threshold: 5,
            covenant_serial: 0,
            log_keys: vec![],
            transport_roots: vec![Bytes::from_static(b"no certificate")],
            ..hub()
        };
        let expected = [
            "origin",
            "registrars[1].name",
            "registrars[1].oin",
            "registrars[1].ed25519",
            "registrars[2].oin",
            "registrars[3].oin",
            "registrars[3].ed25519",
            "threshold",
            "covenant_serial",
            "log_keys",
            "transport_roots[0]",
        ];
        assert_eq!(fields(HubFile::write(&hub)), expected);
    }

    #[test]
    fn keys_of_the_log_are_its_own_and_good() {
        let with = |vkeys: &[String]| {
            let start = text().find("log_keys = [").expect("a list");
            let end = start + text()[start..].find(']').expect("its end");
            let list: Vec<String> = vkeys.iter().map(|vkey| quoted(vkey)).collect();
            HubFile::parse(&format!("{}log_keys = [{}{}", &text()[..start], list.join(","), &text()[end..]))
        };
        let own = LogKey::new(key(9)).vkey("log.seinpost.test/unit");
        assert!(with(std::slice::from_ref(&own)).is_ok());
        assert_eq!(fields(with(&[LogKey::new(key(9)).vkey("other.log")])), ["log_keys[0]"]);
        assert_eq!(fields(with(&[own.clone(), own])), ["log_keys[1]"]);
        assert_eq!(fields(with(&[LogKey::new([0; 32]).vkey("log.seinpost.test/unit")])), ["log_keys[0]"]);
        assert_eq!(fields(with(&["log.seinpost.test/unit".to_owned()])), ["log_keys[0]"]);
    }

    #[test]
    fn a_file_of_another_shape_is_refused() {
        let refused = |from: &str, to: &str| {
            assert!(text().contains(from), "{from}");
            fields(HubFile::parse(&text().replacen(from, to, 1)))
        };
        assert_eq!(refused("threshold = 2", "threshold = 2\nthreshhold = 2"), [""], "an unknown field");
        assert_eq!(refused("threshold = 2", "threshold = \"2\""), [""]);
        assert_eq!(refused("threshold = 2", ""), [""]);
        assert_eq!(refused("covenant_digest = \"", "covenant_digest = \"00"), ["covenant_digest"]);
        assert_eq!(refused("hub_oin = \"0", "hub_oin = \""), ["hub_oin"]);
        let two = refused("-----END CERTIFICATE-----\n", &format!("-----END CERTIFICATE-----\n{ROOT}"));
        assert_eq!(two, ["transport_roots[0]"], "two in one");
        let long = format!("{}#{}", text(), "x".repeat(HUB_FILE_BYTES_MAX));
        assert_eq!(fields(HubFile::parse(&long)), [""]);
    }

    #[test]
    fn a_fault_says_where_the_file_cannot_be_read() {
        let fault = HubFile::parse("origin = ").expect_err("no file").remove(0);
        assert!(fault.to_string().contains("line 1"), "{fault}");
    }
}
