//! Reading what the keeper knows, at its start.

use futures_util::TryStreamExt;
use sqlx::{AnyConnection, Row};
use strongroom_domain::RepoKind;
use strongroom_envelope::open_meta;

use crate::keys::OwnKeys;
use crate::policy::{Assignment, Line, Policy, PrincipalId};
use crate::state::{LoadError, Principal, Repo, Rules, State, Stop, Token, number, place_from, recipients};
use crate::{act, ask, decoy, partner, review, rotation, seal, share};

fn text(keys: &OwnKeys, place: &[&[u8]], sealed: &[u8]) -> Result<String, LoadError> {
    String::from_utf8(open_meta(&keys.seal, place, sealed)?.to_vec()).map_err(|_| LoadError::Value("text"))
}

/// Reads all of it, in a transaction beside which nothing changes.
///
/// # Errors
/// [`LoadError`]: one value that can't be trusted, and the keeper does not start.
pub async fn load(tx: &mut AnyConnection, keys: &OwnKeys, rules: &Rules) -> Result<State, LoadError> {
    let generation = sqlx::query("SELECT generation FROM policy_generation").fetch_one(&mut *tx).await?;
    let policy = Policy::new(&rules.model, &rules.roles, [], [])?;
    let mut state = State::new(number(&generation, "generation")?, policy);
    let rows = sqlx::query("SELECT value FROM instance WHERE name = 'root_recipients'").fetch_all(&mut *tx).await?;
    for row in rows {
        let lines: Vec<u8> = row.try_get("value")?;
        let lines = std::str::from_utf8(&lines).map_err(|_| LoadError::Value("root recipient"))?;
        state.root_recipients = recipients(lines.lines())?;
    }
    let text = |place: &[&[u8]], sealed: Vec<u8>| text(keys, place, &sealed);
    for row in sqlx::query("SELECT id, name_sealed FROM namespace").fetch_all(&mut *tx).await? {
        let id = number(&row, "id")?;
        let name = text(&[b"namespace", &id.to_be_bytes()], row.try_get("name_sealed")?)?;
        state.namespace_names.insert(name.to_ascii_lowercase(), id);
        state.namespaces.insert(id, name);
    }
    for row in sqlx::query("SELECT namespace, bytes FROM quota").fetch_all(&mut *tx).await? {
        state.quotas.insert(number(&row, "namespace")?, number(&row, "bytes")?);
    }
    for row in sqlx::query("SELECT * FROM principal").fetch_all(&mut *tx).await? {
        let id = number(&row, "id")?;
        let name = text(&[b"principal", &id.to_be_bytes()], row.try_get("name_sealed")?)?;
        let removed_ms = row.try_get("removed_ms")?;
        state.principal_names.insert(name.to_ascii_lowercase(), id);
        let recipient: Option<Vec<u8>> = row.try_get("recipient_sealed")?;
        let recipient = recipient.map(|sealed| text(&[b"recipient", &id.to_be_bytes()], sealed)).transpose()?;
        let (created_ms, claimed_ms) = (row.try_get("created_ms")?, row.try_get("claimed_ms")?);
        state.principals.insert(id, Principal { name, created_ms, removed_ms, recipient, claimed_ms });
    }
    for row in sqlx::query("SELECT * FROM token").fetch_all(&mut *tx).await? {
        let id = number(&row, "id")?;
        let sealed: Vec<u8> = row.try_get("body_sealed")?;
        let body = open_meta(&keys.seal, &[b"token", &id.to_be_bytes()], &sealed)?;
        let hash: Vec<u8> = row.try_get("hash")?;
        let token = Token {
            principal: PrincipalId(number(&row, "principal")?),
            hash: hash.try_into().map_err(|_| LoadError::Value("token hash"))?,
            body: postcard::from_bytes(&body).map_err(|_| LoadError::Value("token"))?,
            created_ms: row.try_get("created_ms")?,
            expires_ms: row.try_get("expires_ms")?,
            last_used_ms: row.try_get("last_used_ms")?,
            revoked_ms: row.try_get("revoked_ms")?,
        };
        state.token_hashes.insert(token.hash, id);
        state.tokens.insert(id, token);
    }
    repos(tx, keys, &mut state).await?;
    for row in sqlx::query("SELECT principal, role, place, place_id FROM assignment").fetch_all(&mut *tx).await? {
        let place = place_from(&row.try_get::<String, _>("place")?, row.try_get("place_id")?);
        state.assignments.insert(Assignment {
            principal: PrincipalId(number(&row, "principal")?),
            role: row.try_get::<String, _>("role")?.parse().map_err(|_| LoadError::Value("role"))?,
            place: place.ok_or(LoadError::Value("place"))?,
        });
    }
    for row in sqlx::query("SELECT * FROM line").fetch_all(&mut *tx).await? {
        let place = place_from(&row.try_get::<String, _>("place")?, row.try_get("place_id")?);
        let compartment: String = row.try_get("compartment")?;
        let compartment = match compartment.as_str() {
            "-" => None,
            word => Some(word.parse().map_err(|_| LoadError::Value("compartment"))?),
        };
        state.lines.insert(Line {
            principal: PrincipalId(number(&row, "principal")?),
            action: row.try_get::<String, _>("action")?.parse().map_err(|_| LoadError::Value("action"))?,
            compartment,
            place: place.ok_or(LoadError::Value("place"))?,
            allow: row.try_get::<String, _>("effect")? == "allow",
        });
    }
    for row in sqlx::query("SELECT subject, id, reason_sealed, since_ms FROM stop").fetch_all(&mut *tx).await? {
        let (subject, id): (String, _) = (row.try_get("subject")?, number(&row, "id")?);
        let reason = text(&[b"stop", subject.as_bytes(), &id.to_be_bytes()], row.try_get("reason_sealed")?)?;
        let stop = Stop::from_columns(&subject, id).ok_or(LoadError::Value("lock"))?;
        state.stops.insert(stop, (reason, row.try_get("since_ms")?));
    }
    let (held, lines) = (state.assignments.iter().copied(), state.lines.iter().copied());
    state.policy = Policy::new(&rules.model, &rules.roles, held, lines)?;
    state.acts = act::load(tx, keys).await?;
    state.shares = share::load(tx, keys).await?;
    state.asks = ask::load(tx, keys).await?;
    (state.sealed, state.seals) = seal::load(tx, keys).await?;
    state.decoys = decoy::load(tx, keys).await?;
    state.partners = partner::load(tx, keys).await?;
    state.reviews = review::load(tx, keys).await?;
    for (id, share) in state.shares.iter().filter(|(_, share)| share.revoked_ms.is_none()) {
        state.policy.share(*id, share.allowance());
    }
    Ok(state)
}

/// Reads the repositories and their names. There are more of them than of anything else that a start reads: each row is taken as
/// it comes, while the database looks for the next.
async fn repos(tx: &mut AnyConnection, keys: &OwnKeys, state: &mut State) -> Result<(), LoadError> {
    let columns =
        "SELECT id, catalog_id, kind, namespace, name_sealed, secret, created_ms, deleted_ms, moved_ms FROM repo";
    let mut rows = sqlx::query(columns).fetch(&mut *tx);
    while let Some(row) = rows.try_next().await? {
        let id = number(&row, "id")?;
        let name: Vec<u8> = row.try_get("name_sealed")?;
        let catalog_id: Vec<u8> = row.try_get("catalog_id")?;
        let mut repo = Repo::new(
            catalog_id.try_into().map_err(|_| LoadError::Value("repository id"))?,
            row.try_get::<String, _>("kind")?.parse().map_err(|_| LoadError::Value("kind"))?,
            text(keys, &[b"repo", &id.to_be_bytes()], &name)?
                .parse()
                .map_err(|_| LoadError::Value("repository name"))?,
            number(&row, "namespace")?,
            row.try_get("secret")?,
            row.try_get("created_ms")?,
        );
        (repo.deleted_ms, repo.moved_ms) = (row.try_get("deleted_ms")?, row.try_get("moved_ms")?);
        state.repo_names.insert((repo.kind, repo.name.folded()), id);
        state.orders.add(&repo, id);
        state.repos.insert(id, repo);
    }
    drop(rows);
    rotation::load(tx, &mut state.repos).await?;
    // Former names: a repository that has one name has that of its row.
    let former = "SELECT kind, name_index, name_sealed, repo FROM repo_name \
                  WHERE repo IN (SELECT repo FROM repo_name GROUP BY repo HAVING COUNT(*) > 1)";
    for row in sqlx::query(former).fetch_all(&mut *tx).await? {
        let kind: RepoKind = row.try_get::<String, _>("kind")?.parse().map_err(|_| LoadError::Value("kind"))?;
        let (index, sealed): (Vec<u8>, Vec<u8>) = (row.try_get("name_index")?, row.try_get("name_sealed")?);
        let folded = text(keys, &[b"repo_name", kind.word().as_bytes(), &index], &sealed)?;
        state.repo_names.insert((kind, folded), number(&row, "repo")?);
    }
    Ok(())
}
