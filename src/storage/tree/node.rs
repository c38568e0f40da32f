//! Nodes: a leaf holds entries, an inner node holds the ids of the nodes below it.

use serde::{Deserialize, Serialize};
use sqlx::Row;
use strongroom_envelope::{keyed_hash, open_meta, seal_meta};

use super::{Entry, NewTree, PartTree};
use crate::cache::{Place, Sealed};
use crate::catalog::CatalogError;
use crate::git::tree_id;

/// What a node is stored under: a keyed hash of its content.
pub(crate) type NodeId = [u8; 32];

/// A directory of at most so many entries is one leaf, and has git's own id.
pub(super) const LEAF_MAX: usize = 256;
/// One name of 2^6 ends a leaf, one of 2^12 a node over leaves, and so on: 64 entries a node on the average.
const SPLIT_BITS: u32 = 6;

/// The form of a name by which a directory is ordered: names that differ only in case meet in one place.
pub(crate) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// A node as the one above it names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Child {
    /// Stored under.
    pub id: NodeId,
    /// The git tree id over what is in it.
    pub git: [u8; 20],
    /// Entries below it, in this directory.
    pub count: u64,
    /// The folded name of the last of them.
    pub last: String,
}

/// A part of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Node {
    /// Entries, by folded name.
    Leaf(Vec<(String, Entry)>),
    /// Nodes of a lower level, in order. A leaf's level is 0; levels in which there would be only one node are left out.
    Inner(u8, Vec<Child>),
}

impl Node {
    /// How far above the leaves.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner(level, _) => *level,
        }
    }

    /// The entry whose name folds to this.
    pub fn entry(&self, key: &str) -> Option<&(String, Entry)> {
        match self {
            Self::Leaf(entries) => {
                let at = entries.binary_search_by(|(name, _)| folded(name).as_str().cmp(key));
                at.ok().and_then(|at| entries.get(at))
            }
            Self::Inner(..) => None,
        }
    }

    /// The node below in which a folded name is, if it is anywhere.
    pub fn child(&self, key: &str) -> Option<&Child> {
        match self {
            Self::Leaf(_) => None,
            Self::Inner(_, children) => children.get(children.partition_point(|child| child.last.as_str() < key)),
        }
    }

    /// Of a leaf git's own id; of an inner node the id of a git tree whose entries are its nodes, `00000000` and on.
    pub(crate) fn git_id(&self) -> [u8; 20] {
        match self {
            Self::Leaf(entries) => tree_id(entries.iter().map(|(name, entry)| match entry {
                Entry::File(file) => (name.as_str(), false, *file.blob.as_bytes()),
                Entry::Directory(_, git) => (name.as_str(), true, *git),
            })),
            Self::Inner(_, children) => {
                let names: Vec<String> = (0..children.len()).map(|at| format!("{at:08x}")).collect();
                tree_id(names.iter().zip(children).map(|(name, child)| (name.as_str(), true, child.git)))
            }
        }
    }

    fn count(&self) -> u64 {
        match self {
            Self::Leaf(entries) => entries.len() as u64,
            Self::Inner(_, children) => children.iter().map(|child| child.count).sum(),
        }
    }

    fn last(&self) -> Option<String> {
        match self {
            Self::Leaf(entries) => entries.last().map(|(name, _)| folded(name)),
            Self::Inner(_, children) => children.last().map(|child| child.last.clone()),
        }
    }
}

impl PartTree<'_> {
    fn place<'b>(&'b self, id: &'b NodeId) -> [&'b [u8]; 4] {
        [b"tree", &self.repo, self.compartment.word().as_bytes(), id]
    }

    /// Reads a node.
    ///
    /// # Errors
    /// [`CatalogError`]; also where it is missing, for then the catalogue is not whole.
    pub(crate) async fn node(&self, id: &NodeId) -> Result<Node, CatalogError> {
        let place = Place::tree(self.repo, self.compartment, *id);
        let sealed = match self.catalog.cache.get(&place) {
            Some(sealed) => sealed,
            None => {
                let query = || {
                    sqlx::query("SELECT body_sealed FROM tree WHERE repo = $1 AND compartment = $2 AND id = $3")
                        .bind(self.repo.to_vec())
                        .bind(self.compartment.word())
                        .bind(id.to_vec())
                };
                let row = self.catalog.database.read_one(query).await?;
                let sealed: Vec<u8> = row.ok_or(CatalogError::Value("directory"))?.try_get("body_sealed")?;
                self.catalog.cache.put(place, Sealed { body: sealed, commit: None })
            }
        };
        self.open(id, &sealed.body)
    }

    pub(crate) fn open(&self, id: &NodeId, sealed: &[u8]) -> Result<Node, CatalogError> {
        let body = open_meta(self.keys.seal.expose(), &self.place(id), sealed)?;
        postcard::from_bytes(&body).map_err(|_| CatalogError::Value("directory"))
    }

    /// Seals a node that is to be written; `None` for one with nothing in it.
    pub(crate) fn seal(&self, node: &Node, written: &mut Vec<NewTree>) -> Result<Option<Child>, CatalogError> {
        let Some(last) = node.last() else { return Ok(None) };
        // Postcard into a growing vector fails for no value of these types.
        let body = postcard::to_stdvec(node).expect("plain values");
        let id = keyed_hash(self.keys.index.expose(), &[b"tree", &body]);
        let sealed = seal_meta(self.keys.seal.expose(), &self.place(&id), &body);
        let sealed = sealed.map_err(|_| CatalogError::Randomness)?;
        written.push(NewTree { compartment: self.compartment, id, sealed });
        Ok(Some(Child { id, git: node.git_id(), count: node.count(), last }))
    }

    /// How many levels of nodes end after this folded name. Keyed, so that nobody can choose names that make a node grow.
    pub(super) fn levels_ended(&self, key: &str) -> usize {
        let hash = keyed_hash(self.keys.split.expose(), &[b"split", key.as_bytes()]);
        // 32 bytes have a first 8.
        let first = u64::from_be_bytes(*hash.first_chunk().expect("32 bytes"));
        (first.trailing_zeros() / SPLIT_BITS) as usize
    }
}
