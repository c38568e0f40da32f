//! Access, on the side of whoever shares a repository: disclosed, and requests decided. What is given is a share, made as
//! every share is.

use serde_json::{Map, Value, json};
use strongroom_domain::{Action, RepoKind, RepoName};
use strongroom_protocol::{AccessCommand, AccessStatus, Asker, Refusal, ShareSpec};

use super::admin::Outcome;
use super::authorize::may;
use super::people::{time, user};
use crate::ask::{Ask, AskChange, Decided};
use crate::change::Change;
use crate::credential::Subject;
use crate::log::Record;
use crate::partner::Partner;
use crate::policy::{Line, Place, PrincipalId};
use crate::server::Core;
use crate::share::ShareChange;
use crate::state::State;

/// Requests of one answer, at most: with their fields they fit a frame.
const PAGE: usize = 500;

/// A repository, by name.
pub(super) type Named<'a> = (RepoKind, &'a RepoName);

/// A request, with its number.
type Found<'a> = (u64, &'a Ask);

/// The request of a principal for a repository.
pub(super) fn ask_of(state: &State, principal: u64, repo: u64) -> Option<Found<'_>> {
    let mut asks = state.asks.iter().map(|(id, ask)| (*id, ask));
    asks.find(|(_, ask)| ask.principal.0 == principal && ask.repo == repo)
}

/// A request, as whoever may see it is shown it.
pub(super) fn shown(state: &State, id: u64, ask: &Ask) -> Value {
    let name = |id: PrincipalId| state.principals.get(&id.0).map(|principal| principal.name.clone());
    let repo = state.repos.get(&ask.repo);
    let fields: Map<String, Value> =
        ask.fields.iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect();
    let reason = match &ask.decided {
        Some((Decided::Rejected(reason), ..)) => Some(reason),
        _ => None,
    };
    json!({
        "id": id,
        "repo": repo.map(|repo| repo.name.to_string()),
        "kind": repo.map(|repo| repo.kind.to_string()),
        "user": name(ask.principal),
        "status": ask.status().word(),
        "asked": time(ask.asked_ms),
        "fields": fields,
        "share": ask.share(),
        "reason": reason,
        "by": ask.decided.as_ref().and_then(|(_, by, _)| name(*by)),
        "decided": ask.decided.as_ref().map(|(.., at)| time(*at)),
    })
}

/// Decides a request. The share of a decision before ends.
fn decide(
    state: &State,
    (id, ask): (u64, &Ask),
    decided: Option<Decided>,
    by: &Subject,
    record: &mut Record,
) -> Outcome {
    let share = ask.share().and_then(|id| Some((id, state.shares.get(&id)?)));
    let living = share.filter(|(_, share)| share.revoked_ms.is_none());
    let end = living.map(|(id, _)| {
        super::share::about(state, id, record);
        Change::Share(ShareChange::Revoked(id, record.time_ms))
    });
    let mut ask = ask.clone();
    ask.decided = decided.map(|decided| (decided, by.principal, record.time_ms));
    let shown = shown(state, id, &ask);
    Ok((shown, end.into_iter().chain([Change::Ask(AskChange::Is(id, Box::new(ask)))]).collect()))
}

impl Core {
    pub(super) fn access(
        &self,
        state: &State,
        subject: &Subject,
        command: &AccessCommand,
        record: &mut Record,
    ) -> Outcome {
        // Whoever has the token of a share has it for what is shared, and knows of nothing else.
        if subject.share.is_some() {
            return Err(Refusal::NotFound);
        }
        match command {
            AccessCommand::Disclose { kind, repo, to } => self.disclose(state, subject, (*kind, repo), to, record),
            AccessCommand::Conceal { kind, repo, to } => self.conceal(state, subject, (*kind, repo), to, record),
            AccessCommand::List { of, status, after } => {
                let of = of.as_ref().map(|(kind, repo)| (*kind, repo));
                self.access_list(state, subject, of, (*status, *after), record)
            }
            AccessCommand::Approve { who, unasked, partner, spec, reason } => {
                let made = self.approve(state, subject, (who, *unasked, *partner), spec, record)?;
                record.reason = super::cut(reason, 1024);
                Ok(made)
            }
            AccessCommand::Reject { kind, repo, who, partner: false, reason } => {
                let found = self.decidable(state, subject, (*kind, repo), who, record)?;
                record.reason = super::cut(reason, 1024);
                decide(state, found, Some(Decided::Rejected(super::cut(reason, 1024))), subject, record)
            }
            AccessCommand::Reject { kind, repo, who, partner: true, reason } => {
                self.reject_partner(state, subject, (*kind, repo), (who, reason), record)
            }
            AccessCommand::Reopen { kind, repo, who } => {
                let found = self.decidable(state, subject, (*kind, repo), who, record)?;
                decide(state, found, None, subject, record)
            }
            AccessCommand::Ask { kind, repo, fields } => self.ask(state, subject, (*kind, repo), fields, record),
            AccessCommand::Mine => Ok(self.asks_mine(state, subject)),
            AccessCommand::Withdraw { kind, repo } => self.ask_withdraw(state, subject, (*kind, repo), record),
            AccessCommand::Token { kind, repo } => self.ask_token(state, subject, (*kind, repo), record),
        }
    }

    /// The repository's number, for who manages its shares.
    fn managed_repo(&self, state: &State, by: &Subject, repo: Named<'_>, record: &mut Record) -> Result<u64, Refusal> {
        let allowed = self.judge_repo(state, by.clone(), Action::ShareManage, repo.0, repo.1, record)?;
        allowed.repo.ok_or(Refusal::NotFound)
    }

    fn decidable<'a>(
        &self,
        state: &'a State,
        by: &Subject,
        repo: Named<'_>,
        who: &Asker,
        record: &mut Record,
    ) -> Result<Found<'a>, Refusal> {
        let repo = self.managed_repo(state, by, repo, record)?;
        let (principal, found) = asker(state, repo, who)?;
        record.subject = state.principals.get(&principal).map(|principal| principal.name.clone());
        found.ok_or_else(|| Refusal::Invalid("they have not asked for this repository".to_owned()))
    }

    /// What waits of all people of an organisation. No share was made for it, and none ends.
    fn reject_partner(
        &self,
        state: &State,
        by: &Subject,
        repo: Named<'_>,
        (who, reason): (&Asker, &str),
        record: &mut Record,
    ) -> Outcome {
        let repo = self.managed_repo(state, by, repo, record)?;
        let partner = organisation(state, repo, who)?;
        let waiting: Vec<Found<'_>> = waiting(state, repo, partner).collect();
        if waiting.is_empty() {
            return Err(Refusal::Conflict(format!("no request of {} waits", partner.name)));
        }
        record.subject = Some(told(state, partner, waiting.iter().map(|(_, ask)| *ask)));
        record.reason = super::cut(reason, 1024);
        let decided = Decided::Rejected(super::cut(reason, 1024));
        let (mut shown, mut changes) = (Vec::new(), Vec::new());
        for found in waiting {
            let (one, change) = decide(state, found, Some(decided.clone()), by, record)?;
            shown.push(one);
            changes.extend(change);
        }
        Ok((json!({"partner": partner.name, "requests": shown}), changes))
    }

    fn disclose(&self, state: &State, by: &Subject, repo: Named<'_>, to: &str, record: &mut Record) -> Outcome {
        let id = self.managed_repo(state, by, repo, record)?;
        let (principal, found) = user(state, to)?;
        record.subject = Some(found.name.clone());
        let line = line(principal, id);
        let denial = Line { allow: false, ..line };
        if state.lines.contains(&denial) {
            let mend = "an administrator denied it: strongroom role deny … --remove";
            return Err(Refusal::Conflict(mend.to_owned()));
        }
        let change = (!state.lines.contains(&line)).then_some(Change::Line(line));
        Ok((json!({"disclosed": repo.1.as_str(), "to": found.name}), change.into_iter().collect()))
    }

    fn conceal(&self, state: &State, by: &Subject, repo: Named<'_>, from: &str, record: &mut Record) -> Outcome {
        let id = self.managed_repo(state, by, repo, record)?;
        let (principal, found) = user(state, from)?;
        record.subject = Some(found.name.clone());
        let line = line(principal, id);
        // A denial is an administrator's, and stays.
        let mut changes: Vec<Change> =
            state.lines.contains(&line).then_some(Change::Unline(line)).into_iter().collect();
        let waits = ask_of(state, principal, id).filter(|(_, ask)| ask.status() == AccessStatus::Pending);
        changes.extend(waits.map(|(id, _)| Change::Ask(AskChange::Gone(id))));
        Ok((json!({"concealed": repo.1.as_str(), "from": found.name}), changes))
    }

    fn access_list(
        &self,
        state: &State,
        by: &Subject,
        of: Option<Named<'_>>,
        (status, after): (Option<AccessStatus>, Option<u64>),
        record: &mut Record,
    ) -> Outcome {
        let only = of.map(|repo| self.managed_repo(state, by, repo, record)).transpose()?;
        let manages = |id: u64| {
            let repo = state.repos.get(&id).filter(|repo| repo.deleted_ms.is_none());
            repo.is_some_and(|repo| may(state, by, Action::ShareManage, Some(repo.namespace), Some(id)))
        };
        let lives = |id: PrincipalId| state.principals.get(&id.0).is_some_and(|user| user.removed_ms.is_none());
        let from = after.map_or(0, |after| after.saturating_add(1));
        let mut rows = state.asks.range(from..).filter(|(_, ask)| {
            only.is_none_or(|only| ask.repo == only)
                && status.is_none_or(|status| ask.status() == status)
                && manages(ask.repo)
                && lives(ask.principal)
        });
        let page: Vec<(&u64, &Ask)> = rows.by_ref().take(PAGE).collect();
        let next = page.last().filter(|_| rows.next().is_some()).map(|(id, _)| **id);
        let page: Vec<Value> = page.into_iter().map(|(id, ask)| shown(state, *id, ask)).collect();
        Ok((json!({"requests": page, "next": next}), Vec::new()))
    }

    fn approve(
        &self,
        state: &State,
        by: &Subject,
        (who, unasked, partner): (&Asker, bool, bool),
        spec: &ShareSpec,
        record: &mut Record,
    ) -> Outcome {
        let repo = self.managed_repo(state, by, (spec.kind, &spec.repo), record)?;
        let partner = partner.then(|| organisation(state, repo, who)).transpose()?;
        let own = match (partner, who) {
            // Nobody of them was named.
            (Some(_), Asker::User(name)) if state.principal(name).is_none() => None,
            _ => Some(approvable(state, repo, (who, unasked), record)?),
        };
        let mut asks: Vec<(u64, Ask)> = own.into_iter().collect();
        if let Some(partner) = partner {
            let others = waiting(state, repo, partner).filter(|(id, _)| asks.iter().all(|(own, _)| own != id));
            let others: Vec<(u64, Ask)> = others.map(|(id, ask)| (id, ask.clone())).collect();
            asks.extend(others);
        }
        let name = |principal: PrincipalId| state.principals.get(&principal.0).map(|principal| principal.name.clone());
        let to = match (partner, asks.first()) {
            (Some(partner), None) => return Err(Refusal::Conflict(format!("no request of {} waits", partner.name))),
            (Some(partner), Some(_)) => partner.name.clone(),
            (None, first) => first.and_then(|(_, ask)| name(ask.principal)).ok_or(Refusal::NotFound)?,
        };
        let spec = ShareSpec { to, ..spec.clone() };
        let (share_id, share) = self.share_make(state, by, &spec, record)?;
        let mut shown = super::share::shown(state, share_id, &share);
        shown["request"] = asks.first().map(|(id, _)| *id).into();
        if let Some(partner) = partner {
            shown["requests"] = asks.iter().map(|(id, _)| *id).collect();
            let of = told(state, partner, asks.iter().map(|(_, ask)| ask));
            record.subject = Some(super::cut(&format!("share {share_id} with {of}"), 1024));
        }
        let mut changes = vec![Change::Share(ShareChange::Made(share_id, Box::new(share)))];
        changes.extend(asks.into_iter().map(|(id, ask)| {
            let decided = Some((Decided::Accepted(share_id), by.principal, record.time_ms));
            Change::Ask(AskChange::Is(id, Box::new(Ask { decided, ..ask })))
        }));
        Ok((shown, changes))
    }
}

/// Somebody's request that a share can be made for, with its number.
fn approvable(
    state: &State,
    repo: u64,
    (who, unasked): (&Asker, bool),
    record: &Record,
) -> Result<(u64, Ask), Refusal> {
    let (principal, found) = asker(state, repo, who)?;
    let name = state.principals.get(&principal).map(|principal| &principal.name).ok_or(Refusal::NotFound)?;
    match found {
        Some((id, ask)) => {
            let share = ask.share().and_then(|id| Some((id, state.shares.get(&id)?)));
            if let Some((id, _)) = share.filter(|(id, share)| share.over(*id, state, record.time_ms).is_none()) {
                return Err(Refusal::Conflict(format!("{name} has access already: share {id}")));
            }
            Ok((id, ask.clone()))
        }
        // No number is given twice: a request that is withdrawn could be accepted as another's.
        None if unasked => {
            let (principal, asked_ms) = (PrincipalId(principal), record.time_ms);
            Ok((record.generation + 1, Ask { principal, repo, fields: Vec::new(), asked_ms, decided: None }))
        }
        None => Err(Refusal::Conflict(format!("{name} has not asked for this repository"))),
    }
}

/// The partner organisation that somebody is one of, or that is called so.
fn organisation<'a>(state: &'a State, repo: u64, who: &Asker) -> Result<&'a Partner, Refusal> {
    if let Asker::User(name) = who
        && state.principal(name).is_none()
        && let Some((_, partner)) = state.partners.named(name)
    {
        return Ok(partner);
    }
    let (principal, _) = asker(state, repo, who)?;
    let name = state.principals.get(&principal).map(|principal| &principal.name).ok_or(Refusal::NotFound)?;
    let partner = state.partners.of(principal).map(|(_, partner)| partner);
    partner.ok_or_else(|| Refusal::Invalid(format!("{name} is no partner organisation's")))
}

/// What waits of the people of an organisation.
fn waiting<'a>(state: &'a State, repo: u64, partner: &'a Partner) -> impl Iterator<Item = Found<'a>> {
    let asks = state.asks.iter().map(|(id, ask)| (*id, ask));
    asks.filter(move |(_, ask)| {
        ask.repo == repo && ask.decided.is_none() && partner.members.contains_key(&ask.principal.0)
    })
}

/// An organisation, and those of its people whose requests are decided, for the log.
fn told<'a>(state: &State, partner: &Partner, asks: impl Iterator<Item = &'a Ask>) -> String {
    let name = |ask: &Ask| state.principals.get(&ask.principal.0).map_or("?", |principal| &principal.name).to_owned();
    let people: Vec<String> = asks.map(name).collect();
    super::cut(&format!("partner {}: {}", partner.name, people.join(", ")), 1024)
}

/// By it a principal may know that a repository is there.
fn line(principal: u64, repo: u64) -> Line {
    let (principal, place) = (PrincipalId(principal), Place::Repo(repo));
    Line { principal, action: Action::RepoAsk, compartment: None, place, allow: true }
}

/// A principal, and its request for the repository.
fn asker<'a>(state: &'a State, repo: u64, who: &Asker) -> Result<(u64, Option<Found<'a>>), Refusal> {
    match who {
        Asker::User(name) => {
            let (principal, _) = user(state, name)?;
            Ok((principal, ask_of(state, principal, repo)))
        }
        Asker::Request(id) => {
            let ask = state.asks.get(id).filter(|ask| ask.repo == repo);
            let ask = ask.ok_or_else(|| Refusal::Invalid("no request has that id".to_owned()))?;
            Ok((ask.principal.0, Some((*id, ask))))
        }
    }
}
