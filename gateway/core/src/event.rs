//! What happened: an [`Event`] is a record's facts without its hashes.
//!
//! [`decide`](crate::decide::decide) makes events, [`apply`](crate::apply::apply) takes them in, the log writes them
//! down. Both directions between event and record stand here, so that neither can be changed without the other:
//! [`Event::to_record`] leaves every hash of another record empty for the log to fill in, [`Event::from_record`]
//! reads what a replay needs and nothing more. A record holds all that `apply` needs; no item is ever opened again.

use seinpost_protocol::address::{Address, Oin};
use seinpost_protocol::certificate::CrlNumber;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_protocol::wire::{AnswerCode, RetentionClass, SignalType, Urgency};

pub use seinpost_protocol::record::FORMAT as RECORD_FORMAT;

/// Stands where a signal's addressee has its rule: answers go to whom they answer by the format itself, not by a row of the covenant.
pub const RULE_OF_ANSWERS: &str = "answer";
/// Stands where a signal's addressee has its rule: a key statement goes to its own address's mailbox by the format itself.
pub const RULE_OF_KEY_STATEMENTS: &str = "key-statement";

/// One event, for one audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log.
    pub index: u64,
    /// When: never earlier than the event before.
    pub time: Timestamp,
    /// Who may see its record.
    pub audience: Audience,
    /// Digest of the covenant in force.
    pub covenant: Digest,
    /// The revocation lists that the signer's chain was judged by, ascending.
    pub crls: Vec<Digest>,
    /// How long the record is kept.
    pub retention: Retention,
    /// Its number in the audience's mailbox.
    pub mailbox: Option<u64>,
    /// The conversation, and its number among the audience's own in it.
    pub conversation: Option<(ItemId, u64)>,
    /// What happened.
    pub what: What,
}

/// Who may see a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// One address.
    Address(Address),
    /// Every participant.
    All,
    /// Operators and auditors.
    Oversight,
}

/// How long a record is kept; its commitment stays for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Traffic data: six months (CORV art. 4).
    TrafficSixMonths,
    /// For ever: it holds nothing about anybody's signals.
    Permanent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An item was accepted. Its consignments follow, in the order of `addressees`.
    Accepted {
        /// Its digest.
        item: Digest,
        /// Its id.
        item_id: ItemId,
        /// What it is.
        about: About,
        /// To whom it is consigned.
        addressees: Vec<Addressee>,
    },
    /// An item was consigned to the audience.
    Consigned {
        /// Its digest.
        item: Digest,
    },
    /// A signal went to its recipient's transport.
    HandedOver {
        /// Digest of the signal.
        item: Digest,
        /// To whom it went.
        recipient: Address,
    },
    /// A signal was not answered in time.
    Expired {
        /// Digest of the signal.
        item: Digest,
        /// Whose answer did not come.
        recipient: Address,
    },
    /// A known participant was refused.
    Rejected {
        /// Why.
        reason: String,
        /// The rule that came nearest, where a rule refused.
        nearest_rule: Option<String>,
        /// How many refusals it stands for beyond its first.
        suppressed: u64,
    },
    /// A signing certificate became known.
    CertificatePublished {
        /// Whose it is.
        oin: Oin,
        /// SHA-256 of the leaf.
        leaf: Digest,
        /// SHA-256 of each certificate above it.
        chain: Vec<Digest>,
        /// SHA-256 of the leaf's public key.
        spki: Digest,
        /// When the leaf's validity ends.
        not_after: Timestamp,
    },
    /// The hub adopted a covenant.
    CovenantAdopted {
        /// Its serial.
        serial: u64,
        /// Its item digest.
        digest: Digest,
        /// From when it rules.
        valid_from: Timestamp,
        /// Until when it rules, at most.
        valid_until: Timestamp,
    },
    /// The hub adopted a revocation list.
    CrlAdopted {
        /// SHA-256 of the issuer's name.
        issuer: Digest,
        /// The list's number.
        number: CrlNumber,
        /// When it was made.
        this_update: Timestamp,
        /// When the next is due.
        next_update: Timestamp,
        /// SHA-256 of the list.
        sha256: Digest,
    },
    /// A gateway began to serve.
    GatewayStarted {
        /// Software and version.
        software: String,
    },
    /// Somebody of oversight looked.
    Access {
        /// Who.
        who: Address,
        /// The full path of the call.
        call: String,
        /// What was asked for.
        filter: String,
    },
    /// An operator confirmed the hub's clock.
    ClockConfirmed {
        /// The time of the last record before.
        last_record: Timestamp,
    },
}

/// What an accepted item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A signal.
    Signal {
        /// Its type.
        signal_type: SignalType,
        /// Its urgency.
        urgency: Urgency,
        /// When an answer is no longer in time.
        expires: Timestamp,
        /// How long its content is kept.
        retention_class: RetentionClass,
    },
    /// An answer.
    Answer {
        /// The answer.
        code: AnswerCode,
        /// Index of the consignment answered.
        consignment: u64,
        /// It came after the signal had expired.
        late: bool,
    },
    /// A key statement.
    Key {
        /// Its serial.
        serial: u64,
        /// When it may be used; `None` if it withdraws.
        windows: Option<Windows>,
    },
}

/// When a key statement may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// From when one may seal to it.
    pub seal_from: Timestamp,
    /// Until when one may seal to it, included.
    pub seal_until: Timestamp,
    /// When its private key is deleted.
    pub open_until: Timestamp,
}

/// To whom an accepted item is consigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// The address.
    pub to: Address,
    /// The rule that permits it, or [`RULE_OF_ANSWERS`], [`RULE_OF_KEY_STATEMENTS`].
    pub rule_id: String,
    /// Index of the consignment.
    pub index: u64,
}

impl Event {
    /// Writes the event as a record whose hashes are still empty: `previous_index` and `previous_commitment` of both
    /// places, and each addressee's `commitment`. The log knows those.
    #[must_use]
    pub fn to_record(&self) -> wire::Record {
        wire::Record {
            format: RECORD_FORMAT,
            index: self.index,
            time: Some(self.time.into()),
            audience: Some(audience_to_wire(self.audience)),
            covenant_digest: self.covenant.into(),
            crl_sha256: self.crls.iter().map(|digest| (*digest).into()).collect(),
            retention: match self.retention {
                Retention::TrafficSixMonths => wire::Retention::Traffic6Months.into(),
                Retention::Permanent => wire::Retention::Permanent.into(),
            },
            mailbox: self.mailbox.map(|number| wire::MailboxPlace { number, ..Default::default() }),
            conversation: self.conversation.map(|(id, number)| wire::ConversationPlace {
                id: id.to_string(),
                number,
                ..Default::default()
            }),
            event: Some(what_to_wire(&self.what)),
        }
    }

    /// Reads a record back into the event that it was written from.
    ///
    /// # Errors
    ///
    /// The record is none that this version writes; the fault names the field.
    pub fn from_record(record: &wire::Record) -> Result<Self, NotAnEvent> {
        if record.format != RECORD_FORMAT {
            return Err(NotAnEvent("format"));
        }
        let conversation = match &record.conversation {
            None => None,
            Some(place) => Some((item_id(&place.id, "conversation.id")?, place.number)),
        };
        Ok(Self {
            index: record.index,
            time: time(record.time.as_ref(), "time")?,
            audience: audience_from_wire(record.audience.as_ref())?,
            covenant: digest(&record.covenant_digest, "covenant_digest")?,
            crls: digests(&record.crl_sha256, "crl_sha256")?,
            retention: match wire::Retention::try_from(record.retention) {
                Ok(wire::Retention::Traffic6Months) => Retention::TrafficSixMonths,
                Ok(wire::Retention::Permanent) => Retention::Permanent,
                Ok(wire::Retention::Unspecified) | Err(_) => return Err(NotAnEvent("retention")),
            },
            mailbox: record.mailbox.as_ref().map(|place| place.number),
            conversation,
            what: what_from_wire(record.event.as_ref().ok_or(NotAnEvent("event"))?)?,
        })
    }
}

/// The record is none that this version writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record's field {0} is none that this version writes")]
pub struct NotAnEvent(
    /// The field.
    pub &'static str,
);

fn audience_to_wire(audience: Audience) -> wire::Audience {
    let of = match audience {
        Audience::Address(address) => wire::audience::Of::Address(address.into()),
        Audience::All => wire::audience::Of::Group(wire::Group::All.into()),
        Audience::Oversight => wire::audience::Of::Group(wire::Group::Oversight.into()),
    };
    wire::Audience { of: Some(of) }
}

fn audience_from_wire(audience: Option<&wire::Audience>) -> Result<Audience, NotAnEvent> {
    match audience.and_then(|audience| audience.of.as_ref()) {
        None => Err(NotAnEvent("audience")),
        Some(wire::audience::Of::Address(address)) => {
            Address::try_from(address).map(Audience::Address).map_err(|_| NotAnEvent("audience.address"))
        }
        Some(wire::audience::Of::Group(group)) => match wire::Group::try_from(*group) {
            Ok(wire::Group::All) => Ok(Audience::All),
            Ok(wire::Group::Oversight) => Ok(Audience::Oversight),
            Ok(wire::Group::Unspecified) | Err(_) => Err(NotAnEvent("audience.group")),
        },
    }
}

fn what_to_wire(what: &What) -> wire::record::Event {
    use wire::record::Event as Wire;
    match what {
        What::Accepted { item, item_id, about, addressees } => Wire::SubmissionAcceptance(wire::SubmissionAcceptance {
            item_digest: (*item).into(),
            item_id: item_id.to_string(),
            about: Some(about_to_wire(about)),
            addressees: addressees
                .iter()
                .map(|addressee| wire::Addressee {
                    to: Some(addressee.to.into()),
                    rule_id: addressee.rule_id.clone(),
                    index: addressee.index,
                    ..Default::default()
                })
                .collect(),
        }),
        What::Consigned { item } => Wire::ContentConsignment(wire::ContentConsignment { item_digest: (*item).into() }),
        What::HandedOver { item, recipient } => Wire::ContentHandover(wire::ContentHandover {
            item_digest: (*item).into(),
            recipient: Some((*recipient).into()),
        }),
        What::Expired { item, recipient } => {
            Wire::Expiry(wire::Expiry { item_digest: (*item).into(), recipient: Some((*recipient).into()) })
        }
        What::Rejected { reason, nearest_rule, suppressed } => Wire::SubmissionRejection(wire::SubmissionRejection {
            reason: reason.clone(),
            nearest_rule: nearest_rule.clone().unwrap_or_default(),
            suppressed: *suppressed,
        }),
        What::CertificatePublished { oin, leaf, chain, spki, not_after } => {
            Wire::CertificatePublished(wire::CertificatePublished {
                oin: oin.as_str().to_owned(),
                leaf_sha256: (*leaf).into(),
                chain_sha256: chain.iter().map(|digest| (*digest).into()).collect(),
                spki_sha256: (*spki).into(),
                not_after: Some((*not_after).into()),
            })
        }
        What::CovenantAdopted { serial, digest, valid_from, valid_until } => {
            Wire::CovenantAdopted(wire::CovenantAdopted {
                serial: *serial,
                digest: (*digest).into(),
                valid_from: Some((*valid_from).into()),
                valid_until: Some((*valid_until).into()),
            })
        }
        What::CrlAdopted { issuer, number, this_update, next_update, sha256 } => Wire::CrlAdopted(wire::CrlAdopted {
            issuer_sha256: (*issuer).into(),
            number: number.as_bytes().clone(),
            this_update: Some((*this_update).into()),
            next_update: Some((*next_update).into()),
            sha256: (*sha256).into(),
        }),
        What::GatewayStarted { software } => {
            Wire::GatewayStarted(wire::GatewayStarted { software: software.clone(), format: RECORD_FORMAT })
        }
        What::Access { who, call, filter } => {
            Wire::Access(wire::Access { who: Some((*who).into()), call: call.clone(), filter: filter.clone() })
        }
        What::ClockConfirmed { last_record } => {
            Wire::ClockConfirmed(wire::ClockConfirmed { last_record: Some((*last_record).into()) })
        }
    }
}

fn what_from_wire(event: &wire::record::Event) -> Result<What, NotAnEvent> {
    use wire::record::Event as Wire;
    match event {
        Wire::SubmissionAcceptance(acceptance) => {
            let mut addressees = Vec::with_capacity(acceptance.addressees.len());
            for addressee in &acceptance.addressees {
                addressees.push(Addressee {
                    to: address(addressee.to.as_ref(), "addressees.to")?,
                    rule_id: addressee.rule_id.clone(),
                    index: addressee.index,
                });
            }
            if addressees.is_empty() {
                return Err(NotAnEvent("addressees"));
            }
            Ok(What::Accepted {
                item: digest(&acceptance.item_digest, "item_digest")?,
                item_id: item_id(&acceptance.item_id, "item_id")?,
                about: about_from_wire(acceptance.about.as_ref())?,
                addressees,
            })
        }
        Wire::ContentConsignment(consignment) => {
            Ok(What::Consigned { item: digest(&consignment.item_digest, "item_digest")? })
        }
        Wire::ContentHandover(handover) => Ok(What::HandedOver {
            item: digest(&handover.item_digest, "item_digest")?,
            recipient: address(handover.recipient.as_ref(), "recipient")?,
        }),
        Wire::Expiry(expiry) => Ok(What::Expired {
            item: digest(&expiry.item_digest, "item_digest")?,
            recipient: address(expiry.recipient.as_ref(), "recipient")?,
        }),
        Wire::SubmissionRejection(rejection) => Ok(What::Rejected {
            reason: rejection.reason.clone(),
            nearest_rule: Some(rejection.nearest_rule.clone()).filter(|rule| !rule.is_empty()),
            suppressed: rejection.suppressed,
        }),
        Wire::CertificatePublished(published) => Ok(What::CertificatePublished {
            oin: Oin::try_from(published.oin.as_str()).map_err(|_| NotAnEvent("oin"))?,
            leaf: digest(&published.leaf_sha256, "leaf_sha256")?,
            chain: digests(&published.chain_sha256, "chain_sha256")?,
            spki: digest(&published.spki_sha256, "spki_sha256")?,
            not_after: time(published.not_after.as_ref(), "not_after")?,
        }),
        Wire::CovenantAdopted(adopted) => Ok(What::CovenantAdopted {
            serial: adopted.serial,
            digest: digest(&adopted.digest, "digest")?,
            valid_from: time(adopted.valid_from.as_ref(), "valid_from")?,
            valid_until: time(adopted.valid_until.as_ref(), "valid_until")?,
        }),
        Wire::CrlAdopted(adopted) => Ok(What::CrlAdopted {
            issuer: digest(&adopted.issuer_sha256, "issuer_sha256")?,
            number: CrlNumber::try_from(adopted.number.as_ref()).map_err(|_| NotAnEvent("number"))?,
            this_update: time(adopted.this_update.as_ref(), "this_update")?,
            next_update: time(adopted.next_update.as_ref(), "next_update")?,
            sha256: digest(&adopted.sha256, "sha256")?,
        }),
        Wire::GatewayStarted(started) if started.format == RECORD_FORMAT => {
            Ok(What::GatewayStarted { software: started.software.clone() })
        }
        Wire::GatewayStarted(_) => Err(NotAnEvent("gateway_started.format")),
        Wire::Access(access) => Ok(What::Access {
            who: address(access.who.as_ref(), "who")?,
            call: access.call.clone(),
            filter: access.filter.clone(),
        }),
        Wire::ClockConfirmed(confirmed) => {
            Ok(What::ClockConfirmed { last_record: time(confirmed.last_record.as_ref(), "last_record")? })
        }
    }
}

fn about_to_wire(about: &About) -> wire::submission_acceptance::About {
    use wire::submission_acceptance::About as Wire;
    match about {
        About::Signal { signal_type, urgency, expires, retention_class } => Wire::Signal(wire::AboutSignal {
            r#type: (*signal_type).into(),
            urgency: (*urgency).into(),
            expires: Some((*expires).into()),
            retention_class: (*retention_class).into(),
        }),
        About::Answer { code, consignment, late } => {
            Wire::Answer(wire::AboutAnswer { code: (*code).into(), consignment_index: *consignment, late: *late })
        }
        About::Key { serial, windows } => Wire::Key(wire::AboutKey {
            serial: *serial,
            seal_from: windows.map(|windows| windows.seal_from.into()),
            seal_until: windows.map(|windows| windows.seal_until.into()),
            open_until: windows.map(|windows| windows.open_until.into()),
            withdrawn: windows.is_none(),
        }),
    }
}

fn about_from_wire(about: Option<&wire::submission_acceptance::About>) -> Result<About, NotAnEvent> {
    use wire::submission_acceptance::About as Wire;
    match about.ok_or(NotAnEvent("about"))? {
        Wire::Signal(signal) => Ok(About::Signal {
            signal_type: match SignalType::try_from(signal.r#type) {
                Ok(SignalType::Unspecified) | Err(_) => return Err(NotAnEvent("signal.type")),
                Ok(signal_type) => signal_type,
            },
            urgency: match Urgency::try_from(signal.urgency) {
                Ok(Urgency::Unspecified) | Err(_) => return Err(NotAnEvent("signal.urgency")),
                Ok(urgency) => urgency,
            },
            expires: time(signal.expires.as_ref(), "signal.expires")?,
            retention_class: match RetentionClass::try_from(signal.retention_class) {
                Ok(RetentionClass::Unspecified) | Err(_) => return Err(NotAnEvent("signal.retention_class")),
                Ok(class) => class,
            },
        }),
        Wire::Answer(answer) => Ok(About::Answer {
            code: match AnswerCode::try_from(answer.code) {
                Ok(AnswerCode::Unspecified) | Err(_) => return Err(NotAnEvent("answer.code")),
                Ok(code) => code,
            },
            consignment: answer.consignment_index,
            late: answer.late,
        }),
        Wire::Key(key) if key.withdrawn => match (&key.seal_from, &key.seal_until, &key.open_until) {
            (None, None, None) => Ok(About::Key { serial: key.serial, windows: None }),
            _ => Err(NotAnEvent("key.withdrawn")),
        },
        Wire::Key(key) => Ok(About::Key {
            serial: key.serial,
            windows: Some(Windows {
                seal_from: time(key.seal_from.as_ref(), "key.seal_from")?,
                seal_until: time(key.seal_until.as_ref(), "key.seal_until")?,
                open_until: time(key.open_until.as_ref(), "key.open_until")?,
            }),
        }),
    }
}

fn digest(bytes: impl AsRef<[u8]>, field: &'static str) -> Result<Digest, NotAnEvent> {
    Digest::try_from(bytes.as_ref()).map_err(|_| NotAnEvent(field))
}

fn digests(list: &[impl AsRef<[u8]>], field: &'static str) -> Result<Vec<Digest>, NotAnEvent> {
    list.iter().map(|bytes| digest(bytes, field)).collect()
}

fn time<'a, T>(time: Option<&'a T>, field: &'static str) -> Result<Timestamp, NotAnEvent>
where
    Timestamp: TryFrom<&'a T>,
{
    time.and_then(|time| Timestamp::try_from(time).ok()).ok_or(NotAnEvent(field))
}

fn address(address: Option<&wire::Address>, field: &'static str) -> Result<Address, NotAnEvent> {
    address.and_then(|address| Address::try_from(address).ok()).ok_or(NotAnEvent(field))
}

fn item_id(text: &str, field: &'static str) -> Result<ItemId, NotAnEvent> {
    ItemId::try_from(text).map_err(|_| NotAnEvent(field))
}
