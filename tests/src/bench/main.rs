//! `seinpost-bench`: what mutual trust costs, as ratios measured side by side in one run.
//!
//! Three servers run in processes of their own: the gateway, a bare echo over the same mutual TLS and the same stubs
//! that carries as many bytes each way, and the floor: that echo with one signature verified, one hash and a shared
//! `fdatasync` before each answer. This process is the client. Items are sealed and signed before the clock starts,
//! each id is used once, and every receipt is verified after its slice. The servers take turns in slices of at most a
//! second, so that whatever else the machine does falls on all of them; a ratio is the median over the rounds of the
//! gateway's rate over the echo's in the same round. Absolute rates are printed for orientation alone.

mod cpu;
mod echo;
mod load;
mod server;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand, ValueEnum};
use prost::Message as _;
use seinpost_certs::world::{Options, World};
use seinpost_client::client::Client;
use seinpost_client::content::{self, Check, draft};
use seinpost_client::profile::Profile;
use seinpost_client::send::{Outgoing, Plan};
use seinpost_protocol::checkpoint::Pin;
use seinpost_protocol::receipt;
use seinpost_protocol::signature::PublicKey;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use tonic::transport::Channel;

use self::load::{Mode, STREAMS_PER_CONNECTION, Slice};

/// Whatever keeps the benchmark from running; it is told and ends the run.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures the gateway against a bare echo over the same mutual TLS.
#[derive(Parser)]
#[command(name = "seinpost-bench", version, after_help = "Example:\n  cargo run --release --bin seinpost-bench -- --output json")]
struct Arguments {
    #[command(subcommand)]
    server: Option<Server>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Rounds of each mode; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Length of a slice in milliseconds.
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u64).range(50..=1000))]
    slice: u64,
    /// Only this mode, such as unary_64 or stream.
    #[arg(long)]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// The processes that this program starts of itself.
#[derive(Subcommand)]
enum Server {
    /// The gateway on a development world.
    #[command(hide = true)]
    Gateway { world: PathBuf },
    /// The echo, or the floor.
    #[command(hide = true)]
    Echo {
        world: PathBuf,
        #[arg(long)]
        answer_bytes: usize,
        /// Public key of the one signer, SubjectPublicKeyInfo in hexadecimal: makes it the floor.
        #[arg(long)]
        floor: Option<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::from(70);
        }
    };
    let done = match &arguments.server {
        None => runtime.block_on(measure(&arguments)),
        Some(server) => runtime.block_on(serve(server)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the benchmark could not be finished\n  {error}");
            ExitCode::from(70)
        }
    }
}

async fn serve(server: &Server) -> Result<(), Failure> {
    // The parent reads one line: the address.
    let ready = |address: std::net::SocketAddr| {
        println!("{address}");
        let _ = std::io::stdout().flush();
    };
    match server {
        Server::Gateway { world } => {
            let world = World::load(world)?;
            let config = seinpost_gateway::config::Sources::read(&world.gateway_config())
                .and_then(|sources| sources.config())
                .map_err(|faults| faults.iter().map(|fault| fault.text.clone()).collect::<Vec<_>>().join("; "))?;
            let running = seinpost_gateway::serve::Gateway::start(config).await?;
            ready(running.address());
            wait_for_parent().await;
            running.shutdown().await;
            Ok(())
        }
        Server::Echo { world, answer_bytes, floor } => {
            let world = World::load(world)?;
            let echo = match floor {
                None => echo::Echo::bare(*answer_bytes),
                Some(spki) => {
                    let key = PublicKey::from_spki(&hex::decode(spki)?, false).map_err(|bad| bad.to_string())?;
                    echo::Echo::floor(*answer_bytes, key, world.folder())?
                }
            };
            let root = world.transport().root.certificate().to_vec();
            let tls = world.hub_folder().join("tls");
            tokio::select! {
                served = server::serve(echo, &tls, root, ready) => served,
                () = wait_for_parent() => Ok(()),
            }
        }
    }
}

/// Waits until standard input is closed, as it is when the parent ends, however it ends.
async fn wait_for_parent() {
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().for_each(drop)).await;
}

/// A server in a process of its own; it ends when this is dropped.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it was piped")).read_line(&mut line)?;
        if line.trim().is_empty() {
            return Err(format!("the server {} did not start", arguments[0]).into());
        }
        Ok(Self { child, address: line.trim().to_owned() })
    }

    fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("world");
    let now = Timestamp::clamped(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?);
    let options = Options {
        listen: "127.0.0.1:0".into(),
        metrics: String::new(),
        origin: "seinpost.test/bench".into(),
        now,
    };
    eprintln!("making a world ...");
    let world = World::make(&path, &options)?;
    let text = path.display().to_string();
    let gateway = Running::start(&["gateway", &text])?;
    world.point_profiles_at(&gateway.address)?;
    let sender = Sender::new(&world).await?;

    // One submission tells how large an answer is, and warms nothing that a slice would not.
    let first = sender.items(1)?;
    let sample = load::run(Mode::Unary(1), &sender.channels(1)?, first, Duration::from_secs(1), gateway.id()).await?;
    let answer_bytes = sample.answers.first().ok_or("the gateway answered nothing")?.1.encoded_len().to_string();
    let spki = hex::encode(sender.client.identity().certificate().key().spki_der());
    let echo = Running::start(&["echo", &text, "--answer-bytes", &answer_bytes])?;
    let floor = Running::start(&["echo", &text, "--answer-bytes", &answer_bytes, "--floor", &spki])?;

    let mut figures = Figures::default();
    let modes = [Mode::Unary(1), Mode::Unary(64), Mode::Unary(512), Mode::Stream];
    for mode in modes.into_iter().filter(|mode| arguments.only.as_ref().is_none_or(|only| *only == mode.name())) {
        let connections = match mode {
            Mode::Unary(in_flight) => in_flight.div_ceil(STREAMS_PER_CONNECTION),
            Mode::Stream => 1,
        };
        let with_floor = mode == Mode::Unary(64);
        // What one slice will need, learned from the slices before; a slice that runs out is run again with more.
        let mut expected = 2_000;
        for round in 0..=arguments.rounds {
            for (name, running) in [("gateway", &gateway), ("echo", &echo), ("floor", &floor)] {
                if name == "floor" && !with_floor {
                    continue;
                }
                let channels = if name == "gateway" { sender.channels(connections)? } else { sender.channels_to(&running.address, connections)? };
                let slice = loop {
                    let items = sender.items(expected)?;
                    let length = Duration::from_millis(arguments.slice);
                    let slice = load::run(mode, &channels, Arc::clone(&items), length, running.id()).await?;
                    if name == "gateway" {
                        sender.verify(&items, &slice)?;
                    }
                    if !slice.exhausted {
                        break slice;
                    }
                    expected *= 2;
                };
                expected = expected.max(slice.operations as usize * 3 / 2 + 600);
                // The first round warms connections, caches and the processor's clock, and is not counted.
                if round > 0 {
                    figures.note(mode, name, &slice);
                }
            }
            eprint!("\r{} round {round} of {}   ", mode.name(), arguments.rounds);
        }
        eprintln!();
    }
    figures.print(arguments);
    Ok(())
}

/// The one agency that sends, and what it sends.
struct Sender {
    client: Client,
    plan: Plan,
    content: bytes::Bytes,
    profile: Profile,
    pin: Pin,
}

impl Sender {
    async fn new(world: &World) -> Result<Self, Failure> {
        for recipient in ["safe-home-amsterdam", "police-amsterdam"] {
            let client = Client::open(Profile::load(&world.profile(recipient))?)?;
            client.refresh_covenant().await?;
            client.publish_certificate().await?;
            client.publish_key(seinpost_client::keys::Windows::default()).await?;
        }
        let profile = Profile::load(&world.profile("police-amsterdam"))?;
        let client = Client::open(Profile::load(&world.profile("police-amsterdam"))?)?;
        let covenant = client.refresh_covenant().await?;
        let codes = |list: &str, code: &str| covenant.code(list, code).is_some();
        let template = content::template(wire::SignalType::ExploitationSignal).ok_or("no template")?;
        let draft = draft::parse(template, &codes, draft::Writer { bsn_allowed: true })
            .map_err(|faults| format!("the template is not right: {}", faults[0]))?;
        let plan = client.plan(&Outgoing::from(&draft)).await?;
        let checkpoint = client.checkpoint().await?;
        let content = content::encode(&draft.content);
    }

    /// Seals and signs so many new items, on all cores.
    fn items(&self, count: usize) -> Result<Arc<Vec<wire::SubmitRequest>>, Failure> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Handle::current();
        let parts: Vec<Result<Vec<_>, Failure>> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|thread| {
                    let runtime = runtime.clone();
                    let share = count / threads + usize::from(thread < count % threads);
                    scope.spawn(move || {
                        (0..share)
                            .map(|_| {
                                let sealed = runtime.block_on(self.client.seal(&self.plan, &self.content, &Check::default()))?;
                                Ok(wire::SubmitRequest { seen_size: self.pin.size, ..sealed.request })
                            })
                            .collect()
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().expect("sealing does not panic")).collect()
        });
        let mut items = Vec::with_capacity(count);
        for part in parts {
            items.extend(part?);
        }
        Ok(Arc::new(items))
    }

    fn channels(&self, count: usize) -> Result<Vec<Channel>, Failure> {
        self.channels_to(&self.profile.gateway, count)
    }

    /// Opens so many connections of their own.
    fn channels_to(&self, address: &str, count: usize) -> Result<Vec<Channel>, Failure> {
        (0..count)
            .map(|_| {
                let mut profile = Profile::load(&self.profile.path)?;
                profile.gateway = address.to_owned();
                Ok(Client::open(profile)?.channel())
            })
            .collect()
    }

    /// Verifies every receipt of a slice: commitment, inclusion, signature of the log, and the link to the pin.
    fn verify(&self, items: &[wire::SubmitRequest], slice: &Slice) -> Result<(), Failure> {
        let keys = self.plan.covenant.live_log_keys();
        let mut indexes = Vec::with_capacity(slice.answers.len());
        for (place, answer) in &slice.answers {
            let receipt = answer.receipt.as_ref().ok_or("an answer without a receipt")?;
            let verified = receipt::verify(receipt, &self.profile.hub.origin, &keys, &self.pin, &answer.consistency)
                .map_err(|bad| format!("a receipt does not hold: {bad}"))?;
            let sent = items[*place].item.as_ref().expect("every request has an item");
            let digest = seinpost_protocol::item::digest_of(&sent.payload_type, &sent.payload);
            let record = verified.record.as_ref().ok_or("a receipt without its record")?;
            let about = record.event.as_ref().and_then(receipt::item_digest_of).ok_or("a receipt of another event")?;
            if about.as_ref() != digest.as_bytes() {
                return Err("a receipt of another item".into());
            }
            indexes.push(verified.index);
        }
        indexes.sort_unstable();
        if indexes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("two receipts name one record".into());
        }
        Ok(())
    }
}

/// Rates and CPU of every round.
#[derive(Default)]
struct Figures {
    /// By mode and server, one entry a round.
    rounds: BTreeMap<(String, &'static str), Vec<(f64, f64, f64)>>,
}

impl Figures {
    fn note(&mut self, mode: Mode, server: &'static str, slice: &Slice) {
        let (server_cpu, client_cpu) = slice.cpu_micros();
        self.rounds.entry((mode.name(), server)).or_default().push((slice.rate(), server_cpu, client_cpu));
    }

    /// The median over the rounds of one server's rate over another's in the same round.
    fn ratio(&self, mode: &str, of: &'static str, over: &'static str) -> Option<f64> {
        let of = self.rounds.get(&(mode.to_owned(), of))?;
        let over = self.rounds.get(&(mode.to_owned(), over))?;
        Some(median(of.iter().zip(over).map(|(of, over)| of.0 / over.0).collect()))
    }

    fn ratios(&self) -> Vec<(String, f64)> {
        let mut ratios = Vec::new();
        for mode in ["unary_1", "unary_64", "unary_512", "stream"] {
            ratios.extend(self.ratio(mode, "gateway", "echo").map(|ratio| (mode.to_owned(), ratio)));
        }
        ratios.extend(self.ratio("unary_64", "gateway", "floor").map(|ratio| ("unary_64_of_floor".to_owned(), ratio)));
        ratios
    }

    fn print(&self, arguments: &Arguments) {
        let rows: Vec<_> = self
            .rounds
            .iter()
            .map(|((mode, server), rounds)| {
                let middle = |pick: fn(&(f64, f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
                (mode, server, middle(|round| round.0), middle(|round| round.1), middle(|round| round.2))
            })
            .collect();
        match arguments.output {
            Format::Json => {
                let ratios: serde_json::Map<String, serde_json::Value> =
                    self.ratios().into_iter().map(|(name, ratio)| (name, round3(ratio).into())).collect();
                let absolute: Vec<_> = rows
                    .iter()
                    .map(|(mode, server, rate, server_cpu, client_cpu)| {
                        serde_json::json!({
                            "mode": mode, "server": server, "per_second": rate.round(),
                            "server_cpu_us": round3(*server_cpu), "client_cpu_us": round3(*client_cpu),
                        })
                    })
                    .collect();
                let document = serde_json::json!({
                    "ratios": ratios, "rounds": arguments.rounds, "slice_ms": arguments.slice, "for_orientation": absolute,
                });
                println!("{document:#}");
            }
            Format::Table => {
                let mut table = comfy_table::Table::new();
                table.load_style(comfy_table::presets::NOTHING);
                table.set_header(["MODE", "SERVER", "PER SECOND", "SERVER CPU µs", "CLIENT CPU µs"]);
                for (mode, server, rate, server_cpu, client_cpu) in rows {
                    table.add_row([mode.clone(), (*server).to_owned(), format!("{rate:.0}"), format!("{server_cpu:.1}"), format!("{client_cpu:.1}")]);
                }
                println!("{table}\n");
                for (name, ratio) in self.ratios() {
                    println!("{name:<18} {ratio:.3}");
                }
            }
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

fn round3(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
