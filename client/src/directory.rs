//! Others' certificates and the revocation lists: by what an item's signature is judged.
//!
//! Certificates are fetched by digest, each with the receipt of its publication; lists by the digests that a record
//! names, or the newest when something is sealed now. Both are kept in the state folder, since neither changes under its
//! digest. A signature counts at a time: the chain must be valid then, the covenant of then must let the key act, and
//! no certificate may be revoked by the lists of then. This room judges; it does not know what an item says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::certificate::{CRL_BYTES_MAX, Chain, Crl};
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, VerifiedItem};
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;

use crate::client::{Cache, Client};
use crate::connect::{Connection, request};
use crate::error::{Error, Result};
use crate::files::{self, Mode};
use crate::link::{audience_all, expect};

/// How long after its nextUpdate a revocation list still serves: as long as the gateway's own grace.
const LIST_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the newest lists are taken for the newest: as often as the gateway looks for newer ones.
const LISTS_FRESH: Duration = Duration::from_secs(5 * 60);
/// Chains and verdicts kept in memory; each is a few kilobytes at most.
const KEPT_MAX: usize = 1_024;
/// A stored certificate: a chain of 16 KiB with its framing.
const STORED_CHAIN_BYTES_MAX: usize = 32 * 1024;
/// Lists that one answer may hold: one per authority; PKIoverheid has some tens.
const LISTS_MAX: usize = 256;

/// What is known of others' certificates and of revocation.
pub(crate) struct Directory {
    chains_folder: PathBuf,
    lists_folder: PathBuf,
    chains: Cache<Digest, Arc<Chain>>,
    lists: Cache<Digest, Crl>,
    newest: Cache<(), (Timestamp, Arc<Vec<Crl>>)>,
    /// The newest list of each issuer among those that are kept.
    at_hand: Mutex<BTreeMap<Digest, Crl>>,
    verdicts: Cache<Judgement, Arc<Verdict>>,
}

/// What a verdict on a chain was reached by, but for the time.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Judgement {
    leaf: Digest,
    covenant: Digest,
    lists: Vec<Digest>,
}

/// That a chain holds, while all of its certificates are valid.
struct Verdict {
    from: Timestamp,
    until: Timestamp,
    lists_used: Vec<Digest>,
}

/// By what and when a signature is judged.
pub(crate) struct Judges<'a> {
    /// The covenant of then.
    pub(crate) covenant: &'a Covenant,
    /// The revocation lists of then.
    pub(crate) lists: &'a [Crl],
    /// When the signature must count.
    pub(crate) at: Timestamp,
}

impl Directory {
    pub(crate) fn open(state: &Path) -> Result<Self> {
        let (chains_folder, lists_folder) = (state.join("certificates"), state.join("revocation-lists"));
        files::create_folder(&chains_folder)?;
        files::create_folder(&lists_folder)?;
        let directory = Self {
            chains_folder,
            lists_folder,
            chains: Cache::new(KEPT_MAX),
            lists: Cache::new(KEPT_MAX),
            newest: Cache::new(1),
            at_hand: Mutex::default(),
            verdicts: Cache::new(KEPT_MAX),
        };
        for list in directory.all_lists()? {
            directory.put_at_hand(&list);
        }
        Ok(directory)
    }

    /// Returns the newest list of each issuer among those that are kept, for the next TLS handshake.
    pub(crate) fn lists_at_hand(&self) -> Vec<Bytes> {
        let at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        at_hand.values().map(|list| list.der().clone()).collect()
    }

    fn put_at_hand(&self, list: &Crl) {
        let mut at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newer = at_hand.get(&list.issuer_sha256()).is_none_or(|known| known.number() < list.number());
        if is_newer {
            at_hand.insert(list.issuer_sha256(), list.clone());
        }
    }

    /// Returns all lists that are kept. A damaged file is as good as none: the list can be had again.
    pub(crate) fn all_lists(&self) -> Result<Vec<Crl>> {
        let mut lists = Vec::new();
        for path in files::list(&self.lists_folder, "crl")? {
            lists.extend(Crl::parse(Bytes::from(files::read(&path, CRL_BYTES_MAX)?)));
        }
        Ok(lists)
    }

    fn chain(&self, sha256: &Digest) -> Result<Option<Arc<Chain>>> {
        if let Some(chain) = self.chains.find(sha256) {
            return Ok(Some(chain));
        }
        let path = self.chains_folder.join(format!("{sha256}.chain"));
        let Some(bytes) = files::read_if_there(&path, STORED_CHAIN_BYTES_MAX)? else {
            return Ok(None);
        };
        let stored = wire::GetCertificateResponse::decode(Bytes::from(bytes)).ok();
        let Some(chain) = stored.and_then(|stored| chain_of(sha256, &stored.leaf, &stored.chain).ok()) else {
            return Ok(None);
        };
        Ok(Some(self.keep_chain(*sha256, chain)))
    }

    fn keep_chain(&self, sha256: Digest, chain: Chain) -> Arc<Chain> {
        let chain = Arc::new(chain);
        self.chains.keep(sha256, Arc::clone(&chain));
        chain
    }

    fn store_chain(&self, sha256: &Digest, chain: &Chain) -> Result<()> {
        let stored = wire::GetCertificateResponse {
            leaf: chain.leaf.der().clone(),
            chain: chain.above.clone(),
            ..Default::default()
        };
        let path = self.chains_folder.join(format!("{sha256}.chain"));
        files::write(&path, &stored.encode_to_vec(), Mode::Plain)
    }

    fn list(&self, sha256: &Digest) -> Result<Option<Crl>> {
        if let Some(list) = self.lists.find(sha256) {
            return Ok(Some(list));
        }
        let path = self.lists_folder.join(format!("{sha256}.crl"));
        let Some(bytes) = files::read_if_there(&path, CRL_BYTES_MAX)? else {
            return Ok(None);
        };
        // A damaged file is as good as none: the list can be had again.
        let list = Crl::parse(Bytes::from(bytes)).ok().filter(|list| list.sha256() == *sha256);
        if let Some(list) = &list {
            self.lists.keep(*sha256, list.clone());
        }
        Ok(list)
    }

    fn keep_list(&self, list: &Crl) -> Result<()> {
        self.put_at_hand(list);
        self.lists.keep(list.sha256(), list.clone());
        let path = self.lists_folder.join(format!("{}.crl", list.sha256()));
        if path.exists() { Ok(()) } else { files::write(&path, list.der(), Mode::Plain) }
    }
}

impl Client {
    /// Returns a published certificate with its chain; not yet verified.
    pub(crate) async fn certificate(&self, sha256: &Digest) -> Result<Arc<Chain>> {
        let directory = &self.inner.directory;
        if let Some(chain) = directory.chain(sha256)? {
            return Ok(chain);
        }
        let asked = self.asked()?;
        let question = wire::GetCertificateRequest { sha256: (*sha256).into(), seen_size: asked.seen_size() };
        let ask = |connection: Connection| {
            let question = question.clone();
            async move { connection.covenant().get_certificate(request(question)).await }
        };
        let answer = self.inner.connection.ask(ask).await?;
        let chain = chain_of(sha256, &answer.leaf, &answer.chain)?;
        let receipt = answer.receipt.unwrap_or_default();
        let receipt = self.take_receipt(&asked, &receipt, &answer.consistency).await?;
        judge_publication(expect(&receipt, &audience_all(), EventKind::CertificatePublished, None)?, &chain)?;
        directory.store_chain(sha256, &chain)?;
        Ok(directory.keep_chain(*sha256, chain))
    }

    /// Returns the revocation lists that a record names.
    pub(crate) async fn lists(&self, digests: &[Bytes]) -> Result<Vec<Crl>> {
        let mut lists = Vec::with_capacity(digests.len());
        for digest in digests {
            let digest = Digest::try_from(digest)
                .map_err(|_| Error::not_verified("CRL", "a record names a list by no digest"))?;
            let list = match self.inner.directory.list(&digest)? {
                Some(list) => list,
                None => self.fetch_list(&digest).await?,
            };
            lists.push(list);
        }
        Ok(lists)
    }

    async fn fetch_list(&self, digest: &Digest) -> Result<Crl> {
        let fetched = self.fetch_lists(Some(digest)).await?;
        let [list] = fetched.as_slice() else {
            return Err(Error::not_verified(
                "CRL",
                format!("the hub has no single revocation list with digest {digest}"),
            ));
        };
        if list.sha256() != *digest {
            return Err(Error::not_verified("CRL", "the hub gives another revocation list than was asked for"));
        }
        self.inner.directory.keep_list(list)?;
        Ok(list.clone())
    }

    /// Returns the newest revocation list of every issuer, for what is judged as of now.
    pub(crate) async fn newest_lists(&self) -> Result<Arc<Vec<Crl>>> {
        let now = self.now();
        if let Some((fetched, lists)) = self.inner.directory.newest.find(&())
            && now.since(fetched) < LISTS_FRESH
        {
            return Ok(lists);
        }
        let lists = Arc::new(self.fetch_lists(None).await?);
        for list in lists.iter() {
            self.inner.directory.keep_list(list)?;
        }
        self.inner.directory.newest.keep((), (now, Arc::clone(&lists)));
        let trust = self.covenants().transport_trust(now, self.inner.directory.lists_at_hand());
        self.inner.connection.trust(trust);
        Ok(lists)
    }

    async fn fetch_lists(&self, digest: Option<&Digest>) -> Result<Vec<Crl>> {
        let sha256 = digest.map(|digest| Bytes::from(*digest)).unwrap_or_default();
        let question = wire::GetRevocationListRequest { sha256 };
        let ask = |connection: Connection| {
            let question = question.clone();
            async move { connection.covenant().get_revocation_list(request(question)).await }
        };
        let answer = self.inner.connection.ask(ask).await?;
        if answer.lists.len() > LISTS_MAX {
            return Err(Error::not_verified("CRL", format!("the hub shows more than {LISTS_MAX} revocation lists")));
        }
        let parsed: std::result::Result<Vec<_>, _> = answer.lists.into_iter().map(Crl::parse).collect();
        parsed
            .map_err(|bad| Error::not_verified("CRL", format!("a revocation list from the hub cannot be read: {bad}")))
    }

    /// Verifies an item's signature as of a time: covenant, chain, revocation by lists that were not overdue then,
    /// certificate, signature.
    ///
    /// # Errors
    /// Names the first that does not hold.
    pub(crate) fn verify_signature(&self, item: Item, chain: &Chain, judges: &Judges<'_>) -> Result<VerifiedItem> {
        let signer = item.signer().address;
        let spki = chain.leaf.spki_sha256();
        let acting = judges.covenant.may_act(signer, wire::Use::Signing, &spki, judges.at).map_err(|no| {
            Error::not_verified(
                "SIGNER",
                format!("the key of the item may not sign for {signer} by the covenant: {no}"),
            )
        })?;
        let verdict = self.verify_chain(chain, judges)?;
        // A list from before a revocation would bring the certificate back to life: the gateway closes when one is so old.
        let used = judges.lists.iter().filter(|list| verdict.lists_used.contains(&list.sha256()));
        if let Some(list) = used.min_by_key(|list| list.next_update())
            && judges.at.since(list.next_update()) > LIST_GRACE
        {
            let what = format!(
                "the revocation list by which {signer} is judged at {} is overdue since {}",
                judges.at,
                list.next_update()
            );
            return Err(Error::not_verified("CRL_STALE", what));
        }
        item.verify(&chain.leaf, acting.bound)
            .map_err(|bad| Error::not_verified(bad.reason(), format!("the item of {signer} does not hold: {bad}")))
    }

    /// Verifies an item's signature as of now, by the newest lists, which must not be stale or older than before.
    pub(crate) async fn verify_signature_now(
        &self,
        item: Item,
        covenant: &Covenant,
    ) -> Result<(VerifiedItem, Arc<Chain>)> {
        let chain = self.certificate(&item.signer().certificate_sha256).await?;
        let lists = self.newest_lists().await?;
        let judges = Judges { covenant, lists: &lists, at: self.now() };
        let verdict = self.verify_chain(&chain, &judges)?;
        for list in lists.iter().filter(|list| verdict.lists_used.contains(&list.sha256())) {
            self.inner.pins.update(|pins| pins.raise_list(list.issuer_sha256(), list.number().as_bytes()))?;
        }
        let verified = self.verify_signature(item, &chain, &judges)?;
        Ok((verified, chain))
    }

    /// Verifies a chain, or finds that it was verified by the same judges and is still valid.
    fn verify_chain(&self, chain: &Chain, judges: &Judges<'_>) -> Result<Arc<Verdict>> {
        let judgement = Judgement {
            leaf: chain.leaf.sha256(),
            covenant: judges.covenant.digest(),
            lists: judges.lists.iter().map(Crl::sha256).collect(),
        };
        if let Some(verdict) = self.inner.directory.verdicts.find(&judgement)
            && verdict.from <= judges.at
            && judges.at <= verdict.until
        {
            return Ok(verdict);
        }
        let roots = &judges.covenant.message().signing_roots;
        let verified = chain.verify(roots, judges.lists, judges.at).map_err(|bad| {
            Error::not_verified(bad.reason(), format!("the certificate of {} does not hold: {bad}", chain.leaf.oin()))
        })?;
        let (from, until) = validity(chain);
        let verdict = Arc::new(Verdict { from, until, lists_used: verified.crl_sha256().to_vec() });
        self.inner.directory.verdicts.keep(judgement, Arc::clone(&verdict));
        Ok(verdict)
    }
}

/// Returns from when until when all certificates of a chain are valid; roots have no dates here.
fn validity(chain: &Chain) -> (Timestamp, Timestamp) {
    let mut validity = (chain.leaf.not_before(), chain.leaf.not_after());
    for der in &chain.above {
        let dates = x509_parser::parse_x509_certificate(der).map(|(_, certificate)| {
            let dates = certificate.validity();
            [dates.not_before, dates.not_after].map(|date| Timestamp::clamped(date.timestamp().saturating_mul(1_000)))
        });
        // What cannot be read is in no chain that verified; an empty span makes it be verified anew each time.
        let [from, until] = dates.unwrap_or([Timestamp::LAST, Timestamp::FIRST]);
        validity = (validity.0.max(from), validity.1.min(until));
    }
    validity
}

fn chain_of(sha256: &Digest, leaf: &Bytes, above: &[Bytes]) -> Result<Chain> {
    if Digest::of(leaf) != *sha256 {
        return Err(Error::not_verified("CERTIFICATE_DIGEST", "the hub gives another certificate than was asked for"));
    }
    let all: Vec<Bytes> = std::iter::once(leaf).chain(above).cloned().collect();
    // A key of 2,048 bits is for the covenant's registrars to let in or not; whoever judges the item says so.
    Chain::parse(&all, false)
        .map_err(|bad| Error::not_verified(bad.reason(), format!("certificate {sha256} does not hold: {bad}")))
}

/// Checks that the record of a publication is that of this chain.
fn judge_publication(record: &wire::Record, chain: &Chain) -> Result<()> {
    let Some(Event::CertificatePublished(published)) = &record.event else {
        unreachable!("the event was asked for");
    };
    let above: Vec<Bytes> = chain.above.iter().map(|der| Digest::of(der).into()).collect();
    if published.leaf_sha256 == chain.leaf.sha256().as_ref() && published.chain_sha256 == above {
        return Ok(());
    }
    Err(Error::not_verified("CERTIFICATE_DIGEST", "the receipt is of the publication of another certificate"))
}

/// Returns the organisation's name in a certificate's subject, for a person to read.
pub(crate) fn organisation_of(der: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let name = certificate.subject().iter_organization().next()?.as_str().ok()?.to_owned();
    Some(name)
}
