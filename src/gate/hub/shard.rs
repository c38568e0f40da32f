//! `POST /xet/{scope}/v1/shards`: puts files together from xorbs, and checks every claim about them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json as value;
use strongroom_domain::Sha256;
use strongroom_envelope::FileKey;
use strongroom_protocol::{Grant, MetaKeys, ObjectRef};
use strongroom_storage::XorbChunk;
use strongroom_xet::shard::{self, File, Term};
use strongroom_xet::{FileHasher, Hash, decode_chunk, range_hash};

use super::xet::redeem;
use crate::call::Call;
use crate::gate::Gate;
use crate::intake::{Intake, check_room, keep};
use crate::refused::Refused;
use crate::routes::{Answer, json};
use crate::stream::OpenObject;

/// Takes a shard: all of its files, or an error.
///
/// # Errors
/// 400 for a claim that does not hold, or a xorb that was not sent to this repository.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let grant = redeem(&gate, &call).await?;
    // The semaphore is never closed.
    let _held = gate.big_bodies.acquire().await;
    let bytes = call.bytes(shard::BYTES_MAX).await?;
    let files = shard::parse(&bytes).map_err(Refused::bad)?;
    drop(bytes);
    let parts = grant.repo()?.parts();
    let (inbox, recipient) = parts.inbox.as_ref().ok_or_else(Refused::repo)?;
    let principal = grant.parts().principal.as_str();
    let mut new = 0;
    for file in files {
        let oid = Sha256::from_bytes(file.sha256);
        if gate.catalog.upload(parts.id, inbox, &oid, principal).await?.is_some() {
            continue;
        }
        let bytes = file.terms.iter().map(|term| u64::from(term.bytes)).sum();
        check_room(&gate, parts, bytes).await?;
        let mut xorbs = Xorbs { gate: &gate, grant: &grant, inbox, open: HashMap::new() };
        let mut intake = Intake::begin(&gate, recipient).await?;
        if let Err(refused) = assemble(&mut xorbs, &file, &mut intake).await {
            intake.abort().await;
            return Err(refused);
        }
        let received = intake.finish().await?;
        if received.sha256 != oid {
            gate.catalog.orphan(received.object).await?;
            return Err(Refused::bad("a file's bytes are not those of its SHA-256"));
        }
        keep(&gate, &grant, inbox, received).await?;
        new = 1;
    }
    Ok(json(&value!({"result": new})))
}

struct OpenXorb {
    object: OpenObject,
    size: u64,
    chunks: Vec<XorbChunk>,
}

/// Xorbs of one file that are open; the keeper is asked once for each.
struct Xorbs<'a> {
    gate: &'a Gate,
    grant: &'a Grant,
    inbox: &'a MetaKeys,
    open: HashMap<Hash, OpenXorb>,
}

/// Xorbs that stay open at once: each has a descriptor and a table of at most 8192 chunks.
const OPEN_MAX: usize = 16;

impl Xorbs<'_> {
    async fn get(&mut self, hash: Hash) -> Result<&OpenXorb, Refused> {
        if !self.open.contains_key(&hash) {
            let repo = self.grant.repo()?.parts().id;
            let principal = &self.grant.parts().principal;
            let xorb = self.gate.catalog.xorb(repo, self.inbox, &hash.0, principal).await?;
            let xorb =
                xorb.ok_or_else(|| Refused::bad("a file is made of a xorb that was not sent to this repository"))?;
            let path = Some(format!("xorb:{hash}"));
            let object = ObjectRef { compartment: None, commit: None, path, envelope: xorb.header, size: xorb.size };
            let key = self.gate.keeper.open(self.grant, object, 0..xorb.size).await?;
            let key = FileKey::from_bytes(*key.expose());
            let object = OpenObject::new(self.gate, xorb.object, xorb.size, &key, 0..xorb.size).await?;
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            self.open.insert(hash, OpenXorb { object, size: xorb.size, chunks: xorb.chunks });
        }
        // It was there, or was inserted.
        self.open.get(&hash).ok_or_else(|| Refused::bad("no such xorb"))
    }
}

async fn assemble(xorbs: &mut Xorbs<'_>, file: &File, intake: &mut Intake) -> Result<(), Refused> {
    let buffers = xorbs.gate.buffers.clone();
    let mut hasher = FileHasher::default();
    for term in &file.terms {
        let xorb = xorbs.get(term.xorb).await?;
        let run = xorb.chunks.get(term.start as usize..term.end as usize);
        let run = run.ok_or_else(|| Refused::bad("a file is made of chunks that its xorb has not"))?;
        check(term, run)?;
        for (at, (offset, bytes, hash)) in run.iter().enumerate() {
            let next = xorb.chunks.get(term.start as usize + at + 1).map_or(xorb.size, |chunk| chunk.0.into());
            let framed = xorb.object.read(&buffers, u64::from(*offset)..next).await?;
            let (plain, _) = decode_chunk(&framed).map_err(Refused::bad)?;
            hasher.push(Hash(*hash), *bytes);
            intake.push(&plain).await?;
        }
    }
    if hasher.finish() == file.hash { Ok(()) } else { Err(Refused::bad("a file's chunks are not those of its hash")) }
}

fn check(term: &Term, run: &[XorbChunk]) -> Result<(), Refused> {
    let bytes: u64 = run.iter().map(|chunk| u64::from(chunk.1)).sum();
    if bytes != u64::from(term.bytes) {
        return Err(Refused::bad("a file says another length of its chunks"));
    }
    if range_hash(run.iter().map(|chunk| Hash(chunk.2))) != term.range_hash {
        return Err(Refused::bad("a file's range hash is not that of its chunks"));
    }
    Ok(())
}
