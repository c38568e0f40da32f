//! `access`: who may know of a repository, who asks for it, and what becomes of that.

use serde_json::{Value, json};
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{AccessCommand, AccessStatus, Asker};

use super::share::spec;
use crate::Failed;
use crate::arguments::{Access, Remote};
use crate::client::Client;
use crate::show::show;

fn ask(client: &Client, command: AccessCommand) -> Result<Value, Failed> {
    let noun = if command.action() == strongroom_domain::Action::RepoAsk { "access/mine" } else { "access" };
    client.admin(noun, &AdminCommand::Access(command))
}

fn send(remote: &Remote, command: AccessCommand) -> Result<(), Failed> {
    show(&ask(&Client::new(remote)?, command)?, remote.json);
    Ok(())
}

/// `strongroom access …`.
///
/// # Errors
/// The server's reason.
pub fn run(access: Access) -> Result<(), Failed> {
    let (of, command) = match access {
        Access::List { status, remote } => return list(status, &remote),
        Access::Mine { remote } => return send(&remote, AccessCommand::Mine),
        Access::Approve { new, partner, reason } => {
            let remote = new.remote.clone();
            let (who, spec) = (Asker::User(new.to.clone()), Box::new(spec(*new)?));
            return send(&remote, AccessCommand::Approve { who, unasked: false, partner, spec, reason });
        }
        Access::Disclose { of, to } => {
            let (kind, repo) = (of.kind.kind, of.repo.clone());
            (of, AccessCommand::Disclose { kind, repo, to })
        }
        Access::Conceal { of, from } => {
            let (kind, repo) = (of.kind.kind, of.repo.clone());
            (of, AccessCommand::Conceal { kind, repo, to: from })
        }
        Access::Reject { of, user, partner, reason } => {
            let (kind, repo, who) = (of.kind.kind, of.repo.clone(), Asker::User(user));
            (of, AccessCommand::Reject { kind, repo, who, partner, reason })
        }
        Access::Reopen { of, user } => {
            let (kind, repo, who) = (of.kind.kind, of.repo.clone(), Asker::User(user));
            (of, AccessCommand::Reopen { kind, repo, who })
        }
        Access::Ask { of, reason } => {
            let (kind, repo) = (of.kind.kind, of.repo.clone());
            let fields = if reason.is_empty() { Vec::new() } else { vec![("reason".to_owned(), reason)] };
            (of, AccessCommand::Ask { kind, repo, fields })
        }
        Access::Withdraw { of } => {
            let (kind, repo) = (of.kind.kind, of.repo.clone());
            (of, AccessCommand::Withdraw { kind, repo })
        }
        Access::Token { of } => {
            let (kind, repo) = (of.kind.kind, of.repo.clone());
            (of, AccessCommand::Token { kind, repo })
        }
    };
    send(&of.remote, command)
}

/// Page after page.
fn list(status: Option<AccessStatus>, remote: &Remote) -> Result<(), Failed> {
    let (client, mut requests, mut after) = (Client::new(remote)?, Vec::new(), None);
    loop {
        let page = ask(&client, AccessCommand::List { of: None, status, after })?;
        requests.extend(page["requests"].as_array().into_iter().flatten().cloned());
        after = page["next"].as_u64();
        if after.is_none() {
            show(&json!({"requests": requests}), remote.json);
            return Ok(());
        }
    }
}
