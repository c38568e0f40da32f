//! `audit timeline`: what was done, an act a line, the oldest first. Records of one act are drawn together: a decision with the
//! opening that it allowed, an opening with its delivery, and openings of one file by ranges.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::show::{inert, print};

/// Openings of one file that lie no further apart are one act, in milliseconds.
const APART_MS: i64 = 10 * 60 * 1000;
/// Ways to take a file, and their words.
const READS: [(&str, &str); 3] =
    [("object.open", "read"), ("object.rewrap", "took sealed"), ("object.recover", "took out with its key")];

/// The acts of some records, which come newest first.
pub fn acts(records: &[Value]) -> Vec<Value> {
    let request = |record: &Value| (record["token"].as_u64(), record["request_id"].as_str().map(str::to_owned));
    let is = |record: &Value, action: &str| record["action"] == action;
    // Whoever sends the same id twice has those drawn together that are of one token.
    let read = |record: &Value| READS.iter().any(|(action, _)| is(record, action));
    let said = |record: &&Value| read(record) || is(record, "object.absent");
    let opened: BTreeSet<_> = records.iter().filter(said).map(request).collect();
    let mut acts: Vec<Value> = Vec::new();
    let mut reading: HashMap<[String; 5], usize> = HashMap::new();
    for record in records.iter().rev() {
        let of = ["token", "kind", "repo", "path", "outcome"].map(|key| record[key].to_string());
        let [token, kind, repo, path, _] = of.clone();
        let delivery = [token, kind, repo, path, "\"allowed\"".to_owned()];
        if is(record, "object.deliver")
            && let Some(act) = reading.get(&delivery).and_then(|at| acts.get_mut(*at))
        {
            act["sent"] = (number(&act["sent"]) + number(&record["bytes"])).into();
            act["delivered"] = (number(&act["delivered"]) + 1).into();
            continue;
        }
        if is(record, "repo.read") && record["outcome"] == "allowed" && opened.contains(&request(record)) {
            continue;
        }
        if !read(record) {
            acts.push(act(record));
            continue;
        }
        let near = |act: &Value| {
            number_ms(&record["time_ms"]) - number_ms(&act["last_ms"]) <= APART_MS
                && act["revision"] == record["revision"]
                && act["action"] == record["action"]
        };
        match reading.get(&of).filter(|at| acts.get(**at).is_some_and(near)) {
            Some(at) => {
                if let Some(act) = acts.get_mut(*at) {
                    act["count"] = (number(&act["count"]) + 1).into();
                    (act["last_ms"], act["last"]) = (record["time_ms"].clone(), record["time"].clone());
                    if let Some(ranges) = act["ranges"].as_array_mut() {
                        ranges.push(record["range"].clone());
                    }
                }
            }
            None => {
                reading.insert(of, acts.len());
                let mut new = act(record);
                (new["ranges"], new["sent"], new["delivered"]) = (json!([record["range"]]), 0.into(), 0.into());
                acts.push(new);
            }
        }
    }
    acts.iter_mut().for_each(finish);
    acts
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn number_ms(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn act(record: &Value) -> Value {
    let keys = [
        "principal",
        "token",
        "share",
        "address",
        "action",
        "outcome",
        "reason",
        "kind",
        "repo",
        "revision",
        "path",
        "compartments",
        "subject",
        "digest",
        "bytes",
        "time_ms",
    ];
    let mut act: serde_json::Map<String, Value> = keys
        .iter()
        .filter(|key| !record[**key].is_null())
        .map(|key| ((*key).to_owned(), record[*key].clone()))
        .collect();
    act.extend([
        ("first".to_owned(), record["time"].clone()),
        ("last".to_owned(), record["time"].clone()),
        ("last_ms".to_owned(), record["time_ms"].clone()),
        ("count".to_owned(), 1.into()),
    ]);
    act.into()
}

/// The ranges of a reading joined, and how many bytes they are.
fn finish(act: &mut Value) {
    if let Some(map) = act.as_object_mut() {
        map.remove("last_ms");
    }
    let Some(ranges) = act["ranges"].as_array() else { return };
    let mut ranges: Vec<(u64, u64)> = ranges.iter().map(|range| (number(&range[0]), number(&range[1]))).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    act["bytes"] = joined.iter().map(|(start, end)| end - start).sum::<u64>().into();
    act["ranges"] = joined.iter().map(|(start, end)| json!([start, end])).collect();
    act["unfinished"] = (number(&act["count"]).saturating_sub(number(&act["delivered"]))).into();
}

/// A line for each act.
pub fn tell(acts: &[Value]) {
    acts.iter().for_each(|act| print(&(line(act) + "\n")));
}

fn line(act: &Value) -> String {
    let text = |key: &str| act[key].as_str().map(inert);
    let who = text("principal").unwrap_or_else(|| "nobody".to_owned());
    let by = act["token"].as_u64().map(|token| format!(" (token {token})")).unwrap_or_default();
    let share = act["share"].as_u64().map(|share| format!(" by share {share}")).unwrap_or_default();
    let from = text("address").map(|address| format!(" from {address}")).unwrap_or_default();
    let mut what = match act["ranges"].as_array() {
        Some(ranges) if act["outcome"] == "allowed" => {
            let times = if number(&act["count"]) == 1 { String::new() } else { format!(" {} times", act["count"]) };
            let open = number(&act["unfinished"]);
            let open = if open == 0 { String::new() } else { format!(", {open} without an end in the log") };
            let sent = format!("{} sent", act["sent"]);
            let read = READS.iter().find(|(action, _)| act["action"] == *action).map_or("read", |(_, word)| word);
            format!("{read}{times}, {} bytes in {} ranges, {sent}{open}", act["bytes"], ranges.len())
        }
        _ if act["action"] == "object.absent" => "asked for what is not there, or not for them".to_owned(),
        _ => format!("{} {}", text("action").unwrap_or_default(), text("outcome").unwrap_or_default()),
    };
    if let Some(repo) = text("repo") {
        let path = text("path").map(|path| format!(" {path}")).unwrap_or_default();
        let revision = text("revision").map(|revision| format!("@{:.12}", revision)).unwrap_or_default();
        what += &format!(": {} {repo}{revision}{path}", text("kind").unwrap_or_default());
    }
    for key in ["subject", "reason"] {
        what += &text(key).filter(|text| !text.is_empty()).map(|text| format!(" ({text})")).unwrap_or_default();
    }
    format!("{} {who}{by}{share}{from} {what}", text("first").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(action: &str, request: &str, time_ms: u64, more: Value) -> Value {
        let mut record = json!({
            "action": action, "outcome": if action == "object.deliver" { "done" } else { "allowed" }, "token": 7,
            "principal": "anna", "kind": "model", "repo": "a/b", "path": "w.bin", "revision": "main",
            "request_id": request, "time_ms": time_ms, "time": format!("t{time_ms}"),
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record
    }

    #[test]
    fn ranges_of_one_file_are_one_act_and_another_hour_is_another() {
        let hour = 3_600_000;
        let records = [
            record("object.open", "3", hour, json!({"range": [0, 5]})),
            record("object.deliver", "2", 4, json!({"range": [10, 20], "bytes": 10})),
            record("object.open", "2", 3, json!({"range": [10, 20]})),
            record("repo.read", "2", 2, json!({})),
            record("object.open", "1", 1, json!({"range": [0, 10]})),
            record("repo.read", "0", 0, json!({"outcome": "denied", "reason": "not\u{1b}[2J found"})),
        ];
        let acts = acts(&records);
        assert_eq!(acts.len(), 3);
        assert_eq!(acts[1]["ranges"], json!([[0, 20]]));
        assert_eq!((&acts[1]["count"], &acts[1]["sent"], &acts[1]["unfinished"]), (&json!(2), &json!(10), &json!(1)));
        assert_eq!(acts[2]["bytes"], 5);
        assert!(line(&acts[1]).contains("read 2 times, 20 bytes in 1 ranges") && line(&acts[1]).contains("1 without"));
        assert!(!line(&acts[0]).contains('\u{1b}') && line(&acts[0]).contains("\\u{1b}[2J"));
    }
}
