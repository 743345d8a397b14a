//! Submitting what is finished: the same bytes until there is an answer, and then the receipt is kept.
//!
//! In comes what waits in the outbox; out goes what the hub accepted, by a receipt that was verified. What was refused
//! leaves the outbox, what has no answer or no receipt that holds stays there.

use std::path::PathBuf;
use std::time::Duration;

use prost::Message as _;
use seinpost_protocol::item::{Item, ItemId, Payload};
use seinpost_protocol::receipt::VerifiedReceipt;
use seinpost_protocol::wire;

use super::Submitted;
use crate::client::Client;
use crate::connect::request;
use crate::error::{Error, NotVerified, Result};
use crate::evidence::Evidence;
use crate::outbox::Waiting;
use crate::verify::ReceiptFile;

/// How often a submission is tried before the caller is told: with the waits between them about half a minute.
const TRIES_MAX: u32 = 6;
/// The first wait between two tries; each is twice the one before.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// The longest wait that a gateway's word may ask for while a person waits.
const WAIT_MAX: Duration = Duration::from_secs(15);

impl Client {
    /// Submits a finished submission until there is an answer, and keeps the receipt.
    pub(crate) async fn submit(&self, waiting: Waiting) -> Result<Submitted> {
        let wire = waiting.request.item.clone().expect("what waits has an item");
        let item = Item::parse(wire, self.origin())
            .map_err(|bad| Error::Fault(format!("{} in the outbox is not right: {bad}", waiting.id)))?;
        let (verified, receipt) = match self.submit_until_answered(&waiting).await {
            Ok(answered) => answered,
            Err(error @ Error::Refused(_)) => {
                // Refused for good: what is corrected takes a new id, and a statement that was refused never was one.
                self.inner.outbox.remove(&waiting.id)?;
                if matches!(item.payload(), Payload::KeyStatement(_)) {
                    self.inner.sealing_keys.forget(&item.digest())?;
                }
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let submitted = match self.judge_acceptance(&item, &verified) {
            // It stands in the log, signed: it convicts the hub, whatever it says next.
            Err(Error::NotVerified(NotVerified { reason: reason @ "ACCEPTANCE", what, .. })) => {
                let (item, receipt) = (item.wire().encode_to_vec(), receipt.encode_to_vec());
                let pieces = vec![("item.bin", item.as_slice()), ("receipt.bin", &receipt)];
                return Err(self.accuse(Evidence { reason, what, pieces }));
            }
            judged => judged?,
        };
        self.ruling_of(verified.record.as_ref().expect("an acceptance was asked for"), &receipt).await?;
        if let Payload::KeyStatement(statement) = item.payload() {
            let (serial, digest) = (statement.serial, Some(item.digest()));
            self.inner.pins.update(|pins| pins.raise_key(self.address(), serial, digest))?;
        }
        let own = self.inner.identity.chain();
        // What waited long may be signed with the certificate before.
        let file = if own.leaf.sha256() == item.signer().certificate_sha256 {
            ReceiptFile::new(self.origin(), &submitted.covenant, item.wire().clone(), own, receipt)
        } else {
            let chain = self.certificate(&item.signer().certificate_sha256).await?;
            ReceiptFile::new(self.origin(), &submitted.covenant, item.wire().clone(), &chain, receipt)
        };
        file.write(&submitted.receipt)?;
        self.note_receipt(&submitted.digest, &submitted.id)?;
        self.inner.outbox.remove(&waiting.id)?;
        Ok(submitted)
    }

    async fn submit_until_answered(&self, waiting: &Waiting) -> Result<(VerifiedReceipt, wire::Receipt)> {
        let mut wait = WAIT_FIRST;
        for tried in 1.. {
            // Each try says the pin of its own time, and its answer is compared with that one.
            let asked = self.asked()?;
            let mut submission = waiting.request.clone();
            submission.seen_size = asked.seen_size();
            let connection = &self.inner.connection;
            let status = match connection.exchange().submit(request(submission)).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let receipt = answer.receipt.unwrap_or_default();
                    let verified = self.link_receipt(&asked, &receipt, &answer.consistency).await?;
                    return Ok((verified, receipt));
                }
                Err(status) => status,
            };
            match connection.error(&status) {
                Error::Unreachable(trouble) if trouble.automatic && tried < TRIES_MAX => {
                    tokio::time::sleep(trouble.retry_after.unwrap_or(wait).min(WAIT_MAX)).await;
                    wait *= 2;
                }
                error => return Err(error),
            }
        }
        unreachable!("the last try returns")
    }

    /// Returns where the receipt of an own item is kept.
    #[must_use]
    pub fn receipt_path(&self, id: &ItemId) -> PathBuf {
        self.inner.profile.state.join("receipts").join(format!("{id}.receipt"))
    }
}
