//! What an item that came out of the mailbox must be, by its record's time: form, covenant, signer, signature, gossip;
//! then what its type asks: a rule that permits a signal and a key within its windows, a delivery that an answer is to.
//!
//! In comes an item whose record is proven to stand in the mailbox; out goes what it is, or why it is withheld. What the
//! hub spoilt beside an item is nobody's word, and is fetched again. Nothing here decides where the mailbox goes on.

use std::sync::Arc;

use seinpost_protocol::certificate::Chain;
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, Payload, VerifiedItem};
use seinpost_protocol::key_statement::State;
use seinpost_protocol::record;
use seinpost_protocol::signal::Signal;
use seinpost_protocol::wire;

use super::{
    Arrived, CannotRead, Mailbox, Place, Received, ReceivedAnswer, ReceivedSignal, ReceivedStatement, SignalContent,
};
use crate::client::Client;
use crate::directory::Judges;
use crate::error::{Error, Result};
use crate::keys::record_time;
use crate::link::bad_receipt;
use crate::seal::{self, CannotOpen};
use crate::send::{ContentContext, judge_record_time};
use crate::verify::ReceiptFile;

/// How often what the hub spoilt is fetched again before it is withheld.
const FETCHES_MAX: u32 = 2;

impl Mailbox {
    /// Verifies an item as of its record's time: form, times, covenant, signer, gossip.
    pub(super) async fn judge_item(
        &self,
        place: Place,
        item: &wire::SignedItem,
        receipt: &wire::Receipt,
        record: &wire::Record,
    ) -> Result<Arrived> {
        let client = &self.client;
        let item = Item::parse(item.clone(), client.origin())
            .map_err(|bad| Error::not_verified(bad.reason(), format!("a delivered item is not right: {bad}")))?;
        judge_record_time(record, item.signer().signed_at, client.now())?;
        client.ruling_of(record, receipt).await?;
        let (covenant, chain, item) = client.verify_recorded(item, record).await?;
        let signer = item.signer();
        client.covenant_by_digest(&signer.covenant_digest).await?;
        client.link_gossip(signer).await?;
        if signer.key_serial > 0 {
            // What a peer says of its own newest key: no older one is sealed to after this.
            client.inner.pins.update(|pins| pins.raise_key(signer.address, signer.key_serial, None))?;
        }
        let receipt =
            ReceiptFile::new(client.origin(), &covenant.digest(), item.wire().clone(), &chain, receipt.clone());
        Ok(Arrived { place, item, covenant, receipt, conversation: record.conversation.clone() })
    }

    /// Judges what the item says; `None`: the hub spoilt what travels beside it, and it is worth fetching again.
    pub(super) async fn judge_payload(
        &mut self,
        arrived: Arrived,
        delivery: &wire::Delivery,
    ) -> Result<Option<Received>> {
        match arrived.item.payload().clone() {
            Payload::Signal(signal) => self.judge_signal(arrived, &signal, delivery),
            Payload::Answer(answer) => {
                let (acceptance, signal_id) = self.client.own_acceptance(&answer.item_digest).await?;
                record::answer_matches(&acceptance, &answer).map_err(|bad| {
                    Error::not_verified(
                        bad.reason(),
                        format!("an answer of {} does not fit: {bad}", answer.signer.address),
                    )
                })?;
                let conversation = acceptance.conversation.as_ref().map(|place| place.id.as_str());
                arrived.judge_conversation(conversation)?;
                self.client.judge_first_answer(&arrived.item.digest(), &answer, &arrived.receipt)?;
                Ok(Some(Received::Answer(Box::new(ReceivedAnswer { arrived, answer, signal_id }))))
            }
            Payload::KeyStatement(statement) => {
                let is_own = self.client.inner.sealing_keys.knows(&arrived.item.digest());
                if statement.signer.address != self.client.address() {
                    return Err(Error::not_verified(
                        "KEY_STATEMENT",
                        "a key statement of another address was consigned here",
                    ));
                }
                arrived.judge_conversation(None)?;
                Ok(Some(Received::KeyStatement(Box::new(ReceivedStatement { arrived, statement, is_own }))))
            }
        }
    }

    fn judge_signal(
        &mut self,
        arrived: Arrived,
        signal: &Signal,
        delivery: &wire::Delivery,
    ) -> Result<Option<Received>> {
        let own = self.client.address();
        let header = &signal.header;
        let Some(position) = header.recipients.iter().position(|recipient| recipient.address == own) else {
            return Err(Error::not_verified(
                "NOT_ADDRESSED",
                "a signal was consigned here that is addressed to others",
            ));
        };
        // Else a place in another conversation would make anybody party to this one.
        arrived.judge_conversation(Some(&header.conversation.to_string()))?;
        let permit = arrived.covenant.permit(header).map_err(|refused| {
            Error::not_verified("NOT_PERMITTED", format!("the hub let a signal pass that no rule permits: {refused}"))
        })?;
        let permitted = &permit.recipients[position];
        // Whom no route leads to was party to the conversation before; what it has there is counted in its records.
        if !permitted.routed && !arrived.is_party() {
            return Err(Error::not_verified(
                "NOT_PERMITTED",
                "the hub let a signal pass to which no route leads, in a conversation that this address is not party to",
            ));
        }
        let rule_id = permitted.rule_id.clone();
        self.judge_key(signal, position, &arrived)?;
        let content = if delivery.sealed_content.is_empty() {
            SignalContent::Erased
        } else {
            match self.open(signal, position, delivery)? {
                Ok(opened) => self.judge_content(opened, &arrived, signal),
                Err(CannotRead::Open(CannotOpen::HubFault)) if self.may_fetch_again(arrived.place.number) => {
                    return Ok(None);
                }
                Err(cannot) => cannot.into(),
            }
        };
        let answer_due = arrived.covenant.answer_due(
            header.signal_type,
            header.signer.address.function,
            own.function,
            header.urgency,
            arrived.place.recorded_at,
        );
        let received = ReceivedSignal { arrived, rule_id, expired: delivery.expired, answer_due, content };
        Ok(Some(Received::Signal(Box::new(received))))
    }

    /// Judges the own key statement that a signal names, as the hub must have: sealed within its windows, not after it was
    /// withdrawn. Of a statement that was made elsewhere nothing is known here; opening says so.
    fn judge_key(&self, signal: &Signal, position: usize, arrived: &Arrived) -> Result<()> {
        let named = &signal.sealed.keys[position].key_statement_digest;
        let statements = self.client.inner.sealing_keys.list()?;
        let Some(own) = statements.iter().find(|own| own.digest == *named) else {
            return Ok(());
        };
        let header = &signal.header;
        own.statement.check_window(header.signer.signed_at, header.expires).map_err(|bad| {
            let what = format!("the hub let a signal pass that was sealed outside the windows of its key: {bad}");
            Error::not_verified(bad.reason(), what)
        })?;
        let later = statements.iter().filter(|later| later.statement.serial > own.statement.serial);
        for later in later.filter(|later| later.statement.state == State::Withdrawn) {
            let recorded = self.client.kept_receipt(&later.digest)?.map(|file| file.receipt.index);
            if recorded.is_some_and(|index| index < arrived.place.index) {
                let what = "the hub let a signal pass that was sealed to a key after it was withdrawn";
                return Err(Error::not_verified("KEY_WITHDRAWN", what));
            }
        }
        Ok(())
    }

    fn judge_content(&self, opened: seal::Opened, arrived: &Arrived, signal: &Signal) -> SignalContent {
        let header = &signal.header;
        let seal::Opened { content, blind, .. } = opened;
        let profile = &header.content_profile;
        let profile =
            arrived.covenant.profile(&profile.name, profile.version).expect("a permitted signal has its profile");
        let context = ContentContext {
            covenant: &arrived.covenant,
            profile,
            signal_type: header.signal_type,
            from: header.signer.address,
            to: header.recipients.iter().map(|recipient| recipient.address).collect(),
        };
        match self.check.after_opening(content.as_bytes(), &context) {
            Ok(()) => SignalContent::Readable { content, blind },
            Err(fault) => SignalContent::Unfit { content, blind, fault },
        }
    }

    fn may_fetch_again(&mut self, number: u64) -> bool {
        let fetched = self.fetched.entry(number).or_default();
        *fetched += 1;
        *fetched <= FETCHES_MAX
    }
}

impl Client {
    /// Verifies an item as of its record's time, by the covenant and the revocation lists that the record names.
    pub(crate) async fn verify_recorded(
        &self,
        item: Item,
        record: &wire::Record,
    ) -> Result<(Covenant, Arc<Chain>, VerifiedItem)> {
        let covenant = self.covenant_of(record).await?;
        let chain = self.certificate(&item.signer().certificate_sha256).await?;
        let lists = self.lists(&record.crl_sha256).await?;
        let judges = Judges { covenant: &covenant, lists: &lists, at: record_time(record) };
        let item = self.verify_signature(item, &chain, &judges)?;
        Ok((covenant, chain, item))
    }

    /// Returns the acceptance of a signal that this address sent, with its id: from the receipt kept here, else the hub.
    async fn own_acceptance(&self, digest: &Digest) -> Result<(wire::Record, String)> {
        if let Some(file) = self.kept_receipt(digest)? {
            let (_, _, record) = seinpost_protocol::receipt::open(&file.receipt).map_err(|bad| bad_receipt(&bad))?;
            if let (Some(record), Ok(item)) = (record, file.parsed()) {
                return Ok((record, item.signer().item_id.to_string()));
            }
        }
        let (acceptance, item) = self.own_acceptance_shown(digest).await?;
        Ok((acceptance, item.signer().item_id.to_string()))
    }
}
