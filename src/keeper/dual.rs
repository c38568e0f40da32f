//! The two-person rule: which changes need a second principal. It looks at what a command would change and not at the
//! command, so that no other way to the same change goes round it.

use std::collections::BTreeSet;

use strongroom_domain::{Action, Compartment, DualControl};

use crate::change::Change;
use crate::credential::dead;
use crate::policy::{Line, Place, PrincipalId, Question, Roles};
use crate::share::{Share, ShareChange};
use crate::state::State;

/// The rule, and which actions only the roles that it names may do.
pub struct Dual {
    /// As it was reviewed.
    pub rule: DualControl,
    actions: BTreeSet<Action>,
}

impl Dual {
    /// With what follows from the roles: a line that allows what only an administrator may do makes one.
    pub fn new(rule: DualControl, roles: &Roles) -> Self {
        let only_theirs = |action: &Action| {
            let mut held = roles.of(*action).map(|(role, _)| role).peekable();
            held.peek().is_some() && held.all(|role| rule.roles.contains(&role))
        };
        let mut actions: BTreeSet<Action> = Action::ALL.iter().copied().filter(only_theirs).collect();
        if rule.recover {
            actions.insert(Action::KeyRecover);
        }
        Self { rule, actions }
    }

    /// What of the changes needs a second person, in words; `None` where nothing does.
    pub fn needs(&self, state: &State, changes: &[Change]) -> Option<String> {
        changes.iter().find_map(|change| self.of(state, change, changes))
    }

    fn of(&self, state: &State, change: &Change, beside: &[Change]) -> Option<String> {
        let shares = |share: &Share| {
            let mut parts = share.body.compartments.iter().filter(|part| self.rule.share.contains(part));
            parts.next().map(|part| format!("sharing {part}"))
        };
        // Asked last, and only about what may need it: most changes, a lock above all, do not.
        let from_two_on = |why: String| self.two_give_roles(state).then_some(why);
        let gives = |line: &Line| line.allow && self.actions.contains(&line.action);
        match change {
            Change::Share(ShareChange::Made(_, share)) => shares(share),
            // To end it sooner gives nothing.
            Change::Share(ShareChange::Lives(id, life_ms)) => {
                state.shares.get(id).filter(|share| *life_ms > share.life_ms).and_then(shares)
            }
            Change::Assign(held) if self.rule.roles.contains(&held.role) => {
                // A namespace that is founded with it holds nothing yet.
                let founded = |change: &Change| matches!((change, held.place), (Change::Namespace(id, _), Place::Namespace(place)) if *id == place);
                (!beside.iter().any(founded)).then(|| format!("the role {}", held.role)).and_then(from_two_on)
            }
            Change::Line(line) if gives(line) => from_two_on(format!("the right to {}", line.action)),
            // A denial that is taken away gives what it denied.
            Change::Unline(line) if !line.allow && gives(&Line { allow: true, ..*line }) => {
                from_two_on(format!("the right to {}", line.action))
            }
            // Whoever becomes one of a partner's people is given what that has.
            Change::Partner(id, partner) => {
                let before = state.partners.all().get(id);
                let new = |member: &u64| before.is_none_or(|before| !before.members.contains_key(member));
                let held = state.shares.iter().filter(|(_, share)| share.partner() == Some(*id));
                // One that is over for as long as its organisation is may be read again.
                let mut living = held.filter(|(_, share)| share.revoked_ms.is_none());
                let added = partner.members.keys().any(new);
                added.then(|| living.find_map(|(_, share)| shares(share))).flatten()
            }
            Change::Claim(_, None) => from_two_on("another claim of a principal".to_owned()),
            change => self.disarms(state, change),
        }
    }

    /// Whoever takes the right to give roles from the second last who has it would give them alone from then on.
    fn disarms(&self, state: &State, change: &Change) -> Option<String> {
        let taken = match change {
            Change::Unassign(held) if held.place == Place::System => held.principal,
            Change::RemovePrincipal(id, _) => PrincipalId(*id),
            Change::Line(line) if !line.allow && line.action == Action::RoleManage => line.principal,
            Change::Unline(line) if line.allow && line.action == Action::RoleManage => line.principal,
            _ => return None,
        };
        let holders = self.role_managers(state);
        (!self.rule.roles.is_empty() && holders.len() == 2 && holders.contains(&taken))
            .then(|| "taking the right to give roles from one of the last two who have it".to_owned())
    }

    fn two_give_roles(&self, state: &State) -> bool {
        self.role_managers(state).len() >= 2
    }

    fn role_managers(&self, state: &State) -> BTreeSet<PrincipalId> {
        holders(state, Action::RoleManage, None, None)
    }

    /// Whether deleting the repository needs somebody beside this principal; or moving it to another namespace, for to the people
    /// of its own it is then as gone.
    pub fn deleting(&self, state: &State, by: PrincipalId, namespace: u64, repo: u64) -> bool {
        let may = holders(state, Action::RepoDelete, Some(namespace), Some(repo));
        self.rule.purge && may.iter().any(|principal| *principal != by)
    }

    /// Whether content of one compartment comes into another only by being sent again: else a hash shared alone what two share.
    pub fn keeps(&self, from: Compartment, to: Compartment) -> bool {
        self.rule.share.contains(&from) && !self.rule.share.contains(&to)
    }

    /// Whether a recovery needs somebody else.
    pub fn recovering(&self) -> bool {
        self.rule.recover
    }
}

/// Who may do an action that has no compartments, and is there; a lock does not count, for it is soon lifted. Only who has a role
/// or a line of their own there can be one: policy is asked about them, and not about everybody.
fn holders(state: &State, action: Action, namespace: Option<u64>, repo: Option<u64>) -> BTreeSet<PrincipalId> {
    let there = [Some(Place::System), namespace.map(Place::Namespace), repo.map(Place::Repo)];
    let held = state.assignments.iter().map(|held| (held.principal, held.place));
    let lines = state.lines.iter().map(|line| (line.principal, line.place));
    let candidates: BTreeSet<PrincipalId> =
        held.chain(lines).filter(|(_, place)| there.contains(&Some(*place))).map(|(principal, _)| principal).collect();
    let lives = |id: &PrincipalId| state.principals.get(&id.0).is_some_and(|principal| principal.removed_ms.is_none());
    let may = |principal: &PrincipalId| {
        let (principal, share, compartment) = (*principal, None, None::<Compartment>);
        state.policy.allows(&Question { principal, share, action, compartment, namespace, repo })
    };
    candidates.into_iter().filter(lives).filter(may).collect()
}

/// Whose hands a token has been in: its principal's, and those of who made it, and so on to the first.
pub fn hands(state: &State, token: u64) -> BTreeSet<u64> {
    let token = state.tokens.get(&token);
    token.map(|token| token.body.hands.iter().copied().chain([token.principal.0]).collect()).unwrap_or_default()
}

/// Whether the token holds still.
pub fn lives(state: &State, token: u64, now_ms: i64) -> bool {
    state.tokens.get(&token).is_some_and(|held| dead(state, token, held, now_ms).is_none())
}

/// Names of principals, for a reason.
pub fn names(state: &State, ids: &BTreeSet<u64>) -> String {
    let name = |id: &u64| state.principals.get(id).map(|principal| principal.name.clone());
    ids.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use strongroom_domain::Role;

    use super::*;

    #[test]
    fn what_only_the_named_roles_may_do_is_as_much_as_the_role() {
        let rule = DualControl::from_toml(include_str!("../../policies/dual-control.toml")).unwrap();
        let roles = Roles::parse(include_str!("../../policies/roles.csv")).unwrap();
        let dual = Dual::new(rule, &roles);
        for action in
            [Action::RoleManage, Action::UserManage, Action::TokenManage, Action::LockManage, Action::KeyRecover]
        {
            assert!(dual.actions.contains(&action), "{action}");
        }
        // A writer reads; an auditor, who is not named, reads the log.
        for action in [Action::RepoRead, Action::RepoWrite, Action::AuditRead, Action::Whoami] {
            assert!(!dual.actions.contains(&action), "{action}");
        }
        assert!(dual.rule.roles.contains(&Role::Admin));
    }
}
