//! The client against a hub that tells the truth, and against the same hub as it lies, over real TLS.
//!
//! What is tested is what the client promises: what it sends is explained before it leaves and proven after; what it
//! receives is verified or withheld; and a hub that rewrites, forgets, withholds or contradicts itself is found out, with
//! evidence. The hub judges nothing; see `fake`.
//!
//! Here stand the stage and what agencies do on it; the rooms are in the order in which to read them.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]
#![allow(clippy::expect_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod fake;

mod sending;
mod connection;
mod keys;
mod mailbox;
mod history;
mod proofs;
mod contradictions;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use fake::Hub;
use seinpost_certs::world::{Options, World};
use seinpost_client::audit::AuditReport;
use seinpost_client::client::Client;
use seinpost_client::clock::Clock;
use seinpost_client::error::{Error, Fault};
use seinpost_client::keys::Windows;
use seinpost_client::profile::Profile;
use seinpost_client::receive::{Mailbox, Received, ReceivedSignal, SignalContent, Start};
use seinpost_client::send::{ContentCheck, ContentContext, ContentFault, KeepCopy, Outgoing, Submitted, To};
use seinpost_protocol::address::Function;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

const POLICE: &str = "police-amsterdam";
const SAFE_HOME: &str = "safe-home-amsterdam";

/// How long a test waits for what must come; a test that passes never waits so long.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the police writes.
const TEXT: &[u8] = b"Fictief: twee jongens van 15";

/// Takes any content, but for that which begins with a word.
struct Check;

impl ContentCheck for Check {
    fn before_sealing(&self, content: &[u8], context: &ContentContext<'_>) -> Result<(), Vec<Fault>> {
        assert_eq!(context.profile.r#type(), context.signal_type);
        if content.starts_with(b"bad") { Err(vec![Fault::new("content", "begins badly")]) } else { Ok(()) }
    }

    fn after_opening(&self, content: &[u8], _: &ContentContext<'_>) -> Result<(), ContentFault> {
        if content.starts_with(b"much") {
            let faults = vec![Fault::new("content", "is too much")];
            return Err(ContentFault { answer: wire::AnswerCode::ExcessData, faults });
        }
        Ok(())
    }
}

/// A world with a hub; its time goes on by a millisecond whenever somebody asks.
struct Stage {
    _folder: tempfile::TempDir,
    _made: Arc<(tempfile::TempDir, World)>,
    world: World,
    hub: Hub,
    clock: Clock,
    millis: Arc<AtomicI64>,
}

const START_MILLIS: i64 = 1_795_500_000_000;

fn clock(millis: &Arc<AtomicI64>) -> Clock {
    let millis = Arc::clone(millis);
    Clock::from_fn(move || Timestamp::clamped(millis.fetch_add(1, Ordering::Relaxed)))
}

fn start() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(START_MILLIS))
}

/// The one world that is made for all tests that run together, since its keys take a second; it goes with the last.
fn made() -> Arc<(tempfile::TempDir, World)> {
    static MADE: Mutex<Weak<(tempfile::TempDir, World)>> = Mutex::new(Weak::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = made.upgrade() {
        return made;
    }
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        listen: "127.0.0.1:1".into(),
        metrics: String::new(),
        origin: "log.seinpost.test/client".into(),
        now: Timestamp::clamped(START_MILLIS),
    };
    let world = World::make(&folder.path().join("world"), &options).unwrap();
    let new = Arc::new((folder, world));
    *made = Arc::downgrade(&new);
    new
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let millis = start();
        let clock = clock(&millis);
        let made = made();
        let world = made.1.copy_to(&folder.path().join("world")).unwrap();
        let now = clock.clone();
        let hub = Hub::start(&world, move || now.now()).await;
        Self { _folder: folder, _made: made, world, hub, clock, millis }
    }

    /// A stage on which police and safe home have published certificate and key.
    async fn ready() -> (Self, Client, Client) {
        let stage = Self::new().await;
        let (police, safe_home) = (stage.client(POLICE), stage.client(SAFE_HOME));
        for client in [&police, &safe_home] {
            client.publish_certificate().await.unwrap();
            client.publish_key(Windows::default()).await.unwrap();
        }
        (stage, police, safe_home)
    }

    fn client(&self, name: &str) -> Client {
        let profile = Profile::load(&self.world.profile(name)).unwrap();
        Client::open_at(profile, self.clock.clone()).unwrap()
    }

    fn hub_file(&self) -> HubFile {
        HubFile::parse(&std::fs::read_to_string(self.world.hub_file()).unwrap()).unwrap()
    }
}

fn outgoing() -> Outgoing {
    Outgoing {
        signal_type: wire::SignalType::ExploitationSignal,
        to: vec![To {
            function: Function::SafeHome,
            oin: None,
            municipality: Some("0363".into()),
            legal_basis: "BPG_4_2_1_I".into(),
            basis_reference: None,
        }],
        source_regime: wire::SourceRegime::Wpg8,
        purpose: wire::Purpose::ProtectChild,
        urgency: wire::Urgency::Today,
        handling: vec![wire::Handling::NotToParents, wire::Handling::NoOnward],
        conversation: None,
        in_reply_to: None,
        supersedes: None,
        expires: None,
        retention_class: None,
    }
}

async fn send(police: &Client) -> Submitted {
    police.send(&outgoing(), TEXT, &Check, KeepCopy::No).await.unwrap()
}

async fn open(client: &Client) -> Mailbox {
    client.receive(Start::Pinned, Arc::new(Check)).await.unwrap()
}

/// Reads until something comes that is no head, key statement or notice.
async fn next(mailbox: &mut Mailbox) -> Received {
    loop {
        let received = mailbox.next_within(PATIENCE).await.unwrap().expect("something comes");
        mailbox.acknowledge(&received).unwrap();
        if !matches!(received, Received::Head(_) | Received::KeyStatement(_) | Received::Notice(_)) {
            return received;
        }
    }
}

/// Reads until an error ends the stream.
async fn fails(mailbox: &mut Mailbox) -> Error {
    loop {
        match mailbox.next_within(PATIENCE).await {
            Ok(received) => mailbox.acknowledge(&received.expect("something comes")).unwrap(),
            Err(error) => return error,
        }
    }
}

async fn next_signal(mailbox: &mut Mailbox) -> Box<ReceivedSignal> {
    match next(mailbox).await {
        Received::Signal(signal) => signal,
        Received::Withheld(withheld) => panic!("withheld: {}", withheld.error),
        Received::Alarm(alarm) => panic!("alarm: {alarm}"),
        _ => panic!("no signal"),
    }
}

async fn audit(client: &Client) -> Result<AuditReport, Error> {
    client.audit(&mut |_| {}).await
}

fn text_of(signal: &ReceivedSignal) -> &[u8] {
    match &signal.content {
        SignalContent::Readable { content, .. } => content.as_bytes(),
        SignalContent::Unfit { fault, .. } => panic!("unfit: {:?}", fault.faults),
        SignalContent::Unreadable { reason, .. } => panic!("unreadable: {reason}"),
        SignalContent::Erased => panic!("erased"),
    }
}
