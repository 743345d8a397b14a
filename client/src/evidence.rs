//! Evidence against the hub, kept for whoever has to decide what to do about it.
//!
//! A history that does not extend the pin, a checkpoint smaller than one that the log signed before, a peer that was
//! shown another branch, two covenants of one serial: each is saved in a folder of its own under `evidence/` before
//! anybody is told, since the hub will not show it twice. What was signed stands in files as it was signed, so that a
//! stranger's tool can open it; `about.json` says what it is. Evidence holds no content of signals.

use std::path::{Path, PathBuf};

use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;

use crate::error::{Error, NotVerified, Result};
use crate::files::{self, Mode};

/// What was found, and the signed pieces that show it.
pub(crate) struct Evidence<'a> {
    /// The reason in UPPER_SNAKE.
    pub(crate) reason: &'static str,
    /// What it is, in a sentence.
    pub(crate) what: String,
    /// Files to keep: name and bytes.
    pub(crate) pieces: Vec<(&'a str, &'a [u8])>,
}

impl Evidence<'_> {
    /// Saves the evidence and returns the error that tells of it.
    ///
    /// Where it cannot be saved the error says so too: it is no less true.
    pub(crate) fn accuse(self, state: &Path, now: Timestamp) -> Error {
        let (what, evidence) = match self.save(state, now) {
            Ok(folder) => (self.what, Some(folder)),
            Err(error) => (format!("{} (the evidence could not be saved: {error})", self.what), None),
        };
        Error::NotVerified(NotVerified { reason: self.reason, what, evidence })
    }

    /// Saves the evidence; the same evidence found again stays in the folder that it is in.
    fn save(&self, state: &Path, now: Timestamp) -> Result<PathBuf> {
        let parts: Vec<&[u8]> =
            self.pieces.iter().flat_map(|(name, bytes)| [name.as_bytes(), &[0][..], bytes]).collect();
        let digest = Digest::of_parts(&parts).to_string();
        let parent = state.join("evidence");
        let folder = parent.join(format!("{}-{}", self.reason.to_lowercase().replace('_', "-"), &digest[..16]));
        if folder.join("about.json").exists() {
            return Ok(folder);
        }
        files::create_folder(&folder)?;
        for (name, bytes) in &self.pieces {
            files::write(&folder.join(name), bytes, Mode::Plain)?;
        }
        // Last, so that a folder that has it is whole.
        let about = serde_json::json!({
            "format": "seinpost.evidence.v1",
            "reason": self.reason,
            "what": self.what,
            "found_at": now.to_string(),
            "files": self.pieces.iter().map(|(name, bytes)| (*name, Digest::of(bytes).to_string())).collect::<std::collections::BTreeMap<_, _>>(),
        });
        files::write(&folder.join("about.json"), format!("{about:#}\n").as_bytes(), Mode::Plain)?;
        Ok(folder)
    }
}

/// Writes a proof as people read it: one hash a line, in hexadecimal.
pub(crate) fn proof_text(proof: &[bytes::Bytes]) -> String {
    proof.iter().map(|hash| hex::encode(hash) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence<'a>(pieces: &[(&'a str, &'a [u8])]) -> Evidence<'a> {
        Evidence { reason: "LOG_FORK", what: "two histories".into(), pieces: pieces.to_vec() }
    }

    #[test]
    fn evidence_is_saved_once_and_its_folder_is_named_in_the_error() {
        let state = tempfile::tempdir().expect("a folder");
        let pieces: [(&str, &[u8]); 2] = [("pinned.checkpoint", b"one"), ("shown.checkpoint", b"two")];
        let first = evidence(&pieces).accuse(state.path(), Timestamp::FIRST);
        let again = evidence(&pieces).accuse(state.path(), Timestamp::LAST);
        let folder = first.evidence().expect("saved").to_owned();
        assert_eq!(again.evidence(), Some(&*folder));
        assert_eq!(std::fs::read(folder.join("shown.checkpoint")).expect("there"), b"two");
        let about = std::fs::read_to_string(folder.join("about.json")).expect("there");
        assert!(about.contains("2020-01-01T00:00:00Z") && about.contains("LOG_FORK"), "{about}");
        assert_eq!(first.reason(), Some("LOG_FORK"));
    }

    #[test]
    fn evidence_that_cannot_be_saved_is_told_all_the_same() {
        let state = tempfile::tempdir().expect("a folder");
        std::fs::write(state.path().join("evidence"), "a file is in the way").expect("written");
        let error = evidence(&[("pinned.checkpoint", b"one")]).accuse(state.path(), Timestamp::FIRST);
        assert_eq!((error.reason(), error.evidence()), (Some("LOG_FORK"), None));
        assert!(error.to_string().contains("could not be saved"), "{error}");
    }
}
