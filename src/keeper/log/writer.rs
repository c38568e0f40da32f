//! The one writer: takes what waits, commits it as a group, answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use sqlx::Any;
use sqlx::pool::PoolConnection;
use strongroom_audit::checkpoint::Checkpoint;
use strongroom_audit::note::Signer;
use strongroom_database::{Database, Lock};
use strongroom_protocol::incident::IncidentCommand;
use tokio::sync::mpsc;

use super::alarm::{Alarms, Risen};
use super::charge::{Charge, Known, Ledger, committed};
use super::front::{Entry, Job, Log, LogError, Position, QUEUE};
use super::heads::origin;
use super::history;
use super::index::{Unindexed, WAITING_MAX, Waiting};
use super::leaf::{Indexes, StoredLeaf};
use super::record::Record;
use super::rows::{insert_leaves, note_move, note_use};
use super::seat::{Seat, Stored};
use super::share::{Events, Over};
use super::tiles::Tiles;
use crate::change::{Change, publish};
use crate::follow::Follow;
use crate::keys::OwnKeys;
use crate::metrics;
use crate::review;

/// Records of one group, at most.
const GROUP: usize = 256;
/// How often those who were answered are let go first, at most, as long as one of them asks again: what they ask is in the next group
/// then, not in the one after it, and half as many groups do.
const YIELDS: usize = 8;
/// Groups that are written one after another before others may write.
const TURNS: u64 = 32;
/// A token's last use is noted to the minute.
const USE_MS: i64 = 60_000;

struct Writer {
    database: Database,
    keys: Arc<OwnKeys>,
    signer: Signer,
    seat: Seat,
    tiles: Tiles,
    known: Known,
    alarms: Alarms,
    indexes: Indexes,
    unindexed: Unindexed,
    follow: Arc<Follow>,
    position: Arc<RwLock<Position>>,
    /// Kept while one group follows another.
    connection: Option<PoolConnection<Any>>,
}

impl Log {
    /// Continues a stored log that no other keeper writes, or begins one. `name` is that of all logs together.
    ///
    /// # Errors
    /// [`LogError`] where the stored tree is not whole.
    pub async fn start(
        database: Database,
        keys: Arc<OwnKeys>,
        name: &str,
        follow: Arc<Follow>,
        alarms: Alarms,
    ) -> Result<Self, LogError> {
        let (seat, Stored { size, indexed, checkpoint: stored }) = Seat::take(&database).await?;
        let failed = |what: &str| LogError::Failed(format!("{what}; run `strongroom audit verify`"));
        let signer = |name: &str| {
            Signer::from_seed(name, &keys.log_seed)
                .map_err(|error| LogError::Failed(format!("the log's name: {error}")))
        };
        let key = signer(name)?.verifier_key();
        let signer = signer(&origin(name, seat.log))?;
        let tiles = Tiles::load(&database.writer, seat.log, size).await?;
        let checkpoint = sign(&signer, &tiles)?;
        if size > 0 {
            let kept =
                Checkpoint::open(&stored, &signer.verifier_key()).map_err(|_| failed("the stored checkpoint"))?;
            if kept.size != tiles.size() || kept.root != tiles.root() {
                return Err(failed("the stored tree is not that of its checkpoint"));
            }
        }
        let position = Arc::new(RwLock::new(Position { size: tiles.size(), checkpoint }));
        let (send, receive) = mpsc::channel(QUEUE);
        let number = seat.log;
        let unindexed = Unindexed::load(&database, number, indexed, size).await?;
        let (known, indexes) = (Known::default(), Indexes::default());
        let log = Self { send, position: position.clone(), database: database.clone(), key, number };
        tokio::spawn(
            Writer {
                database,
                keys,
                signer,
                seat,
                tiles,
                known,
                alarms,
                indexes,
                unindexed,
                follow,
                position,
                connection: None,
            }
            .run(receive),
        );
        Ok(log)
    }
}

fn sign(signer: &Signer, tiles: &Tiles) -> Result<String, LogError> {
    let origin = signer.verifier_key().name().to_owned();
    let checkpoint = Checkpoint { origin, size: tiles.size(), root: tiles.root() };
    checkpoint.sign(signer).map_err(|error| LogError::Failed(error.to_string()))
}

/// Of each repository, the time of the commit to which `main` moves, and the record that says so.
type Moves = BTreeMap<u64, (i64, u64)>;

/// A transaction that is durable.
struct Written {
    /// Of each entry.
    places: Vec<Result<u64, LogError>>,
    /// After it.
    generation: u64,
    /// Of the log; none where nothing was appended.
    checkpoint: Option<String>,
    /// Tokens that are noted as used, and when.
    used: BTreeMap<u64, i64>,
    /// Repositories whose `main` moves.
    moved: Moves,
    /// By whom something was used where, and on which day.
    there: BTreeMap<(u64, u64), i64>,
}

impl Writer {
    async fn run(mut self, mut receive: mpsc::Receiver<Job>) {
        let (mut waiting, mut turns) = (Vec::with_capacity(GROUP), 0);
        while receive.recv_many(&mut waiting, GROUP).await > 0 {
            let mut jobs = std::mem::take(&mut waiting).into_iter().peekable();
            while let Some(first) = jobs.next() {
                let mut group = vec![first];
                // A change has a transaction of its own: where it meets another, nothing else is undone.
                while group[0].entry.changes.is_empty() && jobs.peek().is_some_and(|job| job.entry.changes.is_empty()) {
                    group.extend(jobs.next());
                }
                self.commit(group).await;
            }
            for _ in 0..YIELDS {
                let before = receive.len();
                tokio::task::yield_now().await;
                if receive.len() == before {
                    break;
                }
            }
            turns += 1;
            if receive.is_empty() || turns % TURNS == 0 {
                // Others write too.
                self.connection = None;
            }
        }
    }

    async fn commit(&mut self, group: Vec<Job>) {
        let mut tiles = self.tiles.clone();
        let (mut entries, waiting): (Vec<Entry>, Vec<_>) = group.into_iter().map(|job| (job.entry, job.done)).unzip();
        let changes: Vec<Change> = entries.iter_mut().flat_map(|entry| std::mem::take(&mut entry.changes)).collect();
        match self.write(&mut tiles, &entries, &changes).await {
            Ok(Written { places, generation, checkpoint, used, moved, there }) => {
                if let Some(checkpoint) = checkpoint {
                    *self.position.write() = Position { size: tiles.size(), checkpoint };
                    self.tiles = tiles;
                }
                self.note(used, moved, there);
                metrics::group(
                    entries.iter().zip(&places).filter(|(_, place)| place.is_ok()).map(|(entry, _)| &entry.record),
                );
                if !changes.is_empty() && places.iter().all(Result::is_ok) {
                    let applied = self.follow.apply(changes, generation).await;
                    if let Err(error) = applied {
                        // Memory is behind what is durable: stop, and load it anew.
                        tracing::error!(%error, "a change can't be applied; the keeper stops");
                        std::process::exit(70);
                    }
                }
                for (done, place) in waiting.into_iter().zip(places) {
                    // A caller that stopped waiting is gone.
                    let _ = done.send(place);
                }
            }
            Err(LogError::Fenced) => {
                tracing::error!("another keeper has continued this log; this one stops");
                std::process::exit(70);
            }
            Err(error) => {
                if !matches!(error, LogError::Taken) {
                    tracing::error!(%error, "audit group not written");
                }
                for done in waiting {
                    let again = match &error {
                        LogError::Taken => LogError::Taken,
                        error => LogError::Failed(error.to_string()),
                    };
                    let _ = done.send(Err(again));
                }
            }
        }
    }

    /// The token of a record, where its last use was noted more than a minute ago.
    fn newly_used(&self, record: &Record) -> Option<u64> {
        let id = record.token.filter(|_| record.outcome == "allowed")?;
        let last = self.follow.state().read().tokens.get(&id)?.last_used_ms;
        last.is_none_or(|last| record.time_ms - last > USE_MS).then_some(id)
    }

    fn note(&self, used: BTreeMap<u64, i64>, moved: Moves, there: BTreeMap<(u64, u64), i64>) {
        if used.is_empty() && moved.is_empty() && there.is_empty() {
            return;
        }
        let mut state = self.follow.state().write();
        for (id, time_ms) in used {
            if let Some(token) = state.tokens.get_mut(&id) {
                token.last_used_ms = Some(time_ms);
            }
        }
        state.reviews.used.extend(there);
        for (id, (moved_ms, _)) in moved {
            state.with_repo(id, |repo| repo.moved_ms = Some(moved_ms));
        }
    }

    /// One transaction. If we die inside, nothing of it is there; if we die after, all of it is, and nobody was answered.
    ///
    /// It holds the lock beside other keepers' records, and alone for a change: from a change's commit on no record of a
    /// decision before it lands, on no keeper. Rows that keepers meet at are written in one order.
    async fn write(&mut self, tiles: &mut Tiles, entries: &[Entry], changes: &[Change]) -> Result<Written, LogError> {
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => self.database.writer.acquire().await?,
        };
        let mut tx = self.database.begin_on(&mut connection).await?;
        let lock = if changes.is_empty() { Lock::Shared } else { Lock::Exclusive };
        self.database.lock(&mut tx, lock).await?;
        let failed = |error: crate::state::LoadError| LogError::Failed(error.to_string());
        let mut generation = self.follow.catch_up(&mut tx).await.map_err(failed)?;
        let stale = |entry: &Entry| entry.decided.is_some_and(|decided| decided != generation);
        let mut refused: BTreeMap<usize, Over> = BTreeMap::new();
        let mut charges: Vec<(usize, &Charge)> = Vec::new();
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| !stale(entry)) {
            charges.extend(entry.charge.as_ref().map(|charge| (at, charge)));
        }
        // The locks of principals are taken in one order by all keepers.
        charges.sort_by_key(|(at, charge)| (charge.principal, *at));
        let (mut ledger, mut warned) = (Ledger::default(), BTreeMap::new());
        ledger.lock_common(&mut tx, &charges).await?;
        for (at, charge) in charges {
            match ledger.spend(&mut tx, &self.known, charge).await? {
                Ok(lines) if lines.is_empty() => {}
                Ok(lines) => drop(warned.insert(at, lines)),
                Err(over) => drop(refused.insert(at, over)),
            }
        }
        ledger.write(&mut tx).await?;
        let landing = entries.iter().enumerate().filter(|(at, entry)| !stale(entry) && !refused.contains_key(at));
        let warnings = warned.iter().flat_map(|(at, lines)| std::iter::repeat_n(&entries[*at].record, lines.len()));
        let numbered = landing.map(|(_, entry)| &entry.record).chain(warnings);
        let mut events = Events::of(numbered, &self.follow.state().read());
        events.count(&mut tx).await?;
        let (mut places, mut leaves) = (Vec::with_capacity(entries.len()), Vec::new());
        let (mut used, mut moved, mut added) = (BTreeMap::new(), Moves::new(), BTreeMap::new());
        let mut crossings: Vec<(Record, (u64, u64))> = Vec::new();
        let mut there = BTreeMap::new();
        for (at, entry) in entries.iter().enumerate() {
            places.push(if stale(entry) {
                Err(LogError::Stale)
            } else if let Some(over) = refused.get(&at) {
                Err(LogError::OverBudget(*over))
            } else {
                let place = (self.seat.log, tiles.size());
                let (record, heads) = (events.numbered(&entry.record), entry.heads.to_string());
                let leaf = StoredLeaf::seal(&self.keys, &mut self.indexes, place, &record, heads)?;
                tiles.append(leaf.hash());
                used.extend(self.newly_used(&entry.record).map(|token| (token, entry.record.time_ms)));
                there.extend(self.follow.state().read().reviews.newly_used(&entry.record));
                let (record, moved_ms) = (&entry.record, entry.record.moved_ms);
                moved.extend(record.repo_id.zip(moved_ms).map(|(repo, moved_ms)| (repo, (moved_ms, place.1))));
                leaves.push(leaf);
                for budget in warned.remove(&at).unwrap_or_default() {
                    let (place, warning) = ((self.seat.log, tiles.size()), entry.record.warning(budget));
                    let record = events.numbered(&warning);
                    let leaf = StoredLeaf::seal(&self.keys, &mut self.indexes, place, &record, String::new())?;
                    tiles.append(leaf.hash());
                    leaves.push(leaf);
                    crossings.push((warning, place));
                }
                for (part, bytes) in &record.added {
                    let whole: &mut u64 = added.entry((record.repo_id.unwrap_or(0), *part)).or_default();
                    *whole = whole.saturating_add(*bytes);
                }
                Ok(place.1)
            });
        }
        if leaves.is_empty() {
            tx.rollback().await?;
            return Ok(Written { places, generation, checkpoint: None, used, moved, there });
        }
        let landed = entries.iter().zip(&places);
        let landed = landed.filter_map(|(entry, place)| Some((&entry.record, (self.seat.log, *place.as_ref().ok()?))));
        let landed: Vec<_> = landed.chain(crossings.iter().map(|(record, place)| (record, *place))).collect();
        let (rising, mut risen): (_, Risen) = self.alarms.rising(&mut tx, &self.keys, &landed).await?;
        for alert in rising {
            let place = (self.seat.log, tiles.size());
            if alert.claim(&mut tx, place, &mut risen).await? {
                let leaf = StoredLeaf::seal(&self.keys, &mut self.indexes, place, &alert.record, String::new())?;
                tiles.append(leaf.hash());
                leaves.push(leaf);
            }
        }
        let (shared, appended) = (self.database.is_shared(), leaves.iter().map(Waiting::of).collect::<Vec<_>>());
        insert_leaves(&mut tx, shared, leaves).await?;
        // Whoever opens an incident asks for hundreds of pages, each of which would look through what waits.
        let asked = |(record, _): &(&Record, _)| record.action == IncidentCommand::OPEN && record.outcome == "allowed";
        let most = if landed.iter().any(asked) { 0 } else { WAITING_MAX };
        let indexed = self.unindexed.write(&mut tx, shared, self.seat.log, &appended, most).await?;
        committed(&mut tx, &added).await?;
        for (token, time_ms) in &used {
            note_use(&mut tx, *token, *time_ms).await?;
        }
        for (who, day) in &there {
            review::note_use(&mut tx, *who, *day).await?;
        }
        for (repo, (moved_ms, seq)) in &moved {
            note_move(&mut tx, *repo, *moved_ms, (self.seat.log, *seq)).await?;
        }
        if !changes.is_empty() && places.iter().all(Result::is_ok) {
            for change in changes {
                change.write(&mut tx, &self.keys).await?;
            }
            generation += 1;
            publish(&mut tx, &self.keys, generation, changes).await?;
        }
        for (entry, place) in entries.iter().zip(&places).filter(|(entry, _)| !entry.record.effects.is_empty()) {
            if let Ok(seq) = place {
                history::note(&mut tx, &entry.record, !changes.is_empty(), (self.seat.log, *seq)).await?;
            }
        }
        tiles.write(&mut tx).await?;
        let checkpoint = sign(&self.signer, tiles)?;
        self.seat.write(&mut tx, (tiles.size(), indexed), &checkpoint).await?;
        // A log whose file is gone would take records until the process ends, and then have had none.
        self.database.is_in_place()?;
        tx.commit().await?;
        self.connection = Some(connection);
        self.unindexed.keep(indexed, appended);
        self.known.keep(ledger);
        self.alarms.keep(risen);
        Ok(Written { places, generation, checkpoint: Some(checkpoint), used, moved, there })
    }
}
