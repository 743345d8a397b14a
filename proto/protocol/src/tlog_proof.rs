//! Proof files (C2SP `tlog-proof`): an inclusion proof with its checkpoint as text, for strangers' tools.
//!
//! In comes a text, out comes what it says: whose claim it is and whether it holds is for `note` and `tree`. Nothing here
//! verifies anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::checkpoint::parse_size;
use crate::digest::Digest;
use crate::note::NOTE_BYTES_MAX;
use crate::tree::PROOF_HASHES_MAX;

const HEADER: &str = "c2sp.org/tlog-proof@v1\n";
/// The most that stands before the checkpoint: 63 hashes of 45 characters, an index, and an `extra` line of 16 KiB, which
/// C2SP leaves open and we fill with a salt of 32 bytes.
const HEAD_BYTES_MAX: usize = 20 * 1024;

/// What a proof file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// Bytes that nobody vouches for; ours are the salt of the record.
    pub extra: Option<Vec<u8>>,
    /// The index of the entry.
    pub index: u64,
    /// The inclusion proof, the leaf's sibling first.
    pub proof: Vec<Digest>,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
}

impl ProofFile {
    /// Reads a proof file; a text that is written in any other way than [`ProofFile::write`] does is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > HEAD_BYTES_MAX + NOTE_BYTES_MAX {
            return None;
        }
        let (head, checkpoint) = text.strip_prefix(HEADER)?.split_once("\n\n")?;
        let mut lines = head.split('\n').peekable();
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) => Some(BASE64.decode(line.strip_prefix("extra ")?).ok()?),
            None => None,
        };
        let index = parse_size(lines.next()?.strip_prefix("index ")?)?;
        let proof: Vec<_> = lines.map(hash).collect::<Option<_>>()?;
        let possible = proof.len() <= PROOF_HASHES_MAX && head.len() <= HEAD_BYTES_MAX && !checkpoint.is_empty();
        possible.then(|| Self { extra, index, proof, checkpoint: checkpoint.to_owned() })
    }

    /// Returns the text of the file.
    #[must_use]
    pub fn write(&self) -> String {
        let extra = self.extra.as_ref().map(|extra| format!("extra {}\n", BASE64.encode(extra)));
        let proof: String = self.proof.iter().map(|hash| format!("{}\n", BASE64.encode(hash))).collect();
        format!("{HEADER}{}index {}\n{proof}\n{}", extra.unwrap_or_default(), self.index, self.checkpoint)
    }
}

fn hash(line: &str) -> Option<Digest> {
    Digest::try_from(BASE64.decode(line).ok()?.as_slice()).ok()
}
