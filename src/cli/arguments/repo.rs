//! What may be typed about repositories.

use clap::Subcommand;
use strongroom_domain::RepoName;

use super::{Kind, Remote};

/// Verbs about repositories.
#[derive(Subcommand)]
pub enum Repo {
    /// Make a repository
    Create {
        /// NAMESPACE/NAME
        name: RepoName,
        #[command(flatten)]
        kind: Kind,
        #[command(flatten)]
        remote: Remote,
    },
    /// Repositories that you may see
    List {
        #[command(flatten)]
        kind: Kind,
        #[command(flatten)]
        remote: Remote,
    },
    /// One repository
    Show {
        /// NAMESPACE/NAME
        name: RepoName,
        #[command(flatten)]
        kind: Kind,
        #[command(flatten)]
        remote: Remote,
    },
    /// Give a repository another name; the old one keeps answering
    Move {
        /// NAMESPACE/NAME that it has
        from: RepoName,
        /// NAMESPACE/NAME that it gets
        to: RepoName,
        #[command(flatten)]
        kind: Kind,
        #[command(flatten)]
        remote: Remote,
    },
    /// Delete a repository: its secret is shredded, its name stays taken
    Remove {
        /// NAMESPACE/NAME
        name: RepoName,
        #[command(flatten)]
        kind: Kind,
        /// Without being asked
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        remote: Remote,
    },
}
