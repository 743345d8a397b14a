//! Mailbox heads: the hub's signed word on what a mailbox holds, so that it cannot keep a message back in silence.
//!
//! In comes the item that opens a stream and repeats while it is idle; out goes what the mailbox must hold, linked to
//! one's pin. A head that leaves out a record which a receipt shows to be there is proof of a lie ([`Lie`]): both are
//! signed by the log. Nothing here reads a clock or remembers what was seen; the client does.

use std::time::Duration;

use bytes::Bytes;

use crate::address::Address;
use crate::canonical::{self, Malformed};
use crate::checkpoint::{self, Checkpoint, LogKey, Pin, Unlinked};
use crate::digest::Digest;
use crate::item::{self, ItemType};
use crate::note::BadNote;
use crate::time::Timestamp;
use crate::wire;

/// How old a head may be: it is repeated every 60 s, so two of them got lost.
pub const HEAD_AGE_MAX: Duration = Duration::from_secs(150);
/// How far ahead of one's own clock a head may be: as far as a record (a head from tomorrow would hide today's mail).
pub const HEAD_AHEAD_MAX: Duration = Duration::from_secs(600);

/// What the hub says of a mailbox; whether it is the hub's word is not yet known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxHead {
    /// The log in which the records stand.
    pub log_origin: String,
    /// Whose mailbox.
    pub address: Address,
    /// Number of the oldest record that is not erased; `last_number + 1` if none is left, 1 if there never was one.
    pub first_number: u64,
    /// Number of the newest record; 0 if there never was one.
    pub last_number: u64,
    /// Place and commitment of the newest record, if there was one.
    pub last: Option<(u64, Digest)>,
    /// When the hub said so.
    pub time: Timestamp,
    /// The signed note of the tree of which it speaks.
    pub note: Bytes,
}

impl MailboxHead {
    /// Reads a head: an item of the right type whose payload is right by itself. Its signature is not looked at.
    pub fn parse(item: &wire::SignedItem) -> Result<Self, BadHead> {
        if item.payload_type != ItemType::MailboxHead.payload_type() {
            return Err(BadHead::Type);
        }
        let head: wire::MailboxHead = canonical::decode(item.payload.clone())?;
        let address =
            head.address.as_ref().and_then(|address| Address::try_from(address).ok()).ok_or(BadHead::Address)?;
        let time = head.time.as_ref().and_then(|time| Timestamp::try_from(time).ok()).ok_or(BadHead::Time)?;
        let last = match (head.last_number, head.last_index, Digest::try_from(&head.last_commitment)) {
            (0, 0, _) if head.last_commitment.is_empty() => None,
            (1.., index, Ok(commitment)) => Some((index, commitment)),
            _ => return Err(BadHead::Last),
        };
        // An empty mailbox begins at 1, one whose records are all erased just behind its last.
        if head.first_number == 0 || head.first_number - 1 > head.last_number {
            return Err(BadHead::First);
        }
        Ok(Self {
            log_origin: head.log_origin,
            address,
            first_number: head.first_number,
            last_number: head.last_number,
            last,
            time,
            note: head.checkpoint,
        })
    }
}

/// A mailbox head that is the hub's word, and of the history that one pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHead {
    /// What the hub says.
    pub head: MailboxHead,
    /// The tree of which it speaks.
    pub checkpoint: Checkpoint,
    /// The pin to keep.
    pub pin_after: Pin,
}

/// What a client knows when a head arrives.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The log's name.
    pub origin: &'a str,
    /// The keys of the log that count now.
    pub keys: &'a [LogKey],
    /// Whose mailbox one reads.
    pub address: Address,
    /// The pin that went out with the request.
    pub pin: &'a Pin,
    /// The highest number that one has from this mailbox; 0 if none.
    pub last_seen: u64,
    /// One's own clock.
    pub now: Timestamp,
}

/// Checks a head: signed by the log, of this mailbox, fresh, and of a tree that is at least as large as the pinned one and
/// extends it; nothing that one has not read may be gone, and nothing that one has read may be missing.
pub fn verify(item: &wire::SignedItem, known: &Known<'_>, consistency: &[Bytes]) -> Result<VerifiedHead, BadHead> {
    let head = MailboxHead::parse(item)?;
    let [signature] = item.signatures.as_slice() else {
        return Err(BadHead::Signature);
    };
    let signed = item::pae(&item.payload_type, &item.payload);
    if !known.keys.iter().any(|key| key.verifies(&signed, &signature.sig)) {
        return Err(BadHead::Signature);
    }
    if head.log_origin != known.origin {
        return Err(BadHead::Origin);
    }
    if head.address != known.address {
        return Err(BadHead::Address);
    }

    let checkpoint = checkpoint::open(&head.note, known.origin, known.keys)?;
    // A pin may be ahead of a receipt, which is cut when it is cut. A head is the newest there is: if the log shrank, an
    // older copy of it is running.
    if checkpoint.size < known.pin.size {
        return Err(BadHead::SmallerTree);
    }
    let pin_after = checkpoint::link(known.pin, &checkpoint, consistency).map_err(Unlinked::Fork)?;
    if head.last.is_some_and(|(index, _)| index >= checkpoint.size) {
        return Err(BadHead::Last);
    }

    if known.now.since(head.time) > HEAD_AGE_MAX {
        return Err(BadHead::Stale);
    }
    if head.time.since(known.now) > HEAD_AHEAD_MAX {
        return Err(BadHead::Ahead);
    }
    if head.last_number < known.last_seen {
        return Err(BadHead::Behind);
    }
    if head.first_number - 1 > known.last_seen {
        return Err(BadHead::LostUnread);
    }
    Ok(VerifiedHead { head, checkpoint, pin_after })
}

/// Checks that a head and a record do not contradict each other.
///
/// `size` is the size of the head's tree. A mailbox record of the head's address that stands in that tree with a higher
/// number than the head's last was there when the hub said that it was not.
pub fn contradicts(head: &MailboxHead, size: u64, record: &wire::Record) -> Result<(), Lie> {
    let Some(place) = &record.mailbox else {
        return Ok(());
    };
    let audience = wire::audience::Of::Address(head.address.into());
    let of_this_mailbox = record.audience.as_ref().and_then(|audience| audience.of.as_ref()) == Some(&audience);
    if of_this_mailbox && record.index < size && place.number > head.last_number {
        return Err(Lie { last_number: head.last_number, size, number: place.number, index: record.index });
    }
    Ok(())
}

/// The hub signed a head that leaves out a record below its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the hub signed that the mailbox ended at {last_number} in a log of {size} leaves, and number {number} stands at {index}"
)]
pub struct Lie {
    /// The last number by the head.
    pub last_number: u64,
    /// The size of the tree of which the head speaks.
    pub size: u64,
    /// The number of the record that was left out.
    pub number: u64,
    /// Its index in the log.
    pub index: u64,
}

impl Lie {
    /// Returns the reason as it is written in reports.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        "HEAD_LIE"
    }
}

/// A head is not to be believed, or tells that something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// The item is no mailbox head.
    #[error("the item is no mailbox head")]
    Type,
    /// The payload is malformed.
    #[error("the mailbox head is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The time is none.
    #[error("the time of the mailbox head is out of range")]
    Time,
    /// First and last number do not belong together.
    #[error("the first number of the mailbox is neither in it nor just behind it")]
    First,
    /// Number, index and commitment of the last record do not belong together, or it stands beyond the tree.
    #[error("the last record of the mailbox is not shown to be in the tree")]
    Last,
    /// It bears no signature of the log, or more than one.
    #[error("the mailbox head is not signed by the log")]
    Signature,
    /// It is of another log.
    #[error("the mailbox head is of another log")]
    Origin,
    /// It is of another mailbox.
    #[error("the mailbox head is of another address")]
    Address,
    /// Its checkpoint is not the log's, or not of the pinned history.
    #[error(transparent)]
    Unlinked(#[from] Unlinked),
    /// Its tree is smaller than one that was seen before.
    #[error("the log is smaller than it was: an older copy of it is running")]
    SmallerTree,
    /// It is too old to say what the mailbox holds now.
    #[error("the mailbox head is older than 150 s")]
    Stale,
    /// It is of a time that has not come.
    #[error("the mailbox head is of more than 10 minutes ahead")]
    Ahead,
    /// It ends before what was read already.
    #[error("the mailbox ends before what was read from it")]
    Behind,
    /// Something was erased before it was read.
    #[error("records were erased from the mailbox before they were read")]
    LostUnread,
}

impl From<BadNote> for BadHead {
    fn from(note: BadNote) -> Self {
        Self::Unlinked(Unlinked::Note(note))
    }
}

impl BadHead {
    /// Returns the reason as it is written in reports.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Type => "PAYLOAD_TYPE",
            Self::Malformed(fault) => fault.reason.as_str(),
            Self::Time => "TIME",
            Self::First | Self::Last => "HEAD_INDEX",
            Self::Signature => "SIGNATURE",
            Self::Origin => "ORIGIN",
            Self::Address => "ADDRESS",
            Self::Unlinked(unlinked) => unlinked.reason(),
            Self::SmallerTree => "SMALLER_TREE",
            Self::Stale => "HEAD_STALE",
            Self::Ahead => "HEAD_AHEAD",
            Self::Behind => "HEAD_BEHIND",
            Self::LostUnread => "LOST_UNREAD",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what failed by failing")]

    use ed25519_dalek::{Signer as _, SigningKey};
    use prost::Message as _;

    use super::*;
    use crate::address::{Function, Oin};
    use crate::tree::EMPTY_ROOT;

    const ORIGIN: &str = "log.seinpost.test/head";

    fn signer() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn address() -> Address {
        Address { oin: Oin::try_from("00000099155001000000").unwrap(), function: Function::SafeHome }
    }

    fn noon() -> Timestamp {
        Timestamp::from_millis(1_795_521_600_000).unwrap()
    }

    /// What a head says beside origin, address and an empty log.
    fn head(first: u64, last: u64, change: impl FnOnce(&mut wire::MailboxHead)) -> wire::SignedItem {
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: 0, root: EMPTY_ROOT };
        let key = LogKey::new(signer().verifying_key().to_bytes());
        let signature = signer().sign(checkpoint.body().as_bytes()).to_bytes();
        let mut head = wire::MailboxHead {
            log_origin: ORIGIN.to_owned(),
            address: Some(address().into()),
            first_number: first,
            last_number: last,
            checkpoint: checkpoint::note(&checkpoint, key.key_id(ORIGIN), &signature).into(),
            time: Some(noon().into()),
            ..Default::default()
        };
        change(&mut head);
        let (payload_type, payload) = (ItemType::MailboxHead.payload_type(), head.encode_to_vec());
        let sig = signer().sign(&item::pae(payload_type, &payload)).to_bytes().to_vec().into();
        let signatures = vec![wire::ItemSignature { sig, keyid: String::new() }];
        wire::SignedItem { payload: payload.into(), payload_type: payload_type.to_owned(), signatures }
    }

    fn verified(item: &wire::SignedItem, now: Timestamp) -> Result<VerifiedHead, BadHead> {
        let keys = [LogKey::new(signer().verifying_key().to_bytes())];
        let known = Known { origin: ORIGIN, keys: &keys, address: address(), pin: &Pin::NOTHING, last_seen: 0, now };
        verify(item, &known, &[])
    }

    #[test]
    fn a_head_counts_from_ten_minutes_before_its_time_to_150_seconds_after_it() {
        let item = head(1, 0, |_| {});
        let millisecond = Duration::from_millis(1);
        assert!(verified(&item, noon() - HEAD_AHEAD_MAX).is_ok());
        assert_eq!(verified(&item, noon() - HEAD_AHEAD_MAX - millisecond), Err(BadHead::Ahead));
        assert!(verified(&item, noon() + HEAD_AGE_MAX).is_ok());
        assert_eq!(verified(&item, noon() + HEAD_AGE_MAX + millisecond), Err(BadHead::Stale));
    }

    #[test]
    fn first_and_last_number_belong_together() {
        let parse = |first, last, index, commitment: &[u8]| {
            let commitment = Bytes::copy_from_slice(commitment);
            MailboxHead::parse(&head(first, last, |head| (head.last_index, head.last_commitment) = (index, commitment)))
        };
        assert!(parse(1, 0, 0, &[]).is_ok(), "never a record");
        assert!(parse(4, 3, 9, &[5; 32]).is_ok(), "all erased");
        assert!(parse(1, 3, 0, &[5; 32]).is_ok(), "the last at index 0");
        assert_eq!(parse(0, 0, 0, &[]), Err(BadHead::First));
        assert_eq!(parse(2, 0, 0, &[]), Err(BadHead::First));
        assert_eq!(parse(5, 3, 9, &[5; 32]), Err(BadHead::First));
        assert_eq!(parse(1, 0, 9, &[]), Err(BadHead::Last));
        assert_eq!(parse(1, 0, 0, &[5; 32]), Err(BadHead::Last));
        assert_eq!(parse(1, 3, 9, &[]), Err(BadHead::Last));
    }

    #[test]
    fn a_head_bears_one_signature_and_it_is_the_logs() {
        let item = head(1, 0, |_| {});
        let with = |signatures| wire::SignedItem { signatures, ..item.clone() };
        assert!(verified(&item, noon()).is_ok());
        assert_eq!(verified(&with(Vec::new()), noon()), Err(BadHead::Signature));
        assert_eq!(verified(&with(vec![item.signatures[0].clone(); 2]), noon()), Err(BadHead::Signature));
        let spoilt = wire::ItemSignature { sig: vec![0; 64].into(), keyid: String::new() };
        assert_eq!(verified(&with(vec![spoilt]), noon()), Err(BadHead::Signature));
    }

    #[test]
    fn only_a_record_of_this_mailbox_and_below_the_heads_size_can_contradict_it() {
        let head = MailboxHead::parse(&head(1, 3, |head| head.last_commitment = vec![5; 32].into())).unwrap();
        let record = |address: Address, index, number| wire::Record {
            index,
            audience: Some(wire::Audience { of: Some(wire::audience::Of::Address(address.into())) }),
            mailbox: Some(wire::MailboxPlace { number, ..Default::default() }),
            ..Default::default()
        };
        let other = Address { function: Function::PoliceOperations, ..address() };
        assert!(contradicts(&head, 10, &record(address(), 9, 4)).is_err());
        assert!(contradicts(&head, 10, &record(address(), 10, 4)).is_ok(), "it came later");
        assert!(contradicts(&head, 10, &record(address(), 9, 3)).is_ok(), "the head counts it");
        assert!(contradicts(&head, 10, &record(other, 9, 4)).is_ok(), "it is another's");
        let elsewhere = wire::Record { mailbox: None, ..record(address(), 9, 4) };
        assert!(contradicts(&head, 10, &elsewhere).is_ok(), "it is in no mailbox");
    }
}
