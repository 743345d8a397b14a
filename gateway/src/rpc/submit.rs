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
use tracing::{info, warn};

use super::receipts::Against;
use super::signers::{self, Verified};
use super::{Desk, outcome};
use crate::commit::BlobKind;
use crate::errors::{Refused, fault};
use crate::identity::Caller;
use crate::sequencer::Outcome;

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

/// Takes one submission through all questions; the receipt, or the first refusal, beside the item's id if it has one.
pub(super) async fn submit(
    desk: &Arc<Desk>,
    caller: &Caller,
    request: wire::SubmitRequest,
) -> (Option<ItemId>, Result<wire::SubmitResponse, Status>) {
    let pin = request.seen_size;
    match Parsed::read(request, &desk.origin) {
        Ok(parsed) => (Some(parsed.item.signer().item_id), take(desk, caller, parsed, pin).await),
        Err(refused) => (None, Err(refused.into())),
    }
}

async fn take(desk: &Arc<Desk>, caller: &Caller, parsed: Parsed, pin: u64) -> Result<wire::SubmitResponse, Status> {
    let own = parsed.by(caller)?;
    let fresh = match own.known(desk) {
        Known::Fresh(fresh) => fresh,
        Known::Recorded(index) => return recorded(desk, index, pin).await,
        Known::OtherBytes(own) => return Err(own.taken_id(desk).await),
    };
    let mut timely = fresh.timely(desk.time_for_intake()?)?;
    for _ in 0..JUDGED_MAX {
        let covenant = desk.covenants.ruling(desk.now());
        let signed = timely.certified(desk, covenant).await?.signed()?;
        let signer = signed.signer();
        let permitted = match signed.linked(desk)?.permitted(desk).await {
            Ok(permitted) => permitted,
            Err(refused) => {
                desk.record_refusal(signer, &refused).await;
                return Err(refused.into());
            }
        };
        let (command, blobs) = permitted.proposal();
        match desk.sequencer.submit(command, blobs).await {
            Outcome::Recorded { durable, index } => {
                info!(item = %permitted.digest(), agency = %signer.oin, index, "accepted");
                desk.seen.went_out(durable.size(), &durable.checkpoint);
                let against = Against::commit(desk.tree.clone(), &durable);
                let entry = usize::try_from(index - durable.base).ok().and_then(|place| durable.entries.get(place));
                let entry = entry.ok_or_else(|| fault("an acceptance lies outside of its commit"))?;
                let receipt = Some(against.receipt(index, entry)?);
                return Ok(wire::SubmitResponse { receipt, consistency: against.consistency(pin) });
            }
            Outcome::Already { index } => return recorded(desk, index, pin).await,
            Outcome::Refused(Refusal::PermitStale) => timely = permitted.judge_anew(),
            other => return Err(outcome::refused(other)),
        }
    }
    Err(Refused::of("PERMIT_STALE").into())
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
        if !matches!(item.payload(), Payload::KeyStatement(_)) {
            self.names_a_key_of_its_own(desk).await?;
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

    /// Checks that the signer has made the key statement that it calls its newest: peers never seal to an older one after
    /// reading this, so that a number out of reach would shut the address off for good.
    async fn names_a_key_of_its_own(&self, desk: &Arc<Desk>) -> Result<(), Refused> {
        let Signed { item, .. } = &self.0;
        let (address, named) = (item.signer().address, item.signer().key_serial);
        let made = || desk.state(|state| state.key_statement(address).map_or(0, |keys| keys.serial));
        if named > made() {
            // Made a moment ago, perhaps: durable, and not yet in the copy that is asked.
            desk.caught_up().await.map_err(|_| Refused::of("INTERNAL"))?;
            if named > made() {
                let text = "the signer has made no key statement of this serial";
                return Err(Refused::of("KEY_SERIAL").at("signer.key_serial").saying(text));
            }
        }
        Ok(())
    }

    /// Checks that an answer names the very delivery that its signer got: the signer saw that record and no other.
    async fn names_its_delivery(&self, desk: &Arc<Desk>, item: Digest, named: Digest) -> Result<(), Refused> {
        let signer = self.0.signer();
        // Whoever read the delivery read it from what is applied, so there is nothing to wait for.
        let Some(index) = desk.state(|state| state.delivery(item, signer).map(|delivery| delivery.index)) else {
            return Err(Refused::of("DELIVERY_UNKNOWN").at("item_digest"));
        };
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
    fn digest(&self) -> Digest {
        self.linked.0.item.digest()
    }

    /// Returns the command and what is kept beside its record.
    fn proposal(&self) -> (Command, Vec<(BlobKind, Bytes)>) {
        let Signed { item, beside, covenant, crls } = &self.linked.0;
        let signer = item.signer();
        let command = Command::Submit(Submission {
            signer: signer.address,
            item_id: signer.item_id,
            digest: item.digest(),
            signed_at: signer.signed_at,
            permit_covenant: covenant.digest(),
            crls: crls.clone(),
            what: self.what.clone(),
        });
        let mut blobs = vec![(BlobKind::Item, prost::Message::encode_to_vec(item.wire()).into())];
        if !beside.sealed_content.is_empty() {
            blobs.push((BlobKind::SealedContent, beside.sealed_content.clone()));
        }
        blobs.extend(beside.wrapped_keys.iter().map(|key| (BlobKind::WrappedKey, key.clone())));
        (command, blobs)
    }

    /// Goes back to where the covenant is asked, because it changed.
    fn judge_anew(self) -> Timely {
        let Signed { item, beside, .. } = self.linked.0;
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
