//! Submitting an item: the questions, in their one order.
//!
//! Certificate, path and size were asked at the door. Here follow: parse, peer is signer, known item, age, signer's
//! certificate, signature, seen, route and rule; then the sequencer, where the core asks once more what another item in
//! flight may have changed. Each answer is a type, and only it can ask the next question, so that none is skipped and
//! none asked twice. The order is part of the contract: a retry after a lost answer earns its receipt although covenant
//! or keys changed in between, because "known item" comes before them.
//!
//! What is bad by itself is answered and forgotten. What a rule refuses of a signed item is recorded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seinpost_core::command::{Command, NewAnswer, NewKeyStatement, NewSignal, Recipient, Submission, Submitted};
use seinpost_core::event::Windows;
use seinpost_core::refusal::Refusal;
use seinpost_protocol::address::Address;
use seinpost_protocol::certificate::Chain;
use seinpost_protocol::covenant::{Acting, Covenant, Permit};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{BadItem, Item, ItemId, Payload, VerifiedItem};
use seinpost_protocol::key_statement::State as KeyState;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire::{self, SignalType};
use tonic::Status;
use tracing::{debug, warn};

use super::receipts::Against;
use super::signers::{self, Verified};
use super::{Desk, outcome};
use crate::commit::{BlobKind, Durable};
use crate::errors::{Refused, fault};
use crate::identity::Caller;
use crate::sequencer::{Outcome, Reply};

/// How old an item may be; the core asks again with the time of the batch.
const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How far ahead of the hub's clock an item may be signed; as above.
const AHEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// How often an item is judged anew because the covenant changed meanwhile: it changes a few times a year, so that
/// twice in a row is no change but a fault.
const JUDGED_MAX: usize = 3;

/// The types of signal that are exchanged so far; the others have their numbers and wait for their content.
const EXCHANGED: [SignalType; 3] =
    [SignalType::ExploitationSignal, SignalType::Consultation, SignalType::ConsultationAdvice];

/// Takes one submission through all questions; the receipt, or the first refusal.
pub(super) async fn submit(
    desk: &Arc<Desk>,
    caller: &Caller,
    request: wire::SubmitRequest,
) -> Result<wire::SubmitResponse, Status> {
    judge(desk, caller, request).await.propose(desk).answer(desk).await
}

/// Asks all that is asked before the core is: much work, which submissions of one stream may have done at one time.
pub(super) async fn judge(desk: &Arc<Desk>, caller: &Caller, request: wire::SubmitRequest) -> Judged {
    let pin = request.seen_size;
    match Parsed::read(request, &desk.origin) {
        Ok(parsed) => {
            let item_id = Some(parsed.item.signer().item_id);
            let verdict = first_verdict(desk, caller, parsed, pin).await.unwrap_or_else(Verdict::bad);
            Judged { item_id, pin, verdict }
        }
        Err(bad) => Judged::bad(bad),
    }
}

async fn first_verdict(desk: &Arc<Desk>, caller: &Caller, parsed: Parsed, pin: u64) -> Result<Verdict, Status> {
    let fresh = match parsed.by(caller)?.known(desk) {
        Known::Fresh(fresh) => fresh,
        Known::Recorded(index) => return Ok(Verdict::Answered(recorded(desk, index, pin).await)),
        Known::OtherBytes(own) => return Err(own.taken_id(desk).await),
    };
    fresh.timely(desk.time_for_intake()?)?.verdict(desk).await
}

/// A submission that was asked all that is asked before the core is.
pub(super) struct Judged {
    item_id: Option<ItemId>,
    pin: u64,
    verdict: Verdict,
}

/// What came of the questions.
enum Verdict {
    /// It was recorded before, or is bad by itself.
    Answered(Result<wire::SubmitResponse, Status>),
    /// A rule refuses it to its signer.
    Refused(Address, Refused),
    /// It goes to the core.
    Permitted(Box<Permitted>),
}

impl Verdict {
    fn bad(bad: impl Into<Status>) -> Self {
        Self::Answered(Err(bad.into()))
    }

    /// Puts into the sequencer's queue what is to be recorded.
    fn propose(self, desk: &Desk) -> Awaited {
        match self {
            Self::Answered(answer) => Awaited::Nothing(answer),
            Self::Refused(signer, refused) => match desk.record_refusal(signer, &refused) {
                Some(reply) => Awaited::Refusal(reply, refused),
                None => Awaited::Nothing(Err(refused.into())),
            },
            Self::Permitted(permitted) => {
                let (command, blobs, linked) = permitted.proposal();
                Awaited::Decision(desk.sequencer.submit(command, blobs), Box::new(linked))
            }
        }
    }
}

impl Judged {
    /// Judges what is no item at all.
    pub(super) fn bad(bad: Refused) -> Self {
        Self { item_id: None, pin: 0, verdict: Verdict::bad(bad) }
    }

    /// Returns the covenant by which it was permitted, if it was.
    pub(super) fn covenant(&self) -> Option<Digest> {
        match &self.verdict {
            Verdict::Permitted(permitted) => Some(permitted.linked.0.covenant.digest()),
            Verdict::Answered(_) | Verdict::Refused(..) => None,
        }
    }

    /// Puts it into the sequencer's queue, before this returns: the order of these calls is the order of the decisions.
    pub(super) fn propose(self, desk: &Desk) -> Proposed {
        Proposed { item_id: self.item_id, pin: self.pin, awaited: self.verdict.propose(desk) }
    }
}

/// A submission whose answer is on its way.
pub(super) struct Proposed {
    item_id: Option<ItemId>,
    pin: u64,
    awaited: Awaited,
}

/// What an answer waits for.
enum Awaited {
    Nothing(Result<wire::SubmitResponse, Status>),
    /// That a refusal is recorded. Whether it was changes nothing for whoever is refused.
    Refusal(Reply, Refused),
    /// That the core decides, and the journal has it.
    Decision(Reply, Box<Linked>),
}

impl Proposed {
    /// Returns the item's id, if it could be read.
    pub(super) fn item_id(&self) -> Option<ItemId> {
        self.item_id
    }

    /// Waits until it was decided; whoever gives up waiting loses nothing.
    pub(super) async fn decided(&mut self) {
        match &mut self.awaited {
            Awaited::Nothing(_) => {}
            Awaited::Refusal(reply, _) | Awaited::Decision(reply, _) => reply.arrived().await,
        }
    }

    /// Answers it: with the receipt, cut from the shared commit, or with its refusal.
    pub(super) async fn answer(self, desk: &Arc<Desk>) -> Result<wire::SubmitResponse, Status> {
        let Self { pin, mut awaited, .. } = self;
        let mut judged = 1;
        loop {
            let (reply, linked) = match awaited {
                Awaited::Nothing(answer) => return answer,
                Awaited::Refusal(reply, refused) => {
                    let _ = reply.await;
                    return Err(refused.into());
                }
                Awaited::Decision(reply, linked) => (reply, linked),
            };
            match reply.await {
                Outcome::Recorded { durable, index } => {
                    let Signed { item, .. } = &linked.0;
                    debug!(item = %item.digest(), agency = %item.signer().address.oin, index, "accepted");
                    return accepted(desk, &durable, index, pin);
                }
                Outcome::Already { index } => return recorded(desk, index, pin).await,
                Outcome::Refused(Refusal::PermitStale) if judged < JUDGED_MAX => {
                    judged += 1;
                    let verdict = linked.judge_anew().verdict(desk).await.unwrap_or_else(Verdict::bad);
                    awaited = verdict.propose(desk);
                }
                other => return Err(outcome::refused(other)),
            }
        }
    }
}

/// Cuts the receipt of an item from the commit that recorded it.
fn accepted(desk: &Desk, durable: &Durable, index: u64, pin: u64) -> Result<wire::SubmitResponse, Status> {
    desk.seen.went_out(durable.size(), &durable.checkpoint);
    let against = Against::commit(desk.tree.clone(), durable);
    let entry = usize::try_from(index - durable.base).ok().and_then(|place| durable.entries.get(place));
    let entry = entry.ok_or_else(|| fault("an acceptance lies outside of its commit"))?;
    let receipt = Some(against.receipt(index, entry)?);
    Ok(wire::SubmitResponse { receipt, consistency: against.consistency(pin) })
}

/// Cuts the receipt of an item that was recorded before.
async fn recorded(desk: &Arc<Desk>, index: u64, pin: u64) -> Result<wire::SubmitResponse, Status> {
    let (receipt, consistency) = desk.receipt(index, pin).await?;
    Ok(wire::SubmitResponse { receipt: Some(receipt), consistency })
}

/// What travels beside an item.
#[derive(Clone)]
struct Beside {
    sealed_content: Bytes,
    wrapped_keys: Vec<Bytes>,
}

/// An item that is right by itself.
struct Parsed {
    item: Item,
    beside: Beside,
}

impl Parsed {
    fn read(request: wire::SubmitRequest, origin: &str) -> Result<Self, Refused> {
        let item = request.item.ok_or_else(|| Refused::of("FIELD").at("item"))?;
        let item = Item::parse(item, origin).map_err(|bad| refuse(&bad))?;
        let beside = Beside { sealed_content: request.sealed_content, wrapped_keys: request.wrapped_keys };
        match item.payload() {
            Payload::Signal(_) => {}
            Payload::Answer(_) | Payload::KeyStatement(_) => {
                // Nothing signs these bytes, so nobody could answer for them.
                if !beside.sealed_content.is_empty() || !beside.wrapped_keys.is_empty() {
                    return Err(Refused::of("FIELD").at("sealed_content").saying("only a signal has sealed content"));
                }
            }
        }
        Ok(Self { item, beside })
    }

    fn by(self, caller: &Caller) -> Result<Own, Refused> {
        if caller.is(self.item.signer().address) { Ok(Own(self)) } else { Err(Refused::of("SIGNER_NOT_PEER")) }
    }
}

/// An item that names the connection's peer as its signer.
struct Own(Parsed);

/// Whether the signer used the item's id before.
enum Known {
    Fresh(Fresh),
    /// For the same item, at this index.
    Recorded(u64),
    /// For another.
    OtherBytes(Own),
}

impl Own {
    fn known(self, desk: &Desk) -> Known {
        let (signer, digest) = (self.0.item.signer(), self.0.item.digest());
        match desk.state(|state| state.known(signer.address, signer.item_id)) {
            None => Known::Fresh(Fresh(self)),
            Some((known, index)) if known == digest => Known::Recorded(index),
            Some(_) => Known::OtherBytes(self),
        }
    }

    /// The id is taken, which is said to whoever holds the signer's key and to nobody else.
    async fn taken_id(self, desk: &Arc<Desk>) -> Status {
        let covenant = desk.covenants.ruling(desk.now());
        match Timely(Fresh(self)).certified(desk, covenant).await.and_then(|certified| Ok(certified.signed()?)) {
            Ok(_) => Refused::of("ALREADY_EXISTS").at("item").into(),
            Err(status) => status,
        }
    }
}

/// An item whose id is new.
struct Fresh(Own);

impl Fresh {
    fn timely(self, now: Timestamp) -> Result<Timely, Refused> {
        let signed_at = self.0.0.item.signer().signed_at;
        if signed_at + AGE_MAX < now {
            return Err(Refused::of("ITEM_TOO_OLD"));
        }
        if now + AHEAD_MAX < signed_at {
            return Err(Refused::of("ITEM_FROM_FUTURE"));
        }
        Ok(Timely(self))
    }
}

/// An item that is neither too old nor from ahead.
struct Timely(Fresh);

impl Timely {
    /// Asks the rest by the covenant that rules now; an error is a message that is bad by itself.
    async fn verdict(self, desk: &Arc<Desk>) -> Result<Verdict, Status> {
        let covenant = desk.covenants.ruling(desk.now());
        let signed = self.certified(desk, covenant).await?.signed()?;
        let signer = signed.signer();
        Ok(match signed.linked(desk)?.permitted(desk).await {
            Ok(permitted) => Verdict::Permitted(Box::new(permitted)),
            Err(refused) => Verdict::Refused(signer, refused),
        })
    }

    /// Finds the signer's certificate among the published, checks who vouches for it, and asks the covenant for its
    /// right to act.
    async fn certified(self, desk: &Arc<Desk>, covenant: Covenant) -> Result<Certified, Status> {
        let now = desk.now();
        let signer = self.0.0.0.item.signer();
        let (leaf, address) = (signer.certificate_sha256, signer.address);
        let unknown = || Refused::of("CERTIFICATE_UNKNOWN").at("signer.certificate_sha256");
        let ask = || desk.state(|state| state.certificate(&leaf).copied());
        let published = match ask() {
            Some(published) => published,
            // Published a moment ago, perhaps: durable, and not yet in the copy that is asked.
            None => {
                desk.caught_up().await?;
                ask().ok_or_else(unknown)?
            }
        };
        let crls = desk.intake.crls();
        let verified = match desk.signers.kept(leaf, &covenant, &crls) {
            Some(verified) => verified,
            None => {
                let ruling = covenant.clone();
                desk.blocking(move |desk| {
                    let certificates = desk.blobs_at(published.index, BlobKind::Chain)?;
                    let chain = Chain::parse(&certificates, false).map_err(signers::refuse)?;
                    Ok(desk.signers.verify(&chain, &ruling, &crls, now)?)
                })
                .await?
            }
        };
        let verified = verified.at(now)?;
        let acting = covenant.may_act(address, wire::Use::Signing, &verified.chain.leaf().spki_sha256(), now);
        let Acting { bound } = acting.map_err(|no| Refused::of(no.reason()))?;
        Ok(Certified { timely: self, covenant, verified, bound })
    }
}

/// An item whose signer's certificate may act for the address.
struct Certified {
    timely: Timely,
    covenant: Covenant,
    verified: Arc<Verified>,
    bound: bool,
}

impl Certified {
    /// Checks the signature, and that what travels beside the item is what was signed.
    ///
    /// Some 50–150 µs of arithmetic, and a millisecond for a mebibyte of content: done where the request is, since
    /// handing it to another thread costs a tenth of that and the requests of others run on the other threads anyway.
    fn signed(self) -> Result<Signed, Refused> {
        let Parsed { item, beside } = self.timely.0.0.0;
        let item = item.verify(self.verified.chain.leaf(), self.bound).map_err(|bad| refuse(&bad))?;
        if let Payload::Signal(signal) = item.payload() {
            signal.check_beside(&beside.sealed_content, &beside.wrapped_keys).map_err(|bad| refuse(&bad))?;
        }
        let crls = self.verified.chain.crl_sha256().to_vec();
        Ok(Signed { item, beside, covenant: self.covenant, crls })
    }
}

/// An item that its signer signed, whole.
struct Signed {
    item: VerifiedItem,
    beside: Beside,
    covenant: Covenant,
    /// The revocation lists by which the certificate was judged.
    crls: Vec<Digest>,
}

impl Signed {
    fn signer(&self) -> Address {
        self.item.signer().address
    }

    /// Holds what the signer saw of the log against the log.
    fn linked(self, desk: &Desk) -> Result<Linked, Refused> {
        let keys = self.covenant.live_log_keys();
        let durable = desk.newest_size();
        let judged =
            desk.seen.judge(&self.item.signer().seen, &desk.origin, &keys, &desk.tree, desk.reader.as_ref(), durable);
        if let Err(refused) = &judged
            && refused.reason() == "SEEN_FORK"
        {
            desk.intake.stop_for_fork();
        }
        judged?;
        Ok(Linked(self))
    }
}

/// An item whose signer stands on this log's branch.
struct Linked(Signed);

impl Linked {
    /// Asks the covenant for rule and route, or whatever else the item's kind must fit.
    async fn permitted(self, desk: &Arc<Desk>) -> Result<Permitted, Refused> {
        let Signed { item, covenant, .. } = &self.0;
        if !covenant.is_valid_at(desk.now()) {
            return Err(Refused::of("NO_COVENANT"));
        }
        let signer = item.signer();
        let named = signer.covenant_digest;
        // An older one is no ground for refusal; one that was never adopted is news.
        let adopted = || desk.state(|state| state.covenants().any(|adopted| adopted.digest == named));
        if named != covenant.digest() && !adopted() {
            warn!(covenant = %named, agency = %signer.address.oin, "ALARM: an item names a covenant that was never adopted");
            metrics::counter!("seinpost_unknown_covenants_total").increment(1);
            return Err(Refused::of("COVENANT_UNKNOWN").at("signer.covenant_digest"));
        }
        let what = match item.payload() {
            Payload::Signal(signal) => {
                let header = &signal.header;
                if !EXCHANGED.contains(&header.signal_type) {
                    return Err(Refused::of("TYPE_NOT_YET").at("header.type"));
                }
                let permit = covenant.permit(header).map_err(|refused| {
                    let text = strip_reason(&refused.message);
                    Refused::of(refused.reason.as_str()).saying(text).nearest(refused.nearest_rule)
                })?;
                let key_statements = signal.sealed.keys.iter().map(|key| key.key_statement_digest);
                Submitted::Signal(NewSignal {
                    signal_type: header.signal_type,
                    conversation: header.conversation,
                    supersedes: header.supersedes,
                    urgency: header.urgency,
                    expires: header.expires,
                    retention_class: header.retention_class,
                    recipients: recipients(covenant, permit, key_statements),
                })
            }
            Payload::Answer(answer) => {
                self.names_its_delivery(desk, answer.item_digest, answer.delivery_commitment).await?;
                Submitted::Answer(NewAnswer {
                    item: answer.item_digest,
                    code: answer.code,
                    duplicate_of: answer.duplicate_of,
                })
            }
            Payload::KeyStatement(statement) => Submitted::KeyStatement(NewKeyStatement {
                serial: statement.serial,
                previous: statement.previous,
                windows: match &statement.state {
                    KeyState::Windowed { seal_from, seal_until, open_until, .. } => {
                        Some(Windows { seal_from: *seal_from, seal_until: *seal_until, open_until: *open_until })
                    }
                    KeyState::Withdrawn => None,
                },
                key_floor: covenant.key_floor(signer.address),
            }),
        };
        Ok(Permitted { linked: self, what })
    }

    /// Checks that an answer names the very delivery that its signer got: the signer saw that record and no other.
    async fn names_its_delivery(&self, desk: &Arc<Desk>, item: Digest, named: Digest) -> Result<(), Refused> {
        let signer = self.0.signer();
        let consigned = || desk.state(|state| state.delivery(item, signer).map(|delivery| delivery.index));
        let mut index = consigned();
        if index.is_none() {
            // A sender of the same town hall may know it from its receipt: durable, and not yet in the copy that is asked.
            desk.caught_up().await.map_err(|_| Refused::of("INTERNAL"))?;
            index = consigned();
        }
        let index = index.ok_or_else(|| Refused::of("DELIVERY_UNKNOWN").at("item_digest"))?;
        let entry = desk.blocking(move |desk| desk.entry(index)).await;
        match entry {
            Ok(entry) if entry.commitment == named => Ok(()),
            Ok(_) => Err(Refused::of("DELIVERY_MISMATCH").at("delivery_commitment")),
            Err(_) => Err(Refused::of("INTERNAL")),
        }
    }
}

/// An item that may be recorded, with what the core must know of it.
struct Permitted {
    linked: Linked,
    what: Submitted,
}

impl Permitted {
    /// Returns the command, what is kept beside its record, and the item, should it have to be judged anew.
    fn proposal(mut self) -> (Command, Vec<(BlobKind, Bytes)>, Linked) {
        // Whoever judges anew finds them anew.
        let crls = std::mem::take(&mut self.linked.0.crls);
        let Signed { item, beside, covenant, .. } = &self.linked.0;
        let signer = item.signer();
        let command = Command::Submit(Submission {
            signer: signer.address,
            item_id: signer.item_id,
            digest: item.digest(),
            signed_at: signer.signed_at,
            key_serial: signer.key_serial,
            permit_covenant: covenant.digest(),
            crls,
            what: self.what,
        });
        let mut blobs = vec![(BlobKind::Item, prost::Message::encode_to_vec(item.wire()).into())];
        if !beside.sealed_content.is_empty() {
            blobs.push((BlobKind::SealedContent, beside.sealed_content.clone()));
        }
        blobs.extend(beside.wrapped_keys.iter().map(|key| (BlobKind::WrappedKey, key.clone())));
        (command, blobs, self.linked)
    }
}

impl Linked {
    /// Goes back to where the covenant is asked, because it changed.
    fn judge_anew(self) -> Timely {
        let Signed { item, beside, .. } = self.0;
        Timely(Fresh(Own(Parsed { item: item.into_item(), beside })))
    }
}

/// Lays what the permit says of each recipient beside the key that the signal is sealed to.
fn recipients(covenant: &Covenant, permit: Permit, key_statements: impl Iterator<Item = Digest>) -> Vec<Recipient> {
    let pairs = permit.recipients.into_iter().zip(key_statements);
    pairs
        .map(|(permitted, key_statement)| Recipient {
            key_floor: covenant.key_floor(permitted.address),
            address: permitted.address,
            rule_id: permitted.rule_id,
            routed: permitted.routed,
            key_statement,
        })
        .collect()
}

/// The covenant's sentence ends in its reason, which the table of errors adds itself.
fn strip_reason(message: &str) -> String {
    message.rsplit_once(" [").map_or(message, |(sentence, _)| sentence).to_owned()
}

fn refuse(bad: &BadItem) -> Refused {
    Refused::bad(bad.reason(), bad.field(), bad)
}
