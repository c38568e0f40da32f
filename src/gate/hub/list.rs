//! `GET /api/models`, `GET /api/datasets`: what may be seen, filtered, sorted, a page at a time.

use std::sync::Arc;

use serde_json::Value;
use strongroom_domain::Commit;
use strongroom_protocol::{ListQuery, Listed, Order, RepoGrant};

use super::{describe, view};
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json, link_next};
use crate::share;

/// Repositories of a page.
const PAGE: usize = 1000;
/// Repositories that are asked for at once where only some of them fit a tag.
const TAGGED: usize = 100;
/// Cards that one page reads, at most: where fewer fit than are wanted, the page is short, and the next goes on.
const READ_MAX: usize = 2000;

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
    let limit = number("limit", PAGE)?.clamp(1, PAGE);
    let order = if sort.starts_with("created") { Order::Created } else { Order::Modified };
    let tags: Vec<&str> = call.queries("filter").collect();
    let mut query = ListQuery {
        kind,
        author: call.query("author").map(str::to_owned),
        words: call.queries("search").map(str::to_owned).collect(),
        order,
        after: call.query("cursor").map(str::to_owned),
        limit: 0,
    };
    let (mut page, mut last, mut read) = (Vec::new(), None, 0);
    // One more than is shown says whether there is another page: nobody is sent on to where nothing follows.
    let next = 'full: loop {
        let more = if tags.is_empty() { limit + 1 - page.len() } else { TAGGED };
        query.limit = u32::try_from(more).unwrap_or(u32::MAX);
        let asked = gate.keeper.list_repos(call.origin(), call.credential.clone(), query.clone());
        let (part, after) = asked.await?;
        let repos: Vec<_> = part.iter().map(|listed| (listed.repo.id, &listed.repo.shared)).collect();
        let heads = gate.catalog.heads(&repos, "main").await?;
        for listed in &part {
            // Its first commit was recorded, and then not made.
            let head = match &listed.repo.share {
                Some(shared) => share::head(&gate, &listed.repo, shared).await?,
                None => heads.get(&listed.repo.id).map(|head| head.commit),
            };
            let Some(head) = head else { continue };
            if page.len() == limit && tags.is_empty() || read >= READ_MAX {
                break 'full last;
            }
            let row = row(&gate, &call, listed, head).await?;
            read += 1;
            let held = row["tags"].as_array().cloned().unwrap_or_default();
            let fits = tags.iter().all(|tag| held.iter().any(|held| held.as_str() == Some(tag)));
            if fits && page.len() == limit {
                break 'full last;
            }
            if fits {
                page.push(row);
            }
            if page.len() < limit || fits {
                last = Some(listed.at.clone());
            }
        }
        match after {
            Some(after) => query.after = Some(after),
            None => break None,
        }
    };
    let mut response = json(&Value::Array(page));
    if let Some(next) = next {
        let others = call.query.iter().filter(|(name, _)| name != "cursor");
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(others).append_pair("cursor", &next).finish();
        link_next(&mut response, &format!("{}/api/{kind}s?{query}", call.base));
    }
    Ok(response)
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
    let card = super::card::of(repo, &view).await?;
    Ok(describe::repo(repo, &commit, files.as_deref(), card, false))
}
