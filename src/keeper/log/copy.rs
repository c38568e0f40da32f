//! A copy of the database, read without any key: what an outsider verifies.

use std::path::Path;

use sqlx::Row;
use sqlx::any::AnyPoolOptions;
use strongroom_audit::Hash;

use super::search::{SearchError, leaves};

/// Records that are read at once.
const PAGE: u32 = 5000;

/// The stored checkpoint, and the hash of every stored leaf in order. A gap in the numbers ends the leaves: what follows
/// it is not at its place.
///
/// # Errors
/// [`SearchError`].
pub async fn read_copy(file: &Path) -> Result<(String, Vec<Hash>), SearchError> {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}?mode=ro", file.display());
    let pool = AnyPoolOptions::new().max_connections(1).connect(&url).await?;
    let row = sqlx::query("SELECT checkpoint FROM audit_head").fetch_one(&pool).await?;
    let mut hashes: Vec<Hash> = Vec::new();
    loop {
        let next = hashes.len() as u64;
        let page = leaves(&pool, next, PAGE).await?;
        let whole = page.iter().zip(next..).take_while(|(leaf, at)| leaf.seq == *at).count();
        hashes.extend(page[..whole].iter().map(super::StoredLeaf::hash));
        if whole < page.len() || page.is_empty() {
            return Ok((row.try_get("checkpoint")?, hashes));
        }
    }
}
