//! `ListRepos`: what may be seen, a page at a time, the newest first.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strongroom_domain::Action;
use strongroom_envelope::{open_meta, seal_meta};
use strongroom_protocol::{Call, Credential, ListQuery, Listed, Refusal, Reply};

use super::about;
use super::authorize::{compartments, may};
use crate::credential::{Subject, authenticate};
use crate::orders::{Merged, Rank, rank};
use crate::policy::{Place, PrincipalId};
use crate::server::{Core, now_ms};
use crate::share::Share;
use crate::state::{Repo, State, Stop};

/// Repositories of one page, at most: each has some 600 bytes of keys in a frame.
const PAGE_MAX: u32 = 1000;
/// Words of one search, and bytes of all of them together, at most.
const WORDS_MAX: usize = 8;
const WORDS_BYTES_MAX: usize = 256;
/// How much one question looks at, in names that do not fit: the state is locked meanwhile.
const LOOKED_AT_MAX: usize = 40_000;
/// What a decision costs beside looking at a name.
const DECISION: usize = 20;

/// Where there can be something to see for a principal: only there is looked, so a page costs what is there and not what
/// there is. Too much is no harm: each repository is judged.
enum Reach {
    Everywhere,
    Places { namespaces: BTreeSet<u64>, repos: BTreeSet<u64> },
}

impl Reach {
    fn of(state: &State, subject: &Subject) -> Self {
        if let Some(share) = subject.share {
            let repos = state.shares.get(&share).map(|share| share.repo);
            return Self::Places { namespaces: BTreeSet::new(), repos: repos.into_iter().collect() };
        }
        let policy = Self::of_policy(state, subject.principal);
        let scope = state.tokens.get(&subject.token).map(|token| &token.body);
        let Some(scope) = scope.filter(|scope| !scope.namespaces.is_empty() || !scope.repos.is_empty()) else {
            return policy;
        };
        let (named, alone) = (scope.namespaces.iter().copied(), scope.repos.iter().copied());
        match policy {
            Self::Everywhere => Self::Places { namespaces: named.collect(), repos: alone.collect() },
            Self::Places { namespaces, mut repos } => {
                repos.extend(alone);
                Self::Places { namespaces: named.filter(|named| namespaces.contains(named)).collect(), repos }
            }
        }
    }

    /// A right to see a repository is held in it, in its namespace, or, where the judge says so without naming either,
    /// everywhere. Seeing is two rights: what lacks one of them in a namespace may have it in a repository there.
    fn of_policy(state: &State, principal: PrincipalId) -> Self {
        let sees = |namespace: Option<u64>| {
            let (action, compartment) = (Action::RepoList, None);
            let (share, repo) = (None, None);
            let question = crate::policy::Question { principal, share, action, compartment, namespace, repo };
            let read = crate::policy::Question { action: Action::RepoRead, ..question };
            state.policy.allows(&question) && !state.policy.compartments(&read).is_empty()
        };
        if sees(None) {
            return Self::Everywhere;
        }
        let held = state.roles_of(principal).map(|held| held.place);
        let lines = state.lines_of(principal).filter(|line| line.allow).map(|line| line.place);
        let (mut namespaces, mut repos) = (BTreeSet::new(), BTreeSet::new());
        for place in held.chain(lines) {
            match place {
                Place::System => false,
                Place::Namespace(id) => namespaces.insert(id),
                Place::Repo(id) => repos.insert(id),
            };
        }
        namespaces.retain(|namespace| sees(Some(*namespace)));
        Self::Places { namespaces, repos }
    }

    /// All in it that the query may mean, after a place, the newest first.
    fn ranks<'a>(&self, state: &'a State, query: &ListQuery, after: Option<Rank>) -> impl Iterator<Item = Rank> + 'a {
        let author = query.author.as_ref().map(|author| state.namespace_names.get(&author.to_ascii_lowercase()));
        let (mut scopes, mut alone) = (Vec::new(), Vec::new());
        match (self, author) {
            (_, Some(None)) => {}
            (Self::Everywhere, author) => scopes.push(author.flatten().copied()),
            (Self::Places { namespaces, repos }, author) => {
                let author = author.flatten();
                let named = namespaces.iter().filter(|held| author.is_none_or(|author| author == *held));
                scopes.extend(named.map(|held| Some(*held)));
                let found = repos.iter().filter_map(|id| Some((*id, state.repos.get(id)?)));
                let found = found.filter(|(_, repo)| {
                    repo.kind == query.kind && author.is_none_or(|author| *author == repo.namespace)
                });
                alone.extend(found.filter_map(|(id, repo)| rank(repo, id, query.order)));
            }
        }
        alone.retain(|rank| after.is_none_or(|after| *rank < after));
        alone.sort_unstable_by(|one, other| other.cmp(one));
        let of = |scope| -> Box<dyn Iterator<Item = Rank> + 'a> {
            Box::new(state.orders.of(scope, query.kind, query.order, after))
        };
        let mut lists: Vec<_> = scopes.into_iter().map(of).collect();
        lists.push(Box::new(alone.into_iter()));
        Merged::new(lists)
    }
}

/// Whether a name has each of the words in it, which are in lower case.
fn fits(repo: &Repo, words: &[Vec<u8>]) -> bool {
    let name = repo.name.as_str().as_bytes();
    words.iter().all(|word| word.is_empty() || name.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)))
}

/// For whom, and in which list, a place is one.
fn list_of(principal: PrincipalId, query: &ListQuery) -> Vec<u8> {
    // Postcard into a growing vector fails for no value of these types.
    postcard::to_stdvec(&(principal, query.kind, query.order, &query.author, &query.words)).expect("plain values")
}

impl Core {
    /// A place as text. It is sealed: a repository's number counts those made before it, hidden ones too.
    fn place_text(&self, list: &[u8], rank: Rank) -> Result<String, Refusal> {
        let (time, id) = (rank.0.to_be_bytes(), rank.1.to_be_bytes());
        let sealed = seal_meta(&self.keys.seal, &[b"list", list], &[time, id].concat());
        Ok(URL_SAFE_NO_PAD.encode(sealed.map_err(|error| Refusal::Unavailable(error.to_string()))?))
    }

    fn place(&self, list: &[u8], text: &str) -> Option<Rank> {
        let opened = open_meta(&self.keys.seal, &[b"list", list], &URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (time, id) = opened.split_first_chunk::<8>()?;
        Some((i64::from_be_bytes(*time), u64::from_be_bytes(id.try_into().ok()?)))
    }

    pub(super) async fn answer_list_repos(
        &self,
        call: Call,
        credential: Option<Credential>,
        query: ListQuery,
    ) -> Result<Reply, Refusal> {
        // Where another keeper can't be asked what it moved, the order is of before; rights never are.
        let _ = self.follow.refresh_orders().await.inspect_err(|error| tracing::warn!(%error, "orders are old"));
        let limit = query.limit.clamp(1, PAGE_MAX) as usize;
        let words: Vec<Vec<u8>> = query.words.iter().map(|word| word.to_ascii_lowercase().into_bytes()).collect();
        let (page, next) = self
            .used(Action::RepoList, credential.as_ref(), |state, record| {
                about(record, &call, Action::RepoList.word());
                record.kind = Some(query.kind.to_string());
                let subject = authenticate(state, &self.keys, credential.as_ref(), now_ms(), record)?;
                if subject.ticket.is_some() {
                    return Err(Refusal::Credential);
                }
                super::share::accepted(state, &subject)?;
                if words.len() > WORDS_MAX || words.iter().map(Vec::len).sum::<usize>() > WORDS_BYTES_MAX {
                    let text = format!("a search has at most {WORDS_MAX} words of {WORDS_BYTES_MAX} bytes together");
                    return Err(Refusal::Invalid(text));
                }
                let list = list_of(subject.principal, &query);
                let after = query.after.as_deref().map(|text| {
                    let unknown = "this cursor is none of this list: begin without one";
                    self.place(&list, text).ok_or_else(|| Refusal::Invalid(unknown.to_owned()))
                });
                let after = after.transpose()?;
                let (mut page, mut looked_at) = (Vec::new(), 0);
                for rank in Reach::of(state, &subject).ranks(state, &query, after) {
                    if page.len() == limit || looked_at >= LOOKED_AT_MAX {
                        // The place before this one.
                        return Ok((page, Some(self.place_text(&list, (rank.0, rank.1.saturating_add(1)))?)));
                    }
                    looked_at += 1;
                    let Some(repo) = state.repos.get(&rank.1).filter(|repo| fits(repo, &words)) else { continue };
                    looked_at += DECISION;
                    if let Some(parts) = self.listed(state, &subject, rank.1, repo)? {
                        page.push(Listed { at: self.place_text(&list, rank)?, repo: parts });
                    }
                }
                Ok((page, None))
            })
            .await?;
        Ok(Reply::Repos(page, next))
    }

    /// What may be seen of a repository in a list, if anything.
    fn listed(
        &self,
        state: &State,
        subject: &Subject,
        id: u64,
        repo: &Repo,
    ) -> Result<Option<strongroom_protocol::RepoParts>, Refusal> {
        let place = (Some(repo.namespace), Some(id));
        if repo.deleted_ms.is_some()
            || state.stops.contains_key(&Stop::Repo(id))
            || !may(state, subject, Action::RepoList, place.0, place.1)
        {
            return Ok(None);
        }
        let parts = compartments(state, subject, Action::RepoRead, place.0, place.1);
        if parts.is_empty() {
            return Ok(None);
        }
        let mut parts = self.repo_parts(state, (id, repo), &parts, Action::RepoRead, None)?;
        parts.share = subject.share.and_then(|share| state.shares.get(&share)).map(Share::shared);
        Ok(Some(parts))
    }
}
