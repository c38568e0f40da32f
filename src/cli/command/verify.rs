//! `audit verify`: every log's tree computed anew from its stored records, and held against signed checkpoints, against those
//! that were kept or cosigned, and against what the other logs say of it. Believes nothing but hashes and signatures.
//!
//! Records are read one after the other and forgotten: what is held of a log is its tree's right edge. What logs say of each
//! other is collected first (some 60 bytes for each time that one names another), and then those that are named are read again.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use strongroom_audit::cosignature::CosignerKey;
use strongroom_audit::note::VerifierKey;
use strongroom_audit::tree::Edge;
use strongroom_audit::{Checkpoint, Hash};
use strongroom_keeper::log::{CopiedLogs, Heads, StoredLeaf, origin};
use strongroom_protocol::admin::AdminCommand;

use super::audit::{checkpoint_key, decode};
use super::cosigned;
use crate::Failed;
use crate::client::Client;

/// Where the logs are read from.
trait Source {
    /// The newest checkpoint of each log, by its number.
    fn newest(&mut self) -> Result<Vec<(u64, String)>, Failed>;

    /// The newest cosigned checkpoint of a log, if there is one.
    fn cosigned(&mut self, log: u64) -> Result<Option<String>, Failed>;

    /// Records of a log from a place on, in order, as many as come at once; none where there are no more.
    fn page(&mut self, log: u64, from: u64) -> Result<Vec<StoredLeaf>, Failed>;
}

/// What the logs are held against beside their own checkpoints.
#[derive(Clone, Copy)]
pub struct Against<'a> {
    /// Checkpoints that were kept in a file.
    pub kept: Option<&'a Path>,
    /// Witnesses that must have cosigned each log.
    pub witnesses: &'a [CosignerKey],
}

fn damaged(what: impl std::fmt::Display) -> Failed {
    Failed(format!("the log does NOT verify: {what}"))
}

/// A log, as its newest checkpoint has it.
struct Log {
    number: u64,
    newest: Checkpoint,
}

/// Who says what a log is at a size.
enum By {
    /// Its newest checkpoint.
    Newest,
    /// A checkpoint that was kept in this file.
    Kept(String),
    /// A checkpoint that witnesses cosigned.
    Cosigned,
    /// A record of another log: its place, and that log's in the list.
    Record(u64, usize),
}

/// What a log must be at a size.
struct Due {
    size: u64,
    root: Hash,
    by: By,
}

/// What a log says of another: places in the list of logs.
struct Named {
    by: usize,
    seq: u64,
    log: usize,
    size: u64,
    root: Hash,
}

struct Verifier<'a, S> {
    /// Of the first; the others' differ by their name alone.
    key: VerifierKey,
    logs: Vec<Log>,
    source: &'a mut S,
}

impl<'a, S: Source> Verifier<'a, S> {
    fn new(key: VerifierKey, source: &'a mut S) -> Result<Self, Failed> {
        let newest = source.newest()?;
        let mut verifier = Self { key, logs: Vec::new(), source };
        for (number, note) in newest {
            let newest = verifier.open(&note, &origin(verifier.key.name(), number))?;
            verifier.logs.push(Log { number, newest });
        }
        if verifier.logs.is_empty() { Err(damaged("there is none")) } else { Ok(verifier) }
    }

    fn open(&self, note: &str, name: &str) -> Result<Checkpoint, Failed> {
        let key = self.key.named(name).map_err(|error| Failed(format!("key: {error}")))?;
        Checkpoint::open(note, &key).map_err(|error| Failed(format!("the log's checkpoint: {error}")))
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.logs.iter().position(|log| log.newest.origin == name)
    }

    /// All of it, and against what else is known.
    fn verify(mut self, against: Against<'_>) -> Result<Value, Failed> {
        let (mut dues, from) = match against.kept {
            Some(file) => self.kept(file).map(|(dues, from)| (dues, Some(from)))?,
            None => (BTreeMap::new(), None),
        };
        let mut cosigned = Vec::new();
        if !against.witnesses.is_empty() {
            for at in 0..self.logs.len() {
                let (due, by) = self.cosigned(at, against.witnesses)?;
                dues.entry(at).or_default().push(due);
                cosigned.push(by);
            }
        }
        let mut named = Vec::new();
        for at in 0..self.logs.len() {
            self.read(at, dues.remove(&at).unwrap_or_default(), Some(&mut named))?;
        }
        let mut of: BTreeMap<usize, Vec<Due>> = BTreeMap::new();
        for Named { by, seq, log, size, root } in named {
            of.entry(log).or_default().push(Due { size, root, by: By::Record(seq, by) });
        }
        for (at, dues) in of {
            self.read(at, dues, None)?;
        }
        let each = self.logs.iter().map(|log| {
            let Checkpoint { origin, size, root } = &log.newest;
            json!({"origin": origin, "size": size, "root": root.to_string()})
        });
        let each = each.enumerate().map(|(at, mut shown)| {
            if let Some(by) = cosigned.get(at) {
                shown["cosigned"] = by.clone();
            }
            shown
        });
        let (each, size) = (each.collect::<Vec<_>>(), self.logs.iter().map(|log| log.newest.size).sum::<u64>());
        let mut shown = json!({"verified": true, "size": size, "key": self.key.to_string(), "logs": each});
        if let Some(from) = from {
            shown["from_size"] = from.into();
        }
        Ok(shown)
    }

    /// What witnesses say that a log is.
    fn cosigned(&mut self, at: usize, witnesses: &[CosignerKey]) -> Result<(Due, Value), Failed> {
        let Log { number, newest } = &self.logs[at];
        let key = self.key.named(&newest.origin).map_err(|error| Failed(format!("key: {error}")))?;
        let note = self.source.cosigned(*number)?;
        let (checkpoint, by) = cosigned::open(note.as_deref(), &key, witnesses)?;
        let Checkpoint { size, root, .. } = checkpoint;
        if size > newest.size {
            let had = format!("witnesses cosigned {size} records, and it has {} now", newest.size);
            return Err(damaged(format!("the log {} was ROLLED BACK: {had}", newest.origin)));
        }
        Ok((Due { size, root, by: By::Cosigned }, json!({"size": size, "by": by})))
    }

    /// What a file of checkpoints says of each log, and of how many records all together.
    fn kept(&self, file: &Path) -> Result<(BTreeMap<usize, Vec<Due>>, u64), Failed> {
        let failed = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| failed(&error))?;
        // As `audit checkpoint` printed it, with or without --json.
        let note =
            serde_json::from_str::<Value>(&text).ok().and_then(|value| value["checkpoint"].as_str().map(str::to_owned));
        let (mut dues, mut from) = (BTreeMap::<usize, Vec<Due>>::new(), 0);
        for note in notes(&note.unwrap_or(text)) {
            let name = note.lines().next().unwrap_or_default();
            let old = self.open(&note, name).map_err(|error| failed(&error.0))?;
            let saved = format!("when {} was saved", file.display());
            let Some(at) = self.place(name) else {
                return Err(damaged(format!("the log {name} VANISHED: it had {} records {saved}", old.size)));
            };
            let now = self.logs[at].newest.size;
            if old.size > now {
                let had = format!("it had {} records {saved}, and has {now} now", old.size);
                return Err(damaged(format!("the log {name} was ROLLED BACK: {had}")));
            }
            from += old.size;
            dues.entry(at).or_default().push(Due { size: old.size, root: old.root, by: By::Kept(saved) });
        }
        if from == 0 {
            return Err(failed(&"no checkpoint in it"));
        }
        Ok((dues, from))
    }

    /// Reads a log's records once, computes its tree, and holds it against what it is due to be. Collects what it says of
    /// others, where that is asked.
    fn read(&mut self, at: usize, mut dues: Vec<Due>, mut named: Option<&mut Vec<Named>>) -> Result<(), Failed> {
        let Log { number, newest } = &self.logs[at];
        dues.push(Due { size: newest.size, root: newest.root, by: By::Newest });
        dues.sort_by_key(|due| due.size);
        let mut dues = VecDeque::from(dues);
        let (number, size, name) = (*number, newest.size, newest.origin.clone());
        let mut edge = Edge::default();
        self.settle(&mut dues, &edge, &name)?;
        while edge.size() < size {
            let missing = |seq: u64| damaged(format!("record {seq} of {name} is missing"));
            let page = self.source.page(number, edge.size())?;
            if page.is_empty() {
                return Err(missing(edge.size()));
            }
            for leaf in page.iter().take(usize::try_from(size - edge.size()).unwrap_or(usize::MAX)) {
                let seq = edge.size();
                if leaf.seq != seq {
                    return Err(missing(seq));
                }
                if let Some(named) = named.as_deref_mut().filter(|_| !leaf.heads.is_empty()) {
                    let wrong = |error| damaged(format!("record {seq} of {name}: {error}"));
                    for head in leaf.heads.parse::<Heads>().map_err(wrong)?.0 {
                        let vanished = || damaged(format!("{} VANISHED: record {seq} of {name} names it", head.origin));
                        let log = self.place(&head.origin).ok_or_else(vanished)?;
                        named.push(Named { by: at, seq, log, size: head.size, root: head.root });
                    }
                }
                edge.push(leaf.hash(), |_, _| {});
                self.settle(&mut dues, &edge, &name)?;
            }
            eprint!("\r{name}: {} of {size} records", edge.size());
        }
        eprintln!();
        // What is due beyond the newest checkpoint.
        dues.pop_front().map_or(Ok(()), |due| Err(self.wrong(&due, &name)))
    }

    /// Holds the tree against all that is due at its size.
    fn settle(&self, dues: &mut VecDeque<Due>, edge: &Edge, name: &str) -> Result<(), Failed> {
        while let Some(due) = dues.pop_front_if(|due| due.size <= edge.size()) {
            if due.size != edge.size() || due.root != edge.root() {
                return Err(self.wrong(&due, name));
            }
        }
        Ok(())
    }

    fn wrong(&self, due: &Due, name: &str) -> Failed {
        let size = due.size;
        damaged(match &due.by {
            By::Newest => format!("the {size} records of {name} are not those of its checkpoint"),
            By::Kept(saved) => format!("the log {name} was CHANGED: its first {size} records are not those {saved}"),
            By::Cosigned => {
                format!("the log {name} was CHANGED: its first {size} records are not those that were cosigned")
            }
            By::Record(seq, by) => {
                let by = &self.logs[*by].newest.origin;
                let what = format!("its first {size} records are not those that record {seq} of {by} names");
                format!("{name} was CHANGED or ROLLED BACK: {what}")
            }
        })
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

/// A server.
struct Online<'a> {
    client: &'a Client,
    checkpoint: Value,
}

impl Source for Online<'_> {
    fn newest(&mut self) -> Result<Vec<(u64, String)>, Failed> {
        let each = self.checkpoint["logs"].as_array().into_iter().flatten();
        let of = |log: &Value| (log["log"].as_u64().unwrap_or_default(), log["checkpoint"].as_str().map(str::to_owned));
        Ok(each.map(of).map(|(log, note)| (log, note.unwrap_or_default())).collect())
    }

    fn cosigned(&mut self, log: u64) -> Result<Option<String>, Failed> {
        let mut each = self.checkpoint["logs"].as_array().into_iter().flatten();
        let found = each.find(|found| found["log"].as_u64() == Some(log));
        Ok(found.and_then(|found| found["cosigned"]["checkpoint"].as_str()).map(str::to_owned))
    }

    fn page(&mut self, log: u64, from: u64) -> Result<Vec<StoredLeaf>, Failed> {
        let page = self.client.admin("audit", &AdminCommand::AuditLeaves { log, from, limit: 1000 })?;
        let leaves = page["leaves"].as_array().into_iter().flatten();
        let none = |_| damaged(format!("a record of log {log} from {from} on is none"));
        leaves.map(|leaf| StoredLeaf::from_bytes(&decode(leaf)?).map_err(none)).collect()
    }
}

/// The logs of a server.
///
/// # Errors
/// What does not verify.
pub fn online(client: &Client, key: Option<&str>, against: Against<'_>) -> Result<Value, Failed> {
    let checkpoint = client.admin("audit", &AdminCommand::AuditCheckpoint)?;
    let key = checkpoint_key(&checkpoint, key)?;
    Verifier::new(key, &mut Online { client, checkpoint })?.verify(against)
}

/// A copy of the keeper's database.
struct Offline<'a> {
    runtime: tokio::runtime::Runtime,
    logs: CopiedLogs,
    file: &'a Path,
}

impl Offline<'_> {
    fn failed(&self, error: impl std::fmt::Display) -> Failed {
        Failed(format!("{}: {error}", self.file.display()))
    }
}

impl Source for Offline<'_> {
    fn newest(&mut self) -> Result<Vec<(u64, String)>, Failed> {
        let logs = self.runtime.block_on(self.logs.logs()).map_err(|error| self.failed(error))?;
        Ok(logs.into_iter().map(|log| (log.log, log.checkpoint)).collect())
    }

    fn cosigned(&mut self, log: u64) -> Result<Option<String>, Failed> {
        let found = self.runtime.block_on(self.logs.cosigned()).map_err(|error| self.failed(error))?;
        Ok(found.get(&log).map(|cosigned| cosigned.note.clone()))
    }

    fn page(&mut self, log: u64, from: u64) -> Result<Vec<StoredLeaf>, Failed> {
        self.runtime.block_on(self.logs.leaves(log, from)).map_err(|error| self.failed(error))
    }
}

/// The logs of a copy of the keeper's database, without any secret.
///
/// # Errors
/// What does not verify.
pub fn offline(file: &Path, key: Option<&str>, against: Against<'_>) -> Result<Value, Failed> {
    let key = key.ok_or_else(|| {
        Failed("offline, name the log's key with --key (as `audit checkpoint` printed it)".to_owned())
    })?;
    let key = key.parse().map_err(|error| Failed(format!("key: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed(error.to_string()))?;
    let logs = runtime.block_on(CopiedLogs::open(file));
    let logs = logs.map_err(|error| Failed(format!("{}: {error}", file.display())))?;
    Verifier::new(key, &mut Offline { runtime, logs, file })?.verify(against)
}

#[cfg(test)]
mod tests;
