//! Proofs from a stored tree, as it was when it had so many leaves.

use std::cell::RefCell;
use std::convert::Infallible;

use sqlx::AnyPool;
use strongroom_audit::Hash;
use strongroom_audit::tree::{self, HashReader, Subtree};

use super::tiles::{StoredTiles, TilesError, WIDTH};

/// Makes proofs of one log.
pub struct Proofs<'a> {
    tiles: StoredTiles<'a>,
    size: u64,
}

/// What is proved; none where there is no such leaf or size.
type Proof = Option<Vec<Hash>>;

/// Learns which hashes a proof is made of; what is made with these is thrown away.
#[derive(Default)]
struct Asked(RefCell<Vec<Subtree>>);

impl HashReader for Asked {
    type Error = Infallible;

    fn read(&self, subtree: Subtree) -> Result<Hash, Infallible> {
        self.0.borrow_mut().push(subtree);
        Ok(Hash([0; 32]))
    }
}

/// Those that were read.
struct Known<'a>(&'a StoredTiles<'a>);

impl HashReader for Known<'_> {
    type Error = TilesError;

    fn read(&self, subtree: Subtree) -> Result<Hash, TilesError> {
        self.0.known(subtree)
    }
}

impl<'a> Proofs<'a> {
    /// Of a log, when it had this many leaves.
    pub fn new(pool: &'a AnyPool, log: u64, size: u64) -> Self {
        Self { tiles: StoredTiles::new(pool, log, size), size }
    }

    /// That a leaf is in it.
    ///
    /// # Errors
    /// [`TilesError`].
    pub async fn inclusion(&mut self, seq: u64) -> Result<Proof, TilesError> {
        Ok(self.inclusions(&[seq]).await?.pop().flatten())
    }

    /// That leaves are in it, for each a proof. All that these need is read before, at once.
    ///
    /// # Errors
    /// [`TilesError`].
    pub async fn inclusions(&mut self, seqs: &[u64]) -> Result<Vec<Proof>, TilesError> {
        let asked = Asked::default();
        // Leaves of one tile need the same tiles. Where any of them is in the tree, the first is.
        let tiles = seqs.chunk_by(|one, next| one / WIDTH == next / WIDTH);
        for seq in tiles.filter_map(|of_tile| of_tile.iter().min()) {
            let Ok(_) = tree::inclusion(&asked, *seq, self.size);
        }
        self.tiles.read_for(asked.0.into_inner()).await?;
        seqs.iter().map(|seq| tree::inclusion(&Known(&self.tiles), *seq, self.size)).collect()
    }

    /// That an older tree is its beginning.
    ///
    /// # Errors
    /// [`TilesError`].
    pub async fn consistency(&mut self, old: u64) -> Result<Proof, TilesError> {
        let asked = Asked::default();
        let Ok(_) = tree::consistency(&asked, old, self.size);
        self.tiles.read_for(asked.0.into_inner()).await?;
        tree::consistency(&Known(&self.tiles), old, self.size)
    }
}
