//! Rows that the writer writes beside the tree: leaves, and what is noted with a record.

use std::sync::OnceLock;

use sqlx::AnyConnection;

use super::leaf::StoredLeaf;

const COLUMNS: &str = "INSERT INTO audit_leaf (log, seq, time_ms, action, outcome, generation, principal_index, repo_index, \
                       token_index, address_index, body_sealed, heads) VALUES ";
const COLUMN_COUNT: usize = 12;

/// Rows of one statement: each statement is a way to the server and back, and each of these texts is prepared once.
const ROWS: [usize; 12] = [64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];
static TEXTS: [[OnceLock<String>; ROWS.len()]; 2] = [const { [const { OnceLock::new() }; ROWS.len()] }; 2];

/// PostgreSQL wants its parameters numbered; SQLite's driver looks each one's name up in a list of all of them, unless they
/// have none.
fn text(rows: usize, numbered: bool) -> String {
    let parameter = |n: usize| if numbered { format!("${n}") } else { "?".to_owned() };
    let row = |at: usize| {
        let row: Vec<String> = (1..=COLUMN_COUNT).map(|n| parameter(at * COLUMN_COUNT + n)).collect();
        format!("({})", row.join(", "))
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!("{COLUMNS}{}", rows.join(", "))
}

pub(super) async fn insert(
    tx: &mut AnyConnection,
    numbered: bool,
    mut leaves: &[StoredLeaf],
) -> Result<(), sqlx::Error> {
    while let Some(at) = ROWS.iter().position(|rows| *rows <= leaves.len()) {
        let (now, later) = leaves.split_at(ROWS[at]);
        let mut query = sqlx::query(TEXTS[usize::from(numbered)][at].get_or_init(|| text(ROWS[at], numbered)).as_str());
        for leaf in now {
            query = query
                .bind(leaf.log as i64)
                .bind(leaf.seq as i64)
                .bind(leaf.time_ms)
                .bind(leaf.action.clone())
                .bind(leaf.outcome.clone())
                .bind(leaf.generation as i64)
                .bind(leaf.principal_index.clone())
                .bind(leaf.repo_index.clone())
                .bind(leaf.token_index.clone())
                .bind(leaf.address_index.clone())
                .bind(leaf.body_sealed.clone())
                .bind(leaf.heads.clone());
        }
        query.execute(&mut *tx).await?;
        leaves = later;
    }
    Ok(())
}

pub(super) async fn note_use(tx: &mut AnyConnection, token: u64, time_ms: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE token SET last_used_ms = $1 WHERE id = $2")
        .bind(time_ms)
        .bind(token as i64)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn note_move(
    tx: &mut AnyConnection,
    repo: u64,
    moved_ms: i64,
    by: (u64, u64),
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE repo SET moved_ms = $1, moved_log = $2, moved_seq = $3 WHERE id = $4")
        .bind(moved_ms)
        .bind(by.0 as i64)
        .bind(by.1 as i64)
        .bind(repo as i64)
        .execute(tx)
        .await?;
    Ok(())
}
