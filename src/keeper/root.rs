//! The root identity, and where it comes from.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use strongroom_envelope::Identity;
use zeroize::Zeroizing;

/// Where the root identity lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// A file that only its owner can read.
    File(PathBuf),
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
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(RootError::NoCredentials)?;
                Ok(Path::new(&folder).join(name))
            }
        }
    }

    /// Makes a fresh identity where there is none.
    ///
    /// # Errors
    /// [`RootError::Taken`] where there is one.
    pub fn create(&self) -> Result<Identity, RootError> {
        let path = self.path()?;
        let failed = |error| RootError::File { path: path.clone(), error };
        if let Some(folder) = path.parent() {
            let existed = folder.exists();
            fs::create_dir_all(folder).map_err(failed)?;
            if !existed {
                fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
            }
        }
        let identity = Identity::generate();
        let text = Zeroizing::new(format!(
            "# Strongroom root key. Whoever has it and the data directory has everything. Keep a copy offline.\n{}\n",
            identity.to_secret_text().as_str()
        ));
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path);
        let mut file = match file {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(RootError::Taken(path)),
            file => file.map_err(failed)?,
        };
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        // The name too is durable before anything is sealed for it: a data directory without its key is lost.
        path.parent().map(fs::File::open).transpose().map_err(failed)?.map(|folder| folder.sync_all());
        Ok(identity)
    }

    /// Reads the identity.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn read(&self) -> Result<Identity, RootError> {
        let path = self.path()?;
        let failed = |error| RootError::File { path: path.clone(), error };
        let file = fs::File::open(&path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(RootError::Open(path));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(64 * 1024).read_to_string(&mut text).map_err(failed)?;
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        line.and_then(|line| line.parse().ok()).ok_or(RootError::Form(path))
    }
}
