//! `POST /api/repos/create`: a repository with its first commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json as value;
use strongroom_domain::{Action, RepoName, RepoPath};
use strongroom_protocol::{Grant, Refusal, Target};
use strongroom_storage::{FileEntry, ObjectId, Operation, Placed, blob_id};

use super::git_rules::NEW_ATTRIBUTES;
use super::keys;
use crate::call::Call;
use crate::gate::Gate;
use crate::intake::{quota, receive};
use crate::refused::Refused;
use crate::routes::{Answer, json};

#[derive(Deserialize)]
struct Body {
    name: String,
    organization: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Makes it. One that is there already is a 409 with its `url`; where its first commit was never made, because the server
/// or the store went away in between, a writer's asking again makes it.
///
/// # Errors
/// 400, 403, 409.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let body: Body = call.json().await?;
    let kind = body.kind.as_deref().unwrap_or("model").parse()?;
    let (namespace, name) = match body.name.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name.to_owned()),
        None => (body.organization.clone(), body.name.clone()),
    };
    let made = gate.keeper.create_repo(call.origin(), call.credential.clone(), kind, namespace.clone(), name.clone());
    let url = |id: &str| format!("{}/{}{id}", call.base, kind.url_prefix());
    let grant = match made.await {
        Ok(grant) => grant,
        Err(Refusal::Conflict(why)) => {
            let (origin, credential) = (call.origin(), call.credential.clone());
            let namespace = match namespace {
                Some(namespace) => namespace,
                None => {
                    let whoami =
                        gate.keeper.authorize(origin.clone(), credential.clone(), Action::Whoami, Target::System);
                    whoami.await?.parts().principal.clone()
                }
            };
            let id: RepoName = format!("{namespace}/{name}").parse()?;
            let target = Target::Repo { kind, name: id.clone(), revision: None, path: None };
            if let Ok(grant) = gate.authorize(origin, credential, Action::RepoWrite, target).await {
                first_commit(&gate, &grant).await?;
            }
            let url = url(id.as_str());
            let body = value!({"error": why, "url": url});
            return Err(Refused::new(StatusCode::CONFLICT, why).with_body(body));
        }
        Err(refusal) => return Err(refusal.into()),
    };
    first_commit(&gate, &grant).await?;
    let id = grant.repo()?.parts().name.clone();
    Ok(json(&value!({"url": url(id.as_str()), "name": id.as_str(), "id": id.as_str()})))
}

/// Makes the first commit where there is no `main`. `main` can't be deleted: where it is not there, it never was.
async fn first_commit(gate: &Gate, grant: &Grant) -> Result<(), Refused> {
    let parts = grant.repo()?.parts();
    if gate.catalog.find_ref(parts.id, &parts.shared, "main").await?.is_some() {
        return Ok(());
    }
    let path: RepoPath = ".gitattributes".parse()?;
    let compartment = gate.compartment(&path);
    let repo = grant.repo()?;
    let part = repo.part(compartment).ok_or_else(Refused::repo)?;
    let received = receive(gate, &part.recipient, NEW_ATTRIBUTES.as_bytes()).await?;
    let file = FileEntry {
        object: received.object.0,
        size: received.size,
        sha256: received.sha256,
        blob: blob_id(NEW_ATTRIBUTES.as_bytes()),
        lfs: false,
        envelope_mac: FileEntry::mac(&part.keys, ObjectId(received.object.0), &received.header),
        facts: None,
    };
    let put = Operation::Put(path, Box::new(Placed { compartment, file, header: Some(received.header) }));
    let (keys, operations): (BTreeMap<_, _>, _) = (keys(grant)?, [put]);
    let adds = super::commit::added(&operations);
    let about = ("initial commit", "", grant.parts().principal.as_str());
    let record = async |id: strongroom_domain::Commit, parts, time_ms| {
        let about = ("main".to_owned(), id.to_string());
        gate.keeper.committed(grant, about, parts, adds.clone(), Some(time_ms)).await.map_err(Refused::from)
    };
    let shared = &parts.shared;
    let made: Result<_, Refused> =
        gate.catalog.make_commit(parts.id, shared, &keys, None, "main", &operations, quota(parts), about, record).await;
    match made {
        // Two that make it at once: one of them did.
        Err(_) if gate.catalog.find_ref(parts.id, shared, "main").await?.is_some() => Ok(()),
        made => made.map(drop),
    }
}
