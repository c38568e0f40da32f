//! Break glass: one object as a standard age file, with an identity made for it alone.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use serde::Deserialize;
use strongroom_domain::{RepoKind, RepoName, RepoPath, Revision};
use strongroom_envelope::ciphertext_len;
use strongroom_protocol::{ObjectRef, Target};
use strongroom_storage::{ObjectError, ObjectId, ObjectReader};

use crate::call::Call;
use crate::gate::Gate;
use crate::hub::file::{Found, file_at};
use crate::refused::Refused;
use crate::routes::Answer;

#[derive(Deserialize)]
struct Recover {
    kind: RepoKind,
    repo: RepoName,
    revision: Revision,
    path: RepoPath,
}

/// Bytes of ciphertext that are read at once.
const RUN: u64 = 256 * 1024;

/// `header ‖ payload` as the body, the identity in `X-Strongroom-Identity`. Nothing is decrypted here.
///
/// # Errors
/// 404, 403.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let body: Recover = call.json().await?;
    let (revision, path) = (Some(body.revision.to_string()), Some(body.path.to_string()));
    let target = Target::Repo { kind: body.kind, name: body.repo, revision, path: path.clone() };
    let grant = call.authorize(&gate, target).await?;
    let Found { grant, commit, compartment, file } = file_at(&gate, grant, &body.revision, &body.path).await?;
    let repo = grant.repo()?;
    let object = ObjectId(file.object);
    let envelope = gate.catalog.envelope(repo.parts().id, compartment, object).await?;
    let reference =
        ObjectRef { compartment: Some(compartment), commit: Some(commit.id), path, envelope, size: file.size };
    let (identity, header) = gate.keeper.recover(&grant, reference).await?;
    let length = ciphertext_len(file.size).ok_or(ObjectError::Missing)?;
    let reader = gate.objects.open(object, length, 0..length).await?;
    let total = header.len() as u64 + length;
    let mut response =
        Response::new(Body::from_stream(futures_util::stream::unfold((Some(header), reader, 0, length), step)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, total.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let mut secret = HeaderValue::from_str(identity.expose()).map_err(|_| Refused::bad("identity"))?;
    secret.set_sensitive(true);
    headers.insert("x-strongroom-identity", secret);
    Ok(response)
}

type State = (Option<Vec<u8>>, ObjectReader, u64, u64);

async fn step((header, reader, at, end): State) -> Option<(Result<Bytes, ObjectError>, State)> {
    if let Some(header) = header {
        return Some((Ok(Bytes::from(header)), (None, reader, at, end)));
    }
    if at >= end {
        return None;
    }
    let mut buffer = vec![0; RUN.min(end - at) as usize];
    let next = at + buffer.len() as u64;
    let read = reader.read(at, &mut buffer).await;
    Some((read.map(|()| Bytes::from(buffer)), (None, reader, next, end)))
}
