//! Reading the log: pages of records for an analyst, leaves for a verifier.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use futures_util::stream::{FuturesOrdered, TryStreamExt};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor, Row};
use strongroom_envelope::SealedError;
use strongroom_protocol::admin::Cursor;

use super::filter::{Conditions, Entry, Filter, ORDER, Run, Value};
use super::leaf::StoredLeaf;
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
    /// What the index says of a log can't be read.
    #[error("the index of log {0} is damaged: `strongroom check` says where")]
    Index(u64),
}

/// Records of a page, newest first, with their places.
#[derive(Debug, Default)]
pub struct Page<R = Record> {
    /// With each, the record as it is stored.
    pub found: Vec<Found<R>>,
    /// Where the next page begins; none at the log's beginning. A page that is not full may have one too: each looks at so
    /// many records at most.
    pub next: Option<Cursor>,
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

/// Records that are read by their places at once.
const READ_AT_ONCE: usize = 256;
/// Statements that are read from beside each other: what one of them waits for, the other has.
const READ_BESIDE: usize = 3;
/// A limit that is none. A subquery that has one is what its order and its bounds say, whatever the database thinks of the conditions
/// around it.
const ALL: u32 = i32::MAX as u32;

/// A record that matches, and what was made of it.
type Found<R> = (Cursor, StoredLeaf, R);

/// A page that is being made.
struct Search<'a, R, O: Fn(&StoredLeaf) -> Result<Option<R>, SearchError>> {
    pool: &'a AnyPool,
    filter: &'a Filter,
    /// What is made of a record that matches.
    open: O,
    entries: Vec<Entry>,
    any_of: Vec<(Entry, bool)>,
    /// One more than the page has: whether there are more.
    wanted: usize,
    found: Vec<Found<R>>,
}

impl<R, O: Fn(&StoredLeaf) -> Result<Option<R>, SearchError>> Search<'_, R, O> {
    /// What matches of the rows of a subquery in the order of search, as many as the page needs at most.
    async fn newest(&self, inner: &str, conditions: Conditions) -> Result<Vec<Found<R>>, SearchError> {
        let text = format!("SELECT * FROM ({inner}) AS looked_at{} {ORDER}", conditions.text());
        let text = if self.filter.opens() { text } else { format!("{text} LIMIT {}", self.wanted) };
        self.matching(text, conditions, self.wanted).await
    }

    /// What matches of a statement's rows, so many at most. Each is taken while the next is read.
    async fn matching(&self, text: String, conditions: Conditions, most: usize) -> Result<Vec<Found<R>>, SearchError> {
        let mut found = Vec::new();
        let take = |row: &AnyRow| {
            let leaf = leaf(row)?;
            if found.len() < most
                && let Some(place) = Cursor::new(leaf.time_ms, leaf.log, leaf.seq)
                && let Some(opened) = (self.open)(&leaf)?
            {
                found.push((place, leaf, opened));
            }
            Ok::<_, SearchError>(())
        };
        conditions.each(self.pool, text, take).await?;
        Ok(found)
    }

    /// Records that are not indexed yet.
    async fn unindexed(&mut self) -> Result<(), SearchError> {
        let heads = sqlx::query("SELECT log, indexed FROM audit_head WHERE size > indexed ORDER BY log");
        for head in heads.fetch_all(self.pool).await? {
            let (log, indexed) = (head.try_get("log")?, head.try_get("indexed")?);
            let mut conditions = Conditions::default();
            conditions.bind([log, indexed].map(Value::Number));
            conditions.between(self.filter.bounds(None));
            self.filter.narrow(&self.entries, false, &mut conditions);
            if self.entries.is_empty() {
                self.filter.narrow_to_any(&self.any_of, &mut conditions);
            }
            let inner = format!("{COLUMNS} WHERE log = $1 AND seq >= $2 ORDER BY seq LIMIT {ALL}");
            let found = self.newest(&inner, conditions).await?;
            self.found.extend(found);
        }
        Ok(())
    }

    /// Records of a run down to a place.
    async fn run(&mut self, run: &Run, end: Option<Cursor>) -> Result<(), SearchError> {
        let seen = run.places.found.partition_point(|place| end.is_none_or(|end| *place >= end));
        let (mut left, mut reading) = (run.places.found[..seen].chunks(READ_AT_ONCE), FuturesOrdered::new());
        let mut found = Vec::new();
        while found.len() < self.wanted {
            let free = READ_BESIDE - reading.len();
            left.by_ref().take(free).for_each(|places| reading.push_back(self.at(places, run.about)));
            let Some(some) = reading.try_next().await? else { break };
            found.extend(some);
        }
        drop(reading);
        self.found.extend(found);
        Ok(())
    }

    /// What matches at places, in no order.
    async fn at(&self, places: &[Cursor], about: bool) -> Result<Vec<Found<R>>, SearchError> {
        let mut conditions = Conditions::default();
        let mut logs = BTreeMap::<u64, Vec<Value>>::new();
        for place in places {
            logs.entry(place.log).or_default().push(Value::Number(place.seq as i64));
        }
        let of_log = |(log, seqs): (u64, Vec<Value>)| {
            let log = conditions.bind([Value::Number(log as i64)]);
            format!("log = {log} AND {}", conditions.one_of("seq", seqs))
        };
        let of_logs: Vec<String> = logs.into_iter().map(of_log).collect();
        let inner = format!("{COLUMNS} WHERE {} LIMIT {ALL}", of_logs.join(" OR "));
        self.filter.narrow(&self.entries, about, &mut conditions);
        let text = format!("SELECT * FROM ({inner}) AS looked_at{}", conditions.text());
        self.matching(text, conditions, usize::MAX).await
    }

    /// Records in the order of time, down to a place.
    async fn time(&mut self, end: Option<Cursor>) -> Result<(), SearchError> {
        let mut conditions = Conditions::default();
        conditions.between(self.filter.bounds(end));
        let most = if self.filter.is_plain() { self.wanted as u32 } else { ALL };
        let inner = format!("{COLUMNS}{} {ORDER} LIMIT {most}", conditions.inside());
        self.filter.narrow(&[], false, &mut conditions);
        self.found.extend(self.newest(&inner, conditions).await?);
        Ok(())
    }
}

/// Matching records of all logs. A page looks at [`LOOKED_AT_MAX`] indexed records at most, by the value that gets it farthest back.
///
/// # Errors
/// [`SearchError`].
pub async fn search(pool: &AnyPool, keys: &OwnKeys, filter: &Filter) -> Result<Page, SearchError> {
    let open = |leaf: &StoredLeaf| {
        let record = leaf.open(keys)?;
        Ok(filter.matches(&record).then_some(record))
    };
    page(pool, keys, filter, open).await
}

/// The same, where the records themselves are not needed: none is opened whose columns say that it matches.
///
/// # Errors
/// [`SearchError`].
pub async fn search_closed(pool: &AnyPool, keys: &OwnKeys, filter: &Filter) -> Result<Page<()>, SearchError> {
    let open = |leaf: &StoredLeaf| {
        let matches = !filter.opens() || filter.matches(&leaf.open(keys)?);
        Ok(matches.then_some(()))
    };
    page(pool, keys, filter, open).await
}

async fn page<R>(
    pool: &AnyPool,
    keys: &OwnKeys,
    filter: &Filter,
    open: impl Fn(&StoredLeaf) -> Result<Option<R>, SearchError>,
) -> Result<Page<R>, SearchError> {
    let (entries, any_of) = (filter.entries(keys), filter.any_of(keys));
    let wanted = filter.limit as usize + 1;
    let by_value = !entries.is_empty() || filter.share.is_some() || filter.people.is_some();
    let mut search = Search { pool, filter, open, entries, any_of, wanted, found: Vec::new() };
    let end = if by_value {
        // First what is not indexed: what is meanwhile is found twice, and nothing is missed.
        search.unindexed().await?;
        let runs = filter.runs(pool, &search.entries, &search.any_of).await?;
        // Where one run was not read to its end, what lies before that place is the next page's.
        let end = runs.iter().filter_map(|run| run.places.end).max();
        for run in &runs {
            search.run(run, end).await?;
        }
        search.found.retain(|(place, ..)| end.is_none_or(|end| *place >= end));
        end
    } else {
        let end = if filter.is_plain() { None } else { filter.end_of_time(pool).await? };
        search.time(end).await?;
        end
    };
    let mut found = search.found;
    found.sort_by_key(|(place, ..)| Reverse(*place));
    found.dedup_by_key(|(place, ..)| *place);
    let more = found.len() > filter.limit as usize;
    found.truncate(filter.limit as usize);
    let next = if more { found.last().map(|(place, ..)| *place) } else { end };
    Ok(Page { found, next })
}

/// The stored leaf at a place; none where there is none.
///
/// # Errors
/// [`SearchError`].
pub async fn leaf_at(pool: &AnyPool, (log, seq): (u64, u64)) -> Result<Option<StoredLeaf>, SearchError> {
    Ok(leaves(pool, log, seq, 1).await?.pop().filter(|leaf| leaf.seq == seq))
}

/// The latest time of any record, Unix milliseconds.
///
/// # Errors
/// Whatever the database says.
pub async fn newest_ms(pool: &AnyPool) -> Result<i64, SearchError> {
    let row = sqlx::query("SELECT time_ms FROM audit_leaf ORDER BY time_ms DESC LIMIT 1").fetch_optional(pool).await?;
    Ok(row.map(|row| row.try_get("time_ms")).transpose()?.unwrap_or(0))
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
