//! The log's tree in memory: enough of it to cut any proof, in some bytes per record.
//!
//! The log appends leaves; whoever answers a peer cuts roots and proofs, also while the tree grows: a node of a complete
//! subtree never changes, so a proof for a size is right for ever. Kept are all nodes that stand for 256 leaves or more,
//! and those below for the newest 65,536 leaves; what is older and lower is computed again from the store's full tiles.
//! Nothing here knows whether a leaf is durable: whoever cuts a proof asks for a size that is.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use seinpost_protocol::digest::Digest;
use seinpost_protocol::tree::{self, Nodes, node_hash};

/// How many leaves have their lower nodes in memory: 4 MiB of hashes. Proofs are asked for what is new, in the answer to
/// a submission and by whoever receives it.
const RECENT_LEAVES: u64 = 65_536;
/// The level of the roots of full tiles: 256 leaves.
const TILE_LEVEL: usize = 8;
/// How many leaves a tile has.
pub const TILE: u64 = 1 << TILE_LEVEL;

/// Returns the 256 leaf hashes of a full tile, by its number; `None` if they cannot be had.
pub type OlderTiles = Arc<dyn Fn(u64) -> Option<Vec<Digest>> + Send + Sync>;

/// The tree. A clone is another handle on the same tree.
#[derive(Clone)]
pub struct TreeMemory {
    levels: Arc<RwLock<Levels>>,
    older: OlderTiles,
}

impl TreeMemory {
    /// Returns an empty tree that asks `older` for tiles whose nodes it no longer holds.
    #[must_use]
    pub fn new(older: OlderTiles) -> Self {
        Self { levels: Arc::default(), older }
    }

    /// Returns how many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.read().size()
    }

    /// Appends leaf hashes.
    pub fn append(&self, leaves: &[Digest]) {
        let mut levels = self.levels.write().unwrap_or_else(PoisonError::into_inner);
        leaves.iter().for_each(|leaf| levels.append(*leaf));
    }

    /// Returns the root over the first `size` leaves; `None` if there are fewer, or a node is missing.
    #[must_use]
    pub fn root(&self, size: u64) -> Option<Digest> {
        self.cut(size, |nodes| tree::root(nodes, size))
    }

    /// Returns the proof that leaf `index` stands in the tree of `size` leaves.
    #[must_use]
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Digest>> {
        self.cut(size, |nodes| tree::inclusion_proof(nodes, index, size))
    }

    /// Returns the proof that the tree of `old` leaves is a prefix of the tree of `new` leaves.
    #[must_use]
    pub fn consistency(&self, old: u64, new: u64) -> Option<Vec<Digest>> {
        self.cut(new, |nodes| tree::consistency_proof(nodes, old, new))
    }

    /// Cuts something from the tree of `size` leaves: from memory under one lock, and if that does not do, with the older
    /// tiles, for which no lock is held: they are read from the store.
    fn cut<T>(&self, size: u64, cut: impl Fn(&View<'_>) -> Option<T>) -> Option<T> {
        let levels = self.read();
        if size > levels.size() {
            return None;
        }
        if let Some(done) = cut(&View { tree: self, held: Some(&levels) }) {
            return Some(done);
        }
        drop(levels);
        cut(&View { tree: self, held: None })
    }

    fn read(&self) -> RwLockReadGuard<'_, Levels> {
        // A panic while appending could leave a leaf without the nodes above it, and those are answered with `None`.
        self.levels.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nodes for TreeMemory {
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        let held = self.read().node(level, index);
        held.or_else(|| {
            let end = index.checked_add(1)?.checked_shl(u32::from(level))?;
            if usize::from(level) >= TILE_LEVEL || end > self.size() {
                return None;
            }
            let leaves = (self.older)((index << level) / TILE).filter(|leaves| leaves.len() as u64 == TILE)?;
            let first = (index << level) % TILE;
            Some(subtree(&leaves[first as usize..(first + (1 << level)) as usize]))
        })
    }
}

impl fmt::Debug for TreeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeMemory({} leaves)", self.size())
    }
}

/// The tree as one cut sees it: memory alone, or everything.
struct View<'a> {
    tree: &'a TreeMemory,
    held: Option<&'a Levels>,
}

impl Nodes for View<'_> {
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        match self.held {
            Some(levels) => levels.node(level, index),
            None => self.tree.node(level, index),
        }
    }
}

/// The nodes held, by level.
#[derive(Default)]
struct Levels(Vec<Level>);

/// The nodes of one level from `first` on.
#[derive(Default)]
struct Level {
    first: u64,
    nodes: Vec<Digest>,
}

impl Level {
    fn end(&self) -> u64 {
        self.first + self.nodes.len() as u64
    }
}

impl Levels {
    fn size(&self) -> u64 {
        self.0.first().map_or(0, Level::end)
    }

    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        let level = self.0.get(usize::from(level))?;
        level.nodes.get(usize::try_from(index.checked_sub(level.first)?).ok()?).copied()
    }

    fn append(&mut self, leaf: Digest) {
        let mut node = leaf;
        for number in 0.. {
            if self.0.len() == number {
                self.0.push(Level::default());
            }
            let level = &mut self.0[number];
            level.nodes.push(node);
            if level.end() % 2 == 1 {
                break;
            }
            let [.., left, right] = level.nodes.as_slice() else {
                unreachable!("a level drops whole tiles, so the left one of a pair stays until the right one has come");
            };
            node = node_hash(left, right);
        }
        self.forget();
    }

    /// Drops the lower nodes of old leaves, half of what is held at a time, so that each is moved about once.
    fn forget(&mut self) {
        let Some(leaves) = self.0.first().filter(|leaves| leaves.nodes.len() as u64 >= 2 * RECENT_LEAVES) else {
            return;
        };
        let from = leaves.end() - RECENT_LEAVES;
        for (number, level) in self.0.iter_mut().take(TILE_LEVEL).enumerate() {
            let from = (from / TILE * TILE) >> number;
            level.nodes.drain(..(from - level.first) as usize);
            level.first = from;
        }
    }
}

/// Returns the root over a power of two of hashes.
pub(crate) fn subtree(hashes: &[Digest]) -> Digest {
    let mut nodes = hashes.to_vec();
    while nodes.len() > 1 {
        nodes = nodes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    nodes[0]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

    use std::sync::Mutex;

    use seinpost_protocol::tree::{Frontier, verify_consistency, verify_inclusion};

    use super::*;

    fn leaf(index: u64) -> Digest {
        Digest::of(&index.to_be_bytes())
    }

    /// A tree whose older tiles come from where leaves come from, with the numbers of those asked for.
    fn tree(size: u64) -> (TreeMemory, Arc<Mutex<Vec<u64>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asks = asked.clone();
        let tree = TreeMemory::new(Arc::new(move |tile| {
            asks.lock().unwrap().push(tile);
            Some((tile * TILE..(tile + 1) * TILE).map(leaf).collect())
        }));
        let leaves: Vec<_> = (0..size).map(leaf).collect();
        leaves.chunks(777).for_each(|leaves| tree.append(leaves));
        (tree, asked)
    }

    #[test]
    fn roots_and_proofs_are_those_of_the_tree_computed_from_its_leaves() {
        let (tree, _) = tree(1000);
        let mut frontier = Frontier::default();
        for size in 1..=1000 {
            frontier.append(leaf(size - 1));
            assert_eq!(tree.root(size), Some(frontier.root()), "size {size}");
            for index in [0, size / 3, size - 1] {
                let proof = tree.inclusion(index, size).unwrap();
                verify_inclusion(&leaf(index), index, size, &proof, &frontier.root()).unwrap();
                let old = index + 1;
                let proof = tree.consistency(old, size).unwrap();
                verify_consistency(old, &tree.root(old).unwrap(), size, &frontier.root(), &proof).unwrap();
            }
        }
        assert_eq!(tree.root(1001), None);
        assert_eq!(tree.inclusion(0, 1001), None);
        assert_eq!(tree.inclusion(1000, 1000), None);
    }

    #[test]
    fn what_memory_no_longer_holds_comes_from_older_tiles_and_only_that() {
        let size = 2 * RECENT_LEAVES + 300;
        let (tree, asked) = tree(size);
        let root = tree.root(size).unwrap();
        for index in [size - 1, size - RECENT_LEAVES] {
            verify_inclusion(&leaf(index), index, size, &tree.inclusion(index, size).unwrap(), &root).unwrap();
        }
        assert_eq!(*asked.lock().unwrap(), [0; 0], "recent leaves need no tile");
        for index in [0, 255, 256, 40_000] {
            verify_inclusion(&leaf(index), index, size, &tree.inclusion(index, size).unwrap(), &root).unwrap();
            assert!(asked.lock().unwrap().drain(..).all(|tile| tile == index / TILE));
        }
        let proof = tree.consistency(40_001, size).unwrap();
        verify_consistency(40_001, &tree.root(40_001).unwrap(), size, &root, &proof).unwrap();
    }

    #[test]
    fn without_the_older_tiles_there_is_no_proof_rather_than_a_wrong_one() {
        let size = 2 * RECENT_LEAVES;
        for missing in [None, Some(vec![leaf(0); 255])] {
            let tree = TreeMemory::new(Arc::new(move |_| missing.clone()));
            tree.append(&(0..size).map(leaf).collect::<Vec<_>>());
            assert_eq!(tree.inclusion(0, size), None);
            assert!(tree.inclusion(size - 1, size).is_some());
        }
    }
}
