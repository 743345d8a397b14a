//! The calls of a hub that can lie, as the gateway's are made.

use std::collections::HashMap;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use prost::Message as _;
use seinpost_protocol::address::Address;
use seinpost_protocol::certificate::Chain;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, Payload};
use seinpost_protocol::wire;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_protocol::wire::record::Event;
use seinpost_rpc::audit_service_server::AuditService;
use seinpost_rpc::covenant_service_server::CovenantService;
use seinpost_rpc::exchange_service_server::ExchangeService;
use tonic::{Request, Response, Status, Streaming};

use super::log::Log;
use super::{Hub, Lie};

#[tonic::async_trait]
impl ExchangeService for Hub {
    async fn submit(&self, request: Request<wire::SubmitRequest>) -> Result<Response<wire::SubmitResponse>, Status> {
        let request = request.into_inner();
        let mut log = self.log();
        let seen = request.seen_size;
        let index = log.take(request)?;
        self.woken.notify_waiters();
        if log.tells_once(Lie::LoseAnswer) {
            return Err(Status::unavailable("the answer was lost"));
        }
        let index = if log.tells(Lie::OtherReceipt) { 0 } else { index };
        Ok(Response::new(wire::SubmitResponse { receipt: Some(log.receipt(index)), consistency: log.linked(seen) }))
    }

    type SubmitStreamStream = Answers<wire::SubmitStreamResponse>;

    async fn submit_stream(
        &self,
        _: Request<Streaming<wire::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        Err(Status::unimplemented("the client does not use it"))
    }

    type ReceiveStream = Answers<wire::ReceiveResponse>;

    async fn receive(&self, request: Request<wire::ReceiveRequest>) -> Result<Response<Self::ReceiveStream>, Status> {
        let request = request.into_inner();
        let (address, seen) = (address(request.address), request.seen_size);
        let hub = self.clone();
        let start = (0_u64, request.after, false);
        let stream = unfold(start, move |(sent, after, ended)| {
            let hub = hub.clone();
            async move {
                if ended {
                    return None;
                }
                loop {
                    let woken = hub.woken.notified();
                    if let Some((message, after)) = hub.next(address, sent, after, request.after, seen) {
                        let ended = (sent > 0 && hub.log().tells(Lie::BreakStream)) || hub.log().tells(Lie::OnlyHead);
                        return Some((Ok(message), (sent + 1, after, ended)));
                    }
                    woken.await;
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_item(
        &self,
        request: Request<wire::GetItemRequest>,
    ) -> Result<Response<wire::GetItemResponse>, Status> {
        let request = request.into_inner();
        let own = address(request.address);
        let log = self.log();
        let acceptance = match request.which.unwrap() {
            wire::get_item_request::Which::ItemId(id) => log.records().find_map(|(index, record)| match record.event {
                Some(Event::SubmissionAcceptance(accepted)) if accepted.item_id == id => Some(index),
                _ => None,
            }),
            wire::get_item_request::Which::ItemDigest(digest) => log.acceptance_of(&Digest::try_from(&digest).unwrap()),
        };
        let acceptance = acceptance.ok_or_else(|| Status::not_found("no such item"))?;
        let item = log.leaves[usize::try_from(acceptance).unwrap()].item.clone().unwrap().item.unwrap();
        let parsed = Item::parse(item.clone(), &log.origin).unwrap();
        let mut receipts = Vec::new();
        let mut answers: HashMap<Address, wire::SignedItem> = HashMap::new();
        let of = Some(wire::audience::Of::Address(own.into()));
        for (index, record) in log.records() {
            let is_own = record.audience.as_ref().unwrap().of == of;
            let digest = match record.event.as_ref().unwrap() {
                Event::SubmissionAcceptance(accepted) => accepted.item_digest.clone(),
                Event::ContentConsignment(consigned) => consigned.item_digest.clone(),
                Event::ContentHandover(handover) => handover.item_digest.clone(),
                _ => continue,
            };
            let digest = Digest::try_from(&digest).unwrap();
            let about = log.acceptance_of(&digest).and_then(|at| log.leaves[usize::try_from(at).unwrap()].item.clone());
            let about = Item::parse(about.unwrap().item.unwrap(), &log.origin).unwrap();
            let answers_it =
                matches!(about.payload(), Payload::Answer(answer) if answer.item_digest == parsed.digest());
            if is_own && (digest == parsed.digest() || answers_it) {
                receipts.push(log.receipt(index));
            }
            if answers_it {
                answers.insert(about.signer().address, about.wire().clone());
            }
        }
        let recipients = match parsed.payload() {
            Payload::Signal(signal) if parsed.signer().address == own => signal
                .header
                .recipients
                .iter()
                .map(|to| {
                    let answer = answers.get(&to.address).cloned();
                    let state =
                        if answer.is_some() { wire::DeliveryState::Answered } else { wire::DeliveryState::Accepted };
                    wire::RecipientState { address: Some(to.address.into()), state: state.into(), answer, late: false }
                })
                .collect(),
            _ => Vec::new(),
        };
        let consistency = log.linked(request.seen_size);
        Ok(Response::new(wire::GetItemResponse { item: Some(item), receipts, recipients, consistency }))
    }

    async fn list_items(
        &self,
        _: Request<wire::ListItemsRequest>,
    ) -> Result<Response<wire::ListItemsResponse>, Status> {
        Ok(Response::new(wire::ListItemsResponse::default()))
    }
}

impl Hub {
    /// The next message of a mailbox, if there is one: a head, then what lies behind `after`.
    fn next(
        &self,
        address: Address,
        sent: u64,
        after: u64,
        begun: u64,
        seen: u64,
    ) -> Option<(wire::ReceiveResponse, u64)> {
        let mut log = self.log();
        let head = |log: &Log| wire::ReceiveResponse {
            consistency: log.linked(seen),
            message: Some(Message::MailboxHead(log.head(address))),
        };
        if sent == 0 || (sent == 1 && log.tells(Lie::HoldBack)) {
            return Some((head(&log), after));
        }
        if log.tells(Lie::HoldBack) {
            return None;
        }
        let skip = u64::from(log.tells(Lie::SkipNumber));
        let mailbox = log.mailbox(address);
        let first = log.lies.get(&Lie::ErasedBefore).copied().unwrap_or(1);
        let (index, place) = mailbox.iter().find(|(_, place)| place.number > after + skip && place.number >= first)?;
        let message = log.message(address, *index, place.number <= begun, seen);
        Some((message, place.number))
    }
}

#[tonic::async_trait]
impl CovenantService for Hub {
    async fn get_covenant(
        &self,
        request: Request<wire::GetCovenantRequest>,
    ) -> Result<Response<wire::GetCovenantResponse>, Status> {
        let log = self.log();
        let covenant = match request.into_inner().serial {
            0 if log.tells(Lie::OldCovenant) => log.covenants.first(),
            0 => log.covenants.last(),
            serial => log.covenants.iter().find(|covenant| covenant.serial() == serial),
        };
        let covenant = covenant.ok_or_else(|| Status::not_found("no such covenant"))?;
        Ok(Response::new(wire::GetCovenantResponse { covenant: Some(covenant.item().clone()) }))
    }

    async fn publish_certificate(
        &self,
        request: Request<wire::PublishCertificateRequest>,
    ) -> Result<Response<wire::PublishCertificateResponse>, Status> {
        let request = request.into_inner();
        let all: Vec<Bytes> = std::iter::once(request.leaf).chain(request.chain).collect();
        let mut log = self.log();
        let index = log.publish(Chain::parse(&all, false).unwrap());
        let consistency = log.linked(request.seen_size);
        Ok(Response::new(wire::PublishCertificateResponse { receipt: Some(log.receipt(index)), consistency }))
    }

    async fn get_certificate(
        &self,
        request: Request<wire::GetCertificateRequest>,
    ) -> Result<Response<wire::GetCertificateResponse>, Status> {
        let request = request.into_inner();
        let log = self.log();
        let found = (0..).zip(&log.leaves).find_map(|(index, leaf)| {
            let chain = leaf.chain.clone()?;
            (chain.leaf.sha256().as_ref() == request.sha256.as_ref()).then_some((index, chain))
        });
        let (index, chain) = found.ok_or_else(|| Status::not_found("no such certificate"))?;
        Ok(Response::new(wire::GetCertificateResponse {
            leaf: chain.leaf.der().clone(),
            chain: chain.above,
            receipt: Some(log.receipt(index)),
            consistency: log.linked(request.seen_size),
        }))
    }

    async fn get_revocation_list(
        &self,
        request: Request<wire::GetRevocationListRequest>,
    ) -> Result<Response<wire::GetRevocationListResponse>, Status> {
        let sha256 = request.into_inner().sha256;
        let log = self.log();
        let lists = log.lists.iter().filter(|list| sha256.is_empty() || list.sha256().as_ref() == sha256.as_ref());
        Ok(Response::new(wire::GetRevocationListResponse { lists: lists.map(|list| list.der().clone()).collect() }))
    }

    async fn get_key_statements(
        &self,
        request: Request<wire::GetKeyStatementsRequest>,
    ) -> Result<Response<wire::GetKeyStatementsResponse>, Status> {
        let request = request.into_inner();
        let address = address(request.address);
        let log = self.log();
        let mut all = Vec::new();
        for (index, leaf) in (0..).zip(&log.leaves) {
            let Some(item) = leaf.item.clone().and_then(|request| request.item) else {
                continue;
            };
            let parsed = Item::parse(item.clone(), &log.origin).unwrap();
            if let Payload::KeyStatement(statement) = parsed.payload()
                && statement.signer.address == address
            {
                all.push((
                    statement.serial,
                    wire::KeyStatementEntry { item: Some(item), receipt: Some(log.receipt(index)) },
                ));
            }
        }
        if log.tells(Lie::OldStatement) {
            all.pop();
        }
        let newest_serial = all.last().map_or(0, |(serial, _)| *serial);
        let wanted = all.into_iter().filter(|(serial, _)| *serial > request.after_serial).take(2);
        Ok(Response::new(wire::GetKeyStatementsResponse {
            statements: wanted.map(|(_, entry)| entry).collect(),
            consistency: log.linked(request.seen_size),
            newest_serial,
        }))
    }
}

#[tonic::async_trait]
impl AuditService for Hub {
    async fn get_checkpoint(
        &self,
        request: Request<wire::GetCheckpointRequest>,
    ) -> Result<Response<wire::GetCheckpointResponse>, Status> {
        let log = self.log();
        let consistency = log.linked(request.into_inner().seen_size);
        Ok(Response::new(wire::GetCheckpointResponse { checkpoint: log.checkpoint(), consistency }))
    }

    async fn get_inclusion_proof(
        &self,
        _: Request<wire::GetInclusionProofRequest>,
    ) -> Result<Response<wire::GetInclusionProofResponse>, Status> {
        Err(Status::unimplemented("the client does not use it"))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<wire::GetConsistencyProofRequest>,
    ) -> Result<Response<wire::GetConsistencyProofResponse>, Status> {
        let wire::GetConsistencyProofRequest { old_size, new_size } = request.into_inner();
        let log = self.log();
        if new_size > log.size() {
            return Err(Status::invalid_argument("the log is not so long"));
        }
        Ok(Response::new(wire::GetConsistencyProofResponse { proof: log.consistency(old_size, new_size), new_size }))
    }

    type ListRecordsStream = Answers<wire::ListRecordsResponse>;

    async fn list_records(
        &self,
        request: Request<wire::ListRecordsRequest>,
    ) -> Result<Response<Self::ListRecordsStream>, Status> {
        let wire::ListRecordsRequest { from, to } = request.into_inner();
        let log = self.log();
        let mut lines: Vec<Result<wire::ListRecordsResponse, Status>> = Vec::new();
        for index in from..to {
            let leaf = &log.leaves[usize::try_from(index).unwrap()];
            let record = wire::Record::decode(leaf.record.clone()).unwrap();
            let audience = record.audience.unwrap().of.unwrap();
            let is_for_others =
                matches!(&audience, wire::audience::Of::Address(to) if to.function() != wire::Function::SafeHome);
            let mut line =
                wire::ListRecordsResponse { index, commitment: leaf.commitment.into(), ..Default::default() };
            if !(is_for_others && log.tells(Lie::HideOthers)) {
                line.record = leaf.record.clone();
                line.salt = Bytes::copy_from_slice(&leaf.salt);
                line.item = leaf.item.clone().and_then(|request| request.item);
            }
            lines.push(Ok(line));
            if log.tells(Lie::BreakStream) {
                lines.push(Err(Status::unavailable("the stream broke")));
                break;
            }
        }
        Ok(Response::new(Box::pin(futures_util::stream::iter(lines))))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn address(address: Option<wire::Address>) -> Address {
    Address::try_from(&address.unwrap()).unwrap()
}
