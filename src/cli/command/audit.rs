//! `audit`: search, and verification that believes nothing but hashes and signatures.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_audit::note::VerifierKey;
use strongroom_audit::tree::{self, HashReader, Subtree};
use strongroom_audit::{Checkpoint, Hash, proof};
use strongroom_protocol::admin::{AdminCommand, AuditQuery, WhatQuery};

use crate::Failed;
use crate::arguments::Audit;
use crate::client::Client;
use crate::show::{print, show};

/// `strongroom audit …`.
///
/// # Errors
/// The server's reason, or what does not verify.
pub fn run(audit: Audit) -> Result<(), Failed> {
    match audit {
        Audit::Search {
            principal,
            repo,
            kind,
            action,
            outcome,
            token,
            address,
            since,
            until,
            limit,
            before,
            remote,
        } => {
            let query = AuditQuery {
                principal,
                repo: repo.map(|repo| (kind.kind, repo)),
                action,
                outcome,
                token,
                address,
                since_ms: since.as_deref().map(moment).transpose()?,
                until_ms: until.as_deref().map(moment).transpose()?,
                before,
                limit,
            };
            let found = Client::new(&remote)?.admin("audit", &AdminCommand::AuditSearch(query))?;
            if remote.json {
                show(&found, true);
            } else {
                show(&brief(&found), false);
            }
            Ok(())
        }
        Audit::What { principal, token, since, until, remote } => {
            let since_ms = since.as_deref().map(moment).transpose()?;
            let until_ms = until.as_deref().map(moment).transpose()?;
            let query = WhatQuery { principal, token, since_ms, until_ms };
            let found = Client::new(&remote)?.admin("audit", &AdminCommand::AuditWhat(query))?;
            if remote.json {
                show(&found, true);
            } else {
                show(&flat(&found), false);
            }
            Ok(())
        }
        Audit::Checkpoint { remote } => {
            let found = Client::new(&remote)?.admin("audit", &AdminCommand::AuditCheckpoint)?;
            if remote.json {
                show(&found, true);
            } else {
                // The note alone, so that `> file` keeps it as it is.
                print(found["checkpoint"].as_str().unwrap_or_default());
                eprintln!("key: {}", found["key"].as_str().unwrap_or_default());
            }
            Ok(())
        }
        Audit::Prove { record, remote } => {
            let command = AdminCommand::AuditProve { record: Some(record), from_size: None };
            let found = Client::new(&remote)?.admin("audit", &command)?;
            let (checkpoint, _) = newest(&found, None)?;
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
        Audit::Verify { from, key, database, remote } => {
            let shown = match database {
                Some(file) => verify_offline(&file, key.as_deref(), from.as_deref())?,
                None => verify_online(&Client::new(&remote)?, key.as_deref(), from.as_deref())?,
            };
            show(&shown, remote.json);
            Ok(())
        }
    }
}

/// `2h` ago, or a moment.
fn moment(text: &str) -> Result<i64, Failed> {
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
            "record": record["record"], "time": text("time"), "principal": text("principal"), "token": record["token"],
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

fn decode(value: &Value) -> Result<Vec<u8>, Failed> {
    let decoded = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    decoded.ok_or_else(|| Failed("the server's answer is not base64".to_owned()))
}

fn hash(value: &Value) -> Result<Hash, Failed> {
    decode(value)?.try_into().map(Hash).map_err(|_| Failed("the server's answer is not a hash".to_owned()))
}

/// The checkpoint in an answer, opened with the key that the asker kept, or else with the server's own.
fn newest(found: &Value, kept: Option<&str>) -> Result<(Checkpoint, VerifierKey), Failed> {
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    let key: VerifierKey =
        kept.unwrap_or_else(|| text("key")).parse().map_err(|error| Failed(format!("key: {error}")))?;
    let checkpoint = Checkpoint::open(text("checkpoint"), &key);
    Ok((checkpoint.map_err(|error| Failed(format!("the log's checkpoint: {error}")))?, key))
}

/// The hashes of all leaves, and the tree over them.
#[derive(Default)]
struct Tree {
    known: BTreeMap<Subtree, Hash>,
    size: u64,
}

impl HashReader for Tree {
    type Error = Infallible;

    fn read(&self, subtree: Subtree) -> Result<Hash, Infallible> {
        // Every complete subtree was added when its last leaf was.
        Ok(*self.known.get(&subtree).expect("a complete subtree"))
    }
}

impl Tree {
    fn push(&mut self, leaf: Hash) {
        let Ok(added) = tree::append(self, self.size, leaf);
        self.known.extend(added);
        self.size += 1;
    }

    fn root(&self, size: u64) -> Hash {
        let Ok(root) = tree::root(self, size);
        root
    }

    /// Against the newest checkpoint, and against one that was kept.
    fn check(&self, newest: &Checkpoint, key: &VerifierKey, kept: Option<&Path>) -> Result<Value, Failed> {
        if self.size < newest.size || self.root(newest.size) != newest.root {
            return Err(Failed(format!(
                "the log does NOT verify: its {} records are not those of its checkpoint of {} records",
                self.size, newest.size
            )));
        }
        let mut shown =
            json!({"verified": true, "size": newest.size, "root": newest.root.to_string(), "key": key.to_string()});
        if let Some(file) = kept {
            let text = fs::read_to_string(file).map_err(|error| Failed(format!("{}: {error}", file.display())))?;
            // As `audit checkpoint` printed it, with or without --json.
            let note = serde_json::from_str::<Value>(&text)
                .ok()
                .and_then(|value| value["checkpoint"].as_str().map(str::to_owned));
            let old = Checkpoint::open(&note.unwrap_or(text), key);
            let old = old.map_err(|error| Failed(format!("{}: {error}", file.display())))?;
            if old.size > newest.size {
                return Err(Failed(format!(
                    "the log was ROLLED BACK: it had {} records when {} was saved, and has {} now",
                    old.size,
                    file.display(),
                    newest.size
                )));
            }
            if self.root(old.size) != old.root {
                return Err(Failed(format!(
                    "the log was CHANGED: its first {} records are not those of {}",
                    old.size,
                    file.display()
                )));
            }
            shown["from_size"] = old.size.into();
        }
        Ok(shown)
    }
}

fn verify_online(client: &Client, key: Option<&str>, kept: Option<&Path>) -> Result<Value, Failed> {
    let found = client.admin("audit", &AdminCommand::AuditCheckpoint)?;
    let (newest, key) = newest(&found, key)?;
    let mut tree = Tree::default();
    while tree.size < newest.size {
        let page = client.admin("audit", &AdminCommand::AuditLeaves { from: tree.size, limit: 1000 })?;
        let leaves = page["leaves"].as_array().cloned().unwrap_or_default();
        if leaves.is_empty() {
            return Err(Failed(format!("the log does NOT verify: record {} is missing", tree.size)));
        }
        for leaf in leaves.iter().take(usize::try_from(newest.size - tree.size).unwrap_or(usize::MAX)) {
            tree.push(Hash::leaf(&decode(leaf)?));
        }
        eprint!("\r{} of {} records", tree.size, newest.size);
    }
    eprintln!();
    tree.check(&newest, &key, kept)
}

fn verify_offline(file: &Path, key: Option<&str>, kept: Option<&Path>) -> Result<Value, Failed> {
    let key = key.ok_or_else(|| {
        Failed("offline, name the log's key with --key (as `audit checkpoint` printed it)".to_owned())
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed(error.to_string()))?;
    let copy = runtime.block_on(strongroom_keeper::log::read_copy(file));
    let (note, leaves) = copy.map_err(|error| Failed(format!("{}: {error}", file.display())))?;
    let (newest, key) = newest(&json!({"checkpoint": note}), Some(key))?;
    let mut tree = Tree::default();
    leaves.into_iter().for_each(|leaf| tree.push(leaf));
    tree.check(&newest, &key, kept)
}
