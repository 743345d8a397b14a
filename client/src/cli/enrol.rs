//! `init` and `template`: what needs no gateway.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use seinpost_protocol::address::function_code;
use seinpost_protocol::certificate::SigningCertificate;
use seinpost_protocol::digest::Digest;

use super::args::{Init, Template};
use super::print::Printer;
use super::{Doing as _, Outcome, covenant, report};
use crate::content;
use crate::content::draft::{TYPES, type_code};
use crate::error::{Error, Fault, Result};
use crate::profile::Profile;

/// Largest certificate file that is read: a chain of four certificates is far below it.
const PEM_BYTES_MAX: u64 = 64 * 1024;

/// `seinpost init`: writes a profile, checks it as a whole, and prints what a registrar enrols.
pub(super) fn init(arguments: &Init, printer: &Printer) -> Outcome {
    let deed = "no profile can be made";
    let function = covenant::function(&arguments.function).doing(deed)?;
    let certificate = leaf(&arguments.tls_cert).doing(deed)?;
    let signing = leaf(&arguments.sign_cert).doing(deed)?;
    if certificate.oin() != signing.oin() {
        let what = format!("is of OIN {}, the transport certificate of {}", signing.oin(), certificate.oin());
        return Err(Error::Usage(vec![Fault::new(arguments.sign_cert.display().to_string(), what)])).doing(deed);
    }
    let path = arguments.into.join(format!("{}.toml", function_code(function).to_lowercase().replace('_', "-")));
    let text = profile_text(arguments, &certificate, function_code(function)).doing(deed)?;
    write_new(&path, &text).doing(deed)?;
    let profile = match Profile::load(&path) {
        Ok(profile) => profile,
        Err(error) => {
            // A profile that cannot be used would stand in the way of the next try.
            let _ = std::fs::remove_file(&path);
            return Err(error).doing(deed);
        }
    };
    let hub_digest = profile.hub.digest();
    if printer.for_people() {
        printer.line(format!("profile written: {}", path.display()));
        printer.line(format!("hub file digest: {hub_digest}"));
        printer.line("  compare it by telephone with the hub's operator before anything is sent");
        printer.line("");
        printer.line("enrolment, for a registrar:");
        printer.line(format!("  oin            {}", certificate.oin()));
        printer.line(format!("  function       {}", function_code(function)));
        printer.line(format!("  transport key  {}  until {}", certificate.spki_sha256(), certificate.not_after()));
        printer.line(format!("  signing key    {}  until {}", signing.spki_sha256(), signing.not_after()));
        printer.line("  mailbox        (a functional mailbox of your organisation)");
        printer.line("  telephone      (and one for what is urgent)");
        printer.next("When the covenant lists you: seinpost check, then seinpost keys publish");
    } else {
        printer.json(&serde_json::json!({
            "profile": path.display().to_string(),
            "hub_digest": hub_digest.to_string(),
            "oin": certificate.oin().to_string(),
            "function": function_code(function),
            "transport_key": certificate.spki_sha256().to_string(),
            "transport_until": certificate.not_after().to_string(),
            "signing_key": signing.spki_sha256().to_string(),
            "signing_until": signing.not_after().to_string(),
        }));
    }
    Ok(report::DONE)
}

/// `seinpost template TYPE`.
pub(super) fn template(arguments: &Template, printer: &Printer) -> Outcome {
    let deed = "there is no template";
    let signal_type = covenant::signal_type(&arguments.signal_type).doing(deed)?;
    let Some(text) = content::template(signal_type) else {
        let fault = Fault::new(type_code(signal_type), "this version cannot send it yet");
        return Err(Error::Usage(vec![fault.hint(TYPES.map(type_code).join(", "))])).doing(deed);
    };
    printer.line(text.trim_end());
    Ok(report::DONE)
}

fn leaf(path: &Path) -> Result<SigningCertificate> {
    let place = path.display().to_string();
    let bytes = std::fs::metadata(path)
        .and_then(|metadata| if metadata.len() > PEM_BYTES_MAX { Ok(Vec::new()) } else { std::fs::read(path) })
        .map_err(|error| Error::file(path, &error))?;
    let der = rustls_pki_types::pem::PemObject::from_pem_slice(&bytes)
        .map(|der: rustls_pki_types::CertificateDer<'static>| der.to_vec())
        .map_err(|_| {
            Error::Usage(vec![
                Fault::new(&place, "holds no certificate in PEM").hint("the leaf first, then those above it"),
            ])
        })?;
    SigningCertificate::parse(der.into()).map_err(|bad| {
        Error::Usage(vec![Fault::new(place, bad.to_string()).hint("one OIN in the subject's serialNumber")])
    })
}

fn profile_text(arguments: &Init, certificate: &SigningCertificate, function: &str) -> Result<String> {
    let mut text = String::from("# One identity at one hub. Paths are relative to this file's folder.\n");
    let mut set = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} = {}", toml::Value::String(value.to_owned()));
    };
    set("gateway", &arguments.gateway);
    set("hub", &absolute(&arguments.hub)?);
    set("oin", certificate.oin().as_str());
    set("function", function);
    set("tls_certificate", &absolute(&arguments.tls_cert)?);
    set("tls_key", &absolute(&arguments.tls_key)?);
    set("signing_certificate", &absolute(&arguments.sign_cert)?);
    set("signing_key", &absolute(&arguments.sign_key)?);
    set("state", "state");
    Ok(text)
}

fn absolute(path: &Path) -> Result<String> {
    std::path::absolute(path).map(|path| path.display().to_string()).map_err(|error| Error::file(path, &error))
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::file(folder, &error))?;
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::Usage(vec![
            Fault::new(path.display().to_string(), "exists already").hint("another folder, by --into"),
        ]),
        _ => Error::file(path, &error),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| Error::file(path, &error))
}

/// Shortens a digest for people; JSON has it whole.
pub(super) fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(16).collect()
}
