//! Ciphertext in an object store, and the catalogue of what it is: refs, commits, directories, envelopes, uploads.
//!
//! Nothing here holds a key. Whoever calls brings the keys of a grant; what they do not open stays sealed.

mod cache;
mod catalog;
mod check;
mod close;
mod commit;
mod drop;
mod git;
mod history;
mod kept;
mod listing;
mod objects;
mod quota;
mod rotate;
mod tree;
mod upload;

pub use catalog::{Catalog, CatalogError, Head, Ref, RefKind, RepoId, TABLES, now_ms};
pub use check::{Check, CheckKeys, Damage, Tally};
pub use commit::{CommitBody, CommitInfo, Operation, Placed, Root};
pub use git::{blob_id, lfs_pointer};
pub use listing::{Item, Page, View};
pub use objects::{ObjectError, ObjectId, ObjectReader, ObjectWriter, Objects, S3, S3Error};
pub use quota::Quota;
pub use rotate::{Copied, RotateError, Rotated, Rotation, Side};
pub use tree::{Entry, FileEntry};
pub use upload::{Upload, Xorb, XorbChunk};
