//! The shape of ciphertext: age v1 headers (the envelope) and STREAM payloads, apart and together.
//!
//! An age file is cut in two halves. The [`Header`] wraps one [`FileKey`] for recipients and lies in a database; the
//! payload lies in an object store. Either half alone is noise. `header ‖ payload` is a standard age v1 file
//! (<https://c2sp.org/age>), which the stock `age` opens.
//!
//! Sealing takes recipients only, no secret. age authenticates no sender: that a payload opens says nothing about who
//! made it; digests in sealed tree entries do.

mod header;
mod keys;
mod meta;
mod payload;
mod range;
mod x25519;

pub use header::{HEADER_BYTES_MAX, Header, HeaderError};
pub use keys::{FileKey, Identity, KeyError, Recipient};
pub use meta::{SEALED_EXTRA_BYTES, SealedError, derive, keyed_hash, keyed_hash_is, open_meta, seal_meta};
pub use payload::{NONCE_BYTES, OpenError, Opener, Payload, PayloadError, SealError, Sealer, open_whole, seal_whole};
pub use range::{CHUNK_BYTES, ChunkRange, TAG_BYTES, ciphertext_len, plaintext_len};
