//! Who holds which role where, as casbin's role manager.

use std::collections::{HashMap, HashSet};

use casbin::{MatchingFn, Result, RoleManager};

use super::{Assignment, place_text, principal_text, role_text};

/// Place, then principal, then roles: two look-ups and a short set, whoever asks.
pub(super) struct Assignments(HashMap<String, HashMap<String, HashSet<String>>>);

impl Assignments {
    pub(super) fn new(assignments: impl IntoIterator<Item = Assignment>) -> Self {
        let mut held = Self(HashMap::new());
        assignments.into_iter().for_each(|assignment| held.give(assignment));
        held
    }

    pub(super) fn give(&mut self, Assignment { principal, role, place }: Assignment) {
        self.add_link(&principal_text(principal), &role_text(role), Some(&place_text(place)));
    }

    /// What is empty goes: nothing is left of one who held something once.
    pub(super) fn take(&mut self, Assignment { principal, role, place }: Assignment) {
        let (principal, place) = (principal_text(principal), place_text(place));
        let Some(members) = self.0.get_mut(&place) else { return };
        if let Some(roles) = members.get_mut(&principal) {
            roles.remove(&role_text(role));
            if roles.is_empty() {
                members.remove(&principal);
            }
        }
        if members.is_empty() {
            self.0.remove(&place);
        }
    }

    fn roles(&self, principal: &str, place: Option<&str>) -> Option<&HashSet<String>> {
        self.0.get(place?)?.get(principal)
    }
}

impl RoleManager for Assignments {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn add_link(&mut self, principal: &str, role: &str, place: Option<&str>) {
        let place = self.0.entry(place.unwrap_or_default().to_owned()).or_default();
        place.entry(principal.to_owned()).or_default().insert(role.to_owned());
    }

    /// Patterns in names or places are not used here: without them no grant reaches further than it says.
    fn matching_fn(&mut self, _: Option<MatchingFn>, _: Option<MatchingFn>) {}

    fn delete_link(&mut self, principal: &str, role: &str, place: Option<&str>) -> Result<()> {
        if let Some(roles) = self.0.get_mut(place.unwrap_or_default()).and_then(|place| place.get_mut(principal)) {
            roles.remove(role);
        }
        Ok(())
    }

    /// True also of a principal and itself: that is how a line for one principal matches.
    fn has_link(&self, principal: &str, role: &str, place: Option<&str>) -> bool {
        principal == role || self.roles(principal, place).is_some_and(|roles| roles.contains(role))
    }

    fn get_roles(&self, principal: &str, place: Option<&str>) -> Vec<String> {
        self.roles(principal, place).into_iter().flatten().cloned().collect()
    }

    fn get_users(&self, role: &str, place: Option<&str>) -> Vec<String> {
        let members = place.and_then(|place| self.0.get(place)).into_iter().flatten();
        members.filter(|(_, roles)| roles.contains(role)).map(|(principal, _)| principal.clone()).collect()
    }
}
