//! Access reviews: what was given, by whom, of use when; confirmed or taken by those who answer for the place.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use strongroom_domain::{Action, Compartment, Role};
use strongroom_protocol::admin::PlaceName;
use strongroom_protocol::{Credential, Given, Refusal, ReviewCommand};

use super::admin::Outcome;
use super::authorize::may;
use super::people::{invalid, place, place_text, time, user};
use crate::change::Change;
use crate::credential::{Subject, authenticate};
use crate::dual::hands;
use crate::log::Record;
use crate::policy::Place;
use crate::review::{DAY_MS, Ended, Note, ReviewChange, Round, all, holders, is_confirmed, place_of, taking, uses};
use crate::server::{Core, now_ms};
use crate::state::State;

/// Rows of one answer, at most: they fit a frame.
const PAGE: usize = 500;
/// Things of one command, at most.
const AT_ONCE: usize = 500;
/// Things of one round, at most: what lapses stands in one record.
const ROUND_MAX: usize = 2000;
/// The longest round, in seconds.
const WITHIN_MAX_S: u64 = 90 * 24 * 3600;
/// A partner is told of so long before it is due, in milliseconds.
const SOON_MS: i64 = 14 * DAY_MS;

/// Whether somebody answers for a place.
fn decides(state: &State, by: &Subject, place: Place) -> bool {
    let (namespace, repo) = match place {
        Place::System => (None, None),
        Place::Namespace(id) => (Some(id), None),
        Place::Repo(id) => (state.repos.get(&id).map(|repo| repo.namespace), Some(id)),
    };
    may(state, by, Action::ReviewManage, namespace, repo)
}

/// Whether a place lies in another, or is it.
fn is_in(state: &State, place: Place, other: Place) -> bool {
    let namespace = |repo: u64| state.repos.get(&repo).map(|repo| repo.namespace);
    match (other, place) {
        (Place::System, _) => true,
        (Place::Namespace(id), Place::Repo(repo)) => namespace(repo) == Some(id),
        (other, place) => other == place,
    }
}

/// When it was last of use, Unix milliseconds: of roles and lines to the day, and as far as anything in their place was.
fn last_used(state: &State, given: Given) -> Option<i64> {
    let principal = match given {
        Given::Role(principal, ..) | Given::Line(principal, ..) => principal,
        Given::Token(id) => return state.tokens.get(&id)?.last_used_ms,
        Given::Share(id) => {
            let tokens = state.tokens.values().filter(|token| token.body.share == Some(id));
            return tokens.filter_map(|token| token.last_used_ms).max();
        }
    };
    let there = place_of(state, given);
    // In no repository is only what is done everywhere.
    let covers = |repo: u64| if repo == 0 { there == Place::System } else { is_in(state, Place::Repo(repo), there) };
    let theirs = state.reviews.used.range((principal, 0)..=(principal, u64::MAX));
    let last = theirs.filter(|((_, repo), _)| covers(*repo)).map(|(_, day)| *day).max()?;
    Some(last.saturating_mul(DAY_MS))
}

fn name(state: &State, id: u64) -> Option<String> {
    state.principals.get(&id).map(|principal| principal.name.clone())
}

fn shown(state: &State, given: Given) -> Value {
    let note = state.reviews.notes.get(&given).copied().unwrap_or_default();
    let (kind, what, to, given_ms) = match given {
        Given::Role(whose, role, _) => ("role", role.to_string(), name(state, whose), note.given_ms),
        Given::Line(whom, action, part, _) => {
            let what =
                format!("{action}{}", part.map_or_else(String::new, |part| format!(" {}", Compartment::word(part))));
            ("line", what, name(state, whom), note.given_ms)
        }
        Given::Share(id) => {
            let share = state.shares.get(&id);
            let parts = share.into_iter().flat_map(|share| &share.body.compartments).map(|part| part.word());
            let with = share.and_then(|share| share.with_name(state));
            ("share", parts.collect::<Vec<_>>().join(" "), with, share.map_or(0, |share| share.created_ms))
        }
        Given::Token(id) => {
            let token = state.tokens.get(&id);
            let called = token.map(|token| token.body.name.clone()).unwrap_or_default();
            let whose = token.and_then(|token| name(state, token.principal.0));
            ("token", called, whose, token.map_or(0, |token| token.created_ms))
        }
    };
    let of =
        |round: &&Round| round.ended.is_none() && round.given.contains(&given) && !is_confirmed(state, round, given);
    let due = state.reviews.rounds().values().filter(of).map(|round| round.deadline_ms).min();
    json!({
        "id": given.to_string(), "kind": kind, "what": what, "to": to, "place": place_text(state, place_of(state, given)),
        "by": note.by.and_then(|id| name(state, id)),
        "agreed_by": note.second.and_then(|id| name(state, id)),
        "given": (given_ms > 0).then(|| time(given_ms)),
        "last_used": last_used(state, given).map(time),
        "confirmed": note.confirmed.map(|(_, at)| time(at)),
        "confirmed_by": note.confirmed.and_then(|(id, _)| name(state, id)),
        "lapses": due.map(time),
    })
}

fn round_shown(state: &State, id: u64, round: &Round, whole: bool) -> Value {
    let open = |given: &&Given| !is_confirmed(state, round, **given);
    let there = all(state, now_ms());
    let waits = round.given.iter().filter(open).filter(|given| there.contains(given));
    let mut told = json!({
        "id": id, "place": place_text(state, round.place), "by": name(state, round.by.0),
        "started": time(round.started_ms), "deadline": time(round.deadline_ms), "given": round.given.len(),
        "state": if round.ended.is_some() { "over" } else { "open" },
        "waits": round.ended.is_none().then(|| waits.clone().count()),
        "lapsed": round.ended.as_ref().map(|ended| ended.lapsed.len()),
        "kept": round.ended.as_ref().map(|ended| ended.kept.len()),
    });
    if whole {
        match &round.ended {
            None => told["waiting"] = waits.map(|given| shown(state, *given)).collect(),
            Some(Ended { at_ms, lapsed, kept }) => {
                let row = |given: &Given, why: Option<&str>| {
                    let mut row = shown(state, *given);
                    row["why"] = why.into();
                    row
                };
                told["ended"] = time(*at_ms).into();
                told["lapsed_list"] = lapsed.iter().map(|given| row(given, None)).collect();
                told["kept_list"] = kept.iter().map(|(given, why)| row(given, Some(why))).collect();
            }
        }
    }
    told
}

impl Core {
    /// Before a list: what other keepers noted of use.
    pub(super) async fn learn_uses(
        &self,
        credential: Option<&Credential>,
        command: &ReviewCommand,
    ) -> Result<(), Refusal> {
        let asked = matches!(command, ReviewCommand::List { .. } | ReviewCommand::Show { .. });
        let known = authenticate(&self.state.read(), &self.keys, credential, now_ms(), &mut Record::default()).is_ok();
        if !asked || !known || !self.database.is_shared() {
            return Ok(());
        }
        let unavailable = |error: crate::state::LoadError| Refusal::Unavailable(error.to_string());
        let found = uses(&self.database.reader).await.map_err(unavailable)?;
        let rows = sqlx::query("SELECT id, last_used_ms FROM token WHERE last_used_ms IS NOT NULL");
        let rows = rows.fetch_all(&self.database.reader).await.map_err(|error| unavailable(error.into()))?;
        let mut state = self.state.write();
        for (key, day) in found {
            let held = state.reviews.used.entry(key).or_insert(day);
            *held = day.max(*held);
        }
        for row in &rows {
            let used: i64 = sqlx::Row::try_get(row, "last_used_ms").map_err(|error| unavailable(error.into()))?;
            if let Some(token) = state.tokens.get_mut(&crate::state::number(row, "id").map_err(unavailable)?) {
                token.last_used_ms = token.last_used_ms.max(Some(used));
            }
        }
        Ok(())
    }

    pub(super) fn review(&self, state: &State, by: &Subject, command: &ReviewCommand, record: &mut Record) -> Outcome {
        if by.share.is_some() {
            return Err(Refusal::NotFound);
        }
        match command {
            ReviewCommand::List { repo, user: whom, stale_s, after } => {
                let repo = repo.as_ref().map(|(kind, repo)| PlaceName::Repo(*kind, repo.clone()));
                let only = repo.map(|repo| self.reviewed(state, by, &repo)).transpose()?;
                let whom = whom.as_ref().map(|name| user(state, name)).transpose()?.map(|(id, _)| id);
                let long = |stale_s: u64| {
                    now_ms().saturating_sub(i64::try_from(stale_s).unwrap_or(i64::MAX).saturating_mul(1000))
                };
                let before = stale_s.map(long);
                let there = all(state, now_ms());
                let mut rows = there.into_iter().filter(|given| {
                    let place = place_of(state, *given);
                    after.is_none_or(|after| *given > after)
                        && only.is_none_or(|only| is_in(state, place, only))
                        && whom.is_none_or(|whom| holders(state, *given).contains(&whom))
                        && before.is_none_or(|before| last_used(state, *given).is_none_or(|used| used < before))
                        && decides(state, by, place)
                });
                let page: Vec<Given> = rows.by_ref().take(PAGE).collect();
                let next = page.last().filter(|_| rows.next().is_some()).map(ToString::to_string);
                let page: Vec<Value> = page.into_iter().map(|given| shown(state, given)).collect();
                Ok((json!({"given": page, "next": next, "partners": soon(state, by)}), Vec::new()))
            }
            ReviewCommand::Confirm { given, reason } => {
                self.for_decision(state, by, given, record)?;
                record.reason = super::cut(reason, 1024);
                let hands = hands(state, by.token);
                if let Some(own) =
                    given.iter().find(|given| holders(state, **given).iter().any(|id| hands.contains(id)))
                {
                    let text = format!(
                        "nobody confirms what is given to them, nor with a token that such a one has held: {own}"
                    );
                    return Err(Refusal::Forbidden(text));
                }
                let confirmed = Some((by.principal.0, record.time_ms));
                let note =
                    |given: &Given| Note { confirmed, ..state.reviews.notes.get(given).copied().unwrap_or_default() };
                let changes = given.iter().map(|given| Change::Review(ReviewChange::Note(*given, note(given))));
                Ok((json!({"confirmed": texts(given)}), changes.collect()))
            }
            ReviewCommand::Revoke { given, reason } => {
                self.for_decision(state, by, given, record)?;
                record.reason = super::cut(reason, 1024);
                let gives = may(state, by, Action::RoleManage, None, None);
                for one in given {
                    match one {
                        // Who owns a place does not drive out who owns it too.
                        Given::Role(_, role, _) if self.dual.rule.roles.contains(role) && !gives => {
                            return Err(Refusal::Forbidden(format!(
                                "this needs the right to {}: {one}",
                                Action::RoleManage
                            )));
                        }
                        Given::Role(_, Role::Admin, _) if last_admins(state, given) => {
                            return Err(Refusal::Conflict("the last administrator stays".to_owned()));
                        }
                        _ => {}
                    }
                }
                Ok((json!({"revoked": texts(given)}), given.iter().map(|one| taking(*one, record.time_ms)).collect()))
            }
            ReviewCommand::Start { place, within_s } => {
                let place = self.reviewed(state, by, place)?;
                record.subject = Some(format!("{} within {within_s} s", place_text(state, place)));
                if !(1..=WITHIN_MAX_S).contains(within_s) {
                    return Err(invalid("a review ends within 1 s to 90 days"));
                }
                let there = all(state, record.time_ms).into_iter();
                let given: std::collections::BTreeSet<Given> =
                    there.filter(|given| is_in(state, place_of(state, *given), place)).collect();
                if given.is_empty() || given.len() > ROUND_MAX {
                    let text =
                        format!("a review is about 1 to {ROUND_MAX} things, not {}: name a smaller place", given.len());
                    return Err(invalid(text));
                }
                let deadline_ms = record.time_ms.saturating_add(i64::try_from(within_s * 1000).unwrap_or(i64::MAX));
                let (id, started_ms) = (State::next(state.reviews.rounds()), record.time_ms);
                let round = Round { by: by.principal, place, started_ms, deadline_ms, given, ended: None };
                record.subject = record.subject.take().map(|subject| format!("review {id} of {subject}"));
                let told = round_shown(state, id, &round, false);
                Ok((told, vec![Change::Review(ReviewChange::Round(id, Box::new(round)))]))
            }
            ReviewCommand::Rounds => {
                let rounds = state.reviews.rounds().iter().filter(|(_, round)| decides(state, by, round.place));
                let rounds: Vec<Value> = rounds.map(|(id, round)| round_shown(state, *id, round, false)).collect();
                Ok((json!({"rounds": rounds}), Vec::new()))
            }
            ReviewCommand::Show { id } => {
                let round = state.reviews.rounds().get(id).filter(|round| decides(state, by, round.place));
                let round = round.ok_or_else(|| invalid("no review that concerns you has that id"))?;
                record.subject = Some(format!("review {id}"));
                Ok((round_shown(state, *id, round, true), Vec::new()))
            }
        }
    }

    /// The place, for who answers for it; to anyone else it is one that is not there.
    fn reviewed(&self, state: &State, by: &Subject, name: &PlaceName) -> Result<Place, Refusal> {
        let found = place(state, name).ok().flatten().filter(|place| decides(state, by, *place));
        found.ok_or_else(|| invalid("no place that you answer for is called so"))
    }

    /// Everything is there, and for the asker to decide on.
    fn for_decision(&self, state: &State, by: &Subject, given: &[Given], record: &mut Record) -> Result<(), Refusal> {
        record.subject = Some(super::cut(&texts(given).join(" "), 1024));
        if given.is_empty() || given.len() > AT_ONCE {
            return Err(invalid(format!("name 1 to {AT_ONCE} ids of `review list`")));
        }
        let there = all(state, record.time_ms);
        let wrong = given.iter().find(|one| !there.contains(*one) || !decides(state, by, place_of(state, **one)));
        wrong.map_or(Ok(()), |one| Err(invalid(format!("nothing that you decide on has the id {one}"))))
    }
}

fn texts(given: &[Given]) -> Vec<String> {
    given.iter().map(ToString::to_string).collect()
}

/// Whether no administrator would be left.
fn last_admins(state: &State, taken: &[Given]) -> bool {
    let is_admin = |given: &Given| matches!(given, Given::Role(_, Role::Admin, strongroom_protocol::GivenAt::System));
    let mut left = all(state, now_ms()).into_iter().filter(is_admin).filter(|given| !taken.contains(given));
    taken.iter().any(is_admin) && left.next().is_none()
}

/// Partners that are due soon or over, of those that the asker manages or stands for.
fn soon(state: &State, by: &Subject) -> Vec<Value> {
    let now = now_ms();
    let manages = may(state, by, Action::PartnerManage, None, None);
    let all = state.partners.all().iter().filter(|(_, partner)| {
        partner.ended_ms.is_none()
            && (manages || partner.sponsor == by.principal)
            && partner.due_ms() < now.saturating_add(SOON_MS.min(partner.every_ms / 2))
    });
    let rows = all.map(|(id, partner)| {
        json!({"name": partner.name, "sponsor": name(state, partner.sponsor.0), "due": time(partner.due_ms()),
               "state": partner.over(*id, state, now).unwrap_or("active")})
    });
    rows.collect()
}

/// Of each kind, how many: for the record of a round's end.
pub(crate) fn counted(given: &[Given]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in given {
        let kind = match one {
            Given::Role(..) => "roles",
            Given::Line(..) => "lines",
            Given::Share(_) => "shares",
            Given::Token(_) => "tokens",
        };
        *counts.entry(kind).or_default() += 1;
    }
    let texts: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") }
}
