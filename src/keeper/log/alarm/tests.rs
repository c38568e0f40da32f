//! Thirty days of a house at work, by the shipped rules and a clock that is ours.

use strongroom_database::{Database, Source};
use strongroom_protocol::Secret;

use super::*;

const HOUR: i64 = 3_600_000;
const START: i64 = 1_800_000_000_000;
const SHIPPED: &str = include_str!("../../../../policies/alerts.toml");

/// What a runner's token does in one request.
fn record(token: u64, time_ms: i64, action: &str, outcome: &str) -> Record {
    Record {
        time_ms,
        action: action.to_owned(),
        outcome: outcome.to_owned(),
        token: Some(token),
        principal_id: Some(5),
        known: true,
        // Each runner is in a network of its own, now as one machine of it and now as another.
        address: format!("10.0.{token}.{}", time_ms / HOUR % 200 + 1),
        ..Record::default()
    }
}

/// A pull as a stock client makes it: files that are there, and optional ones that are not, or not for it.
fn pull(token: u64, begun: i64) -> Vec<Record> {
    let mut requests = vec![("whoami", "allowed"), ("repo.read", "allowed"), ("repo.read", "denied")];
    for file in 0..16 {
        requests.extend([("repo.read", "allowed"), ("object.open", "allowed"), ("object.deliver", "done")]);
        if file % 4 == 0 {
            requests.extend([("repo.read", "allowed"), ("object.absent", "absent")]);
        }
    }
    let times = (begun..).step_by(40);
    requests.into_iter().zip(times).map(|((action, outcome), at)| record(token, at, action, outcome)).collect()
}

async fn raised(alarms: &mut Alarms, database: &Database, keys: &OwnKeys, records: &[Record]) -> Vec<Record> {
    let landed: Vec<(&Record, (u64, u64))> = records.iter().zip((0..).map(|seq| (1, seq))).collect();
    let mut tx = database.begin().await.expect("a transaction");
    let (rising, mut risen) = alarms.rising(&mut tx, keys, &landed).await.expect("told");
    for (one, at) in rising.iter().zip(0..) {
        // A place that no other has.
        let kind = one.record.alert.map_or(0, |kind| kind as u64);
        one.claim(&mut tx, (2 + kind, at + one.time_ms as u64), &mut risen).await.expect("a turn");
    }
    tx.commit().await.expect("a commit");
    alarms.keep(risen);
    rising.into_iter().map(|one| one.record).collect()
}

#[tokio::test]
async fn thirty_days_of_ordinary_pulls_raise_no_alert_of_those_that_are_shipped() {
    let folder = std::env::temp_dir().join(format!("strongroom-alarms-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let migration = include_str!("../../../../migrations/keeper/0001_first.sql");
    let database = Database::open(&Source::File(folder.join("keeper.db")), &[migration]).await.expect("a database");
    let keys = OwnKeys::new(&Secret::new([7; 32]));
    let mut alarms = Alarms::new(AlertRules::from_toml(SHIPPED).expect("rules"), false);
    let mut seen = 0;
    for hour in 0..30 * 24 {
        for token in 1..=3 {
            let records = pull(token, START + hour * HOUR + token as i64 * 60_000);
            seen += records.len();
            let raised = raised(&mut alarms, &database, &keys, &records).await;
            assert!(raised.is_empty(), "hour {hour}: {:?}", raised[0].reason);
        }
    }
    assert!(seen > 100_000, "{seen}");
    // The same month would hide neither who knocks at every door, nor who took a runner's token elsewhere.
    let now = START + 30 * 24 * HOUR;
    let knocks: Vec<Record> = (0..100).map(|at| record(2, now + at * 1000, "repo.read", "denied")).collect();
    let told = raised(&mut alarms, &database, &keys, &knocks).await;
    assert_eq!(told.iter().map(|alert| alert.alert).collect::<Vec<_>>(), [Some(AlertKind::Denials)]);
    let elsewhere = Record { address: "192.0.2.1".to_owned(), ..record(3, now, "repo.read", "allowed") };
    let told = raised(&mut alarms, &database, &keys, &[elsewhere]).await;
    assert_eq!(told.iter().map(|alert| alert.alert).collect::<Vec<_>>(), [Some(AlertKind::Network)]);
    let _ = std::fs::remove_dir_all(folder);
}
