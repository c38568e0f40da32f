//! `share`: what partners may read.

use std::fs;

use serde_json::Value;
use strongroom_domain::PathGlobs;
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{ShareCommand, ShareSpec};

use super::repo::confirmed;
use super::send;
use super::share_record;
use crate::Failed;
use crate::arguments::{NewShare, Remote, Share, Starts};
use crate::client::Client;
use crate::show::{inert_lines, show};

/// `strongroom share …`.
///
/// # Errors
/// The server's reason.
pub fn run(share: Share) -> Result<(), Failed> {
    match share {
        Share::Create(new) => create(*new),
        Share::List { remote } => send(&remote, "share", &AdminCommand::Share(ShareCommand::List)),
        Share::Show { id, remote } => send(&remote, "share", &AdminCommand::Share(ShareCommand::Show { id })),
        Share::Extend { id, expires, remote } => {
            send(&remote, "share", &AdminCommand::Share(ShareCommand::Extend { id, life_s: expires.as_secs() }))
        }
        Share::Revoke { id, remote } => send(&remote, "share", &AdminCommand::Share(ShareCommand::Revoke { id })),
        Share::Record { id, out, remote } => share_record::fetch(id, out, &remote),
        Share::Verify { file, key, earlier, json } => share_record::verify(&file, &key, earlier.as_deref(), json),
        Share::Token { id, user, remote } => {
            send(&remote, "share", &AdminCommand::Share(ShareCommand::Token { id, user }))
        }
        Share::Accept { yes, remote } => accept(yes, &remote),
    }
}

fn create(new: NewShare) -> Result<(), Failed> {
    let remote = new.remote.clone();
    send(&remote, "share", &AdminCommand::Share(ShareCommand::Create(Box::new(spec(new)?))))
}

/// What is shared, as it was typed.
pub fn spec(new: NewShare) -> Result<ShareSpec, Failed> {
    let read = |path: std::path::PathBuf| {
        fs::read_to_string(&path).map_err(|error| Failed(format!("{}: {error}", path.display())))
    };
    Ok(ShareSpec {
        kind: new.kind.kind,
        repo: new.at.repo,
        revision: new.at.revision,
        commit: None,
        follow: new.follow,
        to: new.to,
        compartments: new.compartments,
        paths: PathGlobs::new(new.paths).map_err(|error| Failed(format!("--paths: {error}")))?,
        life_s: new.expires.as_secs(),
        from_first_use: new.starts == Starts::FirstUse,
        max_bytes: new.max_bytes,
        max_downloads: new.max_downloads,
        from: new.from,
        terms: new.terms.map(read).transpose()?,
        sealed: new.sealed,
    })
}

fn accept(yes: bool, remote: &Remote) -> Result<(), Failed> {
    let client = Client::new(remote)?;
    let ask = |command| client.admin("share/terms", &AdminCommand::Share(command));
    let found = ask(ShareCommand::Terms)?;
    let (Some(terms), Some(sha256)) = (found["terms"].as_str(), found["sha256"].as_str()) else {
        return Err(Failed("this share has no terms".to_owned()));
    };
    if !yes {
        eprintln!("{}\n", inert_lines(terms));
    }
    if found["accepted"] == Value::Null && !yes && !confirmed("Accept these terms?") {
        return Err(Failed("nothing was accepted".to_owned()));
    }
    let sha256 = sha256.parse().map_err(|error| Failed(format!("the server's answer: {error}")))?;
    show(&ask(ShareCommand::Accept { sha256 })?, remote.json);
    Ok(())
}
