//! Globs over paths, as in `policies/compartments.toml`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::compartment::{RuleError, parse_glob, segments_match};
use crate::limits::{GLOB_BYTES_MAX, GLOBS_MAX};
use crate::path::RepoPath;

/// A list of globs, of which one must match; an empty list matches every path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathGlobs(Vec<(String, Vec<String>)>);

/// Why a list of globs is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobsError {
    /// One of them.
    #[error(transparent)]
    Glob(#[from] RuleError),
    /// Too many, or too long.
    #[error("at most {GLOBS_MAX} globs of at most {GLOB_BYTES_MAX} bytes each")]
    Many,
}

impl PathGlobs {
    /// Checks and keeps them.
    ///
    /// # Errors
    /// The first one that is malformed, or too many of them.
    pub fn new(globs: impl IntoIterator<Item = String>) -> Result<Self, GlobsError> {
        let mut kept = Vec::new();
        for glob in globs {
            if kept.len() == GLOBS_MAX || glob.len() > GLOB_BYTES_MAX {
                return Err(GlobsError::Many);
            }
            let parsed = parse_glob(&glob)?;
            kept.push((glob, parsed));
        }
        Ok(Self(kept))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they were written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(text, _)| text.as_str())
    }

    /// Whether one of them matches, or there are none.
    pub fn matches(&self, path: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let folded = path.to_ascii_lowercase();
        let segments: Vec<&str> = folded.split('/').collect();
        self.0.iter().any(|(_, glob)| segments_match(glob, &segments))
    }

    /// The same of a path that is checked.
    pub fn matches_path(&self, path: &RepoPath) -> bool {
        self.matches(path.as_str())
    }
}

impl Serialize for PathGlobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.texts())
    }
}

impl<'de> Deserialize<'de> for PathGlobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<String>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(texts: &[&str]) -> Result<PathGlobs, GlobsError> {
        PathGlobs::new(texts.iter().map(|text| (*text).to_owned()))
    }

    #[test]
    fn a_path_that_no_glob_names_is_not_shared_and_without_globs_all_are() {
        let some = globs(&["docs/**", "*.json"]).unwrap();
        // `**` stands for no segment too, as in policies/compartments.toml.
        let yes = ["docs/a/b.md", "deep/Config.JSON", "docs"].map(|path| (path, true));
        let no = ["a.md", "my/docs/a.md", "docs.md", "docss/a"].map(|path| (path, false));
        for (path, matches) in yes.into_iter().chain(no) {
            assert_eq!(some.matches(path), matches, "{path}");
            assert!(globs(&[]).unwrap().matches(path));
        }
    }

    #[test]
    fn malformed_globs_and_too_many_are_refused() {
        assert!(globs(&["a**"]).is_err() && globs(&[""]).is_err());
        assert_eq!(globs(&["a"; GLOBS_MAX + 1]).unwrap_err(), GlobsError::Many);
        assert_eq!(globs(&[&"a".repeat(GLOB_BYTES_MAX + 1)]).unwrap_err(), GlobsError::Many);
    }
}
