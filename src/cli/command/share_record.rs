//! `share record` and `share verify`: a partner's own part of the log, fetched and verified.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strongroom_keeper::share_record::{ShareRecordError, Verified};
use strongroom_protocol::ShareCommand;
use strongroom_protocol::admin::AdminCommand;

use crate::arguments::Remote;
use crate::client::Client;
use crate::show::show;
use crate::{Failed, words};

fn refused(error: ShareRecordError) -> Failed {
    Failed(format!("the record does NOT verify: {error}"))
}

/// Fetches, writes and verifies it.
///
/// # Errors
/// The server's reason, or what does not verify.
pub fn fetch(id: Option<u64>, out: Option<PathBuf>, remote: &Remote) -> Result<(), Failed> {
    let client = Client::new(remote)?;
    let (mut sizes, mut before, mut lines, mut key) = (Vec::new(), None, Vec::new(), String::new());
    loop {
        let command = ShareCommand::Record { id, sizes, before };
        let answer = client.admin("share/terms", &AdminCommand::Share(command))?;
        sizes = serde_json::from_value(answer["sizes"].clone()).map_err(words)?;
        key = answer["key"].as_str().unwrap_or(&key).to_owned();
        lines.push(json!({"page": answer["page"], "note": answer["note"]}));
        let page: Value = serde_json::from_str(answer["page"].as_str().unwrap_or_default()).map_err(words)?;
        let Some(next) = page["next"].as_str() else { break };
        before = Some(next.parse().map_err(words)?);
    }
    let verified = verified(&lines, &key)?;
    let (share, _) = verified.of.unwrap_or_default();
    let out = out.unwrap_or_else(|| PathBuf::from(format!("share-{share}-record.jsonl")));
    let failed = |error: std::io::Error| Failed(format!("{}: {error}", out.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&out).map_err(failed)?;
    for line in &lines {
        writeln!(file, "{line}").map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    let mut shown = told(&verified, None)?;
    (shown["file"], shown["key"]) = (out.display().to_string().into(), key.into());
    show(&shown, remote.json);
    Ok(())
}

/// Verifies what was written, without any server.
///
/// # Errors
/// What does not verify.
pub fn verify(file: &Path, key: &str, earlier: Option<&Path>, json: bool) -> Result<(), Failed> {
    let read = |file: &Path| -> Result<Verified, Failed> {
        let text = std::fs::read_to_string(file).map_err(|error| Failed(format!("{}: {error}", file.display())))?;
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        verified(&lines.map_err(words)?, key)
    };
    let earlier = earlier.map(read).transpose()?;
    show(&told(&read(file)?, earlier.as_ref())?, json);
    Ok(())
}

fn verified(lines: &[Value], key: &str) -> Result<Verified, Failed> {
    let key = key.parse().map_err(|error| Failed(format!("key: {error}")))?;
    let (mut verified, mut ended) = (Verified::default(), false);
    for line in lines {
        let (page, note) = (line["page"].as_str().unwrap_or_default(), line["note"].as_str().unwrap_or_default());
        ended = verified.page(page, note, &key).map_err(refused)?.next.is_none();
    }
    if !ended {
        return Err(Failed("the record does NOT verify: it was cut".to_owned()));
    }
    Ok(verified)
}

fn told(verified: &Verified, earlier: Option<&Verified>) -> Result<Value, Failed> {
    let all = verified.whole(earlier).map_err(refused)?;
    let own = verified.events.iter().filter_map(|(event, (_, record))| Some((event, record.as_ref()?)));
    let rows: Vec<Value> = own
        .map(|(event, record)| {
            json!({
                "event": event, "time": strongroom_keeper::incident::time(record.time_ms), "action": record.action,
                "outcome": record.outcome, "revision": record.revision, "path": record.path, "range": record.range,
                "bytes": record.bytes, "address": record.address, "reason": record.reason,
            })
        })
        .collect();
    Ok(json!({
        "share": verified.of.map(|(share, _)| share), "records": all, "yours": rows.len(), "missing": 0, "verified": true,
        "own": rows,
    }))
}
