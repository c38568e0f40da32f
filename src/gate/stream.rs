//! Sending: reads ciphertext, opens chunks, hands plaintext on; constant memory, only the chunks that the range touches.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use strongroom_envelope::{CHUNK_BYTES, ChunkRange, FileKey, NONCE_BYTES, Payload, TAG_BYTES, ciphertext_len};
use strongroom_protocol::{Grant, ObjectRef, SPANS};
use strongroom_storage::{ObjectId, ObjectReader};
use tracing::Instrument;

use crate::buffers::Buffers;
use crate::gate::Gate;
use crate::http::Peer;
use crate::refused::Refused;
use crate::sent::Sent;
use crate::watch::Watched;

/// Chunks that are read and opened at once: 256 KiB was the best of what was measured.
const RUN: u64 = 4;

/// Bytes of a run as it is stored.
pub const RUN_BYTES: usize = (RUN * (CHUNK_BYTES + TAG_BYTES)) as usize;

/// A payload that is open for reading, by chunks.
pub struct OpenObject {
    reader: ObjectReader,
    payload: Payload,
    size: u64,
}

impl OpenObject {
    /// Opens a payload with its file key, to read most of all this range of the plaintext.
    ///
    /// # Errors
    /// 500 where the payload is missing or has another length.
    pub async fn new(
        gate: &Gate,
        object: ObjectId,
        size: u64,
        key: &FileKey,
        range: Range<u64>,
    ) -> Result<Self, Refused> {
        let damaged = || Refused::from(strongroom_storage::ObjectError::Missing);
        let length = ciphertext_len(size).ok_or_else(damaged)?;
        // An empty range reads the nonce alone.
        let wanted = ChunkRange::of(range, size).map_or(0..NONCE_BYTES as u64, |touched| touched.payload);
        let span = tracing::debug_span!(target: SPANS, "objects", ask = "open");
        let reader = gate.objects.open(object, length, wanted).instrument(span).await?;
        let mut nonce = [0; NONCE_BYTES];
        reader.read(0, &mut nonce).await?;
        Ok(Self { reader, payload: Payload::new(key, &nonce), size })
    }

    /// The plaintext of a range; nothing of it is given out unless all of its chunks are whole.
    ///
    /// # Errors
    /// 500 for a payload that was damaged.
    pub async fn read(&self, buffers: &Buffers, range: Range<u64>) -> Result<Bytes, Refused> {
        let damaged = || Refused::from(strongroom_storage::ObjectError::Missing);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let touched = ChunkRange::of(range.clone(), self.size).ok_or_else(damaged)?;
        let mut buffer = buffers.take(touched.payload.start, (touched.payload.end - touched.payload.start) as usize);
        self.reader.read(touched.payload.start, &mut buffer).await?;
        let sealed = (CHUNK_BYTES + TAG_BYTES) as usize;
        let (mut from, mut to) = (0, 0);
        for index in touched.chunks.clone() {
            let end = (from + sealed).min(buffer.len());
            let last = touched.last && index + 1 == touched.chunks.end;
            let opened = self.payload.open_chunk(index, last, &mut buffer[from..end]);
            let length = opened.map_err(|_| damaged())?.len();
            buffer.copy_within(from..from + length, to);
            (from, to) = (end, to + length);
        }
        let from = touched.skip as usize;
        let part = from..from + (range.end - range.start) as usize;
        if part.end > to {
            return Err(damaged());
        }
        Ok(buffer.freeze(part))
    }
}

/// What is to be sent.
pub struct Sending {
    /// Its payload.
    pub object: ObjectId,
    /// By what the keeper is asked for it.
    pub reference: ObjectRef,
    /// Bytes of plaintext that are asked for.
    pub range: Range<u64>,
}

struct State {
    watched: Watched,
    object: OpenObject,
    at: u64,
    end: u64,
    sent: Sent,
}

/// Asks for the file key, and gives the body. The keeper's record is durable before the first byte.
///
/// # Errors
/// The keeper's refusal, or 500 for a payload that is not whole.
pub async fn send(gate: &Arc<Gate>, grant: Grant, peer: &Peer, sending: Sending) -> Result<Body, Refused> {
    let Sending { object, reference, range } = sending;
    let (path, size) = (reference.path.clone(), reference.size);
    let key = gate.keeper.open(&grant, reference, range.clone()).await?;
    let key = FileKey::from_bytes(*key.expose());
    let object = OpenObject::new(gate, object, size, &key, range.clone()).await?;
    let watched = gate.watch.add(&grant, peer);
    let (at, end) = (range.start, range.end);
    let state = State { watched, object, at, end, sent: Sent::new(gate.clone(), grant, path, range) };
    // An empty file is still delivered, and recorded.
    Ok(Body::from_stream(futures_util::stream::unfold(Some(state), step)))
}

type Step = Option<(Result<Bytes, std::io::Error>, Option<State>)>;

async fn step(state: Option<State>) -> Step {
    let mut state = state?;
    if state.at >= state.end {
        return None;
    }
    if state.watched.is_over() {
        return Some((Err(std::io::Error::other("the grant is over")), None));
    }
    // To the end of a run of chunks, so that the next read begins with a chunk.
    let end = ((state.at / CHUNK_BYTES + RUN) * CHUNK_BYTES).min(state.end);
    match state.object.read(&state.sent.gate.buffers, state.at..end).await {
        Ok(plain) => {
            crate::metrics::SENT.add(end - state.at);
            state.sent.bytes += end - state.at;
            state.at = end;
            Some((Ok(plain), Some(state)))
        }
        Err(refused) => Some((Err(std::io::Error::other(refused.message)), None)),
    }
}
