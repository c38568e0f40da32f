//! Partner organisations: who their people are, who inside stands for them, and until when that was last said.
//!
//! Whether one holds is computed from the clock at each decision. No job has to run for it to be over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};
use strongroom_envelope::{open_meta, seal_meta};

use crate::change::ChangeError;
use crate::keys::OwnKeys;
use crate::policy::PrincipalId;
use crate::state::{LoadError, State, Stop, name_index, number};

/// One organisation. It has a moment at which it is over at every moment of its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partner {
    /// What it is called; never again anything else.
    pub name: String,
    /// Who stands for it: somebody inside.
    pub sponsor: PrincipalId,
    /// Its people, by number, and since when each is, Unix milliseconds.
    pub members: BTreeMap<u64, i64>,
    /// Those who were.
    pub former: BTreeSet<u64>,
    /// Milliseconds for which a confirmation holds.
    pub every_ms: i64,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// When it was last confirmed, or made, Unix milliseconds.
    pub confirmed_ms: i64,
    /// The end of a confirmation that was recorded as over, Unix milliseconds.
    pub lapsed_ms: Option<i64>,
    /// Unix milliseconds.
    pub ended_ms: Option<i64>,
}

impl Partner {
    /// When it is over unless it is confirmed, Unix milliseconds.
    pub fn due_ms(&self) -> i64 {
        self.confirmed_ms.saturating_add(self.every_ms)
    }

    /// Why it, by its number, does not hold; `None` where it does. It holds no longer than its sponsor.
    pub fn over(&self, id: u64, state: &State, now_ms: i64) -> Option<&'static str> {
        let sponsor = state.principals.get(&self.sponsor.0);
        if self.ended_ms.is_some() {
            Some("partner organisation ended")
        } else if state.stops.contains_key(&Stop::Partner(id)) {
            Some("partner organisation locked")
        } else if self.due_ms() <= now_ms {
            Some("partner organisation not confirmed by its sponsor")
        } else if sponsor.is_none_or(|sponsor| sponsor.removed_ms.is_some()) {
            Some("partner organisation's sponsor removed")
        } else if state.stops.contains_key(&Stop::Principal(self.sponsor.0)) {
            Some("partner organisation's sponsor locked")
        } else {
            None
        }
    }

    /// Whether somebody is one of its people, or was.
    pub fn knew(&self, principal: u64) -> bool {
        self.members.contains_key(&principal) || self.former.contains(&principal)
    }

    /// Those who are or were its people.
    pub fn people(&self) -> BTreeSet<u64> {
        self.members.keys().chain(&self.former).copied().collect()
    }

    /// Writes it, as it is from now on.
    ///
    /// # Errors
    /// [`ChangeError`]; the transaction is then given up.
    pub async fn write(&self, id: u64, tx: &mut AnyConnection, keys: &OwnKeys) -> Result<(), ChangeError> {
        // Postcard into a growing vector fails for no value of these types.
        let body = postcard::to_stdvec(self).expect("plain values");
        let sealed = seal_meta(&keys.seal, &[b"partner", &id.to_be_bytes()], &body).map_err(|_| ChangeError::Seal)?;
        sqlx::query(
            "INSERT INTO partner (id, name_index, body_sealed) VALUES ($1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET body_sealed = excluded.body_sealed",
        )
        .bind(id as i64)
        .bind(name_index(keys, "partner", &self.name.to_ascii_lowercase()))
        .bind(sealed)
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// All of them, those that ended too.
#[derive(Debug, Default)]
pub struct Partners {
    all: BTreeMap<u64, Partner>,
    /// Nobody is one of two organisations' people.
    of: HashMap<u64, u64>,
}

impl Partners {
    /// By number.
    pub fn all(&self) -> &BTreeMap<u64, Partner> {
        &self.all
    }

    /// By name, in any case.
    pub fn named(&self, name: &str) -> Option<(u64, &Partner)> {
        let mut all = self.all.iter().map(|(id, partner)| (*id, partner));
        all.find(|(_, partner)| partner.name.eq_ignore_ascii_case(name))
    }

    /// The organisation that a principal is here through.
    pub fn of(&self, principal: u64) -> Option<(u64, &Partner)> {
        let id = *self.of.get(&principal)?;
        self.all.get(&id).map(|partner| (id, partner))
    }

    /// Why a principal, whoever they are otherwise, does nothing here now: what they do here, they do through their
    /// organisation.
    pub fn stops(&self, principal: PrincipalId, state: &State, now_ms: i64) -> Option<&'static str> {
        self.of(principal.0).and_then(|(id, partner)| partner.over(id, state, now_ms))
    }

    /// As it is from now on.
    pub fn set(&mut self, id: u64, partner: Partner) {
        self.of.retain(|_, of| *of != id);
        self.of.extend(partner.members.keys().map(|member| (*member, id)));
        self.all.insert(id, partner);
    }
}

/// Reads all of them.
///
/// # Errors
/// [`LoadError`].
pub async fn load(tx: &mut AnyConnection, keys: &OwnKeys) -> Result<Partners, LoadError> {
    let mut partners = Partners::default();
    for row in sqlx::query("SELECT id, body_sealed FROM partner").fetch_all(tx).await? {
        let id = number(&row, "id")?;
        let sealed: Vec<u8> = row.try_get("body_sealed")?;
        let body = open_meta(&keys.seal, &[b"partner", &id.to_be_bytes()], &sealed)?;
        partners.set(id, postcard::from_bytes(&body).map_err(|_| LoadError::Value("partner organisation"))?);
    }
    Ok(partners)
}
