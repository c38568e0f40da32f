//! Revisions as clients write them: a branch, a tag, a commit or a short commit.

use std::fmt;
use std::str::FromStr;

use crate::digest::Commit;
use crate::limits::REVISION_BYTES_MAX;

/// Why a text can't be a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// Empty or too long.
    #[error("a revision has 1 to {REVISION_BYTES_MAX} bytes")]
    Length,
    /// Against git's own rules for reference names.
    #[error("a revision follows git's rules for reference names (git check-ref-format)")]
    Form,
}

/// A well-formed revision; whether it exists is the catalogue's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revision(String);

impl Revision {
    /// The revision without a leading `refs/heads/`, which clients may add to a branch.
    pub fn short(&self) -> &str {
        self.0.strip_prefix("refs/heads/").unwrap_or(&self.0)
    }

    /// The commit, where the revision is 40 hex digits and so immutable.
    pub fn commit(&self) -> Option<Commit> {
        self.0.parse().ok()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Revision {
    type Err = RevisionError;

    /// The rules of `git check-ref-format --allow-onelevel` (git 2.47).
    fn from_str(text: &str) -> Result<Self, RevisionError> {
        if text.is_empty() || text.len() > REVISION_BYTES_MAX {
            return Err(RevisionError::Length);
        }
        let refused = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
        let bad_segment = |segment: &str| segment.is_empty() || segment.starts_with('.') || segment.ends_with(".lock");
        if text.contains("..")
            || text.contains("@{")
            || text == "@"
            || text.ends_with('.')
            || text.starts_with('-')
            || text.chars().any(refused)
            || text.split('/').any(bad_segment)
        {
            return Err(RevisionError::Form);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_tags_commits_and_full_references_are_revisions() {
        for text in ["main", "v1.0", "dev/x", "refs/pr/1", "refs/heads/main", "0123abc"] {
            assert!(text.parse::<Revision>().is_ok(), "{text}");
        }
        assert_eq!("refs/heads/dev/x".parse::<Revision>().unwrap().short(), "dev/x");
        assert!("a".repeat(40).parse::<Revision>().unwrap().commit().is_some());
    }

    #[test]
    fn what_git_refuses_is_refused() {
        let long = "a".repeat(REVISION_BYTES_MAX + 1);
        let cases = [
            "", "..", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a", "a/", "a//b", ".a", "a/.b",
            "a.lock", "a.", "@", "a@{1}", "-a", "a\0", "a\n", &long,
        ];
        for case in cases {
            assert!(case.parse::<Revision>().is_err(), "{case:?}");
        }
    }
}
