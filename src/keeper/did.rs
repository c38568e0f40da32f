//! What somebody did, put together from the records of it.
//!
//! An opened object counts as read, whether or not a delivery was recorded after it: the key was given out. A delivery says how
//! much of it left; where there is none, because the gate died or the stream still runs, all that was asked for counts. One whose opening
//! is not among the records, because it came before their time, counts as read too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use serde_json::{Value, json};

use crate::log::Record;

/// Unix milliseconds as RFC 3339 in UTC, to the millisecond.
pub fn time(ms: i64) -> String {
    let since = std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
}

/// One file of one commit, as it was opened.
#[derive(Default)]
struct Read {
    opened: u64,
    /// Before the time of the records, and sent within it.
    before: u64,
    recovered: u64,
    ranges: Vec<Range<u64>>,
    sent: u64,
    unfinished: u64,
    first_ms: i64,
    last_ms: i64,
    addresses: BTreeSet<String>,
    tokens: BTreeSet<u64>,
}

/// What an opening and its delivery have in common. A request's id is the client's own word: alone it says nothing.
type Asked = (Option<u64>, String, Option<u64>, Option<String>, Option<(u64, u64)>);

fn asked(record: &Record) -> Asked {
    (record.token, record.request_id.clone(), record.repo_id, record.path.clone(), record.range)
}

/// A delivery whose opening did not come yet.
struct Delivered {
    /// What it would be read as; none for a record that does not say so.
    key: Option<[String; 5]>,
    range: Range<u64>,
    bytes: u64,
    time_ms: i64,
    address: String,
    /// With whose it is.
    share: Option<(u64, String)>,
}

fn text(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}

/// (kind, repository, commit, compartment, path)
fn key(record: &Record) -> [String; 5] {
    let [kind, repo] = [text(&record.kind), text(&record.repo)];
    [kind, repo, text(&record.revision), record.compartments.concat(), text(&record.path)]
}

impl Delivered {
    fn new(record: &Record) -> Self {
        let (start, end) = record.range.unwrap_or_default();
        let of_file = !record.compartments.is_empty() && record.compartments.iter().all(|part| part != "inbox");
        Self {
            key: of_file.then(|| key(record)),
            range: start..end,
            bytes: record.bytes.unwrap_or(0),
            time_ms: record.time_ms,
            address: record.address.clone(),
            share: record.share.map(|share| (share, text(&record.principal))),
        }
    }
}

impl Read {
    fn note(&mut self, time_ms: i64, address: &str, token: Option<u64>) {
        let first = if self.addresses.is_empty() { time_ms } else { self.first_ms.min(time_ms) };
        (self.first_ms, self.last_ms) = (first, self.last_ms.max(time_ms));
        self.addresses.insert(address.to_owned());
        self.tokens.extend(token);
    }
}

/// What records say, put together. They come newest first.
#[derive(Default)]
pub struct Did {
    /// (kind, repository, commit, compartment, path)
    reads: BTreeMap<[String; 5], Read>,
    /// (kind, repository) → compartments whose names, sizes and digests were shown.
    seen: BTreeMap<[String; 2], BTreeSet<String>>,
    /// (kind, repository, revision, path) → times that it was asked for and not there for whoever asked.
    absent: BTreeMap<[String; 4], u64>,
    /// Deliveries whose opening did not come yet.
    delivered: HashMap<Asked, Vec<Delivered>>,
    compartments: BTreeSet<String>,
    /// Shares through which something was read, and whose they are.
    partners: BTreeSet<(u64, String)>,
    addresses: BTreeSet<String>,
    tokens: BTreeSet<u64>,
    first_ms: i64,
    last_ms: i64,
    lists: u64,
    sent: u64,
    unfinished: u64,
    written: u64,
    denied: u64,
    records: u64,
}

impl Did {
    /// Adds a record that is older than those before it.
    pub fn add(&mut self, record: &Record) {
        self.records += 1;
        self.first_ms = record.time_ms;
        self.last_ms = self.last_ms.max(record.time_ms);
        self.tokens.extend(record.token);
        if !record.address.is_empty() {
            self.addresses.insert(record.address.clone());
        }
        match (record.action.as_str(), record.outcome.as_str()) {
            (_, "denied" | "malformed") => self.denied += 1,
            ("object.absent", _) => {
                let key = [&record.kind, &record.repo, &record.revision, &record.path].map(text);
                *self.absent.entry(key).or_default() += 1;
            }
            // Its digest is that of the terms.
            (action, _) if action.starts_with("share.") => {}
            // What a writer sent itself and the gate puts together is no reading.
            ("object.open" | "object.rewrap" | "object.recover", _)
                if record.compartments.iter().all(|part| part != "inbox") =>
            {
                self.read(record);
            }
            ("object.open" | "object.rewrap" | "object.recover", _) => {}
            ("object.deliver", _) => {
                self.sent += record.bytes.unwrap_or(0);
                self.delivered.entry(asked(record)).or_default().push(Delivered::new(record));
            }
            ("repo.list", _) => self.lists += 1,
            (_, _) if record.digest.is_some() || record.action == "upload" => self.written += 1,
            (_, _) if !record.compartments.is_empty() => {
                let seen = self.seen.entry([text(&record.kind), text(&record.repo)]).or_default();
                seen.extend(record.compartments.iter().cloned());
            }
            _ => {}
        }
    }

    fn read(&mut self, record: &Record) {
        let key_of = asked(record);
        let sent = self.delivered.get_mut(&key_of).and_then(Vec::pop).map(|delivered| delivered.bytes);
        if self.delivered.get(&key_of).is_some_and(Vec::is_empty) {
            self.delivered.remove(&key_of);
        }
        self.compartments.extend(record.compartments.iter().cloned());
        self.partners.extend(record.share.map(|share| (share, text(&record.principal))));
        let read = self.reads.entry(key(record)).or_default();
        if let Some((start, end)) = record.range {
            (read.opened, read.ranges) = (read.opened + 1, joined(&read.ranges, start..end));
            // What was put into another compartment by its hash left nowhere: it says so.
            let stays = record.action == "object.open" && record.subject.is_some();
            read.sent += if stays { 0 } else { sent.unwrap_or(end.saturating_sub(start)) };
            let unfinished = u64::from(sent.is_none() && !stays);
            read.unfinished += unfinished;
            self.unfinished += unfinished;
        }
        // With its own key for the object.
        read.recovered += u64::from(record.action == "object.recover");
        read.note(record.time_ms, &record.address, record.token);
    }

    /// What was sent of files that were opened before the time of the records.
    fn opened_before(&mut self) {
        for ((token, ..), delivered) in std::mem::take(&mut self.delivered) {
            for Delivered { key, range, bytes, time_ms, address, share } in delivered {
                let Some(key) = key else { continue };
                self.compartments.insert(key[3].clone());
                self.partners.extend(share);
                let read = self.reads.entry(key).or_default();
                (read.before, read.ranges) = (read.before + 1, joined(&read.ranges, range));
                read.sent += bytes;
                read.note(time_ms, &address, token);
            }
        }
    }

    /// For an answer.
    pub fn show(mut self) -> Value {
        self.opened_before();
        let reads = self.reads.into_iter().map(|([kind, repo, commit, compartment, path], read)| {
            let bytes: u64 = read.ranges.iter().map(|range| range.end - range.start).sum();
            let ranges: Vec<[u64; 2]> = read.ranges.iter().map(|range| [range.start, range.end]).collect();
            let mut shown = json!({
                "kind": kind, "repo": repo, "commit": commit, "compartment": compartment, "path": path,
                "opened": read.opened, "recovered": read.recovered, "bytes": bytes, "ranges": ranges,
                "sent": read.sent, "unfinished": read.unfinished,
                "first": time(read.first_ms), "last": time(read.last_ms),
                "addresses": read.addresses, "tokens": read.tokens,
            });
            if read.before > 0 {
                shown["opened_before"] = read.before.into();
            }
            shown
        });
        let seen = self
            .seen
            .into_iter()
            .map(|([kind, repo], parts)| json!({"kind": kind, "repo": repo, "compartments": parts}));
        let absent = self.absent.into_iter().map(|([kind, repo, revision, path], times)| {
            json!({"kind": kind, "repo": repo, "revision": revision, "path": path, "times": times})
        });
        let partners = self.partners.into_iter().map(|(share, name)| json!({"share": share, "principal": name}));
        let any = self.records > 0;
        json!({
            "read": reads.collect::<Vec<_>>(), "listed": seen.collect::<Vec<_>>(), "lists": self.lists,
            "absent": absent.collect::<Vec<_>>(),
            "bytes_sent": self.sent, "unfinished": self.unfinished, "written": self.written, "denied": self.denied,
            "records": self.records, "compartments": self.compartments, "partners": partners.collect::<Vec<_>>(),
            "addresses": self.addresses, "tokens": self.tokens,
            "first": any.then(|| time(self.first_ms)), "last": any.then(|| time(self.last_ms)),
        })
    }
}

/// The ranges with one more, in order, none touching another.
fn joined(ranges: &[Range<u64>], more: Range<u64>) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = ranges.iter().cloned().chain([more]).collect();
    all.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(all.len());
    for range in all {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let mut ranges = Vec::new();
        for more in [10..20, 30..40, 0..5, 20..30, 3..7, 50..50] {
            ranges = joined(&ranges, more);
        }
        assert_eq!(ranges, [0..7, 10..40, 50..50]);
    }

    fn record(action: &str, request: &str, bytes: Option<u64>) -> Record {
        let (action, outcome, request_id) = (action.to_owned(), "allowed".to_owned(), request.to_owned());
        let compartments = if action == "object.open" { vec!["weights".to_owned()] } else { Vec::new() };
        let (range, path) = (Some((0, 100)), Some("a.bin".to_owned()));
        Record { action, outcome, request_id, compartments, range, path, bytes, ..Record::default() }
    }

    #[test]
    fn what_was_opened_counts_whole_where_no_delivery_of_the_same_request_says_less() {
        let mut did = Did::default();
        for (action, request, bytes) in
            [("object.deliver", "one", Some(40)), ("object.open", "two", None), ("object.open", "one", None)]
        {
            did.add(&record(action, request, bytes));
        }
        let shown = did.show();
        let read = &shown["read"][0];
        assert_eq!((&read["opened"], &read["sent"], &read["unfinished"]), (&json!(2), &json!(140), &json!(1)));
        assert_eq!(shown["bytes_sent"], 40);
    }
}
