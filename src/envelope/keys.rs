//! Keys: of one file, and of those who may open it.

use std::fmt;
use std::str::FromStr;

use age_core::secrecy::ExposeSecret;
use bech32::{Bech32, Hrp};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::x25519::Opening;

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a native identity.
    #[error("an identity is AGE-SECRET-KEY-1… (X25519)")]
    Identity,
    /// Not a native recipient.
    #[error("a recipient is age1… (X25519); a plug-in recipient names a program to run, and is never taken")]
    Recipient,
    /// The system gives no randomness.
    #[error("the system gives no random bytes")]
    Randomness,
}

/// The 16-byte key of one file (age spec, "file key"). Wiped when dropped; cannot be printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct FileKey([u8; 16]);

impl FileKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut key = Self([0; 16]);
        aws_lc_rs::rand::fill(&mut key.0).map_err(|_| KeyError::Randomness)?;
        Ok(key)
    }

    /// A key that came over the wall.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the wall and for key derivation.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }

    pub(crate) fn to_age(&self) -> age_core::format::FileKey {
        age_core::format::FileKey::init_with_mut(|bytes| bytes.copy_from_slice(&self.0))
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(…)")
    }
}

/// An X25519 identity: opens what was sealed for its recipient. Wiped when dropped; cannot be printed by accident.
pub struct Identity {
    /// Its text and its recipient.
    age: age::x25519::Identity,
    /// What opens.
    pub(crate) opening: Opening,
}

impl Identity {
    /// A fresh identity.
    pub fn generate() -> Self {
        // Any 32 bytes are a scalar.
        Self::from_age(age::x25519::Identity::generate()).expect("a fresh identity is one")
    }

    fn from_age(age: age::x25519::Identity) -> Result<Self, KeyError> {
        let text = age.to_string();
        let (_, secret) = bech32::decode(text.expose_secret()).map_err(|_| KeyError::Identity)?;
        let secret = Zeroizing::new(secret);
        let opening = Opening::new(secret.as_slice().try_into().map_err(|_| KeyError::Identity)?)?;
        Ok(Self { age, opening })
    }

    /// The identity with this X25519 secret, as derived from a repository's secret.
    ///
    /// # Errors
    /// [`KeyError::Identity`]; not for any 32 bytes that the age crate takes, and it takes all.
    pub fn from_secret_bytes(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let text = bech32::encode_upper::<Bech32>(Hrp::parse_unchecked("age-secret-key-"), secret);
        Zeroizing::new(text.map_err(|_| KeyError::Identity)?).parse()
    }

    /// `AGE-SECRET-KEY-1…`, as the `age` CLI reads it.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.age.to_string().expose_secret().to_owned())
    }

    /// Who can seal for it.
    pub fn to_recipient(&self) -> Recipient {
        Recipient(self.age.to_public())
    }
}

impl FromStr for Identity {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        text.parse().map_err(|_| KeyError::Identity).and_then(Self::from_age)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// A native X25519 recipient.
#[derive(Clone)]
pub struct Recipient(pub(crate) age::x25519::Recipient);

impl FromStr for Recipient {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        text.parse().map(Self).map_err(|_| KeyError::Recipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}
