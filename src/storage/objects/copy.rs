//! Payloads as they lie, from one store into another.

use aws_lc_rs::digest::{Context, SHA256};
use strongroom_domain::Sha256;

use super::{ObjectError, ObjectId, Objects};

/// Bytes that are read at once.
const RUN: u64 = 256 * 1024;

impl Objects {
    /// The SHA-256 of a payload as it lies, nonce and all.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn digest(&self, id: ObjectId, length: u64) -> Result<Sha256, ObjectError> {
        self.each_run(id, length, async |_| Ok(())).await
    }

    /// Copies a payload, durably; its SHA-256. Where that fails, nothing is visible in the other store.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn copy(&self, to: &Self, id: ObjectId, length: u64) -> Result<Sha256, ObjectError> {
        let mut writer = to.begin(id);
        let copied = self
            .each_run(id, length, async |run| {
                writer.buffer().extend_from_slice(run);
                writer.flush().await
            })
            .await;
        match copied {
            Ok(digest) => writer.finish().await.map(|_| digest),
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    async fn each_run(
        &self,
        id: ObjectId,
        length: u64,
        mut each: impl AsyncFnMut(&[u8]) -> Result<(), ObjectError>,
    ) -> Result<Sha256, ObjectError> {
        let reader = self.open(id, length, 0..length).await?;
        let mut hash = Context::new(&SHA256);
        let mut buffer = vec![0; usize::try_from(length.min(RUN)).unwrap_or_default()];
        let mut at = 0;
        while at < length {
            // At most the buffer's length.
            let run = &mut buffer[..(length - at).min(RUN) as usize];
            reader.read(at, run).await?;
            hash.update(run);
            each(run).await?;
            at += run.len() as u64;
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.finish().as_ref()); // SHA-256 has 32 bytes
        Ok(Sha256::from_bytes(bytes))
    }
}
