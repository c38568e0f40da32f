//! The Merkle tree of the audit log: RFC 6962 hashing, signed checkpoints, proofs, an outside verifier.
