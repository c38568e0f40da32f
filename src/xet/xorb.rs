//! Xorbs: chunks back to back, without footer, named by the root over their hashes.

use crate::chunk::{ChunkError, HEADER_BYTES, decode_chunk};
use crate::hash::Hash;
use crate::merkle::{chunk_hash, root};

/// Chunks of a xorb, at most.
pub const CHUNKS_MAX: usize = 8192;

/// Bytes of a xorb as it is posted, at most: 64 MiB of chunks and their headers.
pub const BYTES_MAX: usize = 64 * 1024 * 1024 + CHUNKS_MAX * HEADER_BYTES;

/// Why a xorb is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XorbError {
    /// More bytes or chunks than allowed, or none.
    #[error("a xorb has 1 to {CHUNKS_MAX} chunks and at most {BYTES_MAX} bytes")]
    Size,
    /// A chunk is malformed.
    #[error("{0}")]
    Chunk(#[from] ChunkError),
    /// The chunks are not those of the hash.
    #[error("the xorb's bytes are not those of its hash")]
    Hash,
}

/// A chunk of a verified xorb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Where its header begins, in bytes from the start of the xorb.
    pub offset: u32,
    /// Bytes of its plaintext.
    pub bytes: u32,
    /// Of its plaintext.
    pub hash: Hash,
}

/// Checks every chunk and the root over them.
///
/// # Errors
/// [`XorbError`]. Holds one chunk's plaintext at a time.
pub fn verify(xorb: &[u8], expected: Hash) -> Result<Vec<Chunk>, XorbError> {
    let mut verifier = Verifier::default();
    verifier.push(xorb)?;
    verifier.finish(expected)
}

/// The same for a xorb that comes in pieces. Holds the piece, one chunk and its plaintext.
#[derive(Default)]
pub struct Verifier {
    pending: Vec<u8>,
    offset: usize,
    chunks: Vec<Chunk>,
}

impl Verifier {
    /// Takes more of the xorb.
    ///
    /// # Errors
    /// [`XorbError`], as soon as the bytes can't become a xorb.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), XorbError> {
        if self.offset + self.pending.len() + piece.len() > BYTES_MAX {
            return Err(XorbError::Size);
        }
        self.pending.extend_from_slice(piece);
        let mut at = 0;
        while self.pending.len() > at {
            let (plain, stored) = match decode_chunk(&self.pending[at..]) {
                Err(ChunkError::Cut) => break,
                chunk => chunk?,
            };
            if self.chunks.len() == CHUNKS_MAX {
                return Err(XorbError::Size);
            }
            // Both fit: a xorb and a chunk are far below 4 GiB.
            let offset = (self.offset + at) as u32;
            self.chunks.push(Chunk { offset, bytes: plain.len() as u32, hash: chunk_hash(&plain) });
            at += stored;
        }
        self.pending.drain(..at);
        self.offset += at;
        Ok(())
    }

    /// The chunks, where they are those of the hash.
    ///
    /// # Errors
    /// [`XorbError`].
    pub fn finish(self, expected: Hash) -> Result<Vec<Chunk>, XorbError> {
        if !self.pending.is_empty() {
            return Err(ChunkError::Cut.into());
        }
        if self.chunks.is_empty() {
            return Err(XorbError::Size);
        }
        let leaves = self.chunks.iter().map(|chunk| (chunk.hash, chunk.bytes.into())).collect();
        if root(leaves) == expected { Ok(self.chunks) } else { Err(XorbError::Hash) }
    }
}
