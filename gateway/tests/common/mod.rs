//! A hub in a temporary folder, and agencies that speak to it without the client: they say exactly what a test wants,
//! right or wrong. The hub is blind, so what they seal is noise of the right length.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]
#![allow(dead_code, reason = "each test program uses a part of what is here")]
#![allow(unreachable_pub, reason = "what the rooms of a test program share is public among them")]

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use seinpost_certs::key::Key;
use seinpost_certs::world::{Options as WorldOptions, World};
use seinpost_gateway::clock::Clock;
use seinpost_gateway::config::{Config, Sources};
use seinpost_gateway::serve::{Gateway, NoStart, Options, Running};
use seinpost_protocol::address::Address;
use seinpost_protocol::covenant::{Covenant, Intent, IntentRecipient, Trust};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::item::{ItemId, ItemType, digest_of, pae};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_rpc::audit_service_client::AuditServiceClient;
use seinpost_rpc::covenant_service_client::CovenantServiceClient;
use seinpost_rpc::exchange_service_client::ExchangeServiceClient;
use seinpost_rpc::operations_service_client::OperationsServiceClient;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub const ORIGIN: &str = "seinpost.test/gateway";
/// Bytes of sealed content in the smallest class.
pub const CONTENT: usize = 4 * 1024;

/// How long a test waits for what must come; a test that passes never waits so long.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits for what must come.
pub async fn within<T>(what: &str, coming: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, coming).await {
        Ok(came) => came,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Asks again and again for what must be there at last, where nothing tells when it is.
pub async fn at_last<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(there) => return there,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    within(what, asking).await
}

/// The wall clock, which certificates are judged by.
pub fn now() -> Timestamp {
    Clock::system(None).reading()
}

/// A hub that serves, in a folder that goes with it.
pub struct Hub {
    folder: tempfile::TempDir,
    pub world: World,
    pub running: Option<Running>,
}

impl Hub {
    pub async fn start() -> Self {
        let mut hub = Self::made();
        hub.go().await.unwrap();
        hub
    }

    /// Makes the folder and does not start.
    pub fn made() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = WorldOptions {
            listen: "127.0.0.1:0".to_owned(),
            metrics: "127.0.0.1:0".to_owned(),
            origin: ORIGIN.to_owned(),
            now: now(),
        };
        let world = World::make(&folder.path().join("world"), &options).unwrap();
        Self { folder, world, running: None }
    }

    pub fn config(&self) -> Config {
        let mut config = Sources::read(&self.world.gateway_config()).unwrap().config().unwrap();
        // The machine of a test may be fuller than a hub's, and busier.
        config.disk_free_bytes = 0;
        (config.connections.handshake, config.connections.preface) = (PATIENCE, PATIENCE);
        config
    }

    pub async fn go(&mut self) -> Result<(), NoStart> {
        self.go_with(self.config(), Options::default()).await
    }

    pub async fn go_with(&mut self, config: Config, options: Options) -> Result<(), NoStart> {
        self.running = Some(Gateway::start_with(config, options).await?);
        Ok(())
    }

    pub async fn stop(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().address()
    }

    pub fn covenant(&self) -> Covenant {
        let hub = HubFile::parse(&fs::read_to_string(self.world.hub_file()).unwrap()).unwrap();
        Covenant::verify(self.world.covenant(), &Trust::Floor(hub.floor())).unwrap()
    }

    /// An agency of the world, connected.
    pub fn agency(&self, name: &str) -> Agency {
        let folder = self.world.identity_folder(name);
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        let chain: Vec<Bytes> = CertificateDer::pem_slice_iter(read("signing.pem").as_bytes())
            .map(|der| Bytes::copy_from_slice(&der.unwrap()))
            .collect();
        Agency {
            address: self.world.address(name).unwrap(),
            channel: channel(self.address(), &read("tls.pem"), &read("tls.key")),
            chain,
            key: Arc::new(Key::from_pem(&read("signing.key")).unwrap()),
            covenant: self.covenant(),
            certificate: None,
        }
    }

    /// An agency that has published its certificate and a sealing key.
    pub async fn ready(&self, name: &str) -> (Agency, Digest) {
        let agency = self.agency(name);
        agency.publish().await.unwrap();
        let statement = agency.key_statement(&agency.seen().await, 1);
        let digest = item_digest(&statement.item.clone().unwrap());
        agency.submit(statement).await.unwrap();
        (agency, digest)
    }
}

/// An agency as the hub sees it: a connection, a signing key, an address.
#[derive(Clone)]
pub struct Agency {
    pub address: Address,
    pub channel: Channel,
    pub chain: Vec<Bytes>,
    pub key: Arc<Key>,
    pub covenant: Covenant,
    /// What items name instead of the own certificate.
    pub certificate: Option<Digest>,
}

impl Agency {
    pub fn exchange(&self) -> ExchangeServiceClient<Channel> {
        ExchangeServiceClient::new(self.channel.clone())
    }

    pub fn covenants(&self) -> CovenantServiceClient<Channel> {
        CovenantServiceClient::new(self.channel.clone()).max_decoding_message_size(4 << 20)
    }

    pub fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone())
    }

    pub fn operations(&self) -> OperationsServiceClient<Channel> {
        OperationsServiceClient::new(self.channel.clone())
    }

    pub async fn publish(&self) -> Result<wire::Receipt, Status> {
        let (leaf, chain) = self.chain.split_first().unwrap();
        let request = wire::PublishCertificateRequest { leaf: leaf.clone(), chain: chain.to_vec(), seen_size: 0 };
        Ok(self.covenants().publish_certificate(request).await?.into_inner().receipt.unwrap())
    }

    /// The newest checkpoint.
    pub async fn seen(&self) -> Bytes {
        self.audit().get_checkpoint(wire::GetCheckpointRequest { seen_size: 0 }).await.unwrap().into_inner().checkpoint
    }

    pub async fn submit(&self, request: wire::SubmitRequest) -> Result<wire::Receipt, Status> {
        Ok(self.exchange().submit(request).await?.into_inner().receipt.unwrap())
    }

    pub fn signer(&self, seen: &Bytes) -> wire::Signer {
        wire::Signer {
            log_origin: ORIGIN.to_owned(),
            item_id: new_id().to_string(),
            address: Some(self.address.into()),
            certificate_sha256: self.certificate.unwrap_or_else(|| Digest::of(&self.chain[0])).into(),
            signed_at: Some(now().into()),
            seen_checkpoint: seen.clone(),
            covenant_digest: self.covenant.digest().into(),
            key_serial: 0,
            on_behalf_of: None,
            mandate_digest: Bytes::new(),
        }
    }

    /// Signs whatever it is given.
    pub fn sign(&self, item_type: ItemType, payload: Vec<u8>) -> wire::SignedItem {
        let sig = self.key.sign(&pae(item_type.payload_type(), &payload)).unwrap().into();
        let signatures = vec![wire::ItemSignature { sig, keyid: String::new() }];
        wire::SignedItem { payload: payload.into(), payload_type: item_type.payload_type().to_owned(), signatures }
    }

    pub fn key_statement(&self, seen: &Bytes, serial: u64) -> wire::SubmitRequest {
        let signer = wire::Signer { key_serial: serial - 1, ..self.signer(seen) };
        let day = Duration::from_secs(86_400);
        let statement = wire::KeyStatement {
            signer: Some(signer),
            serial,
            previous_digest: Bytes::new(),
            seal_from: Some((now() - day).into()),
            seal_until: Some((now() + 60 * day).into()),
            open_until: Some((now() + 90 * day).into()),
            state: Some(wire::key_statement::State::Key(wire::SealingKey {
                suite: 1,
                public_key: {
                    // All coefficients zero are an encapsulation key by its form, and the base point a key of X25519.
                    let mut key = vec![0; 1216];
                    key[1184] = 9;
                    key.into()
                },
            })),
        };
        let item = self.sign(ItemType::KeyStatement, statement.encode_to_vec());
        wire::SubmitRequest { item: Some(item), ..wire::SubmitRequest::default() }
    }

    /// An exploitation signal to one address, for the municipality of Amsterdam.
    pub fn signal(&self, seen: &Bytes, to: Address, key: Digest) -> Draft {
        let intent = Intent {
            from: self.address.function,
            signal_type: wire::SignalType::ExploitationSignal,
            recipients: vec![IntentRecipient {
                address: to,
                legal_basis: "BPG_4_2_1_I",
                has_reference: false,
                municipality: Some("0363"),
            }],
            source_regime: wire::SourceRegime::Wpg8,
            purpose: wire::Purpose::ProtectChild,
            urgency: wire::Urgency::Today,
            supersedes: false,
            profile: None,
            signed_at: now(),
        };
        let profile = self.covenant.permit_intent(&intent).map(|permit| permit.profile);
        let (name, version) = profile.unwrap_or_else(|_| {
            let of_type = |profile: &&wire::Profile| profile.r#type() == wire::SignalType::ExploitationSignal;
            let first = self.covenant.profiles().iter().find(of_type).unwrap();
            (first.name.clone(), first.version)
        });
        let sha256 = self.covenant.profile_sha256(&name, version).unwrap().into();
        let sealed_content = Bytes::from(vec![0x5e; CONTENT]);
        let wrapped_key = Bytes::from(vec![0xa1; 1168]);
        let signer = self.signer(seen);
        let header = wire::SignalHeader {
            conversation: signer.item_id.clone(),
            signer: Some(signer),
            r#type: wire::SignalType::ExploitationSignal.into(),
            in_reply_to: Bytes::new(),
            supersedes: Bytes::new(),
            recipients: vec![wire::Recipient {
                address: Some(to.into()),
                legal_basis: "BPG_4_2_1_I".to_owned(),
                basis_reference: String::new(),
                municipality: "0363".to_owned(),
            }],
            source_regime: wire::SourceRegime::Wpg8.into(),
            purpose: wire::Purpose::ProtectChild.into(),
            urgency: wire::Urgency::Today.into(),
            handling: Vec::new(),
            content_profile: Some(wire::ContentProfile { name, version, sha256 }),
            content_commitment: Digest::of(b"a commitment").into(),
            expires: Some((now() + Duration::from_secs(14 * 86_400)).into()),
            retention_class: wire::RetentionClass::Hub24h.into(),
            size_class: wire::SizeClass::Kib4.into(),
        };
        Draft { header, sealed_content, wrapped_keys: vec![wrapped_key], key_statements: vec![key] }
    }

    /// Seals (in name) and signs a draft.
    pub fn finish(&self, draft: &Draft) -> wire::SubmitRequest {
        let keys = std::iter::zip(&draft.key_statements, &draft.wrapped_keys).map(|(statement, wrapped)| {
            let (key_statement_digest, wrapped_sha256) = ((*statement).into(), Digest::of(wrapped).into());
            wire::WrappedKeyRef { key_statement_digest, wrapped_sha256 }
        });
        let sealed =
            wire::Sealed { suite: 1, content_sha256: Digest::of(&draft.sealed_content).into(), keys: keys.collect() };
        let manifest = wire::SignalManifest { header: draft.header.encode_to_vec().into(), sealed: Some(sealed) };
        wire::SubmitRequest {
            item: Some(self.sign(ItemType::Signal, manifest.encode_to_vec())),
            sealed_content: draft.sealed_content.clone(),
            wrapped_keys: draft.wrapped_keys.clone(),
            seen_size: 0,
        }
    }

    /// An answer to a delivery, by its signal and the commitment of its consignment.
    pub fn answer(&self, seen: &Bytes, item: Digest, delivery: Digest, code: wire::AnswerCode) -> wire::SubmitRequest {
        let answer = wire::Answer {
            signer: Some(self.signer(seen)),
            item_digest: item.into(),
            delivery_commitment: delivery.into(),
            code: code.into(),
            better_function: 0,
            duplicate_of: Bytes::new(),
        };
        let item = self.sign(ItemType::Answer, answer.encode_to_vec());
        wire::SubmitRequest { item: Some(item), ..wire::SubmitRequest::default() }
    }

    /// Opens the own mailbox.
    pub async fn receive(&self, after: u64) -> Result<tonic::Streaming<wire::ReceiveResponse>, Status> {
        let request = wire::ReceiveRequest { address: Some(self.address.into()), after, seen_size: 0 };
        Ok(self.exchange().receive(request).await?.into_inner())
    }
}

/// A signal before it is signed.
#[derive(Clone)]
pub struct Draft {
    pub header: wire::SignalHeader,
    pub sealed_content: Bytes,
    pub wrapped_keys: Vec<Bytes>,
    pub key_statements: Vec<Digest>,
}

impl Draft {
    pub fn signer(&mut self) -> &mut wire::Signer {
        self.header.signer.as_mut().unwrap()
    }
}

pub fn item_digest(item: &wire::SignedItem) -> Digest {
    digest_of(&item.payload_type, &item.payload)
}

pub fn digest_in(request: &wire::SubmitRequest) -> Digest {
    item_digest(request.item.as_ref().unwrap())
}

/// A new id; never the same twice in one process.
pub fn new_id() -> ItemId {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut random = [0; 10];
    random[2..].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    ItemId::new(now(), random)
}

pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(|| format!("none: {status}"), |info| info.reason)
}

/// Asserts that a call is refused for a reason, with its status.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, expected: &str) -> Status {
    let status = answer.expect_err(expected);
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{status}");
    status
}

/// Opens a channel with a client certificate.
pub fn channel(address: SocketAddr, certificate: &str, key: &str) -> Channel {
    let config = Arc::new(client(certificate, key));
    let connect = tower::service_fn(move |_| {
        let config = config.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(connect(address, config).await?)) }
    });
    Endpoint::from_static("http://hub").connect_with_connector_lazy(connect)
}

pub async fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), socket).await
}

pub fn client(certificate: &str, key: &str) -> ClientConfig {
    client_by(aws_lc_rs::default_provider(), Some((certificate, key)))
}

/// A client's configuration, with or without a certificate and its key; `h2` alone.
pub fn client_by(provider: CryptoProvider, own: Option<(&str, &str)>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Believes every server: here the server is what is examined.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _at: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.2 is not compiled in")
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
