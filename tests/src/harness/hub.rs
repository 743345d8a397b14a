//! A hub in a folder of its own: the real gateway on a port of the loopback, its agencies, and what it must not hold.
//!
//! Each test starts one, in this process or as a process of its own to be killed, and must [`end`](Hub::end) it: the
//! gateway is stopped, and then its folder, what it logged and what it counted are searched for the words that stand in
//! the contents of signals alone. A hub that is dropped without that fails its test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use seinpost_certs::world::World;
use seinpost_client::client::Client;
use seinpost_client::clock::Clock;
use seinpost_client::content;
use seinpost_client::keys::Windows;
use seinpost_client::profile::Profile;
use seinpost_gateway as gateway;
use seinpost_gateway::clock::Hand;
use seinpost_gateway::config::{Config, Sources};
use seinpost_gateway::serve::{Gateway, NoStart, Options, Running};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::SignalType;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::canary;
use super::logs;
use super::patience::within;
use super::process::Process;
use super::raw::Credentials;
use super::world;

/// A hub with its world.
pub struct Hub {
    folder: TempDir,
    world: World,
    gateway: State,
    canary: String,
    planted: Mutex<Vec<String>>,
    /// Where the log of this process was when the hub was made.
    log_begins: usize,
    ended: bool,
}

enum State {
    Stopped,
    Here(Running),
    Apart(Process),
}

impl Hub {
    /// Starts a hub in this process.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start() -> Self {
        let mut hub = Self::prepare();
        hub.serve().await;
        hub
    }

    /// Starts a hub as a process of its own, which can be killed and whose memory can be measured.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_apart() -> Self {
        let mut hub = Self::prepare();
        hub.serve_apart().await;
        hub
    }

    /// Makes a hub that is not served yet.
    ///
    /// # Panics
    /// If its world cannot be made.
    #[must_use]
    pub fn prepare() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        logs::capture();
        let folder = tempfile::tempdir().expect("a folder can be made");
        let world = world::make(&folder.path().join("world"));
        bear_with_slow_machines(&world);
        // A word that stands nowhere but in contents of this very hub.
        let canary = format!("Kanarie{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self::stopped(folder, world, canary)
    }

    /// Makes a second hub of all that there is: one history up to here, one log key, the same agencies.
    ///
    /// # Panics
    /// If this one is being served, or cannot be copied.
    #[must_use]
    pub fn twin(&self) -> Self {
        assert!(matches!(self.gateway, State::Stopped), "a hub is copied while nothing is written");
        let folder = tempfile::tempdir().expect("a folder can be made");
        world::copy_folder(self.world.folder(), &folder.path().join("world"));
        let world = World::load(&folder.path().join("world")).expect("a world can be read");
        Self::stopped(folder, world, self.canary.clone())
    }

    fn stopped(folder: TempDir, world: World, canary: String) -> Self {
        Self {
            folder,
            world,
            gateway: State::Stopped,
            canary,
            planted: Mutex::default(),
            log_begins: logs::mark(),
            ended: false,
        }
    }

    /// Serves in this process, with the files as they are now.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn serve(&mut self) {
        self.try_serve(Options::default()).await.expect("the gateway starts");
    }

    /// Serves in this process, with a clock that the test moves by hand.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn serve_with_clock(&mut self, at: Timestamp) -> Hand {
        self.serve_by_hand(at, false).await
    }

    /// As [`Hub::serve_with_clock`], and the operator says that the clock is right.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn serve_with_confirmed_clock(&mut self, at: Timestamp) -> Hand {
        self.serve_by_hand(at, true).await
    }

    async fn serve_by_hand(&mut self, at: Timestamp, confirm_clock: bool) -> Hand {
        let (given, taken) = std::sync::mpsc::channel();
        let clock = move |last_record| {
            let (clock, hand) = gateway::clock::Clock::by_hand(at, last_record);
            given.send(hand).expect("the harness waits for it");
            clock
        };
        let options = Options { clock: Some(Box::new(clock)), confirm_clock };
        self.try_serve(options).await.expect("the gateway starts");
        taken.recv().expect("the gateway took its clock")
    }

    /// Serves in this process.
    ///
    /// # Errors
    /// What keeps the gateway from starting.
    ///
    /// # Panics
    /// If it is served already.
    pub async fn try_serve(&mut self, options: Options) -> Result<(), NoStart> {
        assert!(matches!(self.gateway, State::Stopped), "the hub is served already");
        let running = Gateway::start_with(self.config(), options).await?;
        self.gateway = State::Here(running);
        self.point_profiles();
        Ok(())
    }

    /// Serves as a process of its own, with the files as they are now.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn serve_apart(&mut self) {
        self.try_serve_apart().await.expect("the gateway starts");
    }

    /// Serves as a process of its own.
    ///
    /// # Errors
    /// What the process wrote before it ended.
    ///
    /// # Panics
    /// If it is served already.
    pub async fn try_serve_apart(&mut self) -> Result<(), String> {
        assert!(matches!(self.gateway, State::Stopped), "the hub is served already");
        self.gateway = State::Apart(Process::start(&self.world.gateway_config()).await?);
        self.point_profiles();
        Ok(())
    }

    fn point_profiles(&self) {
        self.world.point_profiles_at(&self.address().to_string()).expect("the profiles can be written");
    }

    /// Keeps the port that the system chose, so that clients find the gateway again after it went away.
    ///
    /// # Panics
    /// If the configuration cannot be written.
    pub fn keep_address(&self) {
        let path = self.world.gateway_config();
        let text = std::fs::read_to_string(&path).expect("the configuration can be read");
        let text = text.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"{}\"", self.address()), 1);
        std::fs::write(&path, text).expect("the configuration can be written");
    }

    /// Returns the gateway's configuration as its file has it.
    ///
    /// # Panics
    /// If the file has faults.
    #[must_use]
    pub fn config(&self) -> Config {
        let sources = Sources::read(&self.world.gateway_config()).expect("the configuration can be read");
        sources.config().expect("the configuration is right")
    }

    /// Stops the gateway as an operator does: what is under way is finished.
    ///
    /// # Panics
    /// If it does not end well.
    pub async fn stop(&mut self) {
        match std::mem::replace(&mut self.gateway, State::Stopped) {
            State::Stopped => {}
            State::Here(running) => running.stop().await.expect("the gateway ends well"),
            State::Apart(process) => process.stop().await,
        }
    }

    /// Kills the gateway's process, as a crash does.
    ///
    /// # Panics
    /// If it is not a process of its own.
    pub async fn kill(&mut self) {
        match std::mem::replace(&mut self.gateway, State::Stopped) {
            State::Apart(process) => process.kill().await,
            State::Stopped | State::Here(_) => panic!("the hub is no process of its own"),
        }
    }

    /// Returns the gateway's process.
    ///
    /// # Panics
    /// If it is not a process of its own.
    #[must_use]
    pub fn process(&self) -> &Process {
        match &self.gateway {
            State::Apart(process) => process,
            State::Stopped | State::Here(_) => panic!("the hub is no process of its own"),
        }
    }

    /// Stops the gateway and serves again.
    ///
    /// # Panics
    /// If it does not.
    pub async fn restart(&mut self) {
        let apart = matches!(self.gateway, State::Apart(_));
        self.stop().await;
        if apart { self.serve_apart().await } else { self.serve().await }
    }

    /// Returns where agencies connect.
    ///
    /// # Panics
    /// If the hub is not served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match &self.gateway {
            State::Here(running) => running.address(),
            State::Apart(process) => process.address(),
            State::Stopped => panic!("the hub is not served"),
        }
    }

    /// Waits until the gateway has told its core the time so many times more.
    ///
    /// # Panics
    /// If it is not served in this process, or its time stands still.
    pub async fn ticked(&self, times: u64) {
        match &self.gateway {
            State::Here(running) => within("the core is told the time", running.ticked(times)).await,
            State::Stopped | State::Apart(_) => panic!("the hub is not served in this process"),
        }
    }

    /// Returns the world.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Returns the world, to be changed.
    pub fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// Returns a folder for the test's own files, apart from hub and world.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the gateway's data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.config().data
    }

    /// Reads an identity's profile.
    ///
    /// # Panics
    /// If it has faults.
    #[must_use]
    pub fn profile(&self, identity: &str) -> Profile {
        Profile::load(&self.world.profile(identity)).expect("the profile is right")
    }

    /// Opens an identity's client as it is; what it needs for being written to is not published.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn open(&self, identity: &str) -> Client {
        Client::open(self.profile(identity)).expect("the client can be opened")
    }

    /// Opens an identity's client at another gateway, with the state that it has.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn open_at(&self, identity: &str, gateway: SocketAddr) -> Client {
        let profile = Profile { gateway: gateway.to_string(), ..self.profile(identity) };
        Client::open(profile).expect("the client can be opened")
    }

    /// Opens an identity's client with a clock of the test's own.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn open_with_clock(&self, identity: &str, clock: Clock) -> Client {
        Client::open_at(self.profile(identity), clock).expect("the client can be opened")
    }

    /// Opens an identity's client and, where it is still to be done, publishes its certificate and a sealing key.
    ///
    /// # Panics
    /// If that fails.
    pub async fn client(&self, identity: &str) -> Client {
        let client = self.open(identity);
        if client.sealing_keys().list().expect("the state can be read").is_empty() {
            client.publish_certificate().await.expect("the certificate is published");
            client.publish_key(Windows::default()).await.expect("the sealing key is published");
        }
        client
    }

    /// Reads an identity's transport credentials.
    ///
    /// # Panics
    /// If they cannot be read.
    #[must_use]
    pub fn credentials(&self, identity: &str) -> Credentials {
        let folder = self.world.identity_folder(identity);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("the identity has its files");
        Credentials { certificate: read("tls.pem"), key: read("tls.key") }
    }

    /// Returns all identities by the digest of their transport certificate.
    pub(crate) fn peers(&self) -> BTreeMap<Digest, (String, Credentials)> {
        let peer = |name: &str| {
            let credentials = self.credentials(name);
            let leaf = CertificateDer::from_pem_slice(credentials.certificate.as_bytes()).expect("it is PEM");
            (Digest::of(&leaf), (name.to_owned(), credentials))
        };
        self.world.identities().map(|identity| peer(identity.name)).collect()
    }

    /// Returns the word that stands in contents of this hub's signals and nowhere else.
    #[must_use]
    pub fn canary(&self) -> &str {
        &self.canary
    }

    /// Adds a word for which hub, log and counts are searched at the end.
    ///
    /// # Panics
    /// Only if another thread of the test panicked.
    pub fn guard(&self, word: impl Into<String>) {
        self.planted.lock().expect("no thread of the test panicked").push(word.into());
    }

    /// Returns a signal as a person writes it: the type's own example, with the hub's canary in its content.
    ///
    /// # Panics
    /// If the type is not of this version.
    #[must_use]
    pub fn example(&self, signal_type: SignalType) -> Json {
        let text = content::template(signal_type).expect("the type is of this version");
        let mut file: Json = serde_json::from_str(text).expect("the example is JSON");
        let canary = &self.canary;
        let content = &mut file["content"];
        content["handler"]["name"] = json!(format!("{canary} behandelaar"));
        match signal_type {
            SignalType::ExploitationSignal => {
                content["subject"]["names"]["family"] = json!(canary);
                content["observations"][0]["text"] = json!(format!("Op school heet dit kind {canary}."));
            }
            SignalType::Consultation => content["question"]["question"] = json!(format!("Wat nu met {canary}?")),
            SignalType::ConsultationAdvice => content["advice"]["answers"][0] = json!(format!("Bel {canary}.")),
            _ => {}
        }
        file
    }

    /// Searches the hub's folder, all that gateways of this process or the hub's own logged, and the counts.
    ///
    /// # Panics
    /// If something cannot be searched.
    #[must_use]
    pub fn search(&self, words: &[&str]) -> Vec<canary::Hit> {
        let mut hits = canary::search_folder(&self.world.hub_folder(), words);
        hits.extend(canary::search_bytes(Path::new("log"), &logs::captured_since(self.log_begins), words));
        hits.extend(canary::search_bytes(Path::new("metrics"), gateway::metrics::render().as_bytes(), words));
        hits
    }

    /// Stops the gateway and searches for what must not be there.
    ///
    /// # Panics
    /// If a word of a content is found.
    pub async fn end(mut self) {
        if let State::Apart(process) = &self.gateway {
            logs::add(process.metrics().await.as_bytes());
        }
        self.stop().await;
        self.ended = true;
        let mut words = self.planted.lock().expect("no thread of the test panicked").clone();
        words.push(self.canary.clone());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let hits = self.search(&words);
        assert!(hits.is_empty(), "words of contents were found at the hub: {hits:#?}");
    }
}

/// Gives handshakes more time than an operator does, and the disk no floor: the machine of a test may be busy and full.
fn bear_with_slow_machines(world: &World) {
    let path = world.gateway_config();
    let text = std::fs::read_to_string(&path).expect("the configuration can be read");
    let limits = "[limits]\nhandshake = \"2m\"\npreface = \"2m\"\ndisk_free = \"0KiB\"\n";
    let patient = text.replacen("[limits]\n", limits, 1);
    assert_ne!(patient, text, "a world's configuration has limits");
    std::fs::write(&path, patient).expect("the configuration can be written");
}

impl Drop for Hub {
    fn drop(&mut self) {
        if !self.ended && !std::thread::panicking() {
            panic!("a hub was dropped without being ended: it was not searched for canaries");
        }
    }
}
