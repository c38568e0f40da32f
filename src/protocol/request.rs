//! What the gate may ask.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use strongroom_domain::{Action, Commit, Compartment, RepoKind, RepoName};

use crate::SecretText;
use crate::admin::AdminCommand;
use crate::reply::Purpose;

/// The number of a grant, while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GrantId(pub u64);

/// What a client shows to say who it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Credential {
    /// An access token.
    Token(SecretText),
    /// A single-purpose ticket that the keeper made for an access token.
    Ticket(SecretText),
}

/// Where a request came from, for its record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// As the client sees it in `X-Request-Id`.
    pub request_id: String,
    /// The client's address.
    pub address: IpAddr,
    /// The route, as `METHOD /pattern`: never the raw URL, which may hold a ticket.
    pub route: String,
}

/// What an action is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Nothing narrower than the server.
    System,
    /// A repository.
    Repo {
        /// Of which kind.
        kind: RepoKind,
        /// By which name, the current one or one it had.
        name: RepoName,
        /// The revision asked for, as the client wrote it.
        revision: Option<String>,
        /// The path asked for.
        path: Option<String>,
    },
    /// What the ticket says.
    Ticket,
}

/// An object that is to be read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its compartment; `None` for the inbox.
    pub compartment: Option<Compartment>,
    /// The commit through which it is read, where it is read through one.
    pub commit: Option<Commit>,
    /// Its path, where it has one.
    pub path: Option<String>,
    /// Its age header.
    pub envelope: Vec<u8>,
    /// Bytes of the whole plaintext.
    pub size: u64,
}

/// An object, and the compartment that its header shall be for. Where it is of another one, its path is the new one.
pub type Rewrapped = (ObjectRef, Compartment);

/// The order of a list, the newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Order {
    /// By when they were made.
    Created,
    /// By when `main` moved.
    Modified,
}

/// Which repositories a list shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListQuery {
    /// Of which kind.
    pub kind: RepoKind,
    /// Only those of this namespace.
    pub author: Option<String>,
    /// Only those whose `NAMESPACE/NAME` has each of these in it, in any case.
    pub words: Vec<String>,
    /// Which comes first.
    pub order: Order,
    /// Only after this place in the list: [`Listed::at`](crate::Listed::at) of the same list.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// A question to the keeper. Each variant has its line in the keeper's permit table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// First of all: the actions of the gate's route table, which must be those of the policy.
    Hello {
        /// Sorted, each once.
        actions: Vec<Action>,
    },
    /// Whether the keeper is sealed.
    Status,
    /// One share of the root key.
    Unseal {
        /// As `init` printed it.
        share: SecretText,
    },
    /// May this be done? Nothing is, before the answer.
    Authorize {
        /// Where from.
        call: Call,
        /// Who.
        credential: Option<Credential>,
        /// What.
        action: Action,
        /// To what.
        target: Target,
    },
    /// Files that the client names in the body of its request: said before they are looked for, as the path of a request is.
    Named {
        /// Under which grant.
        grant: GrantId,
        /// Which.
        paths: Vec<String>,
    },
    /// The file key of one object.
    Open {
        /// Under which grant.
        grant: GrantId,
        /// Which object.
        object: ObjectRef,
        /// First byte of the plaintext that will be sent.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
    /// Break glass: the object's header for a fresh identity, and that identity.
    Recover {
        /// Under which grant, one for `key.recover`.
        grant: GrantId,
        /// Which object.
        object: ObjectRef,
    },
    /// Sealed delivery: the object's header for the recipient of the grant's share. No file key leaves the keeper.
    DeliverSealed {
        /// Under which grant, one through a share that is sealed.
        grant: GrantId,
        /// Which object.
        object: ObjectRef,
    },
    /// Headers of objects, for the compartments that their paths select. The payloads stay as they are. What is of another
    /// compartment is read there with this.
    Rewrap {
        /// Under which grant, one for `repo.write`.
        grant: GrantId,
        /// Each, and the compartment that it shall be of.
        envelopes: Vec<Rewrapped>,
    },
    /// What was really sent of an object: the last word of a grant, which ends with it.
    Delivered {
        /// Under which grant.
        grant: GrantId,
        /// The path, as in [`ObjectRef`].
        path: Option<String>,
        /// First byte asked for.
        start: u64,
        /// The byte after the last asked for.
        end: u64,
        /// Bytes sent.
        bytes: u64,
        /// Whether all of the range was sent.
        complete: bool,
    },
    /// What was asked for is not there, or not for this grant: recorded before it is said, and the last word of the grant.
    Absent {
        /// Under which grant.
        grant: GrantId,
        /// The path asked for.
        path: String,
    },
    /// An upload landed, or a commit is about to be made: recorded before it is visible.
    Wrote {
        /// Under which grant, one for `repo.write` or `repo.manage`.
        grant: GrantId,
        /// What: `upload`, `commit`, `branch.create`, `tag.delete`, …
        what: String,
        /// The revision or the object.
        subject: String,
        /// The digest of what was written.
        digest: Option<String>,
        /// Compartments that change.
        compartments: Vec<Compartment>,
        /// When the commit was made to which `main` moves with this, Unix milliseconds.
        moved_ms: Option<i64>,
        /// Bytes that a commit adds to compartments.
        added: BTreeMap<Compartment, u64>,
    },
    /// A request that reached a route and was refused before any decision.
    Reject {
        /// Where from.
        call: Call,
        /// Why, in our words, without the input.
        reason: String,
        /// The status that was answered.
        status: u16,
    },
    /// Make a repository, if the credential may.
    CreateRepo {
        /// Where from.
        call: Call,
        /// Who.
        credential: Option<Credential>,
        /// Of which kind.
        kind: RepoKind,
        /// The name's owner; `None` for the principal's own.
        namespace: Option<String>,
        /// The name in the namespace.
        name: String,
    },
    /// Give a repository another name; the old one keeps answering.
    MoveRepo {
        /// Where from.
        call: Call,
        /// Who.
        credential: Option<Credential>,
        /// Of which kind.
        kind: RepoKind,
        /// The name it has.
        from: RepoName,
        /// The name it gets.
        to: RepoName,
    },
    /// Shred a repository's secret and entomb its names.
    DeleteRepo {
        /// Where from.
        call: Call,
        /// Who.
        credential: Option<Credential>,
        /// Of which kind.
        kind: RepoKind,
        /// Its name.
        name: RepoName,
    },
    /// A page of the repositories that the credential may see.
    ListRepos {
        /// Where from.
        call: Call,
        /// Who.
        credential: Option<Credential>,
        /// Which of them.
        query: ListQuery,
    },
    /// A ticket for one purpose, under a grant for the same action.
    Ticket {
        /// Under which grant.
        grant: GrantId,
        /// For what.
        purpose: Purpose,
    },
    /// The keeper's numbers.
    Metrics {
        /// Under which grant, one for `metrics.read`.
        grant: GrantId,
    },
    /// Which of these grants are dead?
    Renew {
        /// Those with a stream in flight.
        grants: Vec<GrantId>,
    },
    /// The grants' requests are over.
    Release {
        /// They open nothing from here on.
        grants: Vec<GrantId>,
    },
    /// What an operator or an analyst does.
    Admin {
        /// Where from.
        call: Call,
        /// Who.
        credential: Option<Credential>,
        /// What.
        command: AdminCommand,
    },
}

impl Request {
    /// Its name, for traces.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Status => "status",
            Self::Unseal { .. } => "unseal",
            Self::Authorize { .. } => "authorize",
            Self::Named { .. } => "named",
            Self::Open { .. } => "open",
            Self::Recover { .. } => "recover",
            Self::DeliverSealed { .. } => "deliver sealed",
            Self::Rewrap { .. } => "rewrap",
            Self::Delivered { .. } => "delivered",
            Self::Absent { .. } => "absent",
            Self::Wrote { .. } => "wrote",
            Self::Reject { .. } => "reject",
            Self::CreateRepo { .. } => "create repo",
            Self::MoveRepo { .. } => "move repo",
            Self::DeleteRepo { .. } => "delete repo",
            Self::ListRepos { .. } => "list repos",
            Self::Ticket { .. } => "ticket",
            Self::Metrics { .. } => "metrics",
            Self::Renew { .. } => "renew",
            Self::Release { .. } => "release",
            Self::Admin { .. } => "admin",
        }
    }
}
