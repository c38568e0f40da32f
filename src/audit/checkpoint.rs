//! Checkpoints: what a log commits to, in three lines (C2SP `tlog-checkpoint`, <https://c2sp.org/tlog-checkpoint>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Hash;
use crate::note::{NoteError, Signer, VerifierKey};

/// The size and the root of a log at a moment. Whoever keeps one can prove later that nothing before it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is also its signer's.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// The Merkle tree hash of those leaves.
    pub root: Hash,
}

impl Checkpoint {
    /// The signed note.
    ///
    /// # Errors
    /// [`NoteError`] for an origin that cannot stand in a note.
    pub fn sign(&self, signer: &Signer) -> Result<String, NoteError> {
        signer.sign(&format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0)))
    }

    /// Reads a signed note: the signature first, then the text.
    ///
    /// # Errors
    /// [`NoteError::Signature`] for a note that the key did not sign, [`NoteError::Form`] for one that is no checkpoint
    /// of the key's own log. A size is decimal without leading zeros, so that one state has one text.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(key.open(note)?)?;
        if checkpoint.origin == key.name() { Ok(checkpoint) } else { Err(NoteError::Form) }
    }

    /// Reads a text whose signature was checked already, or is not to be believed yet.
    ///
    /// # Errors
    /// [`NoteError::Form`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or(NoteError::Form);
        let (origin, size_text, root) = (line()?, line()?, line()?);
        let size: u64 = size_text.parse().map_err(|_| NoteError::Form)?;
        let root = STANDARD.decode(root).map_err(|_| NoteError::Form)?;
        let root = Hash(root.try_into().map_err(|_| NoteError::Form)?);
        if size.to_string() != size_text {
            return Err(NoteError::Form);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}
