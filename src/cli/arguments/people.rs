//! What may be typed about principals, roles and tokens.

use clap::{Args, Subcommand};
use strongroom_domain::{Action, Compartment, RepoName, Role};

use super::{Kind, Remote};

/// Verbs about principals.
#[derive(Subcommand)]
pub enum User {
    /// Make a principal
    Create {
        /// What it is called
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// All principals
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// One principal with its roles and tokens
    Show {
        /// Which
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a principal: its tokens and roles end
    Remove {
        /// Which
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let a principal be claimed anew, where its claim was made by somebody else
    Unclaim {
        /// Which
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Register for whom sealed deliveries to a principal are encrypted
    Recipient {
        /// Whose
        name: String,
        /// age1…, a native one; without it, the one that is registered is taken away
        recipient: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Where a role is held.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Where {
    /// In this namespace
    #[arg(long)]
    pub namespace: Option<String>,
    /// In this repository
    #[arg(long, value_name = "NS/NAME")]
    pub repo: Option<RepoName>,
    /// Everywhere
    #[arg(long)]
    pub system: bool,
}

/// Verbs about roles.
#[derive(Subcommand)]
pub enum RoleCommand {
    /// Give a role
    Grant {
        /// To whom
        user: String,
        /// reader, writer, maintainer, owner, partner, auditor, security, monitor or admin
        role: Role,
        #[command(flatten)]
        place: Where,
        #[command(flatten)]
        kind: Kind,
        #[command(flatten)]
        remote: Remote,
    },
    /// Take a role
    Revoke {
        /// From whom
        user: String,
        /// Which
        role: Role,
        #[command(flatten)]
        place: Where,
        #[command(flatten)]
        kind: Kind,
        #[command(flatten)]
        remote: Remote,
    },
    /// Allow one action beside the roles, such as key.recover
    Allow(Line),
    /// Deny one action; a denial wins over every role
    Deny(Line),
    /// Who holds what where
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

/// An allowance or a denial.
#[derive(Args)]
pub struct Line {
    /// Whom
    pub user: String,
    /// Which action
    pub action: Action,
    /// In which compartment, where the action has them
    #[arg(long)]
    pub compartment: Option<Compartment>,
    #[command(flatten)]
    pub place: Where,
    #[command(flatten)]
    pub kind: Kind,
    /// Take the line away again
    #[arg(long)]
    pub remove: bool,
    #[command(flatten)]
    pub remote: Remote,
}

/// Verbs about access tokens.
#[derive(Subcommand)]
pub enum Token {
    /// Make a token; it is shown once
    Create {
        /// For whom
        #[arg(long)]
        user: String,
        /// What it is called
        #[arg(long)]
        name: Option<String>,
        /// Narrow it: namespace:NS, repo:NS/NAME, action:ACTION or compartment:NAME; repeat for more
        #[arg(long = "scope", value_name = "WHAT")]
        scopes: Vec<String>,
        /// How long it lives, such as 7d or 12h
        #[arg(long)]
        expires: Option<humantime::Duration>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Exchange the token in STRONGROOM_TOKEN for one that nobody else has seen; with it you approve what others ask
    Claim {
        /// What it is called
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Tokens, without their secrets
    List {
        /// Only of this principal
        #[arg(long)]
        user: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// End a token at once
    Revoke {
        /// By the id that `token list` shows
        id: u64,
        #[command(flatten)]
        remote: Remote,
    },
}
