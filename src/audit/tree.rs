//! Roots and proofs from the hashes of complete subtrees (RFC 6962 section 2.1).
//!
//! A complete subtree is named by its level and index: it covers the `2^level` leaves from `index * 2^level`. Its hash
//! never changes once its last leaf is there, so a store only ever adds hashes, and appending a leaf costs as many
//! hashes as subtrees it completes: two on average.

use crate::hash::Hash;

/// The name of a complete subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtree {
    /// 0 is a leaf.
    pub level: u8,
    /// Counted from the left at its level.
    pub index: u64,
}

/// Where hashes of complete subtrees are read from.
pub trait HashReader {
    /// What a failed read says.
    type Error;

    /// The hash of a subtree that is complete in the tree of the size asked about.
    ///
    /// # Errors
    /// Whatever the store says; also when it lacks the hash.
    fn read(&self, subtree: Subtree) -> Result<Hash, Self::Error>;
}

/// The right edge of a tree that only grows: the complete subtrees that have no right neighbour yet, 64 at most. All that
/// appending and the root need, however many leaves there are.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    size: u64,
    /// The largest first: one for each bit of the size.
    hashes: Vec<Hash>,
}

impl Edge {
    /// The edge of a tree of `size` leaves, from its hashes, the largest subtree first; `None` where they are not as many.
    pub fn new(size: u64, hashes: Vec<Hash>) -> Option<Self> {
        (hashes.len() == size.count_ones() as usize).then_some(Self { size, hashes })
    }

    /// The subtrees on the edge of a tree of `size` leaves, the largest first.
    pub fn subtrees(size: u64) -> impl Iterator<Item = Subtree> {
        let held = (0..64_u8).rev().filter(move |level| size >> level & 1 == 1);
        held.map(move |level| Subtree { level, index: (size >> level) - 1 })
    }

    /// Leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf. `added` is told the hashes that come with it: its own first, then each subtree it completes.
    pub fn push(&mut self, leaf: Hash, mut added: impl FnMut(Subtree, Hash)) {
        let (mut hash, mut subtree) = (leaf, Subtree { level: 0, index: self.size });
        added(subtree, hash);
        while subtree.index & 1 == 1 {
            // There is one for each bit of the size.
            let left = self.hashes.pop().expect("a left neighbour");
            hash = Hash::node(&left, &hash);
            subtree = Subtree { level: subtree.level + 1, index: subtree.index >> 1 };
            added(subtree, hash);
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// The root over all leaves.
    pub fn root(&self) -> Hash {
        let mut right_first = self.hashes.iter().rev().copied();
        let Some(last) = right_first.next() else { return Hash::empty() };
        right_first.fold(last, |right, left| Hash::node(&left, &right))
    }
}

/// The root of the first `size` leaves.
///
/// # Errors
/// When the reader lacks a hash of the tree.
pub fn root<R: HashReader>(reader: &R, size: u64) -> Result<Hash, R::Error> {
    if size == 0 { Ok(Hash::empty()) } else { range(reader, 0, size) }
}

/// The inclusion proof of leaf `index` in the tree of `size` leaves, from the leaf up (RFC 6962 section 2.1.1).
/// `None` where there is no such leaf.
///
/// # Errors
/// When the reader lacks a hash of the tree.
pub fn inclusion<R: HashReader>(reader: &R, index: u64, size: u64) -> Result<Option<Vec<Hash>>, R::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = split(start, end);
        if index < middle {
            path.push(range(reader, middle, end)?);
            end = middle;
        } else {
            path.push(range(reader, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `size` leaves (RFC 6962 section 2.1.2).
/// `None` unless `0 < old <= size`; empty where they are equal.
///
/// # Errors
/// When the reader lacks a hash of the tree.
pub fn consistency<R: HashReader>(reader: &R, old: u64, size: u64) -> Result<Option<Vec<Hash>>, R::Error> {
    if old == 0 || old > size {
        return Ok(None);
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    // Walks to the edge of the old tree. What lies right of the edge is new, what lies left is needed to rebuild both.
    while end != old {
        let middle = split(start, end);
        if old <= middle {
            path.push(range(reader, middle, end)?);
            end = middle;
        } else {
            path.push(range(reader, start, middle)?);
            start = middle;
        }
    }
    if start > 0 {
        path.push(range(reader, start, end)?);
    }
    path.reverse();
    Ok(Some(path))
}

/// The hash over the leaves `start..end`, where `start` is a multiple of the largest power of two below the length.
fn range<R: HashReader>(reader: &R, start: u64, end: u64) -> Result<Hash, R::Error> {
    let leaves = end - start;
    if leaves.is_power_of_two() {
        let level = leaves.trailing_zeros() as u8; // at most 63
        return reader.read(Subtree { level, index: start >> level });
    }
    let middle = split(start, end);
    Ok(Hash::node(&range(reader, start, middle)?, &range(reader, middle, end)?))
}

/// `start` plus the largest power of two smaller than the length, which is at least 2.
fn split(start: u64, end: u64) -> u64 {
    start + (1 << (63 - (end - start - 1).leading_zeros()))
}
