//! By what the log is searched, as its writer writes it. A row of an index for each record and column would dirty a page for each: so
//! records wait, and are indexed many at once, a row for each value and each span of time.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, AssertSqlSafe, Row};
use strongroom_database::Database;

use super::leaf::StoredLeaf;
use super::rows::{Shape, insert};

/// Records of one log that are not indexed, at most, when their keeper writes them. A search looks through them.
pub(super) const WAITING_MAX: usize = 4096;
/// The records of one row lie within 2^16 ms that are no others': rows of one span are read together, and rows of a later span
/// have later records alone.
pub(super) const SPAN_BITS: u32 = 16;
static ENTRIES: Shape<5> = Shape::new("INSERT INTO audit_index (value_index, time_ms, log, seq, more) VALUES ");

/// Those of a row of the log that are indexed.
pub(super) const COLUMNS: [&str; 4] = ["principal_index", "repo_index", "token_index", "address_index"];

/// One of them.
pub(super) type Value = Vec<u8>;

/// A record as the index needs it.
pub struct Waiting {
    time_ms: i64,
    seq: u64,
    values: [Value; 4],
}

impl Waiting {
    /// That of a leaf.
    pub fn of(leaf: &StoredLeaf) -> Self {
        let values =
            [&leaf.principal_index, &leaf.repo_index, &leaf.token_index, &leaf.address_index].map(Clone::clone);
        Self { time_ms: leaf.time_ms, seq: leaf.seq, values }
    }
}

/// Records of a log that are not indexed yet, as its writer knows them.
#[derive(Default)]
pub struct Unindexed {
    indexed: u64,
    waiting: Vec<Waiting>,
}

impl Unindexed {
    /// Those of a stored log of which so many records are indexed. Where another version left more than fit, they are indexed
    /// first.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn load(database: &Database, log: u64, indexed: u64, size: u64) -> Result<Self, sqlx::Error> {
        let (mut tx, mut indexed) = (database.begin().await?, indexed);
        if size.saturating_sub(indexed) > WAITING_MAX as u64 {
            for column in COLUMNS {
                let text = format!(
                    "INSERT INTO audit_index (value_index, time_ms, log, seq, more) \
                     SELECT {column}, time_ms, log, seq, SUBSTR({column}, 1, 0) FROM audit_leaf \
                     WHERE log = $1 AND seq >= $2 AND seq < $3 ORDER BY 1, 2, 3, 4"
                );
                // Constants.
                let text = sqlx::query(AssertSqlSafe(text));
                text.bind(log as i64).bind(indexed as i64).bind(size as i64).execute(&mut *tx).await?;
            }
            sqlx::query("UPDATE audit_head SET indexed = $1 WHERE log = $2")
                .bind(size as i64)
                .bind(log as i64)
                .execute(&mut *tx)
                .await?;
            indexed = size;
        }
        let rows = sqlx::query(
            "SELECT time_ms, seq, principal_index, repo_index, token_index, address_index FROM audit_leaf \
             WHERE log = $1 AND seq >= $2 ORDER BY seq",
        );
        let rows = rows.bind(log as i64).bind(indexed as i64).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let waiting = rows.iter().map(|row| {
            let (time_ms, seq) = (row.try_get("time_ms")?, row.try_get::<i64, _>("seq")? as u64);
            let [principal, repo, token, address] = COLUMNS.map(|column| row.try_get::<Value, _>(column));
            let values = [principal?, repo?, token?, address?];
            Ok::<_, sqlx::Error>(Waiting { time_ms, seq, values })
        });
        Ok(Self { indexed, waiting: waiting.collect::<Result<_, _>>()? })
    }

    /// Indexes all that waits, with what is appended in the same transaction, once that is enough. Gives how many records of the
    /// log are indexed then.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn write(
        &self,
        tx: &mut AnyConnection,
        numbered: bool,
        log: u64,
        appended: &[Waiting],
        most: usize,
    ) -> Result<u64, sqlx::Error> {
        let Some(last) = appended.last().filter(|_| self.waiting.len() + appended.len() >= most) else {
            return Ok(self.indexed);
        };
        let mut rows = BTreeMap::<(&[u8], i64), Vec<(i64, u64)>>::new();
        for one in self.waiting.iter().chain(appended) {
            for value in &one.values {
                rows.entry((value, one.time_ms >> SPAN_BITS)).or_default().push((one.time_ms, one.seq));
            }
        }
        let rows: Vec<(Value, i64, u64, Vec<u8>)> = rows
            .into_iter()
            .filter_map(|((value, _), records)| {
                let ((time_ms, seq), more) = records.split_first()?;
                Some((value.to_vec(), *time_ms, *seq, pack(*seq, more)))
            })
            .collect();
        insert(tx, numbered, &ENTRIES, rows, |query, (value, time_ms, seq, more)| {
            query.bind(value).bind(time_ms).bind(log as i64).bind(seq as i64).bind(more)
        })
        .await?;
        Ok(last.seq + 1)
    }

    /// What a transaction wrote is durable.
    pub fn keep(&mut self, indexed: u64, appended: Vec<Waiting>) {
        if indexed > self.indexed {
            self.indexed = indexed;
            self.waiting.clear();
        } else {
            self.waiting.extend(appended);
        }
    }
}

/// Records that follow one in its log, within its span: of each the distance to the one before (LEB128), and its milliseconds
/// within the span (two bytes, the lower first).
fn pack(mut before: u64, records: &[(i64, u64)]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(records.len() * 4);
    for (time_ms, seq) in records {
        let mut distance = seq - before; // they are in the order of the log
        while distance >= 0x80 {
            packed.push(distance as u8 | 0x80); // its lower seven bits
            distance >>= 7;
        }
        packed.push(distance as u8); // below 128
        packed.extend((*time_ms as u16).to_le_bytes()); // the lower bits are the place in the span
        before = *seq;
    }
    packed
}

#[cfg(test)]
mod tests;
