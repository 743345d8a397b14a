//! `seinpost-gateway dev` as a newcomer meets it: one command, a story, commands to paste, and the same hub tomorrow.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that unwraps what must be there fails at the line that says so"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use seinpost_tests::harness::canary;
use seinpost_tests::harness::process::gateway_binary;
use serde_json::Value as Json;

/// A development hub that has said that it serves.
struct Dev {
    child: Child,
    told: Vec<String>,
}

impl Dev {
    #[track_caller]
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let is_last = line.contains("covenant show rules");
            told.push(line);
            if is_last {
                return Self { child, told };
            }
        }
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        panic!("it ended with {:?} after\n{}\n{said}", child.wait(), told.join("\n"));
    }

    /// Returns the commands that it printed for the reader, as they are.
    fn commands(&self) -> Vec<String> {
        let from = self.told.iter().position(|line| line.starts_with("In another terminal")).unwrap();
        let commands = self.told[from + 1..].iter().map(|line| line.trim());
        commands.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    }

    /// Stops it as a person does, and returns what it said beside the story.
    #[track_caller]
    fn stop(mut self, signal: &str) -> String {
        assert!(Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap().success());
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{said}");
        said
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(gateway_binary());
    command.arg("dev").arg("--dir").arg(folder).args(arguments).stdin(Stdio::null());
    command
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = command(folder, arguments).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

fn ready(folder: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(folder.join("dev.json")).unwrap()).unwrap()
}

#[test]
fn one_command_tells_the_story_and_prints_commands_that_work_and_tomorrow_it_is_the_same_hub() {
    let scratch = tempfile::tempdir().unwrap();
    // A folder whose name a shell would take apart.
    let folder = scratch.path().join("a hub's folder");
    let dev = Dev::start(&folder, &["--listen", "127.0.0.1:0"]);
    let story = dev.told.join("\n");
    for number in 1..=8 {
        assert!(story.contains(&format!("\n{number}. ")), "step {number} in\n{story}");
    }
    assert!(!story.contains("/../"), "{story}");

    let first = ready(&folder);
    let names: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["gateway", "metrics", "data", "log", "profiles"]);
    assert!(first["log"]["vkey"].as_str().unwrap().starts_with(first["log"]["origin"].as_str().unwrap()));
    for identity in [
        "police-amsterdam",
        "safe-home-amsterdam",
        "youth-care-amsterdam",
        "mayor-amsterdam",
        "prosecution-amsterdam",
        "shelter",
        "child-protection",
        "operator",
        "auditor",
    ] {
        let profile = Path::new(first["profiles"][identity].as_str().unwrap());
        assert!(profile.is_file(), "{identity}");
        assert!(!profile.starts_with(first["data"].as_str().unwrap()));
    }
    let oin = |identity: &str| {
        let text = std::fs::read_to_string(first["profiles"][identity].as_str().unwrap()).unwrap();
        text.lines().find(|line| line.starts_with("oin")).unwrap().to_owned()
    };
    assert_eq!(oin("youth-care-amsterdam"), oin("mayor-amsterdam"));
    assert!(std::fs::read_dir(first["data"].as_str().unwrap()).unwrap().count() > 0);

    // Pasted one after the other, in the plainest shell there is.
    let commands = dev.commands();
    assert!(commands.len() > 8, "{commands:?}");
    let script = format!("set -e\n{}\n", commands.join("\n"));
    let pasted = Command::new("sh").arg("-c").arg(&script).current_dir(scratch.path()).output().unwrap();
    let said = String::from_utf8_lossy(&pasted.stderr);
    assert!(pasted.status.success(), "{said}\n{}", String::from_utf8_lossy(&pasted.stdout));
    let out = String::from_utf8_lossy(&pasted.stdout);
    for words in ["accepted by the hub", "DELIVERED_READABLE", "the receipt holds", "the log holds", "Veilig Thuis"] {
        assert!(out.contains(words), "{words} in\n{out}");
    }

    // The folder is its own as long as it serves.
    assert!(refused(&folder, &[]).contains("is in use by another process"));
    let said = dev.stop("-INT");
    assert!(!said.contains("INFO") && !said.contains('\r'), "log lines and progress do not stand in a file: {said}");
    // What the story searched for as it is, and what it did not: nothing of the child is there in any form.
    let words = ["Voorbeeld", "Proefstraat", "parcel point"];
    assert_eq!(canary::search_folder(&folder.join("hub"), &words), []);
    let own = canary::search_folder(&folder.join("identities/safe-home-amsterdam"), &words);
    assert!(own.iter().any(|hit| hit.canary == "Proefstraat"), "the search finds it where it stands");
    let log = std::fs::read_to_string(folder.join("hub/gateway.log")).unwrap();
    assert!(log.contains("gRPC reflection"), "who explores can ask a development hub for its services: {log}");

    // Again: the story is told again, on the same hub at the same place.
    let dev = Dev::start(&folder, &[]);
    assert!(dev.told.iter().any(|line| line.starts_with("8. ")));
    assert_eq!(ready(&folder), first);
    dev.stop("-TERM");

    // Somebody else has taken its port meanwhile.
    let taken = TcpListener::bind(first["gateway"].as_str().unwrap()).unwrap();
    let said = refused(&folder, &["--no-story"]);
    assert!(said.contains(&format!("cannot listen on {}", taken.local_addr().unwrap())), "{said}");
    drop(taken);

    let dev = Dev::start(&folder, &["--no-story"]);
    assert!(!dev.told.iter().any(|line| line.starts_with("1. ")), "{:?}", dev.told);
    assert_eq!(ready(&folder), first);
    dev.stop("-INT");
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_is_said_before_anything_is_made() {
    let scratch = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(&scratch.path().join("hub"), &["--listen", &address]);
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
    assert!(!scratch.path().join("hub").exists());
}
