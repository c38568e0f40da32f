//! What no commit names: uploads, xorbs, and envelopes that no directory holds.

use sqlx::Row;
use strongroom_domain::Compartment;
use strongroom_envelope::Identity;
use strongroom_protocol::MetaKeys;

use super::payload::open_header;
use super::{Check, CheckKeys, PAGE, SeenObjects, object_id};
use crate::catalog::{CatalogError, RepoId};
use crate::upload::{digest_index, open_claim};

impl Check<'_> {
    /// Envelopes that were committed once: a branch that was deleted leaves its commits, so there are few.
    pub(super) async fn unnamed_envelopes(
        &mut self,
        repo: RepoId,
        keys: &CheckKeys<'_>,
        seen: &SeenObjects,
    ) -> Result<(), CatalogError> {
        for (compartment, _, identity) in &keys.compartments {
            let mut after = Vec::new();
            loop {
                let rows = sqlx::query(
                    "SELECT object, header, size FROM envelope WHERE repo = $1 AND compartment = $2 AND object > $3 \
                     ORDER BY object LIMIT $4",
                )
                .bind(repo.to_vec())
                .bind(compartment.word())
                .bind(after.clone())
                .bind(PAGE)
                .fetch_all(&self.catalog.database.reader)
                .await?;
                let Some(last) = rows.last() else { break };
                after = last.try_get("object")?;
                for row in &rows {
                    let object = object_id(row.try_get("object")?)?;
                    if seen.contains(&(*compartment as u8, object.0)) {
                        continue;
                    }
                    let (header, size): (Vec<u8>, i64) = (row.try_get("header")?, row.try_get("size")?);
                    let checked = self.object(object, &header, identity, size as u64).await;
                    if let Err(what) = checked
                        && self.catalog.names_object(object).await?
                    {
                        self.found(repo, None, Some(object), format!("an object that no directory holds: {what}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Uploads and xorbs: their claims, envelopes and payloads. A payload that a commit took over was looked at already.
    pub(super) async fn inbox(
        &mut self,
        repo: RepoId,
        (keys, identity): (&MetaKeys, &Identity),
        seen: &SeenObjects,
    ) -> Result<(), CatalogError> {
        for (what, page) in [
            (
                "upload",
                "SELECT digest_index AS place, object, header, claim_sealed AS claim FROM upload WHERE repo = $1 \
                 AND digest_index > $2 ORDER BY digest_index LIMIT $3",
            ),
            (
                "xorb",
                "SELECT hash_index AS place, object, header, chunks_sealed AS claim FROM xorb WHERE repo = $1 \
                 AND hash_index > $2 ORDER BY hash_index LIMIT $3",
            ),
        ] {
            let mut after = Vec::new();
            loop {
                let rows = sqlx::query(page).bind(repo.to_vec()).bind(after.clone()).bind(PAGE);
                let rows = rows.fetch_all(&self.catalog.database.reader).await?;
                let Some(last) = rows.last() else { break };
                after = last.try_get("place")?;
                for row in &rows {
                    let (place, header): (Vec<u8>, Vec<u8>) = (row.try_get("place")?, row.try_get("header")?);
                    let object = object_id(row.try_get("object")?)?;
                    let wrong = match open_claim(repo, keys, &place, object, &header, row.try_get("claim")?) {
                        Err(error) => Some(error.to_string()),
                        Ok(_) if Compartment::ALL.iter().any(|part| seen.contains(&(*part as u8, object.0))) => {
                            open_header(&header, identity).err()
                        }
                        Ok(claim) => match self.object(object, &header, identity, claim.size).await {
                            Err(error) => Some(error),
                            // A xorb's hash is over its chunks; each was verified when it came.
                            Ok(digest) if what == "upload" => (digest_index(keys, &digest, &claim.principal) != place)
                                .then(|| "its content is not the one that was sent".to_owned()),
                            Ok(_) => None,
                        },
                    };
                    if let Some(wrong) = wrong
                        && self.catalog.names_object(object).await?
                    {
                        self.found(repo, None, Some(object), format!("{what} that no commit names: {wrong}"));
                    }
                }
            }
        }
        Ok(())
    }
}
