//! Acts that wait for a second person.

use serde::{Deserialize, Serialize};

/// A command about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApprovalCommand {
    /// Those that the asker asked for or could approve.
    List {
        /// Also those that are over.
        all: bool,
    },
    /// One of them.
    Show {
        /// By its id.
        id: u64,
    },
    /// Let it take effect.
    Approve {
        /// By its id.
        id: u64,
    },
    /// End it without effect; whoever asked takes it back so.
    Reject {
        /// By its id.
        id: u64,
        /// Why, for the log.
        reason: String,
    },
}

impl ApprovalCommand {
    /// Its word in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::List { .. } => "approval.list",
            Self::Show { .. } => "approval.show",
            Self::Approve { .. } => "approval.approve",
            Self::Reject { .. } => "approval.reject",
        }
    }
}
