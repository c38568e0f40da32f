//! Access reviews: what was given to whom, confirmed or taken by those who answer for it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strongroom_domain::{Action, Compartment, RepoKind, RepoName, Role};

use crate::admin::PlaceName;

/// A place, by the keeper's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GivenAt {
    /// Everywhere.
    System,
    /// A namespace.
    Namespace(u64),
    /// A repository.
    Repo(u64),
}

/// Something that was given to somebody, by numbers alone. As text: `role-7-reader-repo-3`, `line-7-key.recover-weights-system-0`,
/// `share-4`, `token-9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Given {
    /// A role, and whose.
    Role(u64, Role, GivenAt),
    /// A line that allows, and whom.
    Line(u64, Action, Option<Compartment>, GivenAt),
    /// A share.
    Share(u64),
    /// A token that is of no share.
    Token(u64),
}

impl fmt::Display for GivenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system-0"),
            Self::Namespace(id) => write!(f, "namespace-{id}"),
            Self::Repo(id) => write!(f, "repo-{id}"),
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(whose, role, at) => write!(f, "role-{whose}-{role}-{at}"),
            Self::Line(whom, action, part, at) => {
                write!(f, "line-{whom}-{action}-{}-{at}", part.map_or("none", Compartment::word))
            }
            Self::Share(id) => write!(f, "share-{id}"),
            Self::Token(id) => write!(f, "token-{id}"),
        }
    }
}

const WRONG: &str = "this is no id that `review list` shows";

impl FromStr for Given {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| WRONG);
        let at = |word: &str, id: &str| match word {
            "system" if id == "0" => Ok(GivenAt::System),
            "namespace" => number(id).map(GivenAt::Namespace),
            "repo" => number(id).map(GivenAt::Repo),
            _ => Err(WRONG),
        };
        let given = match text.split('-').collect::<Vec<_>>()[..] {
            ["role", whose, role, place, id] => {
                Self::Role(number(whose)?, role.parse().map_err(|_| WRONG)?, at(place, id)?)
            }
            ["line", whom, action, part, place, id] => {
                let part = if part == "none" { None } else { Some(part.parse().map_err(|_| WRONG)?) };
                Self::Line(number(whom)?, action.parse().map_err(|_| WRONG)?, part, at(place, id)?)
            }
            ["share", id] => Self::Share(number(id)?),
            ["token", id] => Self::Token(number(id)?),
            _ => return Err(WRONG),
        };
        // One thing has one text.
        if given.to_string() == text { Ok(given) } else { Err(WRONG) }
    }
}

impl TryFrom<String> for Given {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Given> for String {
    fn from(given: Given) -> Self {
        given.to_string()
    }
}

/// A command about reviews.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ReviewCommand {
    /// What was given, of which the asker may decide.
    List {
        /// About this repository alone.
        repo: Option<(RepoKind, RepoName)>,
        /// To this principal alone.
        user: Option<String>,
        /// Only what was not used for so many seconds.
        stale_s: Option<u64>,
        /// After this one: the next page.
        after: Option<Given>,
    },
    /// Say that it stays.
    Confirm {
        /// What.
        given: Vec<Given>,
        /// Why, for the log.
        reason: String,
    },
    /// Take it.
    Revoke {
        /// What.
        given: Vec<Given>,
        /// Why, for the log.
        reason: String,
    },
    /// Begin a round: what of a place nobody confirms in time lapses.
    Start {
        /// Of which place, with all that lies in it.
        place: PlaceName,
        /// Seconds.
        within_s: u64,
    },
    /// Rounds, those that are over too, of which the asker may decide.
    Rounds,
    /// One of them, with all that is in it.
    Show {
        /// By its number.
        id: u64,
    },
}

impl ReviewCommand {
    /// The action that policy decides on, at the place of each thing.
    pub fn action(&self) -> Action {
        Action::ReviewManage
    }

    /// Its word in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::List { .. } => "review.list",
            Self::Confirm { .. } => "review.confirm",
            Self::Revoke { .. } => "review.revoke",
            Self::Start { .. } => "review.start",
            Self::Rounds => "review.rounds",
            Self::Show { .. } => "review.show",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_in_no_other_spelling() {
        for text in [
            "role-7-reader-repo-3",
            "role-1-admin-system-0",
            "line-7-key.recover-weights-namespace-3",
            "line-7-repo.ask-none-repo-3",
            "share-4",
            "token-9",
        ] {
            assert_eq!(text.parse::<Given>().map(|given| given.to_string()), Ok(text.to_owned()));
        }
        for wrong in
            ["", "role-7-reader-repo", "role-07-reader-repo-3", "role-1-admin-system-1", "share-+4", "token-9-", "x-1"]
        {
            assert!(wrong.parse::<Given>().is_err(), "{wrong}");
        }
    }
}
