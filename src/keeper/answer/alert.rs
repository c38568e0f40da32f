//! `alert list`: the alerts that were raised, newest first.

use serde_json::{Value, json};
use sqlx::Row;
use strongroom_protocol::admin::Cursor;
use strongroom_protocol::{AlertCommand, Refusal};

use super::unavailable;
use crate::log::leaf_at;
use crate::server::Core;
use crate::sinks::alert_json;

/// Alerts that one page looks at.
const PAGE: usize = 200;

impl Core {
    pub(super) async fn alerts(&self, command: &AlertCommand) -> Result<Value, Refusal> {
        let AlertCommand::List { kind, since_ms, before } = command;
        let before = before.unwrap_or(Cursor { time_ms: i64::MAX, log: 0, seq: 0 });
        let rows = sqlx::query(
            "SELECT time_ms, log, seq FROM alert WHERE time_ms >= $1 AND (time_ms, log, seq) < ($2, $3, $4) \
             ORDER BY time_ms DESC, log DESC, seq DESC LIMIT $5",
        )
        .bind(since_ms.unwrap_or(0))
        .bind(before.time_ms)
        .bind(before.log as i64)
        .bind(before.seq as i64)
        .bind(PAGE as i64)
        .fetch_all(&self.database.reader)
        .await
        .map_err(unavailable)?;
        let (mut shown, mut last) = (Vec::new(), None);
        for row in &rows {
            let number = |column| row.try_get::<i64, _>(column).map_err(unavailable);
            let (time_ms, log, seq) = (number("time_ms")?, number("log")? as u64, number("seq")? as u64);
            last = Cursor::new(time_ms, log, seq);
            let leaf = leaf_at(&self.database.reader, (log, seq)).await.map_err(unavailable)?;
            let leaf = leaf.ok_or_else(|| unavailable("an alert's record is missing"))?;
            let record = leaf.open(&self.keys).map_err(unavailable)?;
            if kind.is_none_or(|kind| record.alert == Some(kind)) {
                shown.push(alert_json((log, seq), &record));
            }
        }
        let next = last.filter(|_| rows.len() == PAGE).map(|last| last.to_string());
        Ok(json!({"alerts": shown, "next": next}))
    }
}
