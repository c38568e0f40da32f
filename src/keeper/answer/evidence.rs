//! A record as whoever verifies it gets it: with the proof that it is in the log, and the key that opens it and no other.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_audit::Hash;
use strongroom_protocol::Refusal;
use strongroom_protocol::incident::IncidentScope;

use super::unavailable;
use crate::incident::Witnessed;
use crate::log::{Proofs, RecordKey, Roots, StoredLeaf};
use crate::server::Core;
use crate::witness::{Cosigned, cosigned};

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

impl Core {
    /// What witnesses last cosigned of the logs of a scope, with the proof that its checkpoints continue it. What is stored of them is not
    /// believed: one that does not lead here is left out, so that a log that somebody rolled back can still be told.
    pub(super) async fn cosigned_of(
        &self,
        scope: &IncidentScope,
        checkpoints: &[String],
    ) -> Result<Vec<Witnessed>, Refusal> {
        let roots = Roots::open(self.log.key(), &scope.sizes, checkpoints).map_err(unavailable)?;
        let mut found = Vec::new();
        for (log, Cosigned { size, note }) in cosigned(&self.database.reader).await.map_err(unavailable)? {
            let proof = Proofs::new(&self.database.reader, log, scope.size(log)).consistency(size).await;
            let Some(path) = proof.map_err(unavailable)? else { continue };
            match roots.continues(self.log.key(), log, &note, &path) {
                Ok(()) => {
                    let proof = path.iter().map(|hash| STANDARD.encode(hash.0)).collect();
                    found.push(Witnessed { log, note, proof });
                }
                Err(error) => tracing::warn!(%error, "evidence has no cosignature"),
            }
        }
        Ok(found)
    }
}
