//! A record as whoever verifies it gets it: with the proof that it is in the log, and the key that opens it and no other.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_protocol::Refusal;

use super::unavailable;
use crate::log::{Proofs, RecordKey, StoredLeaf};
use crate::server::Core;

/// What one answer proves; each hash is read once.
pub(super) struct Proved<'a> {
    core: &'a Core,
    proofs: BTreeMap<u64, Proofs<'a>>,
}

impl<'a> Proved<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core, proofs: BTreeMap::new() }
    }

    /// That a leaf is in its log as that was at a size, in base64; none where it is beyond it. All of one log are asked for at one
    /// size.
    pub(super) async fn proof(&mut self, leaf: &StoredLeaf, size: u64) -> Result<Option<Vec<String>>, Refusal> {
        let new = || Proofs::new(&self.core.database.reader, leaf.log, size);
        let proof = self.proofs.entry(leaf.log).or_insert_with(new).inclusion(leaf.seq).await.map_err(unavailable)?;
        Ok(proof.map(|proof| proof.iter().map(|hash| STANDARD.encode(hash.0)).collect()))
    }

    /// The leaf's key, and the leaf as it is stored, in base64.
    pub(super) fn opened(&self, leaf: &StoredLeaf) -> (String, String) {
        let key = RecordKey::of(&self.core.keys, (leaf.log, leaf.seq));
        (STANDARD.encode(key.expose()), STANDARD.encode(leaf.to_bytes()))
    }
}
