//! Keeper, gate and couriers as services, each under a user of its own: systemd starts and watches them instead of the supervisor.
//! Who may connect to the keeper, and who is given couriers, is said by each socket's owner and mode (deploy/apart); a keeper serves one
//! gate at a time, and a courier is there for one connection.

use std::os::unix::net::{UnixListener, UnixStream};

use super::{children, harden, inherited, log, supervisor};
use crate::arguments::{Only, Server};
use crate::config::Config;
use crate::courier::{self, Errand};
use crate::{Failed, doctor, init};

/// Serves until it is told to stop.
///
/// # Errors
/// What the preflight refuses, or why it can't serve.
pub fn serve(server: &Server, only: Only) -> Result<(), Failed> {
    log(only == Only::Gate);
    harden()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let config = Config::load(server)?;
    supervisor::preflight(&doctor::examine(&config, Some(only)))?;
    match only {
        Only::Keeper => keeper(&config),
        Only::Gate => gate(&config),
        Only::Courier => courier(&config),
    }
}

fn keeper(config: &Config) -> Result<(), Failed> {
    if !init::is_initialised(config) {
        return Err(Failed("there is nothing to keep yet: run `strongroom init` as root first".to_owned()));
    }
    let listener = UnixListener::from(std::os::fd::OwnedFd::from(inherited()?));
    let next = || {
        let (gate, _) = listener.accept()?;
        let peer = rustix::net::sockopt::socket_peercred(&gate)?;
        tracing::info!(uid = peer.uid.as_raw(), pid = peer.pid.as_raw_nonzero().get(), "a gate connects");
        Ok(Some(gate))
    };
    children::serve_gates(config, next)
}

fn courier(config: &Config) -> Result<(), Failed> {
    let keeper = inherited()?;
    let errand = Errand::asked(config, &keeper)?;
    tracing::info!(to = errand.name(), "a courier goes");
    courier::run(&errand, keeper)
}

fn gate(config: &Config) -> Result<(), Failed> {
    let path = config.keeper_socket.as_ref();
    let path =
        path.ok_or_else(|| Failed("name the keeper's socket in the configuration: server.keeper_socket".to_owned()))?;
    let keeper = UnixStream::connect(path);
    let keeper = keeper.map_err(|error| Failed(format!("keeper at {}: {error}; start its unit", path.display())))?;
    children::serve_clients(config, keeper)
}
