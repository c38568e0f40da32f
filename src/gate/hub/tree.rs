//! `GET …/tree/{rev}[/{path}]`: a directory, a page at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json as value};
use strongroom_domain::RepoPath;
use strongroom_protocol::RepoGrant;
use strongroom_storage::{CommitInfo, Item};

use super::{commit_at, date, describe, encode_path, view};
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json, link_next};

/// Lines of a page, plain and expanded, as clients expect.
const PAGE: usize = 1000;
const PAGE_EXPANDED: usize = 50;
/// Commits that are looked through for the last one of a file.
const HISTORY_MAX: usize = 1000;

/// The files and directories.
///
/// # Errors
/// 404.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let revision = call.revision()?;
    let path: Option<RepoPath> = match call.param("path") {
        Ok(text) if !text.is_empty() => Some(text.parse()?),
        _ => None,
    };
    let after = call.query("cursor").map(str::to_owned);
    let grant = call.authorize_repo(&gate, Some(&revision), path.as_ref().map(RepoPath::as_str)).await?;
    let repo = grant.repo()?;
    let commit = commit_at(&gate, repo, &revision).await?;
    let (recursive, expand) = (call.flag("recursive"), call.flag("expand"));
    let listed = view(&gate, repo, &commit).list(path.as_ref(), recursive).await?;
    let mut items = listed.ok_or_else(|| Refused::entry(Some(commit.id)))?;
    items.sort_by(|a, b| a.path().cmp(b.path()));
    let limit = call.query("limit").and_then(|text| text.parse().ok()).unwrap_or(PAGE);
    let limit = limit.clamp(1, if expand { PAGE_EXPANDED } else { PAGE });
    let start = after.map_or(0, |after| items.partition_point(|item| item.path() <= after.as_str()));
    let page = &items[start..items.len().min(start + limit)];
    let mut shown: Vec<Value> = page.iter().map(describe::item).collect();
    if expand {
        add_last_commits(&gate, repo, &commit, page, &mut shown).await?;
    }
    let mut response = json(&Value::Array(shown));
    if start + limit < items.len()
        && let Some(last) = page.last()
    {
        // At the commit, so that the pages are of one state.
        let (api, name) = (format!("{}/api/{}s", call.base, repo.parts().kind), &repo.parts().name);
        let below = path.map(|path| format!("/{}", encode_path(path.as_str()))).unwrap_or_default();
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("recursive", if recursive { "true" } else { "false" })
            .append_pair("expand", if expand { "true" } else { "false" })
            .append_pair("limit", &limit.to_string())
            .append_pair("cursor", last.path())
            .finish();
        link_next(&mut response, &format!("{api}/{name}/tree/{}{below}?{query}", commit.id));
    }
    Ok(response)
}

fn ids(items: Vec<Item>) -> BTreeMap<String, Vec<u8>> {
    let id = |item: &Item| match item {
        Item::File(_, _, file) => file.blob.as_bytes().to_vec(),
        Item::Directory(_, git) => git.to_vec(),
    };
    items.iter().map(|item| (item.path().to_owned(), id(item))).collect()
}

/// The newest commit that changed each line: the one after which it no longer differs.
pub async fn add_last_commits(
    gate: &Gate,
    repo: RepoGrant<'_>,
    head: &CommitInfo,
    page: &[Item],
    shown: &mut [Value],
) -> Result<(), Refused> {
    let now = ids(page.to_vec());
    let mut open: BTreeMap<&str, usize> = page.iter().enumerate().map(|(at, item)| (item.path(), at)).collect();
    let mut commit = head.clone();
    for _ in 0..HISTORY_MAX {
        let parent = match commit.parent {
            Some(parent) => Some(gate.catalog.commit(repo.parts().id, &repo.parts().shared, parent).await?),
            None => None,
        };
        let before = match &parent {
            Some(parent) => ids(view(gate, repo, parent).list(None, true).await?.unwrap_or_default()),
            None => BTreeMap::new(),
        };
        open.retain(|path, at| {
            if before.get(*path) == now.get(*path) {
                return true;
            }
            let last = value!({"id": commit.id.to_string(), "title": commit.body.title, "date": date(commit.time_ms)});
            shown[*at]["lastCommit"] = last;
            false
        });
        match parent {
            Some(parent) if !open.is_empty() => commit = parent,
            _ => break,
        }
    }
    Ok(())
}
