//! Certificates: what a signing certificate says, the chain above it, and the lists of those that were revoked.
//!
//! In comes DER; out comes a certificate whose key and OIN can be relied upon once its chain is verified, or the rule
//! that is broken. A certificate says *which organisation* holds a key; what that organisation may do with it stands in
//! the covenant. Nothing here reads a clock: whoever asks for validity says at what time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, OwnedCertRevocationList,
    RevocationOptionsBuilder,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_X509_SERIALNUMBER;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::address::Oin;
use crate::digest::Digest;
use crate::signature::{BadKey, PublicKey};
use crate::time::Timestamp;
use crate::wire;

/// Most certificates of a chain, the leaf among them: root, two authorities between, leaf is what PKIoverheid has, and
/// the root stands in the covenant.
pub const CHAIN_CERTIFICATES_MAX: usize = 4;
/// Most bytes of a chain: four certificates with RSA keys of 8192 bits.
pub const CHAIN_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of a revocation list: a hundred thousand revoked certificates, ten times what PKIoverheid has.
pub const CRL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A signing certificate that is well-formed, names one OIN and holds a key that is taken. Whether anybody vouches for
/// it is for [`Chain::verify`] to say.
#[derive(Clone)]
pub struct SigningCertificate(Arc<Facts>);

struct Facts {
    der: Bytes,
    sha256: Digest,
    oin: Oin,
    key: PublicKey,
    not_before: Timestamp,
    not_after: Timestamp,
    usage: bool,
    extended_usage: ExtendedUsage,
}

/// What the extension extKeyUsage says of signing items.
enum ExtendedUsage {
    Absent,
    /// Present, and without the purposes of TLS or all purposes.
    Signing,
    /// Present, with clientAuth, serverAuth or anyExtendedKeyUsage.
    Tls,
}

impl SigningCertificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// Tells what of it is not as it must be.
    pub fn parse(der: Bytes) -> Result<Self, BadCertificate> {
        Self::parse_allowing(der, false)
    }

    /// Reads a certificate; RSA keys of 2048 bits are taken where the configuration allows them.
    ///
    /// # Errors
    /// Tells what of it is not as it must be.
    pub fn parse_allowing(der: Bytes, allow_rsa_2048: bool) -> Result<Self, BadCertificate> {
        let certificate = parse_certificate(&der)?;
        let oin = oin_in(certificate.subject())?;
        let key = PublicKey::from_spki(certificate.public_key().raw, allow_rsa_2048).map_err(BadCertificate::Key)?;
        let malformed = |_| BadCertificate::Malformed;
        let usage = certificate.key_usage().map_err(malformed)?;
        let extended_usage = match certificate.extended_key_usage().map_err(malformed)? {
            None => ExtendedUsage::Absent,
            Some(usage) if usage.value.any || usage.value.client_auth || usage.value.server_auth => ExtendedUsage::Tls,
            Some(_) => ExtendedUsage::Signing,
        };
        let facts = Facts {
            sha256: Digest::of(&der),
            oin,
            key,
            not_before: clamped(certificate.validity().not_before),
            not_after: clamped(certificate.validity().not_after),
            usage: usage.is_some_and(|usage| usage.value.digital_signature() || usage.value.non_repudiation()),
            extended_usage,
            der: der.clone(),
        };
        Ok(Self(Arc::new(facts)))
    }

    /// Checks that the certificate is one for signing items and not for TLS. For a key that the covenant binds for
    /// signing (`bound`), the covenant's word stands in for an extended key usage, whatever the certificate says there.
    ///
    /// # Errors
    /// Tells which of the two extensions does not allow it.
    pub fn check_usage(&self, bound: bool) -> Result<(), BadCertificate> {
        if !self.0.usage {
            return Err(BadCertificate::Usage);
        }
        match self.0.extended_usage {
            ExtendedUsage::Signing => Ok(()),
            ExtendedUsage::Absent | ExtendedUsage::Tls if bound => Ok(()),
            ExtendedUsage::Absent | ExtendedUsage::Tls => Err(BadCertificate::ExtendedUsage),
        }
    }

    /// Returns the organisation that it names.
    #[must_use]
    pub fn oin(&self) -> Oin {
        self.0.oin
    }

    /// Returns the digest of the DER, by which items name the certificate.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        self.0.sha256
    }

    /// Returns the digest of its SubjectPublicKeyInfo, by which the covenant binds the key.
    #[must_use]
    pub fn spki_sha256(&self) -> Digest {
        self.0.key.spki_sha256()
    }

    /// Returns its key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.0.key
    }

    /// Returns when its validity begins, moved into 2020–2100.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// Returns when its validity ends, moved into 2020–2100; it is still valid in that second.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Returns whether its dates allow its use at this time; asked at every use, since chains are verified only once.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        // Certificates know no part of a second: the last one counts to its end, as where a chain is verified.
        self.0.not_before <= at && at.millis() / 1000 <= self.0.not_after.millis() / 1000
    }

    /// Returns the bytes.
    #[must_use]
    pub fn der(&self) -> &Bytes {
        &self.0.der
    }
}

/// Returns the OIN that a certificate names, be it for signing or for transport.
///
/// # Errors
/// Tells that it is no certificate or names no OIN, or more than one.
pub fn oin_of(der: &[u8]) -> Result<Oin, BadCertificate> {
    oin_in(parse_certificate(der)?.subject())
}

fn parse_certificate(der: &[u8]) -> Result<X509Certificate<'_>, BadCertificate> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(BadCertificate::Malformed),
    }
}

/// Says whether an authority's keyUsage, if it has one, lets it sign certificates.
fn may_sign_certificates(der: &[u8]) -> bool {
    let usage = |certificate: X509Certificate<'_>| match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    };
    parse_certificate(der).is_ok_and(usage)
}

/// Finds the one serialNumber of a subject. A second one, whatever it holds, would let two readers see two
/// organisations.
fn oin_in(subject: &X509Name<'_>) -> Result<Oin, BadCertificate> {
    let mut numbers = subject.iter_by_oid(&OID_X509_SERIALNUMBER);
    match (numbers.next(), numbers.next()) {
        (Some(number), None) => {
            let text = number.as_str().map_err(|_| BadCertificate::Oin)?;
            Oin::try_from(text).map_err(|_| BadCertificate::Oin)
        }
        _ => Err(BadCertificate::Oin),
    }
}

fn clamped(time: ASN1Time) -> Timestamp {
    Timestamp::clamped(time.timestamp().saturating_mul(1000))
}

/// A certificate that is not as a signing certificate must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// It is no X.509 certificate.
    #[error("this is no certificate")]
    Malformed,
    /// Its subject has no serialNumber, or several, or one that is no OIN.
    #[error("the subject must have exactly one serialNumber, and that must be an OIN")]
    Oin,
    /// Its key is not taken.
    #[error(transparent)]
    Key(BadKey),
    /// Its keyUsage allows no signatures.
    #[error("keyUsage must allow digitalSignature or nonRepudiation")]
    Usage,
    /// Its extKeyUsage is absent or is one for TLS, and the covenant does not bind the key for signing.
    #[error("extKeyUsage must be there, without clientAuth, serverAuth and any, or the covenant must bind the key")]
    ExtendedUsage,
}

impl BadCertificate {
    /// Returns the rule's word, as errors and logs write it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "CERTIFICATE",
            Self::Oin => "CERTIFICATE_OIN",
            Self::Key(key) => key.reason(),
            Self::Usage => "CERTIFICATE_USAGE",
            Self::ExtendedUsage => "CERTIFICATE_EKU",
        }
    }
}

/// A signing certificate with those above it, up to but not including the root.
#[derive(Clone)]
pub struct Chain {
    /// The certificate with which items are signed.
    pub leaf: SigningCertificate,
    /// Those that vouch for it, nearest first.
    pub above: Vec<Bytes>,
}

impl Chain {
    /// Reads a chain as it was published: DER, leaf first.
    ///
    /// # Errors
    /// Tells that it is too long, or what of the leaf is not as it must be.
    pub fn parse(certificates: &[Bytes], allow_rsa_2048: bool) -> Result<Self, BadChain> {
        let bytes: usize = certificates.iter().map(Bytes::len).sum();
        if certificates.len() > CHAIN_CERTIFICATES_MAX || bytes > CHAIN_BYTES_MAX {
            return Err(BadChain::TooLong);
        }
        let (leaf, above) = certificates.split_first().ok_or(BadChain::Empty)?;
        let leaf = SigningCertificate::parse_allowing(leaf.clone(), allow_rsa_2048).map_err(BadChain::Leaf)?;
        Ok(Self { leaf, above: above.to_vec() })
    }

    /// Checks that one of the covenant's signing roots vouches for the leaf at a time, that this root may vouch for this
    /// organisation, and that no certificate below the root is revoked. A status that no list tells counts as revoked.
    ///
    /// How old a list may be is not asked here: the gateway watches that, and closes when a list is overdue.
    ///
    /// # Errors
    /// Tells why nobody vouches for the leaf.
    pub fn verify(&self, roots: &[wire::Root], crls: &[Crl], at: Timestamp) -> Result<VerifiedChain, BadChain> {
        let oin = self.leaf.oin();
        let may_issue =
            |root: &&wire::Root| root.oins.is_empty() || root.oins.iter().any(|known| known == oin.as_str());
        let roots: Vec<CertificateDer<'_>> =
            roots.iter().filter(may_issue).map(|root| CertificateDer::from(root.der.as_ref())).collect();
        let anchors: Vec<TrustAnchor<'_>> =
            roots.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<_, _>>().map_err(|_| BadChain::Root)?;
        let above: Vec<CertificateDer<'_>> = self.above.iter().map(|der| CertificateDer::from(der.as_ref())).collect();
        let leaf = CertificateDer::from(self.leaf.der().as_ref());
        let leaf = EndEntityCert::try_from(&leaf).map_err(BadChain::from_webpki)?;

        let lists: Vec<&CertRevocationList<'_>> = crls.iter().map(|crl| &*crl.0.list).collect();
        let revocation = RevocationOptionsBuilder::new(&lists).map_err(|_| BadChain::RevocationUnknown)?.build();
        let seconds = u64::try_from(at.millis() / 1000).expect("times begin in 2020");
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let path = leaf
            .verify_for_usage(ALGORITHMS, &anchors, &above, time, AnyPurpose, Some(revocation), None)
            .map_err(BadChain::from_webpki)?;

        // RFC 5280, 6.1.4(n), which that library leaves to its caller.
        if !path.intermediate_certificates().all(|authority| may_sign_certificates(&authority.der())) {
            return Err(BadChain::Invalid);
        }

        let issuers = path.intermediate_certificates().map(webpki::Cert::issuer);
        let issuers: Vec<&[u8]> = issuers.chain([path.end_entity().issuer()]).collect();
        let mut crl_sha256: Vec<Digest> =
            crls.iter().filter(|crl| issuers.contains(&crl.0.list.issuer())).map(Crl::sha256).collect();
        crl_sha256.sort_unstable();
        crl_sha256.dedup();
        Ok(VerifiedChain { chain: self.clone(), crl_sha256 })
    }
}

/// A chain for whose leaf a root of the covenant vouched. Dates and covenant may have moved on since: who keeps one
/// keeps beside it what it was verified against.
#[derive(Clone)]
pub struct VerifiedChain {
    chain: Chain,
    crl_sha256: Vec<Digest>,
}

impl VerifiedChain {
    /// Returns the leaf.
    #[must_use]
    pub const fn leaf(&self) -> &SigningCertificate {
        &self.chain.leaf
    }

    /// Returns the chain.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Returns the digests of the lists by the issuers in this chain, ascending, as records name them.
    #[must_use]
    pub fn crl_sha256(&self) -> &[Digest] {
        &self.crl_sha256
    }
}

/// The algorithms with which authorities may sign certificates and lists: nothing below SHA-256.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ED25519,
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki::ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki::ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
];

/// Purposes are asked by [`SigningCertificate::check_usage`], since they depend on the covenant; here any will do.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, mut purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        purposes.try_for_each(|purpose| purpose.map(|_| ()))
    }
}

/// Nobody vouches for a chain's leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadChain {
    /// There is no certificate in it.
    #[error("the chain is empty")]
    Empty,
    /// It has more certificates or bytes than a chain may have.
    #[error("a chain has at most 4 certificates and 16 KiB")]
    TooLong,
    /// The leaf is not as it must be.
    #[error(transparent)]
    Leaf(BadCertificate),
    /// A root of the covenant is no certificate.
    #[error("a root of the covenant cannot be read")]
    Root,
    /// None of the roots that may vouch for this organisation vouches for it.
    #[error("no root that may vouch for this organisation vouches for this certificate")]
    UnknownIssuer,
    /// A certificate is not yet or no longer valid.
    #[error("a certificate of the chain is not valid at this time")]
    Dates,
    /// A certificate was revoked.
    #[error("a certificate of the chain was revoked")]
    Revoked,
    /// No list tells whether a certificate was revoked.
    #[error("no revocation list tells the status of a certificate of the chain")]
    RevocationUnknown,
    /// A certificate breaks another rule of RFC 5280.
    #[error("a certificate of the chain cannot vouch for the one below it, or is malformed")]
    Invalid,
}

impl BadChain {
    fn from_webpki(error: webpki::Error) -> Self {
        match error {
            webpki::Error::UnknownIssuer => Self::UnknownIssuer,
            webpki::Error::CertNotValidYet { .. } | webpki::Error::CertExpired { .. } => Self::Dates,
            webpki::Error::CertRevoked => Self::Revoked,
            webpki::Error::UnknownRevocationStatus => Self::RevocationUnknown,
            // The other words of that library are about the insides of a certificate, and grow with it.
            _ => Self::Invalid,
        }
    }

    /// Returns the rule's word, as errors and logs write it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "CHAIN_EMPTY",
            Self::TooLong => "CHAIN_TOO_LONG",
            Self::Leaf(leaf) => leaf.reason(),
            Self::Root => "CHAIN_ROOT",
            Self::UnknownIssuer => "CHAIN_UNKNOWN_ISSUER",
            Self::Dates => "CHAIN_DATES",
            Self::Revoked => "CERTIFICATE_REVOKED",
            Self::RevocationUnknown => "REVOCATION_UNKNOWN",
            Self::Invalid => "CHAIN_INVALID",
        }
    }
}

/// A certificate revocation list that is well-formed. Whether it is its issuer's is checked where a chain is verified.
#[derive(Clone)]
pub struct Crl(Arc<CrlFacts>);

struct CrlFacts {
    der: Bytes,
    list: Box<CertRevocationList<'static>>,
    sha256: Digest,
    issuer_sha256: Digest,
    number: CrlNumber,
    this_update: Timestamp,
    next_update: Timestamp,
}

impl Crl {
    /// Reads a list.
    ///
    /// # Errors
    /// Tells what of it is not as it must be.
    pub fn parse(der: Bytes) -> Result<Self, BadCrl> {
        if der.len() > CRL_BYTES_MAX {
            return Err(BadCrl::TooLarge);
        }
        let list = OwnedCertRevocationList::from_der(&der).map_err(|_| BadCrl::Malformed)?;
        let Ok(([], parsed)) = CertificateRevocationList::from_der(&der) else {
            return Err(BadCrl::Malformed);
        };
        let number = parsed.crl_number().ok_or(BadCrl::Number)?;
        let time = |time: ASN1Time| Timestamp::from_millis(time.timestamp().saturating_mul(1000)).ok_or(BadCrl::Dates);
        let (this_update, next_update) =
            (time(parsed.last_update())?, time(parsed.next_update().ok_or(BadCrl::Dates)?)?);
        if this_update >= next_update {
            return Err(BadCrl::Dates);
        }
        let facts = CrlFacts {
            issuer_sha256: Digest::of(parsed.issuer().as_raw()),
            number: CrlNumber::try_from(number.to_bytes_be().as_slice())?,
            this_update,
            next_update,
            sha256: Digest::of(&der),
            list: Box::new(CertRevocationList::Owned(list)),
            der: der.clone(),
        };
        Ok(Self(Arc::new(facts)))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn der(&self) -> &Bytes {
        &self.0.der
    }

    /// Returns the digest of the DER, by which records name the list.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        self.0.sha256
    }

    /// Returns the digest of the issuer's name in DER.
    #[must_use]
    pub fn issuer_sha256(&self) -> Digest {
        self.0.issuer_sha256
    }

    /// Returns the number, which never falls from one list of an issuer to the next.
    #[must_use]
    pub fn number(&self) -> &CrlNumber {
        &self.0.number
    }

    /// Returns when the list was made.
    #[must_use]
    pub fn this_update(&self) -> Timestamp {
        self.0.this_update
    }

    /// Returns by when the issuer promised the next one.
    #[must_use]
    pub fn next_update(&self) -> Timestamp {
        self.0.next_update
    }
}

/// A revocation list's number: big-endian without leading zeros, up to 20 bytes (RFC 5280, 5.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlNumber(Bytes);

impl CrlNumber {
    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl TryFrom<&[u8]> for CrlNumber {
    type Error = BadCrl;

    fn try_from(number: &[u8]) -> Result<Self, BadCrl> {
        match number {
            [0, _, ..] | [] => Err(BadCrl::Number),
            _ if number.len() > 20 => Err(BadCrl::Number),
            _ => Ok(Self(Bytes::copy_from_slice(number))),
        }
    }
}

impl Ord for CrlNumber {
    /// Without leading zeros the longer number is the larger.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for CrlNumber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A revocation list that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCrl {
    /// It is larger than any list that is expected here.
    #[error("a revocation list has at most 4 MiB")]
    TooLarge,
    /// It is no revocation list of version 2, or a delta or indirect one.
    #[error("this is no complete revocation list")]
    Malformed,
    /// Its number is missing or longer than 20 bytes.
    #[error("a revocation list has a number of at most 20 bytes")]
    Number,
    /// Its dates are missing, outside of 2020–2100, or in the wrong order.
    #[error("thisUpdate must lie before nextUpdate, both within 2020–2100")]
    Dates,
}

impl BadCrl {
    /// Returns the rule's word, as errors and logs write it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "CRL_TOO_LARGE",
            Self::Malformed => "CRL_MALFORMED",
            Self::Number => "CRL_NUMBER",
            Self::Dates => "CRL_DATES",
        }
    }
}
