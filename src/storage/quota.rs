//! What a namespace stores: counted in the transaction of what is stored, so that all servers on one database count together.
//!
//! Files count with their plaintext's bytes, each payload once in a repository, from the upload on and for as long as the
//! repository is there: commits keep their history. Xorbs, in which clients send files, are counted apart, up to the same
//! number, until the sweep takes them.

use sqlx::{AnyConnection, Row};

use crate::catalog::{Catalog, CatalogError, RepoId};
use crate::objects::ObjectId;

/// What a write counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The namespace's number.
    pub place: u64,
    /// Bytes that it may store.
    pub bytes: Option<u64>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Files and uploads.
    File,
    /// Xorbs.
    Xorb,
}

impl Counted {
    fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Xorb => "xorb",
        }
    }
}

/// Adds to what a repository stores, and to its namespace's; refused past the quota. The rows are locked to the end of the
/// transaction: of two writes that meet at the limit, one sees the other.
///
/// # Errors
/// [`CatalogError::OverQuota`]; the transaction is then given up.
pub(crate) async fn count(
    tx: &mut AnyConnection,
    repo: RepoId,
    what: Counted,
    quota: Quota,
    bytes: u64,
) -> Result<(), CatalogError> {
    let place = number(quota.place);
    let row = sqlx::query(
        "INSERT INTO stored (repo, what, place, bytes) VALUES ($1, $2, $3, $4) ON CONFLICT (repo, what) \
         DO UPDATE SET bytes = stored.bytes + excluded.bytes RETURNING place, bytes",
    )
    .bind(repo.to_vec())
    .bind(what.word())
    .bind(place)
    .bind(number(bytes))
    .fetch_one(&mut *tx)
    .await?;
    let (counted_at, all): (i64, i64) = (row.try_get("place")?, row.try_get("bytes")?);
    let mut added = number(bytes);
    if counted_at != place {
        // The repository was moved to another namespace: what it stores goes with it.
        add(&mut *tx, counted_at, what, added - all).await?;
        sqlx::query("UPDATE stored SET place = $1 WHERE repo = $2 AND what = $3")
            .bind(place)
            .bind(repo.to_vec())
            .bind(what.word())
            .execute(&mut *tx)
            .await?;
        added = all;
    }
    let used = add(tx, place, what, added).await?;
    match quota.bytes {
        Some(limit) if bytes > 0 && used > number(limit) => Err(CatalogError::OverQuota(limit)),
        _ => Ok(()),
    }
}

async fn add(tx: &mut AnyConnection, place: i64, what: Counted, bytes: i64) -> Result<i64, CatalogError> {
    let row = sqlx::query(
        "INSERT INTO stored_place (place, what, bytes) VALUES ($1, $2, $3) ON CONFLICT (place, what) \
         DO UPDATE SET bytes = stored_place.bytes + excluded.bytes RETURNING bytes",
    )
    .bind(place)
    .bind(what.word())
    .bind(bytes)
    .fetch_one(tx)
    .await?;
    Ok(row.try_get("bytes")?)
}

/// The same for an object that a commit places, unless the repository has it already: from an upload, or in another
/// compartment.
///
/// # Errors
/// As [`count`].
pub(crate) async fn count_object(
    tx: &mut AnyConnection,
    repo: RepoId,
    quota: Quota,
    object: ObjectId,
    bytes: u64,
) -> Result<(), CatalogError> {
    // Nothing is added, but the row is locked: what the next question finds stays so.
    count(&mut *tx, repo, Counted::File, quota, 0).await?;
    let held = sqlx::query(
        "SELECT object FROM envelope WHERE repo = $1 AND object = $2 UNION \
         SELECT object FROM upload WHERE repo = $1 AND object = $2",
    )
    .bind(repo.to_vec())
    .bind(object.0.to_vec())
    .fetch_optional(&mut *tx)
    .await?;
    if held.is_some() { Ok(()) } else { count(tx, repo, Counted::File, quota, bytes).await }
}

/// Takes away what the uploads or xorbs of a repository that are about to be forgotten counted for. An upload that a commit
/// took over still counts. Two servers that sweep at once take it once: the row is locked before what is old is summed.
///
/// # Errors
/// [`CatalogError`].
pub(crate) async fn discount_forgotten(
    tx: &mut AnyConnection,
    repo: &[u8],
    what: Counted,
    before_ms: i64,
) -> Result<(), CatalogError> {
    discount(&mut *tx, repo, what, Some(0)).await?;
    let text = match what {
        Counted::File => {
            "SELECT CAST(COALESCE(SUM(u.size), 0) AS BIGINT) AS bytes FROM upload u WHERE u.repo = $1 AND u.created_ms < $2 \
             AND NOT EXISTS (SELECT 1 FROM envelope e WHERE e.repo = u.repo AND e.object = u.object)"
        }
        Counted::Xorb => {
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) AS bytes FROM xorb WHERE repo = $1 AND created_ms < $2"
        }
    };
    let row = sqlx::query(text).bind(repo.to_vec()).bind(before_ms).fetch_one(&mut *tx).await?;
    discount(tx, repo, what, Some(row.try_get("bytes")?)).await
}

/// Takes bytes, or all of them, from a repository and its namespace.
async fn discount(tx: &mut AnyConnection, repo: &[u8], what: Counted, bytes: Option<i64>) -> Result<(), CatalogError> {
    let row = sqlx::query("UPDATE stored SET bytes = bytes - $1 WHERE repo = $2 AND what = $3 RETURNING place, bytes")
        .bind(bytes.unwrap_or(0))
        .bind(repo.to_vec())
        .bind(what.word())
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let (place, left): (i64, i64) = (row.try_get("place")?, row.try_get("bytes")?);
    add(tx, place, what, -bytes.unwrap_or(left)).await?;
    Ok(())
}

/// Takes away everything that a repository counted for.
///
/// # Errors
/// [`CatalogError`].
pub(crate) async fn discount_repo(tx: &mut AnyConnection, repo: RepoId) -> Result<(), CatalogError> {
    for what in [Counted::File, Counted::Xorb] {
        discount(&mut *tx, &repo, what, None).await?;
    }
    sqlx::query("DELETE FROM stored WHERE repo = $1").bind(repo.to_vec()).execute(tx).await?;
    Ok(())
}

/// Counts what a repository stores as another's; no namespace stores more or less by it.
///
/// # Errors
/// [`CatalogError`].
pub(crate) async fn hand_over(tx: &mut AnyConnection, from: RepoId, to: RepoId) -> Result<(), CatalogError> {
    for what in [Counted::File, Counted::Xorb] {
        let row = sqlx::query("DELETE FROM stored WHERE repo = $1 AND what = $2 RETURNING place, bytes")
            .bind(from.to_vec())
            .bind(what.word())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { continue };
        let (place, bytes): (i64, i64) = (row.try_get("place")?, row.try_get("bytes")?);
        let row = sqlx::query(
            "INSERT INTO stored (repo, what, place, bytes) VALUES ($1, $2, $3, $4) ON CONFLICT (repo, what) \
             DO UPDATE SET bytes = stored.bytes + excluded.bytes RETURNING place",
        )
        .bind(to.to_vec())
        .bind(what.word())
        .bind(place)
        .bind(bytes)
        .fetch_one(&mut *tx)
        .await?;
        let counted_at: i64 = row.try_get("place")?;
        if counted_at != place {
            // The repository was moved to another namespace in between.
            add(&mut *tx, place, what, -bytes).await?;
            add(&mut *tx, counted_at, what, bytes).await?;
        }
    }
    Ok(())
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Catalog {
    /// Bytes of files that a namespace stores.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn stored(&self, place: u64) -> Result<u64, CatalogError> {
        let text = "SELECT bytes FROM stored_place WHERE place = $1 AND what = 'file'";
        let row = self.database.read_one(|| sqlx::query(text).bind(number(place))).await?;
        let bytes: i64 = row.map(|row| row.try_get("bytes")).transpose()?.unwrap_or(0);
        Ok(u64::try_from(bytes).unwrap_or(0))
    }
}
