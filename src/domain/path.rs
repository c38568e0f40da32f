//! Paths of files inside a repository: one canonical relative form.

use std::fmt;
use std::str::FromStr;

use crate::limits::{PATH_BYTES_MAX, PATH_DEPTH_MAX, PATH_SEGMENT_BYTES_MAX};

/// Why a text is not a path inside a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Empty, or with an empty segment (a leading, trailing or doubled slash).
    #[error("a path is not empty and has no empty segment (no leading, trailing or doubled '/')")]
    Empty,
    /// Too long in all, in one segment, or too deep.
    #[error(
        "a path has at most {PATH_BYTES_MAX} bytes, {PATH_SEGMENT_BYTES_MAX} bytes a segment and {PATH_DEPTH_MAX} segments"
    )]
    Long,
    /// A segment `.`, `..` or `.git` in any case.
    #[error("no segment of a path is '.', '..' or '.git'")]
    Reserved,
    /// A backslash, a colon in a drive letter's place, a control or an invisible character.
    #[error("a path has no backslash, drive letter, control character or invisible formatting character")]
    Character,
}

/// A relative path with `/` between segments, decoded, in the spelling its author gave it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(String);

impl RepoPath {
    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, from the root down; at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.as_str(), |(_, name)| name)
    }

    /// The form under which two paths are twins: a checkout on a case-blind file system holds only one of them.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepoPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX || text.split('/').count() > PATH_DEPTH_MAX {
            return Err(PathError::Long);
        }
        let drive = text.len() >= 2 && text.as_bytes()[0].is_ascii_alphabetic() && text.as_bytes()[1] == b':';
        if drive || text.chars().any(|character| character == '\\' || is_hidden(character)) {
            return Err(PathError::Character);
        }
        for segment in text.split('/') {
            if segment.is_empty() {
                return Err(PathError::Empty);
            }
            if segment.len() > PATH_SEGMENT_BYTES_MAX {
                return Err(PathError::Long);
            }
            if segment == "." || segment == ".." || segment.eq_ignore_ascii_case(".git") {
                return Err(PathError::Reserved);
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// Characters that mean something else to a terminal or a reader's eye: controls, line separators, and the zero-width and direction
/// marks that let two names look alike (Unicode TR36, "Trojan Source").
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_keep_their_spelling() {
        for path in ["README.md", "a/b/c.bin", ".gitattributes", "ünï/код.py", "a..b/...", "with space#hash%41"] {
            assert_eq!(path.parse::<RepoPath>().unwrap().as_str(), path);
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        let long = "a/".repeat(PATH_DEPTH_MAX) + "a";
        let wide = "a".repeat(PATH_SEGMENT_BYTES_MAX + 1);
        let huge = "a".repeat(4096);
        let cases = [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            ".git/config",
            "a/.GIT/x",
            "a\\b",
            "..\\a",
            "C:/x",
            "c:x",
            "a\0b",
            "a\nb",
            "a\u{7f}",
            "a\u{202e}b",
            "a\u{200b}",
            "\u{feff}a",
            &long,
            &wide,
            &huge,
        ];
        for case in cases {
            assert!(case.parse::<RepoPath>().is_err(), "{case:?}");
        }
    }

    #[test]
    fn paths_that_differ_in_case_are_twins() {
        let fold = |text: &str| text.parse::<RepoPath>().unwrap().folded();
        assert_eq!(fold("Weights/Model.bin"), fold("weights/model.BIN"));
    }
}
