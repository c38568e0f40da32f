//! Changes of what the keeper knows: each is written in the same transaction as its record, and only then applied in
//! memory. If we die between the two, the next start loads what was written. Other keepers on the same database follow by
//! the sealed copy of each change.

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use strongroom_domain::{RepoKind, RepoName};
use strongroom_envelope::seal_meta;

use crate::act::ActChange;
use crate::ask::AskChange;
use crate::decoy::DecoyChange;
use crate::keys::OwnKeys;
use crate::partner::Partner;
use crate::policy::{Assignment, Line, PolicyError, PrincipalId};
use crate::review::ReviewChange;
use crate::rotation::RotationChange;
use crate::seal::SealChange;
use crate::share::ShareChange;
use crate::state::{Principal, Repo, State, Stop, Token, name_index, place_columns, recipients};

/// One change.
#[derive(Serialize, Deserialize)]
pub enum Change {
    /// A namespace.
    Namespace(u64, String),
    /// A principal.
    Principal(u64, Principal),
    /// A principal's end, with its tokens and roles.
    RemovePrincipal(u64, i64),
    /// A token.
    Token(u64, Token),
    /// A token's end.
    RevokeToken(u64, i64),
    /// A role given.
    Assign(Assignment),
    /// A role taken.
    Unassign(Assignment),
    /// An allowance or a denial.
    Line(Line),
    /// Its end.
    Unline(Line),
    /// A repository, under its first name.
    Repo(u64, Repo),
    /// Another name for a repository; the old one stays its own.
    Rename(u64, RepoName, u64),
    /// A repository's end: its secret is gone, its names stay taken.
    DeleteRepo(u64, i64),
    /// A lock.
    Stop(Stop, String, i64),
    /// Its end.
    Unstop(Stop),
    /// A step of the rotation of a repository's secret.
    Rotation(u64, RotationChange),
    /// Every secret, wrapped anew.
    Wrapped(Wrapped),
    /// Bytes that a namespace may store; without a number, as many as there is room for.
    Quota(u64, Option<u64>),
    /// A share: made, begun, prolonged, accepted, ended.
    Share(ShareChange),
    /// For whom a principal's sealed deliveries are encrypted.
    Recipient(u64, Option<String>),
    /// When a principal was claimed; or that it can be again.
    Claim(u64, Option<i64>),
    /// An act that needs a second person: asked for, decided.
    Act(ActChange),
    /// A request for access: asked, decided, taken back.
    Ask(AskChange),
    /// A seal, of the server or of a repository, and its end.
    Seal(SealChange),
    /// A decoy: planted, taken away.
    Decoy(DecoyChange),
    /// A partner organisation, as it is from now on.
    Partner(u64, Box<Partner>),
    /// Who gave what or confirmed it, and rounds of review.
    Review(ReviewChange),
}

/// Secrets that are wrapped for other root identities; what is wrapped stays the same. Its copy for other keepers has none of
/// them: they read them where they are stored.
#[derive(Serialize, Deserialize)]
pub struct Wrapped {
    /// `age1…` of the root identities, the newest first.
    pub roots: Vec<String>,
    /// The keeper's own, by name.
    #[serde(skip)]
    pub instance: Vec<(String, Vec<u8>)>,
    /// Of each repository.
    #[serde(skip)]
    pub repos: Vec<(u64, Vec<u8>)>,
    /// Of each repository that is being rotated, the other one.
    #[serde(skip)]
    pub rotations: Vec<(u64, Vec<u8>)>,
}

impl Wrapped {
    async fn write(&self, tx: &mut AnyConnection) -> Result<(), ChangeError> {
        let roots = ("root_recipients".to_owned(), self.roots.join("\n").into_bytes());
        for (name, value) in self.instance.iter().chain([&roots]) {
            let text = "INSERT INTO instance (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            sqlx::query(text).bind(name.clone()).bind(value.clone()).execute(&mut *tx).await?;
        }
        for (id, wrapped) in &self.repos {
            let text = "UPDATE repo SET secret = $1 WHERE id = $2 AND secret IS NOT NULL";
            sqlx::query(text).bind(wrapped.clone()).bind(*id as i64).execute(&mut *tx).await?;
        }
        for (id, wrapped) in &self.rotations {
            let text = "UPDATE rotation SET secret = $1 WHERE repo = $2 AND secret IS NOT NULL";
            sqlx::query(text).bind(wrapped.clone()).bind(*id as i64).execute(&mut *tx).await?;
        }
        Ok(())
    }

    /// Keys that were unwrapped stay: they are the same.
    fn apply(self, state: &mut State) {
        for (id, wrapped) in self.repos {
            if let Some(repo) = state.repos.get_mut(&id).filter(|repo| repo.wrapped.is_some()) {
                repo.wrapped = Some(wrapped);
            }
        }
        for (id, wrapped) in self.rotations {
            let rotation = state.repos.get_mut(&id).and_then(|repo| repo.rotation.as_mut());
            if let Some(rotation) = rotation.filter(|rotation| rotation.wrapped.is_some()) {
                rotation.wrapped = Some(wrapped);
            }
        }
        // Made by a keeper, of recipients.
        state.root_recipients = recipients(self.roots.iter().map(String::as_str)).unwrap_or_default();
    }
}

/// Why a change is not written.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The database; a unique violation among others.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// No randomness to seal with.
    #[error("the system gives no random bytes")]
    Seal,
}

impl Change {
    /// Writes it.
    ///
    /// # Errors
    /// [`ChangeError`]; the transaction is then given up.
    pub async fn write(&self, tx: &mut AnyConnection, keys: &OwnKeys) -> Result<(), ChangeError> {
        let seal = |place: &[&[u8]], plain: &[u8]| seal_meta(&keys.seal, place, plain).map_err(|_| ChangeError::Seal);
        let query = match self {
            Self::Namespace(id, name) => {
                sqlx::query("INSERT INTO namespace (id, name_index, name_sealed) VALUES ($1, $2, $3)")
                    .bind(*id as i64)
                    .bind(name_index(keys, "namespace", &name.to_ascii_lowercase()))
                    .bind(seal(&[b"namespace", &id.to_be_bytes()], name.as_bytes())?)
            }
            Self::Principal(id, principal) => {
                sqlx::query("INSERT INTO principal (id, name_index, name_sealed, created_ms, claimed_ms) VALUES ($1, $2, $3, $4, $5)")
                    .bind(*id as i64)
                    .bind(name_index(keys, "principal", &principal.name.to_ascii_lowercase()))
                    .bind(seal(&[b"principal", &id.to_be_bytes()], principal.name.as_bytes())?)
                    .bind(principal.created_ms)
                    .bind(principal.claimed_ms)
            }
            Self::RemovePrincipal(id, at) => {
                let id = *id as i64;
                sqlx::query("UPDATE token SET revoked_ms = $1 WHERE principal = $2 AND revoked_ms IS NULL")
                    .bind(*at)
                    .bind(id)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query("DELETE FROM assignment WHERE principal = $1").bind(id).execute(&mut *tx).await?;
                sqlx::query("DELETE FROM line WHERE principal = $1").bind(id).execute(&mut *tx).await?;
                sqlx::query("UPDATE principal SET removed_ms = $1 WHERE id = $2").bind(*at).bind(id)
            }
            Self::Token(id, token) => {
                // Postcard into a growing vector fails for no value of these types.
                let body = postcard::to_stdvec(&token.body).expect("plain values");
                sqlx::query(
                    "INSERT INTO token (id, hash, principal, body_sealed, created_ms, expires_ms) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(*id as i64)
                .bind(token.hash.to_vec())
                .bind(token.principal.0 as i64)
                .bind(seal(&[b"token", &id.to_be_bytes()], &body)?)
                .bind(token.created_ms)
                .bind(token.expires_ms)
            }
            Self::RevokeToken(id, at) => {
                sqlx::query("UPDATE token SET revoked_ms = $1 WHERE id = $2").bind(*at).bind(*id as i64)
            }
            Self::Assign(assignment) => {
                let (place, place_id) = place_columns(assignment.place);
                sqlx::query("INSERT INTO assignment (principal, role, place, place_id) VALUES ($1, $2, $3, $4)")
                    .bind(assignment.principal.0 as i64)
                    .bind(assignment.role.word())
                    .bind(place)
                    .bind(place_id)
            }
            Self::Unassign(assignment) => {
                let (place, place_id) = place_columns(assignment.place);
                sqlx::query(
                    "DELETE FROM assignment WHERE principal = $1 AND role = $2 AND place = $3 AND place_id = $4",
                )
                .bind(assignment.principal.0 as i64)
                .bind(assignment.role.word())
                .bind(place)
                .bind(place_id)
            }
            Self::Line(line) => {
                let (place, place_id) = place_columns(line.place);
                sqlx::query(
                    "INSERT INTO line (principal, action, compartment, place, place_id, effect) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(line.principal.0 as i64)
                .bind(line.action.word())
                .bind(line.compartment.map_or("-", |part| part.word()))
                .bind(place)
                .bind(place_id)
                .bind(if line.allow { "allow" } else { "deny" })
            }
            Self::Unline(line) => {
                let (place, place_id) = place_columns(line.place);
                sqlx::query(
                    "DELETE FROM line WHERE principal = $1 AND action = $2 AND compartment = $3 AND place = $4 \
                     AND place_id = $5",
                )
                .bind(line.principal.0 as i64)
                .bind(line.action.word())
                .bind(line.compartment.map_or("-", |part| part.word()))
                .bind(place)
                .bind(place_id)
            }
            Self::Repo(id, repo) => {
                sqlx::query(
                    "INSERT INTO repo (id, catalog_id, kind, namespace, name_sealed, secret, created_ms) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(*id as i64)
                .bind(repo.catalog_id.to_vec())
                .bind(repo.kind.word())
                .bind(repo.namespace as i64)
                .bind(seal(&[b"repo", &id.to_be_bytes()], repo.name.as_str().as_bytes())?)
                .bind(repo.wrapped.clone())
                .bind(repo.created_ms)
                .execute(&mut *tx)
                .await?;
                return take_name(tx, keys, repo.kind, &repo.name, *id).await;
            }
            Self::Rename(id, name, namespace) => {
                let kind: String = sqlx::query_scalar("SELECT kind FROM repo WHERE id = $1")
                    .bind(*id as i64)
                    .fetch_one(&mut *tx)
                    .await?;
                let kind = kind.parse().map_err(|_| ChangeError::Seal)?;
                take_name(&mut *tx, keys, kind, name, *id).await?;
                sqlx::query("UPDATE repo SET name_sealed = $1, namespace = $2 WHERE id = $3")
                    .bind(seal(&[b"repo", &id.to_be_bytes()], name.as_str().as_bytes())?)
                    .bind(*namespace as i64)
                    .bind(*id as i64)
            }
            Self::DeleteRepo(id, at) => {
                for text in [
                    "UPDATE rotation SET secret = NULL WHERE repo = $1",
                    "UPDATE repo_seal SET secret = NULL WHERE repo = $1",
                ] {
                    sqlx::query(text).bind(*id as i64).execute(&mut *tx).await?;
                }
                sqlx::query("UPDATE repo SET secret = NULL, deleted_ms = $1 WHERE id = $2").bind(*at).bind(*id as i64)
            }
            Self::Stop(stop, reason, at) => {
                let (subject, id) = stop.columns();
                sqlx::query("INSERT INTO stop (subject, id, reason_sealed, since_ms) VALUES ($1, $2, $3, $4)")
                    .bind(subject)
                    .bind(id as i64)
                    .bind(seal(&[b"stop", subject.as_bytes(), &id.to_be_bytes()], reason.as_bytes())?)
                    .bind(*at)
            }
            Self::Unstop(stop) => {
                let (subject, id) = stop.columns();
                sqlx::query("DELETE FROM stop WHERE subject = $1 AND id = $2").bind(subject).bind(id as i64)
            }
            Self::Rotation(id, change) => return change.write(*id, tx).await,
            Self::Wrapped(wrapped) => return wrapped.write(tx).await,
            Self::Share(change) => return change.write(tx, keys).await,
            Self::Act(change) => return change.write(tx, keys).await,
            Self::Claim(id, at) => {
                sqlx::query("UPDATE principal SET claimed_ms = $1 WHERE id = $2").bind(*at).bind(*id as i64)
            }
            Self::Ask(change) => return change.write(tx, keys).await,
            Self::Seal(change) => return change.write(tx, keys).await,
            Self::Decoy(change) => return change.write(tx, keys).await,
            Self::Partner(id, partner) => return partner.write(*id, tx, keys).await,
            Self::Review(change) => return change.write(tx, keys).await,
            Self::Recipient(id, recipient) => {
                let place: [&[u8]; 2] = [b"recipient", &id.to_be_bytes()];
                let sealed = recipient.as_ref().map(|text| seal(&place, text.as_bytes())).transpose()?;
                sqlx::query("UPDATE principal SET recipient_sealed = $1 WHERE id = $2").bind(sealed).bind(*id as i64)
            }
            Self::Quota(namespace, None) => {
                sqlx::query("DELETE FROM quota WHERE namespace = $1").bind(*namespace as i64)
            }
            Self::Quota(namespace, Some(bytes)) => sqlx::query(
                "INSERT INTO quota (namespace, bytes) VALUES ($1, $2) ON CONFLICT (namespace) \
                 DO UPDATE SET bytes = excluded.bytes",
            )
            .bind(*namespace as i64)
            .bind(*bytes as i64),
        };
        query.execute(tx).await?;
        Ok(())
    }

    /// Applies it in memory, after it is durable.
    fn apply(self, state: &mut State) -> Result<(), PolicyError> {
        match self {
            Self::Namespace(id, name) => {
                state.namespace_names.insert(name.to_ascii_lowercase(), id);
                state.namespaces.insert(id, name);
            }
            Self::Principal(id, principal) => {
                state.principal_names.insert(principal.name.to_ascii_lowercase(), id);
                state.principals.insert(id, principal);
            }
            Self::RemovePrincipal(id, at) => {
                let held: Vec<Assignment> = state.roles_of(PrincipalId(id)).copied().collect();
                for assignment in held {
                    state.assignments.remove(&assignment);
                    state.policy.unassign(assignment);
                }
                let lines: Vec<Line> = state.lines_of(PrincipalId(id)).copied().collect();
                for line in lines {
                    state.lines.remove(&line);
                    state.policy.remove(line);
                }
                let ended = state.tokens.values_mut().filter(|token| token.principal.0 == id);
                ended.for_each(|token| token.revoked_ms = token.revoked_ms.or(Some(at)));
                if let Some(principal) = state.principals.get_mut(&id) {
                    principal.removed_ms = Some(at);
                }
            }
            Self::Token(id, token) => {
                state.token_hashes.insert(token.hash, id);
                state.tokens.insert(id, token);
            }
            Self::RevokeToken(id, at) => {
                if let Some(token) = state.tokens.get_mut(&id) {
                    token.revoked_ms = Some(at);
                }
            }
            Self::Assign(assignment) => {
                state.assignments.insert(assignment);
                state.policy.assign(assignment);
            }
            Self::Unassign(assignment) => {
                state.assignments.remove(&assignment);
                state.policy.unassign(assignment);
            }
            Self::Line(line) => {
                state.lines.insert(line);
                state.policy.add(line)?;
            }
            Self::Unline(line) => {
                for line in [line, Line { allow: !line.allow, ..line }] {
                    state.lines.remove(&line);
                    state.policy.remove(line);
                }
            }
            Self::Repo(id, repo) => {
                state.orders.add(&repo, id);
                state.repo_names.insert((repo.kind, repo.name.folded()), id);
                state.repos.insert(id, repo);
            }
            Self::Rename(id, name, namespace) => {
                if let Some(repo) = state.repos.get(&id) {
                    state.repo_names.insert((repo.kind, name.folded()), id);
                }
                state.with_repo(id, |repo| (repo.name, repo.namespace) = (name, namespace));
            }
            Self::DeleteRepo(id, at) => state.with_repo(id, |repo| repo.shred(at)),
            Self::Stop(stop, reason, at) => {
                // Nobody uses them while it is locked.
                if let Stop::Repo(id) = stop {
                    state.repos.get_mut(&id).into_iter().for_each(Repo::forget_keys);
                }
                state.stops.insert(stop, (reason, at));
            }
            Self::Unstop(stop) => {
                state.stops.remove(&stop);
            }
            Self::Rotation(id, change) => {
                if let Some(repo) = state.repos.get_mut(&id) {
                    change.apply(repo);
                }
            }
            Self::Wrapped(wrapped) => wrapped.apply(state),
            Self::Share(change) => change.apply(state),
            Self::Act(change) => change.apply(state),
            Self::Claim(id, at) => {
                if let Some(principal) = state.principals.get_mut(&id) {
                    principal.claimed_ms = at;
                }
            }
            Self::Ask(change) => change.apply(state),
            Self::Seal(change) => change.apply(state),
            Self::Decoy(change) => change.apply(state),
            Self::Partner(id, partner) => state.partners.set(id, *partner),
            Self::Review(change) => change.apply(state),
            Self::Recipient(id, recipient) => {
                if let Some(principal) = state.principals.get_mut(&id) {
                    principal.recipient = recipient;
                }
            }
            Self::Quota(namespace, None) => drop(state.quotas.remove(&namespace)),
            Self::Quota(namespace, Some(bytes)) => drop(state.quotas.insert(namespace, bytes)),
        }
        Ok(())
    }
}

/// Applies the changes of one generation.
///
/// # Errors
/// [`PolicyError`]: the keeper then must stop, for its memory is not what is durable.
pub fn apply_all(changes: Vec<Change>, generation: u64, state: &mut State) -> Result<(), PolicyError> {
    changes.into_iter().try_for_each(|change| change.apply(state))?;
    state.generation = generation;
    Ok(())
}

/// Generations whose changes are kept for other keepers; one that is further behind loads everything.
const KEPT: u64 = 10_000;

/// Writes the sealed copy of the changes that make a generation.
///
/// # Errors
/// [`ChangeError`].
pub async fn publish(
    tx: &mut AnyConnection,
    keys: &OwnKeys,
    generation: u64,
    changes: &[Change],
) -> Result<(), ChangeError> {
    // Postcard into a growing vector fails for no value of these types.
    let body = zeroize::Zeroizing::new(postcard::to_stdvec(changes).expect("plain values"));
    let sealed =
        seal_meta(&keys.seal, &[b"change", &generation.to_be_bytes()], &body).map_err(|_| ChangeError::Seal)?;
    sqlx::query("INSERT INTO change (generation, body_sealed) VALUES ($1, $2)")
        .bind(generation as i64)
        .bind(sealed)
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM change WHERE generation <= $1")
        .bind(generation.saturating_sub(KEPT) as i64)
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE policy_generation SET generation = $1").bind(generation as i64).execute(tx).await?;
    Ok(())
}

/// A name that is taken already fails: by a living repository, a former name or a deleted one. A repository gets back a
/// name it had.
async fn take_name(
    tx: &mut AnyConnection,
    keys: &OwnKeys,
    kind: RepoKind,
    name: &RepoName,
    id: u64,
) -> Result<(), ChangeError> {
    let folded = name.folded();
    let index = name_index(keys, &format!("repo_name/{kind}"), &folded);
    let place: [&[u8]; 3] = [b"repo_name", kind.word().as_bytes(), &index];
    let sealed = seal_meta(&keys.seal, &place, folded.as_bytes()).map_err(|_| ChangeError::Seal)?;
    let held: Option<i64> = sqlx::query_scalar("SELECT repo FROM repo_name WHERE kind = $1 AND name_index = $2")
        .bind(kind.word())
        .bind(index.clone())
        .fetch_optional(&mut *tx)
        .await?;
    if held == Some(id as i64) {
        return Ok(());
    }
    sqlx::query("INSERT INTO repo_name (kind, name_index, name_sealed, repo) VALUES ($1, $2, $3, $4)")
        .bind(kind.word())
        .bind(index)
        .bind(sealed)
        .bind(id as i64)
        .execute(tx)
        .await?;
    Ok(())
}
