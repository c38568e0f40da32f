//! What may be typed about decoys.

use clap::{Args, Subcommand};
use strongroom_domain::{RepoName, RepoPath};

use super::{Kind, Remote};

/// What is planted.
#[derive(Args)]
pub struct Bait {
    /// A repository that is not there
    #[arg(long, value_name = "NS/NAME", required_unless_present = "token", conflicts_with = "token")]
    pub repo: Option<RepoName>,
    /// A file that is not there, of that repository, which is
    #[arg(long, requires = "repo")]
    pub path: Option<RepoPath>,
    /// An access token that authenticates nobody, under this name for those who plant it; it is shown once
    #[arg(long, value_name = "NAME")]
    pub token: Option<String>,
}

/// Verbs about decoys.
#[derive(Subcommand)]
pub enum Decoy {
    /// Plant one. Whoever then asks for it is locked, however they came to its name: choose one that nobody has a reason to
    /// choose, and no file that is there
    Plant {
        #[command(flatten)]
        bait: Bait,
        #[command(flatten)]
        kind: Kind,
        #[command(flatten)]
        remote: Remote,
    },
    /// All of them; no other list shows one
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Take one away again
    Remove {
        /// By the id that `decoy list` shows
        id: u64,
        #[command(flatten)]
        remote: Remote,
    },
}
