//! First run: root key, CA and certificate, databases, the first principal and its token.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use strongroom_envelope::Identity;
use strongroom_keeper::root::{Root, RootError};
use strongroom_keeper::{Authority, authority, create};
use strongroom_protocol::SecretText;

use crate::Failed;
use crate::certificates::{found, issue, write};
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
    empty(folder)?;
    strongroom_domain::check_namespace(name).map_err(|error| Failed(format!("--name: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed(error.to_string()))?;
    if config.databases.keeper.is_some() {
        let known = runtime.block_on(authority(&config.keeper()?)).map_err(|error| Failed(error.to_string()))?;
        if let Some(authority) = known {
            return join(config, &authority);
        }
    }
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
    let ca_file = folder.join("tls").join("ca.pem");
    parts(folder)?;
    let now = SystemTime::now();
    let recipients = config.keeper()?.wrap_for(&root).map_err(|error| Failed(error.to_string()))?;
    let authority = found(&recipients, now)?;
    issue(config, &authority, &root, now)?;
    let made = runtime.block_on(create(config.keeper()?, root, name, &authority));
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

/// Makes an empty data directory, or refuses one that is not empty.
///
/// # Errors
/// What is in the way.
pub fn empty(folder: &Path) -> Result<(), Failed> {
    let failed = |error: std::io::Error| Failed(format!("{}: {error}", folder.display()));
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(failed)?;
    if fs::read_dir(folder).map_err(failed)?.next().is_some() {
        return Err(Failed(format!("{} is not empty; name an empty data directory with --data-dir", folder.display())));
    }
    Ok(())
}

/// Makes the folders of an empty data directory.
///
/// # Errors
/// What the system says.
pub fn parts(folder: &Path) -> Result<(), Failed> {
    for part in ["keeper", "catalog", "objects", "tls"] {
        let made = fs::DirBuilder::new().mode(0o700).create(folder.join(part));
        made.map_err(|error| Failed(format!("{}: {error}", folder.join(part).display())))?;
    }
    Ok(())
}

/// Becomes a replica of the server whose database this is: nothing is made but a certificate of its own.
fn join(config: &Config, authority: &Authority) -> Result<Value, Failed> {
    let root = match config.root().read().map_err(|error| Failed(error.to_string()))? {
        Root::Identity(root) => root,
        Root::Waiting(_) => {
            let mend = "copy the folder tls/ of another replica into the data directory, and start again";
            return Err(Failed(format!("a replica whose root key is sealed can't issue its certificate: {mend}")));
        }
    };
    parts(&config.data_dir)?;
    issue(config, authority, &root, SystemTime::now())?;
    Ok(json!({
        "url": config.url(),
        "ca_file": config.data_dir.join("tls").join("ca.pem"),
        "data_dir": config.data_dir,
        "root_key_file": config.root_key,
        "joined": true,
    }))
}
