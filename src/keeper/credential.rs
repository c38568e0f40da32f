//! Who a credential is, and what its token narrows.

use strongroom_domain::{Action, Compartment};
use strongroom_protocol::{Credential, Purpose, Refusal};

use crate::decoy;
use crate::keys::OwnKeys;
use crate::log::Record;
use crate::policy::PrincipalId;
use crate::state::{State, Stop, Token};
use crate::ticket::Ticket;
use crate::token;

/// Someone whose credential holds.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Who.
    pub principal: PrincipalId,
    /// With which token.
    pub token: u64,
    /// Of which share the token is, if of any.
    pub share: Option<u64>,
    /// Where a ticket was shown: its repository and what it is for.
    pub ticket: Option<(u64, Purpose)>,
}

/// Authenticates. The reason of a refusal goes to the record; the client learns only that the credential is not valid.
///
/// # Errors
/// [`Refusal::Anonymous`] for no credential, [`Refusal::Credential`] for one that does not hold.
pub fn authenticate(
    state: &State,
    keys: &OwnKeys,
    credential: Option<&Credential>,
    now_ms: i64,
    record: &mut Record,
) -> Result<Subject, Refusal> {
    decoy::note_token(state, credential, record);
    let mut refuse = |reason: &str| {
        record.reason = reason.to_owned();
        Refusal::Credential
    };
    let (id, ticket) = match credential {
        None => {
            record.reason = "no credential".to_owned();
            return Err(Refusal::Anonymous);
        }
        Some(Credential::Token(text)) => {
            if !token::is_well_formed(text.expose()) {
                return Err(refuse("not a token of this server, or mistyped"));
            }
            let id = state.token_hashes.get(&token::hash(text.expose()));
            (*id.ok_or_else(|| refuse("unknown token"))?, None)
        }
        Some(Credential::Ticket(text)) => {
            let ticket = Ticket::open(text.expose(), &keys.ticket, now_ms / 1000);
            let ticket = ticket.ok_or_else(|| refuse("ticket is over or not of this server"))?;
            (ticket.token, Some((ticket.repo, ticket.purpose)))
        }
    };
    let token = state.tokens.get(&id).ok_or_else(|| refuse("unknown token"))?;
    record.token = Some(id);
    record.principal_id = Some(token.principal.0);
    record.principal = state.principals.get(&token.principal.0).map(|principal| principal.name.clone());
    record.share = token.body.share;
    let share = token.body.share.and_then(|id| state.shares.get(&id));
    let elsewhere = share.is_some_and(|share| !share.is_from(record.address.parse().ok()));
    let reason = dead(state, id, token, now_ms).or_else(|| elsewhere.then_some("share: from another address"));
    match reason {
        Some(reason) => {
            record.reason = reason.to_owned();
            Err(Refusal::Credential)
        }
        None => {
            record.known = true;
            Ok(Subject { principal: token.principal, token: id, share: token.body.share, ticket })
        }
    }
}

/// Why a token no longer holds; `None` where it does.
pub fn dead(state: &State, id: u64, token: &Token, now_ms: i64) -> Option<&'static str> {
    if token.revoked_ms.is_some() {
        return Some("token revoked");
    }
    if token.expires_ms <= now_ms {
        return Some("token expired");
    }
    if state.stops.contains_key(&Stop::Token(id)) {
        return Some("token locked");
    }
    if let Some(reason) = stopped(state, token.principal, now_ms) {
        return Some(reason);
    }
    let id = token.body.share?;
    let Some(share) = state.shares.get(&id) else { return Some("share unknown") };
    if !share.is_with(token.principal, state) {
        return Some("no longer of the share's partner organisation");
    }
    share.over(id, state, now_ms)
}

/// Why a principal reaches nothing, with whichever token.
pub fn stopped(state: &State, principal: PrincipalId, now_ms: i64) -> Option<&'static str> {
    if state.stops.contains_key(&Stop::Principal(principal.0)) {
        return Some("principal locked");
    }
    match state.principals.get(&principal.0) {
        // Whoever is here through an organisation is here as long as that holds.
        Some(found) if found.removed_ms.is_none() => state.partners.stops(principal, state, now_ms),
        _ => Some("principal removed"),
    }
}

/// Whether the token's scope lets this through, where policy would.
pub fn in_scope(
    token: &Token,
    action: Action,
    compartment: Option<Compartment>,
    namespace: Option<u64>,
    repo: Option<u64>,
) -> bool {
    let body = &token.body;
    // `whoami` says who holds the token and no more: every scope has it.
    if action == Action::Whoami {
        return true;
    }
    let action = body.actions.is_empty() || body.actions.contains(&action);
    let compartment =
        body.compartments.is_empty() || compartment.is_none_or(|compartment| body.compartments.contains(&compartment));
    let everywhere = body.namespaces.is_empty() && body.repos.is_empty();
    let named = repo.is_some_and(|repo| body.repos.contains(&repo))
        || namespace.is_some_and(|namespace| body.namespaces.contains(&namespace));
    action && compartment && (everywhere || named)
}
