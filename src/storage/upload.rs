//! Uploads that no commit names yet: objects and xorbs, under the repository's inbox keys.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row};
use strongroom_database::Lock;
use strongroom_domain::Sha256;
use strongroom_envelope::{keyed_hash, open_meta, seal_meta};
use strongroom_protocol::MetaKeys;

use crate::catalog::{BATCH, Catalog, CatalogError, RepoId, now_ms};
use crate::close::{WRITES, is_counted_elsewhere};
use crate::objects::{ObjectId, Objects};
use crate::quota::{Counted, Quota, count, discount_forgotten};

/// An object in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its payload.
    pub object: ObjectId,
    /// Its header, for the inbox.
    pub header: Vec<u8>,
    /// Bytes of plaintext.
    pub size: u64,
    /// Who sent it: only that principal's commits link it.
    pub principal: String,
}

/// A chunk of a xorb: where it begins, bytes of its plaintext, its hash.
pub type XorbChunk = (u32, u32, [u8; 32]);

/// A xorb in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xorb {
    /// Its payload: the xorb as it was sent, sealed.
    pub object: ObjectId,
    /// Its header, for the inbox.
    pub header: Vec<u8>,
    /// Its bytes as they were sent.
    pub size: u64,
    /// Its chunks, verified when it came.
    pub chunks: Vec<XorbChunk>,
    /// Who sent it.
    pub principal: String,
}

/// What is sealed of an upload or a xorb.
#[derive(Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Of an upload the SHA-256, of a xorb its hash: a rotation finds the place under the new keys by it.
    pub digest: [u8; 32],
    /// Bytes of its plaintext.
    pub size: u64,
    /// Who sent it.
    pub principal: String,
    chunks: Vec<XorbChunk>,
}

pub(crate) fn index(inbox: &MetaKeys, what: &[u8], digest: &[u8; 32], principal: &str) -> Vec<u8> {
    keyed_hash(inbox.index.expose(), &[what, digest, principal.as_bytes()])[..16].to_vec()
}

/// What an upload is found by.
pub(crate) fn digest_index(inbox: &MetaKeys, digest: &Sha256, principal: &str) -> Vec<u8> {
    index(inbox, b"upload", digest.as_bytes(), principal)
}

impl Catalog {
    /// Notes an object whose bytes were sent and hashed.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn add_upload(
        &self,
        repo: RepoId,
        inbox: &MetaKeys,
        digest: &Sha256,
        upload: &Upload,
        quota: Quota,
    ) -> Result<(), CatalogError> {
        let index = digest_index(inbox, digest, &upload.principal);
        let (digest, principal) = (*digest.as_bytes(), upload.principal.clone());
        let claim = Claim { digest, size: upload.size, principal, chunks: Vec::new() };
        let sealed = seal_claim(repo, inbox, &index, upload.object, &upload.header, &claim)?;
        let add = sqlx::query(
            "INSERT INTO upload (repo, digest_index, object, header, claim_sealed, size, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(repo.to_vec())
        .bind(index)
        .bind(upload.object.0.to_vec())
        .bind(upload.header.clone())
        .bind(sealed)
        .bind(upload.size as i64)
        .bind(now_ms());
        self.add(add, repo, (Counted::File, upload.size), upload.object, quota).await.map(drop)
    }

    /// Adds a row, and counts it; whether it is new. A payload that no row names then, sent twice or past the quota, is an
    /// orphan from the start.
    async fn add(
        &self,
        row: Query<'_, Any, AnyArguments>,
        repo: RepoId,
        (what, bytes): (Counted, u64),
        object: ObjectId,
        quota: Quota,
    ) -> Result<bool, CatalogError> {
        let mut tx = match self.begin_write(repo).await {
            Err(CatalogError::Closed) => {
                self.orphan(object).await?;
                return Err(CatalogError::Closed);
            }
            tx => tx?,
        };
        let new = row.execute(&mut *tx).await?.rows_affected() == 1;
        let counted = if new { count(&mut tx, repo, what, quota, bytes).await } else { Ok(()) };
        match counted {
            Ok(()) => tx.commit().await?,
            Err(_) => tx.rollback().await?,
        }
        if !new || counted.is_err() {
            self.orphan(object).await?;
        }
        counted.map(|()| new)
    }

    /// The object with this digest that this principal sent.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn upload(
        &self,
        repo: RepoId,
        inbox: &MetaKeys,
        digest: &Sha256,
        principal: &str,
    ) -> Result<Option<Upload>, CatalogError> {
        let index = digest_index(inbox, digest, principal);
        let query = || {
            sqlx::query("SELECT object, header, claim_sealed FROM upload WHERE repo = $1 AND digest_index = $2")
                .bind(repo.to_vec())
                .bind(index.clone())
        };
        let row = self.database.read_one(query).await?;
        let Some(row) = row else { return Ok(None) };
        let (object, header) = (object(row.try_get("object")?)?, row.try_get::<Vec<u8>, _>("header")?);
        let claim = open_claim(repo, inbox, &index, object, &header, row.try_get("claim_sealed")?)?;
        Ok(Some(Upload { object, header, size: claim.size, principal: claim.principal }))
    }

    /// Notes a verified xorb; whether it is new.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn add_xorb(
        &self,
        repo: RepoId,
        inbox: &MetaKeys,
        hash: &[u8; 32],
        xorb: &Xorb,
        quota: Quota,
    ) -> Result<bool, CatalogError> {
        let index = index(inbox, b"xorb", hash, &xorb.principal);
        let (principal, chunks) = (xorb.principal.clone(), xorb.chunks.clone());
        let claim = Claim { digest: *hash, size: xorb.size, principal, chunks };
        let sealed = seal_claim(repo, inbox, &index, xorb.object, &xorb.header, &claim)?;
        let add = sqlx::query(
            "INSERT INTO xorb (repo, hash_index, object, header, chunks_sealed, size, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(repo.to_vec())
        .bind(index)
        .bind(xorb.object.0.to_vec())
        .bind(xorb.header.clone())
        .bind(sealed)
        .bind(xorb.size as i64)
        .bind(now_ms());
        self.add(add, repo, (Counted::Xorb, xorb.size), xorb.object, quota).await
    }

    /// The xorb with this hash that this principal sent to this repository.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn xorb(
        &self,
        repo: RepoId,
        inbox: &MetaKeys,
        hash: &[u8; 32],
        principal: &str,
    ) -> Result<Option<Xorb>, CatalogError> {
        let index = index(inbox, b"xorb", hash, principal);
        let query = || {
            sqlx::query("SELECT object, header, chunks_sealed FROM xorb WHERE repo = $1 AND hash_index = $2")
                .bind(repo.to_vec())
                .bind(index.clone())
        };
        let row = self.database.read_one(query).await?;
        let Some(row) = row else { return Ok(None) };
        let (object, header) = (object(row.try_get("object")?)?, row.try_get::<Vec<u8>, _>("header")?);
        let claim = open_claim(repo, inbox, &index, object, &header, row.try_get("chunks_sealed")?)?;
        Ok(Some(Xorb { object, header, size: claim.size, chunks: claim.chunks, principal: claim.principal }))
    }

    /// Notes a payload that nothing names.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn orphan(&self, object: ObjectId) -> Result<(), CatalogError> {
        sqlx::query("INSERT INTO orphan (object, since_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(object.0.to_vec())
            .bind(now_ms())
            .execute(&self.database.writer)
            .await?;
        Ok(())
    }

    /// Those of at most [`BATCH`] payloads that no envelope, upload or xorb names.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) async fn unnamed_of(&self, objects: &[ObjectId]) -> Result<Vec<ObjectId>, CatalogError> {
        let list = (1..=objects.len()).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ");
        let text = format!(
            "SELECT object FROM envelope WHERE object IN ({list}) UNION SELECT object FROM upload WHERE object IN ({list}) \
             UNION SELECT object FROM xorb WHERE object IN ({list})"
        );
        // Numbers of parameters, and nothing else.
        let mut query = sqlx::query(AssertSqlSafe(text));
        for object in objects {
            query = query.bind(object.0.to_vec());
        }
        let rows = query.fetch_all(&self.database.reader).await?;
        let named = rows.iter().map(|row| object(row.try_get("object")?)).collect::<Result<HashSet<_>, _>>()?;
        Ok(objects.iter().filter(|object| !named.contains(object)).copied().collect())
    }

    /// Notes those of some payloads that nothing names.
    async fn orphan_unnamed(&self, objects: &[ObjectId]) -> Result<(), CatalogError> {
        for batch in objects.chunks(BATCH) {
            for object in self.unnamed_of(batch).await? {
                self.orphan(object).await?;
            }
        }
        Ok(())
    }

    /// Removes uploads and xorbs older than `before_ms`, and the payloads that nothing names any more. Gives how many
    /// payloads were removed. A row goes before its payload: if we die between, the orphan row is still there.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn sweep(&self, objects: &Objects, before_ms: i64) -> Result<u64, CatalogError> {
        let now = now_ms();
        for (what, old, note, delete) in [
            (
                Counted::File,
                "SELECT DISTINCT repo FROM upload WHERE created_ms < $1",
                "INSERT INTO orphan (object, since_ms) SELECT object, $1 FROM upload WHERE created_ms < $2 AND repo = $3 \
                 ON CONFLICT DO NOTHING",
                "DELETE FROM upload WHERE created_ms < $1 AND repo = $2",
            ),
            (
                Counted::Xorb,
                "SELECT DISTINCT repo FROM xorb WHERE created_ms < $1",
                "INSERT INTO orphan (object, since_ms) SELECT object, $1 FROM xorb WHERE created_ms < $2 AND repo = $3 \
                 ON CONFLICT DO NOTHING",
                "DELETE FROM xorb WHERE created_ms < $1 AND repo = $2",
            ),
        ] {
            // One repository after the other: each locks its own count, and then its namespace's, as commits do.
            for row in sqlx::query(old).bind(before_ms).fetch_all(&self.database.reader).await? {
                let repo: Vec<u8> = row.try_get("repo")?;
                let mut tx = self.database.begin().await?;
                self.database.lock_at(&mut tx, WRITES, Lock::Shared).await?;
                if is_counted_elsewhere(&mut tx, &repo).await? {
                    continue;
                }
                discount_forgotten(&mut tx, &repo, what, before_ms).await?;
                sqlx::query(note).bind(now).bind(before_ms).bind(repo.clone()).execute(&mut *tx).await?;
                sqlx::query(delete).bind(before_ms).bind(repo).execute(&mut *tx).await?;
                tx.commit().await?;
            }
        }
        // Payloads that were published, and whose row was never written: we died between the two.
        self.orphan_unnamed(&objects.written_before(before_ms).await?).await?;
        let mut removed = 0;
        for object in unnamed(&self.database.writer).await? {
            objects.delete(object).await?;
            removed += 1;
        }
        sqlx::query("DELETE FROM orphan WHERE since_ms <= $1").bind(now).execute(&self.database.writer).await?;
        Ok(removed)
    }
}

/// Orphans that no envelope, upload or xorb names: a committed object keeps its payload.
async fn unnamed(pool: &AnyPool) -> Result<Vec<ObjectId>, CatalogError> {
    let rows = sqlx::query(
        "SELECT o.object FROM orphan o WHERE NOT EXISTS (SELECT 1 FROM envelope e WHERE e.object = o.object) \
         AND NOT EXISTS (SELECT 1 FROM upload u WHERE u.object = o.object) \
         AND NOT EXISTS (SELECT 1 FROM xorb x WHERE x.object = o.object)",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| object(row.try_get("object")?)).collect()
}

fn object(bytes: Vec<u8>) -> Result<ObjectId, CatalogError> {
    bytes.try_into().map(ObjectId).map_err(|_| CatalogError::Value("object id"))
}

/// The header is associated data: one that was swapped does not open the claim.
pub(crate) fn seal_claim(
    repo: RepoId,
    inbox: &MetaKeys,
    index: &[u8],
    object: ObjectId,
    header: &[u8],
    claim: &Claim,
) -> Result<Vec<u8>, CatalogError> {
    // Postcard into a growing vector fails for no value of these types.
    let body = postcard::to_stdvec(claim).expect("plain values");
    let place: [&[u8]; 5] = [b"inbox", &repo, index, &object.0, header];
    seal_meta(inbox.seal.expose(), &place, &body).map_err(|_| CatalogError::Randomness)
}

pub(crate) fn open_claim(
    repo: RepoId,
    inbox: &MetaKeys,
    index: &[u8],
    object: ObjectId,
    header: &[u8],
    sealed: Vec<u8>,
) -> Result<Claim, CatalogError> {
    let place: [&[u8]; 5] = [b"inbox", &repo, index, &object.0, header];
    let body = open_meta(inbox.seal.expose(), &place, &sealed)?;
    postcard::from_bytes(&body).map_err(|_| CatalogError::Value("upload"))
}
