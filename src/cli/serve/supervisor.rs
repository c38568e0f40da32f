//! Starts keeper and gate and watches them. A gate that dies is started again with a fresh socket; a keeper that dies takes
//! its gate along, and both are started again.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::{children, harden, log, pass};
use crate::Failed;
use crate::arguments::Server;
use crate::config::Config;
use crate::{doctor, init};

/// A process that dies so early is started again only after a while.
const YOUNG: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);
/// Deaths in youth before the supervisor gives up: something is wrong that starting again does not mend.
const DEATHS_MAX: u32 = 5;
/// A gate that was told to stop has so long to finish what it sends.
const DRAIN: Duration = Duration::from_secs(15);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// What the preflight refuses, or why the processes do not live.
pub fn serve(server: &Server) -> Result<(), Failed> {
    log(false);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let config = Config::load(server)?;
    preflight(&doctor::examine(&config, None))?;
    let first =
        if init::is_initialised(&config) { None } else { Some(init::init(&config, "admin", &init::Keep::File(None))?) };
    harden()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failed(error.to_string()))?.block_on(watch(&config, first))
}

/// Says what was found; refuses the start where something of it is dangerous.
pub fn preflight(findings: &[doctor::Finding]) -> Result<(), Failed> {
    let mut refused = Vec::new();
    for finding in findings {
        if finding.refused {
            refused.push(format!("{}\n  mend: {}", finding.what, finding.mend));
        } else {
            tracing::warn!(mend = finding.mend, "{}", finding.what);
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Failed(format!("this configuration is dangerous:\n{}", refused.join("\n"))))
}

fn failed(error: std::io::Error) -> Failed {
    Failed(error.to_string())
}

fn start(role: &str, config: &Config, socket: UnixStream, stdout: Stdio) -> Result<Child, Failed> {
    let text = serde_json::to_string(config).map_err(|error| Failed(error.to_string()))?;
    let program = std::env::current_exe().map_err(failed)?;
    Command::new(program)
        .arg(role)
        .arg(text)
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(stdout)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)
}

fn start_keeper(config: &Config) -> Result<(Child, UnixStream), Failed> {
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    Ok((start("keeper", config, theirs, Stdio::null())?, ours))
}

fn start_gate(config: &Config, control: &UnixStream) -> Result<Child, Failed> {
    let (keepers, gates) = UnixStream::pair().map_err(failed)?;
    pass::send(control, &OwnedFd::from(keepers)).map_err(failed)?;
    start("gate", config, gates, Stdio::piped())
}

async fn watch(config: &Config, mut first: Option<Value>) -> Result<(), Failed> {
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut deaths = 0;
    loop {
        let (mut keeper, control) = start_keeper(config)?;
        let born = Instant::now();
        let (why, sealed) = loop {
            let mut gate = match start_gate(config, &control) {
                Ok(gate) => gate,
                Err(error) => break (error.to_string(), false),
            };
            let gate_born = Instant::now();
            if let Some(output) = gate.stdout.take() {
                tokio::spawn(announce(BufReader::new(output), config.clone(), first.take()));
            }
            let stopped = tokio::select! {
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                status = keeper.wait() => {
                    // At once: what it holds in memory goes with it, and so do the streams in flight.
                    let _ = gate.kill().await;
                    let ended = |code: u8| status.as_ref().is_ok_and(|status| status.code() == Some(i32::from(code)));
                    if ended(children::REFUSED) {
                        return Err(Failed("the keeper refuses to start; why stands above".to_owned()));
                    }
                    let sealed = ended(children::SEALED);
                    break (format!("{status:?}"), sealed);
                }
                status = gate.wait() => {
                    tracing::error!(?status, "the gate ended; starting another");
                    false
                }
            };
            if stopped {
                stop(gate, keeper, control).await;
                return Ok(());
            }
            deaths = if gate_born.elapsed() < YOUNG { deaths + 1 } else { 0 };
            if deaths >= DEATHS_MAX {
                let _ = keeper.kill().await;
                return Err(Failed("the gate does not live; its last words are above".to_owned()));
            }
            tokio::time::sleep(if deaths > 1 { PAUSE } else { Duration::ZERO }).await;
        };
        if sealed {
            tracing::warn!("the server is sealed; keeper and gate start without a key");
            deaths = 0;
            continue;
        }
        tracing::error!(why, "the keeper ended; starting both again");
        let _ = keeper.kill().await;
        deaths = if born.elapsed() < YOUNG { deaths + 1 } else { 0 };
        if deaths >= DEATHS_MAX {
            return Err(Failed("the keeper does not live; its last words are above".to_owned()));
        }
        tokio::time::sleep(if deaths > 1 { PAUSE } else { Duration::ZERO }).await;
    }
}

/// The gate first, with time to finish; then the keeper, at the end of its control socket.
async fn stop(mut gate: Child, mut keeper: Child, control: UnixStream) {
    if let Some(pid) = gate.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(DRAIN, gate.wait()).await.is_err() {
        let _ = gate.kill().await;
    }
    drop(control);
    if tokio::time::timeout(DRAIN, keeper.wait()).await.is_err() {
        let _ = keeper.kill().await;
    }
}

async fn announce(mut output: BufReader<tokio::process::ChildStdout>, config: Config, first: Option<Value>) {
    let mut line = String::new();
    while output.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        if line.starts_with("ready ") {
            println!("Strongroom serves {} (data in {})", config.url(), config.data_dir.display());
            if let Some(first) = first.as_ref().filter(|first| first["admin_token"].is_string()) {
                welcome(first);
            }
        }
        line.clear();
    }
}

fn welcome(first: &Value) {
    let text = |key: &str| first[key].as_str().unwrap_or_default().to_owned();
    let (url, ca, token, namespace) = (text("url"), text("ca_file"), text("admin_token"), text("namespace"));
    println!(
        "\nCA file:   {ca}\nRoot key:  {}   (keep a copy offline; never beside the data)\nToken:     {token}   (shown once)\n\n\
         Try it:\n  export HF_ENDPOINT={url} SSL_CERT_FILE={ca} HF_TOKEN={token}\n  \
         hf upload {namespace}/first ./some-folder\n  hf download {namespace}/first --local-dir ./copy\n",
        text("root_key_file")
    );
}
