//! `GET …/commits/{rev}`: history, newest first, a page at a time.

use std::sync::Arc;

use serde_json::{Value, json as value};
use strongroom_storage::CommitInfo;

use super::{commit_at, date};
use crate::call::Call;
use crate::gate::Gate;
use crate::routes::{Answer, json, link_next};

/// Commits of a page.
const PAGE: usize = 100;

/// The commit of a share, without what its author wrote: a title may tell of files that are not shared, an author and a
/// parent of who works here and how often.
fn alone(commit: &CommitInfo) -> Value {
    let formatted = value!({"title": "", "message": ""});
    value!({"id": commit.id.to_string(), "title": "", "message": "", "authors": [], "date": date(commit.time_ms),
            "formatted": formatted})
}

/// The commits from a revision back.
///
/// # Errors
/// 404.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let revision = call.revision()?;
    let grant = call.authorize_repo(&gate, Some(&revision), None).await?;
    let repo = grant.repo()?;
    let mut commit = commit_at(&gate, repo, &revision).await?;
    if repo.parts().share.is_some() {
        return Ok(json(&value!([alone(&commit)])));
    }
    let formatted = call.queries("expand").any(|what| what == "formatted");
    let mut shown = Vec::new();
    let next = loop {
        let (title, message) = (&commit.body.title, &commit.body.message);
        let mut line = value!({
            "id": commit.id.to_string(), "title": title, "message": message,
            "authors": [{"user": commit.body.author}], "date": date(commit.time_ms),
        });
        if formatted {
            line["formatted"] = value!({"title": title, "message": message});
        }
        shown.push(line);
        let Some(parent) = commit.parent else { break None };
        if shown.len() == PAGE {
            break Some(parent);
        }
        commit = gate.catalog.commit(repo.parts().id, &repo.parts().shared, parent).await?;
    };
    let mut response = json(&Value::Array(shown));
    if let Some(next) = next {
        let tail = if formatted { "?expand[]=formatted" } else { "" };
        let (kind, name) = (repo.parts().kind, &repo.parts().name);
        link_next(&mut response, &format!("{}/api/{kind}s/{name}/commits/{next}{tail}", call.base));
    }
    Ok(response)
}
