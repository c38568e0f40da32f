//! `policies/roles.csv`: what each role may do, as it is reviewed.

use std::collections::BTreeSet;

use strongroom_domain::{Action, Compartment, Role};

/// Why the file is refused; a file with a mistake gives no roles at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policies/roles.csv, line {line}: {what}")]
pub struct RoleFileError {
    line: usize,
    what: String,
}

/// The lines of the file: which role may do which action in which compartment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<(Action, Role, Option<Compartment>)>);

impl Roles {
    /// Reads `role, action, compartments` lines. `#` begins a comment line.
    ///
    /// # Errors
    /// The first mistake, with its line: another number of columns, an unknown word, compartments on an action that has
    /// none or none on one that has, or the same right twice.
    pub fn parse(text: &str) -> Result<Self, RoleFileError> {
        let mut rights = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let mistake = |what: String| RoleFileError { line: index + 1, what };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let columns: Vec<&str> = line.split(',').map(str::trim).collect();
            let [role, action, parts] = columns[..] else {
                return Err(mistake("three columns: role, action, compartments".to_owned()));
            };
            let word = |word: &str, what: &str| mistake(format!("{what}: '{word}'"));
            let role: Role = role.parse().map_err(|what| word(role, what))?;
            let action: Action = action.parse().map_err(|what| word(action, what))?;
            if (parts == "-") == has_compartments(action) {
                return Err(mistake(format!("{action} is about compartments, or it is not: '{parts}'")));
            }
            for part in parts.split_whitespace() {
                let part = if part == "-" { None } else { Some(part.parse().map_err(|_| word(part, "compartment"))?) };
                if !rights.insert((action, role, part)) {
                    return Err(mistake(format!("{role} has {action} there already")));
                }
            }
        }
        Ok(Self(rights))
    }

    /// The rights to one action.
    pub(crate) fn of(&self, action: Action) -> impl Iterator<Item = (Role, Option<Compartment>)> {
        self.0.iter().filter(move |right| right.0 == action).map(|(_, role, part)| (*role, *part))
    }
}

/// Whether policy decides the action compartment by compartment.
fn has_compartments(action: Action) -> bool {
    matches!(action, Action::RepoRead | Action::RepoWrite | Action::KeyRecover)
}
