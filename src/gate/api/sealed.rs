//! `GET /api/strongroom/v1/sealed/{kind}/{ns}/{name}/{rev}/{path}`: a file as a standard age file for the partner's own
//! recipient. The stored payload is passed on as it lies; nothing is decrypted here.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use strongroom_domain::{RepoKind, RepoName, RepoPath};
use strongroom_envelope::ciphertext_len;
use strongroom_protocol::{Grant, ObjectRef, Target};
use strongroom_storage::{ObjectError, ObjectId, ObjectReader};

use crate::call::Call;
use crate::gate::Gate;
use crate::hub::file::{Found, file_at};
use crate::refused::Refused;
use crate::routes::Answer;
use crate::watch::Watched;

/// Bytes of ciphertext that are read at once.
const RUN: u64 = 256 * 1024;

/// `new header ‖ stored payload`. The keeper's record is durable before the first byte.
///
/// # Errors
/// 403 for a share that is not sealed, 404, 429.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let kind: RepoKind = call.parse("kind")?;
    let (namespace, name) = (call.param("ns")?, call.param("name")?);
    // Each part apart: a decoded slash must not make another pair.
    if namespace.contains('/') || name.contains('/') {
        return Err(Refused::bad(strongroom_domain::NameError::Shape));
    }
    let name: RepoName = format!("{namespace}/{name}").parse()?;
    let (revision, path) = (call.revision()?, call.parse::<RepoPath>("path")?);
    let said = (Some(revision.to_string()), Some(path.to_string()));
    let grant = call.authorize(&gate, Target::Repo { kind, name, revision: said.0, path: said.1.clone() }).await?;
    let Found { grant, commit, compartment, file } = file_at(&gate, grant, &revision, &path).await?;
    let repo = grant.repo()?;
    let part = repo.part(compartment).ok_or_else(Refused::repo)?;
    let object = ObjectId(file.object);
    let envelope = gate.catalog.envelope(repo.parts().id, compartment, object).await?;
    if !file.has_envelope(&part.keys, &envelope) {
        tracing::error!(%object, "an envelope is not the one that was committed");
        return Err(Refused::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the stored file was tampered with"));
    }
    let (commit, path) = (Some(commit.id), said.1);
    let reference = ObjectRef { compartment: Some(compartment), commit, path: path.clone(), envelope, size: file.size };
    let head = gate.keeper.deliver_sealed(&grant, reference).await?;
    let length = ciphertext_len(file.size).ok_or(ObjectError::Missing)?;
    let reader = gate.objects.open(object, length, 0..length).await?;
    let watched = gate.watch.add(&grant, &call.peer);
    let (total, held) = (head.len() as u64 + length, gate.recording.clone());
    let sent = Sent { gate, grant: Some(grant), held, path, total, bytes: 0 };
    let state = State { head: Some(head), reader, at: 0, end: length, watched, sent };
    let mut response = Response::new(Body::from_stream(futures_util::stream::unfold(Some(state), step)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, total.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// What was sent comes to its record when this is dropped, also where the client hung up.
struct Sent {
    gate: Arc<Gate>,
    grant: Option<Grant>,
    /// A stop waits for it.
    held: Arc<()>,
    path: Option<String>,
    total: u64,
    bytes: u64,
}

impl Drop for Sent {
    fn drop(&mut self) {
        let Some(grant) = self.grant.take() else { return };
        let (keeper, path, held) = (self.gate.keeper.clone(), self.path.take(), self.held.clone());
        let (total, bytes) = (self.total, self.bytes);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = keeper.delivered(grant, path, 0..total, bytes).await {
                    tracing::error!(%error, "a delivery was not recorded");
                }
                drop(held);
            });
        }
    }
}

struct State {
    head: Option<Vec<u8>>,
    reader: ObjectReader,
    at: u64,
    end: u64,
    watched: Watched,
    sent: Sent,
}

type Step = Option<(Result<Bytes, std::io::Error>, Option<State>)>;

async fn step(state: Option<State>) -> Step {
    let mut state = state?;
    if state.watched.is_over() {
        return Some((Err(std::io::Error::other("the grant is over")), None));
    }
    let piece = match state.head.take() {
        Some(head) => Bytes::from(head),
        None if state.at >= state.end => return None,
        None => {
            let length = RUN.min(state.end - state.at) as usize;
            let mut buffer = state.sent.gate.buffers.take(state.at, length);
            if let Err(error) = state.reader.read(state.at, &mut buffer).await {
                return Some((Err(std::io::Error::other(error.to_string())), None));
            }
            state.at += length as u64;
            buffer.freeze(0..length)
        }
    };
    crate::metrics::SENT.add(piece.len() as u64);
    state.sent.bytes += piece.len() as u64;
    Some((Ok(piece), Some(state)))
}
