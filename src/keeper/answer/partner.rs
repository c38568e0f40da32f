//! Partner organisations: made, their people named, confirmed by who stands for them, ended.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use strongroom_domain::{Action, check_namespace};
use strongroom_protocol::{PartnerCommand, Refusal};

use super::admin::Outcome;
use super::authorize::may;
use super::people::{invalid, time, user};
use crate::change::Change;
use crate::credential::Subject;
use crate::log::Record;
use crate::partner::Partner;
use crate::policy::{Place, PrincipalId};
use crate::server::{Core, now_ms};
use crate::state::{State, Stop};

/// How long a confirmation holds where nothing is said, in seconds.
const RECERTIFY_S: u64 = 90 * 24 * 3600;

/// An organisation, with its number.
type Found<'a> = (u64, &'a Partner);

/// Whether somebody manages all of them.
fn manages(state: &State, by: &Subject) -> bool {
    may(state, by, Action::PartnerManage, None, None)
}

/// The organisation, for who manages it or stands for it; to anyone else it is one that is not there.
fn seen<'a>(state: &'a State, by: &Subject, name: &str, record: &mut Record) -> Result<Found<'a>, Refusal> {
    record.subject = Some(format!("partner {}", super::cut(name, 96)));
    let found = state.partners.named(name);
    let found = found.filter(|(_, partner)| partner.sponsor == by.principal || manages(state, by));
    found.ok_or_else(|| invalid("no partner organisation that concerns you is called so"))
}

/// One that was not ended.
fn living<'a>(state: &'a State, by: &Subject, name: &str, record: &mut Record) -> Result<Found<'a>, Refusal> {
    let found = seen(state, by, name, record)?;
    match found.1.ended_ms {
        None => Ok(found),
        Some(_) => Err(Refusal::Conflict("this partner organisation was ended: make another".to_owned())),
    }
}

/// Whoever stands for one is inside: nobody's guest.
fn sponsor(state: &State, name: &str) -> Result<PrincipalId, Refusal> {
    let (id, found) = user(state, name)?;
    if state.partners.of(id).is_some() {
        return Err(invalid(format!("{} is a partner's: somebody inside stands for a partner", found.name)));
    }
    Ok(PrincipalId(id))
}

fn shown((id, partner): Found<'_>, state: &State) -> Value {
    let name = |id: &u64| state.principals.get(id).map(|principal| principal.name.clone());
    let members = partner.members.iter().map(|(id, since)| json!({"user": name(id), "since": time(*since)}));
    json!({
        "id": id,
        "name": partner.name,
        "sponsor": name(&partner.sponsor.0),
        "state": partner.over(id, state, now_ms()).unwrap_or("active"),
        "members": members.collect::<Vec<_>>(),
        "recertify_s": partner.every_ms / 1000,
        "created": time(partner.created_ms),
        "confirmed": time(partner.confirmed_ms),
        "due": partner.ended_ms.is_none().then(|| time(partner.due_ms())),
        "ended": partner.ended_ms.map(time),
    })
}

/// The organisation as it will be.
fn becomes(id: u64, partner: Partner, state: &State) -> Outcome {
    let shown = shown((id, &partner), state);
    Ok((shown, vec![Change::Partner(id, Box::new(partner))]))
}

impl Core {
    pub(super) fn partner(
        &self,
        state: &State,
        by: &Subject,
        command: &PartnerCommand,
        record: &mut Record,
    ) -> Outcome {
        // Whoever has the token of a share has it for what is shared.
        if by.share.is_some() {
            return Err(Refusal::NotFound);
        }
        match command {
            PartnerCommand::Create { name, sponsor, recertify_s } => {
                self.partner_create(state, name, sponsor, *recertify_s, record)
            }
            PartnerCommand::List => {
                let all = state.partners.all().iter().map(|(id, partner)| (*id, partner));
                let all = all.filter(|(_, partner)| partner.sponsor == by.principal || manages(state, by));
                Ok((json!({"partners": all.map(|found| shown(found, state)).collect::<Vec<_>>()}), Vec::new()))
            }
            PartnerCommand::Show { name } => {
                let found = seen(state, by, name, record)?;
                let mut told = shown(found, state);
                let held = state.shares.iter().filter(|(_, share)| share.partner() == Some(found.0));
                told["shares"] = held.map(|(id, share)| super::share::shown(state, *id, share)).collect();
                Ok((told, Vec::new()))
            }
            PartnerCommand::Add { name, user: whom } => {
                let (id, partner) = living(state, by, name, record)?;
                let (member, _) = user(state, whom)?;
                record.subject = Some(format!("{whom} to partner {}", partner.name));
                let refused = |why: &str| Err(Refusal::Conflict(format!("{whom} {why}")));
                if let Some((_, other)) = state.partners.of(member) {
                    return refused(&format!("is one of {}'s people already", other.name));
                }
                if state.partners.all().values().any(|other| other.ended_ms.is_none() && other.sponsor.0 == member) {
                    return refused("stands for a partner, and is somebody inside");
                }
                // Else what stops the organisation would stop those who can let it go on.
                if state.roles_of(PrincipalId(member)).any(|held| held.place == Place::System) {
                    return refused("has a role everywhere, and is somebody inside");
                }
                let mut partner = partner.clone();
                partner.members.insert(member, record.time_ms);
                becomes(id, partner, state)
            }
            PartnerCommand::Remove { name, user: whom } => {
                let (id, partner) = seen(state, by, name, record)?;
                record.subject = Some(format!("{whom} from partner {}", partner.name));
                let member = state.principal_names.get(&whom.to_ascii_lowercase()).copied();
                let member = member.filter(|member| partner.members.contains_key(member));
                let member = member.ok_or_else(|| invalid(format!("{whom} is none of its people")))?;
                // Out of an organisation that is over, their own roles hold again: that is for who gives roles.
                if state.stops.contains_key(&Stop::Partner(id)) {
                    return Err(Refusal::Conflict("it is locked, and they with it: strongroom lock remove".to_owned()));
                }
                if partner.over(id, state, record.time_ms).is_some() && !manages(state, by) {
                    return Err(Refusal::Forbidden(format!("this needs the right to {}", Action::PartnerManage)));
                }
                let mut partner = partner.clone();
                partner.members.remove(&member);
                partner.former.insert(member);
                becomes(id, partner, state)
            }
            PartnerCommand::Sponsor { name, user: whom } => {
                let (id, partner) = living(state, by, name, record)?;
                record.subject = Some(format!("{whom} for partner {}", partner.name));
                becomes(id, Partner { sponsor: sponsor(state, whom)?, ..partner.clone() }, state)
            }
            PartnerCommand::Confirm { name } => {
                let (id, partner) = living(state, by, name, record)?;
                if partner.sponsor != by.principal {
                    return Err(Refusal::Forbidden("its sponsor alone confirms it".to_owned()));
                }
                own_hand(state, by)?;
                becomes(id, Partner { confirmed_ms: record.time_ms, lapsed_ms: None, ..partner.clone() }, state)
            }
            PartnerCommand::End { name } => {
                let (id, partner) = living(state, by, name, record)?;
                becomes(id, Partner { ended_ms: Some(record.time_ms), ..partner.clone() }, state)
            }
        }
    }

    fn partner_create(
        &self,
        state: &State,
        name: &str,
        by: &str,
        recertify_s: Option<u64>,
        record: &mut Record,
    ) -> Outcome {
        check_namespace(name).map_err(invalid)?;
        record.subject = Some(format!("partner {name}"));
        // One name is one thing: `share create --to` takes both.
        if state.principal_names.contains_key(&name.to_ascii_lowercase()) || state.partners.named(name).is_some() {
            return Err(Refusal::Conflict("that name is taken, or was, and is never given to another".to_owned()));
        }
        let most = self.settings.recertify_max_s;
        let every_s = recertify_s.unwrap_or(RECERTIFY_S.min(most));
        if !(1..=most).contains(&every_s) {
            let days = most / (24 * 3600);
            return Err(invalid(format!(
                "a partner is confirmed every 1 s to {days} days (partners.max_recertify_days)"
            )));
        }
        let partner = Partner {
            name: name.to_owned(),
            sponsor: sponsor(state, by)?,
            members: BTreeMap::new(),
            former: BTreeSet::new(),
            every_ms: i64::try_from(every_s.saturating_mul(1000)).unwrap_or(i64::MAX),
            created_ms: record.time_ms,
            confirmed_ms: record.time_ms,
            lapsed_ms: None,
            ended_ms: None,
        };
        becomes(State::next(state.partners.all()), partner, state)
    }
}

/// What somebody answers for with their name is said with a token that nobody else has seen, and that is no machine's.
pub(super) fn own_hand(state: &State, by: &Subject) -> Result<(), Refusal> {
    let token = state.tokens.get(&by.token).ok_or(Refusal::Credential)?;
    if !token.body.is_whole() || !token.body.hands.is_empty() {
        let mend = "this needs a token of your own that nobody else has seen: claim one first (strongroom token claim)";
        return Err(Refusal::Forbidden(mend.to_owned()));
    }
    Ok(())
}
