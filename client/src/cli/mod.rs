//! The command line `seinpost`, a thin shell over the library: it reads words and files, calls, prints, and ends with
//! an exit code that a script can go by. What it does not do: decide, verify or remember anything by itself.

mod answer;
mod args;
mod audit;
mod check;
mod covenant;
mod enrol;
mod exchange;
mod keys;
mod ladder;
mod operations;
mod paging;
mod print;
mod report;
mod select;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches as _;

use self::args::{Cli, Command};
use self::print::Printer;
use self::report::report;
use crate::error::{Error, Kind};

/// What a command came to: the exit code, or what could not be done and why.
type Outcome = Result<u8, Failure>;

/// A deed that failed, in words ("the signal cannot be sent"), and the error.
struct Failure {
    deed: &'static str,
    error: Error,
}

/// Adds to an error what was being done.
trait Doing<T> {
    fn doing(self, deed: &'static str) -> Result<T, Failure>;
    /// Adds to an error what was judged: only what was looked at and does not hold is said not to hold.
    fn judging(self, fails: &'static str, unasked: &'static str) -> Result<T, Failure>;
}

impl<T> Doing<T> for Result<T, Error> {
    fn doing(self, deed: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure { deed, error })
    }

    fn judging(self, fails: &'static str, unasked: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure { deed: if error.kind() == Kind::NotVerified { fails } else { unasked }, error })
    }
}

/// Runs the command line with these arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = args::command().try_get_matches_from(&arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error; clap names the nearest right word otherwise.
            report::report_arguments(&error, &arguments);
            return ExitCode::from(if error.use_stderr() { report::USAGE } else { report::DONE });
        }
    };
    let printer = Printer::new(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return ExitCode::from(report(
                "the program cannot start",
                &Error::Fault(error.to_string()),
                printer.format,
            ));
        }
    };
    let code = runtime.block_on(async {
        tokio::select! {
            outcome = run(&cli, &printer) => match outcome {
                Ok(code) => code,
                Err(failure) => report(failure.deed, &failure.error, printer.format),
            },
            _ = tokio::signal::ctrl_c() => {
                printer.note("interrupted; what was sent stays sent, and what was acknowledged stays acknowledged");
                report::INTERRUPTED
            }
        }
    });
    // A blocking read of standard input must not keep an interrupted program alive.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn run(cli: &Cli, printer: &Printer) -> Outcome {
    let client = || select::client(&cli.global);
    match &cli.command {
        Command::Init(arguments) => enrol::init(arguments, printer),
        Command::Template(arguments) => enrol::template(arguments, printer),
        Command::Verify(arguments) => audit::verify_receipt(arguments, select::profile(&cli.global)?, printer).await,
        Command::Keys(command) => keys::run(command, &client()?, printer).await,
        Command::Check => check::run(&cli.global, printer).await,
        Command::Send(arguments) => exchange::send(arguments, &client()?, printer).await,
        Command::Receive(arguments) => exchange::receive(arguments, &client()?, printer).await,
        Command::Ack(arguments) => answer::ack(arguments, &client()?, printer).await,
        Command::Reject(arguments) => answer::reject(arguments, &client()?, printer).await,
        Command::Status(arguments) => ladder::status(arguments, &client()?, printer).await,
        Command::List(arguments) => ladder::list(arguments, &client()?, printer).await,
        Command::Route(arguments) => covenant::route(arguments, &client()?, printer).await,
        Command::Covenant(command) => covenant::run(command, &client()?, printer).await,
        Command::Codes(arguments) => covenant::codes(arguments, &client()?, printer).await,
        Command::Audit(command) => audit::run(command, &client()?, printer).await,
        Command::Ops(command) => operations::run(command, &client()?, printer).await,
    }
}
