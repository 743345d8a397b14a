//! A small tree whose nodes are computed anew each time, from its leaves and by the definition alone: what proofs are cut
//! from in tests. It keeps nothing and never grows large.

use seinpost_protocol::digest::Digest;
use seinpost_protocol::tree::{self, Nodes};

/// All leaves of a tree.
pub(crate) struct Leaves(pub(crate) Vec<Digest>);

impl Nodes for Leaves {
    fn node(&self, level: u8, index: u64) -> Option<Digest> {
        if level == 0 {
            return self.0.get(usize::try_from(index).ok()?).copied();
        }
        let below = |side| self.node(level - 1, 2 * index + side);
        Some(tree::node_hash(&below(0)?, &below(1)?))
    }
}
