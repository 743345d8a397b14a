//! SHA-256 digests: 32 bytes that name an item, a certificate, a record, a covenant.

use std::fmt;

use bytes::Bytes;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Computes the digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts(&[bytes])
    }

    /// Computes the digest of the concatenation of `parts`.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for part in parts {
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }

    /// Takes 32 bytes as a digest.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = NotADigest;

    fn try_from(bytes: &[u8]) -> Result<Self, NotADigest> {
        <[u8; 32]>::try_from(bytes).map(Self).map_err(|_| NotADigest)
    }
}

impl TryFrom<&Bytes> for Digest {
    type Error = NotADigest;

    fn try_from(bytes: &Bytes) -> Result<Self, NotADigest> {
        Self::try_from(bytes.as_ref())
    }
}

impl From<Digest> for Bytes {
    fn from(digest: Digest) -> Self {
        Self::copy_from_slice(&digest.0)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Lower-case hexadecimal, 64 characters.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // At one go: it stands in the operator's log of every item, and a write for each byte costs as much as hashing.
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).expect("32 bytes are 64 digits");
        f.write_str(str::from_utf8(&text).expect("digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A digest is 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 32 bytes")]
pub struct NotADigest;
