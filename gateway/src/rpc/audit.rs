//! `AuditService`: the log, for whoever wants to verify it.
//!
//! Checkpoints and proofs are hashes and go to every known peer. Records go to auditors, all of them and with the items
//! that they are about, and to participants as far as they are the audience or everybody is; of the others a
//! participant gets the commitment alone, which says nothing and is all that the tree needs. Content and wrapped keys
//! are for nobody here. What an auditor looks at is recorded before it is shown.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use seinpost_protocol::address::{Address, Function, Oin};
use seinpost_protocol::wire::record::Event;
use seinpost_protocol::wire::{self, ListRecordsResponse};
use seinpost_rpc::audit_service_server::AuditService;
use tonic::{Request, Response, Status};

use super::receipts::{erased_by, hashes};
use super::{Desk, caller};
use crate::commit::Entry;
use crate::errors::{Refused, fault};
use crate::identity::Caller;

/// Leaves read in one go, up to 2 KiB each with its item.
const PAGE: u64 = 256;

/// The service.
pub(super) struct Audit(pub(super) Arc<Desk>);

#[tonic::async_trait]
impl AuditService for Audit {
    async fn get_checkpoint(
        &self,
        request: Request<wire::GetCheckpointRequest>,
    ) -> Result<Response<wire::GetCheckpointResponse>, Status> {
        self.recorded(&request, "GetCheckpoint", String::new()).await?;
        let against = self.0.newest();
        let consistency = against.consistency(request.into_inner().seen_size);
        Ok(Response::new(wire::GetCheckpointResponse { checkpoint: against.checkpoint().clone(), consistency }))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<wire::GetInclusionProofRequest>,
    ) -> Result<Response<wire::GetInclusionProofResponse>, Status> {
        let wire::GetInclusionProofRequest { index, size } = *request.get_ref();
        self.recorded(&request, "GetInclusionProof", format!("index={index} size={size}")).await?;
        let size = self.size(size, "size")?;
        if index >= size {
            return Err(Refused::of("NOT_FOUND").into());
        }
        self.0.applied_past(index).await?;
        let answer = self.0.blocking(move |desk| {
            let proof = desk.tree.inclusion(index, size).map(hashes);
            let proof = proof.ok_or_else(|| fault(format_args!("no proof for record {index} in {size}")))?;
            Ok(wire::GetInclusionProofResponse { commitment: desk.entry(index)?.commitment.into(), proof, size })
        });
        answer.await.map(Response::new)
    }

    async fn get_consistency_proof(
        &self,
        request: Request<wire::GetConsistencyProofRequest>,
    ) -> Result<Response<wire::GetConsistencyProofResponse>, Status> {
        let wire::GetConsistencyProofRequest { old_size, new_size } = *request.get_ref();
        self.recorded(&request, "GetConsistencyProof", format!("old_size={old_size} new_size={new_size}")).await?;
        let new_size = self.size(new_size, "new_size")?;
        if old_size > new_size {
            return Err(Refused::of("FIELD").at("old_size").saying("old_size is larger than new_size").into());
        }
        if old_size == 0 || old_size == new_size {
            return Ok(Response::new(wire::GetConsistencyProofResponse { proof: Vec::new(), new_size }));
        }
        let answer = self.0.blocking(move |desk| {
            let proof = desk.tree.consistency(old_size, new_size).map(hashes);
            let proof = proof.ok_or_else(|| fault(format_args!("no proof from {old_size} to {new_size}")))?;
            Ok(wire::GetConsistencyProofResponse { proof, new_size })
        });
        answer.await.map(Response::new)
    }

    type ListRecordsStream = Pin<Box<dyn Stream<Item = Result<ListRecordsResponse, Status>> + Send>>;

    async fn list_records(
        &self,
        request: Request<wire::ListRecordsRequest>,
    ) -> Result<Response<Self::ListRecordsStream>, Status> {
        let wire::ListRecordsRequest { from, to } = *request.get_ref();
        let view = View::of(&caller(&request)?);
        self.recorded(&request, "ListRecords", format!("from={from} to={to}")).await?;
        let to = self.size(to, "to")?;
        if to > from {
            self.0.applied_past(to - 1).await?;
        }
        let lines = Lines { desk: self.0.clone(), view, next: from, to, ready: VecDeque::new() };
        let stream = unfold(Some(lines), |lines| async move {
            let mut lines = lines?;
            match lines.next().await {
                Ok(line) => line.map(|line| (Ok(line), Some(lines))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

impl Audit {
    /// Records that somebody of oversight looks; what participants do with proofs of their own is nobody's business.
    async fn recorded<T>(&self, request: &Request<T>, call: &str, filter: String) -> Result<(), Status> {
        let caller = caller(request)?;
        let oversight = [Function::Auditor, Function::Operator].into_iter().find(|function| caller.has(*function));
        let Some(function) = oversight else {
            return Ok(());
        };
        let who = Address { oin: caller.oin, function };
        self.0.record_access(who, &format!("/seinpost.v1.AuditService/{call}"), filter).await
    }

    /// Returns the tree size that is asked for: 0 is the newest, and none is larger.
    fn size(&self, size: u64, field: &str) -> Result<u64, Status> {
        match (size, self.0.newest_size()) {
            (0, newest) => Ok(newest),
            (size, newest) if size <= newest => Ok(size),
            (_, newest) => {
                let text = format!("the newest checkpoint covers {newest} records");
                Err(Refused::of("FIELD").at(field).saying(text).into())
            }
        }
    }
}

/// What a caller may see of records.
#[derive(Clone)]
enum View {
    /// All of them, with the items that they are about.
    All,
    /// Those for its own addresses and those for everybody.
    Own(Oin, Arc<[Function]>),
}

impl View {
    fn of(caller: &Caller) -> Self {
        if caller.has(Function::Auditor) { Self::All } else { Self::Own(caller.oin, caller.functions.clone()) }
    }

    fn shows(&self, record: &wire::Record) -> bool {
        match self {
            Self::All => true,
            Self::Own(oin, functions) => {
                functions.iter().any(|function| super::may_see(record, Address { oin: *oin, function: *function }))
            }
        }
    }
}

/// A stream of leaves, read a page at a time as the reader takes them.
struct Lines {
    desk: Arc<Desk>,
    view: View,
    next: u64,
    to: u64,
    ready: VecDeque<ListRecordsResponse>,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<ListRecordsResponse>, Status> {
        if self.ready.is_empty() && self.next < self.to {
            let (from, to) = (self.next, self.to.min(self.next.saturating_add(PAGE)));
            let view = self.view.clone();
            self.ready = self.desk.blocking(move |desk| lines(desk, &view, from, to)).await?;
            self.next = to;
        }
        Ok(self.ready.pop_front())
    }
}

fn lines(desk: &Desk, view: &View, from: u64, to: u64) -> Result<VecDeque<ListRecordsResponse>, Status> {
    let entries = desk.reader.entries(from, to).map_err(fault)?;
    if entries.len() as u64 != to - from {
        return Err(fault(format_args!("the store has {} of the records {from} to {to}", entries.len())));
    }
    (from..).zip(&entries).map(|(index, entry)| line(desk, view, index, entry)).collect()
}

fn line(desk: &Desk, view: &View, index: u64, entry: &Entry) -> Result<ListRecordsResponse, Status> {
    let mut line = ListRecordsResponse {
        index,
        commitment: entry.commitment.into(),
        erased_by: erased_by(entry.erased_by),
        ..ListRecordsResponse::default()
    };
    if entry.erased_by != 0 {
        return Ok(line);
    }
    let record = super::decode(entry)?;
    if !view.shows(&record) {
        return Ok(line);
    }
    line.record = entry.record.clone();
    line.salt = Bytes::copy_from_slice(&entry.salt);
    if let (View::All, Some(Event::SubmissionAcceptance(_))) = (view, &record.event) {
        line.item = Some(desk.item_at(index)?);
    }
    Ok(line)
}
