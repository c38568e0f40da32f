//! A second copy of a repository's rows, under keys of another secret and another id. (docs/decisions/0012)
//!
//! The copy may be made while the repository is written to, and again for what came since: what is copied is not copied twice,
//! also not by a process that goes on where another died. References come last, alone and with writes stopped. Every value is
//! held against what vouches for it before it gets a new place: what was tampered with is refused, not laundered.
//!
//! Memory holds one node, one run of chunks, a batch of rows, and 64 bytes for each node.

mod inbox;
mod objects;
mod rows;
mod trees;

use std::collections::HashMap;

use sqlx::Row;
use strongroom_envelope::{open_meta, seal_meta};

use crate::catalog::{Catalog, CatalogError, RepoId};
use crate::check::CheckKeys;
use crate::objects::Objects;
use crate::tree::NodeId;
use rows::Rows;

/// Why a repository can't be copied.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The catalogue, or the object store.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Something that does not open, or is not what was committed.
    #[error("{0}; run `strongroom check`")]
    Damaged(String),
}

fn damaged<T>(what: impl Into<String>) -> Result<T, RotateError> {
    Err(RotateError::Damaged(what.into()))
}

/// One of the two copies.
pub struct Side<'a> {
    /// What the catalogue knows it by.
    pub repo: RepoId,
    /// All of its keys.
    pub keys: CheckKeys<'a>,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Copied {
    /// Headers of envelopes, uploads and xorbs that are copied.
    pub headers: u64,
    /// Of so many.
    pub of: u64,
    /// Nodes of directories, by this process.
    pub nodes: u64,
    /// Commits, by this process.
    pub commits: u64,
    /// Bytes of plaintext that were written anew, by this process.
    pub bytes: u64,
}

/// What a whole copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Headers that were wrapped anew; their payloads stay.
    pub rewrapped: u64,
    /// Payloads that were written anew, each under a fresh file key and name.
    pub re_encrypted: u64,
    /// Bytes of plaintext in those.
    pub bytes: u64,
}

/// Makes a copy.
pub struct Rotation<'a> {
    catalog: &'a Catalog,
    objects: &'a Objects,
    old: Side<'a>,
    new: Side<'a>,
    re_encrypt: bool,
    /// Which node became which, by compartment.
    nodes: HashMap<(u8, NodeId), NodeId>,
    rows: Rows,
    copied: Copied,
    progress: &'a mut dyn FnMut(&Copied),
}

impl<'a> Rotation<'a> {
    /// Begins, or goes on; `progress` is called after each step.
    pub fn new(
        catalog: &'a Catalog,
        objects: &'a Objects,
        (old, new): (Side<'a>, Side<'a>),
        re_encrypt: bool,
        progress: &'a mut dyn FnMut(&Copied),
    ) -> Self {
        let (nodes, rows, copied) = (HashMap::new(), Rows::default(), Copied::default());
        Self { catalog, objects, old, new, re_encrypt, nodes, rows, copied, progress }
    }

    /// Copies what is not copied yet, while writes go on.
    ///
    /// # Errors
    /// [`RotateError`]; what was copied until then is of use.
    pub async fn pass(&mut self) -> Result<(), RotateError> {
        self.count().await?;
        self.commits().await?;
        self.inbox().await?;
        self.flush().await
    }

    /// Makes the copy whole while writes are stopped under this close.
    ///
    /// # Errors
    /// [`RotateError`]; [`CatalogError::Closed`] where they are not, or the repository was deleted.
    pub async fn last_pass(&mut self, close: u64) -> Result<(), RotateError> {
        self.pass().await?;
        self.loose_envelopes().await?;
        self.flush().await?;
        self.refs(close).await
    }

    fn step(&mut self) {
        (self.progress)(&self.copied);
    }

    async fn count(&mut self) -> Result<(), RotateError> {
        let text = "SELECT (SELECT COUNT(*) FROM envelope WHERE repo = $1) + (SELECT COUNT(*) FROM upload WHERE repo = $1) \
                    + (SELECT COUNT(*) FROM xorb WHERE repo = $1) AS of_all, \
                    (SELECT COUNT(*) FROM rotated WHERE repo = $2) AS done";
        let row = sqlx::query(text).bind(self.old.repo.to_vec()).bind(self.new.repo.to_vec());
        let row = row.fetch_one(&self.catalog.database.reader).await.map_err(CatalogError::from)?;
        let (of, done): (i64, i64) = (get(&row, "of_all")?, get(&row, "done")?);
        (self.copied.of, self.copied.headers) = (of as u64, done as u64);
        Ok(())
    }

    /// Branches and tags as they are, in place of those that were copied before.
    async fn refs(&mut self, close: u64) -> Result<(), RotateError> {
        let (old, new) = (&self.old, &self.new);
        let text = "SELECT name_index, kind, name_sealed, target FROM ref WHERE repo = $1";
        let mut tx = self.catalog.database.begin().await.map_err(CatalogError::from)?;
        self.catalog.is_still_closed(&mut tx, old.repo, close).await?;
        if crate::close::is_closed(&mut tx, &new.repo).await? {
            return Err(CatalogError::Closed.into());
        }
        sqlx::query("DELETE FROM ref WHERE repo = $1")
            .bind(new.repo.to_vec())
            .execute(&mut *tx)
            .await
            .map_err(CatalogError::from)?;
        let rows = sqlx::query(text).bind(old.repo.to_vec()).fetch_all(&mut *tx).await.map_err(CatalogError::from)?;
        for row in rows {
            let (index, sealed): (Vec<u8>, Vec<u8>) = (get(&row, "name_index")?, get(&row, "name_sealed")?);
            let name = open_meta(old.keys.shared.seal.expose(), &[b"ref", &old.repo, &index], &sealed).ok();
            let name = name.and_then(|name| String::from_utf8(name.to_vec()).ok());
            let Some(name) = name.filter(|name| Catalog::ref_index(old.keys.shared, name) == index) else {
                return damaged("a branch or tag does not open");
            };
            let index = Catalog::ref_index(new.keys.shared, &name);
            let sealed = seal_meta(new.keys.shared.seal.expose(), &[b"ref", &new.repo, &index], name.as_bytes());
            sqlx::query("INSERT INTO ref (repo, name_index, kind, name_sealed, target) VALUES ($1, $2, $3, $4, $5)")
                .bind(new.repo.to_vec())
                .bind(index)
                .bind(get::<String>(&row, "kind")?)
                .bind(sealed.map_err(|_| CatalogError::Randomness)?)
                .bind(get::<Vec<u8>>(&row, "target")?)
                .execute(&mut *tx)
                .await
                .map_err(CatalogError::from)?;
        }
        Ok(tx.commit().await.map_err(CatalogError::from)?)
    }
}

/// A value of a row.
fn get<'r, T>(row: &'r sqlx::any::AnyRow, column: &str) -> Result<T, CatalogError>
where
    T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    Ok(row.try_get(column)?)
}

impl Catalog {
    /// Whether a copy has headers that were wrapped anew and no more: then it is none in which payloads are written anew.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn is_rewrapped(&self, new: RepoId) -> Result<bool, CatalogError> {
        Ok(self.rotated(new).await?.rewrapped > 0)
    }

    /// What the rotation to a copy has done until now.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn rotated(&self, new: RepoId) -> Result<Rotated, CatalogError> {
        let rewrapped = sqlx::query("SELECT COUNT(*) AS count FROM rotated WHERE repo = $1 AND object = anew")
            .bind(new.to_vec())
            .fetch_one(&self.database.reader)
            .await?;
        let text = "SELECT COUNT(*) AS count, CAST(COALESCE(SUM(size), 0) AS BIGINT) AS bytes FROM \
                    (SELECT DISTINCT anew, size FROM rotated WHERE repo = $1 AND object <> anew) AS written";
        let written = sqlx::query(text).bind(new.to_vec()).fetch_one(&self.database.reader).await?;
        let number = |row, column| get::<i64>(row, column).map(|number| number as u64);
        Ok(Rotated {
            rewrapped: number(&rewrapped, "count")?,
            re_encrypted: number(&written, "count")?,
            bytes: number(&written, "bytes")?,
        })
    }
}
