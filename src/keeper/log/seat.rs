//! Which log this keeper continues: one that nobody else holds, or a new one.

use std::time::Duration;

use sqlx::{AnyConnection, Row};
use strongroom_database::{Database, Hold};

use super::front::LogError;

/// A keeper that has just ended is let go of by the server a moment later; its log is waited for so often and so long before
/// another is begun.
const TRIES: usize = 8;
const PAUSE: Duration = Duration::from_millis(250);

/// Where a stored log ends.
#[derive(Debug, Default)]
pub struct Stored {
    /// Records.
    pub size: u64,
    /// Of them, those that are indexed.
    pub indexed: u64,
    /// The signed note.
    pub checkpoint: String,
}

/// The right to continue a log.
pub struct Seat {
    /// Its number, from 1 on.
    pub log: u64,
    /// Counts those who continued it.
    epoch: i64,
    _hold: Hold,
}

impl Seat {
    /// Takes a log. From now on whoever held it before can't write to it.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    pub async fn take(database: &Database) -> Result<(Self, Stored), LogError> {
        for tried in 1.. {
            let rows = sqlx::query("SELECT log FROM audit_head ORDER BY log").fetch_all(&database.writer).await?;
            let mut last = 0;
            for row in &rows {
                last = row.try_get::<i64, _>("log")?;
                if let Some(hold) = database.hold(last).await? {
                    let row = sqlx::query(
                        "UPDATE audit_head SET epoch = epoch + 1 WHERE log = $1 RETURNING epoch, size, indexed, checkpoint",
                    )
                    .bind(last)
                    .fetch_one(&database.writer)
                    .await?;
                    let number = |column| row.try_get::<i64, _>(column);
                    let (size, indexed) = (number("size")? as u64, number("indexed")? as u64);
                    let stored = Stored { size, indexed, checkpoint: row.try_get("checkpoint")? };
                    return Ok((Self { log: last as u64, epoch: number("epoch")?, _hold: hold }, stored));
                }
            }
            if !rows.is_empty() && tried < TRIES {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let log = last + 1;
            if let Some(hold) = database.hold(log).await? {
                sqlx::query("INSERT INTO audit_head (log, epoch, size, checkpoint) VALUES ($1, 1, 0, '')")
                    .bind(log)
                    .execute(&database.writer)
                    .await?;
                return Ok((Self { log: log as u64, epoch: 1, _hold: hold }, Stored::default()));
            }
        }
        Err(LogError::Failed("no log to continue".to_owned()))
    }

    /// Writes where the log ends now, and how many of its records are indexed, in the transaction of what was appended.
    ///
    /// # Errors
    /// [`LogError::Fenced`] where another has continued it meanwhile.
    pub async fn write(
        &self,
        tx: &mut AnyConnection,
        (size, indexed): (u64, u64),
        checkpoint: &str,
    ) -> Result<(), LogError> {
        let written =
            sqlx::query(
            "UPDATE audit_head SET size = $1, checkpoint = $2, indexed = $3 WHERE log = $4 AND epoch = $5 AND size < $1",
        )
                .bind(size as i64)
                .bind(checkpoint.to_owned())
                .bind(indexed as i64)
                .bind(self.log as i64)
                .bind(self.epoch)
                .execute(tx)
                .await?;
        if written.rows_affected() == 1 { Ok(()) } else { Err(LogError::Fenced) }
    }
}
