//! The Hugging Face Hub's API, as stock clients speak it. One endpoint a file.

pub mod access;
pub mod branch;
mod card;
pub mod commit;
pub mod commits;
pub mod create;
mod describe;
mod facts;
pub mod file;
mod git_rules;
pub mod info;
pub mod lfs;
pub mod list;
pub mod manage;
pub mod misc;
pub mod paths_info;
pub mod preupload;
pub mod refs;
pub mod resolve;
pub mod shard;
pub mod tag;
pub mod tree;
pub mod xet;

use std::collections::BTreeMap;

use strongroom_domain::{Compartment, RepoPath, Revision};
use strongroom_protocol::{Grant, MetaKeys, RepoGrant, SPANS};
use strongroom_storage::{CommitInfo, View};
use tracing::Instrument;

use crate::gate::Gate;
use crate::refused::Refused;
use crate::share;

/// The commit of a revision.
///
/// # Errors
/// 404 `RevisionNotFound`.
pub async fn commit_at(gate: &Gate, repo: RepoGrant<'_>, revision: &Revision) -> Result<CommitInfo, Refused> {
    let parts = repo.parts();
    let found = async {
        let id = match &parts.share {
            Some(shared) => share::resolve(gate, parts, shared, revision).await?,
            None => gate.catalog.resolve(parts.id, &parts.shared, revision).await?,
        };
        let id = id.ok_or_else(Refused::revision)?;
        Ok(gate.catalog.commit(parts.id, &parts.shared, id).await?)
    };
    found.instrument(tracing::debug_span!(target: SPANS, "catalogue", ask = "revision")).await
}

/// The commit as a grant sees it.
pub fn view<'a>(gate: &'a Gate, repo: RepoGrant<'a>, commit: &'a CommitInfo) -> View<'a> {
    let parts = repo.parts().compartments.iter().map(|part| (part.compartment, &part.keys)).collect();
    let only = repo.parts().share.as_ref().map(|share| &share.paths).filter(|paths| !paths.is_empty());
    View { catalog: &gate.catalog, repo: repo.parts().id, parts, body: &commit.body, only }
}

/// Keys of the compartments that a grant reaches.
fn keys(grant: &Grant) -> Result<BTreeMap<Compartment, MetaKeys>, Refused> {
    Ok(grant.repo()?.parts().compartments.iter().map(|part| (part.compartment, part.keys.clone())).collect())
}

/// A path as it stands in a URL: `/` kept, everything else that is not plain encoded.
fn encode_path(path: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encoding::utf8_percent_encode(path, KEPT).to_string()
}

/// Unix milliseconds as clients read dates.
fn date(ms: i64) -> String {
    let since = std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
}

/// The path in the route.
fn path(call: &crate::call::Call) -> Result<RepoPath, Refused> {
    call.parse("path")
}
