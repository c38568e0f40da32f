//! A token that nobody else has seen: whoever got one from an administrator exchanges it, once, and the administrator who
//! does it instead is found out, for then the other cannot.

use serde_json::json;
use strongroom_protocol::{Given, Refusal};

use super::admin::Outcome;
use super::people::{invalid, time, token_json, token_name, user};
use crate::change::Change;
use crate::credential::Subject;
use crate::log::Record;
use crate::review::succeed;
use crate::server::Core;
use crate::state::{State, Token, TokenBody};
use crate::token;

impl Core {
    pub(super) fn token_claim(
        &self,
        state: &State,
        subject: &Subject,
        called: Option<&str>,
        record: &mut Record,
    ) -> Outcome {
        let old = state.tokens.get(&subject.token).ok_or(Refusal::Credential)?;
        let principal = state.principals.get(&subject.principal.0).ok_or(Refusal::Credential)?;
        if subject.share.is_some() {
            return Err(invalid("the token of a share is not exchanged: whoever shared makes another"));
        }
        if !old.body.is_whole() {
            return Err(invalid(
                "a token that is narrowed to something does not claim its principal: use one that is not",
            ));
        }
        if let (Some(at), false) = (principal.claimed_ms, old.body.hands.is_empty()) {
            let at = time(at);
            return Err(Refusal::Conflict(format!(
                "{} was claimed on {at} already. If that was not you, somebody has a token in your name: tell security, \
                 and have it claimed anew (strongroom user unclaim)",
                principal.name
            )));
        }
        let text = token::generate().map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let most = i64::try_from(self.settings.token_life_max_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        let token = Token {
            principal: old.principal,
            hash: token::hash(text.expose()),
            body: TokenBody { name: token_name(called.unwrap_or(&old.body.name))?, ..TokenBody::default() },
            created_ms: record.time_ms,
            expires_ms: record.time_ms.saturating_add(old.expires_ms.saturating_sub(old.created_ms).min(most)),
            last_used_ms: None,
            revoked_ms: None,
        };
        let id = State::next(&state.tokens);
        record.subject = Some(format!("token {} for token {id} of {}", subject.token, principal.name));
        let mut shown = token_json(state, id, &token);
        (shown["state"], shown["token"]) = ("active".into(), text.expose().into());
        let mut changes = vec![Change::Token(id, token), Change::RevokeToken(subject.token, record.time_ms)];
        changes.extend(succeed(state, (Given::Token(subject.token), Given::Token(id))));
        if principal.claimed_ms.is_none() {
            changes.push(Change::Claim(subject.principal.0, Some(record.time_ms)));
        }
        Ok((shown, changes))
    }

    pub(super) fn user_unclaim(&self, state: &State, name: &str, record: &mut Record) -> Outcome {
        record.subject = Some(super::cut(name, 96));
        let (id, principal) = user(state, name)?;
        let change = principal.claimed_ms.is_some().then_some(Change::Claim(id, None));
        Ok((json!({"unclaimed": name}), change.into_iter().collect()))
    }
}
