//! Xet hashes and their text, which is not the hex of their bytes.

use std::fmt;
use std::str::FromStr;

/// Why a text is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a Xet hash is 64 lower-case hex digits")]
pub struct HashTextError;

/// A keyed BLAKE3 hash. Its text is four little-endian 64-bit words, each as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The bytes with each 8-byte word reversed: their plain hex is the hash's text. A shard keeps a file's SHA-256 in
    /// this form, so for one read from a shard these are the digest's own bytes.
    pub fn reversed_words(&self) -> [u8; 32] {
        let mut bytes = self.0;
        bytes.chunks_exact_mut(8).for_each(<[u8]>::reverse);
        bytes
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reversed_words().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = HashTextError;

    fn from_str(text: &str) -> Result<Self, HashTextError> {
        if text.len() != 64 || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(HashTextError);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| HashTextError)?;
        }
        Ok(Self(Self(bytes).reversed_words()))
    }
}
