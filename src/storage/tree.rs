//! Directories: one sealed value for each directory in each compartment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::Row;
use strongroom_domain::{Compartment, GitBlob, RepoPath, Sha256};
use strongroom_envelope::{keyed_hash, keyed_hash_is, open_meta, seal_meta};
use strongroom_protocol::MetaKeys;

use crate::catalog::{Catalog, CatalogError, RepoId};
use crate::git::tree_id;
use crate::objects::ObjectId;

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
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A file.
    File(FileEntry),
    /// A directory: the id it is stored under, and git's.
    Directory([u8; 32], [u8; 20]),
}

/// One directory in one compartment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory(pub BTreeMap<String, Entry>);

impl Directory {
    /// Git's id of it.
    pub fn git_id(&self) -> [u8; 20] {
        tree_id(self.0.iter().map(|(name, entry)| match entry {
            Entry::File(file) => (name.as_str(), false, *file.blob.as_bytes()),
            Entry::Directory(_, git) => (name.as_str(), true, *git),
        }))
    }
}

/// A directory that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct NewTree {
    pub compartment: Compartment,
    pub id: [u8; 32],
    pub sealed: Vec<u8>,
}

/// Directories of one compartment of one repository, under its keys.
#[derive(Clone, Copy)]
pub struct PartTree<'a> {
    /// The catalogue.
    pub catalog: &'a Catalog,
    /// The repository.
    pub repo: RepoId,
    /// The compartment.
    pub compartment: Compartment,
    /// Its keys.
    pub keys: &'a MetaKeys,
}

/// The segments of a path below a directory, and what shall stand there.
type Edit<'a> = (Vec<&'a str>, Option<&'a FileEntry>);

/// What shall stand at a path: a file, or nothing.
pub(crate) type Edits = BTreeMap<RepoPath, Option<FileEntry>>;

impl PartTree<'_> {
    fn place<'b>(&'b self, id: &'b [u8; 32]) -> [&'b [u8]; 4] {
        [b"tree", &self.repo, self.compartment.word().as_bytes(), id]
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// [`CatalogError`]; also where it is missing, for then the catalogue is not whole.
    pub async fn read(&self, id: &[u8; 32]) -> Result<Directory, CatalogError> {
        let row = sqlx::query("SELECT body_sealed FROM tree WHERE repo = $1 AND compartment = $2 AND id = $3")
            .bind(self.repo.to_vec())
            .bind(self.compartment.word())
            .bind(id.to_vec())
            .fetch_optional(&self.catalog.database.reader)
            .await?;
        let sealed: Vec<u8> = row.ok_or(CatalogError::Value("directory"))?.try_get("body_sealed")?;
        let body = open_meta(self.keys.seal.expose(), &self.place(id), &sealed)?;
        postcard::from_bytes(&body).map_err(|_| CatalogError::Value("directory"))
    }

    /// The directory at a path below a root; `None` where there is none.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn find(&self, root: &[u8; 32], path: Option<&RepoPath>) -> Result<Option<Directory>, CatalogError> {
        let mut directory = self.read(root).await?;
        for segment in path.into_iter().flat_map(RepoPath::segments) {
            let Some(Entry::Directory(id, _)) = directory.0.get(segment) else { return Ok(None) };
            directory = self.read(id).await?;
        }
        Ok(Some(directory))
    }

    /// The file at a path below a root.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn file(&self, root: &[u8; 32], path: &RepoPath) -> Result<Option<FileEntry>, CatalogError> {
        let mut id = *root;
        let mut segments = path.segments().peekable();
        while let Some(segment) = segments.next() {
            match (self.read(&id).await?.0.remove(segment), segments.peek()) {
                (Some(Entry::File(file)), None) => return Ok(Some(file)),
                (Some(Entry::Directory(below, _)), Some(_)) => id = below,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    fn seal(&self, directory: &Directory) -> Result<NewTree, CatalogError> {
        // Postcard into a growing vector fails for no value of these types.
        let body = postcard::to_stdvec(directory).expect("plain values");
        let id = keyed_hash(self.keys.index.expose(), &[b"tree", &body]);
        let sealed = seal_meta(self.keys.seal.expose(), &self.place(&id), &body);
        Ok(NewTree { compartment: self.compartment, id, sealed: sealed.map_err(|_| CatalogError::Randomness)? })
    }

    /// An empty or changed tree: only directories that an edit goes through are read and written.
    ///
    /// # Errors
    /// [`CatalogError::Refused`] for a file where a directory is or the other way round, and for names that differ only
    /// in case.
    pub(crate) async fn edit(
        &self,
        root: Option<&[u8; 32]>,
        edits: &Edits,
        written: &mut Vec<NewTree>,
    ) -> Result<Option<([u8; 32], [u8; 20])>, CatalogError> {
        let edits: Vec<Edit<'_>> =
            edits.iter().map(|(path, file)| (path.segments().collect(), file.as_ref())).collect();
        self.edit_below(root.copied(), &edits, written).await
    }

    async fn edit_below(
        &self,
        id: Option<[u8; 32]>,
        edits: &[Edit<'_>],
        written: &mut Vec<NewTree>,
    ) -> Result<Option<([u8; 32], [u8; 20])>, CatalogError> {
        let mut directory = match id {
            Some(id) => self.read(&id).await?,
            None => Directory::default(),
        };
        let mut below: BTreeMap<&str, Vec<Edit<'_>>> = BTreeMap::new();
        for (segments, file) in edits {
            match (segments.as_slice(), file) {
                ([name], None) => {
                    if matches!(directory.0.get(*name), Some(Entry::File(_))) {
                        directory.0.remove(*name);
                    }
                }
                ([name], Some(file)) => {
                    if matches!(directory.0.get(*name), Some(Entry::Directory(..))) {
                        return Err(CatalogError::Refused(format!("'{name}' is a directory")));
                    }
                    directory.0.insert((*name).to_owned(), Entry::File((*file).clone()));
                }
                ([name, rest @ ..], file) => below.entry(name).or_default().push((rest.to_vec(), *file)),
                ([], _) => {}
            }
        }
        for (name, edits) in below {
            let id = match directory.0.get(name) {
                Some(Entry::Directory(id, _)) => Some(*id),
                Some(Entry::File(_)) if edits.iter().any(|(_, file)| file.is_some()) => {
                    return Err(CatalogError::Refused(format!("'{name}' is a file")));
                }
                Some(Entry::File(_)) => continue,
                None => None,
            };
            match Box::pin(self.edit_below(id, &edits, written)).await? {
                Some((id, git)) => directory.0.insert(name.to_owned(), Entry::Directory(id, git)),
                None => directory.0.remove(name),
            };
        }
        if directory.0.is_empty() {
            return Ok(None);
        }
        let mut folded = std::collections::HashMap::new();
        for name in directory.0.keys() {
            if let Some(twin) = folded.insert(name.to_lowercase(), name) {
                return Err(CatalogError::Refused(format!("'{twin}' and '{name}' differ only in case")));
            }
        }
        let new = self.seal(&directory)?;
        let ids = (new.id, directory.git_id());
        written.push(new);
        Ok(Some(ids))
    }
}
