//! Acts that need a second person: asked for, seen, approved, rejected, over.

use std::sync::Weak;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_domain::Action;
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{ApprovalCommand, Refusal};

use super::admin::Outcome;
use super::authorize::{compartments, may};
use super::partner::own_hand;
use super::people::time;
use crate::act::{Act, ActChange, Decision, Deed, Recovery};
use crate::change::Change;
use crate::credential::Subject;
use crate::dual::{hands, lives, names};
use crate::lapse::begun;
use crate::log::Record;
use crate::policy::PrincipalId;
use crate::server::{Core, now_ms};
use crate::state::State;

/// Acts of one principal that wait at once: what it asks for must be looked at by somebody.
const WAITING_MAX: usize = 64;

/// Of an act that can't be read.
const ANOTHER: &str = "it was asked for under another version of this server: ask for it anew";

/// How often those that are over are looked for.
const OVER_EVERY: Duration = Duration::from_secs(1);

/// What a command gives once it is judged: what it shows and what it changes, or that it waits, and the act.
pub(super) type Held = Result<(Result<Value, Refusal>, Vec<Change>), Refusal>;

impl Core {
    /// Does what was judged, or lets it wait where it needs a second person.
    pub(super) fn or_wait(
        &self,
        state: &State,
        subject: &Subject,
        command: &AdminCommand,
        (shown, changes): (Value, Vec<Change>),
        record: &mut Record,
    ) -> Held {
        // An approval is the second person.
        let approval = matches!(command, AdminCommand::Approval(_));
        let why = if approval { None } else { self.dual.needs(state, &changes) };
        match why {
            None => Ok((Ok(shown), changes)),
            Some(why) => {
                let (refusal, changes) =
                    self.wait(state, subject, Deed::Command(Box::new(command.clone())), &why, record)?;
                Ok((Err(refusal), changes))
            }
        }
    }

    /// Lets an act wait: the refusal that says so, and the change. The same act that waits already is not asked for twice.
    pub(super) fn wait(
        &self,
        state: &State,
        subject: &Subject,
        deed: Deed,
        why: &str,
        record: &mut Record,
    ) -> Result<(Refusal, Vec<Change>), Refusal> {
        let now = record.time_ms;
        let mut own = state.acts.iter().filter(|(_, act)| act.principal == subject.principal && act.waits(now));
        let same = own.clone().find(|(_, act)| act.is_same(subject.principal, &deed));
        let (id, ends_ms, changes) = match same {
            Some((id, act)) => (*id, act.ends_ms, Vec::new()),
            None if own.nth(WAITING_MAX - 1).is_some() => {
                return Err(Refusal::Conflict(format!("{WAITING_MAX} acts of yours wait already: reject some")));
            }
            None => {
                let (principal, token) = (subject.principal, subject.token);
                let ends_ms = now.saturating_add(self.dual.rule.wait_ms);
                let act = Act { principal, token, deed, asked_ms: now, ends_ms, decided: None };
                let id = State::next(&state.acts);
                (id, ends_ms, vec![Change::Act(ActChange::Asked(id, Box::new(act)))])
            }
        };
        // The share that it would make is not there yet.
        record.share = None;
        (record.outcome, record.reason) = ("pending".to_owned(), format!("approval {id}: {why}"));
        let until = time(ends_ms);
        let text = format!(
            "nothing was done yet: {why} needs a second person. It waits as approval {id} until {until}; \
             somebody else with the same right runs: strongroom approval approve {id}"
        );
        Ok((Refusal::Pending(id, text), changes))
    }

    /// Whether it was approved, and the time in which it may be done is not over.
    pub(super) fn is_open(&self, state: &State, by: PrincipalId, deed: &Deed) -> bool {
        let window = self.dual.rule.window_ms;
        state.acts.values().any(|act| act.is_open(now_ms(), window) && act.is_same(by, deed))
    }

    pub(super) fn approval(
        &self,
        state: &State,
        subject: &Subject,
        command: &ApprovalCommand,
        record: &mut Record,
    ) -> Outcome {
        if subject.share.is_some() {
            return Err(Refusal::NotFound);
        }
        match command {
            ApprovalCommand::List { all } => {
                let seen = state.acts.iter().filter(|(_, act)| *all || act.waits(record.time_ms));
                let seen = seen.filter(|(_, act)| self.sees(state, subject, act));
                let shown: Vec<Value> = seen.map(|(id, act)| self.shown(state, *id, act, false)).collect();
                Ok((json!({"approvals": shown}), Vec::new()))
            }
            ApprovalCommand::Show { id } => {
                let act = self.seen(state, subject, *id, record)?;
                Ok((self.shown(state, *id, act, true), Vec::new()))
            }
            ApprovalCommand::Reject { id, reason } => {
                let act = self.seen(state, subject, *id, record)?;
                record.reason = super::cut(reason, 1024);
                still_waits(act, record.time_ms)?;
                let change = ActChange::Decided(*id, Decision::Rejected, record.time_ms);
                Ok((json!({"rejected": id}), vec![Change::Act(change)]))
            }
            ApprovalCommand::Approve { id } => self.approve_act(state, subject, *id, record),
        }
    }

    fn approve_act(&self, state: &State, subject: &Subject, id: u64, record: &mut Record) -> Outcome {
        let act = self.seen(state, subject, id, record)?;
        still_waits(act, record.time_ms)?;
        if act.principal == subject.principal {
            return Err(Refusal::Forbidden("whoever asked does not approve: somebody else does".to_owned()));
        }
        let (theirs, own) = (hands(state, act.token), hands(state, subject.token));
        let both = theirs.intersection(&own).copied().collect();
        if theirs.intersection(&own).next().is_some() {
            let by = names(state, &both);
            return Err(Refusal::Forbidden(format!(
                "this token and the one that asked were both in the hands of {by}: claim one of your own first \
                 (strongroom token claim)"
            )));
        }
        if !self.could(state, subject, act) {
            return Err(Refusal::Forbidden("this needs the right to do the same".to_owned()));
        }
        // Nor is it somebody else in their name, or a machine.
        own_hand(state, subject)?;
        // What the one who asked may do no longer is not done in their name.
        let asker = Subject { principal: act.principal, token: act.token, share: None, ticket: None };
        if !lives(state, act.token, record.time_ms) || !self.could(state, &asker, act) {
            return Err(Refusal::Conflict("whoever asked for this may do it no longer: reject it".to_owned()));
        }
        let decided = Change::Act(ActChange::Decided(id, Decision::Approved, record.time_ms));
        let subject_before = record.subject.take();
        let (mut shown, mut changes) = match &act.deed {
            Deed::Command(command) => self.run(state, &asker, command, record)?,
            Deed::Delete(_) | Deed::Move(..) | Deed::Recover(..) | Deed::RecoverAt(_) => {
                let until = record.time_ms.saturating_add(self.dual.rule.window_ms);
                (json!({"done_by": names(state, &[act.principal.0].into()), "until": time(until)}), Vec::new())
            }
            Deed::Unreadable => return Err(Refusal::Conflict(ANOTHER.to_owned())),
        };
        // Nobody but a partner's sponsor sees the partner's token: whoever asked makes it (`share token`).
        changes.retain(|change| !matches!(change, Change::Token(..)));
        if let Some(shown) = shown.as_object_mut() {
            shown.remove("token");
            shown.remove("token_id");
        }
        let what = record.subject.take().map_or_else(String::new, |subject| format!(": {subject}"));
        record.subject = subject_before.map(|before| format!("{before}{what}"));
        changes.push(decided);
        Ok((json!({"approved": id, "done": shown}), changes))
    }

    /// The act, for who asked for it or could approve it; to anyone else it is one that is not there.
    fn seen<'a>(&self, state: &'a State, subject: &Subject, id: u64, record: &mut Record) -> Result<&'a Act, Refusal> {
        let act = state.acts.get(&id).filter(|act| self.sees(state, subject, act));
        let act = act.ok_or_else(|| Refusal::Invalid("no approval that concerns you has that id".to_owned()))?;
        record.subject = Some(format!("approval {id}, asked by {}", names(state, &[act.principal.0].into())));
        Ok(act)
    }

    fn sees(&self, state: &State, subject: &Subject, act: &Act) -> bool {
        act.principal == subject.principal || self.could(state, subject, act)
    }

    /// Whether somebody may do the same.
    fn could(&self, state: &State, subject: &Subject, act: &Act) -> bool {
        let namespace =
            |repo: &u64| state.repos.get(repo).filter(|repo| repo.deleted_ms.is_none()).map(|repo| repo.namespace);
        match &act.deed {
            Deed::Command(command) => {
                let judged = self.permits(state, subject, command);
                // What is over may be impossible by now for anyone.
                let done = act.decided.is_some();
                let mut scratch = Record { time_ms: now_ms(), ..Record::default() };
                judged && (done || self.run(state, subject, command, &mut scratch).is_ok())
            }
            // Of a move, whoever approves it answers for what is left; where it goes, whoever asked may create.
            Deed::Delete(repo) | Deed::Move(repo, ..) => {
                namespace(repo).is_some_and(|at| may(state, subject, Action::RepoDelete, Some(at), Some(*repo)))
            }
            Deed::Recover(repo, parts) | Deed::RecoverAt(Recovery { repo, compartments: parts, .. }) => namespace(repo)
                .is_some_and(|at| {
                    let own = compartments(state, subject, Action::KeyRecover, Some(at), Some(*repo));
                    parts.iter().all(|part| own.contains(part))
                }),
            Deed::Unreadable => false,
        }
    }

    fn shown(&self, state: &State, id: u64, act: &Act, whole: bool) -> Value {
        let now = now_ms();
        let word = match act.decided {
            Some((decision, _)) => decision.word(),
            None if act.waits(now) => "waits",
            None => Decision::Expired.word(),
        };
        let repo = |id: &u64| {
            state.repos.get(id).map_or_else(|| "?".to_owned(), |repo| format!("{} {}", repo.kind, repo.name))
        };
        let what = match &act.deed {
            Deed::Command(command) => command.word().to_owned(),
            Deed::Delete(id) => format!("repo.delete {}", repo(id)),
            Deed::Recover(id, _) => format!("key.recover {}", repo(id)),
            Deed::RecoverAt(Recovery { repo: id, compartments, revision, path }) => {
                let text = |text: &Option<String>| text.as_deref().unwrap_or("?").to_owned();
                let parts: Vec<&str> = compartments.iter().map(|part| part.word()).collect();
                let of = format!("{} at {}, in one of: {}", text(path), text(revision), parts.join(" "));
                format!("key.recover {}: {of}", repo(id))
            }
            Deed::Move(id, _, to) => format!("repo.move {} to {to}", repo(id)),
            Deed::Unreadable => ANOTHER.to_owned(),
        };
        let mut shown = json!({
            "id": id, "state": word, "what": what, "by": names(state, &[act.principal.0].into()),
            "asked": time(act.asked_ms), "ends": time(act.ends_ms), "decided": act.decided.map(|(_, at)| time(at)),
        });
        if let (true, Deed::Command(command)) = (whole, &act.deed) {
            // A command without a secret, whose JSON is that of its own protocol.
            shown["command"] = serde_json::to_value(command).unwrap_or_default();
        }
        shown
    }

    /// Ends, with a record each, the acts that nobody decided in time, as long as the server runs.
    pub(crate) async fn end_acts(core: Weak<Self>) {
        loop {
            tokio::time::sleep(OVER_EVERY).await;
            let Some(core) = core.upgrade() else { return };
            let ended = {
                let state = core.state.read();
                let mut waiting = state.acts.iter().filter(|(_, act)| act.decided.is_none());
                let over = waiting.find(|(_, act)| !act.waits(now_ms()));
                over.map(|(id, act)| {
                    let who = names(&state, &[act.principal.0].into());
                    let record = begun(&state, "approval.expire", format!("approval {id}, asked by {who}"));
                    let change = ActChange::Decided(*id, Decision::Expired, record.time_ms);
                    (record, vec![Change::Act(change)])
                })
            };
            if let Some(ended) = ended
                && let Err(error) = core.lapse(ended).await
            {
                tracing::warn!(%error, "an act that is over is not ended yet");
            }
        }
    }
}

fn still_waits(act: &Act, now_ms: i64) -> Result<(), Refusal> {
    match act.decided {
        None if act.waits(now_ms) => Ok(()),
        None => Err(Refusal::Conflict("it was over before anybody approved it: ask again".to_owned())),
        Some((decision, _)) => Err(Refusal::Conflict(format!("it is {} already", decision.word()))),
    }
}
