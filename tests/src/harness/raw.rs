//! Connections that promise nothing: with any certificate or none, to say what no honest client says.
//!
//! In come credentials as PEM; out come what the gateway made of the handshake, or a channel on which any message can
//! be sent. The server's certificate is not looked at: that is what the real client's own tests are about.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;

/// A certificate with those above it, and the key to it.
#[derive(Clone)]
pub struct Credentials {
    /// The certificates, PEM, the leaf first.
    pub certificate: String,
    /// The key, PKCS#8 PEM.
    pub key: String,
}

impl From<seinpost_certs::world::Credentials> for Credentials {
    fn from(credentials: seinpost_certs::world::Credentials) -> Self {
        Self { certificate: credentials.certificate_pem, key: credentials.key_pem.to_string() }
    }
}

/// What the gateway made of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// It was let in, and heard the gateway's first HTTP/2 frame.
    LetIn,
    /// It heard this alert.
    Alert(AlertDescription),
    /// The connection ended without a word.
    Closed,
}

/// The HTTP/2 connection preface and an empty SETTINGS frame: the first thing that a client says.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Shakes hands with the gateway, with these credentials or with none.
pub async fn handshake(gateway: SocketAddr, credentials: Option<&Credentials>) -> Handshake {
    handshake_speaking(gateway, credentials, b"h2").await
}

/// Shakes hands with the gateway and says that one speaks this protocol.
pub async fn handshake_speaking(gateway: SocketAddr, credentials: Option<&Credentials>, protocol: &[u8]) -> Handshake {
    let config = client_config(credentials, protocol);
    let mut stream = match connect(gateway, config).await {
        Ok(stream) => stream,
        Err(error) => return outcome(&error),
    };
    // In TLS 1.3 the client is done before the server has judged its certificate: the verdict comes with the first bytes.
    let mut first = [0; 9];
    if let Err(error) = stream.write_all(PREFACE).await {
        return outcome(&error);
    }
    match stream.read(&mut first).await {
        Ok(0) => Handshake::Closed,
        Ok(_) => Handshake::LetIn,
        Err(error) => outcome(&error),
    }
}

fn outcome(error: &io::Error) -> Handshake {
    let inner = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(alert)) => Handshake::Alert(*alert),
        _ => Handshake::Closed,
    }
}

/// Opens a channel to the gateway with these credentials.
#[must_use]
pub fn channel(gateway: SocketAddr, credentials: &Credentials) -> Channel {
    let config = client_config(Some(credentials), b"h2");
    let connector = tower::service_fn(move |_: http::Uri| {
        let config = Arc::clone(&config);
        async move { connect(gateway, config).await.map(TokioIo::new) }
    });
    Endpoint::from_shared(format!("http://{gateway}"))
        .expect("an address is a URI")
        .connect_with_connector_lazy(connector)
}

async fn connect(gateway: SocketAddr, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(gateway).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").expect("it is a name");
    TlsConnector::from(config).connect(name, socket).await
}

fn client_config(credentials: Option<&Credentials>, protocol: &[u8]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider knows TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match credentials {
        None => builder.with_no_client_auth(),
        Some(credentials) => {
            let chain = CertificateDer::pem_slice_iter(credentials.certificate.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .expect("the certificates are PEM");
            let key = PrivateKeyDer::from_pem_slice(credentials.key.as_bytes()).expect("the key is PEM");
            builder.with_client_auth_cert(chain, key).expect("the key can be used")
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Takes any server.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Calls any path with any bytes as its one message, and returns all messages of the answer.
///
/// # Errors
/// What the gateway says.
pub async fn call(channel: &Channel, path: &str, message: Bytes) -> Result<Vec<Bytes>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(4 * 1024 * 1024);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::try_from(path).expect("the path is one");
    let request = tonic::Request::new(tokio_stream::once(message));
    let mut answers = grpc.streaming(request, path, Raw).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

/// Messages as the bytes that they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Returns the reason that a status carries, `google.rpc.ErrorInfo.reason`; empty: none.
#[must_use]
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info();
    if let Some(info) = info {
        assert_eq!(info.domain, "seinpost", "{status:?}");
    }
    info.map(|info| info.reason.clone()).unwrap_or_default()
}

/// Returns the fields that a status names as wrong.
#[must_use]
pub fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
