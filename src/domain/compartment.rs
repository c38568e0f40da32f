//! Compartments: the unit of authorisation, of encryption and of audit, chosen by a file's path alone.

use crate::limits::COMPARTMENT_RULES_MAX;
use crate::path::RepoPath;

/// A part of a repository with keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compartment {
    /// Cards, licences, pictures.
    Docs,
    /// Configuration and tokenizers.
    Config,
    /// Model weights.
    Weights,
    /// Training and evaluation data.
    Data,
    /// Test logs and traces: the strictest, and the place of everything unknown.
    Logs,
    /// Programs.
    Code,
}

impl Compartment {
    /// All of them, in the order in which grants and records list them.
    pub const ALL: [Self; 6] = [Self::Docs, Self::Config, Self::Weights, Self::Data, Self::Logs, Self::Code];

    /// Where a path goes that no rule names: what the fewest roles may read.
    pub const STRICTEST: Self = Self::Logs;

    /// The word in policy files, scopes, the log and key derivation. Changing one loses the keys derived from it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Docs => "docs",
            Self::Config => "config",
            Self::Weights => "weights",
            Self::Data => "data",
            Self::Logs => "logs",
            Self::Code => "code",
        }
    }
}

impl std::fmt::Display for Compartment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for Compartment {
    type Err = RuleError;

    fn from_str(word: &str) -> Result<Self, RuleError> {
        Self::ALL.into_iter().find(|compartment| compartment.word() == word).ok_or(RuleError::Compartment)
    }
}

/// Why a list of rules is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not one of the six.
    #[error("a compartment is docs, config, weights, data, logs or code")]
    Compartment,
    /// An empty glob, `**` inside a segment, or an empty segment.
    #[error("a glob is made of segments between '/'; '*' and '?' stay inside one, '**' is a whole one")]
    Glob,
    /// Too many.
    #[error("at most {COMPARTMENT_RULES_MAX} compartment rules")]
    Many,
}

/// Ordered globs, first match wins. `*` is any text inside a segment, `?` one character, `**` any number of segments.
/// A glob without a slash is matched against the file's name in any directory. ASCII case is ignored: `README.MD`
/// must not slip into another compartment than `README.md`.
#[derive(Debug, Clone, Default)]
pub struct CompartmentRules(Vec<(Vec<String>, Compartment)>);

impl CompartmentRules {
    /// Checks and keeps the rules, in order.
    ///
    /// # Errors
    /// The first rule that is malformed, or too many of them.
    pub fn new<'a>(rules: impl IntoIterator<Item = (&'a str, Compartment)>) -> Result<Self, RuleError> {
        let rules = rules.into_iter().map(|(glob, compartment)| Ok((parse_glob(glob)?, compartment)));
        let rules = rules.collect::<Result<Vec<_>, RuleError>>()?;
        if rules.len() > COMPARTMENT_RULES_MAX { Err(RuleError::Many) } else { Ok(Self(rules)) }
    }

    /// The compartment of a path; total: [`Compartment::STRICTEST`] where no rule matches.
    pub fn compartment_of(&self, path: &RepoPath) -> Compartment {
        let folded = path.as_str().to_ascii_lowercase();
        let segments: Vec<&str> = folded.split('/').collect();
        self.0
            .iter()
            .find(|(glob, _)| segments_match(glob, &segments))
            .map_or(Compartment::STRICTEST, |(_, compartment)| *compartment)
    }
}

pub(crate) fn parse_glob(glob: &str) -> Result<Vec<String>, RuleError> {
    let mut segments: Vec<String> = glob.split('/').map(str::to_ascii_lowercase).collect();
    if segments.iter().any(|segment| segment.is_empty() || segment.contains("**") && segment != "**") {
        return Err(RuleError::Glob);
    }
    if segments.len() == 1 {
        segments.insert(0, "**".to_owned());
    }
    Ok(segments)
}

/// Greedy matching with one fallback, to the latest star: linear memory, at most quadratic time, no recursion.
fn glob_match<P, T>(pattern: &[P], text: &[T], is_star: impl Fn(&P) -> bool, matches: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t, mut fallback) = (0, 0, None);
    while t < text.len() {
        if pattern.get(p).is_some_and(&is_star) {
            fallback = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|item| matches(item, &text[t])) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star, from)) = fallback {
            (p, t) = (star + 1, from + 1);
            fallback = Some((star, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_star)
}

pub(crate) fn segments_match(glob: &[String], segments: &[&str]) -> bool {
    glob_match(glob, segments, |segment| segment == "**", |pattern, segment| segment_matches(pattern, segment))
}

fn segment_matches(pattern: &str, segment: &str) -> bool {
    let [pattern, segment] = [pattern, segment].map(|text| text.chars().collect::<Vec<_>>());
    glob_match(&pattern, &segment, |c| *c == '*', |p, c| *p == '?' || p == c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compartment(rules: &[(&str, Compartment)], path: &str) -> Compartment {
        CompartmentRules::new(rules.iter().copied()).unwrap().compartment_of(&path.parse().unwrap())
    }

    #[test]
    fn the_first_matching_rule_wins() {
        let rules = [("logs/**", Compartment::Logs), ("*.md", Compartment::Docs), ("**", Compartment::Code)];
        assert_eq!(compartment(&rules, "logs/README.md"), Compartment::Logs);
        assert_eq!(compartment(&rules, "deep/er/README.md"), Compartment::Docs);
        assert_eq!(compartment(&rules, "x"), Compartment::Code);
    }

    #[test]
    fn an_unknown_path_goes_to_the_strictest_compartment() {
        assert_eq!(compartment(&[("*.md", Compartment::Docs)], "secret.xyz"), Compartment::STRICTEST);
        assert_eq!(compartment(&[], "README.md"), Compartment::STRICTEST);
    }

    #[test]
    fn case_does_not_move_a_file_to_another_compartment() {
        assert_eq!(
            compartment(&[("Logs/**", Compartment::Logs), ("**", Compartment::Docs)], "LOGS/a"),
            Compartment::Logs
        );
    }

    #[test]
    fn a_star_stays_inside_its_segment() {
        let rules = [("a/*.bin", Compartment::Weights), ("b/**/c?.bin", Compartment::Data), ("**", Compartment::Docs)];
        assert_eq!(compartment(&rules, "a/x.bin"), Compartment::Weights);
        assert_eq!(compartment(&rules, "a/x/y.bin"), Compartment::Docs);
        assert_eq!(compartment(&rules, "b/c1.bin"), Compartment::Data);
        assert_eq!(compartment(&rules, "b/x/y/cé.bin"), Compartment::Data);
        assert_eq!(compartment(&rules, "b/x/y/c12.bin"), Compartment::Docs);
    }

    #[test]
    fn malformed_globs_are_refused() {
        for glob in ["", "/a", "a//b", "a**", "a/", "**b/c"] {
            assert_eq!(CompartmentRules::new([(glob, Compartment::Docs)]).unwrap_err(), RuleError::Glob, "{glob:?}");
        }
    }

    #[test]
    fn a_hostile_glob_ends_in_bounded_time() {
        let glob = "*a".repeat(100) + "b";
        assert_eq!(compartment(&[(&glob, Compartment::Docs)], &"a".repeat(255)), Compartment::STRICTEST);
    }
}
