//! Budgets: what each principal read today, counted where all keepers count it, in the transaction of the record.

use std::collections::HashSet;

use sqlx::{AnyConnection, Row};

use super::share::{Over, ShareCharge};

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
    /// Bytes and repositories of a day, at most.
    pub limits: (u64, u64),
    /// What it uses of a share beside.
    pub share: Option<ShareCharge>,
}

impl Charge {
    /// All but how much.
    pub fn of(&self) -> (u64, i64, Option<u64>, (u64, u64), Option<u64>) {
        (self.principal, self.day, self.repo, self.limits, self.share.map(|share| share.share))
    }
}

/// A repository that a principal reads on a day.
type Seen = (u64, i64, u64);

/// Repositories that are counted already, so that a read counts bytes alone.
#[derive(Default)]
pub struct Counted(HashSet<Seen>);

/// Entries of [`Counted`], at most.
const COUNTED_MAX: usize = 100_000;

impl Counted {
    /// After the transaction is durable.
    pub fn keep(&mut self, seen: Vec<Seen>) {
        if self.0.len() + seen.len() > COUNTED_MAX {
            self.0.clear();
        }
        self.0.extend(seen);
    }

    /// Counts, unless that passes a limit; then nothing is counted, and the answer says which. `seen` is for
    /// [`Counted::keep`].
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn spend(
        &self,
        tx: &mut AnyConnection,
        charge: &Charge,
        seen: &mut Vec<Seen>,
    ) -> Result<Option<Over>, sqlx::Error> {
        if !self.spend_day(tx, charge, seen).await? {
            return Ok(Some(Over::Budget));
        }
        match &charge.share {
            Some(share) if !share.spend(tx).await? => {
                undo_day(tx, charge).await?;
                Ok(Some(Over::Share))
            }
            _ => Ok(None),
        }
    }

    async fn spend_day(
        &self,
        tx: &mut AnyConnection,
        charge: &Charge,
        seen: &mut Vec<Seen>,
    ) -> Result<bool, sqlx::Error> {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (principal, day, bytes) = (number(charge.principal), charge.day, number(charge.bytes));
        if charge.bytes > charge.limits.0 {
            return Ok(false);
        }
        let spent = sqlx::query(
            "INSERT INTO usage (principal, day, bytes) VALUES ($1, $2, $3) ON CONFLICT (principal, day) \
             DO UPDATE SET bytes = usage.bytes + excluded.bytes WHERE usage.bytes + excluded.bytes <= $4",
        )
        .bind(principal)
        .bind(day)
        .bind(bytes)
        .bind(number(charge.limits.0))
        .execute(&mut *tx)
        .await?;
        if spent.rows_affected() == 0 {
            return Ok(false);
        }
        let Some(repo) = charge.repo else { return Ok(true) };
        let this = (charge.principal, day, repo);
        if self.0.contains(&this) {
            return Ok(true);
        }
        let another =
            sqlx::query("INSERT INTO usage_repo (principal, day, repo) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(principal)
                .bind(day)
                .bind(number(repo))
                .execute(&mut *tx)
                .await?;
        if another.rows_affected() == 1 {
            let row = sqlx::query("SELECT COUNT(*) AS repos FROM usage_repo WHERE principal = $1 AND day = $2")
                .bind(principal)
                .bind(day)
                .fetch_one(&mut *tx)
                .await?;
            if row.try_get::<i64, _>("repos")? > number(charge.limits.1) {
                sqlx::query("DELETE FROM usage_repo WHERE principal = $1 AND day = $2 AND repo = $3")
                    .bind(principal)
                    .bind(day)
                    .bind(number(repo))
                    .execute(&mut *tx)
                    .await?;
                undo_day(tx, charge).await?;
                return Ok(false);
            }
        }
        seen.push(this);
        Ok(true)
    }
}

/// Takes the bytes back that were counted in this transaction. That the repository was read today stays: it was asked for.
async fn undo_day(tx: &mut AnyConnection, charge: &Charge) -> Result<(), sqlx::Error> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    sqlx::query("UPDATE usage SET bytes = bytes - $1 WHERE principal = $2 AND day = $3")
        .bind(number(charge.bytes))
        .bind(number(charge.principal))
        .bind(charge.day)
        .execute(tx)
        .await?;
    Ok(())
}
