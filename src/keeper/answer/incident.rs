//! `incident`: opened, and its evidence given out. What is signed is computed here, from the log and from nothing that is asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_audit::note::Signer;
use strongroom_domain::Action;
use strongroom_protocol::incident::{IncidentCommand, IncidentQuery, IncidentScope, Subject, Suspect};
use strongroom_protocol::{Call, Credential, Refusal};

use super::about;
use super::admin::Outcome;
use super::authorize::may;
use super::evidence::Proved;
use super::people::{time, user};
use super::unavailable;
use crate::change::Change;
use crate::credential::{Subject as Asker, authenticate};
use crate::did::Did;
use crate::incident::{Digest, FORMAT, Header, Page, Replay, Sealed, Who, from_address, is_of, statement};
use crate::log::{
    Filter, LOOKED_AT_MAX, Record, ShareFilter, Step, StoredLeaf, history, leaf_at, newest_ms, search, search_closed,
};
use crate::server::{Core, now_ms};
use crate::state::{State, Stop};

/// Records that are read at once where all are looked at, and where each is written as evidence: such a page ends by its bytes.
const ALL: u32 = LOOKED_AT_MAX as u32; // some thousands
const PAGE: u32 = 1000;
/// Records of evidence that are proved at once.
const PROVED_AT_ONCE: usize = 64;
/// Bytes of an answer, so that it fits a frame.
const ANSWER_MAX: usize = 3 * 1024 * 1024;
/// Bytes after which a page of evidence ends; an entry has 2 KiB, and one with a long path some more.
const EVIDENCE_MAX: usize = 2 * 1024 * 1024;
/// Tokens of one share, at most: each is a run of its own in the log.
const TOKENS_MAX: usize = 1000;
/// Records about policy of one incident, at most: their places go in one answer.
const POLICY_MAX: usize = 50_000;

fn too_much() -> Refusal {
    let text =
        "too much for one bundle (what was to be locked is locked): ask for a shorter time with --since and --until";
    Refusal::Invalid(text.to_owned())
}

fn subject(state: &State, suspect: &Suspect) -> Result<Subject, Refusal> {
    let missing = |what: &str| Refusal::Invalid(format!("no {what} has that id"));
    match suspect {
        Suspect::Token(id) => {
            let token = state.tokens.get(id).ok_or_else(|| missing("token"))?;
            Ok(Subject::Token { id: *id, principal: token.principal.0 })
        }
        Suspect::Principal(name) => {
            // Who was removed can still be asked about.
            let id = state.principal_names.get(&name.to_ascii_lowercase()).copied();
            let id = id.map_or_else(|| user(state, name).map(|(id, _)| id), Ok)?;
            let name = state.principals.get(&id).map(|principal| principal.name.clone()).unwrap_or_default();
            Ok(Subject::Principal { id, name })
        }
        Suspect::Share(id) => {
            let share = state.shares.get(id).ok_or_else(|| missing("share"))?;
            let tokens = state.tokens.iter().filter(|(_, token)| token.body.share == Some(*id));
            // One that is with an organisation is nobody's own.
            let principal = share.principal().map_or(0, |principal| principal.0);
            Ok(Subject::Share { id: *id, principal, tokens: tokens.map(|(id, _)| *id).collect() })
        }
        Suspect::Partner(name) => {
            let (id, partner) = state
                .partners
                .named(name)
                .ok_or_else(|| Refusal::Invalid(format!("no partner organisation is called '{name}'")))?;
            Ok(Subject::Partner { id, name: partner.name.clone(), people: partner.people().into_iter().collect() })
        }
        Suspect::Address(typed) => Ok(Subject::Address { address: super::audit::address(typed)? }),
    }
}

/// What stops it: the principal, the token, the share, the partner organisation. Nothing yet where it is an address.
fn stops(subject: &Subject) -> Vec<Stop> {
    match subject {
        Subject::Token { id, .. } => vec![Stop::Token(*id)],
        Subject::Principal { id, .. } => vec![Stop::Principal(*id)],
        Subject::Share { id, .. } => vec![Stop::Share(*id)],
        Subject::Partner { id, .. } => vec![Stop::Partner(*id)],
        Subject::Address { .. } => Vec::new(),
    }
}

/// The changes that stop them, and their words; those that are stopped already stay so.
fn lock(state: &State, stops: &[Stop], at_ms: i64) -> (Vec<Change>, Vec<String>) {
    let words = stops.iter().map(|stop| super::stop::text(state, *stop)).collect();
    let open = stops.iter().filter(|stop| !state.stops.contains_key(stop));
    (open.map(|stop| Change::Stop(*stop, "incident".to_owned(), at_ms)).collect(), words)
}

fn filter(scope: &IncidentScope) -> Filter {
    let mut filter =
        Filter { since_ms: Some(scope.since_ms), until_ms: Some(scope.until_ms), limit: ALL, ..Filter::default() };
    match &scope.subject {
        Subject::Token { id, .. } => filter.token = Some(*id),
        Subject::Principal { id, .. } => filter.principal = Some(*id),
        Subject::Share { id, tokens, .. } => {
            filter.share = Some(ShareFilter { id: *id, tokens: tokens.clone(), repo: None });
        }
        Subject::Partner { people, .. } => filter.people = Some(people.clone()),
        Subject::Address { address } => filter.address = Some(address.clone()),
    }
    filter
}

fn is_in(scope: &IncidentScope, leaf: &StoredLeaf, record: &Record) -> bool {
    leaf.seq < scope.size(leaf.log) && is_of(scope, record)
}

impl Core {
    pub(super) fn incident_begin(
        &self,
        state: &State,
        asker: &Asker,
        command: &IncidentCommand,
        record: &mut Record,
    ) -> Outcome {
        let IncidentCommand::Open(query) = command else {
            record.subject = Some(super::cut(&format!("{command:?}"), 1024));
            return Ok((Value::Null, Vec::new()));
        };
        record.subject = Some(super::cut(&format!("{query:?}"), 1024));
        if query.lock && !may(state, asker, Action::LockManage, None, None) {
            return Err(Refusal::Forbidden(format!("this needs the right to {}", Action::LockManage)));
        }
        let subject = subject(state, &query.suspect)?;
        let (changes, locked) =
            if query.lock { lock(state, &stops(&subject), record.time_ms) } else { Default::default() };
        if let (true, Subject::Share { id, .. }) = (query.lock, &subject) {
            super::share::about(state, *id, record);
        }
        let until_ms = query.until_ms.unwrap_or(record.time_ms + 1);
        let scope = IncidentScope { subject, since_ms: query.since_ms, until_ms, sizes: Vec::new() };
        let opened = json!({"by": record.principal, "time": time(record.time_ms)});
        Ok((json!({"scope": scope, "locked": locked, "opened": opened}), changes))
    }

    pub(super) async fn incident(
        &self,
        call: &Call,
        credential: Option<&Credential>,
        command: &IncidentCommand,
        begun: Value,
    ) -> Result<String, Refusal> {
        let scope = match command {
            IncidentCommand::Open(_) => serde_json::from_value(begun["scope"].clone()).map_err(unavailable)?,
            IncidentCommand::Activity { scope, .. } | IncidentCommand::Policy { scope, .. } => scope.clone(),
        };
        if matches!(&scope.subject, Subject::Share { tokens, .. } if tokens.len() > TOKENS_MAX) {
            let text = format!("a share with more than {TOKENS_MAX} tokens: open an incident of its principal");
            return Err(Refusal::Invalid(text));
        }
        match command {
            IncidentCommand::Open(query) => self.incident_open(call, credential, query, (scope, begun)).await,
            IncidentCommand::Activity { scope, before, down_to } => {
                let mut evidence = Evidence::new(self, scope);
                let mut filter = Filter { before: *before, down_to: *down_to, limit: PAGE, ..filter(scope) };
                loop {
                    let page = search_closed(&self.database.reader, &self.keys, &filter).await.map_err(unavailable)?;
                    let of_it = page.found.iter().filter(|(_, leaf, ())| leaf.seq < scope.size(leaf.log));
                    let of_it: Vec<_> = of_it.map(|(place, leaf, ())| (place, leaf)).collect();
                    for some in of_it.chunks(PROVED_AT_ONCE) {
                        let leaves: Vec<&StoredLeaf> = some.iter().map(|(_, leaf)| *leaf).collect();
                        let added = evidence.add(&leaves).await?;
                        if evidence.is_full() {
                            return evidence.page(some[..added].last().map(|(place, _)| place.to_string()));
                        }
                    }
                    let Some(next) = page.next else { break };
                    // Most of what another search would find has no room any more, and would be searched for again.
                    if evidence.bytes > EVIDENCE_MAX / 2 {
                        return evidence.page(Some(next.to_string()));
                    }
                    filter.before = Some(next);
                }
                evidence.page(None)
            }
            IncidentCommand::Policy { scope, places } => {
                let mut evidence = Evidence::new(self, scope);
                for places in places.chunks(PROVED_AT_ONCE) {
                    let mut leaves = Vec::new();
                    for place in places {
                        let leaf = leaf_at(&self.database.reader, *place).await.map_err(unavailable)?;
                        leaves.push(leaf.ok_or_else(|| Refusal::Invalid("there is no such record".to_owned()))?);
                    }
                    evidence.add(&leaves.iter().collect::<Vec<_>>()).await?;
                    if evidence.is_full() {
                        break;
                    }
                }
                evidence.page(None)
            }
        }
    }

    async fn incident_open(
        &self,
        call: &Call,
        credential: Option<&Credential>,
        query: &IncidentQuery,
        (mut scope, begun): (IncidentScope, Value),
    ) -> Result<String, Refusal> {
        let mut locked: Vec<String> = serde_json::from_value(begun["locked"].clone()).map_err(unavailable)?;
        if let (true, Subject::Address { .. }) = (query.lock, &scope.subject) {
            locked = self.lock_address(call, credential, &scope).await?;
        }
        // From here on nothing more belongs to it.
        let logs = self.log.checkpoints().await.map_err(unavailable)?;
        scope.sizes = logs.iter().map(|(log, position)| (*log, position.size)).collect();
        if query.until_ms.is_none() {
            // The clock of another keeper may be ahead of ours: its newest records belong to it.
            let newest = newest_ms(&self.database.reader).await.map_err(unavailable)?;
            scope.until_ms = scope.until_ms.max(newest.saturating_add(1));
        }
        let checkpoints: Vec<String> = logs.into_iter().map(|(_, position)| position.checkpoint).collect();
        let (mut did, mut activity, mut whose) = (Did::default(), Digest::default(), Who::of(&scope.subject));
        // Where a page of evidence is full, so that whoever asks for it can ask for several at a time.
        let (mut filter, mut count, mut marks) = (filter(&scope), 0, Vec::new());
        loop {
            let page = search(&self.database.reader, &self.keys, &filter).await.map_err(unavailable)?;
            for (place, leaf, record) in page.found.iter().filter(|(_, leaf, record)| is_in(&scope, leaf, record)) {
                activity.add(leaf.hash());
                from_address(&scope.subject, record, &mut whose);
                did.add(record);
                count += 1;
                if count % PAGE == 0 {
                    marks.push(place.to_string());
                }
            }
            let Some(next) = page.next else { break };
            filter.before = Some(next);
        }
        let mut replay = Replay::new(&whose, (scope.since_ms, scope.until_ms), None).map_err(unavailable)?;
        self.each_step(&scope, |(generation, ..), _, record| {
            replay.step(generation, record.time_ms, &record.effects).map_err(unavailable)
        })
        .await?;
        let could = replay.finish();
        let (mut policy, mut places) = (Digest::default(), Vec::new());
        let mut rules = None;
        self.each_step(&scope, |(_, says_rules, place), leaf, record| {
            let known = says_rules && rules.as_ref() == Some(&record.effects);
            if record.time_ms < scope.until_ms && !known && replay.needs(&record.effects) {
                if says_rules {
                    rules = Some(record.effects.clone());
                }
                policy.add(leaf.hash());
                places.push(place);
            }
            if places.len() > POLICY_MAX { Err(too_much()) } else { Ok(()) }
        })
        .await?;
        let header = Header {
            format: FORMAT.to_owned(),
            opened: begun["opened"].clone(),
            scope: scope.clone(),
            locked,
            witnessed: self.cosigned_of(&scope, &checkpoints).await?,
            checkpoints,
            generation: replay.first(),
            policy: places.len() as u64,
            could,
            did: did.show(),
        };
        let header = serde_json::to_value(&header).map_err(unavailable)?.to_string();
        let signer = Signer::from_seed(self.log.key().name(), &self.keys.log_seed).map_err(unavailable)?;
        let note = signer.sign(&statement(&header, policy, activity)).map_err(unavailable)?;
        let shown = json!({
            "header": header, "note": note, "policy": places, "marks": marks, "key": self.log.key().to_string(),
        });
        // A text in a text: its quotes are escaped.
        let shown = shown.to_string();
        if shown.len() > ANSWER_MAX { Err(too_much()) } else { Ok(shown) }
    }

    /// Every record about policy, in order.
    async fn each_step(
        &self,
        scope: &IncidentScope,
        mut take: impl FnMut(Step, &StoredLeaf, &Record) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut after: Step = (0, false, (0, 0));
        loop {
            let page = history(&self.database.reader, after, PAGE).await.map_err(unavailable)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = *last;
            for step in page.iter().filter(|(.., (log, seq))| *seq < scope.size(*log)) {
                let leaf = leaf_at(&self.database.reader, step.2).await.map_err(unavailable)?;
                let leaf = leaf.ok_or_else(|| unavailable(format!("record {:?} is missing", step.2)))?;
                let record = leaf.open(&self.keys).map_err(unavailable)?;
                take(*step, &leaf, &record)?;
            }
        }
    }

    /// Locks the tokens that were used from an address: which those are, the log says.
    async fn lock_address(
        &self,
        call: &Call,
        credential: Option<&Credential>,
        scope: &IncidentScope,
    ) -> Result<Vec<String>, Refusal> {
        let (mut whose, mut filter) = (Vec::new(), filter(scope));
        loop {
            let page = search(&self.database.reader, &self.keys, &filter).await.map_err(unavailable)?;
            page.found.iter().for_each(|(.., record)| from_address(&scope.subject, record, &mut whose));
            let Some(next) = page.next else { break };
            filter.before = Some(next);
        }
        let tokens = whose.iter().filter_map(|who| match who {
            Who::Token(id, _) => Some(Stop::Token(*id)),
            _ => None,
        });
        let tokens: Vec<Stop> = tokens.collect();
        self.changed(|state, record| {
            about(record, call, "incident.lock");
            let asker = authenticate(state, &self.keys, credential, now_ms(), record)?;
            if !may(state, &asker, Action::LockManage, None, None) {
                return Err(Refusal::Forbidden(format!("this needs the right to {}", Action::LockManage)));
            }
            // Who asks from there too keeps the token that stops the others.
            let others: Vec<Stop> = tokens.iter().copied().filter(|stop| *stop != Stop::Token(asker.token)).collect();
            let (changes, locked) = lock(state, &others, record.time_ms);
            record.subject = Some(super::cut(&locked.join(", "), 1024));
            Ok((locked, changes))
        })
        .await
    }
}

/// A page of evidence.
struct Evidence<'a> {
    scope: &'a IncidentScope,
    proved: Proved<'a>,
    entries: Vec<Sealed>,
    bytes: usize,
}

impl<'a> Evidence<'a> {
    fn new(core: &'a Core, scope: &'a IncidentScope) -> Self {
        Self { scope, proved: Proved::new(core), entries: Vec::new(), bytes: 0 }
    }

    /// Records until the page is full, how many of them: each as its leaf, the key that opens this leaf and no other, and the proof that
    /// it is in the log. Whoever verifies opens them, and need not believe what the keeper would say of them.
    async fn add(&mut self, leaves: &[&StoredLeaf]) -> Result<usize, Refusal> {
        let proofs = self.proved.proofs(leaves, |log| self.scope.size(log)).await?;
        for (at, (leaf, proof)) in leaves.iter().zip(proofs).enumerate() {
            let proof = proof.ok_or_else(|| Refusal::Invalid("a record beyond the checkpoint".to_owned()))?;
            let (key, leaf) = self.proved.opened(leaf);
            let proof: Vec<u8> = proof.iter().flat_map(|hash| hash.0).collect();
            let sealed = Sealed { key, leaf, proof: STANDARD.encode(proof) };
            self.bytes += sealed.key.len() + sealed.leaf.len() + sealed.proof.len();
            self.entries.push(sealed);
            if self.is_full() {
                return Ok(at + 1);
            }
        }
        Ok(leaves.len())
    }

    fn is_full(&self) -> bool {
        self.bytes > EVIDENCE_MAX
    }

    /// The page as it is sent.
    fn page(self, next: Option<String>) -> Result<String, Refusal> {
        serde_json::to_string(&Page { entries: self.entries, next }).map_err(unavailable)
    }
}
