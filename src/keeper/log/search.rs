//! Reading the log: pages of records for an analyst, leaves for a verifier.

use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor, Row};
use strongroom_envelope::SealedError;
use strongroom_protocol::SHARE_WORDS;
use strongroom_protocol::admin::Cursor;

use super::leaf::{StoredLeaf, index, number_index};
use super::record::Record;
use crate::keys::OwnKeys;

/// Why the log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The database.
    #[error("audit log: {0}")]
    Database(#[from] sqlx::Error),
    /// A record that does not open at its place: it was edited.
    #[error("audit log: {0}")]
    Sealed(#[from] SealedError),
}

/// A search, with names already turned to numbers.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// By whom.
    pub principal: Option<u64>,
    /// About which repository.
    pub repo: Option<u64>,
    /// With which token.
    pub token: Option<u64>,
    /// With one of these tokens, where any is named.
    pub tokens: Vec<u64>,
    /// With which tokens, if any are named; and what was done with these actions in that repository.
    pub share: Option<(Vec<u64>, u64)>,
    /// From where.
    pub address: Option<String>,
    /// What.
    pub action: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Not before.
    pub since_ms: Option<i64>,
    /// Before.
    pub until_ms: Option<i64>,
    /// Before this record.
    pub before: Option<Cursor>,
    /// At most so many.
    pub limit: u32,
}

const COLUMNS: &str = "SELECT log, seq, time_ms, action, outcome, generation, principal_index, repo_index, token_index, \
                       address_index, body_sealed, heads FROM audit_leaf";

fn leaf(row: &AnyRow) -> Result<StoredLeaf, sqlx::Error> {
    Ok(StoredLeaf {
        log: row.try_get::<i64, _>("log")? as u64,
        seq: row.try_get::<i64, _>("seq")? as u64,
        time_ms: row.try_get("time_ms")?,
        action: row.try_get("action")?,
        outcome: row.try_get("outcome")?,
        generation: row.try_get::<i64, _>("generation")? as u64,
        principal_index: row.try_get("principal_index")?,
        repo_index: row.try_get("repo_index")?,
        token_index: row.try_get("token_index")?,
        address_index: row.try_get("address_index")?,
        body_sealed: row.try_get("body_sealed")?,
        heads: row.try_get("heads")?,
    })
}

enum Value {
    Bytes(Vec<u8>),
    Text(String),
    Number(i64),
}

/// Matching records of all logs, newest first, with their places.
///
/// # Errors
/// [`SearchError`].
pub async fn search(pool: &AnyPool, keys: &OwnKeys, filter: &Filter) -> Result<Vec<(Cursor, Record)>, SearchError> {
    let found = search_leaves(pool, keys, filter).await?;
    found.into_iter().map(|(place, leaf)| Ok((place, leaf.open(keys)?))).collect()
}

/// The same, as they are stored.
///
/// # Errors
/// [`SearchError`].
pub async fn search_leaves(
    pool: &AnyPool,
    keys: &OwnKeys,
    filter: &Filter,
) -> Result<Vec<(Cursor, StoredLeaf)>, SearchError> {
    // The text is made of the constants here only; every value is bound.
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    let mut add = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            values.push(value);
            conditions.push(format!("{condition} ${}", values.len()));
        }
    };
    let number = |column: &str, value: Option<u64>| value.map(|value| number_index(keys, column, Some(value)));
    add("principal_index =", number("principal", filter.principal).map(Value::Bytes));
    add("repo_index =", number("repo", filter.repo).map(Value::Bytes));
    add("token_index =", number("token", filter.token).map(Value::Bytes));
    add("address_index =", filter.address.as_deref().map(|text| Value::Bytes(index(keys, "address", text))));
    add("action =", filter.action.clone().map(Value::Text));
    add("outcome =", filter.outcome.clone().map(Value::Text));
    add("time_ms >=", filter.since_ms.map(Value::Number));
    add("time_ms <", filter.until_ms.map(Value::Number));
    if let Some((tokens, repo)) = &filter.share {
        let first = values.len();
        let indexes = tokens.iter().map(|token| number_index(keys, "token", Some(*token)));
        values.extend(indexes.chain([number_index(keys, "repo", Some(*repo))]).map(Value::Bytes));
        values.extend(SHARE_WORDS.map(|word| Value::Text(word.to_owned())));
        let numbers = |from: usize, count: usize| {
            (from..from + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
        };
        let tokens = tokens.len();
        let made = format!("action IN ({})", numbers(first + tokens + 2, SHARE_WORDS.len()));
        let made = format!("repo_index = ${} AND {made}", first + tokens + 1);
        let through = (tokens > 0).then(|| format!("token_index IN ({}) OR ", numbers(first + 1, tokens)));
        conditions.push(format!("({}{made})", through.unwrap_or_default()));
    }
    if !filter.tokens.is_empty() {
        let first = values.len();
        values.extend(filter.tokens.iter().map(|token| Value::Bytes(number_index(keys, "token", Some(*token)))));
        let numbers: Vec<String> = (first + 1..=values.len()).map(|number| format!("${number}")).collect();
        conditions.push(format!("token_index IN ({})", numbers.join(", ")));
    }
    if let Some(Cursor { time_ms, log, seq }) = filter.before {
        let first = values.len();
        values.extend([time_ms, log as i64, seq as i64].map(Value::Number));
        conditions.push(format!("(time_ms, log, seq) < (${}, ${}, ${})", first + 1, first + 2, first + 3));
    }
    let filtered = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let text = format!("{COLUMNS}{filtered} ORDER BY time_ms DESC, log DESC, seq DESC LIMIT {}", filter.limit);
    let mut query = sqlx::query(AssertSqlSafe(text));
    for value in values {
        query = match value {
            Value::Bytes(bytes) => query.bind(bytes),
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
        };
    }
    let mut found = Vec::new();
    for row in query.fetch_all(pool).await? {
        let leaf = leaf(&row)?;
        let Some(place) = Cursor::new(leaf.time_ms, leaf.log, leaf.seq) else { continue };
        found.push((place, leaf));
    }
    Ok(found)
}

/// The stored leaf at a place; none where there is none.
///
/// # Errors
/// [`SearchError`].
pub async fn leaf_at(pool: &AnyPool, (log, seq): (u64, u64)) -> Result<Option<StoredLeaf>, SearchError> {
    Ok(leaves(pool, log, seq, 1).await?.pop().filter(|leaf| leaf.seq == seq))
}

/// Stored leaves of a log from a place on.
///
/// # Errors
/// [`SearchError`].
pub async fn leaves<'a>(
    executor: impl Executor<'a, Database = Any>,
    log: u64,
    from: u64,
    limit: u32,
) -> Result<Vec<StoredLeaf>, SearchError> {
    let rows = sqlx::query(AssertSqlSafe(format!("{COLUMNS} WHERE log = $1 AND seq >= $2 ORDER BY seq LIMIT {limit}")))
        .bind(i64::try_from(log).unwrap_or(i64::MAX))
        .bind(i64::try_from(from).unwrap_or(i64::MAX))
        .fetch_all(executor)
        .await?;
    Ok(rows.iter().map(leaf).collect::<Result<_, _>>()?)
}
