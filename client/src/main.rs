//! The command line `seinpost`: everything it does stands in the library's `cli`.

fn main() -> std::process::ExitCode {
    seinpost_client::cli::main(std::env::args_os())
}
