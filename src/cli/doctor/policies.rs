//! The policy files: one with a mistake stops the start, and is named before.

use strongroom_domain::{AlertRules, Budgets, DualControl, WitnessRules};

use crate::config::Config;

/// What is wrong with them: whether it stops the start, what, the mend.
pub fn examine(config: &Config) -> Vec<(bool, String, String)> {
    let read = [
        Budgets::from_toml(&config.budgets).err().map(|error| format!("policies/budgets.toml: {error}")),
        DualControl::from_toml(&config.dual_control).err().map(|error| error.to_string()),
        AlertRules::from_toml(&config.alert_rules).err().map(|error| error.to_string()),
        WitnessRules::from_toml(&config.witness_rules).err().map(|error| error.to_string()),
    ];
    let mend = "mend the file: what is shipped (policies/) shows every key";
    read.into_iter().flatten().map(|error| (true, error.trim().to_owned(), mend.to_owned())).collect()
}
