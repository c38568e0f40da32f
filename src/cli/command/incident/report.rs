//! What an incident comes to, for people: what was in reach, what was read, what was asked for in vain.

use serde_json::Value;
use strongroom_keeper::incident::Header;
use strongroom_protocol::incident::Subject;

use crate::show::inert;

fn rows<'a>(of: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    of[key].as_array().into_iter().flatten()
}

/// A value on one line: lists with commas, nothing that moves a cursor.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => inert(text),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

fn subject(of: &Subject) -> String {
    match of {
        Subject::Token { id, .. } => format!("token {id}"),
        Subject::Principal { name, .. } => format!("principal {}", inert(name)),
        Subject::Share { id, .. } => format!("share {id}"),
        Subject::Partner { name, .. } => format!("partner {}", inert(name)),
        Subject::Address { address } => format!("address {}", inert(address)),
    }
}

fn times(number: &Value) -> String {
    match number.as_u64() {
        Some(1) => "once".to_owned(),
        _ => format!("{number} times"),
    }
}

/// The report, without its end of evidence.
pub fn report(header: &Header) -> String {
    let Header { opened, scope, locked, could, did, .. } = header;
    let mut out = format!(
        "Incident of {}, opened by {} at {}\n",
        subject(&scope.subject),
        text(&opened["by"]),
        text(&opened["time"])
    );
    if !locked.is_empty() {
        out += &format!("Locked: {}\n", inert(&locked.join(", ")));
    }
    out += &match did["records"].as_u64() {
        None | Some(0) => "Nothing was done in that time.\n".to_owned(),
        Some(records) => format!("{records} records, from {} to {}\n", text(&did["first"]), text(&did["last"])),
    };
    out += "\nCould reach\n";
    for who in could.as_array().into_iter().flatten() {
        reach(who, &mut out);
    }
    out += "\nDid read\n";
    let mut above = None;
    for read in rows(did, "read") {
        let of = format!("  {} {}@{:.12}", text(&read["kind"]), text(&read["repo"]), text(&read["commit"]));
        if above.as_ref() != Some(&of) {
            out += &format!("{of}\n");
            above = Some(of);
        }
        let open = match read["unfinished"].as_u64() {
            None | Some(0) => String::new(),
            Some(open) => format!(", {open} without an end in the log"),
        };
        let glass = match read["recovered"].as_u64() {
            None | Some(0) => String::new(),
            Some(_) => format!(", taken out with its key {}", times(&read["recovered"])),
        };
        let from = text(&read["addresses"]);
        let (path, part) = (text(&read["path"]), text(&read["compartment"]));
        let mut opened = times(&read["opened"]);
        if !read["opened_before"].is_null() {
            opened += &format!(", and sent of what was opened before {}", times(&read["opened_before"]));
        }
        out += &format!("    {part:<8} {path}  {} bytes, opened {opened}{open}{glass}, from {from}\n", read["bytes"]);
    }
    if rows(did, "read").next().is_none() {
        out += "  nothing\n";
    }
    out +=
        &format!("  {} bytes were sent; what was opened without an end in the log counts as read\n", did["bytes_sent"]);
    if rows(did, "absent").next().is_some() {
        out += "\nAsked for what is not there, or not for them\n";
    }
    for absent in rows(did, "absent") {
        let (kind, repo, path) = (text(&absent["kind"]), text(&absent["repo"]), text(&absent["path"]));
        out += &format!("  {kind} {repo}@{:.12}  {path}  {}\n", text(&absent["revision"]), times(&absent["times"]));
    }
    out += &format!("\nDenied {}, written {}, lists {}\n", did["denied"], did["written"], did["lists"]);
    for partner in rows(did, "partners") {
        out += &format!("Partner touched: {} (share {})\n", text(&partner["principal"]), partner["share"]);
    }
    if rows(did, "compartments").next().is_some() {
        out += &format!("Compartments touched: {}\n", text(&did["compartments"]));
    }
    out
}

/// How much of a log was cosigned, by whom and when.
pub fn witnessed(log: &Value) -> String {
    let by = rows(log, "by").map(|by| format!("{} at {}", text(&by["witness"]), text(&by["time"])));
    let by = by.collect::<Vec<_>>().join(", ");
    format!("Cosigned: the first {} of {} records of {}, by {by}\n", log["size"], log["records"], text(&log["log"]))
}

/// One credential's reach: a line for each repository of each period in which it was the same.
fn reach(who: &Value, out: &mut String) {
    let by = match (&who["token"], &who["share"]) {
        (Value::Null, Value::Null) => String::new(),
        (Value::Null, share) => format!(" (share {share})"),
        (token, _) => format!(" (token {token})"),
    };
    *out += &format!("  {}{by}\n", text(&who["principal"]));
    for period in rows(who, "periods") {
        let mut held = Vec::new();
        for repo in rows(period, "repos") {
            let name = format!("{} {}", text(&repo["kind"]), text(&repo["repo"]));
            for share in rows(repo, "shares") {
                let (parts, revision) = (text(&share["compartments"]), text(&share["revision"]));
                held.push(format!("{name}@{revision:.12}: {parts} by share {}", share["share"]));
            }
            let rights: Vec<String> = rows(repo, "rights").map(right).collect();
            if !rights.is_empty() {
                held.push(format!("{name}: {}", rights.join("; ")));
            }
        }
        if rows(period, "system").next().is_some() {
            held.push(format!("the server: {}", text(&period["system"])));
        }
        if held.is_empty() {
            held.push("nothing".to_owned());
        }
        let (from, until) = (text(&period["from"]), text(&period["until"]));
        held.iter().for_each(|what| *out += &format!("    {from} to {until}  {what}\n"));
    }
}

fn right(right: &Value) -> String {
    match &right["compartments"] {
        Value::Null => text(&right["action"]),
        parts => format!("{} of {}", text(&right["action"]), text(parts)),
    }
}
