//! Branches: made, deleted, squashed.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json as value;
use strongroom_domain::Revision;
use strongroom_storage::{CatalogError, RefKind, now_ms};

use super::commit_at;
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Create {
    starting_point: Option<String>,
}

/// `POST …/branch/{name}`.
///
/// # Errors
/// 404 for a starting point that is not there, 409 for a name that is.
pub async fn create(gate: Arc<Gate>, mut call: Call) -> Answer {
    let name = call.revision()?;
    let bytes = call.bytes(crate::call::JSON_BYTES_MAX).await?;
    let body: Create = if bytes.is_empty() {
        Create::default()
    } else {
        serde_json::from_slice(&bytes)
            .map_err(|error| Refused::bad(format!("the body is not the JSON expected: {error}")))?
    };
    let start: Revision = body.starting_point.as_deref().unwrap_or("main").parse()?;
    let short = name.short().to_owned();
    if name.commit().is_some() || short.starts_with("refs/") {
        return Err(Refused::bad("Invalid branch name"));
    }
    let grant = call.authorize_repo(&gate, Some(&name), None).await?;
    let repo = grant.repo()?;
    let parts = repo.parts();
    let from = commit_at(&gate, repo, &start).await?;
    gate.keeper.wrote(&grant, "branch.create", short.clone(), Some(from.id.to_string()), Vec::new(), None).await?;
    match gate.catalog.add_ref(parts.id, &parts.shared, RefKind::Branch, &short, from.id).await {
        Err(CatalogError::Taken) => {
            Err(Refused::new(StatusCode::CONFLICT, format!("Reference refs/heads/{short} already exists")))
        }
        other => {
            other?;
            Ok(json(&value!({})))
        }
    }
}

/// `DELETE …/branch/{name}`; never `main`.
///
/// # Errors
/// 403, 404.
pub async fn delete(gate: Arc<Gate>, call: Call) -> Answer {
    let name = call.revision()?;
    let short = name.short().to_owned();
    let grant = call.authorize_repo(&gate, Some(&name), None).await?;
    let parts = grant.repo()?.parts();
    if short == "main" {
        return Err(Refused::new(StatusCode::FORBIDDEN, "Cannot delete refs/heads/main"));
    }
    gate.keeper.wrote(&grant, "branch.delete", short.clone(), None, Vec::new(), None).await?;
    match gate.catalog.remove_ref(parts.id, &parts.shared, RefKind::Branch, &short).await? {
        true => Ok(json(&value!({}))),
        false => Err(Refused::revision()),
    }
}

#[derive(Deserialize)]
struct Squash {
    message: Option<String>,
}

/// `POST …/super-squash/{branch}`: the tree stays, the history goes.
///
/// # Errors
/// 404, 412.
pub async fn squash(gate: Arc<Gate>, mut call: Call) -> Answer {
    let name = call.revision()?;
    let body: Squash = call.json().await?;
    let short = name.short().to_owned();
    let title = body.message.filter(|text| !text.trim().is_empty() && text.len() <= 1024);
    let title = title.unwrap_or_else(|| format!("Super-squash branch '{short}'"));
    let grant = call.authorize_repo(&gate, Some(&name), None).await?;
    let repo = grant.repo()?;
    let parts = repo.parts();
    let held = gate.catalog.find_ref(parts.id, &parts.shared, &short).await?;
    let held = held.filter(|held| held.kind == RefKind::Branch).ok_or_else(Refused::revision)?;
    let head = gate.catalog.commit(parts.id, &parts.shared, held.target).await?;
    let time_ms = now_ms();
    let moved_ms = (short == "main").then_some(time_ms);
    gate.keeper.wrote(&grant, "branch.squash", short.clone(), Some(head.id.to_string()), Vec::new(), moved_ms).await?;
    let title = title.lines().next().unwrap_or("squash");
    gate.catalog.squash(parts.id, &parts.shared, &short, &head, (title, &grant.parts().principal), time_ms).await?;
    Ok(json(&value!({})))
}
