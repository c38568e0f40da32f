//! Repository ids: `namespace/name`, and the kinds of repository.

use std::fmt;
use std::str::FromStr;

use crate::limits::NAME_BYTES_MAX;

/// What a repository holds; its plural is the segment after `/api/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RepoKind {
    /// `/api/models/…`; pages and `resolve` have no prefix.
    Model,
    /// `/api/datasets/…`; pages and `resolve` begin with `datasets/`.
    Dataset,
}

impl RepoKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Model, Self::Dataset];

    /// The word a client writes in a body: `model`, `dataset`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }

    /// The prefix of pages and `resolve` URLs, with its slash.
    pub const fn url_prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

impl fmt::Display for RepoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for RepoKind {
    type Err = NameError;

    fn from_str(word: &str) -> Result<Self, NameError> {
        Self::ALL.into_iter().find(|kind| kind.word() == word).ok_or(NameError::Kind)
    }
}

/// A namespace alone: who owns repositories, and what principals are called. The rules of one part of a [`RepoName`].
///
/// # Errors
/// [`NameError`].
pub fn check_namespace(text: &str) -> Result<(), NameError> {
    check_part(text)
}

/// Why a text is not a repository id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not one slash between two parts.
    #[error("a repository id is NAMESPACE/NAME")]
    Shape,
    /// A part is empty or too long.
    #[error("each part of a repository id has 1 to {NAME_BYTES_MAX} characters")]
    Length,
    /// A character outside the alphabet.
    #[error("a repository id has only ASCII letters, digits, '_', '-' and '.'")]
    Character,
    /// `--`, `..`, an edge `-` or `.`, or a `.git` ending.
    #[error("no part of a repository id begins or ends with '-' or '.', has '--' or '..', or ends in '.git'")]
    Form,
    /// Neither `model` nor `dataset`.
    #[error("a repository is a 'model' or a 'dataset'")]
    Kind,
}

/// `namespace/name` as its owner spells it. Two ids that differ only in case name the same repository:
/// compare and index by [`RepoName::folded`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoName {
    text: String,
    slash: usize,
}

impl RepoName {
    /// The part before the slash.
    pub fn namespace(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// The id as its owner spells it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The id in lower case: the key under which it is looked up and tombstoned.
    pub fn folded(&self) -> String {
        self.text.to_ascii_lowercase()
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RepoName {
    type Err = NameError;

    /// The rules of stock clients' own `validate_repo_id`, with the namespace required.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, name) = text.split_once('/').ok_or(NameError::Shape)?;
        check_part(namespace)?;
        check_part(name)?;
        Ok(Self { text: text.to_owned(), slash: namespace.len() })
    }
}

fn check_part(part: &str) -> Result<(), NameError> {
    if part.contains('/') {
        return Err(NameError::Shape);
    }
    if part.is_empty() || part.len() > NAME_BYTES_MAX {
        return Err(NameError::Length);
    }
    if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
        return Err(NameError::Character);
    }
    let edge = |end: char| matches!(end, '-' | '.');
    let git = part.len() >= 4 && part[part.len() - 4..].eq_ignore_ascii_case(".git");
    if part.starts_with(edge) || part.ends_with(edge) || part.contains("--") || part.contains("..") || git {
        return Err(NameError::Form);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_id_has_a_namespace_and_a_name() {
        let name: RepoName = "Acme/llm-7b_v1.0".parse().unwrap();
        assert_eq!((name.namespace(), name.name()), ("Acme", "llm-7b_v1.0"));
        assert_eq!(name.folded(), "acme/llm-7b_v1.0");
    }

    #[test]
    fn hostile_repository_ids_are_refused() {
        let long = format!("acme/{}", "a".repeat(NAME_BYTES_MAX + 1));
        let cases = [
            "acme",
            "",
            "/",
            "acme/",
            "/llm",
            "a/b/c",
            "acme/..",
            "../acme",
            "acme/.hidden",
            "acme/a..b",
            "acme/a--b",
            "acme/-a",
            "acme/a-",
            "acme/a.git",
            "acme/a.GIT",
            "acme/a b",
            "acme/a%2fb",
            "acme/a\\b",
            "acme/a\0b",
            "acme/a#b",
            "acme/é",
            "acme/a\u{2215}b",
            &long,
        ];
        for case in cases {
            assert!(case.parse::<RepoName>().is_err(), "{case:?}");
        }
    }
}
