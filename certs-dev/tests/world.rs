//! A whole world in a folder, and what must be true of it.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use seinpost_certs::covenant::{Draft, Tables, build, oin};
use seinpost_certs::key::Key;
use seinpost_certs::pki::read_certificates;
use seinpost_certs::world::{Credentials, Options, World, Wrong, reroute};
use seinpost_protocol::address::{Address, Function};
use seinpost_protocol::certificate::{BadCertificate, Chain, Crl, SigningCertificate, oin_of};
use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::signature::PublicKey;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::{self, SignalType, Use};

fn now() -> Timestamp {
    Timestamp::from_millis("2026-11-24T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
}

fn options() -> Options {
    Options {
        listen: "127.0.0.1:0".to_owned(),
        metrics: String::new(),
        origin: "seinpost.test/dev".to_owned(),
        now: now(),
    }
}

/// A world in a folder of its own: made once, since RSA keys take their time, and copied for each test.
fn make() -> (tempfile::TempDir, World) {
    static MADE: OnceLock<(tempfile::TempDir, World)> = OnceLock::new();
    let (_, world) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::make(&folder.path().join("world"), &options()).unwrap();
        (folder, world)
    });
    let folder = tempfile::tempdir().unwrap();
    let world = world.copy_to(&folder.path().join("world")).unwrap();
    (folder, world)
}

fn files(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            found.insert(path.clone(), (mode, Vec::new()));
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), (mode, std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn first(world: &World) -> Covenant {
    let hub = HubFile::parse(&std::fs::read_to_string(world.hub_file()).unwrap()).unwrap();
    Covenant::verify(world.covenant(), &Trust::Floor(hub.floor())).unwrap()
}

fn crls(world: &World) -> Vec<Crl> {
    let folder = world.hub_folder().join("crls");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    entries.map(|der| Crl::parse(Bytes::from(der)).unwrap()).collect()
}

fn chain(path: &Path) -> Chain {
    let certificates: Vec<Bytes> = read_certificates(path).unwrap().into_iter().map(Bytes::from).collect();
    Chain::parse(&certificates, false).unwrap()
}

#[test]
fn a_world_is_made_once_and_then_read_without_a_change() {
    let (folder, made) = make();
    let before = files(folder.path());
    let mut later = options();
    later.now = now() + Duration::from_secs(3600);
    let read = World::make(made.folder(), &later).unwrap();
    assert_eq!(read.covenant(), made.covenant());
    assert_eq!(read.origin(), made.origin());
    assert_eq!(files(folder.path()), before);
}

#[test]
fn only_the_owner_reads_keys_and_enters_folders() {
    let (folder, world) = make();
    let mut keys = 0;
    for (path, (mode, _)) in files(folder.path()) {
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
        } else if path.extension().is_some_and(|extension| extension == "key") {
            assert_eq!(mode, 0o600, "{}", path.display());
            keys += 1;
        }
    }
    // Two for each identity, four authorities, three registrars, the log's, the server's, two revoked.
    assert_eq!(keys, 2 * world.identities().count() + 4 + 3 + 1 + 1 + 2);
}

#[test]
fn a_copy_has_the_same_files_without_what_gateway_and_clients_kept() {
    let (folder, world) = make();
    std::fs::create_dir(world.hub_folder().join("data")).unwrap();
    std::fs::write(world.hub_folder().join("data/journal"), b"kept").unwrap();
    std::fs::create_dir(world.identity_folder("shelter").join("state")).unwrap();
    let copy = folder.path().join("copy");
    world.copy_to(&copy).unwrap();
    let within = |root: &Path| -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let all = files(root).into_iter().map(|(path, file)| (path.strip_prefix(root).unwrap().to_owned(), file));
        all.filter(|(path, _)| !path.iter().any(|part| part == "data" || part == "state")).collect()
    };
    assert_eq!(within(&copy), within(world.folder()));
    assert!(!copy.join("hub/data").exists() && !copy.join("identities/shelter/state").exists());
}

#[test]
fn the_draft_of_a_world_gives_its_covenant_again_to_the_byte() {
    let (_folder, world) = make();
    let draft = Draft::read(&world.folder().join("covenant.toml")).unwrap();
    assert_eq!(build(&Tables::development().unwrap(), &draft).unwrap(), world.covenant_message());
}

#[test]
fn half_a_world_is_not_overwritten() {
    let (_folder, world) = make();
    std::fs::remove_file(world.folder().join("world.toml")).unwrap();
    let fault = World::make(world.folder(), &options()).err().unwrap().to_string();
    assert!(fault.contains("is not overwritten"), "{fault}");
}

#[test]
fn the_hub_file_is_the_same_for_hub_and_clients_and_its_covenant_holds() {
    let (_folder, world) = make();
    let of_clients = std::fs::read(world.hub_file()).unwrap();
    assert_eq!(of_clients, std::fs::read(world.hub_folder().join("hub.toml")).unwrap());
    let covenant = first(&world);
    assert_eq!(covenant.serial(), 1);
    assert!(covenant.is_valid_at(now()));
    let saved = std::fs::read(world.hub_folder().join("covenants/0001.covenant")).unwrap();
    let hub = HubFile::parse(&String::from_utf8(of_clients).unwrap()).unwrap();
    assert_eq!(Covenant::verify_bytes(saved.into(), &Trust::Floor(hub.floor())).unwrap().digest(), covenant.digest());
    assert!(hub.test);
}

#[test]
fn each_identity_acts_with_its_keys_in_its_function_and_nowhere_else() {
    let (_folder, world) = make();
    let covenant = first(&world);
    for identity in world.identities() {
        for (stem, used_for) in [("tls", Use::Transport), ("signing", Use::Signing)] {
            let folder = world.identity_folder(identity.name);
            let leaf = read_certificates(&folder.join(format!("{stem}.pem"))).unwrap().swap_remove(0);
            assert_eq!(oin_of(&leaf).unwrap(), identity.address.oin, "{}", identity.name);
            let key = Key::from_pem(&std::fs::read_to_string(folder.join(format!("{stem}.key"))).unwrap()).unwrap();
            let spki = key.spki_sha256();
            let may = covenant.functions(identity.address.oin, used_for, &spki, now());
            assert_eq!(may, [identity.address.function], "{} {stem}", identity.name);
            let acting = covenant.may_act(identity.address, used_for, &spki, now()).unwrap();
            assert_eq!(acting.bound, identity.name != seinpost_certs::world::UNBOUND, "{}", identity.name);
        }
    }
}

#[test]
fn mayor_and_youth_care_of_one_town_hall_have_one_oin_and_four_keys() {
    let (_folder, world) = make();
    let (mayor, care) = (world.address("mayor-amsterdam").unwrap(), world.address("youth-care-amsterdam").unwrap());
    assert_eq!(mayor.oin, care.oin);
    assert_ne!(mayor.function, care.function);
    let keys: std::collections::BTreeSet<_> = ["mayor-amsterdam", "youth-care-amsterdam"]
        .into_iter()
        .flat_map(|name| ["tls.key", "signing.key"].map(|file| world.identity_folder(name).join(file)))
        .map(|path| Key::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap().spki_sha256())
        .collect();
    assert_eq!(keys.len(), 4);
}

#[test]
fn the_signing_certificate_of_each_identity_chains_to_the_covenants_root_and_its_key_signs() {
    let (_folder, world) = make();
    let (covenant, crls) = (first(&world), crls(&world));
    for identity in world.identities() {
        let folder = world.identity_folder(identity.name);
        let chain = chain(&folder.join("signing.pem"));
        chain.verify(&covenant.message().signing_roots, &crls, now()).unwrap();
        chain.leaf.check_usage(false).unwrap();
        let key = Key::from_pem(&std::fs::read_to_string(folder.join("signing.key")).unwrap()).unwrap();
        let public = PublicKey::from_spki(&key.spki(), false).unwrap();
        assert_eq!(public.spki_sha256(), chain.leaf.spki_sha256());
        assert!(
            chain.verify(&covenant.message().transport_roots, &crls, now()).is_err(),
            "the two hierarchies know nothing of each other"
        );
    }
}

/// What `protocol` says of a signing certificate: of the leaf, its usage, or its chain.
fn judge(world: &World, credentials: &Credentials) -> Result<(), &'static str> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certificates.pem");
    std::fs::write(&path, &credentials.certificate_pem).unwrap();
    let certificates: Vec<Bytes> = read_certificates(&path).unwrap().into_iter().map(Bytes::from).collect();
    let covenant = first(world);
    let chain = Chain::parse(&certificates, false).map_err(|bad| bad.reason())?;
    chain.leaf.check_usage(false).map_err(BadCertificate::reason)?;
    chain.verify(&covenant.message().signing_roots, &crls(world), now()).map_err(|bad| bad.reason())?;
    let address = Address { oin: chain.leaf.oin(), function: Function::CertifiedInstitution };
    covenant.may_act(address, Use::Signing, &chain.leaf.spki_sha256(), now()).map_err(|no| no.reason())?;
    Ok(())
}

#[test]
fn wrong_signing_credentials_are_wrong_in_the_one_way_that_they_are_made_for() {
    let (_folder, world) = make();
    judge(&world, &world.good(Use::Signing, now()).unwrap()).unwrap();
    for wrong in Wrong::ALL {
        let reason = judge(&world, &world.wrong(Use::Signing, wrong, now()).unwrap()).unwrap_err();
        let expected = match wrong {
            Wrong::Expired | Wrong::NotYetValid => "CHAIN_DATES",
            Wrong::Revoked => "CERTIFICATE_REVOKED",
            Wrong::ForeignAuthority | Wrong::OtherHierarchy | Wrong::SelfSigned => "CHAIN_UNKNOWN_ISSUER",
            Wrong::NoOin | Wrong::TwoOins => "CERTIFICATE_OIN",
            Wrong::UnknownOin => "NO_FUNCTION",
            Wrong::Usage | Wrong::ServerCertificate => "CERTIFICATE_EKU",
            Wrong::KeyBoundElsewhere => "KEY_BOUND_ELSEWHERE",
            Wrong::ShortRsa => "KEY_RSA_SIZE",
        };
        assert_eq!(reason, expected, "{wrong:?}");
    }
}

#[test]
fn wrong_transport_credentials_are_wrong_in_the_one_way_that_they_are_made_for() {
    let (folder, world) = make();
    let covenant = first(&world);
    let lists = crls(&world);
    let path = folder.path().join("certificates.pem");
    // What a gateway asks in the handshake: chain, dates, revocation; OIN; usage; size of the key; the covenant.
    let judge = |credentials: &Credentials| -> Result<(), &'static str> {
        std::fs::write(&path, &credentials.certificate_pem).unwrap();
        let certificates: Vec<Bytes> = read_certificates(&path).unwrap().into_iter().map(Bytes::from).collect();
        let chain = Chain::parse(&certificates, false).map_err(|bad| bad.reason())?;
        chain.verify(&covenant.message().transport_roots, &lists, now()).map_err(|bad| bad.reason())?;
        let (_, leaf) = x509_parser::parse_x509_certificate(&certificates[0]).unwrap();
        if !leaf.extended_key_usage().unwrap().is_some_and(|usage| usage.value.client_auth) {
            return Err("NOT_FOR_CLIENTS");
        }
        match covenant.functions(chain.leaf.oin(), Use::Transport, &chain.leaf.spki_sha256(), now()).as_slice() {
            [Function::CertifiedInstitution] => Ok(()),
            _ => Err("NO_FUNCTION"),
        }
    };
    judge(&world.good(Use::Transport, now()).unwrap()).unwrap();
    for wrong in Wrong::ALL {
        let expected = match wrong {
            Wrong::Expired | Wrong::NotYetValid => "CHAIN_DATES",
            Wrong::Revoked => "CERTIFICATE_REVOKED",
            Wrong::ForeignAuthority | Wrong::OtherHierarchy | Wrong::SelfSigned => "CHAIN_UNKNOWN_ISSUER",
            Wrong::NoOin | Wrong::TwoOins => "CERTIFICATE_OIN",
            Wrong::UnknownOin | Wrong::KeyBoundElsewhere => "NO_FUNCTION",
            Wrong::Usage | Wrong::ServerCertificate => "NOT_FOR_CLIENTS",
            Wrong::ShortRsa => "KEY_RSA_SIZE",
        };
        assert_eq!(judge(&world.wrong(Use::Transport, wrong, now()).unwrap()), Err(expected), "{wrong:?}");
    }
}

#[test]
fn the_hubs_certificate_is_for_servers_on_this_machine_and_bears_the_hubs_oin() {
    let (_folder, world) = make();
    let path = world.hub_folder().join("tls/server.pem");
    let chain = chain(&path);
    let covenant = first(&world);
    assert_eq!(chain.leaf.oin(), covenant.hub_oin());
    chain.verify(&covenant.message().transport_roots, &crls(&world), now()).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(chain.leaf.der()).unwrap();
    assert!(leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.len();
    assert_eq!(names, 3, "localhost and both loopback addresses");
}

#[test]
fn a_certificate_with_two_oins_is_signed_as_it_stands() {
    let (_folder, world) = make();
    let wrong = world.wrong(Use::Transport, Wrong::TwoOins, now()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.pem");
    std::fs::write(&path, &wrong.certificate_pem).unwrap();
    let leaf = read_certificates(&path).unwrap().swap_remove(0);
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let numbers: Vec<&str> = parsed
        .subject()
        .iter_by_oid(&x509_parser::oid_registry::OID_X509_SERIALNUMBER)
        .map(|number| number.as_str().unwrap())
        .collect();
    assert_eq!(numbers, [oin(31, 7).unwrap().as_str(), oin(31, 8).unwrap().as_str()]);
    assert_eq!(oin_of(&leaf), Err(BadCertificate::Oin));
    let issuer = world.transport().issuing.certificate().to_vec();
    let (_, issuer) = x509_parser::parse_x509_certificate(&issuer).unwrap();
    let key = PublicKey::from_spki(issuer.public_key().raw, false).unwrap();
    let signed = parsed.tbs_certificate.as_ref();
    key.verify(signed, &parsed.signature_value.data).unwrap();
}

#[test]
fn a_certificate_that_is_revoked_later_is_in_a_list_with_a_higher_number() {
    let (_folder, mut world) = make();
    let covenant = first(&world);
    let chain = chain(&world.identity_folder("shelter").join("signing.pem"));
    let numbers = |world: &World| {
        crls(world).iter().map(|crl| (crl.issuer_sha256(), crl.number().clone())).collect::<BTreeMap<_, _>>()
    };
    let before = numbers(&world);
    world.revoke(chain.leaf.der(), now()).unwrap();
    // Every list was made anew, and none of them under a number that its authority used before.
    let after = numbers(&world);
    assert!(before.iter().all(|(issuer, number)| after[issuer] > *number), "{before:?}, then {after:?}");
    let refused = chain.verify(&covenant.message().signing_roots, &crls(&world), now()).err().unwrap();
    assert_eq!(refused.reason(), "CERTIFICATE_REVOKED");
    let mut again = World::load(world.folder()).unwrap();
    again.save_crls(seinpost_certs::pki::Validity::days(now(), 10)).unwrap();
    assert!(chain.verify(&covenant.message().signing_roots, &crls(&again), now()).is_err(), "it is remembered");
}

#[test]
fn a_later_covenant_is_taken_if_two_registrars_signed_it_and_not_by_fewer() {
    let (_folder, world) = make();
    let first = first(&world);
    let suspend = |covenant: &mut wire::Covenant| covenant.participants[0].suspended = true;
    let second = world.covenant_after(world.covenant(), suspend, &[1, 2]).unwrap();
    let adopted = Covenant::verify(&second, &Trust::Last(&first)).unwrap();
    assert_eq!(adopted.serial(), 2);
    let third = world.covenant_after(&second, |_| {}, &[0, 2]).unwrap();
    assert_eq!(Covenant::verify(&third, &Trust::Last(&adopted)).unwrap().serial(), 3);
    let by_one = world.covenant_after(world.covenant(), suspend, &[1]).unwrap();
    assert_eq!(Covenant::verify(&by_one, &Trust::Last(&first)).unwrap_err().reason(), "TOO_FEW_OLD");
}

#[test]
fn an_evil_covenant_can_send_the_safe_homes_mail_to_somebody_else() {
    let (_folder, world) = make();
    let first = first(&world);
    let somebody = world.address("shelter").unwrap();
    let safe_home = world.address("safe-home-amsterdam").unwrap();
    let resolve = |covenant: &Covenant| {
        covenant.resolve(Function::SafeHome, "0363", SignalType::ExploitationSignal, now()).unwrap()
    };
    assert_eq!(resolve(&first), safe_home);
    let evil = |signers: &[usize]| {
        world
            .covenant_after(
                world.covenant(),
                |covenant| reroute(covenant, Function::SafeHome, "0363", somebody),
                signers,
            )
            .unwrap()
    };
    assert!(Covenant::verify(&evil(&[0]), &Trust::Last(&first)).is_err(), "one registrar is not enough");
    let colluding = Covenant::verify(&evil(&[0, 1]), &Trust::Last(&first)).unwrap();
    assert_eq!(resolve(&colluding), somebody);
}

#[test]
fn a_profile_says_where_the_gateway_is_and_can_be_pointed_elsewhere() {
    let (_folder, world) = make();
    world.point_profiles_at("127.0.0.1:40123").unwrap();
    for identity in world.identities() {
        let text = std::fs::read_to_string(world.profile(identity.name)).unwrap();
        let profile: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(profile["gateway"].as_str(), Some("127.0.0.1:40123"));
        assert_eq!(profile["oin"].as_str(), Some(identity.address.oin.as_str()));
        for field in ["hub", "tls_certificate", "tls_key", "signing_certificate", "signing_key"] {
            let path = world.folder().join("profiles").join(profile[field].as_str().unwrap());
            assert!(path.is_file(), "{field}: {}", path.display());
        }
    }
}

#[test]
fn a_profile_with_wrong_credentials_can_be_added() {
    let (_folder, world) = make();
    let wrong = world.wrong(Use::Transport, Wrong::Expired, now()).unwrap();
    let path = world.add_profile("expired", "certified-institution", "127.0.0.1:1", Some(&wrong), None).unwrap();
    assert!(path.is_file());
    let folder = world.identity_folder("expired");
    assert_eq!(std::fs::read_to_string(folder.join("tls.pem")).unwrap(), wrong.certificate_pem);
    assert_eq!(
        std::fs::read(folder.join("signing.pem")).unwrap(),
        std::fs::read(world.identity_folder("certified-institution").join("signing.pem")).unwrap()
    );
    assert!(world.add_profile("expired", "shelter", "127.0.0.1:1", None, None).is_err());
}

#[test]
fn a_longer_kind_of_key_signs_what_protocol_verifies() {
    use seinpost_certs::key::KeyKind;
    for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384] {
        let key = Key::generate(kind).unwrap();
        let again = Key::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.spki(), key.spki());
        let public = PublicKey::from_spki(&key.spki(), false).unwrap();
        public.verify(b"a message", &again.sign(b"a message").unwrap()).unwrap();
        assert!(public.verify(b"another", &key.sign(b"a message").unwrap()).is_err());
    }
}

#[test]
fn signing_certificates_can_be_of_every_kind_of_key() {
    use seinpost_certs::key::KeyKind;
    use seinpost_certs::pki::{Request, Usage, Validity};
    let (_folder, world) = make();
    let covenant = first(&world);
    for (kind, usage) in [
        (KeyKind::Ed25519, Usage::Signing),
        (KeyKind::P256, Usage::Mail),
        (KeyKind::P384, Usage::Signing),
        (KeyKind::Rsa3072, Usage::Mail),
    ] {
        let request = Request {
            oins: vec![oin(31, 7).unwrap().as_str().to_owned()],
            common_name: "signing".to_owned(),
            organisation: "Jeugdbescherming Regio Amsterdam (TEST)".to_owned(),
            usage,
            validity: Validity::days(now() - Duration::from_secs(60), 30),
        };
        let issued = world.signing().issue(&request, &Key::generate(kind).unwrap()).unwrap();
        let certificates: Vec<Bytes> =
            std::iter::once(issued.leaf.clone()).chain(issued.above.clone()).map(Bytes::from).collect();
        let chain = Chain::parse(&certificates, false).unwrap();
        chain.leaf.check_usage(false).unwrap();
        chain.verify(&covenant.message().signing_roots, &crls(&world), now()).unwrap();
        assert_eq!(SigningCertificate::parse(issued.leaf.clone().into()).unwrap().sha256(), issued.sha256());
    }
}
