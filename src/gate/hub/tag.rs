//! Tags: made and deleted.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json as value;
use strongroom_domain::Revision;
use strongroom_storage::{CatalogError, RefKind};

use super::commit_at;
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json};

#[derive(Deserialize)]
struct Create {
    tag: String,
}

/// `POST …/tag/{rev}`: the revision is looked at first.
///
/// # Errors
/// 404, 400, 409.
pub async fn create(gate: Arc<Gate>, mut call: Call) -> Answer {
    let revision = call.revision()?;
    let body: Create = call.json().await?;
    let grant = call.authorize_repo(&gate, Some(&revision), None).await?;
    let repo = grant.repo()?;
    let parts = repo.parts();
    let commit = commit_at(&gate, repo, &revision).await?;
    let tag: Revision = body.tag.parse()?;
    let name = tag.to_string();
    if tag.commit().is_some() || name.starts_with("refs/") {
        return Err(Refused::bad("Invalid tag name"));
    }
    gate.keeper.wrote(&grant, "tag.create", name.clone(), Some(commit.id.to_string()), Vec::new(), None).await?;
    match gate.catalog.add_ref(parts.id, &parts.shared, RefKind::Tag, &name, commit.id).await {
        Err(CatalogError::Taken) => {
            Err(Refused::new(StatusCode::CONFLICT, format!("Reference refs/tags/{name} already exists")))
        }
        other => {
            other?;
            Ok(json(&value!({})))
        }
    }
}

/// `DELETE …/tag/{tag}`.
///
/// # Errors
/// 404.
pub async fn delete(gate: Arc<Gate>, call: Call) -> Answer {
    let tag = call.revision()?;
    let name = tag.to_string();
    let grant = call.authorize_repo(&gate, Some(&tag), None).await?;
    let parts = grant.repo()?.parts();
    gate.keeper.wrote(&grant, "tag.delete", name.clone(), None, Vec::new(), None).await?;
    match gate.catalog.remove_ref(parts.id, &parts.shared, RefKind::Tag, &name).await? {
        true => Ok(json(&value!({}))),
        false => Err(Refused::revision()),
    }
}
