//! Writes to a repository stop while a rotation makes its copy whole. The mark lies beside the rows and is looked at in the
//! transaction of each write: one that is acknowledged is in the copy, also one that was on its way when writes stopped.
//!
//! No clock ends a close. The keeper says that it is over, and then never switches to the copy that was made under it; the gate
//! takes the mark away when the keeper's next grant says so.

use sqlx::{AnyConnection, Row};
use strongroom_database::{Lock, Tx};

use crate::catalog::{Catalog, CatalogError, RepoId};
use crate::quota::hand_over;

/// Its place among the locks of the database: writes are beside each other, what stops them is alone.
pub(crate) const WRITES: i64 = -2;

/// Nothing is written to what was dropped: no close is over that is numbered so.
pub(crate) const DROPPED: i64 = i64::MAX;

/// Whether a repository is one of the two whose rows are counted together while writes are stopped: the sweep waits.
pub(crate) async fn is_counted_elsewhere(tx: &mut AnyConnection, repo: &[u8]) -> Result<bool, CatalogError> {
    let row = sqlx::query("SELECT number FROM closed WHERE (repo = $1 OR successor = $1) AND number <> $2")
        .bind(repo.to_vec())
        .bind(DROPPED)
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// Whether nothing more is written to a repository.
pub(crate) async fn is_closed(tx: &mut AnyConnection, repo: &[u8]) -> Result<bool, CatalogError> {
    let row = sqlx::query("SELECT number FROM closed WHERE repo = $1").bind(repo.to_vec()).fetch_optional(tx).await?;
    Ok(row.is_some())
}

impl Catalog {
    /// A transaction that writes to a repository.
    ///
    /// # Errors
    /// [`CatalogError::Closed`].
    pub(crate) async fn begin_write(&self, repo: RepoId) -> Result<Tx, CatalogError> {
        let mut tx = self.database.begin().await?;
        self.database.lock_at(&mut tx, WRITES, Lock::Shared).await?;
        if is_closed(&mut tx, &repo).await? {
            return Err(CatalogError::Closed);
        }
        Ok(tx)
    }

    /// Stops writes to a repository, and counts what it stores as its successor's from now on. Whatever is on its way has
    /// landed when this comes back, or is refused.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn close(&self, repo: RepoId, successor: RepoId, number: u64) -> Result<(), CatalogError> {
        let mut tx = self.database.begin().await?;
        self.database.lock_at(&mut tx, WRITES, Lock::Exclusive).await?;
        sqlx::query(
            "INSERT INTO closed (repo, number, successor) VALUES ($1, $2, $3) ON CONFLICT (repo) \
             DO UPDATE SET number = CASE WHEN excluded.number > closed.number THEN excluded.number ELSE closed.number END",
        )
        .bind(repo.to_vec())
        .bind(number as i64)
        .bind(successor.to_vec())
        .execute(&mut *tx)
        .await?;
        hand_over(&mut tx, repo, successor).await?;
        Ok(tx.commit().await?)
    }

    /// Lets writes go on that a close up to this one stopped: what is stored counts as the repository's own again. Costs a
    /// look where nothing is closed.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn reopen(&self, repo: RepoId, number: u64) -> Result<(), CatalogError> {
        const LOOK: &str = "SELECT successor FROM closed WHERE repo = $1 AND number <= $2";
        let look = || sqlx::query(LOOK).bind(repo.to_vec()).bind(number as i64);
        if look().fetch_optional(&self.database.reader).await?.is_none() {
            return Ok(());
        }
        let mut tx = self.database.begin().await?;
        self.database.lock_at(&mut tx, WRITES, Lock::Exclusive).await?;
        let Some(row) = look().fetch_optional(&mut *tx).await? else { return Ok(()) };
        let successor: Vec<u8> = row.try_get("successor")?;
        let successor = successor.try_into().map_err(|_| CatalogError::Value("repository id"))?;
        hand_over(&mut tx, successor, repo).await?;
        sqlx::query("DELETE FROM closed WHERE repo = $1").bind(repo.to_vec()).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// In the caller's transaction, alone: whether writes are stopped under this close.
    ///
    /// # Errors
    /// [`CatalogError::Closed`] where another rotation has stopped them meanwhile, or they went on.
    pub(crate) async fn is_still_closed(
        &self,
        tx: &mut AnyConnection,
        repo: RepoId,
        number: u64,
    ) -> Result<(), CatalogError> {
        self.database.lock_at(&mut *tx, WRITES, Lock::Exclusive).await?;
        let row =
            sqlx::query("SELECT number FROM closed WHERE repo = $1").bind(repo.to_vec()).fetch_optional(tx).await?;
        let held: Option<i64> = row.map(|row| row.try_get("number")).transpose()?;
        if held == Some(number as i64) { Ok(()) } else { Err(CatalogError::Closed) }
    }
}
