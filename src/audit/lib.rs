//! The Merkle tree of the audit log: RFC 6962 hashing, signed checkpoints, proofs, an outside verifier.
//!
//! Nothing here reads a database or a clock, and nothing here opens a record: leaves are hashed as they are stored,
//! sealed. So the same code runs in the keeper that appends, in the command that verifies a copy offline, and in a test.
//!
//! - [`tree`] computes roots and proofs from the hashes of complete subtrees, whoever stores those.
//! - [`proof`] checks a proof with nothing but two roots.
//! - [`note`] and [`checkpoint`] are the text forms that an outsider keeps.
//! - [`cosignature`] is what a witness adds to a checkpoint, and [`witness`] how it is asked and what it must check.
//! - [`tile`] is the layout in which the hashes are published.

pub mod checkpoint;
pub mod cosignature;
mod hash;
pub mod note;
pub mod proof;
pub mod tile;
pub mod tree;
pub mod witness;

pub use checkpoint::Checkpoint;
pub use hash::Hash;
