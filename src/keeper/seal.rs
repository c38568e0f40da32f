//! Seals: the server's, and those of single repositories. (docs/decisions/0028)
//!
//! A sealed repository is locked too, so that every check of a lock holds for it. With shares, its secret is wrapped for a
//! quorum's identity, which exists only as the shares that people hold; what was wrapped for the root identity is deleted.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};
use strongroom_envelope::{open_meta, seal_meta};

use crate::change::ChangeError;
use crate::keys::OwnKeys;
use crate::state::{LoadError, Repo, State, number};

/// The name of the mark in the table `instance`. It is there while the server is sealed, and is read before any key is.
pub const MARK: &str = "seal";
/// The mark's value from the seal on.
pub const SEALED: &[u8] = b"sealed";
/// The same once whoever has the root key on a server's machine lets it open.
pub const UNSEALING: &[u8] = b"unsealing";

/// A repository's seal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RepoSeal {
    /// Why.
    pub reason: String,
    /// Unix milliseconds.
    pub since_ms: i64,
    /// How many of how many shares open it, where it is sealed with shares.
    pub shares: Option<(u8, u8)>,
    /// Whether it was locked before: it then stays so.
    pub was_locked: bool,
    /// Its secret, wrapped for the identity that is in the shares. No copy of a change has it, for that would outlive it.
    #[serde(skip)]
    pub wrapped: Option<Vec<u8>>,
}

/// One change of them.
#[derive(Serialize, Deserialize)]
pub enum SealChange {
    /// The server's.
    Server,
    /// Its end.
    ServerEnd,
    /// A repository's.
    Repo(u64, RepoSeal),
    /// Its end; with its secret, wrapped for the root identity again, where that was gone.
    RepoEnd(u64, #[serde(skip)] Option<Vec<u8>>),
}

impl Repo {
    /// Lets its keys leave memory. They come back where somebody may use them.
    pub fn forget_keys(&mut self) {
        self.keys = OnceLock::new();
        if let Some(rotation) = &mut self.rotation {
            rotation.forget_keys();
        }
    }
}

impl SealChange {
    /// Of which repository the secret is written.
    pub fn repo(&self) -> Option<u64> {
        match self {
            Self::Server | Self::ServerEnd => None,
            Self::Repo(id, _) | Self::RepoEnd(id, _) => Some(*id),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn write(&self, tx: &mut AnyConnection, keys: &OwnKeys) -> Result<(), ChangeError> {
        let query = match self {
            Self::Server => sqlx::query(
                "INSERT INTO instance (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )
            .bind(MARK.to_owned())
            .bind(SEALED.to_vec()),
            Self::ServerEnd => sqlx::query("DELETE FROM instance WHERE name = $1").bind(MARK.to_owned()),
            Self::Repo(id, seal) => {
                // Postcard into a growing vector fails for no value of these types.
                let body = postcard::to_stdvec(seal).expect("plain values");
                let place: [&[u8]; 2] = [b"repo_seal", &id.to_be_bytes()];
                let body = seal_meta(&keys.seal, &place, &body).map_err(|_| ChangeError::Seal)?;
                if seal.wrapped.is_some() {
                    let text = "UPDATE repo SET secret = NULL WHERE id = $1";
                    sqlx::query(text).bind(*id as i64).execute(&mut *tx).await?;
                }
                sqlx::query("INSERT INTO repo_seal (repo, body_sealed, secret) VALUES ($1, $2, $3)")
                    .bind(*id as i64)
                    .bind(body)
                    .bind(seal.wrapped.clone())
            }
            Self::RepoEnd(id, wrapped) => {
                if let Some(wrapped) = wrapped {
                    let text = "UPDATE repo SET secret = $1 WHERE id = $2 AND deleted_ms IS NULL";
                    sqlx::query(text).bind(wrapped.clone()).bind(*id as i64).execute(&mut *tx).await?;
                }
                sqlx::query("DELETE FROM repo_seal WHERE repo = $1").bind(*id as i64)
            }
        };
        query.execute(tx).await?;
        Ok(())
    }

    /// Applies it in memory.
    pub fn apply(self, state: &mut State) {
        match self {
            Self::Server => state.sealed = true,
            Self::ServerEnd => state.sealed = false,
            Self::Repo(id, seal) => {
                if let Some(repo) = state.repos.get_mut(&id) {
                    repo.forget_keys();
                    if seal.wrapped.is_some() {
                        repo.wrapped = None;
                    }
                }
                state.seals.insert(id, seal);
            }
            Self::RepoEnd(id, wrapped) => {
                if let (Some(repo), Some(wrapped)) = (state.repos.get_mut(&id), wrapped) {
                    repo.wrapped = Some(wrapped);
                }
                state.seals.remove(&id);
            }
        }
    }
}

/// Reads whether the server is sealed, and the repositories' seals.
///
/// # Errors
/// [`LoadError`].
pub async fn load(tx: &mut AnyConnection, keys: &OwnKeys) -> Result<(bool, BTreeMap<u64, RepoSeal>), LoadError> {
    let mark = sqlx::query("SELECT value FROM instance WHERE name = $1")
        .bind(MARK.to_owned())
        .fetch_optional(&mut *tx)
        .await?;
    let mut seals = BTreeMap::new();
    for row in sqlx::query("SELECT repo, body_sealed, secret FROM repo_seal").fetch_all(tx).await? {
        let id = number(&row, "repo")?;
        let sealed: Vec<u8> = row.try_get("body_sealed")?;
        let body = open_meta(&keys.seal, &[b"repo_seal", &id.to_be_bytes()], &sealed)?;
        let seal: RepoSeal = postcard::from_bytes(&body).map_err(|_| LoadError::Value("seal"))?;
        seals.insert(id, RepoSeal { wrapped: row.try_get("secret")?, ..seal });
    }
    Ok((mark.is_some(), seals))
}
