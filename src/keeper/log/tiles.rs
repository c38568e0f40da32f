//! The tree's hashes: in tiles in the database, its right edge in memory.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool, Row};
use strongroom_audit::Hash;
use strongroom_audit::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
use strongroom_audit::tree::{Edge, Subtree};

use super::filter::{Conditions, Value};
use super::search::{SearchError, leaves};

/// Why a hash can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TilesError {
    /// The database.
    #[error("audit tiles: {0}")]
    Database(#[from] sqlx::Error),
    /// A tile that is missing or cut.
    #[error("audit tile {0} is missing or cut")]
    Missing(String),
    /// The leaves under it.
    #[error(transparent)]
    Leaves(#[from] SearchError),
}

/// Hashes of a full tile.
pub(super) const WIDTH: u64 = TILE_WIDTH as u64;
/// Tiles that are read by one statement: 512 KiB of them.
const READ_AT_ONCE: usize = 64;
/// Tiles that are kept, at most, beside those that one call asks for: some 16 KiB each.
const KEPT_MAX: usize = 256;
/// The row of a tile that is stored beside its hashes, counted from them: each of its hashes is over `2^MIDDLE` of theirs.
const MIDDLE: usize = 4;

/// Hashes of one level, in a tree of so many leaves.
fn stored(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT)).unwrap_or(0)
}

/// A tile as it is stored: hashes of 32 bytes each, one after the other.
#[derive(Debug)]
pub struct StoredTile {
    /// The log's number.
    pub log: u64,
    /// 0 is over the leaves.
    pub level: u8,
    /// Counted from the left at its level.
    pub position: u64,
    /// 256 of them, or fewer at the right edge.
    pub hashes: Vec<u8>,
    /// Its middle row, of full tiles over the leaves.
    pub middle: Option<Vec<u8>>,
}

impl StoredTile {
    /// Its rows that are stored: the first complete subtree of each, and the hashes. Nothing where no tree reaches so far.
    pub fn rows(&self) -> Option<impl Iterator<Item = (Subtree, &[u8])>> {
        let level = self.level.checked_mul(TILE_HEIGHT).filter(|level| *level < 64)?;
        let index = self.position.checked_mul(WIDTH)?;
        let hashes = (Subtree { level, index }, self.hashes.as_slice());
        let above = Subtree { level: level + MIDDLE as u8, index: index >> MIDDLE };
        Some(std::iter::once(hashes).chain(self.middle.as_deref().map(|middle| (above, middle))))
    }
}

/// All that appending needs: the right edge, and the tiles that are not full.
#[derive(Debug, Clone, Default)]
pub struct Tiles {
    log: u64,
    edge: Edge,
    open: BTreeMap<u8, Vec<u8>>,
    full: Vec<(u8, u64, Vec<u8>)>,
    /// Levels above 0 whose open tile is not stored as it is.
    changed: BTreeSet<u8>,
}

impl Tiles {
    /// Reads the right edge of a stored tree.
    ///
    /// # Errors
    /// [`TilesError`]: then the log can't be continued, and the keeper does not start.
    pub async fn load(pool: &AnyPool, log: u64, size: u64) -> Result<Self, TilesError> {
        let mut reader = StoredTiles::new(pool, log, size);
        let mut hashes = Vec::new();
        for subtree in Edge::subtrees(size) {
            hashes.push(reader.hash(subtree).await?);
        }
        let edge = Edge::new(size, hashes).ok_or_else(|| TilesError::Missing("of the edge".to_owned()))?;
        let mut tiles = Self { log, edge, ..Self::default() };
        for level in 0..8 {
            let stored = stored(size, level);
            if !stored.is_multiple_of(WIDTH) {
                let tile = reader.tile(level, stored / WIDTH).await?;
                let hashes = tile.get(..(stored % WIDTH) as usize); // below 256
                let hashes = hashes.ok_or_else(|| TilesError::Missing(format!("level {level}")))?;
                tiles.open.insert(level, hashes.iter().flat_map(|hash| hash.0).collect());
            }
        }
        Ok(tiles)
    }

    /// Leaves.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The root over all leaves.
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// Adds a leaf.
    pub fn append(&mut self, leaf: Hash) {
        let (open, full, changed) = (&mut self.open, &mut self.full, &mut self.changed);
        self.edge.push(leaf, |subtree, hash| {
            if subtree.level % TILE_HEIGHT != 0 {
                return;
            }
            let level = subtree.level / TILE_HEIGHT;
            let tile = open.entry(level).or_default();
            tile.extend_from_slice(&hash.0);
            changed.insert(level);
            if tile.len() == usize::from(TILE_WIDTH) * 32 {
                full.extend(open.remove(&level).map(|tile| (level, subtree.index / WIDTH, tile)));
                changed.remove(&level);
            }
        });
    }

    /// Writes the tiles that changed: full ones once, and the open ones above the leaves.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn write(&mut self, tx: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let size = self.size();
        let changed = std::mem::take(&mut self.changed).into_iter().filter(|level| *level > 0);
        let open = changed.filter_map(|level| {
            let tile = self.open.get(&level)?.clone();
            Some((level, stored(size, level) / WIDTH, tile))
        });
        for (level, position, tile) in std::mem::take(&mut self.full).into_iter().chain(open) {
            // The tiles above are few, and who goes through a log uses each of them for long.
            let middle = (level == 0).then(|| Rows::over(hashes(&tile), None).middle());
            sqlx::query(
                "INSERT INTO audit_tile (log, level, position, hashes, middle) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (log, level, position) DO UPDATE SET hashes = excluded.hashes, middle = excluded.middle",
            )
            .bind(self.log as i64)
            .bind(i64::from(level))
            .bind(position as i64)
            .bind(tile)
            .bind(middle)
            .execute(&mut *tx)
            .await?;
        }
        Ok(())
    }
}

/// The tiles of a stored tree, those used lately each read once.
pub struct StoredTiles<'a> {
    pool: &'a AnyPool,
    log: u64,
    size: u64,
    read: BTreeMap<(u8, u64), Rows>,
}

/// Hashes as they are stored, one after the other.
fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks::<32>().0.iter().copied().map(Hash).collect()
}

/// The row over a row: the hashes of its pairs.
fn pairs(row: &[Hash]) -> Vec<Hash> {
    row.as_chunks::<2>().0.iter().map(|[left, right]| Hash::node(left, right)).collect()
}

/// The hashes of a tile, and above them, row by row, those of pairs: whoever proves one leaf of it needs nearly all of them, and
/// the next leaf of the same tile others of them. Where the middle row was stored, those below it are computed when they are asked for:
/// few leaves of a tile are proved as a rule.
struct Rows {
    hashes: Vec<Hash>,
    /// From this height up.
    above: (usize, Vec<Vec<Hash>>),
}

impl Rows {
    fn over(hashes: Vec<Hash>, middle: Option<Vec<Hash>>) -> Self {
        let (height, first) = middle.map_or_else(|| (1, pairs(&hashes)), |middle| (MIDDLE, middle));
        let rows = std::iter::successors(Some(first), |row| Some(pairs(row))).take_while(|row| !row.is_empty());
        Self { above: (height, rows.collect()), hashes }
    }

    /// The hash at a place of a row; none where the tile does not reach so far.
    fn at(&self, height: usize, at: usize) -> Option<Hash> {
        match height.checked_sub(self.above.0) {
            Some(row) => self.above.1.get(row)?.get(at).copied(),
            None if height == 0 => self.hashes.get(at).copied(),
            None => Some(Hash::node(&self.at(height - 1, 2 * at)?, &self.at(height - 1, 2 * at + 1)?)),
        }
    }

    /// The middle row as it is stored.
    fn middle(&self) -> Vec<u8> {
        (0..).map_while(|at| self.at(MIDDLE, at)).flat_map(|hash| hash.0).collect()
    }
}

impl<'a> StoredTiles<'a> {
    /// Of a log, when it has this many leaves.
    pub fn new(pool: &'a AnyPool, log: u64, size: u64) -> Self {
        Self { pool, log, size, read: BTreeMap::new() }
    }

    /// The hashes of a tile; more than it had at this size, where the stored one has grown.
    ///
    /// # Errors
    /// [`TilesError`].
    pub async fn tile(&mut self, level: u8, position: u64) -> Result<&[Hash], TilesError> {
        self.read([(level, position)]).await?;
        Ok(self.read.get(&(level, position)).map_or(&[], |rows| &rows.hashes))
    }

    /// Reads tiles, as many at once as a statement takes.
    async fn read(&mut self, tiles: impl IntoIterator<Item = (u8, u64)>) -> Result<(), TilesError> {
        if self.read.len() > KEPT_MAX {
            // Whoever goes through a log needs each of those over its leaves for a while; the open one is at the end of all proofs.
            let open = self.size / WIDTH;
            self.read.retain(|(level, position), _| *level > 0 || *position == open);
        }
        let mut stored = BTreeMap::<u8, Vec<u64>>::new();
        for (level, position) in tiles {
            if self.read.contains_key(&(level, position)) {
                continue;
            }
            // The open tile over the leaves is not stored: there are 255 of them at most.
            if level == 0 && position == self.size / WIDTH {
                let hashes = self.newest().await?;
                self.read.insert((level, position), Rows::over(hashes, None));
            } else {
                stored.entry(level).or_default().push(position);
            }
        }
        for (level, positions) in stored {
            for positions in positions.chunks(READ_AT_ONCE) {
                self.read_stored(level, positions).await?;
            }
        }
        Ok(())
    }

    async fn newest(&self) -> Result<Vec<Hash>, TilesError> {
        let count = self.size % WIDTH;
        let found = leaves(self.pool, self.log, self.size - count, count as u32).await?; // below 256
        Ok(found.iter().map(super::StoredLeaf::hash).collect())
    }

    async fn read_stored(&mut self, level: u8, positions: &[u64]) -> Result<(), TilesError> {
        let mut conditions = Conditions::default();
        conditions.is("log", [Value::Number(self.log as i64)]);
        conditions.is("level", [Value::Number(i64::from(level))]);
        conditions.is("position", positions.iter().map(|position| Value::Number(*position as i64)));
        let text = format!("SELECT position, hashes, middle FROM audit_tile{}", conditions.text());
        let (pool, read) = (self.pool, &mut self.read);
        let take = |row: &AnyRow| -> Result<(), TilesError> {
            let (position, stored): (i64, Vec<u8>) = (row.try_get("position")?, row.try_get("hashes")?);
            let middle: Option<Vec<u8>> = row.try_get("middle")?;
            read.insert((level, position as u64), Rows::over(hashes(&stored), middle.as_deref().map(hashes)));
            Ok(())
        };
        conditions.each(pool, text, take).await?;
        let missing = positions.iter().find(|position| !self.read.contains_key(&(level, **position)));
        missing.map_or(Ok(()), |position| Err(TilesError::Missing(format!("{level}/{position}"))))
    }

    /// The hash of a complete subtree.
    ///
    /// # Errors
    /// [`TilesError`].
    pub async fn hash(&mut self, subtree: Subtree) -> Result<Hash, TilesError> {
        self.read_for([subtree]).await?;
        self.known(subtree)
    }

    /// Reads the tiles that have the hashes of complete subtrees.
    ///
    /// # Errors
    /// [`TilesError`].
    pub async fn read_for(&mut self, subtrees: impl IntoIterator<Item = Subtree>) -> Result<(), TilesError> {
        let tiles: Option<BTreeSet<(u8, u64)>> =
            subtrees.into_iter().map(|subtree| self.holding(subtree).map(|(tile, _)| tile)).collect();
        self.read(tiles.ok_or_else(|| TilesError::Missing("beyond the tree".to_owned()))?).await
    }

    /// Which tile a complete subtree's hash is in, and there the row and the place in it.
    fn holding(&self, subtree: Subtree) -> Option<((u8, u64), (usize, usize))> {
        let (tile, run) = Tile::holding(subtree, self.size)?;
        let height = run.len().ilog2();
        Some(((tile.level, tile.index), (height as usize, run.start >> height)))
    }

    /// The hash of a complete subtree, whose tile was read.
    ///
    /// # Errors
    /// [`TilesError::Missing`].
    pub fn known(&self, subtree: Subtree) -> Result<Hash, TilesError> {
        let held = self.holding(subtree);
        let hash = held.and_then(|(tile, (height, at))| self.read.get(&tile)?.at(height, at));
        hash.ok_or_else(|| TilesError::Missing(format!("{subtree:?}")))
    }
}

#[cfg(test)]
mod tests {
    use strongroom_audit::proof::verify_inclusion;
    use strongroom_database::{Database, Source};

    use super::*;
    use crate::log::StoredLeaf;
    use crate::log::proofs::Proofs;
    use crate::log::rows::insert_leaves;

    fn leaf(seq: u64) -> StoredLeaf {
        let index = vec![1; 16];
        StoredLeaf {
            log: 1,
            seq,
            time_ms: 0,
            action: String::new(),
            outcome: String::new(),
            generation: 0,
            principal_index: index.clone(),
            repo_index: index.clone(),
            token_index: index.clone(),
            address_index: index,
            body_sealed: Vec::new(),
            heads: String::new(),
        }
    }

    #[tokio::test]
    async fn a_tree_goes_on_from_what_is_stored_whatever_its_size() {
        let folder = std::env::temp_dir().join(format!("strongroom-tiles-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = Source::File(folder.join("keeper.db"));
        let first = include_str!("../../../migrations/keeper/0001_first.sql");
        let middle = include_str!("../../../migrations/keeper/0006_middle.sql");
        let database = Database::open(&file, &[first, middle]).await.expect("a database");
        let mut tiles = Tiles { log: 1, ..Tiles::default() };
        let mut hashes = BTreeMap::new();
        let mut all = Edge::default();
        let mut stored_leaves = 0;
        for size in [1, 2, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_537, 65_792, 66_000] {
            while tiles.size() < size {
                let hash = leaf(tiles.size()).hash();
                tiles.append(hash);
                all.push(hash, |subtree, hash| hashes.extend([(subtree, hash)]));
            }
            let mut tx = database.begin().await.expect("a transaction");
            // Only the leaves that no full tile covers are needed.
            let needed: Vec<StoredLeaf> = (stored_leaves.max(size - size % 256)..size).map(leaf).collect();
            insert_leaves(&mut tx, false, needed).await.expect("leaves");
            tiles.write(&mut tx).await.expect("tiles");
            tx.commit().await.expect("a commit");
            stored_leaves = size;
            // What goes on is what was loaded: as after a start.
            tiles = Tiles::load(&database.reader, 1, size).await.expect("the stored tree");
            assert_eq!((tiles.size(), tiles.root()), (size, all.root()), "{size}");
            let mut reader = StoredTiles::new(&database.reader, 1, size);
            // The first four and the last tile with all they are made of, and others here and there.
            let of_tiles = hashes.iter().filter(|(subtree, _)| {
                let leaves = subtree.index << subtree.level;
                leaves < 1024 || leaves > size - 256
            });
            for (subtree, hash) in of_tiles.chain(hashes.iter().step_by(1 + hashes.len() / 50)) {
                assert_eq!(reader.hash(*subtree).await.expect("a hash"), *hash, "{subtree:?} of {size}");
            }
            assert!(reader.hash(Subtree { level: 0, index: size }).await.is_err());
        }
        // Proofs of leaves all over the tree, more of its tiles than are kept, and of one that is not in it.
        let (size, root) = (tiles.size(), tiles.root());
        let alone = Proofs::new(&database.reader, 1, size).inclusions(&[size, size - 1]).await;
        assert_eq!(alone.expect("proofs").iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
        // Half of the tiles as of before, without their middle.
        let without = sqlx::query("UPDATE audit_tile SET middle = NULL WHERE position % 2 = 0");
        assert!(without.execute(&database.writer).await.expect("an update").rows_affected() > 100);
        let mut proofs = Proofs::new(&database.reader, 1, size);
        for step in [1, 97] {
            let seqs: Vec<u64> = (0..=size).rev().step_by(step).collect();
            let made = proofs.inclusions(&seqs).await.expect("proofs");
            assert_eq!(made.len(), seqs.len());
            for (seq, proof) in seqs.into_iter().zip(made).step_by(50) {
                let verified = proof.map(|proof| verify_inclusion(seq, size, leaf(seq).hash(), &proof, root).is_ok());
                assert_eq!(verified, (seq < size).then_some(true), "{seq}");
            }
        }
        let _ = std::fs::remove_dir_all(folder);
    }
}
