//! What a reader sees of a commit: the directories of all compartments of a grant, as one.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_domain::{Compartment, RepoPath};
use strongroom_protocol::MetaKeys;

use crate::catalog::{Catalog, CatalogError, RepoId};
use crate::commit::CommitBody;
use crate::git::tree_id;
use crate::tree::{Directory, Entry, FileEntry, PartTree};

/// A line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A file with its compartment.
    File(String, Compartment, FileEntry),
    /// A directory with git's id of what the reader sees of it.
    Directory(String, [u8; 20]),
}

impl Item {
    /// The whole path.
    pub fn path(&self) -> &str {
        match self {
            Self::File(path, ..) | Self::Directory(path, _) => path,
        }
    }
}

/// One commit through the eyes of one grant.
pub struct View<'a> {
    /// The catalogue.
    pub catalog: &'a Catalog,
    /// The repository.
    pub repo: RepoId,
    /// Compartments of the grant and their keys.
    pub parts: Vec<(Compartment, &'a MetaKeys)>,
    /// The commit.
    pub body: &'a CommitBody,
}

type Merged = BTreeMap<String, Vec<(Compartment, Entry)>>;

impl View<'_> {
    fn tree<'b>(&'b self, compartment: Compartment, keys: &'b MetaKeys) -> PartTree<'b> {
        PartTree { catalog: self.catalog, repo: self.repo, compartment, keys }
    }

    /// The file at a path, with its compartment and that compartment's keys.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn file(&self, path: &RepoPath) -> Result<Option<(Compartment, FileEntry)>, CatalogError> {
        for (compartment, keys) in &self.parts {
            if let Some(root) = self.body.root(*compartment)
                && let Some(file) = self.tree(*compartment, keys).file(root, path).await?
            {
                return Ok(Some((*compartment, file)));
            }
        }
        Ok(None)
    }

    /// What lies in a directory, or anywhere below it, by path. `None` where there is no such directory.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn list(&self, path: Option<&RepoPath>, recursive: bool) -> Result<Option<Vec<Item>>, CatalogError> {
        let mut layers = Vec::new();
        for (compartment, keys) in &self.parts {
            if let Some(root) = self.body.root(*compartment)
                && let Some(directory) = self.tree(*compartment, keys).find(root, path).await?
            {
                layers.push((*compartment, directory));
            }
        }
        if layers.is_empty() && path.is_some() {
            return Ok(None);
        }
        let mut items = Vec::new();
        let prefix = path.map(|path| format!("{path}/")).unwrap_or_default();
        self.walk(&prefix, merge(layers), recursive, &mut items).await?;
        Ok(Some(items))
    }

    /// Appends what lies in merged directories; gives git's id of what is seen of them.
    async fn walk(
        &self,
        prefix: &str,
        merged: Merged,
        recursive: bool,
        items: &mut Vec<Item>,
    ) -> Result<[u8; 20], CatalogError> {
        let mut ids = Vec::new();
        for (name, layers) in merged {
            let path = format!("{prefix}{name}");
            let directories: Vec<(Compartment, [u8; 32], [u8; 20])> = layers
                .iter()
                .filter_map(|(part, entry)| match entry {
                    Entry::Directory(id, git) => Some((*part, *id, *git)),
                    Entry::File(_) => None,
                })
                .collect();
            if let Some((part, file)) = layers.iter().find_map(|(part, entry)| match entry {
                Entry::File(file) => Some((*part, file.clone())),
                Entry::Directory(..) => None,
            }) {
                ids.push((name.clone(), false, *file.blob.as_bytes()));
                items.push(Item::File(path, part, file));
                continue;
            }
            let at = items.len();
            let git = match directories.as_slice() {
                // Seen whole, in one compartment: git's id is known without looking in.
                [(_, _, git)] if !recursive => *git,
                _ => {
                    let mut below = Vec::new();
                    for (part, id, _) in &directories {
                        let keys = self.parts.iter().find(|(held, _)| held == part).map(|(_, keys)| *keys);
                        let keys = keys.ok_or(CatalogError::Value("compartment"))?;
                        below.push((*part, self.tree(*part, keys).read(id).await?));
                    }
                    let mut unseen = Vec::new();
                    let into = if recursive { &mut *items } else { &mut unseen };
                    Box::pin(self.walk(&format!("{path}/"), merge(below), recursive, into)).await?
                }
            };
            ids.push((name, true, git));
            items.insert(at, Item::Directory(path, git));
        }
        Ok(tree_id(ids.iter().map(|(name, directory, id)| (name.as_str(), *directory, *id))))
    }

    /// Files of two commits that differ, by path: for `lastCommit` and for diffs.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn paths(&self) -> Result<BTreeSet<String>, CatalogError> {
        let items = self.list(None, true).await?.unwrap_or_default();
        Ok(items.into_iter().filter(|item| matches!(item, Item::File(..))).map(|item| item.path().to_owned()).collect())
    }
}

fn merge(layers: Vec<(Compartment, Directory)>) -> Merged {
    let mut merged = Merged::new();
    for (compartment, directory) in layers {
        for (name, entry) in directory.0 {
            merged.entry(name).or_default().push((compartment, entry));
        }
    }
    merged
}
