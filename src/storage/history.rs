//! Which commit changed a path last: commits are compared by the ids of their nodes, down to where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strongroom_domain::RepoPath;
use strongroom_protocol::MetaKeys;

use crate::catalog::CatalogError;
use crate::commit::CommitInfo;
use crate::listing::View;
use crate::tree::{Entry, Node, NodeId, PartTree, folded};

/// Commits that are looked through for the last one of a path.
const COMMITS_MAX: usize = 1000;
/// Nodes that are opened on the way: some hundred milliseconds of one core.
const NODES_MAX: usize = 20_000;

/// Paths with their segments, by number.
type Paths<'p> = Vec<(usize, Vec<&'p str>)>;

impl View<'_> {
    /// The newest commit that changed what the reader sees at each path: the one after which it no longer differs. `None`
    /// where nothing is, or where it lies further back than is looked.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn last_changes(
        &self,
        shared: &MetaKeys,
        head: &CommitInfo,
        paths: &[RepoPath],
    ) -> Result<Vec<Option<Arc<CommitInfo>>>, CatalogError> {
        let mut found = vec![None; paths.len()];
        let mut open: BTreeSet<usize> = (0..paths.len()).collect();
        let mut budget = NODES_MAX;
        let mut commit = Arc::new(head.clone());
        for _ in 0..COMMITS_MAX {
            let parent = match commit.parent {
                Some(parent) => Some(Arc::new(self.catalog.commit(self.repo, shared, parent).await?)),
                None => None,
            };
            for tree in self.trees() {
                let now = commit.body.root(tree.compartment).copied();
                let before = parent.as_ref().and_then(|parent| parent.body.root(tree.compartment).copied());
                let asked = open.iter().map(|at| (*at, paths[*at].segments().collect())).collect();
                let Some(changed) = differing(&tree, now, before, asked, &mut budget).await? else { return Ok(found) };
                for at in changed {
                    open.remove(&at);
                    found[at] = Some(commit.clone());
                }
            }
            match parent {
                Some(parent) if !open.is_empty() => commit = parent,
                _ => break,
            }
        }
        Ok(found)
    }
}

/// The paths at which two trees differ; `None` where the budget of nodes is spent.
async fn differing(
    tree: &PartTree<'_>,
    now: Option<NodeId>,
    before: Option<NodeId>,
    paths: Paths<'_>,
    budget: &mut usize,
) -> Result<Option<BTreeSet<usize>>, CatalogError> {
    let mut differing = BTreeSet::new();
    let mut open = vec![(now, before, 0, paths)];
    while let Some((now, before, depth, paths)) = open.pop() {
        if now == before || paths.is_empty() {
            continue;
        }
        let Some(left) = budget.checked_sub(2) else { return Ok(None) };
        *budget = left;
        let nodes = (read(tree, now).await?, read(tree, before).await?);
        let level = nodes.0.level().max(nodes.1.level());
        // In this directory, and in those below it.
        let mut same: BTreeMap<(Option<NodeId>, Option<NodeId>), Paths<'_>> = BTreeMap::new();
        let mut below = same.clone();
        for (at, segments) in paths {
            let Some(name) = segments.get(depth) else { continue };
            let key = folded(name);
            if level > 0 {
                // The lower of the two waits until the other has come down to it.
                let down = |node: &Node, id| match node.level() == level {
                    true => node.child(&key).map(|child| child.id),
                    false => id,
                };
                same.entry((down(&nodes.0, now), down(&nodes.1, before))).or_default().push((at, segments));
                continue;
            }
            let entry = |node: &Node| {
                node.entry(&key).filter(|(spelled, _)| spelled == name).map(|(_, entry)| match entry {
                    Entry::File(file) => (None, Some(file.blob)),
                    Entry::Directory(id, _) => (Some(*id), None),
                })
            };
            let (now, before) = (entry(&nodes.0), entry(&nodes.1));
            if segments.len() == depth + 1 {
                if now != before {
                    differing.insert(at);
                }
            } else {
                let directory = |entry: Option<(Option<NodeId>, _)>| entry.and_then(|(id, _)| id);
                below.entry((directory(now), directory(before))).or_default().push((at, segments));
            }
        }
        open.extend(same.into_iter().map(|((now, before), paths)| (now, before, depth, paths)));
        open.extend(below.into_iter().map(|((now, before), paths)| (now, before, depth + 1, paths)));
    }
    Ok(Some(differing))
}

async fn read(tree: &PartTree<'_>, id: Option<NodeId>) -> Result<Node, CatalogError> {
    match id {
        Some(id) => tree.node(&id).await,
        None => Ok(Node::Leaf(Vec::new())),
    }
}
