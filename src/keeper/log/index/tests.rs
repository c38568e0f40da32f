//! What a search finds is what looking through all records finds, wherever they are indexed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use strongroom_database::{Database, Source};
use strongroom_protocol::Secret;
use strongroom_protocol::admin::Cursor;

use super::*;
use crate::keys::OwnKeys;
use crate::log::leaf::Indexes;
use crate::log::rows::insert_leaves;
use crate::log::{Filter, Record, SearchError, ShareFilter, search, search_closed, wrongly_indexed};

/// Three logs in a database, and what is in them.
struct Logs {
    folder: PathBuf,
    database: Database,
    keys: OwnKeys,
    unindexed: [Unindexed; 3],
    records: Vec<(Cursor, Record)>,
    random: u64,
}

impl Logs {
    async fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("strongroom-index-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let database = crate::setup::migrate(&Source::File(folder.join("keeper.db"))).await.expect("a database");
        for log in [1, 2, 3] {
            let made =
                sqlx::query("INSERT INTO audit_head (log, epoch, size, checkpoint) VALUES ($1, 1, 0, '')").bind(log);
            made.execute(&database.writer).await.expect("a head");
        }
        let (keys, unindexed) = (OwnKeys::new(&Secret::new([7; 32])), Default::default());
        Self { folder, database, keys, unindexed, records: Vec::new(), random: 1 }
    }

    fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }

    /// Some records of one log, in one transaction: about few and about many, at times that are nearly in order.
    async fn group(&mut self, log: u64, count: u64, time_ms: i64) {
        self.group_of(log, count, time_ms, WAITING_MAX).await;
    }

    /// The same; all that waits is indexed with them where it is so much.
    async fn group_of(&mut self, log: u64, count: u64, time_ms: i64, most: usize) {
        let size = self.records.iter().filter(|(place, _)| place.log == log).count() as u64;
        let (mut leaves, mut indexes) = (Vec::new(), Indexes::default());
        for seq in size..size + count {
            let time_ms = time_ms - self.below(300) as i64;
            let (person, token, repo) = ([1, 1, 1, 1, 2, 3][self.below(6) as usize], self.below(40), self.below(900));
            let record = Record {
                time_ms,
                action: ["repo.read", "object.open", "share.create"][self.below(3) as usize].to_owned(),
                outcome: "allowed".to_owned(),
                principal_id: Some(person),
                token: (token > 0).then_some(token),
                repo_id: (repo > 0).then_some(repo % 300),
                share: (token == 7).then_some(7),
                address: format!("10.0.0.{}", self.below(5)),
                path: (repo > 800).then(|| "a.bin".to_owned()),
                ..Record::default()
            };
            let leaf = StoredLeaf::seal(&self.keys, &mut indexes, (log, seq), &record, String::new()).expect("a leaf");
            leaves.push(leaf);
            self.records.push((Cursor { time_ms, log, seq }, record));
        }
        let waiting: Vec<Waiting> = leaves.iter().map(Waiting::of).collect();
        let unindexed = &mut self.unindexed[log as usize - 1];
        let mut tx = self.database.begin().await.expect("a transaction");
        insert_leaves(&mut tx, false, leaves).await.expect("leaves");
        let indexed = unindexed.write(&mut tx, false, log, &waiting, most).await.expect("an index");
        let head = sqlx::query("UPDATE audit_head SET size = $1, indexed = $2 WHERE log = $3");
        let head = head.bind((size + count) as i64).bind(indexed as i64).bind(log as i64);
        head.execute(&mut *tx).await.expect("a head");
        tx.commit().await.expect("a commit");
        unindexed.keep(indexed, waiting);
    }

    /// Six times as many as wait, over some minutes.
    async fn fill(&mut self) {
        let mut time_ms = 1_700_000_000_000;
        while self.records.len() < 6 * WAITING_MAX {
            let (log, count) = ([3, 1, 1, 1].get(self.below(16) as usize).copied().unwrap_or(2), 1 + self.below(120));
            time_ms += 1 + self.below(4000) as i64;
            self.group(log, count, time_ms).await;
        }
        let indexed = self.unindexed.each_ref().map(|log| log.indexed);
        // Of the last one all records wait, also the oldest.
        assert!(indexed[0] > 0 && indexed[1] > WAITING_MAX as u64 && indexed[2] == 0, "{indexed:?}");
    }

    /// All pages of a search.
    async fn found(&self, filter: &Filter) -> Vec<Cursor> {
        let (mut filter, mut found) = (filter.clone(), Vec::new());
        loop {
            let page = search(&self.database.reader, &self.keys, &filter).await.expect("a page");
            assert!(page.found.len() <= filter.limit as usize);
            let closed = search_closed(&self.database.reader, &self.keys, &filter).await.expect("a page");
            let places = |(place, leaf): (&Cursor, &StoredLeaf)| (*place, leaf.seq);
            let open = page.found.iter().map(|(place, leaf, _)| places((place, leaf)));
            assert!(open.eq(closed.found.iter().map(|(place, leaf, ())| places((place, leaf)))));
            assert_eq!(page.next, closed.next);
            found.extend(page.found.iter().map(|(place, ..)| *place));
            match page.next {
                Some(next) => filter.before = Some(next),
                None => return found,
            }
        }
    }

    async fn wrong(&self) -> Vec<u64> {
        let mut tx = self.database.snapshot().await.expect("a snapshot");
        wrongly_indexed(&mut tx, &self.keys).await.expect("the index")
    }

    async fn edit(&self, statement: &'static str) {
        assert!(sqlx::query(statement).execute(&self.database.writer).await.expect("an edit").rows_affected() > 0);
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn filters(records: &[(Cursor, Record)]) -> Vec<Filter> {
    let times: Vec<i64> = records.iter().map(|(place, _)| place.time_ms).collect();
    let middle = times[times.len() / 2];
    let principal = Filter { principal: Some(2), limit: 500, ..Filter::default() };
    let (newer, older) = (records[records.len() * 3 / 4].0, records[records.len() / 4].0);
    let share = ShareFilter { id: 7, tokens: vec![7, 8], repo: Some(11) };
    vec![
        principal.clone(),
        Filter { limit: 1000, ..Filter::default() },
        Filter { token: Some(7), limit: 13, ..Filter::default() },
        Filter { token: Some(999), limit: 13, ..Filter::default() },
        Filter { repo: Some(11), limit: 3, ..Filter::default() },
        Filter { address: Some("10.0.0.3".to_owned()), limit: 700, ..Filter::default() },
        Filter { repo: Some(11), address: Some("10.0.0.3".to_owned()), limit: 2, ..Filter::default() },
        Filter { action: Some("object.open".to_owned()), token: Some(7), ..principal.clone() },
        Filter { principal: Some(1), token: Some(7), ..principal.clone() },
        Filter { since_ms: Some(middle - 20_000), until_ms: Some(middle), limit: 50, ..principal.clone() },
        Filter { since_ms: Some(middle), until_ms: Some(middle + 1), ..principal.clone() },
        Filter { until_ms: Some(times[9]), ..principal.clone() },
        Filter { before: Some(newer), down_to: Some(older), ..principal.clone() },
        Filter { since_ms: Some(middle), down_to: Some(older), limit: 90, ..principal.clone() },
        Filter { path: Some("a.".to_owned()), ..principal },
        Filter { people: Some(vec![1, 3]), limit: 400, ..Filter::default() },
        Filter { people: Some(Vec::new()), limit: 400, ..Filter::default() },
        Filter { people: Some(vec![1, 2, 3]), path: Some("a.".to_owned()), limit: 1000, ..Filter::default() },
        Filter { share: Some(share), limit: 17, ..Filter::default() },
    ]
}

/// Whether a record is what is asked for, from what it says alone.
fn fits(filter: &Filter, place: Cursor, record: &Record) -> bool {
    let time_ms = place.time_ms;
    let is = |asked: Option<u64>, held: Option<u64>| asked.is_none() || asked == held;
    let share = |share: &ShareFilter| {
        let about = record.share == Some(share.id) && record.repo_id == share.repo && record.action == "share.create";
        about || record.token.is_some_and(|token| share.tokens.contains(&token))
    };
    is(filter.principal, record.principal_id)
        && is(filter.token, record.token)
        && is(filter.repo, record.repo_id)
        && filter.address.as_ref().is_none_or(|address| *address == record.address)
        && filter.action.as_ref().is_none_or(|action| *action == record.action)
        && filter.path.as_ref().is_none_or(|path| record.path.as_ref().is_some_and(|held| held.starts_with(path)))
        && filter.people.as_ref().is_none_or(|people| people.contains(&record.principal_id.unwrap_or(0)))
        && filter.share.as_ref().is_none_or(share)
        && filter.since_ms.is_none_or(|since| time_ms >= since)
        && filter.until_ms.is_none_or(|until| time_ms < until)
        && filter.before.is_none_or(|before| place < before)
        && filter.down_to.is_none_or(|down_to| place >= down_to)
}

#[tokio::test]
async fn a_search_finds_what_fits_in_every_log_newest_first_whether_it_is_indexed_or_waits() {
    let mut logs = Logs::new("finds").await;
    logs.fill().await;
    for (at, filter) in filters(&logs.records).iter().enumerate() {
        let fitting = logs.records.iter().filter(|(place, record)| fits(filter, *place, record));
        let mut expected: Vec<Cursor> = fitting.map(|(place, _)| *place).collect();
        expected.sort_by_key(|place| std::cmp::Reverse(*place));
        let found = logs.found(filter).await;
        assert_eq!(found.len(), expected.len(), "filter {at}");
        assert!(found == expected, "filter {at}");
    }
}

#[tokio::test]
async fn what_is_to_be_searched_much_waits_no_longer() {
    let mut logs = Logs::new("soon").await;
    logs.fill().await;
    assert!(logs.unindexed[0].waiting.len() > 1);
    logs.group_of(1, 3, 1_800_000_000_000, 0).await;
    assert_eq!(logs.unindexed[0].waiting.len(), 0);
    assert!(logs.wrong().await.is_empty());
    let filter = Filter { principal: Some(2), limit: 500, ..Filter::default() };
    let fitting = logs.records.iter().filter(|(place, record)| fits(&filter, *place, record)).count();
    assert_eq!(logs.found(&filter).await.len(), fitting);
}

#[tokio::test]
async fn records_that_another_version_left_are_indexed_when_their_log_is_continued() {
    let mut logs = Logs::new("left").await;
    logs.fill().await;
    logs.edit("DELETE FROM audit_index WHERE log = 2").await;
    logs.edit("UPDATE audit_head SET indexed = 0 WHERE log = 2").await;
    assert!(logs.wrong().await.is_empty());
    let size = logs.records.iter().filter(|(place, _)| place.log == 2).count() as u64;
    logs.unindexed[1] = Unindexed::load(&logs.database, 2, 0, size).await.expect("a log");
    assert_eq!((logs.unindexed[1].indexed, logs.unindexed[1].waiting.len()), (size, 0));
    let waiting = logs.unindexed[0].waiting.len();
    let indexed = logs.unindexed[0].indexed;
    logs.unindexed[0] = Unindexed::load(&logs.database, 1, indexed, indexed + waiting as u64).await.expect("a log");
    assert_eq!((logs.unindexed[0].indexed, logs.unindexed[0].waiting.len()), (indexed, waiting));
    logs.group(2, 100, 1_800_000_000_000).await;
    assert!(logs.wrong().await.is_empty());
    let filter = Filter { principal: Some(1), limit: 1000, ..Filter::default() };
    let fitting = logs.records.iter().filter(|(_, record)| record.principal_id == Some(1)).map(|(place, _)| *place);
    assert_eq!(BTreeSet::from_iter(logs.found(&filter).await), fitting.collect());
}

#[tokio::test]
async fn an_index_that_was_edited_is_told_from_one_that_is_whole() {
    let mut logs = Logs::new("edited").await;
    logs.fill().await;
    assert!(logs.wrong().await.is_empty());
    let row = "(value_index, time_ms, log, seq) IN (SELECT value_index, time_ms, log, seq FROM audit_index WHERE log = 2 AND more <> x'' LIMIT 1)";
    for (statement, expected) in [
        ("UPDATE audit_index SET value_index = zeroblob(16) WHERE ROW", vec![2]),
        ("UPDATE audit_index SET time_ms = time_ms + 1 WHERE ROW", vec![2]),
        ("UPDATE audit_index SET log = 1, seq = seq + 100000 WHERE ROW", vec![1, 2]),
        ("UPDATE audit_index SET more = CAST(substr(more, 1, length(more) - 2) || x'ffff' AS BLOB) WHERE ROW", vec![2]),
        ("UPDATE audit_index SET more = CAST(substr(more, 2) AS BLOB) WHERE ROW", vec![2]),
        ("UPDATE audit_index SET more = zeroblob(0) WHERE ROW", vec![2]),
        ("DELETE FROM audit_index WHERE ROW", vec![2]),
        ("UPDATE audit_head SET indexed = size WHERE log = 1", vec![1]),
    ] {
        let mut tx = logs.database.begin().await.expect("a transaction");
        let text = AssertSqlSafe(statement.replace("ROW", row));
        let edited = sqlx::query(text).execute(&mut *tx).await.expect("an edit").rows_affected();
        assert!(edited > 0, "{statement}");
        assert_eq!(wrongly_indexed(&mut tx, &logs.keys).await.expect("the index"), expected, "{statement}");
        tx.rollback().await.expect("as it was");
    }
    // One that can't be read ends a search, rather than leaving something out.
    logs.edit("UPDATE audit_index SET more = x'80' WHERE log = 2").await;
    let filter = Filter { principal: Some(1), limit: 1000, ..Filter::default() };
    let refused = search(&logs.database.reader, &logs.keys, &filter).await;
    assert!(matches!(refused, Err(SearchError::Index(2))), "{refused:?}");
}
