//! Sealed metadata: short values in a database, and blind indexes to find them by.
//!
//! AES-256-GCM-SIV (RFC 8452): a nonce that repeats by bad luck leaks equality and nothing else. The place in the database
//! is associated data, so that a value that was moved elsewhere does not open.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use zeroize::{Zeroize, Zeroizing};

use crate::keys::KeyError;

/// Bytes that sealing adds: nonce and tag.
pub const SEALED_EXTRA_BYTES: usize = NONCE + 16;

const NONCE: usize = 12;

/// Why sealed metadata does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed metadata was changed, moved, or is under another key")]
pub struct SealedError;

/// Joins the parts of a place so that no two lists of parts give the same bytes.
fn join(place: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(place.iter().map(|part| 8 + part.len()).sum());
    for part in place {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

fn key(key: &[u8; 32]) -> LessSafeKey {
    // 32 bytes are this cipher's key length.
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key).expect("a 32-byte key"))
}

/// Nonce, ciphertext, tag.
///
/// # Errors
/// [`KeyError::Randomness`].
pub fn seal_meta(secret: &[u8; 32], place: &[&[u8]], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut nonce = [0; NONCE];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| KeyError::Randomness)?;
    let mut body = Vec::with_capacity(plain.len() + SEALED_EXTRA_BYTES);
    body.extend_from_slice(&nonce);
    body.extend_from_slice(plain);
    let aad = Aad::from(join(place));
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key(secret).seal_in_place_separate_tag(nonce, aad, &mut body[NONCE..]);
    body.extend_from_slice(tag.map_err(|_| KeyError::Randomness)?.as_ref());
    Ok(body)
}

/// The plaintext of what [`seal_meta`] gave.
///
/// # Errors
/// [`SealedError`].
pub fn open_meta(secret: &[u8; 32], place: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealedError> {
    let (nonce, body) = sealed.split_first_chunk::<NONCE>().ok_or(SealedError)?;
    let mut body = Zeroizing::new(body.to_vec());
    let aad = Aad::from(join(place));
    let opened = key(secret).open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut body);
    let length = opened.map_err(|_| SealedError)?.len();
    body[length..].zeroize();
    body.truncate(length);
    Ok(body)
}

/// HMAC-SHA-256 over the parts: a blind index, a keyed id, a MAC.
pub fn keyed_hash(secret: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &join(parts));
    let mut hash = [0; 32];
    hash.copy_from_slice(tag.as_ref()); // SHA-256 has 32 bytes
    hash
}

/// Whether `tag` is the keyed hash of the parts, in constant time.
pub fn keyed_hash_is(secret: &[u8; 32], parts: &[&[u8]], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), &join(parts), tag).is_ok()
}

/// `HKDF-SHA-256(ikm = secret, salt = empty, info = joined parts)`, 32 bytes.
pub fn derive(secret: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    struct Bytes32;
    impl hkdf::KeyType for Bytes32 {
        fn len(&self) -> usize {
            32
        }
    }
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret);
    let info = join(parts);
    let info: [&[u8]; 1] = [&info];
    let mut derived = Zeroizing::new([0; 32]);
    // 32 bytes are within HKDF's limit of 255 times that (RFC 5869 section 2.3), and the buffer is that long.
    prk.expand(&info, Bytes32).and_then(|okm| okm.fill(&mut derived[..])).expect("32 bytes are within HKDF's limit");
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn sealed_metadata_opens_only_unchanged_at_its_place_and_under_its_key() {
        let sealed = seal_meta(&KEY, &[b"tree", b"1"], b"weights.bin").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"weights"));
        assert_eq!(open_meta(&KEY, &[b"tree", b"1"], &sealed).unwrap().as_slice(), b"weights.bin");
        assert!(open_meta(&KEY, &[b"tree", b"2"], &sealed).is_err());
        assert!(open_meta(&KEY, &[b"tree1", b""], &sealed).is_err());
        assert!(open_meta(&[8; 32], &[b"tree", b"1"], &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open_meta(&KEY, &[b"tree", b"1"], &changed).is_err(), "byte {at}");
        }
        assert!(open_meta(&KEY, &[b"tree", b"1"], &sealed[..11]).is_err());
    }

    #[test]
    fn derived_keys_and_indexes_differ_wherever_their_parts_do() {
        assert_ne!(derive(&KEY, &[b"a", b"b"]), derive(&KEY, &[b"ab"]));
        assert_ne!(keyed_hash(&KEY, &[b"a", b"b"]), keyed_hash(&KEY, &[b"ab", b""]));
        assert!(keyed_hash_is(&KEY, &[b"a"], &keyed_hash(&KEY, &[b"a"])));
        assert!(!keyed_hash_is(&KEY, &[b"b"], &keyed_hash(&KEY, &[b"a"])));
    }
}
