//! Tiles (C2SP `tlog-tiles`): how the hashes and entries of a log are cut into files that never change.
//!
//! In come paths or sizes, out come tiles. Nothing else is a valid path than the one that this module writes: what is not
//! is refused and never repaired, so that a cache holds each tile once. No hash is computed and no file is read here.

use std::fmt;

/// Hashes, or entries, in a full tile.
pub const TILE_WIDTH: u16 = 256;

/// A tile of a log: up to 256 hashes of one level, or up to 256 entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// What is in it.
    pub level: Level,
    /// Its number among the tiles of its level.
    pub index: u64,
    /// How many hashes or entries are in it: 256 if it is full.
    pub width: u16,
}

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Hashes: level 0 are leaves, each hash of level l + 1 is the root of a full tile of level l; at most 63.
    Hashes(u8),
    /// Entries: what the leaves are hashes of.
    Entries,
}

impl Tile {
    /// Returns the bundle of entries in which entry `index` stands when the log has `size` leaves; `None` if it has not so
    /// many.
    #[must_use]
    pub fn of_entry(index: u64, size: u64) -> Option<Self> {
        let bundle = index / u64::from(TILE_WIDTH);
        let width = width(bundle, size);
        (index < size).then_some(Self { level: Level::Entries, index: bundle, width })
    }

    /// Reads a path such as `tile/0/x001/234` or `tile/entries/x001/234.p/7`.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = match level {
            "entries" => Level::Entries,
            number => Level::Hashes(number.parse().ok().filter(|level| *level <= 63)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
            None => (rest, TILE_WIDTH),
        };
        let digits: String = number.split('/').map(|group| group.strip_prefix('x').unwrap_or(group)).collect();
        let tile = Self { level, index: digits.parse().ok()?, width };
        // Zeros, signs and groups too many or too few have been read over; they show when the path is written again.
        (tile.to_string() == path).then_some(tile)
    }
}

/// The tile's path below the log's prefix.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Level::Hashes(level) => write!(f, "tile/{level}/")?,
            Level::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut above = self.index / 1000;
        while above > 0 {
            groups.push(format!("x{:03}", above % 1000));
            above /= 1000;
        }
        groups.reverse();
        f.write_str(&groups.join("/"))?;
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// Returns how many hashes stand at a level of the tiles when the log has `size` leaves.
#[must_use]
pub fn hashes_at(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * TILE_WIDTH.ilog2()).unwrap_or(0)
}

/// Returns how many tiles of a level are full when the log has `size` leaves, and how many hashes are in the one after
/// them: 0 if there is none.
#[must_use]
pub fn tiles_at(level: u8, size: u64) -> (u64, u16) {
    let hashes = hashes_at(level, size);
    let full = hashes / u64::from(TILE_WIDTH);
    (full, u16::try_from(hashes % u64::from(TILE_WIDTH)).expect("a remainder of 256 fits"))
}

/// Returns how many of the first `count` things are in group `index` of 256.
fn width(index: u64, count: u64) -> u16 {
    let before = index.saturating_mul(u64::from(TILE_WIDTH));
    u16::try_from(count.saturating_sub(before).min(u64::from(TILE_WIDTH))).expect("at most 256")
}
