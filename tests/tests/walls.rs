//! The walls between the rooms, as far as Cargo does not hold them: which file may know which library.
//!
//! Each test reads the sources, code alone (comments left out), and names the file and line that breaks a wall. A
//! wall that is broken asks for another design, not for another line here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

/// Every Rust file below `folder`, with its path from the workspace and its lines without comments.
fn sources(folder: &str) -> Vec<(String, Vec<(usize, String)>)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("the entry is there").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("the source is text");
                let lines = text
                    .lines()
                    .enumerate()
                    .map(|(i, line)| (i + 1, line.split("//").next().unwrap_or("").to_owned()))
                    .collect();
                let name = path.strip_prefix(root()).expect("it lies in the workspace").to_string_lossy().into_owned();
                files.push((name, lines));
            }
        }
    }
    assert!(!files.is_empty(), "{folder} holds no source: the test would prove nothing");
    files.sort();
    files
}

/// Demands that of the files below `folder` only `allowed` hold any of `words`, and that each of `allowed` does.
#[track_caller]
fn only(folder: &str, words: &[&str], allowed: &[&str]) {
    let mut breaches = Vec::new();
    let mut found = BTreeSet::new();
    for (file, lines) in sources(folder) {
        for (number, line) in lines {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                match allowed
                    .iter()
                    .find(|allowed| file == **allowed || (allowed.ends_with('/') && file.starts_with(**allowed)))
                {
                    Some(allowed) => {
                        found.insert(*allowed);
                    }
                    None => breaches.push(format!("{file}:{number}: {word}")),
                }
            }
        }
    }
    assert!(breaches.is_empty(), "a wall is broken:\n{}", breaches.join("\n"));
    let unused: Vec<_> = allowed.iter().filter(|allowed| !found.contains(**allowed)).collect();
    assert!(unused.is_empty(), "allowed, but not needed: {unused:?}");
}

fn manifest(crate_folder: &str) -> String {
    std::fs::read_to_string(root().join(crate_folder).join("Cargo.toml")).expect("the crate has a manifest")
}

/// The crate's own dependencies, those of its tests and build left out.
fn dependencies(crate_folder: &str) -> BTreeSet<String> {
    let manifest = manifest(crate_folder);
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or("");
    let section = section.split("\n[").next().unwrap_or("");
    section
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn one_file_knows_sled() {
    // `self::sled` and `super::sled` are that file, named from beside it.
    only("gateway/src", &[" sled::", "(sled::", "&sled::", "<sled::", "::sled::{"], &["gateway/src/store/sled.rs"]);
}

#[test]
fn one_file_of_the_gateway_reads_time() {
    only(
        "gateway/src",
        &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"],
        &["gateway/src/clock.rs"],
    );
}

#[test]
fn one_transport_module_per_side_knows_rustls() {
    only("gateway/src", &["rustls::"], &["gateway/src/tls.rs"]);
    only("client/src", &["rustls::"], &["client/src/connect.rs"]);
}

#[test]
fn the_deciding_core_knows_no_clock_runtime_storage_or_network() {
    let core = dependencies("gateway/core");
    assert_eq!(core, BTreeSet::from(["seinpost-protocol".to_owned(), "thiserror".to_owned()]));
    for word in
        ["std::fs", "std::net", "std::thread", "std::env", "std::time::Instant", "SystemTime", "HashMap", "HashSet"]
    {
        only("gateway/core/src", &[word], &[]);
    }
}

#[test]
fn the_protocol_opens_no_file_and_reads_no_clock() {
    let protocol = dependencies("proto/protocol");
    for name in ["tonic", "tokio", "sled", "rustls", "seinpost-rpc", "seinpost-core"] {
        assert!(!protocol.contains(name), "the protocol depends on {name}");
    }
    for word in ["std::fs", "std::net", "std::thread", "SystemTime", "Timestamp::now", "SystemRandom"] {
        only("proto/protocol/src", &[word], &[]);
    }
}

#[test]
fn no_serving_room_can_decrypt() {
    for folder in ["gateway", "gateway/core", "proto/protocol", "proto/rpc"] {
        assert!(!dependencies(folder).contains("hpke"), "{folder} depends on hpke");
    }
    // `dev` alone plays the agencies, through the client; no other room of the hub knows it.
    only("gateway/src", &["seinpost_client", "seinpost_certs"], &["gateway/src/dev/"]);
}

#[test]
fn the_client_knows_nothing_of_the_gateway() {
    let client = dependencies("client");
    for name in ["seinpost-gateway", "seinpost-core", "seinpost-certs", "sled"] {
        assert!(!client.contains(name), "the client depends on {name}");
    }
}

#[test]
fn the_visible_top_level_is_what_the_design_names() {
    let visible: BTreeSet<String> = std::fs::read_dir(root())
        .expect("the workspace is there")
        .map(|entry| entry.expect("the entry is there").file_name().to_string_lossy().into_owned())
        // `target` is what building leaves behind; git ignores it.
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    let named =
        ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "certs-dev", "client", "gateway", "proto", "tests"];
    assert_eq!(visible, named.map(str::to_owned).into());
}

#[test]
fn every_source_file_says_first_what_it_is_for() {
    for folder in ["proto", "gateway", "client", "certs-dev", "tests"] {
        for entry in walk(&root().join(folder)) {
            let text = std::fs::read_to_string(&entry).expect("the source is text");
            assert!(text.starts_with("//!"), "{} does not open with //!", entry.display());
        }
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the entry is there").path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
