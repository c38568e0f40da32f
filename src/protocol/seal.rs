//! Seals: the server's, and those of single repositories.

use serde::{Deserialize, Serialize};
use strongroom_domain::{RepoKind, RepoName};

use crate::SecretText;

/// A command about them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SealCommand {
    /// End all that is in flight, and let every key leave every process; a server that was sealed stays so over its restarts.
    Server {
        /// Why, for the log.
        reason: String,
    },
    /// The same with one repository.
    Repo {
        /// Of which kind.
        kind: RepoKind,
        /// Which.
        repo: RepoName,
        /// Why, for the log.
        reason: String,
        /// Wrap its secret for a key that is cut into shares, and for nothing that lies on a server: how many of them open it, and
        /// how many there are.
        shares: Option<(u8, u8)>,
    },
    /// Let a repository be read again.
    UnsealRepo {
        /// Of which kind.
        kind: RepoKind,
        /// Which.
        repo: RepoName,
        /// As many as open it, where it is sealed with shares.
        shares: Vec<SecretText>,
    },
    /// Which repositories are sealed.
    List,
}

impl SealCommand {
    /// Its word in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Server { .. } => "system.seal",
            Self::Repo { .. } => "repo.seal",
            Self::UnsealRepo { .. } => "repo.unseal",
            Self::List => "seal.list",
        }
    }
}
