//! A hub of a few hundred lines that can lie.
//!
//! It keeps its log in memory, signs it with the world's own log key, and speaks gRPC over TLS as the gateway does; it
//! judges nothing. What it does wrong is chosen by [`Hub::lie`]. The tree is computed by the slow and obvious method.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use prost::Message as _;
use rustls_pki_types::pem::PemObject as _;
use seinpost_certs::key::Key;
use seinpost_certs::world::World;
use seinpost_protocol::address::Address;
use seinpost_protocol::certificate::{Chain, Crl};
use seinpost_protocol::checkpoint::{Checkpoint, LogKey, note};
use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::item::{Item, ItemType, Payload, pae};
use seinpost_protocol::key_statement::State;
use seinpost_protocol::record::commitment;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::tree::{self, Nodes, leaf_hash, node_hash};
use seinpost_protocol::wire;
use seinpost_protocol::wire::receive_response::Message;
use seinpost_protocol::wire::record::Event;
use seinpost_rpc::audit_service_server::{AuditService, AuditServiceServer};
use seinpost_rpc::covenant_service_server::{CovenantService, CovenantServiceServer};
use seinpost_rpc::exchange_service_server::{ExchangeService, ExchangeServiceServer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::{Request, Response, Status, Streaming};

/// What the hub does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lie {
    /// Answers are lost after the record is made: UNAVAILABLE, once.
    LoseAnswer,
    /// One bit of the sealed content is flipped.
    SpoilContent,
    /// One bit of the sealed content is flipped, the first time.
    SpoilContentOnce,
    /// A mailbox record is left out.
    SkipNumber,
    /// The mailbox head leaves out its last record.
    ShortHead,
    /// The head promises, and nothing comes but the head again.
    HoldBack,
    /// The head promises, and the stream ends.
    OnlyHead,
    /// The head is from yesterday.
    StaleHead,
    /// The receipt is of another item.
    OtherReceipt,
    /// The newest covenant is the first one.
    OldCovenant,
    /// The newest key statement is kept back.
    OldStatement,
    /// The stream ends after each message.
    BreakStream,
    /// Everything in a mailbox below this number is erased: no lie, but what a retention rule does. `times` is the number.
    ErasedBefore,
    /// Records for others than the safe home are not shown: no lie, but what a participant sees.
    HideOthers,
    /// Records name the first covenant, whatever was adopted since.
    OldRuling,
    /// Consignments stand in another conversation than their item.
    ForeignConversation,
    /// The consistency proof of an answer is cut wrong; asked for by itself it is right.
    CutProofWrong,
}

/// A running hub.
#[derive(Clone)]
pub(crate) struct Hub {
    log: Arc<Mutex<Log>>,
    woken: Arc<Notify>,
    pub(crate) address: String,
}

pub(crate) struct Log {
    origin: String,
    key: Arc<Key>,
    public: LogKey,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(crate) leaves: Vec<Leaf>,
    covenants: Vec<Covenant>,
    lists: Vec<Crl>,
    lies: HashMap<Lie, u64>,
}

#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) record: Bytes,
    salt: [u8; 32],
    pub(crate) commitment: Digest,
    /// What an acceptance or a publication is about.
    item: Option<wire::SubmitRequest>,
    chain: Option<Chain>,
}

impl Leaf {
    /// What was submitted, if the record is of an acceptance of a signal.
    pub(crate) fn submission(&self) -> Option<wire::SubmitRequest> {
        self.item.clone().filter(|request| !request.sealed_content.is_empty())
    }
}

struct Tree<'a>(&'a [Leaf]);

impl Nodes for Tree<'_> {
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        if level == 0 {
            return self.0.get(usize::try_from(index).unwrap()).map(|leaf| leaf_hash(&leaf.commitment));
        }
        Some(node_hash(&self.node(level - 1, 2 * index)?, &self.node(level - 1, 2 * index + 1)?))
    }
}

impl Log {
    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.leaves.len()).unwrap()
    }

    pub(crate) fn checkpoint(&self) -> Bytes {
        let root = tree::root(&Tree(&self.leaves), self.size()).unwrap();
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: self.size(), root };
        let signature = self.key.sign(checkpoint.body().as_bytes()).unwrap().try_into().unwrap();
        Bytes::from(note(&checkpoint, self.public.key_id(&self.origin), &signature))
    }

    fn consistency(&self, old: u64, new: u64) -> Vec<Bytes> {
        tree::consistency_proof(&Tree(&self.leaves), old, new)
            .unwrap_or_default()
            .into_iter()
            .map(Bytes::from)
            .collect()
    }

    fn linked(&self, seen: u64) -> Vec<Bytes> {
        let mut proof = self.consistency(seen.min(self.size()), seen.max(self.size()));
        if self.tells(Lie::CutProofWrong) {
            proof.pop();
        }
        proof
    }

    fn receipt(&self, index: u64) -> wire::Receipt {
        let leaf = &self.leaves[usize::try_from(index).unwrap()];
        let proof = tree::inclusion_proof(&Tree(&self.leaves), index, self.size()).unwrap();
        wire::Receipt {
            record: leaf.record.clone(),
            salt: Bytes::copy_from_slice(&leaf.salt),
            index,
            commitment: leaf.commitment.into(),
            proof: proof.into_iter().map(Bytes::from).collect(),
            checkpoint: self.checkpoint(),
            erased_by: String::new(),
        }
    }

    fn tells(&self, lie: Lie) -> bool {
        self.lies.get(&lie).is_some_and(|times| *times > 0)
    }

    fn tells_once(&mut self, lie: Lie) -> bool {
        let told = self.tells(lie);
        if let Some(times) = self.lies.get_mut(&lie) {
            *times = times.saturating_sub(1);
        }
        told
    }

    fn records(&self) -> impl Iterator<Item = (u64, wire::Record)> + '_ {
        (0..).zip(&self.leaves).map(|(index, leaf)| (index, wire::Record::decode(leaf.record.clone()).unwrap()))
    }

    fn covenant(&self) -> Covenant {
        self.covenants.last().unwrap().clone()
    }

    fn record(&self, audience: wire::audience::Of, mailbox: Option<wire::MailboxPlace>, event: Event) -> wire::Record {
        let permanent = matches!(audience, wire::audience::Of::Group(_));
        let retention = if permanent { wire::Retention::Permanent } else { wire::Retention::Traffic6Months };
        let mut lists: Vec<Bytes> = self.lists.iter().map(|list| list.sha256().into()).collect();
        lists.sort();
        let ruling = if self.tells(Lie::OldRuling) { self.covenants[0].clone() } else { self.covenant() };
        wire::Record {
            format: 1,
            index: self.size(),
            time: Some((self.now)().into()),
            audience: Some(wire::Audience { of: Some(audience) }),
            covenant_digest: ruling.digest().into(),
            crl_sha256: lists,
            retention: retention.into(),
            mailbox,
            conversation: None,
            event: Some(event),
        }
    }

    fn seal(record: &wire::Record) -> Leaf {
        let record = Bytes::from(record.encode_to_vec());
        seinpost_protocol::record::decode(record.clone()).expect("the fake hub writes records as they should be");
        let salt = *Digest::of(&record).as_bytes();
        let commitment = commitment(&salt, &record);
        Leaf { record, salt, commitment, item: None, chain: None }
    }

    /// Appends a record for all.
    fn append_for_all(&mut self, event: Event) -> u64 {
        let group = wire::audience::Of::Group(wire::Group::All.into());
        let leaf = Self::seal(&self.record(group, None, event));
        self.leaves.push(leaf);
        self.size() - 1
    }

    pub(crate) fn adopt(&mut self, covenant: Covenant) {
        let event = Event::CovenantAdopted(wire::CovenantAdopted {
            serial: covenant.serial(),
            digest: covenant.digest().into(),
            valid_from: Some(covenant.valid_from().into()),
            valid_until: Some(covenant.valid_until().into()),
        });
        self.covenants.push(covenant);
        self.append_for_all(event);
    }

    pub(crate) fn adopt_list(&mut self, der: Bytes) {
        let list = Crl::parse(der).unwrap();
        let event = Event::CrlAdopted(wire::CrlAdopted {
            issuer_sha256: list.issuer_sha256().into(),
            number: list.number().as_bytes().clone(),
            this_update: Some(list.this_update().into()),
            next_update: Some(list.next_update().into()),
            sha256: list.sha256().into(),
        });
        // What a record names is adopted before it.
        self.append_for_all(event);
        self.lists.retain(|known| known.issuer_sha256() != list.issuer_sha256());
        self.lists.push(list);
    }

    fn place(&self, address: Address) -> wire::MailboxPlace {
        match self.mailbox(address).last() {
            None => wire::MailboxPlace { number: 1, ..Default::default() },
            Some((index, place)) => wire::MailboxPlace {
                number: place.number + 1,
                previous_index: *index,
                previous_commitment: self.leaves[usize::try_from(*index).unwrap()].commitment.into(),
            },
        }
    }

    /// The place of an address's next record in a conversation.
    fn place_in(&self, id: &str, address: Address) -> wire::ConversationPlace {
        let of = wire::audience::Of::Address(address.into());
        let last = self
            .records()
            .filter(|(_, record)| record.audience.as_ref().unwrap().of.as_ref() == Some(&of))
            .filter_map(|(index, record)| record.conversation.map(|place| (index, place)))
            .filter(|(_, place)| place.id == id)
            .last();
        let (number, previous_index, previous_commitment) = last.map_or((1, 0, Bytes::new()), |(index, place)| {
            (place.number + 1, index, self.leaves[usize::try_from(index).unwrap()].commitment.into())
        });
        wire::ConversationPlace { id: id.to_owned(), number, previous_index, previous_commitment }
    }

    /// The records of a mailbox, by index.
    pub(crate) fn mailbox(&self, address: Address) -> Vec<(u64, wire::MailboxPlace)> {
        let of = wire::audience::Of::Address(address.into());
        self.records()
            .filter(|(_, record)| record.audience.as_ref().unwrap().of.as_ref() == Some(&of))
            .filter_map(|(index, record)| record.mailbox.map(|place| (index, place)))
            .collect()
    }

    fn acceptance_of(&self, digest: &Digest) -> Option<u64> {
        self.records().find_map(|(index, record)| match record.event {
            Some(Event::SubmissionAcceptance(accepted)) if accepted.item_digest == digest.as_ref() => Some(index),
            _ => None,
        })
    }

    /// Takes an item and returns the index of its acceptance.
    pub(crate) fn take(&mut self, request: wire::SubmitRequest) -> Result<u64, Status> {
        let refused = |what: String| Status::invalid_argument(what);
        let item = Item::parse(request.item.clone().unwrap(), &self.origin).map_err(|bad| refused(bad.to_string()))?;
        if let Some(index) = self.acceptance_of(&item.digest()) {
            return Ok(index);
        }
        let signer = item.signer().address;
        let own = wire::audience::Of::Address(signer.into());
        let mut conversation = None;
        let (about, audience, to): (_, _, Vec<(Address, String)>) = match item.payload() {
            Payload::Signal(signal) => {
                signal
                    .check_beside(&request.sealed_content, &request.wrapped_keys)
                    .map_err(|bad| refused(bad.to_string()))?;
                let header = &signal.header;
                conversation = Some(header.conversation.to_string());
                let to = match self.covenant().permit(header) {
                    Ok(permit) => permit.recipients.into_iter().map(|to| (to.address, to.rule_id)).collect(),
                    Err(no) => return Err(Status::failed_precondition(no.to_string())),
                };
                let about = wire::AboutSignal {
                    r#type: header.signal_type.into(),
                    urgency: header.urgency.into(),
                    expires: Some(header.expires.into()),
                    retention_class: header.retention_class.into(),
                };
                (wire::submission_acceptance::About::Signal(about), own, to)
            }
            Payload::Answer(answer) => {
                let signal =
                    self.acceptance_of(&answer.item_digest).ok_or_else(|| Status::not_found("no such signal"))?;
                let sent = self.leaves[usize::try_from(signal).unwrap()].item.clone().unwrap().item.unwrap();
                let sent = Item::parse(sent, &self.origin).unwrap();
                let sender = sent.signer().address;
                if let Payload::Signal(signal) = sent.payload() {
                    conversation = Some(signal.header.conversation.to_string());
                }
                let about = wire::AboutAnswer { code: answer.code.into(), consignment_index: signal + 1, late: false };
                (wire::submission_acceptance::About::Answer(about), own, vec![(sender, "answer".into())])
            }
            Payload::KeyStatement(statement) => {
                let mut about = wire::AboutKey { serial: statement.serial, ..Default::default() };
                match &statement.state {
                    State::Windowed { seal_from, seal_until, open_until, .. } => {
                        about.seal_from = Some((*seal_from).into());
                        about.seal_until = Some((*seal_until).into());
                        about.open_until = Some((*open_until).into());
                    }
                    State::Withdrawn => about.withdrawn = true,
                }
                let all = wire::audience::Of::Group(wire::Group::All.into());
                (wire::submission_acceptance::About::Key(about), all, vec![(signer, "key-statement".into())])
            }
        };
        let index = self.size();
        let now = Some((self.now)().into());
        let mut consignments = Vec::new();
        for ((to, _), at) in to.iter().zip(index + 1..) {
            let event = Event::ContentConsignment(wire::ContentConsignment { item_digest: item.digest().into() });
            let mut record = self.record(wire::audience::Of::Address((*to).into()), Some(self.place(*to)), event);
            record.index = at;
            record.time = now;
            record.conversation = conversation.as_ref().map(|id| match self.tells(Lie::ForeignConversation) {
                false => self.place_in(id, *to),
                true => wire::ConversationPlace {
                    id: "01a0a0a0-0000-7000-8000-000000000002".into(),
                    number: 2,
                    previous_index: 0,
                    previous_commitment: self.leaves[0].commitment.into(),
                },
            });
            consignments.push(Self::seal(&record));
        }
        let addressees =
            to.iter().zip(&consignments).zip(index + 1..).map(|(((to, rule_id), leaf), index)| wire::Addressee {
                to: Some((*to).into()),
                rule_id: rule_id.clone(),
                index,
                commitment: leaf.commitment.into(),
            });
        let accepted = wire::SubmissionAcceptance {
            item_digest: item.digest().into(),
            item_id: item.signer().item_id.to_string(),
            about: Some(about),
            addressees: addressees.collect(),
        };
        let mut record = self.record(audience, None, Event::SubmissionAcceptance(accepted));
        record.time = now;
        record.conversation = conversation.as_ref().map(|id| self.place_in(id, signer));
        let mut acceptance = Self::seal(&record);
        acceptance.item = Some(request);
        self.leaves.push(acceptance);
        self.leaves.extend(consignments);
        Ok(index)
    }

    fn publish(&mut self, chain: Chain) -> u64 {
        let known = self
            .leaves
            .iter()
            .position(|leaf| leaf.chain.as_ref().is_some_and(|known| known.leaf.sha256() == chain.leaf.sha256()));
        if let Some(index) = known {
            return u64::try_from(index).unwrap();
        }
        let index = self.append_for_all(Event::CertificatePublished(wire::CertificatePublished {
            oin: chain.leaf.oin().to_string(),
            leaf_sha256: chain.leaf.sha256().into(),
            chain_sha256: chain.above.iter().map(|der| Digest::of(der).into()).collect(),
            spki_sha256: chain.leaf.spki_sha256().into(),
            not_after: Some(chain.leaf.not_after().into()),
        }));
        self.leaves[usize::try_from(index).unwrap()].chain = Some(chain);
        index
    }

    fn head(&self, address: Address) -> wire::SignedItem {
        let mut mailbox = self.mailbox(address);
        if self.tells(Lie::ShortHead) {
            mailbox.pop();
        }
        let last = mailbox.last();
        let time = if self.tells(Lie::StaleHead) {
            (self.now)() - std::time::Duration::from_secs(86_400)
        } else {
            (self.now)()
        };
        let head = wire::MailboxHead {
            log_origin: self.origin.clone(),
            address: Some(address.into()),
            first_number: self.lies.get(&Lie::ErasedBefore).copied().unwrap_or(1),
            last_number: last.map_or(0, |(_, place)| place.number),
            last_index: last.map_or(0, |(index, _)| *index),
            last_commitment: last
                .map(|(index, _)| self.leaves[usize::try_from(*index).unwrap()].commitment.into())
                .unwrap_or_default(),
            checkpoint: self.checkpoint(),
            time: Some(time.into()),
        };
        let payload = Bytes::from(head.encode_to_vec());
        let payload_type = ItemType::MailboxHead.payload_type().to_owned();
        let sig = Bytes::from(self.key.sign(&pae(&payload_type, &payload)).unwrap());
        wire::SignedItem { payload, payload_type, signatures: vec![wire::ItemSignature { sig, keyid: String::new() }] }
    }

    /// The message of one mailbox record.
    fn message(&mut self, address: Address, index: u64, redelivered: bool, seen: u64) -> wire::ReceiveResponse {
        let record = wire::Record::decode(self.leaves[usize::try_from(index).unwrap()].record.clone()).unwrap();
        let receipt = Some(self.receipt(index));
        let message = match record.event.unwrap() {
            Event::ContentConsignment(consigned) => {
                let digest = Digest::try_from(&consigned.item_digest).unwrap();
                let acceptance = self.acceptance_of(&digest).unwrap();
                let request = self.leaves[usize::try_from(acceptance).unwrap()].item.clone().unwrap();
                let item = Item::parse(request.item.clone().unwrap(), &self.origin).unwrap();
                let position = match item.payload() {
                    Payload::Signal(signal) => signal.header.recipients.iter().position(|to| to.address == address),
                    _ => None,
                };
                let mut sealed_content = request.sealed_content.to_vec();
                if !sealed_content.is_empty()
                    && (self.tells(Lie::SpoilContent) || self.tells_once(Lie::SpoilContentOnce))
                {
                    sealed_content[7] ^= 1;
                }
                Message::Delivery(wire::Delivery {
                    item: request.item,
                    sealed_content: sealed_content.into(),
                    wrapped_key: position.map(|at| request.wrapped_keys[at].clone()).unwrap_or_default(),
                    receipt,
                    redelivered,
                    expired: false,
                })
            }
            _ => Message::Notice(wire::Notice { receipt }),
        };
        wire::ReceiveResponse { consistency: self.linked(seen), message: Some(message) }
    }
}

impl Hub {
    /// Starts a hub for a world on a free port, and points the world's profiles at it.
    pub(crate) async fn start(world: &World, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let tls = world.hub_folder().join("tls");
        Self::start_as(world, now, &tls.join("server.pem"), &tls.join("server.key")).await
    }

    /// Starts a hub with another certificate than the hub's.
    pub(crate) async fn start_as(
        world: &World,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        certificate: &std::path::Path,
        key: &std::path::Path,
    ) -> Self {
        let hub = HubFile::parse(&std::fs::read_to_string(world.hub_file()).unwrap()).unwrap();
        let log_key = Key::from_pem(&std::fs::read_to_string(world.hub_folder().join("log.key")).unwrap()).unwrap();
        let covenant = Covenant::verify(world.covenant(), &Trust::Floor(hub.floor())).unwrap();
        let mut log = Log {
            origin: world.origin().to_owned(),
            public: LogKey::new(log_key.ed25519_public().unwrap()),
            key: Arc::new(log_key),
            now: Arc::new(now),
            leaves: Vec::new(),
            covenants: Vec::new(),
            lists: Vec::new(),
            lies: HashMap::new(),
        };
        log.adopt(covenant);
        for name in ["signing-root", "signing-issuing"] {
            let der = std::fs::read(world.hub_folder().join("crls").join(format!("{name}.crl"))).unwrap();
            log.adopt_list(der.into());
        }
        log.append_for_all(Event::GatewayStarted(wire::GatewayStarted { software: "fake".into(), format: 1 }));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        world.point_profiles_at(&address).unwrap();
        let hub = Self { log: Arc::new(Mutex::new(log)), woken: Arc::new(Notify::new()), address };
        let acceptor = acceptor(world, certificate, key);
        let incoming = unfold((listener, acceptor), |(listener, acceptor)| async move {
            loop {
                let (stream, _) = listener.accept().await.ok()?;
                if let Ok(stream) = acceptor.accept(stream).await {
                    return Some((Ok::<_, std::io::Error>(Io(stream)), (listener, acceptor)));
                }
            }
        });
        let router = tonic::transport::Server::builder()
            .add_service(ExchangeServiceServer::new(hub.clone()).max_decoding_message_size(2 << 20))
            .add_service(CovenantServiceServer::new(hub.clone()))
            .add_service(AuditServiceServer::new(hub.clone()));
        tokio::spawn(router.serve_with_incoming(incoming));
        hub
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Begins to lie.
    pub(crate) fn lie(&self, lie: Lie) {
        self.log().lies.insert(lie, u64::MAX);
    }

    /// Lies so often.
    pub(crate) fn lie_times(&self, lie: Lie, times: u64) {
        self.log().lies.insert(lie, times);
    }

    /// Tells the truth again.
    pub(crate) fn repent(&self) {
        self.log().lies.clear();
        self.woken.notify_waiters();
    }

    /// Rewrites a record that clients may have seen the commitment of: another history from there on.
    pub(crate) fn rewrite(&self, index: usize) {
        let mut log = self.log();
        log.leaves[index].salt = [0x55; 32];
        log.leaves[index].commitment = commitment(&[0x55; 32], &log.leaves[index].record);
    }

    /// Forgets all records from an index on, as an older copy of the disk would.
    pub(crate) fn forget_from(&self, index: usize) {
        self.log().leaves.truncate(index);
    }

    /// Tells the sender that its signal went to a recipient's transport.
    pub(crate) fn hand_over(&self, item_digest: Digest, sender: Address, recipient: Address) {
        let mut log = self.log();
        let event = Event::ContentHandover(wire::ContentHandover {
            item_digest: item_digest.into(),
            recipient: Some(recipient.into()),
        });
        let record = log.record(wire::audience::Of::Address(sender.into()), Some(log.place(sender)), event);
        let leaf = Log::seal(&record);
        log.leaves.push(leaf);
        drop(log);
        self.woken.notify_waiters();
    }

    /// Consigns an item once more to an address.
    pub(crate) fn consign_again(&self, item_digest: Digest, to: Address) {
        let mut log = self.log();
        let event = Event::ContentConsignment(wire::ContentConsignment { item_digest: item_digest.into() });
        let record = log.record(wire::audience::Of::Address(to.into()), Some(log.place(to)), event);
        let leaf = Log::seal(&record);
        log.leaves.push(leaf);
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn address(address: Option<wire::Address>) -> Address {
    Address::try_from(&address.unwrap()).unwrap()
}

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

/// Accepts connections as the gateway does: TLS 1.3, HTTP/2, a client certificate of the world's transport root.
fn acceptor(world: &World, certificate: &std::path::Path, key: &std::path::Path) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from(world.transport().root.certificate().to_vec())).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let chain = rustls_pki_types::CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let key = rustls_pki_types::PrivateKeyDer::from_pem_file(key).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

struct Io(TlsStream<TcpStream>);

impl tonic::transport::server::Connected for Io {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
