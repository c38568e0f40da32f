//! The Xet upload formats: xorbs, shards and their hashes, verified on every byte.
