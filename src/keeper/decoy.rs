//! Decoys: repositories, files and tokens that are not there. No list shows one, and whoever asks for one is answered as for
//! anything that is not there; the asking is what counts.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};
use strongroom_domain::{DecoyLock, RepoKind, RepoName};
use strongroom_envelope::{open_meta, seal_meta};
use strongroom_protocol::Credential;

use crate::change::{Change, ChangeError};
use crate::keys::OwnKeys;
use crate::log::{Alarm, Record};
use crate::policy::PrincipalId;
use crate::state::{LoadError, State, Stop, name_index, number};
use crate::token;

/// What one looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bait {
    /// A repository.
    Repo(RepoKind, RepoName),
    /// A file of this repository.
    Path(u64, String),
    /// An access token: its SHA-256, and a name for those who plant it.
    Token([u8; 32], String),
}

impl Bait {
    /// Its word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Repo(..) => "repository",
            Self::Path(..) => "path",
            Self::Token(..) => "token",
        }
    }
}

/// One decoy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoy {
    /// What it looks like.
    pub bait: Bait,
    /// Who planted it; it never locks them.
    pub planter: PrincipalId,
    /// When, Unix milliseconds.
    pub planted_ms: i64,
}

/// All of them.
#[derive(Default)]
pub struct Decoys {
    /// By number.
    pub all: BTreeMap<u64, Decoy>,
    repos: HashMap<(RepoKind, String), u64>,
    paths: HashMap<u64, HashMap<String, u64>>,
    tokens: HashMap<[u8; 32], u64>,
}

impl Decoys {
    /// The one of a repository's name.
    pub fn repo(&self, kind: RepoKind, name: &RepoName) -> Option<u64> {
        self.repos.get(&(kind, name.folded())).copied()
    }

    /// The one of a file of a repository.
    pub fn path(&self, repo: u64, path: &str) -> Option<u64> {
        self.paths.get(&repo)?.get(path).copied()
    }

    fn add(&mut self, id: u64, decoy: Decoy) {
        match &decoy.bait {
            Bait::Repo(kind, name) => drop(self.repos.insert((*kind, name.folded()), id)),
            Bait::Path(repo, path) => drop(self.paths.entry(*repo).or_default().insert(path.clone(), id)),
            Bait::Token(hash, _) => drop(self.tokens.insert(*hash, id)),
        }
        self.all.insert(id, decoy);
    }

    fn remove(&mut self, id: u64) {
        match self.all.remove(&id).map(|decoy| decoy.bait) {
            Some(Bait::Repo(kind, name)) => drop(self.repos.remove(&(kind, name.folded()))),
            Some(Bait::Path(repo, path)) => {
                let left = self.paths.get_mut(&repo).map(|paths| {
                    paths.remove(&path);
                    paths.is_empty()
                });
                if left == Some(true) {
                    self.paths.remove(&repo);
                }
            }
            Some(Bait::Token(hash, _)) => drop(self.tokens.remove(&hash)),
            None => {}
        }
    }
}

/// A change of decoys.
#[derive(Serialize, Deserialize)]
pub enum DecoyChange {
    /// A new one.
    Planted(u64, Box<Decoy>),
    /// Its end.
    Removed(u64),
}

/// Postcard into a growing vector fails for no value of these types.
fn bytes(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain values")
}

/// By what a second one of the same is refused.
fn index(keys: &OwnKeys, bait: &Bait) -> Vec<u8> {
    let text = match bait {
        Bait::Repo(kind, name) => format!("repo/{kind}/{}", name.folded()),
        Bait::Path(repo, path) => format!("path/{repo}/{path}"),
        Bait::Token(hash, _) => format!("token/{hash:?}"),
    };
    name_index(keys, "decoy", &text)
}

impl DecoyChange {
    /// Writes it.
    ///
    /// # Errors
    /// [`ChangeError`]; the transaction is then given up.
    pub async fn write(&self, tx: &mut AnyConnection, keys: &OwnKeys) -> Result<(), ChangeError> {
        let query = match self {
            Self::Planted(id, decoy) => {
                let sealed = seal_meta(&keys.seal, &[b"decoy", &id.to_be_bytes()], &bytes(decoy));
                sqlx::query("INSERT INTO decoy (id, bait_index, body_sealed) VALUES ($1, $2, $3)")
                    .bind(*id as i64)
                    .bind(index(keys, &decoy.bait))
                    .bind(sealed.map_err(|_| ChangeError::Seal)?)
            }
            Self::Removed(id) => sqlx::query("DELETE FROM decoy WHERE id = $1").bind(*id as i64),
        };
        query.execute(tx).await?;
        Ok(())
    }

    /// Applies it in memory, after it is durable.
    pub fn apply(self, state: &mut State) {
        match self {
            Self::Planted(id, decoy) => state.decoys.add(id, *decoy),
            Self::Removed(id) => state.decoys.remove(id),
        }
    }
}

/// Reads all of them.
///
/// # Errors
/// [`LoadError`].
pub async fn load(tx: &mut AnyConnection, keys: &OwnKeys) -> Result<Decoys, LoadError> {
    let mut decoys = Decoys::default();
    for row in sqlx::query("SELECT id, body_sealed FROM decoy").fetch_all(tx).await? {
        let id = number(&row, "id")?;
        let sealed: Vec<u8> = row.try_get("body_sealed")?;
        let body = open_meta(&keys.seal, &[b"decoy", &id.to_be_bytes()], &sealed)?;
        decoys.add(id, postcard::from_bytes(&body).map_err(|_| LoadError::Value("decoy"))?);
    }
    Ok(decoys)
}

/// Notes in the record of a request that names this repository, and its file where it names one, that it touches a decoy. Whether
/// the repository may be seen, and by whom it is asked for, is no matter.
pub fn note(state: &State, kind: RepoKind, name: &RepoName, path: Option<&str>, record: &mut Record) {
    let file = || state.decoys.path(state.repo(kind, name)?.0, path?);
    if let Some(id) = state.decoys.repo(kind, name).or_else(file) {
        alarm(state, id, record);
    }
}

/// Notes that the credential is a decoy.
pub fn note_token(state: &State, credential: Option<&Credential>, record: &mut Record) {
    if let Some(Credential::Token(text)) = credential
        && !state.decoys.tokens.is_empty()
        && let Some(id) = state.decoys.tokens.get(&token::hash(text.expose()))
    {
        alarm(state, *id, record);
    }
}

/// Notes that a decoy is touched.
fn alarm(state: &State, id: u64, record: &mut Record) {
    if let Some(decoy) = state.decoys.all.get(&id) {
        record.alarm = Some(Alarm::Decoy { id, word: decoy.bait.word(), planter: decoy.planter.0 });
    }
}

/// What the touch of a decoy stops, where it is not stopped yet: nobody whose credential does not hold, and not whoever planted it.
pub fn stops(state: &State, lock: DecoyLock, record: &Record) -> Vec<Change> {
    let Some(Alarm::Decoy { id, planter, .. }) = record.alarm else { return Vec::new() };
    let known = record.known && record.principal_id != Some(planter);
    let token = record.token.filter(|_| known && lock != DecoyLock::Nothing).map(Stop::Token);
    let principal = record.principal_id.filter(|_| known && lock == DecoyLock::Principal).map(Stop::Principal);
    let stops = token.into_iter().chain(principal).filter(|stop| !state.stops.contains_key(stop));
    stops.map(|stop| Change::Stop(stop, format!("touched decoy {id}"), record.time_ms)).collect()
}
