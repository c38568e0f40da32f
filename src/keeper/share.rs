//! Shares: what a principal may read of one repository with the tokens of the share, and until when.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};
use strongroom_domain::{Action, Commit, Compartment, Network, PathGlobs, Revision};
use strongroom_envelope::{Recipient, open_meta, seal_meta};
use strongroom_protocol::Shared;

use crate::change::ChangeError;
use crate::keys::OwnKeys;
use crate::policy::{Allowance, PrincipalId, Question};
use crate::state::{LoadError, State, Stop, number};

/// What of a share is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareBody {
    /// Who made it.
    pub maker: PrincipalId,
    /// The commit at which it was made.
    pub commit: Commit,
    /// The name of the revision, as its maker wrote it.
    pub revision: Revision,
    /// Whether it follows the branch of that name.
    pub follow: bool,
    /// Those that may be read.
    pub compartments: Vec<Compartment>,
    /// In them, the paths that the gate shows.
    pub paths: PathGlobs,
    /// Bytes that may be asked for.
    pub max_bytes: Option<u64>,
    /// Files that may be opened.
    pub max_downloads: Option<u64>,
    /// From where.
    pub from: Vec<Network>,
    /// What must be accepted first.
    pub terms: Option<String>,
    /// `age1…`, where files are delivered encrypted for it and in no other way.
    pub recipient: Option<String>,
}

/// With whom a share is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum With {
    /// One principal.
    Principal(PrincipalId),
    /// A partner organisation, by number: each of its people, with tokens of their own.
    Partner(u64),
}

/// A share. It has an end at every moment of its life, and none after `last_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// With whom.
    pub with: With,
    /// The repository.
    pub repo: u64,
    /// The rest.
    pub body: ShareBody,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Milliseconds for which it can be read, from `begun_ms` on.
    pub life_ms: i64,
    /// Unix milliseconds: it never lives longer, whatever else is said.
    pub last_ms: i64,
    /// When the clock began, Unix milliseconds; `None` until the first use, where that begins it.
    pub begun_ms: Option<i64>,
    /// Who accepted the terms, by number, each for themselves, and when, Unix milliseconds.
    pub accepted: BTreeMap<u64, i64>,
    /// Unix milliseconds.
    pub revoked_ms: Option<i64>,
}

impl Share {
    /// The principal that it is with, where it is with one.
    pub fn principal(&self) -> Option<PrincipalId> {
        match self.with {
            With::Principal(principal) => Some(principal),
            With::Partner(_) => None,
        }
    }

    /// The partner organisation that it is with, by number.
    pub fn partner(&self) -> Option<u64> {
        match self.with {
            With::Principal(_) => None,
            With::Partner(id) => Some(id),
        }
    }

    /// Whether a principal may hold a token of it now.
    pub fn is_with(&self, principal: PrincipalId, state: &State) -> bool {
        match self.with {
            With::Principal(only) => only == principal,
            With::Partner(id) => state.partners.of(principal.0).is_some_and(|(of, _)| of == id),
        }
    }

    /// Those who may.
    pub fn people(&self, state: &State) -> Vec<PrincipalId> {
        match self.with {
            With::Principal(only) => vec![only],
            With::Partner(id) => {
                let partner = state.partners.all().get(&id);
                partner.into_iter().flat_map(|partner| partner.members.keys().copied().map(PrincipalId)).collect()
            }
        }
    }

    /// Its name, or that of the organisation.
    pub fn with_name(&self, state: &State) -> Option<String> {
        match self.with {
            With::Principal(id) => state.principals.get(&id.0).map(|principal| principal.name.clone()),
            With::Partner(id) => state.partners.all().get(&id).map(|partner| partner.name.clone()),
        }
    }

    /// When it ends, Unix milliseconds.
    pub fn ends_ms(&self) -> i64 {
        self.begun_ms.map_or(self.last_ms, |begun| begun.saturating_add(self.life_ms).min(self.last_ms))
    }

    /// Why it, by its number, does not hold; `None` where it does. It holds no longer than its maker, nor than the organisation
    /// that it is with.
    pub fn over(&self, id: u64, state: &State, now_ms: i64) -> Option<&'static str> {
        let maker = state.principals.get(&self.body.maker.0);
        if self.revoked_ms.is_some() {
            Some("share revoked")
        } else if state.stops.contains_key(&Stop::Share(id)) {
            Some("share locked")
        } else if self.ends_ms() <= now_ms {
            Some("share expired")
        } else if maker.is_none_or(|maker| maker.removed_ms.is_some()) {
            Some("share's maker removed")
        } else if state.stops.contains_key(&Stop::Principal(self.body.maker.0)) {
            Some("share's maker locked")
        } else {
            let partner = self.partner().and_then(|id| Some((id, state.partners.all().get(&id)?)));
            partner.and_then(|(id, partner)| partner.over(id, state, now_ms))
        }
    }

    /// Whether it is read from there.
    pub fn is_from(&self, address: Option<IpAddr>) -> bool {
        let from = &self.body.from;
        from.is_empty() || address.is_some_and(|address| from.iter().any(|network| network.contains(address)))
    }

    /// Whether somebody accepted its terms, if it has any.
    pub fn is_accepted(&self, by: PrincipalId) -> bool {
        self.body.terms.is_none() || self.accepted.contains_key(&by.0)
    }

    /// What Casbin is told of it.
    pub fn allowance(&self) -> Allowance {
        Allowance { repo: self.repo, compartments: self.body.compartments.clone() }
    }

    /// What policy lets somebody read by it, whose number is this.
    pub fn reads(&self, number: u64, holder: PrincipalId, state: &State) -> Vec<Compartment> {
        state.policy.compartments(&Question {
            principal: holder,
            share: Some(number),
            action: Action::RepoRead,
            compartment: None,
            namespace: state.repos.get(&self.repo).map(|repo| repo.namespace),
            repo: Some(self.repo),
        })
    }

    /// What the gate is told of it.
    pub fn shared(&self) -> Shared {
        let ShareBody { commit, revision, follow, paths, recipient, .. } = &self.body;
        let (revision, paths) = (revision.clone(), paths.clone());
        Shared { commit: *commit, revision, follow: *follow, paths, sealed: recipient.is_some() }
    }

    /// Whether the gate asks for what it was told to show. A second look: the wall is the compartment's key.
    pub fn shows(&self, commit: Option<Commit>, path: Option<&str>) -> bool {
        let commit = commit.is_some_and(|commit| self.body.follow || commit == self.body.commit);
        commit && path.is_some_and(|path| self.body.paths.matches(path))
    }

    /// The recipient of sealed deliveries.
    pub fn recipient(&self) -> Option<Recipient> {
        self.body.recipient.as_ref().and_then(|text| text.parse().ok())
    }
}

/// A change of shares.
#[derive(Serialize, Deserialize)]
pub enum ShareChange {
    /// A new one.
    Made(u64, Box<Share>),
    /// Its first use.
    Began(u64, i64),
    /// Another life, in milliseconds from its beginning.
    Lives(u64, i64),
    /// Somebody accepted its terms.
    Accepted(u64, PrincipalId, i64),
    /// Its end.
    Revoked(u64, i64),
}

impl ShareChange {
    /// Writes it.
    ///
    /// # Errors
    /// [`ChangeError`]; the transaction is then given up.
    pub async fn write(&self, tx: &mut AnyConnection, keys: &OwnKeys) -> Result<(), ChangeError> {
        let (text, value, id) = match self {
            Self::Made(id, share) => return insert(tx, keys, *id, share).await,
            Self::Began(id, at) => ("UPDATE share SET begun_ms = $1 WHERE id = $2 AND begun_ms IS NULL", at, id),
            Self::Lives(id, life) => ("UPDATE share SET life_ms = $1 WHERE id = $2", life, id),
            Self::Accepted(id, by, at) => return accept(tx, *id, *by, *at).await,
            Self::Revoked(id, at) => ("UPDATE share SET revoked_ms = $1 WHERE id = $2", at, id),
        };
        sqlx::query(text).bind(*value).bind(*id as i64).execute(tx).await?;
        Ok(())
    }

    /// Applies it in memory, after it is durable.
    pub fn apply(self, state: &mut State) {
        let mut with = |id: u64, change: &dyn Fn(&mut Share)| state.shares.get_mut(&id).into_iter().for_each(change);
        match self {
            Self::Made(id, share) => {
                state.policy.share(id, share.allowance());
                state.shares.insert(id, *share);
            }
            Self::Began(id, at) => with(id, &|share| share.begun_ms = share.begun_ms.or(Some(at))),
            Self::Lives(id, life) => with(id, &|share| share.life_ms = life),
            Self::Accepted(id, by, at) => with(id, &|share| {
                share.accepted.entry(by.0).or_insert(at);
            }),
            Self::Revoked(id, at) => {
                with(id, &|share| share.revoked_ms = Some(at));
                state.policy.unshare(id);
            }
        }
    }
}

async fn accept(tx: &mut AnyConnection, id: u64, by: PrincipalId, at_ms: i64) -> Result<(), ChangeError> {
    sqlx::query(
        "INSERT INTO share_accepted (share, principal, accepted_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(id as i64)
    .bind(by.0 as i64)
    .bind(at_ms)
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert(tx: &mut AnyConnection, keys: &OwnKeys, id: u64, share: &Share) -> Result<(), ChangeError> {
    // Postcard into a growing vector fails for no value of these types.
    let body = postcard::to_stdvec(&share.body).expect("plain values");
    let sealed = seal_meta(&keys.seal, &[b"share", &id.to_be_bytes()], &body).map_err(|_| ChangeError::Seal)?;
    sqlx::query(
        "INSERT INTO share (id, principal, partner, repo, body_sealed, created_ms, life_ms, last_ms, begun_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id as i64)
    .bind(share.principal().map(|principal| principal.0 as i64))
    .bind(share.partner().map(|partner| partner as i64))
    .bind(share.repo as i64)
    .bind(sealed)
    .bind(share.created_ms)
    .bind(share.life_ms)
    .bind(share.last_ms)
    .bind(share.begun_ms)
    .execute(tx)
    .await?;
    Ok(())
}

/// Reads all of them.
///
/// # Errors
/// [`LoadError`].
pub async fn load(tx: &mut AnyConnection, keys: &OwnKeys) -> Result<BTreeMap<u64, Share>, LoadError> {
    let mut shares = BTreeMap::new();
    for row in sqlx::query("SELECT * FROM share").fetch_all(&mut *tx).await? {
        let id = number(&row, "id")?;
        let sealed: Vec<u8> = row.try_get("body_sealed")?;
        let body = open_meta(&keys.seal, &[b"share", &id.to_be_bytes()], &sealed)?;
        let partner: Option<i64> = row.try_get("partner")?;
        let share = Share {
            with: match partner {
                Some(_) => With::Partner(number(&row, "partner")?),
                None => With::Principal(PrincipalId(number(&row, "principal")?)),
            },
            repo: number(&row, "repo")?,
            body: postcard::from_bytes(&body).map_err(|_| LoadError::Value("share"))?,
            created_ms: row.try_get("created_ms")?,
            life_ms: row.try_get("life_ms")?,
            last_ms: row.try_get("last_ms")?,
            begun_ms: row.try_get("begun_ms")?,
            accepted: BTreeMap::new(),
            revoked_ms: row.try_get("revoked_ms")?,
        };
        shares.insert(id, share);
    }
    for row in sqlx::query("SELECT share, principal, accepted_ms FROM share_accepted").fetch_all(tx).await? {
        let share = shares.get_mut(&number(&row, "share")?).ok_or(LoadError::Value("share"))?;
        share.accepted.insert(number(&row, "principal")?, row.try_get("accepted_ms")?);
    }
    Ok(shares)
}
