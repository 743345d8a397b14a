//! Sending: plan what would leave and explain it, seal, sign, write it down, submit, verify the receipt.
//!
//! In comes what a person or program wants sent, with content as opaque bytes and a [`ContentCheck`] that knows what
//! they mean; out goes a receipt that proves what the hub accepted. Order matters: the covenant is asked before anything
//! leaves; keys are taken only from statements that the log holds; the finished submission is on disk before its first
//! byte is sent; a retry sends those bytes; nothing is called accepted before the receipt was verified.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::address::{Address, Function, Oin};
use seinpost_protocol::covenant::{Covenant, Intent, IntentProfile, IntentRecipient, Permit, Refusal as PermitRefusal};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, ItemId, ItemType, Payload};
use seinpost_protocol::key_statement::State;
use seinpost_protocol::receipt::{EventKind, VerifiedReceipt};
use seinpost_protocol::signal::{EXPIRES_AFTER_MAX, EXPIRES_AFTER_MIN, RECIPIENTS_MAX, SignalHeader};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;

use crate::client::Client;
use crate::connect::request;
use crate::directory::organisation_of;
use crate::error::{By, Error, Fault, NotAllowed, Refusal, Result};
use crate::evidence::Evidence;
use crate::files::{self, Mode};
use crate::keys::{StatementEntry, record_time};
use crate::link::{audience_all, audience_of, expect};
use crate::outbox::Waiting;
use crate::seal::{PublicKey, SUITE, SealTo, Sealing};
use crate::verify::ReceiptFile;

/// How old a plan may be when it is sealed: its readers' keys and certificates were asked when it was made.
const PLAN_AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a signal waits for its answer where nothing else is said.
const EXPIRES_AFTER: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How often a submission is tried before the caller is told: with the waits between them about half a minute.
const TRIES_MAX: u32 = 6;
/// The first wait between two tries; each is twice the one before.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// The longest wait that a gateway's word may ask for while a person waits.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How far a record's time may lie before the item's own, behind it, and ahead of one's own clock. What is older when it
/// is recorded may have been recorded before, by then forgotten.
const RECORD_BEFORE_MAX: Duration = Duration::from_secs(5 * 60);
const RECORD_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const RECORD_AHEAD_MAX: Duration = Duration::from_secs(10 * 60);

/// What knows the content that this library seals and opens as opaque bytes.
pub trait ContentCheck: Send + Sync {
    /// Checks content before it is sealed; all faults at once.
    ///
    /// # Errors
    /// What keeps the content from being sent.
    fn before_sealing(&self, content: &[u8], context: &ContentContext<'_>) -> std::result::Result<(), Vec<Fault>>;

    /// Checks content that was opened.
    ///
    /// # Errors
    /// What the recipient is to answer, and why.
    fn after_opening(&self, content: &[u8], context: &ContentContext<'_>) -> std::result::Result<(), ContentFault>;
}

/// What content is checked against.
pub struct ContentContext<'a> {
    /// The covenant that holds for the signal.
    pub covenant: &'a Covenant,
    /// The profile that the signal names.
    pub profile: &'a wire::Profile,
    /// The type of the signal.
    pub signal_type: wire::SignalType,
    /// Who sends it.
    pub from: Address,
    /// To whom, in the header's order.
    pub to: Vec<Address>,
}

/// Why opened content is not what its header promised.
#[derive(Debug, Clone)]
pub struct ContentFault {
    /// The answer that says so: EXCESS_DATA or PROFILE_VIOLATION.
    pub answer: wire::AnswerCode,
    /// What is wrong, for the recipient's eyes; it may name fields, not what they hold.
    pub faults: Vec<Fault>,
}

/// What somebody wants sent, but for the content.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The type.
    pub signal_type: wire::SignalType,
    /// To whom, 1 to 8.
    pub to: Vec<To>,
    /// The law under which the sender holds the data.
    pub source_regime: wire::SourceRegime,
    /// What for.
    pub purpose: wire::Purpose,
    /// How urgent.
    pub urgency: wire::Urgency,
    /// What the recipients must mind.
    pub handling: Vec<wire::Handling>,
    /// The conversation that it continues; absent: it opens one.
    pub conversation: Option<ItemId>,
    /// The item to which it replies.
    pub in_reply_to: Option<Digest>,
    /// The sender's own item that it replaces.
    pub supersedes: Option<Digest>,
    /// Until when an answer counts; absent: 14 days, or less if a recipient's key ends before.
    pub expires: Option<Timestamp>,
    /// How long the hub keeps the sealed content; absent: HUB_24H.
    pub retention_class: Option<wire::RetentionClass>,
}

/// One recipient: a function, and the organisation or the municipality that leads to it.
#[derive(Debug, Clone)]
pub struct To {
    /// The function.
    pub function: Function,
    /// The organisation, where it is addressed outright, as in a conversation.
    pub oin: Option<Oin>,
    /// The municipality by which the covenant's routes find the organisation; four digits.
    pub municipality: Option<String>,
    /// The code of the legal basis.
    pub legal_basis: String,
    /// The sender's number of the decision, consent or order.
    pub basis_reference: Option<String>,
}

/// What would be sent, to whom, by which rule, readable by which keys: nothing has left yet.
pub struct Plan {
    /// The covenant by which it is judged.
    pub covenant: Covenant,
    /// The rule for each recipient, and the profile that all share.
    pub permit: Permit,
    /// Who would be able to read it, in the header's order.
    pub readers: Vec<Reader>,
    /// Until when an answer counts.
    pub expires: Timestamp,
    outgoing: Outgoing,
    made_at: Timestamp,
}

/// Somebody who would be able to read a signal.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The address.
    pub address: Address,
    /// The organisation's name by the covenant.
    pub name: String,
    /// The organisation's name by the certificate with which it signed its key statement.
    pub certificate_name: Option<String>,
    /// The rule of the covenant that permits it.
    pub rule: wire::Rule,
    /// Whether a route leads there; if not, both are party to the conversation.
    pub routed: bool,
    /// Serial of the key statement.
    pub key_serial: u64,
    /// Digest of the key statement.
    pub key_statement: Digest,
    /// Until when may be sealed to it.
    pub seal_until: Timestamp,
    /// Whether this client never saw a key of this address before: compare by phone if in doubt.
    pub is_first_sight: bool,
    to: To,
    seal_to: SealTo,
    open_until: Timestamp,
}

impl Plan {
    /// Returns the profile that the content must follow.
    #[must_use]
    pub fn profile(&self) -> &wire::Profile {
        self.covenant.profile_for(&self.permit).expect("a permit names a profile of its covenant")
    }
}

/// An item that the hub accepted, by a receipt that was verified.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// Its id.
    pub id: ItemId,
    /// Its digest.
    pub digest: Digest,
    /// The index of its acceptance in the log.
    pub index: u64,
    /// When the hub recorded it.
    pub recorded_at: Timestamp,
    /// The covenant by which the hub judged it.
    pub covenant: Digest,
    /// To whom it was consigned, in order.
    pub consigned: Vec<Consigned>,
    /// Where the receipt is kept.
    pub receipt: PathBuf,
}

/// One consignment that an acceptance names.
#[derive(Debug, Clone)]
pub struct Consigned {
    /// To whom.
    pub to: Address,
    /// The rule by which it was permitted; `answer` or `key-statement` where the format itself permits it.
    pub rule_id: String,
    /// Its index in the log.
    pub index: u64,
    /// Its commitment.
    pub commitment: Digest,
}

impl Client {
    /// Plans a signal: resolves routes, asks the rules, fetches and verifies each recipient's key. Nothing leaves.
    ///
    /// # Errors
    /// A refusal by the covenant says which rule comes nearest and what would do; a key that does not verify is not
    /// sealed to.
    pub async fn plan(&self, outgoing: &Outgoing) -> Result<Plan> {
        let covenant = self.refresh_covenant().await?;
        let now = self.now();
        self.judge_self(&covenant, now)?;
        judge_form(outgoing, now)?;
        let addresses = resolve(outgoing, &covenant, now)?;
        let permit = permit(outgoing, &addresses, self.address().function, &covenant, now)?;
        let mut readers = Vec::with_capacity(addresses.len());
        for (address, (to, permitted)) in addresses.iter().zip(outgoing.to.iter().zip(&permit.recipients)) {
            let rule = covenant.rule(&permitted.rule_id).expect("a permit names a rule of its covenant").clone();
            readers.push(self.reader(*address, to, rule, permitted.routed, &covenant, now).await?);
        }
        let expires = judge_expiry(outgoing, &readers, now)?;
        Ok(Plan { covenant, permit, readers, expires, outgoing: outgoing.clone(), made_at: now })
    }

    /// Plans, checks, seals, signs, submits.
    ///
    /// # Errors
    /// As [`Client::plan`] and [`Client::send_planned`].
    pub async fn send(
        &self,
        outgoing: &Outgoing,
        content: &[u8],
        check: &dyn ContentCheck,
        copy: KeepCopy,
    ) -> Result<Submitted> {
        let plan = self.plan(outgoing).await?;
        self.send_planned(&plan, content, check, copy).await
    }

    /// Checks, seals and signs what was planned, and submits it.
    ///
    /// # Errors
    /// If the content does not fit its profile, the gateway refuses, or the receipt does not hold. When the gateway
    /// cannot be reached the submission waits in the outbox.
    pub async fn send_planned(
        &self,
        plan: &Plan,
        content: &[u8],
        check: &dyn ContentCheck,
        copy: KeepCopy,
    ) -> Result<Submitted> {
        check.before_sealing(content, &self.content_context(plan)).map_err(Error::Usage)?;
        let waiting = self.seal_and_sign(plan, content, copy).await?;
        self.inner.outbox.put(&waiting)?;
        self.submit(waiting).await
    }

    fn content_context<'a>(&self, plan: &'a Plan) -> ContentContext<'a> {
        ContentContext {
            covenant: &plan.covenant,
            profile: plan.profile(),
            signal_type: plan.outgoing.signal_type,
            from: self.address(),
            to: plan.readers.iter().map(|reader| reader.address).collect(),
        }
    }

    /// Submits whatever waits in the outbox, oldest first, and returns what became of each.
    ///
    /// # Errors
    /// If the outbox cannot be read.
    pub async fn send_waiting(&self) -> Result<Vec<(ItemId, Result<Submitted>)>> {
        let mut results = Vec::new();
        for waiting in self.inner.outbox.waiting()? {
            let id = waiting.id;
            results.push((id, self.submit(waiting).await));
        }
        Ok(results)
    }

    /// Checks, seals and signs what was planned, and leaves the submitting to the caller; nothing is kept. For systems
    /// that have an outbox of their own.
    ///
    /// # Errors
    /// As [`Client::send_planned`], but for what submitting can refuse.
    pub async fn seal(&self, plan: &Plan, content: &[u8], check: &dyn ContentCheck) -> Result<Waiting> {
        check.before_sealing(content, &self.content_context(plan)).map_err(Error::Usage)?;
        self.seal_and_sign(plan, content, KeepCopy::No).await
    }

    async fn seal_and_sign(&self, plan: &Plan, content: &[u8], copy: KeepCopy) -> Result<Waiting> {
        if self.now().since(plan.made_at) > PLAN_AGE_MAX {
            let what = "made more than 15 minutes ago; since then a key may have been withdrawn or revoked: plan anew";
            return Err(Error::usage("plan", what));
        }
        let sealing = Sealing::begin(content).map_err(|error| Error::usage("content", error.to_string()))?;
        let (id, _, signer) = self.new_signer(plan.covenant.digest()).await?;
        let header = Bytes::from(plan.header(id, signer, &sealing).encode_to_vec());
        self.judge_header(plan, &header)?;

        if copy == KeepCopy::Yes {
            self.keep_copy(&id, content, sealing.blind().as_bytes())?;
        }
        let recipients: Vec<SealTo> = plan.readers.iter().map(|reader| reader.seal_to.clone()).collect();
        let sealed = sealing.finish(&header, &recipients).map_err(|error| Error::Fault(error.to_string()))?;
        let keys = recipients.iter().zip(&sealed.wrapped).map(|(to, wrapped)| wire::WrappedKeyRef {
            key_statement_digest: to.statement.into(),
            wrapped_sha256: Digest::of(wrapped).into(),
        });
        let manifest = wire::SignalManifest {
            header,
            sealed: Some(wire::Sealed {
                suite: SUITE,
                content_sha256: sealed.content_sha256.into(),
                keys: keys.collect(),
            }),
        };
        let item = self.sign(ItemType::Signal, &manifest)?;
        let request = wire::SubmitRequest {
            item: Some(item),
            sealed_content: sealed.sealed_content,
            wrapped_keys: sealed.wrapped,
            seen_size: 0,
        };
        Ok(Waiting { id, request })
    }

    /// Holds the finished header against its own rules and the covenant once more: it is what all others will judge.
    fn judge_header(&self, plan: &Plan, header: &Bytes) -> Result<()> {
        let header = SignalHeader::parse(header.clone())
            .map_err(|bad| Error::usage(bad.field(), format!("the signal is not right: {bad}")))?;
        plan.covenant.permit(&header).map(|_| ()).map_err(|refused| refusal(&refused))
    }

    /// Keeps content and blind, which together prove to a court what was sent; only where the sender asks for it.
    fn keep_copy(&self, id: &ItemId, content: &[u8], blind: &[u8]) -> Result<()> {
        let folder = self.inner.profile.state.join("sent").join(id.to_string());
        files::create_folder(&folder)?;
        files::write(&folder.join("content"), content, Mode::Secret)?;
        files::write(&folder.join("blind"), blind, Mode::Secret)
    }

    /// Submits a finished submission until there is an answer, and keeps the receipt.
    pub(crate) async fn submit(&self, waiting: Waiting) -> Result<Submitted> {
        let wire = waiting.request.item.clone().expect("what waits has an item");
        let item = Item::parse(wire, self.origin())
            .map_err(|bad| Error::Fault(format!("{} in the outbox is not right: {bad}", waiting.id)))?;
        let (verified, receipt) = match self.submit_until_answered(&waiting).await {
            Ok(answered) => answered,
            Err(error @ Error::Refused(_)) => {
                // Refused for good: what is corrected takes a new id, and a statement that was refused never was one.
                self.inner.outbox.remove(&waiting.id)?;
                if matches!(item.payload(), Payload::KeyStatement(_)) {
                    self.inner.sealing_keys.forget(&item.digest())?;
                }
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let submitted = self.judge_acceptance(&item, &verified)?;
        self.ruling_of(verified.record.as_ref().expect("an acceptance was asked for"), &receipt).await?;
        if let Payload::KeyStatement(statement) = item.payload() {
            let (serial, digest) = (statement.serial, Some(item.digest()));
            self.inner.pins.update(|pins| pins.raise_key(self.address(), serial, digest))?;
        }
        let own = self.inner.identity.chain();
        // What waited long may be signed with the certificate before.
        let file = if own.leaf.sha256() == item.signer().certificate_sha256 {
            ReceiptFile::new(self.origin(), &submitted.covenant, item.wire().clone(), own, receipt)
        } else {
            let chain = self.certificate(&item.signer().certificate_sha256).await?;
            ReceiptFile::new(self.origin(), &submitted.covenant, item.wire().clone(), &chain, receipt)
        };
        file.write(&submitted.receipt)?;
        self.note_receipt(&submitted.digest, &submitted.id)?;
        self.inner.outbox.remove(&waiting.id)?;
        Ok(submitted)
    }

    async fn submit_until_answered(&self, waiting: &Waiting) -> Result<(VerifiedReceipt, wire::Receipt)> {
        let mut wait = WAIT_FIRST;
        for tried in 1.. {
            // Each try says the pin of its own time, and its answer is compared with that one.
            let asked = self.asked()?;
            let mut submission = waiting.request.clone();
            submission.seen_size = asked.seen_size();
            let connection = &self.inner.connection;
            let status = match connection.exchange().submit(request(submission)).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let receipt = answer.receipt.unwrap_or_default();
                    let verified = self.link_receipt(&asked, &receipt, &answer.consistency).await?;
                    return Ok((verified, receipt));
                }
                Err(status) => status,
            };
            match connection.error(&status) {
                Error::Unreachable(trouble) if trouble.automatic && tried < TRIES_MAX => {
                    tokio::time::sleep(trouble.retry_after.unwrap_or(wait).min(WAIT_MAX)).await;
                    wait *= 2;
                }
                error => return Err(error),
            }
        }
        unreachable!("the last try returns")
    }

    /// Checks that an acceptance is of this item, for this client, and names its addressees.
    fn judge_acceptance(&self, item: &Item, receipt: &VerifiedReceipt) -> Result<Submitted> {
        let audience = match item.payload() {
            Payload::KeyStatement(_) => audience_all(),
            Payload::Signal(_) | Payload::Answer(_) => audience_of(self.address()),
        };
        let record = expect(receipt, &audience, EventKind::SubmissionAcceptance, Some(&item.digest()))?;
        let Some(Event::SubmissionAcceptance(accepted)) = &record.event else {
            unreachable!("the event was asked for");
        };
        let wrong = |what: &str| {
            Error::not_verified("ACCEPTANCE", format!("the hub's receipt is not of what was sent: {what}"))
        };
        if accepted.item_id != item.signer().item_id.to_string() {
            return Err(wrong("it names another id"));
        }
        if !is_about(accepted, item.payload()) {
            return Err(wrong("it says of the item what the item does not say"));
        }
        if !is_in_conversation(record, item.payload()) {
            return Err(wrong("it stands in another conversation"));
        }
        let recorded_at = judge_record_time(record, item.signer().signed_at, self.now())?;
        let mut consigned = Vec::with_capacity(accepted.addressees.len());
        for addressee in &accepted.addressees {
            consigned.push(Consigned {
                to: addressee
                    .to
                    .as_ref()
                    .and_then(|to| Address::try_from(to).ok())
                    .ok_or_else(|| wrong("an addressee is none"))?,
                rule_id: addressee.rule_id.clone(),
                index: addressee.index,
                commitment: Digest::try_from(&addressee.commitment).map_err(|_| wrong("a commitment is none"))?,
            });
        }
        let is_in_order = consigned.iter().zip(receipt.index + 1..).all(|(consigned, index)| consigned.index == index);
        if !is_in_order {
            return Err(wrong("its consignments do not stand directly behind it"));
        }
        let to = consigned.iter().map(|consigned| consigned.to);
        let is_addressed = match item.payload() {
            Payload::Signal(signal) => signal.header.recipients.iter().map(|recipient| recipient.address).eq(to),
            Payload::KeyStatement(statement) => to.eq([statement.signer.address]),
            // To whom it answers, only the signal says; there is one.
            Payload::Answer(_) => consigned.len() == 1,
        };
        if !is_addressed {
            return Err(wrong("it is consigned to others than it is addressed to"));
        }
        Ok(Submitted {
            id: item.signer().item_id,
            digest: item.digest(),
            index: receipt.index,
            recorded_at,
            covenant: Digest::try_from(&record.covenant_digest).map_err(|_| wrong("it names no covenant"))?,
            consigned,
            receipt: self.receipt_path(&item.signer().item_id),
        })
    }

    /// Returns where the receipt of an own item is kept.
    #[must_use]
    pub fn receipt_path(&self, id: &ItemId) -> PathBuf {
        self.inner.profile.state.join("receipts").join(format!("{id}.receipt"))
    }

    /// Asks the covenant whether one may sign at all, before anything else is asked.
    fn judge_self(&self, covenant: &Covenant, now: Timestamp) -> Result<()> {
        let spki = self.inner.identity.certificate().spki_sha256();
        covenant.may_act(self.address(), wire::Use::Signing, &spki, now).map(|_| ()).map_err(|no| {
            Error::NotAllowed(NotAllowed {
                reason: Some(no.reason().to_owned()),
                message: format!(
                    "by covenant {} this signing key may not act for {}: {no}",
                    covenant.serial(),
                    self.address()
                ),
            })
        })
    }

    async fn reader(
        &self,
        address: Address,
        to: &To,
        rule: wire::Rule,
        routed: bool,
        covenant: &Covenant,
        now: Timestamp,
    ) -> Result<Reader> {
        let is_first_sight = self.inner.pins.read()?.key(address).is_none();
        let entry = self.key_to_seal_to(address, covenant, now).await?;
        let State::Windowed { seal_until, open_until, public_key, .. } = &entry.statement.state else {
            unreachable!("a statement that is sealed to has windows");
        };
        let key = PublicKey::from_bytes(public_key)
            .map_err(|error| Error::not_verified("ENCAPSULATION_KEY", format!("the key of {address}: {error}")))?;
        let chain = self.certificate(&entry.statement.signer.certificate_sha256).await?;
        Ok(Reader {
            address,
            name: covenant.participant(address.oin).map(|participant| participant.name.clone()).unwrap_or_default(),
            certificate_name: organisation_of(chain.leaf.der()),
            rule,
            routed,
            key_serial: entry.serial,
            key_statement: entry.digest,
            seal_until: *seal_until,
            is_first_sight,
            to: to.clone(),
            seal_to: SealTo { key, statement: entry.digest },
            open_until: *open_until,
        })
    }

    /// Finds the statement to seal to: the newest that has begun, in a chain that fits the pin, signed by a key that may
    /// sign now.
    async fn key_to_seal_to(&self, address: Address, covenant: &Covenant, now: Timestamp) -> Result<StatementEntry> {
        let floor = covenant.key_floor(address);
        let entries = self.statement_chain(address, floor).await?;
        let counting: Vec<&StatementEntry> = entries.iter().filter(|entry| entry.serial >= floor).collect();
        let Some(newest) = counting.last() else {
            return Err(no_key(address, "NO_KEY_STATEMENT", "it has published no sealing key"));
        };
        let (newest_verified, _) = self.verify_signature_now(newest.item.clone(), covenant).await?;
        self.link_gossip(newest_verified.signer()).await?;
        self.inner.pins.update(|pins| pins.raise_key(address, newest.serial, Some(newest.digest)))?;
        if newest.statement.state == State::Withdrawn {
            return Err(no_key(address, "KEY_WITHDRAWN", "it has withdrawn its sealing key"));
        }
        // The newest that has begun, but none from before a withdrawal: that key is given up, whatever is stated after it.
        let chosen = counting.iter().rev().find(|entry| match entry.statement.state {
            State::Windowed { seal_from, .. } => seal_from <= now,
            State::Withdrawn => true,
        });
        let Some(chosen) = chosen else {
            return Err(no_key(address, "KEY_WINDOW", "none of its sealing keys has begun"));
        };
        if chosen.statement.state == State::Withdrawn {
            return Err(no_key(
                address,
                "KEY_WITHDRAWN",
                "it has withdrawn its sealing key, and the next has not begun",
            ));
        }
        if chosen.digest != newest.digest {
            self.verify_signature_now(chosen.item.clone(), covenant).await?;
        }
        match chosen.statement.state {
            State::Windowed { seal_until, .. } if seal_until < now => {
                Err(no_key(address, "KEY_WINDOW", &format!("its sealing key ended at {seal_until}")))
            }
            _ => Ok((**chosen).clone()),
        }
    }

    /// Fetches the newest statements of an address, from the one before the pinned one on, and checks that each follows.
    async fn statement_chain(&self, address: Address, floor: u64) -> Result<Vec<StatementEntry>> {
        let pinned = self.inner.pins.read()?.key(address);
        let anchored = pinned.filter(|pinned| pinned.digest.is_some());
        let start = anchored.map_or(0, |pinned| pinned.serial.saturating_sub(2));
        let mut entries: Vec<StatementEntry> = Vec::new();
        loop {
            let after = entries.last().map_or(start, |last| last.serial);
            let page = self.fetch_statements(address, after).await?;
            let is_last = page.entries.last().is_none_or(|last| last.serial >= page.newest_serial);
            if page.entries.is_empty() && page.newest_serial > after {
                return Err(Error::not_verified(
                    "KEY_STATEMENT",
                    format!("the hub keeps key statements of {address} back"),
                ));
            }
            entries.extend(page.entries);
            if is_last {
                break;
            }
        }
        let newest = entries.last().map_or(start, |last| last.serial);
        if let Some(pinned) = pinned {
            if newest < pinned.serial {
                let what = format!(
                    "the hub shows key statement {newest} of {address} as the newest; {} is known",
                    pinned.serial
                );
                return Err(Error::not_verified("KEY_STATEMENT_ROLLED_BACK", what));
            }
            let shown = entries.iter().find(|entry| entry.serial == pinned.serial);
            if let Some(known) = pinned.digest
                && shown.is_none()
            {
                let what = format!(
                    "the hub leaves out key statement {} of {address}, which is known as {known}",
                    pinned.serial
                );
                return Err(Error::not_verified("KEY_STATEMENT", what));
            }
            if let (Some(known), Some(shown)) = (pinned.digest, shown)
                && known != shown.digest
            {
                let item = shown.item.wire().encode_to_vec();
                return Err(self.accuse(Evidence {
                    reason: "KEY_STATEMENT_FORK",
                    what: format!(
                        "{address} has two key statements with serial {}: {known} and {}",
                        pinned.serial, shown.digest
                    ),
                    pieces: vec![("shown.item", &item)],
                }));
            }
        }
        let mut before: Option<(Digest, u64)> = None;
        for entry in &entries {
            // The first of a walk that begins at the pin has the pin to vouch for it; those below the floor do not count.
            let is_anchor = before.is_none() && anchored.is_some() && start > 0;
            if !is_anchor && entry.serial >= floor.max(1) {
                let previous = before.as_ref().map(|(digest, serial)| (digest, *serial));
                entry.statement.follows(previous, floor).map_err(|bad| {
                    Error::not_verified(
                        bad.reason(),
                        format!("key statement {} of {address} does not follow: {bad}", entry.serial),
                    )
                })?;
            }
            before = Some((entry.digest, entry.serial));
        }
        Ok(entries)
    }
}

/// Whether the sender keeps its own copy of content and blind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepCopy {
    /// Nothing of the content stays here.
    #[default]
    No,
    /// Content and blind are kept under `sent/`: together they prove to a court what was sent.
    Yes,
}

impl Plan {
    fn header(&self, id: ItemId, signer: wire::Signer, sealing: &Sealing) -> wire::SignalHeader {
        let outgoing = &self.outgoing;
        let (name, version) = &self.permit.profile;
        let sha256 = self.covenant.profile_sha256(name, *version).expect("a permit names a profile of its covenant");
        let mut handling: Vec<i32> = outgoing.handling.iter().map(|handling| i32::from(*handling)).collect();
        handling.sort_unstable();
        handling.dedup();
        wire::SignalHeader {
            signer: Some(signer),
            r#type: outgoing.signal_type.into(),
            conversation: outgoing.conversation.unwrap_or(id).to_string(),
            in_reply_to: outgoing.in_reply_to.map(Bytes::from).unwrap_or_default(),
            supersedes: outgoing.supersedes.map(Bytes::from).unwrap_or_default(),
            recipients: self
                .readers
                .iter()
                .map(|reader| wire::Recipient {
                    address: Some(reader.address.into()),
                    legal_basis: reader.to.legal_basis.clone(),
                    basis_reference: reader.to.basis_reference.clone().unwrap_or_default(),
                    municipality: reader.to.municipality.clone().unwrap_or_default(),
                })
                .collect(),
            source_regime: outgoing.source_regime.into(),
            purpose: outgoing.purpose.into(),
            urgency: outgoing.urgency.into(),
            handling,
            content_profile: Some(wire::ContentProfile {
                name: name.clone(),
                version: *version,
                sha256: sha256.into(),
            }),
            content_commitment: sealing.commitment().into(),
            expires: Some(self.expires.into()),
            retention_class: outgoing.retention_class.unwrap_or(wire::RetentionClass::Hub24h).into(),
            size_class: sealing.size_class().into(),
        }
    }
}

/// Says whether an acceptance says of an item what the item says: by this the hub, which opens no item twice, goes on.
pub(crate) fn is_about(accepted: &wire::SubmissionAcceptance, payload: &Payload) -> bool {
    use wire::submission_acceptance::About;
    match (&accepted.about, payload) {
        (Some(About::Signal(about)), Payload::Signal(signal)) => {
            let header = &signal.header;
            about.r#type() == header.signal_type
                && about.urgency() == header.urgency
                && about.expires == Some(header.expires.into())
                && about.retention_class() == header.retention_class
        }
        (Some(About::Answer(about)), Payload::Answer(answer)) => about.code() == answer.code,
        (Some(About::Key(about)), Payload::KeyStatement(statement)) => {
            let windows = match statement.state {
                State::Windowed { seal_from, seal_until, open_until, .. } => {
                    [seal_from, seal_until, open_until].map(|time| Some(time.into()))
                }
                State::Withdrawn => [None; 3],
            };
            about.serial == statement.serial
                && about.withdrawn == (statement.state == State::Withdrawn)
                && [about.seal_from, about.seal_until, about.open_until] == windows
        }
        _ => false,
    }
}

/// Says whether an acceptance or consignment stands in the conversation that its item names; which one an answer is of,
/// only the signal says.
pub(crate) fn is_in_conversation(record: &wire::Record, payload: &Payload) -> bool {
    match (&record.conversation, payload) {
        (Some(place), Payload::Signal(signal)) => place.id == signal.header.conversation.to_string(),
        (Some(_), Payload::Answer(_)) | (None, Payload::KeyStatement(_)) => true,
        (None, Payload::Signal(_) | Payload::Answer(_)) | (Some(_), Payload::KeyStatement(_)) => false,
    }
}

/// Checks a record's time against the item's own and one's own clock.
pub(crate) fn judge_record_time(record: &wire::Record, signed_at: Timestamp, now: Timestamp) -> Result<Timestamp> {
    let time = record_time(record);
    if signed_at.since(time) > RECORD_BEFORE_MAX {
        let what = format!("the hub recorded at {time} what was signed at {signed_at}");
        return Err(Error::not_verified("RECORD_TIME", what));
    }
    if time.since(signed_at) > RECORD_AFTER_MAX {
        let what = format!("the hub recorded at {time} what was signed at {signed_at}, more than 30 days before");
        return Err(Error::not_verified("RECORD_TIME", what));
    }
    if time.since(now) > RECORD_AHEAD_MAX {
        let what =
            format!("the hub's record is of {time}, more than ten minutes ahead of this machine's clock ({now})");
        return Err(Error::not_verified("RECORD_TIME", what));
    }
    Ok(time)
}

fn judge_form(outgoing: &Outgoing, now: Timestamp) -> Result<()> {
    let mut faults = Vec::new();
    if !(1..=RECIPIENTS_MAX).contains(&outgoing.to.len()) {
        faults.push(Fault::new("to", format!("a signal has 1 to {RECIPIENTS_MAX} recipients")));
    }
    for (at, to) in outgoing.to.iter().enumerate() {
        if to.oin.is_none() && to.municipality.is_none() {
            faults.push(
                Fault::new(format!("to[{at}]"), "neither organisation nor municipality is given")
                    .hint("a municipality's four digits, or an OIN"),
            );
        }
    }
    if let Some(expires) = outgoing.expires
        && !(now + EXPIRES_AFTER_MIN <= expires && expires <= now + EXPIRES_AFTER_MAX)
    {
        faults.push(Fault::new("expires", "must lie 1 hour to 30 days ahead"));
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::Usage(faults)) }
}

/// Finds the address of each recipient.
fn resolve(outgoing: &Outgoing, covenant: &Covenant, now: Timestamp) -> Result<Vec<Address>> {
    let resolve = |to: &To| match (to.oin, &to.municipality) {
        (Some(oin), _) => Ok(Address { oin, function: to.function }),
        (None, municipality) => {
            let municipality = municipality.as_deref().unwrap_or_default();
            covenant.resolve(to.function, municipality, outgoing.signal_type, now).map_err(|no| {
                Error::Refused(Refusal {
                    by: By::Covenant,
                    reason: "NO_ROUTE".into(),
                    message: format!(
                        "the covenant leads no {} for municipality {municipality} to {}: {no}",
                        outgoing.signal_type.as_str_name().trim_start_matches("SIGNAL_TYPE_"),
                        seinpost_protocol::address::function_code(to.function),
                    ),
                    nearest_rule: None,
                    violations: Vec::new(),
                })
            })
        }
    };
    let addresses = outgoing.to.iter().map(resolve).collect::<Result<Vec<_>>>()?;
    for (at, address) in addresses.iter().enumerate() {
        if addresses[..at].contains(address) {
            let fault = Fault::new(format!("to[{at}]"), format!("{address} is a recipient already"));
            return Err(Error::Usage(vec![fault.hint("each address once; two municipalities may have one safe home")]));
        }
    }
    Ok(addresses)
}

fn permit(
    outgoing: &Outgoing,
    addresses: &[Address],
    from: Function,
    covenant: &Covenant,
    now: Timestamp,
) -> Result<Permit> {
    let intent = Intent {
        from,
        signal_type: outgoing.signal_type,
        recipients: outgoing
            .to
            .iter()
            .zip(addresses)
            .map(|(to, address)| IntentRecipient {
                address: *address,
                legal_basis: &to.legal_basis,
                has_reference: to.basis_reference.is_some(),
                municipality: to.municipality.as_deref(),
            })
            .collect(),
        source_regime: outgoing.source_regime,
        purpose: outgoing.purpose,
        urgency: outgoing.urgency,
        supersedes: outgoing.supersedes.is_some(),
        profile: None::<IntentProfile<'_>>,
        signed_at: now,
    };
    let permit = covenant.permit_intent(&intent).map_err(|refused| refusal(&refused))?;
    if outgoing.conversation.is_none()
        && let Some(unrouted) = permit.recipients.iter().find(|permitted| !permitted.routed)
    {
        return Err(Error::Refused(Refusal {
            by: By::Covenant,
            reason: PermitRefusal::NoRoute.as_str().to_owned(),
            message: format!(
                "no route leads to {}: a new conversation needs the municipality for which it is addressed",
                unrouted.address
            ),
            nearest_rule: Some(unrouted.rule_id.clone()),
            violations: Vec::new(),
        }));
    }
    Ok(permit)
}

fn refusal(refused: &seinpost_protocol::covenant::Refused) -> Error {
    // The sentence ends in the reason in brackets; the error shows it there too.
    let reason = refused.reason.as_str();
    let message = refused.message.strip_suffix(&format!(" [{reason}]")).unwrap_or(&refused.message).to_owned();
    Error::Refused(Refusal {
        by: By::Covenant,
        reason: reason.to_owned(),
        message,
        nearest_rule: refused.nearest_rule.clone(),
        violations: Vec::new(),
    })
}

/// Chooses until when an answer counts: as asked, or 14 days, or as long as all recipients' keys open.
fn judge_expiry(outgoing: &Outgoing, readers: &[Reader], now: Timestamp) -> Result<Timestamp> {
    let shortest = readers.iter().min_by_key(|reader| reader.open_until).expect("a plan has readers");
    let latest = shortest.open_until;
    match outgoing.expires {
        Some(expires) if expires > latest => {
            let what = format!("the key of {} opens until {latest}; the signal must expire before", shortest.address);
            Err(no_key(shortest.address, "KEY_WINDOW", &what))
        }
        Some(expires) => Ok(expires),
        // Some seconds pass between the plan and the signature; an hour is a must from the latter on.
        None if latest < now + EXPIRES_AFTER_MIN + Duration::from_secs(60) => {
            Err(no_key(shortest.address, "KEY_WINDOW", &format!("its key opens only until {latest}")))
        }
        None => Ok((now + EXPIRES_AFTER).min(latest)),
    }
}

fn no_key(address: Address, reason: &str, what: &str) -> Error {
    Error::Refused(Refusal {
        by: By::Covenant,
        reason: reason.to_owned(),
        message: format!("nothing can be sealed to {address}: {what}"),
        nearest_rule: None,
        violations: Vec::new(),
    })
}

/// Makes sure that the folder of a file is there.
pub(crate) fn folder_of(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), files::create_folder)
}
