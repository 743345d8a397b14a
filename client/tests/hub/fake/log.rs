//! The log of a hub that can lie: in memory, signed with the world's own key, its tree by the slow and obvious method.
//!
//! In come items, certificates, covenants and lists; out go records, receipts, heads and the messages of a mailbox. It
//! judges nothing beyond what it needs in order to write a record that is well formed.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use seinpost_certs::key::Key;
use seinpost_certs::world::World;
use seinpost_protocol::address::{Address, Function};
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
use tonic::Status;

use super::Lie;

pub(crate) struct Log {
    pub(super) origin: String,
    key: Arc<Key>,
    public: LogKey,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(crate) leaves: Vec<Leaf>,
    pub(super) covenants: Vec<Covenant>,
    pub(super) lists: Vec<Crl>,
    pub(super) lies: HashMap<Lie, u64>,
}

#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) record: Bytes,
    pub(super) salt: [u8; 32],
    pub(crate) commitment: Digest,
    /// What an acceptance or a publication is about.
    pub(super) item: Option<wire::SubmitRequest>,
    pub(super) chain: Option<Chain>,
}

impl Leaf {
    /// What was submitted, if the record is of an acceptance of a signal.
    pub(crate) fn submission(&self) -> Option<wire::SubmitRequest> {
        self.item.clone().filter(|request| !request.sealed_content.is_empty())
    }
}

impl Log {
    /// Begins a world's log as a gateway's first start does.
    pub(super) fn begin(world: &World, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let hub = HubFile::parse(&std::fs::read_to_string(world.hub_file()).unwrap()).unwrap();
        let log_key = Key::from_pem(&std::fs::read_to_string(world.hub_folder().join("log.key")).unwrap()).unwrap();
        let covenant = Covenant::verify(world.covenant(), &Trust::Floor(hub.floor())).unwrap();
        let mut log = Self {
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
        log
    }

    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.leaves.len()).unwrap()
    }

    pub(crate) fn checkpoint(&self) -> Bytes {
        let root = tree::root(&Tree(&self.leaves), self.size()).unwrap();
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: self.size(), root };
        let signature = self.key.sign(checkpoint.body().as_bytes()).unwrap().try_into().unwrap();
        Bytes::from(note(&checkpoint, self.public.key_id(&self.origin), &signature))
    }

    pub(super) fn consistency(&self, old: u64, new: u64) -> Vec<Bytes> {
        tree::consistency_proof(&Tree(&self.leaves), old, new)
            .unwrap_or_default()
            .into_iter()
            .map(Bytes::from)
            .collect()
    }

    pub(super) fn linked(&self, seen: u64) -> Vec<Bytes> {
        let mut proof = self.consistency(seen.min(self.size()), seen.max(self.size()));
        if self.tells(Lie::CutProofWrong) {
            proof.pop();
        }
        proof
    }

    pub(super) fn receipt(&self, index: u64) -> wire::Receipt {
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

    pub(super) fn tells(&self, lie: Lie) -> bool {
        self.lies.get(&lie).is_some_and(|times| *times > 0)
    }

    pub(super) fn tells_once(&mut self, lie: Lie) -> bool {
        let told = self.tells(lie);
        if let Some(times) = self.lies.get_mut(&lie) {
            *times = times.saturating_sub(1);
        }
        told
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (u64, wire::Record)> + '_ {
        (0..).zip(&self.leaves).map(|(index, leaf)| (index, wire::Record::decode(leaf.record.clone()).unwrap()))
    }

    fn covenant(&self) -> Covenant {
        self.covenants.last().unwrap().clone()
    }

    pub(super) fn record(
        &self,
        audience: wire::audience::Of,
        mailbox: Option<wire::MailboxPlace>,
        event: Event,
    ) -> wire::Record {
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

    pub(super) fn seal(record: &wire::Record) -> Leaf {
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

    pub(super) fn place(&self, address: Address) -> wire::MailboxPlace {
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

    pub(super) fn acceptance_of(&self, digest: &Digest) -> Option<u64> {
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
        let to = if self.tells(Lie::Reroute) {
            let mayor = Address { oin: signer.oin, function: Function::Mayor };
            to.into_iter().map(|(_, rule_id)| (mayor, rule_id)).collect()
        } else {
            to
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

    pub(super) fn publish(&mut self, chain: Chain) -> u64 {
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

    pub(super) fn head(&self, address: Address) -> wire::SignedItem {
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
    pub(super) fn message(
        &mut self,
        address: Address,
        index: u64,
        redelivered: bool,
        seen: u64,
    ) -> wire::ReceiveResponse {
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

struct Tree<'a>(&'a [Leaf]);

impl Nodes for Tree<'_> {
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        if level == 0 {
            return self.0.get(usize::try_from(index).unwrap()).map(|leaf| leaf_hash(&leaf.commitment));
        }
        Some(node_hash(&self.node(level - 1, 2 * index)?, &self.node(level - 1, 2 * index + 1)?))
    }
}
