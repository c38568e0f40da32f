//! Changes of a tree: only nodes that a change goes through are read and written.

use std::collections::BTreeMap;

use strongroom_domain::RepoPath;

use super::build::Builder;
use super::node::{Child, LEAF_MAX, Node};
use super::{DirectoryId, Entry, FileEntry, NewTree, PartTree, folded};
use crate::catalog::CatalogError;

/// What shall go from a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    /// Nothing.
    #[default]
    Nothing,
    /// A file.
    File,
    /// A file, or a directory with all that is in it.
    All,
}

/// What happens at a path: first something goes, then something comes.
#[derive(Debug, Default)]
struct Change {
    cut: Cut,
    put: Option<FileEntry>,
    below: Changes,
}

/// Changes of a directory, by name.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<String, Change>);

impl Changes {
    fn change(&mut self, path: &RepoPath) -> &mut Change {
        let mut at = self;
        let mut segments = path.segments().peekable();
        loop {
            // A path has at least one segment.
            let segment = segments.next().expect("a segment");
            let change = at.0.entry(segment.to_owned()).or_default();
            if segments.peek().is_none() {
                return change;
            }
            at = &mut change.below;
        }
    }

    /// This file shall be there.
    pub fn put(&mut self, path: &RepoPath, file: FileEntry) {
        self.change(path).put = Some(file);
    }

    /// No file shall be there; a directory may.
    pub fn remove_file(&mut self, path: &RepoPath) {
        let change = self.change(path);
        change.put = None;
        change.cut = change.cut.max(Cut::File);
    }

    /// Nothing shall be there, nor below: whatever was to come there before does not.
    pub fn remove(&mut self, path: &RepoPath) {
        *self.change(path) = Change { cut: Cut::All, ..Change::default() };
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn puts(&self) -> bool {
        self.0.values().any(|change| change.put.is_some() || change.below.puts())
    }
}

/// What shall stand under folded names.
type Edits = BTreeMap<String, Option<(String, Entry)>>;

impl PartTree<'_> {
    /// An empty or changed tree.
    ///
    /// # Errors
    /// [`CatalogError::Refused`] for a file where a directory is or the other way round, and for names that differ only
    /// in case.
    pub(crate) async fn apply(
        &self,
        old: Option<DirectoryId>,
        changes: &Changes,
        written: &mut Vec<NewTree>,
    ) -> Result<Option<DirectoryId>, CatalogError> {
        let mut groups: BTreeMap<String, Vec<(&String, &Change)>> = BTreeMap::new();
        for (name, change) in &changes.0 {
            groups.entry(folded(name)).or_default().push((name, change));
        }
        let keys: Vec<&str> = groups.keys().map(String::as_str).collect();
        let held = match &old {
            Some((id, _)) => self.look_up(id, &keys).await?,
            None => BTreeMap::new(),
        };
        let mut edits = Edits::new();
        for (key, group) in groups {
            let held = held.get(&key);
            let mut there: BTreeMap<String, Entry> = held.cloned().into_iter().collect();
            for (name, change) in group {
                let now = self.changed(name, there.remove(name), change, written).await?;
                there.extend(now.map(|entry| (name.clone(), entry)));
            }
            let mut names = there.keys();
            if let (Some(name), Some(twin)) = (names.next(), names.next()) {
                return Err(CatalogError::Refused(format!("'{twin}' and '{name}' differ only in case")));
            }
            let now = there.into_iter().next();
            if now.as_ref() != held {
                edits.insert(key, now);
            }
        }
        match old {
            old if edits.is_empty() => Ok(old),
            old => self.rebuild(old, edits, written).await,
        }
    }

    /// What stands under a name after a change.
    async fn changed(
        &self,
        name: &str,
        was: Option<Entry>,
        change: &Change,
        written: &mut Vec<NewTree>,
    ) -> Result<Option<Entry>, CatalogError> {
        let mut now = match (change.cut, &was) {
            (Cut::All, _) | (Cut::File, Some(Entry::File(_))) => None,
            _ => was.clone(),
        };
        if let Some(file) = &change.put {
            now = match (now, was) {
                (Some(Entry::Directory(..)), _) => {
                    return Err(CatalogError::Refused(format!("'{name}' is a directory")));
                }
                // The same content again is no change: a commit that a client sends twice is made once.
                (_, Some(Entry::File(was))) if was.is_same(file) => Some(Entry::File(was)),
                _ => Some(Entry::File(file.clone())),
            };
        }
        if change.below.is_empty() {
            return Ok(now);
        }
        let below = match now {
            Some(Entry::File(_)) if change.below.puts() => {
                return Err(CatalogError::Refused(format!("'{name}' is a file")));
            }
            Some(Entry::File(file)) => return Ok(Some(Entry::File(file))),
            Some(Entry::Directory(id, git)) => Some((id, git)),
            None => None,
        };
        let below = Box::pin(self.apply(below, &change.below, written)).await?;
        Ok(below.map(|(id, git)| Entry::Directory(id, git)))
    }

    async fn rebuild(
        &self,
        old: Option<DirectoryId>,
        mut edits: Edits,
        written: &mut Vec<NewTree>,
    ) -> Result<Option<DirectoryId>, CatalogError> {
        let old = match &old {
            Some((id, _)) => self.node(id).await?,
            None => Node::Leaf(Vec::new()),
        };
        let mut builder = Builder::new(*self);
        match old {
            Node::Leaf(entries) => {
                let entries = merge(entries, edits);
                if entries.len() <= LEAF_MAX {
                    let top = self.seal(&Node::Leaf(entries), written)?;
                    return Ok(top.map(|top| (top.id, top.git)));
                }
                for (name, entry) in entries {
                    builder.entry(name, entry)?;
                }
            }
            Node::Inner(level, children) => self.feed_all(level, children, &mut edits, &mut builder).await?,
        }
        let top = builder.finish(written).await?;
        Ok(top.map(|top| (top.id, top.git)))
    }

    /// Gives a builder the nodes below one, opened where an edit lies in them or the node before them did not end.
    async fn feed_all(
        &self,
        level: u8,
        children: Vec<Child>,
        edits: &mut Edits,
        builder: &mut Builder<'_>,
    ) -> Result<(), CatalogError> {
        let count = children.len();
        for (at, child) in children.into_iter().enumerate() {
            // What comes after the last name belongs into the last node.
            let later = if at + 1 == count { Edits::new() } else { split_after(edits, &child.last) };
            let mut here = std::mem::replace(edits, later);
            if here.is_empty() && builder.takes_node(level) {
                builder.node(level, child)?;
                continue;
            }
            match self.node(&child.id).await? {
                Node::Leaf(entries) => {
                    for (name, entry) in merge(entries, here) {
                        builder.entry(name, entry)?;
                    }
                }
                Node::Inner(level, children) => {
                    Box::pin(self.feed_all(level, children, &mut here, builder)).await?;
                }
            }
        }
        Ok(())
    }
}

/// Takes off those after a name.
fn split_after(edits: &mut Edits, last: &str) -> Edits {
    let mut later = edits.split_off(last);
    if let Some(edit) = later.remove(last) {
        edits.insert(last.to_owned(), edit);
    }
    later
}

fn merge(entries: Vec<(String, Entry)>, edits: Edits) -> Vec<(String, Entry)> {
    let mut merged = Vec::with_capacity(entries.len() + edits.len());
    let mut edits = edits.into_iter().peekable();
    for (name, entry) in entries {
        let key = folded(&name);
        while let Some((_, edit)) = edits.next_if(|(at, _)| *at < key) {
            merged.extend(edit);
        }
        match edits.next_if(|(at, _)| *at == key) {
            Some((_, edit)) => merged.extend(edit),
            None => merged.push((name, entry)),
        }
    }
    merged.extend(edits.filter_map(|(_, edit)| edit));
    merged
}
