//! Signed checkpoints of logs, against which a record is shown to be in one of them, with the log's public key alone.

use std::collections::BTreeMap;

use strongroom_audit::note::{NoteError, VerifierKey};
use strongroom_audit::{Checkpoint, Hash, proof};

use super::origin;

/// Why checkpoints are not believed.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// More of the one than of the other.
    #[error("there are as many checkpoints as logs")]
    Count,
    /// One that the key did not sign.
    #[error("the checkpoint of {0}: {1}")]
    Note(String, NoteError),
    /// One that witnesses cosigned, of another history.
    #[error("the cosigned checkpoint of {0} is not one of this log before")]
    Witnessed(String),
    /// One of another size than is said.
    #[error("the checkpoint of {0} is of another size")]
    Size(String),
}

/// By the log's number.
pub struct Roots(BTreeMap<u64, Checkpoint>);

/// A checkpoint of the log of this number.
fn opened(key: &VerifierKey, log: u64, note: &str) -> Result<Checkpoint, RootsError> {
    let name = origin(key.name(), log);
    let opened = key.named(&name).and_then(|key| Checkpoint::open(note, &key));
    opened.map_err(|error| RootsError::Note(name, error))
}

impl Roots {
    /// Opens the checkpoints of logs that were so far.
    ///
    /// # Errors
    /// [`RootsError`].
    pub fn open(key: &VerifierKey, sizes: &[(u64, u64)], notes: &[String]) -> Result<Self, RootsError> {
        if sizes.len() != notes.len() {
            return Err(RootsError::Count);
        }
        let open = |((log, size), note): (&(u64, u64), &String)| {
            let checkpoint = opened(key, *log, note)?;
            if checkpoint.size == *size { Ok((*log, checkpoint)) } else { Err(RootsError::Size(checkpoint.origin)) }
        };
        sizes.iter().zip(notes).map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a log's checkpoint continues another one of it, by this proof.
    ///
    /// # Errors
    /// [`RootsError::Note`], [`RootsError::Witnessed`].
    pub fn continues(&self, key: &VerifierKey, log: u64, note: &str, path: &[Hash]) -> Result<(), RootsError> {
        let before = opened(key, log, note)?;
        let continued = self.0.get(&log).is_some_and(|now| {
            proof::verify_consistency((before.size, before.root), (now.size, now.root), path).is_ok()
        });
        if continued { Ok(()) } else { Err(RootsError::Witnessed(before.origin)) }
    }

    /// Whether a leaf is at its place in its log.
    pub fn holds(&self, (log, seq): (u64, u64), leaf: Hash, path: &[Hash]) -> bool {
        let root = self.0.get(&log);
        root.is_some_and(|root| proof::verify_inclusion(seq, root.size, leaf, path, root.root).is_ok())
    }
}
