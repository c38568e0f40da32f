//! What may be typed about locks.

use clap::{Args, Subcommand};
use strongroom_domain::RepoName;

use super::{Kind, Remote};

/// What a lock stops.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// A principal
    #[arg(long, visible_alias = "principal")]
    pub user: Option<String>,
    /// A token, by id
    #[arg(long)]
    pub token: Option<u64>,
    /// A share, by id: all its tokens
    #[arg(long)]
    pub share: Option<u64>,
    /// A partner organisation: all its people, with all their tokens
    #[arg(long)]
    pub partner: Option<String>,
    /// A repository
    #[arg(long, value_name = "NS/NAME")]
    pub repo: Option<RepoName>,
}

/// Verbs about locks.
#[derive(Subcommand)]
pub enum Lock {
    /// Stop something at once, streams in flight included
    #[command(visible_alias = "create")]
    Add {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        kind: Kind,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let it go on
    Remove {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        kind: Kind,
        #[command(flatten)]
        remote: Remote,
    },
    /// What is stopped
    List {
        #[command(flatten)]
        remote: Remote,
    },
}
