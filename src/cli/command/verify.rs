//! `audit verify`: every log's tree computed anew from its stored records, and held against signed checkpoints, against those
//! that were kept, and against what the other logs say of it. Believes nothing but hashes and signatures.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use strongroom_audit::note::VerifierKey;
use strongroom_audit::tile::{TILE_HEIGHT, TILE_WIDTH};
use strongroom_audit::tree::{self, HashReader, Subtree};
use strongroom_audit::{Checkpoint, Hash};
use strongroom_keeper::log::{Head, Heads, StoredLeaf, origin, read_copy};
use strongroom_protocol::admin::AdminCommand;

use super::audit::{checkpoint_key, decode};
use crate::Failed;
use crate::client::Client;

/// The hashes of all leaves of one log, and the tree over them.
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

    fn has(&self, size: u64, root: Hash) -> bool {
        let Ok(found) = if size <= self.size { tree::root(self, size) } else { return false };
        found == root
    }
}

/// All logs as they were read.
pub struct Logs {
    /// Of the first; the others' differ by their name alone.
    key: VerifierKey,
    trees: BTreeMap<String, Tree>,
    /// What leaves say of other logs: in which log, in which record, what.
    named: Vec<(String, u64, Head)>,
}

fn damaged(what: impl std::fmt::Display) -> Failed {
    Failed(format!("the log does NOT verify: {what}"))
}

impl Logs {
    /// None yet.
    pub fn new(key: VerifierKey) -> Self {
        Self { key, trees: BTreeMap::new(), named: Vec::new() }
    }

    /// The next record of a log.
    ///
    /// # Errors
    /// What it says of other logs can't be read.
    pub fn push(&mut self, name: &str, leaf: &StoredLeaf) -> Result<(), Failed> {
        let tree = self.trees.entry(name.to_owned()).or_default();
        let seq = tree.size;
        tree.push(leaf.hash());
        if !leaf.heads.is_empty() {
            let heads: Heads =
                leaf.heads.parse().map_err(|error| damaged(format!("record {seq} of {name}: {error}")))?;
            self.named.extend(heads.0.into_iter().map(|head| (name.to_owned(), seq, head)));
        }
        Ok(())
    }

    fn open(&self, note: &str, name: &str) -> Result<Checkpoint, Failed> {
        let key = self.key.named(name).map_err(|error| Failed(format!("key: {error}")))?;
        Checkpoint::open(note, &key).map_err(|error| Failed(format!("the log's checkpoint: {error}")))
    }

    /// Whether a stored tile is that of the records: `hashes` of 32 bytes each.
    pub fn has_tile(&self, name: &str, level: u8, position: u64, hashes: &[u8]) -> bool {
        let Some(tree) = self.trees.get(name) else { return false };
        let at = |index| Subtree { level: level * TILE_HEIGHT, index: position * u64::from(TILE_WIDTH) + index };
        hashes.len().is_multiple_of(32)
            && hashes
                .chunks(32)
                .zip(0..)
                .all(|(hash, index)| tree.known.get(&at(index)).is_some_and(|known| known.0 == hash))
    }

    /// Against the newest checkpoints, each with its log's name, and against those that were kept.
    ///
    /// # Errors
    /// What does not verify.
    pub fn check(&self, newest: &[(String, String)], kept: Option<&Path>) -> Result<Value, Failed> {
        let mut shown = Vec::new();
        for (name, note) in newest {
            let newest = self.open(note, name)?;
            let size = self.trees.get(name).map_or(0, |tree| tree.size);
            if !self.trees.get(name).is_some_and(|tree| tree.has(newest.size, newest.root)) {
                let records =
                    format!("the {size} records of {name} are not those of its checkpoint of {}", newest.size);
                return Err(damaged(records));
            }
            shown.push(json!({"origin": name, "size": newest.size, "root": newest.root.to_string()}));
        }
        for (by, seq, head) in &self.named {
            let tree = self.trees.get(&head.origin).filter(|_| newest.iter().any(|(name, _)| *name == head.origin));
            let Some(tree) = tree else {
                return Err(damaged(format!("{} VANISHED: record {seq} of {by} names it", head.origin)));
            };
            if !tree.has(head.size, head.root) {
                let what = format!("its first {} records are not those that record {seq} of {by} names", head.size);
                return Err(damaged(format!("{} was CHANGED or ROLLED BACK: {what}", head.origin)));
            }
        }
        let size: u64 = shown.iter().filter_map(|log| log["size"].as_u64()).sum();
        let mut shown = json!({"verified": true, "size": size, "key": self.key.to_string(), "logs": shown});
        if let Some(file) = kept {
            shown["from_size"] = self.check_kept(newest, file)?.into();
        }
        Ok(shown)
    }

    fn check_kept(&self, newest: &[(String, String)], file: &Path) -> Result<u64, Failed> {
        let failed = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| failed(&error))?;
        // As `audit checkpoint` printed it, with or without --json.
        let note =
            serde_json::from_str::<Value>(&text).ok().and_then(|value| value["checkpoint"].as_str().map(str::to_owned));
        let mut from = 0;
        for note in notes(&note.unwrap_or(text)) {
            let name = note.lines().next().unwrap_or_default();
            let old = self.open(&note, name).map_err(|error| failed(&error.0))?;
            let saved = format!("when {} was saved", file.display());
            let Some(tree) = self.trees.get(name).filter(|_| newest.iter().any(|(other, _)| other == name)) else {
                return Err(Failed(format!("the log {name} VANISHED: it had {} records {saved}", old.size)));
            };
            if old.size > tree.size {
                let now = tree.size;
                return Err(Failed(format!(
                    "the log {name} was ROLLED BACK: it had {} records {saved}, and has {now} now",
                    old.size
                )));
            }
            if !tree.has(old.size, old.root) {
                let first = format!("its first {} records are not those {saved}", old.size);
                return Err(Failed(format!("the log {name} was CHANGED: {first}")));
            }
            from += old.size;
        }
        if from == 0 {
            return Err(failed(&"no checkpoint in it"));
        }
        Ok(from)
    }
}

/// The notes of a text that stand one below the other: each ends with its signature lines.
fn notes(text: &str) -> Vec<String> {
    let (mut notes, mut note, mut signed) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        let signature = line.starts_with('\u{2014}');
        if signed && !signature {
            notes.push(std::mem::take(&mut note));
        }
        if !note.is_empty() || !line.is_empty() {
            note += line;
            note += "\n";
        }
        signed = signature;
    }
    notes.extend((!note.is_empty()).then_some(note));
    notes
}

/// The logs of a server.
///
/// # Errors
/// What does not verify.
pub fn online(client: &Client, key: Option<&str>, kept: Option<&Path>) -> Result<Value, Failed> {
    let found = client.admin("audit", &AdminCommand::AuditCheckpoint)?;
    let mut logs = Logs::new(checkpoint_key(&found, key)?);
    let mut newest = Vec::new();
    for each in found["logs"].as_array().into_iter().flatten() {
        let number = each["log"].as_u64().unwrap_or_default();
        let name = origin(logs.key.name(), number);
        let note = each["checkpoint"].as_str().unwrap_or_default().to_owned();
        let size = logs.open(&note, &name)?.size;
        let mut from = 0;
        while from < size {
            let page = client.admin("audit", &AdminCommand::AuditLeaves { log: number, from, limit: 1000 })?;
            let leaves = page["leaves"].as_array().cloned().unwrap_or_default();
            if leaves.is_empty() {
                return Err(damaged(format!("record {from} of {name} is missing")));
            }
            for leaf in leaves.iter().take(usize::try_from(size - from).unwrap_or(usize::MAX)) {
                let leaf = StoredLeaf::from_bytes(&decode(leaf)?);
                logs.push(&name, &leaf.map_err(|_| damaged(format!("record {from} of {name} is none")))?)?;
                from += 1;
            }
            eprint!("\r{name}: {from} of {size} records");
        }
        eprintln!();
        newest.push((name, note));
    }
    if newest.is_empty() {
        return Err(damaged("there is none"));
    }
    logs.check(&newest, kept)
}

/// The logs of a copy of the keeper's database, without any secret.
///
/// # Errors
/// What does not verify.
pub fn offline(file: &Path, key: Option<&str>, kept: Option<&Path>) -> Result<Value, Failed> {
    let key = key.ok_or_else(|| {
        Failed("offline, name the log's key with --key (as `audit checkpoint` printed it)".to_owned())
    })?;
    let mut logs = Logs::new(key.parse().map_err(|error| Failed(format!("key: {error}")))?);
    let name = logs.key.name().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed(error.to_string()))?;
    let mut wrong = Ok(());
    let copied = runtime.block_on(read_copy(file, |log, leaf| {
        if wrong.is_ok() {
            wrong = logs.push(&origin(&name, log), leaf);
        }
    }));
    wrong?;
    let copied = copied.map_err(|error| Failed(format!("{}: {error}", file.display())))?;
    let newest: Vec<(String, String)> =
        copied.into_iter().map(|copy| (origin(&name, copy.log), copy.checkpoint)).collect();
    if newest.is_empty() {
        return Err(damaged("there is none"));
    }
    logs.check(&newest, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_one_below_the_other_are_told_apart() {
        let one = "a\n1\nroot\n\n\u{2014} a sig\n";
        let two = "b\n2\nroot\n\n\u{2014} b sig\n\u{2014} witness sig\n";
        assert_eq!(notes(one), [one]);
        assert_eq!(notes(&format!("{one}\n{two}")), [one, two]);
        assert!(notes("\n\n").is_empty());
    }
}
