//! The first line of a bundle, and what is signed of it.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_audit::Hash;
use strongroom_protocol::incident::IncidentScope;

/// The first line of what is signed. No log is called so: a name has no space.
pub const FORMAT: &str = "strongroom incident 1";

/// The first line of a bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// Who opened it, and when.
    pub opened: Value,
    /// Which records are the evidence.
    pub scope: IncidentScope,
    /// What was stopped in the same act.
    pub locked: Vec<String>,
    /// The signed checkpoints, one for each log of the scope.
    pub checkpoints: Vec<String>,
    /// The generation of policy that the time begins with.
    pub generation: u64,
    /// Records about policy: the first ones of the evidence. The rest are about what was done.
    pub policy: u64,
    /// What they could reach, each from change to change.
    pub could: Value,
    /// What they did.
    pub did: Value,
}

/// Some of the evidence: how many records, and the SHA-256 over their leaf hashes, one behind the other.
pub struct Digest {
    count: u64,
    hash: Context,
}

impl Default for Digest {
    fn default() -> Self {
        Self { count: 0, hash: Context::new(&SHA256) }
    }
}

impl Digest {
    /// Adds a record.
    pub fn add(&mut self, leaf: Hash) {
        self.count += 1;
        self.hash.update(&leaf.0);
    }

    fn line(self) -> String {
        format!("{} {}\n", self.count, hex(self.hash.finish().as_ref()))
    }
}

/// What is signed: the first line of the bundle, and the records about policy and about what was done.
pub fn statement(header: &str, policy: Digest, activity: Digest) -> String {
    let header = aws_lc_rs::digest::digest(&SHA256, header.as_bytes());
    format!("{FORMAT}\n{}\n{}{}", hex(header.as_ref()), policy.line(), activity.line())
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
