//! Checkpoints (C2SP `tlog-checkpoint`): the log's signed word on how long it is and what its root is.
//!
//! In come notes, from the hub or from a peer that the hub told something; out go checkpoints whose signature holds and
//! that extend what one has pinned, or the evidence that somebody was shown another history. Nothing here signs, and
//! nothing here keeps a pin: whoever keeps one stores what [`link`] returns.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use crate::digest::Digest;
use crate::note::{BadNote, BadVkey, KeyId, KeyKind, Line, Note, Verifier, Vkey, is_key_name};
use crate::signature::verify_ed25519;
use crate::tree::{self, BadProof, EMPTY_ROOT};

/// The largest `seen_checkpoint`: an origin of 128 characters stands twice in it, beside about 170 other bytes.
pub const SEEN_BYTES_MAX: usize = 512;
/// The longest origin, so that a note with one line fits into [`SEEN_BYTES_MAX`].
pub const ORIGIN_CHARACTERS_MAX: usize = 128;

/// How long the log is and what its root is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The name of the log, which is the name of its key too.
    pub origin: String,
    /// The number of its leaves.
    pub size: u64,
    /// The root over all of them.
    pub root: Digest,
}

impl Checkpoint {
    /// Returns the text that is signed: three lines.
    #[must_use]
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// Reads a text, and returns beside the checkpoint the extension lines that follow it, which ours never have.
    pub fn parse(body: &str) -> Result<(Self, &str), BadNote> {
        let mut rest = body;
        let mut line = || {
            let (line, after) = rest.split_once('\n').ok_or(BadNote::Checkpoint("a line is missing or has no end"))?;
            rest = after;
            Ok(line)
        };
        let (origin, size, root) = (line()?, line()?, line()?);
        if origin.is_empty() || body.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(BadNote::Checkpoint("the origin is empty, or a control character stands in the text"));
        }
        if rest.split_inclusive('\n').any(|line| line == "\n" || !line.ends_with('\n')) {
            return Err(BadNote::Checkpoint("an extension line is empty or has no end"));
        }
        let size =
            parse_size(size).ok_or(BadNote::Checkpoint("the size is no number of 64 bits without leading zeros"))?;
        let root = BASE64.decode(root).ok().and_then(|root| Digest::try_from(root.as_slice()).ok());
        let root = root.ok_or(BadNote::Checkpoint("the root is not the base64 of 32 bytes"))?;
        if size == 0 && root != EMPTY_ROOT {
            return Err(BadNote::Checkpoint("the tree is empty and its root is not that of the empty tree"));
        }
        Ok((Self { origin: origin.to_owned(), size, root }, rest))
    }

    /// Returns what a client keeps of it.
    #[must_use]
    pub const fn pin(&self) -> Pin {
        Pin { size: self.size, root: self.root }
    }
}

/// Reads a number as checkpoints and proofs write it: decimal digits alone, no leading zero, 64 bits.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) { None } else { text.parse().ok() }
}

/// Says whether a text can be the origin of one of our logs.
///
/// It names the log's key. The same key signs mailbox heads as DSSE items, whose signed bytes begin with `DSSEv1`, so no
/// origin does: else one signature might be read as both. Printable ASCII, so that two origins that look alike are alike.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    is_key_name(text)
        && text.len() <= ORIGIN_CHARACTERS_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.starts_with("DSSEv1")
}

/// Opens a note of the log `origin`: signed by at least one of `keys`, with no wrong line by any of them.
///
/// Lines of others, such as witnesses, are passed over.
pub fn open(note: &[u8], origin: &str, keys: &[LogKey]) -> Result<Checkpoint, BadNote> {
    open_note(&Note::parse(note)?, origin, keys)
}

fn open_note(note: &Note<'_>, origin: &str, keys: &[LogKey]) -> Result<Checkpoint, BadNote> {
    let checks: Vec<_> =
        keys.iter().map(|key| move |text: &[u8], signature: &[u8]| key.verifies(text, signature)).collect();
    let verifiers: Vec<_> = std::iter::zip(keys, &checks)
        .map(|(key, verify)| Verifier { name: origin, key_id: key.key_id(origin), verify })
        .collect();
    note.signed_by(&verifiers)?;
    let checkpoint = own_checkpoint(note)?;
    if checkpoint.origin == origin { Ok(checkpoint) } else { Err(BadNote::Origin) }
}

/// Reads a checkpoint as our logs write it, without extension lines.
fn own_checkpoint(note: &Note<'_>) -> Result<Checkpoint, BadNote> {
    match Checkpoint::parse(note.text())? {
        (checkpoint, "") => Ok(checkpoint),
        (_, _) => Err(BadNote::Checkpoint("it has extension lines")),
    }
}

/// Returns the finished note of a checkpoint: its body, a blank line, and the log's signature over the body.
#[must_use]
pub fn note(checkpoint: &Checkpoint, key_id: KeyId, signature: &[u8; 64]) -> Vec<u8> {
    format!("{}\n{}", checkpoint.body(), Line::write(&checkpoint.origin, key_id, signature)).into_bytes()
}

/// A key with which a log signs: an Ed25519 public key, not yet bound to a log's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey([u8; 32]);

impl LogKey {
    /// Takes the 32 bytes of an Ed25519 public key.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the id that this key has in the notes of the log `origin`.
    #[must_use]
    pub fn key_id(&self, origin: &str) -> KeyId {
        KeyId::of(origin, KeyKind::Ed25519.number(), &self.0)
    }

    /// Returns the key as people hand it to each other: `origin+id+base64`.
    #[must_use]
    pub fn vkey(&self, origin: &str) -> String {
        let kind = KeyKind::Ed25519;
        Vkey { name: origin.to_owned(), key_id: self.key_id(origin), kind, key: self.0.to_vec() }.to_string()
    }

    /// Reads a key that was written by [`LogKey::vkey`]; returns the origin beside it.
    pub fn from_vkey(text: &str) -> Result<(String, Self), BadVkey> {
        let Vkey { name, kind, key, .. } = Vkey::parse(text)?;
        match (kind, key.as_slice().try_into()) {
            (KeyKind::Ed25519, Ok(key)) => Ok((name, Self(key))),
            _ => Err(BadVkey::Kind),
        }
    }

    /// Says whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        verify_ed25519(&self.0, message, signature).is_ok()
    }
}

/// Lower-case hexadecimal, 64 characters.
impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a client remembers of a log: the largest tree that it verified. It only ever moves up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin {
    /// The number of leaves.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

impl Pin {
    /// What one knows of a log at first contact: that it begins empty. Every log extends it.
    pub const NOTHING: Self = Self { size: 0, root: EMPTY_ROOT };
}

impl Default for Pin {
    fn default() -> Self {
        Self::NOTHING
    }
}

/// Checks that a checkpoint and a pin are of one history, whichever is larger, and returns the pin to keep: the larger.
///
/// `consistency` is the proof between the two sizes, as it came with the answer.
pub fn link(pin: &Pin, new: &Checkpoint, consistency: &[Bytes]) -> Result<Pin, Fork> {
    let new_pin = new.pin();
    let (older, newer) = if new.size < pin.size { (&new_pin, pin) } else { (pin, &new_pin) };
    let proven = tree::proof_from_wire(consistency)
        .and_then(|proof| tree::verify_consistency(older.size, &older.root, newer.size, &newer.root, &proof));
    match proven {
        Ok(()) => Ok(*newer),
        Err(why) => Err(Fork { pin: *pin, checkpoint: new.clone(), why }),
    }
}

/// A checkpoint was not shown to be of the history that one pinned.
///
/// With a signed checkpoint for each side this is evidence against the log; what it lacks is only the log's chance to
/// show a proof that it had forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log at {} leaves is not shown to be of the history pinned at {} leaves: {why}", checkpoint.size, pin.size)]
pub struct Fork {
    /// What was pinned.
    pub pin: Pin,
    /// What was shown.
    pub checkpoint: Checkpoint,
    /// What the proof lacks.
    pub why: BadProof,
}

impl Fork {
    /// Returns the reason as it is written in reports.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.why.reason()
    }
}

/// The checkpoint that a signer last verified, carried by everything it signs, so that each message is gossip.
///
/// Its form is right: at most 512 bytes, one signature line, by a key of the log's name. Its signature is not yet
/// verified; [`Seen::verify`], [`judge_seen`] and [`judge_gossip`] do that.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    note: Bytes,
    checkpoint: Checkpoint,
}

impl Seen {
    /// Reads a `seen_checkpoint`.
    pub fn parse(note: Bytes) -> Result<Self, BadNote> {
        if note.len() > SEEN_BYTES_MAX {
            return Err(BadNote::Form("it is larger than 512 bytes"));
        }
        let parsed = Note::parse(&note)?;
        let checkpoint = own_checkpoint(&parsed)?;
        match parsed.lines() {
            [line] if line.name == checkpoint.origin => Ok(Self { note, checkpoint }),
            _ => Err(BadNote::OtherLine),
        }
    }

    /// Returns the log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.checkpoint.origin
    }

    /// Returns the number of leaves that the signer saw.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Returns the root over them.
    #[must_use]
    pub const fn root(&self) -> &Digest {
        &self.checkpoint.root
    }

    /// Returns the signed note as the signer carried it.
    #[must_use]
    pub const fn note(&self) -> &Bytes {
        &self.note
    }

    /// Checks that one of the log's keys signed it.
    pub fn verify(&self, origin: &str, keys: &[LogKey]) -> Result<&Checkpoint, BadNote> {
        match open(&self.note, origin, keys) {
            Ok(_) => Ok(&self.checkpoint),
            // Its one line is the log's by form; with no key of ours under that name it is some other log's line.
            Err(BadNote::UnknownKey) => Err(BadNote::OtherLine),
            Err(other) => Err(other),
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seen({} at {})", self.checkpoint.origin, self.checkpoint.size)
    }
}

/// Judges a `seen_checkpoint` as the log that it speaks of does.
///
/// `own` is this gateway's own note of that size, if it keeps one: the same bytes are its own word and need no
/// signature check. `root_at` gives this log's root of a size, or `None` for a size that it has not reached.
pub fn judge_seen(
    seen: &Seen,
    origin: &str,
    keys: &[LogKey],
    own: Option<&[u8]>,
    root_at: impl FnOnce(u64) -> Option<Digest>,
) -> Result<(), BadSeen> {
    if own == Some(seen.note.as_ref()) {
        return Ok(());
    }
    let checkpoint = seen.verify(origin, keys)?;
    if root_at(checkpoint.size) == Some(checkpoint.root) { Ok(()) } else { Err(BadSeen::Fork) }
}

/// A `seen_checkpoint` is bad in one of two very different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSeen {
    /// The signer sent something that this log never signed.
    #[error(transparent)]
    Note(#[from] BadNote),
    /// This log's own key signed a tree that is not a prefix of this log: evidence, alarm, and no more intake.
    #[error("this log's key signed a tree that is no prefix of this log")]
    Fork,
}

impl BadSeen {
    /// Returns the reason as it is written on the wire and in reports.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Note(note) => note.reason(),
            Self::Fork => "SEEN_FORK",
        }
    }
}

/// Judges a peer's `seen_checkpoint` against one's own pin, and returns the pin to keep.
///
/// `consistency` is the log's proof between the two sizes: whether the peer is on the same branch is for the log to show.
pub fn judge_gossip(
    seen: &Seen,
    origin: &str,
    keys: &[LogKey],
    pin: &Pin,
    consistency: &[Bytes],
) -> Result<Pin, Unlinked> {
    let checkpoint = seen.verify(origin, keys)?;
    Ok(link(pin, checkpoint, consistency)?)
}

/// Opens a note and links it to a pin: what every answer of the log goes through.
pub fn open_linked(
    note: &[u8],
    origin: &str,
    keys: &[LogKey],
    pin: &Pin,
    consistency: &[Bytes],
) -> Result<(Checkpoint, Pin), Unlinked> {
    let checkpoint = open(note, origin, keys)?;
    let pin = link(pin, &checkpoint, consistency)?;
    Ok((checkpoint, pin))
}

/// A checkpoint is not the log's, or not of the pinned history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unlinked {
    /// The note is not to be believed.
    #[error(transparent)]
    Note(#[from] BadNote),
    /// The checkpoint is the log's, and of another history than the pin's as far as it was shown.
    #[error(transparent)]
    Fork(#[from] Fork),
}

impl Unlinked {
    /// Returns the reason as it is written in reports.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Note(note) => note.reason(),
            Self::Fork(fork) => fork.reason(),
        }
    }
}

/// Opens a note by a log key that a covenant retired: it counts for prefixes of the tree at which the key ended.
pub fn judge_retired(
    note: &[u8],
    origin: &str,
    key: &LogKey,
    until: &Pin,
    consistency: &[Bytes],
) -> Result<Checkpoint, BadRetired> {
    let checkpoint = open(note, origin, std::slice::from_ref(key)).map_err(Unlinked::Note)?;
    if checkpoint.size > until.size {
        return Err(BadRetired::Beyond);
    }
    link(until, &checkpoint, consistency).map_err(Unlinked::Fork)?;
    Ok(checkpoint)
}

/// A checkpoint by a retired key does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRetired {
    /// It is not by this key, or not of the tree at which the key ended.
    #[error(transparent)]
    Unlinked(#[from] Unlinked),
    /// It is larger than the tree at which the key ended.
    #[error("the key was retired before the log had so many leaves")]
    Beyond,
}

impl BadRetired {
    /// Returns the reason as it is written in reports.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unlinked(unlinked) => unlinked.reason(),
            Self::Beyond => "KEY_RETIRED",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what failed by failing")]

    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;
    use crate::tree::{Frontier, leaf_hash};

    const ORIGIN: &str = "log.seinpost.test/checkpoint";

    fn signer() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn key() -> LogKey {
        LogKey::new(signer().verifying_key().to_bytes())
    }

    /// The note of a log whose leaves count from 0, under any text behind the root.
    fn note_of(size: u64, extension: &str) -> Vec<u8> {
        let mut frontier = Frontier::default();
        (0..size).for_each(|number| frontier.append(leaf_hash(&Digest::of(&number.to_be_bytes()))));
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: frontier.root() };
        let body = checkpoint.body() + extension;
        let signature = signer().sign(body.as_bytes()).to_bytes();
        format!("{body}\n{}", Line::write(ORIGIN, key().key_id(ORIGIN), &signature)).into_bytes()
    }

    #[test]
    fn an_origin_names_a_key_and_is_never_the_beginning_of_a_signed_item() {
        assert!(is_origin(ORIGIN));
        assert!(is_origin(&"x".repeat(ORIGIN_CHARACTERS_MAX)));
        for bad in [
            "",
            "two words",
            "a+b",
            "DSSEv1",
            "DSSEv1.example",
            "log\n",
            "log\u{e9}",
            &"x".repeat(ORIGIN_CHARACTERS_MAX + 1),
        ] {
            assert!(!is_origin(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_longest_origin_fits_into_the_largest_seen_checkpoint() {
        let origin = "x".repeat(ORIGIN_CHARACTERS_MAX);
        let checkpoint = Checkpoint { origin: origin.clone(), size: u64::MAX, root: EMPTY_ROOT };
        let note = note(&checkpoint, key().key_id(&origin), &[0; 64]);
        assert!(note.len() <= SEEN_BYTES_MAX, "{} bytes", note.len());
        assert_eq!(Seen::parse(note.into()).unwrap().size(), u64::MAX);
    }

    #[test]
    fn a_seen_checkpoint_is_small_and_bears_one_line() {
        let note = note_of(3, "");
        let line = note.iter().rposition(|&byte| byte == 0xe2).unwrap();
        let twice = [&note, &note[line..]].concat();
        assert_eq!(open(&twice, ORIGIN, &[key()]).map(|checkpoint| checkpoint.size), Ok(3));
        assert_eq!(Seen::parse(twice.into()), Err(BadNote::OtherLine));
        let long = Line::write("witness.test", KeyId([0; 4]), &[0; 300]);
        let large = [&note, long.as_bytes()].concat();
        assert_eq!(Seen::parse(large.into()).map_err(BadNote::reason), Err("NOTE"));
    }

    #[test]
    fn our_logs_write_no_extension_lines() {
        let extended = note_of(3, "extension\n");
        assert_eq!(open(&extended, ORIGIN, &[key()]).map_err(BadNote::reason), Err("CHECKPOINT"));
        assert_eq!(Seen::parse(extended.into()).map_err(BadNote::reason), Err("CHECKPOINT"));
    }

    #[test]
    fn the_logs_own_note_is_known_by_its_bytes_and_any_other_by_signature_and_root() {
        let seen = Seen::parse(note_of(3, "").into()).unwrap();
        let unasked = |_| panic!("nothing is asked about one's own note");
        assert_eq!(judge_seen(&seen, ORIGIN, &[], Some(&note_of(3, "")), unasked), Ok(()));
        let root = *seen.root();
        let judged = |keys: &[LogKey], root| judge_seen(&seen, ORIGIN, keys, Some(&note_of(2, "")), |_| root);
        assert_eq!(judged(&[key()], Some(root)), Ok(()));
        assert_eq!(judged(&[key()], Some(EMPTY_ROOT)), Err(BadSeen::Fork));
        assert_eq!(judged(&[key()], None), Err(BadSeen::Fork));
        assert_eq!(judged(&[LogKey::new([1; 32])], Some(root)), Err(BadSeen::Note(BadNote::OtherLine)));
    }

    #[test]
    fn a_pin_only_moves_up() {
        let at = |size| open(&note_of(size, ""), ORIGIN, &[key()]).unwrap();
        let (two, four) = (at(2), at(4));
        let right = tree::node_hash(&leaf(2), &leaf(3));
        let proof = [Bytes::from(right)];
        assert_eq!(link(&Pin::NOTHING, &two, &[]), Ok(two.pin()));
        assert_eq!(link(&two.pin(), &four, &proof), Ok(four.pin()));
        assert_eq!(link(&four.pin(), &two, &proof), Ok(four.pin()));
        assert_eq!(link(&four.pin(), &four, &[]), Ok(four.pin()));
        let fork = link(&two.pin(), &four, &[Bytes::from(EMPTY_ROOT)]).unwrap_err();
        assert_eq!((fork.pin, &fork.checkpoint, fork.why), (two.pin(), &four, BadProof::Consistency));
    }

    fn leaf(number: u64) -> Digest {
        leaf_hash(&Digest::of(&number.to_be_bytes()))
    }
}
