//! Mailbox heads: what the hub signs that the mailbox holds, held against what it sends.
//!
//! In comes each head of the stream, and out a head that is signed, linked to the pin, fresh, and in no contradiction to
//! what was read; or an alarm with which the mailbox can be read on; or an error, where the hub's own signatures convict
//! it. That a record contradicts an earlier head is asked where records are placed.

use prost::Message as _;
use seinpost_protocol::mailbox_head::{self, BadHead, HEAD_AGE_MAX, Known, MailboxHead, VerifiedHead};
use seinpost_protocol::wire;

use super::order::Order;
use super::{Mailbox, Received};
use crate::error::{Error, NotVerified, Result};
use crate::evidence::Evidence;
use crate::link::Asked;

/// Heads that are held against later records; they come every minute.
const HEADS_MAX: usize = 16;
/// So many streams in a row that promise records and end before one comes, over longer than a head is fresh, are no
/// chance.
const UNKEPT_STREAMS_MAX: u32 = 3;

/// A head that the hub signed, to hold later records against.
pub(super) struct Head {
    pub(super) head: MailboxHead,
    pub(super) size: u64,
    pub(super) item: wire::SignedItem,
}

impl Mailbox {
    /// Takes a head; where it cannot be taken but the mailbox can be read on, an alarm.
    pub(super) async fn take_head(
        &mut self,
        asked: &Asked,
        item: wire::SignedItem,
        consistency: &[bytes::Bytes],
    ) -> Result<Received> {
        let verified = match self.judge_head(asked, &item, consistency).await? {
            Ok(verified) => verified,
            Err(alarm) => return Ok(Received::Alarm(alarm)),
        };
        let VerifiedHead { head, checkpoint, .. } = verified;
        if let Order::From(first) = &mut self.order {
            first.get_or_insert(head.first_number);
        }
        self.judge_promise(&head, &item)?;
        // Deleted by the earlier of two clocks: a wrong one of one's own would destroy what still opens.
        self.client.inner.sealing_keys.delete_expired(head.time.min(self.client.now()))?;
        // The hub repeats a head while nothing comes: what an earlier one promised must have come by now.
        let last = self.order.last_number();
        let alarm = (self.promised > last).then(|| {
            let before = self.heads.back().map(|before| before.item.encode_to_vec()).unwrap_or_default();
            self.client.accuse(Evidence {
                reason: "HELD_BACK",
                what: format!(
                    "the hub signed that the mailbox holds records up to {}, and sends none after {last}",
                    self.promised
                ),
                pieces: vec![("head.item", &before)],
            })
        });
        let alarm = alarm.or_else(|| self.judge_unkept(&head, last));
        self.promised = head.last_number;
        self.heads.push_back(Head { head: head.clone(), size: checkpoint.size, item });
        if self.heads.len() > HEADS_MAX {
            self.heads.pop_front();
        }
        match alarm {
            Some(Error::NotVerified(alarm)) => Ok(Received::Alarm(alarm)),
            _ => Ok(Received::Head(head)),
        }
    }

    /// Says whether the hub promises again and again and ends every stream before it sends anything.
    fn judge_unkept(&mut self, head: &MailboxHead, last: u64) -> Option<Error> {
        let (streams, since) = self.unkept?;
        if streams < UNKEPT_STREAMS_MAX || self.client.now().since(since) <= HEAD_AGE_MAX {
            return None;
        }
        self.unkept = None;
        let what = format!(
            "the hub signed that the mailbox holds records up to {}, and {streams} streams ended before one came after {last}",
            head.last_number
        );
        Some(Error::not_verified("HELD_BACK", what))
    }

    /// Verifies a head; the inner error is an alarm with which the mailbox can be read on.
    async fn judge_head(
        &mut self,
        asked: &Asked,
        item: &wire::SignedItem,
        consistency: &[bytes::Bytes],
    ) -> Result<std::result::Result<VerifiedHead, NotVerified>> {
        let not_right =
            |bad: &BadHead| Error::not_verified(bad.reason(), format!("the mailbox head does not hold: {bad}"));
        let head = MailboxHead::parse(item).map_err(|bad| not_right(&bad))?;
        // Linked first, so that another history is saved as evidence whatever else is wrong.
        let checkpoint = self.client.link_note(asked, &head.note, consistency).await?;
        let keys = self.client.log_keys();
        let pin = checkpoint.pin();
        let mut known = Known {
            origin: self.client.origin(),
            keys: &keys,
            address: self.client.address(),
            // Judged against its own tree, which is linked already; that it is not smaller is asked below.
            pin: &pin,
            last_seen: self.order.last_number(),
            now: self.client.now(),
        };
        if checkpoint.size < asked.seen_size() {
            return Err(self.client.accuse_shrinking(asked, &checkpoint, &head.note));
        }
        // Who reads again from the beginning still knows how far it had come.
        let seen = self.pinned.map_or(0, |pinned| pinned.number).max(self.order.last_number());
        let alarm = |bad: &BadHead| NotVerified {
            reason: bad.reason(),
            what: format!("mailbox of {}: {bad}", head.address),
            evidence: None,
        };
        match mailbox_head::verify(item, &known, &[]) {
            Ok(_) | Err(BadHead::LostUnread) if head.last_number < seen => Err(self.accuse_behind(&head, item, seen)),
            Err(BadHead::Behind) => Err(self.accuse_behind(&head, item, seen)),
            Ok(verified) => Ok(Ok(verified)),
            Err(BadHead::LostUnread) if matches!(self.order, Order::From(None)) => {
                // Whoever begins anew has lost nothing by what is erased.
                known.last_seen = head.first_number - 1;
                mailbox_head::verify(item, &known, &[]).map(Ok).map_err(|bad| not_right(&bad))
            }
            Err(bad @ BadHead::LostUnread) => {
                let what = alarm(&bad);
                let last = self.order.last_number();
                self.order = Order::From(Some(head.first_number));
                let what = NotVerified {
                    what: format!("{}: {} to {} are gone", what.what, last + 1, head.first_number - 1),
                    ..what
                };
                Ok(Err(what))
            }
            Err(bad @ (BadHead::Stale | BadHead::Ahead)) => {
                // Signed and linked, so where the mailbox begins can be believed.
                if let Order::From(first) = &mut self.order {
                    first.get_or_insert(head.first_number);
                }
                Ok(Err(alarm(&bad)))
            }
            Err(bad) => Err(not_right(&bad)),
        }
    }

    /// Holds what a head says of its last record against the record that was read under that number.
    fn judge_promise(&self, head: &MailboxHead, item: &wire::SignedItem) -> Result<()> {
        let last = match self.order {
            Order::After(last) => Some(last),
            Order::From(_) => None,
        };
        let known = last.into_iter().chain(self.pinned).find(|known| known.number == head.last_number);
        let (Some(known), Some((index, commitment))) = (known, head.last) else {
            return Ok(());
        };
        if (known.index, known.commitment) == (index, commitment) {
            return Ok(());
        }
        let shown = item.encode_to_vec();
        Err(self.client.accuse(Evidence {
            reason: "HEAD_LIE",
            what: format!("the hub signed another record as number {} than the one that it delivered", known.number),
            pieces: vec![("head.item", &shown)],
        }))
    }

    fn accuse_behind(&self, head: &MailboxHead, item: &wire::SignedItem, seen: u64) -> Error {
        let (bad, shown) = (BadHead::Behind, item.encode_to_vec());
        self.client.accuse(Evidence {
            reason: bad.reason(),
            what: format!("{bad}: {seen} was read, the head says {}", head.last_number),
            pieces: vec![("head.item", &shown)],
        })
    }
}
