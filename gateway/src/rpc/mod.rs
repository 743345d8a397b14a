//! The calls: what a peer asks, answered from the log, the state and the covenant.
//!
//! In come requests that the door let through, each with its [`Caller`]; out go answers, or refusals from the one
//! table. What is to be recorded goes to the sequencer as a command, and its receipt is cut here from the durable
//! commit; what is only read comes from the applied copies and is cut against the newest checkpoint. Nothing here
//! decides what the core decides, writes a file, or answers before the journal has it.

mod audit;
mod covenant;
mod exchange;
mod operations;
mod outcome;
mod page;
mod receipts;
mod receive;
mod seen;
mod signers;
mod submit;
mod submit_stream;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use seinpost_core::command::{Command, Rejection};
use seinpost_core::state::State;
use seinpost_protocol::address::Address;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_rpc::audit_service_server::AuditServiceServer;
use seinpost_rpc::covenant_service_server::CovenantServiceServer;
use seinpost_rpc::exchange_service_server::ExchangeServiceServer;
use seinpost_rpc::operations_service_server::OperationsServiceServer;
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::adopt::Covenants;
use crate::applier::Applied;
use crate::authorize::{REQUEST_BYTES_MAX, SUBMISSION_BYTES_MAX};
use crate::clock::Clock;
use crate::commit::{BlobKind, Entry};
use crate::errors::{Refused, fault};
use crate::health::Intake;
use crate::identity::Caller;
use crate::journal::BlobReader;
use crate::log::LogSigner;
use crate::mailbox::Mailboxes;
use crate::sequencer::{Outcome, Reply, Sequencer};
use crate::store::Reader;
use crate::tree::TreeMemory;

use receipts::Against;

pub use page::Pages;
pub use seen::Seen;
pub use signers::{Crls, Signers};

/// What all calls share: handles on the other rooms, none of which is the room itself.
pub struct Desk {
    /// Name of the log.
    pub origin: String,
    /// Reads the time.
    pub clock: Clock,
    /// The covenants that rule or will.
    pub covenants: Covenants,
    /// Whether items are taken at present.
    pub intake: Intake,
    /// Takes commands.
    pub sequencer: Sequencer,
    /// Signs mailbox heads, which are no records and pass no batch.
    pub signer: LogSigner,
    /// What is applied: the state, and how far.
    pub applied: Applied,
    /// What is stored: records, indexes.
    pub reader: Arc<dyn Reader>,
    /// Reads items, content, certificates where the journal keeps them.
    pub blobs: BlobReader,
    /// The log's tree.
    pub tree: TreeMemory,
    /// Wakes readers of mailboxes.
    pub mailboxes: Mailboxes,
    /// Signing certificates that were verified.
    pub signers: Signers,
    /// Checkpoints that went out, and evidence against those that did not.
    pub seen: Seen,
    /// Tokens of pages.
    pub pages: Pages,
}

/// The services, each with its own bound on messages.
#[must_use]
pub fn services(desk: &Arc<Desk>) -> Routes {
    // One line a service and one bound each, so that none is forgotten; a test sends one byte over to every call.
    Routes::new(
        ExchangeServiceServer::new(exchange::Exchange(desk.clone())).max_decoding_message_size(SUBMISSION_BYTES_MAX),
    )
    .add_service(
        CovenantServiceServer::new(covenant::CovenantDesk(desk.clone())).max_decoding_message_size(REQUEST_BYTES_MAX),
    )
    .add_service(AuditServiceServer::new(audit::Audit(desk.clone())).max_decoding_message_size(REQUEST_BYTES_MAX))
    .add_service(
        OperationsServiceServer::new(operations::Operations(desk.clone())).max_decoding_message_size(REQUEST_BYTES_MAX),
    )
}

impl Desk {
    /// Returns the time, in doubt or not: for what is only read.
    fn now(&self) -> Timestamp {
        self.clock.reading()
    }

    /// Returns the time by which what is new is judged. A hub that doubts its clock must not call an item too old or from
    /// ahead: that would be its last word on it, and the item comes again when the clock is right.
    fn time_for_intake(&self) -> Result<Timestamp, Refused> {
        self.intake.check()?;
        self.clock.now().map_err(|_| Refused::of("CLOCK_DOUBT"))
    }

    /// Runs what reads disk or store away from the threads that serve everybody.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let desk = self.clone();
        tokio::task::spawn_blocking(move || work(&desk)).await.unwrap_or_else(|error| Err(fault(error)))
    }

    /// Asks the applied state.
    fn state<T>(&self, ask: impl FnOnce(&State) -> T) -> T {
        self.applied.state(ask)
    }

    /// Proposes to record that a participant was refused by a rule; `None` if such a refusal is not recorded.
    fn record_refusal(&self, who: Address, refused: &Refused) -> Option<Reply> {
        refused.is_recorded().then(|| {
            let reason = refused.reason().to_owned();
            let nearest_rule = refused.nearest_rule().map(str::to_owned);
            self.sequencer.submit(Command::Reject(Rejection { who, reason, nearest_rule }), Vec::new())
        })
    }

    /// Records that somebody of oversight looks, before anything is shown; if it cannot be recorded, nothing is.
    async fn record_access(&self, who: Address, call: &str, filter: String) -> Result<(), Status> {
        let command = Command::Access { who, call: call.to_owned(), filter };
        match self.sequencer.submit(command, Vec::new()).await {
            Outcome::Recorded { .. } | Outcome::Already { .. } => Ok(()),
            other => Err(outcome::refused(other)),
        }
    }

    /// Says what stands in a mailbox, signed by the log; and how many records the checkpoint in it covers.
    async fn mailbox_head(&self, address: Address) -> Result<(wire::SignedItem, u64), Status> {
        let Some(facts) = self.sequencer.mailbox_head(address).await else {
            return Err(Refused::of("CLOCK_DOUBT").into());
        };
        self.seen.went_out(facts.size, &facts.checkpoint);
        Ok((self.signer.sign_head(&facts), facts.size))
    }

    /// Returns the newest checkpoint that went through the journal, to cut against.
    fn newest(&self) -> Against {
        let newest = self.sequencer.newest();
        self.seen.went_out(newest.size, &newest.checkpoint);
        Against::new(self.tree.clone(), newest.size, newest.checkpoint)
    }

    /// Returns how many records the log holds for sure.
    fn newest_size(&self) -> u64 {
        self.sequencer.newest().size
    }

    /// Waits until a record is in store and state; the store lags the journal by a few batches.
    async fn applied_past(&self, index: u64) -> Result<(), Status> {
        self.applied.wait(index).await.map_err(fault)
    }

    /// Waits until all that is durable now can be read: who was told that something is recorded finds it.
    async fn caught_up(&self) -> Result<(), Status> {
        match self.newest_size() {
            0 => Ok(()),
            size => self.applied_past(size - 1).await,
        }
    }

    /// Reads a record.
    fn entry(&self, index: u64) -> Result<Entry, Status> {
        let entry = self.reader.entry(index).map_err(fault)?;
        entry.ok_or_else(|| fault(format_args!("record {index} is not in the store")))
    }

    /// Reads what is kept beside a record, of one kind, in order.
    fn blobs_at(&self, index: u64, kind: BlobKind) -> Result<Vec<Bytes>, Status> {
        let positions = self.reader.blobs_of(index).map_err(fault)?;
        let of_kind = positions.iter().filter(|(other, _)| *other == kind);
        of_kind.map(|(_, position)| self.blobs.read(position).map_err(fault)).collect()
    }

    /// Reads the one thing of a kind that is kept beside a record.
    fn one_blob_at(&self, index: u64, kind: BlobKind) -> Result<Bytes, Status> {
        let one = self.blobs_at(index, kind)?.into_iter().next();
        one.ok_or_else(|| fault(format_args!("record {index} lacks its {kind:?}")))
    }

    /// Reads the item that an acceptance is about.
    fn item_at(&self, index: u64) -> Result<wire::SignedItem, Status> {
        wire::SignedItem::decode(self.one_blob_at(index, BlobKind::Item)?).map_err(fault)
    }

    /// Cuts the receipt of a record that was recorded before, with the proof that links it to a pin.
    async fn receipt(self: &Arc<Self>, index: u64, pin: u64) -> Result<(wire::Receipt, Vec<Bytes>), Status> {
        self.applied_past(index).await?;
        self.blocking(move |desk| {
            let against = desk.newest();
            Ok((against.receipt(index, &desk.entry(index)?)?, against.consistency(pin)))
        })
        .await
    }
}

/// Returns who makes a call; a call without one is a hole in the door, and is shut here again.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Refused::of("NOT_PERMITTED").into())
}

/// Reads an address that must be one of the caller's own; every other is as good as none.
fn own_address(caller: &Caller, named: Option<&wire::Address>) -> Result<Address, Status> {
    let named = address(named)?;
    if caller.is(named) { Ok(named) } else { Err(Refused::of("NOT_FOUND").into()) }
}

/// Reads an address.
fn address(named: Option<&wire::Address>) -> Result<Address, Status> {
    let named = named.ok_or_else(|| Refused::of("FIELD").at("address"))?;
    Address::try_from(named).map_err(|bad| Refused::of("FIELD").at("address").saying(bad.to_string()).into())
}

/// Reads a code of an enum; 0 is none.
fn code<E: TryFrom<i32>>(number: i32, field: &str) -> Result<Option<E>, Status> {
    if number == 0 {
        return Ok(None);
    }
    E::try_from(number).map(Some).map_err(|_| Refused::of("FIELD").at(field).into())
}

/// Reads a time that may be absent.
fn time(time: Option<&prost_types::Timestamp>, field: &str) -> Result<Option<Timestamp>, Status> {
    let read = time.map(Timestamp::try_from).transpose();
    read.map_err(|bad| Refused::of("FIELD").at(field).saying(bad.to_string()).into())
}

/// Reads a record that the log wrote.
fn decode(entry: &Entry) -> Result<wire::Record, Status> {
    wire::Record::decode(entry.record.clone()).map_err(fault)
}

/// Returns whether a record's audience is this address.
fn is_for(record: &wire::Record, address: Address) -> bool {
    match record.audience.as_ref().and_then(|audience| audience.of.as_ref()) {
        Some(wire::audience::Of::Address(of)) => Address::try_from(of) == Ok(address),
        Some(wire::audience::Of::Group(_)) | None => false,
    }
}

/// Returns whether an address may see a record: it is the audience, or everybody is.
fn may_see(record: &wire::Record, address: Address) -> bool {
    let everybody = matches!(
        record.audience.as_ref().and_then(|audience| audience.of.as_ref()),
        Some(wire::audience::Of::Group(group)) if *group == i32::from(wire::Group::All)
    );
    everybody || is_for(record, address)
}
