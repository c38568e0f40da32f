//! Proofs from a stored tree, as it was when it had so many leaves.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sqlx::AnyPool;
use strongroom_audit::Hash;
use strongroom_audit::tree::{self, HashReader, Subtree};

use super::tiles::{StoredTiles, TilesError};

/// Makes proofs of one log; each hash is read once.
pub struct Proofs<'a> {
    tiles: StoredTiles<'a>,
    known: Known,
    size: u64,
}

#[derive(Default)]
struct Known(Mutex<BTreeMap<Subtree, Hash>>);

impl HashReader for Known {
    type Error = Subtree;

    fn read(&self, subtree: Subtree) -> Result<Hash, Subtree> {
        self.0.lock().get(&subtree).copied().ok_or(subtree)
    }
}

/// What is proved; none where there is no such leaf or size.
type Proof = Result<Option<Vec<Hash>>, TilesError>;

impl<'a> Proofs<'a> {
    /// Of a log, when it had this many leaves.
    pub fn new(pool: &'a AnyPool, log: u64, size: u64) -> Self {
        Self { tiles: StoredTiles::new(pool, log, size), known: Known::default(), size }
    }

    /// That a leaf is in it.
    ///
    /// # Errors
    /// [`TilesError`].
    pub async fn inclusion(&mut self, seq: u64) -> Proof {
        let size = self.size;
        self.walk(|known| tree::inclusion(known, seq, size)).await
    }

    /// That an older tree is its beginning.
    ///
    /// # Errors
    /// [`TilesError`].
    pub async fn consistency(&mut self, old: u64) -> Proof {
        let size = self.size;
        self.walk(|known| tree::consistency(known, old, size)).await
    }

    async fn walk(&mut self, ask: impl Fn(&Known) -> Result<Option<Vec<Hash>>, Subtree>) -> Proof {
        loop {
            match ask(&self.known) {
                Ok(proof) => return Ok(proof),
                // A hash that is still to be read: read it, and walk again.
                Err(subtree) => {
                    let hash = self.tiles.hash(subtree).await?;
                    self.known.0.lock().insert(subtree, hash);
                }
            }
        }
    }
}
