//! A copy of the database, read without any key: what an outsider verifies.

use std::path::Path;

use sqlx::Row;
use sqlx::any::AnyPoolOptions;

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

/// The logs of a copy, and every stored leaf of each in order, handed to `leaf` with the number of its log. A gap in the
/// numbers ends a log's leaves: what follows it is not at its place.
///
/// # Errors
/// [`SearchError`].
pub async fn read_copy(file: &Path, mut leaf: impl FnMut(u64, &StoredLeaf)) -> Result<Vec<CopiedLog>, SearchError> {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}?mode=ro", file.display());
    let pool = AnyPoolOptions::new().max_connections(1).connect(&url).await?;
    let mut logs = Vec::new();
    for row in
        sqlx::query("SELECT log, checkpoint FROM audit_head WHERE size > 0 ORDER BY log").fetch_all(&pool).await?
    {
        let log = row.try_get::<i64, _>("log")? as u64;
        let mut next = 0;
        loop {
            let page = leaves(&pool, log, next, PAGE).await?;
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
