//! Receiving: hashes and seals what comes, piece by piece. Plaintext never touches a disk.

use aws_lc_rs::digest::{Context, SHA256};
use strongroom_domain::Sha256;
use strongroom_envelope::{FileKey, Header, Recipient, Sealer, seal_whole};
use strongroom_protocol::{Grant, MetaKeys, RepoParts, SPANS};
use strongroom_storage::{ObjectId, ObjectWriter, Quota, Upload};
use tracing::Instrument;

use crate::gate::Gate;
use crate::refused::Refused;

/// What a write to this repository counts against.
pub fn quota(repo: &RepoParts) -> Quota {
    Quota { place: repo.place, bytes: repo.quota }
}

/// Refuses so many more bytes where they pass the quota: before they are sent. Counted exactly they are in the transaction
/// that stores them.
///
/// # Errors
/// 413.
pub async fn check_room(gate: &Gate, repo: &RepoParts, more: u64) -> Result<(), Refused> {
    let Some(limit) = repo.quota else { return Ok(()) };
    let stored = gate.catalog.stored(repo.place).await?;
    if more > 0 && stored.saturating_add(more) > limit { Err(Refused::over_quota(limit)) } else { Ok(()) }
}

/// An object that is coming in.
pub struct Intake {
    id: ObjectId,
    header: Vec<u8>,
    sealer: Sealer,
    writer: ObjectWriter,
    hash: Context,
    size: u64,
}

/// An object that came in whole. Nothing names it yet.
pub struct Received {
    /// Its payload.
    pub object: ObjectId,
    /// Its header.
    pub header: Vec<u8>,
    /// Bytes of plaintext.
    pub size: u64,
    /// Of the plaintext.
    pub sha256: Sha256,
}

fn broken(error: impl std::fmt::Display) -> Refused {
    tracing::error!(%error, "sealing");
    Refused::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the server can't seal what was sent")
}

impl Intake {
    /// Begins an object for a recipient (`age1…`). Needs no secret.
    ///
    /// # Errors
    /// 500, 507.
    pub async fn begin(gate: &Gate, recipient: &str) -> Result<Self, Refused> {
        let recipient: Recipient = recipient.parse().map_err(broken)?;
        let key = FileKey::generate().map_err(broken)?;
        let header = Header::seal(&key, &[recipient]).map_err(broken)?.as_bytes().to_vec();
        let id = ObjectId::generate()?;
        let mut writer = gate.objects.begin(id);
        let sealer = Sealer::new(&key, writer.buffer()).map_err(broken)?;
        Ok(Self { id, header, sealer, writer, hash: Context::new(&SHA256), size: 0 })
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// 507 and 500; then call [`Intake::abort`].
    pub async fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        self.size += piece.len() as u64;
        self.hash.update(piece);
        self.sealer.push(piece, self.writer.buffer()).map_err(broken)?;
        Ok(self.writer.flush().await?)
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// 507 and 500.
    pub async fn finish(self) -> Result<Received, Refused> {
        let mut writer = self.writer;
        self.sealer.finish(writer.buffer()).map_err(broken)?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.hash.finish().as_ref()); // SHA-256 has 32 bytes
        let span = tracing::debug_span!(target: SPANS, "objects", ask = "finish");
        writer.finish().instrument(span).await?;
        Ok(Received { object: self.id, header: self.header, size: self.size, sha256: Sha256::from_bytes(sha256) })
    }

    /// Gives up.
    pub async fn abort(self) {
        self.writer.abort().await;
    }
}

/// Records an object that came into the inbox, and then makes it known there.
///
/// # Errors
/// The keeper's refusal; 507 and 500.
pub async fn keep(gate: &Gate, grant: &Grant, inbox: &MetaKeys, received: Received) -> Result<(), Refused> {
    gate.keeper.wrote(grant, "upload", received.sha256.to_string(), None, Vec::new(), None).await?;
    let upload = Upload {
        object: received.object,
        header: received.header,
        size: received.size,
        principal: grant.parts().principal.clone(),
    };
    let repo = grant.repo()?.parts();
    Ok(gate.catalog.add_upload(repo.id, inbox, &received.sha256, &upload, quota(repo)).await?)
}

/// A small object that is there already: sealed and written at once.
///
/// # Errors
/// 507 and 500.
pub async fn receive(gate: &Gate, recipient: &str, content: &[u8]) -> Result<Received, Refused> {
    let recipient: Recipient = recipient.parse().map_err(broken)?;
    let (header, payload) = seal_whole(content, &[recipient]).map_err(broken)?;
    let (header, object) = (header.as_bytes().to_vec(), ObjectId::generate()?);
    let span = tracing::debug_span!(target: SPANS, "objects", ask = "put");
    gate.objects.put(object, payload).instrument(span).await?;
    let mut hash = Context::new(&SHA256);
    hash.update(content);
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(hash.finish().as_ref()); // SHA-256 has 32 bytes
    Ok(Received { object, header, size: content.len() as u64, sha256: Sha256::from_bytes(sha256) })
}
