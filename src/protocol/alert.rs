//! Alerts and decoys: what analysts ask about them, and how alerts go out.

use serde::{Deserialize, Serialize};
use strongroom_domain::{AlertKind, RepoKind, RepoName, RepoPath};

use crate::admin::Cursor;

/// A command about alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlertCommand {
    /// Those that were raised, newest first.
    List {
        /// Only these.
        kind: Option<AlertKind>,
        /// Not before, Unix milliseconds.
        since_ms: Option<i64>,
        /// Before this one: the next page. A page may have a next one although it is not full.
        before: Option<Cursor>,
    },
}

impl AlertCommand {
    /// Its word in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::List { .. } => "alert.list",
        }
    }
}

/// Something that is not there, and that nobody has a reason to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecoySpec {
    /// A repository.
    Repo(RepoKind, RepoName),
    /// A file of a repository that is there.
    Path(RepoKind, RepoName, RepoPath),
    /// An access token, under a name for those who plant it; it authenticates nobody.
    Token(String),
}

/// A command about decoys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecoyCommand {
    /// Plant one.
    Plant(DecoySpec),
    /// All of them.
    List,
    /// Take one away again.
    Remove {
        /// By its number.
        id: u64,
    },
}

impl DecoyCommand {
    /// Its word in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Plant(_) => "decoy.plant",
            Self::List => "decoy.list",
            Self::Remove { .. } => "decoy.remove",
        }
    }
}

/// What a courier is given to deliver: it has no other way to anything of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// Of the alert: a receiver that saw it already drops it.
    pub id: String,
    /// The alert, as JSON.
    pub body: String,
}

/// What a courier says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// The sink has it.
    Taken,
    /// It has not, for this reason.
    Failed(String),
}
