//! Budgets: what each principal read today.

use std::collections::{HashMap, HashSet};

use sqlx::{AnyPool, Row};
use strongroom_protocol::Refusal;

use crate::log::{Charge, Record};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Today's use, in memory as in the database.
#[derive(Default)]
pub struct Usage {
    day: i64,
    bytes: HashMap<u64, u64>,
    repos: HashMap<u64, HashSet<u64>>,
}

impl Usage {
    /// Reads today's.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn load(pool: &AnyPool, now_ms: i64) -> Result<Self, sqlx::Error> {
        let mut usage = Self { day: now_ms / DAY_MS, ..Self::default() };
        for row in
            sqlx::query("SELECT principal, bytes FROM usage WHERE day = $1").bind(usage.day).fetch_all(pool).await?
        {
            usage.bytes.insert(row.try_get::<i64, _>("principal")? as u64, row.try_get::<i64, _>("bytes")? as u64);
        }
        let rows = sqlx::query("SELECT principal, repo FROM usage_repo WHERE day = $1").bind(usage.day);
        for row in rows.fetch_all(pool).await? {
            let principal = row.try_get::<i64, _>("principal")? as u64;
            usage.repos.entry(principal).or_default().insert(row.try_get::<i64, _>("repo")? as u64);
        }
        Ok(usage)
    }

    fn turn(&mut self, now_ms: i64) {
        if now_ms / DAY_MS != self.day {
            *self = Self { day: now_ms / DAY_MS, ..Self::default() };
        }
    }

    /// Counts bytes and a repository, unless that passes a limit.
    ///
    /// # Errors
    /// [`Refusal::OverBudget`] with the seconds until the next day; nothing is then counted.
    pub fn charge(
        &mut self,
        principal: u64,
        repo: Option<u64>,
        bytes: u64,
        limits: (u64, u64),
        now_ms: i64,
    ) -> Result<(), Refusal> {
        self.turn(now_ms);
        let over = Refusal::OverBudget(((self.day + 1) * DAY_MS - now_ms) as u64 / 1000);
        let spent = self.bytes.get(&principal).copied().unwrap_or(0).saturating_add(bytes);
        let repos = self.repos.entry(principal).or_default();
        let another = repo.is_some_and(|repo| !repos.contains(&repo));
        if spent > limits.0 || another && repos.len() as u64 >= limits.1 {
            return Err(over);
        }
        self.bytes.insert(principal, spent);
        repos.extend(repo);
        Ok(())
    }

    /// What a record of an opened object writes into the database beside it.
    pub fn take_charge(&mut self, record: &Record) -> Option<Charge> {
        let (start, end) = record.range.filter(|_| record.action == "object.open")?;
        Some(Charge { principal: record.principal_id?, day: self.day, bytes: end - start, repo: record.repo_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_reading_until_the_next_day() {
        let mut usage = Usage::default();
        let limits = (100, 2);
        assert!(usage.charge(1, Some(1), 60, limits, 0).is_ok());
        assert_eq!(usage.charge(1, Some(1), 41, limits, DAY_MS - 5000), Err(Refusal::OverBudget(5)));
        assert!(usage.charge(2, Some(1), 100, limits, 0).is_ok(), "another principal's budget is its own");
        assert!(usage.charge(1, Some(2), 40, limits, 0).is_ok());
        assert!(usage.charge(1, Some(3), 0, limits, 0).is_err(), "a third repository");
        assert!(usage.charge(1, Some(3), 60, limits, DAY_MS).is_ok(), "the next day");
    }
}
