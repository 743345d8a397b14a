//! A hub that lies: it has the hub's own certificate and log key, and every agency's connection ends in it.
//!
//! It passes each call on to a real gateway with the caller's own credentials, which a real hub would not need: its
//! gateway and its lie are one program. Between them a test changes what it wants: a message on its way in or out,
//! which gateway a caller is led to, or the whole answer. What such a hub can sign it signs with [`PrivateLog`].

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use seinpost_certs::key::Key;
use seinpost_protocol::checkpoint::{self, Checkpoint, LogKey};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{ItemType, pae};
use seinpost_protocol::record;
use seinpost_protocol::tree::{self, Nodes};
use seinpost_protocol::wire;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::server::{NamedService, StreamingService};
use tonic::transport::Channel;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use super::hub::Hub;
use super::raw::{self, Raw};
use super::world::ORIGIN;

/// A call, as a lie sees it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method's name, such as `Submit`.
    pub method: String,
    /// The identity that calls, such as `police-amsterdam`.
    pub peer: String,
}

impl Call {
    /// Returns whether it is this method, called by this identity.
    #[must_use]
    pub fn is(&self, method: &str, peer: &str) -> bool {
        self.method == method && self.peer == peer
    }
}

type Change = dyn Fn(&Call, Bytes) -> Vec<Bytes> + Send + Sync;
type Answer = dyn Fn(&Call, &[u8]) -> Option<Vec<Bytes>> + Send + Sync;
type Lead = dyn Fn(&Call) -> Option<SocketAddr> + Send + Sync;

/// In which way a hub lies.
pub struct Lies {
    on_the_way_out: Box<Change>,
    instead: Box<Answer>,
    towards: Box<Lead>,
}

impl Lies {
    /// No lie at all: what a test begins with, and the null control of this room.
    #[must_use]
    pub fn none() -> Self {
        Self {
            on_the_way_out: Box::new(|_, message| vec![message]),
            instead: Box::new(|_, _| None),
            towards: Box::new(|_| None),
        }
    }

    /// Replaces messages on their way to the caller, each by as many as the lie likes.
    #[must_use]
    pub fn on_the_way_out(mut self, change: impl Fn(&Call, Bytes) -> Vec<Bytes> + Send + Sync + 'static) -> Self {
        self.on_the_way_out = Box::new(change);
        self
    }

    /// Answers a call itself, from its first message, where it returns something; the gateway never hears of it.
    #[must_use]
    pub fn instead(mut self, answer: impl Fn(&Call, &[u8]) -> Option<Vec<Bytes>> + Send + Sync + 'static) -> Self {
        self.instead = Box::new(answer);
        self
    }

    /// Leads callers to another gateway, where it returns one.
    #[must_use]
    pub fn towards(mut self, lead: impl Fn(&Call) -> Option<SocketAddr> + Send + Sync + 'static) -> Self {
        self.towards = Box::new(lead);
        self
    }
}

/// Changes a message of a known type, as bytes.
///
/// # Panics
/// If it is not of that type.
pub fn change<M: Message + Default>(message: &[u8], change: impl FnOnce(&mut M)) -> Bytes {
    let mut decoded = M::decode(message).expect("the message is of its type");
    change(&mut decoded);
    decoded.encode_to_vec().into()
}

/// A lying hub in front of a real one. It ends when it is dropped.
pub struct HostileHub {
    address: SocketAddr,
    serving: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl HostileHub {
    /// Starts it in front of a hub.
    ///
    /// # Panics
    /// If it cannot start.
    pub async fn start(hub: &Hub, lies: Lies) -> Self {
        Self::start_with(hub, lies, &hub.world().hub_folder().join("tls"), "server").await
    }

    /// Starts it as somebody else: with the transport certificate of an agency of the same world.
    ///
    /// # Panics
    /// If it cannot start.
    pub async fn start_as(hub: &Hub, lies: Lies, identity: &str) -> Self {
        Self::start_with(hub, lies, &hub.world().identity_folder(identity), "tls").await
    }

    async fn start_with(hub: &Hub, lies: Lies, folder: &Path, stem: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let forward =
            Forward(Arc::new(Shared { lies, gateway: hub.address(), peers: hub.peers(), channels: Mutex::default() }));
        let acceptor = TlsAcceptor::from(server_config(hub, folder, stem));
        let incoming = stream::unfold((listener, acceptor), |(listener, acceptor)| async move {
            loop {
                let (socket, _) = listener.accept().await.ok()?;
                let _ = socket.set_nodelay(true);
                if let Ok(stream) = acceptor.accept(socket).await {
                    return Some((Ok::<_, std::io::Error>(Socket(stream)), (listener, acceptor)));
                }
            }
        });
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let server = tonic::transport::Server::builder()
                .add_service(Exchange(forward.clone()))
                .add_service(CovenantCalls(forward.clone()))
                .add_service(Audit(forward.clone()))
                .add_service(Operations(forward))
                .serve_with_incoming(incoming);
            tokio::select! {
                served = server => served.expect("the lying hub serves"),
                _ = stopped => {}
            }
        });
        Self { address, serving, stop: Some(stop) }
    }

    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HostileHub {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        self.serving.abort();
    }
}

fn server_config(hub: &Hub, folder: &Path, stem: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(folder.join(format!("{stem}.pem")))
        .expect("there is a certificate")
        .collect::<Result<Vec<_>, _>>()
        .expect("it is PEM");
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{stem}.key"))).expect("there is a key");
    let mut roots = RootCertStore::empty();
    for root in &hub.world().covenant_message().transport_roots {
        roots.add(CertificateDer::from(root.der.to_vec())).expect("the root is a certificate");
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider knows TLS 1.3")
        .with_client_cert_verifier(verifier.build().expect("there is a root"))
        .with_single_cert(chain, key)
        .expect("the key fits the certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// An accepted connection that tells who called.
struct Socket(TlsStream<TcpStream>);

impl Connected for Socket {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        let chain = self.0.get_ref().1.peer_certificates().expect("a client certificate is demanded");
        Caller(Digest::of(&chain[0]))
    }
}

/// SHA-256 of the caller's certificate.
#[derive(Clone)]
struct Caller(Digest);

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct Shared {
    lies: Lies,
    gateway: SocketAddr,
    /// Identities by the digest of their certificate, with their credentials.
    peers: BTreeMap<Digest, (String, raw::Credentials)>,
    channels: Mutex<BTreeMap<(String, SocketAddr), Channel>>,
}

/// Passes every call of every service on, message by message, and lies.
#[derive(Clone)]
struct Forward(Arc<Shared>);

impl Forward {
    async fn pass_on(
        &self,
        path: http::uri::PathAndQuery,
        request: Request<Streaming<Bytes>>,
    ) -> Result<Response<Messages>, Status> {
        let caller = request.extensions().get::<Caller>().cloned().expect("the connection tells who called");
        let shared = Arc::clone(&self.0);
        let (peer, credentials) = shared.peers.get(&caller.0).expect("every caller is an identity of the world");
        let method = path.path().rsplit('/').next().unwrap_or_default().to_owned();
        let call = Call { method, peer: peer.clone() };

        let mut messages = request.into_inner();
        let first = messages.message().await?.unwrap_or_default();
        if let Some(answer) = (shared.lies.instead)(&call, &first) {
            return Ok(Response::new(Box::pin(stream::iter(answer.into_iter().map(Ok)))));
        }
        let gateway = (shared.lies.towards)(&call).unwrap_or(shared.gateway);
        let channel = {
            let mut channels = shared.channels.lock().expect("no thread of a test panicked here");
            let open = || raw::channel(gateway, credentials);
            channels.entry((peer.clone(), gateway)).or_insert_with(open).clone()
        };
        let rest = messages.filter_map(|message| std::future::ready(message.ok()));
        let request = Request::new(stream::iter([first]).chain(rest));
        let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(4 * 1024 * 1024);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let answers = client.streaming(request, path, Raw).await?.into_inner();
        let lied = answers.flat_map(move |message| {
            let messages = match message {
                Ok(message) => (shared.lies.on_the_way_out)(&call, message).into_iter().map(Ok).collect(),
                Err(status) => vec![Err(status)],
            };
            stream::iter(messages)
        });
        Ok(Response::new(Box::pin(lied)))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Answering<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

struct OneCall(Forward, http::uri::PathAndQuery);

impl StreamingService<Bytes> for OneCall {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Answering<Response<Messages>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (forward, path) = (self.0.clone(), self.1.clone());
        Box::pin(async move { forward.pass_on(path, request).await })
    }
}

/// One service of the exchange, of which every call is passed on.
macro_rules! service {
    ($name:ident, $path:literal) => {
        #[derive(Clone)]
        struct $name(Forward);

        impl NamedService for $name {
            const NAME: &'static str = $path;
        }

        impl tower::Service<http::Request<tonic::body::Body>> for $name {
            type Response = http::Response<tonic::body::Body>;
            type Error = std::convert::Infallible;
            type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
                let path = request.uri().path_and_query().cloned().expect("a call has a path");
                let one = OneCall(self.0.clone(), path);
                Box::pin(async move {
                    let mut grpc = tonic::server::Grpc::new(Raw).max_decoding_message_size(4 * 1024 * 1024);
                    Ok(grpc.streaming(one, request).await)
                })
            }
        }
    };
}

service!(Exchange, "seinpost.v1.ExchangeService");
service!(CovenantCalls, "seinpost.v1.CovenantService");
service!(Audit, "seinpost.v1.AuditService");
service!(Operations, "seinpost.v1.OperationsService");

/// A log that the hub's key signs and nobody else sees: what a hub needs to lie in good form.
#[derive(Clone)]
pub struct PrivateLog {
    key: Arc<Key>,
    public: LogKey,
    leaves: Vec<Digest>,
}

impl PrivateLog {
    /// Begins one with these commitments.
    ///
    /// # Panics
    /// If the hub has no log key.
    #[must_use]
    pub fn of(hub: &Hub, commitments: &[Digest]) -> Self {
        let pem = std::fs::read_to_string(hub.world().hub_folder().join("log.key")).expect("the hub has a log key");
        let key = Key::from_pem(&pem).expect("it is a key");
        let public = LogKey::new(key.ed25519_public().expect("the log's key is Ed25519"));
        Self { key: Arc::new(key), public, leaves: commitments.iter().map(tree::leaf_hash).collect() }
    }

    /// Returns how many records it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Appends a record, told of the index that it gets, and returns what its receipt opens to.
    pub fn append(&mut self, record: impl FnOnce(u64) -> wire::Record) -> Entry {
        let index = self.size();
        let record = Bytes::from(record(index).encode_to_vec());
        let salt = [7; 32];
        let commitment = record::commitment(&salt, &record);
        self.leaves.push(tree::leaf_hash(&commitment));
        Entry { index, record, salt, commitment }
    }

    /// Returns its root at a size.
    ///
    /// # Panics
    /// If it is not as large.
    #[must_use]
    pub fn root(&self, size: u64) -> Digest {
        tree::root(self, size).expect("the log is as large")
    }

    /// Signs a checkpoint over its first records.
    ///
    /// # Panics
    /// If it is not as large.
    #[must_use]
    pub fn checkpoint(&self, size: u64) -> Bytes {
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: self.root(size) };
        let signature = self.key.sign(checkpoint.body().as_bytes()).expect("Ed25519 signs");
        let signature: [u8; 64] = signature.try_into().expect("an Ed25519 signature has 64 bytes");
        checkpoint::note(&checkpoint, self.public.key_id(ORIGIN), &signature).into()
    }

    /// Cuts a receipt against its newest checkpoint.
    ///
    /// # Panics
    /// If the entry is not of this log.
    #[must_use]
    pub fn receipt(&self, entry: &Entry) -> wire::Receipt {
        let proof = tree::inclusion_proof(self, entry.index, self.size()).expect("the entry is of this log");
        wire::Receipt {
            record: entry.record.clone(),
            salt: Bytes::copy_from_slice(&entry.salt),
            index: entry.index,
            commitment: entry.commitment.into(),
            proof: proof.into_iter().map(Bytes::from).collect(),
            checkpoint: self.checkpoint(self.size()),
            erased_by: String::new(),
        }
    }

    /// Proves two of its own sizes consistent.
    #[must_use]
    pub fn consistency(&self, pin: u64) -> Vec<Bytes> {
        let (old, new) = (pin.min(self.size()), pin.max(self.size()));
        let proof = if old == 0 || old == new { None } else { tree::consistency_proof(self, old, new) };
        proof.unwrap_or_default().into_iter().map(Bytes::from).collect()
    }

    /// Signs an item with the log's key, such as a mailbox head.
    ///
    /// # Panics
    /// Never: Ed25519 signs anything.
    #[must_use]
    pub fn sign(&self, item_type: ItemType, payload: &impl Message) -> wire::SignedItem {
        let payload = Bytes::from(payload.encode_to_vec());
        let payload_type = item_type.payload_type().to_owned();
        let sig = self.key.sign(&pae(&payload_type, &payload)).expect("Ed25519 signs");
        let signatures = vec![wire::ItemSignature { sig: sig.into(), keyid: self.key.spki_sha256().to_string() }];
        wire::SignedItem { payload, payload_type, signatures }
    }
}

impl Nodes for PrivateLog {
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        let size = 1_usize.checked_shl(u32::from(level))?;
        let start = usize::try_from(index).ok()?.checked_mul(size)?;
        let leaves = self.leaves.get(start..start.checked_add(size)?)?;
        Some(complete(leaves))
    }
}

/// Returns the root of a complete subtree, by the slow and obvious method.
fn complete(leaves: &[Digest]) -> Digest {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len() / 2);
            tree::node_hash(&complete(left), &complete(right))
        }
    }
}

/// A record of a private log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its index.
    pub index: u64,
    /// Its bytes.
    pub record: Bytes,
    /// Its salt.
    pub salt: [u8; 32],
    /// Its commitment.
    pub commitment: Digest,
}
