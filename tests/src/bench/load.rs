//! One slice of load: so many submissions in flight for so long, each id once, every answer kept for verification.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use seinpost_protocol::wire;
use seinpost_rpc::exchange_service_client::ExchangeServiceClient;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::cpu;

/// How submissions are put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One call each, so many in flight.
    Unary(usize),
    /// One pipelined stream.
    Stream,
}

impl Mode {
    /// The name of its ratio.
    pub fn name(self) -> String {
        match self {
            Self::Unary(in_flight) => format!("unary_{in_flight}"),
            Self::Stream => "stream".to_owned(),
        }
    }
}

/// Calls in flight on one connection: what the gateway allows.
pub const STREAMS_PER_CONNECTION: usize = 64;
/// Submissions on their way in a pipelined stream.
const PIPELINE: usize = 64;

/// What one slice came to.
pub struct Slice {
    /// Submissions answered within the slice.
    pub operations: u64,
    /// How long it took.
    pub wall: Duration,
    /// CPU time of the server meanwhile.
    pub server: Duration,
    /// CPU time of this process meanwhile.
    pub client: Duration,
    /// Each answer with the place of its submission.
    pub answers: Vec<(usize, wire::SubmitResponse)>,
    /// Whether the submissions ran out before the time did.
    pub exhausted: bool,
}

impl Slice {
    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.wall.as_secs_f64()
    }

    /// Microseconds of CPU for each operation, at server and client.
    pub fn cpu_micros(&self) -> (f64, f64) {
        let per = |time: Duration| time.as_secs_f64() * 1e6 / self.operations.max(1) as f64;
        (per(self.server), per(self.client))
    }
}

/// Runs one slice against the server with this process id over these channels.
pub async fn run(
    mode: Mode,
    channels: &[Channel],
    requests: Arc<Vec<wire::SubmitRequest>>,
    length: Duration,
    server: u32,
) -> Result<Slice, tonic::Status> {
    let before = (cpu::used(server), cpu::used(std::process::id()));
    let begun = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let timer = {
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            tokio::time::sleep(length).await;
            over.store(true, Ordering::Relaxed);
        })
    };
    let answers = match mode {
        Mode::Unary(in_flight) => unary(in_flight, channels, &requests, &next, &over).await?,
        Mode::Stream => stream(&channels[0], &requests, &next, &over).await?,
    };
    let wall = begun.elapsed();
    timer.abort();
    Ok(Slice {
        operations: answers.len() as u64,
        wall,
        server: cpu::used(server).saturating_sub(before.0),
        client: cpu::used(std::process::id()).saturating_sub(before.1),
        exhausted: next.load(Ordering::Relaxed) >= requests.len(),
        answers,
    })
}

async fn unary(
    in_flight: usize,
    channels: &[Channel],
    requests: &Arc<Vec<wire::SubmitRequest>>,
    next: &Arc<AtomicUsize>,
    over: &Arc<AtomicBool>,
) -> Result<Vec<(usize, wire::SubmitResponse)>, tonic::Status> {
    let workers: Vec<_> = (0..in_flight)
        .map(|worker| {
            let channel = channels[worker % channels.len()].clone();
            let (requests, next, over) = (Arc::clone(requests), Arc::clone(next), Arc::clone(over));
            tokio::spawn(async move {
                let mut client = ExchangeServiceClient::new(channel);
                let mut answers = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(request) = requests.get(place) else { break };
                    answers.push((place, client.submit(request.clone()).await?.into_inner()));
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

async fn stream(
    channel: &Channel,
    requests: &Arc<Vec<wire::SubmitRequest>>,
    next: &Arc<AtomicUsize>,
    over: &Arc<AtomicBool>,
) -> Result<Vec<(usize, wire::SubmitResponse)>, tonic::Status> {
    let (sender, receiver) = tokio::sync::mpsc::channel(PIPELINE);
    let feeder = {
        let (requests, next, over) = (Arc::clone(requests), Arc::clone(next), Arc::clone(over));
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(place) else { break };
                if sender.send(wire::SubmitStreamRequest { submit: Some(request.clone()) }).await.is_err() {
                    break;
                }
            }
        })
    };
    let mut stream = ExchangeServiceClient::new(channel.clone()).submit_stream(ReceiverStream::new(receiver)).await?.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = stream.next().await {
        match answer?.result {
            Some(wire::submit_stream_response::Result::Accepted(accepted)) => answers.push((answers.len(), accepted)),
            Some(wire::submit_stream_response::Result::Refused(status)) => {
                return Err(tonic::Status::new(status.code.into(), status.message));
            }
            None => return Err(tonic::Status::internal("an answer says nothing")),
        }
    }
    feeder.await.expect("the feeder does not panic");
    Ok(answers)
}
