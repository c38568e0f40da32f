//! Writing an object that comes in pieces.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

use super::ObjectError;
use super::staged::Staged;

/// An object that is being written. Visible only after [`ObjectWriter::finish`].
pub struct ObjectWriter(Kind);

enum Kind {
    File(Box<Staged>),
    Bucket(Parts),
}

impl ObjectWriter {
    pub(super) fn file(staged: Staged) -> Self {
        Self(Kind::File(Box::new(staged)))
    }

    pub(super) fn bucket(store: Arc<dyn ObjectStore>, path: Path) -> Self {
        Self(Kind::Bucket(Parts { store, path, upload: None, parts: JoinSet::new(), pending: Vec::new(), length: 0 }))
    }

    /// Where the next bytes go; hand them over with [`ObjectWriter::flush`]. They are written as they are: ciphertext.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        match &mut self.0 {
            Kind::File(staged) => staged.buffer(),
            Kind::Bucket(parts) => &mut parts.pending,
        }
    }

    /// Hands what is pending to the store, where it is enough to be worth it.
    ///
    /// # Errors
    /// [`ObjectError`], also of what was handed over earlier.
    pub async fn flush(&mut self) -> Result<(), ObjectError> {
        match &mut self.0 {
            Kind::File(staged) => staged.flush().await,
            Kind::Bucket(parts) => parts.flush().await,
        }
    }

    /// Publishes the object, durably. Gives its length.
    ///
    /// # Errors
    /// [`ObjectError`]; then nothing is visible.
    pub async fn finish(self) -> Result<u64, ObjectError> {
        match self.0 {
            Kind::File(staged) => staged.finish().await,
            Kind::Bucket(parts) => parts.finish().await,
        }
    }

    /// Gives up; what was written is removed.
    pub async fn abort(self) {
        match self.0 {
            // As it is dropped.
            Kind::File(_) => {}
            Kind::Bucket(parts) => parts.abort().await,
        }
    }
}

/// Bytes of a part: the least that S3 takes.
const PART: usize = 5 * 1024 * 1024;
/// Parts that are on their way while the next one comes in, since each is a way to the store and back.
const AT_ONCE: usize = 2;

/// An object on its way to a bucket: holds one part more than are on their way.
struct Parts {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// From the first whole part on: what is smaller is put at once.
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<object_store::Result<()>>,
    pending: Vec<u8>,
    length: u64,
}

impl Parts {
    async fn flush(&mut self) -> Result<(), ObjectError> {
        if self.pending.len() >= PART { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> Result<(), ObjectError> {
        while self.parts.len() >= AT_ONCE {
            self.wait().await?;
        }
        let part = std::mem::replace(&mut self.pending, Vec::with_capacity(PART + PART / 4));
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

    async fn finish(mut self) -> Result<u64, ObjectError> {
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

    async fn abort(mut self) {
        self.parts.shutdown().await;
        if let Some(mut upload) = self.upload {
            // What can't be removed now is found by the sweep.
            let _ = upload.abort().await;
        }
    }
}
