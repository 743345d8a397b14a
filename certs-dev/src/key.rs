//! Key pairs for development: made, written as PKCS#8 PEM, read again.
//!
//! A key of production is made in a hardware module or by the agency itself and never passes through here.

use rcgen::{PublicKeyData as _, SigningKey as _};
use ring::rand::SecureRandom as _;
use seinpost_protocol::digest::Digest;
use zeroize::Zeroizing;

use crate::fault::Fault;

/// What kind of key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519: for signing items; grpcio refuses it in a server's certificate, so never for transport.
    Ed25519,
    /// ECDSA on P-256, the usual kind for transport and for certification authorities.
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA of 3,072 bits, the shortest that is not being phased out.
    Rsa3072,
    /// RSA of 2,048 bits: to be refused.
    Rsa2048,
}

/// A key pair. Has no `Debug`: it is secret.
pub struct Key(rcgen::KeyPair);

impl Key {
    /// Makes a new key pair.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if the system gives no random bytes.
    pub fn generate(kind: KeyKind) -> Result<Self, Fault> {
        let made = match kind {
            KeyKind::Ed25519 => return Self::from_ed25519_seed(&*random::<32>()?),
            KeyKind::P256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyKind::P384 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyKind::Rsa3072 => rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072),
            KeyKind::Rsa2048 => rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048),
        };
        made.map(Self).map_err(Fault::certificate("making a key"))
    }

    /// Takes the 32 secret bytes of an Ed25519 key.
    ///
    /// # Errors
    /// None that is known: any 32 bytes are an Ed25519 key.
    pub fn from_ed25519_seed(seed: &[u8; 32]) -> Result<Self, Fault> {
        // PKCS#8 version 1, as `openssl genpkey` writes it: every library reads it, and version 2 not every one.
        const HEAD: [u8; 16] =
            [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let der = Zeroizing::new([HEAD.as_slice(), seed].concat());
        rcgen::KeyPair::try_from(der.as_slice()).map(Self).map_err(Fault::certificate("making an Ed25519 key"))
    }

    /// Reads a key from PEM.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if it is no private key of a kind that is known.
    pub fn from_pem(pem: &str) -> Result<Self, Fault> {
        rcgen::KeyPair::from_pem(pem).map(Self).map_err(Fault::certificate("reading a key"))
    }

    /// Returns the private key as PKCS#8 PEM.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// Returns the private key as PKCS#8 DER.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.serialize_der())
    }

    /// Returns the SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// Returns the digest of the SubjectPublicKeyInfo, by which a covenant binds a key.
    #[must_use]
    pub fn spki_sha256(&self) -> Digest {
        Digest::of(&self.spki())
    }

    /// Returns the 32 bytes of the public key if it is Ed25519.
    #[must_use]
    pub fn ed25519_public(&self) -> Option<[u8; 32]> {
        if !self.0.is_compatible(&rcgen::PKCS_ED25519) {
            return None;
        }
        self.0.public_key_raw().try_into().ok()
    }

    /// Signs as the key's kind says; an Ed25519 key gives 64 bytes.
    ///
    /// # Errors
    /// [`Fault::Certificate`] if the system gives no random bytes.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        self.0.sign(message).map_err(Fault::certificate("signing"))
    }

    /// Lends the key pair to the certificate maker.
    pub(crate) fn pair(&self) -> &rcgen::KeyPair {
        &self.0
    }
}

/// Draws random bytes.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Fault> {
    let mut bytes = Zeroizing::new([0; N]);
    ring::rand::SystemRandom::new()
        .fill(bytes.as_mut_slice())
        .map_err(|_| Fault::data("random", "the system gives no random bytes"))?;
    Ok(bytes)
}
