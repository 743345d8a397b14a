//! A gateway that may hold few files and sockets: whoever takes them all does not stop it, and shuts nobody out.
//!
//! The number is set for the real binary, since a process's own limit is also that of every other test in it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use common::{Agency, Hub, PATIENCE, channel, item_digest, within};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use seinpost_certs::key::Key;
use seinpost_certs::world::World;
use seinpost_protocol::wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// The gateway as a process that may hold 64 descriptors.
struct Process {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
    log: Option<JoinHandle<Vec<String>>>,
}

impl Process {
    fn start(config: &Path) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", r#"ulimit -n 64 && exec "$0" serve --config "$1""#, env!("CARGO_BIN_EXE_seinpost-gateway")])
            .arg(config)
            .env("SEINPOST_LOGS__FORMAT", "json")
            .env("SEINPOST_LIMITS__SEGMENT", "17MiB")
            // None is dropped for being slow, neither an agency on a busy machine nor a silent one: they must make room.
            .env("SEINPOST_LIMITS__HANDSHAKE", "5m")
            .env("SEINPOST_LIMITS__DISK_FREE", "0MiB")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stderr.take().unwrap();
        let (serving, served) = std::sync::mpsc::channel();
        let log = std::thread::spawn(move || {
            let mut lines = Vec::new();
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if said["fields"]["message"] == "serving" {
                    let address = |name: &str| said["fields"][name].as_str().unwrap().parse().unwrap();
                    serving.send((address("address"), address("metrics"))).unwrap();
                }
                lines.push(line);
            }
            lines
        });
        let (address, metrics) = served.recv_timeout(PATIENCE).expect("it serves");
        Self { child, address, metrics, log: Some(log) }
    }

    async fn count(&self, name: &str) -> u64 {
        let mut socket = TcpStream::connect(self.metrics).await.unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |count| count.parse().unwrap())
    }

    /// Ends it as an operator does, and returns what it said.
    fn end(mut self) -> Vec<String> {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        let ended = self.child.wait().unwrap();
        let said = self.log.take().unwrap().join().unwrap();
        assert!(ended.success(), "{ended}: {said:#?}");
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agency(hub: &Hub, address: SocketAddr, name: &str) -> Agency {
    let world: &World = &hub.world;
    let read = |file: &str| fs::read_to_string(world.identity_folder(name).join(file)).unwrap();
    let chain = CertificateDer::pem_slice_iter(read("signing.pem").as_bytes())
        .map(|der| Bytes::copy_from_slice(&der.unwrap()))
        .collect();
    Agency {
        address: world.address(name).unwrap(),
        channel: channel(address, &read("tls.pem"), &read("tls.key")),
        chain,
        key: Arc::new(Key::from_pem(&read("signing.key")).unwrap()),
        covenant: hub.covenant(),
        certificate: None,
    }
}

/// Opens silent sockets from many addresses, since each has few handshakes at one time.
async fn flood(at: SocketAddr) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    for last in 2..10 {
        for _ in 0..30 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).unwrap();
            silent.push(socket.connect(at).await.unwrap());
        }
    }
    silent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_out_of_descriptors_serves_on_and_lets_agencies_in() {
    let hub = Hub::made();
    let process = Process::start(&hub.world.gateway_config());
    let (police, home) =
        (agency(&hub, process.address, "police-amsterdam"), agency(&hub, process.address, "safe-home-amsterdam"));
    police.publish().await.unwrap();
    home.publish().await.unwrap();
    let seen = home.seen().await;
    let statement = home.key_statement(&seen, 1);
    let home_key = item_digest(statement.item.as_ref().unwrap());
    home.submit(statement).await.unwrap();

    let mut silent = flood(process.address).await;
    // Whoever was let in before writes on, more than one segment of the journal, which needs new files.
    for _ in 0..20 {
        let mut draft = police.signal(&seen, home.address, home_key);
        draft.sealed_content = vec![0x5e; 1024 * 1024].into();
        draft.header.size_class = wire::SizeClass::Kib1024.into();
        police.submit(police.finish(&draft)).await.unwrap();
    }
    // Whoever comes now is let in, although the silent ones keep coming.
    silent.extend(flood(process.address).await);
    let shelter = agency(&hub, process.address, "shelter");
    within("it is let in", shelter.seen()).await;

    drop(silent);
    home.seen().await;
    let evicted = process.count("seinpost_handshakes_evicted_total").await;
    assert!(evicted > 0, "there were more of them than descriptors");
    let said = process.end();
    assert!(!said.iter().any(|line| line.contains("ALARM: stopped")), "{said:#?}");
}
