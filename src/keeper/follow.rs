//! Keeping up with the other keepers on the same database: what they changed is applied here, in their order.

use std::sync::Arc;

use parking_lot::RwLock;
use sqlx::{Any, AnyConnection, Executor, Row};
use strongroom_database::{Database, Lock};
use strongroom_envelope::open_meta;

use crate::change::{Change, apply_all};
use crate::keys::OwnKeys;
use crate::policy::PolicyError;
use crate::state::{LoadError, Rules, State, load};

/// The generation that the database is at.
async fn newest<'a>(executor: impl Executor<'a, Database = Any>) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("SELECT generation FROM policy_generation").fetch_one(executor).await?;
    Ok(row.try_get::<i64, _>("generation")? as u64)
}

/// Follows the generations of what is known.
pub struct Follow {
    database: Database,
    keys: Arc<OwnKeys>,
    rules: Rules,
    state: Arc<RwLock<State>>,
    /// One at a time applies.
    turn: tokio::sync::Mutex<()>,
}

impl Follow {
    /// Loads everything, and follows from there.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn start(database: Database, keys: Arc<OwnKeys>, rules: Rules) -> Result<Self, LoadError> {
        let mut tx = database.begin().await?;
        database.lock(&mut tx, Lock::Shared).await?;
        let state = load(&mut tx, &keys, &rules).await?;
        tx.rollback().await?;
        Ok(Self { database, keys, rules, state: Arc::new(RwLock::new(state)), turn: tokio::sync::Mutex::new(()) })
    }

    /// What is known.
    pub fn state(&self) -> &Arc<RwLock<State>> {
        &self.state
    }

    /// Asks whether another keeper changed anything, and applies it. Costs nothing where there can be no other.
    ///
    /// # Errors
    /// [`LoadError`]: what was known before may be old.
    pub async fn refresh(&self) -> Result<(), LoadError> {
        if !self.database.is_shared() {
            return Ok(());
        }
        if newest(&self.database.reader).await? <= self.state.read().generation {
            return Ok(());
        }
        let mut tx = self.database.begin().await?;
        self.database.lock(&mut tx, Lock::Shared).await?;
        self.catch_up(&mut tx).await?;
        Ok(tx.rollback().await?)
    }

    /// Applies what a transaction sees and memory does not know; gives the generation. The transaction holds the lock, so
    /// nothing changes beside it.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn catch_up(&self, tx: &mut AnyConnection) -> Result<u64, LoadError> {
        let newest = newest(&mut *tx).await?;
        if newest <= self.state.read().generation {
            return Ok(newest);
        }
        let _one_at_a_time = self.turn.lock().await;
        let known = self.state.read().generation;
        let rows = sqlx::query("SELECT generation, body_sealed FROM change WHERE generation > $1 ORDER BY generation")
            .bind(known as i64)
            .fetch_all(&mut *tx)
            .await?;
        let whole = rows.len() as u64 == newest.saturating_sub(known);
        if !whole {
            // Too far behind: their copies are gone.
            let fresh = load(tx, &self.keys, &self.rules).await?;
            *self.state.write() = fresh;
            return Ok(newest);
        }
        for row in rows {
            let generation = row.try_get::<i64, _>("generation")? as u64;
            let sealed: Vec<u8> = row.try_get("body_sealed")?;
            let body = open_meta(&self.keys.seal, &[b"change", &generation.to_be_bytes()], &sealed)?;
            let changes: Vec<Change> = postcard::from_bytes(&body).map_err(|_| LoadError::Value("change"))?;
            apply_all(changes, generation, &mut self.state.write())?;
        }
        Ok(newest)
    }

    /// Applies what this keeper itself has just made durable, unless it caught up with it already.
    ///
    /// # Errors
    /// [`PolicyError`]: the keeper must stop.
    pub async fn apply(&self, changes: Vec<Change>, generation: u64) -> Result<(), PolicyError> {
        let _one_at_a_time = self.turn.lock().await;
        let mut state = self.state.write();
        if state.generation >= generation { Ok(()) } else { apply_all(changes, generation, &mut state) }
    }
}
