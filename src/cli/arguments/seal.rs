//! What may be typed about seals.

use clap::Args;
use strongroom_domain::RepoName;

use super::{Kind, Remote, Server};

/// Sealing.
#[derive(Args)]
pub struct Seal {
    /// Only this repository: it is locked, and its keys leave memory
    #[arg(long, value_name = "NS/NAME")]
    pub repo: Option<RepoName>,
    #[command(flatten)]
    pub kind: Kind,
    /// Wrap the repository's secret for a key that is cut into shares, such as 2of3, shown once: no server can open it any more
    /// without so many of them
    #[arg(long, value_name = "NofM", requires = "repo")]
    pub shares: Option<String>,
    /// Why, for the log
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Seal nothing: show which repositories are sealed
    #[arg(long, conflicts_with_all = ["repo", "reason"])]
    pub list: bool,
    #[command(flatten)]
    pub remote: Remote,
}

/// Its end.
#[derive(Args)]
pub struct Unseal {
    /// On the machine of a server whose root key lies in a file or a credential: let the servers open
    #[arg(long, conflicts_with = "repo")]
    pub here: bool,
    /// Only this repository; its shares, where it has any, are lines of standard input
    #[arg(long, value_name = "NS/NAME")]
    pub repo: Option<RepoName>,
    #[command(flatten)]
    pub kind: Kind,
    #[command(flatten)]
    pub server: Server,
    #[command(flatten)]
    pub remote: Remote,
}
