//! Shares: some files of one repository at one revision, for one principal, until a moment.

use serde::{Deserialize, Serialize};
use strongroom_domain::{Action, Commit, Compartment, Network, PathGlobs, RepoKind, RepoName, Revision, Sha256};

use crate::admin::Cursor;

/// What is shared with whom, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShareSpec {
    /// Of which kind.
    pub kind: RepoKind,
    /// Which repository.
    pub repo: RepoName,
    /// At which revision.
    pub revision: Revision,
    /// The commit of that revision. The gate says it, whatever the client wrote here.
    #[serde(default)]
    pub commit: Option<Commit>,
    /// Whether the share follows the branch that `revision` names, and does not stay at the commit of now.
    #[serde(default)]
    pub follow: bool,
    /// With whom: a principal or a partner organisation. No name is that of both.
    pub to: String,
    /// These compartments and no other.
    pub compartments: Vec<Compartment>,
    /// In them, only paths that one of these matches, where any is given.
    #[serde(default)]
    pub paths: PathGlobs,
    /// Seconds for which it can be read.
    pub life_s: u64,
    /// Whether the clock begins with the first use, and not now.
    #[serde(default)]
    pub from_first_use: bool,
    /// Bytes that may be asked for.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// Files that may be opened, each time counted.
    #[serde(default)]
    pub max_downloads: Option<u64>,
    /// Only from these networks, where any is given.
    #[serde(default)]
    pub from: Vec<Network>,
    /// What must be accepted first.
    #[serde(default)]
    pub terms: Option<String>,
    /// Whether files are delivered encrypted to the principal's own recipient, and in no other way.
    #[serde(default)]
    pub sealed: bool,
}

/// A command about shares.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ShareCommand {
    /// Make one, with a token that is shown once.
    Create(Box<ShareSpec>),
    /// Those of the repositories whose shares the asker manages.
    List,
    /// One of them.
    Show {
        /// By its id.
        id: u64,
    },
    /// Let it end so many seconds from now, or, where it was not used yet, after its first use.
    Extend {
        /// By its id.
        id: u64,
        /// Seconds.
        life_s: u64,
    },
    /// End it at once; streams in flight too.
    Revoke {
        /// By its id.
        id: u64,
    },
    /// Another token for it, shown once.
    Token {
        /// By its id.
        id: u64,
        /// For whom of a partner organisation's people; where it is with one principal, for no other.
        #[serde(default)]
        user: Option<String>,
    },
    /// A page of what the log has about the asker's share: their own records with proofs, and the places of the others.
    Record {
        /// Which share; that of the token, where it is of one.
        id: Option<u64>,
        /// How far the logs went when the first page was asked for; none in that question.
        sizes: Vec<(u64, u64)>,
        /// Before this record: the next page.
        before: Option<Cursor>,
    },
    /// The terms of the asker's share.
    Terms,
    /// Accept them.
    Accept {
        /// SHA-256 of the text that was read.
        sha256: Sha256,
    },
}

impl ShareCommand {
    /// The action that policy decides on. Terms are between a share and whoever holds its token.
    pub fn action(&self) -> Action {
        match self {
            Self::Record { .. } | Self::Terms | Self::Accept { .. } => Action::Whoami,
            _ => Action::ShareManage,
        }
    }

    /// Its word in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create(_) => "share.create",
            Self::List => "share.list",
            Self::Show { .. } => "share.show",
            Self::Extend { .. } => "share.extend",
            Self::Revoke { .. } => "share.revoke",
            Self::Token { .. } => "share.token",
            Self::Record { .. } => "share.record",
            Self::Terms => "share.terms",
            Self::Accept { .. } => "share.accept",
        }
    }
}

/// Words in the log of what is done about one share, and not with its tokens.
pub const SHARE_WORDS: [&str; 14] = [
    "approval.approve",
    "share.create",
    "share.show",
    "share.extend",
    "share.revoke",
    "share.token",
    "token.revoke",
    "lock.add",
    "lock.remove",
    "incident.open",
    "access.approve",
    "access.reject",
    "access.reopen",
    "access.token",
];

/// What a grant through a share shows of its repository, beside the compartments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// The commit that is shared.
    pub commit: Commit,
    /// The name of the revision, as it was when the share was made.
    pub revision: Revision,
    /// Whether the commit is the one that the branch of this name is at, and not `commit`.
    pub follow: bool,
    /// The only paths, where there are any.
    pub paths: PathGlobs,
    /// Whether nothing of a file's content leaves in the clear.
    pub sealed: bool,
}

/// Hex digits of a commit that are enough to ask by.
const SHORT_MIN: usize = 4;

impl Shared {
    /// Whether this is the shared commit by one of its names: its id or the beginning of it, the name of its revision, and
    /// `main`, for which stock clients ask.
    pub fn answers(&self, asked: &Revision, commit: Commit) -> bool {
        let short = |revision: &Revision| {
            let text = revision.to_string();
            text.strip_prefix("refs/tags/").map(str::to_owned).unwrap_or(text)
        };
        let (name, text) = (asked.short(), asked.to_string().to_ascii_lowercase());
        name == "main"
            || name == self.revision.short()
            || short(asked) == short(&self.revision)
            || text.len() >= SHORT_MIN && commit.to_string().starts_with(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_answers_to_its_own_names_and_to_main() {
        let commit: Commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        let (revision, paths) = ("v1.0".parse().unwrap(), PathGlobs::default());
        let shared = Shared { commit, revision, follow: false, paths, sealed: false };
        let answers = |text: &str| shared.answers(&text.parse().unwrap(), commit);
        for name in ["main", "refs/heads/main", "v1.0", "refs/tags/v1.0", "0123", "01234567", &commit.to_string()] {
            assert!(answers(name), "{name}");
        }
        for other in ["dev", "v1", "012", "1234", "v1.0x", "0123456789abcdef0123456789abcdef01234568", "refs/pr/1"] {
            assert!(!answers(other), "{other}");
        }
    }
}
