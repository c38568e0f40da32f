//! `GET /api/{kind}s/{id}[/revision/{rev}]`.

use std::sync::Arc;

use super::{commit_at, describe, view};
use crate::call::Call;
use crate::gate::Gate;
use crate::routes::{Answer, json};

/// A repository at a revision.
///
/// # Errors
/// 404.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let revision = call.revision()?;
    let grant = call.authorize_repo(&gate, Some(&revision), None).await?;
    let repo = grant.repo()?;
    let commit = commit_at(&gate, repo, &revision).await?;
    let view = view(&gate, repo, &commit);
    // Clients of before 1.0 know the files of a snapshot from here alone: all of them.
    let files = view.list(None, true, None, usize::MAX).await?.unwrap_or_default().items;
    let card = super::card::of(repo, &view).await?;
    let mut shown = describe::repo(repo, &commit, Some(&files), card, call.flag("blobs"));
    // With `expand`, only what is asked for.
    let wanted: Vec<&str> = call.queries("expand").collect();
    if let Some(map) = shown.as_object_mut().filter(|_| !wanted.is_empty()) {
        map.retain(|key, _| matches!(key.as_str(), "_id" | "id" | "modelId") || wanted.contains(&key.as_str()));
    }
    Ok(json(&shown))
}
