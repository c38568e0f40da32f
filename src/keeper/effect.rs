//! What a change does to policy, as its record says it: no secret and no hash of one.
//!
//! Who replays all effects from the first on has the policy of each generation, with no other source than the log.

use serde::{Deserialize, Serialize};
use strongroom_domain::{RepoKind, RepoName};

use crate::change::{Change, apply_all};
use crate::partner::Partner;
use crate::policy::{Assignment, Line, Policy, PolicyError, PrincipalId, Roles};
use crate::share::{Share, ShareChange};
use crate::state::{Principal, Repo, State, Stop, Token, TokenBody};

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// By these texts a keeper judges from its start on.
    Rules {
        /// `policies/model.conf`.
        model: String,
        /// `policies/roles.csv`.
        roles: String,
        /// `policies/dual-control.toml`.
        #[serde(default)]
        dual_control: String,
    },
    /// A namespace.
    Namespace {
        /// Its number.
        id: u64,
        /// Its name.
        name: String,
    },
    /// A principal.
    Principal {
        /// Its number.
        id: u64,
        /// Its name.
        name: String,
    },
    /// A principal's end, with its tokens, roles and lines.
    Removed {
        /// Its number.
        principal: u64,
    },
    /// A token.
    Token {
        /// Its number.
        id: u64,
        /// Whose.
        principal: u64,
        /// Name and scope.
        body: TokenBody,
        /// Unix milliseconds.
        expires_ms: i64,
    },
    /// A token's end.
    Revoked {
        /// Its number.
        token: u64,
    },
    /// A role given.
    Assign(Assignment),
    /// A role taken.
    Unassign(Assignment),
    /// An allowance or a denial.
    Line(Line),
    /// Its end.
    Unline(Line),
    /// A repository.
    Repo {
        /// Its number.
        id: u64,
        /// Of which kind.
        kind: RepoKind,
        /// Its name.
        name: RepoName,
        /// Its namespace's number.
        namespace: u64,
    },
    /// Another name for it.
    Renamed {
        /// Its number.
        repo: u64,
        /// Its name.
        name: RepoName,
        /// Its namespace's number.
        namespace: u64,
    },
    /// Its end.
    Deleted {
        /// Its number.
        repo: u64,
    },
    /// A lock.
    Stop(Stop),
    /// Its end.
    Unstop(Stop),
    /// A share; its terms, where it has any, are left out.
    Share {
        /// Its number.
        id: u64,
        /// The rest.
        share: Box<Share>,
    },
    /// A share's first use.
    ShareBegan {
        /// Its number.
        share: u64,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// Another life for it.
    ShareLives {
        /// Its number.
        share: u64,
        /// Milliseconds from its beginning on.
        life_ms: i64,
    },
    /// Its terms were accepted.
    ShareAccepted {
        /// Its number.
        share: u64,
        /// By whom.
        principal: u64,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// Its end.
    ShareRevoked {
        /// Its number.
        share: u64,
    },
    /// A partner organisation, as it is from then on.
    Partner {
        /// Its number.
        id: u64,
        /// The rest.
        partner: Box<Partner>,
    },
}

impl Effect {
    /// What a change does to policy, if anything.
    pub fn of(change: &Change) -> Option<Self> {
        Some(match change {
            Change::Namespace(id, name) => Self::Namespace { id: *id, name: name.clone() },
            Change::Principal(id, principal) => Self::Principal { id: *id, name: principal.name.clone() },
            Change::RemovePrincipal(id, _) => Self::Removed { principal: *id },
            Change::Token(id, token) => Self::Token {
                id: *id,
                principal: token.principal.0,
                body: token.body.clone(),
                expires_ms: token.expires_ms,
            },
            Change::RevokeToken(id, _) => Self::Revoked { token: *id },
            Change::Assign(assignment) => Self::Assign(*assignment),
            Change::Unassign(assignment) => Self::Unassign(*assignment),
            Change::Line(line) => Self::Line(*line),
            Change::Unline(line) => Self::Unline(*line),
            Change::Repo(id, repo) => {
                Self::Repo { id: *id, kind: repo.kind, name: repo.name.clone(), namespace: repo.namespace }
            }
            Change::Rename(repo, name, namespace) => {
                Self::Renamed { repo: *repo, name: name.clone(), namespace: *namespace }
            }
            Change::DeleteRepo(repo, _) => Self::Deleted { repo: *repo },
            Change::Stop(stop, ..) => Self::Stop(*stop),
            Change::Unstop(stop) => Self::Unstop(*stop),
            Change::Share(ShareChange::Made(id, share)) => {
                let mut share = share.clone();
                share.body.terms = share.body.terms.map(|_| String::new());
                Self::Share { id: *id, share }
            }
            Change::Share(ShareChange::Began(share, at_ms)) => Self::ShareBegan { share: *share, at_ms: *at_ms },
            Change::Share(ShareChange::Lives(share, life_ms)) => Self::ShareLives { share: *share, life_ms: *life_ms },
            Change::Share(ShareChange::Accepted(share, by, at_ms)) => {
                Self::ShareAccepted { share: *share, principal: by.0, at_ms: *at_ms }
            }
            Change::Partner(id, partner) => Self::Partner { id: *id, partner: partner.clone() },
            Change::Share(ShareChange::Revoked(share, _)) => Self::ShareRevoked { share: *share },
            Change::Rotation(..)
            | Change::Wrapped(_)
            | Change::Quota(..)
            | Change::Recipient(..)
            | Change::Claim(..)
            | Change::Ask(_)
            // A sealed repository is locked, and that is its effect.
            | Change::Seal(_)
            | Change::Decoy(_)
            | Change::Review(_)
            | Change::Act(_) => return None,
        })
    }

    /// Makes a state what it was after this, as far as policy goes.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn apply(&self, at_ms: i64, state: &mut State) -> Result<(), PolicyError> {
        let change = match self.clone() {
            Self::Rules { model, roles, dual_control: _ } => return rules(&model, &roles, state),
            Self::Namespace { id, name } => Change::Namespace(id, name),
            Self::Principal { id, name } => {
                let (created_ms, removed_ms, recipient, claimed_ms) = (at_ms, None, None, None);
                Change::Principal(id, Principal { name, created_ms, removed_ms, recipient, claimed_ms })
            }
            Self::Removed { principal } => Change::RemovePrincipal(principal, at_ms),
            Self::Token { id, principal, body, expires_ms } => {
                let (principal, created_ms) = (PrincipalId(principal), at_ms);
                let (hash, last_used_ms, revoked_ms) = ([0; 32], None, None);
                Change::Token(id, Token { principal, hash, body, created_ms, expires_ms, last_used_ms, revoked_ms })
            }
            Self::Revoked { token } => Change::RevokeToken(token, at_ms),
            Self::Assign(assignment) => Change::Assign(assignment),
            Self::Unassign(assignment) => Change::Unassign(assignment),
            Self::Line(line) => Change::Line(line),
            Self::Unline(line) => Change::Unline(line),
            Self::Repo { id, kind, name, namespace } => {
                Change::Repo(id, Repo::new([0; 16], kind, name, namespace, None, at_ms))
            }
            Self::Renamed { repo, name, namespace } => Change::Rename(repo, name, namespace),
            Self::Deleted { repo } => Change::DeleteRepo(repo, at_ms),
            Self::Stop(stop) => Change::Stop(stop, String::new(), at_ms),
            Self::Unstop(stop) => Change::Unstop(stop),
            Self::Share { id, share } => Change::Share(ShareChange::Made(id, share)),
            Self::ShareBegan { share, at_ms } => Change::Share(ShareChange::Began(share, at_ms)),
            Self::ShareLives { share, life_ms } => Change::Share(ShareChange::Lives(share, life_ms)),
            Self::ShareAccepted { share, principal, at_ms } => {
                Change::Share(ShareChange::Accepted(share, PrincipalId(principal), at_ms))
            }
            Self::Partner { id, partner } => Change::Partner(id, partner),
            Self::ShareRevoked { share } => Change::Share(ShareChange::Revoked(share, at_ms)),
        };
        let generation = state.generation;
        apply_all(vec![change], generation, state)
    }
}

/// Other rules; what was given stays.
fn rules(model: &str, roles: &str, state: &mut State) -> Result<(), PolicyError> {
    let roles = Roles::parse(roles).map_err(|error| PolicyError::Casbin(error.to_string()))?;
    state.policy = Policy::new(model, &roles, state.assignments.iter().copied(), state.lines.iter().copied())?;
    for (id, share) in state.shares.iter().filter(|(_, share)| share.revoked_ms.is_none()) {
        state.policy.share(*id, share.allowance());
    }
    Ok(())
}
