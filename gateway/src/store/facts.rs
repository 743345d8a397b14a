//! What a record tells the indexes, and nothing else of it: read from its event where that is at hand, else from itself.

use bytes::Bytes;
use prost::Message;
use seinpost_core::event::{self, About, Audience, What};
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;

use crate::commit::Entry;
use crate::fault::Fault;

/// Under what a record is found again, beside its index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The item that it accepts.
    pub(super) accepts: Option<Digest>,
    /// Its place in a mailbox.
    pub(super) mailbox: Option<(Address, u64)>,
    /// Whose list of items it is on: the sender's if it accepts, the recipient's if it consigns.
    pub(super) item_of: Option<Address>,
    /// The name by which it is asked for.
    pub(super) name: Option<Name>,
}

/// A name that one record bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    KeyStatement(Address, u64),
    Certificate(Digest),
    Covenant(u64),
    Crl(Digest),
}

impl Facts {
    /// Reads them from a record; an erased one tells nothing.
    pub(super) fn of(index: u64, entry: &Entry) -> Result<Self, Fault> {
        if entry.erased_by != 0 {
            return Ok(Self::default());
        }
        let record = wire::Record::decode(entry.record.clone()).map_err(|_| broken(index))?;
        Self::of_record(&record).ok_or_else(|| broken(index))
    }

    /// Takes them from the event that a record was written from; the same as reading that.
    pub(super) fn of_event(event: &event::Event) -> Self {
        let audience = match event.audience {
            Audience::Address(address) => Some(address),
            Audience::All | Audience::Oversight => None,
        };
        let mut facts = Self { mailbox: audience.zip(event.mailbox), ..Self::default() };
        match &event.what {
            What::Accepted { item, about, addressees, item_id: _ } => {
                facts.accepts = Some(*item);
                facts.item_of = audience;
                if let (About::Key { serial, .. }, Some(addressee)) = (about, addressees.first()) {
                    facts.item_of = Some(addressee.to);
                    facts.name = Some(Name::KeyStatement(addressee.to, *serial));
                }
            }
            What::Consigned { item: _ } => facts.item_of = audience,
            What::CertificatePublished { leaf, .. } => facts.name = Some(Name::Certificate(*leaf)),
            What::CovenantAdopted { serial, .. } => facts.name = Some(Name::Covenant(*serial)),
            What::CrlAdopted { sha256, .. } => facts.name = Some(Name::Crl(*sha256)),
            What::HandedOver { .. }
            | What::Expired { .. }
            | What::Rejected { .. }
            | What::GatewayStarted { .. }
            | What::Access { .. }
            | What::ClockConfirmed { .. } => {}
        }
        facts
    }

    fn of_record(record: &wire::Record) -> Option<Self> {
        let audience = match record.audience.as_ref()?.of.as_ref()? {
            wire::audience::Of::Address(address) => Some(Address::try_from(address).ok()?),
            wire::audience::Of::Group(_) => None,
        };
        let mut facts = Self::default();
        if let Some(place) = &record.mailbox {
            facts.mailbox = Some((audience?, place.number));
        }
        match record.event.as_ref()? {
            Event::SubmissionAcceptance(acceptance) => {
                facts.accepts = Some(digest(&acceptance.item_digest)?);
                facts.item_of = audience;
                // The acceptance of a key statement is for all; its address is where it is consigned.
                if let Some(wire::submission_acceptance::About::Key(key)) = &acceptance.about {
                    let address = acceptance.addressees.first()?.to.as_ref()?;
                    let address = Address::try_from(address).ok()?;
                    facts.item_of = Some(address);
                    facts.name = Some(Name::KeyStatement(address, key.serial));
                }
            }
            Event::ContentConsignment(_) => facts.item_of = audience,
            Event::CertificatePublished(published) => {
                facts.name = Some(Name::Certificate(digest(&published.leaf_sha256)?));
            }
            Event::CovenantAdopted(adopted) => facts.name = Some(Name::Covenant(adopted.serial)),
            Event::CrlAdopted(adopted) => facts.name = Some(Name::Crl(digest(&adopted.sha256)?)),
            Event::ContentHandover(_)
            | Event::Expiry(_)
            | Event::SubmissionRejection(_)
            | Event::GatewayStarted(_)
            | Event::Access(_)
            | Event::ClockConfirmed(_) => {}
        }
        Some(facts)
    }
}

fn digest(bytes: &Bytes) -> Option<Digest> {
    Digest::try_from(bytes).ok()
}

fn broken(index: u64) -> Fault {
    Fault::Broken(format!("record {index} is in the log and cannot be read"))
}
