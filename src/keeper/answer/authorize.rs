//! `Authorize`: authenticate, judge, record, and only then a grant.

use std::collections::BTreeSet;

use strongroom_domain::{Action, Compartment, RepoKind, RepoName};
use strongroom_envelope::keyed_hash;
use strongroom_protocol::{Call, Credential, GrantParts, PartKeys, Purpose, Refusal, Reply, RepoParts, Target};

use super::rotate_repo::CLOSED_S;
use super::{about, cut};
use crate::act::{Deed, Recovery};
use crate::credential::{Subject, authenticate, in_scope};
use crate::decoy;
use crate::grants::Live;
use crate::keys::Part;
use crate::log::Record;
use crate::policy::{Place, Question};
use crate::server::{Core, now_ms};
use crate::state::{Repo, State, Stop};

/// A decision that allows, before it is recorded.
pub(super) struct Allowed {
    pub(super) subject: Subject,
    pub(super) repo: Option<u64>,
    pub(super) compartments: Vec<Compartment>,
    pub(super) generation: u64,
}

/// Whether policy and scope allow an action that has no compartments, at a place.
pub(super) fn may(state: &State, subject: &Subject, action: Action, namespace: Option<u64>, repo: Option<u64>) -> bool {
    let Some(token) = state.tokens.get(&subject.token) else { return false };
    let question =
        Question { principal: subject.principal, share: subject.share, action, compartment: None, namespace, repo };
    state.policy.allows(&question) && in_scope(token, action, None, namespace, repo)
}

/// The compartments in which policy and scope allow an action at a place; the same work where there is no such place.
pub(super) fn compartments(
    state: &State,
    subject: &Subject,
    action: Action,
    namespace: Option<u64>,
    repo: Option<u64>,
) -> Vec<Compartment> {
    let Some(token) = state.tokens.get(&subject.token) else { return Vec::new() };
    let question =
        Question { principal: subject.principal, share: subject.share, action, compartment: None, namespace, repo };
    let mut allowed = state.policy.compartments(&question);
    allowed.retain(|part| in_scope(token, action, Some(*part), namespace, repo));
    allowed
}

/// Writing needs reading: a grant to write shows the compartments that may be read and written.
pub(super) fn has_compartments(action: Action) -> bool {
    matches!(action, Action::RepoRead | Action::RepoWrite | Action::KeyRecover)
}

impl Core {
    pub(super) async fn answer_authorize(
        &self,
        call: Call,
        credential: Option<Credential>,
        action: Action,
        target: Target,
    ) -> Result<Reply, Refusal> {
        let judge = || {
            self.used(action, credential.as_ref(), |state, record| {
                about(record, &call, action.word());
                // Also where the credential does not hold.
                if let Target::Repo { kind, name, path, .. } = &target {
                    decoy::note(state, *kind, name, path.as_deref(), record);
                }
                let subject = authenticate(state, &self.keys, credential.as_ref(), now_ms(), record)?;
                match (&target, &subject.ticket) {
                    (Target::System, None) => self.judge_system(state, subject, action, record),
                    (Target::Repo { kind, name, revision, path }, None) => {
                        record.revision = revision.as_deref().map(|text| cut(text, 256));
                        record.path = path.as_deref().map(|text| cut(text, 1024));
                        self.judge_repo(state, subject, action, *kind, name, record)
                    }
                    (Target::Ticket, Some((repo, purpose))) if fits(purpose, action) => {
                        let found = state.repos.get(repo).filter(|repo| repo.deleted_ms.is_none());
                        let found = found.map(|found| (*repo, found));
                        record.kind = found.map(|(_, repo)| repo.kind.to_string());
                        record.repo = found.map(|(_, repo)| repo.name.to_string());
                        judge_found(state, subject, action, found, None, record)
                    }
                    _ => {
                        record.reason = "a ticket for another purpose".to_owned();
                        Err(Refusal::Credential)
                    }
                }
            })
        };
        let allowed = match judge().await {
            Ok(allowed) if action == Action::KeyRecover && self.dual.recovering() => {
                self.recovery(&call, credential.as_ref(), allowed, &target).await?
            }
            Err(Refusal::Later(_)) if self.let_writes_go_on().await? => judge().await?,
            allowed => allowed?,
        };
        let revision = match target {
            Target::Repo { revision, .. } => revision,
            _ => None,
        };
        Ok(Reply::Granted(Box::new(self.grant(allowed, action, call, revision)?)))
    }

    /// A recovery that is allowed waits for its second person, unless that one was there.
    async fn recovery(
        &self,
        call: &Call,
        credential: Option<&Credential>,
        allowed: Allowed,
        target: &Target,
    ) -> Result<Allowed, Refusal> {
        // What is approved is this path at this revision, and no other.
        let (revision, path) = match target {
            Target::Repo { revision, path, .. } => {
                (revision.as_deref().map(|text| cut(text, 256)), path.as_deref().map(|text| cut(text, 1024)))
            }
            _ => (None, None),
        };
        let (repo, compartments) = (allowed.repo.unwrap_or(NOBODYS), allowed.compartments.clone());
        let deed = Deed::RecoverAt(Recovery { repo, compartments, revision: revision.clone(), path: path.clone() });
        if self.is_open(&self.state.read(), allowed.subject.principal, &deed) {
            return Ok(allowed);
        }
        self.changed(|state, record| {
            about(record, call, Action::KeyRecover.word());
            let subject = authenticate(state, &self.keys, credential, now_ms(), record)?;
            record.repo_id = allowed.repo;
            let repo = allowed.repo.and_then(|id| state.repos.get(&id)).ok_or(Refusal::NotFound)?;
            (record.kind, record.repo) = (Some(repo.kind.to_string()), Some(repo.name.to_string()));
            (record.revision, record.path) = (revision.clone(), path.clone());
            let (refusal, changes) = self.wait(state, &subject, deed.clone(), "break-glass recovery", record)?;
            Ok((Err(refusal), changes))
        })
        .await?
    }

    fn judge_system(
        &self,
        state: &State,
        subject: Subject,
        action: Action,
        record: &mut Record,
    ) -> Result<Allowed, Refusal> {
        // Listing asks again for each repository that it would show; who asks who it is has shown that with its token.
        let anyone = matches!(action, Action::RepoList | Action::Whoami);
        if !anyone && !may(state, &subject, action, None, None) {
            return Err(Refusal::Forbidden(format!("this needs the right to {action}")));
        }
        Ok(Allowed { subject, repo: None, compartments: Vec::new(), generation: record.generation })
    }

    pub(super) fn judge_repo(
        &self,
        state: &State,
        subject: Subject,
        action: Action,
        kind: RepoKind,
        name: &RepoName,
        record: &mut Record,
    ) -> Result<Allowed, Refusal> {
        record.kind = Some(kind.to_string());
        record.repo = Some(name.to_string());
        let path = record.path.clone();
        decoy::note(state, kind, name, path.as_deref(), record);
        let namespace = state.namespace_names.get(&name.namespace().to_ascii_lowercase()).copied();
        judge_found(state, subject, action, state.repo(kind, name), namespace, record)
    }

    /// Makes the grant of a decision that is recorded.
    pub(super) fn grant(
        &self,
        allowed: Allowed,
        action: Action,
        call: Call,
        revision: Option<String>,
    ) -> Result<GrantParts, Refusal> {
        let state = self.state.read();
        let Allowed { subject, repo, compartments, generation } = allowed;
        let purpose = subject.ticket.as_ref().map(|(_, purpose)| purpose.clone());
        let mut parts = match repo.and_then(|id| state.repos.get(&id)) {
            // `repo` is there where it was found.
            Some(found) => Some(self.repo_parts(
                &state,
                (repo.unwrap_or_default(), found),
                &compartments,
                action,
                purpose.clone(),
            )?),
            None => None,
        };
        let catalog_id = parts.as_ref().map(|parts| parts.id);
        if let (Some(parts), Some(share)) = (&mut parts, subject.share) {
            parts.share = Some(state.shares.get(&share).ok_or(Refusal::Credential)?.shared());
        }
        let token = state.tokens.get(&subject.token).ok_or(Refusal::Credential)?;
        let whole = token.body.actions.is_empty() || token.body.actions.contains(&Action::RepoWrite);
        let writes = whole && subject.share.is_none();
        // What else its principal holds is nothing to the token of a share.
        let held = state.roles_of(subject.principal).filter(|_| subject.share.is_none());
        let namespaces = held.filter_map(|held| match held.place {
            Place::Namespace(id) => Some((state.namespaces.get(&id)?.clone(), held.role.to_string())),
            _ => None,
        });
        let mut answer = GrantParts {
            id: strongroom_protocol::GrantId(0),
            principal: state.principals.get(&subject.principal.0).map(|p| p.name.clone()).unwrap_or_default(),
            namespaces: namespaces.collect(),
            token: (token.body.name.clone(), writes),
            token_created_ms: token.created_ms,
            repo: parts,
        };
        let live = Live {
            principal: subject.principal,
            token: subject.token,
            share: subject.share,
            action,
            repo,
            catalog_id,
            compartments,
            generation,
            purpose,
            call,
            revision,
            witnessed: BTreeSet::new(),
            opened: None,
        };
        let too_many = || Refusal::Unavailable("too many requests are in flight".to_owned());
        answer.id = self.grants.lock().add(live).ok_or_else(too_many)?;
        Ok(answer)
    }

    pub(super) fn repo_parts(
        &self,
        state: &State,
        (id, repo): (u64, &Repo),
        compartments: &[Compartment],
        action: Action,
        purpose: Option<Purpose>,
    ) -> Result<RepoParts, Refusal> {
        // What was decided was recorded first. Where a lock or a seal came between, its keys have left memory, and stay away.
        if state.stops.contains_key(&Stop::Repo(id)) {
            return Err(Refusal::NotFound);
        }
        let keys = self.held.keys(repo).map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let part = |compartment: &Compartment| {
            let part = keys.part(Part::Compartment(*compartment));
            let (keys, recipient) = (part.meta.clone(), part.recipient_text.clone());
            PartKeys { compartment: *compartment, keys, recipient }
        };
        let inbox = || (keys.part(Part::Inbox).meta.clone(), keys.part(Part::Inbox).recipient_text.clone());
        let scope = keyed_hash(&self.keys.index, &[b"scope", &id.to_be_bytes()]);
        let beside = repo.rotation.as_ref().filter(|_| action == Action::RepoDelete);
        Ok(RepoParts {
            id: repo.catalog_id,
            // 32 bytes have a first 16.
            scope: *scope.first_chunk().expect("32 bytes"),
            beside: beside.map(|rotation| rotation.catalog_id),
            reopened: repo.reopened().filter(|_| writes(action)),
            kind: repo.kind,
            name: repo.name.clone(),
            created_ms: repo.created_ms,
            place: repo.namespace,
            quota: state.quotas.get(&repo.namespace).copied(),
            shared: keys.part(Part::Shared).meta.clone(),
            compartments: compartments.iter().map(part).collect(),
            kept: self.dual.rule.share.clone(),
            inbox: (action == Action::RepoWrite).then(inbox),
            purpose,
            share: None,
        })
    }
}

/// Whether a grant for it may change what is in a repository.
pub(super) fn writes(action: Action) -> bool {
    matches!(action, Action::RepoWrite | Action::RepoManage | Action::RepoCreate)
}

/// What a ticket is for is one action.
fn fits(purpose: &Purpose, action: Action) -> bool {
    match purpose {
        Purpose::LfsUpload { .. } | Purpose::Xet => action == Action::RepoWrite,
        Purpose::LfsDownload { .. } => action == Action::RepoRead,
    }
}

/// The number of no namespace and no repository: theirs begin with 1.
const NOBODYS: u64 = 0;

/// The same work and the same refusal whether the repository is not there, is locked, or may not be seen; another one only to
/// those to whom it was disclosed.
fn judge_found(
    state: &State,
    subject: Subject,
    action: Action,
    found: Option<(u64, &Repo)>,
    namespace: Option<u64>,
    record: &mut Record,
) -> Result<Allowed, Refusal> {
    record.repo_id = found.map(|(id, _)| id);
    // Where there is none, policy is asked about a place all the same: else the time would tell (benches/hidden.py).
    let namespace = found.map(|(_, repo)| repo.namespace).or(namespace).or(Some(NOBODYS));
    let id = found.map_or(Some(NOBODYS), |(id, _)| Some(id));
    let of = |action| compartments(state, &subject, action, namespace, id);
    let readable = of(Action::RepoRead);
    let stopped = id.is_some_and(|id| state.stops.contains_key(&Stop::Repo(id)));
    let visible = found.is_some() && !stopped;
    let known = may(state, &subject, Action::RepoAsk, namespace, id);
    if stopped {
        record.reason = "repository locked".to_owned();
    }
    let bare = !has_compartments(action) && may(state, &subject, action, namespace, id);
    let mut allowed = match action {
        Action::RepoRead => readable.clone(),
        Action::KeyRecover => of(action),
        Action::RepoWrite => {
            let mut parts = of(action);
            parts.retain(|part| readable.contains(part));
            parts
        }
        _ if bare => readable.clone(),
        _ => Vec::new(),
    };
    if let Some((id, repo)) = found.filter(|_| visible && known && readable.is_empty() && action != Action::KeyRecover)
    {
        return Err(super::ask::gated(state, &subject, id, repo));
    }
    if !visible || readable.is_empty() && action != Action::KeyRecover {
        return Err(Refusal::NotFound);
    }
    if allowed.is_empty() && !bare {
        return if action == Action::KeyRecover {
            Err(Refusal::NotFound)
        } else {
            Err(Refusal::Forbidden(format!("this needs the right to {action} here")))
        };
    }
    if writes(action) && found.is_some_and(|(_, repo)| repo.is_closed()) {
        return Err(Refusal::Later(CLOSED_S));
    }
    super::share::accepted(state, &subject)?;
    allowed.sort();
    record.compartments = allowed.iter().map(ToString::to_string).collect();
    Ok(Allowed { subject, repo: id, compartments: allowed, generation: record.generation })
}
