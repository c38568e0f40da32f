//! What may be typed about access reviews.

use clap::{Args, Subcommand};
use strongroom_domain::RepoName;
use strongroom_protocol::Given;

use super::{Kind, Remote, Where};

/// A verb; without one, what `list` shows.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Reviews {
    #[command(subcommand)]
    pub verb: Option<Review>,
    #[command(flatten)]
    pub list: Listed,
}

/// What of it is listed.
#[derive(Args)]
pub struct Listed {
    /// Only what is about this repository alone
    #[arg(long, value_name = "NS/NAME")]
    pub repo: Option<RepoName>,
    #[command(flatten)]
    pub kind: Kind,
    /// Only what was given to them
    #[arg(long)]
    pub user: Option<String>,
    /// Only what was of no use for so long, such as 90d
    #[arg(long)]
    pub stale: Option<humantime::Duration>,
    #[command(flatten)]
    pub remote: Remote,
}

/// Verbs about access reviews.
#[derive(Subcommand)]
pub enum Review {
    /// What was given at the places that you answer for: roles, lines, shares, tokens; by whom, when, and when it was of use
    List(Listed),
    /// Say that it stays; not what is given to you
    Confirm {
        /// By the ids that `review list` shows
        #[arg(required = true)]
        ids: Vec<Given>,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Take it, at once
    Revoke {
        /// By the ids that `review list` shows
        #[arg(required = true)]
        ids: Vec<Given>,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Begin a review of all that is given at a place now: what nobody confirms in time lapses
    Start {
        #[command(flatten)]
        place: Where,
        #[command(flatten)]
        kind: Kind,
        /// How long there is for it, such as 14d
        #[arg(long)]
        within: humantime::Duration,
        #[command(flatten)]
        remote: Remote,
    },
    /// Reviews that were begun, those that are over too
    Rounds {
        #[command(flatten)]
        remote: Remote,
    },
    /// One of them: what waits, or what lapsed and what stayed
    Show {
        /// By the id that `review rounds` shows
        id: u64,
        #[command(flatten)]
        remote: Remote,
    },
}
