//! What may be typed about alerts.

use clap::Subcommand;
use strongroom_domain::AlertKind;

use super::Remote;

/// Verbs about alerts.
#[derive(Subcommand)]
pub enum Alert {
    /// Those that were raised, newest first
    List {
        /// network, denials, budget, coverage, decoy, audit, seal or policy
        #[arg(long)]
        kind: Option<AlertKind>,
        /// Not before: 2h, or 2026-11-24T12:00:00Z
        #[arg(long)]
        since: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        remote: Remote,
    },
}
