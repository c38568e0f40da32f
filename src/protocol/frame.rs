//! Frames: a big-endian u32 length, a postcard body, at most [`FRAME_BYTES_MAX`].

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use zeroize::Zeroizing;

/// Bytes of a frame: 1000 envelopes of a commit, or 500 records of the log, fit well.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why the connection is over. There is no way on after any of these.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket failed, or a frame was too long.
    #[error("the socket between gate and keeper: {0}")]
    Socket(#[from] std::io::Error),
    /// A frame that is no message.
    #[error("a frame that is not of the protocol")]
    Form,
}

/// A message with its request's number.
#[derive(Debug, Serialize, Deserialize)]
pub struct Numbered<T> {
    /// Chosen by the gate, repeated in the answer.
    pub number: u64,
    /// The message.
    pub message: T,
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec()
}

/// Cuts a socket in its two directions.
pub fn split(socket: UnixStream) -> (FrameReader, FrameWriter) {
    let (read, write) = socket.into_split();
    (FrameReader(FramedRead::new(read, codec())), FrameWriter(FramedWrite::new(write, codec())))
}

/// Reads frames.
pub struct FrameReader(FramedRead<OwnedReadHalf, LengthDelimitedCodec>);

impl FrameReader {
    /// The next message; `None` at the end of the connection.
    ///
    /// # Errors
    /// [`FrameError`].
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Numbered<T>>, FrameError> {
        let Some(frame) = self.0.next().await else { return Ok(None) };
        let frame = Zeroizing::new(Vec::from(frame?));
        // The buffer would keep what went through it until more comes: tokens, keys, names.
        if self.0.read_buffer().is_empty() {
            *self.0.read_buffer_mut() = BytesMut::new();
        }
        match postcard::take_from_bytes(&frame) {
            Ok((message, [])) => Ok(Some(message)),
            _ => Err(FrameError::Form),
        }
    }
}

/// Writes frames.
pub struct FrameWriter(FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>);

impl FrameWriter {
    /// Queues a message without waiting for the socket, where its buffer has room.
    ///
    /// # Errors
    /// [`FrameError`].
    pub async fn feed<T: Serialize>(&mut self, message: &Numbered<T>) -> Result<(), FrameError> {
        let bytes = postcard::to_stdvec(message).map_err(|_| FrameError::Form)?;
        Ok(self.0.feed(Bytes::from(bytes)).await?)
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// [`FrameError`].
    pub async fn flush(&mut self) -> Result<(), FrameError> {
        SinkExt::<Bytes>::flush(&mut self.0).await?;
        // As above: what was sent is not kept.
        *self.0.write_buffer_mut() = BytesMut::new();
        Ok(())
    }
}
