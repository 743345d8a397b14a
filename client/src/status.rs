//! What became of one's own items: one with all its proofs, or many by the hub's word.
//!
//! [`Client::item`] verifies each receipt, and each answer as of the time of its own consignment; a step that has no
//! receipt is said to be the hub's word. [`Client::items`] and [`Client::deliveries`] are lists for the eye: nothing in
//! them is proven, and nothing here claims it.

use bytes::Bytes;
use seinpost_protocol::address::Address;
use seinpost_protocol::answer::Answer;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, ItemId, Payload};
use seinpost_protocol::receipt::{EventKind, VerifiedReceipt, item_digest_of};
use seinpost_protocol::record;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;

use crate::client::Client;
use crate::connect::{Connection, request};
use crate::error::{Error, NotVerified, Result};
use crate::files;
use crate::keys::record_time;
use crate::link::{audience_all, audience_of, bad_receipt};
use crate::verify::ReceiptFile;

/// Which item: one that the address sent by its id, or one that it sent or received by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// By id.
    Id(ItemId),
    /// By digest.
    Digest(Digest),
}

/// One of one's own items, with what the log proves about it.
pub struct ShownItem {
    /// The item; its digest is the one asked for, its signature was verified where [`ShownItem::is_verified`].
    pub item: Item,
    /// Whether signer, certificate and signature were verified as of the time of its record.
    pub is_verified: bool,
    /// The steps that the log proves, in its order.
    pub steps: Vec<Step>,
    /// For the sender of a signal: how far it is at each recipient.
    pub recipients: Vec<RecipientView>,
    /// What is proven and contradicts an earlier word: two answers to one delivery. What was seen first counts.
    pub alarms: Vec<NotVerified>,
    pub(crate) acceptance: Option<wire::Record>,
    records: Vec<(wire::Record, wire::Receipt)>,
}

/// A step that the log proves.
#[derive(Debug, Clone)]
pub struct Step {
    /// What happened.
    pub event: EventKind,
    /// When, by the hub's clock.
    pub at: Timestamp,
    /// The recipient that it is about, where it is about one.
    pub recipient: Option<Address>,
    /// The item that it is about: this one, or an answer to it.
    pub item_digest: Option<Digest>,
    /// Its index in the log.
    pub index: u64,
    /// Its commitment.
    pub commitment: Digest,
    /// Its number in the mailbox, if it stands in one.
    pub number: Option<u64>,
}

/// How far a signal is at one recipient.
#[derive(Debug, Clone)]
pub struct RecipientView {
    /// The recipient.
    pub address: Address,
    /// The state, by the hub's word; steps and answer are what proves it.
    pub state: wire::DeliveryState,
    /// The recipient's answer, if it was given.
    pub answer: Option<Answer>,
    /// The answer's digest, by which a step is about it.
    pub answer_digest: Option<Digest>,
    /// Whether the answer's signature was verified as of the time of its consignment.
    pub answer_is_verified: bool,
    /// Whether it came after the signal expired, by the hub's word.
    pub late: bool,
}

/// What a list is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Sent, received, or both.
    pub direction: wire::ItemDirection,
    /// Only this state.
    pub state: Option<wire::DeliveryState>,
    /// Only this type.
    pub signal_type: Option<wire::SignalType>,
    /// Only what was recorded at or after this time.
    pub after: Option<Timestamp>,
    /// Only what was recorded before this time.
    pub before: Option<Timestamp>,
    /// Rows wanted, up to 200; 0: as the gateway pleases.
    pub page_size: u32,
}

/// One page of a list, by the hub's word.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// What to ask the next page with; none: this was the last.
    pub next: Option<String>,
}

impl Client {
    /// Shows one of one's own items with all that the log proves about it.
    ///
    /// # Errors
    /// If there is none, or a receipt, the item or an answer does not hold.
    pub async fn item(&self, which: Which) -> Result<ShownItem> {
        if self.covenant().is_err() {
            self.refresh_covenant().await?;
        }
        let asked = self.asked()?;
        let question = wire::GetItemRequest {
            address: Some(self.address().into()),
            which: Some(match which {
                Which::Id(id) => wire::get_item_request::Which::ItemId(id.to_string()),
                Which::Digest(digest) => wire::get_item_request::Which::ItemDigest(digest.into()),
            }),
            seen_size: asked.seen_size(),
        };
        let ask = |connection: Connection| {
            let question = question.clone();
            async move { connection.exchange().get_item(request(question)).await }
        };
        let answer = match self.inner.connection.ask(ask).await {
            Ok(answer) => answer,
            Err(none @ Error::NotFound(_)) => {
                // An older copy of the log does not know what came later; it is not believed before it shows its end.
                self.checkpoint().await?;
                return Err(none);
            }
            Err(error) => return Err(error),
        };
        let item = answer.item.ok_or_else(|| Error::not_verified("ITEM", "the gateway's answer holds no item"))?;
        let item = Item::parse(item, self.origin()).map_err(|bad| {
            Error::not_verified(bad.reason(), format!("the item from the gateway is not right: {bad}"))
        })?;
        let is_asked_for = match which {
            Which::Id(id) => item.signer().item_id == id && item.signer().address == self.address(),
            Which::Digest(digest) => item.digest() == digest,
        };
        if !is_asked_for {
            return Err(Error::not_verified("ITEM", "the gateway gives another item than was asked for"));
        }
        let mut shown = ShownItem {
            item,
            is_verified: false,
            steps: Vec::new(),
            recipients: Vec::new(),
            alarms: Vec::new(),
            acceptance: None,
            records: Vec::new(),
        };
        for receipt in &answer.receipts {
            let linked = self.take_receipt(&asked, receipt, &answer.consistency).await?;
            shown.take(&linked, receipt, self.address())?;
        }
        if let Some((record, _)) = shown.record_of(&shown.item.digest()).cloned() {
            self.verify_recorded(shown.item.clone(), &record).await?;
            shown.is_verified = true;
        }
        for recipient in answer.recipients {
            let (view, alarm) = self.recipient_view(&shown, recipient).await?;
            shown.recipients.push(view);
            shown.alarms.extend(alarm);
        }
        shown.alarms.extend(shown.judge_number_of_answers());
        Ok(shown)
    }

    /// Lists signals that one sent or received, newest first; `page` is what the page before said.
    ///
    /// # Errors
    /// If the gateway refuses or cannot be reached.
    pub async fn items(&self, filter: &Filter, page: Option<&str>) -> Result<Page<wire::ItemSummary>> {
        let question = wire::ListItemsRequest {
            address: Some(self.address().into()),
            page_size: filter.page_size,
            page_token: page.unwrap_or_default().to_owned(),
            direction: filter.direction.into(),
            state: filter.state.unwrap_or_default().into(),
            r#type: filter.signal_type.unwrap_or_default().into(),
            after: filter.after.map(Into::into),
            before: filter.before.map(Into::into),
        };
        let ask = |connection: Connection| {
            let question = question.clone();
            async move { connection.exchange().list_items(request(question)).await }
        };
        let answer = self.inner.connection.ask(ask).await?;
        Ok(Page { rows: answer.items, next: Some(answer.next_page_token).filter(|token| !token.is_empty()) })
    }

    /// Asks for the shortest list of one's own items: that has no effect, where opening the mailbox would hand over what
    /// waits. Returns the hub's time to the second, if the gateway says it.
    ///
    /// # Errors
    /// If the gateway refuses or cannot be reached.
    pub async fn reach(&self) -> Result<Option<Timestamp>> {
        let question =
            wire::ListItemsRequest { address: Some(self.address().into()), page_size: 1, ..Default::default() };
        let ask = |connection: Connection| {
            let question = question.clone();
            async move {
                let answer = connection.exchange().list_items(request(question)).await?;
                let date = answer.metadata().get(http::header::DATE.as_str()).and_then(|date| date.to_str().ok());
                Ok(tonic::Response::new(date.map(str::to_owned)))
            }
        };
        let date = self.inner.connection.ask(ask).await?;
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(&date).ok());
        Ok(date.and_then(|date| Timestamp::from_millis(date.timestamp().as_millisecond())))
    }

    /// Lists deliveries for an operator, oldest open first.
    ///
    /// # Errors
    /// If one is no operator, or the gateway cannot be reached.
    pub async fn deliveries(
        &self,
        state: Option<wire::DeliveryState>,
        late_only: bool,
        page_size: u32,
        page: Option<&str>,
    ) -> Result<Page<wire::DeliverySummary>> {
        let question = wire::ListDeliveriesRequest {
            page_size,
            page_token: page.unwrap_or_default().to_owned(),
            state: state.unwrap_or_default().into(),
            late_only,
        };
        let ask = |connection: Connection| {
            let question = question.clone();
            async move { connection.operations().list_deliveries(request(question)).await }
        };
        let answer = self.inner.connection.ask(ask).await?;
        Ok(Page { rows: answer.deliveries, next: Some(answer.next_page_token).filter(|token| !token.is_empty()) })
    }

    /// Verifies how far an item is at one recipient; the alarm is that another answer was seen before.
    async fn recipient_view(
        &self,
        shown: &ShownItem,
        recipient: wire::RecipientState,
    ) -> Result<(RecipientView, Option<NotVerified>)> {
        let address = recipient.address.as_ref().and_then(|address| Address::try_from(address).ok());
        let address =
            address.ok_or_else(|| Error::not_verified("ITEM", "the gateway names a recipient that is none"))?;
        let mut view = RecipientView {
            address,
            state: recipient.state(),
            answer: None,
            answer_digest: None,
            answer_is_verified: false,
            late: recipient.late,
        };
        let Some(item) = recipient.answer else {
            return Ok((view, None));
        };
        let item = Item::parse(item, self.origin())
            .map_err(|bad| Error::not_verified(bad.reason(), format!("the answer of {address} is not right: {bad}")))?;
        let Payload::Answer(answer) = item.payload().clone() else {
            return Err(Error::not_verified("ITEM", "the gateway gives another item as an answer"));
        };
        if answer.signer.address != address || answer.item_digest != shown.item.digest() {
            return Err(Error::not_verified("ITEM", format!("the gateway gives another answer as that of {address}")));
        }
        if let Some(acceptance) = &shown.acceptance {
            record::answer_matches(acceptance, &answer).map_err(|bad| {
                Error::not_verified(bad.reason(), format!("the answer of {address} does not fit: {bad}"))
            })?;
        }
        view.answer_digest = Some(item.digest());
        let mut alarm = None;
        if let Some((consigned, receipt)) = shown.record_of(&item.digest()).cloned() {
            let digest = item.digest();
            let (covenant, chain, item) = self.verify_recorded(item, &consigned).await?;
            view.answer_is_verified = true;
            let file = ReceiptFile::new(self.origin(), &covenant.digest(), item.wire().clone(), &chain, receipt);
            alarm = match self.judge_first_answer(&digest, &answer, &file) {
                Ok(()) => None,
                Err(Error::NotVerified(alarm)) => Some(alarm),
                Err(error) => return Err(error),
            };
        }
        view.answer = Some(answer);
        Ok((view, alarm))
    }

    /// Returns the acceptance of an own item, by its digest.
    pub(crate) async fn own_acceptance_shown(&self, digest: &Digest) -> Result<(wire::Record, Item)> {
        let shown = self.item(Which::Digest(*digest)).await?;
        let none =
            || Error::not_verified("ACCEPTANCE", format!("the hub shows no receipt of the acceptance of {digest}"));
        Ok((shown.acceptance.ok_or_else(none)?, shown.item))
    }

    /// Returns the receipt file of an own item that is kept here, by its digest.
    pub(crate) fn kept_receipt(&self, digest: &Digest) -> Result<Option<ReceiptFile>> {
        let Some(id) = files::read_if_there(&self.receipt_name(digest), 64)? else {
            return Ok(None);
        };
        let id = String::from_utf8(id).ok().and_then(|id| ItemId::try_from(id.trim_end()).ok());
        let Some(path) = id.map(|id| self.receipt_path(&id)).filter(|path| path.exists()) else {
            return Ok(None);
        };
        let file = ReceiptFile::read(&path)?;
        Ok(Some(file).filter(|file| file.parsed().is_ok_and(|item| item.digest() == *digest)))
    }

    /// Notes under which id an own item is known by its digest.
    pub(crate) fn note_receipt(&self, digest: &Digest, id: &ItemId) -> Result<()> {
        let path = self.receipt_name(digest);
        crate::send::folder_of(&path)?;
        files::write(&path, format!("{id}\n").as_bytes(), files::Mode::Plain)
    }

    fn receipt_name(&self, digest: &Digest) -> std::path::PathBuf {
        self.inner.profile.state.join("receipts").join("by-digest").join(digest.to_string())
    }
}

impl ShownItem {
    /// Takes a verified receipt as a step.
    fn take(&mut self, linked: &VerifiedReceipt, receipt: &wire::Receipt, own: Address) -> Result<()> {
        let Some(record) = &linked.record else {
            return Ok(());
        };
        if record.audience.as_ref() != Some(&audience_of(own)) && record.audience.as_ref() != Some(&audience_all()) {
            return Err(bad_receipt(&seinpost_protocol::receipt::BadReceipt::Audience));
        }
        let event = record.event.as_ref().expect("a decoded record has an event");
        let recipient = match event {
            Event::ContentHandover(handover) => handover.recipient.as_ref(),
            Event::Expiry(expiry) => expiry.recipient.as_ref(),
            _ => None,
        };
        let item_digest = item_digest_of(event).and_then(|digest| Digest::try_from(digest).ok());
        if matches!(event, Event::SubmissionAcceptance(_)) && item_digest == Some(self.item.digest()) {
            self.acceptance = Some(record.clone());
        }
        self.steps.push(Step {
            event: EventKind::of(event),
            at: record_time(record),
            recipient: recipient.and_then(|address| Address::try_from(address).ok()),
            item_digest,
            index: linked.index,
            commitment: linked.commitment,
            number: record.mailbox.as_ref().map(|place| place.number),
        });
        self.records.push((record.clone(), receipt.clone()));
        Ok(())
    }

    /// Returns the record by which an item was accepted or consigned, to judge its signature by.
    fn record_of(&self, digest: &Digest) -> Option<&(wire::Record, wire::Receipt)> {
        self.records.iter().find(|(record, _)| match &record.event {
            Some(Event::SubmissionAcceptance(accepted)) => accepted.item_digest == Bytes::from(*digest),
            Some(Event::ContentConsignment(consigned)) => consigned.item_digest == Bytes::from(*digest),
            _ => false,
        })
    }

    /// Says whether more answers were put into the mailbox than there are recipients to give one each.
    fn judge_number_of_answers(&self) -> Option<NotVerified> {
        let own = Some(self.item.digest());
        let is_answer = |step: &&Step| step.event == EventKind::ContentConsignment && step.item_digest != own;
        let answers = self.steps.iter().filter(is_answer).count();
        (!self.recipients.is_empty() && answers > self.recipients.len()).then(|| NotVerified {
            reason: "ANSWERED_TWICE",
            what: format!(
                "the hub put {answers} answers into the mailbox, though {} recipients owe one each",
                self.recipients.len()
            ),
            evidence: None,
        })
    }

    /// Returns the commitment of the consignment to this address, by which an answer names the delivery.
    #[must_use]
    pub fn delivery_commitment(&self) -> Option<Digest> {
        let own = Some(self.item.digest());
        let consigned = |step: &&Step| step.event == EventKind::ContentConsignment && step.item_digest == own;
        self.steps.iter().find(consigned).map(|step| step.commitment)
    }
}
