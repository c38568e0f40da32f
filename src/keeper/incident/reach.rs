//! What somebody could reach at each generation of policy: the effects of its records replayed, and the one judge asked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use strongroom_domain::Action;
use strongroom_protocol::incident::Subject;

use crate::answer::what::{Whom, everywhere, rights};
use crate::credential::{dead, stopped};
use crate::did::time;
use crate::effect::Effect;
use crate::policy::{Policy, PolicyError, PrincipalId, Roles};
use crate::share::{Share, With};
use crate::state::{State, Stop};

/// Whose reach: a principal's with all tokens and shares, one token's, or one share's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// All of it.
    Principal(u64),
    /// By number, and whose it is.
    Token(u64, u64),
    /// By number, and with whom it is; 0 where that is a partner organisation.
    Share(u64, u64),
}

impl Who {
    /// Those whose reach is asked; of an address, the tokens that were used from there are named later.
    pub fn of(subject: &Subject) -> Vec<Self> {
        match subject {
            Subject::Principal { id, .. } => vec![Self::Principal(*id)],
            Subject::Token { id, principal } => vec![Self::Token(*id, *principal)],
            Subject::Share { id, principal, .. } => vec![Self::Share(*id, *principal)],
            Subject::Partner { people, .. } => people.iter().map(|id| Self::Principal(*id)).collect(),
            Subject::Address { .. } => Vec::new(),
        }
    }

    fn principal(self) -> u64 {
        match self {
            Self::Principal(id) | Self::Token(_, id) | Self::Share(_, id) => id,
        }
    }

    fn show(self, state: &State) -> Value {
        let principal = state.principals.get(&self.principal()).map(|principal| principal.name.clone());
        match self {
            Self::Principal(_) => json!({"principal": principal}),
            Self::Token(id, _) => json!({"principal": principal, "token": id}),
            Self::Share(id, _) => json!({"principal": principal, "share": id}),
        }
    }
}

/// Reach from one change to the next.
struct Watch {
    who: Who,
    /// By the repository's number.
    rights: BTreeMap<u64, Value>,
    system: Vec<&'static str>,
    periods: Vec<Value>,
}

/// Policy as it was, from the first record on, and the reach of some in a time.
pub struct Replay {
    state: State,
    watches: Vec<Watch>,
    since_ms: i64,
    until_ms: i64,
    begun: bool,
    generation: u64,
    first: Option<u64>,
    rules: Option<Effect>,
    /// Repositories that any of them could reach in that time.
    reached: BTreeSet<u64>,
}

impl Replay {
    /// From nothing. `first` is the generation that the time begins with, where that is known already.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn new(whose: &[Who], (since_ms, until_ms): (i64, i64), first: Option<u64>) -> Result<Self, PolicyError> {
        let none = Roles::parse("").map_err(|error| PolicyError::Casbin(error.to_string()))?;
        let watch = |who: &Who| Watch { who: *who, rights: BTreeMap::new(), system: Vec::new(), periods: Vec::new() };
        Ok(Self {
            state: State::new(0, Policy::new("", &none, [], [])?),
            watches: whose.iter().map(watch).collect(),
            since_ms,
            until_ms,
            begun: false,
            generation: 0,
            first,
            rules: None,
            reached: BTreeSet::new(),
        })
    }

    /// Takes what one record changed, which is in force from `generation` on.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn step(&mut self, generation: u64, at_ms: i64, effects: &[Effect]) -> Result<(), PolicyError> {
        if at_ms >= self.until_ms {
            return Ok(());
        }
        if at_ms > self.since_ms {
            self.begin();
        }
        for effect in effects {
            if matches!(effect, Effect::Rules { .. }) {
                if self.rules.as_ref() == Some(effect) {
                    continue;
                }
                self.rules = Some(effect.clone());
            }
            effect.apply(at_ms, &mut self.state)?;
        }
        self.generation = self.generation.max(generation);
        if self.begun {
            for at in 0..self.watches.len() {
                self.update(at, generation, at_ms, effects);
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let (generation, since_ms) = (*self.first.get_or_insert(self.generation), self.since_ms);
        for at in 0..self.watches.len() {
            self.look(at, since_ms);
            self.tell(at, generation, since_ms);
        }
    }

    fn update(&mut self, at: usize, generation: u64, at_ms: i64, effects: &[Effect]) {
        let (rights, system) = (self.watches[at].rights.clone(), self.watches[at].system.clone());
        if effects.iter().any(|effect| self.concerns(self.watches[at].who, effect)) {
            self.look(at, at_ms);
        } else {
            for repo in effects.iter().filter_map(repo_of) {
                self.look_at(at, repo, at_ms);
            }
        }
        if (&rights, &system) != (&self.watches[at].rights, &self.watches[at].system) {
            self.tell(at, generation, at_ms);
        }
    }

    /// Everything anew.
    fn look(&mut self, at: usize, at_ms: i64) {
        let repos: Vec<u64> = self.state.repos.keys().copied().collect();
        self.watches[at].rights.clear();
        repos.into_iter().for_each(|repo| self.look_at(at, repo, at_ms));
        let who = self.watches[at].who;
        self.watches[at].system = match who {
            _ if self.is_stopped(who, at_ms) => Vec::new(),
            Who::Principal(principal) => everywhere(&self.state, &Whom { principal, token: None }),
            Who::Token(token, principal) => everywhere(&self.state, &Whom { principal, token: Some(token) }),
            Who::Share(..) => vec![Action::Whoami.word()],
        };
    }

    /// One repository anew.
    fn look_at(&mut self, at: usize, repo: u64, at_ms: i64) {
        match self.rights(self.watches[at].who, repo, at_ms) {
            Some(rights) => {
                self.reached.insert(repo);
                self.watches[at].rights.insert(repo, rights);
            }
            None => drop(self.watches[at].rights.remove(&repo)),
        }
    }

    fn is_stopped(&self, who: Who, at_ms: i64) -> bool {
        let state = &self.state;
        let principal = who.principal();
        let gone = principal != 0 && stopped(state, PrincipalId(principal), at_ms).is_some();
        let ended = match who {
            Who::Token(id, _) => state.tokens.get(&id).is_none_or(|token| dead(state, id, token, at_ms).is_some()),
            Who::Share(id, _) => state.shares.get(&id).is_none_or(|share| share.over(id, state, at_ms).is_some()),
            Who::Principal(_) => false,
        };
        gone || ended
    }

    fn rights(&self, who: Who, id: u64, at_ms: i64) -> Option<Value> {
        let state = &self.state;
        let repo = state.repos.get(&id).filter(|repo| repo.deleted_ms.is_none())?;
        if self.is_stopped(who, at_ms) || state.stops.contains_key(&Stop::Repo(id)) {
            return None;
        }
        let principal = who.principal();
        let (rights, share) = match who {
            Who::Principal(_) => (rights(state, &Whom { principal, token: None }, id, repo), None),
            Who::Token(token, _) => {
                let share = state.tokens.get(&token).and_then(|token| token.body.share);
                (rights(state, &Whom { principal, token: Some(token) }, id, repo), share)
            }
            Who::Share(share, _) => (Vec::new(), Some(share)),
        };
        let of = |number: u64, share: &Share| {
            let asked = match who {
                Who::Principal(_) => share.is_with(PrincipalId(principal), state),
                _ => false,
            };
            asked && share.over(number, state, at_ms).is_none()
        };
        let shares: Vec<Value> = state
            .shares
            .iter()
            .filter(|entry| entry.1.repo == id && (share == Some(*entry.0) || of(*entry.0, entry.1)))
            .filter_map(|(number, share)| self.shown(*number, share, PrincipalId(principal)))
            .collect();
        if rights.is_empty() && shares.is_empty() {
            return None;
        }
        let (kind, name) = (repo.kind.to_string(), repo.name.as_str());
        Some(json!({"kind": kind, "repo": name, "rights": rights, "shares": shares}))
    }

    /// What a share gives, by the judge; none where that is nothing.
    fn shown(&self, number: u64, share: &Share, holder: PrincipalId) -> Option<Value> {
        let parts = share.reads(number, holder, &self.state);
        let body = &share.body;
        (!parts.is_empty()).then(|| {
            json!({
                "share": number, "compartments": parts.iter().map(|part| part.word()).collect::<Vec<_>>(),
                "revision": body.revision.to_string(), "commit": (!body.follow).then(|| body.commit.to_string()),
                "paths": body.paths.texts().collect::<Vec<_>>(), "ends": time(share.ends_ms()),
                "accepted": share.people(&self.state).iter().any(|one| share.is_accepted(*one)),
                "from": body.from.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "max_bytes": body.max_bytes, "max_downloads": body.max_downloads,
            })
        })
    }

    /// A period begins, and ends the one before.
    fn tell(&mut self, at: usize, generation: u64, at_ms: i64) {
        let Watch { who, rights, system, periods } = &mut self.watches[at];
        if let Some(last) = periods.last_mut() {
            last["until"] = time(at_ms).into();
        }
        let expires = match who {
            Who::Token(id, _) => self.state.tokens.get(id).map(|token| time(token.expires_ms)),
            _ => None,
        };
        periods.push(json!({
            "generation": generation, "from": time(at_ms), "until": time(self.until_ms), "expires": expires,
            "system": system, "repos": rights.values().collect::<Vec<_>>(),
        }));
    }

    /// Whether an effect may change somebody's reach beyond one repository.
    fn concerns(&self, who: Who, effect: &Effect) -> bool {
        let principal = who.principal();
        let partners = &self.state.partners;
        let knew = |id: u64| partners.all().get(&id).is_some_and(|partner| partner.knew(principal));
        let holds = |id: u64, share: &Share| match share.with {
            _ if matches!(who, Who::Share(own, _) if own == id) => true,
            With::Principal(only) => only.0 == principal,
            // Also where they were one of its people.
            With::Partner(id) => knew(id),
        };
        let own = |id: u64| self.state.shares.get(&id).is_some_and(|share| holds(id, share));
        let with = |partner: u64| {
            let mut shares = self.state.shares.iter();
            knew(partner) || shares.any(|(id, share)| holds(*id, share) && share.partner() == Some(partner))
        };
        let made = |maker: u64| {
            let stands = partners.all().iter().any(|(id, partner)| partner.sponsor.0 == maker && with(*id));
            stands || self.state.shares.iter().any(|(id, share)| holds(*id, share) && share.body.maker.0 == maker)
        };
        let token = |id: u64| matches!(who, Who::Token(own, _) if own == id);
        match effect {
            Effect::Rules { .. } => true,
            Effect::Assign(held) | Effect::Unassign(held) => held.principal.0 == principal,
            Effect::Line(line) | Effect::Unline(line) => line.principal.0 == principal,
            Effect::Principal { id, .. } | Effect::Removed { principal: id } => *id == principal || made(*id),
            Effect::Token { id, .. } | Effect::Revoked { token: id } => token(*id),
            Effect::Stop(Stop::Principal(id)) | Effect::Unstop(Stop::Principal(id)) => *id == principal || made(*id),
            Effect::Stop(Stop::Token(id)) | Effect::Unstop(Stop::Token(id)) => token(*id),
            Effect::Stop(Stop::Share(id)) | Effect::Unstop(Stop::Share(id)) => own(*id),
            Effect::Stop(Stop::Partner(id)) | Effect::Unstop(Stop::Partner(id)) | Effect::Partner { id, .. } => {
                with(*id)
            }
            Effect::Share { id, .. }
            | Effect::ShareBegan { share: id, .. }
            | Effect::ShareLives { share: id, .. }
            | Effect::ShareAccepted { share: id, .. }
            | Effect::ShareRevoked { share: id } => own(*id),
            Effect::Namespace { .. } => false,
            Effect::Repo { .. } | Effect::Renamed { .. } | Effect::Deleted { .. } => false,
            Effect::Stop(Stop::Repo(_)) | Effect::Unstop(Stop::Repo(_)) => false,
        }
    }

    /// Whether a record is needed to find the same reach from nothing. Asked after all of them were taken.
    pub fn needs(&self, effects: &[Effect]) -> bool {
        let needed = |effect: &Effect| {
            self.watches.iter().any(|watch| self.concerns(watch.who, effect))
                || repo_of(effect).is_some_and(|repo| self.reached.contains(&repo))
        };
        effects.iter().any(needed)
    }

    /// The generation that the time begins with.
    pub fn first(&self) -> u64 {
        self.first.unwrap_or(self.generation)
    }

    /// Of each, the periods of its reach. Once all records were taken.
    pub fn finish(&mut self) -> Value {
        self.begin();
        let each = self.watches.iter().map(|watch| {
            let mut shown = watch.who.show(&self.state);
            shown["periods"] = watch.periods.clone().into();
            shown
        });
        each.collect()
    }
}

fn repo_of(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::Repo { id: repo, .. } | Effect::Renamed { repo, .. } | Effect::Deleted { repo } => Some(*repo),
        Effect::Stop(Stop::Repo(repo)) | Effect::Unstop(Stop::Repo(repo)) => Some(*repo),
        _ => None,
    }
}
