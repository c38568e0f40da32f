//! The tree's hashes: in tiles in the database, its right edge in memory.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, AnyPool, Row};
use strongroom_audit::Hash;
use strongroom_audit::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
use strongroom_audit::tree::{self, HashReader, Subtree};

/// Why a hash can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TilesError {
    /// The database.
    #[error("audit tiles: {0}")]
    Database(#[from] sqlx::Error),
    /// A tile that is missing or cut.
    #[error("audit tile {0} is missing or cut")]
    Missing(String),
}

/// All that appending needs: complete subtrees on the right edge, and the tiles that are not full.
#[derive(Debug, Clone, Default)]
pub struct Tiles {
    log: u64,
    size: u64,
    edge: BTreeMap<Subtree, Hash>,
    open: BTreeMap<u8, Vec<u8>>,
    full: Vec<(u8, u64, Vec<u8>)>,
}

struct Edge<'a>(&'a BTreeMap<Subtree, Hash>);

impl HashReader for Edge<'_> {
    type Error = TilesError;

    fn read(&self, subtree: Subtree) -> Result<Hash, TilesError> {
        self.0.get(&subtree).copied().ok_or_else(|| TilesError::Missing(format!("{subtree:?}")))
    }
}

impl Tiles {
    /// Reads the right edge of a stored tree.
    ///
    /// # Errors
    /// [`TilesError`]: then the log can't be continued, and the keeper does not start.
    pub async fn load(pool: &AnyPool, log: u64, size: u64) -> Result<Self, TilesError> {
        let mut tiles = Self { log, size, ..Self::default() };
        for level in 0..64 {
            // The complete subtree of this level that ends at the edge, where the size has this bit.
            if size >> level & 1 == 1 {
                let subtree = Subtree { level, index: (size >> level) - 1 };
                let hash = read_hash(pool, log, subtree, size).await?;
                tiles.edge.insert(subtree, hash);
            }
        }
        for level in 0..8 {
            let stored = size >> (u32::from(level) * u32::from(TILE_HEIGHT));
            if !stored.is_multiple_of(u64::from(TILE_WIDTH)) {
                let tile = read_tile(pool, log, level, stored / u64::from(TILE_WIDTH)).await?;
                let bytes = (stored % u64::from(TILE_WIDTH)) as usize * 32; // below 8192
                let hashes = tile.get(..bytes).ok_or_else(|| TilesError::Missing(format!("level {level}")))?;
                tiles.open.insert(level, hashes.to_vec());
            }
        }
        Ok(tiles)
    }

    /// Leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over all leaves.
    ///
    /// # Errors
    /// [`TilesError`], never for a tree that was built here.
    pub fn root(&self) -> Result<Hash, TilesError> {
        tree::root(&Edge(&self.edge), self.size)
    }

    /// Adds a leaf.
    ///
    /// # Errors
    /// [`TilesError`], never for a tree that was built here.
    pub fn append(&mut self, leaf: Hash) -> Result<(), TilesError> {
        let added = tree::append(&Edge(&self.edge), self.size, leaf)?;
        for (subtree, hash) in &added {
            if subtree.level % TILE_HEIGHT == 0 {
                let level = subtree.level / TILE_HEIGHT;
                let tile = self.open.entry(level).or_default();
                tile.extend_from_slice(&hash.0);
                if tile.len() == usize::from(TILE_WIDTH) * 32 {
                    let position = subtree.index / u64::from(TILE_WIDTH);
                    self.full.extend(self.open.remove(&level).map(|tile| (level, position, tile)));
                }
            }
        }
        // Only the last added is complete and has no right neighbour yet; those it was made of are needed no more.
        if let Some((top, hash)) = added.last() {
            self.edge.retain(|held, _| held.level > top.level);
            self.edge.insert(*top, *hash);
        }
        self.size += 1;
        Ok(())
    }

    /// Writes the tiles that changed.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn write(&mut self, tx: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let width = u64::from(TILE_WIDTH);
        let open = self.open.iter().map(|(level, tile)| {
            (*level, (self.size >> (u32::from(*level) * u32::from(TILE_HEIGHT))) / width, tile.clone())
        });
        for (level, position, tile) in std::mem::take(&mut self.full).into_iter().chain(open) {
            sqlx::query(
                "INSERT INTO audit_tile (log, level, position, hashes) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (log, level, position) DO UPDATE SET hashes = excluded.hashes",
            )
            .bind(self.log as i64)
            .bind(i64::from(level))
            .bind(position as i64)
            .bind(tile)
            .execute(&mut *tx)
            .await?;
        }
        Ok(())
    }
}

async fn read_tile(pool: &AnyPool, log: u64, level: u8, position: u64) -> Result<Vec<u8>, TilesError> {
    let row = sqlx::query("SELECT hashes FROM audit_tile WHERE log = $1 AND level = $2 AND position = $3")
        .bind(log as i64)
        .bind(i64::from(level))
        .bind(position as i64)
        .fetch_optional(pool)
        .await?;
    row.ok_or_else(|| TilesError::Missing(format!("{level}/{position}")))?.try_get("hashes").map_err(Into::into)
}

/// The hash of a complete subtree of a stored tree.
///
/// # Errors
/// [`TilesError`].
pub async fn read_hash(pool: &AnyPool, log: u64, subtree: Subtree, size: u64) -> Result<Hash, TilesError> {
    let missing = || TilesError::Missing(format!("{subtree:?}"));
    let (tile, run) = Tile::holding(subtree, size).ok_or_else(missing)?;
    let hashes = read_tile(pool, log, tile.level, tile.index).await?;
    let hashes = hashes.get(run.start * 32..run.end * 32).ok_or_else(missing)?;
    let mut row: Vec<Hash> = hashes.as_chunks::<32>().0.iter().copied().map(Hash).collect();
    while row.len() > 1 {
        row = row.as_chunks::<2>().0.iter().map(|[left, right]| Hash::node(left, right)).collect();
    }
    row.first().copied().ok_or_else(missing)
}
