//! The root identity, and where it comes from.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use strongroom_envelope::Identity;
use strongroom_protocol::SecretText;
use zeroize::Zeroizing;

use crate::waiting::{Waiting, protect};

/// An age file begins so: the identity is under a passphrase.
const PROTECTED: &[u8] = b"age-encryption.org/v1";

/// Where the root identity lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// A file that only its owner can read.
    File(PathBuf),
    /// Nowhere: people hold shares of it.
    Shares,
    /// A credential of this name that systemd put into `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// Why there is no root identity.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// It can't be read or written.
    #[error("root key {path}: {error}")]
    File {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is there already: it belongs to another instance.
    #[error(
        "root key {0} is there already; it is never overwritten and never shared: name another file with --root-key"
    )]
    Taken(PathBuf),
    /// Others can read it.
    #[error("root key {0} can be read by others; mend: chmod 0400 {0}")]
    Open(PathBuf),
    /// It is no identity.
    #[error("root key {0} is no age identity (AGE-SECRET-KEY-1…)")]
    Form(PathBuf),
    /// A passphrase that can't be used.
    #[error("the root key can't be protected by this passphrase")]
    Passphrase,
    /// systemd gave no credentials.
    #[error("$CREDENTIALS_DIRECTORY is not set: start the server by systemd with LoadCredential=")]
    NoCredentials,
}

impl RootSource {
    /// The file behind it.
    ///
    /// # Errors
    /// [`RootError::NoCredentials`].
    pub fn path(&self) -> Result<PathBuf, RootError> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Shares => Ok(PathBuf::new()),
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(RootError::NoCredentials)?;
                Ok(Path::new(&folder).join(name))
            }
        }
    }

    /// Writes a fresh identity where there is none; under a passphrase where one is given.
    ///
    /// # Errors
    /// [`RootError::Taken`] where there is one.
    pub fn create(&self, identity: &Identity, passphrase: Option<&SecretText>) -> Result<(), RootError> {
        let path = self.path()?;
        let failed = |error| RootError::File { path: path.clone(), error };
        if let Some(folder) = path.parent() {
            let existed = folder.exists();
            fs::create_dir_all(folder).map_err(failed)?;
            if !existed {
                fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
            }
        }
        let content = Zeroizing::new(match passphrase {
            Some(passphrase) => protect(identity, passphrase)?,
            None => format!(
                "# Strongroom root key. Whoever has it and the data directory has everything. Keep a copy offline.\n{}\n",
                identity.to_secret_text().as_str()
            )
            .into_bytes(),
        });
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path);
        let mut file = match file {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(RootError::Taken(path)),
            file => file.map_err(failed)?,
        };
        file.write_all(&content).and_then(|()| file.sync_all()).map_err(failed)?;
        // The name too is durable before anything is sealed for it: a data directory without its key is lost.
        path.parent().map(fs::File::open).transpose().map_err(failed)?.map(|folder| folder.sync_all());
        Ok(())
    }

    /// What waits for the identity where it does not lie openly; `None` where it does, and nothing of it is then read.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn waiting(&self) -> Result<Option<Waiting>, RootError> {
        if *self != Self::Shares {
            let path = self.path()?;
            let failed = |error| RootError::File { path: path.clone(), error };
            let mut begin = [0; PROTECTED.len()];
            let read = fs::File::open(&path).map_err(failed)?.read(&mut begin).map_err(failed)?;
            if &begin[..read] != PROTECTED {
                return Ok(None);
            }
        }
        match self.read()? {
            Root::Waiting(waiting) => Ok(Some(waiting)),
            Root::Identity(_) => Ok(None),
        }
    }

    /// Reads the identity, or what waits for it.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn read(&self) -> Result<Root, RootError> {
        if *self == Self::Shares {
            return Ok(Root::Waiting(Waiting::Shares(Vec::new())));
        }
        let path = self.path()?;
        let failed = |error| RootError::File { path: path.clone(), error };
        let file = fs::File::open(&path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(RootError::Open(path));
        }
        let mut content = Zeroizing::new(Vec::new());
        file.take(64 * 1024).read_to_end(&mut content).map_err(failed)?;
        if content.starts_with(PROTECTED) {
            return Ok(Root::Waiting(Waiting::Passphrase(content.to_vec())));
        }
        let text = std::str::from_utf8(&content).unwrap_or_default();
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        line.and_then(|line| line.parse().ok()).map(Root::Identity).ok_or(RootError::Form(path))
    }
}

/// What a source gives.
pub enum Root {
    /// The identity.
    Identity(Identity),
    /// What waits for it: the server starts sealed.
    Waiting(Waiting),
}
