//! What a witness is asked, and what it must check before it signs (C2SP `tlog-witness`, <https://c2sp.org/tlog-witness>). Its
//! memory and its clock are those of whoever runs it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::note::{NOTE_BYTES_MAX, NoteError, VerifierKey, parts};
use crate::proof::verify_consistency;

/// Hashes of a proof, at most.
const PROOF_MAX: usize = 63;
/// Bytes of a request: a proof of [`PROOF_MAX`] lines of 45 bytes, and a note.
pub const REQUEST_BYTES_MAX: usize = NOTE_BYTES_MAX + 4096;
/// The content type of the size with which a witness refuses.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// `add-checkpoint`: a checkpoint, and the proof that it continues what the witness has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness last cosigned, as whoever asks believes; 0 where it never did.
    pub old: u64,
    /// From that size to the checkpoint's (RFC 6962 section 2.1.2).
    pub proof: Vec<Hash>,
    /// The signed note.
    pub note: String,
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash.0)))?;
        write!(f, "\n{}", self.note)
    }
}

impl FromStr for AddCheckpoint {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (head, note) = text.split_once("\n\n").ok_or(NoteError::Form)?;
        let mut lines = head.split('\n');
        let old_text = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(NoteError::Form)?;
        let old: u64 = old_text.parse().map_err(|_| NoteError::Form)?;
        let hash = |line: &str| Some(Hash(STANDARD.decode(line).ok()?.try_into().ok()?));
        let proof: Vec<Hash> = lines.map(hash).collect::<Option<_>>().ok_or(NoteError::Form)?;
        if old.to_string() != old_text || proof.len() > PROOF_MAX {
            return Err(NoteError::Form);
        }
        Ok(Self { old, proof, note: note.to_owned() })
    }
}

/// Why a witness does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a request, or its old size lies above the checkpoint's.
    #[error("this is no add-checkpoint request: c2sp.org/tlog-witness")]
    Bad,
    /// A log that it does not know.
    #[error("this log is not configured here")]
    Unknown,
    /// No signature by the log's key.
    #[error("the checkpoint bears no valid signature of that log")]
    Signature,
    /// It has another size than whoever asks believes, or another tree of that size. This is the size.
    #[error("{0}")]
    Size(u64),
    /// The proof does not lead from what it has to the checkpoint.
    #[error("the checkpoint does not continue what was cosigned before")]
    Proof,
}

impl Refused {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Bad => 400,
            Self::Signature => 403,
            Self::Unknown => 404,
            Self::Size(_) => 409,
            Self::Proof => 422,
        }
    }
}

impl AddCheckpoint {
    /// Which of these logs the checkpoint is of, by its first line and its signature.
    ///
    /// # Errors
    /// [`Refused::Bad`], [`Refused::Unknown`], [`Refused::Signature`].
    pub fn log<'a>(&self, keys: impl Iterator<Item = &'a VerifierKey>) -> Result<(usize, Checkpoint), Refused> {
        let (text, _) = parts(&self.note).map_err(|_| Refused::Bad)?;
        let claimed = Checkpoint::parse(text).map_err(|_| Refused::Bad)?;
        let mut refused = Refused::Unknown;
        for (at, key) in keys.enumerate().filter(|(_, key)| key.name() == claimed.origin) {
            match Checkpoint::open(&self.note, key) {
                Ok(checkpoint) => return Ok((at, checkpoint)),
                Err(_) => refused = Refused::Signature,
            }
        }
        Err(refused)
    }

    /// Whether a checkpoint, whose signature is right, may be cosigned by a witness that last cosigned this of its log. Whoever asks
    /// this must let nobody in between until the checkpoint is remembered.
    ///
    /// # Errors
    /// [`Refused::Bad`], [`Refused::Size`], [`Refused::Proof`].
    pub fn follows(&self, checkpoint: &Checkpoint, known: Option<(u64, Hash)>) -> Result<(), Refused> {
        let (size, root) = known.unwrap_or((0, Hash::empty()));
        if checkpoint.size == 0 && checkpoint.root != Hash::empty() {
            return Err(Refused::Proof);
        }
        if self.old > checkpoint.size {
            return Err(Refused::Bad);
        }
        if self.old != size {
            return Err(Refused::Size(size));
        }
        let new = (checkpoint.size, checkpoint.root);
        match (size, checkpoint.size) {
            // Two trees of one size, one of which was cosigned.
            (old, same) if old == same && root != checkpoint.root => Err(Refused::Size(size)),
            (old, same) if old == same => {
                if self.proof.is_empty() {
                    Ok(())
                } else {
                    Err(Refused::Proof)
                }
            }
            (0, _) => {
                if self.proof.is_empty() {
                    Ok(())
                } else {
                    Err(Refused::Proof)
                }
            }
            _ => verify_consistency((size, root), new, &self.proof).map_err(|_| Refused::Proof),
        }
    }
}
