//! The key tree below the root identity: the keeper's own secret, a secret for each repository, keys for each of its
//! compartments.

use std::sync::{Arc, OnceLock};

use strongroom_domain::Compartment;
use strongroom_envelope::{HeaderError, Identity, OpenError, Recipient, SealError, derive, open_whole, seal_whole};
use strongroom_protocol::{MetaKeys, Secret};
use zeroize::Zeroizing;

/// Why a key can't be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The header does not open.
    #[error("a wrapped secret does not open with this root key: {0}")]
    Header(#[from] HeaderError),
    /// The payload does not open, or has another length.
    #[error("a wrapped secret is damaged")]
    Damaged,
    /// A secret can't be wrapped.
    #[error("a secret can't be wrapped: {0}")]
    Seal(#[from] SealError),
    /// No randomness.
    #[error("the system gives no random bytes")]
    Randomness,
}

/// 32 fresh bytes.
///
/// # Errors
/// [`KeyError::Randomness`].
pub fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Randomness)?;
    Ok(bytes)
}

/// A secret as a whole age file for these recipients.
///
/// # Errors
/// [`KeyError`].
pub fn wrap(secret: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, KeyError> {
    let (header, payload) = seal_whole(secret, recipients)?;
    Ok([header.as_bytes(), &payload].concat())
}

/// The secret in an age file.
///
/// # Errors
/// [`KeyError`].
pub fn unwrap(file: &[u8], root: &Identity) -> Result<Secret<32>, KeyError> {
    let plain = open_whole(file, root).map_err(|error| match error {
        OpenError::Header(error) => KeyError::Header(error),
        OpenError::Payload(_) => KeyError::Damaged,
    })?;
    plain.as_slice().try_into().map(Secret::new).map_err(|_| KeyError::Damaged)
}

/// A repository's keys from its secret in an age file: 32 bytes, and after a rotation 32 more, by which its directories are
/// cut.
///
/// # Errors
/// [`KeyError`].
pub fn unwrap_repo(file: &[u8], root: &Identity) -> Result<RepoKeys, KeyError> {
    let plain = open_whole(file, root).map_err(|error| match error {
        OpenError::Header(error) => KeyError::Header(error),
        OpenError::Payload(_) => KeyError::Damaged,
    })?;
    let (secret, shape) = plain.split_first_chunk().ok_or(KeyError::Damaged)?;
    let shape = match shape {
        [] => derive(secret, &[b"strongroom/repo/v1", b"shape"]),
        shape => Zeroizing::new(shape.try_into().map_err(|_| KeyError::Damaged)?),
    };
    let derived = Derived { secret: Secret::new(*secret), shape, parts: Default::default() };
    Ok(RepoKeys(Arc::new(derived)))
}

/// Keys of the keeper itself, from its own secret.
pub struct OwnKeys {
    /// Seals names and records.
    pub seal: Zeroizing<[u8; 32]>,
    /// From it each record of the log has a key of its own.
    pub record: Zeroizing<[u8; 32]>,
    /// Blind indexes.
    pub index: Zeroizing<[u8; 32]>,
    /// MACs of tickets.
    pub ticket: Zeroizing<[u8; 32]>,
    /// Seed of the log's Ed25519 key.
    pub log_seed: Zeroizing<[u8; 32]>,
}

impl OwnKeys {
    /// Derives them all.
    pub fn new(secret: &Secret<32>) -> Self {
        let part = |name: &str| derive(secret.expose(), &[b"strongroom/keeper/v1", name.as_bytes()]);
        let record = part("record");
        Self { seal: part("seal"), record, index: part("index"), ticket: part("ticket"), log_seed: part("log") }
    }
}

/// A part of a repository that has keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A compartment.
    Compartment(Compartment),
    /// Where uploads land.
    Inbox,
    /// Branch names and commit messages.
    Shared,
}

impl Part {
    const COUNT: usize = Compartment::ALL.len() + 2;

    fn place(self) -> usize {
        match self {
            Self::Compartment(compartment) => compartment as usize,
            Self::Inbox => Compartment::ALL.len(),
            Self::Shared => Compartment::ALL.len() + 1,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Compartment(compartment) => compartment.word(),
            Self::Inbox => "inbox",
            Self::Shared => "shared",
        }
    }
}

/// A repository's secret, and what is derived from it. Each part's keys are derived at first use and then kept: of a
/// request they would be the dearest part.
#[derive(Clone)]
pub struct RepoKeys(Arc<Derived>);

struct Derived {
    secret: Secret<32>,
    /// Directories are cut by it. From one secret on it goes to the next: git ids of large directories, and with them commit
    /// ids, depend on where they are cut.
    shape: Zeroizing<[u8; 32]>,
    parts: [OnceLock<PartKeys>; Part::COUNT],
}

/// The keys of one part.
pub struct PartKeys {
    /// Seals and indexes metadata.
    pub meta: MetaKeys,
    /// Opens content.
    pub identity: Identity,
    /// Content is sealed for it.
    pub recipient: Recipient,
    /// The same as text, as grants carry it.
    pub recipient_text: String,
}

impl RepoKeys {
    /// What is wrapped of a repository that has a fresh secret and the same shape.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn succeed(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let secret = Zeroizing::new(random::<32>()?);
        Ok(Zeroizing::new([*secret, *self.0.shape].concat()))
    }

    fn derive(&self, part: Part, purpose: &str) -> Zeroizing<[u8; 32]> {
        derive(self.0.secret.expose(), &[b"strongroom/repo/v1", part.word().as_bytes(), purpose.as_bytes()])
    }

    /// The keys of a part.
    pub fn part(&self, part: Part) -> &PartKeys {
        // `place` is below `COUNT`.
        self.0.parts[part.place()].get_or_init(|| {
            let key = |purpose| Secret::new(*self.derive(part, purpose));
            let split = derive(&self.0.shape, &[b"strongroom/repo/v1", part.word().as_bytes(), b"split"]);
            let meta = MetaKeys { seal: key("metadata"), index: key("index"), split: Secret::new(*split) };
            // Any 32 bytes are an X25519 secret.
            let identity =
                Identity::from_secret_bytes(&self.derive(part, "content")).expect("32 bytes are an identity");
            let recipient = identity.to_recipient();
            PartKeys { meta, recipient_text: recipient.to_string(), recipient, identity }
        })
    }
}
