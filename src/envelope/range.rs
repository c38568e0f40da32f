//! Where a plaintext byte lies in a payload: lengths and ranges by arithmetic alone (age spec, "Payload").

use std::ops::Range;

use crate::payload::NONCE_BYTES;

/// Bytes of plaintext in every chunk but the last.
pub const CHUNK_BYTES: u64 = 64 * 1024;

/// Bytes that the AEAD adds to a chunk.
pub const TAG_BYTES: u64 = 16;

const SEALED_CHUNK_BYTES: u64 = CHUNK_BYTES + TAG_BYTES;

/// Chunks of a plaintext: an empty one has one, empty chunk.
fn chunks(plain: u64) -> u64 {
    plain.div_ceil(CHUNK_BYTES).max(1)
}

/// Bytes of the payload, nonce included, for a plaintext of `plain` bytes. `None` past 2^64.
pub fn ciphertext_len(plain: u64) -> Option<u64> {
    plain.checked_add(chunks(plain) * TAG_BYTES)?.checked_add(NONCE_BYTES as u64)
}

/// Bytes of plaintext in a payload of `cipher` bytes; `None` where no payload has that length.
pub fn plaintext_len(cipher: u64) -> Option<u64> {
    let sealed = cipher.checked_sub(NONCE_BYTES as u64)?;
    let plain = sealed.checked_sub(sealed.div_ceil(SEALED_CHUNK_BYTES) * TAG_BYTES)?;
    (ciphertext_len(plain) == Some(cipher)).then_some(plain)
}

/// The chunks that a range of plaintext touches, and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRange {
    /// Chunk numbers, from 0.
    pub chunks: Range<u64>,
    /// Where they lie in the payload, in bytes from its start (the nonce is its first 16).
    pub payload: Range<u64>,
    /// Bytes of the first chunk's plaintext before the range.
    pub skip: u64,
    /// Whether the last of them is the payload's last.
    pub last: bool,
}

impl ChunkRange {
    /// The chunks under the bytes `range` of a plaintext of `plain` bytes. `None` for an empty range, or one that ends
    /// after the plaintext.
    pub fn of(range: Range<u64>, plain: u64) -> Option<Self> {
        if range.is_empty() || range.end > plain {
            return None;
        }
        let first = range.start / CHUNK_BYTES;
        let end = range.end.div_ceil(CHUNK_BYTES);
        let last = end == chunks(plain);
        let nonce = NONCE_BYTES as u64;
        let stop = if last { ciphertext_len(plain)? } else { nonce + end * SEALED_CHUNK_BYTES };
        Some(Self {
            chunks: first..end,
            payload: nonce + first * SEALED_CHUNK_BYTES..stop,
            skip: range.start % CHUNK_BYTES,
            last,
        })
    }
}
