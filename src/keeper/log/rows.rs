//! Rows that the writer writes beside the tree: many of a kind at once, and what is noted with a record.

use std::sync::OnceLock;

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection};

use super::leaf::StoredLeaf;

/// Rows of one statement: each statement is a way to the server and back, and each of these texts is prepared once.
const ROWS: [usize; 12] = [64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];

/// A statement that writes rows of so many columns, and its texts.
pub(super) struct Shape<const COLUMNS: usize> {
    begins: &'static str,
    texts: [[OnceLock<String>; ROWS.len()]; 2],
}

impl<const COLUMNS: usize> Shape<COLUMNS> {
    /// One that begins so, up to the first row.
    pub(super) const fn new(begins: &'static str) -> Self {
        Self { begins, texts: [const { [const { OnceLock::new() }; ROWS.len()] }; 2] }
    }

    /// PostgreSQL wants its parameters numbered; SQLite's driver looks each one's name up in a list of all of them, unless they
    /// have none.
    fn text(&self, rows: usize, numbered: bool) -> String {
        let parameter = |n: usize| if numbered { format!("${n}") } else { "?".to_owned() };
        let row = |at: usize| {
            let row: Vec<String> = (1..=COLUMNS).map(|n| parameter(at * COLUMNS + n)).collect();
            format!("({})", row.join(", "))
        };
        let rows: Vec<String> = (0..rows).map(row).collect();
        format!("{}{}", self.begins, rows.join(", "))
    }
}

/// Writes them, each bound by `bind`.
pub(super) async fn insert<const COLUMNS: usize, T>(
    tx: &mut AnyConnection,
    numbered: bool,
    shape: &'static Shape<COLUMNS>,
    rows: Vec<T>,
    bind: impl Fn(Query<'static, Any, AnyArguments>, T) -> Query<'static, Any, AnyArguments>,
) -> Result<(), sqlx::Error> {
    let mut rows = rows.into_iter();
    while let Some(at) = ROWS.iter().position(|many| *many <= rows.len()) {
        let text = shape.texts[usize::from(numbered)][at].get_or_init(|| shape.text(ROWS[at], numbered));
        rows.by_ref().take(ROWS[at]).fold(sqlx::query(text.as_str()), &bind).execute(&mut *tx).await?;
    }
    Ok(())
}

static LEAVES: Shape<12> = Shape::new(
    "INSERT INTO audit_leaf (log, seq, time_ms, action, outcome, generation, principal_index, repo_index, \
     token_index, address_index, body_sealed, heads) VALUES ",
);

pub(super) async fn insert_leaves(
    tx: &mut AnyConnection,
    numbered: bool,
    leaves: Vec<StoredLeaf>,
) -> Result<(), sqlx::Error> {
    insert(tx, numbered, &LEAVES, leaves, |query, leaf| {
        query
            .bind(leaf.log as i64)
            .bind(leaf.seq as i64)
            .bind(leaf.time_ms)
            .bind(leaf.action)
            .bind(leaf.outcome)
            .bind(leaf.generation as i64)
            .bind(leaf.principal_index)
            .bind(leaf.repo_index)
            .bind(leaf.token_index)
            .bind(leaf.address_index)
            .bind(leaf.body_sealed)
            .bind(leaf.heads)
    })
    .await
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
