//! `policies/alerts.toml`: what raises an alert, as operators review it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Of what an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertKind {
    /// A token is used from a network from which it never was.
    Network,
    /// Many refusals of one actor.
    Denials,
    /// A line of bytes or repositories was crossed.
    Budget,
    /// A line of coverage was crossed.
    Coverage,
    /// A decoy was touched.
    Decoy,
    /// Records could not be written.
    Audit,
    /// A keeper opened or closed its root key.
    Seal,
    /// Who may do what was changed.
    Policy,
}

impl AlertKind {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 8] = [
        Self::Network,
        Self::Denials,
        Self::Budget,
        Self::Coverage,
        Self::Decoy,
        Self::Audit,
        Self::Seal,
        Self::Policy,
    ];

    /// The word in the file, in records and in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Denials => "denials",
            Self::Budget => "budget",
            Self::Coverage => "coverage",
            Self::Decoy => "decoy",
            Self::Audit => "audit",
            Self::Seal => "seal",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for AlertKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.word() == word);
        found.ok_or_else(|| format!("an alert is one of {}", Self::ALL.map(Self::word).join(", ")))
    }
}

/// What a touch of a decoy stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoyLock {
    /// The principal and the token.
    Principal,
    /// The token alone.
    Token,
    /// Nobody: the alert is raised.
    Nothing,
}

/// Why the file is refused; the text names the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policies/alerts.toml: {0}")]
pub struct AlertsError(String);

/// Seconds between two alerts of one kind about one actor, at most: a week.
const EVERY_S_MAX: u32 = 7 * 24 * 3600;
/// Refusals that are counted, at most: a keeper remembers when each of them was.
const COUNT_MAX: u32 = 1000;
/// Seconds in which they are counted, at most: a day.
const WITHIN_S_MAX: u32 = 24 * 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    network: Plain,
    denials: Denials,
    budget: Plain,
    coverage: Plain,
    decoy: Decoy,
    audit: Plain,
    seal: Plain,
    policy: Plain,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    on: bool,
    every_s: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Denials {
    on: bool,
    every_s: u32,
    count: u32,
    within_s: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decoy {
    on: bool,
    every_s: u32,
    lock: DecoyLock,
}

/// What raises alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRules {
    /// Of each kind, in the order of [`AlertKind::ALL`]: milliseconds in which it is raised once about an actor, 0 for each time;
    /// `None` where it is off.
    every_ms: [Option<i64>; AlertKind::ALL.len()],
    /// Refusals of one actor that are many.
    pub denials: usize,
    /// Milliseconds in which they come.
    pub within_ms: i64,
    /// What a touch of a decoy stops, also where its alert is off.
    pub lock: DecoyLock,
}

impl AlertRules {
    /// Reads the text of `alerts.toml`. Every key must be there: what is left out by mistake would be an alert less.
    ///
    /// # Errors
    /// The first mistake: not TOML, a key that is unknown or missing, a number out of its bounds.
    pub fn from_toml(text: &str) -> Result<Self, AlertsError> {
        let file: File = toml::from_str(text).map_err(|error| AlertsError(error.to_string()))?;
        let within = |name: &str, number: u32, least: u32, most: u32| {
            let bounds = || AlertsError(format!("{name} is between {least} and {most}"));
            (least..=most).contains(&number).then_some(number).ok_or_else(bounds)
        };
        let every = |kind: AlertKind, on: bool, every_s: u32| {
            let every_s = within(&format!("{kind}.every_s"), every_s, 0, EVERY_S_MAX)?;
            Ok(on.then_some(i64::from(every_s) * 1000))
        };
        let plain = |kind: AlertKind, section: &Plain| every(kind, section.on, section.every_s);
        Ok(Self {
            every_ms: [
                plain(AlertKind::Network, &file.network)?,
                every(AlertKind::Denials, file.denials.on, file.denials.every_s)?,
                plain(AlertKind::Budget, &file.budget)?,
                plain(AlertKind::Coverage, &file.coverage)?,
                every(AlertKind::Decoy, file.decoy.on, file.decoy.every_s)?,
                plain(AlertKind::Audit, &file.audit)?,
                plain(AlertKind::Seal, &file.seal)?,
                plain(AlertKind::Policy, &file.policy)?,
            ],
            denials: within("denials.count", file.denials.count, 1, COUNT_MAX)? as usize,
            within_ms: i64::from(within("denials.within_s", file.denials.within_s, 1, WITHIN_S_MAX)?) * 1000,
            lock: file.decoy.lock,
        })
    }

    /// Milliseconds in which a kind is raised once about an actor, 0 for each time; `None` where it is off.
    pub fn every_ms(&self, kind: AlertKind) -> Option<i64> {
        AlertKind::ALL.iter().position(|held| *held == kind).and_then(|at| self.every_ms[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../policies/alerts.toml");

    #[test]
    fn what_is_shipped_raises_every_kind_and_locks_the_principal() {
        let rules = AlertRules::from_toml(SHIPPED).unwrap();
        assert!(AlertKind::ALL.into_iter().all(|kind| rules.every_ms(kind).is_some()));
        assert_eq!((rules.denials, rules.within_ms, rules.lock), (100, 300_000, DecoyLock::Principal));
        assert_eq!((rules.every_ms(AlertKind::Network), rules.every_ms(AlertKind::Policy)), (Some(600_000), Some(0)));
    }

    #[test]
    fn a_file_with_a_mistake_gives_no_rule_at_all() {
        for (from, to) in [
            ("count = 100", "count = 0"),
            ("count = 100", "count = 1001"),
            ("within_s = 300", ""),
            ("within_s = 300", "within_s = 300\nbeyond_s = 1"),
            ("lock = \"principal\"", "lock = \"everybody\""),
            ("[seal]\non = true", "[seal]"),
            ("[seal]", "[seals]"),
            ("every_s = 3600", "every_s = 604801"),
        ] {
            assert!(SHIPPED.contains(from) && AlertRules::from_toml(&SHIPPED.replacen(from, to, 1)).is_err(), "{to}");
        }
        let off = SHIPPED.replacen("[network]\non = true", "[network]\non = false", 1);
        assert_eq!(AlertRules::from_toml(&off).unwrap().every_ms(AlertKind::Network), None);
    }

    #[test]
    fn each_kind_has_a_word_of_its_own() {
        for kind in AlertKind::ALL {
            assert_eq!(kind.word().parse(), Ok(kind));
        }
        assert!("decoys".parse::<AlertKind>().is_err());
    }
}
