//! The thread `sequencer`, the one writer: it decides, seals, appends and answers.
//!
//! In come commands with what travels beside them, through a bounded queue; out go outcomes. It takes all that waits,
//! one time for the whole batch, and nobody hears anything before the journal has it: a receipt is a promise, and so is
//! a refusal that stands in the log. A fault of the journal ends the thread and with it every answer; the restart
//! finds out what was kept. Between batches, when all that it knows is durable, it also tells what stands in a mailbox.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use bytes::Bytes;
use seinpost_core::command::Command;
use seinpost_core::decide::{Answer, Decision};
use seinpost_core::decider::Decider;
use seinpost_core::refusal::Refusal;
use seinpost_core::state::State;
use seinpost_protocol::address::Address;
use seinpost_protocol::time::Timestamp;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::applier::{self, Applied, Applier};
use crate::clock::Clock;
use crate::commit::{BlobKind, Commit, Durable};
use crate::fault::Fault;
use crate::head::HeadFile;
use crate::journal::Journal;
use crate::log::{HeadFacts, Log, Sealing};
use crate::mailbox::Mailboxes;
use crate::queue::{Queue, Taken, Unqueued};
use crate::store::Store;

/// Commands in one batch: enough that one `fdatasync` is shared by many, few enough that the first is not kept waiting.
const COMMANDS_PER_BATCH_MAX: usize = 512;
/// Bytes that travel beside them in one batch: about what a disk takes in the time of its `fdatasync`.
const BYTES_PER_BATCH_MAX: usize = 4 * 1024 * 1024;
/// Commands that may wait: eight batches; who comes later is told to come back.
const COMMANDS_WAITING_MAX: usize = 8 * COMMANDS_PER_BATCH_MAX;
/// Bytes that may wait: half of the byte budget at the door, the other half is still being read.
const BYTES_WAITING_MAX: usize = 64 * 1024 * 1024;
/// What a command itself takes, roughly, beside what travels with it.
const COMMAND_BYTES: usize = 1024;

/// What became of a command.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is recorded, and survives a power cut.
    Recorded {
        /// The commit, from which a receipt is cut.
        durable: Durable,
        /// Index of the record that the receipt is about.
        index: u64,
    },
    /// It was recorded before.
    Already {
        /// Index of the record that the receipt is about.
        index: u64,
    },
    /// It is refused.
    Refused(Refusal),
    /// There was nothing to record.
    Nothing,
    /// Too much waits; it may come again.
    Busy,
    /// The clock is in doubt; nothing is recorded until an operator confirms it.
    ClockInDoubt,
    /// The disk has no room; it may come again when there is.
    Full,
    /// The gateway stops, or has stopped on a fault: nobody knows whether it was recorded. The same item may come again.
    Stopped,
}

/// How far the log is for sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// How many records it holds.
    pub size: u64,
    /// The signed note that covers them.
    pub checkpoint: Bytes,
}

/// Becomes what became of a command.
#[must_use = "nothing is promised before this resolves"]
pub struct Reply(Waiting);

enum Waiting {
    For(oneshot::Receiver<Outcome>),
    Over(Outcome),
}

impl Reply {
    /// Waits until the outcome is here, without taking it: whoever gives up waiting loses nothing.
    pub async fn arrived(&mut self) {
        if let Waiting::For(answer) = &mut self.0 {
            let outcome = answer.await.unwrap_or(Outcome::Stopped);
            self.0 = Waiting::Over(outcome);
        }
    }
}

impl Future for Reply {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.0 {
            Waiting::For(answer) => Pin::new(answer).poll(context).map(|told| told.unwrap_or(Outcome::Stopped)),
            Waiting::Over(outcome) => Poll::Ready(outcome.clone()),
        }
    }
}

/// Takes commands. Cheap to clone.
#[derive(Clone)]
pub struct Sequencer {
    intake: Arc<Queue<Ask>>,
    newest: watch::Receiver<Newest>,
}

/// What can be asked of the thread.
enum Ask {
    Propose(Box<Proposal>),
    Head(HeadAsked),
}

struct Proposal {
    command: Command,
    blobs: Vec<(BlobKind, Bytes)>,
    reply: oneshot::Sender<Outcome>,
}

struct HeadAsked {
    address: Address,
    reply: oneshot::Sender<HeadFacts>,
}

impl Sequencer {
    /// Proposes a command. It is in the queue when this returns, behind all that were proposed before, and is decided also
    /// if the reply is dropped.
    pub fn submit(&self, command: Command, blobs: Vec<(BlobKind, Bytes)>) -> Reply {
        let bytes = COMMAND_BYTES + blobs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let (reply, answer) = oneshot::channel();
        match self.intake.offer(Ask::Propose(Box::new(Proposal { command, blobs, reply })), bytes) {
            Ok(()) => Reply(Waiting::For(answer)),
            Err(Unqueued::Full(_)) => Reply(Waiting::Over(Outcome::Busy)),
            Err(Unqueued::Closed(_)) => Reply(Waiting::Over(Outcome::Stopped)),
        }
    }

    /// Returns what stands in an address's mailbox, as the newest checkpoint covers it; `None` if nobody can tell now:
    /// too much waits, the clock is in doubt, or the gateway stops.
    pub fn mailbox_head(&self, address: Address) -> impl Future<Output = Option<HeadFacts>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let queued = self.intake.offer(Ask::Head(HeadAsked { address, reply }), COMMAND_BYTES);
        async move {
            match queued {
                Ok(()) => answer.await.ok(),
                Err(Unqueued::Full(_) | Unqueued::Closed(_)) => None,
            }
        }
    }

    /// Returns how far the log is for sure.
    #[must_use]
    pub fn newest(&self) -> Newest {
        self.newest.borrow().clone()
    }
}

/// What the two threads begin with: all of it read from one journal.
pub struct Parts {
    /// The state that the journal's events leave.
    pub state: State,
    /// The log, where the journal ends.
    pub log: Log,
    /// The journal.
    pub journal: Box<dyn Journal>,
    /// The store, which holds all that the journal does.
    pub store: Box<dyn Store>,
    /// The head file; a test may go without.
    pub head: Option<HeadFile>,
    /// The clock, started against the last record.
    pub clock: Clock,
    /// Who waits at which mailbox.
    pub mailboxes: Mailboxes,
}

/// Starts the threads `sequencer` and `applier`.
pub fn start(parts: Parts) -> Result<(Sequencer, Applied, Running), Fault> {
    let Parts { state, log, journal, store, head, clock, mailboxes } = parts;
    let intake = Arc::new(Queue::new(COMMANDS_WAITING_MAX, BYTES_WAITING_MAX));
    let (newest, seen) = watch::channel(Newest { size: log.size(), checkpoint: log.checkpoint().clone() });
    let (ended, end) = watch::channel(false);
    let ended = Arc::new(ended);
    let (applier, applied, work) = applier::prepare(store, head, state.clone(), mailboxes);
    let writer = Writer { decider: Decider::new(state), log, journal, clock, applier, intake: intake.clone(), newest };
    let applier = spawn("applier", &ended, &intake, move || work.run())?;
    // If this one cannot be started, the writer is dropped, which closes the applier's queue and so ends its thread.
    let sequencer = spawn("sequencer", &ended, &intake, move || writer.run())?;
    let running = Running { intake: intake.clone(), sequencer, applier, end };
    Ok((Sequencer { intake, newest: seen }, applied, running))
}

/// The two threads; whoever holds this waits for their end.
pub struct Running {
    intake: Arc<Queue<Ask>>,
    sequencer: JoinHandle<Result<(), Fault>>,
    applier: JoinHandle<Result<(), Fault>>,
    end: watch::Receiver<bool>,
}

impl Running {
    /// Waits until a thread ends by itself, which is by a fault; [`Running::stop`] then tells which.
    pub fn failed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut end = self.end.clone();
        async move {
            let _ = end.wait_for(|ended| *ended).await;
        }
    }

    /// Lets nothing in any more, decides what waits, and waits for both threads. Blocks.
    ///
    /// # Errors
    ///
    /// The fault that ended them, if one did: then the process must end with an error too.
    pub fn stop(self) -> Result<(), Fault> {
        self.intake.close();
        let sequencer = joined(self.sequencer);
        // The applier ends when the sequencer has, since nothing more can come; its own fault explains the other's.
        joined(self.applier)?;
        sequencer
    }
}

fn joined(thread: JoinHandle<Result<(), Fault>>) -> Result<(), Fault> {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    thread.join().unwrap_or_else(|_| Err(Fault::Broken(format!("the thread {name} panicked"))))
}

/// Starts a named thread. When it ends, however it does, nothing is let in any more and whoever watches is told.
fn spawn(
    name: &'static str,
    ended: &Arc<watch::Sender<bool>>,
    intake: &Arc<Queue<Ask>>,
    run: impl FnOnce() -> Result<(), Fault> + Send + 'static,
) -> Result<JoinHandle<Result<(), Fault>>, Fault> {
    let end = End { ended: ended.clone(), intake: intake.clone() };
    let thread = std::thread::Builder::new().name(name.to_owned());
    let body = move || {
        let _end = end;
        let done = run();
        match &done {
            Ok(()) => info!(thread = name, "ended"),
            Err(fault) => error!(thread = name, %fault, "ALARM: stopped on a fault; nothing is answered any more"),
        }
        done
    };
    thread.spawn(body).map_err(|error| Fault::Broken(format!("the thread {name} cannot be started: {error}")))
}

/// Dropped when a thread ends, also by a panic.
struct End {
    ended: Arc<watch::Sender<bool>>,
    intake: Arc<Queue<Ask>>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.intake.close_and_drop();
        self.ended.send_replace(true);
    }
}

/// What the sequencer owns.
struct Writer {
    decider: Decider,
    log: Log,
    journal: Box<dyn Journal>,
    clock: Clock,
    applier: Applier,
    intake: Arc<Queue<Ask>>,
    newest: watch::Sender<Newest>,
}

/// A command that was decided, and who waits for it.
struct Decided {
    answer: Answer,
    reply: oneshot::Sender<Outcome>,
}

impl Writer {
    fn run(mut self) -> Result<(), Fault> {
        while let Taken::Some(asks) = self.intake.take(COMMANDS_PER_BATCH_MAX, BYTES_PER_BATCH_MAX, None) {
            let (mut proposals, heads) = sorted(asks);
            let Some(now) = self.time(&mut proposals) else {
                continue;
            };
            self.make_room(&mut proposals)?;
            let (decided, sealings): (Vec<Decided>, Vec<Sealing>) =
                proposals.into_iter().map(|proposal| self.decide(proposal, now)).unzip();
            let durable = match self.log.seal(&sealings) {
                // Nobody may hear "accepted" before the disk has it: a receipt is a promise.
                Some(commit) => Some(self.append(commit)?),
                None => None,
            };
            answer(decided, durable.as_ref());
            if let Some(durable) = durable {
                let events = sealings.into_iter().flat_map(|sealing| sealing.events).collect();
                self.applier.hand_over(durable.with_events(events))?;
            }
            self.tell(heads, now);
        }
        Ok(())
    }

    /// Returns the one time of the batch; `None` if the clock is in doubt. Then everybody is sent away but an operator who
    /// confirms it, and that confirmation is the first that is recorded.
    fn time(&self, proposals: &mut Vec<Proposal>) -> Option<Timestamp> {
        if let Ok(now) = self.clock.now() {
            return Some(now);
        }
        let confirms = |proposal: &mut Proposal| proposal.command == Command::ConfirmClock;
        let confirmations: Vec<Proposal> = proposals.extract_if(.., confirms).collect();
        turn_away(proposals, &Outcome::ClockInDoubt);
        *proposals = confirmations;
        if !proposals.is_empty() {
            self.clock.confirm();
        }
        let now = self.clock.now().ok();
        if now.is_none() {
            // The wall clock is outside of what a record can say; confirming does not change that.
            turn_away(proposals, &Outcome::ClockInDoubt);
        }
        now
    }

    /// Makes sure that the journal has room before anything is decided: what is decided must be written.
    fn make_room(&mut self, proposals: &mut Vec<Proposal>) -> Result<(), Fault> {
        if proposals.is_empty() {
            return Ok(());
        }
        match self.journal.prepare() {
            Err(Fault::Full { path, source }) => {
                warn!(path = %path.display(), %source, "ALARM: no room for the journal; nothing is taken");
                turn_away(proposals, &Outcome::Full);
                Ok(())
            }
            prepared => prepared,
        }
    }

    /// Decides one command. What it leaves for the log travels beside the record that its receipt is about; what is
    /// refused is kept by nobody.
    fn decide(&mut self, Proposal { command, blobs, reply }: Proposal, now: Timestamp) -> (Decided, Sealing) {
        let Decision { events, answer, suppressed: _ } = self.decider.decide(&command, now);
        let sealing = match answer {
            Answer::Recorded { index } => Sealing { events, blobs, subject: index },
            Answer::Already { index: _ } | Answer::Refused(_) | Answer::Nothing => {
                Sealing { subject: events.first().map_or(0, |event| event.index), events, blobs: Vec::new() }
            }
        };
        (Decided { answer, reply }, sealing)
    }

    fn append(&mut self, commit: Commit) -> Result<Durable, Fault> {
        let durable = self.journal.append(commit)?;
        self.newest.send_replace(Newest { size: durable.size(), checkpoint: durable.checkpoint.clone() });
        metrics::counter!("seinpost_commits_total").increment(1);
        metrics::counter!("seinpost_records_total").increment(durable.entries.len() as u64);
        Ok(durable)
    }

    /// Tells what stands in mailboxes. All of it is durable here.
    fn tell(&self, heads: Vec<HeadAsked>, now: Timestamp) {
        let time = self.decider.state().time().map_or(now, |last| last.max(now));
        for HeadAsked { address, reply } in heads {
            let _ = reply.send(self.log.head_facts(address, time));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.applier.close();
    }
}

/// Answers everybody of a batch. Whoever no longer listens finds the answer when the same item comes again.
fn answer(decided: Vec<Decided>, durable: Option<&Durable>) {
    for Decided { answer, reply } in decided {
        let outcome = match (answer, durable) {
            (Answer::Recorded { index }, Some(durable)) => Outcome::Recorded { durable: durable.clone(), index },
            (Answer::Recorded { index: _ }, None) => unreachable!("what is recorded has an event"),
            (Answer::Already { index }, _) => Outcome::Already { index },
            (Answer::Refused(refusal), _) => Outcome::Refused(refusal),
            (Answer::Nothing, _) => Outcome::Nothing,
        };
        let _ = reply.send(outcome);
    }
}

/// Sends everybody away with one outcome.
fn turn_away(proposals: &mut Vec<Proposal>, outcome: &Outcome) {
    for proposal in proposals.drain(..) {
        let _ = proposal.reply.send(outcome.clone());
    }
}

/// Parts what is to be recorded from what is only asked.
fn sorted(asks: Vec<Ask>) -> (Vec<Proposal>, Vec<HeadAsked>) {
    let mut proposals = Vec::with_capacity(asks.len());
    let mut heads = Vec::new();
    for ask in asks {
        match ask {
            Ask::Propose(proposal) => proposals.push(*proposal),
            Ask::Head(head) => heads.push(head),
        }
    }
    (proposals, heads)
}

#[cfg(test)]
mod tests;
