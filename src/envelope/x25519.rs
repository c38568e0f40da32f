//! Opening the X25519 stanza (age spec, "The X25519 recipient type"). Every read of a file opens one, and the age crate's
//! curve is several times slower than this backend's; it wraps, which is rarer, and its own tests hold both together.

use age_core::format::Stanza;
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::header::HeaderError;
use crate::keys::{FileKey, KeyError};

const TAG: &str = "X25519";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const POINT_BYTES: usize = 32;
/// A file key and its authentication tag.
const BODY_BYTES: usize = 16 + 16;

/// A secret scalar and its point, ready for use. The backend wipes the scalar when it frees it.
pub struct Opening {
    scalar: PrivateKey,
    point: [u8; POINT_BYTES],
}

struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl Opening {
    /// From the 32 bytes of an identity.
    ///
    /// # Errors
    /// [`KeyError::Identity`]; for no 32 bytes.
    pub fn new(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let scalar = PrivateKey::from_private_key(&X25519, secret).map_err(|_| KeyError::Identity)?;
        let point = scalar.compute_public_key().map_err(|_| KeyError::Identity)?;
        let point = point.as_ref().try_into().map_err(|_| KeyError::Identity)?;
        Ok(Self { scalar, point })
    }

    /// The file key in a stanza; `None` where it is of another type or for another identity.
    ///
    /// # Errors
    /// [`HeaderError::Form`] for an X25519 stanza against the specification: then no other may be tried.
    pub fn unwrap(&self, stanza: &Stanza) -> Result<Option<FileKey>, HeaderError> {
        if stanza.tag != TAG {
            return Ok(None);
        }
        let [share] = stanza.args.as_slice() else { return Err(HeaderError::Form) };
        let share = STANDARD_NO_PAD.decode(share).map_err(|_| HeaderError::Form)?;
        let mut body: [u8; BODY_BYTES] = stanza.body.as_slice().try_into().map_err(|_| HeaderError::Form)?;
        if share.len() != POINT_BYTES {
            return Err(HeaderError::Form);
        }
        let salt = [share.as_slice(), &self.point].concat();
        let mut key = Zeroizing::new([0; 32]);
        // Fails where the shared secret is all zero, which the specification has refused too.
        agree(&self.scalar, UnparsedPublicKey::new(&X25519, &share), HeaderError::Form, |shared| {
            let prk = Salt::new(HKDF_SHA256, &salt).extract(shared);
            let okm = prk.expand(&[LABEL], Bytes(key.len())).map_err(|_| HeaderError::Form)?;
            okm.fill(&mut *key).map_err(|_| HeaderError::Form)
        })?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).map_err(|_| HeaderError::Form)?;
        // A key for this one stanza, so the nonce is zero.
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let opened = LessSafeKey::new(key).open_in_place(nonce, Aad::empty(), &mut body);
        let file_key = opened.ok().and_then(|key| <[u8; 16]>::try_from(&*key).ok()).map(FileKey::from_bytes);
        zeroize::Zeroize::zeroize(&mut body);
        Ok(file_key)
    }
}
