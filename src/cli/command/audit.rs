//! `audit`: what the log says. See [`verify`] for whether it can be believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_audit::cosignature::CosignerKey;
use strongroom_audit::note::VerifierKey;
use strongroom_audit::{Checkpoint, Hash, proof};
use strongroom_protocol::admin::{AdminCommand, AuditQuery, WhatQuery, WhoQuery};

use super::search::search;
use super::send;
use super::{cosigned, export, timeline, verify};
use crate::Failed;
use crate::arguments::{Audit, AuditFilter};
use crate::client::Client;
use crate::show::{print, show};
use crate::witness;

/// `strongroom audit …`.
///
/// # Errors
/// The server's reason, or what does not verify.
pub fn run(audit: Audit) -> Result<(), Failed> {
    match audit {
        Audit::Search { filter, limit, before, remote } => {
            let query = AuditQuery { before, limit, ..query(filter)? };
            let found = search(&Client::new(&remote)?, query)?;
            if remote.json {
                show(&found, true);
            } else {
                show(&brief(&found), false);
            }
            Ok(())
        }
        Audit::Timeline { filter, limit, remote } => {
            let found = search(&Client::new(&remote)?, AuditQuery { limit, ..query(filter)? })?;
            let acts = timeline::acts(found["records"].as_array().map_or(&[], Vec::as_slice));
            if remote.json {
                show(&json!({"acts": acts, "older": found["next"]}), true);
            } else {
                timeline::tell(&acts);
            }
            Ok(())
        }
        Audit::Who { what, kind, since, remote } => {
            let since_ms = since.as_deref().map(moment).transpose()?;
            let query = WhoQuery { kind: kind.kind, repo: what.repo, compartment: what.compartment, since_ms };
            send(&remote, "audit", &AdminCommand::AuditWho(query))
        }
        Audit::Export(export) => export::run(export),
        Audit::What { name, principal, token, since, until, remote } => {
            let since_ms = since.as_deref().map(moment).transpose()?;
            let until_ms = until.as_deref().map(moment).transpose()?;
            let query = WhatQuery { principal: name.or(principal), token, since_ms, until_ms };
            let found = Client::new(&remote)?.admin("audit", &AdminCommand::AuditWhat(query))?;
            if remote.json {
                show(&found, true);
            } else {
                show(&flat(&found), false);
            }
            Ok(())
        }
        Audit::Witness(asked) => witness::run(&asked),
        Audit::Checkpoint { witnesses, key, remote } => {
            let mut found = Client::new(&remote)?.admin("audit", &AdminCommand::AuditCheckpoint)?;
            if !witnesses.is_empty() {
                found = cosigned_alone(&found, &checkpoint_key(&found, key.as_deref())?, &witnesses)?;
            }
            if remote.json {
                show(&found, true);
            } else {
                // The note alone, so that `> file` keeps it as it is.
                print(found["checkpoint"].as_str().unwrap_or_default());
                eprintln!("key: {}", found["key"].as_str().unwrap_or_default());
            }
            Ok(())
        }
        Audit::Prove { record, log, remote } => {
            let command = AdminCommand::AuditProve { log, record: Some(record), from_size: None };
            let found = Client::new(&remote)?.admin("audit", &command)?;
            let note = found["checkpoint"].as_str().unwrap_or_default();
            let checkpoint = Checkpoint::open(note, &checkpoint_key(&found, None)?);
            let checkpoint = checkpoint.map_err(|error| Failed(format!("the log's checkpoint: {error}")))?;
            let leaf = decode(&found["leaf"])?;
            let path: Vec<Hash> =
                found["proof"].as_array().into_iter().flatten().map(hash).collect::<Result<_, _>>()?;
            proof::verify_inclusion(record, checkpoint.size, Hash::leaf(&leaf), &path, checkpoint.root)
                .map_err(|error| Failed(format!("record {record} is NOT in the log: {error}")))?;
            let mut shown = found.clone();
            shown["verified"] = true.into();
            show(&shown, remote.json);
            Ok(())
        }
        Audit::Verify { from, witnesses, key, database, remote } => {
            let against = verify::Against { kept: from.as_deref(), witnesses: &witnesses };
            let shown = match database {
                Some(file) => verify::offline(&file, key.as_deref(), against)?,
                None => verify::online(&Client::new(&remote)?, key.as_deref(), against)?,
            };
            show(&shown, remote.json);
            Ok(())
        }
    }
}

/// The cosigned checkpoint of each log, in the place of its newest.
fn cosigned_alone(found: &Value, key: &VerifierKey, witnesses: &[CosignerKey]) -> Result<Value, Failed> {
    let (mut notes, mut logs, mut size) = (Vec::new(), Vec::new(), 0);
    for log in found["logs"].as_array().into_iter().flatten() {
        let name = log["origin"].as_str().unwrap_or_default();
        let key = key.named(name).map_err(|error| Failed(format!("key: {error}")))?;
        let note = log["cosigned"]["checkpoint"].as_str();
        let (checkpoint, by) = cosigned::open(note, &key, witnesses)?;
        size += checkpoint.size;
        notes.extend(note);
        logs.push(json!({
            "log": log["log"], "origin": name, "key": key.to_string(), "size": checkpoint.size, "checkpoint": note, "cosigned": by,
        }));
    }
    Ok(json!({"checkpoint": notes.join("\n"), "size": size, "key": key.to_string(), "logs": logs}))
}

fn query(filter: AuditFilter) -> Result<AuditQuery, Failed> {
    Ok(AuditQuery {
        principal: filter.principal,
        repo: filter.repo.map(|repo| (filter.kind.kind, repo)),
        action: filter.action,
        outcome: filter.outcome,
        token: filter.token,
        partner: filter.partner,
        share: filter.share,
        address: filter.address,
        compartment: filter.compartment,
        path: filter.path,
        request_id: filter.request_id,
        since_ms: filter.since.as_deref().map(moment).transpose()?,
        until_ms: filter.until.as_deref().map(moment).transpose()?,
        before: None,
        limit: 0,
    })
}

/// `2h` ago, or a moment.
///
/// # Errors
/// Where it is neither.
pub fn moment(text: &str) -> Result<i64, Failed> {
    let now = std::time::SystemTime::now();
    let at = match humantime::parse_duration(text) {
        Ok(ago) => now.checked_sub(ago),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };
    let since = at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let since = since.ok_or_else(|| Failed(format!("'{text}' is neither 2h nor 2026-11-24T12:00:00Z")))?;
    i64::try_from(since.as_millis()).map_err(|_| Failed(format!("'{text}' is too far")))
}

/// What fits on a line.
fn brief(found: &Value) -> Value {
    let short = |record: &Value| {
        let text = |key: &str| record[key].as_str().unwrap_or("-").to_owned();
        let range = record["range"].as_array().map(|range| format!("{}-{}", range[0], range[1]));
        json!({
            "log": record["log"], "record": record["record"], "time": text("time"), "principal": text("principal"), "token": record["token"],
            "action": text("action"), "outcome": text("outcome"), "repo": text("repo"), "path": text("path"),
            "range": range, "bytes": record["bytes"], "address": text("address"), "reason": text("reason"),
        })
    };
    let rows: Vec<Value> = found["records"].as_array().into_iter().flatten().map(short).collect();
    json!({"records": rows, "next": found["next"]})
}

/// Two tables and what goes with them.
fn flat(found: &Value) -> Value {
    let mut shown = found.clone();
    if let (Some(map), Some(did)) = (shown.as_object_mut(), found["did"].as_object()) {
        map.remove("did");
        map.extend(did.clone());
    }
    shown
}

/// Base64 in an answer.
///
/// # Errors
/// Where it is none.
pub fn decode(value: &Value) -> Result<Vec<u8>, Failed> {
    let decoded = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    decoded.ok_or_else(|| Failed("the server's answer is not base64".to_owned()))
}

fn hash(value: &Value) -> Result<Hash, Failed> {
    decode(value)?.try_into().map(Hash).map_err(|_| Failed("the server's answer is not a hash".to_owned()))
}

/// The key that the asker kept, or else the server's own.
///
/// # Errors
/// Where it is none.
pub fn checkpoint_key(found: &Value, kept: Option<&str>) -> Result<VerifierKey, Failed> {
    let own = found["key"].as_str().unwrap_or_default();
    kept.unwrap_or(own).parse().map_err(|error| Failed(format!("key: {error}")))
}
