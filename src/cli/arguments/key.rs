//! What may be typed about keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use strongroom_domain::RepoName;

use super::{Kind, Remote, Server};

/// Verbs about keys.
#[derive(Subcommand)]
pub enum Key {
    /// Here, with the root key: a fresh key and certificate for the configured hosts, served from the next start. A
    /// passphrase or shares come from standard input, a line each
    RenewCertificate {
        #[command(flatten)]
        server: Server,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Here: make the root key that comes after one in shares, under a passphrase or in a credential. Its recipient goes into the
    /// configuration, as next under [root_key], before `key rotate root`
    NewRoot {
        /// Cut it into shares, such as 3of5; it is then written nowhere
        #[arg(long, value_name = "NofM", conflicts_with_all = ["passphrase_file", "out"])]
        root_shares: Option<String>,
        /// Protect its file by the passphrase in this file's first line
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Where its file goes
        #[arg(long, value_name = "FILE", required_unless_present = "root_shares")]
        out: Option<PathBuf>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make new keys while the server serves
    #[command(subcommand)]
    Rotate(Rotate),
    /// Break glass: one object as a standard age file, and the identity that opens it. Recorded
    Recover {
        /// The repository
        #[arg(long, value_name = "NS/NAME")]
        repo: RepoName,
        #[command(flatten)]
        kind: Kind,
        /// Branch, tag or commit
        #[arg(long, default_value = "main")]
        revision: String,
        /// The file in it
        #[arg(long)]
        path: String,
        /// Where the age file goes
        #[arg(long)]
        out: PathBuf,
        /// Where its identity goes
        #[arg(long)]
        identity_out: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
}

/// What gets a new key.
#[derive(Subcommand)]
pub enum Rotate {
    /// The root key: a new one is written to its file, and every secret is wrapped anew for it. One that lies in no file of
    /// the server's is made by `key new-root`
    Root {
        /// The last step, where several servers share the database or the key lies in no file: once each server has the new one
        #[arg(long)]
        finish: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// A repository's secret, here, with the root key, while the server serves: every header is wrapped anew, every name sealed
    /// anew, and the old secret deleted. Asked again, one that was cut goes on. A passphrase or shares of the root key come
    /// from standard input, a line each
    Repository(Repository),
}

/// Which repository's secret, and how.
#[derive(Args)]
pub struct Repository {
    /// NAMESPACE/NAME
    pub name: RepoName,
    #[command(flatten)]
    pub kind: Kind,
    /// Write every payload anew too: whoever kept the old secret and the old headers opens none of them
    #[arg(long)]
    pub re_encrypt: bool,
    /// Between the switch and the deletion of the old secret: what began before it has this time
    #[arg(long, default_value = "60s", value_name = "TIME")]
    pub grace: humantime::Duration,
    #[command(flatten)]
    pub server: Server,
    /// Show how far it is, also where standard error is no terminal
    #[arg(long)]
    pub progress: bool,
    #[command(flatten)]
    pub remote: Remote,
}
