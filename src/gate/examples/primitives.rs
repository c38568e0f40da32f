//! What the cryptography of an upload costs alone, with the code that the server does it with: CPU seconds for 10⁹ bytes of
//! opening TLS records, of SHA-256 and of sealing chunks. Prints one JSON object, for benches/transfer.py.

use std::io::Write;

use aws_lc_rs::digest::{Context, SHA256};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustix::time::{ClockId, clock_gettime};
use strongroom_envelope::{CHUNK_BYTES, FileKey, Sealer};

const BYTES: usize = 512 << 20;
/// Plaintext of a full TLS 1.3 record (RFC 8446 section 5.1).
const RECORD_BYTES: usize = 16 * 1024;

fn measure(mut work: impl FnMut()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let before = now();
    work();
    (now() - before) / BYTES as f64 * 1e9
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plain = vec![0x5a_u8; CHUNK_BYTES as usize];
    let hash = measure(|| {
        let mut hash = Context::new(&SHA256);
        (0..BYTES / plain.len()).for_each(|_| hash.update(&plain));
        std::hint::black_box(hash.finish());
    });
    let mut sealed = Vec::with_capacity(2 * plain.len());
    let mut sealer = Sealer::new(&FileKey::generate()?, &mut sealed)?;
    let seal = measure(|| {
        for _ in 0..BYTES / plain.len() {
            sealed.clear();
            // 64 KiB are sealed for each 64 KiB that come.
            sealer.push(&plain, &mut sealed).expect("chunks are sealed");
        }
    });
    let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| "no key")?;
    let (key, nonce) = (LessSafeKey::new(key), || Nonce::assume_unique_for_key([0; 12]));
    let mut sent = vec![0x5a; RECORD_BYTES];
    key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sent).map_err(|_| "not sealed")?;
    let mut record = sent.clone();
    let open = measure(|| {
        for _ in 0..BYTES / RECORD_BYTES {
            record.copy_from_slice(&sent);
            key.open_in_place(nonce(), Aad::empty(), &mut record).expect("it was sealed with this key");
        }
    });
    writeln!(std::io::stdout(), r#"{{"TLS open":{open:.4},"SHA-256":{hash:.4},"seal":{seal:.4}}}"#)?;
    Ok(())
}
