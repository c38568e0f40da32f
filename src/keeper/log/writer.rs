//! The one writer: takes what waits, commits it as a group, answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use sqlx::{AnyConnection, Row};
use strongroom_audit::checkpoint::Checkpoint;
use strongroom_audit::note::Signer;
use strongroom_database::Database;
use tokio::sync::{mpsc, oneshot};

use super::leaf::StoredLeaf;
use super::record::Record;
use super::tiles::{Tiles, TilesError};
use crate::change::{Change, ChangeError, apply_all};
use crate::keys::{KeyError, OwnKeys};
use crate::metrics;
use crate::state::State;

/// Records of one group, at most.
const GROUP: usize = 256;
/// Records that wait, at most; those beyond wait for room.
const QUEUE: usize = 4096;
/// How long an answer waits for its group. A log that hangs is as bad as one that is full.
const DEADLINE: Duration = Duration::from_secs(5);

/// A token's last use is noted to the minute.
const USE_MS: i64 = 60_000;

/// Why a record is not durable. Nothing may be released.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The policy changed since the decision: decide again.
    #[error("decided under an older policy")]
    Stale,
    /// A change that meets another, such as a name that was taken.
    #[error("taken")]
    Taken,
    /// The database or the tree.
    #[error("the audit log can't be written: {0}")]
    Failed(String),
    /// It hangs.
    #[error("the audit log did not answer in {} s", DEADLINE.as_secs())]
    Late,
}

impl From<sqlx::Error> for LogError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<TilesError> for LogError {
    fn from(error: TilesError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<KeyError> for LogError {
    fn from(error: KeyError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ChangeError> for LogError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Database(sqlx::Error::Database(error)) if error.is_unique_violation() => Self::Taken,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// What a decision uses of a budget.
#[derive(Debug, Clone, Copy)]
pub struct Charge {
    /// Whose.
    pub principal: u64,
    /// Days since 1970, UTC.
    pub day: i64,
    /// Bytes.
    pub bytes: u64,
    /// The repository that is read.
    pub repo: Option<u64>,
}

/// Where the log ends.
#[derive(Debug, Clone)]
pub struct Position {
    /// Records.
    pub size: u64,
    /// The signed note.
    pub checkpoint: String,
}

struct Job {
    record: Record,
    changes: Vec<Change>,
    decided: Option<u64>,
    charge: Option<Charge>,
    done: oneshot::Sender<Result<u64, LogError>>,
}

/// The log's front: append and wait.
#[derive(Clone)]
pub struct Log {
    send: mpsc::Sender<Job>,
    position: Arc<RwLock<Position>>,
}

struct Writer {
    database: Database,
    keys: Arc<OwnKeys>,
    signer: Signer,
    tiles: Tiles,
    state: Arc<RwLock<State>>,
    position: Arc<RwLock<Position>>,
}

impl Log {
    /// Continues the stored log.
    ///
    /// # Errors
    /// [`LogError`] where the stored tree is not whole.
    pub async fn start(
        database: Database,
        keys: Arc<OwnKeys>,
        signer: Signer,
        state: Arc<RwLock<State>>,
    ) -> Result<Self, LogError> {
        let head = sqlx::query("SELECT size, checkpoint FROM audit_head").fetch_optional(&database.writer).await?;
        let (size, stored) = match head {
            Some(row) => (row.try_get::<i64, _>("size")?, row.try_get::<String, _>("checkpoint")?),
            None => (0, String::new()),
        };
        let tiles = Tiles::load(&database.writer, size as u64).await?;
        let checkpoint = sign(&signer, &tiles)?;
        if size > 0 {
            let failed = |what: &str| LogError::Failed(format!("{what}; run `strongroom audit verify`"));
            let kept =
                Checkpoint::open(&stored, &signer.verifier_key()).map_err(|_| failed("the stored checkpoint"))?;
            if kept.size != tiles.size() || kept.root != tiles.root()? {
                return Err(failed("the stored tree is not that of its checkpoint"));
            }
        }
        let position = Arc::new(RwLock::new(Position { size: tiles.size(), checkpoint }));
        let (send, receive) = mpsc::channel(QUEUE);
        let writer = Writer { database, keys, signer, tiles, state, position: position.clone() };
        tokio::spawn(writer.run(receive));
        Ok(Self { send, position })
    }

    /// Where the log ends now.
    pub fn position(&self) -> Position {
        self.position.read().clone()
    }

    /// Appends a record with the changes it is about, and waits until both are durable. Gives its place in the log.
    ///
    /// # Errors
    /// [`LogError`]: then nothing may be released. The record of a late one may still land.
    pub async fn append(
        &self,
        record: Record,
        changes: Vec<Change>,
        decided: Option<u64>,
        charge: Option<Charge>,
    ) -> Result<u64, LogError> {
        let (done, landed) = oneshot::channel();
        let gone = || LogError::Failed("the log's writer is gone".to_owned());
        let wait = async {
            self.send.send(Job { record, changes, decided, charge, done }).await.map_err(|_| gone())?;
            landed.await.map_err(|_| gone())?
        };
        let since = Instant::now();
        let landed = tokio::time::timeout(DEADLINE, wait).await.unwrap_or(Err(LogError::Late));
        metrics::appended(since, landed.as_ref());
        landed
    }
}

fn sign(signer: &Signer, tiles: &Tiles) -> Result<String, LogError> {
    let origin = signer.verifier_key().name().to_owned();
    let checkpoint = Checkpoint { origin, size: tiles.size(), root: tiles.root()? };
    checkpoint.sign(signer).map_err(|error| LogError::Failed(error.to_string()))
}

impl Writer {
    async fn run(mut self, mut receive: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(GROUP);
        while receive.recv_many(&mut waiting, GROUP).await > 0 {
            let mut jobs = std::mem::take(&mut waiting).into_iter().peekable();
            while let Some(first) = jobs.next() {
                let mut group = vec![first];
                // A change has a transaction of its own: where it meets another, nothing else is undone.
                while group[0].changes.is_empty() && jobs.peek().is_some_and(|job| job.changes.is_empty()) {
                    group.extend(jobs.next());
                }
                self.commit(group).await;
            }
        }
    }

    async fn commit(&mut self, mut group: Vec<Job>) {
        let mut tiles = self.tiles.clone();
        let changes: Vec<Change> = group.iter_mut().flat_map(|job| std::mem::take(&mut job.changes)).collect();
        match self.write(&mut tiles, &group, &changes).await {
            Ok((places, generation, checkpoint)) => {
                *self.position.write() = Position { size: tiles.size(), checkpoint };
                self.tiles = tiles;
                self.note_uses(&group);
                metrics::group(
                    group.iter().zip(&places).filter(|(_, place)| place.is_some()).map(|(job, _)| &job.record),
                );
                if !changes.is_empty() && places.iter().all(Option::is_some) {
                    let applied = apply_all(changes, generation, &mut self.state.write());
                    if let Err(error) = applied {
                        // Memory is behind what is durable: stop, and load it anew.
                        tracing::error!(%error, "the policy can't be rebuilt after a change; the keeper stops");
                        std::process::exit(70);
                    }
                }
                for (job, place) in group.into_iter().zip(places) {
                    // A caller that stopped waiting is gone.
                    let _ = job.done.send(place.ok_or(LogError::Stale));
                }
            }
            Err(error) => {
                if !matches!(error, LogError::Taken) {
                    tracing::error!(%error, "audit group not written");
                }
                for job in group {
                    let again = match &error {
                        LogError::Taken => LogError::Taken,
                        error => LogError::Failed(error.to_string()),
                    };
                    let _ = job.done.send(Err(again));
                }
            }
        }
    }

    /// The token of a record, where its last use was noted more than a minute ago.
    fn newly_used(&self, record: &Record) -> Option<u64> {
        let id = record.token.filter(|_| record.outcome == "allowed")?;
        let last = self.state.read().tokens.get(&id)?.last_used_ms;
        last.is_none_or(|last| record.time_ms - last > USE_MS).then_some(id)
    }

    fn note_uses(&self, group: &[Job]) {
        let used: Vec<(u64, i64)> =
            group.iter().filter_map(|job| Some((self.newly_used(&job.record)?, job.record.time_ms))).collect();
        if used.is_empty() {
            return;
        }
        let mut state = self.state.write();
        for (id, time_ms) in used {
            if let Some(token) = state.tokens.get_mut(&id) {
                token.last_used_ms = Some(time_ms);
            }
        }
    }

    /// One transaction. If we die inside, nothing of it is there; if we die after, all of it is, and nobody was answered.
    async fn write(
        &self,
        tiles: &mut Tiles,
        group: &[Job],
        changes: &[Change],
    ) -> Result<(Vec<Option<u64>>, u64, String), LogError> {
        let mut tx = self.database.begin().await?;
        let row = sqlx::query("SELECT generation FROM policy_generation").fetch_one(&mut *tx).await?;
        let mut generation = row.try_get::<i64, _>("generation")? as u64;
        let mut places = Vec::with_capacity(group.len());
        for job in group {
            if job.decided.is_some_and(|decided| decided != generation) {
                places.push(None);
                continue;
            }
            let leaf = StoredLeaf::seal(&self.keys, tiles.size(), &job.record)?;
            insert(&mut tx, &leaf).await?;
            if let Some(charge) = &job.charge {
                spend(&mut tx, charge).await?;
            }
            if let Some(token) = self.newly_used(&job.record) {
                used(&mut tx, token, job.record.time_ms).await?;
            }
            places.push(Some(leaf.seq));
            tiles.append(leaf.hash())?;
        }
        if places.iter().all(Option::is_some) {
            for change in changes {
                change.write(&mut tx, &self.keys).await?;
            }
            if changes.iter().any(Change::is_of_policy) {
                generation += 1;
                sqlx::query("UPDATE policy_generation SET generation = $1")
                    .bind(generation as i64)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tiles.write(&mut tx).await?;
        let checkpoint = sign(&self.signer, tiles)?;
        sqlx::query(
            "INSERT INTO audit_head (one, size, checkpoint) VALUES (1, $1, $2) \
             ON CONFLICT (one) DO UPDATE SET size = excluded.size, checkpoint = excluded.checkpoint",
        )
        .bind(tiles.size() as i64)
        .bind(checkpoint.clone())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok((places, generation, checkpoint))
    }
}

async fn insert(tx: &mut AnyConnection, leaf: &StoredLeaf) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO audit_leaf (seq, time_ms, action, outcome, generation, principal_index, repo_index, token_index, \
         address_index, body_sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(leaf.seq as i64)
    .bind(leaf.time_ms)
    .bind(leaf.action.clone())
    .bind(leaf.outcome.clone())
    .bind(leaf.generation as i64)
    .bind(leaf.principal_index.clone())
    .bind(leaf.repo_index.clone())
    .bind(leaf.token_index.clone())
    .bind(leaf.address_index.clone())
    .bind(leaf.body_sealed.clone())
    .execute(tx)
    .await?;
    Ok(())
}

async fn used(tx: &mut AnyConnection, token: u64, time_ms: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE token SET last_used_ms = $1 WHERE id = $2")
        .bind(time_ms)
        .bind(token as i64)
        .execute(tx)
        .await?;
    Ok(())
}

async fn spend(tx: &mut AnyConnection, charge: &Charge) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO usage (principal, day, bytes) VALUES ($1, $2, $3) \
         ON CONFLICT (principal, day) DO UPDATE SET bytes = usage.bytes + excluded.bytes",
    )
    .bind(charge.principal as i64)
    .bind(charge.day)
    .bind(i64::try_from(charge.bytes).unwrap_or(i64::MAX))
    .execute(&mut *tx)
    .await?;
    if let Some(repo) = charge.repo {
        sqlx::query("INSERT INTO usage_repo (principal, day, repo) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(charge.principal as i64)
            .bind(charge.day)
            .bind(repo as i64)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}
