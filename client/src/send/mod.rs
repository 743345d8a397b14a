//! Sending: plan what would leave and explain it, seal, sign, write it down, submit, verify the receipt.
//!
//! In comes what a person or program wants sent, with content as opaque bytes and a [`ContentCheck`] that knows what
//! they mean; out goes a receipt that proves what the hub accepted. Order matters: the covenant is asked before anything
//! leaves; keys are taken only from statements that the log holds; the finished submission is on disk before its first
//! byte is sent; a retry sends those bytes; nothing is called accepted before the receipt was verified.
//!
//! This file seals and signs. The rooms, in the order in which a signal walks: `plan`: to whom, by which rule; `keys`: to
//! which key; `submit`: until there is an answer; `acceptance`: what the answer must say.

mod plan;
mod keys;
mod submit;
mod acceptance;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::address::{Address, Function, Oin};
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{ItemId, ItemType};
use seinpost_protocol::signal::SignalHeader;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

use self::plan::refusal;
use crate::client::Client;
use crate::error::{Error, Fault, Result};
use crate::files::{self, Mode};
use crate::outbox::Waiting;
use crate::seal::{SUITE, SealTo, Sealing};

pub use self::acceptance::{Consigned, Submitted};
pub(crate) use self::acceptance::{is_about, is_in_conversation, judge_record_time};
pub use self::plan::{Plan, Reader};

/// How old a plan may be when it is sealed: its readers' keys and certificates were asked when it was made.
const PLAN_AGE_MAX: Duration = Duration::from_secs(15 * 60);

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

/// Whether the sender keeps its own copy of content and blind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepCopy {
    /// Nothing of the content stays here.
    #[default]
    No,
    /// Content and blind are kept under `sent/`: together they prove to a court what was sent.
    Yes,
}

impl Client {
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
        plan.covenant.permit(&header).map(|_| ()).map_err(|refused| refusal(&refused).into())
    }

    /// Keeps content and blind, which together prove to a court what was sent; only where the sender asks for it.
    fn keep_copy(&self, id: &ItemId, content: &[u8], blind: &[u8]) -> Result<()> {
        let folder = self.inner.profile.state.join("sent").join(id.to_string());
        files::create_folder(&folder)?;
        files::write(&folder.join("content"), content, Mode::Secret)?;
        files::write(&folder.join("blind"), blind, Mode::Secret)
    }
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

/// Makes sure that the folder of a file is there.
pub(crate) fn folder_of(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), files::create_folder)
}
