//! Writing an object that comes in pieces.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

use super::ObjectError;

/// How an object is cut for its store. Each upload holds one part more than are on their way.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// Bytes that are handed to the store at once.
    bytes: usize,
    /// Parts that are on their way while the next one comes in.
    at_once: usize,
}

impl Parts {
    /// For a bucket: the least that S3 takes as a part (5 MiB), and two, since each is a way to the store and back.
    pub const BUCKET: Self = Self { bytes: 5 * 1024 * 1024, at_once: 2 };
    /// For a directory: enough that a write is worth its way to another thread, and no more of memory.
    pub const DIRECTORY: Self = Self { bytes: 512 * 1024, at_once: 1 };
}

/// An object that is being written. Visible only after [`ObjectWriter::finish`].
pub struct ObjectWriter {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// From the first whole part on: what is smaller is put at once.
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<object_store::Result<()>>,
    cut: Parts,
    pending: Vec<u8>,
    length: u64,
}

impl ObjectWriter {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path, cut: Parts) -> Self {
        Self { store, path, upload: None, parts: JoinSet::new(), cut, pending: Vec::new(), length: 0 }
    }

    /// Where the next bytes go; hand them over with [`ObjectWriter::flush`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Hands what is pending to the store, where it is enough to be worth it.
    ///
    /// # Errors
    /// [`ObjectError`], also of a part that was handed over earlier.
    pub async fn flush(&mut self) -> Result<(), ObjectError> {
        if self.pending.len() >= self.cut.bytes { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> Result<(), ObjectError> {
        while self.parts.len() >= self.cut.at_once {
            self.wait().await?;
        }
        let part = std::mem::replace(&mut self.pending, Vec::with_capacity(self.cut.bytes + self.cut.bytes / 4));
        self.length += part.len() as u64;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.store.put_multipart(&self.path).await?),
        };
        self.parts.spawn(upload.put_part(PutPayload::from(Bytes::from(part))));
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), ObjectError> {
        match self.parts.join_next().await {
            None => Ok(()),
            Some(Ok(written)) => Ok(written?),
            Some(Err(error)) => Err(ObjectError::Store(error.to_string())),
        }
    }

    /// Publishes the object, durably. Gives its length.
    ///
    /// # Errors
    /// [`ObjectError`]; then nothing is visible.
    pub async fn finish(mut self) -> Result<u64, ObjectError> {
        if self.upload.is_none() {
            let length = self.pending.len() as u64;
            self.store.put(&self.path, PutPayload::from(std::mem::take(&mut self.pending))).await?;
            return Ok(length);
        }
        let written = self.publish().await;
        if written.is_err() {
            self.abort().await;
            return written;
        }
        Ok(self.length)
    }

    async fn publish(&mut self) -> Result<u64, ObjectError> {
        if !self.pending.is_empty() {
            self.write().await?;
        }
        while !self.parts.is_empty() {
            self.wait().await?;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
        }
        Ok(self.length)
    }

    /// Gives up; what was written is removed.
    pub async fn abort(mut self) {
        self.parts.shutdown().await;
        if let Some(mut upload) = self.upload {
            // What can't be removed now is found by the sweep.
            let _ = upload.abort().await;
        }
    }
}
