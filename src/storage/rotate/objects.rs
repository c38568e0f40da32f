//! Envelopes, and payloads that are written anew.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;
use strongroom_domain::{Compartment, Sha256};
use strongroom_envelope::{FileKey, Header, Identity, Sealer, keyed_hash, keyed_hash_is};
use strongroom_protocol::MetaKeys;

use super::inbox::{UPLOAD, XORB};
use super::rows::{Envelope, Row};
use super::{RotateError, Rotation, Side, damaged, get};
use crate::catalog::{BATCH, CatalogError, RepoId};
use crate::check::payload::{open_header, read_payload};
use crate::commit::content_index;
use crate::objects::ObjectId;
use crate::tree::FileEntry;

/// Rows that are read at once.
const PAGE: i64 = 100;

/// What became of an object in one place: a compartment, or the inbox.
#[derive(Clone)]
pub(super) struct Moved {
    /// Its payload; another where it was written anew.
    pub anew: ObjectId,
    /// The keyed hash of its new header, as directories have it.
    pub mac: [u8; 32],
    /// Binds it to the old object and header. Rows can be edited by whoever has the database; nobody makes this without the new
    /// keys.
    pub proof: [u8; 32],
}

impl Moved {
    pub fn new(
        keys: &MetaKeys,
        place: &str,
        (old, from): (ObjectId, &[u8; 32]),
        (anew, header): (ObjectId, &[u8]),
    ) -> Self {
        let mac = FileEntry::mac(keys, anew, header);
        let proof = keyed_hash(keys.index.expose(), &Self::parts(place, &old, from, &anew, &mac));
        Self { anew, mac, proof }
    }

    fn parts<'a>(
        place: &'a str,
        old: &'a ObjectId,
        from: &'a [u8; 32],
        anew: &'a ObjectId,
        mac: &'a [u8; 32],
    ) -> [&'a [u8]; 6] {
        [b"rotated", place.as_bytes(), &old.0, from, &anew.0, mac]
    }

    /// Whether it was made of this object under the header with this keyed hash.
    fn is_of(&self, keys: &MetaKeys, place: &str, old: ObjectId, from: &[u8; 32]) -> bool {
        let parts = Self::parts(place, &old, from, &self.anew, &self.mac);
        keyed_hash_is(keys.index.expose(), &parts, &self.proof)
    }

    fn read(row: &sqlx::any::AnyRow) -> Result<Self, CatalogError> {
        let (anew, mac): (Vec<u8>, Vec<u8>) = (get(row, "anew")?, get(row, "mac")?);
        let wrong = |_| CatalogError::Value("rotated object");
        Ok(Self {
            anew: anew.try_into().map(ObjectId).map_err(wrong)?,
            mac: mac.try_into().map_err(wrong)?,
            proof: get::<Vec<u8>>(row, "proof")?.try_into().map_err(wrong)?,
        })
    }
}

pub(super) fn object_id(row: &sqlx::any::AnyRow, column: &str) -> Result<ObjectId, CatalogError> {
    get::<Vec<u8>>(row, column)?.try_into().map(ObjectId).map_err(|_| CatalogError::Value("object id"))
}

impl Side<'_> {
    pub(super) fn part(&self, compartment: Compartment) -> Result<(&MetaKeys, &Identity), RotateError> {
        self.keys.of(compartment).ok_or_else(|| RotateError::Damaged(format!("there are no keys of {compartment}")))
    }

    /// The keys of a place.
    fn at(&self, place: &str) -> Result<(&MetaKeys, &Identity), RotateError> {
        match place.parse::<Compartment>() {
            Ok(compartment) => self.part(compartment),
            Err(_) => Ok(self.keys.inbox),
        }
    }
}

/// The age header for one identity.
pub(super) fn wrap(key: &FileKey, identity: &Identity) -> Result<Vec<u8>, RotateError> {
    let header = Header::seal(key, &[identity.to_recipient()]);
    header.map(|header| header.as_bytes().to_vec()).map_err(|error| RotateError::Damaged(error.to_string()))
}

impl Rotation<'_> {
    /// Gives entries of a directory their new objects and envelopes.
    pub(super) async fn files(
        &mut self,
        compartment: Compartment,
        files: Vec<&mut FileEntry>,
    ) -> Result<(), RotateError> {
        let place = compartment.word();
        let objects: Vec<ObjectId> = files.iter().map(|file| ObjectId(file.object)).collect();
        let mut known = self.known(place, &objects).await?;
        // Those that wait are asked for now: they may be written before their turn comes.
        known.extend(objects.iter().filter_map(|object| Some((*object, self.waiting(place, *object)?.clone()))));
        for file in files {
            let object = ObjectId(file.object);
            let (keys, _) = self.new.part(compartment)?;
            let moved = match known.get(&object) {
                Some(moved) if moved.is_of(keys, place, object, &file.envelope_mac) => moved.clone(),
                Some(_) => return damaged(format!("the envelope or the notes of object {object} were edited")),
                None => self.envelope(compartment, file).await?,
            };
            (file.object, file.envelope_mac) = (moved.anew.0, moved.mac);
            known.insert(object, moved);
        }
        Ok(())
    }

    async fn known(&self, place: &'static str, objects: &[ObjectId]) -> Result<HashMap<ObjectId, Moved>, RotateError> {
        let mut known = HashMap::new();
        for batch in objects.chunks(BATCH) {
            let list = (3..batch.len() + 3).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ");
            let text = format!(
                "SELECT object, anew, mac, proof FROM rotated WHERE repo = $1 AND place = $2 AND object IN ({list})"
            );
            // Numbers of parameters, and nothing else.
            let mut query = sqlx::query(AssertSqlSafe(text)).bind(self.new.repo.to_vec()).bind(place);
            for object in batch {
                query = query.bind(object.0.to_vec());
            }
            for row in query.fetch_all(&self.catalog.database.reader).await.map_err(CatalogError::from)? {
                known.insert(object_id(&row, "object")?, Moved::read(&row)?);
            }
        }
        Ok(known)
    }

    /// A file's envelope, once it is the one that its directory vouches for.
    async fn envelope(&mut self, compartment: Compartment, file: &FileEntry) -> Result<Moved, RotateError> {
        let object = ObjectId(file.object);
        let header = self.catalog.envelope(self.old.repo, compartment, object).await?;
        let (keys, identity) = self.old.part(compartment)?;
        if !file.has_envelope(keys, &header) {
            return damaged(format!("the envelope of object {object} is not the one that was committed"));
        }
        let key = open_header(&header, identity).map_err(|error| RotateError::Damaged(format!("{object}: {error}")))?;
        let digest = Some((file.sha256, file.size));
        self.move_envelope(compartment, (object, &file.envelope_mac), key, file.size, digest).await
    }

    async fn move_envelope(
        &mut self,
        compartment: Compartment,
        (old, from): (ObjectId, &[u8; 32]),
        key: FileKey,
        size: u64,
        content: Option<(Sha256, u64)>,
    ) -> Result<Moved, RotateError> {
        let digest = content.map(|(digest, _)| digest);
        let (anew, key) = self.payload(old, key, size, digest.as_ref()).await?;
        let (keys, identity) = self.new.part(compartment)?;
        let header = wrap(&key, identity)?;
        let moved = Moved::new(keys, compartment.word(), (old, from), (anew, &header));
        let content = digest.map(|digest| content_index(keys, &digest));
        let size = size as i64; // it came out of a BIGINT
        let row = Envelope { compartment, old, moved: moved.clone(), header, size, content };
        self.put(Row::Envelope(Box::new(row))).await?;
        Ok(moved)
    }

    /// Envelopes that no directory holds: nothing vouches for them, and nothing reads them; they still count.
    pub(super) async fn loose_envelopes(&mut self) -> Result<(), RotateError> {
        for compartment in Compartment::ALL {
            let mut after = Vec::new();
            loop {
                self.flush().await?;
                let text = "SELECT e.object, e.header, e.size FROM envelope e WHERE e.repo = $1 AND e.compartment = $2 \
                            AND e.object > $3 AND NOT EXISTS (SELECT 1 FROM rotated r WHERE r.repo = $4 \
                            AND r.place = $2 AND r.object = e.object) ORDER BY e.object LIMIT $5";
                let rows = sqlx::query(text)
                    .bind(self.old.repo.to_vec())
                    .bind(compartment.word())
                    .bind(after.clone())
                    .bind(self.new.repo.to_vec())
                    .bind(PAGE)
                    .fetch_all(&self.catalog.database.reader)
                    .await
                    .map_err(CatalogError::from)?;
                let Some(last) = rows.last() else { break };
                after = get(last, "object")?;
                for row in &rows {
                    let (object, header): (_, Vec<u8>) = (object_id(row, "object")?, get(row, "header")?);
                    let (keys, identity) = self.old.part(compartment)?;
                    let from = FileEntry::mac(keys, object, &header);
                    let key = open_header(&header, identity);
                    let key = key.map_err(|error| RotateError::Damaged(format!("{object}: {error}")))?;
                    let size = get::<i64>(row, "size")? as u64;
                    self.move_envelope(compartment, (object, &from), key, size, None).await?;
                }
            }
        }
        Ok(())
    }

    /// The payload that an object has in the copy, and its file key. Written anew once, wherever the object lies.
    pub(super) async fn payload(
        &mut self,
        object: ObjectId,
        key: FileKey,
        size: u64,
        digest: Option<&Sha256>,
    ) -> Result<(ObjectId, FileKey), RotateError> {
        if !self.re_encrypt {
            return Ok((object, key));
        }
        // What waits is seen by the next question, and a payload has its row before the next is begun.
        self.flush().await?;
        if let Some(found) = self.written(object).await? {
            return Ok(found);
        }
        let fresh = FileKey::generate().map_err(|_| CatalogError::Randomness)?;
        let anew = ObjectId::generate().map_err(CatalogError::from)?;
        let mut writer = self.objects.begin(anew);
        let mut sealer = Sealer::new(&fresh, writer.buffer()).map_err(|_| CatalogError::Randomness)?;
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let (copied, progress) = (&mut self.copied, &mut self.progress);
        let read = read_payload(self.objects, object, &key, size, async |plain| {
            sealer.push(plain, writer.buffer()).map_err(|error| words(&error))?;
            copied.bytes += plain.len() as u64;
            progress(copied);
            writer.flush().await.map_err(|error| words(&error))
        });
        let what = match read.await {
            Ok(found) if digest.is_none_or(|digest| *digest == found) => None,
            Ok(_) => Some("its content is not the one that was committed".to_owned()),
            Err(what) => Some(what),
        };
        if let Some(what) = what {
            writer.abort().await;
            return damaged(format!("object {object}: {what}"));
        }
        sealer.finish(writer.buffer()).map_err(|error| RotateError::Damaged(error.to_string()))?;
        // Durable before a row names it. If we die between the two, it is a payload that the sweep finds.
        writer.finish().await.map_err(CatalogError::from)?;
        self.objects.give_to_owner(anew).map_err(CatalogError::from)?;
        Ok((anew, fresh))
    }

    /// The payload that was written for an object in another place, where its rows are whole.
    async fn written(&self, object: ObjectId) -> Result<Option<(ObjectId, FileKey)>, RotateError> {
        let text = "SELECT place, anew, mac, proof FROM rotated WHERE repo = $1 AND object = $2 AND anew <> $2";
        let rows = sqlx::query(text).bind(self.new.repo.to_vec()).bind(object.0.to_vec());
        for row in rows.fetch_all(&self.catalog.database.reader).await.map_err(CatalogError::from)? {
            let (place, moved): (String, _) = (get(&row, "place")?, Moved::read(&row)?);
            let before = self.header(self.old.repo, &place, object).await?;
            let after = self.header(self.new.repo, &place, moved.anew).await?;
            let (Some(before), Some(after)) = (before, after) else { continue };
            let (old, (new, identity)) = (self.old.at(&place)?.0, self.new.at(&place)?);
            let from = FileEntry::mac(old, object, &before);
            if !moved.is_of(new, &place, object, &from) || FileEntry::mac(new, moved.anew, &after) != moved.mac {
                continue;
            }
            if let Ok(key) = open_header(&after, identity) {
                return Ok(Some((moved.anew, key)));
            }
        }
        Ok(None)
    }

    async fn header(&self, repo: RepoId, place: &str, object: ObjectId) -> Result<Option<Vec<u8>>, RotateError> {
        let inbox = [&UPLOAD, &XORB].into_iter().find(|table| table.place == place);
        let row = match inbox {
            Some(table) => sqlx::query(table.header).bind(repo.to_vec()).bind(object.0.to_vec()),
            None => sqlx::query("SELECT header FROM envelope WHERE repo = $1 AND object = $2 AND compartment = $3")
                .bind(repo.to_vec())
                .bind(object.0.to_vec())
                .bind(place.to_owned()),
        };
        let row = row.fetch_optional(&self.catalog.database.reader).await.map_err(CatalogError::from)?;
        Ok(row.map(|row| get(&row, "header")).transpose()?)
    }
}
