//! Acts that wait for a second person, or did: what was asked, by whom, and what became of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};
use strongroom_domain::{Compartment, RepoName};
use strongroom_envelope::{open_meta, seal_meta};
use strongroom_protocol::admin::AdminCommand;

use crate::change::ChangeError;
use crate::keys::OwnKeys;
use crate::policy::PrincipalId;
use crate::state::{LoadError, State, number};

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Deed {
    /// A command, which is done when it is approved.
    Command(Box<AdminCommand>),
    /// To delete this repository; once it is approved, whoever asked does it.
    Delete(u64),
    /// To take some object of these compartments out of this repository: what was asked for before its path was said with it.
    /// Approved, it opens nothing.
    Recover(u64, Vec<Compartment>),
    /// To move this repository out of this namespace, to this name; once it is approved, whoever asked does it.
    Move(u64, u64, RepoName),
    /// To take one object out of a repository; the same. New deeds come last: what is stored is read by number.
    RecoverAt(Recovery),
    /// What another version stored, in a form that this one does not read. It keeps its number, and waits until it is over.
    Unreadable,
}

/// What break-glass is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recovery {
    /// The repository.
    pub repo: u64,
    /// In which whoever asked may break the glass; the object is in one of them.
    pub compartments: Vec<Compartment>,
    /// The revision, as it was written.
    pub revision: Option<String>,
    /// The path.
    pub path: Option<String>,
}

impl Deed {
    fn bytes(&self) -> Vec<u8> {
        // Postcard into a growing vector fails for no value of these types.
        postcard::to_stdvec(self).expect("plain values")
    }

    /// As it is stored. A command's form may change from version to version: that must not keep a keeper from its start.
    fn from_bytes(bytes: &[u8]) -> Self {
        let read = postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty());
        read.map_or(Self::Unreadable, |(deed, _)| deed)
    }
}

/// What became of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// It took effect, or may for a while.
    Approved,
    /// It did not.
    Rejected,
    /// Nobody decided in time.
    Expired,
}

impl Decision {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Approved, Self::Rejected, Self::Expired].into_iter().find(|decision| decision.word() == word)
    }
}

/// One act.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Act {
    /// Who asked.
    pub principal: PrincipalId,
    /// With which token.
    pub token: u64,
    /// For what.
    pub deed: Deed,
    /// Unix milliseconds.
    pub asked_ms: i64,
    /// Unix milliseconds: past it nobody approves it.
    pub ends_ms: i64,
    /// What became of it, and when (Unix milliseconds).
    pub decided: Option<(Decision, i64)>,
}

impl Act {
    /// Whether it waits.
    pub fn waits(&self, now_ms: i64) -> bool {
        self.decided.is_none() && now_ms < self.ends_ms
    }

    /// Whether it was approved so short a time ago that it may be done.
    pub fn is_open(&self, now_ms: i64, window_ms: i64) -> bool {
        matches!(self.decided, Some((Decision::Approved, at)) if now_ms < at.saturating_add(window_ms))
    }

    /// Whether it is the same principal's same wish.
    pub fn is_same(&self, principal: PrincipalId, deed: &Deed) -> bool {
        self.principal == principal && self.deed.bytes() == deed.bytes()
    }
}

/// A change of acts.
#[derive(Serialize, Deserialize)]
pub enum ActChange {
    /// A new one.
    Asked(u64, Box<Act>),
    /// Its end.
    Decided(u64, Decision, i64),
}

impl ActChange {
    /// Writes it.
    ///
    /// # Errors
    /// [`ChangeError`]; the transaction is then given up.
    pub async fn write(&self, tx: &mut AnyConnection, keys: &OwnKeys) -> Result<(), ChangeError> {
        let query = match self {
            Self::Asked(id, act) => {
                let seal = |plain: &[u8]| seal_meta(&keys.seal, &[b"act", &id.to_be_bytes()], plain);
                sqlx::query(
                    "INSERT INTO act (id, principal, token, deed_sealed, asked_ms, ends_ms) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(*id as i64)
                .bind(act.principal.0 as i64)
                .bind(act.token as i64)
                .bind(seal(&act.deed.bytes()).map_err(|_| ChangeError::Seal)?)
                .bind(act.asked_ms)
                .bind(act.ends_ms)
            }
            Self::Decided(id, decision, at) => {
                sqlx::query("UPDATE act SET decision = $1, decided_ms = $2 WHERE id = $3 AND decision IS NULL")
                    .bind(decision.word())
                    .bind(*at)
                    .bind(*id as i64)
            }
        };
        query.execute(tx).await?;
        Ok(())
    }

    /// Applies it in memory, after it is durable.
    pub fn apply(self, state: &mut State) {
        match self {
            Self::Asked(id, act) => {
                state.acts.insert(id, *act);
            }
            Self::Decided(id, decision, at) => {
                if let Some(act) = state.acts.get_mut(&id) {
                    act.decided = act.decided.or(Some((decision, at)));
                }
            }
        }
    }
}

/// Reads all of them.
///
/// # Errors
/// [`LoadError`].
pub async fn load(tx: &mut AnyConnection, keys: &OwnKeys) -> Result<BTreeMap<u64, Act>, LoadError> {
    let mut acts = BTreeMap::new();
    for row in sqlx::query("SELECT * FROM act").fetch_all(tx).await? {
        let id = number(&row, "id")?;
        let sealed: Vec<u8> = row.try_get("deed_sealed")?;
        let deed = open_meta(&keys.seal, &[b"act", &id.to_be_bytes()], &sealed)?;
        let decision: Option<String> = row.try_get("decision")?;
        let decided = match decision {
            None => None,
            Some(word) => {
                let decision = Decision::from_word(&word).ok_or(LoadError::Value("decision"))?;
                Some((decision, row.try_get("decided_ms")?))
            }
        };
        let act = Act {
            principal: PrincipalId(number(&row, "principal")?),
            token: number(&row, "token")?,
            deed: Deed::from_bytes(&deed),
            asked_ms: row.try_get("asked_ms")?,
            ends_ms: row.try_get("ends_ms")?,
            decided,
        };
        acts.insert(id, act);
    }
    Ok(acts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_stored_is_an_act_all_the_same() {
        let reject = |reason: &str| strongroom_protocol::ApprovalCommand::Reject { id: 1, reason: reason.to_owned() };
        let stored = Deed::Command(Box::new(AdminCommand::Approval(reject("no")))).bytes();
        assert!(matches!(Deed::from_bytes(&stored), Deed::Command(_)));
        for other in [&stored[..stored.len() - 1], &[&stored[..], &[0]].concat(), &[99], &[]] {
            assert!(matches!(Deed::from_bytes(other), Deed::Unreadable), "{other:?}");
        }
    }

    #[test]
    fn what_was_asked_for_before_paths_were_said_is_read_still_and_is_no_wish_of_now() {
        let stored = b"\x02\x07\x01\x07weights";
        let old = Deed::from_bytes(stored);
        assert!(matches!(&old, Deed::Recover(7, parts) if parts == &[Compartment::Weights]));
        let (principal, path) = (PrincipalId(1), Some("model.safetensors".to_owned()));
        let act = Act { principal, token: 1, deed: old, asked_ms: 0, ends_ms: 1, decided: None };
        let at = |path| Recovery { repo: 7, compartments: vec![Compartment::Weights], revision: None, path };
        assert!(!act.is_same(principal, &Deed::RecoverAt(at(path.clone()))));
        let act = Act { deed: Deed::RecoverAt(at(path.clone())), ..act };
        assert!(
            act.is_same(principal, &Deed::RecoverAt(at(path))) && !act.is_same(principal, &Deed::RecoverAt(at(None)))
        );
    }
}
