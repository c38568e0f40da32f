//! `audit export`: the log in its order, for what collects logs. Each line says its log and its number there: one that is missing
//! shows.

mod collector;
mod ocsf;
mod syslog;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use strongroom_protocol::admin::AdminCommand;

use super::audit::moment;
use crate::Failed;
use crate::arguments::{AuditExport, ExportFormat};
use crate::client::Client;
use crate::show::json_text;
use collector::Out;

pub use syslog::alert_line;

/// Between two looks for what is new. Each look is a record of its own.
const PAUSE: Duration = Duration::from_secs(2);

/// `strongroom audit export`.
///
/// # Errors
/// The server's reason, a gap in the log, or a reader that is gone.
pub fn run(export: AuditExport) -> Result<(), Failed> {
    let client = Client::new(&export.remote)?;
    let since_ms = export.since.as_deref().map(moment).transpose()?;
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    if export.to.is_some() && export.format != ExportFormat::Syslog {
        return Err(Failed("a collector takes --format syslog".to_owned()));
    }
    let mut out = Out::new(export.to.clone(), export.to_ca.as_deref(), export.follow)?;
    loop {
        let logs = client.admin("audit", &AdminCommand::AuditCheckpoint)?;
        let numbers = logs["logs"].as_array().into_iter().flatten().filter_map(|log| log["log"].as_u64());
        let numbers: Vec<u64> = numbers.filter(|log| export.log.is_none_or(|only| only == *log)).collect();
        if let (Some(only), true) = (export.log, numbers.is_empty()) {
            return Err(Failed(format!("there is no log {only}: strongroom audit verify")));
        }
        for log in numbers {
            let size = size_of(&logs, log);
            loop {
                // A log that another keeper began meanwhile is had from its beginning.
                let known = next.get(&log).copied();
                let from = known.unwrap_or(export.from);
                if from >= size {
                    break;
                }
                let since_ms = since_ms.filter(|_| known.is_none());
                let page = client.admin("audit", &AdminCommand::AuditRecords { log, from, since_ms })?;
                let begin = page["from"].as_u64().unwrap_or(from);
                next.insert(log, page["next"].as_u64().unwrap_or(begin));
                let records = page["records"].as_array().map_or(&[][..], Vec::as_slice);
                let origin = page["origin"].as_str().unwrap_or_default();
                let missing =
                    |number: u64| Failed(format!("record {number} of {origin} is missing: strongroom audit verify"));
                if records.is_empty() {
                    // There is nothing newer than was asked for; or the log is longer than what is left of it.
                    if begin < size {
                        return Err(missing(begin));
                    }
                    break;
                }
                let mut lines = Vec::with_capacity(records.len());
                for (record, expected) in records.iter().zip(begin..) {
                    if record["record"].as_u64() != Some(expected) {
                        return Err(missing(expected));
                    }
                    if since_ms.is_some_and(|since| record["time_ms"].as_i64().is_some_and(|time| time < since)) {
                        continue;
                    }
                    lines.push(match export.format {
                        ExportFormat::Jsonl => one_line(record),
                        ExportFormat::Ocsf => one_line(&ocsf::event(record, origin)),
                        ExportFormat::Syslog => syslog::line(record, origin),
                    });
                }
                out.send(&lines)?;
            }
        }
        if !export.follow {
            return out.finish();
        }
        std::thread::sleep(PAUSE);
    }
}

fn size_of(logs: &Value, log: u64) -> u64 {
    let each = logs["logs"].as_array().into_iter().flatten();
    each.filter(|each| each["log"] == log).find_map(|each| each["size"].as_u64()).unwrap_or(0)
}

/// JSON on one line, however its reader tells lines.
fn one_line(value: &Value) -> String {
    json_text(&value.to_string())
}
