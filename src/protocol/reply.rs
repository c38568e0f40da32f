//! What the keeper may answer.

use serde::{Deserialize, Serialize};
use strongroom_domain::{Budget, Compartment, RepoKind, RepoName, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::admin::AdminReply;
use crate::request::GrantId;
use crate::share::Shared;
use crate::{Secret, SecretText};

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No credential at all.
    #[error("this needs an access token")]
    Anonymous,
    /// A credential that is unknown, expired, revoked, locked or malformed: which of them is in the log only.
    #[error("the access token is not valid")]
    Credential,
    /// No such thing, or no right to it: the same answer.
    #[error("not found")]
    NotFound,
    /// A missing right where existence is no secret.
    #[error("{0}")]
    Forbidden(String),
    /// Nothing was done yet: it waits for a second person, under this number.
    #[error("{1}")]
    Pending(u64, String),
    /// Existence is no secret to this one, and nothing more is shown; with what can be done.
    #[error("{0}")]
    Gated(String),
    /// Against the state of things.
    #[error("{0}")]
    Conflict(String),
    /// Not well formed.
    #[error("{0}")]
    Invalid(String),
    /// It would cross the hard line of a budget; in so many seconds there is room for it again, if ever.
    #[error("a budget is spent: {0}; {room}an administrator may raise it", room = room(*.1))]
    OverBudget(Budget, Option<u64>),
    /// What a share allows in bytes or downloads is used.
    #[error("what this share allows to be read is used; whoever shared it can make another")]
    ShareSpent,
    /// Its repository's keys are being rotated: nothing was done, and in so many seconds it can be.
    #[error("the keys of this repository are being rotated; try again in {0} s")]
    Later(u64),
    /// Too few witnesses cosigned the log of late for what is asked to be opened; in so many seconds it may be.
    #[error("{0}")]
    WitnessStale(String, u64),
    /// A witness has seen of the log what can't be: it was rolled back, or there are two.
    #[error("{0}")]
    WitnessConflict(String),
    /// The grant is over: revoked, locked, released, or of another connection.
    #[error("the grant is over")]
    Over,
    /// The keeper waits for shares of its root key.
    #[error("the server is sealed")]
    Sealed,
    /// The log, the database or a key can't be reached: nothing was done.
    #[error("the server can't answer now: {0}")]
    Unavailable(String),
}

fn room(seconds: Option<u64>) -> String {
    seconds.map(|seconds| format!("there is room again in {seconds} s, or ")).unwrap_or_default()
}

/// Keys of sealed metadata: names, sizes, digests of one compartment, or what a whole repository shares.
#[derive(Debug, Clone, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct MetaKeys {
    /// AES-256-GCM-SIV.
    pub seal: Secret<32>,
    /// HMAC-SHA-256, for blind indexes.
    pub index: Secret<32>,
    /// HMAC-SHA-256, by which directories are cut into nodes. It opens nothing, and outlives a rotation: commit ids depend on it.
    pub split: Secret<32>,
}

/// What a grant gives of one compartment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PartKeys {
    /// Which.
    pub compartment: Compartment,
    /// Opens and seals its metadata.
    pub keys: MetaKeys,
    /// Seals content for it (`age1…`).
    pub recipient: String,
}

/// What a grant gives of a repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RepoParts {
    /// What the catalogue knows it by.
    pub id: [u8; 16],
    /// What clients know it by in URLs; a rotation does not change it.
    pub scope: [u8; 16],
    /// In grants to delete: what the catalogue knows another copy of it by, while its keys are rotated.
    pub beside: Option<[u8; 16]>,
    /// In grants to write: closes up to this one are over, and led to nothing.
    pub reopened: Option<u64>,
    /// Of which kind.
    pub kind: RepoKind,
    /// Its current name.
    pub name: RepoName,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// Its namespace's number, by which the catalogue counts what is stored.
    pub place: u64,
    /// Bytes that the namespace may store.
    pub quota: Option<u64>,
    /// Branch names, commit messages.
    pub shared: MetaKeys,
    /// Those that the action is allowed in.
    pub compartments: Vec<PartKeys>,
    /// Compartments whose content comes into one that is not among them only by being sent again.
    pub kept: Vec<Compartment>,
    /// Where uploads land; in grants to write.
    pub inbox: Option<(MetaKeys, String)>,
    /// What the ticket is for, where the credential was one.
    pub purpose: Option<Purpose>,
    /// What alone is shown, where the credential is of a share.
    pub share: Option<Shared>,
}

/// A decision that allows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GrantParts {
    /// Its number.
    pub id: GrantId,
    /// Whom it is for.
    pub principal: String,
    /// Namespaces in which the principal holds a role, and the role's word.
    pub namespaces: Vec<(String, String)>,
    /// The token's name and whether it may write.
    pub token: (String, bool),
    /// The token's making, Unix milliseconds.
    pub token_created_ms: i64,
    /// The repository, where the action has one.
    pub repo: Option<RepoParts>,
}

/// The one thing that a ticket is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Send this LFS object.
    LfsUpload {
        /// Its SHA-256.
        oid: Sha256,
        /// Its bytes.
        size: u64,
    },
    /// Read this LFS object.
    LfsDownload {
        /// Its SHA-256.
        oid: Sha256,
    },
    /// Send xorbs and shards.
    Xet,
}

/// A repository in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listed {
    /// Its place in the list, for the next page; says nothing to whoever has not the keeper's keys.
    pub at: String,
    /// What may be seen of it.
    pub repo: RepoParts,
}

/// The keeper's answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// To `Hello` and `Status`.
    Status {
        /// Shares are missing.
        sealed: bool,
    },
    /// To `Authorize`.
    Granted(Box<GrantParts>),
    /// To `Open`.
    Key(Secret<16>),
    /// To `Recover`: `AGE-SECRET-KEY-1…` and the header for it.
    Recovered(SecretText, Vec<u8>),
    /// To `Rewrap`.
    Envelopes(Vec<Vec<u8>>),
    /// To `CreateRepo`: the grant to write its first commit; whether it was there already.
    Created(Box<GrantParts>),
    /// To `ListRepos`: a part of the list, and after which place to go on; `None` at its end. That there is a place to go on
    /// does not say that anything follows.
    Repos(Vec<Listed>, Option<String>),
    /// To `Ticket`, with the second (Unix) at which it ends.
    Ticket(SecretText, i64),
    /// To `Renew`: those that are over.
    Dead(Vec<GrantId>),
    /// To `Metrics`: the keeper's part of the exposition, without a name in it.
    Metrics(String),
    /// To `Admin`.
    Admin(Box<AdminReply>),
    /// Done and recorded.
    Done,
    /// Not done.
    Refused(Refusal),
}
