//! Access, on the side of whoever asks: the request, what became of it, and the token of the share.

use serde_json::{Value, json};
use strongroom_domain::Action;
use strongroom_domain::limits::{ASK_BYTES_MAX, ASK_FIELDS_MAX};
use strongroom_protocol::{AccessStatus, Refusal};

use super::access::{Named, ask_of, shown};
use super::admin::Outcome;
use super::authorize::may;
use super::people::time;
use crate::ask::{Ask, AskChange, Decided};
use crate::change::Change;
use crate::credential::{Subject, dead, in_scope};
use crate::decoy;
use crate::log::Record;
use crate::server::{Core, now_ms};
use crate::share::Share;
use crate::state::{Repo, State, Stop, Token};

/// Living tokens of a share, at most, that the asker is given.
const TOKENS_MAX: usize = 10;

/// The refusal of who may know that a repository is there and not read it, with what can be done.
pub(super) fn gated(state: &State, subject: &Subject, id: u64, repo: &Repo) -> Refusal {
    let (kind, name) = (repo.kind, &repo.name);
    let asked = ask_of(state, subject.principal.0, id).map(|(_, ask)| ask.status());
    let next = match asked.or(through_partner(state, subject, id, now_ms()).map(|_| AccessStatus::Accepted)) {
        None => format!("Ask for it: strongroom access ask {name} --type {kind}"),
        Some(AccessStatus::Pending) => "You have asked for it; nobody has decided yet.".to_owned(),
        Some(AccessStatus::Accepted) => {
            format!("You were given a share, read with a token of it: strongroom access token {name} --type {kind}")
        }
        Some(AccessStatus::Rejected) => "You have asked for it and were rejected.".to_owned(),
    };
    Refusal::Gated(format!("Access to {kind} {name} is restricted and you are not in the authorized list. {next}"))
}

impl Core {
    /// The repository's number, for who may ask for it.
    fn askable(&self, state: &State, subject: &Subject, repo: Named<'_>, record: &mut Record) -> Result<u64, Refusal> {
        match self.judge_repo(state, subject.clone(), Action::RepoAsk, repo.0, repo.1, record) {
            Ok(_) | Err(Refusal::Gated(_)) => record.repo_id.ok_or(Refusal::NotFound),
            Err(refusal) => Err(refusal),
        }
    }

    pub(super) fn ask(
        &self,
        state: &State,
        subject: &Subject,
        repo: Named<'_>,
        fields: &[(String, String)],
        record: &mut Record,
    ) -> Outcome {
        let repo = self.askable(state, subject, repo, record)?;
        let bytes: usize = fields.iter().map(|(name, text)| name.len() + text.len()).sum();
        if fields.len() > ASK_FIELDS_MAX || bytes > ASK_BYTES_MAX {
            let text = format!("a request says at most {ASK_BYTES_MAX} bytes in {ASK_FIELDS_MAX} fields");
            return Err(Refusal::Invalid(text));
        }
        let held = ask_of(state, subject.principal.0, repo);
        let over = |id: u64| state.shares.get(&id).is_none_or(|share| share.over(id, state, record.time_ms).is_some());
        match held {
            Some((_, Ask { decided: Some((Decided::Rejected(reason), ..)), .. })) => {
                Err(Refusal::Forbidden(format!("you have asked for it and were rejected: {reason}")))
            }
            Some((id, ask)) if ask.share().is_none_or(|share| !over(share)) => Ok((shown(state, id, ask), Vec::new())),
            // No number is given twice: one that is withdrawn could be accepted as another's.
            held => {
                let id = held.map_or(record.generation + 1, |(id, _)| id);
                let (principal, asked_ms) = (subject.principal, record.time_ms);
                let ask = Ask { principal, repo, fields: fields.to_vec(), asked_ms, decided: None };
                record.subject = Some(format!("request {id}"));
                Ok((shown(state, id, &ask), vec![Change::Ask(AskChange::Is(id, Box::new(ask)))]))
            }
        }
    }

    pub(super) fn asks_mine(&self, state: &State, subject: &Subject) -> (Value, Vec<Change>) {
        let mine = state.asks.iter().filter(|(_, ask)| ask.principal == subject.principal);
        let held = |id: u64| state.shares.get(&id).is_some_and(|share| share.over(id, state, now_ms()).is_none());
        let mine = mine.filter(|(_, ask)| knows(state, subject, ask.repo, ask.share().is_some_and(held)));
        let mine = mine.map(|(id, ask)| {
            let share = ask.share().and_then(|id| Some((id, state.shares.get(&id)?)));
            let mut told = shown(state, *id, ask);
            told["ends"] = share.map(|(_, share)| time(share.ends_ms())).into();
            told["over"] = share.and_then(|(id, share)| share.over(id, state, now_ms())).into();
            told
        });
        let mut told = json!({"requests": mine.collect::<Vec<_>>()});
        // What their organisation holds, they may take a token of.
        if let Some((partner, found)) = state.partners.of(subject.principal.0) {
            let held = state.shares.iter().filter(|(_, share)| share.partner() == Some(partner));
            let held = held
                .filter(|(id, share)| knows(state, subject, share.repo, share.over(**id, state, now_ms()).is_none()));
            let held = held.map(|(id, share)| {
                let repo = state.repos.get(&share.repo);
                json!({"share": id, "repo": repo.map(|repo| repo.name.to_string()),
                       "kind": repo.map(|repo| repo.kind.to_string()), "ends": time(share.ends_ms()),
                       "over": share.over(*id, state, now_ms())})
            });
            (told["partner"], told["shares"]) = (found.name.as_str().into(), held.collect());
        }
        (told, Vec::new())
    }

    pub(super) fn ask_withdraw(&self, state: &State, by: &Subject, repo: Named<'_>, record: &mut Record) -> Outcome {
        let repo_id = self.askable(state, by, repo, record)?;
        let held = ask_of(state, by.principal.0, repo_id).filter(|(_, ask)| ask.status() == AccessStatus::Pending);
        let (id, _) = held.ok_or_else(|| Refusal::Conflict("no request of yours waits there".to_owned()))?;
        record.subject = Some(format!("request {id}"));
        Ok((json!({"withdrawn": repo.1.as_str()}), vec![Change::Ask(AskChange::Gone(id))]))
    }

    /// Whoever was accepted takes a token of the share themselves: nobody else has seen it.
    pub(super) fn ask_token(&self, state: &State, by: &Subject, repo: Named<'_>, record: &mut Record) -> Outcome {
        (record.kind, record.repo) = (Some(repo.0.to_string()), Some(repo.1.to_string()));
        decoy::note(state, repo.0, repo.1, None, record);
        let repo_id = state.repo(repo.0, repo.1).map(|(id, _)| id);
        record.repo_id = repo_id;
        let known = repo_id.filter(|id| knows(state, by, *id, true)).unwrap_or_default();
        let asked = ask_of(state, by.principal.0, known).and_then(|(_, ask)| ask.share());
        let asked = asked.and_then(|id| Some((id, state.shares.get(&id)?)));
        let asked = asked.filter(|(_, share)| share.is_with(by.principal, state));
        let living = asked.filter(|(id, share)| share.over(*id, state, record.time_ms).is_none());
        // One that is over tells nothing, but to whom the repository was disclosed.
        let asked = asked.filter(|_| knows(state, by, known, false));
        let shared = living.or_else(|| through_partner(state, by, known, record.time_ms)).or(asked);
        let (share_id, share) = shared.ok_or(Refusal::NotFound)?;
        super::share::about(state, share_id, record);
        if let Some(reason) = share.over(share_id, state, record.time_ms) {
            return Err(Refusal::Conflict(format!("no token is made for it: {reason}")));
        }
        let own = state.tokens.get(&by.token).ok_or(Refusal::Credential)?;
        let namespace = state.repos.get(&known).map(|repo| repo.namespace);
        let mut parts = share.body.compartments.iter();
        if !parts.all(|part| in_scope(own, Action::RepoRead, Some(*part), namespace, Some(known))) {
            let mend = "your token is narrowed to less than what is shared: use another";
            return Err(Refusal::Forbidden(mend.to_owned()));
        }
        let own = |token: &Token| token.body.share == Some(share_id) && token.principal == by.principal;
        let of = state.tokens.iter().filter(|(_, token)| own(token));
        if of.filter(|(id, token)| dead(state, **id, token, record.time_ms).is_none()).count() >= TOKENS_MAX {
            let mend = format!("{TOKENS_MAX} tokens of this share live already: whoever shared it revokes some");
            return Err(Refusal::Conflict(mend));
        }
        let (token, change) = self.share_token(state, share_id, (share, by.principal), record.time_ms)?;
        Ok((token, vec![change]))
    }
}

/// The newest living share of a repository with the organisation that somebody is here through.
fn through_partner<'a>(state: &'a State, by: &Subject, repo: u64, now_ms: i64) -> Option<(u64, &'a Share)> {
    let (partner, _) = state.partners.of(by.principal.0)?;
    let mut held = state.shares.iter().rev().map(|(id, share)| (*id, share));
    held.find(|(id, share)| {
        share.partner() == Some(partner) && share.repo == repo && share.over(*id, state, now_ms).is_none()
    })
}

/// Whether the repository is there and, as far as the token goes, the asker may know that. Whoever has a share of it that is not
/// over does.
fn knows(state: &State, subject: &Subject, repo: u64, shared: bool) -> bool {
    let found = state.repos.get(&repo).filter(|repo| repo.deleted_ms.is_none());
    let namespace = found.map(|repo| repo.namespace);
    let told = may(state, subject, Action::RepoAsk, namespace, Some(repo));
    let token = state.tokens.get(&subject.token);
    let scoped = token.is_some_and(|token| in_scope(token, Action::RepoAsk, None, namespace, Some(repo)));
    found.is_some() && !state.stops.contains_key(&Stop::Repo(repo)) && (told || shared && scoped)
}
