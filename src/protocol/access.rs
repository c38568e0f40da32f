//! Asking for access: a principal to whom a repository was disclosed asks, whoever shares it decides, and what is given is a
//! share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strongroom_domain::{Action, RepoKind, RepoName};

use crate::share::ShareSpec;

/// What became of a request for access, in the words of stock clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessStatus {
    /// Nobody decided yet.
    Pending,
    /// There is a share.
    Accepted,
    /// There is none.
    Rejected,
}

impl AccessStatus {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for AccessStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for AccessStatus {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let all = [Self::Pending, Self::Accepted, Self::Rejected];
        all.into_iter().find(|status| status.word() == word).ok_or("a status is pending, accepted or rejected")
    }
}

/// Whose request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asker {
    /// By name.
    User(String),
    /// By the number of the request.
    Request(u64),
}

/// A command about access to one repository. The first ones are of whoever manages its shares, the others of whoever asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum AccessCommand {
    /// Let a principal know that the repository is there, and ask for it. Nothing of it is shown.
    Disclose {
        /// Of which kind.
        kind: RepoKind,
        /// Which.
        repo: RepoName,
        /// To whom.
        to: String,
    },
    /// The contrary. A request that waits is over.
    Conceal {
        /// Of which kind.
        kind: RepoKind,
        /// Which.
        repo: RepoName,
        /// From whom.
        to: String,
    },
    /// Requests: of one repository, or of all whose shares the asker manages.
    List {
        /// Which.
        of: Option<(RepoKind, RepoName)>,
        /// Only those.
        status: Option<AccessStatus>,
        /// After the request of this number.
        after: Option<u64>,
    },
    /// Accept: a share is made, to no other than whoever asked.
    Approve {
        /// Whose.
        who: Asker,
        /// Also where they did not ask.
        unasked: bool,
        /// Whether the share is with the partner organisation that the asker is one of, or that is called so, and not with them
        /// alone. Whatever its people asked for and waits is then accepted.
        #[serde(default)]
        partner: bool,
        /// What is shared; `to` is not read.
        spec: Box<ShareSpec>,
        /// Why, for the log.
        #[serde(default)]
        reason: String,
    },
    /// Reject. A share that was made is revoked.
    Reject {
        /// Of which kind.
        kind: RepoKind,
        /// Which.
        repo: RepoName,
        /// Whose.
        who: Asker,
        /// Whether it is all that waits of the people of the partner organisation that the asker is one of, or that is called so.
        #[serde(default)]
        partner: bool,
        /// Why; the one who asked is told.
        reason: String,
    },
    /// Let a request that was decided wait again. A share that was made is revoked.
    Reopen {
        /// Of which kind.
        kind: RepoKind,
        /// Which.
        repo: RepoName,
        /// Whose.
        who: Asker,
    },
    /// Ask for access.
    Ask {
        /// Of which kind.
        kind: RepoKind,
        /// Which.
        repo: RepoName,
        /// What the asker says of themselves, by name.
        fields: Vec<(String, String)>,
    },
    /// The asker's own requests.
    Mine,
    /// Take a request back that waits.
    Withdraw {
        /// Of which kind.
        kind: RepoKind,
        /// Which.
        repo: RepoName,
    },
    /// A token of the share that was made for the asker; it is shown once.
    Token {
        /// Of which kind.
        kind: RepoKind,
        /// Which.
        repo: RepoName,
    },
}

impl AccessCommand {
    /// The action that policy decides on.
    pub fn action(&self) -> Action {
        match self {
            Self::Ask { .. } | Self::Mine | Self::Withdraw { .. } | Self::Token { .. } => Action::RepoAsk,
            _ => Action::ShareManage,
        }
    }

    /// Its word in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Disclose { .. } => "access.disclose",
            Self::Conceal { .. } => "access.conceal",
            Self::List { .. } => "access.list",
            Self::Approve { .. } => "access.approve",
            Self::Reject { .. } => "access.reject",
            Self::Reopen { .. } => "access.reopen",
            Self::Ask { .. } => "access.ask",
            Self::Mine => "access.mine",
            Self::Withdraw { .. } => "access.withdraw",
            Self::Token { .. } => "access.token",
        }
    }
}
