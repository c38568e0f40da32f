//! `audit what`: what a credential can reach under the policy of now, and what it read since a moment.

use serde_json::{Value, json};
use strongroom_domain::{Action, Compartment};
use strongroom_protocol::Refusal;
use strongroom_protocol::admin::WhatQuery;

use super::admin::Outcome;
use super::authorize::{compartments, has_compartments, may};
use super::people::{time, user};
use crate::credential::{self, Subject, dead};
use crate::did::Did;
use crate::log::{Filter, LOOKED_AT_MAX, Record, search};
use crate::policy::{PrincipalId, Question};
use crate::server::{Core, now_ms};
use crate::share::Share;
use crate::state::{Repo, State, Stop};

/// Records that are read at once.
const PAGE: u32 = LOOKED_AT_MAX as u32; // some thousands
/// Bytes of an answer, so that it fits a frame.
const ANSWER_MAX: usize = 3 * 1024 * 1024;

/// Whom it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whom {
    pub(crate) principal: u64,
    /// `None` for all tokens of the principal, those that do not exist yet included.
    pub(crate) token: Option<u64>,
}

impl Whom {
    fn subject(&self, state: &State, token: u64) -> Subject {
        let share = state.tokens.get(&token).and_then(|token| token.body.share);
        Subject { principal: PrincipalId(self.principal), token, share, ticket: None }
    }

    fn question(&self, action: Action, namespace: Option<u64>, repo: Option<u64>) -> Question {
        Question { principal: PrincipalId(self.principal), share: None, action, compartment: None, namespace, repo }
    }
}

fn whom(state: &State, query: &WhatQuery) -> Result<Whom, Refusal> {
    match (query.token, &query.principal) {
        (Some(id), None) => {
            let token = state.tokens.get(&id).ok_or_else(|| Refusal::Invalid("no token has that id".to_owned()))?;
            Ok(Whom { principal: token.principal.0, token: Some(id) })
        }
        (None, Some(name)) => Ok(Whom { principal: user(state, name)?.0, token: None }),
        _ => Err(Refusal::Invalid("name a principal or a token".to_owned())),
    }
}

/// Why nothing is in reach, where nothing is.
fn stopped(state: &State, whom: &Whom, now_ms: i64) -> Option<&'static str> {
    match whom.token.and_then(|id| Some((id, state.tokens.get(&id)?))) {
        Some((id, token)) => dead(state, id, token, now_ms),
        None => credential::stopped(state, PrincipalId(whom.principal), now_ms),
    }
}

/// The actions on one repository, each with its compartments where it has any.
pub(crate) fn rights(state: &State, whom: &Whom, id: u64, repo: &Repo) -> Vec<Value> {
    let (namespace, place) = (Some(repo.namespace), Some(id));
    let bare = |action| whom.question(action, namespace, place);
    let subject = whom.token.map(|token| whom.subject(state, token));
    let mut found = Vec::new();
    for action in Action::ALL.iter().copied() {
        if has_compartments(action) {
            let parts: Vec<Compartment> = match &subject {
                Some(subject) => compartments(state, subject, action, namespace, place),
                None => state.policy.compartments(&bare(action)),
            };
            if !parts.is_empty() {
                let parts: Vec<&str> = parts.iter().map(|part| part.word()).collect();
                found.push(json!({"action": action.word(), "compartments": parts}));
            }
        } else if matches!(
            action,
            Action::RepoList | Action::RepoAsk | Action::RepoManage | Action::ShareManage | Action::RepoDelete
        ) && match &subject {
            Some(subject) => may(state, subject, action, namespace, place),
            None => state.policy.allows(&bare(action)),
        } {
            found.push(json!({"action": action.word()}));
        }
    }
    found
}

/// The actions on no repository. Whoever has a token may ask who that is.
pub(crate) fn everywhere(state: &State, whom: &Whom) -> Vec<&'static str> {
    let all = Action::ALL.iter().copied().filter(|action| match whom.token {
        _ if *action == Action::Whoami => true,
        Some(token) => may(state, &whom.subject(state, token), *action, None, None),
        None => state.policy.allows(&whom.question(*action, None, None)),
    });
    all.map(Action::word).collect()
}

impl Core {
    pub(super) fn describe_what(&self, state: &State, query: &WhatQuery, record: &mut Record) -> Outcome {
        whom(state, query)?;
        record.subject = Some(super::cut(&format!("{query:?}"), 1024));
        Ok((Value::Null, Vec::new()))
    }

    pub(super) async fn what(&self, query: &WhatQuery) -> Result<Value, Refusal> {
        let (whom, mut shown) = {
            let state = self.state.read();
            let whom = whom(&state, query)?;
            let mut could = Vec::new();
            let stopped = stopped(&state, &whom, now_ms());
            let repos = state.repos.iter().filter(|(_, repo)| stopped.is_none() && repo.deleted_ms.is_none());
            for (id, repo) in repos {
                let rights = rights(&state, &whom, *id, repo);
                if !rights.is_empty() {
                    let locked = state.stops.contains_key(&Stop::Repo(*id));
                    let (kind, name) = (repo.kind.to_string(), repo.name.as_str());
                    could.push(json!({"kind": kind, "repo": name, "locked": locked, "rights": rights}));
                }
            }
            // Its shares, each for their own tokens alone.
            let of = |id: u64, share: &Share| {
                stopped.is_none()
                    && share.is_with(PrincipalId(whom.principal), &state)
                    && share.over(id, &state, now_ms()).is_none()
            };
            let shares = state.shares.iter().filter(|(id, share)| whom.token.is_none() && of(**id, share));
            could.extend(shares.filter_map(|(id, share)| {
                let repo = state.repos.get(&share.repo).filter(|repo| repo.deleted_ms.is_none())?;
                let parts = share.reads(*id, PrincipalId(whom.principal), &state);
                let parts: Vec<&str> = parts.iter().map(|part| part.word()).collect();
                let right = json!({"action": Action::RepoRead.word(), "compartments": parts});
                let (locked, name) = (state.stops.contains_key(&Stop::Repo(share.repo)), repo.name.as_str());
                let kind = repo.kind.to_string();
                let shown = json!({"kind": kind, "repo": name, "locked": locked, "share": id, "rights": [right]});
                (!parts.is_empty()).then_some(shown)
            }));
            let everywhere = if stopped.is_none() { everywhere(&state, &whom) } else { Vec::new() };
            let name = state.principals.get(&whom.principal).map(|principal| principal.name.clone());
            let token = whom.token.and_then(|id| state.tokens.get(&id));
            let shown = json!({
                "principal": name, "token": whom.token, "generation": state.generation,
                "stopped": stopped, "revoked": token.and_then(|token| token.revoked_ms).map(time), "could": could, "system": everywhere,
            });
            (whom, shown)
        };
        let logs = self.log.checkpoints().await.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let ends = logs.iter().map(|(log, position)| json!({"log": log, "size": position.size}));
        shown["through"] = ends.collect::<Vec<_>>().into();
        let mut did = Did::default();
        let mut filter = Filter {
            principal: whom.token.is_none().then_some(whom.principal),
            token: whom.token,
            since_ms: query.since_ms,
            until_ms: query.until_ms,
            limit: PAGE,
            ..Filter::default()
        };
        loop {
            let page = search(&self.database.reader, &self.keys, &filter).await;
            let page = page.map_err(|error| Refusal::Unavailable(error.to_string()))?;
            page.found.iter().for_each(|(.., record)| did.add(record));
            let Some(next) = page.next else { break };
            filter.before = Some(next);
        }
        shown["did"] = did.show();
        if shown.to_string().len() > ANSWER_MAX {
            let text = "too much for one answer: ask for a shorter time with --since and --until";
            return Err(Refusal::Invalid(text.to_owned()));
        }
        Ok(shown)
    }
}
