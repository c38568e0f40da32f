//! `POST …/preupload/{rev}`: which files come in the commit, and which as large objects.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json as value};
use strongroom_domain::RepoPath;
use strongroom_domain::limits::FILE_BYTES_MAX;
use strongroom_storage::Item;

use super::git_rules::{BYTES_MAX, NEW_ATTRIBUTES, Rules};
use super::{commit_at, view};
use crate::call::Call;
use crate::gate::Gate;
use crate::intake::check_room;
use crate::refused::Refused;
use crate::routes::{Answer, json};

/// Files of one question, as clients send them.
const FILES_MAX: usize = 256;
/// A file of so many bytes is a large object, whatever it holds.
const LARGE_BYTES: u64 = 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    files: Vec<File>,
    /// The text of the client's `.gitignore`.
    git_ignore: Option<String>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    size: u64,
    #[serde(default)]
    sample: String,
}

/// Modes, and the digests of what is there.
///
/// # Errors
/// 400, 404.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let revision = call.revision()?;
    let body: Body = call.json().await?;
    if body.files.len() > FILES_MAX {
        return Err(Refused::bad(format!("at most {FILES_MAX} files at once")));
    }
    if body.git_ignore.as_ref().is_some_and(|text| text.len() > BYTES_MAX) {
        return Err(Refused::bad(format!("a gitIgnore has at most {BYTES_MAX} bytes")));
    }
    let mut files = Vec::new();
    for file in &body.files {
        let path: RepoPath = file.path.parse()?;
        if file.size > FILE_BYTES_MAX {
            return Err(Refused::bad(format!("a file has at most {FILE_BYTES_MAX} bytes")));
        }
        let sample = STANDARD.decode(&file.sample).map_err(|_| Refused::bad("a sample is base64"))?;
        files.push((path, file.size, sample));
    }
    let grant = call.authorize_repo(&gate, Some(&revision), None).await?;
    gate.keeper.named(&grant, files.iter().map(|(path, ..)| path.to_string())).await?;
    let repo = grant.repo()?;
    let commit = commit_at(&gate, repo, &revision).await?;
    let view = view(&gate, repo, &commit);
    // Of the repository's own files, what was kept when they came; who does not see them is told what a new one says.
    let own: RepoPath = ".gitattributes".parse()?;
    let attributes = match view.file(&own).await? {
        Some((_, file)) => file.facts.unwrap_or_else(|| NEW_ATTRIBUTES.to_owned()),
        None if repo.part(gate.compartment(&own)).is_none() => NEW_ATTRIBUTES.to_owned(),
        None => String::new(),
    };
    let ignored = match body.git_ignore {
        Some(text) => text,
        None => view.file(&".gitignore".parse()?).await?.and_then(|(_, file)| file.facts).unwrap_or_default(),
    };
    let (large_kinds, ignored) = (Rules::large(&attributes), Rules::ignoring(&ignored));
    let held = view.at(files.iter().map(|(path, ..)| path)).await?;
    // What is there already at this length may be the same; that is known when it was sent.
    let held_here = |(path, size, _): &&(RepoPath, u64, Vec<u8>)| matches!(held.get(path), Some(Item::File(_, _, held)) if held.size == *size);
    let more = files.iter().filter(|file| !held_here(file)).map(|(_, size, _)| size).sum();
    check_room(&gate, repo.parts(), more).await?;
    let mut shown: Vec<Value> = Vec::new();
    for (path, size, sample) in &files {
        if repo.part(gate.compartment(path)).is_none() {
            let text = format!("this needs the right to write {}", gate.compartment(path));
            return Err(Refused::new(axum::http::StatusCode::FORBIDDEN, text));
        }
        let large = *size > 0 && (*size >= LARGE_BYTES || large_kinds.fit(path) || sample.contains(&0));
        if large {
            gate.announced.add(&grant.parts().principal, repo.parts().id, *size, gate.compartment(path));
        }
        let mut line = value!({
            "path": path.as_str(), "uploadMode": if large { "lfs" } else { "regular" }, "shouldIgnore": ignored.fit_below(path),
        });
        if let Some(Item::File(_, _, held)) = held.get(path) {
            let oid = if large { held.sha256.to_string() } else { held.blob.to_string() };
            if held.lfs == large {
                line["oid"] = oid.into();
            }
        }
        shown.push(line);
    }
    Ok(json(&value!({"files": shown})))
}
