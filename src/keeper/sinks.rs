//! Alerts on their way out: which one a sink has not had yet, and that it has it now. Who delivers is another process, without a key.

use serde_json::{Value, json};
use sqlx::Row;
use strongroom_domain::AlertKind;

use crate::did::time;
use crate::log::{Record, SearchError, leaf_at};
use crate::metrics;
use crate::server::{Core, Keeper, now_ms};

/// How long a keeper that delivers to a sink keeps others from doing the same: longer than one delivery may take. One that died
/// is followed by another after it.
const LEASE_MS: i64 = 60_000;

/// Why alerts can't be read, or one can't be noted as delivered.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The database.
    #[error("alerts: {0}")]
    Database(#[from] sqlx::Error),
    /// The record.
    #[error("alerts: {0}")]
    Record(#[from] SearchError),
}

/// An alert that a sink has not had.
pub struct Undelivered {
    /// The log and the number of its record; none where the log could not be written.
    pub place: Option<(u64, u64)>,
    /// Its id: a receiver that saw it already drops it.
    pub id: String,
    /// All of it, as JSON.
    pub body: String,
}

/// The id of an alert: that of its record.
fn id((log, seq): (u64, u64)) -> String {
    format!("{log}-{seq}")
}

/// An alert for those who read it.
pub fn alert_json(place: (u64, u64), record: &Record) -> Value {
    json!({
        "id": id(place), "time": time(record.time_ms), "alert": record.alert, "why": record.reason,
        "principal": record.principal, "token": record.token, "address": record.address,
        "kind": record.kind, "repo": record.repo, "path": record.path, "request_id": record.request_id,
        "record": record.cause.map(|(log, seq)| format!("{log}/{seq}")),
    })
}

impl Keeper {
    /// The oldest alert that a sink has not had; none while another keeper delivers to it, or this one is sealed.
    ///
    /// # Errors
    /// [`SinkError`].
    pub async fn undelivered(&self, sink: &str) -> Result<Option<Undelivered>, SinkError> {
        match self.core() {
            Some(core) => core.undelivered(sink).await,
            None => Ok(None),
        }
    }

    /// That answers are withheld because the log can't be written, where they are more than those that a sink was told of; and how
    /// many. It goes round the log, which has it only later.
    pub fn trouble(&self, told: u64) -> Option<(u64, Undelivered)> {
        let core = self.core()?;
        let unwritten = metrics::unwritten();
        if unwritten <= told || !core.tells_trouble {
            return None;
        }
        let (now, log) = (now_ms(), core.log.number());
        let id = format!("{log}-unwritten-{now}");
        let why = format!("{} answers were withheld: the log can't be written", unwritten - told);
        let body = json!({"id": id, "time": time(now), "alert": AlertKind::Audit, "why": why});
        Some((unwritten, Undelivered { place: None, id, body: body.to_string() }))
    }

    /// Notes that a sink has an alert. If we die before this, it gets it once more.
    ///
    /// # Errors
    /// [`SinkError`].
    pub async fn delivered(&self, sink: &str, alert: &Undelivered) -> Result<(), SinkError> {
        match self.core().zip(alert.place) {
            Some((core, place)) => core.delivered(sink, place).await,
            None => Ok(()),
        }
    }
}

impl Core {
    async fn undelivered(&self, sink: &str) -> Result<Option<Undelivered>, SinkError> {
        // In the order of each log, in which its records become visible: what is behind the cursor was delivered.
        let row = sqlx::query(
            "SELECT alert.log AS log, alert.seq AS seq FROM alert LEFT JOIN alert_cursor \
             ON alert_cursor.sink = $1 AND alert_cursor.log = alert.log \
             WHERE alert_cursor.seq IS NULL OR alert.seq > alert_cursor.seq ORDER BY alert.log, alert.seq LIMIT 1",
        )
        .bind(sink.to_owned())
        .fetch_optional(&self.database.reader)
        .await?;
        let Some(row) = row else { return Ok(None) };
        if !self.holds(sink).await? {
            return Ok(None);
        }
        let place = (row.try_get::<i64, _>("log")? as u64, row.try_get::<i64, _>("seq")? as u64);
        let Some(leaf) = leaf_at(&self.database.reader, place).await? else { return Ok(None) };
        let record = leaf.open(&self.keys).map_err(SearchError::from)?;
        Ok(Some(Undelivered { place: Some(place), id: id(place), body: alert_json(place, &record).to_string() }))
    }

    /// Takes the sink for a while, or longer; false where another keeper has it.
    async fn holds(&self, sink: &str) -> Result<bool, SinkError> {
        if !self.database.is_shared() {
            return Ok(true);
        }
        let now = now_ms();
        let taken = sqlx::query(
            "INSERT INTO alert_sink (sink, holder, until_ms) VALUES ($1, $2, $3) ON CONFLICT (sink) DO UPDATE \
             SET holder = excluded.holder, until_ms = excluded.until_ms \
             WHERE alert_sink.holder = excluded.holder OR alert_sink.until_ms < $4",
        )
        .bind(sink.to_owned())
        .bind(self.log.number() as i64)
        .bind(now + LEASE_MS)
        .bind(now)
        .execute(&self.database.writer)
        .await?;
        Ok(taken.rows_affected() == 1)
    }

    async fn delivered(&self, sink: &str, (log, seq): (u64, u64)) -> Result<(), SinkError> {
        sqlx::query(
            "INSERT INTO alert_cursor (sink, log, seq) VALUES ($1, $2, $3) ON CONFLICT (sink, log) DO UPDATE \
             SET seq = excluded.seq WHERE alert_cursor.seq < excluded.seq",
        )
        .bind(sink.to_owned())
        .bind(log as i64)
        .bind(seq as i64)
        .execute(&self.database.writer)
        .await?;
        Ok(())
    }
}
