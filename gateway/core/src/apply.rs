//! How an event changes the state: [`apply`], which cannot fail.
//!
//! It is all that a replay runs: an event was decided once and is true from then on, whatever today's rules say. So
//! nothing is judged here, and an event about something that is forgotten changes nothing but the counters that it
//! carries.

use std::time::Duration;

use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::time::Timestamp;

use crate::event::{About, Addressee, Audience, Event, What, Windows};
use crate::state::{
    AdoptedCovenant, AdoptedCrl, Answered, Certificate, Conversation, DAY, Delivery, ID_REMEMBERED, ID_TIME_SLACK,
    KeyStatement, Keys, Known, RejectionWindow, SIX_MONTHS, Signal, Standing, State, content_kept,
};

/// How long a superseded key statement may still be sealed to: a signal may be on its way, or waits in an outbox.
const SUPERSEDED_GRACE: Duration = DAY;

/// Takes an event into the state.
pub fn apply(state: &mut State, event: &Event) {
    state.size = event.index.checked_add(1).expect("a log never holds 2^64 records");
    state.time = Some(event.time);
    forget(state, event.time);

    if let (Audience::Address(address), Some(number)) = (event.audience, event.mailbox) {
        state.mailboxes.insert(address, number);
    }
    if let (Audience::Address(address), Some((id, number))) = (event.audience, event.conversation) {
        join(state, id, address, number, event.time);
    }
    match &event.what {
        What::Accepted { item, item_id, about, addressees } => {
            accepted(state, event, *item, *item_id, about, addressees)
        }
        What::Consigned { item } => consigned(state, event, *item),
        What::HandedOver { item, recipient } => {
            if let Some(delivery) = delivery(state, *item, *recipient) {
                delivery.handed_over = Some(event.index);
            }
        }
        What::Expired { item, recipient } => {
            if let Some(delivery) = delivery(state, *item, *recipient) {
                delivery.expired = Some(event.index);
                let delivery = *delivery;
                close(state, &delivery, event.time);
            }
        }
        What::Rejected { .. } => rejected(state, event),
        What::CertificatePublished { oin, leaf, spki, not_after, chain: _ } => {
            // Those whose time is over make room; there is no other moment at which their number matters.
            state.certificates.retain(|_, known| known.not_after > event.time);
            let certificate = Certificate { oin: *oin, spki: *spki, not_after: *not_after, index: event.index };
            state.certificates.insert(*leaf, certificate);
        }
        What::CovenantAdopted { serial, digest, valid_from, valid_until } => {
            let covenant = AdoptedCovenant {
                serial: *serial,
                digest: *digest,
                valid_from: *valid_from,
                valid_until: *valid_until,
                index: event.index,
            };
            state.covenants.insert(*serial, covenant);
        }
        What::CrlAdopted { issuer, number, this_update, next_update, sha256 } => {
            let crl = AdoptedCrl {
                number: number.clone(),
                this_update: *this_update,
                next_update: *next_update,
                sha256: *sha256,
                index: event.index,
            };
            state.crls.insert(*issuer, crl);
        }
        What::GatewayStarted { .. } | What::Access { .. } | What::ClockConfirmed { .. } => {}
    }
}

/// An item is known from now on. What it is about takes effect: a signal waits for its consignments, an answer closes
/// the delivery that it answers, a key statement supersedes those before it.
fn accepted(state: &mut State, event: &Event, item: Digest, item_id: ItemId, about: &About, addressees: &[Addressee]) {
    let sender = match event.audience {
        Audience::Address(address) => address,
        // A key statement's acceptance is for all; it is consigned to the address that made it.
        Audience::All | Audience::Oversight => match addressees.first() {
            Some(addressee) => addressee.to,
            None => return,
        },
    };
    state.items.insert((item_id, sender), Known { digest: item, index: event.index });
    match about {
        About::Signal { signal_type, urgency, expires, retention_class } => {
            let signal = Signal {
                sender,
                item_id,
                index: event.index,
                signal_type: *signal_type,
                urgency: *urgency,
                conversation: event.conversation.map_or(item_id, |(id, _)| id),
                expires: *expires,
                retention_class: *retention_class,
                open: u32::try_from(addressees.len()).unwrap_or(u32::MAX),
                content_due: None,
            };
            state.sent.insert((sender, item_id), item);
            state.signals.insert(item, signal);
        }
        About::Answer { code, consignment, late } => {
            if let Some(delivery) = state.deliveries.get_mut(consignment) {
                let answer = Answered { item, index: event.index, at: event.time, code: *code, late: *late };
                delivery.answer = Some(answer);
                let delivery = *delivery;
                state.unanswered.remove(&(delivery.recipient, delivery.number));
                state.waiting.remove(&delivery.index);
                close(state, &delivery, event.time);
            }
        }
        About::Key { serial, windows } => key_stated(state, event, sender, item, *serial, *windows),
    }
}

/// A signal waits for its recipient's answer from now on. Answers and key statements wait for nothing.
fn consigned(state: &mut State, event: &Event, item: Digest) {
    let (Audience::Address(recipient), Some(number)) = (event.audience, event.mailbox) else {
        return;
    };
    let Some(signal) = state.signals.get(&item) else {
        return;
    };
    let delivery = Delivery {
        item,
        item_id: signal.item_id,
        sender: signal.sender,
        recipient,
        number,
        index: event.index,
        signal_type: signal.signal_type,
        urgency: signal.urgency,
        conversation: signal.conversation,
        consigned_at: event.time,
        expires: signal.expires,
        handed_over: None,
        expired: None,
        answer: None,
    };
    state.consignments.insert((item, recipient), event.index);
    state.by_party.insert((delivery.sender, event.index));
    state.by_party.insert((recipient, event.index));
    state.unanswered.insert((recipient, number), event.index);
    state.waiting.insert(event.index);
    state.expiring.insert((signal.expires, event.index));
    state.deliveries.insert(event.index, delivery);
}

/// A delivery is answered or has expired. Once that holds for all of a signal's deliveries, the clock of its content
/// runs; a late answer does not turn it back.
fn close(state: &mut State, delivery: &Delivery, time: Timestamp) {
    if !state.expiring.remove(&(delivery.expires, delivery.index)) {
        return;
    }
    let Some(signal) = state.signals.get_mut(&delivery.item) else {
        return;
    };
    signal.open = signal.open.saturating_sub(1);
    if signal.open == 0 {
        let due = time + content_kept(signal.retention_class);
        signal.content_due = Some(due);
        state.content_due.insert((due, delivery.item));
    }
}

fn key_stated(
    state: &mut State,
    event: &Event,
    address: Address,
    digest: Digest,
    serial: u64,
    windows: Option<Windows>,
) {
    let (before, mut recent) =
        state.keys.remove(&address).map(|keys| (keys.statements, keys.recent)).unwrap_or_default();
    recent.retain(|stated| event.time.since(*stated) < DAY);
    recent.push(event.time);
    // One that nobody can seal to any more is forgotten; a withdrawn one stays until its end, so that whoever seals to
    // it hears why it is refused.
    let mut statements: Vec<KeyStatement> = before
        .into_iter()
        .map(|statement| supersede(statement, event.time, windows))
        .filter(|statement| statement.standing == Standing::Withdrawn || statement.usable_at(event.time))
        .filter(|statement| event.time <= statement.windows.open_until)
        .collect();
    if let Some(windows) = windows {
        statements.push(KeyStatement { serial, digest, index: event.index, windows, standing: Standing::InForce });
    }
    let keys = Keys { serial, digest, index: event.index, withdrawn: windows.is_none(), statements, recent };
    state.keys.insert(address, keys);
}

/// Returns how a statement stands after a later one: withdrawn if that withdraws, else superseded a day after it is
/// known and may be used.
fn supersede(statement: KeyStatement, time: Timestamp, later: Option<Windows>) -> KeyStatement {
    let standing = match (statement.standing, later) {
        (_, None) | (Standing::Withdrawn, Some(_)) => Standing::Withdrawn,
        (Standing::InForce, Some(later)) => Standing::SupersededUntil(later.seal_from.max(time) + SUPERSEDED_GRACE),
        (Standing::SupersededUntil(end), Some(_)) => Standing::SupersededUntil(end),
    };
    KeyStatement { standing, ..statement }
}

fn rejected(state: &mut State, event: &Event) {
    let Audience::Address(who) = event.audience else {
        return;
    };
    state.rejections.retain(|_, window| window.lasts_at(event.time));
    let window = state.rejections.entry(who).or_insert(RejectionWindow { since: event.time, recorded: 0 });
    window.recorded = window.recorded.saturating_add(1);
}

/// An address has a record in a conversation: it is party to it, and the conversation lives on.
fn join(state: &mut State, id: ItemId, address: Address, number: u64, time: Timestamp) {
    let conversation =
        state.conversations.entry(id).or_insert_with(|| Conversation { parties: Default::default(), last: time });
    conversation.parties.insert(address, number);
    state.conversation_ages.remove(&(conversation.last, id));
    conversation.last = time;
    state.conversation_ages.insert((time, id));
}

fn delivery(state: &mut State, item: Digest, recipient: Address) -> Option<&mut Delivery> {
    let index = state.consignments.get(&(item, recipient))?;
    state.deliveries.get_mut(index)
}

/// Forgets what is past its time. Each is kept in an order of time, so that this costs as much as it forgets.
fn forget(state: &mut State, time: Timestamp) {
    // A record does not hold signed_at; the id's own time is at most a day later.
    while let Some(item) = state.items.first_entry()
        && item.key().0.time() + ID_TIME_SLACK + ID_REMEMBERED < time
    {
        item.remove();
    }
    while let Some(&(last, id)) = state.conversation_ages.first()
        && last + SIX_MONTHS < time
    {
        state.conversation_ages.remove(&(last, id));
        state.conversations.remove(&id);
    }
    while let Some(delivery) = state.deliveries.first_entry()
        && delivery.get().consigned_at + SIX_MONTHS < time
    {
        let delivery = delivery.remove();
        state.consignments.remove(&(delivery.item, delivery.recipient));
        state.by_party.remove(&(delivery.sender, delivery.index));
        state.by_party.remove(&(delivery.recipient, delivery.index));
        state.unanswered.remove(&(delivery.recipient, delivery.number));
        state.waiting.remove(&delivery.index);
        state.expiring.remove(&(delivery.expires, delivery.index));
        // All deliveries of a signal are of one time, so that it goes with the first of them.
        if let Some(signal) = state.signals.remove(&delivery.item) {
            state.sent.remove(&(signal.sender, signal.item_id));
            if let Some(due) = signal.content_due {
                state.content_due.remove(&(due, delivery.item));
            }
        }
    }
}
