//! What the keeper knows, in memory: loaded at the start, changed only after the change is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use sqlx::Row;
use strongroom_domain::{Action, Compartment, RepoKind, RepoName, Role};
use strongroom_envelope::{Identity, Recipient, SealedError, keyed_hash};

use crate::act::Act;
use crate::ask::Ask;
use crate::decoy::Decoys;
use crate::keys::{KeyError, OwnKeys, RepoKeys, unwrap_repo};
use crate::orders::Orders;
use crate::partner::Partners;
use crate::policy::{Assignment, Line, Place, Policy, PolicyError, PrincipalId, Roles};
use crate::review::Reviews;
use crate::rotation::Rotation;
use crate::seal::RepoSeal;
use crate::share::Share;

/// Why the state can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database.
    #[error("keeper database: {0}")]
    Database(#[from] sqlx::Error),
    /// A value that does not open: tampered with, or another root key.
    #[error("keeper database: {0}")]
    Sealed(#[from] SealedError),
    /// A value that opens and is not what it should be.
    #[error("keeper database: a {0} that is none")]
    Value(&'static str),
    /// The policy files.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// A person or a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Principal {
    /// As it was given.
    pub name: String,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Removed principals keep their number and their name.
    pub removed_ms: Option<i64>,
    /// `age1…`: for whom sealed deliveries are encrypted.
    pub recipient: Option<String>,
    /// When it exchanged a token that others had seen for one that nobody had, Unix milliseconds.
    pub claimed_ms: Option<i64>,
}

/// What of a token is sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBody {
    /// What it is called.
    pub name: String,
    /// Only in these namespaces, where any is named.
    pub namespaces: Vec<u64>,
    /// Only in these repositories, where any is named.
    pub repos: Vec<u64>,
    /// Only for these actions, where any is named.
    pub actions: Vec<Action>,
    /// Only in these compartments, where any is named.
    pub compartments: Vec<Compartment>,
    /// Only for this share, and then for nothing that the principal may do otherwise.
    pub share: Option<u64>,
    /// Principals who have seen its secret beside its own: who made it, and who had seen theirs.
    #[serde(default)]
    pub hands: Vec<u64>,
}

impl TokenBody {
    /// Whether it is narrowed to nothing.
    pub fn is_whole(&self) -> bool {
        let Self { name: _, namespaces, repos, actions, compartments, share, hands: _ } = self;
        namespaces.is_empty() && repos.is_empty() && actions.is_empty() && compartments.is_empty() && share.is_none()
    }
}

/// An access token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Token {
    /// Whose.
    pub principal: PrincipalId,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// Name and scope.
    pub body: TokenBody,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Unix milliseconds.
    pub expires_ms: i64,
    /// Unix milliseconds, to the minute.
    pub last_used_ms: Option<i64>,
    /// Unix milliseconds.
    pub revoked_ms: Option<i64>,
}

/// A repository.
#[derive(Serialize, Deserialize)]
pub struct Repo {
    /// What the catalogue knows it by.
    pub catalog_id: [u8; 16],
    /// Of which kind.
    pub kind: RepoKind,
    /// Its current name.
    pub name: RepoName,
    /// Its namespace.
    pub namespace: u64,
    /// Its secret, wrapped to the root recipient; gone when it was deleted. No copy of a change has it, for that would outlive
    /// it.
    #[serde(skip)]
    pub wrapped: Option<Vec<u8>>,
    /// A rotation of its secret.
    #[serde(skip)]
    pub rotation: Option<Rotation>,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Unix milliseconds.
    pub deleted_ms: Option<i64>,
    /// When the newest commit of `main` was made, Unix milliseconds; none before the first.
    pub moved_ms: Option<i64>,
    #[serde(skip)]
    pub(crate) keys: OnceLock<RepoKeys>,
}

impl Repo {
    /// A repository whose secret was not unwrapped yet.
    pub fn new(
        catalog_id: [u8; 16],
        kind: RepoKind,
        name: RepoName,
        namespace: u64,
        wrapped: Option<Vec<u8>>,
        created_ms: i64,
    ) -> Self {
        let (deleted_ms, moved_ms, rotation, keys) = (None, None, None, OnceLock::new());
        Self { catalog_id, kind, name, namespace, wrapped, rotation, created_ms, deleted_ms, moved_ms, keys }
    }

    /// Its keys; unwrapped at first use.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn keys(&self, root: &Identity) -> Result<RepoKeys, KeyError> {
        if let Some(keys) = self.keys.get() {
            return Ok(keys.clone());
        }
        let keys = unwrap_repo(self.wrapped.as_deref().ok_or(KeyError::Damaged)?, root)?;
        Ok(self.keys.get_or_init(|| keys).clone())
    }

    /// Forgets its secrets.
    pub fn shred(&mut self, at_ms: i64) {
        (self.wrapped, self.keys, self.deleted_ms) = (None, OnceLock::new(), Some(at_ms));
        if let Some(rotation) = &mut self.rotation {
            rotation.shred();
        }
    }
}

/// What a lock stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stop {
    /// A principal.
    Principal(u64),
    /// A token.
    Token(u64),
    /// A repository.
    Repo(u64),
    /// A share: all tokens of it.
    Share(u64),
    /// A partner organisation: all of its people.
    Partner(u64),
}

impl Stop {
    /// Its columns.
    pub fn columns(self) -> (&'static str, u64) {
        match self {
            Self::Principal(id) => ("user", id),
            Self::Token(id) => ("token", id),
            Self::Repo(id) => ("repo", id),
            Self::Share(id) => ("share", id),
            Self::Partner(id) => ("partner", id),
        }
    }

    /// From its columns.
    pub fn from_columns(subject: &str, id: u64) -> Option<Self> {
        match subject {
            "user" => Some(Self::Principal(id)),
            "token" => Some(Self::Token(id)),
            "repo" => Some(Self::Repo(id)),
            "share" => Some(Self::Share(id)),
            "partner" => Some(Self::Partner(id)),
            _ => None,
        }
    }
}

/// The policy files' text.
#[derive(Clone)]
pub struct Rules {
    /// `policies/model.conf`.
    pub model: String,
    /// `policies/roles.csv`.
    pub roles: Roles,
}

/// All of it.
pub struct State {
    /// Counts changes, of all keepers on one database together.
    pub generation: u64,
    /// By number.
    pub principals: BTreeMap<u64, Principal>,
    /// By lower-case name.
    pub principal_names: HashMap<String, u64>,
    /// Names by number.
    pub namespaces: BTreeMap<u64, String>,
    /// By lower-case name.
    pub namespace_names: HashMap<String, u64>,
    /// Bytes that a namespace may store, by its number.
    pub quotas: BTreeMap<u64, u64>,
    /// By number.
    pub tokens: BTreeMap<u64, Token>,
    /// By SHA-256.
    pub token_hashes: HashMap<[u8; 32], u64>,
    /// By number.
    pub repos: BTreeMap<u64, Repo>,
    /// By kind and lower-case name: current names, former ones, and those of the deleted.
    pub repo_names: HashMap<(RepoKind, String), u64>,
    /// Who holds which role.
    pub assignments: BTreeSet<Assignment>,
    /// Allowances and denials beside roles.
    pub lines: BTreeSet<Line>,
    /// By number.
    pub shares: BTreeMap<u64, Share>,
    /// Acts that wait for a second person, and those that did, by number.
    pub acts: BTreeMap<u64, Act>,
    /// Requests for access, by number.
    pub asks: BTreeMap<u64, Ask>,
    /// What is not there, and watched.
    pub decoys: Decoys,
    /// Organisations whose people are here through them.
    pub partners: Partners,
    /// Who gave what, and whether it stays.
    pub reviews: Reviews,
    /// Locks, with why and since when.
    pub stops: BTreeMap<Stop, (String, i64)>,
    /// Whether the server is sealed: this process then ends.
    pub sealed: bool,
    /// Repositories that are sealed, each of them locked too.
    pub seals: BTreeMap<u64, RepoSeal>,
    /// What lists show, in their orders.
    pub orders: Orders,
    /// Of the root identities that secrets are wrapped for, the newest first; none where the root key was never rotated.
    pub root_recipients: Vec<Recipient>,
    /// The judge.
    pub policy: Policy,
}

impl State {
    /// Nobody and nothing.
    pub fn new(generation: u64, policy: Policy) -> Self {
        Self {
            generation,
            principals: BTreeMap::new(),
            principal_names: HashMap::new(),
            namespaces: BTreeMap::new(),
            namespace_names: HashMap::new(),
            quotas: BTreeMap::new(),
            tokens: BTreeMap::new(),
            token_hashes: HashMap::new(),
            repos: BTreeMap::new(),
            repo_names: HashMap::new(),
            assignments: BTreeSet::new(),
            lines: BTreeSet::new(),
            shares: BTreeMap::new(),
            acts: BTreeMap::new(),
            asks: BTreeMap::new(),
            decoys: Decoys::default(),
            partners: Partners::default(),
            reviews: Reviews::default(),
            stops: BTreeMap::new(),
            sealed: false,
            seals: BTreeMap::new(),
            orders: Orders::default(),
            root_recipients: Vec::new(),
            policy,
        }
    }

    /// The roles that a principal holds.
    pub fn roles_of(&self, principal: PrincipalId) -> impl Iterator<Item = &Assignment> {
        let first = Assignment { principal, role: Role::ALL[0], place: Place::System };
        self.assignments.range(first..).take_while(move |held| held.principal == principal)
    }

    /// A principal's own allowances and denials.
    pub fn lines_of(&self, principal: PrincipalId) -> impl Iterator<Item = &Line> {
        let (action, compartment) = (Action::ALL[0], None);
        let first = Line { principal, action, compartment, place: Place::System, allow: false };
        self.lines.range(first..).take_while(move |held| held.principal == principal)
    }

    /// The repository of a name, current or former; not a deleted one.
    pub fn repo(&self, kind: RepoKind, name: &RepoName) -> Option<(u64, &Repo)> {
        let id = *self.repo_names.get(&(kind, name.folded()))?;
        self.repos.get(&id).filter(|repo| repo.deleted_ms.is_none()).map(|repo| (id, repo))
    }

    /// A principal that was not removed.
    pub fn principal(&self, name: &str) -> Option<(u64, &Principal)> {
        let id = *self.principal_names.get(&name.to_ascii_lowercase())?;
        self.principals.get(&id).filter(|principal| principal.removed_ms.is_none()).map(|principal| (id, principal))
    }

    /// Changes a repository, and where it stands in lists.
    pub fn with_repo(&mut self, id: u64, change: impl FnOnce(&mut Repo)) {
        if let Some(repo) = self.repos.get_mut(&id) {
            self.orders.remove(repo, id);
            change(repo);
            self.orders.add(repo, id);
        }
    }

    /// The next free number of a map.
    pub fn next<T>(map: &BTreeMap<u64, T>) -> u64 {
        map.last_key_value().map_or(1, |(last, _)| last + 1)
    }
}

/// Recipients from their texts.
///
/// # Errors
/// [`LoadError::Value`].
pub fn recipients<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Recipient>, LoadError> {
    texts.map(|text| text.parse().map_err(|_| LoadError::Value("root recipient"))).collect()
}

/// A place's columns.
pub fn place_columns(place: Place) -> (&'static str, i64) {
    match place {
        Place::System => ("system", 0),
        Place::Namespace(id) => ("namespace", id as i64), // numbered from 1 upwards
        Place::Repo(id) => ("repo", id as i64),
    }
}

/// A place from its columns.
pub fn place_from(word: &str, id: i64) -> Option<Place> {
    let id = u64::try_from(id).ok()?;
    match word {
        "system" => Some(Place::System),
        "namespace" => Some(Place::Namespace(id)),
        "repo" => Some(Place::Repo(id)),
        _ => None,
    }
}

/// The blind index of a name in a table.
pub fn name_index(keys: &OwnKeys, table: &str, folded: &str) -> Vec<u8> {
    keyed_hash(&keys.index, &[table.as_bytes(), folded.as_bytes()])[..16].to_vec()
}

/// A number of a row.
///
/// # Errors
/// [`LoadError`].
pub fn number(row: &sqlx::any::AnyRow, column: &str) -> Result<u64, LoadError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| LoadError::Value("number"))
}
