//! Verifying a bundle with nothing but the log's public key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use strongroom_audit::Hash;
use strongroom_audit::note::VerifierKey;
use strongroom_protocol::admin::Cursor;
use strongroom_protocol::incident::{IncidentScope, Subject};

use super::bundle::{Digest, Entry, FORMAT, Header, Sealed, Witnessed, spelled, statement};
use super::reach::{Replay, Who};
use crate::did::Did;
use crate::effect::Effect;
use crate::log::{Record, RecordKey, Roots, RootsError, StoredLeaf};
use crate::policy::PolicyError;

/// Why a bundle is not believed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A line that is not of the format, or not as it was written.
    #[error("line {0} is not a line of a bundle, or was changed: {1}")]
    Line(u64, String),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] RootsError),
    /// A record that is not in the log.
    #[error("line {0}: the record is NOT in the log at its place")]
    Proof(u64),
    /// A record that says something else than its leaf.
    #[error("line {0}: the record is not what its leaf says")]
    Record(u64),
    /// A record that does not belong there: not of the incident, twice, or out of order.
    #[error("line {0}: the record does not belong there")]
    Place(u64),
    /// A record or a line that is missing, one too many, or another header than the one that was signed.
    #[error("the signature does not fit: a record was taken out or put in, or the summary was changed: {0}")]
    Signature(String),
    /// A summary that does not follow from the records.
    #[error("the summary does not follow from the records: {0}")]
    Summary(&'static str),
    /// Policy that can't be replayed.
    #[error("the records about policy do not fit: {0}")]
    Policy(#[from] PolicyError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    note: String,
}

/// Takes the lines of a bundle in their order. Holds no record: what is held is the summary.
pub struct Verifier {
    key: VerifierKey,
    text: String,
    header: Header,
    roots: Roots,
    policy: Digest,
    activity: Digest,
    steps: Option<(u64, bool, u64, u64)>,
    newest: Option<Cursor>,
    replayed: Vec<(u64, i64, Vec<Effect>)>,
    whose: Vec<Who>,
    did: Did,
    line: u64,
}

fn parsed<T: for<'a> Deserialize<'a>>(line: u64, text: &str) -> Result<T, BundleError> {
    let wrong = |error: &dyn std::fmt::Display| BundleError::Line(line, error.to_string());
    let value: Value = serde_json::from_str(text).map_err(|error| wrong(&error))?;
    // One content has one text: no byte of a line is free.
    let spelled = value.to_string();
    if spelled != text {
        return Err(wrong(&"another spelling"));
    }
    serde_json::from_value(value).map_err(|error| wrong(&error))
}

/// Whether a record is of the incident.
pub(crate) fn is_of(scope: &IncidentScope, record: &Record) -> bool {
    let of = match &scope.subject {
        Subject::Token { id, .. } => record.token == Some(*id),
        Subject::Principal { id, .. } => record.principal_id == Some(*id),
        Subject::Share { tokens, .. } => record.token.is_some_and(|token| tokens.contains(&token)),
        Subject::Partner { people, .. } => record.principal_id.is_some_and(|id| people.contains(&id)),
        Subject::Address { address } => record.address == *address,
    };
    of && (scope.since_ms..scope.until_ms).contains(&record.time_ms)
}

/// Whose reach is asked where an address is the subject: the tokens that were used from it.
pub(crate) fn from_address(subject: &Subject, record: &Record, whose: &mut Vec<Who>) {
    if let (Subject::Address { .. }, Some(token), Some(principal)) = (subject, record.token, record.principal_id) {
        let who = Who::Token(token, principal);
        if let Err(at) = whose.binary_search(&who) {
            whose.insert(at, who);
        }
    }
}

impl Verifier {
    /// Takes the first line.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn new(key: VerifierKey, first: &str) -> Result<Self, BundleError> {
        let header: Header = parsed(1, first)?;
        if header.format != FORMAT {
            return Err(BundleError::Line(1, format!("the format is not {FORMAT}")));
        }
        let roots = Roots::open(&key, &header.scope.sizes, &header.checkpoints)?;
        if !header.witnessed.is_sorted_by(|one, next| one.log < next.log) {
            return Err(BundleError::Line(1, "a log has one cosigned checkpoint".to_owned()));
        }
        for Witnessed { log, note, proof } in &header.witnessed {
            let hash = |text: &String| STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok().map(Hash));
            let path = proof.iter().map(hash).collect::<Option<Vec<_>>>();
            let path = path.ok_or_else(|| BundleError::Line(1, "a proof is of hashes".to_owned()))?;
            roots.continues(&key, *log, note, &path)?;
        }
        let whose = Who::of(&header.scope.subject);
        Ok(Self {
            key,
            text: first.to_owned(),
            header,
            roots,
            policy: Digest::default(),
            activity: Digest::default(),
            steps: None,
            newest: None,
            replayed: Vec::new(),
            whose,
            did: Did::default(),
            line: 1,
        })
    }

    /// Which records the evidence has to be.
    pub fn scope(&self) -> &IncidentScope {
        &self.header.scope
    }

    /// Takes a line between the first and the last.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn entry(&mut self, text: &str) -> Result<(), BundleError> {
        self.line += 1;
        let entry: Entry = serde_json::from_str(text).map_err(|error| self.wrong(error))?;
        // One content has one text: no byte of a line is free.
        if serde_json::to_string(&entry).map_err(|error| self.wrong(error))? != text {
            return Err(self.wrong("another spelling"));
        }
        let hash = |text: &String| self.bytes(text)?.try_into().map(Hash).map_err(|_| BundleError::Proof(self.line));
        let path = entry.proof.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
        let record = self.take(&entry.key, &entry.leaf, &path)?;
        if record.get() == entry.record.get() { Ok(()) } else { Err(BundleError::Record(self.line)) }
    }

    /// Takes what the keeper gives, and gives the line that says it.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn sealed(&mut self, sealed: &Sealed) -> Result<String, BundleError> {
        self.line += 1;
        let path = self.bytes(&sealed.proof)?;
        let (hashes, rest) = path.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(BundleError::Proof(self.line));
        }
        let path: Vec<Hash> = hashes.iter().copied().map(Hash).collect();
        let record = self.take(&sealed.key, &sealed.leaf, &path)?;
        let (key, leaf) = ((&*sealed.key).into(), (&*sealed.leaf).into());
        let entry = Entry { key, leaf, proof: path.iter().map(|hash| STANDARD.encode(hash.0)).collect(), record };
        serde_json::to_string(&entry).map_err(|error| self.wrong(error))
    }

    fn wrong(&self, error: impl std::fmt::Display) -> BundleError {
        BundleError::Line(self.line, error.to_string())
    }

    fn bytes(&self, text: &str) -> Result<Vec<u8>, BundleError> {
        STANDARD.decode(text).map_err(|error| self.wrong(error))
    }

    /// The record that a leaf opens to, once it is proved to be in its log and to belong there.
    fn take(&mut self, key: &str, leaf: &str, path: &[Hash]) -> Result<Box<RawValue>, BundleError> {
        let line = self.line;
        let stored = self.bytes(leaf)?;
        let hashed = Hash::leaf(&stored);
        let leaf = StoredLeaf::from_bytes(&stored).map_err(|error| self.wrong(error))?;
        if !self.roots.holds((leaf.log, leaf.seq), hashed, path) {
            return Err(BundleError::Proof(line));
        }
        let key = self.bytes(key)?.try_into().map_err(|_| BundleError::Record(line))?;
        let record = leaf.open_with(&RecordKey::from_bytes(key)).map_err(|_| BundleError::Record(line))?;
        let columns = (leaf.time_ms, &leaf.action, &leaf.outcome, leaf.generation);
        if columns != (record.time_ms, &record.action, &record.outcome, record.generation) {
            return Err(BundleError::Record(line));
        }
        let shown = spelled(&record).map_err(|error| self.wrong(error))?;
        if line <= 1 + self.header.policy {
            self.take_policy(&leaf, record, hashed)?;
        } else {
            self.take_activity(&leaf, &record, hashed)?;
        }
        Ok(shown)
    }

    fn take_policy(&mut self, leaf: &StoredLeaf, record: Record, hash: Hash) -> Result<(), BundleError> {
        let rules = record.effects.iter().any(|effect| matches!(effect, Effect::Rules { .. }));
        let step = (record.generation + u64::from(!rules), rules, leaf.log, leaf.seq);
        if record.effects.is_empty() || self.steps.is_some_and(|last| last >= step) {
            return Err(BundleError::Place(self.line));
        }
        self.steps = Some(step);
        self.policy.add(hash);
        self.replayed.push((step.0, record.time_ms, record.effects));
        Ok(())
    }

    fn take_activity(&mut self, leaf: &StoredLeaf, record: &Record, hash: Hash) -> Result<(), BundleError> {
        let place = Cursor::new(leaf.time_ms, leaf.log, leaf.seq).ok_or(BundleError::Place(self.line))?;
        if !is_of(&self.header.scope, record) || self.newest.is_some_and(|newer| newer <= place) {
            return Err(BundleError::Place(self.line));
        }
        self.newest = Some(place);
        self.activity.add(hash);
        from_address(&self.header.scope.subject, record, &mut self.whose);
        self.did.add(record);
        Ok(())
    }

    /// Takes the last line: the signature, and then the summary, computed anew.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn finish(self, text: &str) -> Result<Header, BundleError> {
        let last: Last = parsed(self.line + 1, text)?;
        let expected = statement(&self.text, self.policy, self.activity);
        let wrong = |what: &str| BundleError::Signature(what.to_owned());
        let signed = self.key.open(&last.note).map_err(|error| wrong(&error.to_string()))?;
        if signed != expected {
            return Err(wrong("what is signed is something else"));
        }
        let header = self.header;
        if self.did.show() != header.did {
            return Err(BundleError::Summary("what was done"));
        }
        let time = (header.scope.since_ms, header.scope.until_ms);
        let mut replay = Replay::new(&self.whose, time, Some(header.generation))?;
        for (generation, at_ms, effects) in &self.replayed {
            replay.step(*generation, *at_ms, effects)?;
        }
        if replay.finish() != header.could {
            return Err(BundleError::Summary("what could be reached"));
        }
        Ok(header)
    }
}
