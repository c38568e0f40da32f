//! Tiles: runs of 256 hashes, the layout in which a log's tree is stored and published
//! (C2SP `tlog-tiles`, <https://c2sp.org/tlog-tiles>).

use crate::tree::Subtree;

/// Tree levels that one tile spans.
pub const TILE_HEIGHT: u8 = 8;

/// Hashes in a full tile.
pub const TILE_WIDTH: u16 = 1 << TILE_HEIGHT;

/// The name of a tile: it holds hashes of complete subtrees of level `8 * level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// 0 holds leaf hashes.
    pub level: u8,
    /// Counted from the left at its level.
    pub index: u64,
    /// Hashes in it, 1 to 256.
    pub width: u16,
}

impl Tile {
    /// The tile, in a tree of `size` leaves, from whose hashes that of a complete subtree is read or computed, and the
    /// run of its hashes that does. `None` where the subtree is not complete in that tree.
    pub fn holding(subtree: Subtree, size: u64) -> Option<(Self, std::ops::Range<usize>)> {
        let end = (u128::from(subtree.index) + 1) << subtree.level;
        if subtree.level > 63 || end > u128::from(size) {
            return None;
        }
        let level = subtree.level / TILE_HEIGHT;
        let leaves = 1_usize << (subtree.level % TILE_HEIGHT);
        let first = subtree.index << (subtree.level % TILE_HEIGHT);
        let index = first / u64::from(TILE_WIDTH);
        let start = (first % u64::from(TILE_WIDTH)) as usize; // below 256
        let stored = (size >> (level * TILE_HEIGHT)) - index * u64::from(TILE_WIDTH);
        let width = stored.min(u64::from(TILE_WIDTH)) as u16; // at most 256
        Some((Self { level, index, width }, start..start + leaves))
    }

    /// `tile/LEVEL/INDEX[.p/WIDTH]`, the index in groups of three digits, all but the last with an `x`.
    pub fn path(&self) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        let partial = if self.width == TILE_WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{}/{}{partial}", self.level, groups.join("/"))
    }
}
