//! What may be typed about the log.

use std::path::PathBuf;

use clap::Subcommand;
use strongroom_domain::RepoName;
use strongroom_protocol::admin::Cursor;

use super::{Kind, Remote};

/// Verbs about the log.
#[derive(Subcommand)]
pub enum Audit {
    /// Records, newest first
    Search {
        /// By whom
        #[arg(long)]
        principal: Option<String>,
        /// About which repository
        #[arg(long, value_name = "NS/NAME")]
        repo: Option<RepoName>,
        #[command(flatten)]
        kind: Kind,
        /// What: repo.read, object.open, token.create, …
        #[arg(long)]
        action: Option<String>,
        /// allowed, denied, malformed, done or cut
        #[arg(long)]
        outcome: Option<String>,
        /// With which token
        #[arg(long)]
        token: Option<u64>,
        /// Through which share, and about it
        #[arg(long)]
        share: Option<u64>,
        /// From where
        #[arg(long)]
        address: Option<String>,
        /// Not before: 2h, or 2026-11-24T12:00:00Z
        #[arg(long)]
        since: Option<String>,
        /// Before: 2h, or 2026-11-24T12:00:00Z
        #[arg(long)]
        until: Option<String>,
        /// Records of a page
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// The next page: the `next` of the one before
        #[arg(long)]
        before: Option<Cursor>,
        #[command(flatten)]
        remote: Remote,
    },
    /// What a credential can reach under the policy of now, and exactly what it read
    What {
        /// All tokens of this principal
        #[arg(long, required_unless_present = "token", conflicts_with = "token")]
        principal: Option<String>,
        /// This token alone, also after it was revoked
        #[arg(long)]
        token: Option<u64>,
        /// Reading not before: 2h, or 2026-11-24T12:00:00Z
        #[arg(long)]
        since: Option<String>,
        /// Reading before: 2h, or 2026-11-24T12:00:00Z
        #[arg(long)]
        until: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Recompute the whole tree from stored records, and compare with the signed checkpoint
    Verify {
        /// A checkpoint that was saved earlier: nothing before it may have changed
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// The log's key, as it was saved earlier
        #[arg(long)]
        key: Option<String>,
        /// Offline, on a copy of the data directory's keeper.db
        #[arg(long, value_name = "FILE")]
        database: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// An inclusion proof of one record, checked here
    Prove {
        /// The record's number
        record: u64,
        /// The log it is in: each replica of a server writes one
        #[arg(long, default_value_t = 1)]
        log: u64,
        #[command(flatten)]
        remote: Remote,
    },
    /// The newest signed checkpoint; save it elsewhere
    Checkpoint {
        #[command(flatten)]
        remote: Remote,
    },
}
