//! `audit witness`: a small process for another machine than the server's, which remembers how far each log was, and cosigns what
//! continues it and nothing else (C2SP `tlog-witness`). It knows no record and holds no key but its own.

mod memory;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_audit::cosignature::Cosigner;
use strongroom_audit::note::{VerifierKey, parts};
use strongroom_audit::witness::{AddCheckpoint, REQUEST_BYTES_MAX, Refused, SIZE_TYPE};
use strongroom_gate::{WitnessAnswer, WitnessPlace, serve_witness};
use zeroize::Zeroizing;

use crate::arguments::Witness;
use crate::serve::{harden, log};
use crate::show::print;
use crate::{Failed, words};
use memory::Memory;

/// The first word of a key file; its name and the seed in base64 follow.
const FORM: &str = "strongroom-witness-key";

/// Runs it, or what was asked about it instead.
///
/// # Errors
/// What is wrong with its key, its memory, its logs or its place.
pub fn run(asked: &Witness) -> Result<(), Failed> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    harden()?;
    let logs = logs(asked)?;
    if let Some(text) = &asked.forget {
        let key = text.parse().map_err(|error| Failed(format!("log '{text}': {error}")))?;
        return Memory::open(&asked.state)?.forget(&key);
    }
    let cosigner = match cosigner(&asked.key, asked.name.as_deref())? {
        Some(cosigner) => cosigner,
        None => make(asked)?,
    };
    if asked.print_key {
        print(&format!("{}\n", cosigner.key()));
        return Ok(());
    }
    // clap asks for both where neither of the two above is given.
    let (Some(listen), Some(certificate), Some(key)) = (asked.listen, &asked.cert, &asked.tls_key) else {
        return Err(Failed("a witness needs --listen, --cert and --tls-key".to_owned()));
    };
    if logs.is_empty() {
        return Err(Failed("name the logs: --log KEY, as `strongroom audit checkpoint --json` shows each".to_owned()));
    }
    log(false);
    let memory = Memory::open(&asked.state)?;
    memory.check(&logs)?;
    let (certificate, key, state) = (certificate.clone(), key.clone(), asked.state.clone());
    let place = WitnessPlace { listen, certificate, key, state, bytes_max: REQUEST_BYTES_MAX };
    let shown = cosigner.key().to_string();
    let ready = |address| print(&format!("witness {shown} listens on {address}\n"));
    let answer = move |body: &str| answer(body, &logs, &memory, &cosigner);
    serve_witness(&place, answer, ready).map_err(words)
}

/// Checks, remembers, and only then signs. If we die before it is remembered, nothing was signed; if we die after, whoever asked
/// asks again, and the same tree is signed once more.
fn answer(body: &str, logs: &[VerifierKey], memory: &Memory, cosigner: &Cosigner) -> WitnessAnswer {
    let cosigned = || -> Result<String, Denied> {
        let request: AddCheckpoint = body.parse().map_err(|_| Refused::Bad)?;
        let (at, checkpoint) = request.log(logs.iter())?;
        let text = parts(&request.note).map_err(|_| Refused::Bad)?.0;
        memory.with(&logs[at], |of| -> Result<(), Denied> {
            request.follows(&checkpoint, of.known())?;
            Ok(of.remember(&request.note)?)
        })??;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let line = cosigner.cosign(text, now).map_err(|_| Refused::Bad)?;
        tracing::info!(origin = checkpoint.origin, size = checkpoint.size, "cosigned");
        Ok(line)
    };
    let plain = "text/plain; charset=utf-8";
    match cosigned() {
        Ok(body) => WitnessAnswer { status: 200, kind: plain, body },
        Err(Denied::Refused(refused)) => {
            let origin = body.split_once("\n\n").and_then(|(_, note)| note.lines().next()).unwrap_or_default();
            let origin: String = origin.chars().filter(|c| !c.is_control()).take(128).collect();
            tracing::warn!(origin, status = refused.status(), %refused, "not cosigned");
            let kind = if matches!(refused, Refused::Size(_)) { SIZE_TYPE } else { plain };
            WitnessAnswer { status: refused.status(), kind, body: format!("{refused}\n") }
        }
        Err(Denied::Memory(error)) => {
            tracing::error!(%error, "not cosigned: it can't be remembered");
            WitnessAnswer { status: 500, kind: plain, body: "the witness can't remember this now\n".to_owned() }
        }
    }
}

/// Why nothing is signed.
enum Denied {
    Refused(Refused),
    Memory(Failed),
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Failed> for Denied {
    fn from(failed: Failed) -> Self {
        Self::Memory(failed)
    }
}

/// The logs of the command line and of its file.
fn logs(asked: &Witness) -> Result<Vec<VerifierKey>, Failed> {
    let mut texts = asked.logs.clone();
    if let Some(file) = &asked.logs_file {
        let text = fs::read_to_string(file).map_err(|error| Failed(format!("{}: {error}", file.display())))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        texts.extend(lines.map(str::to_owned));
    }
    texts.iter().map(|text| text.parse().map_err(|error| Failed(format!("log '{text}': {error}")))).collect()
}

/// From its file; none where there is none.
fn cosigner(file: &Path, name: Option<&str>) -> Result<Option<Cosigner>, Failed> {
    let about = |what: &dyn std::fmt::Display| Failed(format!("{}: {what}", file.display()));
    let text = match fs::read_to_string(file) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(about(&error)),
    };
    let mode = fs::metadata(file).map_err(|error| about(&error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(about(&format!("can be read by others; mend: chmod 0400 {}", file.display())));
    }
    let form = || about(&"this is no witness's key");
    let mut words = text.split_whitespace();
    let (Some(FORM), Some(held), Some(seed)) = (words.next(), words.next(), words.next()) else { return Err(form()) };
    let seed = Zeroizing::new(STANDARD.decode(seed).map_err(|_| form())?);
    let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| form())?;
    if name.is_some_and(|name| name != held) {
        return Err(about(&format!("is the key of '{held}': a witness keeps its name as long as its key")));
    }
    Cosigner::from_seed(held, seed).map(Some).map_err(|error| about(&error))
}

/// Makes the key and the memory together: a key whose memory is gone would sign again what it has seen otherwise.
fn make(asked: &Witness) -> Result<Cosigner, Failed> {
    let name = asked.name.as_deref();
    let name = name.ok_or_else(|| Failed(format!("{} is not there: give --name to make it", asked.key.display())))?;
    let about = |error: std::io::Error| Failed(format!("{}: {error}", asked.key.display()));
    let mut seed = Zeroizing::new([0; 32]);
    rand::fill(&mut *seed).map_err(|_| Failed("the system gives no random bytes".to_owned()))?;
    let cosigner = Cosigner::from_seed(name, &seed).map_err(words)?;
    Memory::make(&asked.state)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&asked.key).map_err(about)?;
    let text = Zeroizing::new(format!("{FORM} {name} {}\n", Zeroizing::new(STANDARD.encode(*seed)).as_str()));
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(about)?;
    memory::sync_folder(asked.key.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    Ok(cosigner)
}
