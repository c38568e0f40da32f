//! `GET /api/models`, `GET /api/datasets`: what may be seen, filtered, sorted, a page at a time.

use std::sync::Arc;

use serde_json::Value;
use strongroom_domain::{Commit, RepoKind};
use strongroom_protocol::{Listed, RepoGrant};
use strongroom_storage::Head;

use super::{describe, view};
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json, link_next};

/// Repositories of a page.
const PAGE: usize = 1000;
/// Repositories that a question looks at.
const SEEN_MAX: usize = 20_000;

/// A page.
///
/// # Errors
/// 401, 400.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let kind = call.kind.ok_or_else(Refused::repo)?;
    let sort = call.query("sort").unwrap_or("lastModified").to_owned();
    let known = ["createdAt", "lastModified", "downloads", "likes", "trendingScore", "created_at", "last_modified"];
    if !known.contains(&sort.as_str()) {
        return Err(Refused::bad("sort is one of createdAt, lastModified, downloads, likes, trendingScore"));
    }
    let number = |name: &str, default: usize| match call.query(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| Refused::bad(format!("{name} is a number"))),
    };
    let (limit, start) = (number("limit", PAGE)?.clamp(1, PAGE), number("cursor", 0)?);
    let heads = heads(&gate, &call, kind, sort.starts_with("created")).await?;
    let tags: Vec<&str> = call.queries("filter").collect();
    let mut page = Vec::new();
    // Trees are read only of what is shown, and of what must be read to know that it is not.
    let mut at = start.min(heads.len());
    while at < heads.len() && page.len() < limit {
        let (listed, head) = &heads[at];
        let row = row(&gate, &call, listed, head.commit).await?;
        let held = row["tags"].as_array().cloned().unwrap_or_default();
        if tags.iter().all(|tag| held.iter().any(|held| held.as_str() == Some(tag))) {
            page.push(row);
        }
        at += 1;
    }
    let mut response = json(&Value::Array(page));
    if at < heads.len() {
        let others = call.query.iter().filter(|(name, _)| name != "cursor");
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair("cursor", &at.to_string())
            .finish();
        link_next(&mut response, &format!("{}/api/{kind}s?{query}", call.base));
    }
    Ok(response)
}

/// The repositories whose names fit and that have a commit on `main`, newest first.
async fn heads(gate: &Gate, call: &Call, kind: RepoKind, by_creation: bool) -> Result<Vec<(Listed, Head)>, Refused> {
    let author = call.query("author").map(str::to_owned);
    let words: Vec<String> = call.queries("search").map(str::to_lowercase).collect();
    let mut heads = Vec::new();
    let (mut after, mut more) = (0, true);
    while more && heads.len() < SEEN_MAX {
        let page = gate.keeper.list_repos(call.origin(), call.credential.clone(), kind, author.clone(), after, 1000);
        let (mut page, rest) = page.await?;
        (after, more) = (page.last().map_or(after, |last| last.at), rest);
        page.retain(|listed| {
            let id = listed.repo.name.as_str().to_lowercase();
            words.iter().all(|word| id.contains(word.as_str()))
        });
        let repos: Vec<_> = page.iter().map(|listed| (listed.repo.id, &listed.repo.shared)).collect();
        let found = gate.catalog.heads(&repos, "main").await?;
        heads.extend(page.into_iter().filter_map(|listed| {
            let head = *found.get(&listed.repo.id)?;
            Some((listed, head))
        }));
    }
    heads.sort_by_key(|(listed, head)| {
        std::cmp::Reverse(if by_creation { listed.repo.created_ms } else { head.time_ms })
    });
    Ok(heads)
}

/// A repository in the list.
async fn row(gate: &Gate, call: &Call, listed: &Listed, head: Commit) -> Result<Value, Refused> {
    let repo = RepoGrant::listed(listed);
    let commit = gate.catalog.commit(listed.repo.id, &listed.repo.shared, head).await?;
    let view = view(gate, repo, &commit);
    let files = match call.flag("full") {
        true => view.list(None, true, None, usize::MAX).await?.map(|page| page.items),
        false => None,
    };
    let card = super::card::of(&view).await?;
    Ok(describe::repo(repo, &commit, files.as_deref(), card, false))
}
