//! Signed notes: a text and the Ed25519 signatures over it (C2SP `signed-note`, <https://c2sp.org/signed-note>).

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{digest, signature};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a note that [`VerifierKey::open`] reads: far more than a checkpoint with a hundred witnesses.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// The signature type byte of Ed25519 in key ids and verifier keys.
const ED25519: u8 = 0x01;

/// Why a note or a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the text form of a verifier key.
    #[error("a verifier key is NAME+ID+KEY, with the id of that name and Ed25519 key, and a log's is no witness's")]
    Key,
    /// A name that could not stand in a signature line.
    #[error("a signer's name has no space, no '+' and no line break, and is not empty")]
    Name,
    /// Not a note.
    #[error("a note is lines of text, an empty line, and signature lines")]
    Form,
    /// No signature by the key, or a wrong one.
    #[error("the note bears no valid signature of the given key")]
    Signature,
}

/// Signs notes; the private key never leaves it and cannot be printed.
pub struct Signer {
    name: String,
    key: Ed25519KeyPair,
}

impl Signer {
    /// A signer from the 32-byte seed of an Ed25519 key (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`NoteError::Name`] for a name that cannot stand in a note.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::Key)?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// The key with which others check this signer's notes.
    pub fn verifier_key(&self) -> VerifierKey {
        let mut public = [0; 32];
        public.copy_from_slice(self.key.public_key().as_ref()); // Ed25519 public keys have 32 bytes
        VerifierKey(PublicKey { name: self.name.clone(), public, kind: ED25519 })
    }

    /// The text with this signer's signature line under it.
    ///
    /// # Errors
    /// [`NoteError::Form`] for a text that does not end in a line break, or has a control character.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        check_text(text)?;
        let mut signed = self.verifier_key().0.id().to_vec();
        signed.extend_from_slice(self.key.sign(text.as_bytes()).as_ref());
        Ok(format!("{text}\n\u{2014} {} {}\n", self.name, STANDARD.encode(signed)))
    }
}

/// The public half: printed as `NAME+ID+KEY`, kept by whoever wants to check the log later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey(PublicKey);

impl VerifierKey {
    /// The signer's name; for a log, its origin.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The same public key under another name: of another log of the same keepers.
    ///
    /// # Errors
    /// [`NoteError::Name`].
    pub fn named(&self, name: &str) -> Result<Self, NoteError> {
        check_name(name)?;
        Ok(Self(PublicKey { name: name.to_owned(), ..self.0.clone() }))
    }

    /// The text of a note that bears this key's valid signature. Signatures of other keys are passed over.
    ///
    /// # Errors
    /// [`NoteError::Form`] for what is no note, [`NoteError::Signature`] where the signature lacks or is wrong.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = parts(note)?;
        let mut found = false;
        for line in signatures.lines() {
            let (name, id, signature) = signature_line(line)?;
            if name == self.0.name && id == self.0.id() {
                signature::UnparsedPublicKey::new(&signature::ED25519, self.0.public)
                    .verify(text.as_bytes(), &signature)
                    .map_err(|_| NoteError::Signature)?;
                found = true;
            }
        }
        if found { Ok(text) } else { Err(NoteError::Signature) }
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        PublicKey::parse(text, ED25519).map(Self)
    }
}

/// An Ed25519 public key for signatures of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub(crate) name: String,
    pub(crate) public: [u8; 32],
    /// The signature type byte.
    pub(crate) kind: u8,
}

impl PublicKey {
    /// `SHA-256(name || "\n" || type || public key)[..4]`.
    pub(crate) fn id(&self) -> [u8; 4] {
        let mut context = digest::Context::new(&digest::SHA256);
        [self.name.as_bytes(), b"\n", &[self.kind], &self.public].iter().for_each(|part| context.update(part));
        let hash = context.finish();
        let mut id = [0; 4];
        id.copy_from_slice(&hash.as_ref()[..4]);
        id
    }

    /// Reads `NAME+ID+KEY` of a key of this type.
    pub(crate) fn parse(text: &str, kind: u8) -> Result<Self, NoteError> {
        let (name, rest) = text.split_once('+').ok_or(NoteError::Key)?;
        let (id, key) = rest.split_once('+').ok_or(NoteError::Key)?;
        check_name(name)?;
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let (&found, public) = key.split_first().ok_or(NoteError::Key)?;
        let public = public.try_into().map_err(|_| NoteError::Key)?;
        let key = Self { name: name.to_owned(), public, kind };
        if found != kind || id != format!("{:08x}", u32::from_be_bytes(key.id())) {
            return Err(NoteError::Key);
        }
        Ok(key)
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![self.kind];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), STANDARD.encode(key))
    }
}

/// The text of a note, and its signature lines.
///
/// # Errors
/// [`NoteError::Form`] for what is no note.
pub fn parts(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NoteError::Form);
    }
    let end = note.rfind("\n\n").ok_or(NoteError::Form)? + 1;
    let (text, signatures) = (&note[..end], &note[end + 1..]);
    check_text(text)?;
    if signatures.ends_with('\n') { Ok((text, signatures)) } else { Err(NoteError::Form) }
}

/// The name, the key's id and the signature in a line without its line break.
pub(crate) fn signature_line(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), NoteError> {
    let line = line.strip_prefix("\u{2014} ").ok_or(NoteError::Form)?;
    let (name, signature) = line.split_once(' ').ok_or(NoteError::Form)?;
    check_name(name)?;
    let bytes = STANDARD.decode(signature).map_err(|_| NoteError::Form)?;
    let (id, signature) = bytes.split_first_chunk::<4>().ok_or(NoteError::Form)?;
    Ok((name, *id, signature.to_vec()))
}

pub(crate) fn check_name(name: &str) -> Result<(), NoteError> {
    let refused = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.chars().any(refused) { Err(NoteError::Name) } else { Ok(()) }
}

pub(crate) fn check_text(text: &str) -> Result<(), NoteError> {
    let refused = |c: char| c.is_control() && c != '\n';
    if !text.ends_with('\n') || text.chars().any(refused) { Err(NoteError::Form) } else { Ok(()) }
}
