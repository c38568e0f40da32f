//! What is counted of shares, as budgets are: where all keepers count it, in the transaction of the record. What they allow
//! to be read in all, and the records about each.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sqlx::AnyConnection;
use strongroom_domain::Actor;

use super::record::Record;
use super::spent::Crossed;
use crate::effect::Effect;
use crate::state::State;

/// What a decision uses of a share.
#[derive(Debug, Clone, Copy)]
pub struct ShareCharge {
    /// Of which.
    pub share: u64,
    /// Whether several principals read through it.
    pub common: bool,
    /// Bytes that are asked for.
    pub bytes: u64,
    /// Bytes and downloads, at most, in all its life.
    pub limits: (Option<u64>, Option<u64>),
}

impl ShareCharge {
    /// Counts one download more, unless that passes a limit; then nothing is counted, and the answer is false.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn spend(&self, tx: &mut AnyConnection) -> Result<bool, sqlx::Error> {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (bytes, downloads) = (self.limits.0.unwrap_or(u64::MAX), self.limits.1.unwrap_or(u64::MAX));
        if self.bytes > bytes || downloads == 0 {
            return Ok(false);
        }
        let spent = sqlx::query(
            "INSERT INTO share_usage (share, bytes, downloads) VALUES ($1, $2, 1) ON CONFLICT (share) \
             DO UPDATE SET bytes = share_usage.bytes + excluded.bytes, downloads = share_usage.downloads + 1 \
             WHERE share_usage.bytes + excluded.bytes <= $3 AND share_usage.downloads < $4",
        )
        .bind(number(self.share))
        .bind(number(self.bytes))
        .bind(number(bytes))
        .bind(number(downloads))
        .execute(tx)
        .await?;
        Ok(spent.rows_affected() == 1)
    }
}

/// Whose limit a charge would pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// A hard line of a budget.
    Budget(Actor, Crossed),
    /// The share's.
    Share,
}

/// The numbers that the records of one transaction get, each among those about its share.
pub struct Events(BTreeMap<u64, Numbers>);

#[derive(Default)]
struct Numbers {
    wanted: i64,
    next: u64,
}

impl Events {
    /// What these records need. A share that is not there, such as one that is not made after all, has no number.
    pub fn of<'a>(records: impl Iterator<Item = &'a Record>, state: &State) -> Self {
        let mut shares = BTreeMap::<u64, Numbers>::new();
        for record in records {
            let makes = |id| {
                record.effects.iter().any(|effect| matches!(effect, Effect::Share { id: made, .. } if *made == id))
            };
            let known = record.share.filter(|id| state.shares.contains_key(id) || makes(*id));
            known.into_iter().for_each(|id| shares.entry(id).or_default().wanted += 1);
        }
        Self(shares)
    }

    /// Takes them. The rows are locked in one order, until the transaction ends.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn count(&mut self, tx: &mut AnyConnection) -> Result<(), sqlx::Error> {
        for (share, numbers) in &mut self.0 {
            let last: i64 = sqlx::query_scalar(
                "INSERT INTO share_event (share, events) VALUES ($1, $2) ON CONFLICT (share) \
                 DO UPDATE SET events = share_event.events + excluded.events RETURNING events",
            )
            .bind(i64::try_from(*share).unwrap_or(i64::MAX))
            .bind(numbers.wanted)
            .fetch_one(&mut *tx)
            .await?;
            numbers.next = u64::try_from(last - numbers.wanted).unwrap_or(0) + 1;
        }
        Ok(())
    }

    /// The record with its number, where it has one.
    pub fn numbered<'a>(&mut self, record: &'a Record) -> Cow<'a, Record> {
        match record.share.and_then(|share| self.0.get_mut(&share)) {
            None => Cow::Borrowed(record),
            Some(numbers) => {
                let share_event = Some(numbers.next);
                numbers.next += 1;
                Cow::Owned(Record { share_event, ..record.clone() })
            }
        }
    }
}
