//! Keeping up with the other keepers on the same database: what they changed is applied here, in their order.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use sqlx::{Any, AnyConnection, Executor, Row};
use strongroom_database::{Database, Lock};
use strongroom_envelope::open_meta;

use crate::change::{Change, apply_all};
use crate::keys::OwnKeys;
use crate::load::load;
use crate::policy::PolicyError;
use crate::rotation::{Touched, keep_secrets, stored_secrets};
use crate::state::{LoadError, Rules, State};

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
    /// Of each log, how many of its records were asked for the repositories that they move.
    asked: tokio::sync::Mutex<BTreeMap<i64, i64>>,
}

/// The sizes of all logs.
async fn sizes<'a>(executor: impl Executor<'a, Database = Any>) -> Result<BTreeMap<i64, i64>, sqlx::Error> {
    let rows = sqlx::query("SELECT log, size FROM audit_head").fetch_all(executor).await?;
    rows.iter().map(|row| Ok((row.try_get("log")?, row.try_get("size")?))).collect()
}

impl Follow {
    /// Loads everything, and follows from there.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn start(database: Database, keys: Arc<OwnKeys>, rules: Rules) -> Result<Self, LoadError> {
        let mut tx = database.begin().await?;
        database.lock(&mut tx, Lock::Shared).await?;
        // Before the repositories are read: what lands meanwhile is asked for again.
        let asked = tokio::sync::Mutex::new(sizes(&mut *tx).await?);
        let state = Arc::new(RwLock::new(load(&mut tx, &keys, &rules).await?));
        tx.rollback().await?;
        Ok(Self { database, keys, rules, state, turn: tokio::sync::Mutex::new(()), asked })
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

    /// Asks which repositories other keepers moved, and applies it. A log's records become visible in their order, so how many
    /// of them were asked says which are new; no clock is compared. Costs nothing where there can be no other.
    ///
    /// # Errors
    /// [`LoadError`]: the orders of lists may be old.
    pub async fn refresh_orders(&self) -> Result<(), LoadError> {
        if !self.database.is_shared() {
            return Ok(());
        }
        let mut asked = self.asked.lock().await;
        let sizes = sizes(&self.database.reader).await?;
        if sizes.iter().all(|(log, size)| asked.get(log) == Some(size)) {
            return Ok(());
        }
        // What moved up to those sizes was made before: it is known after this.
        self.refresh().await?;
        for (log, size) in sizes {
            let rows = sqlx::query("SELECT id, moved_ms FROM repo WHERE moved_log = $1 AND moved_seq >= $2")
                .bind(log)
                .bind(asked.get(&log).copied().unwrap_or(0))
                .fetch_all(&self.database.reader)
                .await?;
            let mut state = self.state.write();
            for row in rows {
                let moved_ms = row.try_get("moved_ms")?;
                state.with_repo(row.try_get::<i64, _>("id")? as u64, |repo| repo.moved_ms = moved_ms);
            }
            asked.insert(log, size);
        }
        Ok(())
    }

    /// Applies what a transaction sees and memory does not know; gives the generation. The transaction holds the lock, so
    /// nothing changes beside it.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn catch_up(&self, tx: &mut AnyConnection) -> Result<u64, LoadError> {
        if !self.database.is_shared() {
            // Whoever else opens the file continues the log: from then on nothing of ours lands (`Seat::write`).
            return Ok(self.state.read().generation);
        }
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
        let (mut all, mut touched) = (Vec::with_capacity(rows.len()), Touched::default());
        for row in rows {
            let generation = row.try_get::<i64, _>("generation")? as u64;
            let sealed: Vec<u8> = row.try_get("body_sealed")?;
            let body = open_meta(&self.keys.seal, &[b"change", &generation.to_be_bytes()], &sealed)?;
            let changes: Vec<Change> = postcard::from_bytes(&body).map_err(|_| LoadError::Value("change"))?;
            changes.iter().for_each(|change| touched.note(change));
            all.push((changes, generation));
        }
        // No copy of a change has a secret; those of now are in their tables.
        let secrets = stored_secrets(tx, &touched).await?;
        let mut state = self.state.write();
        for (changes, generation) in all {
            apply_all(changes, generation, &mut state)?;
        }
        keep_secrets(secrets, &mut state);
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
