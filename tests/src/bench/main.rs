//! `seinpost-bench`: what mutual trust costs, as ratios measured side by side in one run.
//!
//! Three servers run in processes of their own: the gateway, a bare echo over the same mutual TLS and the same stubs
//! that carries as many bytes each way, and the floor: that echo with one signature verified, one hash and a shared
//! `fdatasync` before each answer. This process is the client. Items are sealed and signed before the clock starts,
//! each id is used once, and every receipt is verified after its slice. The servers take turns in slices of at most a
//! second, so that whatever else the machine does falls on all of them; a ratio is the median over the rounds of the
//! gateway's rate over the echo's in the same round. Absolute rates are printed for orientation alone.

mod load;
mod sender;
mod figures;
mod echo;
mod server;
mod cpu;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use clap::{Parser, Subcommand};
use seinpost_certs::world::{Options, World};
use seinpost_gateway::config::{Config, Format as LogFormat, Sources};
use seinpost_gateway::serve::Gateway;
use seinpost_protocol::signature::PublicKey;
use seinpost_protocol::wire;
use tracing_subscriber::EnvFilter;

use self::figures::{Figures, Format};
use self::load::{Items, Load, Mode, STREAMS_PER_CONNECTION, Slice};
use self::sender::Sender;

/// Whatever keeps the benchmark from running; it is told and ends the run.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures the gateway against a bare echo over the same mutual TLS.
#[derive(Parser)]
#[command(
    name = "seinpost-bench",
    version,
    after_help = "Example:\n  cargo run --release --bin seinpost-bench -- --output json"
)]
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
    // A server that failed still listens to its parent on a thread of its own; there is nothing to wait for.
    runtime.shutdown_background();
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
            let config = Sources::read(&world.gateway_config())
                .and_then(|sources| sources.config())
                .map_err(|faults| faults.iter().map(|fault| fault.text.clone()).collect::<Vec<_>>().join("; "))?;
            log(&config, &world)?;
            let running = Gateway::start(config).await?;
            ready(running.address());
            wait_for_parent().await;
            running.shutdown().await;
            Ok(())
        }
        Server::Echo { world, floor } => {
            let world = World::load(world)?;
            let echo = match floor {
                None => echo::Echo::bare(),
                Some(spki) => {
                    let key = PublicKey::from_spki(&hex::decode(spki)?, false).map_err(|bad| bad.to_string())?;
                    echo::Echo::floor(key, world.folder())?
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

/// Writes the operator's log as `serve` does, into a file of the world: it is part of what the gateway costs.
fn log(config: &Config, world: &World) -> Result<(), Failure> {
    let file = Mutex::new(File::create(world.folder().join("gateway.log"))?);
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(&config.logs_filter)?).with_writer(file);
    match config.logs {
        LogFormat::Pretty => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
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
    let options = Options {
        listen: "127.0.0.1:0".into(),
        metrics: String::new(),
        origin: "seinpost.test/bench".into(),
        now: sender::now(),
    };
    eprintln!("making a world ...");
    let world = World::make(&path, &options)?;
    let text = path.display().to_string();
    let gateway = Running::start(&["gateway", &text])?;
    world.point_profiles_at(&gateway.address)?;
    let mut sender = Sender::new(&world).await?;
    let echo = Running::start(&["echo", &text])?;
    let floor = Running::start(&["echo", &text, "--floor", &sender.spki()?])?;

    let mut figures = Figures::default();
    let modes = [Mode::Unary(1), Mode::Unary(64), Mode::Unary(512), Mode::Stream];
    for mode in modes.into_iter().filter(|mode| arguments.only.as_ref().is_none_or(|only| *only == mode.name())) {
        let length = Duration::from_millis(arguments.slice);
        let mut bench = Bench { mode, length, expected: 1_000 };
        for round in 0..=arguments.rounds {
            let (items, slice) = bench.gateway(&mut sender, &gateway).await?;
            let answer_bytes = slice.answer_bytes();
            let echoed = bench.again(&sender, &echo, items.clone(), answer_bytes).await?;
            let floored = match mode {
                Mode::Unary(64) => Some(bench.again(&sender, &floor, items.clone(), answer_bytes).await?),
                Mode::Unary(_) | Mode::Stream => None,
            };
            // The first round warms connections, caches and the processor's clock, and is not counted.
            if round > 0 {
                figures.note(mode, "gateway", &slice);
                figures.note(mode, "echo", &echoed);
                floored.iter().for_each(|slice| figures.note(mode, "floor", slice));
            }
            eprint!("\r{} round {round} of {}   ", mode.name(), arguments.rounds);
        }
        eprintln!();
    }
    figures.print(arguments.output, arguments.rounds, arguments.slice);
    Ok(())
}

/// How one mode is measured.
struct Bench {
    mode: Mode,
    length: Duration,
    /// How many items a slice of the gateway will take, learned from the slices before.
    expected: usize,
}

impl Bench {
    /// Measures the gateway with new items, and verifies each receipt.
    async fn gateway(&mut self, sender: &mut Sender, running: &Running) -> Result<(Items, Slice), Failure> {
        loop {
            let items = sender.items(self.expected).await?;
            let channels = sender.channels(&running.address, self.connections())?;
            let load = Load { mode: self.mode, length: self.length, requests: items.clone(), again: false };
            let slice = load.run(&channels, running.id()).await?;
            sender.verify(&items, &slice)?;
            self.expected = self.expected.max(slice.answers.len() * 3 / 2 + 600);
            // A slice whose items ran out is shorter than it should be; it is run again with more.
            if !slice.exhausted {
                return Ok((items, slice));
            }
        }
    }

    /// Measures the echo or the floor with the same items, over and over, and answers as long as the gateway's.
    async fn again(
        &self,
        sender: &Sender,
        running: &Running,
        items: Items,
        answer_bytes: u64,
    ) -> Result<Slice, Failure> {
        let wanted = |item: &wire::SubmitRequest| wire::SubmitRequest { seen_size: answer_bytes, ..item.clone() };
        let requests = Items::from_iter(items.iter().map(wanted));
        let channels = sender.channels(&running.address, self.connections())?;
        let load = Load { mode: self.mode, length: self.length, requests, again: true };
        Ok(load.run(&channels, running.id()).await?)
    }

    fn connections(&self) -> usize {
        match self.mode {
            Mode::Unary(in_flight) => in_flight.div_ceil(STREAMS_PER_CONNECTION),
            Mode::Stream => 1,
        }
    }
}
