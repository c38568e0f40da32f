//! The catalogue's database and its refs.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Row};
use strongroom_database::{Database, Source};
use strongroom_domain::{Commit, Revision};
use strongroom_envelope::{SealedError, keyed_hash, open_meta, seal_meta};
use strongroom_protocol::MetaKeys;

use crate::cache::Cache;
use crate::objects::ObjectError;

/// All tables, for backups.
pub const TABLES: &[&str] = &[
    "ref",
    "commit_object",
    "tree",
    "envelope",
    "content",
    "upload",
    "xorb",
    "orphan",
    "stored",
    "stored_place",
    "closed",
    "rotated",
];

const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/catalog/0001_first.sql"),
    #[cfg(feature = "rehearsal")]
    include_str!("../../migrations/rehearsal/catalog.sql"),
];

/// A repository, as the keeper names it to the gate.
pub type RepoId = [u8; 16];

/// Why the catalogue does not answer.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The disk is full: nothing was changed.
    #[error("the catalogue's disk is full")]
    Full,
    /// The database.
    #[error("catalogue: {0}")]
    Database(String),
    /// A value that does not open: changed, moved, or of another key.
    #[error("catalogue: {0}")]
    Sealed(#[from] SealedError),
    /// A value that opens and is not what it should be.
    #[error("catalogue: a {0} that is none")]
    Value(&'static str),
    /// The object store.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// No randomness.
    #[error("the system gives no random bytes")]
    Randomness,
    /// What the client asked for can't be: a file where a directory is, twins.
    #[error("{0}")]
    Refused(String),
    /// The repository takes no writes while a rotation copies it, or was dropped: nothing was changed.
    #[error("the keys of this repository are being rotated; try again")]
    Closed,
    /// The branch moved meanwhile.
    #[error("the branch was updated meanwhile")]
    Moved,
    /// It is there already.
    #[error("it is there already")]
    Taken,
    /// The namespace may store so many bytes, and no more: nothing was changed.
    #[error("the namespace may store {0} bytes")]
    OverQuota(u64),
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) if inner.is_unique_violation() => Self::Taken,
            // SQLITE_FULL and SQLITE_IOERR_WRITE: the transaction is rolled back.
            sqlx::Error::Database(inner) if matches!(inner.code().as_deref(), Some("13" | "778")) => Self::Full,
            _ => Self::Database(error.to_string()),
        }
    }
}

/// The catalogue.
#[derive(Clone)]
pub struct Catalog {
    pub(crate) database: Database,
    pub(crate) cache: Arc<Cache>,
}

/// A branch or a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefKind {
    /// Moves.
    Branch,
    /// Stays.
    Tag,
}

impl RefKind {
    fn word(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }
}

/// A name for a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// Without `refs/heads/`.
    pub name: String,
    /// Branch or tag.
    pub kind: RefKind,
    /// The commit.
    pub target: Commit,
}

/// Where a branch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The commit.
    pub commit: Commit,
    /// When it was made, Unix milliseconds.
    pub time_ms: i64,
}

/// Values that one statement asks for, at most.
pub(crate) const BATCH: usize = 500;

/// Hex digits of a commit that are enough to ask by.
const SHORT_MIN: usize = 4;

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn bytes20(bytes: Vec<u8>) -> Result<Commit, CatalogError> {
    bytes.try_into().map(Commit::from_bytes).map_err(|_| CatalogError::Value("commit id"))
}

impl Catalog {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn open(source: &Source) -> Result<Self, CatalogError> {
        Ok(Self { database: Self::migrate(source).await?, cache: Arc::default() })
    }

    /// The database alone, with its schema, for rows that come from a backup.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn migrate(source: &Source) -> Result<Database, CatalogError> {
        Ok(Database::open(source, MIGRATIONS).await?)
    }

    /// Opens the database as it is, to read alone.
    ///
    /// # Errors
    /// [`CatalogError`]; also where there is none.
    pub async fn open_to_read(source: &Source) -> Result<Self, CatalogError> {
        Ok(Self { database: Database::open_to_read(source).await?, cache: Arc::default() })
    }

    pub(crate) fn ref_index(shared: &MetaKeys, name: &str) -> Vec<u8> {
        keyed_hash(shared.index.expose(), &[b"ref", name.as_bytes()])[..16].to_vec()
    }

    /// All branches and tags, by name.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn refs(&self, repo: RepoId, shared: &MetaKeys) -> Result<Vec<Ref>, CatalogError> {
        let rows = sqlx::query("SELECT name_index, kind, name_sealed, target FROM ref WHERE repo = $1")
            .bind(repo.to_vec())
            .fetch_all(&self.database.reader)
            .await?;
        let mut refs = Vec::new();
        for row in rows {
            let (index, sealed): (Vec<u8>, Vec<u8>) = (row.try_get("name_index")?, row.try_get("name_sealed")?);
            let name = open_meta(shared.seal.expose(), &[b"ref", &repo, &index], &sealed)?;
            let name = String::from_utf8(name.to_vec()).map_err(|_| CatalogError::Value("reference name"))?;
            let kind = if row.try_get::<String, _>("kind")? == "tag" { RefKind::Tag } else { RefKind::Branch };
            refs.push(Ref { name, kind, target: bytes20(row.try_get("target")?)? });
        }
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(refs)
    }

    /// The branch or tag of this name.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn find_ref(&self, repo: RepoId, shared: &MetaKeys, name: &str) -> Result<Option<Ref>, CatalogError> {
        let index = Self::ref_index(shared, name);
        let query = || {
            sqlx::query("SELECT kind, target FROM ref WHERE repo = $1 AND name_index = $2")
                .bind(repo.to_vec())
                .bind(index.clone())
        };
        let row = self.database.read_one(query).await?;
        let Some(row) = row else { return Ok(None) };
        let kind = if row.try_get::<String, _>("kind")? == "tag" { RefKind::Tag } else { RefKind::Branch };
        Ok(Some(Ref { name: name.to_owned(), kind, target: bytes20(row.try_get("target")?)? }))
    }

    /// The commit of a revision: a branch, a tag, a commit, or the beginning of exactly one commit's id.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn resolve(
        &self,
        repo: RepoId,
        shared: &MetaKeys,
        revision: &Revision,
    ) -> Result<Option<Commit>, CatalogError> {
        let text = revision.to_string();
        let short = revision.short();
        let name = text.strip_prefix("refs/tags/").unwrap_or(short);
        if let Some(found) = self.find_ref(repo, shared, name).await? {
            return Ok(Some(found.target));
        }
        let hex = text.len() >= SHORT_MIN && text.len() <= 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex {
            return Ok(None);
        }
        let bound = |fill: char| -> Result<Vec<u8>, CatalogError> {
            let padded = format!("{}{}", text.to_ascii_lowercase(), fill.to_string().repeat(40 - text.len()));
            let commit: Commit = padded.parse().map_err(|_| CatalogError::Value("commit id"))?;
            Ok(commit.as_bytes().to_vec())
        };
        let rows = sqlx::query("SELECT id FROM commit_object WHERE repo = $1 AND id >= $2 AND id <= $3 LIMIT 2")
            .bind(repo.to_vec())
            .bind(bound('0')?)
            .bind(bound('f')?)
            .fetch_all(&self.database.reader)
            .await?;
        match rows.as_slice() {
            [row] => bytes20(row.try_get("id")?).map(Some),
            _ => Ok(None),
        }
    }

    /// Where a branch of this name is in each of these repositories; those without one are left out.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn heads(
        &self,
        repos: &[(RepoId, &MetaKeys)],
        name: &str,
    ) -> Result<HashMap<RepoId, Head>, CatalogError> {
        let mut heads = HashMap::with_capacity(repos.len());
        for batch in repos.chunks(BATCH / 2) {
            let wanted =
                (0..batch.len()).map(|at| format!("(r.repo = ${} AND r.name_index = ${})", 2 * at + 1, 2 * at + 2));
            let text = format!(
                "SELECT r.repo, r.target, c.time_ms FROM ref r JOIN commit_object c \
                 ON c.repo = r.repo AND c.id = r.target WHERE {}",
                wanted.collect::<Vec<_>>().join(" OR ")
            );
            // Numbers of parameters, and nothing else.
            let mut query = sqlx::query(AssertSqlSafe(text));
            for (repo, shared) in batch {
                query = query.bind(repo.to_vec()).bind(Self::ref_index(shared, name));
            }
            for row in query.fetch_all(&self.database.reader).await? {
                let repo: Vec<u8> = row.try_get("repo")?;
                let repo = repo.try_into().map_err(|_| CatalogError::Value("repository id"))?;
                let head = Head { commit: bytes20(row.try_get("target")?)?, time_ms: row.try_get("time_ms")? };
                heads.insert(repo, head);
            }
        }
        Ok(heads)
    }

    /// Adds a branch or a tag.
    ///
    /// # Errors
    /// [`CatalogError::Taken`] where the name is in use.
    pub async fn add_ref(
        &self,
        repo: RepoId,
        shared: &MetaKeys,
        kind: RefKind,
        name: &str,
        target: Commit,
    ) -> Result<(), CatalogError> {
        let index = Self::ref_index(shared, name);
        let sealed = seal_meta(shared.seal.expose(), &[b"ref", &repo, &index], name.as_bytes());
        let mut tx = self.begin_write(repo).await?;
        sqlx::query("INSERT INTO ref (repo, name_index, kind, name_sealed, target) VALUES ($1, $2, $3, $4, $5)")
            .bind(repo.to_vec())
            .bind(index)
            .bind(kind.word())
            .bind(sealed.map_err(|_| CatalogError::Randomness)?)
            .bind(target.as_bytes().to_vec())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Moves a branch from one commit to another, and only from that one.
    ///
    /// # Errors
    /// [`CatalogError::Moved`].
    pub async fn move_ref(
        &self,
        repo: RepoId,
        shared: &MetaKeys,
        name: &str,
        from: Commit,
        to: Commit,
    ) -> Result<(), CatalogError> {
        let mut tx = self.begin_write(repo).await?;
        let moved = sqlx::query("UPDATE ref SET target = $1 WHERE repo = $2 AND name_index = $3 AND target = $4")
            .bind(to.as_bytes().to_vec())
            .bind(repo.to_vec())
            .bind(Self::ref_index(shared, name))
            .bind(from.as_bytes().to_vec())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        if moved.rows_affected() == 1 { Ok(()) } else { Err(CatalogError::Moved) }
    }

    /// Removes a branch or a tag; whether it was there.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn remove_ref(
        &self,
        repo: RepoId,
        shared: &MetaKeys,
        kind: RefKind,
        name: &str,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.begin_write(repo).await?;
        let removed = sqlx::query("DELETE FROM ref WHERE repo = $1 AND name_index = $2 AND kind = $3")
            .bind(repo.to_vec())
            .bind(Self::ref_index(shared, name))
            .bind(kind.word())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(removed.rows_affected() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_knows_every_table() {
        let text = MIGRATIONS.concat();
        let made = text.split("CREATE TABLE ").skip(1).filter_map(|rest| rest.split([' ', '(']).next());
        assert_eq!(made.collect::<Vec<_>>(), TABLES);
    }
}
