//! Everything that the log signs is linked to the pin, and the pin moves up.
//!
//! An answer is compared with the pin that went out with its request, since answers overtake each other; before the pin
//! is replaced, the new checkpoint is compared with the pin that stands by then too. A checkpoint that is not shown to
//! be of the pinned history gets one more chance, since a gateway may cut a proof wrong; then both checkpoints and
//! the proof are saved as evidence. Nothing else of the client raises a checkpoint's pin.

use bytes::Bytes;
use seinpost_protocol::checkpoint::{self, Checkpoint, Fork, LogKey, Pin, Seen, Unlinked};
use seinpost_protocol::item::Signer;
use seinpost_protocol::receipt::{self, BadReceipt, EventKind, VerifiedReceipt};
use seinpost_protocol::wire;

use crate::client::Client;
use crate::connect::{Connection, request};
use crate::error::{Error, Result};
use crate::evidence::{Evidence, proof_text};
use crate::pins::{PinnedCheckpoint, Raised};

/// The pin as it stood when a request went out: its answer is compared with this one.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pin: Pin,
    note: Option<Bytes>,
}

impl Asked {
    /// Returns the size that the request says, for the consistency proof of its answer.
    pub(crate) fn seen_size(&self) -> u64 {
        self.pin.size
    }

    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }
}

impl Client {
    /// Reads the pin for a request that goes out now.
    pub(crate) fn asked(&self) -> Result<Asked> {
        let pins = self.inner.pins.read()?;
        Ok(Asked { pin: pins.pin(), note: pins.checkpoint().map(|pinned| pinned.note.clone()) })
    }

    pub(crate) fn log_keys(&self) -> Vec<LogKey> {
        self.covenants().log_keys()
    }

    /// Fetches the newest checkpoint, links it to the pin, and pins it.
    ///
    /// # Errors
    /// If the hub cannot be reached, or what it shows is not of the pinned history or smaller than the pin.
    pub async fn checkpoint(&self) -> Result<PinnedCheckpoint> {
        let asked = self.asked()?;
        let question = wire::GetCheckpointRequest { seen_size: asked.seen_size() };
        let ask = |connection: Connection| async move { connection.audit().get_checkpoint(request(question)).await };
        let answer = self.inner.connection.ask(ask).await?;
        let checkpoint = self.link_note(&asked, &answer.checkpoint, &answer.consistency).await?;
        if checkpoint.size < asked.pin.size {
            return Err(self.accuse_shrinking(&asked, &checkpoint, &answer.checkpoint));
        }
        Ok(PinnedCheckpoint { pin: checkpoint.pin(), note: answer.checkpoint })
    }

    /// Opens a note, links it to the pin of its request, and pins it if it is larger.
    pub(crate) async fn link_note(&self, asked: &Asked, note: &Bytes, consistency: &[Bytes]) -> Result<Checkpoint> {
        let opened = checkpoint::open_linked(note, self.origin(), &self.log_keys(), &asked.pin, consistency);
        let checkpoint = match opened {
            Ok((checkpoint, _)) => checkpoint,
            Err(Unlinked::Note(bad)) => {
                return Err(Error::not_verified(bad.reason(), format!("the hub's checkpoint does not hold: {bad}")));
            }
            Err(Unlinked::Fork(fork)) => self.try_again(asked, fork, note, consistency).await?,
        };
        self.keep(asked.clone(), &checkpoint, note).await?;
        Ok(checkpoint)
    }

    /// Verifies a receipt against the pin of its request, and pins its checkpoint if it is larger.
    pub(crate) async fn link_receipt(
        &self,
        asked: &Asked,
        receipt: &wire::Receipt,
        consistency: &[Bytes],
    ) -> Result<VerifiedReceipt> {
        // A checkpoint below the pin moves no pin, so that a key counts there which is retired by now.
        let size = Seen::parse(receipt.checkpoint.clone()).map_or(u64::MAX, |claimed| claimed.size());
        let keys = if size <= asked.pin.size { self.covenants().log_keys_at(size) } else { self.log_keys() };
        let verified = match receipt::verify(receipt, self.origin(), &keys, &asked.pin, consistency) {
            Ok(verified) => verified,
            Err(BadReceipt::Unlinked(Unlinked::Fork(fork))) => {
                let checkpoint = self.try_again(asked, fork, &receipt.checkpoint, consistency).await?;
                // The history holds, so the rest of the receipt is judged against its own tree.
                receipt::verify(receipt, self.origin(), &keys, &checkpoint.pin(), &[])
                    .map_err(|bad| bad_receipt(&bad))?
            }
            Err(bad) => return Err(bad_receipt(&bad)),
        };
        self.keep(asked.clone(), &verified.checkpoint, &receipt.checkpoint).await?;
        Ok(verified)
    }

    /// Demands that the checkpoint that a peer last saw is of the pinned history: each message is gossip.
    pub(crate) async fn link_gossip(&self, signer: &Signer) -> Result<()> {
        let seen = &signer.seen;
        // Another root of a known size is judged like an unknown one: the signature tells whose lie it is.
        if self.is_known_root(seen.size(), seen.root()) == Some(true) {
            return Ok(());
        }
        let keys = self.gossip_keys(signer);
        if let Err(bad) = seen.verify(self.origin(), &keys) {
            let what = format!("the checkpoint that {} says it saw is not the log's: {bad}", signer.address);
            return Err(Error::not_verified("SEEN_NOT_VERIFIED", what));
        }
        let asked = self.asked()?;
        let (old, new) = ordered(seen.size(), asked.pin.size);
        let consistency = self.consistency(old, new).await?;
        match checkpoint::judge_gossip(seen, self.origin(), &keys, &asked.pin, &consistency) {
            Ok(_) => {
                self.remember_root(seen.size(), *seen.root());
                Ok(())
            }
            Err(Unlinked::Fork(fork)) => Err(self.accuse_gossip(&asked, seen, signer, &fork, &consistency)),
            Err(Unlinked::Note(bad)) => Err(Error::not_verified(bad.reason(), bad.to_string())),
        }
    }

    /// Fetches the proof between two sizes.
    pub(crate) async fn consistency(&self, old_size: u64, new_size: u64) -> Result<Vec<Bytes>> {
        if old_size == 0 || old_size == new_size {
            return Ok(Vec::new());
        }
        let question = wire::GetConsistencyProofRequest { old_size, new_size };
        let ask =
            |connection: Connection| async move { connection.audit().get_consistency_proof(request(question)).await };
        Ok(self.inner.connection.ask(ask).await?.proof)
    }

    /// Pins a checkpoint that was linked to `compared`, comparing it with whatever pin stands by now.
    async fn keep(&self, mut compared: Asked, checkpoint: &Checkpoint, note: &Bytes) -> Result<()> {
        if compared.pin.size >= checkpoint.size && compared.note.is_some() {
            self.remember_root(checkpoint.size, checkpoint.root);
            return Ok(());
        }
        loop {
            let raised = self.inner.pins.update(|pins| Ok(pins.raise_checkpoint(&compared.pin, checkpoint, note)))?;
            let Raised::Moved(pinned) = raised else {
                self.remember_root(checkpoint.size, checkpoint.root);
                return Ok(());
            };
            let (old, new) = ordered(checkpoint.size, pinned.pin.size);
            let consistency = self.consistency(old, new).await?;
            compared = Asked { pin: pinned.pin, note: Some(pinned.note) };
            if let Err(fork) = checkpoint::link(&compared.pin, checkpoint, &consistency) {
                return Err(self.accuse_fork(&compared, &fork, note, &consistency));
            }
        }
    }

    /// Asks for the proof once more before anybody is accused.
    async fn try_again(&self, asked: &Asked, fork: Fork, note: &Bytes, consistency: &[Bytes]) -> Result<Checkpoint> {
        let (old, new) = ordered(fork.checkpoint.size, asked.pin.size);
        let again = self.consistency(old, new).await.unwrap_or_default();
        match checkpoint::link(&asked.pin, &fork.checkpoint, &again) {
            Ok(_) => Ok(fork.checkpoint),
            // A log that is smaller than what was seen cannot prove anything about it.
            Err(_) if fork.checkpoint.size < asked.pin.size && consistency.is_empty() && again.is_empty() => {
                Err(self.accuse_shrinking(asked, &fork.checkpoint, note))
            }
            Err(_) => Err(self.accuse_fork(asked, &fork, note, consistency)),
        }
    }

    /// Returns the keys by which a peer's checkpoint may be signed: those of the covenant that it read, and of ours.
    fn gossip_keys(&self, signer: &Signer) -> Vec<LogKey> {
        let covenants = self.covenants();
        let mut keys = covenants.log_keys_at(signer.seen.size());
        keys.extend(covenants.by_digest(&signer.covenant_digest).map(|read| read.live_log_keys()).unwrap_or_default());
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn accuse_fork(&self, asked: &Asked, fork: &Fork, note: &Bytes, consistency: &[Bytes]) -> Error {
        let proof = proof_text(consistency);
        self.accuse(Evidence {
            reason: "LOG_FORK",
            what: format!("the log does not extend the history that this client has seen: {fork}"),
            pieces: vec![
                ("pinned.checkpoint", asked.note.as_deref().unwrap_or_default()),
                ("shown.checkpoint", note),
                ("consistency.txt", proof.as_bytes()),
            ],
        })
    }

    pub(crate) fn accuse_shrinking(&self, asked: &Asked, checkpoint: &Checkpoint, note: &[u8]) -> Error {
        self.accuse(Evidence {
            reason: "LOG_SHRANK",
            what: format!(
                "the log is smaller than what this profile saw: it shows {} records, and {} were seen before, so an older \
                 copy of it is running",
                checkpoint.size, asked.pin.size
            ),
            pieces: vec![("pinned.checkpoint", asked.note.as_deref().unwrap_or_default()), ("shown.checkpoint", note)],
        })
    }

    fn accuse_gossip(&self, asked: &Asked, seen: &Seen, signer: &Signer, fork: &Fork, consistency: &[Bytes]) -> Error {
        let proof = proof_text(consistency);
        self.accuse(Evidence {
            reason: "SEEN_FORK",
            what: format!("the log showed {} another history than this client: {fork}", signer.address),
            pieces: vec![
                ("pinned.checkpoint", asked.note.as_deref().unwrap_or_default()),
                ("peer.checkpoint", seen.note()),
                ("consistency.txt", proof.as_bytes()),
            ],
        })
    }
}

/// Says what a receipt lacks.
pub(crate) fn bad_receipt(bad: &BadReceipt) -> Error {
    Error::not_verified(bad.reason(), format!("the hub's receipt does not hold: {bad}"))
}

/// Takes a verified receipt for the record that was asked for.
pub(crate) fn expect<'a>(
    receipt: &'a VerifiedReceipt,
    audience: &wire::Audience,
    event: EventKind,
    item_digest: Option<&seinpost_protocol::digest::Digest>,
) -> Result<&'a wire::Record> {
    receipt.expect(audience, event, item_digest).map_err(|bad| bad_receipt(&bad))
}

/// The audience of one address.
pub(crate) fn audience_of(address: seinpost_protocol::address::Address) -> wire::Audience {
    wire::Audience { of: Some(wire::audience::Of::Address(address.into())) }
}

/// The audience of everybody.
pub(crate) fn audience_all() -> wire::Audience {
    wire::Audience { of: Some(wire::audience::Of::Group(wire::Group::All.into())) }
}

fn ordered(a: u64, b: u64) -> (u64, u64) {
    if a < b { (a, b) } else { (b, a) }
}
