//! The judge: Casbin over the reviewed roles and the grants made while running.
//!
//! A [`Policy`] never changes. Whoever changes a grant builds a new one and swaps it whole, so that no decision sees half
//! a change. There is one small enforcer for each action: casbin evaluates every line it has at each decision, so a
//! decision costs the lines of its own action and not of the others. Who holds which role is not lines but our own
//! [`RoleManager`](casbin::RoleManager), whose look-up costs the same for a stranger as for anyone, however many grants
//! there are (casbin's own scans a domain's members for an unknown subject).

mod assignments;
mod roles;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use casbin::{CoreApi, DefaultModel, Enforcer, MgmtApi};
use parking_lot::RwLock;
use strongroom_domain::{Action, Compartment, Role};

use assignments::Assignments;
pub use roles::{RoleFileError, Roles};

/// A person or a service, as the keeper numbers them. There is no anonymous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalId(pub u64);

/// Where a role is held or a denial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Everywhere.
    System,
    /// In all repositories of a namespace, by the keeper's number for it.
    Namespace(u64),
    /// In one repository, by the keeper's number for it.
    Repo(u64),
}

/// A principal holds a role at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub principal: PrincipalId,
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

/// The rules at one moment.
pub struct Policy {
    enforcers: BTreeMap<Action, Enforcer>,
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
        lines: &[Line],
    ) -> Result<Self, PolicyError> {
        let held = Arc::new(RwLock::new(Assignments::new(assignments)));
        let mut enforcers = BTreeMap::new();
        for action in Action::ALL.iter().copied() {
            let mut rows: Vec<Vec<String>> = roles.of(action).map(|(role, part)| role_row(role, part)).collect();
            rows.extend(lines.iter().filter(|line| line.action == action).map(line_row));
            // Casbin evaluates the matcher once on empty strings where it has no row: such an action gets no enforcer,
            // and so is refused.
            if !rows.is_empty() {
                enforcers.insert(action, enforcer(model, rows, &held, action)?);
            }
        }
        Ok(Self { enforcers })
    }

    /// The decision. Total and closed: what is not allowed, what casbin calls an error and what panics is refused.
    pub fn allows(&self, question: &Question) -> bool {
        let Some(enforcer) = self.enforcers.get(&question.action) else { return false };
        let place = |place: Option<Place>| place.map_or_else(|| NOWHERE.to_owned(), place_text);
        let request = vec![
            principal_text(question.principal),
            place(question.namespace.map(Place::Namespace)),
            place(question.repo.map(Place::Repo)),
            compartment_text(question.compartment).to_owned(),
        ];
        catch_unwind(AssertUnwindSafe(|| enforcer.enforce(request))).is_ok_and(|answer| answer.unwrap_or(false))
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
