//! What shares allow: lines that hold for the tokens of one share and for nothing else of its principal.

use strongroom_domain::{Action, Compartment};

use super::{Line, Policy, PrincipalId, Subject, compartment_text, line_row};

/// What one share allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// The repository, by the keeper's number for it.
    pub repo: u64,
    /// To be read in it.
    pub compartments: Vec<Compartment>,
}

impl Allowance {
    fn has(&self, (action, compartment): Subject) -> bool {
        match compartment {
            Some(part) => action == Action::RepoRead && self.compartments.contains(&part),
            None => action == Action::RepoList,
        }
    }
}

impl Policy {
    /// A share is made.
    pub fn share(&mut self, id: u64, allowance: Allowance) {
        self.shares.insert(id, allowance);
        self.forget_shares();
    }

    /// A share is over.
    pub fn unshare(&mut self, id: u64) {
        self.shares.remove(&id);
        self.forget_shares();
    }

    /// The lines about a share for whoever holds a token of it: its own, and the denials of that principal, which win here as
    /// everywhere. No role is among them. `None` where it allows nothing of the kind.
    pub(super) fn share_rows(&self, id: u64, holder: PrincipalId, about: Subject) -> Option<Vec<Vec<String>>> {
        let allowance = self.shares.get(&id).filter(|allowance| allowance.has(about))?;
        let place = format!("repo:{}", allowance.repo);
        let own = vec![share_text(id), place, compartment_text(about.1).to_owned(), "allow".to_owned()];
        let of = (super::Who::Principal(holder), about);
        let denials = self.lines.get(&of).into_iter().flatten().filter(|line: &&Line| !line.allow);
        let denials = denials.map(|line| {
            let mut row = line_row(line);
            row[0] = share_text(id); // each row has four columns
            row
        });
        Some([own].into_iter().chain(denials).collect())
    }
}

/// No principal and no role is called so.
pub(super) fn share_text(id: u64) -> String {
    format!("s:{id}")
}
