//! The one function that judges signatures, for agencies, registrars and the log alike.
//!
//! In come a public key, a message and a signature; out comes yes, or the rule that is broken. The key decides the
//! algorithm, and nothing else can: a field that named one would be the way to talk a verifier down. Each key has one
//! encoding here and each algorithm one form of signature, so that two implementations cannot differ on what is signed:
//!
//! | key (SubjectPublicKeyInfo, DER) | signature |
//! |---|---|
//! | Ed25519 (RFC 8410), canonical, not of small order | Ed25519 without cofactor: 64 bytes, S < L, R canonical, not of small order |
//! | P-256, named curve, uncompressed point on it | ECDSA with SHA-256: strict DER, r and s in [1, n−1], either S |
//! | P-384, likewise | ECDSA with SHA-384: likewise |
//! | rsaEncryption with NULL, 3072–8192 bits (2048 where allowed), e odd, 65537 ≤ e < 2³³ | PSS, SHA-256, MGF1 with SHA-256, salt of 32 bytes |
//!
//! Keys, messages and signatures are public, so nothing here need take constant time. Nothing here signs.

use bytes::Bytes;
use ed25519_dalek::VerifyingKey;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::num_bigint::BigUint;

use crate::digest::Digest;

/// A public key that is well-formed, of an algorithm that is taken, and strong enough.
#[derive(Clone)]
pub struct PublicKey {
    kind: Kind,
    spki_sha256: Digest,
}

#[derive(Clone)]
enum Kind {
    Ed25519(VerifyingKey),
    Ecdsa(&'static Curve, Bytes),
    Rsa { n: Bytes, e: Bytes },
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo; RSA of exactly 2048 bits is taken only where the configuration allows it.
    ///
    /// # Errors
    /// Tells why this is no key to be trusted with anything.
    pub fn from_spki(spki: &[u8], allow_rsa_2048: bool) -> Result<Self, BadKey> {
        let kind = if let Some(key) = spki.strip_prefix(ED25519_SPKI) {
            Kind::Ed25519(ed25519_key(key.try_into().map_err(|_| BadKey::Encoding)?)?)
        } else if let Some(point) = spki.strip_prefix(P256.spki) {
            Kind::Ecdsa(&P256, P256.point(point)?)
        } else if let Some(point) = spki.strip_prefix(P384.spki) {
            Kind::Ecdsa(&P384, P384.point(point)?)
        } else {
            rsa_key(spki, allow_rsa_2048)?
        };
        Ok(Self { kind, spki_sha256: Digest::of(spki) })
    }

    /// Takes the 32 bytes of an Ed25519 key, as registrars and logs have them.
    ///
    /// # Errors
    /// Tells why this is no key to be trusted with anything.
    pub fn from_ed25519(key: &[u8; 32]) -> Result<Self, BadKey> {
        Self::from_spki(&[ED25519_SPKI, key].concat(), false)
    }

    /// Checks that `signature` is this key's over `message`.
    ///
    /// # Errors
    /// Tells whether the signature is none at all, or one of something else.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match &self.kind {
            Kind::Ed25519(key) => verify_ed25519_by(key, message, signature),
            Kind::Ecdsa(curve, point) => {
                let verified = UnparsedPublicKey::new(curve.algorithm, point).verify(message, signature);
                verified.map_err(|_| curve.explain(signature))
            }
            Kind::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PSS_2048_8192_SHA256, message, signature)
                .map_err(|_| BadSignature::Mismatch),
        }
    }

    /// Returns the digest of the SubjectPublicKeyInfo, by which a covenant binds the key.
    #[must_use]
    pub const fn spki_sha256(&self) -> Digest {
        self.spki_sha256
    }
}

/// Checks a signature by a bare Ed25519 key, under the same rule as [`PublicKey::verify`].
///
/// # Errors
/// Tells whether key or signature is at fault.
pub fn verify_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    verify_ed25519_by(&ed25519_key(key)?, message, signature)
}

/// A public key that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Another algorithm, curve, form of point, or parameters than those in the table above.
    #[error("the key is not Ed25519, P-256, P-384 or RSA in the form that is taken")]
    Algorithm,
    /// The algorithm is known, but the key is not well-formed: not canonical, not on its curve, not strict DER.
    #[error("the key is not well-formed")]
    Encoding,
    /// An Ed25519 key under which signatures say nothing.
    #[error("the key is of small order")]
    SmallOrder,
    /// An RSA modulus that is too small, or larger than anybody needs.
    #[error("an RSA key must have 3072 to 8192 bits")]
    RsaSize,
    /// An RSA exponent that is even, below 65537, or above what is ever used.
    #[error("an RSA key's exponent must be odd and at least 65537")]
    RsaExponent,
}

impl BadKey {
    /// Returns the rule's word, as errors and logs write it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Algorithm => "KEY_ALGORITHM",
            Self::Encoding => "KEY_ENCODING",
            Self::SmallOrder => "KEY_SMALL_ORDER",
            Self::RsaSize => "KEY_RSA_SIZE",
            Self::RsaExponent => "KEY_RSA_EXPONENT",
        }
    }
}

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// The key by which it would have to hold is none.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The bytes are not a signature in the one form of their algorithm.
    #[error("the signature is not well-formed")]
    Encoding,
    /// An Ed25519 signature whose R says nothing.
    #[error("the signature's R is of small order")]
    SmallOrder,
    /// A signature of another message or by another key.
    #[error("the signature does not verify")]
    Mismatch,
}

impl BadSignature {
    /// Returns the rule's word, as errors and logs write it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Key(key) => key.reason(),
            Self::Encoding => "SIGNATURE_ENCODING",
            Self::SmallOrder => "SIGNATURE_SMALL_ORDER",
            Self::Mismatch => "SIGNATURE",
        }
    }
}

// Ed25519

/// SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING of 32 bytes }, up to the key; parameters are absent.
const ED25519_SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn ed25519_key(key: &[u8; 32]) -> Result<VerifyingKey, BadKey> {
    // The library takes other encodings too, so one point would have two, and a key two digests.
    if !is_canonical(key) {
        return Err(BadKey::Encoding);
    }
    let key = VerifyingKey::from_bytes(key).map_err(|_| BadKey::Encoding)?;
    if key.is_weak() { Err(BadKey::SmallOrder) } else { Ok(key) }
}

fn verify_ed25519_by(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let bytes = <&[u8; 64]>::try_from(signature).map_err(|_| BadSignature::Encoding)?;
    // `verify_strict` recomputes R and compares its encoding, so an R that is not canonical never matches.
    let verified = key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(bytes));
    verified.map_err(|_| explain_ed25519(bytes))
}

/// Tells why a signature that did not verify did not.
fn explain_ed25519(signature: &[u8; 64]) -> BadSignature {
    let (r, s) = signature.split_first_chunk().expect("64 bytes have a first half");
    let below_order = s.iter().rev().cmp(ED25519_ORDER.iter().rev()).is_lt();
    match VerifyingKey::from_bytes(r) {
        Ok(r_point) if is_canonical(r) && below_order => {
            if r_point.is_weak() {
                BadSignature::SmallOrder
            } else {
                BadSignature::Mismatch
            }
        }
        _ => BadSignature::Encoding,
    }
}

/// Whether this is the one encoding of its point (RFC 8032, 5.1.3): y, the low 255 bits in little-endian order, is below
/// p = 2²⁵⁵ − 19, and the sign of x is not set where x is 0, which is where y is 1 or p − 1.
fn is_canonical(point: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = point;
    let all = |byte: u8| middle.iter().all(|other| *other == byte);
    match (first, last) {
        (0xed..=0xff, 0x7f | 0xff) => !all(0xff),
        (0xec, 0xff) => !all(0xff),
        (0x01, 0x80) => !all(0x00),
        _ => true,
    }
}

/// L, the order of the base point, in little-endian order.
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

// ECDSA

/// A curve y² = x³ − 3x + b over the integers modulo p, with a base point of order n.
struct Curve {
    /// SEQUENCE { SEQUENCE { ecPublicKey, OID of the curve }, BIT STRING }, up to the point and with the mark 0x04.
    spki: &'static [u8],
    algorithm: &'static dyn VerificationAlgorithm,
    /// Bytes of a coordinate, and of r and s.
    width: usize,
    p: &'static str,
    b: &'static str,
    n: &'static str,
}

static P256: Curve = Curve {
    spki: &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ],
    algorithm: &ECDSA_P256_SHA256_ASN1,
    width: 32,
    p: "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    b: "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
    n: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
};

static P384: Curve = Curve {
    spki: &[
        0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
        0x00, 0x22, 0x03, 0x62, 0x00, 0x04,
    ],
    algorithm: &ECDSA_P384_SHA384_ASN1,
    width: 48,
    p: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
    b: "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
    n: "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
};

impl Curve {
    /// Returns the point as ring takes it, or refuses one that is not on the curve: ring itself would only ever say that
    /// no signature verifies, long after the certificate was published.
    fn point(&self, coordinates: &[u8]) -> Result<Bytes, BadKey> {
        if coordinates.len() != 2 * self.width {
            return Err(BadKey::Encoding);
        }
        let (x, y) = coordinates.split_at(self.width);
        let (x, y) = (BigUint::from_bytes_be(x), BigUint::from_bytes_be(y));
        let (p, b) = (number(self.p), number(self.b));
        // p − 3 stands for −3, so that nothing falls below zero.
        let right = &x * &x * &x + (&p - 3_u8) * &x + b;
        let on_curve = x < p && y < p && (&y * &y) % &p == right % &p;
        if on_curve { Ok([&[0x04], coordinates].concat().into()) } else { Err(BadKey::Encoding) }
    }

    /// Tells why a signature that did not verify did not.
    fn explain(&self, signature: &[u8]) -> BadSignature {
        let integers = der_value(signature, SEQUENCE).and_then(|integers| {
            let (r, rest) = der_integer(integers)?;
            let (s, rest) = der_integer(rest)?;
            rest.is_empty().then_some([r, s])
        });
        let n = number(self.n);
        let in_range = |integer: &[u8]| {
            let integer = BigUint::from_bytes_be(integer);
            integer != BigUint::ZERO && integer < n
        };
        match integers {
            Some([r, s]) if in_range(r) && in_range(s) => BadSignature::Mismatch,
            _ => BadSignature::Encoding,
        }
    }
}

fn number(hexadecimal: &str) -> BigUint {
    BigUint::parse_bytes(hexadecimal.as_bytes(), 16).expect("the constants are hexadecimal")
}

// RSA

/// SEQUENCE { OID 1.2.840.113549.1.1.1, NULL }: RSASSA-PSS as a key's algorithm is another and not taken.
const RSA_ALGORITHM: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

fn rsa_key(spki: &[u8], allow_rsa_2048: bool) -> Result<Kind, BadKey> {
    let (info, behind) = der(spki, SEQUENCE).ok_or(BadKey::Algorithm)?;
    let bits = info.strip_prefix(RSA_ALGORITHM).ok_or(BadKey::Algorithm)?;
    let integers = der_value(bits, BIT_STRING)
        .and_then(|bits| bits.strip_prefix(&[0]))
        .and_then(|key| der_value(key, SEQUENCE))
        .ok_or(BadKey::Encoding)?;
    let (n, rest) = der_integer(integers).ok_or(BadKey::Encoding)?;
    let (e, rest) = der_integer(rest).ok_or(BadKey::Encoding)?;
    if !rest.is_empty() || !behind.is_empty() || n.last().is_none_or(|last| last % 2 == 0) {
        return Err(BadKey::Encoding);
    }
    // 8192 bits are what ring verifies at most; more would only cost time.
    match BigUint::from_bytes_be(n).bits() {
        3072..=8192 => {}
        2048 if allow_rsa_2048 => {}
        _ => return Err(BadKey::RsaSize),
    }
    let exponent = BigUint::from_bytes_be(e);
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    if !odd || exponent < BigUint::from(65_537_u32) || exponent.bits() > 33 {
        return Err(BadKey::RsaExponent);
    }
    Ok(Kind::Rsa { n: Bytes::copy_from_slice(n), e: Bytes::copy_from_slice(e) })
}

// DER, strictly: lengths in their shortest form, nothing behind.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Reads one value with this tag; returns its content and what stands behind it.
fn der(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = input.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        // No key or signature that is taken has 64 KiB.
        _ => return None,
    };
    let shortest = match first {
        0x81 => length > 0x7f,
        0x82 => length > 0xff,
        _ => true,
    };
    if shortest { rest.split_at_checked(length) } else { None }
}

/// Reads a value behind which nothing stands.
fn der_value(input: &[u8], tag: u8) -> Option<&[u8]> {
    der(input, tag).and_then(|(value, rest)| rest.is_empty().then_some(value))
}

/// Reads an integer that is not negative and has no needless zero before it; returns it without its sign byte.
fn der_integer(input: &[u8]) -> Option<(&[u8], &[u8])> {
    match der(input, INTEGER)? {
        ([0, integer @ ..], rest) if integer.is_empty() || integer[0] >= 0x80 => Some((integer, rest)),
        (integer @ [1..=0x7f, ..], rest) => Some((integer, rest)),
        _ => None,
    }
}
