//! The first answer to each delivery of one's own signals: an answer is final, and a second one is noticed.
//!
//! In comes each answer that was verified, with its receipt; the first to a delivery is kept for good. A different one
//! later, from the mailbox or from `status`, convicts two: the recipient, who signed both, and the hub, which took both.
//! What is kept is a receipt file, so that anybody can verify the first answer without the hub.

use std::path::PathBuf;

use seinpost_protocol::answer::Answer;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::Payload;
use seinpost_protocol::wire::AnswerCode;

use crate::client::Client;
use crate::error::Result;
use crate::evidence::Evidence;
use crate::verify::ReceiptFile;

impl Client {
    /// Keeps the first answer to a delivery; another than the one that is kept is an error with both as evidence.
    pub(crate) fn judge_first_answer(&self, digest: &Digest, answer: &Answer, file: &ReceiptFile) -> Result<()> {
        // A delivery's commitment is salted: no two deliveries have one, of whatever log.
        let path = self.answer_path(&answer.delivery_commitment.to_string());
        if !path.exists() {
            return file.write(&path);
        }
        let first = ReceiptFile::read(&path)?;
        let kept = first.parsed().expect("a receipt file that was read holds an item");
        if kept.digest() == *digest {
            return Ok(());
        }
        // Kept as it was first seen, so that the same two answers seen again are the same evidence.
        let other = self.answer_path(&format!("{}-{digest}", answer.delivery_commitment));
        if !other.exists() {
            file.write(&other)?;
        }
        let second = ReceiptFile::read(&other)?;
        let code = match kept.payload() {
            Payload::Answer(first) => short(first.code),
            Payload::Signal(_) | Payload::KeyStatement(_) => "another item",
        };
        Err(self.accuse(Evidence {
            reason: "ANSWERED_TWICE",
            what: format!(
                "{} answered one delivery twice: {} in record {}, which was seen first and counts, and {} in record {}",
                answer.signer.address,
                code,
                first.receipt.index,
                short(answer.code),
                second.receipt.index
            ),
            pieces: vec![("first.receipt", &first.to_bytes()), ("second.receipt", &second.to_bytes())],
        }))
    }

    fn answer_path(&self, name: &str) -> PathBuf {
        self.inner.profile.state.join("answers").join(format!("{name}.receipt"))
    }
}

fn short(code: AnswerCode) -> &'static str {
    code.as_str_name().trim_start_matches("ANSWER_CODE_")
}
