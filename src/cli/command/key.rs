//! `key rotate`: new keys. `key recover`: break glass. `key renew-certificate`: on this machine, with the root key.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strongroom_envelope::Identity;
use strongroom_keeper::root::RootSource;
use strongroom_protocol::SecretText;
use strongroom_protocol::admin::AdminCommand;

use super::{runtime, seal, send};
use crate::arguments::{Key, Rotate, Server};
use crate::client::Client;
use crate::config::Config;
use crate::init::Keep;
use crate::show::show;
use crate::{Failed, certificates, root, rotate, words};

fn create(path: &Path) -> Result<File, Failed> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| Failed(format!("{}: {error}", path.display())))
}

/// `strongroom key …`.
///
/// # Errors
/// The reason. Of a recovery, the server's; neither file is overwritten.
pub fn run(key: Key) -> Result<(), Failed> {
    let (repo, kind, revision, path, out, identity_out, remote) = match key {
        Key::RenewCertificate { server, json } => return renew(&server, json),
        Key::NewRoot { root_shares, passphrase_file, out, json } => {
            let keep = seal::keep(root_shares.as_deref(), passphrase_file.as_deref())?;
            show(&new_root(&keep, out)?, json);
            return Ok(());
        }
        Key::Rotate(Rotate::Root { finish, remote }) => {
            let command = AdminCommand::KeyRotateRoot { finish };
            return send(&remote, "key", &command);
        }
        Key::Rotate(Rotate::Repository(asked)) => return rotate::run(&asked),
        Key::Recover { repo, kind, revision, path, out, identity_out, remote } => {
            (repo, kind, revision, path, out, identity_out, remote)
        }
    };
    let client = Client::new(&remote)?;
    let (mut file, mut identity_file) = (create(&out)?, create(&identity_out)?);
    let body = json!({"kind": kind.kind.word(), "repo": repo.as_str(), "revision": revision, "path": path});
    let recovered = client.send("POST", "/api/strongroom/v1/key/recover", &body).and_then(|mut answer| {
        let identity = answer.headers().get("x-strongroom-identity").and_then(|value| value.to_str().ok());
        let identity = identity.ok_or_else(|| Failed("the answer has no identity".to_owned()))?.to_owned();
        let failed = |error: std::io::Error| Failed(format!("{}: {error}", out.display()));
        let mut buffer = vec![0; 256 * 1024];
        let (mut reader, mut bytes) = (answer.body_mut().as_reader(), 0);
        loop {
            let read = reader.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read]).map_err(failed)?;
            bytes += read;
        }
        file.sync_all().map_err(failed)?;
        writeln!(identity_file, "{identity}").map_err(failed)?;
        Ok(bytes)
    });
    match recovered {
        Ok(bytes) => {
            show(&json!({"out": out, "identity_out": identity_out, "bytes": bytes}), remote.json);
            Ok(())
        }
        Err(error) => {
            // Made above, and of no use.
            let _ = (std::fs::remove_file(&out), std::fs::remove_file(&identity_out));
            Err(error)
        }
    }
}

/// A root key for which nothing is wrapped yet.
fn new_root(keep: &Keep, out: Option<PathBuf>) -> Result<Value, Failed> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let identity = Identity::generate();
    let mut made = json!({"recipient": identity.to_recipient().to_string(), "root_key_file": out});
    match (keep, out) {
        (Keep::Shares(threshold, count), _) => {
            let shares = strongroom_keeper::split(&identity, *threshold, *count);
            made["root_key_shares"] = shares.iter().map(SecretText::expose).collect();
        }
        (Keep::File(passphrase), Some(out)) => {
            RootSource::File(out).create(&identity, passphrase.as_ref()).map_err(words)?;
        }
        // clap asks for one of the two.
        (Keep::File(_), None) => {
            return Err(Failed("name its file with --out, or its shares with --root-shares".to_owned()));
        }
    }
    Ok(made)
}

fn renew(server: &Server, json: bool) -> Result<(), Failed> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let config = Config::load(server)?;
    let root = root::read(&config)?;
    let authority = runtime()?.block_on(strongroom_keeper::stored_authority(&config.keeper()?));
    let authority = authority.map_err(|error| Failed(error.to_string()))?;
    let authority = authority.ok_or_else(|| Failed("this server has no CA of its own".to_owned()))?;
    show(&certificates::renew(&config, &authority, &root, std::time::SystemTime::now())?, json);
    Ok(())
}
