//! Receipts in files, and their verification without the hub.
//!
//! A receipt file holds everything that a stranger needs beside the hub file or a covenant: the item, the signer's
//! certificates, the record with its salt, the proof, the checkpoint. In it comes, out goes a [`Verdict`]: what is proven,
//! and as plainly what is not. Something that does not hold is an error, never a verdict. Nothing here asks the network;
//! [`Client::verify_receipt`] adds what this client's own state knows.
//!
//! The file is JSON, so that it can be read by a person and sent by mail; bytes are in base64, digests in hexadecimal:
//!
//! ```json
//! {
//!   "format": "seinpost.receipt.v1",
//!   "log_origin": "log.seinpost.test/dev",
//!   "item_id": "0192f0a0-0000-7000-8000-000000000001",
//!   "item_digest": "82e1a5a1…",
//!   "covenant_digest": "a4a2984d…",
//!   "item": "CvsF…",
//!   "certificates": ["MIIB…"],
//!   "receipt": "CgI…"
//! }
//! ```
//! `item` is a `seinpost.v1.SignedItem`, `receipt` a `seinpost.v1.Receipt`, `certificates` DER, leaf first. What stands
//! beside them is taken from inside them and must agree.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::address::Address;
use seinpost_protocol::certificate::{Chain, Crl};
use seinpost_protocol::checkpoint::{LogKey, Pin};
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::item::{Item, ItemId, Payload};
use seinpost_protocol::receipt::{self, EventKind};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::files::{self, Mode};
use crate::keys::record_time;
use crate::link::bad_receipt;
use crate::pins::digest_from_hex;

/// An item of 40 KiB, a chain of 16 KiB and a receipt of 16 KiB, in base64 and with room.
const FILE_BYTES_MAX: usize = 256 * 1024;
const FORMAT: &str = "seinpost.receipt.v1";

/// A receipt with what belongs to it, as it is kept in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiptFile {
    /// The log's name.
    pub log_origin: String,
    /// The covenant by which the hub judged.
    pub covenant: Digest,
    /// The item.
    pub item: wire::SignedItem,
    /// The signer's certificates, leaf first.
    pub certificates: Vec<Bytes>,
    /// The receipt.
    pub receipt: wire::Receipt,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: String,
    log_origin: String,
    item_id: String,
    item_digest: String,
    covenant_digest: String,
    item: String,
    certificates: Vec<String>,
    receipt: String,
}

impl ReceiptFile {
    pub(crate) fn new(
        log_origin: &str,
        covenant: &Digest,
        item: wire::SignedItem,
        chain: &Chain,
        receipt: wire::Receipt,
    ) -> Self {
        let certificates = std::iter::once(chain.leaf.der()).chain(&chain.above).cloned().collect();
        Self { log_origin: log_origin.to_owned(), covenant: *covenant, item, certificates, receipt }
    }

    /// Reads a receipt file.
    ///
    /// # Errors
    /// If it is none, or what stands beside item and receipt does not agree with them.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read(path, FILE_BYTES_MAX)?).map_err(|what| Error::usage(path.display().to_string(), what))
    }

    /// Reads a receipt file from its bytes.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| format!("no receipt file: {error}"))?;
        if stored.format != FORMAT {
            return Err(format!("the format is {:?}, not {FORMAT:?}", stored.format));
        }
        let decode =
            |field: &str, text: &str| BASE64.decode(text).map(Bytes::from).map_err(|_| format!("{field}: not base64"));
        let item = seinpost_protocol::item::decode_envelope(decode("item", &stored.item)?)
            .map_err(|bad| format!("item: {bad}"))?;
        let receipt = seinpost_protocol::canonical::decode_envelope::<wire::Receipt>(
            "seinpost.v1.Receipt",
            decode("receipt", &stored.receipt)?,
        )
        .map_err(|bad| format!("receipt: {bad}"))?;
        let certificates = stored
            .certificates
            .iter()
            .map(|text| decode("certificates", text))
            .collect::<std::result::Result<_, _>>()?;
        let file = Self {
            covenant: digest_from_hex(&stored.covenant_digest).ok_or("covenant_digest: no digest")?,
            log_origin: stored.log_origin,
            item,
            certificates,
            receipt,
        };
        let parsed = file.parsed().map_err(|bad| format!("item: {bad}"))?;
        if stored.item_digest != parsed.digest().to_string() || stored.item_id != parsed.signer().item_id.to_string() {
            return Err("item_id and item_digest are not those of the item".into());
        }
        let (_, _, record) = receipt::open(&file.receipt).map_err(|bad| format!("receipt: {bad}"))?;
        if record.is_some_and(|record| record.covenant_digest != file.covenant.as_ref()) {
            return Err("covenant_digest is not that of the record".into());
        }
        Ok(file)
    }

    /// Writes the file so that it survives a power cut.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        crate::send::folder_of(path)?;
        files::write(path, &self.to_bytes(), Mode::Plain)
    }

    /// Returns the file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let parsed = self.parsed().expect("a receipt file is made of an item that was parsed");
        let stored = Stored {
            format: FORMAT.to_owned(),
            log_origin: self.log_origin.clone(),
            item_id: parsed.signer().item_id.to_string(),
            item_digest: parsed.digest().to_string(),
            covenant_digest: self.covenant.to_string(),
            item: BASE64.encode(self.item.encode_to_vec()),
            certificates: self.certificates.iter().map(|der| BASE64.encode(der)).collect(),
            receipt: BASE64.encode(self.receipt.encode_to_vec()),
        };
        let mut bytes = serde_json::to_vec_pretty(&stored).expect("a receipt file is strings");
        bytes.push(b'\n');
        bytes
    }

    /// Returns the item, right by itself.
    ///
    /// # Errors
    /// If it is not, which a file that was read is.
    pub fn parsed(&self) -> std::result::Result<Item, seinpost_protocol::item::BadItem> {
        Item::parse(self.item.clone(), &self.log_origin)
    }
}

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

/// What a receipt proves and what it does not.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The item's id.
    pub item_id: ItemId,
    /// Its digest.
    pub item_digest: Digest,
    /// What is proven, in the order in which one follows from the other.
    pub proven: Vec<Proven>,
    /// What is not.
    pub not_proven: Vec<NotProven>,
}

/// Something that a receipt proves.
#[derive(Debug, Clone, PartialEq)]
pub enum Proven {
    /// The log's key signed a tree in which the commitment stands.
    InLog {
        /// The index.
        index: u64,
        /// The size of the tree.
        size: u64,
        /// Its root.
        root: Digest,
    },
    /// The tree is of the history that this client pinned.
    PinnedHistory,
    /// The hub accepted the item.
    Accepted {
        /// From whom.
        from: Address,
        /// When, by the hub's clock.
        at: Timestamp,
    },
    /// The hub promised, in the acceptance, a consignment at this place of the log.
    Promised {
        /// To whom.
        to: Address,
        /// By which rule; `answer` or `key-statement` where the format itself permits it.
        rule_id: String,
        /// The index.
        index: u64,
        /// The commitment, which the recipient can show too.
        commitment: Digest,
    },
    /// The hub consigned the item to a mailbox.
    Consigned {
        /// Whose.
        to: Address,
        /// The number in that mailbox.
        number: u64,
        /// When, by the hub's clock.
        at: Timestamp,
    },
    /// The key of this certificate signed the item.
    Signed {
        /// The address that the item names as its signer.
        by: Address,
        /// The certificate.
        certificate: Digest,
    },
    /// By covenant and revocation lists of that time the key could sign for the address.
    Entitled {
        /// The covenant's serial.
        covenant: u64,
        /// The lists that were asked.
        lists: Vec<Digest>,
    },
}

/// Something that a receipt does not prove, or not with what is at hand.
#[derive(Debug, Clone, PartialEq)]
pub enum NotProven {
    /// That anybody read it: only the recipient's answer says so.
    Read,
    /// The time: it is the hub's clock, and no witness bounds it yet.
    Time,
    /// That the log showed everybody this tree: pins and gossip speak of that.
    SameForAll {
        /// The size that was pinned, if one was.
        pinned_size: Option<u64>,
    },
    /// What the record said: it was erased by this rule.
    Erased {
        /// The rule.
        rule: String,
    },
    /// That the key could sign for the address then.
    Entitled {
        /// What is missing for it.
        why: String,
    },
    /// That the checkpoint counts: its key was retired, and a proof up to where it ended is not at hand.
    RetiredKey {
        /// The size at which the key ended.
        until_size: u64,
    },
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InLog { index, size, root } => {
                write!(
                    f,
                    "the record stands at {index} in the log of {size} records with root {root}, signed by the log's key"
                )
            }
            Self::PinnedHistory => f.write_str("that log is of the history that this client has pinned"),
            Self::Accepted { from, at } => write!(f, "the hub accepted it from {from} at {at}"),
            Self::Promised { to, rule_id, index, commitment }
                if ["answer", "key-statement"].contains(&rule_id.as_str()) =>
            {
                write!(f, "the hub put it in the mailbox of {to}, at {index} in the log (commitment {commitment})")
            }
            Self::Promised { to, rule_id, index, commitment } => {
                write!(
                    f,
                    "the hub put it in the mailbox of {to} under rule {rule_id}, at {index} in the log (commitment {commitment})"
                )
            }
            Self::Consigned { to, number, at } => {
                write!(f, "the hub put it in the mailbox of {to} as number {number} at {at}")
            }
            Self::Signed { by, certificate } => {
                write!(f, "it was signed for {by} with the key of certificate {certificate}")
            }
            Self::Entitled { covenant, lists } => write!(
                f,
                "by covenant {covenant} and the revocation lists of that time ({}), that key could sign for that address",
                lists.len()
            ),
        }
    }
}

impl fmt::Display for NotProven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("that anybody has read it: only the recipient's answer says so"),
            Self::Time => f.write_str("the time, beyond the word of the hub's clock"),
            Self::SameForAll { pinned_size: Some(size) } => write!(
                f,
                "that this log is the one that this client has pinned at {size} records: that takes a proof from the hub"
            ),
            Self::SameForAll { pinned_size: None } => {
                f.write_str("that the hub shows everybody this log: compare checkpoints with others")
            }
            Self::Erased { rule } => {
                write!(f, "what the record said: it was erased by rule {rule}; only its commitment remains")
            }
            Self::Entitled { why } => write!(f, "that this key could sign for that address then: {why}"),
            Self::RetiredKey { until_size } => write!(
                f,
                "that the checkpoint counts: its key ended at {until_size} records, and a proof up to there is not at hand"
            ),
        }
    }
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
    let item =
        file.parsed().map_err(|bad| Error::not_verified(bad.reason(), format!("the item is not right: {bad}")))?;
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
