//! `decoy`: what is not there, and watched.

use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{DecoyCommand, DecoySpec};

use super::send;
use crate::Failed;
use crate::arguments::{Bait, Decoy};

/// `strongroom decoy …`.
///
/// # Errors
/// The server's reason.
pub fn run(decoy: Decoy) -> Result<(), Failed> {
    let (command, remote) = match decoy {
        Decoy::Plant { bait, kind, remote } => {
            let spec = match bait {
                Bait { token: Some(name), .. } => DecoySpec::Token(name),
                Bait { repo: Some(repo), path: Some(path), .. } => DecoySpec::Path(kind.kind, repo, path),
                Bait { repo: Some(repo), path: None, .. } => DecoySpec::Repo(kind.kind, repo),
                // clap asks for one of them.
                Bait { repo: None, .. } => return Err(Failed("name --repo or --token".to_owned())),
            };
            (DecoyCommand::Plant(spec), remote)
        }
        Decoy::List { remote } => (DecoyCommand::List, remote),
        Decoy::Remove { id, remote } => (DecoyCommand::Remove { id }, remote),
    };
    send(&remote, "decoy", &AdminCommand::Decoy(command))
}
