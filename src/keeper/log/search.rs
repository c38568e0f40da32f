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
    /// By any of these.
    pub people: Option<Vec<u64>>,
    /// About which repository.
    pub repo: Option<u64>,
    /// With which token.
    pub token: Option<u64>,
    /// Of a share: with one of its tokens, or about it.
    pub share: Option<ShareFilter>,
    /// From where.
    pub address: Option<String>,
    /// What.
    pub action: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// One that the decision reached.
    pub compartment: Option<String>,
    /// The file, or what its path begins with.
    pub path: Option<String>,
    /// As the client saw it.
    pub request_id: Option<String>,
    /// Not before.
    pub since_ms: Option<i64>,
    /// Before.
    pub until_ms: Option<i64>,
    /// Before this record.
    pub before: Option<Cursor>,
    /// At most so many.
    pub limit: u32,
}

/// What belongs to a share.
#[derive(Debug, Clone, Default)]
pub struct ShareFilter {
    /// Its number.
    pub id: u64,
    /// Its tokens.
    pub tokens: Vec<u64>,
    /// Its repository, where what was done about it is asked for too.
    pub repo: Option<u64>,
}

/// Records of a page, newest first, with their places.
#[derive(Debug, Default)]
pub struct Page {
    /// With each, the record as it is stored.
    pub found: Vec<(Cursor, StoredLeaf, Record)>,
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

#[derive(Clone)]
enum Value {
    Bytes(Vec<u8>),
    Text(String),
    Number(i64),
}

/// Conditions with their values. The text is made of constants; every value is bound.
#[derive(Default, Clone)]
struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, condition: &str, value: Value) {
        self.values.push(value);
        self.texts.push(format!("{condition} ${}", self.values.len()));
    }

    fn is_one_of(&mut self, column: &str, values: impl IntoIterator<Item = Value>) {
        let first = self.values.len() + 1;
        self.values.extend(values);
        let numbers: Vec<String> = (first..=self.values.len()).map(|number| format!("${number}")).collect();
        self.texts.push(format!("{column} IN ({})", numbers.join(", ")));
    }

    /// Between two places in the order of search, the first of them included; with an entry of an index, in that alone. The
    /// columns are compared as a row: by that both databases enter the index at the one place and leave it at the other, and
    /// take no other index, whatever their statistics say.
    fn between(&mut self, entry: Option<&Entry>, from: [i64; 3], to: [i64; 3]) {
        for (sign, place) in [("<", to), (">=", from)] {
            let first = self.values.len() + 1;
            self.values.extend(entry.map(|(_, value)| Value::Bytes(value.clone())));
            self.values.extend(place.map(Value::Number));
            let numbers: Vec<String> = (first..=self.values.len()).map(|number| format!("${number}")).collect();
            let column = entry.map(|(column, _)| format!("{column}, ")).unwrap_or_default();
            self.texts.push(format!("({column}time_ms, log, seq) {sign} ({})", numbers.join(", ")));
        }
    }

    fn text(&self) -> String {
        if self.texts.is_empty() { String::new() } else { format!(" WHERE {}", self.texts.join(" AND ")) }
    }

    async fn rows(&self, pool: &AnyPool, text: String) -> Result<Vec<AnyRow>, sqlx::Error> {
        let mut query = sqlx::query(AssertSqlSafe(text));
        for value in self.values.clone() {
            query = match value {
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            };
        }
        query.fetch_all(pool).await
    }
}

/// Records that one page looks at, at most, whatever the filter and however long the log. Whoever reads all pages asks for as many.
pub const LOOKED_AT_MAX: usize = 4000;
const ORDER: &str = "ORDER BY time_ms DESC, log DESC, seq DESC";

/// The order of search, as an index has it from its end.
fn order(entry: Option<&Entry>) -> String {
    let column = entry.map(|(column, _)| format!("{column} DESC, ")).unwrap_or_default();
    ORDER.replacen("ORDER BY ", &format!("ORDER BY {column}"), 1)
}

/// A column with an index that ends in the order of search, and the value there.
type Entry = (&'static str, Vec<u8>);

/// A run of records in the order of search, of which those that match are a part.
struct Run {
    entry: Option<Entry>,
    /// In the repository of a share, what is about shares.
    about: bool,
}

fn place(row: &AnyRow) -> Result<Option<Cursor>, sqlx::Error> {
    let number = |column| row.try_get::<i64, _>(column);
    Ok(Cursor::new(number("time_ms")?, number("log")? as u64, number("seq")? as u64))
}

fn is_before(one: Cursor, other: Cursor) -> bool {
    (one.time_ms, one.log, one.seq) < (other.time_ms, other.log, other.seq)
}

impl Filter {
    /// Whether an index, or the order of time, has what is asked for and nothing between: then a page looks at no more than it shows.
    fn is_plain(&self) -> bool {
        let entries = [self.principal.is_some(), self.repo.is_some(), self.token.is_some(), self.address.is_some()];
        let narrowed = self.action.is_some() || self.outcome.is_some() || self.share.is_some() || self.people.is_some();
        entries.iter().filter(|named| **named).count() <= 1 && !narrowed && !self.opens()
    }

    /// Whether what is asked for stands inside of records alone.
    fn opens(&self) -> bool {
        let many = self.share.is_some() || self.people.is_some();
        many || self.compartment.is_some() || self.path.is_some() || self.request_id.is_some()
    }

    /// All runs of the log that have something that matches, by the indexes: of each, the run that a page gets through
    /// farthest.
    async fn runs(&self, pool: &AnyPool, keys: &OwnKeys) -> Result<Vec<(Run, Option<Cursor>)>, SearchError> {
        let number = |column: &'static str, value: u64| (column, number_index(keys, column, Some(value)));
        let column = |(column, value): Entry| (INDEXED.iter().find(|name| name.starts_with(column)).copied(), value);
        let named = [
            self.principal.map(|id| number("principal", id)),
            self.repo.map(|id| number("repo", id)),
            self.token.map(|id| number("token", id)),
            self.address.as_deref().map(|text| ("address", index(keys, "address", text))),
        ];
        let mut entries = named.into_iter().flatten().map(column).filter_map(|(name, value)| Some((name?, value)));
        let mut best: Option<(Entry, Option<Cursor>)> = None;
        if self.is_plain() {
            return Ok(vec![(Run { entry: entries.next(), about: false }, None)]);
        }
        for entry in entries {
            let end = self.end(pool, Some(&entry), LOOKED_AT_MAX).await?;
            let farther = match (&best, end) {
                (None, _) | (Some((_, Some(_))), None) => true,
                (Some((_, Some(held))), Some(end)) => is_before(end, *held),
                (Some((_, None)), _) => false,
            };
            if farther {
                best = Some((entry, end));
            }
        }
        let many = self.share.is_some() || self.people.is_some();
        match best {
            Some((entry, end)) => Ok(vec![(Run { entry: Some(entry), about: false }, end)]),
            None if many => {
                let people = self.people.iter().flatten().map(|id| (number("principal", *id), false));
                let tokens = self.share.iter().flat_map(|share| &share.tokens);
                let tokens = tokens.map(|id| (number("token", *id), false));
                let repo = self.share.as_ref().and_then(|share| share.repo).map(|id| (number("repo", id), true));
                let share: Vec<(Entry, bool)> = tokens.chain(repo).collect();
                // Both must match: the runs of the one are enough.
                let of = if self.share.is_some() { share } else { people.collect() };
                let each = (LOOKED_AT_MAX / of.len().max(1)).max(50);
                let mut runs = Vec::new();
                for (entry, about) in of {
                    let (Some(name), value) = column(entry) else { continue };
                    let end = self.end(pool, Some(&(name, value.clone())), each).await?;
                    runs.push((Run { entry: Some((name, value)), about }, end));
                }
                Ok(runs)
            }
            None => {
                let end = self.end(pool, None, LOOKED_AT_MAX).await?;
                Ok(vec![(Run { entry: None, about: false }, end)])
            }
        }
    }

    /// What is asked for in the order of search, down to a place, as conditions.
    fn bounds(&self, entry: Option<&Entry>, end: Option<Cursor>) -> Conditions {
        let numbers = |place: Cursor| [place.time_ms, place.log as i64, place.seq as i64];
        // A place is before all of its millisecond where log and number are 0, the least there are.
        let until = self.until_ms.map_or([i64::MAX; 3], |until| [until, 0, 0]);
        let since = self.since_ms.map_or([0; 3], |since| [since, 0, 0]);
        let to = self.before.map_or(until, |before| numbers(before).min(until));
        let from = end.map_or(since, |end| numbers(end).max(since));
        let mut bounds = Conditions::default();
        bounds.between(entry, from, to);
        bounds
    }

    /// The last record of a run that a page looks at, read from the index alone; none where the run ends before.
    async fn end(&self, pool: &AnyPool, entry: Option<&Entry>, most: usize) -> Result<Option<Cursor>, SearchError> {
        let bounds = self.bounds(entry, None);
        let (order, offset) = (order(entry), most - 1);
        let text = format!("SELECT time_ms, log, seq FROM audit_leaf{} {order} LIMIT 1 OFFSET {offset}", bounds.text());
        Ok(bounds.rows(pool, text).await?.first().map(place).transpose()?.flatten())
    }

    /// What is compared in the clear.
    fn narrow(&self, keys: &OwnKeys, run: &Run, conditions: &mut Conditions) {
        let mut number = |column: &str, value: Option<u64>| {
            if let Some(value) = value {
                conditions.add(&format!("{column}_index ="), Value::Bytes(number_index(keys, column, Some(value))));
            }
        };
        number("principal", self.principal);
        number("repo", self.repo);
        number("token", self.token);
        if let Some(address) = &self.address {
            conditions.add("address_index =", Value::Bytes(index(keys, "address", address)));
        }
        for (column, value) in [("action =", &self.action), ("outcome =", &self.outcome)] {
            if let Some(value) = value {
                conditions.add(column, Value::Text(value.clone()));
            }
        }
        if run.about {
            conditions.is_one_of("action", SHARE_WORDS.map(|word| Value::Text(word.to_owned())));
        }
    }

    /// What is compared once a record is open.
    fn matches(&self, record: &Record) -> bool {
        let share = self.share.as_ref().is_none_or(|share| match record.token {
            Some(token) if share.tokens.contains(&token) => true,
            _ => {
                let about = SHARE_WORDS.contains(&record.action.as_str());
                about && record.share == Some(share.id) && share.repo.is_some() && record.repo_id == share.repo
            }
        });
        let people =
            self.people.as_ref().is_none_or(|people| record.principal_id.is_some_and(|id| people.contains(&id)));
        let starts = |path: &str| record.path.as_deref().is_some_and(|held| held.starts_with(path));
        share
            && people
            && self.compartment.as_ref().is_none_or(|part| record.compartments.contains(part))
            && self.path.as_deref().is_none_or(starts)
            && self.request_id.as_ref().is_none_or(|id| *id == record.request_id)
    }
}

const INDEXED: [&str; 4] = ["principal_index", "repo_index", "token_index", "address_index"];

/// Matching records of all logs. A page looks at [`LOOKED_AT_MAX`] records at most, by the index that gets it farthest back.
///
/// # Errors
/// [`SearchError`].
pub async fn search(pool: &AnyPool, keys: &OwnKeys, filter: &Filter) -> Result<Page, SearchError> {
    let runs = filter.runs(pool, keys).await?;
    let wanted = filter.limit as usize + 1;
    let looked_at = if filter.is_plain() { wanted } else { LOOKED_AT_MAX };
    // Where one run was not read to its end, what lies before that place is the next page's.
    let end =
        runs.iter().filter_map(|(_, end)| *end).reduce(|one, other| if is_before(one, other) { other } else { one });
    let mut found: Vec<(Cursor, StoredLeaf, Record)> = Vec::new();
    for (run, _) in &runs {
        let bounds = filter.bounds(run.entry.as_ref(), end);
        // The limit inside binds the database to this index, whatever it thinks of the other conditions.
        let inner = order(run.entry.as_ref());
        let inner = format!("{COLUMNS}{} {inner} LIMIT {looked_at}", bounds.text());
        let mut all = Conditions { texts: Vec::new(), values: bounds.values };
        filter.narrow(keys, run, &mut all);
        let text = format!("SELECT * FROM ({inner}) AS looked_at{} {ORDER}", all.text());
        let text = if filter.opens() { text } else { format!("{text} LIMIT {wanted}") };
        let mut of_run = 0;
        for row in all.rows(pool, text).await? {
            let leaf = leaf(&row)?;
            let Some(place) = Cursor::new(leaf.time_ms, leaf.log, leaf.seq) else { continue };
            let record = leaf.open(keys)?;
            if filter.matches(&record) {
                found.push((place, leaf, record));
                of_run += 1;
                if of_run == wanted {
                    break;
                }
            }
        }
    }
    found.sort_by_key(|(place, ..)| std::cmp::Reverse((place.time_ms, place.log, place.seq)));
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
