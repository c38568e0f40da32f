//! `incident`: what somebody could reach and did, written down with its evidence, and that evidence verified.

mod report;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strongroom_keeper::incident::{Header, Verifier};
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::incident::{IncidentCommand, IncidentQuery, IncidentScope, Suspect};

use super::audit::moment;
use crate::Failed;
use crate::arguments::{Incident, IncidentWhom};
use crate::client::Client;
use crate::progress::Progress;
use crate::show::{print, show};

/// Places of records that are asked for at once.
const AT_ONCE: usize = 300;
/// Bytes of one line of a bundle, at most: the first one has the summary.
const LINE_MAX: u64 = 8 * 1024 * 1024;

/// `strongroom incident …`.
///
/// # Errors
/// The server's reason, or what does not verify.
pub fn run(incident: Incident) -> Result<(), Failed> {
    match incident {
        Incident::Open { whom, since, until, lock, out, remote } => {
            let query = IncidentQuery {
                suspect: suspect(whom),
                since_ms: moment(&since)?,
                until_ms: until.as_deref().map(moment).transpose()?,
                lock,
            };
            let client = Client::new(&remote)?;
            let opened = ask(&client, IncidentCommand::Open(query))?;
            let text = opened["header"].as_str().unwrap_or_default();
            let header: Header = serde_json::from_str(text)
                .map_err(|error| Failed(format!("the server's answer is no bundle: {error}")))?;
            let out = out.unwrap_or_else(|| PathBuf::from(format!("incident-{}.jsonl", header.scope.until_ms)));
            write(&client, &opened, &header, &out)?;
            // What was written is what will be believed: read it as whoever gets it does.
            let key = opened["key"].as_str().unwrap_or_default();
            let header = verified(&out, key)?;
            if remote.json {
                let mut shown = told(&header);
                (shown["bundle"], shown["key"]) = (out.display().to_string().into(), key.into());
                show(&shown, true);
            } else {
                print(&report::report(&header));
                let out = out.display();
                print(&format!("Evidence: {out}; anywhere: strongroom incident verify {out} --key {key}\n"));
            }
            Ok(())
        }
        Incident::Verify { bundle, key, json } => {
            let header = verified(&bundle, &key)?;
            if json {
                let mut shown = told(&header);
                shown["verified"] = true.into();
                show(&shown, true);
            } else {
                print(&report::report(&header));
                print("Verified: every record is in the log that this key signs.\n");
            }
            Ok(())
        }
    }
}

fn suspect(whom: IncidentWhom) -> Suspect {
    let IncidentWhom { token, principal, share, partner, address } = whom;
    let share = share.map(Suspect::Share).or(partner.map(Suspect::Partner));
    let named = token.map(Suspect::Token).or_else(|| principal.map(Suspect::Principal)).or(share);
    // clap lets exactly one of them through.
    named.unwrap_or_else(|| Suspect::Address(address.unwrap_or_default()))
}

fn ask(client: &Client, command: IncidentCommand) -> Result<Value, Failed> {
    client.admin("audit", &AdminCommand::Incident(command))
}

/// The bundle: the first line, the evidence, the signature. A file that is half written has no signature and verifies nowhere.
fn write(client: &Client, opened: &Value, header: &Header, out: &Path) -> Result<(), Failed> {
    let failed = |error: std::io::Error| Failed(format!("{}: {error}", out.display()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out).map_err(failed)?;
    let mut file = BufWriter::new(file);
    let mut line = |text: &str| writeln!(file, "{text}").map_err(failed);
    line(opened["header"].as_str().unwrap_or_default())?;
    let entries = |page: &Value| -> Vec<String> {
        page["entries"].as_array().into_iter().flatten().filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
    };
    let scope = || -> IncidentScope { header.scope.clone() };
    let wrong = |error: serde_json::Error| Failed(format!("the server's answer: {error}"));
    let places: Vec<(u64, u64)> = serde_json::from_value(opened["policy"].clone()).map_err(wrong)?;
    let (mut progress, mut written) = (Progress::new(false), 0);
    let mut left = &places[..];
    while !left.is_empty() {
        let some = left[..left.len().min(AT_ONCE)].to_vec();
        let page = entries(&ask(client, IncidentCommand::Policy { scope: scope(), places: some })?);
        if page.is_empty() {
            return Err(Failed("the server gave no evidence of policy".to_owned()));
        }
        page.iter().try_for_each(|entry| line(entry))?;
        left = &left[page.len().min(left.len())..];
    }
    let mut before = None;
    loop {
        let page = ask(client, IncidentCommand::Activity { scope: scope(), before })?;
        let some = entries(&page);
        some.iter().try_for_each(|entry| line(entry))?;
        written += some.len();
        progress.tell(|| format!("{written} records"));
        let Some(next) = page["next"].as_str() else { break };
        before = Some(next.parse().map_err(|error| Failed(format!("the server's answer: {error}")))?);
    }
    progress.end(|| format!("{written} records"));
    line(&json!({"note": opened["note"]}).to_string())?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

/// Reads a bundle through, and gives its first line once everything in it is verified.
fn verified(file: &Path, key: &str) -> Result<Header, Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", file.display()));
    let refused = |error: &dyn std::fmt::Display| Failed(format!("the bundle does NOT verify: {error}"));
    let key = key.parse().map_err(|error| Failed(format!("key: {error}")))?;
    let mut reader = BufReader::new(fs::File::open(file).map_err(|error| failed(&error))?);
    let mut next = || -> Result<Option<String>, Failed> {
        let mut line = Vec::new();
        let mut bounded = std::io::Read::take(&mut reader, LINE_MAX);
        bounded.read_until(b'\n', &mut line).map_err(|error| failed(&error))?;
        if line.is_empty() {
            return Ok(None);
        }
        let text = String::from_utf8(line).map_err(|error| refused(&error))?;
        let text = text.strip_suffix('\n').ok_or_else(|| refused(&"a line was cut"))?;
        Ok(Some(text.to_owned()))
    };
    let first = next()?.ok_or_else(|| refused(&"it is empty"))?;
    let mut verifier = Verifier::new(key, &first).map_err(|error| refused(&error))?;
    let mut held = next()?.ok_or_else(|| refused(&"it was cut"))?;
    while let Some(line) = next()? {
        verifier.entry(&held).map_err(|error| refused(&error))?;
        held = line;
    }
    verifier.finish(&held).map_err(|error| refused(&error))
}

fn told(header: &Header) -> Value {
    let Header { opened, scope, locked, generation, could, did, .. } = header;
    let mut shown = json!({
        "opened": opened, "subject": scope.subject, "since_ms": scope.since_ms, "until_ms": scope.until_ms,
        "locked": locked, "generation": generation, "could": could,
    });
    if let (Some(map), Some(did)) = (shown.as_object_mut(), did.as_object()) {
        map.extend(did.clone());
    }
    shown
}
