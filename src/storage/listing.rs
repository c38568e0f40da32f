//! What a reader sees of a commit: the directories of all compartments of a grant, as one.

use std::collections::BTreeMap;

use strongroom_domain::{Compartment, PathGlobs, RepoPath};
use strongroom_protocol::MetaKeys;

use crate::catalog::{Catalog, CatalogError, RepoId};
use crate::commit::CommitBody;
use crate::git::tree_id;
use crate::kept::Kept;
use crate::tree::{Entry, FileEntry, NodeId, PartTree, Walk, folded};

/// A line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A file with its compartment.
    File(String, Compartment, FileEntry),
    /// A directory with the id of what the reader sees of it: git's, or, where it lies in more than one compartment, that
    /// of a git tree whose entries are the compartments', as in a commit.
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

/// A part of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In order: by folded name in each directory, and a directory before what lies in it.
    pub items: Vec<Item>,
    /// Whether more follow.
    pub more: bool,
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
    /// The only paths that are shown, where there are any.
    pub only: Option<&'a PathGlobs>,
}

/// The entries that compartments have under one name.
type Layers<'a> = Vec<(PartTree<'a>, Entry)>;

impl<'a> View<'a> {
    pub(crate) fn trees(&self) -> impl Iterator<Item = PartTree<'a>> {
        let (catalog, repo) = (self.catalog, self.repo);
        self.parts.iter().map(move |(compartment, keys)| PartTree { catalog, repo, compartment: *compartment, keys })
    }

    /// The file at a path, with its compartment.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn file(&self, path: &RepoPath) -> Result<Option<(Compartment, FileEntry)>, CatalogError> {
        if self.only.is_some_and(|only| !only.matches_path(path)) {
            return Ok(None);
        }
        for tree in self.trees() {
            if let Some(root) = self.body.root(tree.compartment)
                && let Some(Entry::File(file)) = tree.at(root, [path]).await?.remove(path)
            {
                return Ok(Some((tree.compartment, file)));
            }
        }
        Ok(None)
    }

    async fn layers<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p RepoPath> + Clone,
    ) -> Result<BTreeMap<&'p RepoPath, Layers<'a>>, CatalogError> {
        let mut found: BTreeMap<&RepoPath, Layers<'a>> = BTreeMap::new();
        for tree in self.trees() {
            if let Some(root) = self.body.root(tree.compartment) {
                for (path, entry) in tree.at(root, paths.clone()).await? {
                    found.entry(path).or_default().push((tree, entry));
                }
            }
        }
        Ok(found)
    }

    /// What stands at these paths; those where the reader sees nothing are left out.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn at<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p RepoPath> + Clone,
    ) -> Result<BTreeMap<&'p RepoPath, Item>, CatalogError> {
        if let Some(only) = self.only {
            let kept = Kept::of(self, only).await?;
            return Ok(paths.into_iter().filter_map(|path| Some((path, kept.at(path)?))).collect());
        }
        let found = self.layers(paths).await?;
        Ok(found.into_iter().map(|(path, layers)| (path, item(path.to_string(), layers).0)).collect())
    }

    /// What lies in a directory, or anywhere below it: so many lines, from the one after a path on. `None` where there is
    /// no such directory.
    ///
    /// # Errors
    /// [`CatalogError::Refused`] where `after` is not below the directory.
    pub async fn list(
        &self,
        path: Option<&RepoPath>,
        recursive: bool,
        after: Option<&RepoPath>,
        limit: usize,
    ) -> Result<Option<Page>, CatalogError> {
        if let Some(only) = self.only {
            return Kept::of(self, only).await?.list(path, recursive, after, limit);
        }
        let tops: Vec<(PartTree<'a>, NodeId)> = match path {
            None => {
                let root = |tree: PartTree<'a>| self.body.root(tree.compartment).map(|root| (tree, *root));
                self.trees().filter_map(root).collect()
            }
            Some(path) => {
                let mut found = self.layers([path]).await?;
                directories(&found.remove(path).unwrap_or_default())
            }
        };
        if tops.is_empty() && path.is_some() {
            return Ok(None);
        }
        let prefix = path.map(|path| format!("{path}/")).unwrap_or_default();
        let mut open = match after {
            None => vec![Merged::from(prefix, &tops, "").await?],
            Some(after) => {
                let below = after.as_str().strip_prefix(prefix.as_str());
                let below = below.ok_or_else(|| CatalogError::Refused("the cursor is not of this directory".into()))?;
                resume(prefix, &tops, below, recursive).await?
            }
        };
        let mut page = Page::default();
        while let Some(merged) = open.last_mut() {
            let Some((name, layers)) = merged.next().await? else {
                open.pop();
                continue;
            };
            if page.items.len() == limit {
                page.more = true;
                break;
            }
            let (line, below) = item(format!("{}{name}", merged.prefix), layers);
            if recursive && !below.is_empty() {
                open.push(Merged::from(format!("{}/", line.path()), &below, "").await?);
            }
            page.items.push(line);
        }
        Ok(Some(page))
    }
}

/// The line of a path, and the directories that it goes on in. A file hides a directory.
fn item<'a>(path: String, layers: Layers<'a>) -> (Item, Vec<(PartTree<'a>, NodeId)>) {
    let below = directories(&layers);
    let ids: Vec<(Compartment, [u8; 20])> = layers
        .iter()
        .filter_map(|(tree, entry)| match entry {
            Entry::Directory(_, git) => Some((tree.compartment, *git)),
            Entry::File(_) => None,
        })
        .collect();
    for (tree, entry) in layers {
        if let Entry::File(file) = entry {
            return (Item::File(path, tree.compartment, file), Vec::new());
        }
    }
    let git = match ids.as_slice() {
        [(_, git)] => *git,
        ids => tree_id(ids.iter().map(|(compartment, git)| (compartment.word(), true, *git))),
    };
    (Item::Directory(path, git), below)
}

fn directories<'a>(layers: &Layers<'a>) -> Vec<(PartTree<'a>, NodeId)> {
    let directory = |(tree, entry): &(PartTree<'a>, Entry)| match entry {
        Entry::Directory(id, _) => Some((*tree, *id)),
        Entry::File(_) => None,
    };
    layers.iter().filter_map(directory).collect()
}

/// The open directories after the line of a path was shown; `after` is below the first of them.
async fn resume<'a>(
    mut prefix: String,
    tops: &[(PartTree<'a>, NodeId)],
    after: &str,
    recursive: bool,
) -> Result<Vec<Merged<'a>>, CatalogError> {
    let mut open = Vec::new();
    let mut tops = tops.to_vec();
    for segment in after.split('/') {
        let mut merged = Merged::from(prefix.clone(), &tops, &folded(segment)).await?;
        let at = (folded(segment), segment.to_owned());
        let mut there = None;
        while merged.peek().is_some_and(|next| next <= &at) {
            there = merged.next().await?.filter(|(name, _)| name == segment);
        }
        open.push(merged);
        // The directory that was shown last goes on inside; a path that is not there goes on after its place.
        prefix = format!("{prefix}{segment}/");
        tops = there.map(|(_, layers)| item(String::new(), layers).1).unwrap_or_default();
        if tops.is_empty() || !recursive {
            return Ok(open);
        }
    }
    open.push(Merged::from(prefix, &tops, "").await?);
    Ok(open)
}

/// One directory of several compartments, in order.
struct Merged<'a> {
    prefix: String,
    walks: Vec<(Walk<'a>, PartTree<'a>, Option<Next>)>,
}

/// The folded name, the name, and its entry.
type Next = ((String, String), Entry);

impl<'a> Merged<'a> {
    async fn from(prefix: String, tops: &[(PartTree<'a>, NodeId)], from: &str) -> Result<Self, CatalogError> {
        let mut walks = Vec::with_capacity(tops.len());
        for (tree, top) in tops {
            let mut walk = Walk::from(*tree, top, from).await?;
            let next = advance(&mut walk).await?;
            walks.push((walk, *tree, next));
        }
        Ok(Self { prefix, walks })
    }

    fn peek(&self) -> Option<&(String, String)> {
        self.walks.iter().filter_map(|(_, _, next)| next.as_ref().map(|(name, _)| name)).min()
    }

    async fn next(&mut self) -> Result<Option<(String, Layers<'a>)>, CatalogError> {
        let Some(name) = self.peek().cloned() else { return Ok(None) };
        let mut layers = Vec::new();
        for (walk, tree, next) in &mut self.walks {
            if let Some((_, entry)) = next.take_if(|(next, _)| *next == name) {
                layers.push((*tree, entry));
                *next = advance(walk).await?;
            }
        }
        Ok(Some((name.1, layers)))
    }
}

async fn advance(walk: &mut Walk<'_>) -> Result<Option<Next>, CatalogError> {
    Ok(walk.next().await?.map(|(name, entry)| ((folded(&name), name), entry)))
}
