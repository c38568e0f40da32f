//! Puts a directory together from entries and from nodes that did not change. Where a node ends depends on the names alone:
//! the same entries give the same nodes, whatever came before.

use super::node::{Child, LEAF_MAX, Node};
use super::{Entry, NewTree, PartTree, folded};
use crate::catalog::CatalogError;

/// Takes entries and nodes in order.
pub(super) struct Builder<'a> {
    tree: PartTree<'a>,
    /// Entries of a leaf that has not ended.
    leaf: Vec<(String, Entry)>,
    /// Nodes of one that has not ended; of level 1 and on.
    inner: Vec<Vec<Child>>,
    written: Vec<NewTree>,
}

impl<'a> Builder<'a> {
    pub fn new(tree: PartTree<'a>) -> Self {
        Self { tree, leaf: Vec::new(), inner: Vec::new(), written: Vec::new() }
    }

    /// Whether nothing is open below a level, so that a whole node can stand in it.
    pub fn takes_node(&self, level: u8) -> bool {
        self.leaf.is_empty() && self.inner.iter().take(usize::from(level).saturating_sub(1)).all(Vec::is_empty)
    }

    /// The next entry.
    pub fn entry(&mut self, name: String, entry: Entry) -> Result<(), CatalogError> {
        let ended = self.tree.levels_ended(&folded(&name));
        self.leaf.push((name, entry));
        if ended > 0 { self.end_leaf(ended) } else { Ok(()) }
    }

    /// The next node, as it is, into a node of this level.
    pub fn node(&mut self, level: u8, child: Child) -> Result<(), CatalogError> {
        let ended = self.tree.levels_ended(&child.last);
        self.push(usize::from(level), child, ended)
    }

    fn end_leaf(&mut self, ended: usize) -> Result<(), CatalogError> {
        let leaf = Node::Leaf(std::mem::take(&mut self.leaf));
        match self.tree.seal(&leaf, &mut self.written)? {
            Some(child) => self.push(1, child, ended),
            None => Ok(()),
        }
    }

    fn push(&mut self, level: usize, child: Child, ended: usize) -> Result<(), CatalogError> {
        if self.inner.len() < level {
            self.inner.resize(level, Vec::new());
        }
        self.inner[level - 1].push(child);
        if ended > level { self.end_inner(level, ended) } else { Ok(()) }
    }

    fn end_inner(&mut self, level: usize, ended: usize) -> Result<(), CatalogError> {
        match self.seal_inner(level)? {
            Some(child) => self.push(level + 1, child, ended),
            None => Ok(()),
        }
    }

    /// A node with one node in it is that node.
    fn seal_inner(&mut self, level: usize) -> Result<Option<Child>, CatalogError> {
        let mut children = std::mem::take(&mut self.inner[level - 1]);
        if children.len() < 2 {
            return Ok(children.pop());
        }
        // A hash has at most 10 levels.
        let node = Node::Inner(u8::try_from(level).expect("few levels"), children);
        self.tree.seal(&node, &mut self.written)
    }

    /// The top node; `None` for a directory with nothing in it.
    pub async fn finish(mut self, written: &mut Vec<NewTree>) -> Result<Option<Child>, CatalogError> {
        let top = match self.inner.iter().rposition(|nodes| !nodes.is_empty()) {
            None => self.tree.seal(&Node::Leaf(std::mem::take(&mut self.leaf)), &mut self.written)?,
            Some(highest) => {
                self.end_leaf(0)?;
                for level in 1..=highest {
                    self.end_inner(level, 0)?;
                }
                self.seal_inner(highest + 1)?
            }
        };
        match top {
            Some(top) if top.count <= LEAF_MAX as u64 => {
                let leaf = Node::Leaf(self.entries(&top).await?);
                self.tree.seal(&leaf, written)
            }
            top => {
                written.append(&mut self.written);
                Ok(top)
            }
        }
    }

    /// All entries of a small directory, from nodes that are stored or are not yet.
    async fn entries(&self, top: &Child) -> Result<Vec<(String, Entry)>, CatalogError> {
        let mut entries = Vec::new();
        let mut open = vec![top.id];
        while let Some(id) = open.pop() {
            let new = self.written.iter().find(|new| new.id == id);
            let node = match new {
                Some(new) => self.tree.open(&id, &new.sealed)?,
                None => self.tree.node(&id).await?,
            };
            match node {
                Node::Leaf(more) => entries.extend(more),
                Node::Inner(_, children) => open.extend(children.iter().rev().map(|child| child.id)),
            }
        }
        Ok(entries)
    }
}
