//! The judge: Casbin over the reviewed roles and the grants made while running.
//!
//! Whoever changes a [`Policy`] has it alone, so that no decision sees half a change. There is one small enforcer for each
//! action and compartment: casbin evaluates every line it has at each decision, so a decision costs the lines of its own
//! question and not of the others. Who holds which role is not lines but our own [`RoleManager`](casbin::RoleManager),
//! whose look-up costs the same for a stranger as for anyone, however many grants there are (casbin's own scans a domain's
//! members for an unknown subject). A principal with lines of its own has enforcers of its own, made when it asks.
//!
//! Answers are kept until the next change. Casbin's own cache is not used: it answers from before a revocation.

mod assignments;
mod roles;
mod shares;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use casbin::{CoreApi, DefaultModel, Enforcer, MgmtApi};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use strongroom_domain::{Action, Compartment, Role};

use assignments::Assignments;
pub use roles::{RoleFileError, Roles};
pub use shares::Allowance;

/// A person or a service, as the keeper numbers them. There is no anonymous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrincipalId(pub u64);

/// Where a role is held or a denial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// Everywhere.
    System,
    /// In all repositories of a namespace, by the keeper's number for it.
    Namespace(u64),
    /// In one repository, by the keeper's number for it.
    Repo(u64),
}

/// A principal holds a role at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Assignment {
    /// Who.
    pub principal: PrincipalId,
    /// Holds what.
    pub role: Role,
    /// Where.
    pub place: Place,
}

/// A line that is added while running, for one principal: a denial, which wins over every role, or an allowance that
/// no role gives, such as `key.recover`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Line {
    /// Whom it concerns.
    pub principal: PrincipalId,
    /// What it is about.
    pub action: Action,
    /// `None` for actions that have no compartment.
    pub compartment: Option<Compartment>,
    /// Where it stands.
    pub place: Place,
    /// Whether it allows or denies.
    pub allow: bool,
}

/// What is asked of the judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who asks.
    pub principal: PrincipalId,
    /// With a token of which share, if of any: then what the principal may do otherwise is nothing here.
    pub share: Option<u64>,
    /// To do what.
    pub action: Action,
    /// To which compartment; `None` for actions that have none.
    pub compartment: Option<Compartment>,
    /// In which namespace, where the action has one.
    pub namespace: Option<u64>,
    /// In which repository, where the action has one.
    pub repo: Option<u64>,
}

/// Why a policy can't be built. The server does not start, or keeps the policy it has.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Casbin refused the model or a line.
    #[error("policies/model.conf or a policy line is not what casbin takes: {0}")]
    Casbin(String),
    /// Two lines that are the same: one of them is not what its author meant.
    #[error("the same policy line twice, for {0}")]
    Twice(Action),
}

/// What one enforcer judges.
type Subject = (Action, Option<Compartment>);

/// Who has lines of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Principal(PrincipalId),
    /// With a token of a share, which may be with several.
    Share(u64, PrincipalId),
}

/// Whose own lines about it.
type Own = (Who, Subject);

/// Answers that are kept, at most; past it they are all forgotten.
const KEPT_MAX: usize = 65_536;
/// Enforcers of principals with lines of their own, at most: some 15 KiB each.
const OWN_MAX: usize = 1024;

/// The rules at one moment.
pub struct Policy {
    model: String,
    rows: HashMap<Subject, Vec<Vec<String>>>,
    enforcers: HashMap<Subject, Enforcer>,
    held: Arc<RwLock<Assignments>>,
    lines: HashMap<Own, Vec<Line>>,
    shares: HashMap<u64, Allowance>,
    own: RwLock<HashMap<Own, Option<Arc<Enforcer>>>>,
    kept: RwLock<HashMap<Question, bool>>,
}

impl Policy {
    /// Builds the enforcers from the model's text, the roles and what was granted.
    ///
    /// # Errors
    /// [`PolicyError`] where casbin refuses the model or a line; nothing is half built.
    pub fn new(
        model: &str,
        roles: &Roles,
        assignments: impl IntoIterator<Item = Assignment>,
        lines: impl IntoIterator<Item = Line>,
    ) -> Result<Self, PolicyError> {
        let held = Arc::new(RwLock::new(Assignments::new(assignments)));
        let mut rows: HashMap<Subject, Vec<Vec<String>>> = HashMap::new();
        for action in Action::ALL.iter().copied() {
            for (role, part) in roles.of(action) {
                rows.entry((action, part)).or_default().push(role_row(role, part));
            }
        }
        let mut enforcers = HashMap::new();
        for (subject, rows) in &rows {
            enforcers.insert(*subject, enforcer(model, rows.clone(), &held, subject.0)?);
        }
        let (lines_of, own, kept) = (HashMap::new(), RwLock::default(), RwLock::default());
        let (model, shares) = (model.to_owned(), HashMap::new());
        let mut policy = Self { model, rows, enforcers, held, lines: lines_of, shares, own, kept };
        lines.into_iter().try_for_each(|line| policy.add(line))?;
        Ok(policy)
    }

    /// A role is given.
    pub fn assign(&mut self, assignment: Assignment) {
        self.held.write().give(assignment);
        self.kept.get_mut().clear();
    }

    /// A role is taken.
    pub fn unassign(&mut self, assignment: Assignment) {
        self.held.write().take(assignment);
        self.kept.get_mut().clear();
    }

    /// A line is added.
    ///
    /// # Errors
    /// [`PolicyError::Twice`] where it is there already.
    pub fn add(&mut self, line: Line) -> Result<(), PolicyError> {
        let of = (Who::Principal(line.principal), (line.action, line.compartment));
        let lines = self.lines.entry(of).or_default();
        if lines.contains(&line) {
            return Err(PolicyError::Twice(line.action));
        }
        lines.push(line);
        self.forget(of);
        Ok(())
    }

    /// A line is removed.
    pub fn remove(&mut self, line: Line) {
        let of = (Who::Principal(line.principal), (line.action, line.compartment));
        if let Some(lines) = self.lines.get_mut(&of) {
            lines.retain(|held| *held != line);
            if lines.is_empty() {
                self.lines.remove(&of);
            }
        }
        self.forget(of);
    }

    /// A denial of a principal is also one of the shares with it.
    fn forget(&mut self, of: Own) {
        self.own.get_mut().remove(&of);
        self.forget_shares();
    }

    fn forget_shares(&mut self) {
        self.own.get_mut().retain(|(who, _), _| matches!(who, Who::Principal(_)));
        self.kept.get_mut().clear();
    }

    /// The decision. Total and closed: what is not allowed, what casbin calls an error and what panics is refused.
    pub fn allows(&self, question: &Question) -> bool {
        if let Some(kept) = self.kept.read().get(question) {
            return *kept;
        }
        let answer = self.judge(question);
        let mut kept = self.kept.write();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(*question, answer);
        answer
    }

    fn judge(&self, question: &Question) -> bool {
        let subject = (question.action, question.compartment);
        let principal = question.principal;
        let of = (question.share.map_or(Who::Principal(principal), |share| Who::Share(share, principal)), subject);
        let own;
        let enforcer = if question.share.is_some() || self.lines.contains_key(&of) {
            own = self.own(of);
            own.as_deref()
        } else {
            self.enforcers.get(&subject)
        };
        // Where there is no row there is no enforcer: casbin would evaluate the matcher once on empty strings.
        let Some(enforcer) = enforcer else { return false };
        let place = |place: Option<Place>| place.map_or_else(|| NOWHERE.to_owned(), place_text);
        let request = vec![
            question.share.map_or_else(|| principal_text(question.principal), shares::share_text),
            place(question.namespace.map(Place::Namespace)),
            place(question.repo.map(Place::Repo)),
            compartment_text(question.compartment).to_owned(),
        ];
        catch_unwind(AssertUnwindSafe(|| enforcer.enforce(request))).is_ok_and(|answer| answer.unwrap_or(false))
    }

    /// The enforcer of a principal with lines of its own, or of a share; `None` where it can't be built, or where a share says
    /// nothing about it: then everything is refused.
    fn own(&self, of: Own) -> Option<Arc<Enforcer>> {
        if let Some(built) = self.own.read().get(&of) {
            return built.clone();
        }
        let rows = match of.0 {
            Who::Share(id, holder) => self.share_rows(id, holder, of.1)?,
            Who::Principal(_) => {
                let mut rows = self.rows.get(&of.1).cloned().unwrap_or_default();
                rows.extend(self.lines.get(&of).into_iter().flatten().map(line_row));
                rows
            }
        };
        let built = enforcer(&self.model, rows, &self.held, of.1.0);
        let built = built.inspect_err(|error| tracing::error!(%error, "a principal's own lines")).ok().map(Arc::new);
        let mut own = self.own.write();
        if own.len() >= OWN_MAX {
            own.clear();
        }
        own.insert(of, built.clone());
        built
    }

    /// The compartments in which the action is allowed: what a grant makes visible. `question.compartment` is not read.
    pub fn compartments(&self, question: &Question) -> Vec<Compartment> {
        let allowed = |part: &Compartment| self.allows(&Question { compartment: Some(*part), ..*question });
        Compartment::ALL.into_iter().filter(allowed).collect()
    }
}

/// In a request: no such place. No assignment is held at it and no line stands there.
const NOWHERE: &str = "-";

fn enforcer(
    model: &str,
    rows: Vec<Vec<String>>,
    held: &Arc<RwLock<Assignments>>,
    action: Action,
) -> Result<Enforcer, PolicyError> {
    let refused = |error: casbin::Error| PolicyError::Casbin(error.to_string());
    let model = ready(DefaultModel::from_str(model)).map_err(refused)?;
    let mut enforcer = ready(Enforcer::new_raw(model, ())).map_err(refused)?;
    enforcer.enable_auto_save(false);
    enforcer.enable_auto_build_role_links(false);
    enforcer.set_role_manager(held.clone()).map_err(refused)?;
    // A row that is there already makes casbin add none of them, denials included, and say so only by `false`.
    if rows.iter().collect::<BTreeSet<_>>().len() != rows.len()
        || !ready(enforcer.add_policies(rows)).map_err(refused)?
    {
        return Err(PolicyError::Twice(action));
    }
    Ok(enforcer)
}

fn role_row(role: Role, compartment: Option<Compartment>) -> Vec<String> {
    vec![role_text(role), "*".to_owned(), compartment_text(compartment).to_owned(), "allow".to_owned()]
}

fn line_row(line: &Line) -> Vec<String> {
    let place = if line.place == Place::System { "*".to_owned() } else { place_text(line.place) };
    let effect = if line.allow { "allow" } else { "deny" };
    vec![principal_text(line.principal), place, compartment_text(line.compartment).to_owned(), effect.to_owned()]
}

/// Prefixes keep a principal from being taken for a role: to casbin, everyone holds the role that has their own name.
fn principal_text(principal: PrincipalId) -> String {
    format!("u:{}", principal.0)
}

fn role_text(role: Role) -> String {
    format!("r:{role}")
}

fn place_text(place: Place) -> String {
    match place {
        Place::System => "sys".to_owned(),
        Place::Namespace(id) => format!("ns:{id}"),
        Place::Repo(id) => format!("repo:{id}"),
    }
}

fn compartment_text(compartment: Option<Compartment>) -> &'static str {
    compartment.map_or("-", Compartment::word)
}

/// Casbin's constructors are `async` for adapters that do I/O; with a model in memory they are ready at the first poll.
fn ready<T>(future: impl Future<Output = casbin::Result<T>>) -> casbin::Result<T> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(std::io::Error::other("casbin waits where nothing is to be waited for").into()),
    }
}
