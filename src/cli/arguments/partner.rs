//! What may be typed about partner organisations.

use clap::Subcommand;

use super::Remote;

/// Verbs about partner organisations.
#[derive(Subcommand)]
pub enum Partner {
    /// Make one: its people are here through it, and as long as somebody inside stands for it
    Create {
        /// What it is called: no user is, or was
        name: String,
        /// Who inside stands for it, and confirms it
        #[arg(long, value_name = "USER")]
        sponsor: String,
        /// How often it is to be confirmed, or it is over, such as 90d; never for ever (partners.max_recertify_days)
        #[arg(long)]
        recertify: Option<humantime::Duration>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Those that you manage or stand for, with when each is due
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// One of them, with its people and what is shared with it
    Show {
        /// Which
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let somebody be one of its people: what they do here, they do through it from then on
    Add {
        /// Which
        name: String,
        /// Whom
        user: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// The contrary, at once, streams in flight included
    Remove {
        /// Which
        name: String,
        /// Whom
        user: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let another stand for it; that does not confirm it
    Sponsor {
        /// Which
        name: String,
        /// Who
        user: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// You stand for it: say that it goes on
    Confirm {
        /// Which
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// End it for good, with all that its people can do here
    End {
        /// Which
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
}
