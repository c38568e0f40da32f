//! `ListRepos`: what may be seen, a page at a time.

use strongroom_domain::{Action, RepoKind};
use strongroom_protocol::{Call, Credential, Listed, Refusal, Reply};

use super::about;
use super::authorize::{compartments, may};
use crate::credential::authenticate;
use crate::server::{Core, now_ms};
use crate::state::Stop;

/// Repositories of one page, at most: each has some 600 bytes of keys in a frame.
const PAGE_MAX: u32 = 1000;

impl Core {
    pub(super) async fn answer_list_repos(
        &self,
        call: Call,
        credential: Option<Credential>,
        kind: RepoKind,
        author: Option<String>,
        after: u64,
        limit: u32,
    ) -> Result<Reply, Refusal> {
        let limit = limit.clamp(1, PAGE_MAX) as usize;
        let (page, more) = self
            .recorded(|state, record| {
                about(record, &call, Action::RepoList.word());
                record.kind = Some(kind.to_string());
                let subject = authenticate(state, &self.keys, credential.as_ref(), now_ms(), record)?;
                if subject.ticket.is_some() {
                    return Err(Refusal::Credential);
                }
                let wanted = author.as_ref().map(|author| state.namespace_names.get(&author.to_ascii_lowercase()));
                let mut page = Vec::new();
                for (id, repo) in state.repos.range(after + 1..) {
                    let here = repo.kind == kind && repo.deleted_ms.is_none();
                    if !here || wanted.is_some_and(|wanted| wanted != Some(&repo.namespace)) {
                        continue;
                    }
                    let listed = may(state, &subject, Action::RepoList, Some(repo.namespace), Some(*id));
                    let parts = compartments(state, &subject, Action::RepoRead, Some(repo.namespace), Some(*id));
                    if !listed || parts.is_empty() || state.stops.contains_key(&Stop::Repo(*id)) {
                        continue;
                    }
                    if page.len() == limit {
                        return Ok((page, true));
                    }
                    page.push(Listed { at: *id, repo: self.repo_parts(repo, &parts, Action::RepoRead, None)? });
                }
                Ok((page, false))
            })
            .await?;
        Ok(Reply::Repos(page, more))
    }
}
