//! What may be typed about acts that need a second person.

use clap::Subcommand;

use super::Remote;

/// Verbs about them.
#[derive(Subcommand)]
pub enum Approval {
    /// What waits, of what you asked for or could approve
    List {
        /// Also what is over
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// One of them, with all that was asked for
    Show {
        /// By the id that `approval list` shows
        id: u64,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let it take effect
    Approve {
        /// By the id that `approval list` shows
        id: u64,
        #[command(flatten)]
        remote: Remote,
    },
    /// End it without effect; what you asked for yourself, you take back so
    Reject {
        /// By the id that `approval list` shows
        id: u64,
        /// Why, for the log
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
}
