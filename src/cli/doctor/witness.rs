//! Who cosigns the log: compartments that nobody could ever read, and witnesses that can't be reached.

use std::net::IpAddr;

use strongroom_domain::WitnessRules;

use crate::config::Config;
use crate::courier::{place, resolved};

/// What is dangerous about where they are: whether it stops the start, what, the mend.
pub fn places(config: &Config) -> Vec<(bool, String, String)> {
    let mut found = Vec::new();
    for witness in &config.witnesses {
        let Ok((host, port)) = place(&witness.url) else { continue };
        if let Err(why) = resolved(&host, port, &witness.allow) {
            // What a name service says now it may not say later: each time that it is asked, it is looked up again.
            let certain = host == "localhost" || host.parse::<IpAddr>().is_ok();
            let mend = "name its network in the witness's allow, if it may be there".to_owned();
            found.push((certain, format!("witness {} is not asked: {why}", witness.url), mend));
        }
    }
    found
}

/// What is dangerous about what requires them: whether it stops the start, what, the mend.
pub fn rules(config: &Config) -> Vec<(bool, String, String)> {
    let mut found = Vec::new();
    // One with a mistake is found among the policies.
    let rules = WitnessRules::from_toml(&config.witness_rules).unwrap_or_default();
    if let Some((part, witnesses, within)) = rules.strictest() {
        if (witnesses as usize) > config.witnesses.len() {
            let what = format!("{part} needs {witnesses} witnesses, and {} are configured", config.witnesses.len());
            let mend = "name them in the configuration ([[witness]]), or take the line out of policies/witness.toml";
            found.push((true, what, mend.to_owned()));
        }
        if within < config.witness_every * 2 {
            let what = "a compartment's `within` of policies/witness.toml is less than twice audit.witness_every";
            let mend = "ask witnesses more often, or let it be longer: one answer that is late closes the compartment";
            found.push((false, what.to_owned(), mend.to_owned()));
        }
    }
    found
}
