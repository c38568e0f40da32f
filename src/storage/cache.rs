//! Sealed values that never change, kept in memory as they lie in the database: who reads one brings its keys each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_domain::{Commit, Compartment};

use crate::catalog::RepoId;

/// Bytes of sealed values that are kept, at most twice that: those of now, and those of before.
const GENERATION_BYTES: usize = 8 * 1024 * 1024;

/// Where in the catalogue a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    repo: RepoId,
    id: Id,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Id {
    Tree(Compartment, [u8; 32]),
    Commit(Commit),
}

impl Place {
    /// A node of a tree.
    pub fn tree(repo: RepoId, compartment: Compartment, id: [u8; 32]) -> Self {
        Self { repo, id: Id::Tree(compartment, id) }
    }

    /// A commit.
    pub fn commit(repo: RepoId, id: Commit) -> Self {
        Self { repo, id: Id::Commit(id) }
    }
}

/// A commit has its plain columns beside what is sealed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// As it lies in the database.
    pub body: Vec<u8>,
    /// Of a commit: the one before, and Unix milliseconds.
    pub commit: Option<(Option<Commit>, i64)>,
}

type Values = HashMap<Place, Arc<Sealed>>;

/// Two generations: when the young one is full it becomes the old one, and what of that was not asked for again goes.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: Values,
    young_bytes: usize,
    old: Values,
}

impl Cache {
    /// The value, where it is known.
    pub fn get(&self, place: &Place) -> Option<Arc<Sealed>> {
        // A panic elsewhere leaves the maps whole.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = held.young.get(place) {
            return Some(value.clone());
        }
        let value = held.old.remove(place)?;
        held.keep(*place, value.clone());
        Some(value)
    }

    /// Keeps a value.
    pub fn put(&self, place: Place, value: Sealed) -> Arc<Sealed> {
        let value = Arc::new(value);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keep(place, value.clone());
        value
    }

    /// Forgets everything of a repository.
    pub fn forget(&self, repo: RepoId) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &mut *held;
        let gone =
            held.young.extract_if(|place, _| place.repo == repo).map(|(_, value)| value.body.len()).sum::<usize>();
        held.young_bytes = held.young_bytes.saturating_sub(gone);
        held.old.retain(|place, _| place.repo != repo);
    }
}

impl Generations {
    fn keep(&mut self, place: Place, value: Arc<Sealed>) {
        self.young_bytes += value.body.len();
        if let Some(before) = self.young.insert(place, value) {
            self.young_bytes = self.young_bytes.saturating_sub(before.body.len());
        }
        if self.young_bytes > GENERATION_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(bytes: usize) -> Sealed {
        Sealed { body: vec![7; bytes], commit: None }
    }

    impl Cache {
        /// How many values are kept.
        pub(crate) fn len(&self) -> usize {
            let held = self.0.lock().unwrap();
            held.young.len() + held.old.len()
        }
    }

    #[test]
    fn what_is_asked_for_again_stays_and_memory_is_bounded() {
        let cache = Cache::default();
        let place = |n: u8| Place::tree([1; 16], Compartment::Data, [n; 32]);
        let wanted = place(0);
        cache.put(wanted, sealed(1024));
        for n in 1..=200 {
            cache.put(place(n), sealed(GENERATION_BYTES / 16));
            assert!(cache.get(&wanted).is_some(), "{n}");
            let held = cache.0.lock().unwrap();
            let bytes: usize = held.young.values().chain(held.old.values()).map(|value| value.body.len()).sum();
            assert!(bytes <= 2 * GENERATION_BYTES + GENERATION_BYTES / 8, "{bytes}");
        }
        assert!(cache.get(&place(1)).is_none());
    }

    #[test]
    fn a_dropped_repository_is_forgotten_and_no_other() {
        let cache = Cache::default();
        let places = |repo: u8| {
            let commit = Place::commit([repo; 16], Commit::from_bytes([1; 20]));
            [Place::tree([repo; 16], Compartment::Docs, [1; 32]), commit]
        };
        for place in places(1).into_iter().chain(places(2)) {
            cache.put(place, sealed(10));
        }
        // Some of it in the old generation, some in the young one.
        cache.put(Place::tree([3; 16], Compartment::Docs, [1; 32]), sealed(GENERATION_BYTES));
        assert!(cache.get(&places(1)[0]).is_some());
        cache.forget([1; 16]);
        assert!(places(1).iter().all(|place| cache.get(place).is_none()));
        assert!(places(2).iter().all(|place| cache.get(place).is_some()));
    }
}
