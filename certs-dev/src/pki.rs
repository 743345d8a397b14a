//! Certificates for development: a root, an issuing authority below it, what it issues, and who is revoked.
//!
//! There are two hierarchies, one for transport and one for signing, as at PKIoverheid: a certificate that opens a
//! connection must not be able to sign an item. An organisation is known by its OIN, which stands in the
//! `serialNumber` of the certificate's subject. Keys and times come in, DER goes out; this module knows no files
//! except in [`Authority::save`] and [`Authority::load`], and reads no clock.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData, RevocationReason,
    RevokedCertParams, SanType, SerialNumber, SigningKey,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::files;
use crate::key::{Key, KeyKind, random};

/// From when until when; the end does not belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub from: Timestamp,
    /// The moment after the last.
    pub until: Timestamp,
}

impl Validity {
    /// Returns the validity of so many days from a moment on.
    #[must_use]
    pub fn days(from: Timestamp, days: u64) -> Self {
        Self { from, until: from + Duration::from_secs(days * 86_400) }
    }
}

/// Root and issuing authority of one hierarchy.
pub struct Hierarchy {
    /// The root, which a covenant names.
    pub root: Authority,
    /// Issues the certificates of agencies; sent along by whoever shows one.
    pub issuing: Authority,
}

impl Hierarchy {
    /// Makes a root of ten years and an issuing authority of five, named such as `Seinpost transport`.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if a certificate cannot be made.
    pub fn generate(name: &str, from: Timestamp) -> Result<Self, Fault> {
        let root = Authority::root(&format!("{name} root (TEST)"), Validity::days(from, 3650))?;
        let issuing = root.issuing(&format!("{name} issuing (TEST)"), Validity::days(from, 1825))?;
        Ok(Self { root, issuing })
    }

    /// Issues a certificate for a key.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if the subject holds what a certificate cannot.
    pub fn issue(&self, request: &Request, key: &Key) -> Result<Issued, Fault> {
        Ok(Issued { leaf: self.issuing.issue(request, key)?, above: vec![self.issuing.certificate.clone()] })
    }

    /// Returns the revocation lists of both authorities, the root's first: a certificate's status must be known at
    /// every step below the root.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if a list cannot be made.
    pub fn crls(&self, validity: Validity) -> Result<[Vec<u8>; 2], Fault> {
        Ok([self.root.crl(validity)?, self.issuing.crl(validity)?])
    }

    /// Writes both authorities into a folder: `root.*` and `issuing.*`.
    ///
    /// # Errors
    /// [`Fault::Exists`] if there is one already, [`Fault::File`] if they cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Fault> {
        self.root.save(folder, "root")?;
        self.issuing.save(folder, "issuing")
    }

    /// Reads both authorities from a folder.
    ///
    /// # Errors
    /// As [`Authority::load`].
    pub fn load(folder: &Path) -> Result<Self, Fault> {
        Ok(Self { root: Authority::load(folder, "root")?, issuing: Authority::load(folder, "issuing")? })
    }
}

/// A certification authority: its certificate, its key and whom it has revoked.
pub struct Authority {
    certificate: Vec<u8>,
    key: Key,
    revocations: Revocations,
}

/// What an authority has revoked, and the number of its newest list.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocations {
    /// Number of the next revocation list, less one; it never falls.
    number: u64,
    #[serde(default)]
    revoked: Vec<Revocation>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    /// Serial number of the certificate, hexadecimal.
    serial: String,
    /// When it was revoked, in milliseconds since 1970.
    at_millis: i64,
}

impl Authority {
    /// Makes a root that signs itself.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if the certificate cannot be made.
    pub fn root(name: &str, validity: Validity) -> Result<Self, Fault> {
        let key = Key::generate(KeyKind::P256)?;
        let params = authority_params(name, validity, BasicConstraints::Constrained(1))?;
        let certificate = params.self_signed(key.pair()).map_err(Fault::certificate("making a root"))?;
        Ok(Self {
            certificate: certificate.der().to_vec(),
            key,
            revocations: Revocations { number: 1, revoked: Vec::new() },
        })
    }

    /// Makes an authority below this one, which may issue to agencies and to no further authority.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if the certificate cannot be made.
    pub fn issuing(&self, name: &str, validity: Validity) -> Result<Self, Fault> {
        let key = Key::generate(KeyKind::P256)?;
        let mut params = authority_params(name, validity, BasicConstraints::Constrained(0))?;
        params.use_authority_key_identifier_extension = true;
        let certificate =
            params.signed_by(key.pair(), &self.issuer()?).map_err(Fault::certificate("making an issuing authority"))?;
        Ok(Self {
            certificate: certificate.der().to_vec(),
            key,
            revocations: Revocations { number: 1, revoked: Vec::new() },
        })
    }

    /// Issues a certificate for a key and returns it as DER.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if the subject holds what a certificate cannot.
    pub fn issue(&self, request: &Request, key: &Key) -> Result<Vec<u8>, Fault> {
        let params = request.params()?;
        if request.oins.len() < 2 {
            let made = params.signed_by(key.pair(), &self.issuer()?);
            return Ok(made.map_err(Fault::certificate("issuing a certificate"))?.der().to_vec());
        }
        let issuer = self.issuer_with(Rewriting(self.key.pair()))?;
        let made = params.signed_by(key.pair(), &issuer).map_err(Fault::certificate("issuing a certificate"))?;
        Ok(Rewriting::<&rcgen::KeyPair>::rewrite(made.der()))
    }

    /// Revokes a certificate that this authority issued, from a moment on; twice is once.
    ///
    /// # Errors
    /// [`Fault::Data`] if the bytes are no certificate or this authority did not issue it.
    pub fn revoke(&mut self, certificate: &[u8], at: Timestamp) -> Result<(), Fault> {
        let read = |der: &[u8]| -> Result<(String, Vec<u8>, Vec<u8>), Fault> {
            let (_, parsed) = x509_parser::parse_x509_certificate(der)
                .map_err(|error| Fault::data("the certificate to revoke", error.to_string()))?;
            let names = (parsed.issuer().as_raw().to_vec(), parsed.subject().as_raw().to_vec());
            Ok((hex::encode(parsed.raw_serial()), names.0, names.1))
        };
        let (serial, issued_by, _) = read(certificate)?;
        let (_, _, own_name) = read(&self.certificate)?;
        if issued_by != own_name {
            return Err(Fault::data("the certificate to revoke", "another authority issued it"));
        }
        if self.revocations.revoked.iter().all(|revoked| revoked.serial != serial) {
            self.revocations.revoked.push(Revocation { serial, at_millis: at.millis() });
            self.revocations.number += 1;
        }
        Ok(())
    }

    /// Returns the authority's revocation list, DER. Its number rises with each revocation and each
    /// [`renewal`](Self::renew_crl).
    ///
    /// # Errors
    /// [`Fault::Certificate`] if the list cannot be made.
    pub fn crl(&self, validity: Validity) -> Result<Vec<u8>, Fault> {
        let revoked_certs = self.revocations.revoked.iter().map(|revoked| {
            let serial = hex::decode(&revoked.serial)
                .map_err(|_| Fault::data("a revoked serial number", "is not hexadecimal"))?;
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial),
                revocation_time: rcgen::date_time_ymd(1970, 1, 1) + since_1970(Timestamp::clamped(revoked.at_millis)),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
        });
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(1970, 1, 1) + since_1970(validity.from),
            next_update: rcgen::date_time_ymd(1970, 1, 1) + since_1970(validity.until),
            crl_number: SerialNumber::from(self.revocations.number),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect::<Result<_, Fault>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.issuer()?).map_err(Fault::certificate("making a revocation list"))?;
        Ok(signed.der().to_vec())
    }

    /// Raises the number of the revocation list although nobody was revoked: a newer list of the same.
    pub fn renew_crl(&mut self) {
        self.revocations.number += 1;
    }

    /// Returns the authority's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Returns the authority's certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Writes `NAME.pem`, `NAME.key` and `NAME.revoked.toml` into a folder.
    ///
    /// # Errors
    /// [`Fault::Exists`] if there is one already, [`Fault::File`] if they cannot be written.
    pub fn save(&self, folder: &Path, name: &str) -> Result<(), Fault> {
        files::make_folder(folder)?;
        files::write_secret(&folder.join(format!("{name}.key")), self.key.to_pem().as_bytes())?;
        files::write_new(&folder.join(format!("{name}.pem")), self.certificate_pem())?;
        self.save_revocations(folder, name)
    }

    /// Writes `NAME.revoked.toml` anew: whom the authority has revoked.
    ///
    /// # Errors
    /// [`Fault::File`] if it cannot be written.
    pub fn save_revocations(&self, folder: &Path, name: &str) -> Result<(), Fault> {
        let text = toml::to_string(&self.revocations).expect("numbers and texts are TOML");
        files::replace(
            &folder.join(format!("{name}.revoked.toml")),
            format!("# Written by seinpost-certs; the number never falls.\n{text}"),
        )
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`Fault::File`], [`Fault::Certificate`] or [`Fault::Data`] if a file is missing or is not what it should be.
    pub fn load(folder: &Path, name: &str) -> Result<Self, Fault> {
        let path = folder.join(format!("{name}.pem"));
        let certificate = read_certificates(&path)?.swap_remove(0);
        let key = Key::from_pem(&zeroize::Zeroizing::new(files::read_text(&folder.join(format!("{name}.key")))?))?;
        let path = folder.join(format!("{name}.revoked.toml"));
        let revocations = toml::from_str(&files::read_text(&path)?)
            .map_err(|error| Fault::data(path.display().to_string(), error.to_string()))?;
        Ok(Self { certificate, key, revocations })
    }

    fn issuer(&self) -> Result<Issuer<'static, &rcgen::KeyPair>, Fault> {
        self.issuer_with(self.key.pair())
    }

    fn issuer_with<S: SigningKey>(&self, key: S) -> Result<Issuer<'static, S>, Fault> {
        let certificate = CertificateDer::from(self.certificate.as_slice());
        Issuer::from_ca_cert_der(&certificate, key).map_err(Fault::certificate("reading an authority's certificate"))
    }
}

/// What a certificate is to say.
#[derive(Debug, Clone)]
pub struct Request {
    /// OINs for the subject's `serialNumber`: one, or for tests none or two.
    pub oins: Vec<String>,
    /// Name of the system, the subject's common name.
    pub common_name: String,
    /// Name of the organisation.
    pub organisation: String,
    /// What the certificate is for.
    pub usage: Usage,
    /// When it is valid.
    pub validity: Validity,
}

/// What a certificate is for, by its key usages and extended key usages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Opens connections: `clientAuth`.
    Client,
    /// Accepts connections: `serverAuth`, for `localhost`, `127.0.0.1` and `::1`.
    Server,
    /// Signs items: `digitalSignature` and `nonRepudiation`, and `documentSigning`, which is no usage of TLS.
    Signing,
    /// Signs mail: like signing, with `emailProtection`, as PKIoverheid's personal certificates have it.
    Mail,
    /// Signs items *and* opens connections: what must be refused for signing.
    SigningAndClient,
    /// Any usage at all: what must be refused for signing.
    Any,
}

impl Request {
    fn params(&self) -> Result<CertificateParams, Fault> {
        let mut name = DistinguishedName::new();
        name.push(DnType::CountryName, printable("NL")?);
        name.push(DnType::OrganizationName, self.organisation.as_str());
        if let [first, more @ ..] = self.oins.as_slice() {
            name.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), printable(first)?);
            if let [second, ..] = more {
                name.push(DnType::CustomDnType(STAND_IN.to_vec()), printable(second)?);
            }
        }
        name.push(DnType::CommonName, self.common_name.as_str());

        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.serial_number = Some(serial_number()?);
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(self.validity.from);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(self.validity.until);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = match self.usage {
            Usage::Client | Usage::Server => vec![KeyUsagePurpose::DigitalSignature],
            Usage::Signing | Usage::Mail | Usage::SigningAndClient | Usage::Any => {
                vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment]
            }
        };
        // id-kp-documentSigning, RFC 9336.
        let document_signing = ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 36]);
        params.extended_key_usages = match self.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Signing => vec![document_signing],
            Usage::Mail => vec![ExtendedKeyUsagePurpose::EmailProtection],
            Usage::SigningAndClient => vec![document_signing, ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Any => vec![ExtendedKeyUsagePurpose::Any],
        };
        if self.usage == Usage::Server {
            let localhost = "localhost".try_into().map_err(Fault::certificate("naming localhost"))?;
            params.subject_alt_names = vec![
                SanType::DnsName(localhost),
                SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
                SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
            ];
        }
        Ok(params)
    }

    /// Makes the certificate signed by its own key: what nobody should trust.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if the subject holds what a certificate cannot.
    pub fn self_signed(&self, key: &Key) -> Result<Issued, Fault> {
        let made =
            self.params()?.self_signed(key.pair()).map_err(Fault::certificate("signing a certificate by itself"))?;
        Ok(Issued { leaf: made.der().to_vec(), above: Vec::new() })
    }
}

/// A certificate and those above it, without the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, DER.
    pub leaf: Vec<u8>,
    /// Those above it, in order, DER.
    pub above: Vec<Vec<u8>>,
}

impl Issued {
    /// Returns the chain as PEM, the leaf first.
    #[must_use]
    pub fn to_pem(&self) -> String {
        std::iter::once(&self.leaf).chain(&self.above).map(|der| pem("CERTIFICATE", der)).collect()
    }

    /// Returns the digest of the leaf, by which items name their signer's certificate.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        Digest::of(&self.leaf)
    }
}

/// Reads a file of certificates, PEM, the leaf first.
///
/// # Errors
/// [`Fault::Data`] if there is none in it.
pub fn read_certificates(path: &Path) -> Result<Vec<Vec<u8>>, Fault> {
    let text = files::read(path)?;
    let read: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&text).map(|der| der.map(|der| der.to_vec())).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Fault::data(path.display().to_string(), "holds no certificate")),
        Err(error) => Err(Fault::data(path.display().to_string(), error.to_string())),
    }
}

/// Encodes bytes as PEM: lines of 64 characters, as RFC 7468 asks.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Object identifier of `serialNumber`, where the OIN stands.
const SERIAL_NUMBER: [u64; 4] = [2, 5, 4, 5];
/// Object identifier of `telephoneNumber`, which stands in for a second `serialNumber` until it is signed.
const STAND_IN: [u64; 4] = [2, 5, 4, 20];

/// Signs a certificate with two `serialNumber`s. The library keeps one value per attribute, so the second is made
/// under another name of the same length, and that name is changed before signing and again in what comes out.
struct Rewriting<K>(K);

impl<K> Rewriting<K> {
    fn rewrite(der: &[u8]) -> Vec<u8> {
        const FROM: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x14];
        let mut der = der.to_vec();
        if let Some(at) = der.windows(FROM.len()).position(|window| window == FROM) {
            der[at + 4] = 0x05;
        }
        der
    }
}

impl<K: PublicKeyData> PublicKeyData for Rewriting<K> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl<K: SigningKey> SigningKey for Rewriting<K> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(&Self::rewrite(message))
    }
}

fn authority_params(name: &str, validity: Validity, constraints: BasicConstraints) -> Result<CertificateParams, Fault> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, printable("NL")?);
    subject.push(DnType::OrganizationName, "Seinpost (TEST)");
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(serial_number()?);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(validity.from);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(validity.until);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Draws a serial number of 16 bytes, positive and without leading zeros, so that its encoding is its bytes.
fn serial_number() -> Result<SerialNumber, Fault> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(bytes.as_slice()))
}

fn printable(text: &str) -> Result<DnValue, Fault> {
    let text = text.try_into().map_err(Fault::certificate("naming a subject"))?;
    Ok(DnValue::PrintableString(text))
}

fn since_1970(time: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(time.millis()).expect("times begin in 2020"))
}
