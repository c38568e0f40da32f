//! What a reader sees of a commit of which some paths alone are shown: the files that they name, and the directories that
//! these lie in.
//!
//! All files are walked, for a directory is there only where one of them lies below it; it costs what the whole listing
//! costs.

use std::collections::BTreeMap;

use strongroom_domain::{Compartment, PathGlobs, RepoPath};

use crate::catalog::CatalogError;
use crate::git::tree_id;
use crate::listing::{Item, Page, View};
use crate::tree::{FileEntry, folded};

/// A directory, in the order of listings.
#[derive(Default)]
pub(crate) struct Kept(BTreeMap<(String, String), Entry>);

enum Entry {
    File(Compartment, FileEntry),
    Directory(Kept),
}

/// A name in the order of listings.
fn key(name: &str) -> (String, String) {
    (folded(name), name.to_owned())
}

impl Kept {
    /// The files of a view that these paths name.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn of(view: &View<'_>, only: &PathGlobs) -> Result<Self, CatalogError> {
        let whole = View { only: None, parts: view.parts.clone(), ..*view };
        // Boxed: a listing of some paths asks for one of all.
        let page = Box::pin(whole.list(None, true, None, usize::MAX)).await?;
        let mut kept = Self::default();
        for item in page.unwrap_or_default().items {
            if let Item::File(path, compartment, file) = item
                && only.matches(&path)
            {
                kept.add(&path, compartment, file);
            }
        }
        Ok(kept)
    }

    fn add(&mut self, path: &str, compartment: Compartment, file: FileEntry) {
        match path.split_once('/') {
            None => drop(self.0.insert(key(path), Entry::File(compartment, file))),
            Some((name, below)) => {
                let entry = self.0.entry(key(name)).or_insert_with(|| Entry::Directory(Self::default()));
                if let Entry::Directory(directory) = entry {
                    directory.add(below, compartment, file);
                }
            }
        }
    }

    /// Git's id of a tree of what is kept.
    fn id(&self) -> [u8; 20] {
        let entries = self.0.iter().map(|((_, name), entry)| match entry {
            Entry::File(_, file) => (name.as_str(), false, *file.blob.as_bytes()),
            Entry::Directory(directory) => (name.as_str(), true, directory.id()),
        });
        tree_id(entries)
    }

    fn line(path: String, entry: &Entry) -> Item {
        match entry {
            Entry::File(compartment, file) => Item::File(path, *compartment, file.clone()),
            Entry::Directory(directory) => Item::Directory(path, directory.id()),
        }
    }

    fn entry(&self, path: &RepoPath) -> Option<&Entry> {
        let (mut directory, mut found) = (Some(self), None);
        for segment in path.segments() {
            found = directory.take()?.0.get(&key(segment));
            if let Some(Entry::Directory(below)) = found {
                directory = Some(below);
            }
        }
        found
    }

    /// The line of a path.
    pub fn at(&self, path: &RepoPath) -> Option<Item> {
        self.entry(path).map(|entry| Self::line(path.to_string(), entry))
    }

    /// As [`View::list`].
    ///
    /// # Errors
    /// [`CatalogError::Refused`] where `after` is not below the directory.
    pub fn list(
        &self,
        path: Option<&RepoPath>,
        recursive: bool,
        after: Option<&RepoPath>,
        limit: usize,
    ) -> Result<Option<Page>, CatalogError> {
        let top = match path.map(|path| self.entry(path)) {
            None => self,
            Some(Some(Entry::Directory(directory))) => directory,
            Some(_) => return Ok(None),
        };
        let prefix = path.map(|path| format!("{path}/")).unwrap_or_default();
        if after.is_some_and(|after| !after.as_str().starts_with(&prefix)) {
            return Err(CatalogError::Refused("the cursor is not of this directory".into()));
        }
        let after: Option<Vec<_>> = after.map(|after| after.segments().map(key).collect());
        let mut page = Page::default();
        let mut open = vec![(prefix, top.0.iter())];
        while let Some((prefix, entries)) = open.last_mut() {
            let Some(((_, name), entry)) = entries.next() else {
                open.pop();
                continue;
            };
            let path = format!("{prefix}{name}");
            // Names of a path compare as its lines stand: a directory before what lies in it.
            let shown = after.as_ref().is_none_or(|after| path.split('/').map(key).collect::<Vec<_>>() > *after);
            if shown && page.items.len() == limit {
                page.more = true;
                break;
            }
            if shown {
                page.items.push(Self::line(path.clone(), entry));
            }
            if let Entry::Directory(directory) = entry
                && recursive
            {
                open.push((format!("{path}/"), directory.0.iter()));
            }
        }
        Ok(Some(page))
    }
}

#[cfg(test)]
mod tests {
    use strongroom_domain::{GitBlob, Sha256};

    use super::*;

    fn file(byte: u8) -> FileEntry {
        let (sha256, blob) = (Sha256::from_bytes([byte; 32]), GitBlob::from_bytes([byte; 20]));
        let (object, envelope_mac) = ([byte; 16], [byte; 32]);
        FileEntry { object, size: 1, sha256, blob, lfs: false, envelope_mac, facts: None }
    }

    fn kept(paths: &[&str]) -> Kept {
        let mut kept = Kept::default();
        paths.iter().for_each(|path| kept.add(path, Compartment::Docs, file(path.len() as u8)));
        kept
    }

    #[test]
    fn pages_of_any_size_are_the_whole_list_and_a_directory_comes_before_what_lies_in_it() {
        let kept = kept(&["B/x", "a.md", "a/b/c.md", "a/b.md", "a/B2/d", "z"]);
        for (path, recursive, lines) in [
            (None, true, &["a", "a/b", "a/b/c.md", "a/b.md", "a/B2", "a/B2/d", "a.md", "B", "B/x", "z"][..]),
            (None, false, &["a", "a.md", "B", "z"]),
            (Some("a"), false, &["a/b", "a/b.md", "a/B2"]),
            (Some("a/b"), true, &["a/b/c.md"]),
        ] {
            let path: Option<RepoPath> = path.map(|path: &str| path.parse().unwrap());
            for limit in 1..12 {
                let (mut shown, mut after): (Vec<String>, Option<RepoPath>) = (Vec::new(), None);
                loop {
                    let page = kept.list(path.as_ref(), recursive, after.as_ref(), limit).unwrap().unwrap();
                    shown.extend(page.items.iter().map(|item| item.path().to_owned()));
                    if !page.more {
                        break;
                    }
                    after = shown.last().map(|last| last.parse().unwrap());
                }
                assert_eq!(shown, lines, "{path:?} {recursive} {limit}");
            }
        }
    }

    #[test]
    fn what_is_not_kept_is_not_there_and_a_directory_has_the_id_of_what_is_kept_in_it() {
        let (some, more) = (kept(&["a/b.md", "c"]), kept(&["a/b.md", "a/hidden.md", "c"]));
        let path = |text: &str| -> RepoPath { text.parse().unwrap() };
        assert!(some.at(&path("a/hidden.md")).is_none() && some.at(&path("c/d")).is_none());
        assert!(some.list(Some(&path("c")), false, None, 10).unwrap().is_none());
        assert!(some.list(Some(&path("a")), false, Some(&path("b/x")), 10).is_err());
        assert_eq!(some.at(&path("a")), kept(&["a/b.md"]).at(&path("a")));
        assert_ne!(some.at(&path("a")), more.at(&path("a")));
    }
}
