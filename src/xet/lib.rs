//! The Xet upload formats: xorbs, shards and their hashes, verified on every byte.
//!
//! A stock `hf upload` (client 1.20 and later) cuts files into chunks, posts them packed in *xorbs*, and then a *shard*
//! that says how files are made of runs of chunks. Formats: xet-core 1.8 (`xet-core-structures`, Apache-2.0). Nothing
//! here stores or trusts: what comes out of [`xorb::verify`] and [`shard::parse`] is bounded and checked.

mod chunk;
mod hash;
mod merkle;
pub mod shard;
pub mod xorb;

pub use chunk::{CHUNK_BYTES_MAX, ChunkError, decode_chunk};
pub use hash::{Hash, HashTextError};
pub use merkle::{FileHasher, range_hash};
