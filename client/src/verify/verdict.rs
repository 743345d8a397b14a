//! What a receipt proves and what it does not, each as a sentence.
//!
//! Plain values; only the judging room makes a [`Verdict`].

use std::fmt;

use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::ItemId;
use seinpost_protocol::time::Timestamp;

/// What a receipt proves and what it does not.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The item's id.
    pub item_id: ItemId,
    /// Its digest.
    pub item_digest: Digest,
    /// What is proven, in the order in which one follows from the other.
    pub proven: Vec<Proven>,
    /// What is not.
    pub not_proven: Vec<NotProven>,
}

/// Something that a receipt proves.
#[derive(Debug, Clone, PartialEq)]
pub enum Proven {
    /// The log's key signed a tree in which the commitment stands.
    InLog {
        /// The index.
        index: u64,
        /// The size of the tree.
        size: u64,
        /// Its root.
        root: Digest,
    },
    /// The tree is of the history that this client pinned.
    PinnedHistory,
    /// The hub accepted the item.
    Accepted {
        /// From whom.
        from: Address,
        /// When, by the hub's clock.
        at: Timestamp,
    },
    /// The hub promised, in the acceptance, a consignment at this place of the log.
    Promised {
        /// To whom.
        to: Address,
        /// By which rule; `answer` or `key-statement` where the format itself permits it.
        rule_id: String,
        /// The index.
        index: u64,
        /// The commitment, which the recipient can show too.
        commitment: Digest,
    },
    /// The hub consigned the item to a mailbox.
    Consigned {
        /// Whose.
        to: Address,
        /// The number in that mailbox.
        number: u64,
        /// When, by the hub's clock.
        at: Timestamp,
    },
    /// The key of this certificate signed the item.
    Signed {
        /// The address that the item names as its signer.
        by: Address,
        /// The certificate.
        certificate: Digest,
    },
    /// By covenant and revocation lists of that time the key could sign for the address.
    Entitled {
        /// The covenant's serial.
        covenant: u64,
        /// The lists that were asked.
        lists: Vec<Digest>,
    },
}

/// Something that a receipt does not prove, or not with what is at hand.
#[derive(Debug, Clone, PartialEq)]
pub enum NotProven {
    /// That anybody read it: only the recipient's answer says so.
    Read,
    /// The time: it is the hub's clock, and no witness bounds it yet.
    Time,
    /// That the log showed everybody this tree: pins and gossip speak of that.
    SameForAll {
        /// The size that was pinned, if one was.
        pinned_size: Option<u64>,
    },
    /// What the record said: it was erased by this rule.
    Erased {
        /// The rule.
        rule: String,
    },
    /// That the key could sign for the address then.
    Entitled {
        /// What is missing for it.
        why: String,
    },
    /// That the checkpoint counts: its key was retired, and a proof up to where it ended is not at hand.
    RetiredKey {
        /// The size at which the key ended.
        until_size: u64,
    },
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InLog { index, size, root } => {
                write!(
                    f,
                    "the record stands at {index} in the log of {size} records with root {root}, signed by the log's key"
                )
            }
            Self::PinnedHistory => f.write_str("that log is of the history that this client has pinned"),
            Self::Accepted { from, at } => write!(f, "the hub accepted it from {from} at {at}"),
            Self::Promised { to, rule_id, index, commitment }
                if ["answer", "key-statement"].contains(&rule_id.as_str()) =>
            {
                write!(f, "the hub put it in the mailbox of {to}, at {index} in the log (commitment {commitment})")
            }
            Self::Promised { to, rule_id, index, commitment } => {
                write!(
                    f,
                    "the hub put it in the mailbox of {to} under rule {rule_id}, at {index} in the log (commitment {commitment})"
                )
            }
            Self::Consigned { to, number, at } => {
                write!(f, "the hub put it in the mailbox of {to} as number {number} at {at}")
            }
            Self::Signed { by, certificate } => {
                write!(f, "it was signed for {by} with the key of certificate {certificate}")
            }
            Self::Entitled { covenant, lists } => write!(
                f,
                "by covenant {covenant} and the revocation lists of that time ({}), that key could sign for that address",
                lists.len()
            ),
        }
    }
}

impl fmt::Display for NotProven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("that anybody has read it: only the recipient's answer says so"),
            Self::Time => f.write_str("the time, beyond the word of the hub's clock"),
            Self::SameForAll { pinned_size: Some(size) } => write!(
                f,
                "that this log is the one that this client has pinned at {size} records: that takes a proof from the hub"
            ),
            Self::SameForAll { pinned_size: None } => {
                f.write_str("that the hub shows everybody this log: compare checkpoints with others")
            }
            Self::Erased { rule } => {
                write!(f, "what the record said: it was erased by rule {rule}; only its commitment remains")
            }
            Self::Entitled { why } => write!(f, "that this key could sign for that address then: {why}"),
            Self::RetiredKey { until_size } => write!(
                f,
                "that the checkpoint counts: its key ended at {until_size} records, and a proof up to there is not at hand"
            ),
        }
    }
}
