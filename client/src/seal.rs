//! Suite 1: content sealed once for all recipients, its key wrapped for each of them.
//!
//! In comes content as bytes, the signed header and the recipients' sealing keys; out goes what travels beside the
//! item, or, at the other end, the content again. HPKE (RFC 9180, base mode, single shot) with X-Wing, HKDF-SHA256
//! and AES-256-GCM wraps a random content secret; everything else is derived from that secret and the header. This
//! room never looks into content, reads no clock, and verifies no signature: [`open`] is given what a verified item
//! says. The commitment in the header makes all recipients hold one text, which AES-GCM alone does not.

use std::fmt;

use bytes::Bytes;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use ring::rand::SecureRandom as _;
use ring::{aead, hkdf};
use seinpost_protocol::digest::Digest;
pub use seinpost_protocol::signal::SUITE;
use seinpost_protocol::signal::size_class_bytes;
use seinpost_protocol::wire::SizeClass;
use zeroize::Zeroizing;

/// Length of an X-Wing private key: its seed.
pub const SEED_BYTES: usize = 32;
/// Length of an X-Wing public key.
pub const PUBLIC_KEY_BYTES: usize = 1_216;
/// Length of an X-Wing encapsulation.
pub const ENCAPSULATION_BYTES: usize = 1_120;
/// Length of a wrapped content secret: encapsulation, secret, AES-GCM tag.
pub const WRAPPED_BYTES: usize = ENCAPSULATION_BYTES + SECRET_BYTES + TAG_BYTES;

const SECRET_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// The length that precedes the content inside its padding.
const LENGTH_BYTES: usize = 4;
/// What X-Wing draws for one encapsulation: 32 bytes for ML-KEM-768, 32 for X25519.
const RANDOMNESS_BYTES: usize = 64;

const LABEL_BLIND: &[u8] = b"seinpost.v1/content-blind";
const LABEL_COMMITMENT: &[u8] = b"seinpost.v1/content";
const LABEL_KEY: &[u8] = b"seinpost.v1/content-key";
const LABEL_SECRET: &[u8] = b"seinpost.v1/content-secret";

/// The classes that sealed content is padded to, smallest first.
const CLASSES: [SizeClass; 5] =
    [SizeClass::Kib4, SizeClass::Kib16, SizeClass::Kib64, SizeClass::Kib256, SizeClass::Kib1024];

/// Content as bytes: wiped when dropped, and without `Debug`, since it may be about a child.
pub struct Content(Zeroizing<Vec<u8>>);

impl Content {
    /// Takes bytes as content.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The key from which one sealing's keys are derived: 32 random bytes, fresh for every sealing.
pub struct ContentSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl ContentSecret {
    fn random() -> Result<Self, NoRandomness> {
        random().map(Self)
    }

    /// Takes 32 bytes as a content secret, for test vectors; a program seals with a fresh one.
    #[doc(hidden)]
    #[must_use]
    pub fn given(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the 32 bytes, for test vectors.
    #[doc(hidden)]
    #[must_use]
    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// Returns the value that blinds the content's commitment.
    fn blind(&self) -> Blind {
        Blind(derive(&[], &self.0[..], &[LABEL_BLIND, &SUITE.to_be_bytes()]))
    }

    fn content_key(&self, header_sha256: &Digest) -> Zeroizing<[u8; 32]> {
        derive(header_sha256.as_ref(), &self.0[..], &[LABEL_KEY, &SUITE.to_be_bytes()])
    }
}

/// What, together with the content, proves to a third party what was sent, without any key.
pub struct Blind(Zeroizing<[u8; 32]>);

impl Blind {
    /// Takes 32 bytes as a blind, as kept beside received content.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Computes what a header must commit to, when this content was sent in this class under this blind; `None` if
    /// the content does not fit the class.
    #[must_use]
    pub fn commitment(&self, content: &[u8], class: SizeClass) -> Option<Digest> {
        Some(self.commit(&pad(content, class)?))
    }

    fn commit(&self, padded: &[u8]) -> Digest {
        Digest::of_parts(&[LABEL_COMMITMENT, &SUITE.to_be_bytes(), &[0], &self.0[..], padded])
    }
}

/// A recipient's private sealing key: X-Wing's seed, wiped when dropped.
pub struct PrivateKey {
    seed: Zeroizing<[u8; SEED_BYTES]>,
    key: <XWing as Kem>::PrivateKey,
}

impl PrivateKey {
    /// Draws a new key.
    ///
    /// # Errors
    /// If the operating system gives no random bytes.
    pub fn generate() -> Result<Self, NoRandomness> {
        random().map(|seed: Zeroizing<[u8; SEED_BYTES]>| Self::from_seed(&seed))
    }

    /// Takes a seed as the key that it stands for; every seed is a key.
    #[must_use]
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        let key = <XWing as Kem>::PrivateKey::from_bytes(seed).expect("every 32 bytes are an X-Wing seed");
        Self { seed: Zeroizing::new(*seed), key }
    }

    /// Returns the seed, to be kept in a file that only its owner reads.
    #[must_use]
    pub fn seed(&self) -> &[u8; SEED_BYTES] {
        &self.seed
    }

    /// Returns the public key that belongs to it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(XWing::sk_to_pk(&self.key))
    }
}

/// A recipient's public sealing key, its encapsulation key checked.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(<XWing as Kem>::PublicKey);

impl PublicKey {
    /// Takes the bytes of a key statement as a key.
    ///
    /// # Errors
    /// If they are not 1,216 bytes or their ML-KEM part is no encapsulation key (FIPS 203, modulus check).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadPublicKey> {
        <XWing as Kem>::PublicKey::from_bytes(bytes).map(Self).map_err(|_| BadPublicKey)
    }

    /// Returns the 1,216 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_bytes())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", Digest::of(&self.to_bytes()))
    }
}

/// To whom a content secret is wrapped.
#[derive(Debug, Clone)]
pub struct SealTo {
    /// The recipient's key.
    pub key: PublicKey,
    /// Digest of the key statement that states it.
    pub statement: Digest,
}

/// A sealing that has begun: content padded and committed to, the header not yet known.
///
/// The header holds the commitment and the sealing is bound to the header, so it takes two steps; a sealing is used
/// for one header and then gone, since a second use of its key would be a second use of a nonce.
pub struct Sealing {
    secret: ContentSecret,
    blind: Blind,
    padded: Zeroizing<Vec<u8>>,
    class: SizeClass,
}

impl Sealing {
    /// Begins to seal content in the smallest class that holds it.
    ///
    /// # Errors
    /// If the content fits no class, or there are no random bytes.
    pub fn begin(content: &[u8]) -> Result<Self, CannotSeal> {
        let fits = |class: &&SizeClass| content.len() + LENGTH_BYTES + TAG_BYTES <= size_class_bytes(**class);
        let class = CLASSES.iter().find(fits).ok_or(CannotSeal::ContentTooLarge { bytes: content.len() })?;
        Self::with(content, *class, ContentSecret::random()?)
    }

    /// Begins to seal content in a given class with a given secret, for test vectors.
    #[doc(hidden)]
    pub fn with(content: &[u8], class: SizeClass, secret: ContentSecret) -> Result<Self, CannotSeal> {
        let padded = pad(content, class).ok_or(CannotSeal::ContentTooLarge { bytes: content.len() })?;
        Ok(Self { blind: secret.blind(), secret, padded, class })
    }

    /// Returns the class, for the header.
    #[must_use]
    pub fn size_class(&self) -> SizeClass {
        self.class
    }

    /// Returns what the header commits to.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        self.blind.commit(&self.padded)
    }

    /// Returns the value that blinds the commitment; kept with the content it proves to a court what was sent.
    #[must_use]
    pub fn blind(&self) -> &Blind {
        &self.blind
    }

    /// Seals under the finished header, for recipients in the header's order.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn finish(self, header: &[u8], recipients: &[SealTo]) -> Result<Sealed, CannotSeal> {
        let randomness = recipients.iter().map(|_| random()).collect::<Result<Vec<_>, _>>()?;
        Ok(self.finish_with(header, recipients, randomness))
    }

    /// Seals with given randomness of the encapsulations, for test vectors.
    #[doc(hidden)]
    #[must_use]
    pub fn finish_with(
        self,
        header: &[u8],
        recipients: &[SealTo],
        randomness: Vec<Zeroizing<[u8; RANDOMNESS_BYTES]>>,
    ) -> Sealed {
        let header_sha256 = Digest::of(header);
        let key = self.secret.content_key(&header_sha256);
        let mut sealed_content = self.padded.to_vec();
        gcm(&key)
            .seal_in_place_append_tag(nonce(), aead::Aad::from(header_sha256.as_ref()), &mut sealed_content)
            .expect("a size class is far below AES-GCM's limit");
        let content_sha256 = Digest::of(&sealed_content);
        let wrapped = recipients
            .iter()
            .zip(randomness)
            .map(|(to, randomness)| {
                wrap(&self.secret, to, &info(&header_sha256, &to.statement, &content_sha256), randomness)
            })
            .collect();
        Sealed { sealed_content: Bytes::from(sealed_content), content_sha256, wrapped }
    }
}

/// What travels beside the item, and its digest for the item.
#[derive(Clone)]
pub struct Sealed {
    /// The sealed content, exactly its class's size.
    pub sealed_content: Bytes,
    /// Its digest.
    pub content_sha256: Digest,
    /// The content secret wrapped for each recipient, 1,168 bytes each.
    pub wrapped: Vec<Bytes>,
}

/// What one recipient got, and what the verified item says about it.
#[derive(Clone, Copy)]
pub struct Delivered<'a> {
    /// The header's bytes as transmitted.
    pub header: &'a [u8],
    /// What the header commits to.
    pub content_commitment: &'a Digest,
    /// The class that the header states.
    pub size_class: SizeClass,
    /// The suite that the item states.
    pub suite: u32,
    /// Digest of the sealed content, from the item.
    pub content_sha256: &'a Digest,
    /// The key statement that one's own wrapped key names, from the item.
    pub key_statement: &'a Digest,
    /// Digest of one's own wrapped key, from the item.
    pub wrapped_sha256: &'a Digest,
    /// The sealed content, from the hub.
    pub sealed_content: &'a [u8],
    /// One's own wrapped key, from the hub.
    pub wrapped: &'a [u8],
}

/// Content that was opened, with what proves it.
pub struct Opened {
    /// The content.
    pub content: Content,
    /// The value that blinds its commitment.
    pub blind: Blind,
    /// The content secret, for test vectors.
    #[doc(hidden)]
    pub secret: ContentSecret,
}

/// Opens what was delivered with the key that the item names for this recipient.
///
/// # Errors
/// In this order, which tells whose fault it is: the suite; digests that do not fit (the hub's fault, no answer to
/// the sender); lengths; the wrapped key; the content, its commitment, its padding.
pub fn open(delivered: &Delivered<'_>, key: &PrivateKey) -> Result<Opened, CannotOpen> {
    if delivered.suite != SUITE {
        return Err(CannotOpen::Suite(delivered.suite));
    }
    if Digest::of(delivered.sealed_content) != *delivered.content_sha256
        || Digest::of(delivered.wrapped) != *delivered.wrapped_sha256
    {
        return Err(CannotOpen::HubFault);
    }
    if delivered.sealed_content.len() != size_class_bytes(delivered.size_class) {
        return Err(CannotOpen::SizeClass);
    }
    if delivered.wrapped.len() != WRAPPED_BYTES {
        return Err(CannotOpen::WrappedLength);
    }
    let header_sha256 = Digest::of(delivered.header);
    let info = info(&header_sha256, delivered.key_statement, delivered.content_sha256);
    let secret = unwrap(delivered.wrapped, key, &info).ok_or(CannotOpen::UnreadableKey)?;

    let content_key = secret.content_key(&header_sha256);
    let mut buffer = Zeroizing::new(delivered.sealed_content.to_vec());
    let padded = gcm(&content_key)
        .open_in_place(nonce(), aead::Aad::from(header_sha256.as_ref()), &mut buffer)
        .map_err(|_| CannotOpen::ContentUnreadable)?;
    let blind = secret.blind();
    if blind.commit(padded) != *delivered.content_commitment {
        return Err(CannotOpen::CommitmentMismatch);
    }
    let content = unpad(padded, delivered.sealed_content.len()).ok_or(CannotOpen::Padding)?;
    Ok(Opened { content: Content::new(content.to_vec()), blind, secret })
}

/// Returns the content inside padding that fills sealed content of `sealed_bytes`, or `None` if it is not well padded.
#[must_use]
pub fn unpad(padded: &[u8], sealed_bytes: usize) -> Option<&[u8]> {
    if padded.len().checked_add(TAG_BYTES) != Some(sealed_bytes) {
        return None;
    }
    let (length, rest) = padded.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (content, padding) = rest.split_at_checked(length)?;
    padding.iter().all(|byte| *byte == 0).then_some(content)
}

fn pad(content: &[u8], class: SizeClass) -> Option<Zeroizing<Vec<u8>>> {
    let size = size_class_bytes(class) - TAG_BYTES;
    if content.len() > size - LENGTH_BYTES {
        return None;
    }
    let length = u32::try_from(content.len()).expect("a size class is at most 1 MiB");
    let mut padded = Zeroizing::new(vec![0; size]);
    padded[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    padded[LENGTH_BYTES..LENGTH_BYTES + content.len()].copy_from_slice(content);
    Some(padded)
}

fn wrap(secret: &ContentSecret, to: &SealTo, info: &[u8], randomness: Zeroizing<[u8; RANDOMNESS_BYTES]>) -> Bytes {
    let mut once = Once(Some(randomness));
    let (encapsulation, wrapped) =
        hpke::single_shot_seal_with_rng::<hpke::aead::AesGcm256, hpke::kdf::HkdfSha256, XWing>(
            &OpModeS::Base,
            &to.key.0,
            info,
            &secret.0[..],
            &[],
            &mut once,
        )
        .expect("sealing 32 bytes to a checked key cannot fail");
    let mut bytes = encapsulation.to_bytes().to_vec();
    bytes.extend_from_slice(&wrapped);
    Bytes::from(bytes)
}

fn unwrap(wrapped: &[u8], key: &PrivateKey, info: &[u8]) -> Option<ContentSecret> {
    let (encapsulation, ciphertext) = wrapped.split_at_checked(ENCAPSULATION_BYTES)?;
    let encapsulation = <XWing as Kem>::EncappedKey::from_bytes(encapsulation).ok()?;
    let secret = hpke::single_shot_open::<hpke::aead::AesGcm256, hpke::kdf::HkdfSha256, XWing>(
        &OpModeR::Base,
        &key.key,
        &encapsulation,
        info,
        ciphertext,
        &[],
    );
    let secret = Zeroizing::new(secret.ok()?);
    <[u8; SECRET_BYTES]>::try_from(&secret[..]).ok().map(|secret| ContentSecret(Zeroizing::new(secret)))
}

/// Binds a wrapped secret to header, key statement and sealed content, so that none can be exchanged alone.
fn info(header_sha256: &Digest, statement: &Digest, content_sha256: &Digest) -> Vec<u8> {
    let parts: [&[u8]; 6] =
        [LABEL_SECRET, &SUITE.to_be_bytes(), &[0], header_sha256.as_ref(), statement.as_ref(), content_sha256.as_ref()];
    parts.concat()
}

fn derive(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(ikm)
        .expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key[..]))
        .expect("one block of HKDF-SHA256 is 32 bytes");
    key
}

fn gcm(key: &[u8; 32]) -> aead::LessSafeKey {
    aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, key).expect("an AES-256 key has 32 bytes"))
}

/// The content key is used once, so its one nonce is zero.
fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; N]);
    ring::rand::SystemRandom::new().fill(&mut bytes[..]).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// A source that gives the bytes drawn for one encapsulation, once.
///
/// hpke wants a source that cannot fail; the operating system's can. So the bytes are drawn before, where failing is
/// an error, and giving them twice would be a fault that must stop the program.
struct Once(Option<Zeroizing<[u8; RANDOMNESS_BYTES]>>);

impl hpke::rand_core::TryRng for Once {
    type Error = hpke::rand_core::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("X-Wing fills one buffer of 64 bytes and draws no numbers")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("X-Wing fills one buffer of 64 bytes and draws no numbers")
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Self::Error> {
        let randomness = self.0.take().expect("X-Wing draws once for an encapsulation");
        buffer.copy_from_slice(&randomness[..]);
        Ok(())
    }
}

impl hpke::rand_core::TryCryptoRng for Once {}

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// The bytes are no X-Wing public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no X-Wing public key")]
pub struct BadPublicKey;

/// Why content cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotSeal {
    /// It fits no size class.
    #[error("the content has {bytes} bytes; at most {} fit", size_class_bytes(SizeClass::Kib1024) - TAG_BYTES - LENGTH_BYTES)]
    ContentTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// No random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Why what was delivered cannot be opened, in the order in which it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// It is sealed by a suite that does not exist.
    #[error("suite {0} is unknown")]
    Suite(u32),
    /// Sealed content or wrapped key are not what the item says: the hub's fault, no answer to the sender.
    #[error("the hub delivered other bytes than the sender signed")]
    HubFault,
    /// The sealed content is not of the size that the header states.
    #[error("the sealed content does not have the size of its class")]
    SizeClass,
    /// The wrapped key is not of the size of suite 1.
    #[error("the wrapped key does not have {WRAPPED_BYTES} bytes")]
    WrappedLength,
    /// The key does not open it.
    #[error("the wrapped key cannot be opened with this key")]
    UnreadableKey,
    /// The content secret does not open the content.
    #[error("the sealed content cannot be opened")]
    ContentUnreadable,
    /// It opens to something else than the header commits to.
    #[error("the content is not what the header commits to")]
    CommitmentMismatch,
    /// It is padded with something else than zeros, or its length is impossible.
    #[error("the content is not well padded")]
    Padding,
}

impl CannotOpen {
    /// Returns the reason in UPPER_SNAKE, as it is searched for.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Suite(_) => "SUITE",
            Self::HubFault => "HUB_FAULT",
            Self::SizeClass => "SIZE_CLASS",
            Self::WrappedLength => "WRAPPED_LENGTH",
            Self::UnreadableKey => "UNREADABLE_KEY",
            Self::ContentUnreadable => "CONTENT_UNREADABLE",
            Self::CommitmentMismatch => "COMMITMENT_MISMATCH",
            Self::Padding => "PADDING",
        }
    }
}

#[cfg(test)]
mod tests;
