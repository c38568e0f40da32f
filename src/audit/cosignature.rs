//! Cosignatures: a witness's word that a checkpoint follows from all that it saw of the log before, and when it said so (C2SP
//! `tlog-cosignature`, the Ed25519 type, <https://c2sp.org/tlog-cosignature>).

use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::note::{self, NOTE_BYTES_MAX, NoteError, PublicKey, check_name, check_text};

/// The signature type byte of Ed25519 cosignatures with a time, in key ids and verifier keys.
const COSIGNATURE_V1: u8 = 0x04;
/// Bytes behind the key's id in a signature: the time and the signature proper.
const TIME_BYTES: usize = 8;

/// A witness's private key; it never leaves this and cannot be printed.
pub struct Cosigner {
    name: String,
    key: Ed25519KeyPair,
}

impl Cosigner {
    /// A cosigner from the 32-byte seed of an Ed25519 key (RFC 8032 section 5.1.5). The key must be of this one name alone: what it
    /// signs does not say the name.
    ///
    /// # Errors
    /// [`NoteError::Name`] for a name that cannot stand in a note.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::Key)?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// The key with which others check it.
    pub fn key(&self) -> CosignerKey {
        let mut public = [0; 32];
        public.copy_from_slice(self.key.public_key().as_ref()); // Ed25519 public keys have 32 bytes
        CosignerKey(PublicKey { name: self.name.clone(), public, kind: COSIGNATURE_V1 })
    }

    /// The signature line over a checkpoint's text, at a time in Unix seconds.
    ///
    /// # Errors
    /// [`NoteError::Form`] for a text that cannot stand in a note, or a time beyond 2^63.
    pub fn cosign(&self, text: &str, time_s: u64) -> Result<String, NoteError> {
        check_text(text)?;
        let mut signed = self.key().0.id().to_vec();
        signed.extend_from_slice(&check_time(time_s)?.to_be_bytes());
        signed.extend_from_slice(self.key.sign(message(text, time_s).as_bytes()).as_ref());
        Ok(format!("\u{2014} {} {}\n", self.name, STANDARD.encode(signed)))
    }
}

/// A witness's public key: printed as `NAME+ID+KEY`, with another type byte than the key of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignerKey(PublicKey);

/// A cosignature that was found to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// When the witness made it, by its own clock: Unix seconds.
    pub time_s: u64,
    /// Its line, with the line break.
    pub line: String,
}

impl CosignerKey {
    /// The witness's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether another witness's key is the same but for its name.
    pub fn same_key(&self, other: &Self) -> bool {
        self.0.public == other.0.public
    }

    /// This witness's cosignature over a checkpoint's text, among signature lines. Those of others are passed over; of two by
    /// this one, the newer is given.
    ///
    /// # Errors
    /// [`NoteError::Form`] for what are no signature lines, [`NoteError::Signature`] where there is none of it, or a wrong one.
    pub fn find(&self, text: &str, lines: &str) -> Result<Cosignature, NoteError> {
        check_text(text)?;
        if lines.len() > NOTE_BYTES_MAX || !lines.ends_with('\n') {
            return Err(NoteError::Form);
        }
        let mut found: Option<Cosignature> = None;
        for line in lines.lines() {
            let (name, id, signature) = note::signature_line(line)?;
            if name != self.0.name || id != self.0.id() {
                continue;
            }
            let (time, signature) = signature.split_first_chunk::<TIME_BYTES>().ok_or(NoteError::Signature)?;
            let time_s = check_time(u64::from_be_bytes(*time))?;
            signature::UnparsedPublicKey::new(&signature::ED25519, self.0.public)
                .verify(message(text, time_s).as_bytes(), signature)
                .map_err(|_| NoteError::Signature)?;
            if found.as_ref().is_none_or(|found| found.time_s < time_s) {
                found = Some(Cosignature { time_s, line: format!("{line}\n") });
            }
        }
        found.ok_or(NoteError::Signature)
    }

    /// The same in a whole note: the checkpoint's text and the cosignature.
    ///
    /// # Errors
    /// As [`CosignerKey::find`].
    pub fn open<'a>(&self, note: &'a str) -> Result<(&'a str, Cosignature), NoteError> {
        let (text, lines) = note::parts(note)?;
        Ok((text, self.find(text, lines)?))
    }
}

impl std::fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for CosignerKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        PublicKey::parse(text, COSIGNATURE_V1).map(Self)
    }
}

/// Two lines and the whole text of the checkpoint.
fn message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

fn check_time(time_s: u64) -> Result<u64, NoteError> {
    if i64::try_from(time_s).is_ok() { Ok(time_s) } else { Err(NoteError::Form) }
}
