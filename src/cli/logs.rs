//! Logs as `check` reads them, record by record: their trees, every hash of them kept, so that stored tiles can be held against
//! them (64 bytes a record; `audit verify` alone keeps a tree's right edge).

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use strongroom_audit::note::VerifierKey;
use strongroom_audit::tile::{TILE_HEIGHT, TILE_WIDTH};
use strongroom_audit::tree::{self, Edge, HashReader, Subtree};
use strongroom_audit::{Checkpoint, Hash};
use strongroom_keeper::log::{Head, Heads, StoredLeaf, StoredTile};

use crate::Failed;

/// The hashes of all leaves of one log, and the tree over them.
#[derive(Clone, Default)]
struct Tree {
    known: BTreeMap<Subtree, Hash>,
    edge: Edge,
    /// Those that are stored, by level and position.
    tiles: BTreeSet<(u8, u64)>,
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

    fn tile(&mut self, tile: &StoredTile) -> bool {
        self.tiles.insert((tile.level, tile.position));
        let size = self.edge.size();
        let is_whole = |(first, stored): (Subtree, &[u8])| {
            let width = u64::from(TILE_WIDTH) >> (first.level % TILE_HEIGHT);
            let complete = (size >> first.level).saturating_sub(first.index).min(width) as usize; // at most 256
            let known = (first.index..).map(|index| self.known.get(&Subtree { index, ..first }));
            let hashes = stored.chunks(32).map(Some).chain(std::iter::repeat(None));
            known.zip(hashes).take(complete).all(|(known, stored)| known.map(|known| &known.0[..]) == stored)
        };
        tile.rows().is_some_and(|mut rows| rows.all(is_whole))
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

    /// Whether a stored tile of a log is that of its records, as far as these were read: the log may have grown meanwhile.
    pub fn tile(&mut self, name: &str, tile: &StoredTile) -> bool {
        self.trees.get_mut(name).is_some_and(|tree| tree.tile(tile))
    }

    /// Tiles that the read records fill, and that were not among the stored ones: each with its log's name, level and position.
    pub fn missing(&self) -> impl Iterator<Item = (&str, u8, u64)> {
        self.trees.iter().flat_map(|(name, tree)| {
            let of_level = move |level: u8| {
                let hashes = tree.edge.size() >> (level * TILE_HEIGHT);
                // The open tile over the leaves is not stored.
                let width = u64::from(TILE_WIDTH);
                let tiles = if level == 0 { hashes / width } else { hashes.div_ceil(width) };
                (0..tiles).map(move |position| (level, position))
            };
            let all = (0..64 / TILE_HEIGHT).flat_map(of_level);
            all.filter(|tile| !tree.tiles.contains(tile)).map(|(level, position)| (name.as_str(), level, position))
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_held_against_what_was_read_of_its_log_and_what_is_newer_is_no_damage() {
        let leaf = |seq: u64| Hash::leaf(&seq.to_be_bytes());
        let (mut newest, mut read) = (Tree::default(), Tree::default());
        (0..256).for_each(|seq| newest.push(leaf(seq)));
        (0..200).for_each(|seq| read.push(leaf(seq)));
        let row = |level, count| (0..count).flat_map(|index| newest.known[&Subtree { level, index }].0).collect();
        let full = || StoredTile { log: 1, level: 0, position: 0, hashes: row(0, 256), middle: Some(row(4, 16)) };
        assert!(newest.clone().tile(&full()) && read.clone().tile(&full()));
        for at in [0, 199, 200, 255] {
            let mut changed = full();
            changed.hashes[at * 32] ^= 1;
            assert!(!newest.clone().tile(&changed), "{at}");
            assert_eq!(read.clone().tile(&changed), at >= 200, "{at}");
        }
        let cut = StoredTile { hashes: full().hashes[..255 * 32].to_vec(), ..full() };
        assert!(!newest.clone().tile(&cut));
        for nowhere in [StoredTile { position: u64::MAX, ..full() }, StoredTile { level: 255, ..full() }] {
            assert!(!read.tile(&nowhere));
        }
    }
}
