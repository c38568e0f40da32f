//! One envelope and its payload.

use aws_lc_rs::digest::{Context, SHA256};
use strongroom_domain::Sha256;
use strongroom_envelope::{CHUNK_BYTES, FileKey, Header, Identity, NONCE_BYTES, Payload, TAG_BYTES, ciphertext_len};

use super::Check;
use crate::objects::{ObjectError, ObjectId, Objects};

const SEALED_CHUNK: usize = (CHUNK_BYTES + TAG_BYTES) as usize; // 65,552
/// Chunks that are read at once: 1 MiB.
const RUN: usize = 16;

/// The file key of a header.
pub(crate) fn open_header(header: &[u8], identity: &Identity) -> Result<FileKey, String> {
    let header = Header::parse(header).map_err(|error| format!("its envelope: {error}"))?;
    header.open(identity).map_err(|error| format!("its envelope: {error}"))
}

/// Opens every chunk, and hands the plaintext on; its digest.
pub(crate) async fn read_payload(
    objects: &Objects,
    object: ObjectId,
    key: &FileKey,
    size: u64,
    mut each: impl AsyncFnMut(&[u8]) -> Result<(), String>,
) -> Result<Sha256, String> {
    let words = |error: ObjectError| format!("its payload: {error}");
    let length = ciphertext_len(size).ok_or("its size is none")?;
    let reader = objects.open(object, length, 0..length).await.map_err(words)?;
    let mut nonce = [0; NONCE_BYTES];
    reader.read(0, &mut nonce).await.map_err(words)?;
    let payload = Payload::new(key, &nonce);
    let mut hash = Context::new(&SHA256);
    let (mut at, mut index) = (NONCE_BYTES as u64, 0);
    // Plaintext passes through it.
    let mut buffer = zeroize::Zeroizing::new(vec![0; RUN * SEALED_CHUNK]);
    while at < length {
        let run = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
        reader.read(at, &mut buffer[..run]).await.map_err(words)?;
        at += run as u64;
        let chunks = run.div_ceil(SEALED_CHUNK);
        for (number, chunk) in buffer[..run].chunks_mut(SEALED_CHUNK).enumerate() {
            let last = at == length && number + 1 == chunks;
            let plain = payload.open_chunk(index, last, chunk);
            let plain = plain.map_err(|error| format!("its payload, chunk {index}: {error}"))?;
            hash.update(plain);
            each(plain).await?;
            index += 1;
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref()); // SHA-256 has 32 bytes
    Ok(Sha256::from_bytes(bytes))
}

impl Check<'_> {
    /// Opens an envelope and all of its payload; the digest of the plaintext, or what is wrong.
    pub(super) async fn object(
        &mut self,
        object: ObjectId,
        header: &[u8],
        identity: &Identity,
        size: u64,
    ) -> Result<Sha256, String> {
        self.tally.objects += 1;
        let key = open_header(header, identity)?;
        let digest = read_payload(self.objects, object, &key, size, async |_| Ok(())).await?;
        self.tally.bytes += size;
        self.step();
        Ok(digest)
    }
}
