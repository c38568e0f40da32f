//! Shares: made, shown, prolonged, ended; their terms, and the first use that starts their clock.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::Row;
use strongroom_domain::limits::{NETWORKS_MAX, TERMS_BYTES_MAX};
use strongroom_domain::{Action, Sha256};
use strongroom_protocol::{Credential, Refusal, ShareCommand, ShareSpec};

use super::admin::Outcome;
use super::authorize::{compartments, may};
use super::people::{time, user};
use crate::change::Change;
use crate::credential::Subject;
use crate::log::Record;
use crate::policy::PrincipalId;
use crate::server::{Core, now_ms};
use crate::share::{Share, ShareBody, ShareChange, With};
use crate::state::{State, Token, TokenBody};
use crate::token;

const DAY_S: u64 = 24 * 60 * 60;

fn invalid(what: impl ToString) -> Refusal {
    Refusal::Invalid(what.to_string())
}

fn sha256(text: &str) -> Sha256 {
    Sha256::from_bytes(token::hash(text))
}

/// Seconds as milliseconds.
fn ms(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}

/// Whoever has the token of a share learns nothing through it before its terms are accepted.
pub(super) fn accepted(state: &State, subject: &Subject) -> Result<(), Refusal> {
    let Some(share) = subject.share else { return Ok(()) };
    match state.shares.get(&share) {
        Some(share) if share.is_accepted(subject.principal) => Ok(()),
        _ => {
            let mend = "the terms of this share are to be accepted first: strongroom share accept";
            Err(Refusal::Forbidden(mend.to_owned()))
        }
    }
}

/// The share, for who manages those of its repository; to anyone else it is one that is not there.
fn managed<'a>(state: &'a State, subject: &Subject, id: u64, record: &mut Record) -> Result<&'a Share, Refusal> {
    let share = state.shares.get(&id).filter(|share| manages(state, subject, share)).ok_or(Refusal::NotFound)?;
    about_share(state, id, share, record);
    Ok(share)
}

fn manages(state: &State, subject: &Subject, share: &Share) -> bool {
    let namespace = state.repos.get(&share.repo).map(|repo| repo.namespace);
    may(state, subject, Action::ShareManage, namespace, Some(share.repo))
}

/// Whoever gives a share out, or out for longer, reads all of it themselves.
fn reads(state: &State, subject: &Subject, share: &Share) -> Result<(), Refusal> {
    let namespace = state.repos.get(&share.repo).map(|repo| repo.namespace);
    let own = compartments(state, subject, Action::RepoRead, namespace, Some(share.repo));
    match share.body.compartments.iter().find(|part| !own.contains(part)) {
        None => Ok(()),
        Some(part) => Err(Refusal::Forbidden(format!("only what one reads oneself can be shared: not {part}"))),
    }
}

/// Says which share a record is about.
pub(super) fn about(state: &State, id: u64, record: &mut Record) {
    state.shares.get(&id).into_iter().for_each(|share| about_share(state, id, share, record));
}

fn about_share(state: &State, id: u64, share: &Share, record: &mut Record) {
    let repo = state.repos.get(&share.repo);
    (record.share, record.repo_id) = (Some(id), Some(share.repo));
    record.repo = repo.map(|repo| repo.name.to_string());
    record.kind = repo.map(|repo| repo.kind.to_string());
}

pub(super) fn shown(state: &State, id: u64, share: &Share) -> Value {
    let name = |id: PrincipalId| state.principals.get(&id.0).map(|principal| principal.name.clone());
    let (body, repo) = (&share.body, state.repos.get(&share.repo));
    let word = match share.over(id, state, now_ms()) {
        Some(reason) => reason,
        None if repo.is_none_or(|repo| repo.deleted_ms.is_some()) => "repository deleted",
        None if !share.people(state).iter().any(|one| share.is_accepted(*one)) => "terms not accepted",
        None if share.begun_ms.is_none() => "not used yet",
        None => "active",
    };
    let accepted: Value = match share.with {
        With::Principal(one) => share.accepted.get(&one.0).map(|at| time(*at)).into(),
        // Each for themselves.
        With::Partner(_) => {
            let each = share.accepted.iter().map(|(one, at)| json!({"user": name(PrincipalId(*one)), "at": time(*at)}));
            each.collect()
        }
    };
    json!({
        "id": id,
        "repo": repo.map(|repo| repo.name.to_string()),
        "kind": repo.map(|repo| repo.kind.to_string()),
        "revision": body.revision.to_string(),
        "commit": (!body.follow).then(|| body.commit.to_string()),
        "follow": body.follow,
        "to": share.with_name(state),
        "partner": share.partner().is_some(),
        "by": name(body.maker),
        "state": word,
        "compartments": body.compartments.iter().map(|part| part.word()).collect::<Vec<_>>(),
        "paths": body.paths.texts().collect::<Vec<_>>(),
        "created": time(share.created_ms),
        "begun": share.begun_ms.map(time),
        "ends": time(share.ends_ms()),
        "seconds": share.life_ms / 1000,
        "never_after": time(share.last_ms),
        "max_bytes": body.max_bytes,
        "max_downloads": body.max_downloads,
        "from": body.from.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "terms": body.terms.as_deref().map(|terms| sha256(terms).to_string()),
        "accepted": accepted,
        "sealed_to": body.recipient,
    })
}

impl Core {
    pub(super) fn share(
        &self,
        state: &State,
        subject: &Subject,
        command: &ShareCommand,
        record: &mut Record,
    ) -> Outcome {
        match command {
            ShareCommand::Create(spec) => self.share_create(state, subject, spec, record),
            ShareCommand::List => {
                let held = state.shares.iter().filter(|(_, share)| manages(state, subject, share));
                let held: Vec<Value> = held.map(|(id, share)| shown(state, *id, share)).collect();
                Ok((json!({"shares": held}), Vec::new()))
            }
            ShareCommand::Show { id } => Ok((shown(state, *id, managed(state, subject, *id, record)?), Vec::new())),
            ShareCommand::Extend { id, life_s } => extend(state, subject, *id, *life_s, record),
            ShareCommand::Revoke { id } => {
                let share = managed(state, subject, *id, record)?;
                let change = share.revoked_ms.is_none().then_some(ShareChange::Revoked(*id, record.time_ms));
                Ok((json!({"revoked": id}), change.map(Change::Share).into_iter().collect()))
            }
            ShareCommand::Token { id, user: whom } => {
                let share = managed(state, subject, *id, record)?;
                reads(state, subject, share)?;
                let holder = holder(state, share, whom.as_deref())?;
                record.subject = share.partner().map(|_| format!("share {id} for {}", whom.as_deref().unwrap_or("?")));
                if let Some(reason) = share.over(*id, state, record.time_ms) {
                    return Err(Refusal::Conflict(format!("no token is made for it: {reason}")));
                }
                let (token, change) = self.share_token(state, *id, (share, holder), record.time_ms)?;
                Ok((token, vec![change]))
            }
            ShareCommand::Record { id, .. } => self.share_record_begin(state, subject, *id, record),
            ShareCommand::Terms => {
                let (_, share) = own(state, subject)?;
                let terms = share.body.terms.as_deref();
                let digest = terms.map(|terms| sha256(terms).to_string());
                record.digest = digest.clone();
                let accepted = share.accepted.get(&subject.principal.0).map(|at| time(*at));
                let shown = json!({"terms": terms, "sha256": digest, "accepted": accepted});
                Ok((shown, Vec::new()))
            }
            ShareCommand::Accept { sha256: read } => {
                let (id, share) = own(state, subject)?;
                record.digest = Some(read.to_string());
                match &share.body.terms {
                    None => return Err(invalid("this share has no terms")),
                    Some(terms) if sha256(terms) != *read => {
                        return Err(Refusal::Conflict("these are not the terms of this share: read them".to_owned()));
                    }
                    Some(_) => {}
                }
                let by = subject.principal;
                let first = !share.accepted.contains_key(&by.0);
                let change = first.then_some(ShareChange::Accepted(id, by, record.time_ms));
                Ok((json!({"accepted": read.to_string()}), change.map(Change::Share).into_iter().collect()))
            }
        }
    }

    fn share_create(&self, state: &State, subject: &Subject, spec: &ShareSpec, record: &mut Record) -> Outcome {
        let (id, share) = self.share_make(state, subject, spec, record)?;
        let mut shown = shown(state, id, &share);
        let mut changes = vec![Change::Share(ShareChange::Made(id, Box::new(share.clone())))];
        // Of a partner organisation, each gets a token of their own.
        if let Some(principal) = share.principal() {
            let (token, change) = self.share_token(state, id, (&share, principal), record.time_ms)?;
            (shown["token"], shown["token_id"]) = (token["token"].clone(), token["token_id"].clone());
            changes.push(change);
        }
        Ok((shown, changes))
    }

    /// A share as it will be, and its number.
    pub(super) fn share_make(
        &self,
        state: &State,
        subject: &Subject,
        spec: &ShareSpec,
        record: &mut Record,
    ) -> Result<(u64, Share), Refusal> {
        // A token of a share makes none: policy knows no line for it.
        let allowed = self.judge_repo(state, subject.clone(), Action::ShareManage, spec.kind, &spec.repo, record)?;
        let repo = allowed.repo.ok_or(Refusal::NotFound)?;
        let mut compartments = spec.compartments.clone();
        compartments.sort();
        compartments.dedup();
        if compartments.is_empty() {
            return Err(invalid("name the compartments that are shared"));
        }
        if let Some(part) = compartments.iter().find(|part| !allowed.compartments.contains(part)) {
            return Err(Refusal::Forbidden(format!("only what one reads oneself can be shared: not {part}")));
        }
        let (with, recipient) = with(state, &spec.to, record.time_ms)?;
        self.check_life(spec.life_s)?;
        if spec.max_bytes == Some(0) || spec.max_downloads == Some(0) || spec.from.len() > NETWORKS_MAX {
            return Err(invalid(format!("a limit is 1 or more, and networks are at most {NETWORKS_MAX}")));
        }
        if spec.terms.as_ref().is_some_and(|terms| terms.trim().is_empty() || terms.len() > TERMS_BYTES_MAX) {
            return Err(invalid(format!("terms are a text of at most {TERMS_BYTES_MAX} bytes")));
        }
        if spec.sealed && recipient.is_none() {
            let mend = "an administrator registers it: strongroom user recipient";
            return Err(invalid(format!("{} has no recipient to encrypt for; {mend}", spec.to)));
        }
        let commit = spec.commit.ok_or_else(|| invalid("no such revision"))?;
        let created_ms = record.time_ms;
        let share = Share {
            with,
            repo,
            body: ShareBody {
                maker: subject.principal,
                commit,
                revision: spec.revision.clone(),
                follow: spec.follow,
                compartments,
                paths: spec.paths.clone(),
                max_bytes: spec.max_bytes,
                max_downloads: spec.max_downloads,
                from: spec.from.clone(),
                terms: spec.terms.clone(),
                recipient: recipient.filter(|_| spec.sealed),
            },
            created_ms,
            life_ms: ms(spec.life_s),
            last_ms: created_ms.saturating_add(ms(self.settings.share_life_max_s)),
            begun_ms: (!spec.from_first_use).then_some(created_ms),
            accepted: BTreeMap::new(),
            revoked_ms: None,
        };
        let id = State::next(&state.shares);
        about_share(state, id, &share, record);
        record.revision = Some(commit.to_string());
        record.compartments = share.body.compartments.iter().map(ToString::to_string).collect();
        record.digest = share.body.terms.as_deref().map(|terms| sha256(terms).to_string());
        record.subject = Some(format!("share {id} with {}", share.with_name(state).unwrap_or_default()));
        Ok((id, share))
    }

    fn check_life(&self, life_s: u64) -> Result<(), Refusal> {
        if (1..=self.settings.share_life_max_s).contains(&life_s) {
            return Ok(());
        }
        let days = self.settings.share_life_max_s / DAY_S;
        Err(invalid(format!("a share lives between 1 s and {days} days (shares.max_life_days)")))
    }

    pub(super) fn share_token(
        &self,
        state: &State,
        id: u64,
        (share, holder): (&Share, PrincipalId),
        now_ms: i64,
    ) -> Result<(Value, Change), Refusal> {
        let text = token::generate().map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let token = Token {
            principal: holder,
            hash: token::hash(text.expose()),
            body: TokenBody { name: format!("share {id}"), share: Some(id), ..TokenBody::default() },
            created_ms: now_ms,
            // The share ends it, and this what the share forgets.
            expires_ms: share.last_ms.min(now_ms.saturating_add(ms(self.settings.token_life_max_s))),
            last_used_ms: None,
            revoked_ms: None,
        };
        let number = State::next(&state.tokens);
        Ok((json!({"token": text.expose(), "token_id": number, "share": id}), Change::Token(number, token)))
    }

    /// Adds what was used of each share that is shown, and how many records are about it.
    pub(super) async fn with_usage(&self, mut shown: Value) -> Result<Value, Refusal> {
        let unavailable = |error: sqlx::Error| Refusal::Unavailable(error.to_string());
        let text = "SELECT share_event.share, events, bytes, downloads FROM share_event \
                    LEFT JOIN share_usage ON share_usage.share = share_event.share";
        let rows = sqlx::query(text).fetch_all(&self.database.reader).await.map_err(unavailable)?;
        let mut used = BTreeMap::new();
        for row in &rows {
            let number = |column| row.try_get::<Option<i64>, _>(column).map_err(unavailable);
            let [share, events, bytes, downloads] = ["share", "events", "bytes", "downloads"].map(number);
            used.insert(share?, [events?, bytes?, downloads?].map(Option::unwrap_or_default));
        }
        let add = |share: &mut Value| {
            let counts = share["id"].as_i64().and_then(|id| used.get(&Some(id))).copied();
            let [events, bytes, downloads] = counts.unwrap_or_default();
            (share["used_bytes"], share["used_downloads"]) = (bytes.into(), downloads.into());
            share["events"] = events.into();
        };
        if shown.get("ends").is_some() {
            add(&mut shown);
        }
        shown.get_mut("shares").and_then(Value::as_array_mut).into_iter().flatten().for_each(add);
        Ok(shown)
    }

    /// Judges and records. Where it is the first use of a share whose clock waits for it, the clock begins in the record's
    /// transaction: once, whichever replica is asked.
    pub(super) async fn used<T>(
        &self,
        action: Action,
        credential: Option<&Credential>,
        judge: impl Fn(&State, &mut Record) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        // Who asks who it is has not begun to read.
        if action == Action::Whoami {
            return self.recorded(judge).await;
        }
        let token = credential.and_then(|credential| match credential {
            Credential::Token(text) => Some(token::hash(text.expose())),
            Credential::Ticket(_) => None, // a share makes none
        });
        if token.is_some_and(|hash| !self.state.read().token_hashes.contains_key(&hash)) {
            // Another keeper may have made it; were that found out only in the transaction, the clock would not begin.
            let _ = self.follow.refresh().await;
        }
        let waits = token.is_some_and(|hash| {
            let state = self.state.read();
            let token = state.token_hashes.get(&hash).and_then(|id| state.tokens.get(id));
            let share = token.and_then(|token| state.shares.get(&token.body.share?));
            share.is_some_and(|share| share.begun_ms.is_none())
        });
        if !waits {
            return self.recorded(judge).await;
        }
        self.changed(|state, record| {
            let value = judge(state, record)?;
            let waiting = |id: &u64| state.shares.get(id).is_some_and(|share| share.begun_ms.is_none());
            let began = record.share.filter(waiting).map(|id| ShareChange::Began(id, record.time_ms));
            Ok((value, began.map(Change::Share).into_iter().collect()))
        })
        .await
    }
}

/// Whom a name means, and for whom what is delivered sealed is encrypted: no organisation has a recipient.
fn with(state: &State, name: &str, now_ms: i64) -> Result<(With, Option<String>), Refusal> {
    match state.partners.named(name) {
        None => user(state, name).map(|(id, found)| (With::Principal(PrincipalId(id)), found.recipient.clone())),
        Some((id, partner)) => match partner.over(id, state, now_ms) {
            None => Ok((With::Partner(id), None)),
            Some(reason) => Err(Refusal::Conflict(format!("nothing is shared with {name}: {reason}"))),
        },
    }
}

/// For whom a token is made.
fn holder(state: &State, share: &Share, whom: Option<&str>) -> Result<PrincipalId, Refusal> {
    let whom = whom.map(|name| user(state, name)).transpose()?.map(|(id, _)| PrincipalId(id));
    match whom.or(share.principal()) {
        None => Err(invalid("a partner organisation's people have a token each: name one (--user)")),
        Some(one) if share.is_with(one, state) => Ok(one),
        Some(_) => Err(invalid("it is not shared with them")),
    }
}

/// The share that the token is of.
fn own<'a>(state: &'a State, subject: &Subject) -> Result<(u64, &'a Share), Refusal> {
    let id = subject.share.ok_or_else(|| invalid("the token is of no share"))?;
    Ok((id, state.shares.get(&id).ok_or(Refusal::NotFound)?))
}

fn extend(state: &State, subject: &Subject, id: u64, life_s: u64, record: &mut Record) -> Outcome {
    let share = managed(state, subject, id, record)?;
    reads(state, subject, share)?;
    if share.revoked_ms.is_some() {
        return Err(Refusal::Conflict("a share that was revoked stays so: make another".to_owned()));
    }
    let end = record.time_ms.saturating_add(ms(life_s));
    if life_s == 0 || end > share.last_ms {
        let last = time(share.last_ms);
        return Err(invalid(format!("this share never lives past {last} (shares.max_life_days): make another")));
    }
    record.subject = Some(format!("share {id} for {life_s} s"));
    let life_ms = share.begun_ms.map_or(ms(life_s), |begun| end - begun);
    let mut prolonged = share.clone();
    prolonged.life_ms = life_ms;
    Ok((shown(state, id, &prolonged), vec![Change::Share(ShareChange::Lives(id, life_ms))]))
}
