//! What operators and analysts do, as one closed list: the body of `POST /api/strongroom/v1/…` and of the wall.

use serde::{Deserialize, Serialize};
use strongroom_domain::{Action, Compartment, RepoKind, RepoName, Role};

use crate::access::AccessCommand;
use crate::alert::{AlertCommand, DecoyCommand};
use crate::approval::ApprovalCommand;
use crate::incident::IncidentCommand;
use crate::partner::PartnerCommand;
use crate::review::ReviewCommand;
use crate::seal::SealCommand;
use crate::share::ShareCommand;
pub use crate::tile::{LogTile, TileLevel};

/// A command. In JSON: `{"command": "user.create", …}`; on the wall the same in postcard's form.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum AdminCommand {
    /// Make a principal, and the namespace of its name.
    UserCreate {
        /// What it is called.
        name: String,
    },
    /// All principals.
    UserList,
    /// One principal.
    UserShow {
        /// Which.
        name: String,
    },
    /// Remove a principal: its tokens and roles end.
    UserRemove {
        /// Which.
        name: String,
    },
    /// Say to which `age1…` recipient a principal's sealed deliveries are encrypted.
    UserRecipient {
        /// Whose.
        name: String,
        /// A native one; `None` takes it away.
        recipient: Option<String>,
    },
    /// Forget who claimed a principal, so that it can be claimed again.
    UserUnclaim {
        /// Which.
        name: String,
    },
    /// Give a role.
    RoleGrant {
        /// To whom.
        user: String,
        /// Which.
        role: Role,
        /// Where.
        place: PlaceName,
    },
    /// Take a role.
    RoleRevoke {
        /// From whom.
        user: String,
        /// Which.
        role: Role,
        /// Where.
        place: PlaceName,
    },
    /// Who holds what where.
    RoleList,
    /// Allow or deny one principal one action, beside the roles. A denial wins.
    RoleLine {
        /// Whom.
        user: String,
        /// Which action.
        action: Action,
        /// In which compartment, where the action has them.
        compartment: Option<Compartment>,
        /// Where.
        place: PlaceName,
        /// Allow or deny.
        allow: bool,
        /// Take the line away again.
        remove: bool,
    },
    /// Make an access token; it is shown once.
    TokenCreate {
        /// For whom.
        user: String,
        /// What it is called.
        name: Option<String>,
        /// What it is narrowed to.
        scope: Scope,
        /// Seconds until it ends; the configured maximum is the limit and, where none is given, the default.
        expires_s: Option<u64>,
    },
    /// Exchange the token that is shown for one that nobody else has seen.
    TokenClaim {
        /// What it is called.
        name: Option<String>,
    },
    /// Tokens, of one principal or of all.
    TokenList {
        /// Whose.
        user: Option<String>,
    },
    /// End a token; streams in flight too.
    TokenRevoke {
        /// By its id.
        id: u64,
    },
    /// What repositories there are, as far as the caller may list them.
    RepoList {
        /// Of which kind.
        kind: Option<RepoKind>,
    },
    /// Stop something at once.
    LockAdd {
        /// What.
        subject: LockSubject,
        /// Why, for the log.
        reason: String,
    },
    /// Let it go on.
    LockRemove {
        /// What.
        subject: LockSubject,
    },
    /// What is stopped.
    LockList,
    /// Let keys leave memory: all of them, or a repository's.
    Seal(SealCommand),
    /// A new root key, for which every secret is wrapped anew.
    KeyRotateRoot {
        /// Only the last step, where several servers share the database: the old key opens nothing any more.
        finish: bool,
    },
    /// A step of giving a repository a new secret; what lies between the steps is done on the server's machine.
    KeyRotateRepo {
        /// Of which kind.
        kind: RepoKind,
        /// Which.
        repo: RepoName,
        /// Which step.
        step: RotateStep,
    },
    /// How many bytes a namespace may store.
    QuotaSet {
        /// Which.
        namespace: String,
        /// Bytes; without a number, as many as there is room for.
        bytes: Option<u64>,
    },
    /// What namespaces may store, and what they do.
    QuotaList,
    /// What partners may read.
    Share(ShareCommand),
    /// What waits for a second person.
    Approval(ApprovalCommand),
    /// Who may know of a repository, asks for it, and is given a share.
    Access(AccessCommand),
    /// What was raised.
    Alert(AlertCommand),
    /// What nobody has a reason to touch.
    Decoy(DecoyCommand),
    /// Organisations whose people are here through them.
    Partner(PartnerCommand),
    /// What was given to whom, confirmed or taken.
    Review(ReviewCommand),
    /// Records, newest first.
    AuditSearch(Box<AuditQuery>),
    /// What a credential can reach, and what it read.
    AuditWhat(WhatQuery),
    /// Who can read a repository, and who did.
    AuditWho(WhoQuery),
    /// What somebody could reach and did, with the evidence.
    Incident(IncidentCommand),
    /// Stored leaves with their proof material, for verification by the asker.
    AuditLeaves {
        /// Of which log.
        log: u64,
        /// First record.
        from: u64,
        /// At most so many.
        limit: u32,
    },
    /// The signed checkpoint of the newest state of each log, and the key to check them with.
    AuditCheckpoint,
    /// That of one log, by itself.
    AuditCheckpointOf {
        /// Which.
        log: u64,
    },
    /// A tile of a log.
    AuditTile(LogTile),
    /// Records in their order, opened: for export.
    AuditRecords {
        /// Of which log.
        log: u64,
        /// First record.
        from: u64,
        /// Not before that of this time, in Unix milliseconds.
        since_ms: Option<i64>,
    },
    /// An inclusion proof of one record in the newest tree, or a consistency proof from an older size to it.
    AuditProve {
        /// Of which log.
        log: u64,
        /// The record; `None` for a consistency proof.
        record: Option<u64>,
        /// The older size.
        from_size: Option<u64>,
    },
}

impl AdminCommand {
    /// The action that policy decides on.
    pub fn action(&self) -> Action {
        match self {
            Self::UserCreate { .. }
            | Self::UserList
            | Self::UserShow { .. }
            | Self::UserRemove { .. }
            | Self::UserRecipient { .. }
            | Self::UserUnclaim { .. } => Action::UserManage,
            Self::RoleGrant { .. } | Self::RoleRevoke { .. } | Self::RoleList | Self::RoleLine { .. } => {
                Action::RoleManage
            }
            Self::TokenCreate { .. } | Self::TokenList { .. } | Self::TokenRevoke { .. } => Action::TokenManage,
            Self::RepoList { .. } => Action::RepoList,
            Self::LockAdd { .. } | Self::LockRemove { .. } | Self::LockList => Action::LockManage,
            Self::Seal(_) => Action::SystemSeal,
            Self::KeyRotateRoot { .. } | Self::KeyRotateRepo { .. } => Action::KeyRotate,
            Self::QuotaSet { .. } | Self::QuotaList => Action::QuotaManage,
            Self::Share(command) => command.action(),
            Self::Approval(_) | Self::TokenClaim { .. } => Action::Whoami,
            Self::Access(command) => command.action(),
            Self::Partner(command) => command.action(),
            Self::Review(command) => command.action(),
            Self::Incident(command) => command.action(),
            Self::Alert(_) => Action::AlertRead,
            Self::Decoy(_) => Action::DecoyManage,
            Self::AuditSearch(_)
            | Self::AuditWhat(_)
            | Self::AuditWho(_)
            | Self::AuditLeaves { .. }
            | Self::AuditCheckpoint
            | Self::AuditCheckpointOf { .. }
            | Self::AuditTile(_)
            | Self::AuditRecords { .. }
            | Self::AuditProve { .. } => Action::AuditRead,
        }
    }

    /// Its word in the log: noun and verb.
    pub fn word(&self) -> &'static str {
        match self {
            Self::UserCreate { .. } => "user.create",
            Self::UserList => "user.list",
            Self::UserShow { .. } => "user.show",
            Self::UserRemove { .. } => "user.remove",
            Self::UserRecipient { .. } => "user.recipient",
            Self::UserUnclaim { .. } => "user.unclaim",
            Self::RoleGrant { .. } => "role.grant",
            Self::RoleRevoke { .. } => "role.revoke",
            Self::RoleList => "role.list",
            Self::RoleLine { allow: true, .. } => "role.allow",
            Self::RoleLine { .. } => "role.deny",
            Self::TokenCreate { .. } => "token.create",
            Self::TokenClaim { .. } => "token.claim",
            Self::TokenList { .. } => "token.list",
            Self::TokenRevoke { .. } => "token.revoke",
            Self::RepoList { .. } => "repo.list",
            Self::LockAdd { .. } => "lock.add",
            Self::LockRemove { .. } => "lock.remove",
            Self::LockList => "lock.list",
            Self::Seal(command) => command.word(),
            Self::KeyRotateRoot { .. } | Self::KeyRotateRepo { .. } => "key.rotate",
            Self::QuotaSet { .. } => "quota.set",
            Self::QuotaList => "quota.list",
            Self::Share(command) => command.word(),
            Self::Approval(command) => command.word(),
            Self::Access(command) => command.word(),
            Self::Partner(command) => command.word(),
            Self::Review(command) => command.word(),
            Self::Incident(command) => command.word(),
            Self::Alert(command) => command.word(),
            Self::Decoy(command) => command.word(),
            Self::AuditSearch(_) => "audit.search",
            Self::AuditWhat(_) => "audit.what",
            Self::AuditWho(_) => "audit.who",
            Self::AuditLeaves { .. } => "audit.export",
            Self::AuditCheckpoint | Self::AuditCheckpointOf { .. } => "audit.checkpoint",
            Self::AuditTile(_) => "audit.tile",
            Self::AuditRecords { .. } => "audit.records",
            Self::AuditProve { .. } => "audit.prove",
        }
    }
}

/// What the keeper does of a repository's rotation, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RotateStep {
    /// Make the new secret, or go on with the one of a rotation that died.
    Begin {
        /// Whether payloads will be written anew, for the record.
        re_encrypt: bool,
    },
    /// Refuse writes for a while.
    Close,
    /// The copy is what the repository is from now on.
    Switch {
        /// The close under which the copy was made whole.
        close: u64,
    },
    /// Delete the old secret.
    Finish,
}

/// Where a role is held, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlaceName {
    /// Everywhere.
    System,
    /// A namespace.
    Namespace(String),
    /// A repository.
    Repo(RepoKind, RepoName),
}

/// What a token is narrowed to; an empty list narrows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Only these namespaces.
    pub namespaces: Vec<String>,
    /// Only these repositories.
    pub repos: Vec<RepoName>,
    /// Only these actions.
    pub actions: Vec<Action>,
    /// Only these compartments.
    pub compartments: Vec<Compartment>,
}

/// What a lock stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockSubject {
    /// A principal, by name.
    User(String),
    /// A token, by id.
    Token(u64),
    /// A share, by id: all tokens of it.
    Share(u64),
    /// A partner organisation, by name: all of its people, with all of their tokens.
    Partner(String),
    /// A repository.
    Repo(RepoKind, RepoName),
}

/// What a search asks for; all that is given must match.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AuditQuery {
    /// By whom.
    pub principal: Option<String>,
    /// About which repository.
    pub repo: Option<(RepoKind, RepoName)>,
    /// What was done.
    pub action: Option<String>,
    /// `allowed`, `denied`, `malformed`, `error`, `done`.
    pub outcome: Option<String>,
    /// With which token.
    pub token: Option<u64>,
    /// By any of the people that this partner organisation has or had.
    #[serde(default)]
    pub partner: Option<String>,
    /// Of which share: what was done through it, and about it.
    #[serde(default)]
    pub share: Option<u64>,
    /// From where.
    pub address: Option<String>,
    /// Where the decision reached this compartment.
    #[serde(default)]
    pub compartment: Option<Compartment>,
    /// About files whose path begins so.
    #[serde(default)]
    pub path: Option<String>,
    /// Of the request that the client knows by this id.
    #[serde(default)]
    pub request_id: Option<String>,
    /// Not before, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Before, Unix milliseconds.
    pub until_ms: Option<i64>,
    /// Before this record: the next page. A page may have a next one although it is not full.
    pub before: Option<Cursor>,
    /// At most so many, 1 to 500.
    pub limit: u32,
}

/// A record's place in the order of search, which is that of its fields: a page has the newest first, of all logs. As text:
/// `TIME-LOG-RECORD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// Unix milliseconds.
    pub time_ms: i64,
    /// The log.
    pub log: u64,
    /// The record in it.
    pub seq: u64,
}

impl Cursor {
    /// A place, where there can be one.
    pub fn new(time_ms: i64, log: u64, seq: u64) -> Option<Self> {
        let fits = time_ms >= 0 && i64::try_from(log).is_ok() && i64::try_from(seq).is_ok();
        fits.then_some(Self { time_ms, log, seq })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.time_ms, self.log, self.seq)
    }
}

impl std::str::FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "a place is TIME-LOG-RECORD: the `next` of the page before";
        let numbers: Vec<u64> = text.split('-').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong)?;
        let [time, log, seq] = numbers[..] else { return Err(wrong) };
        i64::try_from(time).ok().and_then(|time| Self::new(time, log, seq)).ok_or(wrong)
    }
}

/// Answers: JSON text that the keeper composed (it never parses any from clients), or bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdminReply {
    /// What is shown.
    pub json: String,
}

/// Whose reach and reading: a principal's, or a token's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatQuery {
    /// All of its tokens.
    pub principal: Option<String>,
    /// One token.
    pub token: Option<u64>,
    /// Reading not before, in Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Reading before, in Unix milliseconds.
    pub until_ms: Option<i64>,
}

/// Of which repository, or of which compartment of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoQuery {
    /// Of which kind.
    pub kind: RepoKind,
    /// Which.
    pub repo: RepoName,
    /// This compartment alone.
    pub compartment: Option<Compartment>,
    /// Reading not before, in Unix milliseconds.
    pub since_ms: Option<i64>,
}
