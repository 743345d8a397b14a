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

/// Searches one text or file.
#[must_use]
pub fn search_bytes(place: &Path, bytes: &[u8], canaries: &[&str]) -> Vec<Hit> {
    let mut hits = Vec::new();
    for canary in canaries {
        for (form, needle) in forms(canary) {
            if contains(bytes, &needle) {
                hits.push(Hit { place: place.to_owned(), canary: (*canary).to_owned(), form });
            }
        }
    }
    hits
}

fn forms(canary: &str) -> Vec<(&'static str, Vec<u8>)> {
    let plain = canary.as_bytes();
    let mut forms = vec![
        ("plain", plain.to_vec()),
        ("utf-16", canary.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("hex", hex::encode(plain).into_bytes()),
        ("HEX", hex::encode_upper(plain).into_bytes()),
    ];
    for offset in 0..3 {
        let mut shifted = vec![0; offset];
        shifted.extend_from_slice(plain);
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&shifted);
        // The first characters mix in what stood before, the last what comes after.
        let end = (shifted.len() / 3) * 4;
        let start = if offset == 0 { 0 } else { 4 };
        if end > start + 8 {
            forms.push(("base64", text[start..end].as_bytes().to_vec()));
        }
    }
    forms
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return false };
    let mut from = 0;
    while let Some(found) = haystack[from..].iter().position(|byte| byte == first) {
        let at = from + found;
        if haystack[at + 1..].starts_with(rest) {
            return true;
        }
        from = at + 1;
    }
    false
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
    fn a_planted_canary_is_found_in_a_folder() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        std::fs::create_dir(folder.path().join("deep")).expect("a folder can be made");
        std::fs::write(folder.path().join("deep/file"), format!("{CANARY}")).expect("a file can be written");
        assert!(search_folder(folder.path(), &["not there"]).is_empty());
        assert_eq!(search_folder(folder.path(), &["not there", CANARY]).len(), 1);
    }
}
