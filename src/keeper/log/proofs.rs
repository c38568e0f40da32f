//! Proofs from a stored tree, as it was when it had so many leaves.

use std::collections::BTreeMap;
use std::convert::Infallible;

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

/// Hashes that were read, and those that a walk asked for and were not.
#[derive(Default)]
struct Known(Mutex<(BTreeMap<Subtree, Hash>, Vec<Subtree>)>);

impl HashReader for Known {
    type Error = Infallible;

    fn read(&self, subtree: Subtree) -> Result<Hash, Infallible> {
        let mut held = self.0.lock();
        let (read, missing) = &mut *held;
        let found = read.get(&subtree).copied();
        if found.is_none() {
            missing.push(subtree);
        }
        // What is made with this one is thrown away.
        Ok(found.unwrap_or(Hash([0; 32])))
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

    async fn walk(&mut self, ask: impl Fn(&Known) -> Result<Option<Vec<Hash>>, Infallible>) -> Proof {
        loop {
            let Ok(proof) = ask(&self.known);
            let missing = std::mem::take(&mut self.known.0.lock().1);
            if missing.is_empty() {
                return Ok(proof);
            }
            // Those that are still to be read: read them, and walk again.
            for subtree in missing {
                let hash = self.tiles.hash(subtree).await?;
                self.known.0.lock().0.insert(subtree, hash);
            }
        }
    }
}
