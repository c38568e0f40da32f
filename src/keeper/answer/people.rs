//! Principals, roles, tokens.

use serde_json::{Value, json};
use strongroom_domain::{Action, Compartment, RepoName, Role, check_namespace};
use strongroom_protocol::Refusal;
use strongroom_protocol::admin::{PlaceName, Scope};

use super::admin::Outcome;
use super::repo::founds_namespace;
use crate::change::Change;
use crate::credential::{Subject, dead};
pub(super) use crate::did::time;
use crate::dual::hands;
use crate::log::Record;
use crate::policy::{Assignment, Line, Place, PrincipalId};
use crate::server::{Core, now_ms};
use crate::state::{Principal, State, Stop, Token, TokenBody};
use crate::token;

pub(super) fn invalid(what: impl ToString) -> Refusal {
    Refusal::Invalid(what.to_string())
}

pub(super) fn user<'a>(state: &'a State, name: &str) -> Result<(u64, &'a Principal), Refusal> {
    state.principal(name).ok_or_else(|| Refusal::Invalid(format!("no user is called '{name}'")))
}

/// The place of a name; `None` for a namespace that is not there yet.
pub(super) fn place(state: &State, name: &PlaceName) -> Result<Option<Place>, Refusal> {
    match name {
        PlaceName::System => Ok(Some(Place::System)),
        PlaceName::Namespace(name) => {
            check_namespace(name).map_err(invalid)?;
            Ok(state.namespace_names.get(&name.to_ascii_lowercase()).copied().map(Place::Namespace))
        }
        PlaceName::Repo(kind, name) => match state.repo(*kind, name) {
            Some((id, _)) => Ok(Some(Place::Repo(id))),
            None => Err(invalid("no such repository")),
        },
    }
}

pub(super) fn place_text(state: &State, place: Place) -> String {
    match place {
        Place::System => "system".to_owned(),
        Place::Namespace(id) => format!("namespace {}", state.namespaces.get(&id).map_or("?", String::as_str)),
        Place::Repo(id) => {
            let repo = state.repos.get(&id);
            repo.map_or_else(|| "repo ?".to_owned(), |repo| format!("{} {}", repo.kind, repo.name))
        }
    }
}

fn roles_json(state: &State, held: impl Fn(&Assignment) -> bool) -> Vec<Value> {
    let rows = state.assignments.iter().filter(|row| held(row));
    rows.map(|row| {
        let name = state.principals.get(&row.principal.0).map(|principal| principal.name.clone());
        json!({"user": name, "role": row.role.word(), "place": place_text(state, row.place)})
    })
    .collect()
}

fn lines_json(state: &State, of: impl Fn(&Line) -> bool) -> Vec<Value> {
    let rows = state.lines.iter().filter(|line| of(line));
    rows.map(|line| {
        let name = state.principals.get(&line.principal.0).map(|principal| principal.name.clone());
        json!({"user": name, "action": line.action.word(), "compartment": line.compartment.map(Compartment::word),
               "place": place_text(state, line.place), "effect": if line.allow { "allow" } else { "deny" }})
    })
    .collect()
}

fn user_json(state: &State, id: u64, principal: &Principal) -> Value {
    let state_word = match (principal.removed_ms, state.stops.contains_key(&Stop::Principal(id))) {
        (Some(_), _) => "removed",
        (None, true) => "locked",
        (None, false) => "active",
    };
    json!({"id": id, "name": principal.name, "state": state_word, "created": time(principal.created_ms),
           "recipient": principal.recipient, "claimed": principal.claimed_ms.map(time)})
}

pub(super) fn token_json(state: &State, id: u64, token: &Token) -> Value {
    let names =
        |ids: &[u64]| -> Vec<String> { ids.iter().filter_map(|id| state.namespaces.get(id).cloned()).collect() };
    let repos = token.body.repos.iter().filter_map(|id| state.repos.get(id).map(|repo| repo.name.to_string()));
    json!({
        "id": id,
        "name": token.body.name,
        "user": state.principals.get(&token.principal.0).map(|principal| principal.name.clone()),
        "state": dead(state, id, token, now_ms()).unwrap_or("active"),
        "created": time(token.created_ms),
        "expires": time(token.expires_ms),
        "share": token.body.share,
        "seen_by": crate::dual::names(state, &token.body.hands.iter().copied().collect()),
        "last_used": token.last_used_ms.map(time),
        "scope": {
            "namespaces": names(&token.body.namespaces),
            "repos": repos.collect::<Vec<_>>(),
            "actions": token.body.actions.iter().map(|action| action.word()).collect::<Vec<_>>(),
            "compartments": token.body.compartments.iter().map(|part| part.word()).collect::<Vec<_>>(),
        },
    })
}

/// What a token may be called.
pub(super) fn token_name(called: &str) -> Result<String, Refusal> {
    if called.len() > 96 || called.chars().any(char::is_control) {
        return Err(invalid("a token's name has at most 96 bytes and no control character"));
    }
    Ok(called.to_owned())
}

impl Core {
    pub(super) fn user_create(&self, state: &State, name: &str, record: &mut Record) -> Outcome {
        check_namespace(name).map_err(invalid)?;
        record.subject = Some(name.to_owned());
        // Of a partner organisation too: `share create --to` takes both.
        if state.principal_names.contains_key(&name.to_ascii_lowercase()) || state.partners.named(name).is_some() {
            return Err(Refusal::Conflict("that name is taken, or was, and is never given to another".to_owned()));
        }
        let id = State::next(&state.principals);
        let (created_ms, removed_ms, recipient, claimed_ms) = (record.time_ms, None, None, None);
        let principal = Principal { name: name.to_owned(), created_ms, removed_ms, recipient, claimed_ms };
        let shown = user_json(state, id, &principal);
        Ok((shown, vec![Change::Principal(id, principal)]))
    }

    pub(super) fn user_list(&self, state: &State) -> Outcome {
        let users = state.principals.iter().map(|(id, principal)| user_json(state, *id, principal));
        Ok((json!({"users": users.collect::<Vec<_>>()}), Vec::new()))
    }

    pub(super) fn user_show(&self, state: &State, name: &str, record: &mut Record) -> Outcome {
        record.subject = Some(super::cut(name, 96));
        let (id, principal) = user(state, name)?;
        let tokens = state.tokens.iter().filter(|(_, token)| token.principal.0 == id);
        let mut shown = user_json(state, id, principal);
        shown["roles"] = roles_json(state, |row| row.principal.0 == id).into();
        shown["lines"] = lines_json(state, |line| line.principal.0 == id).into();
        shown["tokens"] = tokens.map(|(id, token)| token_json(state, *id, token)).collect();
        Ok((shown, Vec::new()))
    }

    pub(super) fn user_remove(&self, state: &State, by: &Subject, name: &str, record: &mut Record) -> Outcome {
        record.subject = Some(super::cut(name, 96));
        let (id, _) = user(state, name)?;
        if id == by.principal.0 {
            return Err(Refusal::Conflict("nobody removes oneself: another administrator does".to_owned()));
        }
        Ok((json!({"removed": name}), vec![Change::RemovePrincipal(id, record.time_ms)]))
    }

    /// A plug-in recipient names a program to run: native ones alone are taken.
    pub(super) fn user_recipient(
        &self,
        state: &State,
        name: &str,
        recipient: Option<&str>,
        record: &mut Record,
    ) -> Outcome {
        record.subject = Some(super::cut(name, 96));
        let (id, _) = user(state, name)?;
        if recipient.is_some_and(|text| text.parse::<strongroom_envelope::Recipient>().is_err()) {
            return Err(invalid(
                "a recipient is a native one of age (age1...): one of a plug-in names a program to run",
            ));
        }
        let shown = json!({"user": name, "recipient": recipient});
        Ok((shown, vec![Change::Recipient(id, recipient.map(str::to_owned))]))
    }

    pub(super) fn role_grant(
        &self,
        state: &State,
        name: &str,
        role: Role,
        at: &PlaceName,
        record: &mut Record,
    ) -> Outcome {
        let (id, _) = user(state, name)?;
        record.subject = Some(format!("{role} to {name} at {at:?}"));
        let mut changes = Vec::new();
        let place = match (place(state, at)?, at) {
            (Some(place), _) => place,
            (None, PlaceName::Namespace(name)) if founds_namespace(role) => {
                let id = State::next(&state.namespaces);
                changes.push(Change::Namespace(id, name.clone()));
                Place::Namespace(id)
            }
            _ => return Err(invalid("no such place")),
        };
        // Else what stops their organisation would stop those who can let it go on.
        if place == Place::System && state.partners.of(id).is_some() {
            return Err(Refusal::Conflict(format!("{name} is a partner's: a role everywhere is for people inside")));
        }
        let assignment = Assignment { principal: PrincipalId(id), role, place };
        let shown = json!({"user": name, "role": role.word(), "place": format!("{at:?}")});
        if !state.assignments.contains(&assignment) {
            changes.push(Change::Assign(assignment));
        }
        Ok((shown, changes))
    }

    pub(super) fn role_revoke(
        &self,
        state: &State,
        name: &str,
        role: Role,
        at: &PlaceName,
        record: &mut Record,
    ) -> Outcome {
        let (id, _) = user(state, name)?;
        record.subject = Some(format!("{role} of {name} at {at:?}"));
        let place = place(state, at)?.ok_or_else(|| invalid("no such place"))?;
        let assignment = Assignment { principal: PrincipalId(id), role, place };
        if !state.assignments.contains(&assignment) {
            return Err(Refusal::Conflict(format!("{name} does not hold that role there")));
        }
        let admins = state.assignments.iter().filter(|row| row.role == Role::Admin && row.place == Place::System);
        if role == Role::Admin && place == Place::System && admins.count() == 1 {
            return Err(Refusal::Conflict("the last administrator stays".to_owned()));
        }
        Ok((json!({"revoked": role.word(), "user": name}), vec![Change::Unassign(assignment)]))
    }

    pub(super) fn role_list(&self, state: &State) -> Outcome {
        let shown = json!({"roles": roles_json(state, |_| true), "lines": lines_json(state, |_| true)});
        Ok((shown, Vec::new()))
    }

    pub(super) fn role_line(
        &self,
        state: &State,
        name: &str,
        (action, compartment): (Action, Option<Compartment>),
        at: &PlaceName,
        (allow, remove): (bool, bool),
        record: &mut Record,
    ) -> Outcome {
        let (id, _) = user(state, name)?;
        let place = place(state, at)?.ok_or_else(|| invalid("no such place"))?;
        let line = Line { principal: PrincipalId(id), action, compartment, place, allow };
        record.subject = Some(format!("{action} {compartment:?} {name} at {at:?}, allow {allow}, remove {remove}"));
        let held = state.lines.iter().find(|held| Line { allow, ..**held } == line);
        match (held, remove) {
            (None, false) => Ok((json!({"added": true}), vec![Change::Line(line)])),
            (Some(held), true) => Ok((json!({"removed": true}), vec![Change::Unline(*held)])),
            (Some(_), false) => Err(Refusal::Conflict("there is a line for this already; remove it first".to_owned())),
            (None, true) => Err(Refusal::Conflict("there is no such line".to_owned())),
        }
    }

    pub(super) fn token_create(
        &self,
        state: &State,
        by: &Subject,
        (name, called): (&str, Option<&str>),
        scope: &Scope,
        expires_s: Option<u64>,
        record: &mut Record,
    ) -> Outcome {
        let (principal, _) = user(state, name)?;
        let life = expires_s.unwrap_or(self.settings.token_life_max_s);
        if life == 0 || life > self.settings.token_life_max_s {
            let days = self.settings.token_life_max_s / 86_400;
            return Err(Refusal::Invalid(format!("a token lives between 1 s and {days} days (tokens.life_max)")));
        }
        let namespace = |name: &String| {
            state.namespace_names.get(&name.to_ascii_lowercase()).copied().ok_or_else(|| invalid("no such namespace"))
        };
        let repo = |name: &RepoName| {
            let of = |kind| state.repo(kind, name).map(|(id, _)| id);
            let found: Vec<u64> = strongroom_domain::RepoKind::ALL.into_iter().filter_map(of).collect();
            if found.is_empty() { Err(invalid(format!("no repository is called {name}"))) } else { Ok(found) }
        };
        let repos: Vec<Vec<u64>> = scope.repos.iter().map(repo).collect::<Result<_, _>>()?;
        let mut hands = hands(state, by.token);
        hands.remove(&principal);
        let text = token::generate().map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let token = Token {
            principal: PrincipalId(principal),
            hash: token::hash(text.expose()),
            body: TokenBody {
                name: token_name(called.unwrap_or("token"))?,
                namespaces: scope.namespaces.iter().map(namespace).collect::<Result<_, _>>()?,
                repos: repos.concat(),
                actions: scope.actions.clone(),
                compartments: scope.compartments.clone(),
                share: None,
                hands: hands.into_iter().collect(),
            },
            created_ms: record.time_ms,
            expires_ms: record.time_ms + i64::try_from(life * 1000).unwrap_or(i64::MAX / 2),
            last_used_ms: None,
            revoked_ms: None,
        };
        let id = State::next(&state.tokens);
        record.subject = Some(format!("token {id} of {name}"));
        let mut shown = token_json(state, id, &token);
        shown["state"] = "active".into();
        shown["token"] = text.expose().into();
        Ok((shown, vec![Change::Token(id, token)]))
    }

    pub(super) fn token_list(&self, state: &State, name: Option<&str>) -> Outcome {
        let of = name.map(|name| user(state, name)).transpose()?.map(|(id, _)| id);
        let tokens = state.tokens.iter().filter(|(_, token)| of.is_none_or(|of| of == token.principal.0));
        let tokens: Vec<Value> = tokens.map(|(id, token)| token_json(state, *id, token)).collect();
        Ok((json!({"tokens": tokens}), Vec::new()))
    }

    pub(super) fn token_revoke(&self, state: &State, id: u64, record: &mut Record) -> Outcome {
        record.subject = Some(format!("token {id}"));
        let token = state.tokens.get(&id).ok_or_else(|| invalid("no token has that id"))?;
        token.body.share.into_iter().for_each(|share| super::share::about(state, share, record));
        let changes =
            if token.revoked_ms.is_none() { vec![Change::RevokeToken(id, record.time_ms)] } else { Vec::new() };
        Ok((json!({"revoked": id}), changes))
    }
}
