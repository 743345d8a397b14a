//! Signed notes (C2SP `signed-note`): a text, a blank line, and lines that sign it.
//!
//! In come bytes from anyone; out goes the text with the names of those known to the caller who signed it, or a refusal.
//! A line by somebody unknown is passed over, a line by somebody known must verify, every one of them. Nothing here
//! knows what the text says, and nothing here signs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::digest::Digest;

/// The largest note that is read. Ours have one line and stay below 512 bytes; 16 cosignatures by ML-DSA-44, the largest
/// that C2SP knows, take 52 KiB.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// The most signature lines that are read: C2SP asks for at least 16, Go's reader stops at 100.
pub const NOTE_SIGNATURES_MAX: usize = 100;

/// A note whose form is right; what its signatures are worth is not yet known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    text: &'a str,
    lines: Vec<Line<'a>>,
}

/// One signature line of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Who is said to have signed.
    pub name: &'a str,
    /// With which of its keys.
    pub key_id: KeyId,
    /// The signature, as the kind of key defines it.
    pub signature: Vec<u8>,
}

/// Somebody whose signature one knows how to check.
pub struct Verifier<'a> {
    /// The name that stands in its lines.
    pub name: &'a str,
    /// The id of its key.
    pub key_id: KeyId,
    /// Says whether this signature is its own over this text.
    pub verify: &'a dyn Fn(&[u8], &[u8]) -> bool,
}

impl<'a> Note<'a> {
    /// Reads a note, without judging its signatures.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadNote> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(BadNote::Form("it is larger than 64 KiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| BadNote::Form("it is not UTF-8"))?;
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(BadNote::Form("it holds a control character"));
        }
        let blank = note.rfind("\n\n").ok_or(BadNote::Form("no blank line ends its text"))?;
        let (text, signatures) = (&note[..=blank], &note[blank + 2..]);
        let signatures =
            signatures.strip_suffix('\n').ok_or(BadNote::Form("no line signs it, or its last has no end"))?;
        let mut lines = Vec::new();
        for line in signatures.split('\n') {
            if lines.len() == NOTE_SIGNATURES_MAX {
                return Err(BadNote::Form("it has more than 100 signature lines"));
            }
            lines.push(Line::parse(line).ok_or(BadNote::Form("a signature line is none"))?);
        }
        Ok(Self { text, lines })
    }

    /// Returns the text that is signed, its last newline included.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// Returns the signature lines in the order in which they stand.
    #[must_use]
    pub fn lines(&self) -> &[Line<'a>] {
        &self.lines
    }

    /// Returns which of `verifiers` signed, by their places, each once and in the order of the lines.
    ///
    /// Refused is a note that none of them signed, one that bears a wrong line of any of them, and one with a line that
    /// two of them claim.
    pub fn signed_by(&self, verifiers: &[Verifier<'_>]) -> Result<Vec<usize>, BadNote> {
        let mut signers = Vec::new();
        for line in &self.lines {
            let claims = |verifier: &&Verifier<'_>| verifier.name == line.name && verifier.key_id == line.key_id;
            let Some(place) = verifiers.iter().position(|verifier| claims(&verifier)) else {
                continue;
            };
            if verifiers.iter().filter(claims).count() > 1 {
                return Err(BadNote::Ambiguous);
            }
            if !(verifiers[place].verify)(self.text.as_bytes(), &line.signature) {
                return Err(BadNote::Signature);
            }
            if !signers.contains(&place) {
                signers.push(place);
            }
        }
        if signers.is_empty() { Err(BadNote::UnknownKey) } else { Ok(signers) }
    }
}

impl<'a> Line<'a> {
    /// The dash that begins a signature line, and its space: U+2014.
    const DASH: &'static str = "\u{2014} ";

    fn parse(line: &'a str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(Self::DASH)?.split_once(' ')?;
        let decoded = BASE64.decode(encoded).ok()?;
        let (key_id, signature) = decoded.split_first_chunk()?;
        // An empty signature signs nothing; C2SP leaves its length to the kind of key.
        (is_key_name(name) && !signature.is_empty()).then(|| Self {
            name,
            key_id: KeyId(*key_id),
            signature: signature.to_vec(),
        })
    }

    /// Returns the line as it stands in a note, newline included.
    #[must_use]
    pub fn write(name: &str, key_id: KeyId, signature: &[u8]) -> String {
        format!("{}{name} {}\n", Self::DASH, BASE64.encode([&key_id.0, signature].concat()))
    }
}

/// Says whether a text can name a key: not empty, no space of any kind, no `+`.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|letter| letter.is_whitespace() || letter == '+')
}

/// The four bytes by which a note's line says which key of its name signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    /// Computes the id of a key: the beginning of SHA-256 over name, newline, kind and key.
    #[must_use]
    pub fn of(name: &str, kind: u8, key: &[u8]) -> Self {
        let digest = Digest::of_parts(&[name.as_bytes(), b"\n", &[kind], key]);
        Self(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes"))
    }
}

/// Lower-case hexadecimal, 8 characters.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A public key as text: `name+id+base64(kind || key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vkey {
    /// Whose key it is.
    pub name: String,
    /// The key's id, recomputed and not believed.
    pub key_id: KeyId,
    /// What it signs, and how.
    pub kind: KeyKind,
    /// The public key's bytes.
    pub key: Vec<u8>,
}

/// The kinds of key that C2SP `signed-note` gives a number and whose id is the hash of name, kind and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// 0x01: Ed25519 over the text; what a log signs with.
    Ed25519,
    /// 0x04: Ed25519 over a time and the text; what a witness cosigns with.
    CosignatureEd25519,
    /// 0x06: ML-DSA-44 over a time and a (sub)tree.
    CosignatureMlDsa44,
}

impl KeyKind {
    const ALL: [Self; 3] = [Self::Ed25519, Self::CosignatureEd25519, Self::CosignatureMlDsa44];

    /// Returns the number that stands before the key.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureEd25519 => 0x04,
            Self::CosignatureMlDsa44 => 0x06,
        }
    }

    const fn key_bytes(self) -> usize {
        match self {
            Self::Ed25519 | Self::CosignatureEd25519 => 32,
            Self::CosignatureMlDsa44 => 1312,
        }
    }
}

impl Vkey {
    /// Reads a key; one whose id is not the hash of its name and key is refused, and so is a kind without such an id.
    pub fn parse(text: &str) -> Result<Self, BadVkey> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadVkey::Form);
        };
        if !is_key_name(name) || id.len() != 8 {
            return Err(BadVkey::Form);
        }
        let decoded = BASE64.decode(encoded).map_err(|_| BadVkey::Form)?;
        let (&number, key) = decoded.split_first().ok_or(BadVkey::Form)?;
        let kind = KeyKind::ALL.into_iter().find(|kind| kind.number() == number).ok_or(BadVkey::Kind)?;
        if key.len() != kind.key_bytes() {
            return Err(BadVkey::Form);
        }
        let key_id = KeyId::of(name, number, key);
        if key_id.to_string() != id {
            return Err(BadVkey::Id);
        }
        Ok(Self { name: name.to_owned(), key_id, kind, key: key.to_vec() })
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode([&[self.kind.number()], self.key.as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, self.key_id)
    }
}

/// A text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadVkey {
    /// It is not name, id of eight hexadecimal digits and base64 of a key of its kind's length.
    #[error("a public key is written name+id+base64(kind, key)")]
    Form,
    /// Its kind is unknown or not asked for here.
    #[error("this kind of key is not known here")]
    Kind,
    /// Its id is not the hash of its name and key.
    #[error("the id is not the hash of the name and the key: a letter of one of them is wrong")]
    Id,
}

/// A note, or the checkpoint in it, is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNote {
    /// It is no note.
    #[error("this is no signed note: {0}")]
    Form(&'static str),
    /// None of the known keys signed it.
    #[error("no known key signed the note")]
    UnknownKey,
    /// A line of a known key is wrong.
    #[error("a signature by a known key is wrong")]
    Signature,
    /// Two of the verifiers have one name and id.
    #[error("two of the known keys have one name and id")]
    Ambiguous,
    /// It does not bear the log's one line and no other.
    #[error("the note must bear the log's signature line and no other")]
    OtherLine,
    /// Its text is no checkpoint.
    #[error("the note's text is no checkpoint: {0}")]
    Checkpoint(&'static str),
    /// It is a checkpoint of another log.
    #[error("the checkpoint is another log's")]
    Origin,
}

impl BadNote {
    /// Returns the reason as it is written on the wire and in reports.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Form(_) => "NOTE",
            Self::UnknownKey => "NOTE_UNKNOWN_KEY",
            Self::Signature => "NOTE_SIGNATURE",
            Self::Ambiguous => "NOTE_AMBIGUOUS",
            Self::OtherLine => "NOTE_OTHER_LINE",
            Self::Checkpoint(_) => "CHECKPOINT",
            Self::Origin => "ORIGIN",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: KeyId = KeyId([1, 2, 3, 4]);

    fn note(text: &str, lines: usize) -> String {
        format!("{text}\n{}", Line::write("log", ID, b"signature").repeat(lines))
    }

    fn is_signature(_: &[u8], signature: &[u8]) -> bool {
        signature == b"signature"
    }

    #[test]
    fn a_note_is_split_at_its_last_blank_line() {
        let written = note("one\n\ntwo\n", 1);
        let parsed = Note::parse(written.as_bytes()).expect("a note");
        assert_eq!(parsed.text(), "one\n\ntwo\n");
        assert_eq!(parsed.lines(), [Line { name: "log", key_id: ID, signature: b"signature".to_vec() }]);
    }

    #[test]
    fn a_hundred_lines_and_64_kib_are_read_and_no_more() {
        assert!(Note::parse(note("text\n", NOTE_SIGNATURES_MAX).as_bytes()).is_ok());
        assert!(Note::parse(note("text\n", NOTE_SIGNATURES_MAX + 1).as_bytes()).is_err());
        let room = NOTE_BYTES_MAX - note("\n", 1).len();
        assert!(Note::parse(note(&("x".repeat(room) + "\n"), 1).as_bytes()).is_ok());
        assert!(Note::parse(note(&("x".repeat(room + 1) + "\n"), 1).as_bytes()).is_err());
    }

    #[test]
    fn every_line_of_a_known_key_must_verify_and_its_signer_is_named_once() {
        let log = [Verifier { name: "log", key_id: ID, verify: &is_signature }];
        let stranger = Line::write("stranger", ID, b"anything");
        let signed_by = |note: String| Note::parse(note.as_bytes()).expect("a note").signed_by(&log);
        assert_eq!(signed_by(note("text\n", 2) + &stranger), Ok(vec![0]));
        assert_eq!(signed_by(note("text\n", 1) + &Line::write("log", ID, b"other")), Err(BadNote::Signature));
        assert_eq!(signed_by(format!("text\n\n{stranger}")), Err(BadNote::UnknownKey));
        assert_eq!(
            signed_by(format!("text\n\n{}", Line::write("log", KeyId([0; 4]), b"signature"))),
            Err(BadNote::UnknownKey)
        );
    }

    #[test]
    fn what_is_no_signature_line_makes_no_note() {
        for line in [
            "",
            "-",
            "\u{2014} log",
            "\u{2014} lo g AQIDBAU=",
            "\u{2014} l+g AQIDBAU=",
            "\u{2014} log AQIDBA==",
            "\u{2014} log AQIDBAU",
            "\u{2014} log AQIDBAV=",
            "\u{2014} log AQIDBAU==",
            "\u{2014} log AQIDBA-_",
            "\u{2014} log AQID BAU=",
            "\u{2014} log AQIDBAU= ",
            "\u{2014} log AQIDBAU=\r",
            "\u{2014} log\u{a0}x AQIDBAU=",
            "\u{2014}  AQIDBAU=",
            "\u{2013} log AQIDBAU=",
            "\u{2014}log AQIDBAU=",
        ] {
            assert!(Note::parse(format!("text\n\n{line}\n").as_bytes()).is_err(), "{line:?}");
        }
        assert!(Note::parse("text\n\n\u{2014} log AQIDBAU=\n".as_bytes()).is_ok());
    }

    #[test]
    fn a_note_has_one_form_and_no_character_that_is_not_shown() {
        let line = "\u{2014} log AQIDBAU=\n";
        for text in ["text\r\n\n", "text\n\r\n", "te\0xt\n\n", "te\txt\n\n", "te\u{b}xt\n\n", "text\n", "text", ""] {
            assert!(Note::parse(format!("{text}{line}").as_bytes()).is_err(), "{text:?}");
        }
        let good = format!("text\n\n{line}");
        assert!(Note::parse(good.as_bytes()).is_ok());
        assert!(Note::parse(good.trim_end().as_bytes()).is_err(), "the last line has an end");
        assert!(Note::parse(format!("{good}\n").as_bytes()).is_err(), "and nothing behind it");
        assert!(Note::parse(format!("{good}\n{line}").as_bytes()).is_ok(), "a signed note may be a text");
        assert!(Note::parse(&[b"te\xff", good.as_bytes()].concat()).is_err(), "it is UTF-8");
        assert!(Note::parse(&[b"\xef\xbb\xbf", good.as_bytes()].concat()).is_ok_and(|note| note.text() != "text\n"));
    }
}
