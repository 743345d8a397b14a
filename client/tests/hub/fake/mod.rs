//! A hub of a few hundred lines that can lie.
//!
//! It keeps its log in memory, signs it with the world's own log key, and speaks gRPC over TLS as the gateway does; it
//! judges nothing. What it does wrong is chosen by [`Hub::lie`].

mod log;
mod services;
mod tls;

use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::stream::unfold;
use seinpost_certs::world::World;
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::record::commitment;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;
use seinpost_rpc::audit_service_server::AuditServiceServer;
use seinpost_rpc::covenant_service_server::CovenantServiceServer;
use seinpost_rpc::exchange_service_server::ExchangeServiceServer;
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub(crate) use self::log::Leaf;
use self::log::Log;
use self::tls::{Io, acceptor};

/// What the hub does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lie {
    /// Answers are lost after the record is made: UNAVAILABLE, once.
    LoseAnswer,
    /// One bit of the sealed content is flipped.
    SpoilContent,
    /// One bit of the sealed content is flipped, the first time.
    SpoilContentOnce,
    /// A mailbox record is left out.
    SkipNumber,
    /// The mailbox head leaves out its last record.
    ShortHead,
    /// The head promises, and nothing comes but the head again.
    HoldBack,
    /// The head promises, and the stream ends.
    OnlyHead,
    /// The head is from yesterday.
    StaleHead,
    /// The receipt is of another item.
    OtherReceipt,
    /// Whatever is addressed to others is consigned to the sender's mayor: in the log itself, with true proofs.
    Reroute,
    /// The newest covenant is the first one.
    OldCovenant,
    /// The newest key statement is kept back.
    OldStatement,
    /// The stream ends after each message.
    BreakStream,
    /// Everything in a mailbox below this number is erased: no lie, but what a retention rule does. `times` is the number.
    ErasedBefore,
    /// Records for others than the safe home are not shown: no lie, but what a participant sees.
    HideOthers,
    /// Records name the first covenant, whatever was adopted since.
    OldRuling,
    /// Consignments stand in another conversation than their item.
    ForeignConversation,
    /// The consistency proof of an answer is cut wrong; asked for by itself it is right.
    CutProofWrong,
}

/// A running hub.
#[derive(Clone)]
pub(crate) struct Hub {
    log: Arc<Mutex<Log>>,
    woken: Arc<Notify>,
    pub(crate) address: String,
}

impl Hub {
    /// Starts a hub for a world on a free port, and points the world's profiles at it.
    pub(crate) async fn start(world: &World, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let tls = world.hub_folder().join("tls");
        Self::start_as(world, now, &tls.join("server.pem"), &tls.join("server.key")).await
    }

    /// Starts a hub with another certificate than the hub's.
    pub(crate) async fn start_as(
        world: &World,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        certificate: &std::path::Path,
        key: &std::path::Path,
    ) -> Self {
        let log = Log::begin(world, now);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        world.point_profiles_at(&address).unwrap();
        let hub = Self { log: Arc::new(Mutex::new(log)), woken: Arc::new(Notify::new()), address };
        let acceptor = acceptor(world, certificate, key);
        let incoming = unfold((listener, acceptor), |(listener, acceptor)| async move {
            loop {
                let (stream, _) = listener.accept().await.ok()?;
                if let Ok(stream) = acceptor.accept(stream).await {
                    return Some((Ok::<_, std::io::Error>(Io(stream)), (listener, acceptor)));
                }
            }
        });
        let router = tonic::transport::Server::builder()
            .add_service(ExchangeServiceServer::new(hub.clone()).max_decoding_message_size(2 << 20))
            .add_service(CovenantServiceServer::new(hub.clone()))
            .add_service(AuditServiceServer::new(hub.clone()));
        tokio::spawn(router.serve_with_incoming(incoming));
        hub
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Begins to lie.
    pub(crate) fn lie(&self, lie: Lie) {
        self.log().lies.insert(lie, u64::MAX);
    }

    /// Lies so often.
    pub(crate) fn lie_times(&self, lie: Lie, times: u64) {
        self.log().lies.insert(lie, times);
    }

    /// Tells the truth again.
    pub(crate) fn repent(&self) {
        self.log().lies.clear();
        self.woken.notify_waiters();
    }

    /// Rewrites a record that clients may have seen the commitment of: another history from there on.
    pub(crate) fn rewrite(&self, index: usize) {
        let mut log = self.log();
        log.leaves[index].salt = [0x55; 32];
        log.leaves[index].commitment = commitment(&[0x55; 32], &log.leaves[index].record);
    }

    /// Forgets all records from an index on, as an older copy of the disk would.
    pub(crate) fn forget_from(&self, index: usize) {
        self.log().leaves.truncate(index);
    }

    /// Tells the sender that its signal went to a recipient's transport.
    pub(crate) fn hand_over(&self, item_digest: Digest, sender: Address, recipient: Address) {
        let mut log = self.log();
        let event = Event::ContentHandover(wire::ContentHandover {
            item_digest: item_digest.into(),
            recipient: Some(recipient.into()),
        });
        let record = log.record(wire::audience::Of::Address(sender.into()), Some(log.place(sender)), event);
        let leaf = Log::seal(&record);
        log.leaves.push(leaf);
        drop(log);
        self.woken.notify_waiters();
    }

    /// Consigns an item once more to an address.
    pub(crate) fn consign_again(&self, item_digest: Digest, to: Address) {
        let mut log = self.log();
        let event = Event::ContentConsignment(wire::ContentConsignment { item_digest: item_digest.into() });
        let record = log.record(wire::audience::Of::Address(to.into()), Some(log.place(to)), event);
        let leaf = Log::seal(&record);
        log.leaves.push(leaf);
    }
}
