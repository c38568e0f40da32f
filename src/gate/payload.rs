//! A stored payload passed on as it lies, behind a header for somebody else: nothing of it is opened here.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use strongroom_envelope::ciphertext_len;
use strongroom_protocol::Grant;
use strongroom_storage::{ObjectError, ObjectId, ObjectReader};

use crate::gate::Gate;
use crate::http::Peer;
use crate::refused::Refused;
use crate::sent::Sent;
use crate::watch::Watched;

/// Bytes of ciphertext that are read at once.
const RUN: u64 = 256 * 1024;

/// What is passed on.
pub struct Passing {
    /// The header for whoever gets it.
    pub head: Vec<u8>,
    /// Its payload.
    pub object: ObjectId,
    /// Bytes of plaintext.
    pub size: u64,
    /// Its path.
    pub path: Option<String>,
}

/// `header ‖ payload`, watched and recorded as every stream. The keeper's record of it is durable already.
///
/// # Errors
/// 500 where the payload is missing or has another length.
pub async fn pass(gate: Arc<Gate>, grant: Grant, peer: &Peer, passing: Passing) -> Result<Response<Body>, Refused> {
    let Passing { head, object, size, path } = passing;
    let length = ciphertext_len(size).ok_or(ObjectError::Missing)?;
    let reader = gate.objects.open(object, length, 0..length).await?;
    let (watched, total) = (gate.watch.add(&grant, peer), head.len() as u64 + length);
    // In bytes of the file, as the keeper recorded its opening.
    let sent = Sent::new(gate, grant, path, 0..size);
    let state = State { head: Some(head), reader, at: 0, size, length, watched, sent };
    let mut response = Response::new(Body::from_stream(futures_util::stream::unfold(Some(state), step)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, total.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// Bytes of the plaintext that were sent, never less: a payload is longer than what is in it. All of them only with its last byte.
fn plain(size: u64, (payload, length): (u64, u64)) -> u64 {
    if payload == length { size } else { payload.min(size.saturating_sub(1)) }
}

struct State {
    head: Option<Vec<u8>>,
    reader: ObjectReader,
    /// Bytes of the payload that were sent, of `length`.
    at: u64,
    /// Bytes of what is in it.
    size: u64,
    length: u64,
    watched: Watched,
    sent: Sent,
}

type Step = Option<(Result<Bytes, std::io::Error>, Option<State>)>;

async fn step(state: Option<State>) -> Step {
    let mut state = state?;
    if state.watched.is_over() {
        return Some((Err(std::io::Error::other("the grant is over")), None));
    }
    let (at, end) = (state.at, state.length);
    let piece = match state.head.take() {
        Some(head) => Bytes::from(head),
        None if at >= end => return None,
        None => {
            let length = RUN.min(end - at) as usize;
            let mut buffer = state.sent.gate.buffers.take(at, length);
            if let Err(error) = state.reader.read(at, &mut buffer).await {
                return Some((Err(std::io::Error::other(error.to_string())), None));
            }
            state.at += length as u64;
            state.sent.bytes = plain(state.size, (state.at, state.length));
            buffer.freeze(0..length)
        }
    };
    crate::metrics::SENT.add(piece.len() as u64);
    Some((Ok(piece), Some(state)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_never_told_as_less_and_as_all_only_with_the_last_byte() {
        let size = 100_000;
        let length = ciphertext_len(size).expect("a length");
        assert!(length > size);
        assert_eq!(plain(size, (0, length)), 0);
        assert_eq!(plain(size, (70_000, length)), 70_000);
        assert_eq!(plain(size, (length - 1, length)), size - 1);
        assert_eq!(plain(size, (length, length)), size);
    }
}
