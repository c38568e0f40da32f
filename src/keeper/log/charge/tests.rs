//! Budgets told with a clock that is a number: one reader or many, hours and months.

use strongroom_database::{Database, Source};
use strongroom_domain::Window;

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: i64 = Window::Hour.ms();
const DAY: i64 = Window::Day.ms();
/// A midnight.
const START: i64 = 20_000 * DAY;

const SHIPPED: &str = include_str!("../../../../policies/budgets.toml");

/// A keeper's books; more than one keeper may have the same database.
struct Books {
    database: Database,
    known: Known,
    budgets: Arc<Budgets>,
    folder: std::path::PathBuf,
}

async fn books(name: &str, budgets: &str) -> Books {
    let folder = std::env::temp_dir().join(format!("strongroom-books-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let database = crate::setup::migrate(&Source::File(folder.join("keeper.db"))).await.unwrap();
    let budgets = Arc::new(Budgets::from_toml(budgets).unwrap());
    Books { database, known: Known::default(), budgets, folder }
}

impl Drop for Books {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Who reads what.
#[derive(Clone)]
struct Read {
    principal: u64,
    token: u64,
    share: Option<u64>,
    repo: u64,
    part: Compartment,
    object: u8,
    size: u64,
    range: Range<u64>,
}

const WEIGHTS: Read = Read {
    principal: 1,
    token: 1,
    share: None,
    repo: 1,
    part: Compartment::Weights,
    object: 1,
    size: GIB,
    range: 0..0,
};

impl Books {
    /// One transaction, as of a group of records; all of it is kept, as the writer does.
    async fn group(&mut self, now_ms: i64, reads: &[Read]) -> Vec<Result<Vec<Budget>, Over>> {
        let (mut tx, mut ledger, mut said) = (self.database.begin().await.unwrap(), Ledger::default(), Vec::new());
        for read in reads {
            let Read { principal, token, share, repo, part, object, size, range } = read.clone();
            let share = share.map(|share| ShareCharge {
                share,
                common: false,
                bytes: range.end - range.start,
                limits: (None, None),
            });
            let piece = Piece { repo, compartment: part, object: [object; 16], size, range };
            let budgets = self.budgets.clone();
            let charge = Charge { principal, token: Some(token), share, time_ms: now_ms, piece, budgets };
            said.push(ledger.spend(&mut tx, &self.known, &charge).await.unwrap());
        }
        ledger.write(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        self.known.keep(ledger);
        said
    }

    async fn read(&mut self, now_ms: i64, read: &Read) -> Result<Vec<Budget>, Over> {
        self.group(now_ms, std::slice::from_ref(read)).await.pop().unwrap()
    }

    async fn commit(&self, repo: u64, part: Compartment, bytes: u64) {
        let mut tx = self.database.begin().await.unwrap();
        committed(&mut tx, &BTreeMap::from([((repo, part), bytes)])).await.unwrap();
        tx.commit().await.unwrap();
    }
}

fn over(said: Result<Vec<Budget>, Over>) -> (Budget, Option<u64>) {
    match said {
        Err(Over::Budget(actor, crossed)) => {
            assert_eq!(actor, crossed.budget.of);
            (crossed.budget, crossed.retry_s)
        }
        other => panic!("not over: {other:?}"),
    }
}

fn budget(of: Actor, what: Counted, within: Window) -> Budget {
    Budget { of, what, within }
}

#[tokio::test]
async fn an_hour_and_a_day_end_the_reading_until_the_next_one_begins() {
    let text = "[principal]\nbytes_per_hour = { soft = \"50B\", hard = \"100B\" }\nbytes_per_day = { hard = \"150B\" }";
    let mut books = books("lines", text).await;
    let read = |token, bytes| Read { token, range: 0..bytes, ..WEIGHTS };
    assert_eq!(books.read(START, &read(1, 50)).await, Ok(vec![]));
    let soft = budget(Actor::Principal, Counted::Bytes, Window::Hour);
    assert_eq!(books.read(START, &read(2, 20)).await, Ok(vec![soft]), "another token of the same one");
    assert_eq!(books.read(START, &read(1, 20)).await, Ok(vec![]), "once in a window");
    assert_eq!(over(books.read(START + HOUR - 1000, &read(3, 11)).await), (soft, Some(1)));
    assert_eq!(books.read(START, &read(1, 10)).await, Ok(vec![]), "what was refused was not counted");
    assert_eq!(over(books.read(START, &read(1, 101)).await), (soft, None), "there will never be room");
    assert_eq!(books.read(START, &Read { principal: 2, ..read(9, 50) }).await, Ok(vec![]), "another one");
    assert_eq!(books.read(START + HOUR, &read(1, 50)).await, Ok(vec![]));
    let day = budget(Actor::Principal, Counted::Bytes, Window::Day);
    assert_eq!(over(books.read(START + 2 * HOUR, &read(1, 1)).await), (day, Some(22 * 3600)));
    assert_eq!(books.read(START + 2 * HOUR, &read(1, 0)).await, Ok(vec![]), "nothing is not too much");
    assert_eq!(books.read(START + DAY, &read(1, 60)).await, Ok(vec![soft]), "and warned again");
}

#[tokio::test]
async fn repositories_are_counted_once_each_and_a_token_and_a_share_have_lines_of_their_own() {
    let text = "[principal]\nrepositories_per_hour = { soft = 1, hard = 2 }\n[token]\nbytes_per_hour = { hard = \"10B\" }\n\
                [share]\nbytes_per_day = { hard = \"15B\" }";
    let mut books = books("repos", text).await;
    let read = |token, repo, share| Read { token, repo, share, range: 0..5, ..WEIGHTS };
    assert_eq!(books.read(START, &read(1, 1, None)).await, Ok(vec![]));
    assert_eq!(books.read(START, &read(1, 1, None)).await, Ok(vec![]));
    assert_eq!(over(books.read(START, &read(1, 1, None)).await).0, budget(Actor::Token, Counted::Bytes, Window::Hour));
    let soft = budget(Actor::Principal, Counted::Repositories, Window::Hour);
    assert_eq!(books.read(START, &read(2, 2, None)).await, Ok(vec![soft]));
    assert_eq!(over(books.read(START, &read(3, 3, None)).await), (soft, Some(3600)));
    for token in [4, 5, 6] {
        assert_eq!(books.read(START, &read(token, 2, Some(8))).await, Ok(vec![]));
    }
    assert_eq!(
        over(books.read(START, &read(7, 2, Some(8))).await).0,
        budget(Actor::Share, Counted::Bytes, Window::Day)
    );
    assert_eq!(books.read(START, &read(7, 2, Some(9))).await, Ok(vec![]), "another share");
}

const QUARTER: &str = "coverage = [{ compartment = \"weights\", within = \"90days\", soft = 10, hard = 24 }]";

#[tokio::test]
async fn a_share_read_by_five_tokens_in_ranges_out_of_order_trips_before_a_quarter_and_rereading_adds_nothing() {
    let mut books = books("share", &format!("[share]\n{QUARTER}")).await;
    let (whole, step) = (4 * GIB, 8 * MIB);
    books.commit(1, Compartment::Weights, whole).await;
    let (mut taken, mut warned, mut tripped) = (0, Vec::new(), None);
    let steps = GIB / step;
    for turn in 0..4 * steps {
        // Each object front, back and middle; each token in its turn; minutes between.
        let (object, at) = ((turn % 4) as u8, turn / 4 * 97 % steps);
        let (token, share) = (turn % 5, Some(7));
        let read = Read { token, share, object, range: at * step..(at + 1) * step, ..WEIGHTS };
        let now = START + turn as i64 * 60_000;
        let again = (0..3).map(|token| Read { token, ..read.clone() });
        let mut said =
            books.group(now, &std::iter::once(read.clone()).chain(again).collect::<Vec<_>>()).await.into_iter();
        match said.next().expect("four answers") {
            Ok(lines) => {
                taken += step;
                warned.extend(lines);
                assert!(said.all(|said| said == Ok(vec![])), "re-read");
            }
            other => {
                tripped = Some((over(other).0, read));
                break;
            }
        }
    }
    let coverage = budget(Actor::Share, Counted::Coverage(Compartment::Weights), Window::Quarter);
    let (crossed, refused) = tripped.expect("it trips");
    assert_eq!((crossed, warned), (coverage, vec![coverage]));
    assert!(taken < whole / 4 && taken > whole / 5, "{taken}");
    for token in 0..5 {
        assert!(books.read(START + DAY, &Read { token, ..refused.clone() }).await.is_err(), "token {token}");
    }
    let first = Read { share: Some(7), object: 0, range: 0..step, ..WEIGHTS };
    assert_eq!(books.read(START + DAY, &first).await, Ok(vec![]), "what it has, it may have again");
    assert_eq!(books.read(START + DAY, &Read { share: Some(8), ..refused }).await, Ok(vec![]), "another share");
}

#[tokio::test]
async fn a_drip_over_days_trips_before_a_quarter_though_each_keeper_forgets_and_a_window_ends_in_between() {
    let mut books = books("drip", &format!("[principal]\n{QUARTER}")).await;
    books.commit(1, Compartment::Weights, GIB).await;
    // A fifth of a percent an hour, across the end of a quarter of a year.
    let end = (START / Window::Quarter.ms() + 1) * Window::Quarter.ms();
    let (step, mut taken) = (GIB / 500, 0);
    for hour in 0..500 {
        books.known = Known::default();
        let read = Read { token: hour % 5, range: hour * step..(hour + 1) * step, ..WEIGHTS };
        if books.read(end - 60 * HOUR + hour as i64 * HOUR, &read).await.is_err() {
            break;
        }
        taken += step;
    }
    assert!(taken < GIB / 4 && taken > GIB / 5, "{taken}");
}

#[tokio::test]
async fn no_word_about_the_whole_moves_a_line_in_bytes_and_without_any_the_whole_is_what_was_taken() {
    let text = "[principal]\ncoverage = [\n{ compartment = \"weights\", within = \"day\", hard = 25, hard_bytes = \"8MiB\" },\n\
                { compartment = \"data\", within = \"day\", hard = 25, from = \"1MiB\" },\n\
                { compartment = \"docs\", within = \"day\", hard = 100 }]";
    let mut books = books("whole", text).await;
    for _ in 0..3 {
        books.commit(1, Compartment::Weights, u64::MAX).await;
    }
    assert_eq!(books.read(START, &Read { range: 0..8 * MIB, ..WEIGHTS }).await, Ok(vec![]));
    let (crossed, retry_s) = over(books.read(START, &Read { range: 8 * MIB..8 * MIB + 1, ..WEIGHTS }).await);
    assert_eq!(crossed, budget(Actor::Principal, Counted::Coverage(Compartment::Weights), Window::Day));
    assert_eq!(retry_s, Some(2 * 24 * 3600), "what was taken today counts tomorrow too");
    let whole = Read { range: 0..GIB, ..WEIGHTS };
    assert_eq!(over(books.read(START, &whole).await).1, None, "all at once never fits");
    let data = Read { part: Compartment::Data, object: 2, ..WEIGHTS };
    assert_eq!(
        books.read(START, &Read { range: 0..MIB, ..data.clone() }).await,
        Ok(vec![]),
        "as much as is always let go"
    );
    assert!(books.read(START, &Read { range: MIB..MIB + 1, ..data }).await.is_err());
    let docs = Read { part: Compartment::Docs, object: 3, range: 0..MIB, ..WEIGHTS };
    assert_eq!(books.read(START, &docs).await, Ok(vec![]), "all of it, where all of it may be taken");
}

#[tokio::test]
async fn two_keepers_count_together_and_a_group_as_one_after_the_other() {
    let mut first = books("two", &format!("[principal]\nbytes_per_day = {{ hard = \"6MiB\" }}\n{QUARTER}")).await;
    first.commit(1, Compartment::Weights, 17 * MIB).await;
    let (database, budgets) = (first.database.clone(), first.budgets.clone());
    let mut second = Books { database, budgets, known: Known::default(), folder: first.folder.join("none") };
    let read = |at: u64| Read { size: 16 * MIB, range: at * MIB..(at + 1) * MIB, ..WEIGHTS };
    assert!(first.read(START, &read(0)).await.is_ok() && second.read(START, &read(1)).await.is_ok());
    let said = first.group(START, &[read(2), read(3), read(4), read(2)]).await;
    assert!(matches!(&said[..], [Ok(_), Ok(_), Err(_), Ok(_)]), "{said:?}");
    let what = over(second.read(START, &read(5)).await).0.what;
    assert_eq!(what, Counted::Coverage(Compartment::Weights));
    assert!(second.read(START, &read(3)).await.is_ok());
    assert_eq!(over(first.read(START, &read(3)).await).0.what, Counted::Bytes, "six were asked for");
}

/// Hourly pulls of one model by three runners with a token each, and every night all ten repositories; each run commits a log,
/// and the nightly one reads yesterday's.
#[tokio::test]
async fn thirty_days_of_ordinary_pulls_cross_no_line_of_those_that_are_shipped() {
    let mut books = books("ci", SHIPPED).await;
    let files = [
        (Compartment::Config, 6, 2 * MIB),
        (Compartment::Docs, 1, MIB),
        (Compartment::Code, 4, MIB),
        (Compartment::Weights, 3, 5 * GIB),
        (Compartment::Data, 2, GIB),
    ];
    for repo in 1..=10 {
        for (part, count, size) in files {
            books.commit(repo, part, count * size).await;
        }
    }
    let pull = |token: u64, repo: u64| {
        let of = move |(at, (part, count, size)): (usize, (Compartment, u64, u64))| {
            (0..count).map(move |file| {
                let object = (repo * 20) as u8 + (at as u64 * 7 + file) as u8 % 20;
                Read { principal: 5, token, share: None, repo, part, object, size, range: 0..size }
            })
        };
        files.into_iter().enumerate().flat_map(of).collect::<Vec<Read>>()
    };
    let mut pulls = 0;
    for hour in 0..30 * 24_u64 {
        let now = START + hour as i64 * HOUR;
        let mut reads = pull(hour % 3, 1);
        if hour % 24 == 3 {
            reads.extend((1..=10).flat_map(|repo| pull(1, repo)));
            let (object, size) = (200 + (hour / 24) as u8, 40 * MIB);
            reads.push(Read { part: Compartment::Logs, object, size, range: 0..size, ..pull(1, 1)[0].clone() });
        }
        pulls += reads.len();
        let said = books.group(now, &reads).await;
        assert!(said.iter().all(|said| *said == Ok(vec![])), "hour {hour}: {said:?}");
        books.commit(1, Compartment::Logs, 40 * MIB).await;
    }
    assert!(pulls > 10_000, "{pulls}");
    // The same month would not hide one who takes the logs.
    let now = START + 30 * DAY;
    let mut taken = 0;
    for object in 0..=u8::MAX {
        let read =
            Read { principal: 6, part: Compartment::Logs, object, size: 40 * MIB, range: 0..40 * MIB, ..WEIGHTS };
        match books.read(now, &read).await {
            Ok(_) => taken += 40 * MIB,
            Err(_) => break,
        }
    }
    assert!(taken > GIB && taken <= 720 * 40 * MIB / 4, "{taken}");
}
