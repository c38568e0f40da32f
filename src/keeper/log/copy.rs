//! The logs as they are stored, read beside the keeper or from a copy, without any key: what an outsider verifies.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool, Row};

use super::leaf::StoredLeaf;
use super::search::{SearchError, leaves};
use crate::witness::{Cosigned, cosigned};

/// Records that are read at once.
const PAGE: u32 = 5000;

/// One log of a copy.
pub struct CopiedLog {
    /// Its number.
    pub log: u64,
    /// The stored checkpoint.
    pub checkpoint: String,
}

/// The logs of a copy.
pub struct CopiedLogs {
    pool: AnyPool,
}

impl CopiedLogs {
    /// Opens the file, for reading alone.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn open(file: &Path) -> Result<Self, SearchError> {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite://{}?mode=ro", file.display());
        Ok(Self { pool: AnyPoolOptions::new().max_connections(1).connect(&url).await? })
    }

    /// All of them.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn logs(&self) -> Result<Vec<CopiedLog>, SearchError> {
        let rows = sqlx::query("SELECT log, checkpoint FROM audit_head WHERE size > 0 ORDER BY log");
        let rows = rows.fetch_all(&self.pool).await?;
        let log = |row: &sqlx::any::AnyRow| -> Result<_, sqlx::Error> {
            Ok(CopiedLog { log: row.try_get::<i64, _>("log")? as u64, checkpoint: row.try_get("checkpoint")? })
        };
        Ok(rows.iter().map(log).collect::<Result<_, _>>()?)
    }

    /// The newest cosigned checkpoint of each log that has one, by number.
    ///
    /// # Errors
    /// [`SearchError`]; also for a copy of before there were any.
    pub async fn cosigned(&self) -> Result<BTreeMap<u64, Cosigned>, SearchError> {
        Ok(cosigned(&self.pool).await?)
    }

    /// Stored leaves of a log from a place on, in order, a page of them; none where there are no more. There may be gaps.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn leaves(&self, log: u64, from: u64) -> Result<Vec<StoredLeaf>, SearchError> {
        leaves(&self.pool, log, from, PAGE).await
    }
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
