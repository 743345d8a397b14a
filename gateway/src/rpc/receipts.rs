//! Receipts: a record with the proof that it stands in the log, cut from the tree against one checkpoint.
//!
//! In comes a record's entry, out goes what a client verifies alone and offline. Whoever asked had a pin, so each answer
//! also carries the proof between that pin and the receipt's checkpoint; a receipt without it could stem from a tree
//! that nobody else ever saw. Nothing here decides who may see a record.

use bytes::Bytes;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire;
use tonic::Status;

use crate::commit::{Durable, Entry};
use crate::errors::fault;
use crate::tree::TreeMemory;

/// One checkpoint that was signed over durable records, with the tree below it.
#[derive(Clone)]
pub(super) struct Against {
    tree: TreeMemory,
    size: u64,
    checkpoint: Bytes,
}

impl Against {
    /// Takes a checkpoint over `size` records.
    pub(super) fn new(tree: TreeMemory, size: u64, checkpoint: Bytes) -> Self {
        Self { tree, size, checkpoint }
    }

    /// Takes the checkpoint of a commit.
    pub(super) fn commit(tree: TreeMemory, commit: &Durable) -> Self {
        Self { tree, size: commit.size(), checkpoint: commit.checkpoint.clone() }
    }

    /// Returns the signed note.
    pub(super) fn checkpoint(&self) -> &Bytes {
        &self.checkpoint
    }

    /// Cuts the receipt of a record.
    pub(super) fn receipt(&self, index: u64, entry: &Entry) -> Result<wire::Receipt, Status> {
        let erased_by = erased_by(entry.erased_by);
        let salt = if erased_by.is_empty() { Bytes::copy_from_slice(&entry.salt) } else { Bytes::new() };
        Ok(wire::Receipt {
            record: entry.record.clone(),
            salt,
            index,
            commitment: entry.commitment.into(),
            proof: self.inclusion(index)?,
            checkpoint: self.checkpoint.clone(),
            erased_by,
        })
    }

    /// Proves that a record stands in the tree of this checkpoint.
    pub(super) fn inclusion(&self, index: u64) -> Result<Vec<Bytes>, Status> {
        let proof = self.tree.inclusion(index, self.size);
        proof.map(hashes).ok_or_else(|| fault(format_args!("no proof for record {index} in {} records", self.size)))
    }

    /// Proves that the tree of a pin and this checkpoint's are one history, whichever is larger.
    ///
    /// Empty for no pin, an equal one, and one that is larger than the whole log: then the client holds a larger
    /// checkpoint of ours than we do, and this one, signed and smaller, is its evidence.
    pub(super) fn consistency(&self, pin: u64) -> Vec<Bytes> {
        self.consistency_of(self.size, pin)
    }

    /// Proves the same for another checkpoint of this tree.
    pub(super) fn consistency_of(&self, size: u64, pin: u64) -> Vec<Bytes> {
        let (old, new) = (pin.min(size), pin.max(size));
        if old == 0 || old == new {
            return Vec::new();
        }
        self.tree.consistency(old, new).map(hashes).unwrap_or_default()
    }
}

/// Writes a proof for the wire: slices of one allocation, since each answer has some forty hashes.
pub(super) fn hashes(proof: Vec<Digest>) -> Vec<Bytes> {
    let all = Bytes::from(proof.iter().map(Digest::as_ref).collect::<Vec<&[u8]>>().concat());
    (0..proof.len()).map(|number| all.slice(32 * number..32 * (number + 1))).collect()
}

/// Names the rule that erased a record; empty while it is here.
pub(super) fn erased_by(rule: u8) -> String {
    match rule {
        0 => String::new(),
        1 => "TRAFFIC_6_MONTHS".to_owned(),
        // A later version's rule: its number says more than nothing.
        other => format!("RULE_{other}"),
    }
}
