//! The bytes that requests may hold in memory at one time, taken before a body is read.
//!
//! A gRPC message states its length in the five bytes before it. The body of each request passes through here, and
//! when those five bytes have come, that many bytes are taken from the caller's share and from the gateway's budget,
//! before anything behind them is read or reserved for. They are given back when the message has been answered. So
//! memory is bounded by the budget and not by connections × streams × message size, which would be 1.25 GiB for one
//! agency alone.
//!
//! What is still unread lies in HTTP/2's flow-control windows, which hyper bounds at 1 MiB a connection. A single
//! request that finds no room is refused with a time to come back at; a stream of requests waits, because its sender
//! feels that as back-pressure. It never looks into a message.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use seinpost_protocol::address::Oin;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::errors::Refused;

/// What is counted: a KiB, so that the counters of tokio's semaphores are never near their end.
const UNIT: usize = 1024;

/// How long the bytes of one streamed message may take to come: as long as a single request has.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(10);

/// The budget of the gateway, with a share for each organisation.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    all: Arc<Semaphore>,
    share_bytes: usize,
    /// As many entries as organisations that ever called, all of them in the covenant.
    shares: Mutex<HashMap<Oin, Arc<Semaphore>>>,
}

/// Bytes taken; given back when dropped.
#[derive(Debug)]
pub struct Held {
    _share: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Budget {
    /// Makes a budget of `all_bytes`, of which one organisation may hold `share_bytes`.
    #[must_use]
    pub fn new(all_bytes: usize, share_bytes: usize) -> Self {
        let all = Arc::new(Semaphore::new(all_bytes / UNIT));
        Self(Arc::new(Inner { all, share_bytes, shares: Mutex::default() }))
    }

    fn share(&self, oin: Oin) -> Arc<Semaphore> {
        let mut shares = self.0.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.entry(oin).or_insert_with(|| Arc::new(Semaphore::new(self.0.share_bytes / UNIT))).clone()
    }

    /// Takes bytes if there is room for them now.
    fn try_take(&self, oin: Oin, bytes: usize) -> Option<Held> {
        let units = units(bytes);
        let share = self.share(oin).try_acquire_many_owned(units).ok()?;
        let all = self.0.all.clone().try_acquire_many_owned(units).ok()?;
        Some(Held { _share: share, _all: all })
    }

    /// Takes bytes as soon as there is room; those who wait are served in turn.
    async fn take(self, oin: Oin, bytes: usize) -> Held {
        let units = units(bytes);
        let share = self.share(oin).acquire_many_owned(units).await.expect("a share is never closed");
        let all = self.0.all.clone().acquire_many_owned(units).await.expect("the budget is never closed");
        Held { _share: share, _all: all }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).expect("a message's length is bounded long before")
}

/// What one call holds: an entry for each of its messages that is not answered yet, in the order of their coming.
#[derive(Debug, Clone, Default)]
pub struct Account(Arc<Mutex<VecDeque<Held>>>);

impl Account {
    /// Gives back what the oldest message took; a streaming call says so for each message that it answered.
    pub fn release_oldest(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    }

    /// Gives back everything; when the call ends.
    pub fn release_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn push(&self, held: Held) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(held);
    }
}

/// What a call does when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Is refused at once, with a time to come back at.
    Refuse,
    /// Reads on when there is room.
    Wait,
}

/// A request body whose messages are paid for before they are read.
pub struct Metered<B> {
    inner: B,
    budget: Budget,
    oin: Oin,
    account: Account,
    message_bytes_max: usize,
    when_full: WhenFull,
    place: Place,
    /// A frame that came while there was no room, and how much of it was looked at.
    halted: Option<(Bytes, usize)>,
    waiting: Option<Pin<Box<dyn Future<Output = Held> + Send>>>,
    /// Runs while a streamed message is incomplete.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Where in the sequence of messages the body stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// So many of the five bytes have come.
    Header { bytes: [u8; 5], have: usize },
    /// So many bytes of the message are still to come.
    Message { missing: usize },
}

impl Place {
    const START: Self = Self::Header { bytes: [0; 5], have: 0 };
}

impl<B> Metered<B> {
    /// Wraps the body of a call of `oin`; what it takes is entered in `account`.
    pub fn new(
        inner: B,
        budget: Budget,
        oin: Oin,
        account: Account,
        message_bytes_max: usize,
        when_full: WhenFull,
    ) -> Self {
        let (place, halted, waiting, deadline) = (Place::START, None, None, None);
        Self { inner, budget, oin, account, message_bytes_max, when_full, place, halted, waiting, deadline }
    }

    /// Looks at a frame from `at` on; `Ok(None)` when all of it is paid for. Else the wait has begun, what lies
    /// before the message that must wait is returned, and the rest is halted.
    fn walk(&mut self, frame: &Bytes, mut at: usize) -> Result<Option<Bytes>, Status> {
        // The five bytes are held back with the message, since the decoder reserves memory when it has them.
        let mut header_from = 0;
        while at < frame.len() {
            match &mut self.place {
                Place::Header { bytes, have } => {
                    if *have == 0 {
                        header_from = at;
                    }
                    bytes[*have] = frame[at];
                    *have += 1;
                    at += 1;
                    if *have < bytes.len() {
                        continue;
                    }
                    let [compressed, length @ ..] = *bytes;
                    let missing = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                    // Compression is never agreed on: its size would tell about what is sealed.
                    if compressed != 0 {
                        return Err(Refused::of("COMPRESSED").into());
                    }
                    if missing > self.message_bytes_max {
                        let text =
                            format!("the message has {missing} bytes; this call takes {}", self.message_bytes_max);
                        return Err(Refused::of("MESSAGE_TOO_LARGE").saying(text).into());
                    }
                    self.place = if missing == 0 { Place::START } else { Place::Message { missing } };
                    match (self.budget.try_take(self.oin, missing), self.when_full) {
                        (Some(held), _) => self.account.push(held),
                        (None, WhenFull::Refuse) => {
                            metrics::counter!("seinpost_budget_refusals_total").increment(1);
                            return Err(Refused::of("BUDGET").into());
                        }
                        (None, WhenFull::Wait) => {
                            metrics::counter!("seinpost_budget_waits_total").increment(1);
                            self.waiting = Some(Box::pin(self.budget.clone().take(self.oin, missing)));
                            self.halted = Some((frame.slice(header_from..), at - header_from));
                            return Ok(Some(frame.slice(..header_from)));
                        }
                    }
                    if self.when_full == WhenFull::Wait && missing > 0 {
                        self.deadline = Some(Box::pin(sleep(MESSAGE_TIME_MAX)));
                    }
                }
                Place::Message { missing } => {
                    let step = (*missing).min(frame.len() - at);
                    *missing -= step;
                    at += step;
                    if *missing == 0 {
                        self.place = Place::START;
                        self.deadline = None;
                    }
                }
            }
        }
        Ok(None)
    }
}

impl<B> Body for Metered<B>
where
    B: Body + Unpin,
    B::Data: Buf,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let (frame, at) = loop {
            if let Some(waiting) = &mut this.waiting {
                let held = ready!(waiting.as_mut().poll(context));
                this.waiting = None;
                this.account.push(held);
                if matches!(this.place, Place::Message { .. }) {
                    this.deadline = Some(Box::pin(sleep(MESSAGE_TIME_MAX)));
                }
            }
            if let Some(halted) = this.halted.take() {
                break halted;
            }
            if let Some(deadline) = &mut this.deadline
                && deadline.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Some(Err(Refused::of("DEADLINE").into())));
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(error.into())))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) => break (data.copy_to_bytes(data.remaining()), 0),
                    // Request trailers mean nothing in gRPC; they are passed on as they came.
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                        Err(_) => continue,
                    },
                },
            }
        };
        match this.walk(&frame, at) {
            Err(status) => Poll::Ready(Some(Err(status))),
            Ok(None) => Poll::Ready(Some(Ok(Frame::data(frame)))),
            // Polls the new wait once, so that it knows whom to wake.
            Ok(Some(before)) if before.is_empty() => Pin::new(this).poll_frame(context),
            Ok(Some(before)) => Poll::Ready(Some(Ok(Frame::data(before)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.halted.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

    use http_body_util::{BodyExt, Full, StreamBody};
    use tonic_types::StatusExt;

    use super::*;

    fn oin(last: u8) -> Oin {
        Oin::try_from(format!("000000990000000000{last:02}").as_str()).unwrap()
    }

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(5 + length, 7);
        bytes
    }

    fn metered(bytes: Vec<u8>, budget: &Budget, account: &Account, when_full: WhenFull) -> Metered<Full<Bytes>> {
        Metered::new(Full::new(bytes.into()), budget.clone(), oin(1), account.clone(), 64 * UNIT, when_full)
    }

    fn reason(status: &Status) -> String {
        status.get_details_error_info().expect("every refusal carries its reason").reason
    }

    #[tokio::test]
    async fn a_message_is_paid_for_by_its_length_and_given_back_with_its_answer() {
        let budget = Budget::new(100 * UNIT, 100 * UNIT);
        let account = Account::default();
        let body = metered(message(10 * UNIT), &budget, &account, WhenFull::Refuse).collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), 5 + 10 * UNIT, "what comes in goes out");
        assert_eq!(budget.0.all.available_permits(), 90);
        account.release_all();
        assert_eq!(budget.0.all.available_permits(), 100);
    }

    #[tokio::test]
    async fn a_share_that_is_used_up_refuses_its_owner_and_nobody_else() {
        let budget = Budget::new(100 * UNIT, 16 * UNIT);
        let account = Account::default();
        metered(message(10 * UNIT), &budget, &account, WhenFull::Refuse).collect().await.unwrap();
        let refused = metered(message(10 * UNIT), &budget, &account, WhenFull::Refuse).collect().await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert_eq!(reason(&refused), "BUDGET");
        assert!(refused.get_details_retry_info().is_some());
        assert!(budget.try_take(oin(2), 16 * UNIT).is_some());
    }

    #[tokio::test]
    async fn one_byte_over_the_bound_is_refused_before_it_is_read() {
        let budget = Budget::new(1000 * UNIT, 1000 * UNIT);
        let account = Account::default();
        let header_alone = message(64 * UNIT + 1)[..5].to_vec();
        let refused = metered(header_alone, &budget, &account, WhenFull::Refuse).collect().await.unwrap_err();
        assert_eq!(reason(&refused), "MESSAGE_TOO_LARGE");
        assert_eq!(budget.0.all.available_permits(), 1000);
        metered(message(64 * UNIT), &budget, &account, WhenFull::Refuse).collect().await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_waits_until_an_earlier_message_is_answered() {
        let budget = Budget::new(16 * UNIT, 16 * UNIT);
        let account = Account::default();
        let two = [message(10 * UNIT), message(10 * UNIT)].concat();
        let mut body = metered(two, &budget, &account, WhenFull::Wait);
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, message(10 * UNIT), "the first comes whole, and nothing of the second");
        let mut second = Box::pin(body.frame());
        let waits = std::future::poll_fn(|context| Poll::Ready(second.as_mut().poll(context).is_pending())).await;
        assert!(waits, "there is no room for the second");
        account.release_oldest();
        assert_eq!(second.await.unwrap().unwrap().into_data().unwrap(), message(10 * UNIT));
        assert_eq!(budget.0.all.available_permits(), 6, "the second is held now");
    }

    #[tokio::test]
    async fn a_header_that_comes_byte_by_byte_is_understood() {
        let budget = Budget::new(100 * UNIT, 100 * UNIT);
        let account = Account::default();
        let bytes = [message(3 * UNIT), message(0), message(UNIT)].concat();
        let frames = bytes.chunks(1).map(|byte| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(byte))));
        let stream = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
        let body = Metered::new(stream, budget.clone(), oin(1), account.clone(), 64 * UNIT, WhenFull::Refuse);
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
        assert_eq!(budget.0.all.available_permits(), 96);
    }

    #[tokio::test]
    async fn a_compressed_message_is_refused() {
        let budget = Budget::new(100 * UNIT, 100 * UNIT);
        let mut bytes = message(10);
        bytes[0] = 1;
        let refused = metered(bytes, &budget, &Account::default(), WhenFull::Refuse).collect().await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
}
