//! The one room that knows rustls: which TLS the gateway speaks, and which certificates it takes.
//!
//! In comes a socket, out goes a stream with the [`Peer`] at its other end, or nothing. TLS 1.3 only, no resumption
//! and no early data, `h2` only, a client certificate always. Whether a certificate is good is decided inside the
//! handshake and as a whole: chain, dates, revocation, usage, OIN, covenant, key strength. Every certificate that is
//! presented and not good is answered by the same alert, `access_denied`, so that a stranger learns nothing of why;
//! the reason stands in the operator's log alone. Who presents none hears `certificate_required`.
//!
//! It never reads a certificate store of the machine: the only roots are those of the covenant.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite,
};
use seinpost_protocol::address::Oin;
use seinpost_protocol::certificate::oin_of;
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::signature::PublicKey;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::warn;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::Peer;

/// An encrypted connection whose peer is known.
pub type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// Reads the time; given by the clock's room.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Certificates that a peer may present beside each other: as many as for signing, since no PKIoverheid chain is longer.
const CHAIN_CERTIFICATES_MAX: usize = 4;
/// Bytes of those certificates: an RSA-4096 chain of four has about 8 KiB.
const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// Which algorithms are offered, in the words of NCSC-NL's TLS guidelines of May 2025.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Profile {
    /// All settings are Good: hybrid key exchange, AES-256 and ChaCha20 alone.
    #[default]
    #[serde(rename = "ncsc-2025-good")]
    Good,
    /// All settings are at least Sufficient: adds key exchange that a quantum computer could break, and AES-128.
    #[serde(rename = "ncsc-2025-sufficient")]
    Sufficient,
}

impl Profile {
    /// Returns the cryptography of the profile; the strongest comes first and wins.
    fn provider(self) -> CryptoProvider {
        let mut suites: Vec<SupportedCipherSuite> = vec![
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        let mut groups: Vec<&'static dyn SupportedKxGroup> =
            vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::SECP256R1MLKEM768];
        match self {
            Self::Good => {}
            Self::Sufficient => {
                suites.push(aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256);
                groups.extend([
                    aws_lc_rs::kx_group::X25519,
                    aws_lc_rs::kx_group::SECP256R1,
                    aws_lc_rs::kx_group::SECP384R1,
                ]);
            }
        }
        CryptoProvider { cipher_suites: suites, kx_groups: groups, ..aws_lc_rs::default_provider() }
    }
}

/// What the hub itself presents: its certificate chain and the key to it. Has no `Debug`: it holds the key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads a chain (leaf first) and a private key from PEM texts.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, BadIdentity> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| BadIdentity::Certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(BadIdentity::Certificate("the file holds no certificate".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| BadIdentity::Key(error.to_string()))?;
        Ok(Self { chain, key })
    }

    /// Returns the OIN and the end of validity of the hub's own leaf.
    pub fn leaf(&self) -> Result<(Oin, Timestamp), BadIdentity> {
        let leaf = Leaf::parse(&self.chain[0]).map_err(|cause| BadIdentity::Certificate(cause.to_string()))?;
        Ok((leaf.oin, leaf.not_after))
    }

    fn clone_for_rustls(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }
}

/// Why the hub's own certificate or key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// The certificate file.
    #[error("certificate: {0}")]
    Certificate(String),
    /// The key file.
    #[error("key: {0}")]
    Key(String),
    /// They do not belong together, or the key is of a kind that TLS does not use.
    #[error("certificate and key cannot be used together: {0}")]
    Pair(String),
}

/// What certificates are judged by: covenant, revocation lists and a clock; exchanged as a whole.
pub struct Trust {
    covenant: Covenant,
    roots: Vec<TrustedRoot>,
    /// Without any list rustls would skip revocation instead of calling the status unknown.
    has_lists: bool,
    provider: Arc<CryptoProvider>,
    now: Now,
}

/// One transport root of the covenant, with whom it may vouch for.
struct TrustedRoot {
    verifier: Arc<dyn ClientCertVerifier>,
    /// `None`: anybody.
    oins: Option<BTreeSet<String>>,
}

impl Trust {
    /// Takes the transport roots of `covenant` and the revocation lists (DER) by which to judge.
    pub fn new(covenant: &Covenant, crls: &[bytes::Bytes], now: Now) -> Result<Self, BadTrust> {
        // The verifier's algorithms do not depend on the profile, which is about suites and key exchange.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let has_lists = !crls.is_empty();
        let crls: Vec<_> = crls.iter().map(|crl| CertificateRevocationListDer::from(crl.to_vec())).collect();
        let mut roots = Vec::new();
        for (place, root) in covenant.message().transport_roots.iter().enumerate() {
            let mut store = RootCertStore::empty();
            store
                .add(CertificateDer::from(root.der.to_vec()))
                .map_err(|error| BadTrust::Root(place, error.to_string()))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider.clone())
                // Every certificate below the root must have a known status: no `allow_unknown_revocation_status`.
                // No `enforce_revocation_expiration` either: it closes at once, while a late list earns an alarm
                // and a stated grace first (`health.rs`).
                .with_crls(crls.iter().cloned())
                .build()
                .map_err(|error| BadTrust::Root(place, error.to_string()))?;
            let oins = (!root.oins.is_empty()).then(|| root.oins.iter().cloned().collect());
            roots.push(TrustedRoot { verifier, oins });
        }
        if roots.is_empty() {
            return Err(BadTrust::NoRoot);
        }
        Ok(Self { covenant: covenant.clone(), roots, has_lists, provider, now })
    }

    /// Judges a presented certificate; the peer that it proves, or the cause for the operator's log.
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<Peer, BadPeerCertificate> {
        if above.len() >= CHAIN_CERTIFICATES_MAX {
            return Err(BadPeerCertificate::ChainTooLong);
        }
        if leaf.len() + above.iter().map(|certificate| certificate.len()).sum::<usize>() > CHAIN_BYTES_MAX {
            return Err(BadPeerCertificate::ChainTooLong);
        }
        let parsed = Leaf::parse(leaf)?;
        parsed.check_usage()?;
        if !self.has_lists {
            return Err(BadPeerCertificate::NoRevocationList);
        }
        // A root that may not vouch for this OIN is not asked: an authority for the police cannot make a municipality.
        let mut refusal = BadPeerCertificate::NoRootForOin;
        let mut vouched = false;
        for root in self.roots.iter().filter(|root| root.may_vouch_for(parsed.oin)) {
            match root.verifier.verify_client_cert(leaf, above, at) {
                Ok(_) => {
                    vouched = true;
                    break;
                }
                Err(error) => refusal = BadPeerCertificate::Chain(error.to_string()),
            }
        }
        if !vouched {
            return Err(refusal);
        }
        let peer = Peer { oin: parsed.oin, spki: parsed.spki, not_after: parsed.not_after };
        let Some(participant) = self.covenant.participant(peer.oin) else {
            return Err(BadPeerCertificate::UnknownOin);
        };
        if participant.suspended {
            return Err(BadPeerCertificate::Suspended);
        }
        if self.covenant.functions(peer.oin, wire::Use::Transport, &peer.spki, (self.now)()).is_empty() {
            return Err(BadPeerCertificate::NoFunction);
        }
        Ok(peer)
    }
}

impl TrustedRoot {
    fn may_vouch_for(&self, oin: Oin) -> bool {
        self.oins.as_ref().is_none_or(|oins| oins.contains(oin.as_str()))
    }
}

/// Why no trust can be built from a covenant and revocation lists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTrust {
    /// The covenant names no transport root.
    #[error("the covenant names no transport root")]
    NoRoot,
    /// A transport root, by its place in the covenant, cannot be used.
    #[error("transport_roots[{0}]: {1}")]
    Root(usize, String),
}

/// Why a presented certificate is not good. For the operator's log alone; the peer hears `access_denied` for all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum BadPeerCertificate {
    #[error("not a certificate: {0}")]
    Malformed(String),
    #[error("more than {CHAIN_CERTIFICATES_MAX} certificates or {CHAIN_BYTES_MAX} bytes")]
    ChainTooLong,
    #[error("subject: {0}")]
    Oin(String),
    #[error("key: {0}")]
    Key(String),
    #[error("not for client authentication")]
    Usage,
    #[error("no revocation list is good any more, so no certificate's status is known")]
    NoRevocationList,
    #[error("no transport root of the covenant may issue this OIN")]
    NoRootForOin,
    #[error("chain: {0}")]
    Chain(String),
    #[error("the covenant knows no such OIN")]
    UnknownOin,
    #[error("the participant is suspended")]
    Suspended,
    #[error("the covenant gives this key no function now")]
    NoFunction,
}

/// What the gateway reads from a leaf certificate.
struct Leaf {
    oin: Oin,
    spki: Digest,
    not_after: Timestamp,
    client_auth: bool,
    digital_signature: bool,
}

impl Leaf {
    fn parse(der: &CertificateDer<'_>) -> Result<Self, BadPeerCertificate> {
        let malformed = |error: &dyn fmt::Display| BadPeerCertificate::Malformed(error.to_string());
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(BadPeerCertificate::Malformed("bytes after the certificate".to_owned()));
        }
        let oin = oin_of(der).map_err(|error| BadPeerCertificate::Oin(error.to_string()))?;
        let spki = certificate.public_key().raw;
        // RSA of 2048 bits is in its phase-out, and the chain check below would take it.
        PublicKey::from_spki(spki, false).map_err(|error| BadPeerCertificate::Key(error.to_string()))?;
        let not_after = certificate.validity().not_after.timestamp().saturating_mul(1000);
        let client_auth = certificate
            .extended_key_usage()
            .map_err(|error| malformed(&error))?
            .is_some_and(|usage| usage.value.client_auth);
        let digital_signature = certificate
            .key_usage()
            .map_err(|error| malformed(&error))?
            .is_none_or(|usage| usage.value.digital_signature());
        Ok(Self {
            oin,
            spki: Digest::of(spki),
            not_after: Timestamp::clamped(not_after),
            client_auth,
            digital_signature,
        })
    }

    /// Refuses certificates that were issued for something else: a server's, or one for signatures alone.
    fn check_usage(&self) -> Result<(), BadPeerCertificate> {
        if self.client_auth && self.digital_signature { Ok(()) } else { Err(BadPeerCertificate::Usage) }
    }
}

/// The server's side of TLS, with a [`Trust`] that can be exchanged while it runs.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    trust: Arc<ArcSwap<Trust>>,
}

impl Tls {
    /// Builds the server's configuration.
    pub fn new(profile: Profile, identity: &Identity, trust: Trust) -> Result<Self, BadIdentity> {
        let trust = Arc::new(ArcSwap::from_pointee(trust));
        let (chain, key) = identity.clone_for_rustls();
        let mut config =
            ServerConfig::builder_with_details(Arc::new(profile.provider()), Arc::new(Clock(trust.load().now.clone())))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(|error| BadIdentity::Pair(error.to_string()))?
                .with_client_cert_verifier(Arc::new(Verifier { trust: trust.clone() }))
                .with_single_cert(chain, key)
                .map_err(|error| BadIdentity::Pair(error.to_string()))?;
        // A resumed session takes the certificate from its ticket and asks neither revocation list nor covenant.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), trust })
    }

    /// Judges from now on by `trust`; connections that stand are not touched.
    pub fn exchange_trust(&self, trust: Trust) {
        self.trust.store(Arc::new(trust));
    }

    /// Shakes hands; the stream and its peer, or why there is none.
    pub async fn handshake(&self, socket: TcpStream) -> Result<(TlsStream, Peer), NoHandshake> {
        let stream = self.acceptor.accept(socket).await.map_err(NoHandshake::Tls)?;
        let (_, connection) = stream.get_ref();
        // A peer that offers no protocols at all is let through by rustls.
        if connection.alpn_protocol() != Some(b"h2") {
            return Err(NoHandshake::NotHttp2);
        }
        let Some([leaf, ..]) = connection.peer_certificates() else {
            return Err(NoHandshake::NoPeer);
        };
        let leaf = Leaf::parse(leaf).map_err(|_| NoHandshake::NoPeer)?;
        let peer = Peer { oin: leaf.oin, spki: leaf.spki, not_after: leaf.not_after };
        Ok((stream, peer))
    }
}

/// Why a handshake led to no connection.
#[derive(Debug, thiserror::Error)]
pub enum NoHandshake {
    /// TLS ended it, or the socket did.
    #[error("{0}")]
    Tls(std::io::Error),
    /// The peer does not speak HTTP/2.
    #[error("the peer did not agree on h2")]
    NotHttp2,
    /// There is no certificate after all: never seen, and refused.
    #[error("no certificate is known after the handshake")]
    NoPeer,
}

/// The verifier inside the handshake: [`Trust::judge`], with one answer for every refusal.
struct Verifier {
    trust: Arc<ArcSwap<Trust>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// Names no roots: a client that chooses by them would hide a wrong certificate and be told that it has none.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.trust.load().judge(leaf, above, at) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(cause) => {
                // The digest finds the certificate in the operator's own files; its subject is not repeated.
                warn!(certificate = %Digest::of(leaf), %cause, "a client certificate was refused");
                metrics::counter!("seinpost_handshakes_refused_total").increment(1);
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.load().provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.load().provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Lets rustls read the gateway's clock, so that one room alone reads time.
struct Clock(Now);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)().millis() / 1000).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}
