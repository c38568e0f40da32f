//! Pages of the log, one after the other, until there are as many records as were asked for.

use serde_json::{Value, json};
use strongroom_protocol::admin::{AdminCommand, AuditQuery};

use crate::Failed;
use crate::client::Client;
use crate::progress::Progress;

/// Records of one page, at most.
const PAGE: u32 = 500;

/// As many records as `query.limit` says, or all there are: each page looks at some of the log only, and may be empty.
///
/// # Errors
/// The server's reason.
pub fn search(client: &Client, mut query: AuditQuery) -> Result<Value, Failed> {
    let wanted = query.limit as usize;
    let (mut records, mut next) = (Vec::new(), Value::Null);
    let (mut progress, mut pages) = (Progress::new(false), 0_u64);
    while records.len() < wanted {
        query.limit = PAGE.min((wanted - records.len()) as u32); // not above the limit that was asked for
        let page = client.admin("audit", &AdminCommand::AuditSearch(Box::new(query.clone())))?;
        records.extend(page["records"].as_array().into_iter().flatten().cloned());
        next = page["next"].clone();
        pages += 1;
        let Some(cursor) = next.as_str() else { break };
        query.before = Some(cursor.parse().map_err(|error| Failed(format!("the server's answer: {error}")))?);
        if pages > 1 {
            progress.tell(|| format!("{} records, looking before {}", records.len(), time(cursor)));
        }
    }
    if pages > 1 {
        progress.end(|| format!("{} records", records.len()));
    }
    Ok(json!({"records": records, "next": next}))
}

/// The time that a place begins with.
fn time(cursor: &str) -> String {
    let ms = cursor.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
    humantime::format_rfc3339_seconds(at).to_string()
}
