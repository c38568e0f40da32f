//! Reading an object, piece by piece.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use tokio::sync::Mutex;

use super::ObjectError;

/// Times a piece is asked for again where its stream breaks: a node of the store may die under it.
const ATTEMPTS: usize = 3;

/// An open object.
pub struct ObjectReader(Kind);

enum Kind {
    File(File),
    Remote(Remote),
}

/// An object in a bucket, sent in one stream for as long as it is read in order.
struct Remote {
    store: Arc<dyn ObjectStore>,
    path: Path,
    length: u64,
    wanted: Range<u64>,
    flow: Mutex<Flow>,
}

#[derive(Default)]
struct Flow {
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    /// Where the next byte of `left`, and then of the stream, lies.
    at: u64,
    left: Bytes,
    /// What was read last, up to `at`: whoever reads by chunks reads the chunk again that two pieces share.
    behind: Vec<u8>,
}

/// Bytes that are kept of what was read: a chunk of an age payload with its tag.
const BEHIND_BYTES: usize = 64 * 1024 + 16;

impl ObjectReader {
    pub(super) fn file(file: File) -> Self {
        Self(Kind::File(file))
    }

    pub(super) fn remote(store: Arc<dyn ObjectStore>, path: Path, length: u64, wanted: Range<u64>) -> Self {
        Self(Kind::Remote(Remote { store, path, length, wanted, flow: Mutex::default() }))
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`ObjectError::Missing`] where the object ends before, or is another than it was said to be.
    pub async fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ObjectError> {
        match &self.0 {
            // A local read of some 100 KiB is shorter than the way to another thread.
            Kind::File(file) => Ok(file.read_exact_at(buffer, offset)?),
            Kind::Remote(remote) => remote.read(offset, buffer).await,
        }
    }
}

impl Remote {
    async fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ObjectError> {
        if offset + buffer.len() as u64 > self.length {
            return Err(ObjectError::Missing);
        }
        let mut flow = self.flow.lock().await;
        let mut failed = ObjectError::Missing;
        for _ in 0..ATTEMPTS {
            match self.fill(&mut flow, offset, buffer).await {
                Ok(()) => return Ok(()),
                Err(ObjectError::Missing) => return Err(ObjectError::Missing),
                Err(error) => (*flow, failed) = (Flow::default(), error),
            }
        }
        Err(failed)
    }

    async fn fill(&self, flow: &mut Flow, offset: u64, buffer: &mut [u8]) -> Result<(), ObjectError> {
        let mut filled = 0;
        let back = usize::try_from(flow.at.saturating_sub(offset)).unwrap_or(usize::MAX);
        if flow.stream.is_some() && offset < flow.at && back <= flow.behind.len() {
            let kept = &flow.behind[flow.behind.len() - back..];
            filled = back.min(buffer.len());
            buffer[..filled].copy_from_slice(&kept[..filled]);
        } else if flow.stream.is_none() || flow.at != offset {
            // What lies before the wanted part (the nonce) is asked for alone.
            let end = offset + buffer.len() as u64;
            let end = if end < self.wanted.start { end } else { end.max(self.wanted.end).min(self.length) };
            let options = GetOptions { range: Some(GetRange::Bounded(offset..end)), ..GetOptions::default() };
            let found = self.store.get_opts(&self.path, options).await?;
            if found.meta.size != self.length {
                return Err(ObjectError::Missing);
            }
            *flow = Flow { stream: Some(found.into_stream()), at: offset, ..Flow::default() };
        }
        while filled < buffer.len() {
            if flow.left.is_empty() {
                let Some(stream) = &mut flow.stream else { return Err(ObjectError::Missing) };
                match stream.next().await {
                    Some(piece) => flow.left = piece?,
                    None => return Err(ObjectError::Store("an object's stream ended early".to_owned())),
                }
            }
            let piece = flow.left.split_to(flow.left.len().min(buffer.len() - filled));
            buffer[filled..filled + piece.len()].copy_from_slice(&piece);
            filled += piece.len();
            flow.at += piece.len() as u64;
        }
        if flow.at == offset + buffer.len() as u64 {
            flow.behind.clear();
            flow.behind.extend_from_slice(&buffer[buffer.len().saturating_sub(BEHIND_BYTES)..]);
        }
        Ok(())
    }
}
