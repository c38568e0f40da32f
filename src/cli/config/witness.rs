//! Who cosigns the log: in the configuration file alone, never over the API.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_audit::cosignature::CosignerKey;
use strongroom_domain::Network;

use super::file::deadline;
use crate::Failed;
use crate::courier::{WitnessUrl, is_plain_https};

/// Witnesses, at most: each has a process of its own.
const WITNESSES_MAX: usize = 16;

/// `[audit]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditFile {
    #[serde(deserialize_with = "deadline")]
    pub witness_every: Duration,
}

impl Default for AuditFile {
    fn default() -> Self {
        Self { witness_every: Duration::from_secs(60) }
    }
}

/// `[[witness]]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessFile {
    pub url: String,
    pub key: String,
    pub ca_file: Option<PathBuf>,
    #[serde(default)]
    pub allow: Vec<Network>,
}

impl WitnessFile {
    /// Its key.
    ///
    /// # Errors
    /// What is none.
    pub fn key(&self) -> Result<CosignerKey, Failed> {
        self.key.parse().map_err(|error| Failed(format!("witness.key of {}: {error}", self.url)))
    }

    /// Where its courier goes.
    pub fn place(&self) -> WitnessUrl {
        WitnessUrl { url: self.url.clone(), ca_file: self.ca_file.clone(), allow: self.allow.clone() }
    }
}

/// Whether they can be used.
///
/// # Errors
/// What can't.
pub fn check(witnesses: &[WitnessFile]) -> Result<(), Failed> {
    if witnesses.len() > WITNESSES_MAX {
        return Err(Failed(format!("witness: at most {WITNESSES_MAX}")));
    }
    for (at, witness) in witnesses.iter().enumerate() {
        let key = witness.key()?;
        if !is_plain_https(&witness.url) {
            return Err(Failed("witness.url: an address begins with https:// and has no user in it".to_owned()));
        }
        // Two places with one key would be counted as two witnesses.
        for other in &witnesses[..at] {
            if other.key()?.name() == key.name() || other.key()?.same_key(&key) {
                return Err(Failed(format!("witness: {} stands there twice", key.name())));
            }
        }
    }
    Ok(())
}
