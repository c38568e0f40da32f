//! A bundle: written from what the server gives, each line verified before, and verified where it is read.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use strongroom_audit::note::VerifierKey;
use strongroom_keeper::incident::{Header, Page, Sealed, Verifier};
use strongroom_protocol::admin::{AdminCommand, Cursor};
use strongroom_protocol::incident::{IncidentCommand, IncidentQuery, IncidentScope};

use crate::Failed;
use crate::client::Client;
use crate::progress::Progress;

/// Places of records that are asked for at once.
const AT_ONCE: usize = 300;
/// Pages that are asked for beside each other: the server makes one while another is on its way, or is verified.
const ASKERS: usize = 3;
/// Bytes of one line of a bundle, at most: the first one has the summary.
const LINE_MAX: u64 = 8 * 1024 * 1024;

/// What the server says of an incident that it opened.
#[derive(Deserialize)]
struct Answer {
    header: String,
    note: String,
    key: String,
    policy: Vec<(u64, u64)>,
    marks: Vec<String>,
}

/// An incident that is open, and its bundle's first line verified.
pub struct Opened {
    header: String,
    note: String,
    key: String,
    /// All of the evidence, in the order in which it stands in a bundle.
    parts: Vec<Part>,
    verifier: Verifier,
}

/// Some of the evidence.
enum Part {
    /// About policy: records at these places.
    Policy(Vec<(u64, u64)>),
    /// Of what was done: the records before the one place, down to the other.
    Activity { before: Option<Cursor>, down_to: Option<Cursor> },
}

/// Opens one.
///
/// # Errors
/// The server's reason, or an answer that is none.
pub fn open(client: &Client, query: IncidentQuery) -> Result<Opened, Failed> {
    let Answer { header, note, key, policy, marks } = ask(client, IncidentCommand::Open(query))?;
    let wrong = |error: &dyn std::fmt::Display| Failed(format!("the server's answer is no bundle: {error}"));
    let verifying: VerifierKey = key.parse().map_err(|error| wrong(&error))?;
    let verifier = Verifier::new(verifying, &header).map_err(|error| wrong(&error))?;
    let marks = marks.iter().map(|mark| mark.parse().map(Some).map_err(|error| wrong(&error)));
    let marks: Vec<Option<Cursor>> = marks.collect::<Result<_, _>>()?;
    let before = std::iter::once(None).chain(marks.iter().copied());
    let down_to = marks.iter().copied().chain(std::iter::once(None));
    let activity = before.zip(down_to).map(|(before, down_to)| Part::Activity { before, down_to });
    let parts = policy.chunks(AT_ONCE).map(|places| Part::Policy(places.to_vec())).chain(activity).collect();
    Ok(Opened { header, note, key, parts, verifier })
}

impl Opened {
    /// Where its time ends, in Unix milliseconds.
    pub fn until_ms(&self) -> i64 {
        self.verifier.scope().until_ms
    }
}

/// Writes the bundle: the first line, the evidence, the signature. A file that is half written has no signature and verifies nowhere.
/// Each line is verified, as by whoever gets it, before it is written. Gives the summary, and the key that it is verified with.
///
/// # Errors
/// The server's reason, what does not verify, or what the disk says.
pub fn write(client: &Client, opened: Opened, out: &Path) -> Result<(Header, String), Failed> {
    let Opened { header, note, key, parts, mut verifier } = opened;
    let scope = verifier.scope().clone();
    let failed = |error: std::io::Error| Failed(format!("{}: {error}", out.display()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out).map_err(failed)?;
    let mut file = BufWriter::new(file);
    writeln!(file, "{header}").map_err(failed)?;
    let (mut progress, mut written) = (Progress::new(false), 0);
    std::thread::scope(|threads| -> Result<(), Failed> {
        let (scope, parts) = (&scope, &parts);
        let asker = |first: usize| {
            let (send, taken) = sync_channel(1);
            // Where nobody takes it any more, the other thread has said why.
            threads
                .spawn(move || parts.iter().skip(first).step_by(ASKERS).all(|part| give(client, scope, part, &send)));
            taken
        };
        let askers: Vec<_> = (0..ASKERS).map(asker).collect();
        for turn in 0..parts.len() {
            // Each part ends with a `None`, unless by a failure.
            for page in &askers[turn % ASKERS] {
                let Some(page) = page? else { break };
                for sealed in &page {
                    let line = verifier.sealed(sealed).map_err(refused)?;
                    writeln!(file, "{line}").map_err(failed)?;
                }
                written += page.len();
                progress.tell(|| format!("{written} records"));
            }
        }
        Ok(())
    })?;
    progress.end(|| format!("{written} records"));
    let last = json!({"note": note}).to_string();
    let header = verifier.finish(&last).map_err(refused)?;
    writeln!(file, "{last}").map_err(failed)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok((header, key))
}

/// Pages of a part, and its end.
type Given = Result<Option<Vec<Sealed>>, Failed>;

/// Asks for a part, and gives it page by page, and its end; says whether there is anybody who takes it.
fn give(client: &Client, scope: &IncidentScope, part: &Part, send: &SyncSender<Given>) -> bool {
    let done = match part {
        Part::Policy(places) => policy(client, scope, places, |page| send.send(Ok(Some(page))).is_ok()),
        Part::Activity { before, down_to } => {
            activity(client, scope, (*before, *down_to), |page| send.send(Ok(Some(page))).is_ok())
        }
    };
    send.send(done.map(|()| None)).is_ok()
}

fn policy(
    client: &Client,
    scope: &IncidentScope,
    places: &[(u64, u64)],
    take: impl Fn(Vec<Sealed>) -> bool,
) -> Result<(), Failed> {
    let mut left = places;
    while !left.is_empty() {
        let command = IncidentCommand::Policy { scope: scope.clone(), places: left.to_vec() };
        let page: Page = ask(client, command)?;
        if page.entries.is_empty() {
            return Err(Failed("the server gave no evidence of policy".to_owned()));
        }
        left = &left[page.entries.len().min(left.len())..];
        if !take(page.entries) {
            break;
        }
    }
    Ok(())
}

fn activity(
    client: &Client,
    scope: &IncidentScope,
    (mut before, down_to): (Option<Cursor>, Option<Cursor>),
    take: impl Fn(Vec<Sealed>) -> bool,
) -> Result<(), Failed> {
    loop {
        let page: Page = ask(client, IncidentCommand::Activity { scope: scope.clone(), before, down_to })?;
        let taken = take(page.entries);
        let Some(next) = page.next.filter(|_| taken) else { return Ok(()) };
        before = Some(next.parse().map_err(|error| Failed(format!("the server's answer: {error}")))?);
    }
}

fn ask<T: DeserializeOwned>(client: &Client, command: IncidentCommand) -> Result<T, Failed> {
    client.admin_as("audit", &AdminCommand::Incident(command))
}

/// Reads a bundle through, and gives its first line once everything in it is verified.
///
/// # Errors
/// What does not verify, or what the disk says.
pub fn verified(file: &Path, key: VerifierKey) -> Result<Header, Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", file.display()));
    let mut reader = BufReader::new(fs::File::open(file).map_err(|error| failed(&error))?);
    let mut next = || -> Result<Option<String>, Failed> {
        let mut line = Vec::new();
        let mut bounded = std::io::Read::take(&mut reader, LINE_MAX);
        bounded.read_until(b'\n', &mut line).map_err(|error| failed(&error))?;
        if line.is_empty() {
            return Ok(None);
        }
        let text = String::from_utf8(line).map_err(refused)?;
        let text = text.strip_suffix('\n').ok_or_else(|| refused("a line was cut"))?;
        Ok(Some(text.to_owned()))
    };
    let first = next()?.ok_or_else(|| refused("it is empty"))?;
    let mut verifier = Verifier::new(key, &first).map_err(refused)?;
    let mut held = next()?.ok_or_else(|| refused("it was cut"))?;
    while let Some(line) = next()? {
        verifier.entry(&held).map_err(refused)?;
        held = line;
    }
    verifier.finish(&held).map_err(refused)
}

fn refused(why: impl std::fmt::Display) -> Failed {
    Failed(format!("the bundle does NOT verify: {why}"))
}
