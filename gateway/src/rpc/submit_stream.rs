//! `SubmitStream`: many submissions of one stream, decided and answered in the order in which they came.
//!
//! In come submissions, out go answers, one for each. An item may rest on the one before it (a key statement on its
//! predecessor, a signal on the conversation that another opened), so chance must not change their order; and yet
//! checking one signature after the other would leave most of the machine idle. So the questions are asked of many at a
//! time, and only what is cheap happens in turn: putting them into the sequencer's queue, and answering. Nothing here
//! asks a question or decides; see [`submit`](super::submit).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt, unfold};
use prost::Message as _;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire;
use seinpost_protocol::wire::submit_stream_response::Result as Answer;
use tonic::{Status, Streaming};

use super::Desk;
use super::submit::{Judged, Proposed, judge};
use crate::accept::Leaving;
use crate::budget::Account;
use crate::errors::{Refused, fault, with_reason};
use crate::identity::Caller;

/// Submissions of one stream that are asked the questions at one time, and as many again that wait for their decision:
/// enough to fill a batch while the one before is written. Their bytes are bounded by the budget.
const PIPELINE: usize = 64;
/// How long a submission stream may be silent.
const STREAM_IDLE: Duration = Duration::from_secs(300);

/// Answers the submissions of a stream, each in its place: a bad one is refused and does not end the stream.
pub(super) fn answers(
    desk: Arc<Desk>,
    caller: Caller,
    account: Account,
    stream: Streaming<wire::SubmitStreamRequest>,
    leaving: Leaving,
) -> impl Stream<Item = Result<wire::SubmitStreamResponse, Status>> + Send {
    let asked = desk.clone();
    let judged = incoming(stream, leaving).map(move |incoming| {
        let (desk, caller) = (asked.clone(), caller.clone());
        // A task each, so that signatures are checked on all threads; in order again behind it.
        async move {
            let request = incoming?;
            let judging = tokio::spawn(async move {
                match request.submit {
                    Some(submission) => judge(&desk, &caller, submission).await,
                    None => Judged::bad(Refused::of("FIELD").at("submit")),
                }
            });
            judging.await.map_err(fault)
        }
    });
    let line = Line {
        desk,
        account,
        judged: Box::pin(judged.buffered(PIPELINE)),
        held: None,
        proposed: VecDeque::new(),
        covenant: None,
        last_word: None,
        ended: false,
    };
    unfold(line, |mut line| async move { line.next().await.map(|answer| (answer, line)) })
}

/// Reads the submissions of a stream until it ends, dawdles, or the connection is asked to end.
fn incoming(
    stream: Streaming<wire::SubmitStreamRequest>,
    leaving: Leaving,
) -> impl Stream<Item = Result<wire::SubmitStreamRequest, Status>> + Send {
    unfold(Some((stream, leaving)), |state| async move {
        let (mut stream, mut leaving) = state?;
        let next = tokio::select! {
            next = tokio::time::timeout(STREAM_IDLE, stream.message()) => match next {
                Ok(next) => next.map_err(with_reason),
                Err(_) => Err(Refused::of("IDLE").into()),
            },
            () = leaving.wait() => Err(Refused::of("DRAINING").into()),
        };
        match next {
            Ok(Some(request)) => Some((Ok(request), Some((stream, leaving)))),
            Ok(None) => None,
            // What was taken before is still answered; this is the last word.
            Err(status) => Some((Err(status), None)),
        }
    })
}

type JudgedInOrder = Pin<Box<dyn Stream<Item = Result<Judged, Status>> + Send>>;

/// The submissions under way, in their order.
struct Line {
    desk: Arc<Desk>,
    account: Account,
    judged: JudgedInOrder,
    /// The next to be proposed, which must wait until all before it are decided.
    held: Option<Judged>,
    proposed: VecDeque<Proposed>,
    /// By which covenant the last of them was permitted.
    covenant: Option<Digest>,
    /// Why the stream ends, said behind all answers.
    last_word: Option<Status>,
    ended: bool,
}

impl Line {
    /// Returns the next answer, while others are judged and proposed.
    async fn next(&mut self) -> Option<Result<wire::SubmitStreamResponse, Status>> {
        loop {
            if let Some(judged) = self.held.take() {
                self.propose_in_turn(judged);
            }
            let has_room = !self.ended && self.held.is_none() && self.proposed.len() < PIPELINE;
            if self.proposed.is_empty() && !has_room {
                return self.last_word.take().map(Err);
            }
            tokio::select! {
                // First, so that the sequencer has all that it can have when it begins its next batch.
                biased;
                judged = self.judged.next(), if has_room => match judged {
                    Some(Ok(judged)) => self.propose_in_turn(judged),
                    Some(Err(status)) => (self.last_word, self.ended) = (Some(status), true),
                    None => self.ended = true,
                },
                () = first_decided(&mut self.proposed) => break,
            }
        }
        let first = self.proposed.pop_front()?;
        let item_id = first.item_id().map(|id| id.to_string()).unwrap_or_default();
        let result = match first.answer(&self.desk).await {
            Ok(accepted) => Answer::Accepted(accepted),
            Err(refused) => Answer::Refused(as_message(&refused)),
        };
        self.account.release_oldest();
        Some(Ok(wire::SubmitStreamResponse { item_id, result: Some(result) }))
    }

    /// Proposes a submission, if those before it cannot be overtaken by that; else holds it.
    ///
    /// When a new covenant begins to rule, those that were permitted by the old one are judged and proposed anew. One that
    /// was permitted by the new one waits until they are through.
    fn propose_in_turn(&mut self, judged: Judged) {
        let covenant = judged.covenant();
        if covenant.is_some() && covenant != self.covenant && !self.proposed.is_empty() {
            self.held = Some(judged);
            return;
        }
        self.covenant = covenant.or(self.covenant);
        self.proposed.push_back(judged.propose(&self.desk));
    }
}

/// Waits until the first of them is decided; for ever if there is none.
async fn first_decided(proposed: &mut VecDeque<Proposed>) {
    match proposed.front_mut() {
        Some(first) => first.decided().await,
        None => std::future::pending().await,
    }
}

/// Writes a status as the message that Submit's own status carries.
fn as_message(status: &Status) -> wire::google_rpc::Status {
    let carried = wire::google_rpc::Status::decode(status.details());
    carried.unwrap_or_else(|_| wire::google_rpc::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}
