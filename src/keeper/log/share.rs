//! What shares allow to be read in all, counted as budgets are: where all keepers count it, in the transaction of the record.

use sqlx::AnyConnection;
use strongroom_domain::Actor;

use super::spent::Crossed;

/// What a decision uses of a share.
#[derive(Debug, Clone, Copy)]
pub struct ShareCharge {
    /// Of which.
    pub share: u64,
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
