//! The handshake, alone: who becomes a peer, what everybody else hears, and by which algorithms.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that unwraps what must be there fails at the line that says so"
)]

mod common;

use std::fs;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use common::{client_by, now as time, within};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, Error, ProtocolVersion};
use seinpost_certs::world::{Credentials, Options, World, Wrong};
use seinpost_gateway::identity::Peer;
use seinpost_gateway::tls::{Identity, NoHandshake, Profile, Tls, Trust};
use seinpost_protocol::covenant::{Covenant, Trust as CovenantTrust};
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// One world for all tests of this room, since it takes seconds to make.
fn world() -> &'static World {
    static WORLD: OnceLock<(tempfile::TempDir, World)> = OnceLock::new();
    let (_, world) = WORLD.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (listen, metrics) = ("127.0.0.1:0".to_owned(), String::new());
        let options = Options { listen, metrics, origin: "seinpost.test/tls".to_owned(), now: time() };
        let world = World::make(&folder.path().join("world"), &options).unwrap();
        (folder, world)
    });
    world
}

fn covenant() -> Covenant {
    let hub = HubFile::parse(&fs::read_to_string(world().hub_file()).unwrap()).unwrap();
    Covenant::verify(world().covenant(), &CovenantTrust::Floor(hub.floor())).unwrap()
}

fn crls() -> Vec<Bytes> {
    let files = fs::read_dir(world().hub_folder().join("crls")).unwrap();
    files.map(|file| fs::read(file.unwrap().path()).unwrap().into()).collect()
}

fn trust(covenant: &Covenant, crls: &[Bytes]) -> Trust {
    Trust::new(covenant, crls, Arc::new(time)).unwrap()
}

fn server(profile: Profile, trust: Trust) -> Tls {
    let folder = world().hub_folder().join("tls");
    let (chain, key) = (fs::read(folder.join("server.pem")).unwrap(), fs::read(folder.join("server.key")).unwrap());
    Tls::new(profile, &Identity::from_pem(&chain, &key).unwrap(), trust).unwrap()
}

fn identity(name: &str) -> Credentials {
    let folder = world().identity_folder(name);
    Credentials {
        certificate_pem: fs::read_to_string(folder.join("tls.pem")).unwrap(),
        key_pem: fs::read_to_string(folder.join("tls.key")).unwrap().into(),
    }
}

fn client(credentials: Option<&Credentials>, provider: CryptoProvider) -> ClientConfig {
    client_by(provider, credentials.map(|own| (own.certificate_pem.as_str(), own.key_pem.as_str())))
}

/// What came of a handshake, on both sides.
struct Shaken {
    server: Result<Peer, NoHandshake>,
    /// How the client's stream ended: cleanly, or with the server's alert.
    client: Result<(), AlertDescription>,
    group: Option<rustls::NamedGroup>,
    suite: Option<rustls::CipherSuite>,
}

async fn shake(tls: &Tls, config: ClientConfig) -> Shaken {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let knock = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = match TlsConnector::from(Arc::new(config)).connect(name, socket).await {
            Ok(stream) => stream,
            Err(error) => return (Err(alert(&error)), None, None),
        };
        let (group, suite) = {
            let connection = stream.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(ProtocolVersion::TLSv1_3));
            (
                connection.negotiated_key_exchange_group().map(|group| group.name()),
                connection.negotiated_cipher_suite().map(|suite| suite.suite()),
            )
        };
        // In TLS 1.3 the server's verdict on the certificate comes after the client is done.
        let read = stream.read(&mut [0; 1]).await;
        (read.map(|_| ()).map_err(|error| alert(&error)), group, suite)
    };
    let serve = async {
        let (socket, _) = listener.accept().await.unwrap();
        match tls.handshake(socket).await {
            Ok((mut stream, peer)) => {
                stream.shutdown().await.unwrap();
                Ok(peer)
            }
            Err(error) => Err(error),
        }
    };
    let (server, (client, group, suite)) = within("both are done", async { tokio::join!(serve, knock) }).await;
    Shaken { server, client, group, suite }
}

fn alert(error: &std::io::Error) -> AlertDescription {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => *alert,
        other => panic!("no alert: {error} {other:?}"),
    }
}

#[tokio::test]
async fn a_good_certificate_makes_a_peer_with_hybrid_key_exchange() {
    let tls = server(Profile::Good, trust(&covenant(), &crls()));
    for name in ["police-amsterdam", "guardian", "certified-institution", "operator"] {
        let shaken = shake(&tls, client(Some(&identity(name)), aws_lc_rs::default_provider())).await;
        let peer = shaken.server.unwrap();
        assert_eq!(peer.oin, world().address(name).unwrap().oin);
        assert_eq!(shaken.client, Ok(()));
        assert_eq!(shaken.group, Some(rustls::NamedGroup::X25519MLKEM768));
        assert_eq!(shaken.suite, Some(rustls::CipherSuite::TLS13_AES_256_GCM_SHA384));
    }
}

#[tokio::test]
async fn every_wrong_certificate_hears_access_denied_and_nothing_else() {
    let tls = server(Profile::Good, trust(&covenant(), &crls()));
    for wrong in Wrong::ALL {
        let credentials = world().wrong(wire::Use::Transport, wrong, time()).unwrap();
        let shaken = shake(&tls, client(Some(&credentials), aws_lc_rs::default_provider())).await;
        assert!(shaken.server.is_err(), "{wrong:?}");
        assert_eq!(shaken.client, Err(AlertDescription::AccessDenied), "{wrong:?}");
    }
    let good = world().good(wire::Use::Transport, time()).unwrap();
    assert!(shake(&tls, client(Some(&good), aws_lc_rs::default_provider())).await.server.is_ok(), "the control");
}

#[tokio::test]
async fn a_signing_certificate_opens_no_connection() {
    let tls = server(Profile::Good, trust(&covenant(), &crls()));
    let folder = world().identity_folder("police-amsterdam");
    let signing = Credentials {
        certificate_pem: fs::read_to_string(folder.join("signing.pem")).unwrap(),
        key_pem: fs::read_to_string(folder.join("signing.key")).unwrap().into(),
    };
    let shaken = shake(&tls, client(Some(&signing), aws_lc_rs::default_provider())).await;
    assert_eq!(shaken.client, Err(AlertDescription::AccessDenied));
}

#[tokio::test]
async fn no_certificate_hears_certificate_required() {
    let tls = server(Profile::Good, trust(&covenant(), &crls()));
    let shaken = shake(&tls, client(None, aws_lc_rs::default_provider())).await;
    assert!(shaken.server.is_err());
    assert_eq!(shaken.client, Err(AlertDescription::CertificateRequired));
}

#[tokio::test]
async fn without_revocation_lists_nobody_is_let_in() {
    let tls = server(Profile::Good, trust(&covenant(), &[]));
    let shaken = shake(&tls, client(Some(&identity("shelter")), aws_lc_rs::default_provider())).await;
    assert_eq!(shaken.client, Err(AlertDescription::AccessDenied));
    // The same server, given the lists, lets the same client in.
    tls.exchange_trust(trust(&covenant(), &crls()));
    let shaken = shake(&tls, client(Some(&identity("shelter")), aws_lc_rs::default_provider())).await;
    assert!(shaken.server.is_ok());
}

#[tokio::test]
async fn a_suspended_participant_is_shut_out_as_soon_as_its_covenant_rules() {
    let first = covenant();
    let oin = world().address("shelter").unwrap().oin;
    let suspend = |covenant: &mut wire::Covenant| {
        for participant in covenant.participants.iter_mut().filter(|other| other.oin == oin.as_str()) {
            participant.suspended = true;
        }
    };
    let next = world().covenant_after(world().covenant(), suspend, &[0, 1]).unwrap();
    let next = Covenant::verify(&next, &CovenantTrust::Last(&first)).unwrap();
    let tls = server(Profile::Good, trust(&first, &crls()));
    assert!(shake(&tls, client(Some(&identity("shelter")), aws_lc_rs::default_provider())).await.server.is_ok());
    tls.exchange_trust(trust(&next, &crls()));
    let shaken = shake(&tls, client(Some(&identity("shelter")), aws_lc_rs::default_provider())).await;
    assert_eq!(shaken.client, Err(AlertDescription::AccessDenied));
}

#[tokio::test]
async fn a_root_vouches_only_for_the_organisations_that_it_may() {
    let first = covenant();
    let police = world().address("police-amsterdam").unwrap().oin;
    let restrict = |covenant: &mut wire::Covenant| covenant.transport_roots[0].oins = vec![police.as_str().to_owned()];
    let next = world().covenant_after(world().covenant(), restrict, &[0, 1]).unwrap();
    let next = Covenant::verify(&next, &CovenantTrust::Last(&first)).unwrap();
    let tls = server(Profile::Good, trust(&next, &crls()));
    let of = |name| client(Some(&identity(name)), aws_lc_rs::default_provider());
    assert!(shake(&tls, of("police-amsterdam")).await.server.is_ok());
    assert_eq!(shake(&tls, of("shelter")).await.client, Err(AlertDescription::AccessDenied));
}

#[tokio::test]
async fn classical_key_exchange_and_aes_128_are_for_the_sufficient_profile_alone() {
    let classical = || CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
    let small = || CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..aws_lc_rs::default_provider()
    };
    let good = server(Profile::Good, trust(&covenant(), &crls()));
    let sufficient = server(Profile::Sufficient, trust(&covenant(), &crls()));
    for provider in [classical, small] {
        let police = identity("police-amsterdam");
        let shaken = shake(&good, client(Some(&police), provider())).await;
        assert_eq!(shaken.client, Err(AlertDescription::HandshakeFailure));
        assert!(shake(&sufficient, client(Some(&police), provider())).await.server.is_ok());
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_h2_is_dropped() {
    let tls = server(Profile::Good, trust(&covenant(), &crls()));
    let mut config = client(Some(&identity("police-amsterdam")), aws_lc_rs::default_provider());
    config.alpn_protocols = Vec::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let knock = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
        // Whatever way the server goes, no byte of it comes.
        stream.read(&mut [0; 1]).await.unwrap_or(0)
    };
    let serve = async { tls.handshake(listener.accept().await.unwrap().0).await.map(|_| ()) };
    let (served, read) = within("both are done", async { tokio::join!(serve, knock) }).await;
    assert!(matches!(served, Err(NoHandshake::NotHttp2)));
    assert_eq!(read, 0);
}
