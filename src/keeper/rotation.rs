//! A rotation of a repository's secret, as the keeper knows it: a second secret, under which a second copy of the repository's
//! rows lies in the catalogue. Before the switch it is the new one, after it the old one. (docs/decisions/0012)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};
use strongroom_envelope::Identity;

use crate::change::{Change, ChangeError};
use crate::keys::{KeyError, RepoKeys, unwrap_repo};
use crate::state::{LoadError, Repo, State};

/// On which side of the switch the other copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// It is being made.
    Pending,
    /// It is what the repository was.
    Previous,
}

impl Step {
    /// As it is stored and shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Previous => "previous",
        }
    }
}

/// A rotation under way.
#[derive(Serialize, Deserialize)]
pub struct Rotation {
    /// How far it is.
    pub step: Step,
    /// What the catalogue knows the other copy by.
    pub catalog_id: [u8; 16],
    /// The other secret, wrapped; gone when the repository was deleted.
    #[serde(skip)]
    pub wrapped: Option<Vec<u8>>,
    /// Times that writes were stopped for it.
    pub closes: u64,
    /// Writes are stopped; where nothing else ends that, it ends at this time (Unix milliseconds).
    pub closed_until_ms: Option<i64>,
    #[serde(skip)]
    keys: OnceLock<RepoKeys>,
}

impl Rotation {
    /// One that begins.
    pub fn new(catalog_id: [u8; 16], wrapped: Vec<u8>) -> Self {
        let (step, wrapped, keys) = (Step::Pending, Some(wrapped), OnceLock::new());
        Self { step, catalog_id, wrapped, closes: 0, closed_until_ms: None, keys }
    }

    /// The same with writes stopped once more until a time, or let go on.
    pub fn with_writes(&self, closed_until_ms: Option<i64>) -> Self {
        let closes = self.closes + u64::from(closed_until_ms.is_some());
        let (step, catalog_id, wrapped, keys) = (self.step, self.catalog_id, self.wrapped.clone(), self.keys.clone());
        Self { step, catalog_id, wrapped, closes, closed_until_ms, keys }
    }

    /// The keys of the other copy.
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

    /// Lets the keys leave memory.
    pub fn forget_keys(&mut self) {
        self.keys = OnceLock::new();
    }

    /// Forgets the secret; what the catalogue may still hold of it stays known.
    pub fn shred(&mut self) {
        (self.wrapped, self.keys) = (None, OnceLock::new());
    }
}

impl Repo {
    /// Whether its writes are stopped.
    pub fn is_closed(&self) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| rotation.closed_until_ms.is_some())
    }

    /// The number up to which closes are over and led to nothing.
    pub fn reopened(&self) -> Option<u64> {
        let rotation = self.rotation.as_ref().filter(|rotation| rotation.step == Step::Pending)?;
        (rotation.closes > 0 && rotation.closed_until_ms.is_none()).then_some(rotation.closes)
    }
}

/// A step.
#[derive(Serialize, Deserialize)]
pub enum RotationChange {
    /// It begins, or writes are stopped for it, or go on.
    Set(Rotation),
    /// The two copies change places.
    Switch,
    /// The other secret is deleted.
    End,
}

impl RotationChange {
    /// Writes it.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn write(&self, id: u64, tx: &mut AnyConnection) -> Result<(), ChangeError> {
        let id = id as i64;
        let query = match self {
            Self::Set(rotation) => sqlx::query(
                "INSERT INTO rotation (repo, step, catalog_id, secret, closes, closed_until_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (repo) DO UPDATE SET step = excluded.step, \
                 catalog_id = excluded.catalog_id, secret = excluded.secret, closes = excluded.closes, \
                 closed_until_ms = excluded.closed_until_ms",
            )
            .bind(id)
            .bind(rotation.step.word())
            .bind(rotation.catalog_id.to_vec())
            .bind(rotation.wrapped.clone())
            .bind(rotation.closes as i64)
            .bind(rotation.closed_until_ms),
            Self::Switch => {
                let text = "SELECT r.catalog_id, r.secret, t.catalog_id AS other_id, t.secret AS other FROM repo r \
                            JOIN rotation t ON t.repo = r.id WHERE r.id = $1";
                let row = sqlx::query(text).bind(id).fetch_one(&mut *tx).await?;
                let (now, secret): (Vec<u8>, Vec<u8>) = (row.try_get("catalog_id")?, row.try_get("secret")?);
                let (next, other): (Vec<u8>, Vec<u8>) = (row.try_get("other_id")?, row.try_get("other")?);
                sqlx::query("UPDATE repo SET catalog_id = $1, secret = $2 WHERE id = $3")
                    .bind(next)
                    .bind(other)
                    .bind(id)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(
                    "UPDATE rotation SET step = 'previous', catalog_id = $1, secret = $2, closed_until_ms = NULL \
                     WHERE repo = $3",
                )
                .bind(now)
                .bind(secret)
                .bind(id)
            }
            Self::End => sqlx::query("DELETE FROM rotation WHERE repo = $1").bind(id),
        };
        query.execute(tx).await?;
        Ok(())
    }

    /// Applies it in memory.
    pub fn apply(self, repo: &mut Repo) {
        match self {
            Self::Set(rotation) => repo.rotation = Some(rotation),
            Self::Switch => {
                let Some(rotation) = &mut repo.rotation else { return };
                std::mem::swap(&mut repo.catalog_id, &mut rotation.catalog_id);
                std::mem::swap(&mut repo.wrapped, &mut rotation.wrapped);
                std::mem::swap(&mut repo.keys, &mut rotation.keys);
                (rotation.step, rotation.closed_until_ms) = (Step::Previous, None);
            }
            Self::End => repo.rotation = None,
        }
    }
}

/// Reads all rotations.
///
/// # Errors
/// [`LoadError`].
pub async fn load(tx: &mut AnyConnection, repos: &mut BTreeMap<u64, Repo>) -> Result<(), LoadError> {
    for row in sqlx::query("SELECT * FROM rotation").fetch_all(&mut *tx).await? {
        let wrong = LoadError::Value("rotation");
        let (id, closes): (i64, i64) = (row.try_get("repo")?, row.try_get("closes")?);
        let catalog_id: Vec<u8> = row.try_get("catalog_id")?;
        let step = match row.try_get::<String, _>("step")?.as_str() {
            "pending" => Step::Pending,
            "previous" => Step::Previous,
            _ => return Err(wrong),
        };
        let Some(repo) = repos.get_mut(&(id as u64)) else { return Err(wrong) };
        repo.rotation = Some(Rotation {
            step,
            catalog_id: catalog_id.try_into().map_err(|_| wrong)?,
            wrapped: row.try_get("secret")?,
            closes: closes as u64,
            closed_until_ms: row.try_get("closed_until_ms")?,
            keys: OnceLock::new(),
        });
    }
    Ok(())
}

/// Repositories whose secrets changes are about.
#[derive(Default)]
pub struct Touched {
    all: bool,
    repos: BTreeSet<u64>,
}

impl Touched {
    /// Notes a change.
    pub fn note(&mut self, change: &Change) {
        match change {
            Change::Repo(id, _) | Change::Rotation(id, _) => drop(self.repos.insert(*id)),
            Change::Seal(change) => self.repos.extend(change.repo()),
            Change::Wrapped(_) => self.all = true,
            _ => {}
        }
    }
}

/// A repository's number, its secret, that of its other copy, and the one that is sealed with shares.
type Secrets = Vec<(u64, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>)>;

/// Secrets as they are stored now.
///
/// # Errors
/// [`LoadError`].
pub async fn stored_secrets(tx: &mut AnyConnection, touched: &Touched) -> Result<Secrets, LoadError> {
    const ALL: &str = "SELECT r.id, r.secret, t.secret AS other, s.secret AS sealed FROM repo r \
                       LEFT JOIN rotation t ON t.repo = r.id LEFT JOIN repo_seal s ON s.repo = r.id";
    const ONE: &str = "SELECT r.id, r.secret, t.secret AS other, s.secret AS sealed FROM repo r \
                       LEFT JOIN rotation t ON t.repo = r.id LEFT JOIN repo_seal s ON s.repo = r.id WHERE r.id = $1";
    let mut rows = Vec::new();
    if touched.all {
        rows = sqlx::query(ALL).fetch_all(&mut *tx).await?;
    } else {
        for id in &touched.repos {
            rows.extend(sqlx::query(ONE).bind(*id as i64).fetch_all(&mut *tx).await?);
        }
    }
    let secrets = |row: &sqlx::any::AnyRow| {
        let id = row.try_get::<i64, _>("id")? as u64;
        Ok((id, row.try_get("secret")?, row.try_get("other")?, row.try_get("sealed")?))
    };
    rows.iter().map(secrets).collect()
}

/// Puts them into what is known.
pub fn keep_secrets(secrets: Secrets, state: &mut State) {
    for (id, secret, other, sealed) in secrets {
        if let Some(seal) = state.seals.get_mut(&id) {
            seal.wrapped = sealed;
        }
        let Some(repo) = state.repos.get_mut(&id) else { continue };
        repo.wrapped = secret;
        if let Some(rotation) = &mut repo.rotation {
            rotation.wrapped = other;
        }
    }
}

/// What the catalogue knows a repository by, and its other copy.
pub type Copies = BTreeMap<i64, (Vec<u8>, Option<Vec<u8>>)>;

/// Of every repository. Two views of the two databases fit together only where no repository that both know was rotated in
/// between.
///
/// # Errors
/// Whatever the database says.
pub async fn copies(tx: &mut strongroom_database::Tx) -> Result<Copies, strongroom_database::Error> {
    let text = "SELECT r.id, r.catalog_id, t.catalog_id AS other FROM repo r LEFT JOIN rotation t ON t.repo = r.id";
    let rows = sqlx::query(text).fetch_all(&mut **tx).await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, (row.try_get("catalog_id")?, row.try_get("other")?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_copy_of_a_change_has_a_secret() {
        let secret = vec![0xA5; 64];
        let name = "admin/one".parse().unwrap();
        let repo = Repo::new([1; 16], strongroom_domain::RepoKind::Model, name, 1, Some(secret.clone()), 0);
        let wrapped = crate::change::Wrapped {
            roots: Vec::new(),
            instance: vec![("secret".to_owned(), secret.clone())],
            repos: vec![(1, secret.clone())],
            rotations: vec![(1, secret.clone())],
        };
        let set = RotationChange::Set(Rotation::new([2; 16], secret));
        for change in [Change::Repo(1, repo), Change::Rotation(1, set), Change::Wrapped(wrapped)] {
            let body = postcard::to_stdvec(&vec![change]).unwrap();
            assert!(!body.windows(8).any(|window| window == [0xA5; 8]));
        }
    }
}
