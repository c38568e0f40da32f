//! One chunk as it stands in a xorb: an 8-byte header and its bytes, plain or compressed.

use std::io::Read as _;

/// Bytes of a chunk's plaintext, at most.
pub const CHUNK_BYTES_MAX: usize = 128 * 1024;

/// Bytes of the header: version, stored length (3), scheme, plain length (3); lengths little-endian.
pub(crate) const HEADER_BYTES: usize = 8;

/// Why a chunk is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The bytes end inside the chunk.
    #[error("a chunk is cut")]
    Cut,
    /// Another version than 0.
    #[error("a chunk has an unknown version")]
    Version,
    /// Another scheme than none, LZ4, or byte-grouped LZ4.
    #[error("a chunk has an unknown compression scheme")]
    Scheme,
    /// Empty, longer than [`CHUNK_BYTES_MAX`], or stored longer than a client ever would.
    #[error("a chunk has 1 to {CHUNK_BYTES_MAX} bytes")]
    Length,
    /// The stored bytes do not decompress to exactly the length in the header.
    #[error("a chunk does not decompress to its length")]
    Data,
}

/// The plaintext of the chunk at the beginning of `bytes`, and how many bytes it takes there.
///
/// # Errors
/// [`ChunkError`]. Never allocates more than [`CHUNK_BYTES_MAX`] and one byte for plaintext, whatever the chunk claims.
pub fn decode_chunk(bytes: &[u8]) -> Result<(Vec<u8>, usize), ChunkError> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(ChunkError::Cut)?;
    let [version, s0, s1, s2, scheme, p0, p1, p2] = *header;
    let length = |low, middle, high| u32::from_le_bytes([low, middle, high, 0]) as usize;
    let (stored, plain) = (length(s0, s1, s2), length(p0, p1, p2));
    if version != 0 {
        return Err(ChunkError::Version);
    }
    if plain == 0 || plain > CHUNK_BYTES_MAX || stored > 2 * CHUNK_BYTES_MAX {
        return Err(ChunkError::Length);
    }
    let data = rest.get(..stored).ok_or(ChunkError::Cut)?;
    let plaintext = match scheme {
        0 if stored == plain => data.to_vec(),
        0 => return Err(ChunkError::Data),
        1 => inflate(data, plain)?,
        2 => ungroup(&inflate(data, plain)?),
        _ => return Err(ChunkError::Scheme),
    };
    Ok((plaintext, HEADER_BYTES + stored))
}

fn inflate(data: &[u8], length: usize) -> Result<Vec<u8>, ChunkError> {
    let mut plain = Vec::with_capacity(length + 1);
    // One byte more than promised shows a chunk that lies, without inflating the rest of it.
    let mut reader = lz4_flex::frame::FrameDecoder::new(data).take(length as u64 + 1);
    reader.read_to_end(&mut plain).map_err(|_| ChunkError::Data)?;
    if plain.len() == length { Ok(plain) } else { Err(ChunkError::Data) }
}

/// Byte-grouped: all bytes at positions 0 modulo 4 first, then those at 1, 2 and 3.
fn ungroup(grouped: &[u8]) -> Vec<u8> {
    let mut plain = vec![0; grouped.len()];
    let mut from = grouped.iter();
    for group in 0..4 {
        plain
            .iter_mut()
            .skip(group)
            .step_by(4)
            .zip(from.by_ref().take((grouped.len() + 3 - group) / 4))
            .for_each(|(to, byte)| *to = *byte);
    }
    plain
}
