//! Searches every file of a folder for words, as somebody would who does not believe that they are not there.

use std::io;
use std::path::Path;

/// Counts the files and bytes that were read, and names the first file that holds one of the words.
pub(super) struct Searched {
    pub files: usize,
    pub bytes: u64,
    pub found: Option<(String, String)>,
}

/// Searches the folder and all below it.
pub(super) fn folder(folder: &Path, words: &[&str]) -> io::Result<Searched> {
    let mut searched = Searched { files: 0, bytes: 0, found: None };
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path)?;
            searched.files += 1;
            searched.bytes += bytes.len() as u64;
            for word in words {
                if searched.found.is_none() && holds(&bytes, word.as_bytes()) {
                    searched.found = Some((path.display().to_string(), (*word).to_owned()));
                }
            }
        }
    }
    Ok(searched)
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return false };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(word) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_wherever_it_stands() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        std::fs::create_dir(dir.path().join("deep")).expect("a folder can be made");
        std::fs::write(dir.path().join("deep/file"), b"SeSemmie").expect("a file can be written");
        let found = folder(dir.path(), &["Voorbeeld", "Semmie"]).expect("the folder can be read");
        assert_eq!(found.files, 1);
        assert_eq!(found.found.map(|(_, word)| word), Some("Semmie".to_owned()));
        assert!(folder(dir.path(), &["Voorbeeld"]).expect("the folder can be read").found.is_none());
    }
}
