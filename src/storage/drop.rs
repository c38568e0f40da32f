//! The end of a repository's rows: when it was deleted, and of the copy that a rotation leaves.

use strongroom_database::Lock;

use crate::catalog::{Catalog, CatalogError, RepoId, now_ms};
use crate::close::{DROPPED, WRITES};
use crate::quota::discount_repo;

impl Catalog {
    /// Drops everything of a repository whose secret is shredded. Payloads that no other repository names become orphans: a
    /// rotation that wraps headers anew leaves them to its copy. A write that is on its way comes before this, or is refused.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing is then dropped.
    pub async fn drop_repo(&self, repo: RepoId) -> Result<(), CatalogError> {
        self.drop_rows(repo, true).await
    }

    /// Drops a copy that a rotation had begun in another way. Nothing reads or counts it yet.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing is then dropped.
    pub async fn drop_copy(&self, repo: RepoId) -> Result<(), CatalogError> {
        self.drop_rows(repo, false).await
    }

    async fn drop_rows(&self, repo: RepoId, for_good: bool) -> Result<(), CatalogError> {
        let mut tx = self.database.begin().await?;
        self.database.lock_at(&mut tx, WRITES, Lock::Exclusive).await?;
        if for_good {
            sqlx::query(
                "INSERT INTO closed (repo, number) VALUES ($1, $2) ON CONFLICT (repo) DO UPDATE SET number = excluded.number",
            )
            .bind(repo.to_vec())
            .bind(DROPPED)
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "INSERT INTO orphan (object, since_ms) SELECT object, $1 FROM (SELECT object FROM envelope WHERE repo = $2 \
             UNION SELECT object FROM upload WHERE repo = $2 UNION SELECT object FROM xorb WHERE repo = $2) AS gone \
             WHERE NOT EXISTS (SELECT 1 FROM envelope e WHERE e.object = gone.object AND e.repo <> $2) \
             AND NOT EXISTS (SELECT 1 FROM upload u WHERE u.object = gone.object AND u.repo <> $2) \
             AND NOT EXISTS (SELECT 1 FROM xorb x WHERE x.object = gone.object AND x.repo <> $2) ON CONFLICT DO NOTHING",
        )
        .bind(now_ms())
        .bind(repo.to_vec())
        .execute(&mut *tx)
        .await?;
        for statement in [
            "DELETE FROM envelope WHERE repo = $1",
            "DELETE FROM content WHERE repo = $1",
            "DELETE FROM upload WHERE repo = $1",
            "DELETE FROM xorb WHERE repo = $1",
            "DELETE FROM tree WHERE repo = $1",
            "DELETE FROM commit_object WHERE repo = $1",
            "DELETE FROM ref WHERE repo = $1",
            "DELETE FROM rotated WHERE repo = $1",
        ] {
            sqlx::query(statement).bind(repo.to_vec()).execute(&mut *tx).await?;
        }
        discount_repo(&mut tx, repo).await?;
        tx.commit().await?;
        self.cache.forget(repo);
        Ok(())
    }

    /// Drops what a repository was before a rotation, and the rotation's own notes.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn end_rotation(&self, old: RepoId, new: RepoId) -> Result<(), CatalogError> {
        self.drop_repo(old).await?;
        sqlx::query("DELETE FROM rotated WHERE repo = $1").bind(new.to_vec()).execute(&self.database.writer).await?;
        Ok(())
    }
}
