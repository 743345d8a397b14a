//! `dev`: a hub, its agencies and one signal from end to end, on one machine, in one folder.
//!
//! This is the one room that knows the client and the development certificates: it makes the world, starts the
//! gateway as `serve` would, plays a story through the real client over real mutual TLS, and then keeps serving. What
//! the hub keeps stands apart from what the agencies keep, so that a reader can search the hub's folder for a name.
//! It never decides anything that the serving rooms decide, and nothing outside this folder may know it.

/// Prints a line of the story; whoever looked away (`| head`) does not end the hub by it.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod search;
mod setup;
mod story;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use clap::Args;
use seinpost_certs::world::{Options, World};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::config::{Config, Sources};
use crate::serve::{Gateway, Running};

/// Whatever keeps `dev` from going on; it is told and ends the program.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What whoever started it has to mend: a folder or an address that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUse(String);

/// Name of the log of a development hub.
const ORIGIN: &str = "seinpost.test/dev";

/// Where a development hub listens unless told otherwise.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
/// Where it shows its metrics, or at a port that is free if this one is not.
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Flags of `dev`.
#[derive(Debug, Args)]
#[command(before_long_help = "Examples:\n  \
    seinpost-gateway dev\n  \
    seinpost-gateway dev --dir /tmp/hub --listen 127.0.0.1:9443\n  \
    seinpost-gateway dev --no-story")]
pub struct Arguments {
    /// Folder for everything; made if it is not there, used as it is if it is.
    #[arg(long, value_name = "DIR", default_value = ".seinpost-dev")]
    dir: PathBuf,
    /// Address to listen on the first time; later starts use the same. Port 0 lets the system choose once
    /// [default: 127.0.0.1:8443, or a free port if that is taken].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Only set up and serve.
    #[arg(long)]
    no_story: bool,
}

/// Runs the client's command line if this program was called by the client's name, as `DIR/bin/seinpost` does: the
/// client is then built by the same command as the gateway.
pub fn as_client(arguments: &[OsString]) -> Option<ExitCode> {
    let is_client = Path::new(arguments.first()?).file_name()? == "seinpost";
    is_client.then(|| seinpost_client::cli::main(arguments.iter().cloned()))
}

/// Sets up, starts, tells the story, and serves until it is stopped.
///
/// # Errors
/// Whatever keeps it from going on.
pub async fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Heard from the beginning, so that whoever presses Ctrl-C in the middle of the story leaves a whole log behind.
    let mut stop = Stop::new()?;
    let world = world(arguments)?;
    let log = log_into(&world.hub_folder())?;
    let mut config = config(&world)?;
    // Whoever explores asks the hub for its services; one that does real work says nothing of them.
    config.reflection = true;
    let data = config.data.clone();
    let vkey = setup::vkey(&config)?;
    // A development hub may rest for days; nobody is there to confirm that its clock is right when it wakes.
    let running = Gateway::start_with(config, crate::serve::Options { confirm_clock: true, clock: None }).await?;
    let ended = tokio::select! {
        ended = play(arguments, &world, &running, &data, &vkey, &log) => ended,
        () = stop.told() => {
            eprintln!("stopping ...");
            Ok(())
        }
        () = running.failed() => Err("the gateway stopped on a fault; its log says which".into()),
    };
    let stopped = running.stop().await;
    ended?;
    Ok(stopped?)
}

/// Everything between the start and the end; it only ends by itself where something fails.
async fn play(
    arguments: &Arguments,
    world: &World,
    running: &Running,
    data: &Path,
    vkey: &str,
    log: &Path,
) -> Result<(), Failure> {
    world.point_profiles_at(&running.address().to_string())?;
    setup::publish_keys(world).await?;
    let told = match arguments.no_story {
        true => None,
        false => Some(story::tell(world, data, running.address()).await?),
    };
    write_ready_files(world, running, data, vkey)?;
    setup::print_commands(world, running, log, told.as_ref());
    std::future::pending().await
}

fn world(arguments: &Arguments) -> Result<World, Failure> {
    let folder = std::path::absolute(&arguments.dir)?;
    if folder.join("world.toml").exists() {
        eprintln!("using the world in {}", folder.display());
        let world = World::load(&folder)?;
        let listen = config(&world)?.listen;
        if arguments.listen.is_some_and(|wanted| wanted != listen && wanted.port() != 0) {
            eprintln!(
                "listening on {listen} as before: --listen counts the first time; another --dir makes another hub"
            );
        }
        return Ok(world);
    }
    let listen = match arguments.listen {
        // What was asked for by name is given or refused; only the address that nobody asked for gives way.
        Some(wanted) => free(wanted).map_err(|error| WrongUse(format!("cannot listen on {wanted}: {error}")))?,
        None => free(LISTEN).or_else(|_| free_port())?,
    };
    let metrics = free(METRICS).or_else(|_| free_port())?;
    eprintln!("making keys, certificates and a covenant of the whole country in {} ...", folder.display());
    let options = Options {
        listen: listen.to_string(),
        metrics: metrics.to_string(),
        origin: ORIGIN.into(),
        now: Clock::system(None).reading(),
    };
    let made = World::make(&folder, &options);
    Ok(made.map_err(|fault| {
        WrongUse(format!("{fault}\nhint: name a new folder by --dir; one whose making was broken off can be removed"))
    })?)
}

/// Returns the address wanted, with the port that the system chose where it was left open. It is written into the
/// configuration, so that later starts find the same.
fn free(wanted: SocketAddr) -> std::io::Result<SocketAddr> {
    TcpListener::bind(wanted)?.local_addr()
}

fn free_port() -> std::io::Result<SocketAddr> {
    free(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

/// Sends the operator's log into a file of the hub, so that it does not stand between the lines of the story; it is one
/// of the files that are searched.
fn log_into(hub: &Path) -> Result<PathBuf, Failure> {
    let path = hub.join("gateway.log");
    let file: File = OpenOptions::new().create(true).append(true).open(&path)?;
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(Mutex::new(file)).with_env_filter("info");
    // Somebody who runs this as a part of another program has a subscriber already, and keeps it.
    let _ = subscriber.try_init();
    Ok(path)
}

fn config(world: &World) -> Result<Config, Failure> {
    let faults = |faults: Vec<crate::config::Fault>| {
        faults.iter().map(|fault| format!("{}: {}", fault.key, fault.text)).collect::<Vec<_>>().join("\n  ")
    };
    Ok(Sources::read(&world.gateway_config()).and_then(|sources| sources.config()).map_err(faults)?)
}

/// Tells programs where everything is; written last, so that whoever waits for it finds a hub that answers.
fn write_ready_files(world: &World, running: &Running, data: &Path, vkey: &str) -> Result<(), Failure> {
    let folder = world.folder();
    let profiles: serde_json::Map<String, serde_json::Value> = world
        .identities()
        .map(|identity| (identity.name.to_owned(), world.profile(identity.name).display().to_string().into()))
        .collect();
    let ready = json!({
        "gateway": running.address().to_string(),
        "metrics": running.metrics_address().map(|address| address.to_string()),
        "data": data.display().to_string(),
        "log": { "origin": world.origin(), "vkey": vkey },
        "profiles": profiles,
    });
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin)?;
    let link = bin.join("seinpost");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(std::env::current_exe()?, &link)?;
    let environment = format!(
        "# Source this, in any shell of the Bourne family: the client on the path, and `as IDENTITY COMMAND`.\n\
         export SEINPOST_DEV={folder}\nexport PATH={folder}/bin:\"$PATH\"\n\
         as() {{ seinpost_as=\"$SEINPOST_DEV/profiles/$1.toml\"; shift; SEINPOST_PROFILE=\"$seinpost_as\" \"$@\"; }}\n",
        folder = shell_word(folder),
    );
    replace(&folder.join("env.sh"), environment.as_bytes())?;
    replace(&folder.join("dev.json"), format!("{ready:#}\n").as_bytes())
}

/// Replaces a file whole, so that nobody reads half of it.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let aside = path.with_extension("new");
    std::fs::write(&aside, bytes)?;
    Ok(std::fs::rename(aside, path)?)
}

/// Quotes a path for a shell.
fn shell_word(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// The two ways in which a person or a supervisor says that it is enough.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
