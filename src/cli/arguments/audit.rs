//! What may be typed about the log.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use strongroom_audit::cosignature::CosignerKey;
use strongroom_domain::{Compartment, RepoName};
use strongroom_protocol::admin::Cursor;

use super::{Kind, Remote, Witness};
use crate::collector::Place;

/// Which records; all that is given must match.
#[derive(Args)]
pub struct AuditFilter {
    /// By whom
    #[arg(long)]
    pub principal: Option<String>,
    /// About which repository
    #[arg(long, value_name = "NS/NAME")]
    pub repo: Option<RepoName>,
    #[command(flatten)]
    pub kind: Kind,
    /// What: repo.read, object.open, token.create, …
    #[arg(long)]
    pub action: Option<String>,
    /// allowed, denied, malformed, done or cut
    #[arg(long)]
    pub outcome: Option<String>,
    /// With which token
    #[arg(long)]
    pub token: Option<u64>,
    /// By any of the people that this partner organisation has or had
    #[arg(long)]
    pub partner: Option<String>,
    /// Through which share, and about it
    #[arg(long)]
    pub share: Option<u64>,
    /// From where
    #[arg(long)]
    pub address: Option<String>,
    /// Where the decision reached this compartment
    #[arg(long)]
    pub compartment: Option<Compartment>,
    /// About files whose path begins so
    #[arg(long)]
    pub path: Option<String>,
    /// Of the request with this id (X-Request-Id)
    #[arg(long)]
    pub request_id: Option<String>,
    /// Not before: 2h, or 2026-11-24T12:00:00Z
    #[arg(long)]
    pub since: Option<String>,
    /// Before: 2h, or 2026-11-24T12:00:00Z
    #[arg(long)]
    pub until: Option<String>,
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// As `audit search --json` shows them
    Jsonl,
    /// OCSF 1.3.0, API Activity
    Ocsf,
    /// RFC 5424
    Syslog,
}

/// What is exported.
#[derive(Args)]
pub struct AuditExport {
    /// How
    #[arg(long)]
    pub format: ExportFormat,
    /// Of this log alone: each replica of a server writes one
    #[arg(long)]
    pub log: Option<u64>,
    /// From this record on: one more than the last that was had
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Not before: 2h, or 2026-11-24T12:00:00Z
    #[arg(long, conflicts_with = "from")]
    pub since: Option<String>,
    /// Go on with those that come
    #[arg(long)]
    pub follow: bool,
    /// To a collector, by syslog over TLS (RFC 5425): tls://HOST:PORT; with --follow it is tried again until it takes them
    #[arg(long, value_name = "COLLECTOR")]
    pub to: Option<Place>,
    /// File of the CA that signed the collector's certificate
    #[arg(long, value_name = "FILE", requires = "to")]
    pub to_ca: Option<PathBuf>,
    #[command(flatten)]
    pub remote: Remote,
}

/// A repository, or a compartment of it.
#[derive(Debug, Clone)]
pub struct ReadWhat {
    /// Which.
    pub repo: RepoName,
    /// This one alone.
    pub compartment: Option<Compartment>,
}

impl std::str::FromStr for ReadWhat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '/');
        let (namespace, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let repo = format!("{namespace}/{name}").parse().map_err(|error| format!("{error}"))?;
        let compartment =
            parts.next().map(|part| part.parse::<Compartment>().map_err(|error| error.to_string())).transpose()?;
        Ok(Self { repo, compartment })
    }
}

/// Verbs about the log.
#[derive(Subcommand)]
pub enum Audit {
    /// Records, newest first
    Search {
        #[command(flatten)]
        filter: AuditFilter,
        /// Records, at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Go on here: the `next` of what was found before
        #[arg(long)]
        before: Option<Cursor>,
        #[command(flatten)]
        remote: Remote,
    },
    /// What was done, the oldest first: a line an act, with all ranges that were read of a file
    Timeline {
        #[command(flatten)]
        filter: AuditFilter,
        /// Records that are looked at, at most: the newest
        #[arg(long, default_value_t = 5000)]
        limit: u32,
        #[command(flatten)]
        remote: Remote,
    },
    /// Who can read a repository now, by which role, line or share, and who did
    Who {
        /// NAMESPACE/NAME, or one of its compartments
        #[arg(value_name = "NS/NAME[/COMPARTMENT]")]
        what: ReadWhat,
        #[command(flatten)]
        kind: Kind,
        /// Reading not before: 2h, or 2026-11-24T12:00:00Z
        #[arg(long)]
        since: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// What a credential can reach under the policy of now, and exactly what it read
    What {
        /// All tokens of this principal
        #[arg(value_name = "PRINCIPAL", required_unless_present_any = ["principal", "token"])]
        name: Option<String>,
        /// The same
        #[arg(long, conflicts_with = "name")]
        principal: Option<String>,
        /// This token alone, also after it was revoked
        #[arg(long, conflicts_with_all = ["name", "principal"])]
        token: Option<u64>,
        /// Reading not before: 2h, or 2026-11-24T12:00:00Z
        #[arg(long)]
        since: Option<String>,
        /// Reading before: 2h, or 2026-11-24T12:00:00Z
        #[arg(long)]
        until: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Recompute the whole tree from stored records, and compare with the signed checkpoint
    Verify {
        /// A checkpoint that was saved earlier: nothing before it may have changed
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// A witness's key (NAME+ID+KEY): what it cosigned of each log must be the log's beginning; repeat for more
        #[arg(long = "witness", value_name = "KEY")]
        witnesses: Vec<CosignerKey>,
        /// The log's key, as it was saved earlier
        #[arg(long)]
        key: Option<String>,
        /// Offline, on a copy of the data directory's keeper.db
        #[arg(long, value_name = "FILE")]
        database: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// An inclusion proof of one record, checked here
    Prove {
        /// The record's number
        record: u64,
        /// The log it is in: each replica of a server writes one
        #[arg(long, default_value_t = 1)]
        log: u64,
        #[command(flatten)]
        remote: Remote,
    },
    /// The log in its order, on standard output, a line a record
    Export(AuditExport),
    /// On another machine: cosign the checkpoints of logs that only grow, by https (C2SP tlog-witness)
    Witness(Witness),
    /// The newest signed checkpoint; save it elsewhere
    Checkpoint {
        /// A witness's key (NAME+ID+KEY): the newest checkpoint that it cosigned, verified; repeat for those that must have
        #[arg(long = "witness", value_name = "KEY")]
        witnesses: Vec<CosignerKey>,
        /// The log's key, as it was saved earlier
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
}
