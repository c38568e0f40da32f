//! `policies/budgets.toml`: the budgets as operators review them.

use serde::{Deserialize, Deserializer};

use crate::budgets::{Budgets, CoverageLine, Line, Lines, Window};
use crate::compartment::Compartment;

/// Lines of one kind of actor, at most: a window and a compartment each.
const COVERAGE_LINES_MAX: usize = 64;
/// Repositories that are counted one by one, at most.
const REPOSITORIES_MAX: u64 = 10_000;

/// Why the file is refused; the text names the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BudgetFileError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct File {
    principal: Section,
    token: Section,
    share: Section,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    lock: bool,
    bytes_per_hour: Pair<Bytes>,
    bytes_per_day: Pair<Bytes>,
    repositories_per_hour: Pair<Repositories>,
    repositories_per_day: Pair<Repositories>,
    coverage: Vec<Coverage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair<T> {
    #[serde(default = "none")]
    soft: Option<T>,
    #[serde(default = "none")]
    hard: Option<T>,
}

impl<T> Default for Pair<T> {
    fn default() -> Self {
        Self { soft: None, hard: None }
    }
}

fn none<T>() -> Option<T> {
    None
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Coverage {
    compartment: Compartment,
    within: Window,
    soft: Option<Percent>,
    hard: Option<Percent>,
    hard_bytes: Option<Bytes>,
    from: Option<Bytes>,
}

struct Bytes(u64);
struct Repositories(u64);
struct Percent(u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        bytes(&text).map(Self).ok_or_else(|| {
            serde::de::Error::custom("bytes are a whole number with B, KiB, MiB, GiB or TiB behind it, as in \"10GiB\"")
        })
    }
}

fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let shift = match text[end..].trim_start() {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    text[..end].parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn at_most<'de, D: Deserializer<'de>>(deserializer: D, most: u64, what: &str) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom(format!("{what} between 0 and {most}"));
    if number > most { Err(wrong()) } else { Ok(number) }
}

impl<'de> Deserialize<'de> for Repositories {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        at_most(deserializer, REPOSITORIES_MAX, "repositories are").map(Self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        at_most(deserializer, 100, "coverage is in percent,").map(Self)
    }
}

/// A warning that comes with the refusal, or after it, warns nobody.
fn line(at: &str, soft: Option<u64>, hard: Option<u64>) -> Result<Line, BudgetFileError> {
    if soft.zip(hard).is_some_and(|(soft, hard)| soft >= hard) {
        return Err(BudgetFileError(format!("{at}: the soft line lies below the hard one")));
    }
    Ok(Line { soft, hard })
}

fn lines(of: &str, section: &Section) -> Result<Lines, BudgetFileError> {
    let bytes = |name: &str, pair: &Pair<Bytes>| {
        line(&format!("{of}.{name}"), pair.soft.as_ref().map(|b| b.0), pair.hard.as_ref().map(|b| b.0))
    };
    let repositories = |name: &str, pair: &Pair<Repositories>| {
        line(&format!("{of}.{name}"), pair.soft.as_ref().map(|r| r.0), pair.hard.as_ref().map(|r| r.0))
    };
    let mut coverage = Vec::new();
    for one in &section.coverage {
        let at = format!("{of}.coverage of {} within {}", one.compartment, one.within.word());
        let percent = line(&at, one.soft.as_ref().map(|p| p.0), one.hard.as_ref().map(|p| p.0))?;
        let (hard_bytes, from) = (one.hard_bytes.as_ref().map(|b| b.0), one.from.as_ref().map_or(0, |b| b.0));
        if percent == Line::default() && hard_bytes.is_none() {
            return Err(BudgetFileError(format!("{at}: neither soft, hard nor hard_bytes")));
        }
        if hard_bytes.is_some_and(|hard| hard < from) {
            return Err(BudgetFileError(format!("{at}: from lies above hard_bytes, which would never stop anybody")));
        }
        coverage.push(CoverageLine { compartment: one.compartment, within: one.within, percent, hard_bytes, from });
    }
    if coverage.len() > COVERAGE_LINES_MAX {
        return Err(BudgetFileError(format!("{of}.coverage: at most {COVERAGE_LINES_MAX} lines")));
    }
    Ok(Lines {
        lock: section.lock,
        bytes: [bytes("bytes_per_hour", &section.bytes_per_hour)?, bytes("bytes_per_day", &section.bytes_per_day)?],
        repositories: [
            repositories("repositories_per_hour", &section.repositories_per_hour)?,
            repositories("repositories_per_day", &section.repositories_per_day)?,
        ],
        coverage,
    })
}

impl Budgets {
    /// Reads the text of `budgets.toml`.
    ///
    /// # Errors
    /// The first mistake. A file with a mistake gives no budgets at all.
    pub fn from_toml(text: &str) -> Result<Self, BudgetFileError> {
        let file: File = toml::from_str(text).map_err(|error| BudgetFileError(error.to_string()))?;
        Ok(Self {
            principal: lines("principal", &file.principal)?,
            token: lines("token", &file.token)?,
            share: lines("share", &file.share)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_bounds_a_principal_and_leaves_weights_and_shares_to_their_owner() {
        let budgets = Budgets::from_toml(include_str!("../../policies/budgets.toml")).unwrap();
        assert_eq!(budgets.principal.bytes[1].hard, Some(1 << 40));
        assert_eq!(budgets.principal.repositories[1].hard, Some(1000));
        assert!(budgets.principal.bytes.iter().chain(&budgets.principal.repositories).all(|line| line.soft.is_some()));
        assert_eq!(budgets.principal.coverage_of(Compartment::Logs).count(), 3);
        assert_eq!(budgets.principal.coverage_of(Compartment::Weights).count(), 0);
        assert!(!budgets.principal.lock && budgets.token == Lines::default() && budgets.share == Lines::default());
    }

    #[test]
    fn a_mistake_in_the_file_is_refused_with_its_place() {
        let error = |text: &str| Budgets::from_toml(text).unwrap_err().to_string();
        for (text, said) in [
            ("[principal]\nbytes_per_hour = { hard = \"10 gigs\" }", "GiB"),
            ("[principal]\nbytes_per_hour = { hard = 10 }", "line 2"),
            ("[principal]\nbytes_per_hour = { hard = \"99999999999TiB\" }", "line 2"),
            ("[principal]\nbytes_per_week = { hard = \"1B\" }", "line 2"),
            ("[everybody]", "everybody"),
            ("[token]\nrepositories_per_day = { hard = 10001 }", "10000"),
            ("[token]\nrepositories_per_day = { soft = 5, hard = 5 }", "token.repositories_per_day: the soft line"),
            ("[share]\ncoverage = [{ compartment = \"weights\", within = \"day\", hard = 101 }]", "100"),
            ("[share]\ncoverage = [{ compartment = \"weight\", within = \"day\", hard = 1 }]", "a compartment is"),
            ("[share]\ncoverage = [{ compartment = \"weights\", within = \"week\", hard = 1 }]", "90days"),
            ("[share]\ncoverage = [{ compartment = \"weights\", within = \"day\" }]", "neither"),
            (
                "[share]\ncoverage = [{ compartment = \"docs\", within = \"day\", hard_bytes = \"1B\", from = \"2B\" }]",
                "from",
            ),
        ] {
            assert!(error(text).contains(said), "{text}: {}", error(text));
        }
    }

    #[test]
    fn a_coverage_line_is_the_nearer_of_its_part_and_its_bytes_and_never_below_what_it_lets_go() {
        let text = "[share]\ncoverage = [{ compartment = \"weights\", within = \"day\", soft = 10, hard = 25, \
                    hard_bytes = \"1KiB\", from = \"10B\" }]";
        let budgets = Budgets::from_toml(text).unwrap();
        let line = budgets.share.coverage_of(Compartment::Weights).next().unwrap();
        assert_eq!(line.of(1000), Line { soft: Some(100), hard: Some(250) });
        assert_eq!(line.of(u64::MAX).hard, Some(1024), "however large the whole is said to be");
        assert_eq!(line.of(0), Line { soft: Some(10), hard: Some(10) });
    }
}
