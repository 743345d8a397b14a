//! The log's own pen: events become records, commitments, a root and a signed checkpoint.
//!
//! In come the events that one batch decided, with what travels beside them; out goes a finished [`Commit`]. Core gives
//! the numbers, this room the hashes: it keeps index and commitment of the last record in every mailbox and every
//! conversation, which the next record there names. A consignment is hashed before its acceptance, which names it.
//! Nothing here decides, waits or writes. At start the heads are rebuilt from what the journal holds ([`Replayed`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer as _, SigningKey};
use prost::Message;
use ring::rand::{SecureRandom, SystemRandom};
use seinpost_core::apply::apply;
use seinpost_core::event::{Audience, Event, What};
use seinpost_core::state::{SIX_MONTHS, State};
use seinpost_protocol::address::Address;
use seinpost_protocol::checkpoint::{self, Checkpoint, LogKey};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{ItemId, ItemType, pae};
use seinpost_protocol::note::KeyId;
use seinpost_protocol::record::{self, commitment};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::tree::{EMPTY_ROOT, leaf_hash};
use seinpost_protocol::wire;
use zeroize::Zeroizing;

use crate::commit::{Blob, BlobKind, Commit, Durable, Entry};
use crate::fault::Fault;
use crate::tree::TreeMemory;

/// What one command left for the log.
pub struct Sealing {
    /// Its events, in order, which begin where those of the command before ended.
    pub events: Vec<Event>,
    /// What travels beside one of them.
    pub blobs: Vec<(BlobKind, Bytes)>,
    /// Index of the event that it travels beside.
    pub subject: u64,
}

/// The log, where it ends.
pub struct Log {
    signer: LogSigner,
    tree: TreeMemory,
    heads: Heads,
    random: SystemRandom,
    size: u64,
    checkpoint: Bytes,
}

impl Log {
    /// Goes on where the journal ended: `tree` holds its leaves.
    #[must_use]
    pub fn new(signer: LogSigner, tree: TreeMemory, replayed: &Replayed) -> Self {
        let size = replayed.state.size();
        assert_eq!(tree.size(), size, "tree and state were read from one journal");
        let empty = || signer.checkpoint(0, EMPTY_ROOT);
        let checkpoint = replayed.checkpoint.clone().unwrap_or_else(empty);
        Self { signer, tree, heads: replayed.heads.clone(), random: SystemRandom::new(), size, checkpoint }
    }

    /// Returns how many records were sealed.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the newest checkpoint, which is true once its commit is durable.
    #[must_use]
    pub fn checkpoint(&self) -> &Bytes {
        &self.checkpoint
    }

    /// Seals a batch into a commit; `None` if nothing is to be recorded.
    pub fn seal(&mut self, batch: &[Sealing]) -> Option<Commit> {
        let base = self.size;
        let time = batch.iter().flat_map(|sealing| &sealing.events).next_back()?.time;
        let count = batch.iter().map(|sealing| sealing.events.len()).sum();
        let salts = self.draw_salts(count);
        let mut entries: Vec<Option<Entry>> = vec![None; count];
        let mut blobs = Vec::new();
        for sealing in batch.iter().filter(|sealing| !sealing.events.is_empty()) {
            // No record of one command names its acceptance, but the acceptance names its consignments.
            let accepts = |event: &&Event| matches!(event.what, What::Accepted { .. });
            let others = sealing.events.iter().filter(|event| !accepts(event));
            for event in others.chain(sealing.events.iter().filter(accepts)) {
                let place = place(base, event.index);
                entries[place] = Some(self.write(event, salts[place], base, &entries));
            }
            let entry = u32::try_from(place(base, sealing.subject)).expect("a batch is small");
            blobs.extend(sealing.blobs.iter().map(|(kind, bytes)| Blob::new(entry, *kind, bytes.clone())));
        }
        let entries: Vec<Entry> = entries
            .into_iter()
            .map(|entry| entry.expect("the events of a batch have the indexes that follow"))
            .collect();

        let leaves: Vec<Digest> = entries.iter().map(|entry| leaf_hash(&entry.commitment)).collect();
        self.tree.append(&leaves);
        self.size = base + entries.len() as u64;
        let root = self.tree.root(self.size).expect("the right edge of the tree is in memory");
        self.checkpoint = self.signer.checkpoint(self.size, root);
        Some(Commit { base, time, entries, blobs, checkpoint: self.checkpoint.clone(), root })
    }

    /// Writes one record with the hashes that it names.
    fn write(&mut self, event: &Event, salt: [u8; 32], base: u64, entries: &[Option<Entry>]) -> Entry {
        let mut record = event.to_record();
        self.heads.fill(event, &mut record);
        if let Some(wire::record::Event::SubmissionAcceptance(acceptance)) = &mut record.event {
            for addressee in &mut acceptance.addressees {
                let consignment =
                    entries[place(base, addressee.index)].as_ref().expect("consignments are written first");
                addressee.commitment = consignment.commitment.into();
            }
        }
        // A record that names nothing before it though there was something would be no start for ever after.
        assert!(self.heads.lead_to(event), "core and log count alike, also at record {}", event.index);
        let bytes = Bytes::from(record.encode_to_vec());
        debug_assert!(
            record::decode(bytes.clone()).is_ok(),
            "what is written can be read, also record {}",
            event.index
        );
        let commitment = commitment(&salt, &bytes);
        self.heads.move_on(event, commitment);
        Entry::new(bytes, salt, commitment)
    }

    /// One draw for the whole batch: a system call each would cost more than the hashing.
    fn draw_salts(&self, count: usize) -> Vec<[u8; 32]> {
        let mut random = vec![0; count * 32];
        self.random.fill(&mut random).expect("the system has random bytes; without them nothing may be recorded");
        let (salts, _) = random.as_chunks::<32>();
        salts.to_vec()
    }

    /// Returns what stands in an address's mailbox, as the newest checkpoint covers it.
    #[must_use]
    pub fn head_facts(&self, address: Address, time: Timestamp) -> HeadFacts {
        let last = self.heads.mailboxes.get(&address).copied();
        HeadFacts { address, first_number: 1, last, checkpoint: self.checkpoint.clone(), size: self.size, time }
    }
}

/// What stands in a mailbox; the log's key signs it for the mailbox's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadFacts {
    /// Whose mailbox.
    pub address: Address,
    /// The first number that is not erased.
    pub first_number: u64,
    /// The last record; `None`: there was never one.
    pub last: Option<Place>,
    /// The checkpoint that covers it.
    pub checkpoint: Bytes,
    /// How many records that checkpoint covers.
    pub size: u64,
    /// When that was so.
    pub time: Timestamp,
}

/// The last record of a mailbox or conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number there.
    pub number: u64,
    /// Its index in the log.
    pub index: u64,
    /// Its commitment.
    pub commitment: Digest,
}

/// What the journal's commits add up to: the state, and the heads of the log.
#[derive(Default)]
pub struct Replayed {
    /// The state that all events leave.
    pub state: State,
    heads: Heads,
    checkpoint: Option<Bytes>,
}

impl Replayed {
    /// Takes the next commit with its decoded records. That the records are those of the commitments, and these those of
    /// the root, was checked where they were read.
    ///
    /// # Errors
    ///
    /// A record does not follow those before it: the journal was written by a faulty gateway, or another log's.
    pub fn absorb(&mut self, durable: &Durable, records: &[(u64, wire::Record)]) -> Result<(), Fault> {
        for (index, record) in records {
            let broken = |what: &str| Fault::Broken(format!("record {index} {what}"));
            let event = Event::from_record(record).map_err(|no| broken(&no.to_string()))?;
            if event.index != *index || event.index != self.state.size() {
                return Err(broken("is not the next one"));
            }
            let mut written = record.clone();
            self.heads.fill(&event, &mut written);
            if !self.heads.lead_to(&event) {
                return Err(broken("leaves a gap in its mailbox or conversation"));
            }
            if (&written.mailbox, &written.conversation) != (&record.mailbox, &record.conversation) {
                return Err(broken("names another record before it in its mailbox or conversation"));
            }
            let entry =
                durable.entries.get(place(durable.base, *index)).ok_or_else(|| broken("is not in its commit"))?;
            self.heads.move_on(&event, entry.commitment);
            apply(&mut self.state, &event);
        }
        self.checkpoint = Some(durable.checkpoint.clone());
        Ok(())
    }
}

/// The last records of all mailboxes and of the conversations that core remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Heads {
    mailboxes: BTreeMap<Address, Place>,
    conversations: BTreeMap<ItemId, (Timestamp, BTreeMap<Address, Place>)>,
    /// (time of the last record, conversation).
    ages: BTreeSet<(Timestamp, ItemId)>,
}

impl Heads {
    /// Writes into a record what stood before it in its mailbox and its conversation.
    fn fill(&self, event: &Event, record: &mut wire::Record) {
        let Audience::Address(address) = event.audience else {
            return;
        };
        if let Some(place) = &mut record.mailbox {
            let previous = previous(place.number, self.mailboxes.get(&address));
            (place.previous_index, place.previous_commitment) = previous;
        }
        if let (Some(place), Some((id, _))) = (&mut record.conversation, event.conversation) {
            let last = self.conversations.get(&id).and_then(|(_, parties)| parties.get(&address));
            (place.previous_index, place.previous_commitment) = previous(place.number, last);
        }
    }

    /// Says whether an event's numbers are the next ones in its mailbox and its conversation.
    fn lead_to(&self, event: &Event) -> bool {
        let Audience::Address(address) = event.audience else {
            return event.mailbox.is_none() && event.conversation.is_none();
        };
        let next = |last: Option<&Place>| last.map_or(0, |last| last.number).checked_add(1);
        let in_conversation = |id| self.conversations.get(&id).and_then(|(_, parties)| parties.get(&address));
        event.mailbox.is_none_or(|number| next(self.mailboxes.get(&address)) == Some(number))
            && event.conversation.is_none_or(|(id, number)| next(in_conversation(id)) == Some(number))
    }

    /// Makes a record the last of its mailbox and its conversation. Conversations are forgotten when core forgets them.
    fn move_on(&mut self, event: &Event, commitment: Digest) {
        while let Some(&(last, id)) = self.ages.first()
            && last + SIX_MONTHS < event.time
        {
            self.ages.remove(&(last, id));
            self.conversations.remove(&id);
        }
        let Audience::Address(address) = event.audience else {
            return;
        };
        if let Some(number) = event.mailbox {
            self.mailboxes.insert(address, Place { number, index: event.index, commitment });
        }
        if let Some((id, number)) = event.conversation {
            let (last, parties) = self.conversations.entry(id).or_insert_with(|| (event.time, BTreeMap::new()));
            self.ages.remove(&(*last, id));
            *last = event.time;
            self.ages.insert((event.time, id));
            parties.insert(address, Place { number, index: event.index, commitment });
        }
    }
}

/// Returns index and commitment of the record before number `number`; number 1 has none.
fn previous(number: u64, last: Option<&Place>) -> (u64, Bytes) {
    match last {
        Some(last) if last.number.checked_add(1) == Some(number) => (last.index, last.commitment.into()),
        Some(_) | None => (0, Bytes::new()),
    }
}

fn place(base: u64, index: u64) -> usize {
    usize::try_from(index - base).expect("a batch is small")
}

/// Signs for the log: checkpoints and mailbox heads. Cheap to clone; the key is wiped with the last clone.
#[derive(Clone)]
pub struct LogSigner(Arc<Key>);

struct Key {
    origin: String,
    /// Wiped when it is dropped.
    secret: SigningKey,
    key: LogKey,
    key_id: KeyId,
    /// The hint in a signed item: H(SubjectPublicKeyInfo) in hex.
    hint: String,
}

/// Why a file is no log key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLogKey {
    /// The text is no PEM of a private key.
    #[error("the file holds no single PEM block PRIVATE KEY")]
    Pem,
    /// The key is of another kind.
    #[error("the key is no Ed25519 key in PKCS#8")]
    Key,
    /// No log can have this origin.
    #[error("the origin must be a name of at most 128 printable ASCII characters without plus or space")]
    Origin,
}

impl LogSigner {
    /// Reads an Ed25519 key (PKCS#8, PEM) that signs for the log `origin`.
    pub fn from_pkcs8_pem(text: &str, origin: &str) -> Result<Self, BadLogKey> {
        const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
        const END: &str = "-----END PRIVATE KEY-----";
        let body = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).ok_or(BadLogKey::Pem)?;
        let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
        let der = Zeroizing::new(BASE64.decode(body.as_bytes()).map_err(|_| BadLogKey::Pem)?);
        let secret = SigningKey::from_pkcs8_der(&der).map_err(|_| BadLogKey::Key)?;
        Self::new(secret, origin)
    }

    /// Signs for the log `origin` with this key.
    pub fn new(secret: SigningKey, origin: &str) -> Result<Self, BadLogKey> {
        if !checkpoint::is_origin(origin) {
            return Err(BadLogKey::Origin);
        }
        // A SubjectPublicKeyInfo of Ed25519 is these twelve bytes and the key (RFC 8410).
        const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let public = secret.verifying_key().to_bytes();
        let key = LogKey::new(public);
        let hint = Digest::of_parts(&[&SPKI, &public]).to_string();
        Ok(Self(Arc::new(Key { origin: origin.to_owned(), key_id: key.key_id(origin), secret, key, hint })))
    }

    /// Returns the log's origin.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Returns the public key.
    #[must_use]
    pub fn key(&self) -> LogKey {
        self.0.key
    }

    /// Signs a mailbox head, as an item.
    #[must_use]
    pub fn sign_head(&self, facts: &HeadFacts) -> wire::SignedItem {
        let head = wire::MailboxHead {
            log_origin: self.0.origin.clone(),
            address: Some(facts.address.into()),
            first_number: facts.first_number,
            last_number: facts.last.map_or(0, |last| last.number),
            last_index: facts.last.map_or(0, |last| last.index),
            last_commitment: facts.last.map_or_else(Bytes::new, |last| last.commitment.into()),
            checkpoint: facts.checkpoint.clone(),
            time: Some(facts.time.into()),
        };
        let payload = Bytes::from(head.encode_to_vec());
        let payload_type = ItemType::MailboxHead.payload_type();
        let signature = self.0.secret.sign(&pae(payload_type, &payload)).to_bytes();
        let signature = wire::ItemSignature { sig: Bytes::copy_from_slice(&signature), keyid: self.0.hint.clone() };
        wire::SignedItem { payload, payload_type: payload_type.to_owned(), signatures: vec![signature] }
    }

    fn checkpoint(&self, size: u64, root: Digest) -> Bytes {
        let checkpoint = Checkpoint { origin: self.0.origin.clone(), size, root };
        let signature = self.0.secret.sign(checkpoint.body().as_bytes()).to_bytes();
        checkpoint::note(&checkpoint, self.0.key_id, &signature).into()
    }
}

#[cfg(test)]
mod tests;
