//! The gateway as a process of its own: the real binary, to be killed, measured, and started again.
//!
//! The binary lies beside the test's own. Where it is missing or older than a source that it is made of, it is built, and
//! that is said: a test of an old binary would prove nothing.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::SystemTime;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::logs;
use super::patience::{at_last, within};

/// A gateway's process. It is killed when it is dropped.
pub struct Process {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts the gateway by a configuration and waits until it serves.
    ///
    /// # Errors
    /// What it wrote before it ended by itself.
    ///
    /// # Panics
    /// If it neither serves nor ends.
    pub async fn start(config: &Path) -> Result<Self, String> {
        let mut child = Command::new(gateway_binary())
            .arg("serve")
            .arg("--config")
            .arg(config)
            .env("SEINPOST_LOGS__FORMAT", "json")
            .env("SEINPOST_LOGS__FILTER", "info,seinpost_gateway=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway's binary can be started");
        let output = child.stderr.take().expect("the output is piped");
        let (said, mut saying) = mpsc::unbounded_channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                logs::add(line.as_bytes());
                logs::add(b"\n");
                let _ = said.send(line);
            }
        });
        let mut lines = Vec::new();
        let ready = async {
            loop {
                let line = saying.recv().await?;
                let addresses = serving(&line);
                lines.push(line);
                if addresses.is_some() {
                    return addresses;
                }
            }
        };
        let ready = within("the gateway serves or ends", ready).await;
        let mut process = Self { child, address: unknown(), metrics: unknown(), reader: Some(reader) };
        match ready {
            Some((address, metrics)) => {
                (process.address, process.metrics) = (address, metrics);
                Ok(process)
            }
            None => {
                let status = process.wait().await;
                assert!(!status.success(), "a gateway that does not serve says so by its exit code");
                Err(lines.join("\n"))
            }
        }
    }

    /// Returns where agencies connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the process's counts.
    ///
    /// # Panics
    /// If they cannot be read.
    pub async fn metrics(&self) -> String {
        let mut socket = TcpStream::connect(self.metrics).await.expect("the counts are served");
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").await.expect("the question is heard");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("the answer comes");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// Returns the memory that the process holds, in bytes (resident set).
    ///
    /// # Panics
    /// If it is no more.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the system tells its memory");
        let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number");
        kib * 1024
    }

    /// Asks the process to end, as a service manager does, and waits until it has.
    ///
    /// # Panics
    /// If it does not end, or not well.
    pub async fn stop(mut self) {
        let asked = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        assert!(asked.expect("kill can be started").success(), "the process can be asked to end");
        let status = self.wait().await;
        assert!(status.success(), "the gateway ended with {status}");
    }

    /// Kills the process: nothing that it still wanted to write is written.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub async fn kill(mut self) {
        self.child.kill().expect("the process can be killed");
        self.wait().await;
    }

    async fn wait(&mut self) -> std::process::ExitStatus {
        let child = &mut self.child;
        let ended = async || child.try_wait().expect("the process can be waited for");
        let status = at_last("the gateway ends", ended).await;
        if let Some(reader) = self.reader.take() {
            reader.join().expect("its output was read");
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unknown() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Reads where the gateway serves from the line in which it says so.
fn serving(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Json = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let address = |name: &str| fields.get(name)?.as_str()?.parse().ok();
    if fields.get("message")?.as_str()? == "serving" { Some((address("address")?, address("metrics")?)) } else { None }
}

/// Returns the gateway's binary, built from the sources as they are.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn gateway_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    // `dev` knows the client and certs-dev.
    BINARY.get_or_init(|| built("seinpost-gateway", &["proto", "gateway", "client", "certs-dev"]))
}

/// Returns the client's binary, built from the sources as they are.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn client_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("seinpost", &["proto", "client"]))
}

/// Returns a binary that is made of the crates in these folders. `cargo test --workspace` has just built it for the
/// tests of its own crate; where it has not, as when this crate is tested alone, it is built here.
fn built(name: &str, folders: &[&str]) -> PathBuf {
    let here = std::env::current_exe().expect("a test has a path");
    let folder = here.ancestors().nth(2).expect("a test lies in the folder deps of its profile");
    let binary = folder.join(name);
    if !is_fresh(&binary, folders) {
        let release = folder.ends_with("release");
        eprintln!("{} is missing or old: building it", binary.display());
        let mut cargo = Command::new(env!("CARGO"));
        // Cargo builds every library for the features that the named packages want together. Named with this one, which
        // depends on both others, they want what this very test was built with, and only the binary is left to link.
        cargo.args(["build", "--package", "seinpost-tests", "--package", "seinpost-gateway"]);
        cargo.args(["--package", "seinpost-client", "--bin", name]);
        cargo.args(release.then_some("--release")).current_dir(env!("CARGO_MANIFEST_DIR"));
        // What cargo tells a test about itself would be news to build scripts, which then make everything anew.
        let told = std::env::vars_os().map(|(name, _)| name);
        for name in told.filter(|name| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| starts_with(name, own))) {
            cargo.env_remove(name);
        }
        // The profile's folder lies in the target folder, whatever it is called.
        cargo.env("CARGO_TARGET_DIR", folder.parent().expect("a profile's folder lies in another"));
        assert!(cargo.status().expect("cargo can be started").success(), "{name} could not be built");
    }
    binary
}

fn starts_with(name: &OsStr, start: &str) -> bool {
    name.as_encoded_bytes().starts_with(start.as_bytes())
}

/// Says whether a binary is younger than all that it is made of.
///
/// Cargo's own list of that, `NAME.d`, lies beside a binary that was asked for by name, not beside one that was built for
/// a test. So all that is compiled in the folders counts, and the versions of what comes from outside.
fn is_fresh(binary: &Path, folders: &[&str]) -> bool {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace");
    let Some(built) = modified(binary) else {
        return false;
    };
    let is_older = |source: &Path| modified(source).is_some_and(|source| source <= built);
    ["Cargo.toml", "Cargo.lock"].iter().all(|file| is_older(&workspace.join(file)))
        && folders.iter().all(|folder| compiled(&workspace.join(folder)).iter().all(|source| is_older(source)))
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

/// All files below a folder but those of tests and documents, which are in no binary.
fn compiled(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is in the workspace") {
        let path = entry.expect("the entry can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "tests" || name == "tests.rs" || name.ends_with(".md") {
            continue;
        }
        if path.is_dir() { files.extend(compiled(&path)) } else { files.push(path) }
    }
    files
}
