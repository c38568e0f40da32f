//! What each command does. One noun a file; `verify` is `audit`'s.

mod access;
mod alert;
mod approval;
mod audit;
mod cosigned;
mod decoy;
mod export;
mod incident;
mod key;
mod partner;
mod people;
mod pull;
mod quota;
mod repo;
mod review;
mod seal;
mod search;
mod share;
mod share_record;
mod timeline;
mod traces;
mod verify;

use clap::CommandFactory;
use strongroom_protocol::admin::AdminCommand;

pub use export::alert_line;

use crate::arguments::{Arguments, Command, Remote, Server};
use crate::client::Client;
use crate::config::Config;
use crate::progress::Progress;
use crate::show::{print, show};
use crate::{Failed, backup, check, doctor, init, root, serve};

/// Runs it.
///
/// # Errors
/// The reason, for the one who typed it.
pub fn run(arguments: Arguments) -> Result<(), Failed> {
    match arguments.command {
        None => serve::supervisor::serve(&Server::default()),
        Some(Command::Serve { server, only: None }) => serve::supervisor::serve(&server),
        Some(Command::Serve { server, only: Some(only) }) => serve::apart::serve(&server, only),
        Some(Command::Init { server, name, root_shares, passphrase_file, json }) => {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
            let config = Config::load(&server)?;
            if init::is_initialised(&config) {
                let text = format!("{} holds a server already; nothing was changed", config.data_dir.display());
                return Err(Failed(text));
            }
            refuse(&config)?;
            let keep = seal::keep(root_shares.as_deref(), passphrase_file.as_deref())?;
            show(&init::init(&config, &name, &keep)?, json);
            Ok(())
        }
        Some(Command::Doctor { server, json }) => {
            let config = Config::load(&server)?;
            let findings = doctor::examine(&config, None);
            let rows: Vec<_> = findings.iter().map(doctor::Finding::json).collect();
            let refused = findings.iter().filter(|finding| finding.refused).count();
            show(&serde_json::json!({"findings": rows, "refused": refused}), json);
            if refused > 0 { Err(Failed(format!("{refused} findings stop the start"))) } else { Ok(()) }
        }
        Some(Command::Check { server, output }) => check(&server, output.progress, output.json),
        Some(Command::Seal(asked)) => seal::seal(asked),
        Some(Command::Unseal(asked)) => seal::unseal(asked),
        Some(Command::Status { remote }) => seal::status(&remote),
        Some(Command::User(user)) => people::user(user),
        Some(Command::Role(role)) => people::role(role),
        Some(Command::Token(token)) => people::token(token),
        Some(Command::Approval(approval)) => approval::run(approval),
        Some(Command::Lock(lock)) => people::lock(lock),
        Some(Command::Repo(repo)) => repo::run(repo),
        Some(Command::Quota(quota)) => quota::run(quota),
        Some(Command::Share(share)) => share::run(share),
        Some(Command::Access(access)) => access::run(access),
        Some(Command::Partner(partner)) => partner::run(partner),
        Some(Command::Review(review)) => review::run(review),
        Some(Command::Pull(pull)) => pull::run(pull),
        Some(Command::Audit(audit)) => audit::run(audit),
        Some(Command::Alert(alert)) => alert::run(alert),
        Some(Command::Decoy(decoy)) => decoy::run(decoy),
        Some(Command::Incident(incident)) => incident::run(incident),
        Some(Command::Backup(backup)) => backup::run(backup),
        Some(Command::Key(key)) => key::run(key),
        Some(Command::Traces { follow, remote }) => traces::run(follow, &remote),
        Some(Command::Completion { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "strongroom", &mut script);
            print(&String::from_utf8_lossy(&script));
            Ok(())
        }
        Some(Command::Keeper { config }) => serve::children::keeper(&config),
        Some(Command::Courier { errand }) => serve::courier::run(&errand),
        Some(Command::Gate { config }) => serve::children::gate(&config),
    }
}

fn check(server: &Server, progress: bool, json: bool) -> Result<(), Failed> {
    let config = Config::load(server)?;
    let (places, root) = (config.places()?, root::read(&config)?);
    let report = runtime()?.block_on(check::run(&places, root, &mut Progress::new(progress)))?;
    show(&report.shown, json);
    match report.damaged {
        0 => Ok(()),
        damaged => Err(Failed(format!("{damaged} things are damaged"))),
    }
}

/// Gives the server a command, and shows its answer.
///
/// # Errors
/// The server's reason.
fn send(remote: &Remote, noun: &str, command: &AdminCommand) -> Result<(), Failed> {
    show(&Client::new(remote)?.admin(noun, command)?, remote.json);
    Ok(())
}

/// For a command that reads databases.
///
/// # Errors
/// What the system says.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failed(error.to_string()))
}

/// What `serve` would refuse is refused before anything is made.
fn refuse(config: &Config) -> Result<(), Failed> {
    match doctor::examine(config, None).into_iter().find(|finding| finding.refused) {
        Some(finding) => Err(Failed(format!("{}\n  mend: {}", finding.what, finding.mend))),
        None => Ok(()),
    }
}
