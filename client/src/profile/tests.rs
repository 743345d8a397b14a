//! A profile as a whole: what it says, and every fault named at once.

use super::*;

#[test]
fn a_gateway_is_a_host_and_a_port() {
    for good in ["127.0.0.1:8443", "hub.example.nl:443", "[::1]:8443", "localhost:1"] {
        assert!(is_host_and_port(good), "{good}");
    }
    for bad in ["", "hub", "hub:", ":8443", "hub:0", "hub:99999", "https://hub:1", "[::1:8443", "a b:1", "::1:8443"] {
        assert!(!is_host_and_port(bad), "{bad}");
    }
}

#[test]
fn a_path_is_shown_without_detours_except_behind_a_link() {
    for (given, shown) in [
        ("/a/profiles/../identities/b", "/a/identities/b"),
        ("a/./b", "a/b"),
        ("../up", "../up"),
        ("a/..", "."),
        ("/..", "/.."),
    ] {
        assert_eq!(plain(Path::new(given)), Path::new(shown), "{given}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/", &link).expect("a link");
    assert_eq!(plain(&link.join("../etc")), link.join("../etc"));
}

#[test]
fn a_function_is_read_from_its_short_and_long_code() {
    assert_eq!(function_from_code("SAFE_HOME"), Some(Function::SafeHome));
    assert_eq!(function_from_code("FUNCTION_SAFE_HOME"), Some(Function::SafeHome));
    assert_eq!(function_from_code("UNSPECIFIED"), None);
    assert_eq!(function_from_code("safe home"), None);
}

#[test]
fn all_faults_of_a_profile_are_named_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("profile.toml");
    let text = r#"
        gateway = "nowhere"
        hub = "hub.toml"
        oin = "123"
        function = "BAKER"
        tls_certificate = "tls.pem"
        tls_key = "tls.key"
        signing_certificate = "signing.pem"
        signing_key = "signing.key"
        state = "state"
    "#;
    std::fs::write(&path, text).expect("written");
    let Err(Error::Usage(faults)) = Profile::load(&path) else {
        panic!("the profile is full of faults");
    };
    let named = |field: &str| faults.iter().any(|fault| fault.place.ends_with(field));
    for field in ["gateway", "oin", "function", "tls_certificate", "tls_key", "signing_key", "hub"] {
        assert!(named(field), "{field} in {faults:?}");
    }
}

#[test]
fn a_misspelt_field_is_refused_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("profile.toml");
    std::fs::write(&path, "gatway = \"hub:1\"\n").expect("written");
    let Err(Error::Usage(faults)) = Profile::load(&path) else {
        panic!("the field is misspelt");
    };
    assert!(faults[0].what.contains("gatway"), "{faults:?}");
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_a_fault() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("tls.key");
    std::fs::write(&key, "key").expect("written");
    for (mode, is_fault) in [(0o600, false), (0o400, false), (0o640, false), (0o660, true), (0o644, true)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("changed");
        assert_eq!(look_at(&key, "tls_key", true).is_some(), is_fault, "{mode:o}");
    }
}
