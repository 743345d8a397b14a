//! An agency's signing key and certificate, and the one function that signs.
//!
//! The key comes from a PKCS#8 file in PEM (Ed25519, P-256, P-384, RSA of 3,072 bits and more) and never leaves this
//! room; it has no `Debug`, and what was read of it is wiped. Its kind decides the algorithm, as it does for whoever
//! verifies. Certificate and key are tried together before anything is signed.

use bytes::Bytes;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, RSA_PSS_SHA256, RsaKeyPair,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use seinpost_protocol::certificate::{Chain, SigningCertificate};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{ItemType, pae};
use seinpost_protocol::wire;
use zeroize::Zeroize as _;

use crate::error::{Error, Fault, Result};

/// RSA keys below this size are refused, as those who verify do.
const RSA_BITS_MIN: usize = 3_072;

/// A private key that signs items.
pub struct SigningKey(Kind);

enum Kind {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    Ecdsa(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl SigningKey {
    /// Reads a PKCS#8 key from PEM.
    ///
    /// # Errors
    /// If there is no such key, or it is of a kind or size that nobody would accept. The error says nothing of the
    /// key itself.
    pub fn from_pem(pem: &[u8]) -> std::result::Result<Self, BadKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| BadKey::NoKey)?;
        let key = Self::from_pkcs8(der.secret_pkcs8_der());
        PrivateKeyDer::from(der).zeroize();
        key
    }

    fn from_pkcs8(der: &[u8]) -> std::result::Result<Self, BadKey> {
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_der(der) {
            return Ok(Self(Kind::Ed25519(Box::new(key))));
        }
        for algorithm in [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING] {
            if let Ok(key) = EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new()) {
                return Ok(Self(Kind::Ecdsa(Box::new(key))));
            }
        }
        let key = RsaKeyPair::from_pkcs8(der).map_err(|_| BadKey::Kind)?;
        if key.public().modulus_len() * 8 < RSA_BITS_MIN {
            return Err(BadKey::RsaTooShort);
        }
        Ok(Self(Kind::Rsa(Box::new(key))))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let failed = || Error::Fault("signing failed: the operating system gives no random bytes".into());
        match &self.0 {
            Kind::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
            Kind::Ecdsa(key) => key
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| failed()),
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature).map_err(|_| failed())?;
                Ok(signature)
            }
        }
    }
}

/// The PEM holds no key that signs items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// There is no PKCS#8 private key in it.
    #[error("the file holds no unencrypted PKCS#8 private key (BEGIN PRIVATE KEY)")]
    NoKey,
    /// The key is of a kind that is not used.
    #[error("the key is neither Ed25519, P-256, P-384 nor RSA")]
    Kind,
    /// The key is too short.
    #[error("an RSA key has at least {RSA_BITS_MIN} bits")]
    RsaTooShort,
}

/// A signing key with the certificate that belongs to it and those above it.
pub struct Identity {
    key: SigningKey,
    chain: Chain,
}

impl Identity {
    /// Puts key and certificates together.
    ///
    /// # Errors
    /// If the certificates (PEM, leaf first) do not parse or the key is not the leaf's. `place` names the files in
    /// the error.
    pub fn from_pem(certificates: &[u8], key: &[u8], place: (&str, &str)) -> Result<Self> {
        let key = SigningKey::from_pem(key).map_err(|error| Error::usage(place.1, error.to_string()))?;
        let ders = certificates_from_pem(certificates, place.0)?;
        let chain = Chain::parse(&ders, false).map_err(|error| Error::usage(place.0, error.to_string()))?;
        let trial = key.sign(b"seinpost.v1/trial")?;
        if chain.leaf.key().verify(b"seinpost.v1/trial", &trial).is_err() {
            let spki = chain.leaf.spki_sha256();
            return Err(Error::Usage(vec![
                Fault::new(place.1, "the key does not belong to the certificate")
                    .hint(format!("{} certifies the key with SHA-256 {spki}", place.0)),
            ]));
        }
        Ok(Self { key, chain })
    }

    /// Returns the certificate.
    #[must_use]
    pub fn certificate(&self) -> &SigningCertificate {
        &self.chain.leaf
    }

    /// Returns the certificate with those above it, to be published.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Signs a payload as an item of the given type.
    ///
    /// # Errors
    /// If the operating system gives no random bytes.
    pub fn sign(&self, item_type: ItemType, payload: Bytes) -> Result<wire::SignedItem> {
        let payload_type = item_type.payload_type().to_owned();
        let signature = self.key.sign(&pae(&payload_type, &payload))?;
        let keyid = self.chain.leaf.spki_sha256().to_string();
        let signatures = vec![wire::ItemSignature { sig: Bytes::from(signature), keyid }];
        Ok(wire::SignedItem { payload, payload_type, signatures })
    }

    /// Returns the digest by which items name the certificate.
    #[must_use]
    pub fn certificate_sha256(&self) -> Digest {
        self.chain.leaf.sha256()
    }
}

/// Reads certificates from PEM, in the order of the file.
pub(crate) fn certificates_from_pem(pem: &[u8], place: &str) -> Result<Vec<Bytes>> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .map(|certificate| certificate.map(|der| Bytes::from(der.to_vec())))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| Error::usage(place, format!("the PEM cannot be read: {error}")))?;
    if certificates.is_empty() {
        return Err(Error::usage(place, "the file holds no certificate (BEGIN CERTIFICATE)"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests;
