//! Rows of any table as they are, out of a database and into one of either kind.

use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::any::{AnyRow, AnyTypeInfoKind};
use sqlx::{AnyConnection, AssertSqlSafe, Column, Row, TypeInfo, ValueRef};

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// NULL.
    Null,
    /// BIGINT.
    Number(i64),
    /// TEXT.
    Text(String),
    /// BLOB.
    Bytes(Vec<u8>),
}

fn cell(row: &AnyRow, at: usize) -> Result<Cell, sqlx::Error> {
    let raw = row.try_get_raw(at)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    match raw.type_info().kind() {
        AnyTypeInfoKind::Text => row.try_get(at).map(Cell::Text),
        AnyTypeInfoKind::Blob => row.try_get(at).map(Cell::Bytes),
        AnyTypeInfoKind::SmallInt | AnyTypeInfoKind::Integer | AnyTypeInfoKind::BigInt => {
            row.try_get(at).map(Cell::Number)
        }
        _ => Err(sqlx::Error::Decode(format!("a column of type {}", raw.type_info().name()).into())),
    }
}

/// Every row of a table: the names of its columns, and its values. One row is in memory at a time.
///
/// # Errors
/// Whatever the database or `each` says.
pub async fn read_rows<E: From<sqlx::Error>>(
    tx: &mut AnyConnection,
    table: &'static str,
    mut each: impl FnMut(&[String], Vec<Cell>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rows = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {table}"))).fetch(tx);
    let mut columns = Vec::new();
    while let Some(row) = rows.try_next().await? {
        if columns.is_empty() {
            columns = row.columns().iter().map(|column| column.name().to_owned()).collect::<Vec<_>>();
        }
        each(&columns, (0..columns.len()).map(|at| cell(&row, at)).collect::<Result<_, _>>()?)?;
    }
    Ok(())
}

/// Whether a table has no row.
///
/// # Errors
/// Whatever the database says.
pub async fn is_empty(tx: &mut AnyConnection, table: &'static str) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(format!("SELECT COUNT(*) AS rows FROM {table}"))).fetch_one(tx).await?;
    Ok(row.try_get::<i64, _>("rows")? == 0)
}

/// Takes all rows out of a table.
///
/// # Errors
/// Whatever the database says.
pub async fn clear(tx: &mut AnyConnection, table: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(format!("DELETE FROM {table}"))).execute(tx).await?;
    Ok(())
}

/// Parameters of one statement, at most: SQLite takes 32,766.
const PARAMETERS: usize = 1000;

/// Writes rows as [`read_rows`] gave them.
///
/// # Errors
/// Whatever the database says; also for a column's name that is none, or a row of another length: rows come from a file.
pub async fn write_rows(
    tx: &mut AnyConnection,
    table: &'static str,
    columns: &[String],
    rows: &[Vec<Cell>],
) -> Result<(), sqlx::Error> {
    let is_name =
        |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if !columns.iter().all(is_name) || columns.is_empty() || rows.iter().any(|row| row.len() != columns.len()) {
        return Err(sqlx::Error::Encode(format!("a row that is none of {table}").into()));
    }
    for rows in rows.chunks((PARAMETERS / columns.len()).max(1)) {
        let mut number = 0;
        let mut value = |cell: &Cell| match cell {
            // Without a type: PostgreSQL takes it for any column.
            Cell::Null => "NULL".to_owned(),
            _ => {
                number += 1;
                format!("${number}")
            }
        };
        let values: Vec<String> =
            rows.iter().map(|row| format!("({})", row.iter().map(&mut value).collect::<Vec<_>>().join(", "))).collect();
        // A constant, names that were looked at, and numbers of parameters.
        let text = format!("INSERT INTO {table} ({}) VALUES {}", columns.join(", "), values.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(text));
        for cell in rows.iter().flatten() {
            query = match cell {
                Cell::Null => query,
                Cell::Number(number) => query.bind(*number),
                Cell::Text(text) => query.bind(text.clone()),
                Cell::Bytes(bytes) => query.bind(bytes.clone()),
            };
        }
        query.execute(&mut *tx).await?;
    }
    Ok(())
}
