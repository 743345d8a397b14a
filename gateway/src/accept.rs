//! From a socket to a connection whose peer is known, within stated bounds of time and number.
//!
//! In come TCP connections from anybody; out go [`Connection`]s, each served by one task until it ends. What a
//! stranger can cost is bounded here: handshakes in number and time, the wait for the first bytes after one, and
//! connections in number and age. When there are too many handshakes, the slowest one makes room: whoever dawdles is
//! dropped and whoever comes is served, so a flood of silent sockets does not shut out an agency.
//!
//! The loop ends only when the gateway stops; no error of `accept` ends it. It never reads a request.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tonic::transport::server::Connected;
use tracing::{debug, info, warn};

use crate::descriptors::{self, Descriptors};
use crate::identity::Peer;
use crate::tls::{Tls, TlsStream};

/// Bounds on what connections may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a TLS handshake may take: an honest one needs two round trips and 1 ms of arithmetic.
    pub handshake: Duration,
    /// How long the HTTP/2 preface may take after it. hyper knows no bound here (hyperium/hyper#4172).
    pub preface: Duration,
    /// Handshakes at one time; each holds a socket and about 40 KiB.
    pub handshakes_max: usize,
    /// Handshakes at one time from one source: a town hall behind one address starts fewer at once.
    pub handshakes_per_source_max: usize,
    /// Connections at one time; each holds a descriptor and about 100 KiB.
    pub connections_max: usize,
    /// Connections of one organisation at one time, so that one agency's fault does not take all.
    pub connections_per_peer_max: usize,
    /// After what age a connection is asked to end, ±10 %, so that what was decided in its handshake is decided anew.
    pub age: Duration,
    /// How long such a connection may still finish what it began.
    pub age_grace: Duration,
    /// How long connections may finish what they began when the gateway stops (hyperium/hyper#4170 has no bound).
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            preface: Duration::from_secs(5),
            handshakes_max: 256,
            handshakes_per_source_max: 32,
            connections_max: 4096,
            connections_per_peer_max: 64,
            age: Duration::from_secs(3600),
            age_grace: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

/// How long the loop rests after `accept` failed: out of descriptors is a state that passes, not a reason to spin.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Bytes of the HTTP/2 connection preface; before all of them have come, nothing else watches a silent peer.
const PREFACE_BYTES: usize = 24;

/// Accepts until `stop` turns true, serves each connection by `serve`, and returns when all have ended.
///
/// `serve` gets the connection and a future; when that resolves, it shall take no new request and finish the rest.
pub async fn accept<S, F>(
    listener: TcpListener,
    tls: Tls,
    limits: Limits,
    connections: Connections,
    mut stop: watch::Receiver<bool>,
    serve: S,
) where
    S: Fn(Connection, oneshot::Receiver<()>) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let descriptors = Descriptors::take_all();
    if !descriptors.suffice_for(limits.connections_max + limits.handshakes_max) {
        warn!(?descriptors, "the system gives fewer descriptors than the connections that are configured");
    }
    let handshakes = Handshakes::default();
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (socket, source) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                metrics::counter!("seinpost_accept_errors_total").increment(1);
                if descriptors::ran_out(&error) {
                    handshakes.make_room();
                }
                sleep(ACCEPT_REST).await;
                continue;
            }
        };
        // The last descriptors are the disk's.
        let short = descriptors.short_by(&socket);
        let evicted = (0..short).take_while(|_| handshakes.make_room()).count();
        if short > 0 && evicted == 0 {
            // Nobody can make room, so whoever came must come again.
            warn!(%source, "a connection was closed: descriptors are short");
            metrics::counter!("seinpost_connections_refused_total").increment(1);
            continue;
        }
        // The next one is taken when theirs have been given back; one that was just done shaking hands keeps its own.
        for _ in 0..evicted {
            let _ = timeout(ACCEPT_REST, tasks.join_next()).await;
        }
        let (place, evicted) = handshakes.begin(source, &limits);
        let (tls, limits, connections) = (tls.clone(), limits.clone(), connections.clone());
        let (stop, serve) = (stop.clone(), serve.clone());
        tasks.spawn(async move {
            let Some((stream, peer)) = shake_hands(&tls, socket, source, &limits, evicted, stop.clone()).await else {
                return;
            };
            drop(place);
            live(stream, peer, limits, connections, stop, serve).await;
        });
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Lets one handshake happen, unless it takes too long or must make room.
async fn shake_hands(
    tls: &Tls,
    socket: TcpStream,
    source: SocketAddr,
    limits: &Limits,
    evicted: oneshot::Receiver<()>,
    mut stop: watch::Receiver<bool>,
) -> Option<(TlsStream, Peer)> {
    // Answers are small and awaited; a failure here costs speed only.
    let _ = socket.set_nodelay(true);
    tokio::select! {
        shaken = timeout(limits.handshake, tls.handshake(socket)) => match shaken {
            Ok(Ok(shaken)) => Some(shaken),
            Ok(Err(cause)) => {
                info!(%source, %cause, "a handshake failed");
                metrics::counter!("seinpost_handshakes_failed_total").increment(1);
                None
            }
            Err(_) => {
                info!(%source, "a handshake took too long");
                metrics::counter!("seinpost_handshakes_failed_total").increment(1);
                None
            }
        },
        _ = evicted => {
            info!(%source, "a handshake made room for newer ones");
            metrics::counter!("seinpost_handshakes_evicted_total").increment(1);
            None
        }
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

/// Serves one connection until it ends, is too old, or the gateway stops.
async fn live<S, F>(
    stream: TlsStream,
    peer: Peer,
    limits: Limits,
    connections: Connections,
    mut stop: watch::Receiver<bool>,
    serve: S,
) where
    S: Fn(Connection, oneshot::Receiver<()>) -> F,
    F: Future<Output = ()>,
{
    let Some(seat) = connections.enter(&peer, &limits) else {
        warn!(agency = %peer.oin, "a connection was closed: the agency, or all together, have too many");
        metrics::counter!("seinpost_connections_refused_total").increment(1);
        return;
    };
    let age = spread(limits.age, seat.id);
    let kill = seat.kill.clone();
    let (leave, leaving) = watch::channel(false);
    let (closed, mut is_closed) = oneshot::channel::<()>();
    let connection = Connection {
        stream,
        info: ConnectInfo { peer, leaving: Leaving(leaving) },
        preface: Some((Box::pin(sleep(limits.preface)), PREFACE_BYTES)),
        kill: kill.clone(),
        _closed: closed,
        _seat: seat,
    };
    let (finish, finishing) = oneshot::channel();
    let mut serving = std::pin::pin!(serve(connection, finishing));
    let grace = tokio::select! {
        () = &mut serving => return,
        _ = &mut is_closed => limits.age_grace,
        () = sleep(age) => limits.age_grace,
        _ = stop.wait_for(|stop| *stop) => limits.drain,
    };
    // Streams end by themselves on the first, hyper takes no new ones on the second.
    let _ = leave.send(true);
    let _ = finish.send(());
    if timeout(grace, &mut serving).await.is_err() {
        debug!("a connection did not end in time and was cut");
        kill.now();
        serving.await;
    }
}

/// Spreads a duration by up to ±10 %, by a connection's number, so that not all reconnect in one second.
fn spread(duration: Duration, number: u64) -> Duration {
    // Multiplying by 2^64/φ and keeping the top bits spreads consecutive numbers evenly.
    let tenth = u32::try_from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54).unwrap_or(0);
    duration.mul_f64(0.9 + f64::from(tenth) / 1024.0 * 0.2)
}

/// The handshakes that are under way.
#[derive(Clone, Default)]
struct Handshakes(Arc<Mutex<HandshakeTable>>);

#[derive(Default)]
struct HandshakeTable {
    next: u64,
    /// By age: the lowest number began first.
    running: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
}

/// One handshake's place in the table; left when dropped.
struct Place(Handshakes, u64);

impl Handshakes {
    /// Enters a handshake, making room for it if need be: its own source's slowest first, else the slowest of the
    /// source that has most.
    fn begin(&self, source: SocketAddr, limits: &Limits) -> (Place, oneshot::Receiver<()>) {
        let source = network(source.ip());
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.of(source) >= limits.handshakes_per_source_max {
            table.evict_slowest_of(source);
        } else if table.running.len() >= limits.handshakes_max {
            table.evict_from_most_crowded();
        }
        let (evict, evicted) = oneshot::channel();
        let number = table.next;
        table.next += 1;
        table.running.insert(number, (source, evict));
        (Place(self.clone(), number), evicted)
    }

    /// Ends the slowest handshake of the source that has most; says whether there was one.
    fn make_room(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).evict_from_most_crowded()
    }
}

/// At most 256 entries, so that counting them costs less than the accept call did.
impl HandshakeTable {
    fn of(&self, source: IpAddr) -> usize {
        self.running.values().filter(|(other, _)| *other == source).count()
    }

    fn evict_from_most_crowded(&mut self) -> bool {
        let crowded = self.running.values().map(|(other, _)| *other).max_by_key(|other| self.of(*other));
        crowded.is_some_and(|crowded| self.evict_slowest_of(crowded))
    }

    fn evict_slowest_of(&mut self, source: IpAddr) -> bool {
        let slowest = self.running.iter().find(|(_, (other, _))| *other == source).map(|(number, _)| *number);
        let evicted = slowest.and_then(|slowest| self.running.remove(&slowest));
        evicted.is_some_and(|(_, evict)| evict.send(()).is_ok())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).running.remove(&self.1);
    }
}

/// Returns what counts as one source: an IPv4 address, or the /64 that a single IPv6 subscriber has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
    }
}

/// The open connections, so that they can be counted and cut.
#[derive(Clone, Default)]
pub struct Connections(Arc<ConnectionTable>);

#[derive(Default)]
struct ConnectionTable {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, (Peer, Kill)>>,
}

/// One connection's seat in the table; left when the connection is dropped.
struct Seat {
    table: Arc<ConnectionTable>,
    id: u64,
    kill: Kill,
}

impl Connections {
    fn enter(&self, peer: &Peer, limits: &Limits) -> Option<Seat> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.values().filter(|(other, _)| other.oin == peer.oin).count();
        if open.len() >= limits.connections_max || own >= limits.connections_per_peer_max {
            return None;
        }
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let kill = Kill::default();
        open.insert(id, (peer.clone(), kill.clone()));
        metrics::gauge!("seinpost_connections").increment(1);
        Some(Seat { table: self.0.clone(), id, kill })
    }

    /// Cuts every connection of a peer that is `unwanted`: no request on it is answered any more.
    pub fn cut(&self, unwanted: impl Fn(&Peer) -> bool) {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter(|(peer, _)| unwanted(peer)).for_each(|(_, kill)| kill.now());
    }

    /// Returns how many connections are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        metrics::gauge!("seinpost_connections").decrement(1);
    }
}

/// Cuts one connection, whatever it waits for.
#[derive(Clone, Default)]
struct Kill(Arc<(AtomicBool, AtomicWaker)>);

impl Kill {
    fn now(&self) {
        self.0.0.store(true, Ordering::Release);
        self.0.1.wake();
    }

    /// Returns an error once cut; else remembers whom to wake.
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        self.0.1.register(context.waker());
        if self.0.0.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// A connection as the HTTP server reads and writes it.
pub struct Connection {
    stream: TlsStream,
    info: ConnectInfo,
    /// Until the preface has come: its deadline, and the bytes still missing.
    preface: Option<(Pin<Box<Sleep>>, usize)>,
    kill: Kill,
    /// Dropped with the connection, which tells its task.
    _closed: oneshot::Sender<()>,
    _seat: Seat,
}

/// What each request of a connection carries about it.
#[derive(Debug, Clone)]
pub struct ConnectInfo {
    /// Who is at the other end.
    pub peer: Peer,
    /// Tells long streams when the connection is asked to end.
    pub leaving: Leaving,
}

/// Tells that a connection is asked to end, by its age or because the gateway stops.
#[derive(Debug, Clone)]
pub struct Leaving(watch::Receiver<bool>);

impl Leaving {
    /// Resolves when the connection is asked to end.
    pub async fn wait(&mut self) {
        // An error means that the connection's task is gone, which is the same news.
        let _ = self.0.wait_for(|leaving| *leaving).await;
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.kill.check(context)?;
        if let Some((deadline, _)) = &mut this.preface
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if let Some((_, missing)) = &mut this.preface {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                this.preface = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.kill.check(context)?;
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.kill.check(context)?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.kill.check(context)?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.kill.check(context)?;
        Pin::new(&mut this.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 1))
    }

    #[test]
    fn a_sources_own_slowest_handshake_makes_room_when_it_has_too_many() {
        let limits = Limits { handshakes_per_source_max: 2, ..Limits::default() };
        let handshakes = Handshakes::default();
        let (_other, mut other) = handshakes.begin(source(9), &limits);
        let (_first, mut first) = handshakes.begin(source(1), &limits);
        let (_second, mut second) = handshakes.begin(source(1), &limits);
        let (_third, mut third) = handshakes.begin(source(1), &limits);
        assert!(first.try_recv().is_ok(), "the first of the crowded source goes");
        assert!(second.try_recv().is_err() && third.try_recv().is_err() && other.try_recv().is_err());
    }

    #[test]
    fn when_all_places_are_taken_the_source_that_has_most_makes_room() {
        let limits = Limits { handshakes_max: 3, ..Limits::default() };
        let handshakes = Handshakes::default();
        let (_a, mut single) = handshakes.begin(source(1), &limits);
        let (_b, mut first_of_two) = handshakes.begin(source(2), &limits);
        let (_c, mut second_of_two) = handshakes.begin(source(2), &limits);
        let (_d, _new) = handshakes.begin(source(3), &limits);
        assert!(first_of_two.try_recv().is_ok());
        assert!(single.try_recv().is_err() && second_of_two.try_recv().is_err());
    }

    #[test]
    fn room_is_made_by_one_handshake_at_a_time_and_by_none_if_there_is_none() {
        let handshakes = Handshakes::default();
        let (_a, mut single) = handshakes.begin(source(1), &Limits::default());
        let (_b, mut first_of_two) = handshakes.begin(source(2), &Limits::default());
        let (_c, mut second_of_two) = handshakes.begin(source(2), &Limits::default());
        assert!(handshakes.make_room());
        assert!(first_of_two.try_recv().is_ok());
        assert!(single.try_recv().is_err() && second_of_two.try_recv().is_err());
        assert!(handshakes.make_room() && handshakes.make_room());
        assert!(!handshakes.make_room());
    }

    #[test]
    fn a_finished_handshake_leaves_its_place() {
        let handshakes = Handshakes::default();
        let (place, _evicted) = handshakes.begin(source(1), &Limits::default());
        drop(place);
        assert!(handshakes.0.lock().expect("not poisoned").running.is_empty());
    }

    #[test]
    fn one_ipv6_subscriber_is_one_source() {
        let first = network("2001:db8:1:2::1".parse().expect("an address"));
        assert_eq!(first, network("2001:db8:1:2:ffff::9".parse().expect("an address")));
        assert_ne!(first, network("2001:db8:1:3::1".parse().expect("an address")));
        assert_eq!(network("::ffff:192.0.2.1".parse().expect("an address")), source(1).ip());
    }

    #[test]
    fn ages_are_spread_within_a_tenth() {
        let hour = Duration::from_secs(3600);
        for number in 0..1000 {
            let age = spread(hour, number);
            assert!(age >= hour.mul_f64(0.9) && age <= hour.mul_f64(1.1), "{age:?}");
        }
        assert_ne!(spread(hour, 1), spread(hour, 2));
    }
}
