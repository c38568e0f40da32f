//! A record as it is stored, and the leaf of the tree over it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use strongroom_audit::Hash;
use strongroom_envelope::{SealedError, keyed_hash, open_meta, seal_meta};
use zeroize::Zeroizing;

use super::record::Record;
use crate::keys::{KeyError, OwnKeys};

/// Bytes of a blind index: enough that two values do not meet, too few to matter to anyone without the key.
pub const INDEX_BYTES: usize = 16;

/// What one record is sealed with. It opens this record and no other, so that it can be given to whoever verifies evidence.
pub struct RecordKey(Zeroizing<[u8; 32]>);

impl RecordKey {
    /// That of the record at a place.
    pub fn of(keys: &OwnKeys, (log, seq): (u64, u64)) -> Self {
        Self(Zeroizing::new(keyed_hash(&keys.record, &[&log.to_be_bytes(), &seq.to_be_bytes()])))
    }

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A row of the log: sealed body, blind indexes, and what an analyst may filter by in the clear. The leaf hash is over
/// exactly this, in postcard's form, so that anyone can verify the tree without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLeaf {
    /// Which keeper's log.
    pub log: u64,
    /// Its place in the log, from 0.
    pub seq: u64,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// See [`Record::action`].
    pub action: String,
    /// See [`Record::outcome`].
    pub outcome: String,
    /// See [`Record::generation`].
    pub generation: u64,
    /// Of the principal's number.
    pub principal_index: Vec<u8>,
    /// Of the repository's number.
    pub repo_index: Vec<u8>,
    /// Of the token's number.
    pub token_index: Vec<u8>,
    /// Of the client's address.
    pub address_index: Vec<u8>,
    /// The record.
    pub body_sealed: Vec<u8>,
    /// How far other logs were when it was written, a line each: see [`Heads`](super::Heads).
    pub heads: String,
}

/// The blind index of a value in a column.
pub fn index(keys: &OwnKeys, column: &str, value: &str) -> Vec<u8> {
    keyed_hash(&keys.index, &[b"audit", column.as_bytes(), value.as_bytes()])[..INDEX_BYTES].to_vec()
}

/// The index of a number, or of its absence.
pub fn number_index(keys: &OwnKeys, column: &str, value: Option<u64>) -> Vec<u8> {
    index(keys, column, &value.map_or_else(String::new, |value| value.to_string()))
}

/// Indexes that were computed already: who writes many records writes them about the same few.
#[derive(Default)]
pub struct Indexes {
    numbers: HashMap<(&'static str, Option<u64>), Vec<u8>>,
    addresses: HashMap<String, Vec<u8>>,
}

/// Indexes of each kind that are kept, at most: some 100 bytes each.
const KEPT_MAX: usize = 8192;

impl Indexes {
    fn number(&mut self, keys: &OwnKeys, column: &'static str, value: Option<u64>) -> Vec<u8> {
        if self.numbers.len() >= KEPT_MAX {
            self.numbers.clear();
        }
        self.numbers.entry((column, value)).or_insert_with(|| number_index(keys, column, value)).clone()
    }

    fn address(&mut self, keys: &OwnKeys, address: &str) -> Vec<u8> {
        if let Some(kept) = self.addresses.get(address) {
            return kept.clone();
        }
        if self.addresses.len() >= KEPT_MAX {
            self.addresses.clear();
        }
        let made = index(keys, "address", address);
        self.addresses.insert(address.to_owned(), made.clone());
        made
    }
}

/// Bytes that most records have, inside and beside their seal: what is made of them need not grow while it is.
const BODY_BYTES: usize = 1024;
const COLUMNS_BYTES: usize = 256;

impl StoredLeaf {
    /// Seals a record at its place.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn seal(
        keys: &OwnKeys,
        indexes: &mut Indexes,
        (log, seq): (u64, u64),
        record: &Record,
        heads: String,
    ) -> Result<Self, KeyError> {
        let mut body = Vec::with_capacity(BODY_BYTES);
        // Strings and numbers always have a JSON form.
        serde_json::to_writer(&mut body, record).expect("plain values");
        let place: [&[u8]; 3] = [b"audit", &log.to_be_bytes(), &seq.to_be_bytes()];
        Ok(Self {
            log,
            seq,
            time_ms: record.time_ms,
            action: record.action.clone(),
            outcome: record.outcome.clone(),
            generation: record.generation,
            principal_index: indexes.number(keys, "principal", record.principal_id),
            repo_index: indexes.number(keys, "repo", record.repo_id),
            token_index: indexes.number(keys, "token", record.token),
            address_index: indexes.address(keys, &record.address),
            body_sealed: seal_meta(RecordKey::of(keys, (log, seq)).expose(), &place, &body)
                .map_err(|_| KeyError::Randomness)?,
            heads,
        })
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`SealedError`].
    pub fn open(&self, keys: &OwnKeys) -> Result<Record, SealedError> {
        self.open_with(&RecordKey::of(keys, (self.log, self.seq)))
    }

    /// Opens it with its own key.
    ///
    /// # Errors
    /// [`SealedError`].
    pub fn open_with(&self, key: &RecordKey) -> Result<Record, SealedError> {
        let place: [&[u8]; 3] = [b"audit", &self.log.to_be_bytes(), &self.seq.to_be_bytes()];
        let body = open_meta(key.expose(), &place, &self.body_sealed)?;
        serde_json::from_slice(&body).map_err(|_| SealedError)
    }

    /// Whether it opens, and says in its columns what it says inside.
    pub fn is_whole(&self, keys: &OwnKeys) -> bool {
        let Ok(record) = self.open(keys) else { return false };
        let (time_ms, generation) = (record.time_ms, record.generation);
        (time_ms, &record.action, &record.outcome, generation)
            == (self.time_ms, &self.action, &self.outcome, self.generation)
            && self.principal_index == number_index(keys, "principal", record.principal_id)
            && self.repo_index == number_index(keys, "repo", record.repo_id)
            && self.token_index == number_index(keys, "token", record.token)
            && self.address_index == index(keys, "address", &record.address)
    }

    /// As it is hashed, exported and proved.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = Vec::with_capacity(self.body_sealed.len() + COLUMNS_BYTES);
        // Postcard into a growing vector fails for no value of these types.
        postcard::to_extend(self, bytes).expect("plain values")
    }

    /// Reads those bytes.
    ///
    /// # Errors
    /// [`SealedError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealedError> {
        postcard::from_bytes(bytes).map_err(|_| SealedError)
    }

    /// The tree's leaf hash.
    pub fn hash(&self) -> Hash {
        Hash::leaf(&self.to_bytes())
    }
}
