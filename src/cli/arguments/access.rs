//! What may be typed about access.

use clap::{Args, Subcommand};
use strongroom_domain::RepoName;
use strongroom_protocol::AccessStatus;

use super::{Kind, NewShare, Remote};

/// A repository on the server.
#[derive(Args)]
pub struct Of {
    /// NAMESPACE/NAME
    #[arg(value_name = "NS/NAME")]
    pub repo: RepoName,
    #[command(flatten)]
    pub kind: Kind,
    #[command(flatten)]
    pub remote: Remote,
}

/// Verbs about access to a repository.
#[derive(Subcommand)]
pub enum Access {
    /// Let somebody know that a repository is there, and ask for it; nothing of it is shown
    Disclose {
        #[command(flatten)]
        of: Of,
        /// Whom
        #[arg(long, value_name = "USER")]
        to: String,
    },
    /// The contrary; a request that waits is over
    Conceal {
        #[command(flatten)]
        of: Of,
        /// From whom
        #[arg(long, value_name = "USER")]
        from: String,
    },
    /// Requests for the repositories whose shares you manage
    List {
        /// pending, accepted or rejected; all of them where it is not given
        #[arg(long)]
        status: Option<AccessStatus>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Give whoever asked a share; they take its token themselves
    Approve {
        #[command(flatten)]
        new: Box<NewShare>,
        /// Share it with the partner organisation that they are one of, or that --to names; each of its people takes a token of their
        /// own, and what they asked for is decided for all of them
        #[arg(long)]
        partner: bool,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Reject a request; a share that was made for it is revoked
    Reject {
        #[command(flatten)]
        of: Of,
        /// Whose
        #[arg(long, value_name = "USER|PARTNER")]
        user: String,
        /// All that waits of the people of the partner organisation that they are one of, or that --user names
        #[arg(long)]
        partner: bool,
        /// Why; they are told
        #[arg(long)]
        reason: String,
    },
    /// Let a request that was decided wait again; a share that was made for it is revoked
    Reopen {
        #[command(flatten)]
        of: Of,
        /// Whose
        #[arg(long, value_name = "USER")]
        user: String,
    },
    /// Ask for a repository that was disclosed to you
    Ask {
        #[command(flatten)]
        of: Of,
        /// For what, for those who decide
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Your own requests
    Mine {
        #[command(flatten)]
        remote: Remote,
    },
    /// Take a request back that waits
    Withdraw {
        #[command(flatten)]
        of: Of,
    },
    /// Once you were given a share: a token of it, shown once
    Token {
        #[command(flatten)]
        of: Of,
    },
}
