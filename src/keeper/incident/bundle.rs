//! The first line of a bundle, and what is signed of it.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use strongroom_audit::Hash;
use strongroom_protocol::incident::IncidentScope;

use crate::log::Record;

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
    /// Of logs that have one, by number: the newest that a witness cosigned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnessed: Vec<Witnessed>,
    /// The generation of policy that the time begins with.
    pub generation: u64,
    /// Records about policy: the first ones of the evidence. The rest are about what was done.
    pub policy: u64,
    /// What they could reach, each from change to change.
    pub could: Value,
    /// What they did.
    pub did: Value,
}

/// A checkpoint that witnesses cosigned, which a log's checkpoint of the bundle continues.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witnessed {
    /// The log's number.
    pub log: u64,
    /// Signed by the log, and by whoever cosigned it.
    pub note: String,
    /// That the log's checkpoint continues it (RFC 6962 section 2.1.2): hashes in base64.
    pub proof: Vec<String>,
}

/// A record of evidence as the keeper gives it: closed, with what opens it.
#[derive(Serialize, Deserialize)]
pub struct Sealed {
    /// What opens this leaf and no other, in base64.
    pub key: String,
    /// The leaf as it is stored, in base64.
    pub leaf: String,
    /// That it is in its log: the hashes from the leaf up, one behind the other, in base64.
    pub proof: String,
}

/// Some of the evidence.
#[derive(Serialize, Deserialize)]
pub struct Page {
    /// In the order in which they stand in a bundle.
    pub entries: Vec<Sealed>,
    /// Before which record the next page begins, where there is one.
    pub next: Option<String>,
}

/// A line of evidence. Its fields stand in the order of their names, as those of its record do: one content has one text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry<'a> {
    /// What opens this leaf and no other, in base64.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The leaf as it is stored, in base64.
    #[serde(borrow)]
    pub leaf: Cow<'a, str>,
    /// That it is in its log: hashes in base64, from the leaf up.
    pub proof: Vec<String>,
    /// What it opens to: see [`spelled`].
    pub record: Box<RawValue>,
}

/// The one text of a record: its fields in the order of their names.
///
/// # Errors
/// For no record: all in it are plain values.
pub fn spelled(record: &Record) -> Result<Box<RawValue>, serde_json::Error> {
    to_raw_value(&serde_json::to_value(record)?)
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
