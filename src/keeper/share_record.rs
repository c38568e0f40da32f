//! What a partner gets of the log about their share, and how they verify it: each of their own records with the key that opens it and
//! the proof that it is in the log; of every other record about the share only its number, its leaf's hash and the same proof.
//! (docs/decisions/0029)

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use strongroom_audit::Hash;
use strongroom_audit::note::VerifierKey;

use crate::incident::hex;
use crate::log::{Record, RecordKey, Roots, RootsError, StoredLeaf};

/// The first line of what is signed. No log is called so: a name has no space.
const FORMAT: &str = "strongroom share record 1";

/// A page.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Which share.
    pub share: u64,
    /// Whose records are opened: the principal's number.
    pub principal: u64,
    /// How far the logs went.
    pub sizes: Vec<(u64, u64)>,
    /// Their signed checkpoints.
    pub checkpoints: Vec<String>,
    /// Records, newest first.
    pub entries: Vec<Entry>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A record about the share.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number among those about the share, from 1 without gap.
    pub event: u64,
    /// In which log.
    pub log: u64,
    /// Its place there.
    pub seq: u64,
    /// The hash of its leaf, in base64.
    pub leaf_hash: String,
    /// The proof that the leaf is in the log, in base64.
    pub proof: Vec<String>,
    /// The key that opens it and the leaf itself, in base64, where it is the partner's own.
    pub own: Option<(String, String)>,
}

/// What is signed of a page.
pub fn statement(page: &str) -> String {
    format!("{FORMAT}\n{}\n", hex(digest(&SHA256, page.as_bytes()).as_ref()))
}

/// Why it is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ShareRecordError {
    /// A page that is not of the format.
    #[error("not a page of a share's record: {0}")]
    Form(String),
    /// A page that the log's key did not sign.
    #[error("a page is not what the server signed")]
    Signature,
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] RootsError),
    /// A record that is not in the log.
    #[error("record {0} is NOT in the log at its place")]
    Proof(u64),
    /// A record that says something else, or is not the partner's.
    #[error("record {0} is not what its leaf says")]
    Record(u64),
    /// A number that two have.
    #[error("two records have the number {0}")]
    Twice(u64),
    /// Numbers that nobody has.
    #[error("records are MISSING: {0}")]
    Missing(String),
    /// A record that is another one than it was.
    #[error("record {0} is another one than it was")]
    Changed(u64),
}

/// Verified: of each number the leaf's hash, and the record where it is the partner's own.
#[derive(Default)]
pub struct Verified {
    /// Which share, and whose records were opened.
    pub of: Option<(u64, u64)>,
    /// By number.
    pub events: BTreeMap<u64, (String, Option<Record>)>,
}

fn bytes(text: &str) -> Result<Vec<u8>, ShareRecordError> {
    STANDARD.decode(text).map_err(|error| ShareRecordError::Form(error.to_string()))
}

fn hash(text: &str, event: u64) -> Result<Hash, ShareRecordError> {
    bytes(text)?.try_into().map(Hash).map_err(|_| ShareRecordError::Proof(event))
}

impl Verified {
    /// Takes a page; gives where the next one begins.
    ///
    /// # Errors
    /// [`ShareRecordError`].
    pub fn page(&mut self, text: &str, note: &str, key: &VerifierKey) -> Result<Page, ShareRecordError> {
        if key.open(note).ok() != Some(statement(text).as_str()) {
            return Err(ShareRecordError::Signature);
        }
        let page: Page = serde_json::from_str(text).map_err(|error| ShareRecordError::Form(error.to_string()))?;
        let of = (page.share, page.principal);
        if *self.of.get_or_insert(of) != of {
            return Err(ShareRecordError::Form("pages of two shares".to_owned()));
        }
        let roots = Roots::open(key, &page.sizes, &page.checkpoints)?;
        for entry in &page.entries {
            let record = verify(entry, &roots, of)?;
            if self.events.insert(entry.event, (entry.leaf_hash.clone(), record)).is_some() {
                return Err(ShareRecordError::Twice(entry.event));
            }
        }
        Ok(page)
    }

    /// That no number up to the last is missing, and that an earlier record of the same share is a part of this one.
    ///
    /// # Errors
    /// [`ShareRecordError`].
    pub fn whole(&self, earlier: Option<&Self>) -> Result<u64, ShareRecordError> {
        let last = self.events.keys().next_back().copied().unwrap_or(0);
        let last = earlier.and_then(|earlier| earlier.events.keys().next_back().copied()).unwrap_or(0).max(last);
        let missing: BTreeSet<u64> = (1..=last).filter(|event| !self.events.contains_key(event)).collect();
        if !missing.is_empty() {
            let some: Vec<String> = missing.iter().take(20).map(u64::to_string).collect();
            return Err(ShareRecordError::Missing(some.join(", ")));
        }
        for (event, (hash, _)) in earlier.map(|earlier| &earlier.events).into_iter().flatten() {
            if self.events.get(event).is_none_or(|(now, _)| now != hash) {
                return Err(ShareRecordError::Changed(*event));
            }
        }
        Ok(last)
    }
}

fn verify(entry: &Entry, roots: &Roots, (share, principal): (u64, u64)) -> Result<Option<Record>, ShareRecordError> {
    let event = entry.event;
    let wrong = || ShareRecordError::Record(event);
    let leaf_hash = hash(&entry.leaf_hash, event)?;
    let path: Vec<Hash> = entry.proof.iter().map(|text| hash(text, event)).collect::<Result<_, _>>()?;
    if !roots.holds((entry.log, entry.seq), leaf_hash, &path) {
        return Err(ShareRecordError::Proof(event));
    }
    let Some((key, stored)) = &entry.own else { return Ok(None) };
    let stored = bytes(stored)?;
    let leaf = StoredLeaf::from_bytes(&stored).map_err(|_| wrong())?;
    if Hash::leaf(&stored) != leaf_hash || (leaf.log, leaf.seq) != (entry.log, entry.seq) {
        return Err(wrong());
    }
    let key = bytes(key)?.try_into().map_err(|_| wrong())?;
    let record = leaf.open_with(&RecordKey::from_bytes(key)).map_err(|_| wrong())?;
    let says = (record.share, record.share_event, record.principal_id);
    if says != (Some(share), Some(event), Some(principal)) {
        return Err(wrong());
    }
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(events: &[u64]) -> Verified {
        let leaf = |event: &u64| (*event, (format!("leaf {event}"), None));
        Verified { of: Some((1, 2)), events: events.iter().map(leaf).collect() }
    }

    #[test]
    fn a_number_that_nobody_has_is_missed_and_what_was_there_must_be_there_still() {
        assert_eq!(of(&[3, 1, 2]).whole(None).ok(), Some(3));
        assert!(matches!(of(&[1, 3]).whole(None), Err(ShareRecordError::Missing(some)) if some == "2"));
        assert!(matches!(of(&[2, 3]).whole(None), Err(ShareRecordError::Missing(some)) if some == "1"));
        assert!(of(&[1, 2, 3]).whole(Some(&of(&[1, 2]))).is_ok());
        assert!(
            matches!(of(&[1, 2]).whole(Some(&of(&[1, 2, 3]))), Err(ShareRecordError::Missing(some)) if some == "3")
        );
        let mut other = of(&[1, 2]);
        other.events.insert(2, ("another leaf".to_owned(), None));
        assert!(matches!(of(&[1, 2, 3]).whole(Some(&other)), Err(ShareRecordError::Changed(2))));
    }
}
