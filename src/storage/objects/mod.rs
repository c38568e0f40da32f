//! Payloads: immutable objects under random names.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};

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

impl From<object_store::Error> for ObjectError {
    fn from(error: object_store::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            if let Some(io) = inner.downcast_ref::<std::io::Error>()
                && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            {
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
    folder: PathBuf,
}

impl Objects {
    /// A directory; durable at each write.
    ///
    /// # Errors
    /// [`ObjectError::Store`] where it is none.
    pub fn local(folder: &FsPath) -> Result<Self, ObjectError> {
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), folder: folder.to_owned() })
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
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn begin(&self, id: ObjectId) -> Result<ObjectWriter, ObjectError> {
        let upload = self.store.put_multipart(&id.path()).await?;
        Ok(ObjectWriter { upload, pending: Vec::with_capacity(PART_BYTES), length: 0 })
    }

    /// Opens an object to read.
    ///
    /// # Errors
    /// [`ObjectError::Missing`] where it is not there, or has another length than `length`.
    pub async fn open(&self, id: ObjectId, length: u64) -> Result<ObjectReader, ObjectError> {
        let found = self.store.get(&id.path()).await?;
        if found.meta.size != length {
            return Err(ObjectError::Missing);
        }
        match found.payload {
            GetResultPayload::File(file, _) => Ok(ObjectReader { file }),
            GetResultPayload::Stream(_) => Err(ObjectError::Store("a store of another kind".to_owned())),
        }
    }

    /// Every object that was written before a moment, by the store's clock.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn written_before(&self, before_ms: i64) -> Result<Vec<ObjectId>, ObjectError> {
        let mut listed = self.store.list(None);
        let mut found = Vec::new();
        while let Some(object) = listed.try_next().await? {
            let name: String = object.location.parts().map(|part| part.as_ref().to_owned()).collect();
            let bytes = u128::from_str_radix(&name, 16).ok().filter(|_| name.len() == 32);
            if let Some(bytes) = bytes.filter(|_| object.last_modified.timestamp_millis() < before_ms) {
                found.push(ObjectId(bytes.to_be_bytes()));
            }
        }
        Ok(found)
    }

    /// Removes what a process that died had staged and never published (`NAME#N`, hidden from lists). Only before this
    /// process stages anything itself.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn remove_staged(&self) -> Result<u64, ObjectError> {
        let failed = |error: std::io::Error| ObjectError::Store(error.to_string());
        let mut removed = 0;
        for folder in std::fs::read_dir(&self.folder).map_err(failed)? {
            let folder = folder.map_err(failed)?.path();
            for file in
                folder.is_dir().then(|| std::fs::read_dir(&folder)).transpose().map_err(failed)?.into_iter().flatten()
            {
                let file = file.map_err(failed)?;
                if file.file_name().to_string_lossy().contains('#') {
                    std::fs::remove_file(file.path()).map_err(failed)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
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

/// Bytes that are handed to the store at once.
const PART_BYTES: usize = 4 * 1024 * 1024;

/// An object that is being written. Visible only after [`ObjectWriter::finish`].
pub struct ObjectWriter {
    upload: Box<dyn MultipartUpload>,
    pending: Vec<u8>,
    length: u64,
}

impl ObjectWriter {
    /// Where the next bytes go; hand them over with [`ObjectWriter::flush`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Hands what is pending to the store, where it is enough to be worth it.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn flush(&mut self) -> Result<(), ObjectError> {
        if self.pending.len() >= PART_BYTES { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> Result<(), ObjectError> {
        let part = std::mem::replace(&mut self.pending, Vec::with_capacity(PART_BYTES));
        self.length += part.len() as u64;
        Ok(self.upload.put_part(PutPayload::from(Bytes::from(part))).await?)
    }

    /// Publishes the object, durably. Gives its length.
    ///
    /// # Errors
    /// [`ObjectError`]; then nothing is visible.
    pub async fn finish(mut self) -> Result<u64, ObjectError> {
        if !self.pending.is_empty() {
            self.write().await?;
        }
        self.upload.complete().await?;
        Ok(self.length)
    }

    /// Gives up; what was written is removed.
    pub async fn abort(mut self) {
        // What can't be removed now is found by the sweep.
        let _ = self.upload.abort().await;
    }
}

/// An open object.
pub struct ObjectReader {
    file: File,
}

impl ObjectReader {
    /// Fills `buffer` from `offset` on. A local read of some 100 KiB is shorter than the way to another thread.
    ///
    /// # Errors
    /// [`ObjectError::Missing`] where the object ends before.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ObjectError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ObjectError::Missing,
            _ => ObjectError::Store(error.to_string()),
        })
    }
}
