//! One slice of load: so many submissions in flight for so long, every answer kept for verification.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use prost::Message as _;
use seinpost_protocol::wire;
use seinpost_rpc::exchange_service_client::ExchangeServiceClient;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::cpu;

/// How submissions are put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One call each, so many in flight.
    Unary(usize),
    /// One pipelined stream.
    Stream,
}

impl Mode {
    /// The name of its ratio.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Unary(in_flight) => format!("unary_{in_flight}"),
            Self::Stream => "stream".to_owned(),
        }
    }
}

/// Calls in flight on one connection: what the gateway allows.
pub(crate) const STREAMS_PER_CONNECTION: usize = 64;
/// Submissions on their way in a pipelined stream.
const PIPELINE: usize = 64;

/// What one slice came to.
pub(crate) struct Slice {
    /// Submissions answered within the slice.
    pub(crate) operations: u64,
    /// How long it took.
    pub(crate) wall: Duration,
    /// CPU time of the server meanwhile.
    pub(crate) server: Duration,
    /// CPU time of this process meanwhile.
    pub(crate) client: Duration,
    /// Each answer with the place of its submission.
    pub(crate) answers: Vec<(usize, wire::SubmitResponse)>,
    /// Whether the submissions ran out before the time did.
    pub(crate) exhausted: bool,
}

/// What the server still does behind its answers belongs to them: its CPU time is read when it had this time to do it.
const SETTLING: Duration = Duration::from_millis(100);

impl Slice {
    /// Operations a second.
    pub(crate) fn rate(&self) -> f64 {
        self.operations as f64 / self.wall.as_secs_f64()
    }

    /// The length of an answer, on average.
    pub(crate) fn answer_bytes(&self) -> u64 {
        let bytes: usize = self.answers.iter().map(|(_, answer)| answer.encoded_len()).sum();
        bytes as u64 / self.operations.max(1)
    }

    /// Microseconds of CPU for each operation, at server and client.
    pub(crate) fn cpu_micros(&self) -> (f64, f64) {
        let per = |time: Duration| time.as_secs_f64() * 1e6 / self.operations.max(1) as f64;
        (per(self.server), per(self.client))
    }
}

/// The submissions of a slice.
pub(crate) type Items = Arc<[wire::SubmitRequest]>;

/// One slice to be run.
pub(crate) struct Load {
    /// How submissions are put on the wire.
    pub(crate) mode: Mode,
    /// For how long.
    pub(crate) length: Duration,
    /// What is submitted, in this order.
    pub(crate) requests: Items,
    /// Whether to begin again when all were submitted; otherwise each is submitted once and the slice ends early.
    pub(crate) again: bool,
}

/// A slice that runs: what its tasks share.
struct Run {
    requests: Items,
    again: bool,
    next: AtomicUsize,
    over: AtomicBool,
}

impl Load {
    /// Runs the slice against the server with this process id, over these channels.
    pub(crate) async fn run(self, channels: &[Channel], server: u32) -> Result<Slice, tonic::Status> {
        let Self { mode, length, requests, again } = self;
        for channel in channels {
            connect(channel).await?;
        }
        let run = Arc::new(Run { requests, again, next: AtomicUsize::new(0), over: AtomicBool::new(false) });
        let (server_before, client_before) = (cpu::used(server), cpu::used(std::process::id()));
        let begun = Instant::now();
        let timer = {
            let run = Arc::clone(&run);
            tokio::spawn(async move {
                tokio::time::sleep(length).await;
                run.over.store(true, Ordering::Relaxed);
            })
        };
        let answers = match mode {
            Mode::Unary(in_flight) => unary(in_flight, channels, &run).await?,
            Mode::Stream => stream(&channels[0], &run).await?,
        };
        let wall = begun.elapsed();
        let client = cpu::used(std::process::id()).saturating_sub(client_before);
        let exhausted = !run.over.load(Ordering::Relaxed);
        timer.abort();
        tokio::time::sleep(SETTLING).await;
        let server = cpu::used(server).saturating_sub(server_before);
        Ok(Slice { operations: answers.len() as u64, wall, server, client, exhausted, answers })
    }
}

/// Lets a channel connect before the clock starts: a call that every server knows, whatever it answers.
async fn connect(channel: &Channel) -> Result<(), tonic::Status> {
    let submitted = ExchangeServiceClient::new(channel.clone()).submit(wire::SubmitRequest::default()).await;
    match submitted {
        Err(status) if status.code() != tonic::Code::InvalidArgument => Err(status),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Run {
    /// Takes the next submission, while there is time.
    fn take(&self) -> Option<(usize, wire::SubmitRequest)> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = if self.again { number % self.requests.len() } else { number };
        Some((place, self.requests.get(place)?.clone()))
    }
}

type Answers = Vec<(usize, wire::SubmitResponse)>;

async fn unary(in_flight: usize, channels: &[Channel], run: &Arc<Run>) -> Result<Answers, tonic::Status> {
    let workers: Vec<_> = (0..in_flight)
        .map(|worker| {
            let (channel, run) = (channels[worker % channels.len()].clone(), Arc::clone(run));
            tokio::spawn(async move {
                let mut client = ExchangeServiceClient::new(channel);
                let mut answers = Vec::new();
                while let Some((place, request)) = run.take() {
                    answers.push((place, client.submit(request).await?.into_inner()));
                }
                Ok::<_, tonic::Status>(answers)
            })
        })
        .collect();
    let mut answers = Vec::new();
    for worker in workers {
        answers.extend(worker.await.expect("a worker does not panic")?);
    }
    Ok(answers)
}

async fn stream(channel: &Channel, run: &Arc<Run>) -> Result<Answers, tonic::Status> {
    let (sender, receiver) = tokio::sync::mpsc::channel(PIPELINE);
    let feeder = {
        let run = Arc::clone(run);
        tokio::spawn(async move {
            let mut places = Vec::new();
            while let Some((place, request)) = run.take() {
                if sender.send(wire::SubmitStreamRequest { submit: Some(request) }).await.is_err() {
                    break;
                }
                places.push(place);
            }
            places
        })
    };
    let mut client = ExchangeServiceClient::new(channel.clone());
    let mut stream = client.submit_stream(ReceiverStream::new(receiver)).await?.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = stream.next().await {
        match answer?.result {
            Some(wire::submit_stream_response::Result::Accepted(accepted)) => answers.push(accepted),
            Some(wire::submit_stream_response::Result::Refused(status)) => {
                return Err(tonic::Status::new(status.code.into(), status.message));
            }
            None => return Err(tonic::Status::internal("an answer says nothing")),
        }
    }
    // Answers come in the order of the submissions.
    let places = feeder.await.expect("the feeder does not panic");
    Ok(places.into_iter().zip(answers).collect())
}
