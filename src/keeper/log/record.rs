//! What a record says, before it is sealed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strongroom_domain::{AlertKind, Budget, Compartment};

use super::alarm::Alarm;
use super::charge::Piece;
use crate::effect::Effect;

/// One record. JSON inside its seal, so that an export needs no other reader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Unix milliseconds.
    pub time_ms: i64,
    /// `repo.read`, `object.open`, `token.create`, …
    pub action: String,
    /// `allowed`, `denied`, `malformed`, `done`, `cut`.
    pub outcome: String,
    /// Why, where it was refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// By number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<u64>,
    /// With which token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Through which share, or about which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<u64>,
    /// Its number among the records about that share, from 1, without gap. The log's writer gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_event: Option<u64>,
    /// From where.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// As the client saw it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Method and route.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route: String,
    /// `model` or `dataset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The repository, as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// By number, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_id: Option<u64>,
    /// As the client wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Those that the decision reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compartments: Vec<String>,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Bytes of the plaintext: from, up to but not including.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(u64, u64)>,
    /// Bytes really sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What was written or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The digest of what was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Bytes that a commit adds to compartments, as the gate counted them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub added: BTreeMap<Compartment, u64>,
    /// Of the policy that decided.
    pub generation: u64,
    /// What it changed of policy: it is in force from the generation after this one on. By these the reach of a credential at
    /// any moment is found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
    /// Of an alert: what of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertKind>,
    /// The log and the number of the record that raised it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<(u64, u64)>,
    /// When the commit was made to which the repository's `main` moves, Unix milliseconds. No part of the record: it is
    /// written into the repository's row, in the record's transaction.
    #[serde(skip)]
    pub moved_ms: Option<i64>,
    /// What is given out, which budgets count. No part of the record either.
    #[serde(skip)]
    pub piece: Option<Piece>,
    /// What raises an alert and can't be told from the rest; nor a part.
    #[serde(skip)]
    pub alarm: Option<Alarm>,
    /// Whether the credential held.
    #[serde(skip)]
    pub known: bool,
}

impl Record {
    /// Of what the keeper does by itself, whoever asked or nobody.
    pub fn own(action: &str, time_ms: i64, generation: u64) -> Self {
        let (action, outcome) = (action.to_owned(), "done".to_owned());
        Self { time_ms, action, outcome, generation, ..Self::default() }
    }

    /// A record beside this one: with what it is about, an actor crossed the soft line of a budget.
    pub fn warning(&self, budget: Budget) -> Self {
        Self {
            action: "budget.warn".to_owned(),
            outcome: "done".to_owned(),
            reason: format!("more than the soft line: {budget}"),
            subject: None,
            path: None,
            range: None,
            bytes: None,
            digest: None,
            added: BTreeMap::new(),
            effects: Vec::new(),
            moved_ms: None,
            piece: None,
            alarm: Some(Alarm::Budget(budget)),
            ..self.clone()
        }
    }

    /// A record beside this one, which is at a place: it raised an alert.
    pub fn alert(&self, kind: AlertKind, why: String, cause: (u64, u64)) -> Self {
        Self {
            action: "alert.raised".to_owned(),
            outcome: "done".to_owned(),
            reason: why,
            alert: Some(kind),
            cause: Some(cause),
            // It is about the record, and is none more about the share.
            share: None,
            compartments: Vec::new(),
            range: None,
            bytes: None,
            digest: None,
            added: BTreeMap::new(),
            effects: Vec::new(),
            moved_ms: None,
            piece: None,
            alarm: None,
            ..self.clone()
        }
    }
}
