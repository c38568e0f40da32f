//! First run: root key, CA and certificate, databases, the first principal and its token.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde_json::{Value, json};
use strongroom_envelope::Identity;
use strongroom_keeper::root::{Root, RootError};
use strongroom_protocol::SecretText;

use crate::Failed;
use crate::certificates;
use crate::config::{Config, SHARES_MARK};

/// Whether the data directory holds a server.
pub fn is_initialised(config: &Config) -> bool {
    match config.databases.keeper {
        None => config.data_dir.join("keeper").join("keeper.db").exists(),
        // Written last of all.
        Some(_) => config.data_dir.join("tls").join("server.pem").exists(),
    }
}

/// How the root key is kept.
pub enum Keep {
    /// In its file; under a passphrase where one is given.
    File(Option<SecretText>),
    /// By people: so many of so many shares.
    Shares(u8, u8),
}

/// Initialises an empty data directory. What `init --json` prints.
///
/// If we die inside, the next start finds a directory that is not empty and not whole, and says so: nothing in it was ever
/// used.
///
/// # Errors
/// What was in the way.
pub fn init(config: &Config, name: &str, keep: &Keep) -> Result<Value, Failed> {
    let folder = &config.data_dir;
    let failed = |what: &Path, error: &dyn std::fmt::Display| Failed(format!("{}: {error}", what.display()));
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(|error| failed(folder, &error))?;
    let mut entries = fs::read_dir(folder).map_err(|error| failed(folder, &error))?;
    if entries.next().is_some() {
        return Err(Failed(format!("{} is not empty; name an empty data directory with --data-dir", folder.display())));
    }
    strongroom_domain::check_namespace(name).map_err(|error| Failed(format!("--name: {error}")))?;
    let source = config.root();
    let words = |error: RootError| Failed(error.to_string());
    let mut shares = Vec::new();
    let root = match (&config.credential, keep) {
        // systemd holds it: it is read, never made here.
        (Some(_), _) => match source.read().map_err(words)? {
            Root::Identity(root) => root,
            Root::Waiting(_) => return Err(Failed("a credential is the identity itself".to_owned())),
        },
        (None, Keep::Shares(threshold, count)) => {
            let root = Identity::generate();
            shares = strongroom_keeper::split(&root, *threshold, *count);
            write(&folder.join(SHARES_MARK), 0o600, b"")?;
            root
        }
        (None, Keep::File(passphrase)) => {
            let root = Identity::generate();
            source.create(&root, passphrase.as_ref()).map_err(words)?;
            root
        }
    };
    for part in ["keeper", "catalog", "objects", "tls"] {
        builder.create(folder.join(part)).map_err(|error| failed(folder, &error))?;
    }
    let ca_file = folder.join("tls").join("ca.pem");
    certificates::make(config, &root.to_recipient(), std::time::SystemTime::now())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed(error.to_string()))?;
    let made = runtime.block_on(strongroom_keeper::create(config.keeper()?, root, name));
    let (_, token) = made.map_err(|error| Failed(error.to_string()))?;
    let root_key_file = source.path().map_err(|error| Failed(error.to_string()))?;
    let shares: Vec<&str> = shares.iter().map(SecretText::expose).collect();
    let mut made = json!({
        "url": config.url(),
        "ca_file": ca_file,
        "admin_token": token.expose(),
        "namespace": name,
        "data_dir": folder,
        "root_key_file": root_key_file,
    });
    if !shares.is_empty() {
        made["root_key_file"] = Value::Null;
        made["root_key_shares"] = json!(shares);
    }
    Ok(made)
}

/// Makes a file that is not there; durable when this returns.
///
/// # Errors
/// What the system says, with the path.
pub fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), Failed> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written.map_err(|error| Failed(format!("{}: {error}", path.display())))
}
