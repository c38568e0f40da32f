//! What writers said they would send. A batch of large objects names no path, and whether an object must be sent depends on the
//! compartment of its path: so it is remembered from the `preupload` before. What is forgotten, or was said to another replica,
//! is sent once more.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use strongroom_domain::Compartment;

/// Lengths that are remembered, at most; past it they are all forgotten.
const KEPT_MAX: usize = 65_536;

type Said = (String, [u8; 16], u64);

/// By principal, repository and length: the compartments of the paths.
#[derive(Default)]
pub struct Announced(Mutex<HashMap<Said, BTreeSet<Compartment>>>);

impl Announced {
    /// A path in this compartment, for a large object of this length.
    pub fn add(&self, principal: &str, repo: [u8; 16], size: u64, compartment: Compartment) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= KEPT_MAX {
            said.clear();
        }
        said.entry((principal.to_owned(), repo, size)).or_default().insert(compartment);
    }

    /// Where an object of this length may be meant for.
    pub fn of(&self, principal: &str, repo: [u8; 16], size: u64) -> Vec<Compartment> {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.get(&(principal.to_owned(), repo, size)).into_iter().flatten().copied().collect()
    }
}
