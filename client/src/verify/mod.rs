//! Receipts in files, and their verification without the hub.
//!
//! A receipt file holds everything that a stranger needs beside the hub file or a covenant: the item, the signer's
//! certificates, the record with its salt, the proof, the checkpoint. In it comes, out goes a [`Verdict`]: what is proven,
//! and as plainly what is not. Something that does not hold is an error, never a verdict. Nothing here asks the network;
//! [`Client::verify_receipt`] adds what this client's own state knows.
//!
//! This file judges. `file`: the receipt as it is kept; `verdict`: what is proven and what is not, in words.

mod file;
mod verdict;

use seinpost_protocol::address::Address;
use seinpost_protocol::certificate::{Chain, Crl};
use seinpost_protocol::checkpoint::{LogKey, Pin};
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::item::{BadItem, Item, Payload};
use seinpost_protocol::receipt::{self, EventKind};
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::keys::record_time;
use crate::link::bad_receipt;

pub use self::file::ReceiptFile;
pub use self::verdict::{NotProven, Proven, Verdict};

/// By what a receipt is judged without the hub.
pub struct Judges<'a> {
    /// The hub file, compared by phone.
    pub hub: &'a HubFile,
    /// Covenants that were verified from it; none: what depends on them is not proven.
    pub covenants: &'a [Covenant],
    /// Revocation lists at hand.
    pub lists: &'a [Crl],
    /// The checkpoint that one pinned.
    pub pin: Option<Pin>,
}

/// Verifies a receipt file without the hub.
///
/// # Errors
/// The first that does not hold.
pub fn verify(file: &ReceiptFile, judges: &Judges<'_>) -> Result<Verdict> {
    if file.log_origin != judges.hub.origin {
        let what = format!("the receipt is of the log {}, the hub file of {}", file.log_origin, judges.hub.origin);
        return Err(Error::not_verified("ORIGIN", what));
    }
    let item = file.parsed().map_err(|bad| bad_item(&bad))?;
    let keys = LogKeys::of(judges);
    let verified = receipt::verify(&file.receipt, &file.log_origin, &keys.all(), &Pin::NOTHING, &[])
        .map_err(|bad| bad_receipt(&bad))?;
    let mut verdict = Verdict {
        item_id: item.signer().item_id,
        item_digest: item.digest(),
        proven: Vec::new(),
        not_proven: Vec::new(),
    };
    let checkpoint = &verified.checkpoint;
    verdict.proven.push(Proven::InLog { index: verified.index, size: checkpoint.size, root: checkpoint.root });
    if let Some(until) = keys.retired_until(&file.receipt.checkpoint, &file.log_origin) {
        if checkpoint.size > until.size || (checkpoint.size == until.size && checkpoint.root != until.root) {
            return Err(Error::not_verified(
                "KEY_RETIRED",
                "the checkpoint is signed by a key that was retired before it",
            ));
        }
        if checkpoint.size < until.size {
            verdict.not_proven.push(NotProven::RetiredKey { until_size: until.size });
        }
    }
    match judges.pin {
        Some(pin) if pin == checkpoint.pin() => verdict.proven.push(Proven::PinnedHistory),
        Some(pin) if pin.size == checkpoint.size => {
            return Err(Error::not_verified(
                "LOG_FORK",
                "the receipt's log has another root than the one that is pinned at that size",
            ));
        }
        pin => verdict.not_proven.push(NotProven::SameForAll { pinned_size: pin.map(|pin| pin.size) }),
    }

    let (audience, event) = match &verified.record {
        None => (None, None),
        Some(record) => (record.audience.clone(), record.event.clone()),
    };
    match (&verified.record, audience, event) {
        (Some(record), Some(audience), Some(event)) => {
            verified.expect(&audience, EventKind::of(&event), Some(&item.digest())).map_err(|bad| bad_receipt(&bad))?;
            tell(&mut verdict, &item, record, &audience, &event)?;
            judge_signature(&mut verdict, file, item, record, judges)?;
        }
        _ => {
            verdict.not_proven.push(NotProven::Erased { rule: file.receipt.erased_by.clone() });
            let why = "the record that names covenant and revocation lists was erased".into();
            verdict.not_proven.push(NotProven::Entitled { why });
        }
    }
    verdict.not_proven.push(NotProven::Time);
    Ok(verdict)
}

fn bad_item(bad: &BadItem) -> Error {
    Error::not_verified(bad.reason(), format!("the item is not right: {bad}"))
}

/// Says what the record says.
fn tell(
    verdict: &mut Verdict,
    item: &Item,
    record: &wire::Record,
    audience: &wire::Audience,
    event: &Event,
) -> Result<()> {
    let wrong = |what: &str| Error::not_verified("EVENT", format!("the receipt is of another record: {what}"));
    let at = record_time(record);
    match event {
        Event::SubmissionAcceptance(accepted) => {
            if accepted.item_id != item.signer().item_id.to_string() {
                return Err(wrong("it names another id"));
            }
            verdict.proven.push(Proven::Accepted { from: item.signer().address, at });
            for addressee in &accepted.addressees {
                let to = addressee.to.as_ref().and_then(|to| Address::try_from(to).ok());
                let commitment = Digest::try_from(&addressee.commitment).ok();
                let (Some(to), Some(commitment)) = (to, commitment) else {
                    return Err(wrong("an addressee is none"));
                };
                verdict.proven.push(Proven::Promised {
                    to,
                    rule_id: addressee.rule_id.clone(),
                    index: addressee.index,
                    commitment,
                });
            }
            if matches!(item.payload(), Payload::Signal(_)) {
                verdict.not_proven.push(NotProven::Read);
            }
        }
        Event::ContentConsignment(_) => {
            let Some(wire::audience::Of::Address(to)) = &audience.of else {
                return Err(wrong("a consignment is for one address"));
            };
            let to = Address::try_from(to).map_err(|_| wrong("its audience is none"))?;
            let number =
                record.mailbox.as_ref().map(|place| place.number).ok_or_else(|| wrong("it stands in no mailbox"))?;
            verdict.proven.push(Proven::Consigned { to, number, at });
        }
        _ => return Err(wrong("neither an acceptance nor a consignment")),
    }
    Ok(())
}

/// Judges who signed, as far as covenant and lists are at hand.
fn judge_signature(
    verdict: &mut Verdict,
    file: &ReceiptFile,
    item: Item,
    record: &wire::Record,
    judges: &Judges<'_>,
) -> Result<()> {
    let signer = item.signer().clone();
    let chain = Chain::parse(&file.certificates, false)
        .map_err(|bad| Error::not_verified(bad.reason(), format!("the certificates do not hold: {bad}")))?;
    let at = record_time(record);
    let covenant = judges.covenants.iter().find(|covenant| covenant.digest() == file.covenant);
    let spki = chain.leaf.spki_sha256();
    // Without a covenant nobody says whether the key is bound; the signature can be checked all the same.
    let acting = covenant.map(|covenant| covenant.may_act(signer.address, wire::Use::Signing, &spki, at));
    let bound = matches!(&acting, Some(Ok(acting)) if acting.bound) || acting.is_none();
    item.verify(&chain.leaf, bound)
        .map_err(|bad| Error::not_verified(bad.reason(), format!("the item's signature does not hold: {bad}")))?;
    verdict.proven.push(Proven::Signed { by: signer.address, certificate: signer.certificate_sha256 });

    let (Some(covenant), Some(acting)) = (covenant, acting) else {
        let why = format!("the covenant {} is not at hand", file.covenant);
        verdict.not_proven.push(NotProven::Entitled { why });
        return Ok(());
    };
    if !covenant.is_valid_at(at) {
        let what = format!("the hub judged at {at} by covenant {}, which was not valid then", covenant.serial());
        return Err(Error::not_verified("COVENANT_NOT_VALID", what));
    }
    acting.map_err(|no| {
        Error::not_verified(
            "SIGNER",
            format!("by covenant {} the key could not sign for {}: {no}", covenant.serial(), signer.address),
        )
    })?;
    let mut lists = Vec::new();
    for named in &record.crl_sha256 {
        match judges.lists.iter().find(|list| list.sha256().as_ref() == named.as_ref()) {
            Some(list) => lists.push(list.clone()),
            None => {
                let why = format!("the revocation list {} is not at hand", hex::encode(named));
                verdict.not_proven.push(NotProven::Entitled { why });
                return Ok(());
            }
        }
    }
    chain.verify(&covenant.message().signing_roots, &lists, at).map_err(|bad| {
        Error::not_verified(bad.reason(), format!("the certificate of {} did not hold then: {bad}", signer.address))
    })?;
    let lists = lists.iter().map(Crl::sha256).collect();
    verdict.proven.push(Proven::Entitled { covenant: covenant.serial(), lists });
    Ok(())
}

/// The keys by which a checkpoint may be signed, with where those that were retired ended.
struct LogKeys {
    live: Vec<LogKey>,
    retired: Vec<(LogKey, Pin)>,
}

impl LogKeys {
    fn of(judges: &Judges<'_>) -> Self {
        let mut keys = Self { live: Vec::new(), retired: Vec::new() };
        for covenant in judges.covenants {
            keys.live.extend(covenant.live_log_keys());
            for key in &covenant.message().log_keys {
                if let (Ok(bytes), Ok(root)) =
                    (<[u8; 32]>::try_from(key.ed25519.as_ref()), Digest::try_from(&key.until_root))
                {
                    keys.retired.push((LogKey::new(bytes), Pin { size: key.until_size, root }));
                }
            }
        }
        if judges.covenants.is_empty() {
            keys.live.extend_from_slice(&judges.hub.log_keys);
        }
        // What any covenant retires is live no more, whatever an older one says.
        keys.live.retain(|live| !keys.retired.iter().any(|(retired, _)| retired == live));
        keys
    }

    fn all(&self) -> Vec<LogKey> {
        let mut all: Vec<LogKey> = self.live.iter().copied().chain(self.retired.iter().map(|(key, _)| *key)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns where the key ended that signed a note, if only retired ones did.
    fn retired_until(&self, note: &[u8], origin: &str) -> Option<Pin> {
        if seinpost_protocol::checkpoint::open(note, origin, &self.live).is_ok() {
            return None;
        }
        let by = |(key, _): &&(LogKey, Pin)| {
            seinpost_protocol::checkpoint::open(note, origin, std::slice::from_ref(key)).is_ok()
        };
        self.retired.iter().find(by).map(|(_, until)| *until)
    }
}

impl Client {
    /// Verifies a receipt file by what this client's state knows, without the network.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn verify_receipt(&self, file: &ReceiptFile) -> Result<Verdict> {
        let covenants = self.covenants().all().to_vec();
        let lists = self.inner.directory.all_lists()?;
        let pin = self.inner.pins.read()?.checkpoint().map(|pinned| pinned.pin);
        verify(file, &Judges { hub: &self.inner.profile.hub, covenants: &covenants, lists: &lists, pin })
    }

    /// Verifies a receipt file as [`Client::verify_receipt`], after fetching covenants, revocation lists and the proof that
    /// its log is the pinned one.
    ///
    /// # Errors
    /// As there, and if the hub cannot be reached or shows another history.
    pub async fn verify_receipt_online(&self, file: &ReceiptFile) -> Result<Verdict> {
        let seen = seinpost_protocol::checkpoint::Seen::parse(file.receipt.checkpoint.clone()).map_err(|bad| {
            Error::not_verified(bad.reason(), format!("the receipt's checkpoint does not hold: {bad}"))
        })?;
        self.covenant_by_digest(&file.covenant).await?;
        if let Ok((_, _, Some(record))) = receipt::open(&file.receipt) {
            self.lists(&record.crl_sha256).await?;
        }
        self.checkpoint().await?;
        let asked = self.asked()?;
        let (old, new) = (seen.size().min(asked.pin().size), seen.size().max(asked.pin().size));
        let consistency = self.consistency(old, new).await?;
        let linked = self.take_receipt(&asked, &file.receipt, &consistency).await?;
        let mut verdict = self.verify_receipt(file)?;
        verdict.not_proven.retain(|open| {
            !matches!(open, NotProven::SameForAll { pinned_size: Some(_) } | NotProven::RetiredKey { .. })
        });
        if !verdict.proven.contains(&Proven::PinnedHistory) {
            verdict.proven.insert(1, Proven::PinnedHistory);
        }
        debug_assert_eq!(linked.index, file.receipt.index);
        Ok(verdict)
    }
}
