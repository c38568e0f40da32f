//! Budgets: how much an actor may read in how long, and which part of a repository.

use serde::{Deserialize, Serialize};

use crate::compartment::Compartment;

/// Whose a budget is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// A principal, over all of their tokens.
    Principal,
    /// A token.
    Token,
    /// A share, over all of its tokens.
    Share,
}

impl Actor {
    /// The word in records, answers and the database.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Token => "token",
            Self::Share => "share",
        }
    }
}

/// In how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Window {
    /// An hour.
    #[serde(rename = "hour")]
    Hour,
    /// A day.
    #[serde(rename = "day")]
    Day,
    /// Ninety days: a slow theft.
    #[serde(rename = "90days")]
    Quarter,
}

impl Window {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Quarter];

    /// The word in the file, in records and in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Quarter => "90days",
        }
    }

    /// Milliseconds.
    pub const fn ms(self) -> i64 {
        const HOUR: i64 = 60 * 60 * 1000;
        match self {
            Self::Hour => HOUR,
            Self::Day => 24 * HOUR,
            Self::Quarter => 90 * 24 * HOUR,
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    /// Bytes that are asked for.
    Bytes,
    /// Repositories, each once.
    Repositories,
    /// Unique bytes of one compartment of one repository.
    Coverage(Compartment),
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes => f.write_str("bytes"),
            Self::Repositories => f.write_str("repositories"),
            Self::Coverage(compartment) => write!(f, "coverage of {compartment}"),
        }
    }
}

/// A budget, of those that an actor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Whose.
    pub of: Actor,
    /// What it counts.
    pub what: Counted,
    /// In how long.
    pub within: Window,
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let long = match self.within {
            Window::Hour => "an hour",
            Window::Day => "a day",
            Window::Quarter => "90 days",
        };
        write!(f, "{} in {long} of this {}", self.what, self.of.word())
    }
}

/// Where it is recorded, and where it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Line {
    /// More than this is recorded.
    pub soft: Option<u64>,
    /// More than this is refused.
    pub hard: Option<u64>,
}

/// The same for a part of a compartment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoverageLine {
    /// Of which.
    pub compartment: Compartment,
    /// In how long.
    pub within: Window,
    /// In percent of all that was committed to it.
    pub percent: Line,
    /// In unique bytes, whatever was committed.
    pub hard_bytes: Option<u64>,
    /// Unique bytes that no line stops.
    pub from: u64,
}

impl CoverageLine {
    /// The same in unique bytes, of a whole of so many.
    pub fn of(&self, whole: u64) -> Line {
        let part = |percent: u64| (u128::from(whole) * u128::from(percent) / 100) as u64; // at most the whole: it fits
        let soft = self.percent.soft.map(|percent| part(percent).max(self.from));
        let hard = self.percent.hard.map(part).into_iter().chain(self.hard_bytes).min();
        Line { soft, hard: hard.map(|hard| hard.max(self.from)) }
    }
}

/// The lines of one kind of actor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// Whether whoever crosses a hard one is locked.
    pub lock: bool,
    /// Bytes in an hour, in a day.
    pub bytes: [Line; 2],
    /// Repositories in an hour, in a day.
    pub repositories: [Line; 2],
    /// Parts of compartments.
    pub coverage: Vec<CoverageLine>,
}

impl Lines {
    /// Whether bytes or repositories are counted at all.
    pub fn counts(&self) -> bool {
        self.bytes.iter().chain(&self.repositories).any(|line| *line != Line::default())
    }

    /// The lines for a compartment.
    pub fn coverage_of(&self, compartment: Compartment) -> impl Iterator<Item = &CoverageLine> {
        self.coverage.iter().filter(move |line| line.compartment == compartment)
    }
}

/// The lines of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Of each principal.
    pub principal: Lines,
    /// Of each token.
    pub token: Lines,
    /// Of each share.
    pub share: Lines,
}

impl Budgets {
    /// Those of an actor of this kind.
    pub fn of(&self, actor: Actor) -> &Lines {
        match actor {
            Actor::Principal => &self.principal,
            Actor::Token => &self.token,
            Actor::Share => &self.share,
        }
    }
}
