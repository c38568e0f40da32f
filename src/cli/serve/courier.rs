//! Who starts couriers and hands them alerts: the keeper's process, which itself speaks to nobody outside. A sink that is down or
//! hangs holds up its own alerts and nothing else: they stay in the log until it has them.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_keeper::{Keeper, Undelivered};
use strongroom_protocol::{Dispatch, FrameReader, FrameWriter, Numbered, Receipt, split};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::{harden, inherited, log};
use crate::courier::{self, Errand, Sink};
use crate::{Failed, words};

/// How often it is looked for alerts.
const EVERY: Duration = Duration::from_millis(500);
/// After a failure: the first pause, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A log that can't be written is said again after so long, if it still can't.
const TROUBLE_EVERY: Duration = Duration::from_secs(60);
/// A courier that says nothing for so long is ended, and another one started; less than a keeper's lease of a sink.
const DEADLINE: Duration = Duration::from_secs(45);

/// The process that goes.
///
/// # Errors
/// Why it can't.
pub fn run(errand: &str) -> Result<(), Failed> {
    log(false);
    harden()?;
    let errand: Errand = serde_json::from_str(errand).map_err(words)?;
    courier::run(&errand, inherited()?)
}

/// Delivers to a sink, as long as the runtime lives. It never ends by itself.
pub async fn deliver(sink: Sink, keeper: Arc<Keeper>, socket: Option<PathBuf>) {
    let (mut courier, mut pause) = (Courier::new(Errand::Alerts(sink.clone()), DEADLINE, socket), PAUSE);
    let (mut told, mut told_at) = (0, None::<Instant>);
    loop {
        if told_at.is_none_or(|at| at.elapsed() > TROUBLE_EVERY)
            && let Some((unwritten, alert)) = keeper.trouble(told)
            && hand(&mut courier, &alert).await.is_ok()
        {
            (told, told_at) = (unwritten, Some(Instant::now()));
        }
        let next = match keeper.undelivered(sink.word()).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "alerts can't be read");
                None
            }
        };
        let Some(alert) = next else {
            tokio::time::sleep(EVERY).await;
            continue;
        };
        let delivered = match hand(&mut courier, &alert).await {
            Ok(()) => keeper.delivered(sink.word(), &alert).await.map_err(words),
            Err(error) => Err(error),
        };
        match delivered {
            Ok(()) => pause = PAUSE,
            Err(error) => {
                tracing::warn!(%error, sink = sink.word(), alert = %alert.id, "an alert is not delivered yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Hands an alert to the courier.
async fn hand(courier: &mut Courier, alert: &Undelivered) -> Result<(), Failed> {
    match courier.ask(Dispatch { id: alert.id.clone(), body: alert.body.clone() }).await? {
        Receipt::Taken => Ok(()),
        Receipt::Failed(why) => Err(Failed(why)),
    }
}

/// A courier's process, which is started where none runs, and ended where it does not answer.
pub struct Courier {
    errand: Errand,
    deadline: Duration,
    /// Where one is given, by who may start one that has a network; without it, it is a child of this process.
    socket: Option<PathBuf>,
    running: Option<Running>,
}

struct Running {
    /// Of a child. One that was given ends with its socket.
    _process: Option<Child>,
    reader: FrameReader,
    writer: FrameWriter,
    number: u64,
}

impl Courier {
    /// One that has so long for each answer.
    pub fn new(errand: Errand, deadline: Duration, socket: Option<PathBuf>) -> Self {
        Self { errand, deadline, socket, running: None }
    }

    /// Asks it.
    ///
    /// # Errors
    /// No answer.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(&mut self, message: Q) -> Result<A, Failed> {
        let mut running = match (self.running.take(), &self.socket) {
            (Some(running), _) => running,
            (None, Some(socket)) => given(&self.errand, socket).await?,
            (None, None) => start(&self.errand)?,
        };
        let answer = tokio::time::timeout(self.deadline, ask(&mut running, message)).await;
        let answer = answer.map_err(|_| Failed("the courier does not answer".to_owned()))??;
        self.running = Some(running);
        Ok(answer)
    }
}

async fn ask<Q: Serialize, A: DeserializeOwned>(running: &mut Running, message: Q) -> Result<A, Failed> {
    running.number += 1;
    let number = running.number;
    running.writer.feed(&Numbered { number, message }).await.map_err(words)?;
    running.writer.flush().await.map_err(words)?;
    match running.reader.next::<A>().await.map_err(words)? {
        Some(Numbered { number: answered, message }) if answered == number => Ok(message),
        _ => Err(Failed("the courier ended".to_owned())),
    }
}

/// One that is given at a socket: it is told what for, and knows by its own configuration where that is.
async fn given(errand: &Errand, socket: &Path) -> Result<Running, Failed> {
    let about = |error: std::io::Error| Failed(format!("a courier at {}: {error}", socket.display()));
    let mut stream = tokio::net::UnixStream::connect(socket).await.map_err(about)?;
    stream.write_all(format!("{}\n", errand.name()).as_bytes()).await.map_err(about)?;
    let (reader, writer) = split(stream);
    Ok(Running { _process: None, reader, writer, number: 0 })
}

fn start(errand: &Errand) -> Result<Running, Failed> {
    let text = serde_json::to_string(errand).map_err(words)?;
    let (ours, theirs) = UnixStream::pair().map_err(words)?;
    let process = Command::new(std::env::current_exe().map_err(words)?)
        .arg("courier")
        .arg(text)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(words)?;
    ours.set_nonblocking(true).map_err(words)?;
    let (reader, writer) = split(tokio::net::UnixStream::from_std(ours).map_err(words)?);
    Ok(Running { _process: Some(process), reader, writer, number: 0 })
}
