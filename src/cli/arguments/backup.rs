//! What may be typed about backups.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Long, Server};

/// Verbs about backups.
#[derive(Subcommand)]
pub enum Backup {
    /// Add a backup to a folder while the server serves: payloads that are there already are not copied again
    Create {
        /// The folder of backups; made where it is not there
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// For whom it is encrypted, age1…; repeat for more. Without any: the configuration's recovery recipients
        #[arg(long = "recipient", value_name = "RECIPIENT")]
        recipients: Vec<String>,
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        output: Long,
    },
    /// Restore a backup into a scratch place; verify every digest, everything that `check` does, and the log
    Verify {
        #[command(flatten)]
        made: Made,
        /// File of the root key, where secrets are not wrapped for that identity too
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
        /// Where the scratch place is made and removed; without it among temporary files
        #[arg(long, value_name = "DIR")]
        scratch: Option<PathBuf>,
        #[command(flatten)]
        output: Long,
    },
    /// Restore a backup onto an empty machine. The root key is read where the configuration says, a passphrase or shares from
    /// standard input; where its file is not there, the identity opens the secrets, and a fresh root key is made
    Restore {
        #[command(flatten)]
        made: Made,
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        output: Long,
    },
}

/// A backup that was made.
#[derive(Args)]
pub struct Made {
    /// The folder of backups
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Which, as `create` named it; without it the newest
    #[arg(long, value_name = "NAME")]
    pub backup: Option<String>,
    /// File of an identity that it was encrypted to
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
}
