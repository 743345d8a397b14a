//! Questions about the log: tree, proofs, checkpoints, receipts, mailbox heads.

use bytes::Bytes;
use seinpost_protocol::address::{Address, Function};
use seinpost_protocol::canonical;
use seinpost_protocol::checkpoint::{self, BadRetired, BadSeen, LogKey, Pin, Seen, Unlinked};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::mailbox_head::{self, BadHead, Known, MailboxHead};
use seinpost_protocol::note::BadNote;
use seinpost_protocol::receipt::{self, BadReceipt, EventKind};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::tree::{self, BadProof, Frontier};
use seinpost_protocol::wire;
use serde_json::Value;

use super::frame::{Family, Inputs, Refusal, Values, unhex};
use crate::leaves::Leaves;

pub(crate) const FAMILY: Family = Family {
    ops: &[
        ("tree", whole_tree),
        ("inclusion", inclusion),
        ("consistency", consistency),
        ("checkpoint", open_checkpoint),
        ("retired", retired),
        ("seen", seen),
        ("gossip", gossip),
        ("receipt", verify_receipt),
        ("head", head),
        ("head-lie", head_lie),
    ],
    reasons: &[
        // A proof that is too short for its sizes is seen before any hash is compared.
        ("CONSISTENCY", &["PROOF_LENGTH"]),
    ],
};

/// Roots and leaves at every size, by the frontier; and by the nodes, every proof of the tree.
fn whole_tree(inputs: &Inputs) -> Result<Values, Refusal> {
    let leaves = leaves_of(inputs);
    let sizes = 0..=leaves.0.len() as u64;
    let mut frontier = Frontier::default();
    let mut roots = vec![frontier.root()];
    for leaf in &leaves.0 {
        frontier.append(*leaf);
        roots.push(frontier.root());
    }
    for (size, root) in sizes.zip(&roots) {
        assert_eq!(tree::root(&leaves, size).as_ref(), Some(root));
        for (index, leaf) in (0..size).zip(&leaves.0) {
            let proof = tree::inclusion_proof(&leaves, index, size).expect("all nodes are there");
            tree::verify_inclusion(leaf, index, size, &proof, root).expect("our own proof holds");
        }
        for (old, old_root) in (0..=size).zip(&roots) {
            let proof = tree::consistency_proof(&leaves, old, size).expect("all nodes are there");
            tree::verify_consistency(old, old_root, size, root, &proof).expect("our own proof holds");
        }
    }
    let hex = |digests: &[Digest]| digests.iter().map(Digest::to_string).collect::<Vec<_>>();
    Ok(Values::default().with("leaves", hex(&leaves.0)).with("roots", hex(&roots)))
}

fn inclusion(inputs: &Inputs) -> Result<Values, Refusal> {
    let leaf = tree::leaf_hash(&digest(inputs, "commitment"));
    let proof = proof(inputs, "proof")?;
    let (index, size) = (inputs.number("index"), inputs.number("size"));
    tree::verify_inclusion(&leaf, index, size, &proof, &digest(inputs, "root"))?;
    Ok(Values::default())
}

fn consistency(inputs: &Inputs) -> Result<Values, Refusal> {
    let proof = proof(inputs, "proof")?;
    let (old, new) = (inputs.number("old_size"), inputs.number("new_size"));
    tree::verify_consistency(old, &digest(inputs, "old_root"), new, &digest(inputs, "new_root"), &proof)?;
    Ok(Values::default())
}

fn open_checkpoint(inputs: &Inputs) -> Result<Values, Refusal> {
    let (origin, key) = (inputs.text("log_origin"), log_key(inputs));
    let opened = checkpoint::open(inputs.text("note").as_bytes(), origin, &[key])?;
    let vkey = key.vkey(origin);
    assert_eq!(LogKey::from_vkey(&vkey), Ok((origin.to_owned(), key)));
    let values = tree_values(opened.size, &opened.root);
    Ok(values.with("key_id", key.key_id(origin).to_string()).with("vkey", vkey))
}

fn retired(inputs: &Inputs) -> Result<Values, Refusal> {
    let until = Pin { size: inputs.number("until_size"), root: digest(inputs, "until_root") };
    let (note, consistency) = (inputs.text("note").as_bytes(), inputs.bytes_list("consistency"));
    let opened = checkpoint::judge_retired(note, inputs.text("log_origin"), &log_key(inputs), &until, &consistency)?;
    Ok(tree_values(opened.size, &opened.root))
}

fn seen(inputs: &Inputs) -> Result<Values, Refusal> {
    let leaves = leaves_of(inputs);
    let seen = parse_seen(inputs)?;
    let ours = |size| tree::root(&leaves, size);
    checkpoint::judge_seen(&seen, inputs.text("log_origin"), &[log_key(inputs)], None, ours)?;
    Ok(tree_values(seen.size(), seen.root()))
}

fn gossip(inputs: &Inputs) -> Result<Values, Refusal> {
    let seen = parse_seen(inputs)?;
    let (origin, keys, pin) = (inputs.text("log_origin"), [log_key(inputs)], pin(inputs));
    let after = checkpoint::judge_gossip(&seen, origin, &keys, &pin, &inputs.bytes_list("consistency"))?;
    assert_eq!(after.size, pin.size.max(seen.size()), "a pin only moves up");
    Ok(tree_values(seen.size(), seen.root()))
}

fn verify_receipt(inputs: &Inputs) -> Result<Values, Refusal> {
    let (origin, keys, pin) = (inputs.text("log_origin"), [log_key(inputs)], pin(inputs));
    let receipt: wire::Receipt = canonical::decode(inputs.bytes("receipt")).map_err(malformed)?;
    let verified = receipt::verify(&receipt, origin, &keys, &pin, &inputs.bytes_list("consistency"))?;
    let digest = inputs.bytes_if_any("item_digest").map(|bytes| Digest::try_from(&bytes).expect("a digest"));
    if let Some(audience) = inputs.find("audience") {
        verified.expect(&audience_of(audience), event(inputs.text("event")), digest.as_ref())?;
    }
    let values = tree_values(verified.checkpoint.size, &verified.checkpoint.root)
        .with("index", verified.index)
        .with_bytes("leaf", tree::leaf_hash(&verified.commitment))
        .with("pin_size", verified.pin_after.size)
        .with_bytes("pin_root", verified.pin_after.root);
    Ok(values.with("erased", verified.record.is_none()))
}

fn head(inputs: &Inputs) -> Result<Values, Refusal> {
    let known = Known {
        origin: inputs.text("log_origin"),
        keys: &[log_key(inputs)],
        address: address(inputs.value("address")),
        pin: &pin(inputs),
        last_seen: inputs.number("last_seen"),
        now: Timestamp::from_millis(inputs.value("now_ms").as_i64().expect("a number")).expect("within 2020–2100"),
    };
    let verified = mailbox_head::verify(&item(inputs)?, &known, &inputs.bytes_list("consistency"))?;
    let values = Values::default().with("size", verified.checkpoint.size);
    Ok(values.with("first_number", verified.head.first_number).with("last_number", verified.head.last_number))
}

fn head_lie(inputs: &Inputs) -> Result<Values, Refusal> {
    let head = MailboxHead::parse(&item(inputs)?)?;
    let receipt: wire::Receipt = canonical::decode(inputs.bytes("receipt")).map_err(malformed)?;
    let (_, _, record) = receipt::open(&receipt)?;
    // Which key signed both is not asked here.
    let size = Seen::parse(head.note.clone())?.size();
    mailbox_head::contradicts(&head, size, &record.expect("a record that is there"))
        .map_err(|lie| Refusal::of(lie.reason()))?;
    Ok(Values::default())
}

fn leaves_of(inputs: &Inputs) -> Leaves {
    let commitment = |value| Digest::try_from(&unhex(value)).expect("a commitment");
    Leaves(inputs.list("commitments").iter().map(|value| tree::leaf_hash(&commitment(value))).collect())
}

fn tree_values(size: u64, root: &Digest) -> Values {
    Values::default().with("size", size).with_bytes("root", root)
}

fn log_key(inputs: &Inputs) -> LogKey {
    LogKey::new(inputs.bytes("log_key").as_ref().try_into().expect("a key of 32 bytes"))
}

fn digest(inputs: &Inputs, name: &str) -> Digest {
    Digest::try_from(&inputs.bytes(name)).expect("a digest")
}

fn proof(inputs: &Inputs, name: &str) -> Result<Vec<Digest>, Refusal> {
    Ok(tree::proof_from_wire(&inputs.bytes_list(name))?)
}

fn pin(inputs: &Inputs) -> Pin {
    let pin = inputs.value("pin");
    Pin { size: pin["size"].as_u64().expect("a size"), root: Digest::try_from(&unhex(&pin["root"])).expect("a root") }
}

fn parse_seen(inputs: &Inputs) -> Result<Seen, Refusal> {
    Ok(Seen::parse(Bytes::copy_from_slice(inputs.text("note").as_bytes()))?)
}

fn item(inputs: &Inputs) -> Result<wire::SignedItem, Refusal> {
    canonical::decode_envelope("seinpost.v1.SignedItem", inputs.bytes("item")).map_err(malformed)
}

fn address(value: &Value) -> Address {
    let function = format!("FUNCTION_{}", value["function"].as_str().expect("a function"));
    let function = Function::from_str_name(&function).expect("a known function");
    Address { oin: value["oin"].as_str().expect("an OIN").try_into().expect("an OIN"), function }
}

fn audience_of(value: &Value) -> wire::Audience {
    let of = match value.get("group").map(|group| group.as_str().expect("a group")) {
        Some("ALL") => wire::audience::Of::Group(wire::Group::All.into()),
        Some("OVERSIGHT") => wire::audience::Of::Group(wire::Group::Oversight.into()),
        Some(other) => panic!("group {other} is not known"),
        None => wire::audience::Of::Address(address(&value["address"]).into()),
    };
    wire::Audience { of: Some(of) }
}

fn event(name: &str) -> EventKind {
    let kinds = [
        EventKind::SubmissionAcceptance,
        EventKind::ContentConsignment,
        EventKind::ContentHandover,
        EventKind::Expiry,
        EventKind::SubmissionRejection,
    ];
    kinds.into_iter().find(|kind| kind.name() == name).unwrap_or_else(|| panic!("event {name} is not known"))
}

fn malformed(fault: canonical::Malformed) -> Refusal {
    Refusal::at(fault.reason.as_str(), fault.field)
}

/// What this crate refuses with has a reason; the runner wants it as text.
macro_rules! refusals {
    ($($fault:ty),*) => {
        $(impl From<$fault> for Refusal {
            fn from(fault: $fault) -> Self {
                Self::of(fault.reason())
            }
        })*
    };
}

refusals!(BadProof, BadNote, BadSeen, Unlinked, BadRetired, BadReceipt, BadHead);
