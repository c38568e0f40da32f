//! `policies/witness.toml`: which compartments are read only while witnesses cosign the log.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::compartment::Compartment;

/// A witness is asked about once in `audit.witness_every`; what is older than a week is no freshness.
const WITHIN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Witnesses that can be required, at most.
const WITNESSES_MAX: u32 = 16;

/// Why the file is refused; the text names the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policies/witness.toml: {0}")]
pub struct WitnessError(String);

/// What a compartment requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Required {
    /// How many witnesses.
    pub witnesses: u32,
    /// How old their newest cosignature may be.
    #[serde(deserialize_with = "duration")]
    pub within: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    require_witness: BTreeMap<Compartment, Required>,
}

/// What each compartment requires; most require nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WitnessRules(BTreeMap<Compartment, Required>);

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

impl WitnessRules {
    /// Reads the text of `witness.toml`.
    ///
    /// # Errors
    /// The first mistake. A file with a mistake stops the start: what is left out by it would be read without a witness.
    pub fn from_toml(text: &str) -> Result<Self, WitnessError> {
        let File { require_witness } = toml::from_str(text).map_err(|error| WitnessError(error.to_string()))?;
        for (part, Required { witnesses, within }) in &require_witness {
            if !(1..=WITNESSES_MAX).contains(witnesses) {
                return Err(WitnessError(format!("{part}: witnesses are between 1 and {WITNESSES_MAX}")));
            }
            if !(Duration::from_secs(1)..=WITHIN_MAX).contains(within) {
                return Err(WitnessError(format!("{part}: within is between 1s and 7days")));
            }
        }
        Ok(Self(require_witness))
    }

    /// What a compartment requires.
    pub fn of(&self, part: Compartment) -> Option<Required> {
        self.0.get(&part).copied()
    }

    /// Whether any requires something.
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// The compartment that requires the most witnesses, and how many; and the shortest time that any allows.
    pub fn strictest(&self) -> Option<(Compartment, u32, Duration)> {
        let (part, most) = self.0.iter().max_by_key(|(_, required)| required.witnesses)?;
        let within = self.0.values().map(|required| required.within).min()?;
        Some((*part, most.witnesses, within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_requires_nothing() {
        let rules = WitnessRules::from_toml(include_str!("../../policies/witness.toml")).unwrap();
        assert!(!rules.any() && rules.strictest().is_none());
    }

    #[test]
    fn a_mistake_in_the_file_is_refused_with_its_place() {
        let rules = WitnessRules::from_toml(
            "[require_witness]\nweights = { witnesses = 2, within = \"10m\" }\ndata = { witnesses = 1, within = \"5m\" }",
        );
        let rules = rules.unwrap();
        assert_eq!(rules.of(Compartment::Weights).map(|required| required.within.as_secs()), Some(600));
        assert_eq!(rules.of(Compartment::Docs), None);
        assert_eq!(rules.strictest(), Some((Compartment::Weights, 2, Duration::from_secs(300))));
        for (text, said) in [
            ("", "require_witness"),
            ("[require_witness]\nweight = { witnesses = 1, within = \"10m\" }", "line 2"),
            ("[require_witness]\nweights = { witnesses = 0, within = \"10m\" }", "weights: witnesses"),
            ("[require_witness]\nweights = { witnesses = 1, within = \"8days\" }", "weights: within"),
            ("[require_witness]\nweights = { witnesses = 1 }", "within"),
            ("[require_witness]\nweights = { witnesses = 1, within = 10 }", "line 2"),
            ("[required_witness]", "required_witness"),
        ] {
            let error = WitnessRules::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
