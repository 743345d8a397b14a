//! A receipt with what belongs to it, in a file that a person can read and a stranger can verify.
//!
//! In come the file's bytes, out goes a [`ReceiptFile`] whose parts are right by themselves and agree with each other; whether
//! the log holds it and who signed it is not asked here.
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

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::canonical;
use seinpost_protocol::certificate::Chain;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{self, BadItem, Item};
use seinpost_protocol::receipt;
use seinpost_protocol::wire;
use serde::{Deserialize, Serialize};

use super::bad_item;
use crate::error::{Error, Fault, Result};
use crate::files::{self, Mode};
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
    /// Wrong use if there is none to read or it is no receipt file; not verified if its parts do not hold or do not agree.
    pub fn read(path: &Path) -> Result<Self> {
        let at = path.display().to_string();
        Self::parse(&files::read(path, FILE_BYTES_MAX)?).map_err(|error| match error {
            Error::Usage(faults) => {
                Error::Usage(faults.into_iter().map(|fault| Fault { place: at.clone(), ..fault }).collect())
            }
            other => other,
        })
    }

    /// Reads a receipt file from its bytes.
    ///
    /// # Errors
    /// As [`ReceiptFile::read`]: what is a receipt file by its form and does not hold is no wrong use, however it came by that.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let stored: Stored = serde_json::from_slice(bytes)
            .map_err(|error| Error::usage("receipt", format!("no receipt file: {error}")))?;
        if stored.format != FORMAT {
            let what = format!("no receipt file: the format is {:?}, not {FORMAT:?}", stored.format);
            return Err(Error::usage("receipt", what));
        }
        let decode = |field: &str, text: &str| {
            let bytes = BASE64.decode(text).map(Bytes::from);
            bytes.map_err(|_| Error::not_verified("BASE64", format!("{field} is not base64")))
        };
        let item = item::decode_envelope(decode("item", &stored.item)?).map_err(|bad| bad_item(&bad))?;
        let receipt =
            canonical::decode_envelope::<wire::Receipt>("seinpost.v1.Receipt", decode("receipt", &stored.receipt)?)
                .map_err(|bad| Error::not_verified(bad.reason.as_str(), format!("the receipt is not right: {bad}")))?;
        let certificates =
            stored.certificates.iter().map(|text| decode("certificates", text)).collect::<Result<Vec<_>>>()?;
        let covenant = digest_from_hex(&stored.covenant_digest)
            .ok_or_else(|| Error::not_verified("COVENANT_DIGEST", "covenant_digest is no digest"))?;
        let file = Self { covenant, log_origin: stored.log_origin, item, certificates, receipt };
        let parsed = file.parsed().map_err(|bad| bad_item(&bad))?;
        if stored.item_id != parsed.signer().item_id.to_string() {
            return Err(Error::not_verified("ITEM_ID", "item_id is not that of the item"));
        }
        if stored.item_digest != parsed.digest().to_string() {
            return Err(Error::not_verified("ITEM_DIGEST", "item_digest is not that of the item"));
        }
        let (_, _, record) = receipt::open(&file.receipt).map_err(|bad| bad_receipt(&bad))?;
        if record.is_some_and(|record| record.covenant_digest != file.covenant.as_ref()) {
            return Err(Error::not_verified("COVENANT_DIGEST", "covenant_digest is not that of the record"));
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
    pub fn parsed(&self) -> std::result::Result<Item, BadItem> {
        Item::parse(self.item.clone(), &self.log_origin)
    }
}
