//! Locks: a principal, a token, a share, a partner organisation or a repository stopped at once.

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
        LockSubject::Share(id) => {
            state.shares.contains_key(id).then_some(Stop::Share(*id)).ok_or_else(|| missing("share"))
        }
        LockSubject::Partner(name) => {
            state.partners.named(name).map(|(id, _)| Stop::Partner(id)).ok_or_else(|| missing("partner organisation"))
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
        Stop::Share(id) => format!("share {id}"),
        Stop::Partner(id) => {
            format!("partner {}", state.partners.all().get(&id).map_or("?", |partner| partner.name.as_str()))
        }
        Stop::Repo(id) => {
            let repo = state.repos.get(&id);
            repo.map_or_else(|| "repo ?".to_owned(), |repo| format!("{} {}", repo.kind, repo.name))
        }
    }
}

/// Names what is locked, and the share where that is one or a token of one.
fn describe(state: &State, stop: Stop, record: &mut Record) {
    record.subject = Some(text(state, stop));
    let share = match stop {
        Stop::Share(id) => Some(id),
        Stop::Token(id) => state.tokens.get(&id).and_then(|token| token.body.share),
        _ => None,
    };
    share.into_iter().for_each(|id| super::share::about(state, id, record));
}

impl Core {
    pub(super) fn lock_add(&self, state: &State, subject: &LockSubject, reason: &str, record: &mut Record) -> Outcome {
        let stop = find(state, subject)?;
        describe(state, stop, record);
        record.reason = super::cut(reason, 1024);
        if matches!(stop, Stop::Repo(id) if state.seals.get(&id).is_some_and(|seal| !seal.was_locked)) {
            let text = "it is sealed, and nothing of it is answered; lock it again once it is unsealed";
            return Err(Refusal::Conflict(text.to_owned()));
        }
        let held = state.stops.contains_key(&stop);
        let change = Change::Stop(stop, super::cut(reason, 1024), record.time_ms);
        Ok((json!({"locked": text(state, stop)}), if held { Vec::new() } else { vec![change] }))
    }

    pub(super) fn lock_remove(&self, state: &State, subject: &LockSubject, record: &mut Record) -> Outcome {
        let stop = find(state, subject)?;
        describe(state, stop, record);
        if matches!(stop, Stop::Repo(id) if state.seals.contains_key(&id)) {
            return Err(Refusal::Conflict("it is sealed: strongroom unseal --repo".to_owned()));
        }
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
