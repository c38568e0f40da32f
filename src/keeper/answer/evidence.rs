//! A record as whoever verifies it gets it: with the proof that it is in the log, and the key that opens it and no other.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_audit::Hash;
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

    /// That leaves are in their logs as these were at a size; none for one that is beyond it. All of one log are asked for
    /// at one size.
    pub(super) async fn proofs(
        &mut self,
        leaves: &[&StoredLeaf],
        size: impl Fn(u64) -> u64,
    ) -> Result<Vec<Option<Vec<Hash>>>, Refusal> {
        let mut of_logs = BTreeMap::<u64, Vec<u64>>::new();
        leaves.iter().for_each(|leaf| of_logs.entry(leaf.log).or_default().push(leaf.seq));
        let mut proved = BTreeMap::new();
        for (log, seqs) in of_logs {
            let new = || Proofs::new(&self.core.database.reader, log, size(log));
            let proofs = self.proofs.entry(log).or_insert_with(new).inclusions(&seqs).await.map_err(unavailable)?;
            proved.insert(log, proofs.into_iter());
        }
        Ok(leaves.iter().map(|leaf| proved.get_mut(&leaf.log)?.next()?).collect())
    }

    /// The leaf's key, and the leaf as it is stored, in base64.
    pub(super) fn opened(&self, leaf: &StoredLeaf) -> (String, String) {
        let key = RecordKey::of(&self.core.keys, (leaf.log, leaf.seq));
        (STANDARD.encode(key.expose()), STANDARD.encode(leaf.to_bytes()))
    }
}
