//! The command `seinpost-certs`, as a person uses it.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::hub::HubFile;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seinpost-certs")).current_dir(folder).args(arguments).output().unwrap()
}

fn good(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn the_next_covenant_of_a_world_is_built_signed_and_taken() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = good(folder, &["dev", "world"]);
    assert!(made.contains("profiles/police-amsterdam.toml  00000099200000000005/POLICE_OPERATIONS"), "{made}");
    let shown = good(folder, &["covenant", "show", "world/hub/covenants/0001.covenant", "--hub", "world/hub.toml"]);
    assert!(shown.contains("it is the covenant that the hub file names"), "{shown}");

    let draft = std::fs::read_to_string(folder.join("world/covenant.toml")).unwrap();
    let draft = draft.replace("\nserial = 1\n", "\nserial = 2\nprevious = \"hub/covenants/0001.covenant\"\n");
    std::fs::write(folder.join("world/next.toml"), draft).unwrap();
    good(folder, &["covenant", "build", "world/next.toml", "--out", "0002.covenant"]);
    refused(folder, &["covenant", "build", "world/next.toml", "--out", "0002.covenant"]);
    good(folder, &["covenant", "sign", "0002.covenant", "--registrar", "world/registrars/police"]);
    let twice = refused(folder, &["covenant", "sign", "0002.covenant", "--registrar", "world/registrars/police"]);
    assert!(twice.contains("has signed it already"), "{twice}");

    let hub = HubFile::parse(&std::fs::read_to_string(folder.join("world/hub.toml")).unwrap()).unwrap();
    let read = |path: &str| std::fs::read(folder.join(path)).unwrap().into();
    let first = Covenant::verify_bytes(read("world/hub/covenants/0001.covenant"), &Trust::Floor(hub.floor())).unwrap();
    let by_one = Covenant::verify_bytes(read("0002.covenant"), &Trust::Last(&first)).unwrap_err();
    assert_eq!(by_one.reason(), "TOO_FEW_OLD");
    good(folder, &["covenant", "sign", "0002.covenant", "--registrar", "world/registrars/youth-care"]);
    assert_eq!(Covenant::verify_bytes(read("0002.covenant"), &Trust::Last(&first)).unwrap().serial(), 2);

    let not_first = refused(folder, &["covenant", "show", "0002.covenant", "--hub", "world/hub.toml"]);
    assert!(not_first.contains("[SERIAL_GAP]"), "{not_first}");
}

#[test]
fn a_covenant_is_built_from_the_tables_of_a_folder_and_a_fault_names_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    good(folder, &["dev", "world"]);
    let tables = folder.join("tables");
    std::fs::create_dir(&tables).unwrap();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("data")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, tables.join(path.file_name().unwrap())).unwrap();
    }
    let build = ["covenant", "build", "world/covenant.toml", "--tables", "tables", "--out", "again.covenant"];
    let digest = good(folder, &build);
    let shown = good(folder, &["covenant", "show", "world/hub/covenants/0001.covenant"]);
    assert!(shown.contains(digest.trim()), "the embedded tables are those of the folder");

    let path = tables.join("clocks.toml");
    let clocks = std::fs::read_to_string(&path).unwrap().replace("working_days = true", "working_day = true");
    std::fs::write(&path, clocks).unwrap();
    let fault = refused(folder, &["covenant", "build", "world/covenant.toml", "--tables", "tables", "--out", "c"]);
    assert!(fault.contains("clocks.toml") && fault.contains("at line") && fault.contains("working_day"), "{fault}");
}

#[test]
fn a_certificate_is_issued_revoked_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    good(folder, &["ca", "new", "ca", "--name", "Town signing"]);
    let key = std::fs::read(folder.join("ca/root.key")).unwrap();
    assert!(refused(folder, &["ca", "new", "ca", "--name", "Town signing"]).contains("is not overwritten"));
    assert_eq!(std::fs::read(folder.join("ca/root.key")).unwrap(), key);

    let issue = |out: &'static str| {
        let oin = "00000099400000000013";
        let arguments =
            ["--oin", oin, "--organisation", "Veilig Thuis (TEST)", "--usage", "signing", "--kind", "ed25519"];
        [&["issue", "--ca", "ca", "--out", out][..], &arguments].concat()
    };
    good(folder, &issue("signing"));
    assert_eq!(mode(&folder.join("signing.key")), 0o600);
    assert!(refused(folder, &issue("signing")).contains("is not overwritten"));

    good(folder, &["ca", "crl", "ca", "--out", "crls"]);
    good(folder, &["revoke", "--ca", "ca", "signing.pem"]);
    let before = std::fs::read(folder.join("crls/ca-issuing.crl")).unwrap();
    good(folder, &["ca", "crl", "ca", "--out", "crls"]);
    let after = std::fs::read(folder.join("crls/ca-issuing.crl")).unwrap();
    let read = |der: &[u8]| {
        let (_, list) = x509_parser::parse_x509_crl(der).unwrap();
        (list.crl_number().unwrap().clone(), list.iter_revoked_certificates().count())
    };
    assert!(read(&after).0 > read(&before).0);
    assert_eq!((read(&before).1, read(&after).1), (0, 1));
}

#[test]
fn a_logs_key_is_made_once_and_its_public_half_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let vkey = good(folder, &["log-key", "log.key", "--origin", "seinpost.test/dev"]);
    let (origin, _) = seinpost_protocol::checkpoint::LogKey::from_vkey(vkey.trim()).unwrap();
    assert_eq!(origin, "seinpost.test/dev");
    assert_eq!(mode(&folder.join("log.key")), 0o600);
    refused(folder, &["log-key", "log.key", "--origin", "seinpost.test/dev"]);
}

#[test]
fn what_is_not_there_or_is_no_oin_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(refused(folder, &["covenant", "show", "nothing.covenant"]).contains("nothing.covenant"));
    assert!(refused(folder, &["registrar", "new", "r", "--name", "R", "--oin", "123"]).contains("20 digits"));
    assert!(!folder.join("r").exists());
}
