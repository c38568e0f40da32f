//! The logs as they are stored, read beside the keeper or from a copy, without any key: what an outsider verifies.

use std::path::Path;

use sqlx::{AnyConnection, Row};
use strongroom_database::{Database, Source};

use super::leaf::StoredLeaf;
use super::search::{SearchError, leaves};

/// Records that are read at once.
const PAGE: u32 = 5000;

/// One log of a copy.
pub struct CopiedLog {
    /// Its number.
    pub log: u64,
    /// The stored checkpoint.
    pub checkpoint: String,
}

/// [`read_logs`] of a copy of SQLite's file.
///
/// # Errors
/// [`SearchError`].
pub async fn read_copy(file: &Path, leaf: impl FnMut(u64, &StoredLeaf)) -> Result<Vec<CopiedLog>, SearchError> {
    let mut tx = Database::open_to_read(&Source::File(file.to_owned())).await?.snapshot().await?;
    read_logs(&mut tx, leaf).await
}

/// The logs of a snapshot, and every stored leaf of each in order, handed to `leaf` with the number of its log. A gap in the
/// numbers ends a log's leaves: what follows it is not at its place.
///
/// # Errors
/// [`SearchError`].
pub async fn read_logs(
    tx: &mut AnyConnection,
    mut leaf: impl FnMut(u64, &StoredLeaf),
) -> Result<Vec<CopiedLog>, SearchError> {
    let mut logs = Vec::new();
    let heads = sqlx::query("SELECT log, checkpoint FROM audit_head WHERE size > 0 ORDER BY log");
    for row in heads.fetch_all(&mut *tx).await? {
        let log = row.try_get::<i64, _>("log")? as u64;
        let mut next = 0;
        loop {
            let page = leaves(&mut *tx, log, next, PAGE).await?;
            let whole = page.iter().zip(next..).take_while(|(leaf, at)| leaf.seq == *at).count();
            page[..whole].iter().for_each(|found| leaf(log, found));
            next += whole as u64;
            if whole < page.len() || page.is_empty() {
                break;
            }
        }
        logs.push(CopiedLog { log, checkpoint: row.try_get("checkpoint")? });
    }
    Ok(logs)
}
