//! Locks: a principal, a token or a repository stopped at once.

use serde_json::{Value, json};
use strongroom_protocol::Refusal;
use strongroom_protocol::admin::LockSubject;

use super::admin::Outcome;
use super::people::time;
use crate::change::Change;
use crate::log::Record;
use crate::server::Core;
use crate::state::{State, Stop};

fn find(state: &State, subject: &LockSubject) -> Result<Stop, Refusal> {
    let missing = |what: &str| Refusal::Invalid(format!("no such {what}"));
    match subject {
        LockSubject::User(name) => {
            state.principal(name).map(|(id, _)| Stop::Principal(id)).ok_or_else(|| missing("user"))
        }
        LockSubject::Token(id) => {
            state.tokens.contains_key(id).then_some(Stop::Token(*id)).ok_or_else(|| missing("token"))
        }
        LockSubject::Repo(kind, name) => {
            state.repo(*kind, name).map(|(id, _)| Stop::Repo(id)).ok_or_else(|| missing("repository"))
        }
    }
}

pub(super) fn text(state: &State, stop: Stop) -> String {
    match stop {
        Stop::Principal(id) => format!("user {}", state.principals.get(&id).map_or("?", |user| user.name.as_str())),
        Stop::Token(id) => format!("token {id}"),
        Stop::Repo(id) => {
            let repo = state.repos.get(&id);
            repo.map_or_else(|| "repo ?".to_owned(), |repo| format!("{} {}", repo.kind, repo.name))
        }
    }
}

impl Core {
    pub(super) fn lock_add(&self, state: &State, subject: &LockSubject, reason: &str, record: &mut Record) -> Outcome {
        let stop = find(state, subject)?;
        record.subject = Some(text(state, stop));
        record.reason = super::cut(reason, 1024);
        let held = state.stops.contains_key(&stop);
        let change = Change::Stop(stop, super::cut(reason, 1024), record.time_ms);
        Ok((json!({"locked": text(state, stop)}), if held { Vec::new() } else { vec![change] }))
    }

    pub(super) fn lock_remove(&self, state: &State, subject: &LockSubject, record: &mut Record) -> Outcome {
        let stop = find(state, subject)?;
        record.subject = Some(text(state, stop));
        if !state.stops.contains_key(&stop) {
            return Err(Refusal::Conflict("that is not locked".to_owned()));
        }
        Ok((json!({"unlocked": text(state, stop)}), vec![Change::Unstop(stop)]))
    }

    pub(super) fn lock_list(&self, state: &State) -> Outcome {
        let locks = state.stops.iter().map(
            |(stop, (reason, since))| json!({"subject": text(state, *stop), "reason": reason, "since": time(*since)}),
        );
        Ok((json!({"locks": locks.collect::<Vec<Value>>()}), Vec::new()))
    }
}
