//! Entries of one directory in order, from a name on.

use std::vec::IntoIter;

use super::node::{Child, Node};
use super::{Entry, NodeId, PartTree, folded};
use crate::catalog::CatalogError;

/// Opens a node when its first entry is asked for.
pub(crate) struct Walk<'a> {
    tree: PartTree<'a>,
    above: Vec<IntoIter<Child>>,
    entries: IntoIter<(String, Entry)>,
}

impl<'a> Walk<'a> {
    /// From the first entry whose folded name is not before `from`.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn from(tree: PartTree<'a>, top: &NodeId, from: &str) -> Result<Self, CatalogError> {
        let mut walk = Self { tree, above: Vec::new(), entries: Vec::new().into_iter() };
        walk.descend(*top, from).await?;
        Ok(walk)
    }

    async fn descend(&mut self, top: NodeId, from: &str) -> Result<(), CatalogError> {
        let mut next = Some(top);
        while let Some(id) = next {
            next = match self.tree.node(&id).await? {
                Node::Leaf(mut entries) => {
                    entries.drain(..entries.partition_point(|(name, _)| folded(name).as_str() < from));
                    self.entries = entries.into_iter();
                    None
                }
                Node::Inner(_, mut children) => {
                    children.drain(..children.partition_point(|child| child.last.as_str() < from));
                    let mut children = children.into_iter();
                    let first = children.next().map(|child| child.id);
                    self.above.push(children);
                    first
                }
            };
        }
        Ok(())
    }

    /// The next entry.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn next(&mut self) -> Result<Option<(String, Entry)>, CatalogError> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Ok(Some(entry));
            }
            let Some(level) = self.above.last_mut() else { return Ok(None) };
            match level.next() {
                Some(child) => self.descend(child.id, "").await?,
                None => drop(self.above.pop()),
            }
        }
    }
}
