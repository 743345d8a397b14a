//! The command line of the gateway: `serve`, `check`, `init`, and `dev`, which plays both sides on one machine.
//!
//! In come arguments; out go a running gateway, or every fault at once with what would help. Exit codes are those of
//! all the project's commands: 0 done, 2 wrong use or configuration, 70 a fault of ours.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use seinpost_gateway::clock::Clock;
use seinpost_gateway::config::{Config, Fault, Format, Sources};
use seinpost_gateway::dev;
use seinpost_gateway::fault;
use seinpost_gateway::init;
use seinpost_gateway::serve::{Gateway, NoStart, Options, check as check_files};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Runs a Seinpost hub: takes signals from agencies, proves what it did, and cannot read them.
#[derive(Debug, Parser)]
#[command(
    name = "seinpost-gateway",
    version,
    before_long_help = "Examples:\n  \
    seinpost-gateway dev\n  \
    seinpost-gateway init --dir hub --origin seinpost.example/log\n  \
    seinpost-gateway check --config hub/gateway.toml\n  \
    seinpost-gateway serve --config hub/gateway.toml"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serves until it is told to stop (SIGTERM or Ctrl-C), then answers what runs and ends.
    Serve(Serve),
    /// Checks a configuration and the files that it names, and says where each value came from.
    Check(Check),
    /// Writes a commented configuration and a new log key into a folder.
    Init(Init),
    /// Sets up a hub with its agencies on this machine, tells the story of one signal, and serves.
    Dev(dev::Arguments),
}

#[derive(Debug, Args)]
#[command(before_long_help = "Examples:\n  seinpost-gateway serve --config hub/gateway.toml\n  \
    seinpost-gateway serve --config hub/gateway.toml --confirm-clock")]
struct Serve {
    #[command(flatten)]
    source: Source,
    /// Confirm that the clock is right although the last record lies more than a day back, or ahead; it is recorded.
    #[arg(long)]
    confirm_clock: bool,
}

#[derive(Debug, Args)]
#[command(before_long_help = "Examples:\n  seinpost-gateway check --config hub/gateway.toml\n  \
    SEINPOST_LIMITS__MEMORY=256MiB seinpost-gateway check --config hub/gateway.toml")]
struct Check {
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Args)]
struct Source {
    /// The configuration, TOML.
    #[arg(long, value_name = "FILE", env = "SEINPOST_CONFIG", default_value = "gateway.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
#[command(before_long_help = "Example:\n  seinpost-gateway init --dir hub --origin seinpost.example/log")]
struct Init {
    /// Folder to write into; made if it is not there. Nothing in it is overwritten.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Name of the log: printable, without spaces; it never changes.
    #[arg(long, value_name = "NAME")]
    origin: String,
}

/// Done, and what was checked holds.
const DONE: u8 = 0;
/// Wrong use: flag, file, configuration.
const USE: u8 = 2;
/// A fault of ours, or of the disk below us.
const FAULT: u8 = 70;

/// Puts the help of every verb in one order: a sentence, examples (in `--help`), flags.
fn ordered(command: clap::Command) -> clap::Command {
    command
        .help_template("{about}\n\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}")
        .mut_subcommands(ordered)
}

fn main() -> ExitCode {
    // Called by the client's name, as `dev` arranges it, this is the client.
    if let Some(code) = dev::as_client(&std::env::args_os().collect::<Vec<_>>()) {
        return code;
    }
    let parsed = ordered(Arguments::command()).try_get_matches();
    let arguments = match parsed.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(help) => {
            let _ = help.print();
            return ExitCode::from(if help.use_stderr() { USE } else { DONE });
        }
    };
    let code = match arguments.verb {
        Verb::Serve(arguments) => serve(&arguments),
        Verb::Check(arguments) => check(&arguments),
        Verb::Init(arguments) => begin(&arguments),
        Verb::Dev(arguments) => develop(&arguments),
    };
    ExitCode::from(code)
}

fn develop(arguments: &dev::Arguments) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed("the threads cannot be started", &error.to_string()),
    };
    match runtime.block_on(dev::run(arguments)) {
        Ok(()) => DONE,
        Err(error) => {
            let code = failed("the development hub cannot go on", &error.to_string());
            let is_use = error.is::<dev::WrongUse>()
                || matches!(
                    error.downcast_ref(),
                    Some(
                        NoStart::Config(_)
                            | NoStart::Adoption(_)
                            | NoStart::Listen(..)
                            | NoStart::Data(fault::Fault::InUse(_))
                    )
                );
            if is_use { USE } else { code }
        }
    }
}

fn serve(arguments: &Serve) -> u8 {
    let config = match Sources::read(&arguments.source.config).and_then(|sources| sources.config()) {
        Ok(config) => config,
        Err(faults) => return unusable(&faults),
    };
    log_to_stderr(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed("the threads cannot be started", &error.to_string()),
    };
    runtime.block_on(serve_until_told(config, arguments.confirm_clock))
}

async fn serve_until_told(config: Config, confirm_clock: bool) -> u8 {
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return failed("signals cannot be heard", &error.to_string()),
    };
    let running = match Gateway::start_with(config, Options { confirm_clock, clock: None }).await {
        Ok(running) => running,
        Err(cause @ (NoStart::Config(_) | NoStart::Adoption(_) | NoStart::Listen(..))) => {
            eprintln!("error: the gateway cannot start\n{}", indented(&cause.to_string()));
            if !matches!(cause, NoStart::Listen(..)) {
                eprintln!("  hint: seinpost-gateway check --config FILE names every fault");
            }
            return USE;
        }
        Err(cause) => return failed("the gateway cannot start", &cause.to_string()),
    };
    eprintln!("serving on {}", running.address());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = running.failed() => {}
    }
    eprintln!("stopping: calls that run are answered first");
    tokio::select! {
        stopped = running.stop() => match stopped {
            Ok(()) => DONE,
            Err(fault) => failed("the gateway stopped on a fault; the next start finds out what was kept", &fault.to_string()),
        },
        // A second signal says that waiting is over; what was acknowledged is on the disk already.
        _ = terminate.recv() => 130,
        _ = interrupt.recv() => 130,
    }
}

fn check(arguments: &Check) -> u8 {
    let sources = match Sources::read(&arguments.source.config) {
        Ok(sources) => sources,
        Err(faults) => return unusable(&faults),
    };
    for (name, value, origin) in sources.listing() {
        say(&format!("{name} = {value}  (from {origin})"));
    }
    // A value that cannot be used hides no fault of a file: the rest is checked with its default.
    let (config, faults) = match sources.config() {
        Ok(config) => (Some(config), Vec::new()),
        Err(faults) => (sources.with_defaults_for(&faults), faults),
    };
    let causes = config.map(|config| check_files(&config, Clock::system(None).reading()).err().unwrap_or_default());
    let told = |key: &str| faults.iter().any(|fault| fault.key == key);
    let mut lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    for cause in causes.into_iter().flatten() {
        match cause {
            NoStart::Config(more) => {
                lines.extend(more.iter().filter(|fault| !told(&fault.key)).map(ToString::to_string));
            }
            NoStart::Adoption(more) => {
                let more = more.iter().filter(|misfit| !told(misfit.key));
                lines.extend(more.map(|misfit| format!("{misfit} (from {})", sources.origin(misfit.key))));
            }
            other => lines.push(other.to_string()),
        }
    }
    if lines.is_empty() {
        say("ok: a gateway can start with this, as far as can be seen without opening its log");
        return DONE;
    }
    eprintln!("error: the configuration cannot be used");
    lines.iter().for_each(|line| eprintln!("{}", indented(line)));
    USE
}

fn begin(arguments: &Init) -> u8 {
    match init::write(&arguments.dir, &arguments.origin) {
        Ok(vkey) => {
            say(&format!("origin = {}\nvkey = {vkey}", arguments.origin));
            eprintln!(
                "Give both to the registrars. Put hub.toml, covenants/, crls/, tls.pem and tls.key beside it, then:"
            );
            eprintln!("  seinpost-gateway check --config {}", arguments.dir.join("gateway.toml").display());
            DONE
        }
        Err(why) => {
            eprintln!("error: {why}");
            USE
        }
    }
}

/// Prints a line; a reader that has seen enough (`| head`) is no fault.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Begins to write the operator's log to stderr.
fn log_to_stderr(config: &Config) {
    let filter = EnvFilter::try_new(&config.logs_filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
    match config.logs {
        Format::Pretty => builder.init(),
        Format::Json => builder.json().init(),
    }
}

fn unusable(faults: &[Fault]) -> u8 {
    let mut text = String::from("error: the configuration cannot be used\n");
    for fault in faults {
        let _ = writeln!(text, "  {fault}");
    }
    eprint!("{text}");
    USE
}

fn failed(what: &str, why: &str) -> u8 {
    eprintln!("error: {what}\n{}", indented(why));
    FAULT
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
