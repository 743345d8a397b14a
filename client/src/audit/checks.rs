//! What each record must be, by itself and beside the records before it.
//!
//! In comes a record that opens to its commitment, and what is known of the log so far; out goes what is wrong with it.
//! What only the network does is an error, and no fault of the log.

use bytes::Bytes;
use seinpost_protocol::address::Address;
use seinpost_protocol::certificate::Crl;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, Payload};
use seinpost_protocol::signal::RECIPIENTS_MAX;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_protocol::wire::record::Event;

use super::patiently;
use super::walk::{Adopted, Last, Promise, Walk, Wrong};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::send::{is_about, is_in_conversation};

impl Walk {
    /// Checks that mailbox and conversation are counted without a gap.
    pub(super) fn judge_places(&mut self, record: &wire::Record, index: u64, commitment: &Digest) -> Vec<Wrong> {
        let audience = record.audience.as_ref().and_then(|audience| audience.of.as_ref());
        let address = match audience {
            Some(wire::audience::Of::Address(address)) => Address::try_from(address).ok(),
            _ => None,
        };
        let mut wrong = Vec::new();
        if let Some(place) = &record.mailbox {
            match address {
                Some(address) => {
                    let last = self.mailboxes.get(&address).copied();
                    let place = (place.number, place.previous_index, &place.previous_commitment);
                    wrong.extend(follows(last, place, "mailbox"));
                    self.mailboxes.insert(address, Last { number: place.0, index, commitment: *commitment });
                }
                None => wrong.push(("MAILBOX", "it stands in a mailbox, but is for no one address".to_owned())),
            }
        }
        if let Some(place) = &record.conversation {
            match address {
                Some(address) => {
                    let key = (address, place.id.clone());
                    let last = self.conversations.get(&key).copied();
                    let place = (place.number, place.previous_index, &place.previous_commitment);
                    wrong.extend(follows(last, place, "conversation"));
                    self.conversations.insert(key, Last { number: place.0, index, commitment: *commitment });
                }
                None => {
                    wrong.push(("CONVERSATION", "it stands in a conversation, but is for no one address".to_owned()))
                }
            }
        }
        wrong
    }

    /// Returns the serial of the covenant by which the hub must judge at a time: of those that were adopted and have begun
    /// the newest, and the oldest before any has.
    pub(super) fn ruling_at(&self, at: Timestamp) -> Option<u64> {
        let begun = self.covenants.values().filter(|adopted| adopted.valid_from <= at).map(|adopted| adopted.serial);
        begun.max().or_else(|| self.covenants.values().map(|adopted| adopted.serial).min())
    }

    /// Checks that a record names the covenant that ruled, and lists that the log had adopted.
    pub(super) fn judge_names(&self, record: &wire::Record, event: &Event, ruling: Option<u64>) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let covenant = Digest::try_from(&record.covenant_digest).ok();
        let named = covenant.and_then(|covenant| self.covenants.get(&covenant)).map(|adopted| adopted.serial);
        // The first covenant can only be adopted under itself; others may.
        let is_own = matches!(event, Event::CovenantAdopted(adopted) if Some(adopted.serial) == named);
        match (named, ruling) {
            (None, _) => {
                wrong.push(("COVENANT_UNKNOWN", "it names a covenant that the log had not adopted".to_owned()))
            }
            (Some(named), Some(ruling)) if named < ruling => {
                wrong.push(("COVENANT_ROLLED_BACK", format!("it names covenant {named}, and covenant {ruling} ruled")));
            }
            (Some(named), Some(ruling)) if named > ruling && !is_own => {
                wrong.push((
                    "COVENANT_NOT_VALID",
                    format!("it names covenant {named}, and covenant {ruling} still ruled"),
                ));
            }
            (Some(_), _) => {}
        }
        for list in &record.crl_sha256 {
            if !Digest::try_from(list).is_ok_and(|list| self.lists.contains(&list)) {
                wrong.push((
                    "CRL_UNKNOWN",
                    format!("it names a revocation list that the log had not adopted: {}", hex::encode(list)),
                ));
            }
        }
        wrong
    }

    /// Says whether the acceptance of a consignment may be one of the records before it that could not be opened.
    fn may_be_promised_unseen(&self, index: u64) -> bool {
        let addressees_max = u64::try_from(RECIPIENTS_MAX).expect("a small number");
        self.last_hidden.is_some_and(|hidden| hidden + addressees_max >= index)
    }

    /// Checks what the event asks for.
    pub(super) async fn judge_event(
        &mut self,
        client: &Client,
        leaf: &wire::ListRecordsResponse,
        record: &wire::Record,
        event: &Event,
        promise: Option<&Promise>,
    ) -> Result<std::result::Result<(), Wrong>> {
        match event {
            Event::SubmissionAcceptance(accepted) => self.judge_acceptance(client, leaf, record, accepted).await,
            Event::ContentConsignment(_) if promise.is_none() && self.may_be_promised_unseen(leaf.index) => Ok(Ok(())),
            Event::ContentConsignment(consigned) => Ok(judge_consignment(record, consigned, promise)),
            Event::CovenantAdopted(adopted) => Ok(self.judge_adoption(client, adopted)),
            Event::CrlAdopted(adopted) => self.judge_list(client, adopted).await,
            Event::CertificatePublished(published) => judge_certificate(client, published).await,
            Event::ContentHandover(_)
            | Event::Expiry(_)
            | Event::SubmissionRejection(_)
            | Event::GatewayStarted(_)
            | Event::Access(_)
            | Event::ClockConfirmed(_) => Ok(Ok(())),
        }
    }

    async fn judge_acceptance(
        &mut self,
        client: &Client,
        leaf: &wire::ListRecordsResponse,
        record: &wire::Record,
        accepted: &wire::SubmissionAcceptance,
    ) -> Result<std::result::Result<(), Wrong>> {
        for (addressee, index) in accepted.addressees.iter().zip(leaf.index + 1..) {
            let Ok(commitment) = Digest::try_from(&addressee.commitment) else {
                return Ok(Err(("LENGTH", "it names a consignment by no commitment".to_owned())));
            };
            if addressee.index != index {
                return Ok(Err(("CONSIGNMENT_INDEX", "its consignments do not stand directly behind it".to_owned())));
            }
            let promise = Promise {
                commitment,
                item_digest: accepted.item_digest.clone(),
                to: addressee.to.clone(),
                conversation: record.conversation.as_ref().map(|place| place.id.clone()),
                acceptance: leaf.index,
            };
            self.promised.insert(index, promise);
        }
        let Ok(digest) = Digest::try_from(&accepted.item_digest) else {
            return Ok(Err(("LENGTH", "it names an item by no digest".to_owned())));
        };
        if !self.accepted.insert(digest) {
            return Ok(Err(("ACCEPTED_TWICE", format!("item {digest} was accepted before"))));
        }
        let Some(item) = leaf.item.clone() else {
            self.items_not_shown += 1;
            return Ok(Ok(()));
        };
        let item = match Item::parse(item, client.origin()) {
            Ok(item) if item.digest() == digest => item,
            Ok(_) => {
                return Ok(Err(("ITEM_DIGEST", "the gateway shows another item than the record names".to_owned())));
            }
            Err(bad) => return Ok(Err((bad.reason(), format!("the accepted item is not right: {bad}")))),
        };
        let judged = patiently(async || client.verify_recorded(item.clone(), record).await).await;
        let (covenant, _, verified) = match judged {
            Ok(verified) => verified,
            Err(error) => return wrong_or_error(error),
        };
        self.items_verified += 1;
        if let Err(wrong) = judge_audience(record, verified.signer().address, verified.payload()) {
            return Ok(Err(wrong));
        }
        if accepted.item_id != verified.signer().item_id.to_string() {
            return Ok(Err(("ITEM_ID", "it names another id than the item".to_owned())));
        }
        if !is_about(accepted, verified.payload()) {
            return Ok(Err(("ABOUT", "it says of the item what the item does not say".to_owned())));
        }
        if !is_in_conversation(record, verified.payload()) {
            return Ok(Err(("CONVERSATION", "it stands in another conversation than the item".to_owned())));
        }
        let Payload::Signal(signal) = verified.payload() else {
            return Ok(Ok(()));
        };
        let permit = match covenant.permit(&signal.header) {
            Ok(permit) => permit,
            Err(refused) => return Ok(Err(("NOT_PERMITTED", format!("no rule permits what was accepted: {refused}")))),
        };
        self.permits_verified += 1;
        let rules = permit
            .recipients
            .iter()
            .map(|permitted| (wire::Address::from(permitted.address), permitted.rule_id.as_str()));
        let named = accepted
            .addressees
            .iter()
            .map(|addressee| (addressee.to.clone().unwrap_or_default(), addressee.rule_id.as_str()));
        if rules.eq(named) {
            Ok(Ok(()))
        } else {
            Ok(Err(("RULE", "it names other recipients or rules than the signal and the covenant".to_owned())))
        }
    }

    fn judge_adoption(&mut self, client: &Client, adopted: &wire::CovenantAdopted) -> std::result::Result<(), Wrong> {
        let digest =
            Digest::try_from(&adopted.digest).map_err(|_| ("LENGTH", "it names a covenant by no digest".to_owned()))?;
        let valid_from = adopted.valid_from.as_ref().and_then(|from| Timestamp::try_from(from).ok());
        let valid_from = valid_from.expect("a checked record has its times");
        self.covenants.insert(digest, Adopted { serial: adopted.serial, valid_from });
        let before = std::mem::replace(&mut self.last_covenant, adopted.serial);
        if before != 0 && adopted.serial != before + 1 {
            return Err(("SERIAL_GAP", format!("covenant {} was adopted after covenant {before}", adopted.serial)));
        }
        let covenants = client.covenants();
        match covenants.by_serial(adopted.serial) {
            Some(covenant)
                if covenant.digest() == digest
                    && adopted.valid_from == Some(covenant.valid_from().into())
                    && adopted.valid_until == Some(covenant.valid_until().into()) =>
            {
                Ok(())
            }
            Some(covenant) if covenant.digest() == digest => {
                Err(("COVENANT", "the record says of the covenant what the covenant does not say".to_owned()))
            }
            Some(covenant) => Err((
                "COVENANT_FORK",
                format!(
                    "covenant {} was adopted as {digest}; its registrars signed {}",
                    adopted.serial,
                    covenant.digest()
                ),
            )),
            // Before the floor of the hub file nobody here can say who signed.
            None if adopted.serial < client.profile().hub.covenant_serial => Ok(()),
            None => Err((
                "COVENANT_UNKNOWN",
                format!("covenant {} was adopted, and the hub does not show it", adopted.serial),
            )),
        }
    }

    async fn judge_list(
        &mut self,
        client: &Client,
        adopted: &wire::CrlAdopted,
    ) -> Result<std::result::Result<(), Wrong>> {
        let Ok(digest) = Digest::try_from(&adopted.sha256) else {
            return Ok(Err(("LENGTH", "it names a list by no digest".to_owned())));
        };
        self.lists.insert(digest);
        let before = self.list_numbers.insert(adopted.issuer_sha256.clone(), adopted.number.clone());
        if before.is_some_and(|before| (before.len(), &before) >= (adopted.number.len(), &adopted.number)) {
            return Ok(Err((
                "CRL_NUMBER_FELL",
                "the number of the list is not higher than that of the one before".to_owned(),
            )));
        }
        let fetched = patiently(async || client.lists(std::slice::from_ref(&adopted.sha256)).await).await;
        let list = match fetched {
            Ok(lists) => lists.into_iter().next(),
            Err(error) => return wrong_or_error(error),
        };
        let says = |list: &Crl| {
            list.issuer_sha256().as_ref() == adopted.issuer_sha256.as_ref()
                && list.number().as_bytes() == &adopted.number
                && adopted.this_update == Some(list.this_update().into())
                && adopted.next_update == Some(list.next_update().into())
        };
        if list.as_ref().is_some_and(says) {
            Ok(Ok(()))
        } else {
            Ok(Err(("CRL", "the record says of the list what the list does not say".to_owned())))
        }
    }
}

/// Checks that a place follows the last one that was seen. After erasure the one before may not have been seen.
fn follows(
    last: Option<Last>,
    (number, previous_index, previous_commitment): (u64, u64, &Bytes),
    what: &str,
) -> Option<Wrong> {
    let last = last?;
    if number != last.number + 1 {
        return Some(("PLACE", format!("its {what} number is {number}, after {}", last.number)));
    }
    let names_last = previous_index == last.index && previous_commitment.as_ref() == last.commitment.as_ref();
    (!names_last).then(|| ("PLACE", format!("its {what} place names another record before it than {}", last.index)))
}

fn judge_consignment(
    record: &wire::Record,
    consigned: &wire::ContentConsignment,
    promise: Option<&Promise>,
) -> std::result::Result<(), Wrong> {
    let Some(promise) = promise else {
        return Err(("CONSIGNMENT", "no acceptance that could be opened promised it".to_owned()));
    };
    if promise.item_digest != consigned.item_digest {
        return Err(("ITEM_DIGEST", format!("it consigns another item than acceptance {} took", promise.acceptance)));
    }
    let to = promise.to.clone().map(wire::audience::Of::Address);
    if record.audience.as_ref().and_then(|audience| audience.of.clone()) != to {
        return Err(("AUDIENCE", format!("it is for another than acceptance {} says", promise.acceptance)));
    }
    if record.mailbox.is_none() {
        return Err(("MAILBOX", "it stands in no mailbox".to_owned()));
    }
    if record.conversation.as_ref().map(|place| &place.id) != promise.conversation.as_ref() {
        let what = format!("it stands in another conversation than acceptance {}", promise.acceptance);
        return Err(("CONVERSATION", what));
    }
    Ok(())
}

/// Checks that an acceptance is for its sender, a key statement's for all.
fn judge_audience(record: &wire::Record, signer: Address, payload: &Payload) -> std::result::Result<(), Wrong> {
    let expected = match payload {
        Payload::KeyStatement(_) => crate::link::audience_all(),
        Payload::Signal(_) | Payload::Answer(_) => crate::link::audience_of(signer),
    };
    if record.audience.as_ref() == Some(&expected) {
        Ok(())
    } else {
        Err(("AUDIENCE", "the acceptance is for another than its sender".to_owned()))
    }
}

async fn judge_certificate(
    client: &Client,
    published: &wire::CertificatePublished,
) -> Result<std::result::Result<(), Wrong>> {
    let Ok(digest) = Digest::try_from(&published.leaf_sha256) else {
        return Ok(Err(("LENGTH", "it names a certificate by no digest".to_owned())));
    };
    let chain = match patiently(async || client.certificate(&digest).await).await {
        Ok(chain) => chain,
        Err(error) => return wrong_or_error(error),
    };
    let says = published.oin == chain.leaf.oin().as_str()
        && published.spki_sha256 == chain.leaf.spki_sha256().as_ref()
        && published.not_after == Some(chain.leaf.not_after().into());
    if says {
        Ok(Ok(()))
    } else {
        Ok(Err(("CERTIFICATE", "the record says of the certificate what it does not say".to_owned())))
    }
}

/// Takes what does not verify as a fault of the log, and lets through what the network does.
fn wrong_or_error(error: Error) -> Result<std::result::Result<(), Wrong>> {
    match error {
        Error::NotVerified(failure) => Ok(Err((failure.reason, failure.what))),
        Error::NotFound(what) => Ok(Err(("NOT_FOUND", what))),
        other => Err(other),
    }
}
