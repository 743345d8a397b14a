//! Vectors of other projects for transparency logs, `tests/vectors/tlog`: each file has a shape and a test of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ml_dsa::{EncodedVerifyingKey, MlDsa44};
use seinpost_protocol::checkpoint::{self, Checkpoint, LogKey};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::note::{BadVkey, KeyKind, Note, Verifier, Vkey};
use seinpost_protocol::tile::{self, Level, Tile};
use seinpost_protocol::tlog_proof::ProofFile;
use seinpost_protocol::tree::{self, Frontier};
use serde_json::Value;

use super::frame::{folder, read};

/// The files that are asked, here or in `ed25519.rs`.
const ASKED: &[&str] = &[
    "rfc6962-reference-tree.json",
    "merkle-inclusion.json",
    "merkle-consistency.json",
    "ct-argon2020.json",
    "checkpoint-bodies.json",
    "vkeys.json",
    "signed-notes.json",
    "tile-paths.json",
    "tlog-proof-syntax.json",
    "log-15",
    "log-15.vkey",
    "cctv-ed25519-edges.json",
    "wycheproof-ed25519.json",
];

/// Files that are not asked yet, and why.
const NOT_YET_ASKED: &[(&str, &str)] = &[(
    "witness-add-checkpoint.json",
    "a conversation with a witness; the exchange has none yet, its log is pinned by clients",
)];

#[test]
fn every_file_is_asked_or_listed_with_the_reason_why_not() {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder().join("tlog")).expect("the vectors stand in tests/vectors/tlog") {
        found.insert(entry.expect("the folder can be read").file_name().into_string().expect("names are UTF-8"));
    }
    for (file, why) in NOT_YET_ASKED {
        println!("not yet asked: {file}: {why}");
    }
    let listed = ASKED.iter().chain(NOT_YET_ASKED.iter().map(|(file, _)| file)).chain(&["SOURCES.md"]);
    let listed: BTreeSet<String> = listed.map(|&file| file.to_owned()).collect();
    assert_eq!(found, listed);
}

#[test]
fn rfc6962_reference_tree() {
    let file = read("tlog/rfc6962-reference-tree.json");
    members(&file, &["origin", "encoding", "leaf_inputs", "roots_by_size", "nodes_by_level", "hashes"]);
    let mut frontier = Frontier::default();
    let roots = list(&file["roots_by_size"]);
    assert_eq!(hex::encode(frontier.root()), text(&roots[0]));
    let inputs: Vec<Vec<u8>> = list(&file["leaf_inputs"]).iter().map(unhex).collect();
    for (input, root) in std::iter::zip(&inputs, &roots[1..]) {
        frontier.append(tree::leaf_hash_of(input));
        assert_eq!(hex::encode(frontier.root()), text(root));
    }
    let mut nodes: Vec<Digest> = inputs.iter().map(|input| tree::leaf_hash_of(input)).collect();
    for level in list(&file["nodes_by_level"]) {
        let hashes: Vec<String> = nodes.iter().map(Digest::to_string).collect();
        assert_eq!(hashes, list(level).iter().map(text).collect::<Vec<_>>());
        nodes = nodes.chunks_exact(2).map(|pair| tree::node_hash(&pair[0], &pair[1])).collect();
    }
    for hash in list(&file["hashes"]) {
        let computed = match text(&hash["what"]).split_once(' ').map(|(kind, _)| kind.trim_end_matches(',')) {
            Some("empty") => tree::EMPTY_ROOT,
            Some("leaf") => tree::leaf_hash_of(&unhex(&hash["in"])),
            Some("node") => {
                // Sides of any length: the reference hashes four bytes each, where a log has 32.
                let sides: Vec<Vec<u8>> = list(&hash["in"]).iter().map(unhex).collect();
                Digest::of_parts(&[&[1], &sides[0], &sides[1]])
            }
            kind => panic!("{kind:?} is not known"),
        };
        assert_eq!(computed.to_string(), text(&hash["hash"]), "{}", hash["what"]);
    }
}

#[test]
fn merkle_inclusion() {
    for_each_case("merkle-inclusion.json", |case| {
        members(case, &["id", "leafIdx", "treeSize", "root", "leafHash", "proof", "desc", "wantErr"]);
        let ask = || {
            let (leaf, root) = (digest(&case["leafHash"])?, digest(&case["root"])?);
            let (index, size) = (number(&case["leafIdx"]), number(&case["treeSize"]));
            tree::verify_inclusion(&leaf, index, size, &proof(&case["proof"])?, &root).ok()
        };
        ask().is_none() == case["wantErr"].as_bool().expect("a flag")
    });
}

#[test]
fn merkle_consistency() {
    for_each_case("merkle-consistency.json", |case| {
        members(case, &["id", "size1", "size2", "root1", "root2", "proof", "desc", "wantErr"]);
        let ask = || {
            let (old, new) = (number(&case["size1"]), number(&case["size2"]));
            let (old_root, new_root) = (digest(&case["root1"])?, digest(&case["root2"])?);
            tree::verify_consistency(old, &old_root, new, &new_root, &proof(&case["proof"])?).ok()
        };
        ask().is_none() == case["wantErr"].as_bool().expect("a flag")
    });
}

#[test]
fn proofs_of_a_real_log_of_961_984_011_leaves_hold_and_no_changed_byte_does() {
    let file = read("tlog/ct-argon2020.json");
    let (size, root) = (number(&file["tree_size"]), digest(&file["root"]).expect("a root"));

    let inclusion = &file["inclusion"];
    let leaf = tree::leaf_hash_of(&BASE64.decode(text(&inclusion["leaf_input"])).expect("base64"));
    assert_eq!(Some(leaf), digest(&inclusion["leafHash"]));
    let (index, path) = (number(&inclusion["leafIdx"]), proof(&inclusion["proof"]).expect("hashes"));
    tree::verify_inclusion(&leaf, index, size, &path, &root).expect("the log's proof holds");
    for spoilt in spoilt(&path) {
        tree::verify_inclusion(&leaf, index, size, &spoilt, &root).expect_err("a changed byte");
    }

    let consistency = &file["consistency"];
    let (old, new) = (number(&consistency["size1"]), number(&consistency["size2"]));
    let (old_root, new_root) =
        (digest(&consistency["root1"]).expect("a root"), digest(&consistency["root2"]).expect("a root"));
    let path = proof(&consistency["proof"]).expect("hashes");
    tree::verify_consistency(old, &old_root, new, &new_root, &path).expect("the log's proof holds");
    for spoilt in spoilt(&path) {
        tree::verify_consistency(old, &old_root, new, &new_root, &spoilt).expect_err("a changed byte");
    }
}

/// The proof once for each of its bytes, with that byte changed.
fn spoilt(proof: &[Digest]) -> impl Iterator<Item = Vec<Digest>> {
    (0..proof.len() * 32).map(|at| {
        let mut spoilt = proof.to_vec();
        let mut bytes = *spoilt[at / 32].as_bytes();
        bytes[at % 32] ^= 1;
        spoilt[at / 32] = Digest::new(bytes);
        spoilt
    })
}

#[test]
fn checkpoint_bodies() {
    for_each_case("checkpoint-bodies.json", |case| {
        members(case, &["id", "body", "want", "why", "origin", "size", "hash"]);
        let body = text(&case["body"]);
        match (text(&case["want"]), Checkpoint::parse(body)) {
            ("ok", Ok((checkpoint, extensions))) => {
                let written = checkpoint.body() + extensions;
                checkpoint.size == number(&case["size"])
                    && Some(checkpoint.root) == digest(&case["hash"])
                    && written == body
            }
            ("reject", Err(_)) => true,
            _ => false,
        }
    });
}

#[test]
fn vkeys() {
    for_each_case("vkeys.json", |case| {
        members(case, &["id", "vkey", "want", "type", "why", "origin"]);
        let vkey = text(&case["vkey"]);
        match (text(&case["want"]), Vkey::parse(vkey)) {
            ("ok", Ok(parsed)) => {
                format!("{:#04x}", parsed.kind.number()) == text(&case["type"]) && parsed.to_string() == vkey
            }
            ("reject", Err(_)) | ("unsupported", Err(BadVkey::Kind)) => true,
            _ => false,
        }
    });
}

#[test]
fn signed_notes() {
    for_each_case("signed-notes.json", |case| {
        members(case, &["id", "note", "note_base64", "vkeys", "verified", "want", "why", "origin"]);
        let note = match case.get("note") {
            Some(note) => text(note).as_bytes().to_vec(),
            None => BASE64.decode(text(&case["note_base64"])).expect("base64"),
        };
        let vkeys: Vec<Vkey> =
            list(&case["vkeys"]).iter().map(|vkey| Vkey::parse(text(vkey)).expect("a key")).collect();
        match (text(&case["want"]), signed_by(&note, &vkeys)) {
            ("ok", Some(signers)) => signers == list(&case["verified"]).iter().map(text).collect::<Vec<_>>(),
            ("reject", None) => true,
            _ => false,
        }
    });
}

/// Name and id of each of `vkeys` that signed the note. The log's own kind is this crate's to verify; the witnesses' kinds
/// are not yet, so their messages are put together here from C2SP `tlog-cosignature`.
fn signed_by(note: &[u8], vkeys: &[Vkey]) -> Option<Vec<String>> {
    let checks: Vec<_> = vkeys
        .iter()
        .map(|vkey| {
            move |text: &[u8], signature: &[u8]| match vkey.kind {
                KeyKind::Ed25519 => ed25519(vkey, text, signature),
                KeyKind::CosignatureEd25519 => cosignature_ed25519(vkey, text, signature),
                KeyKind::CosignatureMlDsa44 => cosignature_ml_dsa_44(vkey, text, signature).is_some(),
            }
        })
        .collect();
    let verifiers: Vec<_> = std::iter::zip(vkeys, &checks)
        .map(|(vkey, verify)| Verifier { name: &vkey.name, key_id: vkey.key_id, verify })
        .collect();
    let signers = Note::parse(note).ok()?.signed_by(&verifiers).ok()?;
    Some(signers.into_iter().map(|place| format!("{}+{}", vkeys[place].name, vkeys[place].key_id)).collect())
}

fn ed25519(vkey: &Vkey, message: &[u8], signature: &[u8]) -> bool {
    LogKey::new(vkey.key.as_slice().try_into().expect("32 bytes")).verifies(message, signature)
}

fn cosignature_ed25519(vkey: &Vkey, text: &[u8], signature: &[u8]) -> bool {
    signature.split_first_chunk().is_some_and(|(time, signature)| {
        let head = format!("cosignature/v1\ntime {}\n", u64::from_be_bytes(*time));
        ed25519(vkey, &[head.as_bytes(), text].concat(), signature)
    })
}

fn cosignature_ml_dsa_44(vkey: &Vkey, text: &[u8], signature: &[u8]) -> Option<()> {
    let (time, signature) = signature.split_first_chunk::<8>()?;
    let (checkpoint, _extensions) = Checkpoint::parse(std::str::from_utf8(text).ok()?).ok()?;
    let short = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let message = [
        b"subtree/v1\n\0".as_slice(),
        &short(&vkey.name),
        time,
        &short(&checkpoint.origin),
        &0_u64.to_be_bytes(),
        &checkpoint.size.to_be_bytes(),
        checkpoint.root.as_ref(),
    ];
    let key = EncodedVerifyingKey::<MlDsa44>::try_from(vkey.key.as_slice()).ok()?;
    let signature = ml_dsa::Signature::<MlDsa44>::try_from(signature).ok()?;
    let key = ml_dsa::VerifyingKey::<MlDsa44>::decode(&key);
    key.verify_with_context(&message.concat(), &[], &signature).then_some(())
}

#[test]
fn tile_paths() {
    let file = read("tlog/tile-paths.json");
    members(&file, &["about", "paths", "entry_path_for_index", "tiles_of_a_tree"]);
    for case in list(&file["paths"]) {
        members(case, &["path", "want", "level", "index", "width", "origin"]);
        let path = text(&case["path"]);
        let parsed = Tile::parse(path);
        if text(&case["want"]) == "reject" {
            assert_eq!(parsed, None, "{path}");
            continue;
        }
        let level = match case["level"].as_u64() {
            Some(level) => Level::Hashes(level.try_into().expect("at most 63")),
            None => Level::Entries,
        };
        let width = number(&case["width"]).try_into().expect("at most 256");
        assert_eq!(parsed, Some(Tile { level, index: number(&case["index"]), width }), "{path}");
    }
    for case in list(&file["entry_path_for_index"]) {
        members(case, &["index", "size", "path"]);
        let tile = Tile::of_entry(number(&case["index"]), number(&case["size"])).expect("an entry of the log");
        assert_eq!(tile.to_string(), text(&case["path"]));
    }
    for case in list(&file["tiles_of_a_tree"]) {
        members(case, &["size", "level", "full", "partial_width"]);
        let level = number(&case["level"]).try_into().expect("at most 63");
        let (full, partial) = tile::tiles_at(level, number(&case["size"]));
        assert_eq!((full, u64::from(partial)), (number(&case["full"]), number(&case["partial_width"])), "{case}");
    }
    assert_eq!(Tile::of_entry(5, 5), None);
    assert_eq!(tile::tiles_at(63, u64::MAX), (0, 0));
}

#[test]
fn tlog_proof_syntax() {
    for_each_case("tlog-proof-syntax.json", |case| {
        members(case, &["id", "text", "want", "index", "hashes", "checkpoint", "extra"]);
        let written = text(&case["text"]);
        match (text(&case["want"]), ProofFile::parse(written)) {
            ("ok", Some(file)) => {
                let extra = case.get("extra").map(|extra| BASE64.decode(text(extra)).expect("base64"));
                file.index == number(&case["index"])
                    && Some(&file.proof) == proof(&case["hashes"]).as_ref()
                    && file.checkpoint == text(&case["checkpoint"])
                    && file.extra == extra
                    && file.write() == written
            }
            ("reject", None) => true,
            _ => false,
        }
    });
}

#[test]
fn log_15_holds_at_every_size_and_between_every_two() {
    verify_log_15(&|_, bytes| bytes).expect("the log holds");
}

#[test]
fn log_15_is_refused_with_any_file_spoilt() {
    for spoilt in log_15_files() {
        // The first byte, one in the middle, the last, and one too few.
        let length = fs::read(folder().join("tlog").join(&spoilt)).expect("a file").len();
        for at in [0, length / 2, length - 1, length] {
            let spoil = |file: &str, mut bytes: Vec<u8>| {
                match (file == spoilt, at == length) {
                    (true, true) => bytes.truncate(length - 1),
                    (true, false) => bytes[at] ^= 1,
                    (false, _) => {}
                }
                bytes
            };
            assert_eq!(verify_log_15(&spoil), None, "{spoilt} with byte {at} of {length} spoilt");
        }
    }
}

/// Verifies the log at each of its sizes, and each pair of sizes; `spoil` may change what a file holds.
fn verify_log_15(spoil: &dyn Fn(&str, Vec<u8>) -> Vec<u8>) -> Option<()> {
    let file = |path: String| Some(spoil(&path, fs::read(folder().join("tlog").join(&path)).ok()?));
    let vkey = String::from_utf8(file("log-15.vkey".to_owned())?).ok()?;
    let (origin, key) = LogKey::from_vkey(vkey.strip_suffix('\n')?).ok()?;

    let newest = checkpoint::open(&file("log-15/checkpoint".to_owned())?, &origin, &[key]).ok()?;
    let mut leaves = Leaves::default();
    let mut checkpoints = Vec::new();
    for size in 0..=newest.size {
        let checkpoint = checkpoint::open(&file(format!("log-15/checkpoint.{size}"))?, &origin, &[key]).ok()?;
        if size > 0 {
            let entries = Tile::of_entry(size - 1, size)?;
            let hashes = Tile { level: Level::Hashes(0), ..entries };
            leaves = Leaves::read(&file(format!("log-15/{hashes}"))?, &file(format!("log-15/{entries}"))?)?;
        }
        if checkpoint.size != size || leaves.0.len() as u64 != size || tree::root(&leaves, size)? != checkpoint.root {
            return None;
        }
        checkpoints.push(checkpoint);
    }
    if checkpoints.last() != Some(&newest) {
        return None;
    }
    for new in &checkpoints {
        for old in &checkpoints[..=usize::try_from(new.size).ok()?] {
            let proof = tree::consistency_proof(&leaves, old.size, new.size)?;
            tree::verify_consistency(old.size, &old.root, new.size, &new.root, &proof).ok()?;
        }
        for (index, leaf) in (0..new.size).zip(&leaves.0) {
            let proof = tree::inclusion_proof(&leaves, index, new.size)?;
            tree::verify_inclusion(leaf, index, new.size, &proof, &new.root).ok()?;
        }
    }
    Some(())
}

/// The leaves of a log of less than one tile.
#[derive(Default)]
struct Leaves(Vec<Digest>);

impl Leaves {
    /// Reads a tile of hashes and its bundle of entries, which must be of each other.
    fn read(hashes: &[u8], mut entries: &[u8]) -> Option<Self> {
        let mut leaves = Vec::new();
        while let Some((length, rest)) = entries.split_first_chunk() {
            let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
            leaves.push(tree::leaf_hash_of(entry));
            entries = rest;
        }
        let same = leaves.iter().flat_map(Digest::as_bytes).eq(hashes);
        (entries.is_empty() && same).then_some(Self(leaves))
    }
}

impl tree::Nodes for Leaves {
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        if level == 0 {
            return self.0.get(usize::try_from(index).ok()?).copied();
        }
        let below = |side| self.node(level - 1, 2 * index + side);
        Some(tree::node_hash(&below(0)?, &below(1)?))
    }
}

/// Every file of the log, below `tests/vectors/tlog`.
fn log_15_files() -> Vec<String> {
    fn walk(folder: &Path, name: &str, files: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let entry = entry.expect("the folder can be read");
            let name = format!("{name}/{}", entry.file_name().to_str().expect("names are UTF-8"));
            if entry.path().is_dir() { walk(&entry.path(), &name, files) } else { files.push(name) }
        }
    }
    let mut files = vec!["log-15.vkey".to_owned()];
    walk(&folder().join("tlog/log-15"), "log-15", &mut files);
    assert!(files.len() > 40, "the log has its checkpoints, tiles and entries");
    files
}

/// Asks each case of a file, and fails with the names of those that do not come out as they should.
fn for_each_case(file: &str, as_wanted: impl Fn(&Value) -> bool) {
    let document = read(&format!("tlog/{file}"));
    let cases = list(&document["cases"]);
    assert!(!cases.is_empty(), "{file} has no case");
    let faults: Vec<_> = cases.iter().filter(|case| !as_wanted(case)).map(|case| text(&case["id"])).collect();
    assert!(faults.is_empty(), "{file}: {faults:?}");
}

/// Fails on a member that nobody here reads.
fn members(case: &Value, known: &[&str]) {
    for member in case.as_object().expect("a case is an object").keys() {
        assert!(known.contains(&member.as_str()), "member {member} is not known");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).expect("hexadecimal")
}

/// A digest in base64; some cases carry what is none.
fn digest(value: &Value) -> Option<Digest> {
    Digest::try_from(BASE64.decode(text(value)).ok()?.as_slice()).ok()
}

/// A proof; `null` is an empty one.
fn proof(value: &Value) -> Option<Vec<Digest>> {
    if value.is_null() { Some(Vec::new()) } else { list(value).iter().map(digest).collect() }
}
