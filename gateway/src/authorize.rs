//! Who may make which call: one table, asked before a byte of the request's body is read.
//!
//! In comes every request of every connection; on goes what the table allows, with the [`Caller`] and the call's
//! byte account attached. A path without a row is denied, and so is a request without a proven peer: both would be
//! faults of ours, and a fault must not open a door. Whether an object is the caller's own is asked later, where the
//! object is known; the rooms behind take their caller from here and from nowhere else.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use seinpost_protocol::address::Function;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::accept::ConnectInfo;
use crate::adopt::Covenants;
use crate::budget::{Account, Budget, Metered, WhenFull};
use crate::clock::Stopwatch;
use crate::errors::{Refused, with_reason};
use crate::identity::Caller;
use crate::tls::Now;

/// One call of one service.
#[derive(Debug)]
pub struct Call {
    /// The path of its requests.
    pub path: &'static str,
    /// Who may make it.
    pub who: Who,
    /// How long one message of its request may be.
    pub request_bytes_max: usize,
    /// Whether its request is a stream of messages.
    pub streamed: bool,
}

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anybody that the covenant knows.
    Peer,
    /// Those who take part in cases: any function but the hub's own.
    Participant,
    /// Participants, and auditors.
    ParticipantOrAuditor,
    /// Operators of the hub.
    Operator,
}

/// A submission: sealed content of 1,024 KiB, eight wrapped keys, header and signature, and what protobuf adds.
pub const SUBMISSION_BYTES_MAX: usize = 1280 * 1024;
/// Every other request: ids, addresses, numbers; the largest is a certificate chain of 16 KiB.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// The calls. A test holds it to the descriptors: a call without a row, or a row without a call, fails it.
pub const CALLS: &[Call] = &[
    submission("/seinpost.v1.ExchangeService/Submit", false),
    submission("/seinpost.v1.ExchangeService/SubmitStream", true),
    plain("/seinpost.v1.ExchangeService/Receive", Who::Participant),
    plain("/seinpost.v1.ExchangeService/GetItem", Who::Participant),
    plain("/seinpost.v1.ExchangeService/ListItems", Who::Participant),
    plain("/seinpost.v1.CovenantService/GetCovenant", Who::Peer),
    plain("/seinpost.v1.CovenantService/PublishCertificate", Who::Peer),
    plain("/seinpost.v1.CovenantService/GetCertificate", Who::Peer),
    plain("/seinpost.v1.CovenantService/GetRevocationList", Who::Peer),
    plain("/seinpost.v1.CovenantService/GetKeyStatements", Who::Peer),
    plain("/seinpost.v1.AuditService/GetCheckpoint", Who::Peer),
    plain("/seinpost.v1.AuditService/GetInclusionProof", Who::Peer),
    plain("/seinpost.v1.AuditService/GetConsistencyProof", Who::Peer),
    plain("/seinpost.v1.AuditService/ListRecords", Who::ParticipantOrAuditor),
    plain("/seinpost.v1.OperationsService/ListDeliveries", Who::Operator),
    plain("/grpc.health.v1.Health/Check", Who::Peer),
    plain("/grpc.health.v1.Health/Watch", Who::Peer),
    // Served only where the configuration says so; without it the path leads nowhere.
    Call {
        path: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        who: Who::Peer,
        request_bytes_max: REQUEST_BYTES_MAX,
        streamed: true,
    },
];

const fn submission(path: &'static str, streamed: bool) -> Call {
    Call { path, who: Who::Participant, request_bytes_max: SUBMISSION_BYTES_MAX, streamed }
}

const fn plain(path: &'static str, who: Who) -> Call {
    Call { path, who, request_bytes_max: REQUEST_BYTES_MAX, streamed: false }
}

impl Who {
    /// Returns whether the caller is one of them.
    #[must_use]
    pub fn includes(self, caller: &Caller) -> bool {
        let of_the_hub = |function: &Function| matches!(function, Function::Operator | Function::Auditor);
        let participant = caller.functions.iter().any(|function| !of_the_hub(function));
        match self {
            Self::Peer => !caller.functions.is_empty(),
            Self::Participant => participant,
            Self::ParticipantOrAuditor => participant || caller.has(Function::Auditor),
            Self::Operator => caller.has(Function::Operator),
        }
    }
}

/// How long a call may take until its answer begins: a commit takes milliseconds, so this is a fault or an overload.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(10);

/// Metadata of a request that may hold bytes: none is expected, so what is longer is refused unread.
const BINARY_METADATA_BYTES_MAX: usize = 1024;

/// The layer around all services.
#[derive(Clone)]
pub struct Authorize {
    covenants: Covenants,
    budget: Budget,
    now: Now,
}

impl Authorize {
    /// Judges by the covenant in force at each call.
    #[must_use]
    pub fn new(covenants: Covenants, budget: Budget, now: Now) -> Self {
        Self { covenants, budget, now }
    }

    /// Decides on one request; on success it is ready to be passed on.
    fn admit(&self, request: http::Request<Body>) -> Result<(&'static Call, Account, http::Request<Body>), Refused> {
        let Some(call) = CALLS.iter().find(|call| call.path == request.uri().path()) else {
            return Err(Refused::of("NO_SUCH_CALL"));
        };
        let Some(connection) = request.extensions().get::<ConnectInfo>() else {
            return Err(Refused::of("NOT_PERMITTED"));
        };
        let now = (self.now)();
        let Some(caller) = Caller::identify(&connection.peer, &self.covenants.ruling(now), now) else {
            return Err(Refused::of("NOT_PERMITTED"));
        };
        if !call.who.includes(&caller) {
            return Err(Refused::of("NOT_PERMITTED"));
        }
        let too_long = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().ends_with("-bin") && value.len() > BINARY_METADATA_BYTES_MAX
        };
        if request.headers().iter().any(too_long) {
            return Err(Refused::of("METADATA_TOO_LARGE"));
        }
        let account = Account::default();
        let when_full = if call.streamed { WhenFull::Wait } else { WhenFull::Refuse };
        let (oin, budget, own) = (caller.oin, self.budget.clone(), account.clone());
        let mut request =
            request.map(|body| Body::new(Metered::new(body, budget, oin, own, call.request_bytes_max, when_full)));
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(account.clone());
        Ok((call, account, request))
    }
}

impl<S> Layer<S> for Authorize {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized { inner, gate: self.clone() }
    }
}

/// Services behind the gate.
#[derive(Clone)]
pub struct Authorized<S> {
    inner: S,
    gate: Authorize,
}

impl<S> Service<http::Request<Body>> for Authorized<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (call, account, request) = match self.gate.admit(request) {
            Ok(admitted) => admitted,
            Err(refused) => {
                metrics::counter!("seinpost_calls_denied_total", "reason" => refused.reason()).increment(1);
                return Box::pin(std::future::ready(Ok(Status::from(refused).into_http())));
            }
        };
        // The clone has not been polled ready; the one that was goes into the future.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let begun = Stopwatch::start();
            let response = match tokio::time::timeout(CALL_TIME_MAX, inner.call(request)).await {
                Ok(Ok(response)) => reasoned(response),
                Ok(Err(never)) => match never {},
                Err(_) => Status::from(Refused::of("DEADLINE")).into_http(),
            };
            // A streaming call gives back message by message, long after this; its account goes with its body.
            if !call.streamed {
                account.release_all();
            }
            let code = response.extensions().get::<Status>().map_or(Code::Ok, Status::code);
            metrics::counter!("seinpost_calls_total", "call" => call.path, "code" => code_name(code)).increment(1);
            metrics::histogram!("seinpost_call_seconds", "call" => call.path).record(begun.seconds());
            Ok(response)
        })
    }
}

/// Gives refusals by the server's own machinery a reason of the table.
fn reasoned(response: http::Response<Body>) -> http::Response<Body> {
    match response.extensions().get::<Status>() {
        Some(status) if status.details().is_empty() => with_reason(status.clone()).into_http(),
        _ => response,
    }
}

/// Returns a status code's name as gRPC writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

    use std::collections::BTreeSet;

    use prost::Message;
    use seinpost_protocol::DESCRIPTORS;
    use seinpost_protocol::address::Oin;

    use super::*;

    /// Every call of the project's own services, from the descriptors.
    fn described() -> Vec<(String, bool)> {
        let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let mut calls = Vec::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    calls.push((path, method.client_streaming()));
                }
            }
        }
        calls
    }

    #[test]
    fn every_call_has_one_row_and_every_row_a_call() {
        let described = described();
        assert!(described.len() >= 15, "the descriptors hold the services");
        for (path, streamed) in &described {
            let rows: Vec<_> = CALLS.iter().filter(|call| call.path == path).collect();
            assert_eq!(rows.len(), 1, "{path} must have exactly one row that says who may make it");
            assert_eq!(rows[0].streamed, *streamed, "{path}");
        }
        for call in CALLS.iter().filter(|call| call.path.starts_with("/seinpost.")) {
            assert!(described.iter().any(|(path, _)| path == call.path), "{} is no call", call.path);
        }
        assert_eq!(CALLS.iter().map(|call| call.path).collect::<BTreeSet<_>>().len(), CALLS.len());
    }

    #[test]
    fn the_table_lets_in_whom_it_names() {
        let caller = |functions: &[Function]| Caller {
            oin: Oin::try_from("00000099000000000001").unwrap(),
            functions: functions.into(),
        };
        let (police, operator, auditor) = ([Function::PoliceOperations], [Function::Operator], [Function::Auditor]);
        for (who, allowed) in [
            (Who::Peer, [true, true, true, false]),
            (Who::Participant, [true, false, false, false]),
            (Who::ParticipantOrAuditor, [true, false, true, false]),
            (Who::Operator, [false, true, false, false]),
        ] {
            let found =
                [&police[..], &operator[..], &auditor[..], &[][..]].map(|functions| who.includes(&caller(functions)));
            assert_eq!(found, allowed, "{who:?}");
        }
    }
}
