//! The command `seinpost-certs`: development certificates, registrars, covenants, and whole worlds of them.
//!
//! It reads the clock, the arguments and the files that they name, calls the library and says what it made. Data goes
//! to standard output, all else to standard error; no key is ever shown.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::from(cli::exit_code(&fault))
        }
    }
}
