//! Whether the gateway may go on: what is watched, what is alarmed, and what closes.
//!
//! A helper that is late does not stop intake at once: it is alarmed first (a warning, a metric), then a stated grace
//! runs, then the gateway fails closed. [`Intake`] is the one gate that every new item and certificate passes;
//! [`Watch`] looks every few seconds at revocation lists, covenant, disk and sequencer, cuts connections whose peers
//! lost their functions, and says so to the health service. Reading goes on as long as there is anything to read.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use seinpost_protocol::certificate::Crl;
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use tokio::sync::watch;
use tokio::time::sleep;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{error, info, warn};

use crate::accept::Connections;
use crate::adopt::Covenants;
use crate::errors::Refused;
use crate::identity::Caller;
use crate::rpc::Crls;
use crate::tls::{Now, Tls, Trust};

/// How often everything is looked at: a peer that lost its functions is cut within this time.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The gate that new items pass. Cheap to clone.
#[derive(Clone)]
pub struct Intake(Arc<Gate>);

struct Gate {
    /// The lists that are not overdue beyond the grace, by which certificates are judged.
    crls: ArcSwap<Crls>,
    /// Two histories of the log were seen; only a person opens this again.
    fork: AtomicBool,
    /// Why else it is closed, as the reasons of the table of errors.
    closed: Mutex<BTreeSet<&'static str>>,
}

impl Intake {
    /// Opens the gate, judging by these lists; `fork` says that evidence of a second history lies there.
    #[must_use]
    pub fn new(crls: Crls, fork: bool) -> Self {
        let crls = ArcSwap::from_pointee(crls);
        Self(Arc::new(Gate { crls, fork: AtomicBool::new(fork), closed: Mutex::default() }))
    }

    /// Refuses while the gate is closed, and says why.
    pub fn check(&self) -> Result<(), Refused> {
        if self.0.fork.load(Ordering::Acquire) {
            return Err(Refused::of("INTAKE_STOPPED"));
        }
        let closed = self.0.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.first().map_or(Ok(()), |reason| Err(Refused::of(reason)))
    }

    /// Returns the revocation lists by which certificates are judged now.
    #[must_use]
    pub fn crls(&self) -> Crls {
        Crls::clone(&self.0.crls.load())
    }

    /// Closes the gate until a person has looked at the evidence.
    pub fn stop_for_fork(&self) {
        self.0.fork.store(true, Ordering::Release);
        metrics::gauge!("seinpost_intake_open").set(0.0);
    }

    fn is_forked(&self) -> bool {
        self.0.fork.load(Ordering::Acquire)
    }

    /// Opens or closes the gate for one reason.
    fn set(&self, reason: &'static str, closed: bool) {
        let mut reasons = self.0.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = if closed { reasons.insert(reason) } else { reasons.remove(reason) };
        match (changed, closed) {
            (false, _) => {}
            (true, true) => error!(reason, "ALARM: intake is closed"),
            (true, false) => info!(reason, "intake is open again"),
        }
    }

    fn is_open(&self) -> bool {
        self.check().is_ok()
    }
}

/// What is watched, and who is told.
pub struct Watch {
    /// Reads the time.
    pub now: Now,
    /// The gate.
    pub intake: Intake,
    /// Covenants that rule or will.
    pub covenants: Covenants,
    /// The newest revocation list of each issuer.
    pub crls: Vec<Crl>,
    /// How long an overdue list is still good for.
    pub crl_grace: Duration,
    /// The door, which judges certificates by covenant and lists.
    pub tls: Tls,
    /// The open connections.
    pub connections: Connections,
    /// The data folder, whose disk is watched.
    pub data: PathBuf,
    /// Free bytes below which intake closes.
    pub disk_free_bytes: u64,
    /// Says whether the sequencer still writes, and whether it doubts its clock.
    pub writer: Box<dyn Fn() -> Writer + Send>,
    /// The health service.
    pub reporter: HealthReporter,
}

/// How the one writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// It writes.
    Well,
    /// It writes nothing until an operator confirms the clock.
    DoubtsClock,
    /// It has stopped, for good in this process.
    Stopped,
}

/// What the last look found, so that news is told once.
#[derive(Default)]
struct Before {
    judged_by: Option<(Digest, Vec<Digest>)>,
    overdue: BTreeSet<Digest>,
}

impl Watch {
    /// Looks until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut before = Before::default();
        loop {
            self.look(&mut before).await;
            crate::metrics::upkeep();
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = sleep(LOOK_EVERY) => {}
            }
        }
        self.reporter.set_service_status("", ServingStatus::NotServing).await;
    }

    async fn look(&mut self, before: &mut Before) {
        let now = (self.now)();
        let covenant = self.covenants.ruling(now);
        let overdue: Vec<&Crl> = self.crls.iter().filter(|crl| crl.next_update() < now).collect();
        metrics::gauge!("seinpost_crls_overdue").set(overdue.len() as f64);
        for crl in overdue.iter().filter(|crl| before.overdue.insert(crl.sha256())) {
            let (due, closes) = (crl.next_update(), crl.next_update() + self.crl_grace);
            error!(issuer = %crl.issuer_sha256(), %due, %closes, "ALARM: a revocation list is overdue");
        }
        let good: Vec<Crl> = self.crls.iter().filter(|crl| now < crl.next_update() + self.crl_grace).cloned().collect();
        let lists_hold = good.len() == self.crls.len();
        self.intake.set("CRL_OVERDUE", !lists_hold);
        let judged_by = (covenant.digest(), good.iter().map(Crl::sha256).collect());
        if before.judged_by.as_ref() != Some(&judged_by) {
            self.judge_anew(&covenant, good);
            before.judged_by = Some(judged_by);
        }
        // Bindings of keys and certificates end at any time, so this is asked each time and not at a change alone.
        self.connections.cut(|peer| Caller::identify(peer, &covenant, now).is_none());

        let valid = covenant.is_valid_at(now);
        self.intake.set("NO_COVENANT", !valid);
        self.intake.set("DISK_FLOOR", self.disk_is_full());
        let writer = (self.writer)();
        self.intake.set("CLOCK_DOUBT", writer == Writer::DoubtsClock);
        let serving = lists_hold && writer != Writer::Stopped && !self.intake.is_forked();
        metrics::gauge!("seinpost_intake_open").set(if self.intake.is_open() { 1.0 } else { 0.0 });
        metrics::gauge!("seinpost_covenant_serial").set(covenant.serial() as f64);
        metrics::gauge!("seinpost_covenant_valid_seconds").set(covenant.valid_until().since(now).as_secs_f64());
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status("", status).await;
    }

    /// Judges from now on by this covenant and these lists.
    fn judge_anew(&self, covenant: &Covenant, good: Vec<Crl>) {
        let ders: Vec<_> = good.iter().map(|crl| crl.der().clone()).collect();
        match Trust::new(covenant, &ders, self.now.clone()) {
            Ok(trust) => self.tls.exchange_trust(trust),
            Err(cause) => error!(%cause, "ALARM: certificates go on being judged as before"),
        }
        self.intake.0.crls.store(Arc::new(Crls::new(good)));
    }

    fn disk_is_full(&self) -> bool {
        match rustix::fs::statvfs(&self.data) {
            Ok(disk) => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                metrics::gauge!("seinpost_disk_free_bytes").set(free as f64);
                free < self.disk_free_bytes
            }
            // A disk that does not answer is not a full one; the journal will say what is wrong with it.
            Err(error) => {
                warn!(%error, "the disk of the data folder does not say how full it is");
                false
            }
        }
    }
}
