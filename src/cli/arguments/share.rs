//! What may be typed about shares.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use strongroom_domain::{Compartment, Network, RepoName, Revision};

use super::quota::bytes;
use super::{Kind, Remote};

/// `NAMESPACE/NAME@REVISION`; `main` where no revision is named.
#[derive(Clone)]
pub struct At {
    /// Which repository.
    pub repo: RepoName,
    /// At which revision.
    pub revision: Revision,
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let repo = repo.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { repo, revision: revision.parse().map_err(|error| format!("{error}"))? })
    }
}

/// When the clock of a share begins.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Starts {
    /// When it is made
    Now,
    /// When it is read for the first time
    FirstUse,
}

/// A share that is to be made.
#[derive(Args)]
pub struct NewShare {
    /// The repository, and the revision to which the share is fixed
    #[arg(value_name = "NS/NAME@REV")]
    pub at: At,
    #[command(flatten)]
    pub kind: Kind,
    /// With whom: a user, or a partner organisation
    #[arg(long, value_name = "USER|PARTNER")]
    pub to: String,
    /// docs, config, weights, data, logs, code: those that are shared, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    pub compartments: Vec<Compartment>,
    /// In them, only paths that one of these globs matches
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub paths: Vec<String>,
    /// How long it can be read, such as 7d or 12h; never for ever (shares.max_life_days)
    #[arg(long)]
    pub expires: humantime::Duration,
    /// When that begins
    #[arg(long, default_value = "now")]
    pub starts: Starts,
    /// Bytes that may be asked for in all, such as 10GiB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_bytes: Option<u64>,
    /// Files that may be opened in all; each opening counts, of a part of a file too
    #[arg(long, value_name = "NUMBER")]
    pub max_downloads: Option<u64>,
    /// Only from these networks, such as 192.0.2.0/24
    #[arg(long, value_name = "CIDR", num_args = 1..)]
    pub from: Vec<Network>,
    /// Follow the branch that REV names, and do not stay at its commit of now
    #[arg(long)]
    pub follow: bool,
    /// A text that the partner must accept before anything is shown
    #[arg(long, value_name = "FILE")]
    pub terms: Option<PathBuf>,
    /// Deliver files encrypted to the partner's own recipient (`user recipient`), and in no other way
    #[arg(long)]
    pub sealed: bool,
    #[command(flatten)]
    pub remote: Remote,
}

/// Verbs about shares.
#[derive(Subcommand)]
pub enum Share {
    /// Let a partner read some files of one revision until a moment; its token is shown once
    Create(Box<NewShare>),
    /// Shares of the repositories whose shares you manage
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// One share, with what was used of it
    Show {
        /// By the id that `share list` shows
        id: u64,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let it end later, or sooner, counted from now
    Extend {
        /// By the id that `share list` shows
        id: u64,
        /// Until it ends, such as 7d
        #[arg(long)]
        expires: humantime::Duration,
        #[command(flatten)]
        remote: Remote,
    },
    /// End it at once, streams in flight included
    Revoke {
        /// By the id that `share list` shows
        id: u64,
        #[command(flatten)]
        remote: Remote,
    },
    /// Another token for it; it is shown once
    Token {
        /// By the id that `share list` shows
        id: u64,
        /// For whom of a partner organisation's people
        #[arg(long)]
        user: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// What the log has about a share that was made for you: your own records, each with its proof, and the places of all others
    Record {
        /// By its id; with the token of a share it is that one
        id: Option<u64>,
        /// The file that is written, for `share verify`
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Verify what `share record` wrote, anywhere: that the log has each record, and that none is missing
    Verify {
        /// What `share record` wrote
        file: PathBuf,
        /// The log's key, as `share record` printed it
        #[arg(long)]
        key: String,
        /// What it wrote before: all of that must still be there
        #[arg(long, value_name = "FILE")]
        earlier: Option<PathBuf>,
        /// JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// With the token of a share: read its terms, and accept them
    Accept {
        /// Without being asked
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

/// `strongroom pull`.
#[derive(Args)]
pub struct Pull {
    /// The repository, and the revision
    #[arg(value_name = "NS/NAME@REV")]
    pub at: At,
    /// Only these files
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,
    #[command(flatten)]
    pub kind: Kind,
    /// File of the age identity (AGE-SECRET-KEY-1…) whose recipient is registered for you
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
    /// The folder that they are written to
    #[arg(long, value_name = "FOLDER")]
    pub to: PathBuf,
    #[command(flatten)]
    pub remote: Remote,
}
