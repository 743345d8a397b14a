//! The gateway put together: from a configuration to a hub that serves, and back to silence.
//!
//! In comes a [`Config`]; out comes a [`Running`] gateway, or everything that keeps it from starting. What it starts, it
//! also ends, in the opposite order: no new connections, the calls that run are answered, then the sequencer writes what
//! waits, then the store follows. Nothing here decides or answers anything.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{once, pending};
use prost::Message as _;
use seinpost_core::command::{Command, NewCovenant, NewCrl};
use seinpost_core::state::State;
use seinpost_protocol::DESCRIPTORS;
use seinpost_protocol::certificate::Crl;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tonic::service::Routes;
use tonic::transport::Server;
use tower::layer::util::{Identity as NoLayer, Stack};
use tracing::{error, info, warn};

use crate::accept::{self, Connection, Connections};
use crate::adopt::{self, Adopted, Covenants, Folders, Misfit};
use crate::applier::Applied;
use crate::authorize::{Authorize, CALL_TIME_MAX};
use crate::budget::Budget;
use crate::clock::Clock;
use crate::commit::{BlobKind, Durable};
use crate::config::{self, Config};
use crate::fault::Fault;
use crate::head::HeadFile;
use crate::health::{Intake, Watch, Writer};
use crate::journal::{BlobReader, FileJournal, Journal, Options as JournalOptions};
use crate::log::{Log, Replayed};
use crate::mailbox::Mailboxes;
use crate::metrics;
use crate::own::{self, Own};
use crate::recover::{Progress, recover};
use crate::rpc::{Crls, Desk, Pages, Seen, Signers, services};
use crate::sequencer::{self, Outcome, Parts, Sequencer};
use crate::store::{Reader, SledStore, Store};
use crate::tls::{Now, Tls, Trust};
use crate::tree::TreeMemory;

/// Software and version, as the record of a start names it.
pub const SOFTWARE: &str = concat!("seinpost-gateway ", env!("CARGO_PKG_VERSION"));

/// How often time is told to the core, which decides what has expired.
const TICK: Duration = Duration::from_secs(1);
/// Streams of one connection at one time; what is above is refused by HTTP/2 itself.
const STREAMS_MAX: u32 = 64;
/// Bytes of a request's headers: gRPC's own are some hundred.
const HEADERS_BYTES_MAX: u32 = 16 * 1024;
/// Streams that a peer may open and reset before they are taken up (CVE-2023-44487); one more ends the connection. It is
/// the library's own number, said here so that it stays.
const RESETS_UNTAKEN_MAX: usize = 20;
/// Streams that may be reset for the peer's own errors (CVE-2025-8671) before the connection ends.
const RESETS_MAX: usize = 256;
/// A peer that is gone is noticed within these two together.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

/// A gateway that does not run yet.
pub struct Gateway;

/// What a start may be told beside its configuration.
#[derive(Default)]
pub struct Options {
    /// The operator confirms the clock, whatever the last record's time is.
    pub confirm_clock: bool,
    /// Makes the clock from the time of the last record; `None`: the system's.
    pub clock: Option<Box<dyn FnOnce(Option<Timestamp>) -> Clock + Send>>,
}

impl Gateway {
    /// Starts a gateway: opens what is kept, adopts what the folders hold, and listens.
    pub async fn start(config: Config) -> Result<Running, NoStart> {
        Self::start_with(config, Options::default()).await
    }

    /// As [`Gateway::start`], with what is said beside the configuration.
    pub async fn start_with(config: Config, options: Options) -> Result<Running, NoStart> {
        metrics::begin();
        let own = Own::read(&config).map_err(NoStart::Config)?;
        let opened = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || open(&config)).await.map_err(broken)??
        };
        let clock = match options.clock {
            Some(clock) => clock(opened.time),
            None => Clock::system(opened.time),
        };
        let adopted = adopt(&config, &own.hub, &opened, clock.reading())?;
        let tls_until = own.check_against(&config, &adopted.covenants).map_err(NoStart::Config)?;

        let mailboxes = Mailboxes::default();
        let (reader, blobs, tree) = (opened.store.reader(), opened.journal.reader(), opened.tree);
        let parts = Parts {
            log: Log::new(own.signer.clone(), tree.clone(), &opened.replayed),
            state: opened.replayed.state,
            journal: Box::new(opened.journal),
            store: Box::new(opened.store),
            head: Some(opened.head),
            clock: clock.clone(),
            mailboxes: mailboxes.clone(),
        };
        let (sequencer, applied, writer) = sequencer::start(parts)?;
        let failed = Failed::watch(&writer);
        let start = Start {
            config,
            own,
            tls_until,
            adopted,
            clock,
            mailboxes,
            reader,
            blobs,
            tree,
            applied,
            sequencer,
            failed,
        };
        match start.run(options.confirm_clock).await {
            Ok(served) => Ok(Running { served, writer }),
            Err(cause) => {
                // The folder is free again when this returns.
                let _ = tokio::task::spawn_blocking(move || writer.stop()).await;
                Err(cause)
            }
        }
    }
}

/// Everything that keeps a gateway from starting.
#[derive(Debug, thiserror::Error)]
pub enum NoStart {
    /// Files that the configuration names cannot be used.
    #[error("{}", lines(.0))]
    Config(Vec<config::Fault>),
    /// Covenants or revocation lists do not fit together, or do not fit the log.
    #[error("{}", lines(.0))]
    Adoption(Vec<Misfit>),
    /// What is kept on disk cannot be used.
    #[error(transparent)]
    Data(#[from] Fault),
    /// It cannot listen.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The log does not take what must be recorded at a start.
    #[error("the log did not take {what}: {why}")]
    Unrecorded {
        /// What was to be recorded.
        what: String,
        /// What it answered.
        why: String,
    },
}

fn lines(faults: &[impl fmt::Display]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn broken(error: impl fmt::Display) -> NoStart {
    NoStart::Data(Fault::Broken(error.to_string()))
}

/// What was opened on disk, before anything runs.
struct Opened {
    head: HeadFile,
    journal: FileJournal,
    store: SledStore,
    replayed: Replayed,
    tree: TreeMemory,
    time: Option<Timestamp>,
}

/// Opens head file, journal and store, in this order, and replays what the log decided before.
fn open(config: &Config) -> Result<Opened, Fault> {
    let data = &config.data;
    fs::create_dir_all(data).map_err(Fault::disk("make", data))?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o700)).map_err(Fault::disk("protect", data))?;
    let head = HeadFile::open(data)?;
    let options = JournalOptions { origin: config.origin.clone(), segment_bytes: config.segment_bytes };
    let journal = FileJournal::open(data, options, head.latest())?.with_floor(config.disk_free_bytes);
    if let Some(torn) = journal.torn() {
        warn!(?torn, "the last write was torn off by a crash; nobody was told that it happened");
    }
    let mut store = SledStore::open(data)?;
    let mut replayed = Replayed::default();
    let mut absorb = |durable: &Durable, records: &[(u64, wire::Record)]| replayed.absorb(durable, records);
    let recovered = recover(&journal, &mut store, head.latest(), &mut absorb, &mut progress)?;
    info!(records = recovered.size, root = %recovered.root, rebuilt = recovered.rebuilt, "the log is whole");
    Ok(Opened { head, journal, store, replayed, tree: recovered.tree, time: recovered.time })
}

/// Tells how far start-up is: a long log takes minutes, and whoever waits wants to see it go on.
fn progress(Progress { read, size, rebuilding }: Progress) {
    if rebuilding {
        info!("building the store again from the journal: {read} of {size} records");
    } else {
        info!("checking the journal and the store: {read} of {size} records");
    }
}

/// Reads the folders of covenants and revocation lists, and holds them to the log.
fn adopt(config: &Config, hub: &HubFile, opened: &Opened, now: Timestamp) -> Result<Adopted, NoStart> {
    let state = &opened.replayed.state;
    let ruling = state.covenant_at(now).map_or(0, |ruling| ruling.serial);
    let recorded = state.covenants().filter(|adopted| adopted.serial >= ruling);
    let recorded =
        recorded.map(|adopted| recorded_covenant(opened, adopted.index)).collect::<Result<Vec<_>, NoStart>>()?;
    let folders = Folders { covenants: &config.covenants, crls: &config.crls };
    adopt::read(&folders, hub, state, &recorded, now).map_err(NoStart::Adoption)
}

/// Reads a covenant where the journal keeps it.
fn recorded_covenant(opened: &Opened, index: u64) -> Result<wire::SignedItem, NoStart> {
    let blobs = opened.store.reader().blobs_of(index)?;
    let position = blobs.iter().find(|(kind, _)| *kind == BlobKind::Covenant).map(|(_, position)| position);
    let position = position.ok_or_else(|| broken(format_args!("record {index} lacks its covenant")))?;
    wire::SignedItem::decode(opened.journal.reader().read(position)?).map_err(broken)
}

/// Checks all that can be checked without opening the log, for `check`: every fault of every file at once.
pub fn check(config: &Config, now: Timestamp) -> Result<(), Vec<NoStart>> {
    let mut faults = Vec::new();
    let own = Own::read(config).map_err(|bad| faults.push(NoStart::Config(bad))).ok();
    let hub = fs::read_to_string(&config.hub).ok().and_then(|text| HubFile::parse(&text).ok());
    let folders = Folders { covenants: &config.covenants, crls: &config.crls };
    match hub {
        Some(hub) => match adopt::read(&folders, &hub, &State::default(), &[], now) {
            Ok(adopted) => {
                if let Some(own) = &own
                    && let Err(bad) = own.check_against(config, &adopted.covenants)
                {
                    faults.push(NoStart::Config(bad));
                }
            }
            Err(misfits) => faults.push(NoStart::Adoption(misfits)),
        },
        // Without the hub file no succession can be judged; that the files are there and can be read still can.
        None => match adopt::look(&folders) {
            misfits if misfits.is_empty() => {}
            misfits => faults.push(NoStart::Adoption(misfits)),
        },
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Everything at hand, the sequencer running, the door still shut.
struct Start {
    config: Config,
    own: Own,
    /// When the hub's transport certificate ends.
    tls_until: Timestamp,
    adopted: Adopted,
    clock: Clock,
    mailboxes: Mailboxes,
    reader: Arc<dyn Reader>,
    blobs: BlobReader,
    tree: TreeMemory,
    applied: Applied,
    sequencer: Sequencer,
    failed: Failed,
}

impl Start {
    /// Records what is new, and opens the door.
    async fn run(self, confirm_clock: bool) -> Result<Served, NoStart> {
        self.record(confirm_clock).await?;
        let Self { config, own, tls_until, adopted, clock, mailboxes, reader, blobs, tree, applied, sequencer, failed } =
            self;
        let now: Now = {
            let clock = clock.clone();
            Arc::new(move || clock.reading())
        };
        let left = tls_until.since(now());
        if left < Duration::from_secs(30 * 86_400) {
            warn!(until = %tls_until, "ALARM: the hub's transport certificate ends soon, or has ended");
        }
        let covenants = Covenants::new(adopted.covenants);
        let crls: Vec<Bytes> = adopted.crls.iter().map(|crl| crl.der().clone()).collect();
        let trust = Trust::new(&covenants.ruling(now()), &crls, now.clone()).map_err(broken)?;
        let tls = Tls::new(config.tls_profile, &own.identity, trust)
            .map_err(|bad| NoStart::Config(vec![own::fault("tls.key", &config.tls_key, bad)]))?;

        let seen = Seen::new(&config.data);
        let forked = seen.has_evidence();
        if forked {
            error!(
                "ALARM: evidence of a second history lies in the data folder; intake stays closed until it is moved away"
            );
        }
        let intake = Intake::new(Crls::new(adopted.crls.clone()), forked);
        let desk = Arc::new(Desk {
            origin: config.origin.clone(),
            clock: clock.clone(),
            covenants: covenants.clone(),
            intake: intake.clone(),
            sequencer: sequencer.clone(),
            signer: own.signer,
            applied,
            reader,
            blobs,
            tree,
            mailboxes,
            signers: Signers::default(),
            seen,
            pages: Pages::new(),
        });
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut routes = services(&desk).add_service(health);
        if config.reflection {
            let reflection = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .build_v1()
                .map_err(broken)?;
            routes = routes.add_service(reflection);
            info!("the services describe themselves to every peer (gRPC reflection)");
        }
        let budget = Budget::new(config.memory_bytes, config.memory_per_agency_bytes);
        let server = server(Authorize::new(covenants.clone(), budget, now.clone()));

        let listener = listen(config.listen).await?;
        let address = listener.local_addr().map_err(|error| NoStart::Listen(config.listen, error))?;
        let metrics_listener = match config.metrics {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let metrics_address = metrics_listener.as_ref().and_then(|listener| listener.local_addr().ok());

        let (stop, stopped) = watch::channel(false);
        let connections = Connections::default();
        let mut tasks = JoinSet::new();
        let watching = Watch {
            now,
            intake,
            covenants,
            crls: adopted.crls,
            crl_grace: config.crl_grace,
            tls: tls.clone(),
            connections: connections.clone(),
            data: config.data.clone(),
            disk_free_bytes: config.disk_free_bytes,
            writer: Box::new(move || {
                if failed.has() {
                    Writer::Stopped
                } else if clock.doubt().is_some() {
                    Writer::DoubtsClock
                } else {
                    Writer::Well
                }
            }),
            reporter,
        };
        tasks.spawn(watching.run(stopped.clone()));
        let (told, ticks) = watch::channel(0);
        tasks.spawn(tick(sequencer, told, stopped.clone()));
        if let Some(listener) = metrics_listener {
            tasks.spawn(metrics::serve(listener, stopped.clone()));
        }
        let serve = move |connection, finish| serve_connection(server.clone(), routes.clone(), connection, finish);
        let door = tokio::spawn(accept::accept(listener, tls, config.connections, connections, stopped, serve));
        info!(%address, metrics = metrics_address.map(tracing::field::display), origin = config.origin, "serving");
        Ok(Served { address, metrics_address, ticks, stop, door, tasks })
    }

    /// Records the covenants and lists that are new, and that the gateway began.
    async fn record(&self, confirm_clock: bool) -> Result<(), NoStart> {
        if confirm_clock && self.clock.doubt().is_some() {
            self.one(Command::ConfirmClock, Vec::new(), "the confirmation of the clock").await?;
        }
        if let Some(doubt) = self.clock.doubt() {
            // Reading goes on. What is new is adopted by the start that confirms the clock.
            warn!(%doubt, "ALARM: nothing is recorded; start with --confirm-clock once the clock is right");
            return Ok(());
        }
        for covenant in &self.adopted.new_covenants {
            let command = Command::AdoptCovenant(NewCovenant {
                serial: covenant.serial(),
                digest: covenant.digest(),
                valid_from: covenant.valid_from(),
                valid_until: covenant.valid_until(),
            });
            let blob = (BlobKind::Covenant, covenant.item().encode_to_vec().into());
            self.one(command, vec![blob], &format!("covenant {}", covenant.serial())).await?;
            info!(serial = covenant.serial(), digest = %covenant.digest(), "a covenant was adopted");
        }
        for crl in &self.adopted.new_crls {
            let blob = (BlobKind::Crl, crl.der().clone());
            self.one(adopt_crl(crl), vec![blob], "a revocation list").await?;
            info!(issuer = %crl.issuer_sha256(), next = %crl.next_update(), "a revocation list was adopted");
        }
        self.one(Command::Start { software: SOFTWARE.to_owned() }, Vec::new(), "its start").await
    }

    async fn one(&self, command: Command, blobs: Vec<(BlobKind, Bytes)>, what: &str) -> Result<(), NoStart> {
        match self.sequencer.submit(command, blobs).await {
            Outcome::Recorded { .. } | Outcome::Already { .. } | Outcome::Nothing => Ok(()),
            Outcome::Refused(refusal) => Err(NoStart::Unrecorded { what: what.to_owned(), why: refusal.to_string() }),
            other => Err(NoStart::Unrecorded { what: what.to_owned(), why: format!("{other:?}") }),
        }
    }
}

fn adopt_crl(crl: &Crl) -> Command {
    Command::AdoptCrl(NewCrl {
        issuer: crl.issuer_sha256(),
        number: crl.number().clone(),
        this_update: crl.this_update(),
        next_update: crl.next_update(),
        sha256: crl.sha256(),
    })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, NoStart> {
    TcpListener::bind(address).await.map_err(|error| NoStart::Listen(address, error))
}

/// Whether the one writer ended by a fault.
struct Failed(Arc<AtomicBool>);

impl Failed {
    fn watch(writer: &sequencer::Running) -> Self {
        let has = Arc::new(AtomicBool::new(false));
        let (ended, flag) = (writer.failed(), has.clone());
        // Ends with the writer, which every start waits for.
        tokio::spawn(async move {
            ended.await;
            flag.store(true, Ordering::Release);
        });
        Self(has)
    }

    fn has(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Tells the core the time, so that it decides what has expired, and counts in `told` how often it has.
async fn tick(sequencer: Sequencer, told: watch::Sender<u64>, mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(TICK);
    // After a pause one tick is enough: what counts is what time it is.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        // Whatever came of it, the next tick asks again.
        let _ = sequencer.submit(Command::Tick, Vec::new()).await;
        told.send_modify(|times| *times += 1);
        ::metrics::counter!("seinpost_ticks_total").increment(1);
    }
}

type Door = Server<Stack<Authorize, NoLayer>>;

/// Sets what HTTP/2 may do.
fn server(authorize: Authorize) -> Door {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .concurrency_limit_per_connection(STREAMS_MAX as usize)
        .load_shed(true)
        // Calls have their own deadline, which says why; this one is for what never reaches it, and honours grpc-timeout.
        .timeout(CALL_TIME_MAX + Duration::from_secs(1))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_UNTAKEN_MAX))
        .http2_max_local_error_reset_streams(Some(RESETS_MAX))
        .layer(authorize)
}

/// Serves one connection; when `finish` resolves it takes no new call and ends with the last.
async fn serve_connection(mut server: Door, routes: Routes, connection: Connection, finish: oneshot::Receiver<()>) {
    // One connection a server: its age, its grace and its end are this gateway's to say, which tonic's own
    // `max_connection_age` with a grace does not (it cuts without asking the peer to leave).
    let incoming = once(std::future::ready(Ok::<_, std::io::Error>(connection))).chain(pending());
    let finish = async {
        // A sender that is gone says the same.
        let _ = finish.await;
    };
    let served = server.add_routes(routes).serve_with_incoming_shutdown(incoming, finish).await;
    if let Err(cause) = served {
        info!(%cause, "a connection ended badly");
    }
}

/// What serves, and how it is told to end.
struct Served {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    /// How often the core was told the time.
    ticks: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    door: tokio::task::JoinHandle<()>,
    tasks: JoinSet<()>,
}

/// A gateway that serves.
pub struct Running {
    served: Served,
    writer: sequencer::Running,
}

impl Running {
    /// Returns where agencies connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.served.address
    }

    /// Returns where metrics are read, if anywhere.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.served.metrics_address
    }

    /// Resolves when the core has been told the time so many times more: whatever was to expire by then has expired.
    pub async fn ticked(&self, times: u64) {
        let mut ticks = self.served.ticks.clone();
        let begun = *ticks.borrow();
        // The task that counts lives as long as this does.
        let _ = ticks.wait_for(|told| *told >= begun + times).await;
    }

    /// Resolves when the gateway can no longer write; then it must be stopped, and the restart finds out what was kept.
    pub async fn failed(&self) {
        self.writer.failed().await;
    }

    /// Stops: no new connection, calls are answered within the drain time, what waits is written, the folder is free.
    pub async fn shutdown(self) {
        if let Err(cause) = self.stop().await {
            error!(%cause, "the gateway did not end as it should; the next start finds out what was kept");
        }
    }

    /// As [`Running::shutdown`], and says how the writing ended.
    pub async fn stop(self) -> Result<(), Fault> {
        let Self { served: Served { stop, door, mut tasks, .. }, writer } = self;
        let _ = stop.send(true);
        if let Err(panicked) = door.await {
            error!(%panicked, "the door did not end as it should");
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(panicked) = ended {
                error!(%panicked, "a task did not end as it should");
            }
        }
        match tokio::task::spawn_blocking(move || writer.stop()).await {
            Ok(stopped) => stopped,
            Err(panicked) => Err(Fault::Broken(panicked.to_string())),
        }
    }
}
