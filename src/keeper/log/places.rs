//! The log's index as it is read: where a value has records.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Row};
use strongroom_envelope::keyed_hash;
use strongroom_protocol::admin::Cursor;

use super::index::{COLUMNS, SPAN_BITS, Value};
use super::search::SearchError;
use crate::keys::OwnKeys;

/// Rows of the index that are read at once, at most.
const PAGE_MAX: usize = 512;

/// The place that a row names.
///
/// # Errors
/// [`SearchError::Index`] for one that can't be.
pub fn place(row: &AnyRow) -> Result<Cursor, SearchError> {
    let number = |column| row.try_get::<i64, _>(column);
    let log = number("log")? as u64;
    Cursor::new(number("time_ms")?, log, number("seq")? as u64).ok_or(SearchError::Index(log))
}

/// All records of a row.
fn unpack(first: Cursor, mut packed: &[u8]) -> Result<Vec<Cursor>, SearchError> {
    let cut = || SearchError::Index(first.log);
    let mut all = vec![first];
    let mut seq = first.seq;
    while !packed.is_empty() {
        let end = packed.iter().position(|byte| byte & 0x80 == 0).filter(|end| *end < 9).ok_or_else(cut)?;
        let (distance, rest) = packed.split_at(end + 1);
        let distance = distance.iter().rev().fold(0, |whole, byte| whole << 7 | u64::from(byte & 0x7f));
        let ([low, high], rest) = rest.split_first_chunk::<2>().map(|(time, rest)| (*time, rest)).ok_or_else(cut)?;
        seq = u64::checked_add(seq, distance).ok_or_else(cut)?;
        let time_ms = first.time_ms >> SPAN_BITS << SPAN_BITS | i64::from(u16::from_le_bytes([low, high]));
        all.push(Cursor::new(time_ms, first.log, seq).ok_or_else(cut)?);
        packed = rest;
    }
    Ok(all)
}

/// Where an indexed value has records, the newest first.
#[derive(Debug, Default)]
pub struct Places {
    /// As many as were asked for, at most.
    pub found: Vec<Cursor>,
    /// The last of them, where there are older ones.
    pub end: Option<Cursor>,
}

impl Places {
    /// Whether the value may have the record at a place: it is among those found, or older than all of them.
    pub fn may_have(&self, place: &Cursor) -> bool {
        let unseen = self.end.is_some_and(|end| *place < end);
        unseen || self.found.binary_search_by(|found| place.cmp(found)).is_ok()
    }
}

/// A place as databases compare it: time, log, number.
pub type Bound = [i64; 3];

/// That of a place.
pub fn bound(place: &Cursor) -> Bound {
    // A `Cursor` has numbers that fit.
    [place.time_ms, place.log as i64, place.seq as i64]
}

/// Reads where a value has records, from one place up to another that is not included.
///
/// # Errors
/// [`SearchError::Index`] for a row that can't be read: who edits one hides a record from searches.
pub async fn places(
    pool: &AnyPool,
    value: &[u8],
    (from, to): (Bound, Bound),
    most: usize,
) -> Result<Places, SearchError> {
    let first_of = |time_ms: i64| time_ms >> SPAN_BITS << SPAN_BITS;
    let last_of = |time_ms: i64| time_ms | ((1 << SPAN_BITS) - 1);
    // Rows are entered at the end of the span that `to` lies in.
    let mut before = [last_of(to[0]).saturating_add(1), 0, 0];
    // A row has some twenty records of a value that one in a hundred has.
    let (mut found, mut page) = (Vec::new(), (most / 16).clamp(8, PAGE_MAX / 4));
    loop {
        let text = format!(
            "SELECT time_ms, log, seq, more FROM audit_index \
             WHERE (value_index, time_ms, log, seq) < ($1, $2, $3, $4) AND (value_index, time_ms) >= ($1, $5) \
             ORDER BY value_index DESC, time_ms DESC, log DESC, seq DESC LIMIT {page}"
        );
        // A constant and a number.
        let mut query = sqlx::query(AssertSqlSafe(text)).bind(value.to_vec());
        for number in before {
            query = query.bind(number);
        }
        let rows = query.bind(first_of(from[0])).fetch_all(pool).await?;
        for row in &rows {
            let first = place(row)?;
            before = bound(&first);
            let all = unpack(first, &row.try_get::<Vec<u8>, _>("more")?)?;
            found.extend(all.into_iter().filter(|place| (from..to).contains(&bound(place))));
        }
        let ended = rows.len() < page;
        // Rows that were not read have no record in a span after that of the last one that was.
        let whole = found.iter().filter(|place| place.time_ms > last_of(before[0])).count();
        if ended || whole > most {
            found.sort_unstable_by_key(|place| Reverse(*place));
            let more = found.len() > most;
            found.truncate(most);
            let end = found.last().copied().filter(|_| more);
            return Ok(Places { found, end });
        }
        page = (page * 2).min(PAGE_MAX);
    }
}

/// What an index of these records says, whatever its rows: a sum over all it says, which nobody makes come out without the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum([u64; 4]);

impl Sum {
    fn add(&mut self, keys: &OwnKeys, value: &[u8], place: &Cursor) {
        let [time_ms, log, seq] = bound(place).map(i64::to_be_bytes);
        let hash = keyed_hash(&keys.index, &[b"audit index", value, &time_ms, &log, &seq]);
        let parts = hash.as_chunks::<8>().0.iter().map(|part| u64::from_be_bytes(*part));
        self.0.iter_mut().zip(parts).for_each(|(sum, part)| *sum = sum.wrapping_add(part));
    }
}

/// Logs of which the index does not say what their records say: where a row is taken away, a record is hidden from searches.
///
/// # Errors
/// [`SearchError`].
pub async fn wrongly_indexed(tx: &mut AnyConnection, keys: &OwnKeys) -> Result<Vec<u64>, SearchError> {
    let (mut said, mut told) = (BTreeMap::<u64, Sum>::new(), BTreeMap::<u64, Sum>::new());
    let mut rows = sqlx::query(
        "SELECT time_ms, head.log AS log, seq, principal_index, repo_index, token_index, address_index \
         FROM audit_head AS head JOIN audit_leaf ON audit_leaf.log = head.log AND seq < indexed",
    )
    .fetch(&mut *tx);
    while let Some(row) = rows.try_next().await? {
        let place = place(&row)?;
        for column in COLUMNS {
            said.entry(place.log).or_default().add(keys, &row.try_get::<Value, _>(column)?, &place);
        }
    }
    drop(rows);
    let mut cut = Vec::new();
    let mut rows = sqlx::query("SELECT value_index, time_ms, log, seq, more FROM audit_index").fetch(tx);
    while let Some(row) = rows.try_next().await? {
        let first = place(&row)?;
        match unpack(first, &row.try_get::<Vec<u8>, _>("more")?) {
            Ok(all) => {
                let (value, sum) = (row.try_get::<Value, _>("value_index")?, told.entry(first.log).or_default());
                all.iter().for_each(|place| sum.add(keys, &value, place));
            }
            Err(_) => cut.push(first.log),
        }
    }
    let logs = said.keys().chain(told.keys()).copied().filter(|log| said.get(log) != told.get(log));
    Ok(logs.chain(cut).collect::<BTreeSet<u64>>().into_iter().collect())
}
