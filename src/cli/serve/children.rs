//! What the two processes run.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::{harden, inherited, log, pass};
use crate::Failed;
use crate::config::Config;

/// How long a keeper whose gate has ended has for its own end.
const ORDERLY: Duration = Duration::from_secs(1);

/// How a keeper ends because the server was sealed.
pub const SEALED: u8 = 75;
/// How a keeper ends that must not start, whoever starts it again.
pub const REFUSED: u8 = 78;
/// How long the answer of a seal has to leave.
const ANSWERED: Duration = Duration::from_millis(200);
/// The same where sinks are to hear of it: a sealed keeper reads no alert any more. The gate has ended its streams by then.
const TOLD: Duration = Duration::from_millis(900);

/// The keeper: takes one gate's socket after the other, until the supervisor is gone.
///
/// # Errors
/// Why it can't serve.
pub fn keeper(config: &str) -> Result<(), Failed> {
    log(false);
    harden()?;
    let config: Config = serde_json::from_str(config).map_err(|error| Failed(error.to_string()))?;
    let control = inherited()?;
    end_with_supervisor(control.try_clone().map_err(|error| Failed(error.to_string()))?)?;
    let next = || pass::receive(&control).map(|gate| gate.map(UnixStream::from));
    serve_gates(&config, next)
}

/// Opens the keeper, and serves one gate after the other until there is none.
///
/// # Errors
/// Why it can't serve.
pub fn serve_gates(config: &Config, next: impl Fn() -> std::io::Result<Option<UnixStream>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failed(error.to_string()))?;
    let keeper = runtime.block_on(strongroom_keeper::Keeper::start(config.keeper()?));
    let keeper = keeper.map_err(|error| Failed(error.to_string()))?;
    let sinks = config.alerts.sinks()?;
    let (sealed, grace) = (Arc::clone(&keeper), if sinks.is_empty() { ANSWERED } else { TOLD });
    runtime.spawn(async move {
        sealed.until_sealed().await;
        // Whoever sealed it is answered, then nothing of this process stays.
        tokio::time::sleep(grace).await;
        tracing::warn!("the server is sealed; the keeper ends, and starts without a key");
        std::process::exit(i32::from(SEALED));
    });
    if let Err(error) = runtime.block_on(super::witness::begin(config, &keeper)) {
        tracing::error!(%error, "the keeper does not start");
        std::process::exit(i32::from(REFUSED));
    }
    tracing::info!("keeper serves");
    for sink in sinks {
        runtime.spawn(super::courier::deliver(sink, Arc::clone(&keeper), config.courier_socket.clone()));
    }
    loop {
        match next() {
            Ok(Some(gate)) => {
                let (keeper, failed) = (Arc::clone(&keeper), |error: std::io::Error| Failed(error.to_string()));
                gate.set_nonblocking(true).map_err(failed)?;
                // On a thread that answers, not on this one: each question would begin by waking another thread.
                let serving = runtime.spawn(async move {
                    let gate = tokio::net::UnixStream::from_std(gate).map_err(failed)?;
                    strongroom_keeper::serve(keeper, gate).await.map_err(|error| Failed(error.to_string()))
                });
                let served = runtime.block_on(serving).unwrap_or_else(|error| Err(Failed(error.to_string())));
                match served {
                    Ok(()) => tracing::info!("a gate's socket ended"),
                    Err(error) => tracing::error!(%error, "a gate is served no longer"),
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(Failed(format!("the socket of gates: {error}"))),
        }
    }
}

/// A supervisor that was killed takes the keeper along, and thereby the gate: nobody would watch them, and the next
/// supervisor would find their port taken. One that stops waits for both, and is gone only then.
fn end_with_supervisor(control: UnixStream) -> Result<(), Failed> {
    let wait = move || {
        loop {
            let mut polled = [PollFd::new(&control, PollFlags::HUP)];
            match poll(&mut polled, None) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) if polled[0].revents().is_empty() => {}
                _ => break,
            }
        }
        // Time for an orderly end, which the end of the control socket begins.
        std::thread::sleep(ORDERLY);
        tracing::error!("the supervisor is gone; the keeper ends");
        std::process::exit(70);
    };
    let started = std::thread::Builder::new().name("supervisor".to_owned()).spawn(wait);
    started.map(drop).map_err(|error| Failed(error.to_string()))
}

/// The gate: says `ready` on standard output once it listens.
///
/// # Errors
/// Why it can't serve.
pub fn gate(config: &str) -> Result<(), Failed> {
    log(true);
    harden()?;
    let config: Config = serde_json::from_str(config).map_err(|error| Failed(error.to_string()))?;
    serve_clients(&config, inherited()?)
}

/// Serves clients with the keeper at the other end of this socket.
///
/// # Errors
/// Why it can't serve.
pub fn serve_clients(config: &Config, socket: UnixStream) -> Result<(), Failed> {
    let root_key = config.root().path().unwrap_or_default();
    let ready = |address| {
        // The supervisor reads this; where it does not, nothing depends on it.
        let _ = writeln!(std::io::stdout(), "ready {address}");
    };
    strongroom_gate::serve(&config.gate()?, socket, &root_key, ready).map_err(|error| Failed(error.to_string()))
}
