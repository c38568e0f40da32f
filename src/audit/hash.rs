//! RFC 6962 section 2.1 hashing: leaves and nodes can never be taken for one another.

use std::fmt;

use aws_lc_rs::digest;

/// SHA-256 of a leaf, of a node or of the empty tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// `SHA-256(0x00 || leaf)`.
    pub fn leaf(leaf: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&[0x00]);
        context.update(leaf);
        Self::of(&context.finish())
    }

    /// `SHA-256(0x01 || left || right)`.
    pub fn node(left: &Self, right: &Self) -> Self {
        // In one piece: whoever proves leaves makes hundreds for each.
        let mut whole = [0x01; 65];
        whole[1..33].copy_from_slice(&left.0);
        whole[33..].copy_from_slice(&right.0);
        Self::of(&digest::digest(&digest::SHA256, &whole))
    }

    /// The root of a tree with no leaf: `SHA-256()`.
    pub fn empty() -> Self {
        Self::of(&digest::digest(&digest::SHA256, &[]))
    }

    fn of(digest: &digest::Digest) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref()); // SHA-256 has 32 bytes
        Self(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}
