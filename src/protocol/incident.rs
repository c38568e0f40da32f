//! Incidents: what a credential could reach and what it read, with the evidence.

use serde::{Deserialize, Serialize};
use strongroom_domain::Action;

use crate::admin::Cursor;

/// Whom an incident is about, as it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suspect {
    /// A token, by id.
    Token(u64),
    /// A principal, by name: all of its tokens.
    Principal(String),
    /// A share, by id: all of its tokens.
    Share(u64),
    /// A partner organisation, by name: whoever was one of its people at any time.
    Partner(String),
    /// A client's address.
    Address(String),
}

/// Opens an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentQuery {
    /// About whom.
    pub suspect: Suspect,
    /// Not before, Unix milliseconds.
    pub since_ms: i64,
    /// Before, Unix milliseconds; none for now.
    pub until_ms: Option<i64>,
    /// Whether it is stopped in the same act.
    pub lock: bool,
}

/// Whom an incident is about, by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A token.
    Token {
        /// Its number.
        id: u64,
        /// Whose.
        principal: u64,
    },
    /// A principal.
    Principal {
        /// Its number.
        id: u64,
        /// Its name.
        name: String,
    },
    /// A share.
    Share {
        /// Its number.
        id: u64,
        /// With whom; 0 where that is a partner organisation.
        principal: u64,
        /// Its tokens.
        tokens: Vec<u64>,
    },
    /// A partner organisation.
    Partner {
        /// Its number.
        id: u64,
        /// Its name.
        name: String,
        /// Those who are or were its people, by number.
        people: Vec<u64>,
    },
    /// A client's address.
    Address {
        /// As text.
        address: String,
    },
}

/// Which records are the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentScope {
    /// About whom.
    pub subject: Subject,
    /// Not before, Unix milliseconds.
    pub since_ms: i64,
    /// Before, Unix milliseconds.
    pub until_ms: i64,
    /// The logs, and how many records of each: those up to the checkpoints of the bundle.
    pub sizes: Vec<(u64, u64)>,
}

impl IncidentScope {
    /// Records of a log that lie under its checkpoint.
    pub fn size(&self, log: u64) -> u64 {
        self.sizes.iter().find(|(number, _)| *number == log).map_or(0, |(_, size)| *size)
    }
}

/// A command about incidents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum IncidentCommand {
    /// Open one: its summary, signed, and where the evidence lies.
    Open(IncidentQuery),
    /// Evidence of what was done, newest first, a page at a time.
    Activity {
        /// Which.
        scope: IncidentScope,
        /// Before this record: the next page.
        before: Option<Cursor>,
        /// This record and newer ones.
        #[serde(default)]
        down_to: Option<Cursor>,
    },
    /// Evidence of how policy was: the records at these places.
    Policy {
        /// Which.
        scope: IncidentScope,
        /// Logs and records.
        places: Vec<(u64, u64)>,
    },
}

impl IncidentCommand {
    /// The action that policy decides on; who locks needs [`Action::LockManage`] beside it.
    pub fn action(&self) -> Action {
        Action::AuditRead
    }

    /// The word of an opening.
    pub const OPEN: &'static str = "incident.open";

    /// Its word in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Open(_) => Self::OPEN,
            Self::Activity { .. } | Self::Policy { .. } => "incident.evidence",
        }
    }
}
