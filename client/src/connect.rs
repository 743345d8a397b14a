//! The connection to the gateway: TLS 1.3 with a client certificate, to whom bears the hub's OIN and to nobody else.
//!
//! In comes a profile and the transport roots that are trusted (of `hub.toml`, later of the covenant); out goes a
//! channel that connects when it is first used and again after it broke. This is the one room of the client that knows
//! rustls. It does not ask the system's roots, does not fall back to anything older, and resumes no session. The name
//! in the certificate is not looked at: the OIN is who somebody is, a host name only where it runs today.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use seinpost_protocol::address::Oin;
use seinpost_protocol::certificate::oin_of;
use seinpost_protocol::signature::PublicKey;
use seinpost_protocol::wire;
use seinpost_rpc::audit_service_client::AuditServiceClient;
use seinpost_rpc::covenant_service_client::CovenantServiceClient;
use seinpost_rpc::exchange_service_client::ExchangeServiceClient;
use seinpost_rpc::operations_service_client::OperationsServiceClient;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::clock::Clock;
use crate::error::{Error, NotAllowed, Result, Unreachable};
use crate::files;
use crate::profile::{PEM_BYTES_MAX, Profile};
use crate::sign::certificates_from_pem;

/// The gateway ends a handshake after 5 s; what takes twice as long does not come.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A call without an answer after this time has none; the gateway's own bound is 10 s.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(30);
/// How often a question is asked again, and the wait before; the n-th time n times as long.
const ASK_AGAIN_MAX: u32 = 2;
const ASK_AGAIN_WAIT: Duration = Duration::from_millis(150);
/// The largest answer: a covenant of 2 MiB, or 16 key statements with receipts, and room.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Whom the client takes for the hub.
#[derive(Clone)]
pub(crate) struct TransportTrust {
    /// The hub's OIN, which its certificate must bear.
    pub(crate) hub_oin: Oin,
    /// Roots that the certificate may chain to.
    pub(crate) roots: Vec<wire::Root>,
    /// The newest revocation lists that are known; at first contact none are.
    pub(crate) revocation_lists: Vec<Bytes>,
}

/// A connection that is made when it is needed. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    channel: Channel,
    trust: Arc<RwLock<TransportTrust>>,
    trouble: Trouble,
}

impl Connection {
    /// Prepares a connection; nothing is sent yet. Must be called within a tokio runtime.
    pub(crate) fn new(profile: &Profile, trust: TransportTrust, clock: &Clock) -> Result<Self> {
        let trust = Arc::new(RwLock::new(trust));
        let config = Arc::new(client_config(profile, Arc::clone(&trust), clock)?);
        let trouble = Trouble::default();
        let connect = {
            let (gateway, trouble) = (profile.gateway.clone(), trouble.clone());
            tower::service_fn(move |_| {
                let (gateway, config, trouble) = (gateway.clone(), Arc::clone(&config), trouble.clone());
                async move {
                    let connected =
                        tokio::time::timeout(HANDSHAKE_MAX, connect(&gateway, config, trouble.clone())).await;
                    let failed = match connected {
                        Ok(Ok(io)) => return Ok(TokioIo::new(io)),
                        Ok(Err(failed)) => failed,
                        Err(_) => Failed::Unreachable(format!("{gateway} does not answer within {HANDSHAKE_MAX:?}")),
                    };
                    trouble.note(failed.clone());
                    Err(failed)
                }
            })
        };
        // The scheme says no TLS because tonic shall do none: it is done by `connect`.
        let endpoint = Endpoint::from_shared(format!("http://{}", profile.gateway))
            .map_err(|_| Error::usage("gateway", format!("{:?} is no host and port", profile.gateway)))?
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(false);
        Ok(Self { channel: endpoint.connect_with_connector_lazy(connect), trust, trouble })
    }

    /// Replaces whom the next handshake takes for the hub: a covenant came, or newer revocation lists.
    pub(crate) fn trust(&self, trust: TransportTrust) {
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = trust;
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn exchange(&self) -> ExchangeServiceClient<Channel> {
        ExchangeServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn covenant(&self) -> CovenantServiceClient<Channel> {
        CovenantServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn operations(&self) -> OperationsServiceClient<Channel> {
        OperationsServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Asks a question that may be asked again, and does so twice if the connection broke or the gateway was not ready: an
    /// idle connection that the other side closed shows only when it is used.
    pub(crate) async fn ask<T, F>(&self, question: impl Fn(Self) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
    {
        let mut tries = 0;
        loop {
            let status = match question(self.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            match self.error(&status) {
                Error::Unreachable(trouble) if trouble.automatic && tries < ASK_AGAIN_MAX => {
                    tries += 1;
                    tokio::time::sleep(ASK_AGAIN_WAIT * tries).await;
                }
                error => return Err(error),
            }
        }
    }

    /// Says what a call's status means: what the gateway answered, or what befell the connection.
    pub(crate) fn error(&self, status: &tonic::Status) -> Error {
        match Error::from_status(status) {
            Error::Unreachable(trouble) if std::error::Error::source(status).is_some() => match self.trouble.last() {
                Some(Failed::NotTheHub(what)) => Error::not_verified("NOT_THE_HUB", what),
                Some(Failed::NotAllowed(message)) => Error::NotAllowed(NotAllowed { reason: None, message }),
                Some(Failed::Unreachable(message)) => Error::Unreachable(Unreachable::new(message)),
                None => Error::Unreachable(trouble),
            },
            error => error,
        }
    }
}

/// Makes a request that does not wait for ever.
pub(crate) fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_MAX);
    request
}

async fn connect(gateway: &str, config: Arc<ClientConfig>, trouble: Trouble) -> std::result::Result<Watched, Failed> {
    let unreachable = |error: io::Error| Failed::Unreachable(format!("{gateway}: {error}"));
    let stream = TcpStream::connect(gateway).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let host = gateway.rsplit_once(':').map_or(gateway, |(host, _)| host).trim_matches(['[', ']']);
    let name =
        ServerName::try_from(host.to_owned()).map_err(|error| Failed::Unreachable(format!("{gateway}: {error}")))?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| failed_in_tls(&error).unwrap_or_else(|| unreachable(error)))?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(Failed::NotTheHub(format!("{gateway} does not speak HTTP/2")));
    }
    trouble.clear();
    Ok(Watched { stream, trouble, has_answered: false })
}

fn client_config(profile: &Profile, trust: Arc<RwLock<TransportTrust>>, clock: &Clock) -> Result<ClientConfig> {
    let place = profile.tls_certificate.display().to_string();
    let certificates = certificates_from_pem(&files::read(&profile.tls_certificate, PEM_BYTES_MAX)?, &place)?;
    let oin = oin_of(&certificates[0]).map_err(|error| Error::usage(&place, error.to_string()))?;
    if oin != profile.address.oin {
        return Err(Error::usage(
            &place,
            format!("the certificate is of OIN {oin}, the profile of {}", profile.address.oin),
        ));
    }
    let key_place = profile.tls_key.display().to_string();
    let key = zeroize::Zeroizing::new(files::read(&profile.tls_key, PEM_BYTES_MAX)?);
    let key = PrivatePkcs8KeyDer::from_pem_slice(&key).map_err(|_| {
        Error::usage(&key_place, "the file holds no unencrypted PKCS#8 private key (BEGIN PRIVATE KEY)")
    })?;

    let provider = Arc::new(provider());
    let verifier = HubVerifier { trust, algorithms: provider.signature_verification_algorithms };
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(TimeOf(clock.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("both suites are of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(
            certificates.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect(),
            PrivateKeyDer::from(key),
        )
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Error::usage(&key_place, "the key does not belong to the certificate")
            }
            other => Error::usage(&key_place, format!("the key cannot be used: {other}")),
        })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would stand on the certificate of an earlier day.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What NCSC-NL (2025-05) calls good: TLS 1.3's two strong suites, hybrid key exchange first. The classical groups
/// behind it are for a gateway that cannot do better yet; content is sealed for the age of quantum computers anyway.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::SECP256R1MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..rustls::crypto::aws_lc_rs::default_provider()
    }
}

/// The client's clock, as rustls asks for it.
struct TimeOf(Clock);

impl TimeProvider for TimeOf {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.now().millis()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

impl fmt::Debug for TimeOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimeOf")
    }
}

/// Takes for the hub only who has a server certificate under a trusted root that bears the hub's OIN.
///
/// Without the OIN any participant under the same root could pass for the hub.
struct HubVerifier {
    trust: Arc<RwLock<TransportTrust>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl HubVerifier {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> std::result::Result<(), String> {
        let trust = self.trust.read().unwrap_or_else(PoisonError::into_inner).clone();
        let oin = oin_of(leaf).map_err(|error| error.to_string())?;
        if oin != trust.hub_oin {
            return Err(format!("it bears the OIN {oin}, the hub's is {}", trust.hub_oin));
        }
        is_strong(leaf)?;
        let may_issue =
            |root: &&wire::Root| root.oins.is_empty() || root.oins.iter().any(|allowed| allowed == oin.as_str());
        let roots: Vec<CertificateDer<'_>> =
            trust.roots.iter().filter(may_issue).map(|root| CertificateDer::from(root.der.as_ref())).collect();
        let anchors = roots
            .iter()
            .map(|root| webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned()))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| format!("a transport root cannot be read: {error}"))?;
        let lists = trust
            .revocation_lists
            .iter()
            .map(|der| webpki::OwnedCertRevocationList::from_der(der).map(webpki::CertRevocationList::from))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| format!("a revocation list cannot be read: {error}"))?;
        let lists: Vec<&webpki::CertRevocationList<'_>> = lists.iter().collect();
        // What no list speaks of is let pass: the lists come over this very connection.
        let revocation = webpki::RevocationOptionsBuilder::new(&lists)
            .ok()
            .map(|options| options.with_status_policy(webpki::UnknownStatusPolicy::Allow).build());
        let end_entity = webpki::EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
        end_entity
            .verify_for_usage(
                self.algorithms.all,
                &anchors,
                above,
                now,
                webpki::KeyUsage::server_auth(),
                revocation,
                None,
            )
            .map_err(|error| format!("it does not chain to a transport root of hub file or covenant: {error}"))?;
        Ok(())
    }
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        match self.verify(end_entity, intermediates, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(what) => Err(CertificateError::Other(OtherError(Arc::new(NotTheHub(what)))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for HubVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubVerifier")
    }
}

/// Asks of the server's key what is asked of signing keys; webpki alone would take RSA of 2,048 bits.
fn is_strong(leaf: &CertificateDer<'_>) -> std::result::Result<(), String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    PublicKey::from_spki(certificate.tbs_certificate.subject_pki.raw, false)
        .map(|_| ())
        .map_err(|error| format!("its key is not taken: {error}"))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotTheHub(String);

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    NotTheHub(String),
    #[error("{0}")]
    NotAllowed(String),
}

/// Reads from an IO error what TLS has to say about it.
fn failed_in_tls(error: &io::Error) -> Option<Failed> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match tls {
        rustls::Error::AlertReceived(
            AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError,
        ) => Failed::NotAllowed(format!(
            "the gateway does not accept this TLS certificate ({tls}): it may be expired or revoked, or the covenant does not know it"
        )),
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            Failed::NotTheHub(format!("who answers is not the hub by its certificate: {inner}"))
        }
        rustls::Error::InvalidCertificate(other) => {
            Failed::NotTheHub(format!("who answers is not the hub by its certificate: {other:?}"))
        }
        other => Failed::Unreachable(format!("TLS: {other}")),
    })
}

/// What last went wrong with the connection, kept because the layers between here and a call's status lose it.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<Failed>>>);

impl Trouble {
    fn note(&self, failed: Failed) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
    }

    fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn last(&self) -> Option<Failed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A TLS stream that notes why it broke.
///
/// In TLS 1.3 the server judges the client's certificate after the client is done: its refusal arrives as an alert on
/// the first read.
struct Watched {
    stream: TlsStream<TcpStream>,
    trouble: Trouble,
    has_answered: bool,
}

impl Watched {
    fn watch(&self, error: &io::Error) {
        let failed = failed_in_tls(error).unwrap_or_else(|| {
            if self.has_answered {
                Failed::Unreachable(format!("the connection broke: {error}"))
            } else {
                Failed::Unreachable(format!(
                    "the gateway ended the connection right after the handshake ({error}); it may not accept this TLS certificate"
                ))
            }
        });
        // An alert says more than the broken pipe that follows it.
        if !matches!(self.trouble.last(), Some(Failed::NotAllowed(_) | Failed::NotTheHub(_))) {
            self.trouble.note(failed);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        match &read {
            Ok(()) => self.has_answered |= buffer.filled().len() > before,
            Err(error) => self.watch(error),
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, buffer));
        if let Err(error) = &written {
            self.watch(error);
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, buffers));
        if let Err(error) = &written {
            self.watch(error);
        }
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
