//! The log as a Merkle tree (RFC 6962 §2.1, RFC 9162 §2.1): roots, proofs, and what proofs prove.
//!
//! In come hashes, from whoever keeps them ([`Nodes`]); out go roots and proofs, or the verdict on a proof that a peer
//! sent. Nothing here knows what a leaf stands for, keeps a tree, or trusts a length: a proof has exactly as many
//! hashes as its sizes ask for, or it is none.

use bytes::Bytes;

use crate::digest::Digest;

/// The root of the tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Digest = Digest::new([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// The most hashes in a proof. C2SP says 63: no log will ever hold 2^63 leaves, and a peer must not make us hash more.
pub const PROOF_HASHES_MAX: usize = 63;

/// Returns the leaf that stands for a record's commitment.
#[must_use]
pub fn leaf_hash(commitment: &Digest) -> Digest {
    leaf_hash_of(commitment.as_ref())
}

/// Returns the leaf of any entry; in our log an entry is always a commitment, in other logs it need not be.
#[must_use]
pub fn leaf_hash_of(entry: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], entry])
}

/// Returns the node above two nodes.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_ref(), right.as_ref()])
}

/// Who keeps the hashes of a tree.
///
/// Only complete subtrees are asked for. An implementation answers with the true hash or with `None`, never with a
/// guess: a proof made from a wrong hash convicts the log that gave it.
pub trait Nodes {
    /// Returns the root of the complete subtree of 2^`level` leaves that is number `index` of its level, counted from 0.
    fn node(&self, level: u8, index: u64) -> Option<Digest>;
}

/// Returns the root of the first `size` leaves, or `None` if a node is missing.
#[must_use]
pub fn root(nodes: &impl Nodes, size: u64) -> Option<Digest> {
    if size == 0 { Some(EMPTY_ROOT) } else { subtree(nodes, 0, size) }
}

/// Returns the proof that leaf `index` stands in the tree of `size` leaves, its sibling first; `None` if it does not or a
/// node is missing.
#[must_use]
pub fn inclusion_proof(nodes: &impl Nodes, index: u64, size: u64) -> Option<Vec<Digest>> {
    if index >= size {
        return None;
    }
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    // From the root down to the leaf, taking at each fork the half in which the leaf is not.
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(subtree(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(subtree(nodes, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Returns the proof that the tree of `old` leaves is a prefix of the tree of `new` leaves; `None` if it cannot be or a node
/// is missing. Equal sizes, or an empty old tree, need no hash.
#[must_use]
pub fn consistency_proof(nodes: &impl Nodes, old: u64, new: u64) -> Option<Vec<Digest>> {
    if old > new {
        return None;
    }
    if old == 0 || old == new {
        return Some(Vec::new());
    }
    let (mut from, mut to) = (0, new);
    let mut proof = Vec::new();
    // Down to the last complete subtree of the old tree, taking at each fork the other half.
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(subtree(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(subtree(nodes, from, middle)?);
            from = middle;
        }
    }
    // If that subtree is the whole old tree, whoever verifies knows its hash: the old root.
    if from > 0 {
        proof.push(subtree(nodes, from, to)?);
    }
    proof.reverse();
    Some(proof)
}

/// Returns the hash over the leaves from `from` up to `to`, where `from` is a multiple of the smallest power of two that is
/// at least `to - from`, as in every subtree of a tree that starts at 0.
fn subtree(nodes: &impl Nodes, from: u64, to: u64) -> Option<Digest> {
    let width = to - from;
    if width.is_power_of_two() {
        let level = width.trailing_zeros();
        return nodes.node(u8::try_from(level).expect("a u64 has fewer than 256 bits"), from >> level);
    }
    let middle = from + split(width);
    Some(node_hash(&subtree(nodes, from, middle)?, &subtree(nodes, middle, to)?))
}

/// Returns the largest power of two smaller than `width`, which is at least 2.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// Checks that `leaf` is number `index` of the tree of `size` leaves with this root.
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, proof: &[Digest], root: &Digest) -> Result<(), BadProof> {
    if index >= size {
        return Err(BadProof::IndexBeyondTree);
    }
    let inner = bits(index ^ (size - 1));
    let border = above(index, inner).count_ones() as usize;
    if proof.len() != inner + border || proof.len() > PROOF_HASHES_MAX {
        return Err(BadProof::Length);
    }
    let (inner, border) = proof.split_at(inner);
    let computed = climb_border(climb_inner(*leaf, index, inner), border);
    if computed == *root { Ok(()) } else { Err(BadProof::Inclusion) }
}

/// Checks that the tree of `old` leaves with root `old_root` is a prefix of the tree of `new` leaves with root `new_root`.
///
/// Everything extends the empty tree, whose root is known; then, and when the sizes are equal, the proof must be empty.
pub fn verify_consistency(
    old: u64,
    old_root: &Digest,
    new: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), BadProof> {
    if old > new {
        return Err(BadProof::SmallerTree);
    }
    if old == 0 || old == new {
        let expected = if old == new { new_root } else { &EMPTY_ROOT };
        return match (proof.is_empty(), old_root == expected && (new > 0 || *new_root == EMPTY_ROOT)) {
            (false, _) => Err(BadProof::Length),
            (true, false) => Err(BadProof::Consistency),
            (true, true) => Ok(()),
        };
    }

    // The walk starts at the last complete subtree of the old tree; if that is all of it, its hash is the old root.
    let start = old.trailing_zeros() as usize;
    let inner = bits((old - 1) ^ (new - 1)) - start;
    let border = above(old - 1, inner + start).count_ones() as usize;
    let seeds = usize::from(!old.is_power_of_two());
    if proof.len() != seeds + inner + border || proof.len() > PROOF_HASHES_MAX {
        return Err(BadProof::Length);
    }
    let (seed, path) = proof.split_at(seeds);
    let seed = seed.first().unwrap_or(old_root);
    let (inner, border) = path.split_at(inner);
    let index = above(old - 1, start);
    let of_old = climb_border(climb_left(*seed, index, inner), border);
    let of_new = climb_border(climb_inner(*seed, index, inner), border);
    if of_old == *old_root && of_new == *new_root { Ok(()) } else { Err(BadProof::Consistency) }
}

/// Returns how many bits it takes to write `number`.
fn bits(number: u64) -> usize {
    64 - number.leading_zeros() as usize
}

/// Returns `number` without its lowest `count` bits, which may be all of them.
fn above(number: u64, count: usize) -> u64 {
    u32::try_from(count).ok().and_then(|count| number.checked_shr(count)).unwrap_or(0)
}

/// Climbs where siblings stand on either side: bit i of `index` says on which.
fn climb_inner(seed: Digest, index: u64, siblings: &[Digest]) -> Digest {
    siblings.iter().enumerate().fold(seed, |hash, (level, sibling)| {
        if above(index, level) & 1 == 0 { node_hash(&hash, sibling) } else { node_hash(sibling, &hash) }
    })
}

/// Climbs the same way, but leaves out what stands on the right: those leaves came later.
fn climb_left(seed: Digest, index: u64, siblings: &[Digest]) -> Digest {
    siblings.iter().enumerate().fold(
        seed,
        |hash, (level, sibling)| {
            if above(index, level) & 1 == 0 { hash } else { node_hash(sibling, &hash) }
        },
    )
}

/// Climbs the right edge of the tree, where only left siblings are.
fn climb_border(seed: Digest, siblings: &[Digest]) -> Digest {
    siblings.iter().fold(seed, |hash, sibling| node_hash(sibling, &hash))
}

/// Takes a proof as it came over the wire: at most [`PROOF_HASHES_MAX`] hashes of 32 bytes.
pub fn proof_from_wire(hashes: &[Bytes]) -> Result<Vec<Digest>, BadProof> {
    if hashes.len() > PROOF_HASHES_MAX {
        return Err(BadProof::Length);
    }
    hashes.iter().map(|hash| Digest::try_from(hash).map_err(|_| BadProof::Hash)).collect()
}

/// A tree that only grows at its right edge and remembers nothing but that edge: at most 64 hashes.
///
/// Enough for whoever recomputes a root from all leaves, and for the log's own next root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The complete subtrees from left to right, one for each bit that is set in `size`, the largest first.
    edge: Vec<Digest>,
}

impl Frontier {
    /// Returns the frontier of the first `size` leaves, or `None` if a node is missing.
    #[must_use]
    pub fn of(nodes: &impl Nodes, size: u64) -> Option<Self> {
        let mut edge = Vec::new();
        let mut from = 0;
        for level in (0..64).rev().filter(|level| (size >> level) & 1 == 1) {
            edge.push(nodes.node(level, from >> level)?);
            from += 1 << level;
        }
        Some(Self { size, edge })
    }

    /// Adds a leaf, as [`leaf_hash`] makes it.
    pub fn append(&mut self, leaf: Digest) {
        let mut hash = leaf;
        // Each 1 at the end of the size in binary is a complete subtree that the new leaf completes to a larger one.
        for _ in 0..self.size.trailing_ones() {
            let left = self.edge.pop().expect("the edge has a subtree for each 1 in the size");
            hash = node_hash(&left, &hash);
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// Returns the number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the root.
    #[must_use]
    pub fn root(&self) -> Digest {
        let right_to_left = self.edge.iter().rev().copied();
        right_to_left.reduce(|right, left| node_hash(&left, &right)).unwrap_or(EMPTY_ROOT)
    }
}

/// A proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// A hash has not 32 bytes.
    #[error("a hash of the proof does not have 32 bytes")]
    Hash,
    /// The proof has another length than its sizes ask for.
    #[error("the proof has too few or too many hashes")]
    Length,
    /// The leaf's index is not below the size of the tree.
    #[error("the tree ends before this index")]
    IndexBeyondTree,
    /// The leaf is not in the tree.
    #[error("the leaf is not at this index of this tree")]
    Inclusion,
    /// The tree that should be the later one is the smaller one.
    #[error("the later tree is smaller than the earlier one")]
    SmallerTree,
    /// Neither tree extends the other.
    #[error("one tree does not extend the other")]
    Consistency,
}

impl BadProof {
    /// Returns the reason as it is written on the wire and in reports.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Hash => "PROOF_HASH",
            Self::Length => "PROOF_LENGTH",
            Self::IndexBeyondTree => "INDEX_BEYOND_TREE",
            Self::Inclusion => "INCLUSION",
            Self::SmallerTree => "SMALLER_TREE",
            Self::Consistency => "CONSISTENCY",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what failed by failing")]

    use proptest::prelude::*;

    use super::*;

    /// Every leaf of a tree, and each node computed anew from them by RFC 6962's own recursion.
    struct Leaves(Vec<Digest>);

    impl Leaves {
        fn of_size(size: u64) -> Self {
            Self((0..size).map(|number| leaf_hash(&Digest::of(&number.to_be_bytes()))).collect())
        }

        fn hash(leaves: &[Digest]) -> Digest {
            match leaves {
                [] => EMPTY_ROOT,
                [leaf] => *leaf,
                _ => {
                    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                    node_hash(&Self::hash(left), &Self::hash(right))
                }
            }
        }

        fn root(&self, size: u64) -> Digest {
            Self::hash(&self.0[..usize::try_from(size).unwrap()])
        }
    }

    impl Nodes for Leaves {
        fn node(&self, level: u8, index: u64) -> Option<Digest> {
            let width = 1_usize << level;
            let from = usize::try_from(index).unwrap() * width;
            self.0.get(from..from + width).map(Self::hash)
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_at_its_place_and_at_no_other() {
        let leaves = Leaves::of_size(20);
        for size in 1..=20 {
            let root = leaves.root(size);
            for index in 0..size {
                let leaf = leaves.0[usize::try_from(index).unwrap()];
                let proof = inclusion_proof(&leaves, index, size).unwrap();
                assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));
                for other in (0..size).filter(|&other| other != index) {
                    verify_inclusion(&leaf, other, size, &proof, &root).unwrap_err();
                }
            }
        }
    }

    #[test]
    fn every_small_tree_is_a_prefix_of_every_larger_one_and_of_no_other() {
        let leaves = Leaves::of_size(20);
        let others = Leaves((0..20_u64).map(|number| leaf_hash_of(&number.to_le_bytes())).collect());
        for new in 0..=20 {
            for old in 0..=new {
                let proof = consistency_proof(&leaves, old, new).unwrap();
                let (old_root, new_root) = (leaves.root(old), leaves.root(new));
                assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Ok(()), "{old} and {new}");
                if old > 0 {
                    verify_consistency(old, &others.root(old), new, &new_root, &proof).unwrap_err();
                    verify_consistency(old, &old_root, new, &others.root(new), &proof).unwrap_err();
                }
            }
        }
    }

    #[test]
    fn a_frontier_has_the_root_of_the_tree_at_every_size() {
        let leaves = Leaves::of_size(70);
        let mut frontier = Frontier::default();
        assert_eq!(frontier.root(), EMPTY_ROOT);
        for size in 1..=70 {
            frontier.append(leaves.0[usize::try_from(size - 1).unwrap()]);
            assert_eq!((frontier.size(), frontier.root()), (size, leaves.root(size)));
            assert_eq!(root(&leaves, size), Some(leaves.root(size)));
            assert_eq!(Frontier::of(&leaves, size), Some(frontier.clone()));
        }
    }

    #[test]
    fn a_missing_node_makes_no_proof() {
        let leaves = Leaves::of_size(5);
        assert_eq!(root(&leaves, 6), None);
        assert_eq!(inclusion_proof(&leaves, 0, 6), None);
        assert_eq!(inclusion_proof(&leaves, 5, 5), None);
        assert_eq!(consistency_proof(&leaves, 3, 6), None);
        assert_eq!(consistency_proof(&leaves, 5, 4), None);
    }

    proptest! {
        #[test]
        fn sizes_at_the_end_of_64_bits_are_refused_and_never_overflow(
            index in any::<u64>(), size in any::<u64>(), length in 0_usize..70,
        ) {
            let proof = vec![EMPTY_ROOT; length];
            prop_assert!(verify_inclusion(&EMPTY_ROOT, index, size, &proof, &EMPTY_ROOT).is_err());
            let (old, new) = (index.min(size), index.max(size));
            if old != new && old != 0 {
                prop_assert!(verify_consistency(old, &EMPTY_ROOT, new, &EMPTY_ROOT, &proof).is_err());
            }
        }

        #[test]
        fn a_proof_with_a_changed_bit_proves_nothing(
            size in 2_u64..200, at in any::<prop::sample::Index>(), hash in any::<prop::sample::Index>(), bit in 0_usize..256,
        ) {
            let leaves = Leaves::of_size(size);
            let index = at.index(usize::try_from(size).unwrap());
            let flip = |proof: &mut Vec<Digest>| {
                let place = hash.index(proof.len());
                let mut bytes = *proof[place].as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                proof[place] = Digest::new(bytes);
            };
            let mut proof = inclusion_proof(&leaves, index as u64, size).unwrap();
            flip(&mut proof);
            prop_assert_eq!(
                verify_inclusion(&leaves.0[index], index as u64, size, &proof, &leaves.root(size)),
                Err(BadProof::Inclusion)
            );
            let old = index as u64;
            let mut proof = consistency_proof(&leaves, old, size).unwrap();
            if !proof.is_empty() {
                flip(&mut proof);
                prop_assert_eq!(
                    verify_consistency(old, &leaves.root(old), size, &leaves.root(size), &proof),
                    Err(BadProof::Consistency)
                );
            }
        }
    }
}
