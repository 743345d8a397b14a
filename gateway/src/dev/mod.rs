//! `dev`: a hub, its agencies and one signal from end to end, on one machine, in one folder.
//!
//! This is the one room that knows the client and the development certificates: it makes the world, starts the
//! gateway as `serve` would, plays a story through the real client over real mutual TLS, and then keeps serving. What
//! the hub keeps stands apart from what the agencies keep, so that a reader can search the hub's folder for a name.
//! It never decides anything that the serving rooms decide, and nothing outside this folder may know it.

mod search;
mod setup;
mod story;

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use seinpost_certs::world::{Options, World};
use serde_json::json;

use crate::clock::Clock;
use crate::config::{Config, Sources};
use crate::serve::{Gateway, Running};

/// Whatever keeps `dev` from going on; it is told and ends the program.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Name of the log of a development hub.
const ORIGIN: &str = "seinpost.test/dev";

/// Flags of `dev`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    seinpost-gateway dev\n  \
    seinpost-gateway dev --dir /tmp/hub --listen 127.0.0.1:8443\n  \
    seinpost-gateway dev --no-story")]
pub struct Arguments {
    /// Folder for everything; made if it is not there, used as it is if it is.
    #[arg(long, value_name = "DIR", default_value = ".seinpost-dev")]
    dir: PathBuf,
    /// Address to listen on the first time; later starts use the same. Port 0 lets the system choose once.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
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
    let world = world(arguments)?;
    let config = config(&world)?;
    let data = config.data.clone();
    let vkey = setup::vkey(&config)?;
    // A development hub may rest for days; nobody is there to confirm that its clock is right when it wakes.
    let running = Gateway::start_with(config, crate::serve::Options { confirm_clock: true, clock: None }).await?;
    world.point_profiles_at(&running.address().to_string())?;

    let told = setup::publish_keys(&world).await;
    let told = match told {
        Ok(()) if !arguments.no_story => story::tell(&world, &data, running.address()).await,
        other => other,
    };
    if let Err(failure) = told {
        running.shutdown().await;
        return Err(failure);
    }
    write_ready_files(&world, &running, &data, &vkey)?;
    setup::print_commands(&world, &running);
    serve(running).await
}

fn world(arguments: &Arguments) -> Result<World, Failure> {
    let folder = std::path::absolute(&arguments.dir)?;
    if folder.join("world.toml").exists() {
        eprintln!("using the world in {}", folder.display());
        return Ok(World::load(&folder)?);
    }
    eprintln!("making keys, certificates and a covenant of the whole country in {} ...", folder.display());
    let options = Options {
        listen: free(arguments.listen)?.to_string(),
        metrics: free(SocketAddr::from(([127, 0, 0, 1], 9464)))?.to_string(),
        origin: ORIGIN.into(),
        now: Clock::system(None).reading(),
    };
    Ok(World::make(&folder, &options)?)
}

/// Returns the address wanted, or one that is free where somebody else listens there already. It is written into the
/// configuration, so that later starts find the same.
fn free(wanted: SocketAddr) -> Result<SocketAddr, Failure> {
    if let Ok(listener) = TcpListener::bind(wanted) {
        return Ok(listener.local_addr()?);
    }
    Ok(TcpListener::bind(SocketAddr::new(wanted.ip(), 0))?.local_addr()?)
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
        "# Source this: the client on the path, and short names for the profiles.\n\
         export SEINPOST_DEV={folder}\nexport PATH={folder}/bin:\"$PATH\"\n\
         as() {{ SEINPOST_PROFILE=\"$SEINPOST_DEV/profiles/$1.toml\" \"${{@:2}}\"; }}\n",
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

async fn serve(running: Running) -> Result<(), Failure> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    eprintln!("stopping ...");
    running.shutdown().await;
    Ok(())
}
