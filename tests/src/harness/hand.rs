//! Suite 1 by hand, from the text of the format alone: to seal what the client never would.
//!
//! The client pads rightly, commits to what it sealed, and wraps one secret for all. A sender who means harm does not;
//! what its recipients then say is what tests ask.

use bytes::Bytes;
use hpke::kem::XWing;
use hpke::rand_core::{Infallible, TryCryptoRng, TryRng};
use hpke::{Deserializable as _, Kem, OpModeS, Serializable as _};
use ring::rand::SecureRandom as _;
use ring::{aead, hkdf};
use seinpost_client::seal::{SUITE, SealTo};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::signal::size_class_bytes;
use seinpost_protocol::wire::SizeClass;

/// The content secret of one sealing.
#[derive(Clone, Copy)]
pub struct Secret(pub [u8; 32]);

/// Pads content to a size class: its length, itself, zeros.
///
/// # Panics
/// If it does not fit.
#[must_use]
pub fn pad(content: &[u8], class: SizeClass) -> Vec<u8> {
    let mut padded = u32::try_from(content.len()).expect("content is short").to_be_bytes().to_vec();
    padded.extend_from_slice(content);
    assert!(padded.len() <= size_class_bytes(class) - 16, "the content does not fit");
    padded.resize(size_class_bytes(class) - 16, 0);
    padded
}

impl Secret {
    /// Returns what a header commits to that holds `padded`.
    #[must_use]
    pub fn commitment(&self, padded: &[u8]) -> Digest {
        let blind = derive(b"", &self.0, &[b"seinpost.v1/content-blind", &SUITE.to_be_bytes()]);
        Digest::of_parts(&[b"seinpost.v1/content", &SUITE.to_be_bytes(), &[0], &blind, padded])
    }

    /// Seals padded content under a header.
    ///
    /// # Panics
    /// Never: AES-GCM seals anything of this length.
    #[must_use]
    pub fn seal(&self, header: &[u8], padded: &[u8]) -> Bytes {
        let header_sha256 = Digest::of(header);
        let key = derive(header_sha256.as_ref(), &self.0, &[b"seinpost.v1/content-key", &SUITE.to_be_bytes()]);
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &key).expect("a key of 32 bytes"));
        let mut sealed = padded.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
        key.seal_in_place_append_tag(nonce, aead::Aad::from(header_sha256.as_ref()), &mut sealed).expect("it is short");
        sealed.into()
    }

    /// Wraps the secret for a recipient, bound to header, key statement and sealed content.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[must_use]
    pub fn wrap(&self, header: &[u8], sealed_content: &[u8], to: &SealTo) -> Bytes {
        let (header_sha256, content_sha256) = (Digest::of(header), Digest::of(sealed_content));
        let mut info = b"seinpost.v1/content-secret".to_vec();
        info.extend_from_slice(&SUITE.to_be_bytes());
        info.push(0);
        for digest in [&header_sha256, &to.statement, &content_sha256] {
            info.extend_from_slice(digest.as_ref());
        }
        let key = <XWing as Kem>::PublicKey::from_bytes(&to.key.to_bytes()).expect("the key was checked");
        let (encapsulation, wrapped) = hpke::single_shot_seal_with_rng::<
            hpke::aead::AesGcm256,
            hpke::kdf::HkdfSha256,
            XWing,
        >(&OpModeS::Base, &key, &info, &self.0, b"", &mut System)
        .expect("32 bytes can be wrapped for a checked key");
        [encapsulation.to_bytes().as_slice(), &wrapped].concat().into()
    }
}

fn derive(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(secret)
        .expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("one block of HKDF-SHA256 is 32 bytes");
    key
}

/// The system's random bytes.
struct System;

impl TryRng for System {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        ring::rand::SystemRandom::new().fill(bytes).expect("the system gives random bytes");
        Ok(())
    }
}

impl TryCryptoRng for System {}
