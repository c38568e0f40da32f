//! `incident`: what somebody could reach and did, written down with its evidence, and that evidence verified.

mod bundle;
mod report;

use std::path::PathBuf;

use serde_json::{Value, json};
use strongroom_audit::cosignature::CosignerKey;
use strongroom_audit::note::VerifierKey;
use strongroom_keeper::incident::Header;
use strongroom_keeper::log::origin;
use strongroom_protocol::incident::{IncidentQuery, Suspect};

use super::audit::moment;
use super::cosigned;
use crate::arguments::{Incident, IncidentWhom};
use crate::client::Client;
use crate::show::{print, show};
use crate::{Failed, words};

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
            let opened = bundle::open(&client, query)?;
            let out = out.unwrap_or_else(|| PathBuf::from(format!("incident-{}.jsonl", opened.until_ms())));
            let (header, key) = bundle::write(&client, opened, &out)?;
            if remote.json {
                let mut shown = told(&header);
                (shown["bundle"], shown["key"]) = (out.display().to_string().into(), key.clone().into());
                show(&shown, true);
            } else {
                print(&report::report(&header));
                let out = out.display();
                print(&format!("Evidence: {out}; anywhere: strongroom incident verify {out} --key {key}\n"));
            }
            Ok(())
        }
        Incident::Verify { bundle, key, witnesses, json } => {
            let header = bundle::verified(&bundle, key.clone())?;
            let witnessed = witnessed(&header, &key, &witnesses)?;
            if json {
                let mut shown = told(&header);
                shown["verified"] = true.into();
                if !witnesses.is_empty() {
                    shown["cosigned"] = witnessed.into();
                }
                show(&shown, true);
            } else {
                print(&report::report(&header));
                print(&witnessed.iter().map(report::witnessed).collect::<String>());
                print("Verified: every record is in the log that this key signs.\n");
            }
            Ok(())
        }
    }
}

/// How much of each log these witnesses cosigned, with when; nothing where none was asked for.
fn witnessed(header: &Header, key: &VerifierKey, witnesses: &[CosignerKey]) -> Result<Vec<Value>, Failed> {
    let logs = header.scope.sizes.iter().filter(|_| !witnesses.is_empty());
    let of_log = |(log, records): &(u64, u64)| {
        let key = key.named(&origin(key.name(), *log)).map_err(words)?;
        let note = header.witnessed.iter().find(|witnessed| witnessed.log == *log);
        let (checkpoint, by) = cosigned::open(note.map(|witnessed| witnessed.note.as_str()), &key, witnesses)?;
        Ok(json!({"log": key.name(), "records": records, "size": checkpoint.size, "by": by}))
    };
    logs.map(of_log).collect()
}

fn suspect(whom: IncidentWhom) -> Suspect {
    let IncidentWhom { token, principal, share, partner, address } = whom;
    let share = share.map(Suspect::Share).or(partner.map(Suspect::Partner));
    let named = token.map(Suspect::Token).or_else(|| principal.map(Suspect::Principal)).or(share);
    // clap lets exactly one of them through.
    named.unwrap_or_else(|| Suspect::Address(address.unwrap_or_default()))
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
