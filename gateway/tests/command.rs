//! The gateway's command line as an operator meets it: the real binary, its words and its exit codes.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use seinpost_certs::world::{Options, World};
use seinpost_gateway::clock::Clock;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

#[track_caller]
fn gateway(folder: &Path, arguments: &[&str], code: i32) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seinpost-gateway"));
    command.env_clear().current_dir(folder).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    assert_eq!(ran.code, Some(code), "stdout:\n{}\nstderr:\n{}", ran.out, ran.err);
    ran
}

fn world(folder: &Path, listen: &str) -> World {
    let options = Options {
        listen: listen.into(),
        metrics: String::new(),
        origin: "seinpost.test/command".into(),
        now: Clock::system(None).reading(),
    };
    World::make(folder, &options).unwrap()
}

#[test]
fn a_new_hub_gets_a_configuration_and_a_key_once_and_check_names_all_that_is_still_missing() {
    let folder = tempfile::tempdir().unwrap();
    let made = gateway(folder.path(), &["init", "--dir", "hub", "--origin", "seinpost.test/new"], 0);
    assert!(made.out.starts_with("origin = seinpost.test/new\nvkey = seinpost.test/new+"), "{}", made.out);
    let again = gateway(folder.path(), &["init", "--dir", "hub", "--origin", "seinpost.test/new"], 2);
    assert!(again.err.contains("hub/gateway.toml is there already; nothing was written"), "{}", again.err);
    let spaced = gateway(folder.path(), &["init", "--dir", "other", "--origin", "two words"], 2);
    assert!(spaced.err.contains("--origin") && !folder.path().join("other").exists(), "{}", spaced.err);

    let checked = gateway(folder.path(), &["check", "--config", "hub/gateway.toml"], 2);
    assert!(checked.out.contains("log.origin = \"seinpost.test/new\"  (from hub/gateway.toml)"), "{}", checked.out);
    let missing = ["covenant.hub", "tls.certificate", "tls.key", "covenant.folder", "crl.folder"];
    for missing in missing {
        assert!(checked.err.contains(missing), "{missing} in {}", checked.err);
    }
    // A value that cannot be used does not hide what is wrong with the files.
    let path = folder.path().join("hub/gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let spoilt = text.replace("# listen = \"127.0.0.1:8443\"", "listen = \"nonsense\"");
    assert_ne!(text, spoilt);
    std::fs::write(&path, spoilt).unwrap();
    let checked = gateway(folder.path(), &["check", "--config", "hub/gateway.toml"], 2);
    for missing in missing.iter().chain(&["listen"]) {
        assert!(checked.err.contains(missing), "{missing} in {}", checked.err);
    }
    std::fs::write(&path, text).unwrap();
    // What cannot be checked cannot be served either, and in the same words.
    let served = gateway(folder.path(), &["serve", "--config", "hub/gateway.toml"], 2);
    assert!(
        served.err.contains("covenant.hub") && served.err.contains("hint: seinpost-gateway check"),
        "{}",
        served.err
    );
}

#[test]
fn a_configuration_that_can_be_served_is_said_to_be_and_where_each_value_came_from() {
    let folder = tempfile::tempdir().unwrap();
    world(&folder.path().join("world"), "127.0.0.1:0");
    let checked = gateway(folder.path(), &["check", "--config", "world/hub/gateway.toml"], 0);
    assert!(checked.out.ends_with("without opening its log\n"), "{}", checked.out);
    assert!(checked.out.contains("limits.drain = \"30s\"  (from the default)"), "{}", checked.out);
}

#[test]
fn a_mistyped_variable_of_one_of_our_sections_is_told_and_a_variable_of_another_program_is_not() {
    let folder = tempfile::tempdir().unwrap();
    world(&folder.path().join("world"), "127.0.0.1:0");
    let check = |variable: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seinpost-gateway"));
        command.env_clear().env(variable, "1GiB").current_dir(folder.path());
        let output = command.args(["check", "--config", "world/hub/gateway.toml"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = check("SEINPOST_LIMITS__MEMRY");
    assert_eq!(code, Some(2));
    assert!(
        told.contains("unknown key; did you mean limits.memory?") && told.contains("SEINPOST_LIMITS__MEMRY"),
        "{told}"
    );
    assert_eq!(check("SEINPOST_LIMITS__MEMORY"), (Some(0), String::new()));
    assert_eq!(check("SEINPOST_PROFILE"), (Some(0), String::new()));
}

#[test]
fn a_port_that_is_taken_is_named_and_ends_with_the_code_for_wrong_use() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    world(&folder.path().join("world"), &address);
    let served = gateway(folder.path(), &["serve", "--config", "world/hub/gateway.toml"], 2);
    assert!(served.err.contains(&format!("cannot listen on {address}")), "{}", served.err);
}

#[test]
fn a_wrong_verb_names_the_nearest_and_help_needs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert!(gateway(folder.path(), &["srve"], 2).err.contains("'serve'"));
    assert!(gateway(folder.path(), &["check", "--config", "nowhere.toml"], 2).err.contains("nowhere.toml"));
    for verb in ["serve", "check", "init", "dev"] {
        let help = gateway(folder.path(), &[verb, "--help"], 0).out;
        let examples = help.find("Example").unwrap_or_else(|| panic!("{verb}: {help}"));
        assert!(examples < help.find("Usage:").unwrap(), "{verb}: {help}");
    }
}
