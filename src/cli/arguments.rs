//! What may be typed.

mod access;
mod alert;
mod approval;
mod audit;
mod backup;
mod decoy;
mod incident;
mod key;
mod lock;
mod partner;
mod people;
mod quota;
mod repo;
mod review;
mod seal;
mod share;
mod witness;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use strongroom_domain::RepoKind;

pub use access::Access;
pub use alert::Alert;
pub use approval::Approval;
pub use audit::{Audit, AuditExport, AuditFilter, ExportFormat};
pub use backup::{Backup, Made};
pub use decoy::{Bait, Decoy};
pub use incident::{Incident, Whom as IncidentWhom};
pub use key::{Key, Repository, Rotate};
pub use lock::{Lock, Subject};
pub use partner::Partner;
pub use people::{Line, RoleCommand, Token, User, Where};
pub use quota::Quota;
pub use repo::Repo;
pub use review::{Listed, Review, Reviews};
pub use seal::{Seal, Unseal};
pub use share::{NewShare, Pull, Share, Starts};
pub use witness::Witness;

/// A private repository server for AI models and datasets that assumes it will be broken into.
#[derive(Parser)]
#[command(name = "strongroom", version, max_term_width = 100)]
pub struct Arguments {
    /// Nothing: initialise if needed, and serve.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A command.
#[derive(Subcommand)]
pub enum Command {
    /// Serve; on an empty data directory, initialise first
    Serve {
        #[command(flatten)]
        server: Server,
        /// One of the two processes alone, where systemd starts and watches them apart: see deploy/apart
        #[arg(long)]
        only: Option<Only>,
    },
    /// Initialise a data directory without serving
    Init {
        #[command(flatten)]
        server: Server,
        /// Name of the first principal and of its namespace
        #[arg(long, default_value = "admin")]
        name: String,
        /// Cut the root key into shares, such as 3of5; it is then written nowhere, and the server starts sealed
        #[arg(long, value_name = "NofM", conflicts_with = "passphrase_file")]
        root_shares: Option<String>,
        /// Protect the root key's file by the passphrase in this file's first line; the server then starts sealed
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// End all that is in flight, and let every key leave the server's memory; it stays sealed over restarts
    Seal(Seal),
    /// Give a sealed server one share of its root key, or its passphrase, from standard input
    Unseal(Unseal),
    /// Whether the server answers, and whether it is sealed
    Status {
        #[command(flatten)]
        remote: Remote,
    },
    /// Look for what is dangerous in the configuration; exit code 1 where there is something
    Doctor {
        #[command(flatten)]
        server: Server,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// On the server's machine: verify everything that is stored, each payload, envelope, directory and record; exit code 1
    /// where something is damaged. A passphrase or shares of the root key come from standard input, a line each
    Check {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        output: Long,
    },
    /// Principals: create, list, show, remove, recipient, unclaim
    #[command(subcommand)]
    User(User),
    /// Roles: grant, revoke, allow, deny, list
    #[command(subcommand)]
    Role(RoleCommand),
    /// Acts that need a second person: list, show, approve, reject
    #[command(subcommand)]
    Approval(Approval),
    /// Access tokens: create, claim, list, revoke
    #[command(subcommand)]
    Token(Token),
    /// Repositories: create, list, show, move, remove
    #[command(subcommand)]
    Repo(Repo),
    /// Locks: stop a principal, a token, a share, a partner organisation or a repository at once
    #[command(subcommand)]
    Lock(Lock),
    /// Quotas: how many bytes a namespace may store: set, list
    #[command(subcommand)]
    Quota(Quota),
    /// Shares: what a partner may read, until when: create, list, show, extend, revoke, token, accept
    #[command(subcommand)]
    Share(Share),
    /// Access: who may know of a repository, asks for it, and is given a share: disclose, conceal, list, approve, reject, reopen;
    /// ask, mine, withdraw, token
    #[command(subcommand)]
    Access(Access),
    /// Partner organisations: create, list, show, add, remove, sponsor, confirm, end
    #[command(subcommand)]
    Partner(Partner),
    /// Access reviews: what was given to whom, and when it was of use: list (also without a verb), confirm, revoke; start, rounds, show
    Review(Reviews),
    /// Files of a share that is delivered sealed, opened here with one's own identity
    Pull(Pull),
    /// The log: search, timeline, who, what, verify, prove, export, checkpoint; and, on another machine, witness
    #[command(subcommand)]
    Audit(Audit),
    /// Alerts: what was raised: list
    #[command(subcommand)]
    Alert(Alert),
    /// Decoys: repositories, files and tokens that are not there, and whose touch locks and raises an alert: plant, list, remove
    #[command(subcommand)]
    Decoy(Decoy),
    /// Incidents: what somebody could reach and did, with evidence, and stopped: open, verify
    #[command(subcommand)]
    Incident(Incident),
    /// On the server's machine: backups that are encrypted to recovery recipients: create, verify, restore
    #[command(subcommand)]
    Backup(Backup),
    /// Keys: a new root key, a new secret for a repository, break-glass recovery of one object, renewal of the server's certificate
    #[command(subcommand)]
    Key(Key),
    /// Traces of the last requests, as lines of OTLP/JSON for OpenTelemetry's otlpjsonfile receiver
    Traces {
        /// Go on with those that come
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// A completion script for a shell, on standard output
    Completion {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// The trusted process (started by the supervisor)
    #[command(hide = true)]
    Keeper {
        /// The configuration as JSON
        config: String,
    },
    /// What delivers alerts to one sink, or asks one witness (started by the keeper)
    #[command(hide = true)]
    Courier {
        /// What for, as JSON
        errand: String,
    },
    /// The exposed process (started by the supervisor)
    #[command(hide = true)]
    Gate {
        /// The configuration as JSON
        config: String,
    },
}

/// One process of a server whose processes are services of their own.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// The trusted one. Its standard input is the socket at which it takes one gate after the other
    Keeper,
    /// The exposed one. It finds the keeper at server.keeper_socket
    Gate,
    /// What goes to one sink of alerts, or to one witness, for the keeper. Its standard input is a connection to server.courier_socket
    Courier,
}

/// How a long command is followed.
#[derive(Args)]
pub struct Long {
    /// Show how far it is, also where standard error is no terminal
    #[arg(long)]
    pub progress: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// Where a server is and how it is set up.
#[derive(Args, Default, Clone)]
pub struct Server {
    /// Configuration file (TOML); see deploy/strongroom.toml
    #[arg(long, env = "STRONGROOM_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data directory
    #[arg(long, env = "STRONGROOM_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address and port to listen on
    #[arg(long, env = "STRONGROOM_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// File of the root key; never inside the data directory
    #[arg(long, env = "STRONGROOM_ROOT_KEY")]
    pub root_key: Option<PathBuf>,
}

/// How a command reaches the server.
#[derive(Args, Clone)]
pub struct Remote {
    /// The server's URL
    #[arg(long, env = "STRONGROOM_URL", global = true)]
    pub url: Option<String>,
    /// File of the CA that signed its certificate
    #[arg(long, env = "STRONGROOM_CA", global = true)]
    pub ca: Option<PathBuf>,
    /// JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

/// The kind of a repository.
#[derive(Args)]
pub struct Kind {
    /// model or dataset
    #[arg(long = "type", default_value = "model", value_name = "KIND")]
    pub kind: RepoKind,
}
