//! Tiles of a log, by their paths (C2SP `tlog-tiles`, <https://c2sp.org/tlog-tiles>).

use serde::{Deserialize, Serialize};

/// Hashes or entries of a full tile.
const WIDTH: u16 = 256;
/// Levels of tiles that a tree of 2^64 leaves could have, and the specification's own bound.
const LEVEL_MAX: u8 = 63;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TileLevel {
    /// Hashes of a level; 0 has those of leaves.
    Hashes(u8),
    /// The leaves themselves.
    Entries,
}

/// One tile of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTile {
    /// Of which log.
    pub log: u64,
    /// What it holds.
    pub level: TileLevel,
    /// Counted from the left at its level.
    pub index: u64,
    /// Hashes or entries in it, 1 to 256.
    pub width: u16,
}

impl LogTile {
    /// From what stands behind `tile/`: `<L>/<N>` or `entries/<N>`, with `.p/<W>` where it is not full. One tile has one path.
    ///
    /// # Errors
    /// What is no such path.
    pub fn from_path(log: u64, path: &str) -> Result<Self, &'static str> {
        let wrong = "a tile is tile/L/N or tile/entries/N, with .p/W where it is not full";
        let decimal = |text: &str| -> Option<u64> { text.parse().ok().filter(|n: &u64| n.to_string() == text) };
        let (level, rest) = path.split_once('/').ok_or(wrong)?;
        let level = match level {
            "entries" => TileLevel::Entries,
            level => {
                let level = decimal(level).and_then(|level| u8::try_from(level).ok());
                TileLevel::Hashes(level.filter(|level| *level <= LEVEL_MAX).ok_or(wrong)?)
            }
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => {
                let width = decimal(width).and_then(|width| u16::try_from(width).ok());
                (index, width.filter(|width| (1..WIDTH).contains(width)).ok_or(wrong)?)
            }
            None => (rest, WIDTH),
        };
        let mut number: u64 = 0;
        let groups: Vec<&str> = index.split('/').collect();
        for (at, group) in groups.iter().enumerate() {
            let digits = if at + 1 < groups.len() { group.strip_prefix('x').ok_or(wrong)? } else { group };
            let three = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
            // No group of zeros before the others: it would be a second name.
            if !three || at == 0 && groups.len() > 1 && digits == "000" {
                return Err(wrong);
            }
            let value: u64 = digits.parse().map_err(|_| wrong)?;
            number = number.checked_mul(1000).and_then(|number| number.checked_add(value)).ok_or(wrong)?;
        }
        Ok(Self { log, level, index: number, width })
    }

    /// Whether it will never have more.
    pub fn is_full(&self) -> bool {
        self.width == WIDTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_one_path_and_nothing_else_is_one() {
        let tile = |path| LogTile::from_path(1, path).map(|tile| (tile.level, tile.index, tile.width));
        assert_eq!(tile("0/000"), Ok((TileLevel::Hashes(0), 0, 256)));
        assert_eq!(tile("0/x001/x234/067"), Ok((TileLevel::Hashes(0), 1_234_067, 256)));
        assert_eq!(tile("entries/x001/000.p/7"), Ok((TileLevel::Entries, 1000, 7)));
        assert_eq!(tile("2/005.p/255"), Ok((TileLevel::Hashes(2), 5, 255)));
        for wrong in [
            "",
            "0",
            "0/",
            "0/0",
            "0/1234",
            "0/x000/001",
            "0/001/002",
            "0/x001",
            "00/000",
            "64/000",
            "-1/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/00a",
            "data/000",
            "0/000/",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert!(tile(wrong).is_err(), "{wrong}");
        }
    }
}
