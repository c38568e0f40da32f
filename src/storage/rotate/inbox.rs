//! Uploads and xorbs that wait in the inbox: clients remember what they sent, and find it again.

use super::objects::{Moved, object_id, wrap};
use super::rows::{Inbox, Row};
use super::{RotateError, Rotation, get};
use crate::catalog::CatalogError;
use crate::check::payload::open_header;
use crate::tree::FileEntry;
use crate::upload::{index, open_claim, seal_claim};

/// The statements of one of the inbox's two tables.
pub(super) struct Table {
    /// As notes name it, and the keyed hash of its index.
    pub place: &'static str,
    page: &'static str,
    pub look: &'static str,
    pub header: &'static str,
    pub insert: &'static str,
}

pub(super) static UPLOAD: Table = Table {
    place: "upload",
    page: "SELECT digest_index AS place, object, header, claim_sealed AS claim, size, created_ms FROM upload u \
           WHERE repo = $1 AND digest_index > $2 AND NOT EXISTS (SELECT 1 FROM rotated r WHERE r.repo = $3 \
           AND r.place = 'upload' AND r.object = u.object) ORDER BY digest_index LIMIT 100",
    look: "SELECT object FROM upload WHERE repo = $1 AND digest_index = $2",
    header: "SELECT header FROM upload WHERE repo = $1 AND object = $2",
    insert: "INSERT INTO upload (repo, digest_index, object, header, claim_sealed, size, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
};

pub(super) static XORB: Table = Table {
    place: "xorb",
    page: "SELECT hash_index AS place, object, header, chunks_sealed AS claim, size, created_ms FROM xorb x \
           WHERE repo = $1 AND hash_index > $2 AND NOT EXISTS (SELECT 1 FROM rotated r WHERE r.repo = $3 \
           AND r.place = 'xorb' AND r.object = x.object) ORDER BY hash_index LIMIT 100",
    look: "SELECT object FROM xorb WHERE repo = $1 AND hash_index = $2",
    header: "SELECT header FROM xorb WHERE repo = $1 AND object = $2",
    insert: "INSERT INTO xorb (repo, hash_index, object, header, chunks_sealed, size, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
};

impl Rotation<'_> {
    /// Copies what waits there. Of two servers' times nothing depends: what the sweep takes meanwhile is not copied.
    pub(super) async fn inbox(&mut self) -> Result<(), RotateError> {
        for table in [&UPLOAD, &XORB] {
            let mut after = Vec::new();
            loop {
                self.flush().await?;
                let rows = sqlx::query(table.page)
                    .bind(self.old.repo.to_vec())
                    .bind(after.clone())
                    .bind(self.new.repo.to_vec())
                    .fetch_all(&self.catalog.database.reader)
                    .await
                    .map_err(CatalogError::from)?;
                let Some(last) = rows.last() else { break };
                after = get(last, "place")?;
                for row in &rows {
                    self.copy_inbox(table, row).await?;
                }
            }
        }
        Ok(())
    }

    async fn copy_inbox(&mut self, table: &'static Table, row: &sqlx::any::AnyRow) -> Result<(), RotateError> {
        let (old_index, header): (Vec<u8>, Vec<u8>) = (get(row, "place")?, get(row, "header")?);
        let object = object_id(row, "object")?;
        let broken = |what: &dyn std::fmt::Display| RotateError::Damaged(format!("{} {object}: {what}", table.place));
        let (keys, identity) = self.old.keys.inbox;
        // The claim opens with this header at this place, and no other.
        let claim = open_claim(self.old.repo, keys, &old_index, object, &header, get(row, "claim")?);
        let claim = claim.map_err(|error| broken(&error))?;
        let of = |keys| index(keys, table.place.as_bytes(), &claim.digest, &claim.principal);
        if of(keys) != old_index {
            return Err(broken(&"it is not at its place"));
        }
        let from = FileEntry::mac(keys, object, &header);
        let key = open_header(&header, identity).map_err(|error| broken(&error))?;
        let digest = strongroom_domain::Sha256::from_bytes(claim.digest);
        // A xorb's hash is over its chunks; each was verified when it came.
        let digest = (table.place == UPLOAD.place).then_some(&digest);
        let (anew, key) = self.payload(object, key, claim.size, digest).await?;
        let (keys, identity) = self.new.keys.inbox;
        let (header, index) = (wrap(&key, identity)?, of(keys));
        let moved = Moved::new(keys, table.place, (object, &from), (anew, &header));
        let sealed = seal_claim(self.new.repo, keys, &index, anew, &header, &claim)?;
        let (size, created_ms) = (get(row, "size")?, get(row, "created_ms")?);
        let (old, claim) = (object, sealed);
        let row = Inbox { table, old_index, old, index, moved, header, claim, size, created_ms };
        self.put(Row::Inbox(Box::new(row))).await
    }
}
