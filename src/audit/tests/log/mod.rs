//! A log in memory, with every hash of its tree.

use std::collections::HashMap;
use std::convert::Infallible;

use strongroom_audit::Hash;
use strongroom_audit::tree::{self, Edge, HashReader, Subtree};

#[derive(Default)]
pub struct Log {
    pub edge: Edge,
    hashes: HashMap<Subtree, Hash>,
}

impl HashReader for Log {
    type Error = Infallible;

    fn read(&self, subtree: Subtree) -> Result<Hash, Infallible> {
        Ok(self.hashes[&subtree])
    }
}

impl Log {
    /// Leaves that are these numbers.
    pub fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut log = Self::default();
        numbers.into_iter().for_each(|number| log.add(&number.to_be_bytes()));
        log
    }

    pub fn add(&mut self, leaf: &[u8]) {
        let hashes = &mut self.hashes;
        self.edge.push(Hash::leaf(leaf), |subtree, hash| hashes.extend([(subtree, hash)]));
    }

    pub fn root(&self, size: u64) -> Hash {
        let Ok(root) = tree::root(self, size);
        root
    }
}
