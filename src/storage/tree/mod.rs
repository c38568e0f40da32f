//! Directories: in each compartment a search tree of sealed nodes, so that a look-up, a page and an edit touch few of them.
//! (docs/decisions/0010)

mod build;
mod edit;
mod find;
mod node;
#[cfg(test)]
mod tests;
mod walk;

use serde::{Deserialize, Serialize};
use strongroom_domain::{Compartment, GitBlob, Sha256};
use strongroom_envelope::{keyed_hash, keyed_hash_is};
use strongroom_protocol::MetaKeys;

use crate::catalog::{Catalog, RepoId};
use crate::objects::ObjectId;

pub(crate) use edit::Changes;
pub(crate) use node::{Node, NodeId, folded};
pub(crate) use walk::Walk;

/// A file in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its payload's name.
    pub object: [u8; 16],
    /// Bytes of plaintext.
    pub size: u64,
    /// Of the plaintext.
    pub sha256: Sha256,
    /// Git's id: of the content, or of the LFS pointer.
    pub blob: GitBlob,
    /// Whether clients treat it as an LFS object.
    pub lfs: bool,
    /// Keyed hash of the envelope: one that was swapped is refused before its first byte.
    pub envelope_mac: [u8; 32],
    /// What was read out of the file when it came, so that it need not be opened: a card's metadata, git's rules.
    pub facts: Option<String>,
}

impl FileEntry {
    /// The MAC for a header.
    pub fn mac(keys: &MetaKeys, object: ObjectId, header: &[u8]) -> [u8; 32] {
        keyed_hash(keys.index.expose(), &[b"envelope", &object.0, header])
    }

    /// Whether this is the header that was committed.
    pub fn has_envelope(&self, keys: &MetaKeys, header: &[u8]) -> bool {
        keyed_hash_is(keys.index.expose(), &[b"envelope", &self.object, header], &self.envelope_mac)
    }

    /// Whether the other is the same content in the same form: put again, it is no change.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.sha256 == other.sha256 && self.lfs == other.lfs
    }
}

/// A directory: the id its top node is stored under, and git's.
pub(crate) type DirectoryId = (NodeId, [u8; 20]);

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A file.
    File(FileEntry),
    /// A directory: the id its top node is stored under, and git's.
    Directory([u8; 32], [u8; 20]),
}

/// A node that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct NewTree {
    pub compartment: Compartment,
    pub id: NodeId,
    pub sealed: Vec<u8>,
}

/// Directories of one compartment of one repository, under its keys.
#[derive(Clone, Copy)]
pub(crate) struct PartTree<'a> {
    /// The catalogue.
    pub catalog: &'a Catalog,
    /// The repository.
    pub repo: RepoId,
    /// The compartment.
    pub compartment: Compartment,
    /// Its keys.
    pub keys: &'a MetaKeys,
}
