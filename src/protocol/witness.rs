//! What a courier carries between the keeper and a witness of its log.

use serde::{Deserialize, Serialize};

/// What a witness is asked: the body of `add-checkpoint` (C2SP `tlog-witness`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// All of it.
    pub body: String,
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Witnessed {
    /// Signature lines, which nobody has looked at yet.
    Cosigned(String),
    /// 409, with the size that it has.
    Size(u64),
    /// Another status, and its first words.
    Refused(u16, String),
    /// Nothing, for this reason.
    Failed(String),
}
