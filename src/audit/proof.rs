//! Checks a proof with nothing but hashes: what an outsider runs (RFC 9162 sections 2.1.3.2 and 2.1.4.2).

use crate::hash::Hash;

/// Why a proof does not hold. There is one answer for a stale, a damaged and a forged proof: do not believe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead from what is claimed to the root")]
pub struct ProofError;

/// Checks that the tree of `size` leaves with this root has this leaf hash at `index`.
///
/// # Errors
/// When it does not, or the proof has the wrong length.
pub fn verify_inclusion(index: u64, size: u64, leaf: Hash, path: &[Hash], root: Hash) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return Err(ProofError);
        }
        if node & 1 == 1 || node == last {
            hash = Hash::node(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = Hash::node(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last == 0 && hash == root { Ok(()) } else { Err(ProofError) }
}

/// Checks that the tree of `old_size` leaves is a prefix of the tree of `size` leaves.
///
/// # Errors
/// When it is not: the log was cut, edited, reordered or rolled back; or the proof has the wrong length.
pub fn verify_consistency(
    (old_size, old_root): (u64, Hash),
    (size, root): (u64, Hash),
    path: &[Hash],
) -> Result<(), ProofError> {
    if old_size == 0 || old_size > size {
        return Err(ProofError);
    }
    if old_size == size {
        return if path.is_empty() && old_root == root { Ok(()) } else { Err(ProofError) };
    }
    // A complete old tree is its own first hash, so the proof leaves it out.
    let (first, rest) = if old_size.is_power_of_two() {
        (old_root, path)
    } else {
        let (first, rest) = path.split_first().ok_or(ProofError)?;
        (*first, rest)
    };
    let (mut node, mut last) = (old_size - 1, size - 1);
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    let (mut old_hash, mut hash) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError);
        }
        if node & 1 == 1 || node == last {
            old_hash = Hash::node(sibling, &old_hash);
            hash = Hash::node(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = Hash::node(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last == 0 && old_hash == old_root && hash == root { Ok(()) } else { Err(ProofError) }
}
