//! A receipt with what belongs to it, in a file that a person can read and a stranger can verify.
//!
//! In come the file's bytes, out goes a [`ReceiptFile`] whose parts agree with each other; whether any of it holds is not
//! asked here.
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
use seinpost_protocol::certificate::Chain;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::Item;
use seinpost_protocol::receipt;
use seinpost_protocol::wire;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::{self, Mode};
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
