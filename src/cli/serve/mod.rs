//! `serve`: the supervisor, and what it starts.

pub mod apart;
pub mod children;
pub mod courier;
mod pass;
pub mod supervisor;
mod witness;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Failed;

/// Log lines of a process, to standard error. `STRONGROOM_LOG` is `error`, `warn`, `info` (the default), `debug`.
/// The gate's process also collects traces of requests.
pub fn log(traces: bool) {
    let level = std::env::var("STRONGROOM_LOG").ok().and_then(|level| level.parse().ok());
    let level = level.unwrap_or(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(level);
    let traces = traces.then(|| strongroom_gate::traces::Collect.with_filter(strongroom_gate::traces::Ours));
    // A second subscriber in one process is refused, and not needed.
    let _ = tracing_subscriber::registry().with(lines).with(traces).try_init();
}

/// The socket that a child got as its standard input.
///
/// # Errors
/// Where there is none.
pub fn inherited() -> Result<std::os::unix::net::UnixStream, Failed> {
    use std::os::fd::AsFd;
    let owned = std::io::stdin().as_fd().try_clone_to_owned();
    Ok(owned.map_err(|error| Failed(format!("standard input: {error}")))?.into())
}

/// No core dump, no debugger of the same user, no new privileges.
pub fn harden() -> Result<(), Failed> {
    #[cfg(target_os = "linux")]
    {
        let failed = |error: rustix::io::Errno| Failed(format!("prctl: {error}"));
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).map_err(failed)?;
        rustix::thread::set_no_new_privs(true).map_err(failed)?;
    }
    Ok(())
}
