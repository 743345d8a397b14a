//! Canaries: words from the content of signals that must never be found at the hub.
//!
//! A canary is looked for as it is, in UTF-16, in hexadecimal and in base64 at each of its three alignments, in every
//! file of a folder and in any text (log, metrics). A search that finds nothing proves something only if it finds
//! what is planted: the null control of the tests plants one.

use std::path::{Path, PathBuf};

use base64::Engine as _;

/// A canary that was found where it must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The file, or the name of the text.
    pub place: PathBuf,
    /// The canary.
    pub canary: String,
    /// In which form it was found.
    pub form: &'static str,
}

/// Searches every file below `folder`.
///
/// # Panics
/// If the folder cannot be read: a search that could not look has not found anything out.
#[must_use]
pub fn search_folder(folder: &Path, canaries: &[&str]) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the hub's folder can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let bytes = std::fs::read(&path).expect("the hub's file can be read");
                hits.extend(search_bytes(&path, &bytes, canaries));
            }
        }
    }
    hits
}

/// Searches one text or file, in one pass for all canaries and forms.
#[must_use]
pub fn search_bytes(place: &Path, bytes: &[u8], canaries: &[&str]) -> Vec<Hit> {
    let needles: Vec<Needle<'_>> = canaries.iter().flat_map(|canary| forms(canary)).collect();
    let mut by_first_byte: [Vec<&Needle<'_>>; 256] = std::array::from_fn(|_| Vec::new());
    for needle in &needles {
        by_first_byte[usize::from(needle.bytes[0])].push(needle);
    }
    let mut hits = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        // Segments are filled with zeros when they are made; no needle begins with one.
        if bytes[at..].starts_with(&ZEROS) {
            at += ZEROS.len();
            continue;
        }
        for here in at..bytes.len().min(at + ZEROS.len()) {
            for needle in &by_first_byte[usize::from(bytes[here])] {
                let hit = || Hit { place: place.to_owned(), canary: needle.canary.to_owned(), form: needle.form };
                if bytes[here..].starts_with(&needle.bytes) && !hits.contains(&hit()) {
                    hits.push(hit());
                }
            }
        }
        at += ZEROS.len();
    }
    hits
}

static ZEROS: [u8; 4096] = [0; 4096];

/// One canary in one form.
struct Needle<'a> {
    canary: &'a str,
    form: &'static str,
    bytes: Vec<u8>,
}

fn forms(canary: &str) -> Vec<Needle<'_>> {
    let plain = canary.as_bytes();
    assert!(plain.len() >= 8, "{canary:?} is too short to mean anything where it is found");
    let needle = |form, bytes| Needle { canary, form, bytes };
    let mut forms = vec![
        needle("plain", plain.to_vec()),
        needle("utf-16", canary.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        needle("hex", hex::encode(plain).into_bytes()),
        needle("HEX", hex::encode_upper(plain).into_bytes()),
    ];
    for offset in 0..3 {
        let mut shifted = vec![0; offset];
        shifted.extend_from_slice(plain);
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&shifted);
        // The first characters mix in what stood before, the last what comes after.
        let end = (shifted.len() / 3) * 4;
        let start = if offset == 0 { 0 } else { 4 };
        forms.push(needle("base64", text.as_bytes()[start..end].to_vec()));
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "Kanarie-Vogelzang";

    #[test]
    fn a_canary_is_found_in_every_form_at_every_place() {
        let forms: Vec<Vec<u8>> = vec![
            format!("xx{CANARY}yy").into_bytes(),
            CANARY.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            hex::encode(CANARY).into_bytes(),
            base64::engine::general_purpose::STANDARD.encode(format!("1{CANARY}23")).into_bytes(),
            base64::engine::general_purpose::STANDARD.encode(format!("12{CANARY}3")).into_bytes(),
            base64::engine::general_purpose::STANDARD.encode(CANARY).into_bytes(),
        ];
        for bytes in forms {
            assert!(!search_bytes(Path::new("text"), &bytes, &[CANARY]).is_empty(), "{bytes:?}");
        }
        assert!(search_bytes(Path::new("text"), b"Kanarie-Vogelzan", &[CANARY]).is_empty());
    }

    #[test]
    fn a_canary_is_found_wherever_it_lies_between_zeros() {
        for at in [0, 1, 4095, 4096, 4097, 8190, 12_288 - CANARY.len()] {
            let mut bytes = vec![0; 12_288];
            bytes[at..at + CANARY.len()].copy_from_slice(CANARY.as_bytes());
            assert_eq!(search_bytes(Path::new("text"), &bytes, &[CANARY]).len(), 1, "at {at}");
        }
    }

    #[test]
    fn a_planted_canary_is_found_in_a_folder() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        std::fs::create_dir(folder.path().join("deep")).expect("a folder can be made");
        std::fs::write(folder.path().join("deep/file"), CANARY).expect("a file can be written");
        assert!(search_folder(folder.path(), &["not there"]).is_empty());
        assert_eq!(search_folder(folder.path(), &["not there", CANARY]).len(), 1);
    }
}
