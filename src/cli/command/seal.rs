//! `unseal`, `status`, and how `init` keeps the root key.

use std::fs;
use std::path::Path;

use serde_json::json;
use strongroom_protocol::SecretText;
use zeroize::Zeroizing;

use crate::Failed;
use crate::arguments::Remote;
use crate::client::Client;
use crate::init::Keep;
use crate::show::show;

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
    let Some(text) = shares else { return Ok(Keep::File(None)) };
    let numbers = text.split_once("of").and_then(|(n, m)| Some((n.parse::<u8>().ok()?, m.parse::<u8>().ok()?)));
    match numbers {
        Some((n, m)) if n >= 2 && n <= m => Ok(Keep::Shares(n, m)),
        _ => Err(Failed("--root-shares is NofM, such as 3of5, with N from 2 to M".to_owned())),
    }
}

/// `strongroom unseal`: one line of standard input.
///
/// # Errors
/// The server's reason.
pub fn unseal(remote: &Remote) -> Result<(), Failed> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().read_line(&mut line).map_err(|error| Failed(format!("standard input: {error}")))?;
    let answer =
        Client::anonymous(remote)?.json("POST", "/api/strongroom/v1/unseal", &json!({"share": line.trim()}))?;
    show(&answer, remote.json);
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
