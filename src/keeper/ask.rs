//! Requests for access: who asks for which repository, and what became of it. One for each principal and repository.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};
use strongroom_envelope::{open_meta, seal_meta};
use strongroom_protocol::AccessStatus;

use crate::change::ChangeError;
use crate::keys::OwnKeys;
use crate::policy::PrincipalId;
use crate::state::{LoadError, State, number};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decided {
    /// A share was made.
    Accepted(u64),
    /// For this reason.
    Rejected(String),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Who asks.
    pub principal: PrincipalId,
    /// For which repository.
    pub repo: u64,
    /// What they say of themselves, by name.
    pub fields: Vec<(String, String)>,
    /// When, Unix milliseconds.
    pub asked_ms: i64,
    /// What became of it, by whom, and when (Unix milliseconds); `None` while it waits.
    pub decided: Option<(Decided, PrincipalId, i64)>,
}

impl Ask {
    /// As stock clients call it.
    pub fn status(&self) -> AccessStatus {
        match self.decided {
            None => AccessStatus::Pending,
            Some((Decided::Accepted(_), ..)) => AccessStatus::Accepted,
            Some((Decided::Rejected(_), ..)) => AccessStatus::Rejected,
        }
    }

    /// The share that was made.
    pub fn share(&self) -> Option<u64> {
        match self.decided {
            Some((Decided::Accepted(share), ..)) => Some(share),
            _ => None,
        }
    }
}

/// A change of requests.
#[derive(Serialize, Deserialize)]
pub enum AskChange {
    /// As it is from now on.
    Is(u64, Box<Ask>),
    /// It was taken back.
    Gone(u64),
}

impl AskChange {
    /// Writes it.
    ///
    /// # Errors
    /// [`ChangeError`]; the transaction is then given up.
    pub async fn write(&self, tx: &mut AnyConnection, keys: &OwnKeys) -> Result<(), ChangeError> {
        let query = match self {
            Self::Is(id, ask) => {
                // Postcard into a growing vector fails for no value of these types.
                let body = postcard::to_stdvec(ask).expect("plain values");
                let sealed = seal_meta(&keys.seal, &[b"ask", &id.to_be_bytes()], &body);
                sqlx::query(
                    "INSERT INTO ask (id, principal, repo, body_sealed) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (id) DO UPDATE SET body_sealed = excluded.body_sealed",
                )
                .bind(*id as i64)
                .bind(ask.principal.0 as i64)
                .bind(ask.repo as i64)
                .bind(sealed.map_err(|_| ChangeError::Seal)?)
            }
            Self::Gone(id) => sqlx::query("DELETE FROM ask WHERE id = $1").bind(*id as i64),
        };
        query.execute(tx).await?;
        Ok(())
    }

    /// Applies it in memory, after it is durable.
    pub fn apply(self, state: &mut State) {
        match self {
            Self::Is(id, ask) => drop(state.asks.insert(id, *ask)),
            Self::Gone(id) => drop(state.asks.remove(&id)),
        }
    }
}

/// Reads all of them.
///
/// # Errors
/// [`LoadError`].
pub async fn load(tx: &mut AnyConnection, keys: &OwnKeys) -> Result<BTreeMap<u64, Ask>, LoadError> {
    let mut asks = BTreeMap::new();
    for row in sqlx::query("SELECT id, body_sealed FROM ask").fetch_all(tx).await? {
        let id = number(&row, "id")?;
        let sealed: Vec<u8> = row.try_get("body_sealed")?;
        let body = open_meta(&keys.seal, &[b"ask", &id.to_be_bytes()], &sealed)?;
        asks.insert(id, postcard::from_bytes(&body).map_err(|_| LoadError::Value("request for access"))?);
    }
    Ok(asks)
}
