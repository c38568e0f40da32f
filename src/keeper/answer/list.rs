//! `ListRepos`: what may be seen, a page at a time.

use std::collections::BTreeSet;

use strongroom_domain::{Action, RepoKind};
use strongroom_protocol::{Call, Credential, Listed, Refusal, Reply};

use super::about;
use super::authorize::{compartments, may};
use crate::credential::authenticate;
use crate::policy::{Place, PrincipalId};
use crate::server::{Core, now_ms};
use crate::state::{Repo, State, Stop};

/// Repositories of one page, at most: each has some 600 bytes of keys in a frame.
const PAGE_MAX: u32 = 1000;

/// Where a principal holds anything at all: only there can be something to see, so a page costs what is there and not what
/// there is.
enum Reach {
    Everywhere,
    Places { namespaces: BTreeSet<u64>, repos: BTreeSet<u64> },
}

impl Reach {
    fn of(state: &State, principal: PrincipalId) -> Self {
        let held = state.roles_of(principal).map(|held| held.place);
        let lines = state.lines_of(principal).filter(|line| line.allow).map(|line| line.place);
        let (mut namespaces, mut repos) = (BTreeSet::new(), BTreeSet::new());
        for place in held.chain(lines) {
            match place {
                Place::System => return Self::Everywhere,
                Place::Namespace(id) => namespaces.insert(id),
                Place::Repo(id) => repos.insert(id),
            };
        }
        Self::Places { namespaces, repos }
    }

    /// The next repository after a number.
    fn next<'a>(&self, state: &'a State, after: u64) -> Option<(&'a u64, &'a Repo)> {
        let from = after.saturating_add(1);
        match self {
            Self::Everywhere => state.repos.range(from..).next(),
            Self::Places { namespaces, repos } => {
                let first = |ids: &BTreeSet<u64>| ids.range(from..).next().copied();
                let of = namespaces.iter().filter_map(|namespace| first(state.repos_of.get(namespace)?));
                let id = of.chain(first(repos)).min()?;
                state.repos.get_key_value(&id)
            }
        }
    }
}

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
                let reach = Reach::of(state, subject.principal);
                let (mut page, mut at) = (Vec::new(), after);
                while let Some((id, repo)) = reach.next(state, at) {
                    at = *id;
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
                    page.push(Listed { at: *id, repo: self.repo_parts(state, repo, &parts, Action::RepoRead, None)? });
                }
                Ok((page, false))
            })
            .await?;
        Ok(Reply::Repos(page, more))
    }
}
