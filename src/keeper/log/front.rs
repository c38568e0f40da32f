//! The log's front: what is appended, waited for, and asked of where it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use sqlx::Row;
use sqlx::any::AnyRow;
use strongroom_audit::checkpoint::Checkpoint;
use strongroom_audit::note::VerifierKey;
use strongroom_database::Database;
use tokio::sync::{mpsc, oneshot};

use super::charge::Charge;
use super::heads::{Heads, origin};
use super::record::Record;
use super::share::Over;
use super::tiles::TilesError;
use crate::change::{Change, ChangeError};
use crate::keys::KeyError;
use crate::metrics;

/// Records that wait, at most; those beyond wait for room.
pub(super) const QUEUE: usize = 4096;
/// How long an answer waits for its group. A log that hangs is as bad as one that is full.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why a record is not durable. Nothing may be released.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The policy changed since the decision: decide again.
    #[error("decided under an older policy")]
    Stale,
    /// A change that meets another, such as a name that was taken.
    #[error("taken")]
    Taken,
    /// It would pass a budget, or what a share allows.
    #[error("over budget")]
    OverBudget(Over),
    /// Another keeper continued this log: this one must stop.
    #[error("another keeper continued this log")]
    Fenced,
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

/// Where the log ends.
#[derive(Debug, Clone)]
pub struct Position {
    /// Records.
    pub size: u64,
    /// The signed note.
    pub checkpoint: String,
}

/// What is appended.
#[derive(Default)]
pub struct Entry {
    /// What it says.
    pub record: Record,
    /// What it is about, written in the same transaction.
    pub changes: Vec<Change>,
    /// The generation that decided: under a newer one nothing is appended.
    pub decided: Option<u64>,
    /// What it uses of a budget: past a limit nothing is appended.
    pub charge: Option<Charge>,
    /// How far other logs are.
    pub heads: Heads,
}

pub(super) struct Job {
    pub(super) entry: Entry,
    pub(super) done: oneshot::Sender<Result<u64, LogError>>,
}

/// The log's front: append and wait.
#[derive(Clone)]
pub struct Log {
    pub(super) send: mpsc::Sender<Job>,
    pub(super) position: Arc<RwLock<Position>>,
    pub(super) database: Database,
    pub(super) key: VerifierKey,
    pub(super) number: u64,
}

impl Log {
    /// The number of this keeper's log.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where this keeper's log ends now.
    pub fn position(&self) -> Position {
        self.position.read().clone()
    }

    /// The key of the first log, from which those of the others are told.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The signed checkpoints of all logs, by number.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn checkpoints(&self) -> Result<Vec<(u64, Position)>, LogError> {
        let rows = sqlx::query("SELECT log, size, checkpoint FROM audit_head WHERE size > 0 ORDER BY log");
        let rows = rows.fetch_all(&self.database.reader).await?;
        let position = |row: &AnyRow| -> Result<_, sqlx::Error> {
            let size = row.try_get::<i64, _>("size")? as u64;
            Ok((row.try_get::<i64, _>("log")? as u64, Position { size, checkpoint: row.try_get("checkpoint")? }))
        };
        Ok(rows.iter().map(position).collect::<Result<_, _>>()?)
    }

    /// How far the other logs are. One whose checkpoint does not open is named by nobody, and said so.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn others(&self) -> Result<Heads, LogError> {
        let mut heads = Vec::new();
        for (log, position) in self.checkpoints().await?.into_iter().filter(|(log, _)| *log != self.number) {
            let key = self.key.named(&origin(self.key.name(), log));
            match key.and_then(|key| Checkpoint::open(&position.checkpoint, &key)) {
                Ok(checkpoint) => heads.push(checkpoint.into()),
                Err(error) => tracing::error!(%error, log, "another log's checkpoint does not open"),
            }
        }
        Ok(Heads(heads))
    }

    /// Appends, and waits until all of it is durable. Gives its place in the log.
    ///
    /// # Errors
    /// [`LogError`]: then nothing may be released. The record of a late one may still land.
    pub async fn append(&self, entry: Entry) -> Result<u64, LogError> {
        let (done, landed) = oneshot::channel();
        let gone = || LogError::Failed("the log's writer is gone".to_owned());
        let wait = async {
            self.send.send(Job { entry, done }).await.map_err(|_| gone())?;
            landed.await.map_err(|_| gone())?
        };
        let since = Instant::now();
        let landed = tokio::time::timeout(DEADLINE, wait).await.unwrap_or(Err(LogError::Late));
        metrics::appended(since, landed.as_ref());
        landed
    }
}
