//! What a search asks for: as conditions of the database, by the index, and once a record is open.

use futures_util::TryStreamExt;
use sqlx::any::AnyRow;
use sqlx::{AnyPool, AssertSqlSafe};
use strongroom_protocol::SHARE_WORDS;
use strongroom_protocol::admin::Cursor;

use super::leaf::{index, number_index};
use super::places::{Bound, Places, bound, place, places};
use super::record::Record;
use super::search::SearchError;
use crate::keys::OwnKeys;

/// Records that one page looks at, at most, whatever the filter and however long the log. Whoever reads all pages asks for as many.
pub const LOOKED_AT_MAX: usize = 4000;
/// The order of search.
pub(super) const ORDER: &str = "ORDER BY time_ms DESC, log DESC, seq DESC";

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
    /// This record and newer ones.
    pub down_to: Option<Cursor>,
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

#[derive(Clone)]
pub(super) enum Value {
    Bytes(Vec<u8>),
    Text(String),
    Number(i64),
}

/// Conditions with their values. The text is made of constants; every value is bound.
#[derive(Default, Clone)]
pub(super) struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// `COLUMN = VALUE`, or that it is one of several.
    pub(super) fn is(&mut self, column: &str, values: impl IntoIterator<Item = Value>) {
        let text = self.one_of(column, values);
        self.texts.push(text);
    }

    pub(super) fn one_of(&mut self, column: &str, values: impl IntoIterator<Item = Value>) -> String {
        format!("{column} IN ({})", self.bind(values))
    }

    pub(super) fn bind(&mut self, values: impl IntoIterator<Item = Value>) -> String {
        let first = self.values.len() + 1;
        self.values.extend(values);
        let numbers: Vec<String> = (first..=self.values.len()).map(|number| format!("${number}")).collect();
        numbers.join(", ")
    }

    /// Between two places in the order of search, the first of them included. The columns are compared as a row: by that both
    /// databases enter the index of time at the one place and leave it at the other, whatever their statistics say.
    pub(super) fn between(&mut self, (from, to): (Bound, Bound)) {
        for (sign, place) in [("<", to), (">=", from)] {
            let numbers = self.bind(place.map(Value::Number));
            self.texts.push(format!("(time_ms, log, seq) {sign} ({numbers})"));
        }
    }

    /// Those so far, as they stand inside of a subquery; what is added from now on stands around it.
    pub(super) fn inside(&mut self) -> String {
        let text = self.text();
        self.texts.clear();
        text
    }

    pub(super) fn text(&self) -> String {
        if self.texts.is_empty() { String::new() } else { format!(" WHERE {}", self.texts.join(" AND ")) }
    }

    /// Takes each row as it comes: the next ones are read meanwhile, and whoever takes one waits for none.
    pub(super) async fn each<E: From<sqlx::Error>>(
        &self,
        pool: &AnyPool,
        text: String,
        mut take: impl FnMut(&AnyRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut query = sqlx::query(AssertSqlSafe(text));
        for value in self.values.clone() {
            query = match value {
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            };
        }
        let mut rows = query.fetch(pool);
        while let Some(row) = rows.try_next().await? {
            take(&row)?;
        }
        Ok(())
    }
}

/// An indexed column, and the value there.
pub(super) type Entry = (&'static str, Vec<u8>);

/// Indexed records of a value, of which those that match are a part.
pub(super) struct Run {
    /// Where they are.
    pub(super) places: Places,
    /// In the repository of a share, what is about shares.
    pub(super) about: bool,
}

/// What is about shares.
fn share_words() -> impl Iterator<Item = Value> {
    SHARE_WORDS.iter().map(|word| Value::Text((*word).to_owned()))
}

impl Filter {
    /// Whether an index, or the order of time, has what is asked for and nothing between: then a page looks at no more than it shows.
    pub(super) fn is_plain(&self) -> bool {
        let entries = [self.principal.is_some(), self.repo.is_some(), self.token.is_some(), self.address.is_some()];
        let narrowed = self.action.is_some() || self.outcome.is_some() || self.share.is_some() || self.people.is_some();
        entries.iter().filter(|named| **named).count() <= 1 && !narrowed && !self.opens()
    }

    /// Whether what is asked for stands inside of records alone.
    pub(super) fn opens(&self) -> bool {
        let many = self.share.is_some() || self.people.is_some();
        many || self.compartment.is_some() || self.path.is_some() || self.request_id.is_some()
    }

    /// The columns and values that are named.
    pub(super) fn entries(&self, keys: &OwnKeys) -> Vec<Entry> {
        let number = |column, index, value: Option<u64>| Some((column, number_index(keys, index, Some(value?))));
        let named = [
            number("principal_index", "principal", self.principal),
            number("repo_index", "repo", self.repo),
            number("token_index", "token", self.token),
            self.address.as_deref().map(|text| ("address_index", index(keys, "address", text))),
        ];
        named.into_iter().flatten().collect()
    }

    /// Values of which one at least has whatever matches, where no single one is named: of people, or of a share; and whether only
    /// what is about shares counts there.
    pub(super) fn any_of(&self, keys: &OwnKeys) -> Vec<(Entry, bool)> {
        let number = |column, index, value| (column, number_index(keys, index, Some(value)));
        match (&self.share, &self.people) {
            // Both must match: those of the one are enough.
            (Some(share), _) => {
                let tokens = share.tokens.iter().map(|id| (number("token_index", "token", *id), false));
                tokens.chain(share.repo.map(|id| (number("repo_index", "repo", id), true))).collect()
            }
            (None, Some(people)) => {
                people.iter().map(|id| (number("principal_index", "principal", *id), false)).collect()
            }
            (None, None) => Vec::new(),
        }
    }

    /// All indexed records that may match, down to where a page stops looking: of values that all must match, those of the one
    /// that a page gets through farthest.
    pub(super) async fn runs(
        &self,
        pool: &AnyPool,
        entries: &[Entry],
        any_of: &[(Entry, bool)],
    ) -> Result<Vec<Run>, SearchError> {
        let bounds = self.bounds(None);
        let most = if self.is_plain() { self.limit as usize + 1 } else { LOOKED_AT_MAX };
        let mut all = Vec::new();
        for (_, value) in entries {
            all.push(places(pool, value, bounds, most).await?);
        }
        // Read to its end, or farther back than the others.
        let farthest = (0..all.len()).min_by_key(|at| all[*at].end);
        if let Some(mut best) = farthest.map(|at| all.swap_remove(at)) {
            best.found.retain(|place| all.iter().all(|other| other.may_have(place)));
            return Ok(vec![Run { places: best, about: false }]);
        }
        let each = (LOOKED_AT_MAX / any_of.len().max(1)).max(50);
        let mut runs = Vec::new();
        for ((_, value), about) in any_of {
            runs.push(Run { places: places(pool, value, bounds, each).await?, about: *about });
        }
        Ok(runs)
    }

    /// What is asked for in the order of search, down to a place.
    pub(super) fn bounds(&self, end: Option<Cursor>) -> (Bound, Bound) {
        // A place is before all of its millisecond where log and number are 0, the least there are.
        let until = self.until_ms.map_or([i64::MAX; 3], |until| [until, 0, 0]);
        let since = self.since_ms.map_or([0; 3], |since| [since, 0, 0]);
        let since = self.down_to.map_or(since, |down_to| bound(&down_to).max(since));
        let to = self.before.map_or(until, |before| bound(&before).min(until));
        (end.map_or(since, |end| bound(&end).max(since)), to)
    }

    /// The last record that a page looks at in the order of time, read from its index alone; none where the log begins before.
    pub(super) async fn end_of_time(&self, pool: &AnyPool) -> Result<Option<Cursor>, SearchError> {
        let mut bounds = Conditions::default();
        bounds.between(self.bounds(None));
        let (text, offset) = (bounds.text(), LOOKED_AT_MAX - 1);
        let text = format!("SELECT time_ms, log, seq FROM audit_leaf{text} {ORDER} LIMIT 1 OFFSET {offset}");
        let mut end = None;
        bounds.each(pool, text, |row| place(row).map(|place| end = Some(place))).await?;
        Ok(end)
    }

    /// What is compared in the clear.
    pub(super) fn narrow(&self, entries: &[Entry], about: bool, conditions: &mut Conditions) {
        for (column, value) in entries {
            conditions.is(column, [Value::Bytes(value.clone())]);
        }
        for (column, value) in [("action", &self.action), ("outcome", &self.outcome)] {
            if let Some(value) = value {
                conditions.is(column, [Value::Text(value.clone())]);
            }
        }
        if about {
            conditions.is("action", share_words());
        }
    }

    /// The same where one of several values is enough.
    pub(super) fn narrow_to_any(&self, any_of: &[(Entry, bool)], conditions: &mut Conditions) {
        let mut texts = Vec::new();
        for column in ["principal_index", "repo_index", "token_index"] {
            for about in [false, true] {
                let of = any_of.iter().filter(|((named, _), held)| *named == column && *held == about);
                let values: Vec<Value> = of.map(|((_, value), _)| Value::Bytes(value.clone())).collect();
                if values.is_empty() {
                    continue;
                }
                let mut text = conditions.one_of(column, values);
                if about {
                    text = format!("{text} AND {}", conditions.one_of("action", share_words()));
                }
                texts.push(format!("({text})"));
            }
        }
        if !texts.is_empty() {
            conditions.texts.push(format!("({})", texts.join(" OR ")));
        }
    }

    /// What is compared once a record is open.
    pub(super) fn matches(&self, record: &Record) -> bool {
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
