//! Every cap on what a client may send, in one place, with its reason.

/// Bytes of one part of a repository id (`namespace` or `name`): what stock clients accept (`[\w.-]{1,96}`).
pub const NAME_BYTES_MAX: usize = 96;

/// Bytes of a whole file path inside a repository. Git hosts and file systems agree on less than 4 KiB; the log keeps it.
pub const PATH_BYTES_MAX: usize = 1024;

/// Bytes of one segment of a path: `NAME_MAX` of every file system a client would write it to.
pub const PATH_SEGMENT_BYTES_MAX: usize = 255;

/// Directories a path may go through: a look-up opens a sealed node or more for each.
pub const PATH_DEPTH_MAX: usize = 64;

/// Bytes of a branch, tag or other revision as it is written in a URL, decoded.
pub const REVISION_BYTES_MAX: usize = 255;

/// Lines in `policies/compartments.toml`'s rule list: each path of a commit is matched against all of them.
pub const COMPARTMENT_RULES_MAX: usize = 1024;

/// Bytes of one file: no model has a file near it, and every sum of sizes stays far from overflow.
pub const FILE_BYTES_MAX: u64 = 1 << 40;

/// Globs of one share: each line of a listing is matched against all of them.
pub const GLOBS_MAX: usize = 64;

/// Bytes of one of them: a path of usual length.
pub const GLOB_BYTES_MAX: usize = 255;

/// Networks from which one share is read.
pub const NETWORKS_MAX: usize = 64;

/// Bytes of the terms of a share: the keeper holds them in memory, sealed in the row and in each copy of it.
pub const TERMS_BYTES_MAX: usize = 64 * 1024;

/// Fields of one request for access.
pub const ASK_FIELDS_MAX: usize = 16;

/// Bytes of all of them, names included: 500 requests fit an answer.
pub const ASK_BYTES_MAX: usize = 2048;
