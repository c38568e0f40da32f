//! `GET …/tree/{rev}[/{path}]`: a directory, a page at a time.

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

/// The files and directories.
///
/// # Errors
/// 404; 400 for a cursor that is not of this directory.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let revision = call.revision()?;
    let path: Option<RepoPath> = match call.param("path") {
        Ok(text) if !text.is_empty() => Some(text.parse()?),
        _ => None,
    };
    let after: Option<RepoPath> = call.query("cursor").map(str::parse).transpose()?;
    let grant = call.authorize_repo(&gate, Some(&revision), path.as_ref().map(RepoPath::as_str)).await?;
    let repo = grant.repo()?;
    let commit = commit_at(&gate, repo, &revision).await?;
    let (recursive, expand) = (call.flag("recursive"), call.flag("expand"));
    let limit = call.query("limit").and_then(|text| text.parse().ok()).unwrap_or(PAGE);
    let limit = limit.clamp(1, if expand { PAGE_EXPANDED } else { PAGE });
    let listed = view(&gate, repo, &commit).list(path.as_ref(), recursive, after.as_ref(), limit).await?;
    let page = listed.ok_or_else(|| Refused::entry(Some(commit.id)))?;
    let mut shown: Vec<Value> = page.items.iter().map(describe::item).collect();
    if expand {
        add_last_commits(&gate, repo, &commit, &page.items, &mut shown).await?;
    }
    let mut response = json(&Value::Array(shown));
    if let Some(last) = page.items.last().filter(|_| page.more) {
        // At the commit, so that the pages are of one state.
        let (api, name) = (format!("{}/api/{}s", call.base, repo.parts().kind), &repo.parts().name);
        let below = path.map(|path| format!("/{}", encode_path(path.as_str()))).unwrap_or_default();
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(call.query.iter().filter(|(name, _)| name != "cursor"))
            .append_pair("cursor", last.path())
            .finish();
        link_next(&mut response, &format!("{api}/{name}/tree/{}{below}?{query}", commit.id));
    }
    Ok(response)
}

/// Says of each line which commit changed it last.
///
/// # Errors
/// Whatever the catalogue says.
pub async fn add_last_commits(
    gate: &Gate,
    repo: RepoGrant<'_>,
    head: &CommitInfo,
    page: &[Item],
    shown: &mut [Value],
) -> Result<(), Refused> {
    if repo.parts().share.is_some() {
        // The one that is shared: which other changed a file last, and what its author wrote, is not.
        let alone = value!({"id": head.id.to_string(), "title": "", "date": date(head.time_ms)});
        shown.iter_mut().for_each(|line| line["lastCommit"] = alone.clone());
        return Ok(());
    }
    let paths: Vec<RepoPath> = page.iter().map(|item| item.path().parse()).collect::<Result<_, _>>()?;
    let last = view(gate, repo, head).last_changes(&repo.parts().shared, head, &paths).await?;
    for (line, commit) in shown.iter_mut().zip(last) {
        if let Some(commit) = commit {
            let (id, title) = (commit.id.to_string(), &commit.body.title);
            line["lastCommit"] = value!({"id": id, "title": title, "date": date(commit.time_ms)});
        }
    }
    Ok(())
}
