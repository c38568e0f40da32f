//! `GET /api/models`, `GET /api/datasets`: what may be seen, filtered, sorted, a page at a time.

use std::sync::Arc;

use serde_json::Value;
use strongroom_domain::Revision;
use strongroom_protocol::{Listed, RepoGrant};

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
    let (limit, start) = (number("limit", PAGE)?.min(PAGE), number("cursor", 0)?);
    let author = call.query("author").map(str::to_owned);
    let mut rows = Vec::new();
    let (mut after, mut more) = (0, true);
    while more && rows.len() < SEEN_MAX {
        let page = gate.keeper.list_repos(call.origin(), call.credential.clone(), kind, author.clone(), after, 1000);
        let (page, rest) = page.await?;
        (after, more) = (page.last().map_or(after, |last| last.at), rest);
        for listed in page {
            rows.extend(row(&gate, &call, &listed).await?);
        }
    }
    let words: Vec<String> = call.queries("search").map(str::to_lowercase).collect();
    rows.retain(|row| {
        let id = row["id"].as_str().unwrap_or_default().to_lowercase();
        words.iter().all(|word| id.contains(word.as_str()))
    });
    let tags: Vec<&str> = call.queries("filter").collect();
    rows.retain(|row| {
        let held = row["tags"].as_array().cloned().unwrap_or_default();
        tags.iter().all(|tag| held.iter().any(|held| held.as_str() == Some(tag)))
    });
    let by = if sort.starts_with("created") { "createdAt" } else { "lastModified" };
    rows.sort_by(|a, b| b[by].as_str().cmp(&a[by].as_str()));
    let page: Vec<Value> = rows.iter().skip(start).take(limit).cloned().collect();
    let mut response = json(&Value::Array(page));
    if start + limit < rows.len() {
        let others = call.query.iter().filter(|(name, _)| name != "cursor");
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair("cursor", &(start + limit).to_string())
            .finish();
        link_next(&mut response, &format!("{}/api/{kind}s?{query}", call.base));
    }
    Ok(response)
}

/// A repository in the list; `None` for one without a commit on `main`.
async fn row(gate: &Gate, call: &Call, listed: &Listed) -> Result<Option<Value>, Refused> {
    let repo = RepoGrant::listed(listed);
    let main: Revision = "main".parse()?;
    let Some(id) = gate.catalog.resolve(listed.repo.id, &listed.repo.shared, &main).await? else { return Ok(None) };
    let commit = gate.catalog.commit(listed.repo.id, &listed.repo.shared, id).await?;
    let view = view(gate, repo, &commit);
    let files = match call.flag("full") {
        true => view.list(None, true).await?,
        false => None,
    };
    let card = super::card::of(&view).await?;
    Ok(Some(describe::repo(repo, &commit, files.as_deref(), card, false)))
}
