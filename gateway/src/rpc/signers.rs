//! Signing certificates that were verified: once per leaf, covenant and set of revocation lists, and dated every time.
//!
//! A chain costs some 200 µs to verify and an agency signs thousands of items with one certificate, so the outcome is
//! kept. It is kept under everything that it depends on; only time is asked anew at each use. What did not verify is not
//! kept: it costs its sender a call each time, and may verify tomorrow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use seinpost_protocol::certificate::{BadChain, Chain, Crl, VerifiedChain};
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::errors::Refused;

/// Outcomes kept, about 10 KiB each: more than agencies with a live certificate.
const KEPT_MAX: usize = 4096;

/// A set of revocation lists by which to judge.
#[derive(Clone)]
pub struct Crls {
    lists: Arc<[Crl]>,
    digest: Digest,
}

impl Crls {
    /// Takes the newest list of each issuer.
    #[must_use]
    pub fn new(lists: Vec<Crl>) -> Self {
        let mut digests: Vec<_> = lists.iter().map(Crl::sha256).collect();
        digests.sort_unstable();
        let parts: Vec<&[u8]> = digests.iter().map(AsRef::as_ref).collect();
        Self { digest: Digest::of_parts(&parts), lists: lists.into() }
    }

    /// Returns the lists.
    #[must_use]
    pub fn lists(&self) -> &[Crl] {
        &self.lists
    }
}

/// The outcomes that are kept.
#[derive(Default)]
pub struct Signers(Mutex<HashMap<Key, Arc<Verified>>>);

type Key = (Digest, Digest, Digest);

/// A chain that verified, and the end of its shortest validity.
pub(super) struct Verified {
    pub(super) chain: VerifiedChain,
    until: Timestamp,
}

impl Verified {
    /// Checks the dates, each time.
    pub(super) fn at(self: Arc<Self>, now: Timestamp) -> Result<Arc<Self>, Refused> {
        if self.chain.leaf().is_valid_at(now) && now <= self.until { Ok(self) } else { Err(Refused::of("CHAIN_DATES")) }
    }
}

impl Signers {
    /// Returns what is kept of a leaf under this covenant and these lists.
    pub(super) fn kept(&self, leaf: Digest, covenant: &Covenant, crls: &Crls) -> Option<Arc<Verified>> {
        let key = (leaf, covenant.digest(), crls.digest);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Verifies a chain against the covenant's signing roots and the lists, and keeps the outcome.
    pub(super) fn verify(
        &self,
        chain: &Chain,
        covenant: &Covenant,
        crls: &Crls,
        now: Timestamp,
    ) -> Result<Arc<Verified>, Refused> {
        let verified = chain.verify(&covenant.message().signing_roots, crls.lists(), now);
        let verified = verified.map_err(refuse)?;
        let until = chain.above.iter().filter_map(not_after).fold(chain.leaf.not_after(), Timestamp::min);
        let verified = Arc::new(Verified { chain: verified, until });
        let key = (chain.leaf.sha256(), covenant.digest(), crls.digest);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Covenants and lists change together for all, so what is old goes all at once.
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, verified.clone());
        Ok(verified)
    }
}

/// Refuses a chain: its form is the message's fault, its standing is a matter of rights.
pub(super) fn refuse(bad: BadChain) -> Refused {
    match bad {
        BadChain::Empty | BadChain::TooLong | BadChain::Leaf(_) => Refused::bad(bad.reason(), "leaf", bad),
        BadChain::Root
        | BadChain::UnknownIssuer
        | BadChain::Dates
        | BadChain::Revoked
        | BadChain::RevocationUnknown
        | BadChain::Invalid => Refused::of(bad.reason()),
    }
}

/// Returns the end of a certificate's validity.
fn not_after(der: &Bytes) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Timestamp::clamped(certificate.validity().not_after.timestamp().saturating_mul(1000)))
}
