//! Logs as `check` reads them, record by record: their trees, every hash of them kept, so that stored tiles can be held against
//! them (64 bytes a record; `audit verify` alone keeps a tree's right edge).

use std::collections::BTreeMap;
use std::convert::Infallible;

use strongroom_audit::note::VerifierKey;
use strongroom_audit::tile::{TILE_HEIGHT, TILE_WIDTH};
use strongroom_audit::tree::{self, Edge, HashReader, Subtree};
use strongroom_audit::{Checkpoint, Hash};
use strongroom_keeper::log::{Head, Heads, StoredLeaf};

use crate::Failed;

/// The hashes of all leaves of one log, and the tree over them.
#[derive(Default)]
struct Tree {
    known: BTreeMap<Subtree, Hash>,
    edge: Edge,
}

impl HashReader for Tree {
    type Error = Infallible;

    fn read(&self, subtree: Subtree) -> Result<Hash, Infallible> {
        // Every complete subtree was added when its last leaf was.
        Ok(*self.known.get(&subtree).expect("a complete subtree"))
    }
}

impl Tree {
    fn push(&mut self, leaf: Hash) {
        self.edge.push(leaf, |subtree, hash| {
            self.known.insert(subtree, hash);
        });
    }

    fn has(&self, size: u64, root: Hash) -> bool {
        let Ok(found) = if size <= self.edge.size() { tree::root(self, size) } else { return false };
        found == root
    }
}

/// All logs as they were read.
pub struct Logs {
    /// Of the first; the others' differ by their name alone.
    key: VerifierKey,
    trees: BTreeMap<String, Tree>,
    /// What leaves say of other logs: in which log, in which record, what.
    named: Vec<(String, u64, Head)>,
}

fn damaged(what: impl std::fmt::Display) -> Failed {
    Failed(format!("the log does NOT verify: {what}"))
}

impl Logs {
    /// None yet.
    pub fn new(key: VerifierKey) -> Self {
        Self { key, trees: BTreeMap::new(), named: Vec::new() }
    }

    /// The next record of a log.
    ///
    /// # Errors
    /// What it says of other logs can't be read.
    pub fn push(&mut self, name: &str, leaf: &StoredLeaf) -> Result<(), Failed> {
        let tree = self.trees.entry(name.to_owned()).or_default();
        let seq = tree.edge.size();
        tree.push(leaf.hash());
        if !leaf.heads.is_empty() {
            let heads: Heads =
                leaf.heads.parse().map_err(|error| damaged(format!("record {seq} of {name}: {error}")))?;
            self.named.extend(heads.0.into_iter().map(|head| (name.to_owned(), seq, head)));
        }
        Ok(())
    }

    fn open(&self, note: &str, name: &str) -> Result<Checkpoint, Failed> {
        let key = self.key.named(name).map_err(|error| Failed(format!("key: {error}")))?;
        Checkpoint::open(note, &key).map_err(|error| Failed(format!("the log's checkpoint: {error}")))
    }

    /// Whether a stored tile is that of the records: `hashes` of 32 bytes each.
    pub fn has_tile(&self, name: &str, level: u8, position: u64, hashes: &[u8]) -> bool {
        let Some(tree) = self.trees.get(name) else { return false };
        let at = |index| Subtree { level: level * TILE_HEIGHT, index: position * u64::from(TILE_WIDTH) + index };
        hashes.len().is_multiple_of(32)
            && hashes
                .chunks(32)
                .zip(0..)
                .all(|(hash, index)| tree.known.get(&at(index)).is_some_and(|known| known.0 == hash))
    }

    /// Against the newest checkpoints, each with its log's name, and against what the logs say of each other.
    ///
    /// # Errors
    /// What does not verify.
    pub fn check(&self, newest: &[(String, String)]) -> Result<(), Failed> {
        for (name, note) in newest {
            let newest = self.open(note, name)?;
            let size = self.trees.get(name).map_or(0, |tree| tree.edge.size());
            if !self.trees.get(name).is_some_and(|tree| tree.has(newest.size, newest.root)) {
                let records =
                    format!("the {size} records of {name} are not those of its checkpoint of {}", newest.size);
                return Err(damaged(records));
            }
        }
        for (by, seq, head) in &self.named {
            let tree = self.trees.get(&head.origin).filter(|_| newest.iter().any(|(name, _)| *name == head.origin));
            let Some(tree) = tree else {
                return Err(damaged(format!("{} VANISHED: record {seq} of {by} names it", head.origin)));
            };
            if !tree.has(head.size, head.root) {
                let what = format!("its first {} records are not those that record {seq} of {by} names", head.size);
                return Err(damaged(format!("{} was CHANGED or ROLLED BACK: {what}", head.origin)));
            }
        }
        Ok(())
    }
}
