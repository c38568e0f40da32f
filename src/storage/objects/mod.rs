//! Payloads: immutable objects under random names, in a directory or an S3 bucket.

mod copy;
mod reader;
mod s3;
mod staged;
mod writer;

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};

pub use reader::ObjectReader;
pub use s3::{S3, S3Error};
use staged::{Blocks, Staged};
pub use writer::ObjectWriter;

/// Why an object can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The disk is full: nothing was added.
    #[error("the object store is full")]
    Full,
    /// The store.
    #[error("object store: {0}")]
    Store(String),
    /// The payload is not as long as its tree entry says, or not there.
    #[error("an object is missing or cut")]
    Missing,
    /// No randomness to name it.
    #[error("the system gives no random bytes")]
    Randomness,
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl From<io::Error> for ObjectError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if is_full(&error) => Self::Full,
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => Self::Missing,
            _ => Self::Store(error.to_string()),
        }
    }
}

impl From<object_store::Error> for ObjectError {
    fn from(error: object_store::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            if inner.downcast_ref::<io::Error>().is_some_and(is_full) {
                return Self::Full;
            }
            cause = inner.source();
        }
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            error => Self::Store(error.to_string()),
        }
    }
}

/// A random name, which says nothing about the content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectId(pub [u8; 16]);

impl ObjectId {
    /// A fresh one.
    ///
    /// # Errors
    /// [`ObjectError::Randomness`].
    pub fn generate() -> Result<Self, ObjectError> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| ObjectError::Randomness)?;
        Ok(Self(id))
    }

    /// 256 folders, so that none grows without end on file systems that mind.
    fn path(self) -> Path {
        let hex = self.to_string();
        Path::from_iter([&hex[..2], &hex[2..]])
    }

    fn place(self, folder: &FsPath) -> PathBuf {
        let hex = self.to_string();
        folder.join(&hex[..2]).join(&hex[2..])
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

/// The object store.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Of a directory: where it is.
    folder: Option<PathBuf>,
    blocks: Blocks,
}

impl Objects {
    /// A directory; durable at each write.
    ///
    /// # Errors
    /// [`ObjectError::Store`] where it is none.
    pub fn local(folder: &FsPath) -> Result<Self, ObjectError> {
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), folder: Some(folder.to_owned()), blocks: Blocks::default() })
    }

    /// A bucket. Opens no connection.
    ///
    /// # Errors
    /// [`ObjectError::Store`] for an endpoint or certificates that can't be used.
    pub fn s3(bucket: &S3) -> Result<Self, ObjectError> {
        Ok(Self { store: bucket.connect(true)?, folder: None, blocks: Blocks::default() })
    }

    /// Writes a whole object.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn put(&self, id: ObjectId, bytes: Vec<u8>) -> Result<(), ObjectError> {
        self.store.put(&id.path(), PutPayload::from(bytes)).await?;
        Ok(())
    }

    /// Begins an object that comes in pieces.
    pub fn begin(&self, id: ObjectId) -> ObjectWriter {
        match &self.folder {
            Some(folder) => ObjectWriter::file(Staged::new(self.blocks.clone(), id.place(folder))),
            None => ObjectWriter::bucket(self.store.clone(), id.path()),
        }
    }

    /// Opens an object of this length to read, most of all `wanted` of it: from there on a bucket sends it in one piece.
    ///
    /// # Errors
    /// [`ObjectError::Missing`] where it is not there, or has another length. Of a bucket, the first read says so.
    pub async fn open(&self, id: ObjectId, length: u64, wanted: Range<u64>) -> Result<ObjectReader, ObjectError> {
        let Some(folder) = &self.folder else {
            return Ok(ObjectReader::remote(self.store.clone(), id.path(), length, wanted));
        };
        // Shorter than the way to another thread.
        let file = File::open(id.place(folder))?;
        if file.metadata()?.len() != length {
            return Err(ObjectError::Missing);
        }
        Ok(ObjectReader::file(file))
    }

    /// Every object that was written before a moment, by the store's clock.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn written_before(&self, before_ms: i64) -> Result<Vec<ObjectId>, ObjectError> {
        let all = self.each(|object| object.last_modified.timestamp_millis() < before_ms).await?;
        Ok(all.into_iter().map(|(object, _)| object).collect())
    }

    /// Every object with its length in bytes.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn list(&self) -> Result<Vec<(ObjectId, u64)>, ObjectError> {
        self.each(|_| true).await
    }

    async fn each(&self, wanted: impl Fn(&ObjectMeta) -> bool) -> Result<Vec<(ObjectId, u64)>, ObjectError> {
        let mut listed = self.store.list(None);
        let mut found = Vec::new();
        while let Some(object) = listed.try_next().await? {
            let name: String = object.location.parts().map(|part| part.as_ref().to_owned()).collect();
            let bytes = u128::from_str_radix(&name, 16).ok().filter(|_| name.len() == 32);
            if let Some(bytes) = bytes.filter(|_| wanted(&object)) {
                found.push((ObjectId(bytes.to_be_bytes()), object.size));
            }
        }
        Ok(found)
    }

    /// Removes what a process that died had staged and never published (`NAME#N`, hidden from lists). Only before this
    /// process stages anything itself. Of a bucket, its life-cycle rule does that.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn remove_staged(&self) -> Result<u64, ObjectError> {
        let mut removed = 0;
        let Some(folder) = &self.folder else { return Ok(0) };
        for folder in std::fs::read_dir(folder)? {
            let folder = folder?.path();
            for file in folder.is_dir().then(|| std::fs::read_dir(&folder)).transpose()?.into_iter().flatten() {
                let file = file?;
                if file.file_name().to_string_lossy().contains('#') {
                    std::fs::remove_file(file.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Gives an object that was just written to the owner of its directory: whoever works beside the server as root leaves
    /// nothing that the server can't read.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn give_to_owner(&self, id: ObjectId) -> Result<(), ObjectError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let failed = |error: std::io::Error| ObjectError::Store(error.to_string());
        let owner = std::fs::metadata(folder).map_err(failed)?;
        let file = folder.join(id.path().as_ref());
        for path in file.ancestors().take(2) {
            let found = std::fs::metadata(path).map_err(failed)?;
            if (found.uid(), found.gid()) != (owner.uid(), owner.gid()) {
                std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn delete(&self, id: ObjectId) -> Result<(), ObjectError> {
        match self.store.delete(&id.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
