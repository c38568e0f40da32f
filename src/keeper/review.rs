//! Access reviews: who gave what and when, who confirmed it since, when it was last of use, and rounds, after which what nobody
//! confirmed is gone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};
use strongroom_envelope::{open_meta, seal_meta};
use strongroom_protocol::{Given, GivenAt};

use crate::act::{ActChange, Decision};
use crate::change::{Change, ChangeError};
use crate::credential::dead;
use crate::keys::OwnKeys;
use crate::log::Record;
use crate::policy::{Assignment, Line, Place, PrincipalId};
use crate::share::ShareChange;
use crate::state::{LoadError, State, number};

/// Milliseconds of a day: by days it is noted when a right was of use.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Where it came from, and who stands for it since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Who gave it; nobody did where it was there from the start.
    pub by: Option<u64>,
    /// Who agreed, where that needed two.
    pub second: Option<u64>,
    /// When, Unix milliseconds.
    pub given_ms: i64,
    /// Who confirmed it last, and when (Unix milliseconds).
    pub confirmed: Option<(u64, i64)>,
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// What is gone.
    pub lapsed: Vec<Given>,
    /// What nobody confirmed and stays all the same, and why.
    pub kept: Vec<(Given, String)>,
}

/// A round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Who began it.
    pub by: PrincipalId,
    /// Of which place.
    pub place: Place,
    /// Unix milliseconds.
    pub started_ms: i64,
    /// Unix milliseconds: what was not confirmed until then is gone.
    pub deadline_ms: i64,
    /// All that was given there when it began.
    pub given: BTreeSet<Given>,
    /// `None` until then.
    pub ended: Option<Ended>,
}

/// All that is known of reviews.
#[derive(Debug, Default)]
pub struct Reviews {
    /// Of each thing that was given.
    pub notes: BTreeMap<Given, Note>,
    /// By principal and repository (0 for what is in none), the day since 1970 at which something there was last allowed to
    /// them beside shares. Other keepers' are read when they are asked for.
    pub used: BTreeMap<(u64, u64), i64>,
    rounds: BTreeMap<u64, Round>,
    /// When the next round is over, Unix milliseconds.
    next_ms: Option<i64>,
}

impl Reviews {
    /// By number.
    pub fn rounds(&self) -> &BTreeMap<u64, Round> {
        &self.rounds
    }

    /// A round that is over and did not end yet.
    pub fn over(&self, now_ms: i64) -> Option<(u64, &Round)> {
        if self.next_ms.is_none_or(|next| now_ms < next) {
            return None;
        }
        let mut rounds = self.rounds.iter().map(|(id, round)| (*id, round));
        rounds.find(|(_, round)| round.ended.is_none() && round.deadline_ms <= now_ms)
    }

    fn set(&mut self, id: u64, round: Round) {
        self.rounds.insert(id, round);
        let open = self.rounds.values().filter(|round| round.ended.is_none());
        self.next_ms = open.map(|round| round.deadline_ms).min();
    }

    /// What is to be noted of an allowed record: who used what, on which day; nothing where that is known.
    pub fn newly_used(&self, record: &Record) -> Option<((u64, u64), i64)> {
        let counts = record.outcome == "allowed" && record.share.is_none();
        let principal = record.principal_id.filter(|_| counts && !matches!(&*record.action, "whoami" | "repo.list"))?;
        let (key, day) = ((principal, record.repo_id.unwrap_or(0)), record.time_ms / DAY_MS);
        self.used.get(&key).is_none_or(|last| *last < day).then_some((key, day))
    }
}

/// A change of what is known of reviews.
#[derive(Serialize, Deserialize)]
pub enum ReviewChange {
    /// Who gave it, or confirmed it.
    Note(Given, Note),
    /// A round, as it is from now on.
    Round(u64, Box<Round>),
}

impl ReviewChange {
    /// Writes it.
    ///
    /// # Errors
    /// [`ChangeError`]; the transaction is then given up.
    pub async fn write(&self, tx: &mut AnyConnection, keys: &OwnKeys) -> Result<(), ChangeError> {
        match self {
            Self::Note(given, note) => {
                let (by, at) = note.confirmed.unzip();
                sqlx::query(
                    "INSERT INTO given (name, by_id, second_id, given_ms, confirmed_by, confirmed_ms) \
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO UPDATE SET by_id = excluded.by_id, \
                     second_id = excluded.second_id, given_ms = excluded.given_ms, \
                     confirmed_by = excluded.confirmed_by, confirmed_ms = excluded.confirmed_ms",
                )
                .bind(given.to_string())
                .bind(note.by.map(|id| id as i64))
                .bind(note.second.map(|id| id as i64))
                .bind(note.given_ms)
                .bind(by.map(|id| id as i64))
                .bind(at)
                .execute(tx)
                .await?;
            }
            Self::Round(id, round) => {
                // Postcard into a growing vector fails for no value of these types.
                let body = postcard::to_stdvec(round).expect("plain values");
                let sealed = seal_meta(&keys.seal, &[b"review", &id.to_be_bytes()], &body);
                sqlx::query(
                    "INSERT INTO review (id, body_sealed) VALUES ($1, $2) \
                     ON CONFLICT (id) DO UPDATE SET body_sealed = excluded.body_sealed",
                )
                .bind(*id as i64)
                .bind(sealed.map_err(|_| ChangeError::Seal)?)
                .execute(tx)
                .await?;
            }
        }
        Ok(())
    }

    /// Applies it in memory, after it is durable.
    pub fn apply(self, state: &mut State) {
        match self {
            Self::Note(given, note) => drop(state.reviews.notes.insert(given, note)),
            Self::Round(id, round) => state.reviews.set(id, *round),
        }
    }
}

/// Writes when rights were of use.
///
/// # Errors
/// Whatever the database says.
pub async fn note_use(tx: &mut AnyConnection, (principal, repo): (u64, u64), day: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO used (principal, repo, day) VALUES ($1, $2, $3) ON CONFLICT (principal, repo) \
         DO UPDATE SET day = excluded.day WHERE used.day < excluded.day",
    )
    .bind(principal as i64)
    .bind(repo as i64)
    .bind(day)
    .execute(tx)
    .await?;
    Ok(())
}

/// Reads when rights were of use.
///
/// # Errors
/// [`LoadError`].
pub async fn uses<'a>(
    executor: impl sqlx::Executor<'a, Database = sqlx::Any>,
) -> Result<BTreeMap<(u64, u64), i64>, LoadError> {
    let rows = sqlx::query("SELECT principal, repo, day FROM used").fetch_all(executor).await?;
    rows.iter().map(|row| Ok(((number(row, "principal")?, number(row, "repo")?), row.try_get("day")?))).collect()
}

/// Reads all of it.
///
/// # Errors
/// [`LoadError`].
pub async fn load(tx: &mut AnyConnection, keys: &OwnKeys) -> Result<Reviews, LoadError> {
    let mut reviews = Reviews { used: uses(&mut *tx).await?, ..Reviews::default() };
    for row in sqlx::query("SELECT * FROM given").fetch_all(&mut *tx).await? {
        let given: Given = row.try_get::<String, _>("name")?.parse().map_err(|_| LoadError::Value("given right"))?;
        let id = |column| row.try_get::<Option<i64>, _>(column).map(|id| id.map(|id| id as u64));
        let at: Option<i64> = row.try_get("confirmed_ms")?;
        let confirmed = id("confirmed_by")?.zip(at);
        let note = Note { by: id("by_id")?, second: id("second_id")?, given_ms: row.try_get("given_ms")?, confirmed };
        reviews.notes.insert(given, note);
    }
    for row in sqlx::query("SELECT id, body_sealed FROM review").fetch_all(tx).await? {
        let id = number(&row, "id")?;
        let sealed: Vec<u8> = row.try_get("body_sealed")?;
        let body = open_meta(&keys.seal, &[b"review", &id.to_be_bytes()], &sealed)?;
        reviews.set(id, postcard::from_bytes(&body).map_err(|_| LoadError::Value("review"))?);
    }
    Ok(reviews)
}

fn at(place: Place) -> GivenAt {
    match place {
        Place::System => GivenAt::System,
        Place::Namespace(id) => GivenAt::Namespace(id),
        Place::Repo(id) => GivenAt::Repo(id),
    }
}

fn place(at: GivenAt) -> Place {
    match at {
        GivenAt::System => Place::System,
        GivenAt::Namespace(id) => Place::Namespace(id),
        GivenAt::Repo(id) => Place::Repo(id),
    }
}

fn role(held: &Assignment) -> Given {
    Given::Role(held.principal.0, held.role, at(held.place))
}

fn line(line: &Line) -> Given {
    Given::Line(line.principal.0, line.action, line.compartment, at(line.place))
}

/// All that is given now.
pub fn all(state: &State, now_ms: i64) -> BTreeSet<Given> {
    let roles = state.assignments.iter().map(role);
    let lines = state.lines.iter().filter(|line| line.allow).map(line);
    // What is over by itself and can't come back is not asked about.
    let lives = |share: &crate::share::Share| share.revoked_ms.is_none() && now_ms < share.last_ms;
    let shares = state.shares.iter().filter(|(_, share)| lives(share)).map(|(id, _)| Given::Share(*id));
    let holds = |token: &crate::state::Token| token.revoked_ms.is_none() && now_ms < token.expires_ms;
    let tokens = state.tokens.iter().filter(|(_, token)| token.body.share.is_none() && holds(token));
    roles.chain(lines).chain(shares).chain(tokens.map(|(id, _)| Given::Token(*id))).collect()
}

/// Where it was given: a place by which it is decided who may decide on it.
pub fn place_of(state: &State, given: Given) -> Place {
    match given {
        Given::Role(_, _, there) | Given::Line(_, _, _, there) => place(there),
        Given::Share(id) => state.shares.get(&id).map_or(Place::System, |share| Place::Repo(share.repo)),
        Given::Token(_) => Place::System,
    }
}

/// Who has it.
pub fn holders(state: &State, given: Given) -> Vec<u64> {
    match given {
        Given::Role(whose, ..) | Given::Line(whose, ..) => vec![whose],
        Given::Share(id) => {
            let share = state.shares.get(&id);
            share.map(|share| share.people(state).into_iter().map(|one| one.0).collect()).unwrap_or_default()
        }
        Given::Token(id) => state.tokens.get(&id).map(|token| token.principal.0).into_iter().collect(),
    }
}

/// What takes it.
pub fn taking(given: Given, at_ms: i64) -> Change {
    match given {
        Given::Role(whose, role, there) => {
            Change::Unassign(Assignment { principal: PrincipalId(whose), role, place: place(there) })
        }
        Given::Line(whom, action, compartment, there) => {
            Change::Unline(Line { principal: PrincipalId(whom), action, compartment, place: place(there), allow: true })
        }
        Given::Share(id) => Change::Share(ShareChange::Revoked(id, at_ms)),
        Given::Token(id) => Change::RevokeToken(id, at_ms),
    }
}

/// Who gave what the changes give, as changes beside them.
pub fn notes(state: &State, changes: &[Change], record: &Record) -> Vec<Change> {
    let approved = changes.iter().find_map(|change| match change {
        Change::Act(ActChange::Decided(id, Decision::Approved, _)) => state.acts.get(id).map(|act| act.principal.0),
        _ => None,
    });
    let (by, second) = match approved {
        Some(asker) => (Some(asker), record.principal_id),
        None => (record.principal_id, None),
    };
    let note = Note { by, second, given_ms: record.time_ms, confirmed: None };
    let noted = |given: &Given| {
        changes.iter().any(|change| matches!(change, Change::Review(ReviewChange::Note(other, _)) if other == given))
    };
    let given = changes.iter().filter_map(|change| match change {
        Change::Assign(held) => Some(role(held)),
        Change::Line(new) if new.allow => Some(line(new)),
        Change::Share(ShareChange::Made(id, _)) => Some(Given::Share(*id)),
        Change::Token(id, token) if token.body.share.is_none() => Some(Given::Token(*id)),
        _ => None,
    });
    let given = given.filter(|given| !noted(given));
    given.map(|given| Change::Review(ReviewChange::Note(given, note))).collect()
}

/// What goes on about a thing that takes the place of another: it is given as that one was, by whom and when, and confirmed as that one
/// was. Nobody steps out of a round by having another of what they have.
pub fn succeed(state: &State, (old, new): (Given, Given)) -> Vec<Change> {
    let note = state.reviews.notes.get(&old).copied().unwrap_or_default();
    let rounds = state.reviews.rounds().iter().filter(|(_, round)| round.ended.is_none() && round.given.contains(&old));
    let rounds = rounds.map(|(id, round)| {
        let mut round = round.clone();
        round.given.insert(new);
        Change::Review(ReviewChange::Round(*id, Box::new(round)))
    });
    rounds.chain([Change::Review(ReviewChange::Note(new, note))]).collect()
}

/// Whether somebody said since the round began that it stays, or gave it anew.
pub fn is_confirmed(state: &State, round: &Round, given: Given) -> bool {
    let note = state.reviews.notes.get(&given);
    note.is_some_and(|note| {
        note.given_ms > round.started_ms || note.confirmed.is_some_and(|(_, at)| at >= round.started_ms)
    })
}

/// How a round ends now: what is gone, and what stays although nobody confirmed it.
///
/// A round takes the right to give roles from nobody where that would leave one who has it, or none: whoever began it could
/// else be alone afterwards. Nor the last owner from a namespace, nor the last token from all who give roles.
pub fn end(state: &State, round: &Round, now_ms: i64) -> Ended {
    let there = all(state, now_ms);
    let open = |given: &&Given| there.contains(*given) && !is_confirmed(state, round, **given);
    let lapsing: BTreeSet<Given> = round.given.iter().filter(open).copied().collect();
    let mut kept: BTreeMap<Given, &'static str> = BTreeMap::new();
    let gives_roles = |given: &Given| {
        matches!(given, Given::Role(_, strongroom_domain::Role::Admin, GivenAt::System))
            || matches!(given, Given::Line(_, strongroom_domain::Action::RoleManage, _, GivenAt::System))
    };
    let whose = |given: &Given| holders(state, *given);
    let lives = |id: &u64| state.principals.get(id).is_some_and(|one| one.removed_ms.is_none());
    let before: BTreeSet<u64> = there.iter().filter(|given| gives_roles(given)).flat_map(whose).filter(lives).collect();
    let after: BTreeSet<u64> = there.difference(&lapsing).filter(|given| gives_roles(given)).flat_map(whose).collect();
    let after = after.into_iter().filter(lives).count();
    if after < before.len().min(2) {
        let why = "else fewer than two, or nobody, would give roles";
        kept.extend(lapsing.iter().filter(|given| gives_roles(given)).map(|given| (*given, why)));
    }
    // Whoever can still give roles needs a token to do so.
    let theirs = |given: &&Given| matches!(given, Given::Token(_)) && whose(given).iter().any(|id| before.contains(id));
    let usable = |given: &Given| match given {
        Given::Token(id) => {
            state.tokens.get(id).is_some_and(|token| token.body.is_whole() && dead(state, *id, token, now_ms).is_none())
        }
        _ => false,
    };
    if !there.difference(&lapsing).filter(theirs).any(usable) {
        let why = "else nobody who gives roles would have a token";
        kept.extend(lapsing.iter().filter(theirs).map(|given| (*given, why)));
    }
    let owns = |given: &Given| match given {
        Given::Role(_, strongroom_domain::Role::Owner, GivenAt::Namespace(id)) => Some(*id),
        _ => None,
    };
    let owned: BTreeSet<u64> = there.difference(&lapsing).filter_map(owns).collect();
    let alone = lapsing.iter().filter(|given| owns(given).is_some_and(|namespace| !owned.contains(&namespace)));
    kept.extend(alone.map(|given| (*given, "else the namespace would have no owner")));
    Ended {
        at_ms: now_ms,
        lapsed: lapsing.iter().filter(|given| !kept.contains_key(given)).copied().collect(),
        kept: kept.into_iter().map(|(given, why)| (given, why.to_owned())).collect(),
    }
}
