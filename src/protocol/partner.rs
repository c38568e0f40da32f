//! Partner organisations: named people who are here through one organisation, for which somebody inside stands.

use serde::{Deserialize, Serialize};
use strongroom_domain::Action;

/// A command about partner organisations.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PartnerCommand {
    /// Make one.
    Create {
        /// What it is called: no principal and no other organisation is, or was.
        name: String,
        /// Who stands for it.
        sponsor: String,
        /// Seconds after which it is over unless its sponsor confirms it again; the configured maximum is the limit.
        recertify_s: Option<u64>,
    },
    /// Those that the asker manages or stands for.
    List,
    /// One of them.
    Show {
        /// Which.
        name: String,
    },
    /// Let a principal be one of its people.
    Add {
        /// Which.
        name: String,
        /// Whom.
        user: String,
    },
    /// The contrary. What the organisation holds is nothing to them from then on.
    Remove {
        /// Which.
        name: String,
        /// Whom.
        user: String,
    },
    /// Let another stand for it. That confirms nothing.
    Sponsor {
        /// Which.
        name: String,
        /// Who.
        user: String,
    },
    /// Say that it goes on: its sponsor alone does.
    Confirm {
        /// Which.
        name: String,
    },
    /// End it, for good.
    End {
        /// Which.
        name: String,
    },
}

impl PartnerCommand {
    /// The action that policy decides on; the others are judged by who stands for the organisation.
    pub fn action(&self) -> Action {
        match self {
            Self::Create { .. } | Self::Add { .. } | Self::Sponsor { .. } | Self::End { .. } => Action::PartnerManage,
            Self::List | Self::Show { .. } | Self::Remove { .. } | Self::Confirm { .. } => Action::Whoami,
        }
    }

    /// Its word in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "partner.create",
            Self::List => "partner.list",
            Self::Show { .. } => "partner.show",
            Self::Add { .. } => "partner.add",
            Self::Remove { .. } => "partner.remove",
            Self::Sponsor { .. } => "partner.sponsor",
            Self::Confirm { .. } => "partner.confirm",
            Self::End { .. } => "partner.end",
        }
    }
}
