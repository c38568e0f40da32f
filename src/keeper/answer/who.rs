//! `audit who`: who can read a repository now, and by what; and who did.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use strongroom_domain::{Action, Compartment};
use strongroom_protocol::Refusal;
use strongroom_protocol::admin::WhoQuery;

use super::admin::Outcome;
use super::people::{place_text, time};
use crate::credential::stopped;
use crate::log::{Filter, LOOKED_AT_MAX, Record, search};
use crate::policy::{Place, PrincipalId, Question};
use crate::server::{Core, now_ms};
use crate::share::Share;
use crate::state::{Repo, State, Stop};

/// Records that are read at once.
const PAGE: u32 = LOOKED_AT_MAX as u32; // some thousands
/// Bytes of an answer, so that it fits a frame.
const ANSWER_MAX: usize = 3 * 1024 * 1024;

fn words(parts: &[Compartment]) -> Vec<&'static str> {
    parts.iter().map(|part| part.word()).collect()
}

/// Whether what stands at a place is about the repository.
fn covers(place: Place, id: u64, repo: &Repo) -> bool {
    match place {
        Place::System => true,
        Place::Namespace(namespace) => namespace == repo.namespace,
        Place::Repo(other) => other == id,
    }
}

/// What a principal may read by roles and lines, and which of those are about it.
fn by_role(state: &State, principal: u64, (id, repo): (u64, &Repo), only: Option<Compartment>) -> Option<Value> {
    let of = |action| {
        let question = Question {
            principal: PrincipalId(principal),
            share: None,
            action,
            compartment: None,
            namespace: Some(repo.namespace),
            repo: Some(id),
        };
        let mut parts = state.policy.compartments(&question);
        parts.retain(|part| only.is_none_or(|only| only == *part));
        parts
    };
    let (reads, recovers) = (of(Action::RepoRead), of(Action::KeyRecover));
    if reads.is_empty() && recovers.is_empty() {
        return None;
    }
    let held = state.roles_of(PrincipalId(principal)).filter(|held| covers(held.place, id, repo));
    let roles = held.map(|held| format!("{} of {}", held.role, place_text(state, held.place)));
    let lines = state
        .lines_of(PrincipalId(principal))
        .filter(|line| covers(line.place, id, repo) && matches!(line.action, Action::RepoRead | Action::KeyRecover));
    let lines = lines.map(|line| {
        let part = line.compartment.map_or("-", Compartment::word);
        let word = if line.allow { "allow" } else { "deny" };
        format!("{word} {} {part} in {}", line.action, place_text(state, line.place))
    });
    let by: Vec<String> = roles.chain(lines).collect();
    let name = state.principals.get(&principal).map(|principal| principal.name.clone());
    Some(json!({"principal": name, "compartments": words(&reads), "recovers": words(&recovers), "by": by}))
}

/// What somebody read.
#[derive(Default)]
struct Reads {
    opened: u64,
    bytes: u64,
    files: BTreeSet<(String, String)>,
    last_ms: i64,
}

impl Core {
    pub(super) fn describe_who(&self, state: &State, query: &WhoQuery, record: &mut Record) -> Outcome {
        let (id, repo) = state
            .repo(query.kind, &query.repo)
            .ok_or_else(|| Refusal::Invalid(format!("no {} is called {}", query.kind, query.repo)))?;
        record.subject = Some(super::cut(&format!("{query:?}"), 1024));
        let only = query.compartment;
        let can_use = |id: u64| stopped(state, PrincipalId(id), now_ms()).is_none();
        let people = state.principals.keys().copied().filter(|id| can_use(*id));
        let mut can: Vec<Value> = people.filter_map(|principal| by_role(state, principal, (id, repo), only)).collect();
        let holds = |number: u64, share: &Share| share.repo == id && share.over(number, state, now_ms()).is_none();
        let shares = state.shares.iter().filter(|(number, share)| holds(**number, share));
        let held =
            shares.flat_map(|(number, share)| share.people(state).into_iter().map(move |one| (number, share, one)));
        can.extend(held.filter(|(.., one)| can_use(one.0)).filter_map(|(number, share, one)| {
            let mut parts = share.reads(*number, one, state);
            parts.retain(|part| only.is_none_or(|only| only == *part));
            let name = state.principals.get(&one.0).map(|principal| principal.name.clone());
            let with = share.partner().and_then(|_| share.with_name(state));
            let with = with.map_or_else(String::new, |name| format!(" with partner {name}"));
            let by = format!("share {number}{with} until {}", time(share.ends_ms()));
            (!parts.is_empty()).then(|| {
                json!({"principal": name, "compartments": words(&parts), "recovers": Value::Array(Vec::new()),
                       "by": [by], "share": number})
            })
        }));
        let locked = state.stops.contains_key(&Stop::Repo(id));
        let shown = json!({
            "kind": repo.kind.to_string(), "repo": repo.name.as_str(), "generation": state.generation, "locked": locked,
            "can": can, "id": id,
        });
        Ok((shown, Vec::new()))
    }

    pub(super) async fn who(&self, query: &WhoQuery, mut shown: Value) -> Result<Value, Refusal> {
        let id = shown.as_object_mut().and_then(|map| map.remove("id")).and_then(|id| id.as_u64());
        let mut filter = Filter { repo: id, since_ms: query.since_ms, limit: PAGE, ..Filter::default() };
        filter.compartment = query.compartment.map(|part| part.word().to_owned());
        let mut did: BTreeMap<(String, Option<u64>), Reads> = BTreeMap::new();
        loop {
            let page = search(&self.database.reader, &self.keys, &filter).await;
            let page = page.map_err(|error| Refusal::Unavailable(error.to_string()))?;
            for (.., record) in page.found.iter().filter(|(.., record)| is_read(record)) {
                let of = (record.principal.clone().unwrap_or_default(), record.share);
                let reads = did.entry(of).or_default();
                reads.opened += 1;
                reads.bytes += record.range.map_or(0, |(start, end)| end.saturating_sub(start));
                let file = (record.revision.clone().unwrap_or_default(), record.path.clone().unwrap_or_default());
                reads.files.insert(file);
                reads.last_ms = reads.last_ms.max(record.time_ms);
            }
            let Some(next) = page.next else { break };
            filter.before = Some(next);
        }
        let did = did.into_iter().map(|((principal, share), reads)| {
            json!({"principal": principal, "share": share, "opened": reads.opened, "files": reads.files.len(),
                   "bytes": reads.bytes, "last": time(reads.last_ms)})
        });
        shown["did"] = did.collect::<Vec<_>>().into();
        if shown.to_string().len() > ANSWER_MAX {
            return Err(Refusal::Invalid("too much for one answer: name a compartment, or --since".to_owned()));
        }
        Ok(shown)
    }
}

fn is_read(record: &Record) -> bool {
    matches!(record.action.as_str(), "object.open" | "object.rewrap" | "object.recover")
        && record.outcome == "allowed"
        && record.compartments.iter().all(|part| part != "inbox")
}
