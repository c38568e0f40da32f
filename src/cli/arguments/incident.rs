//! What may be typed about incidents.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use strongroom_audit::cosignature::CosignerKey;
use strongroom_audit::note::VerifierKey;

use super::Remote;

/// Whom it is about.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Whom {
    /// A token, by id, also after it was revoked
    #[arg(long)]
    pub token: Option<u64>,
    /// A principal, with all of its tokens
    #[arg(long)]
    pub principal: Option<String>,
    /// A share, with all of its tokens
    #[arg(long)]
    pub share: Option<u64>,
    /// A partner organisation: whoever was one of its people at any time
    #[arg(long)]
    pub partner: Option<String>,
    /// A client's address
    #[arg(long)]
    pub address: Option<String>,
}

/// Verbs about incidents.
#[derive(Subcommand)]
pub enum Incident {
    /// What somebody could reach at each generation of policy and what they read, as a signed bundle of evidence
    Open {
        #[command(flatten)]
        whom: Whom,
        /// Not before: 2h, or 2026-11-24T12:00:00Z
        #[arg(long)]
        since: String,
        /// Before: 2h, or 2026-11-24T12:00:00Z; without it, now
        #[arg(long)]
        until: Option<String>,
        /// Stop it in the same act: the principal, the token, the tokens of the share, the organisation's people, or those used from the address
        #[arg(long)]
        lock: bool,
        /// Where the bundle is written; an existing file stays as it is
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Verify a bundle, offline: each record's place in the log, the signatures, and the summary computed anew
    Verify {
        /// As `incident open` wrote it
        bundle: PathBuf,
        /// The log's key, as it was saved earlier (`audit checkpoint` prints it)
        #[arg(long)]
        key: VerifierKey,
        /// A witness's key (NAME+ID+KEY): it must have cosigned a beginning of each log; repeat for more
        #[arg(long = "witness", value_name = "KEY")]
        witnesses: Vec<CosignerKey>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}
