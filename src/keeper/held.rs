//! The root identity that this keeper holds. It changes while the keeper runs: here, or on another keeper of the same
//! database, whose new key file this one then reads.

use std::sync::Arc;

use parking_lot::RwLock;
use strongroom_envelope::{HeaderError, Identity, Recipient};

use crate::keys::{KeyError, RepoKeys};
use crate::rewrap::rewrap_one;
use crate::root::{Root, RootSource};
use crate::rotation::Rotation;
use crate::state::{Repo, State};

/// The identity, where it came from, and who is wrapped for beside it.
pub struct Held {
    root: RwLock<Arc<Identity>>,
    source: RootSource,
    recovery: Vec<Recipient>,
    next: Option<Recipient>,
}

impl Held {
    /// Holds an identity.
    pub fn new(root: Identity, source: RootSource, recovery: Vec<Recipient>, next: Option<Recipient>) -> Self {
        Self { root: RwLock::new(Arc::new(root)), source, recovery, next }
    }

    /// The identity.
    pub fn root(&self) -> Arc<Identity> {
        self.root.read().clone()
    }

    /// Where it came from.
    pub fn source(&self) -> &RootSource {
        &self.source
    }

    /// The root identity that comes after this one, as the configuration names it: over the API nobody can.
    pub fn next(&self) -> Option<&Recipient> {
        self.next.as_ref()
    }

    /// Holds another.
    pub fn replace(&self, root: impl Into<Arc<Identity>>) {
        *self.root.write() = root.into();
    }

    /// The identity that lies at its source now, where it lies there openly.
    pub fn read(&self) -> Option<Identity> {
        match self.source.read() {
            Ok(Root::Identity(root)) => Some(root),
            _ => None,
        }
    }

    /// A repository's keys. Where they are wrapped for another root identity, its file is read: another keeper has made it.
    ///
    /// # Errors
    /// [`KeyError`]; the root key's file on this machine is then an old one.
    pub fn keys(&self, repo: &Repo) -> Result<RepoKeys, KeyError> {
        self.unwrapped(|root| repo.keys(root))
    }

    /// The keys of the other copy of a repository that is being rotated.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn keys_beside(&self, rotation: &Rotation) -> Result<RepoKeys, KeyError> {
        self.unwrapped(|root| rotation.keys(root))
    }

    /// What is wrapped for the root identity, wrapped for others.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn rewrap(&self, wrapped: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, KeyError> {
        self.unwrapped(|root| rewrap_one(wrapped, root, recipients))
    }

    fn unwrapped<T>(&self, unwrap: impl Fn(&Identity) -> Result<T, KeyError>) -> Result<T, KeyError> {
        match unwrap(&self.root()) {
            Err(KeyError::Header(HeaderError::NoMatch)) => {
                let root = self.read().ok_or(KeyError::Header(HeaderError::NoMatch))?;
                let keys = unwrap(&root)?;
                self.replace(root);
                Ok(keys)
            }
            keys => keys,
        }
    }

    /// For whom secrets are wrapped, as the state says it: who judges under an older state judges again.
    pub fn wrap_for(&self, state: &State) -> Vec<Recipient> {
        let roots = match state.root_recipients.as_slice() {
            [] => vec![self.root().to_recipient()],
            roots => roots.to_vec(),
        };
        [roots, self.recovery.clone()].concat()
    }

    /// The same with other root identities.
    pub fn wrap_with(&self, roots: &[Recipient]) -> Vec<Recipient> {
        [roots, &self.recovery].concat()
    }
}
