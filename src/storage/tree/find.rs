//! Looks names and paths up, many at once: each node on their way is opened once.

use std::collections::BTreeMap;

use strongroom_domain::RepoPath;

use super::{Entry, Node, NodeId, PartTree, folded};
use crate::catalog::CatalogError;

impl PartTree<'_> {
    /// What stands in a directory under these folded names, which are sorted: the name as it is spelled, and its entry.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(super) async fn look_up(
        &self,
        top: &NodeId,
        keys: &[&str],
    ) -> Result<BTreeMap<String, (String, Entry)>, CatalogError> {
        let mut found = BTreeMap::new();
        let mut open = vec![(*top, keys)];
        while let Some((id, keys)) = open.pop() {
            let node = self.node(&id).await?;
            match &node {
                Node::Leaf(_) => {
                    let entries = keys.iter().filter_map(|key| Some(((*key).to_owned(), node.entry(key)?.clone())));
                    found.extend(entries);
                }
                Node::Inner(_, children) => {
                    let mut rest = keys;
                    for child in children {
                        let (here, more) = rest.split_at(rest.partition_point(|key| *key <= child.last.as_str()));
                        if !here.is_empty() {
                            open.push((child.id, here));
                        }
                        rest = more;
                    }
                }
            }
        }
        Ok(found)
    }

    /// What stands at these paths below a root; those where nothing does are left out.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) async fn at<'p>(
        &self,
        root: &NodeId,
        paths: impl IntoIterator<Item = &'p RepoPath>,
    ) -> Result<BTreeMap<&'p RepoPath, Entry>, CatalogError> {
        let mut found = BTreeMap::new();
        let paths = paths.into_iter().map(|path| (path, path.segments().collect::<Vec<_>>()));
        let mut open = vec![(*root, 0, paths.collect::<Vec<_>>())];
        while let Some((id, depth, paths)) = open.pop() {
            let mut keys: Vec<String> =
                paths.iter().filter_map(|(_, segments)| segments.get(depth)).map(|name| folded(name)).collect();
            keys.sort();
            keys.dedup();
            let held = self.look_up(&id, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            let mut below: BTreeMap<NodeId, Vec<_>> = BTreeMap::new();
            for (path, segments) in paths {
                let Some(name) = segments.get(depth) else { continue };
                match held.get(&folded(name)).filter(|(spelled, _)| spelled == name) {
                    Some((_, entry)) if segments.len() == depth + 1 => drop(found.insert(path, entry.clone())),
                    Some((_, Entry::Directory(id, _))) => below.entry(*id).or_default().push((path, segments)),
                    _ => {}
                }
            }
            open.extend(below.into_iter().map(|(id, paths)| (id, depth + 1, paths)));
        }
        Ok(found)
    }
}
