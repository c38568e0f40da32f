//! `GET /api/strongroom/v1/sealed/{kind}/{ns}/{name}/{rev}/{path}`: a file as a standard age file for the partner's own
//! recipient. The stored payload is passed on as it lies; nothing is decrypted here.

use std::sync::Arc;

use strongroom_domain::{RepoKind, RepoName, RepoPath};
use strongroom_protocol::Target;
use strongroom_storage::ObjectId;

use crate::call::Call;
use crate::gate::Gate;
use crate::hub::file::file_at;
use crate::payload::{Passing, pass};
use crate::refused::Refused;
use crate::routes::Answer;

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
    let grant = call.authorize(&gate, Target::Repo { kind, name, revision: said.0, path: said.1 }).await?;
    let found = file_at(&gate, grant, &revision, &path).await?;
    let reference = found.reference(&gate, &path).await?;
    let path = reference.path.clone();
    let head = gate.keeper.deliver_sealed(&found.grant, reference).await?;
    let passing = Passing { head, object: ObjectId(found.file.object), size: found.file.size, path };
    pass(gate, found.grant, &call.peer, passing).await
}
