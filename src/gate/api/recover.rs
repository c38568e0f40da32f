//! Break glass: one object as a standard age file, with an identity made for it alone.

use std::sync::Arc;

use axum::http::HeaderValue;
use serde::Deserialize;
use strongroom_domain::{RepoKind, RepoName, RepoPath, Revision};
use strongroom_protocol::Target;
use strongroom_storage::ObjectId;

use crate::call::Call;
use crate::gate::Gate;
use crate::hub::file::file_at;
use crate::payload::{Passing, pass};
use crate::refused::Refused;
use crate::routes::Answer;

#[derive(Deserialize)]
struct Recover {
    kind: RepoKind,
    repo: RepoName,
    revision: Revision,
    path: RepoPath,
}

/// `header ‖ payload` as the body, the identity in `X-Strongroom-Identity`. Nothing is decrypted here.
///
/// # Errors
/// 404, 403.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let body: Recover = call.json().await?;
    let (revision, path) = (Some(body.revision.to_string()), Some(body.path.to_string()));
    let target = Target::Repo { kind: body.kind, name: body.repo, revision, path: path.clone() };
    let grant = call.authorize(&gate, target).await?;
    let found = file_at(&gate, grant, &body.revision, &body.path).await?;
    let reference = found.reference(&gate, &body.path).await?;
    let (identity, head) = gate.keeper.recover(&found.grant, reference).await?;
    let mut secret = HeaderValue::from_str(identity.expose()).map_err(|_| Refused::bad("identity"))?;
    secret.set_sensitive(true);
    let passing = Passing { head, object: ObjectId(found.file.object), size: found.file.size, path };
    let mut response = pass(gate, found.grant, &call.peer, passing).await?;
    response.headers_mut().insert("x-strongroom-identity", secret);
    Ok(response)
}
