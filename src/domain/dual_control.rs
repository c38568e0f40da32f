//! `policies/dual-control.toml`: the acts that need a second person, as operators review them.

use serde::Deserialize;

use crate::action::Role;
use crate::compartment::Compartment;

/// Why the file is refused; the text names the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policies/dual-control.toml: {0}")]
pub struct DualControlError(String);

/// Seconds that an act may wait at most: a month.
const WAIT_S_MAX: u32 = 31 * 24 * 3600;
/// Seconds of a window at most: a day.
const WINDOW_S_MAX: u32 = 24 * 3600;

/// What takes effect only with a second principal's approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DualControl {
    /// Milliseconds until an act that nobody approved is over.
    pub wait_ms: i64,
    /// Milliseconds in which a deletion or a recovery is done once it is approved.
    pub window_ms: i64,
    /// Shares of these compartments.
    pub share: Vec<Compartment>,
    /// Giving these roles, or what only they may do.
    pub roles: Vec<Role>,
    /// Deleting a repository.
    pub purge: bool,
    /// Break-glass.
    pub recover: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    wait_s: u32,
    window_s: u32,
    share: Vec<String>,
    roles: Vec<String>,
    purge: bool,
    recover: bool,
}

impl DualControl {
    /// Reads the text of `dual-control.toml`. Every key must be there: what is left out by mistake would be a rule less.
    ///
    /// # Errors
    /// The first mistake: not TOML, a key that is unknown or missing, an unknown word, a time out of its bounds.
    pub fn from_toml(text: &str) -> Result<Self, DualControlError> {
        let wrong = |what: String| DualControlError(what);
        let file: File = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let within = |name: &str, seconds: u32, most: u32| {
            let bounds = || wrong(format!("{name} is between 1 and {most}"));
            (1..=most).contains(&seconds).then_some(i64::from(seconds) * 1000).ok_or_else(bounds)
        };
        let share = file.share.iter().map(|word| word.parse().map_err(|_| wrong(format!("no compartment: '{word}'"))));
        let roles = file.roles.iter().map(|word| word.parse().map_err(|_| wrong(format!("no role: '{word}'"))));
        Ok(Self {
            wait_ms: within("wait_s", file.wait_s, WAIT_S_MAX)?,
            window_ms: within("window_s", file.window_s, WINDOW_S_MAX)?,
            share: share.collect::<Result<_, _>>()?,
            roles: roles.collect::<Result<_, _>>()?,
            purge: file.purge,
            recover: file.recover,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../policies/dual-control.toml");

    #[test]
    fn what_is_shipped_names_what_hurts_most() {
        let shipped = DualControl::from_toml(SHIPPED).unwrap();
        assert_eq!(shipped.share, [Compartment::Weights, Compartment::Data, Compartment::Logs]);
        assert_eq!(shipped.roles, [Role::Owner, Role::Admin, Role::Security]);
        assert!(shipped.purge && shipped.recover && shipped.wait_ms == 72 * 3600 * 1000);
    }

    #[test]
    fn a_file_with_a_mistake_gives_no_rule_at_all() {
        for (from, to) in [
            ("purge = true", ""),
            ("purge = true", "purge = true\npurges = true"),
            ("\"weights\"", "\"weight\""),
            ("\"admin\"", "\"root\""),
            ("wait_s = 259200", "wait_s = 0"),
            ("window_s = 3600", "window_s = 86401"),
        ] {
            assert!(SHIPPED.contains(from) && DualControl::from_toml(&SHIPPED.replacen(from, to, 1)).is_err(), "{to}");
        }
    }
}
