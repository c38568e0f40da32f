//! `seal`, `unseal`, `status`, and how `init` keeps the root key.

use std::fs;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{SealCommand, SecretText};
use zeroize::Zeroizing;

use super::{runtime, send};
use crate::arguments::{Remote, Seal, Unseal};
use crate::client::Client;
use crate::config::Config;
use crate::init::Keep;
use crate::show::show;
use crate::{Failed, root, words};

/// From `init`'s flags.
///
/// # Errors
/// What is wrong with them.
pub fn keep(shares: Option<&str>, passphrase: Option<&Path>) -> Result<Keep, Failed> {
    if let Some(path) = passphrase {
        let text =
            Zeroizing::new(fs::read_to_string(path).map_err(|error| Failed(format!("{}: {error}", path.display())))?);
        let line = text.lines().next().unwrap_or_default();
        if line.chars().count() < 12 {
            return Err(Failed("a passphrase has at least 12 characters".to_owned()));
        }
        return Ok(Keep::File(Some(SecretText::new(line.to_owned()))));
    }
    Ok(shares.map(quorum).transpose()?.map_or(Keep::File(None), |(n, m)| Keep::Shares(n, m)))
}

/// `NofM`.
fn quorum(text: &str) -> Result<(u8, u8), Failed> {
    let numbers = text.split_once("of").and_then(|(n, m)| Some((n.parse::<u8>().ok()?, m.parse::<u8>().ok()?)));
    let fit = numbers.filter(|(n, m)| *n >= 2 && n <= m);
    fit.ok_or_else(|| Failed("shares are NofM, such as 3of5, with N from 2 to M".to_owned()))
}

/// `strongroom seal`.
///
/// # Errors
/// The server's reason.
pub fn seal(asked: Seal) -> Result<(), Failed> {
    let Seal { repo, kind, shares, reason, list, remote } = asked;
    let shares = shares.as_deref().map(quorum).transpose()?;
    let command = match repo {
        _ if list => SealCommand::List,
        None => SealCommand::Server { reason },
        Some(repo) => SealCommand::Repo { kind: kind.kind, repo, reason, shares },
    };
    send(&remote, "seal", &AdminCommand::Seal(command))
}

/// `strongroom unseal`: a repository, the servers whose root key lies on this machine, or with one line of standard input.
///
/// # Errors
/// The server's reason.
pub fn unseal(asked: Unseal) -> Result<(), Failed> {
    let Unseal { here, repo, kind, server, remote } = asked;
    if here {
        return unseal_here(&Config::load(&server)?, remote.json);
    }
    if let Some(repo) = repo {
        let shares = if std::io::stdin().is_terminal() { Vec::new() } else { lines()? };
        return send(&remote, "seal", &AdminCommand::Seal(SealCommand::UnsealRepo { kind: kind.kind, repo, shares }));
    }
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().read_line(&mut line).map_err(words)?;
    let answer =
        Client::anonymous(&remote)?.json("POST", "/api/strongroom/v1/unseal", &json!({"share": line.trim()}))?;
    show(&answer, remote.json);
    Ok(())
}

/// Lines of standard input that are not empty.
fn lines() -> Result<Vec<SecretText>, Failed> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().read_to_string(&mut text).map_err(words)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(|line| SecretText::new(line.to_owned())).collect())
}

/// How long servers have to see that they may open.
const OPENS: Duration = Duration::from_secs(10);

/// Whoever can read the root key here lets every server of this database open that can read it too. None of it is sent.
fn unseal_here(config: &Config, json: bool) -> Result<(), Failed> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let (settings, root) = (config.keeper()?, root::read(config)?);
    let opened = runtime()?.block_on(async {
        if !strongroom_keeper::let_open(&settings, &root).await.map_err(words)? {
            return Err(Failed("the server is not sealed".to_owned()));
        }
        let until = Instant::now() + OPENS;
        while Instant::now() < until {
            if strongroom_keeper::mark(&settings).await.map_err(words)?.is_none() {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(false)
    })?;
    let next = if opened { "" } else { "no server is running: it opens when it is started" };
    show(&json!({"sealed": false, "opened": opened, "next": next}), json);
    Ok(())
}

/// `strongroom status`.
///
/// # Errors
/// Why the server does not answer.
pub fn status(remote: &Remote) -> Result<(), Failed> {
    let mut answer = Client::anonymous(remote)?.send("GET", "/healthz", &json!(null))?;
    let text = answer.body_mut().read_to_string().map_err(|error| Failed(error.to_string()))?;
    show(&json!({"status": text}), remote.json);
    Ok(())
}
