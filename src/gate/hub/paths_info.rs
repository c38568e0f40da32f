//! `POST …/paths-info/{rev}`: some paths; those that are not there are left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::header;
use serde::Deserialize;
use serde_json::Value;
use strongroom_domain::RepoPath;
use strongroom_storage::Item;

use super::{commit_at, describe, tree::add_last_commits, view};
use crate::call::{Call, JSON_BYTES_MAX};
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json};

/// Paths of one question, as clients send them.
const PATHS_MAX: usize = 1000;

#[derive(Deserialize)]
struct Body {
    paths: Vec<String>,
    #[serde(default)]
    expand: bool,
}

/// What is known of these paths.
///
/// # Errors
/// 404, 400.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let revision = call.revision()?;
    let is_json = call.header(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    let body = if is_json {
        call.json::<Body>().await?
    } else {
        let bytes = call.bytes(JSON_BYTES_MAX).await?;
        let mut body = Body { paths: Vec::new(), expand: false };
        for (name, value) in form_urlencoded::parse(&bytes) {
            match name.as_ref() {
                "paths" | "paths[]" => body.paths.push(value.into_owned()),
                "expand" => body.expand = matches!(value.as_ref(), "true" | "True" | "1"),
                _ => {}
            }
        }
        body
    };
    if body.paths.len() > PATHS_MAX {
        return Err(Refused::bad(format!("at most {PATHS_MAX} paths at once")));
    }
    let wanted: BTreeSet<RepoPath> =
        body.paths.iter().map(|path| path.trim_end_matches('/').parse()).collect::<Result<_, _>>()?;
    let grant = call.authorize_repo(&gate, Some(&revision), None).await?;
    gate.keeper.named(&grant, wanted.iter().map(ToString::to_string)).await?;
    let repo = grant.repo()?;
    let commit = commit_at(&gate, repo, &revision).await?;
    let items: Vec<Item> = view(&gate, repo, &commit).at(&wanted).await?.into_values().collect();
    let mut shown: Vec<Value> = items.iter().map(describe::item).collect();
    if body.expand {
        add_last_commits(&gate, repo, &commit, &items, &mut shown).await?;
    }
    Ok(json(&Value::Array(shown)))
}
