//! `Open`, `Recover`: what opens under a grant that lives.

use std::ops::Range;

use strongroom_domain::{Action, Compartment};
use strongroom_envelope::{FileKey, Header, Identity, Recipient};
use strongroom_protocol::{GrantId, ObjectRef, Refusal, Reply, Secret, SecretText};

use super::authorize::writes;
use super::rotate_repo::{MOMENT_S, is_of_now};
use super::sealed::readable;
use super::{about, cut};
use crate::credential::dead;
use crate::grants::Live;
use crate::keys::{Part, RepoKeys};
use crate::log::Record;
use crate::policy::Question;
use crate::server::{Core, now_ms};
use crate::state::{State, Stop};

impl Core {
    /// The grant, where it still holds: not released, its token and repository not stopped, and allowed by the policy of
    /// now in each of its compartments.
    pub(super) fn live(&self, state: &State, id: GrantId) -> Result<Live, Refusal> {
        let mut grants = self.grants.lock();
        let live = grants.get_mut(id).ok_or(Refusal::Over)?;
        let token = state.tokens.get(&live.token).ok_or(Refusal::Over)?;
        if dead(state, live.token, token, now_ms()).is_some() {
            return Err(Refusal::Over);
        }
        let repo = live.repo.and_then(|id| state.repos.get(&id));
        if let Some(id) = live.repo
            && (state.stops.contains_key(&Stop::Repo(id)) || repo.is_none_or(|repo| repo.deleted_ms.is_some()))
        {
            return Err(Refusal::Over);
        }
        if live.generation != state.generation {
            let namespace = repo.map(|repo| repo.namespace);
            let holds = |part: &Compartment| {
                let (principal, action) = (live.principal, live.action);
                let (share, repo) = (live.share, live.repo);
                let bare = Question { principal, share, action, compartment: None, namespace, repo };
                state.policy.allows(&bare) || state.policy.allows(&Question { compartment: Some(*part), ..bare })
            };
            if !live.compartments.iter().all(holds) {
                return Err(Refusal::Over);
            }
            live.generation = state.generation;
        }
        Ok(live.clone())
    }

    /// The keys of what the grant was about: while a rotation is not finished, what was read before it still opens.
    pub(super) fn keys_of(&self, state: &State, live: &Live) -> Result<RepoKeys, Refusal> {
        let repo = live.repo.and_then(|id| state.repos.get(&id)).ok_or(Refusal::Over)?;
        let keys = if is_of_now(repo, live) {
            self.held.keys(repo)
        } else {
            let before = repo.rotation.as_ref().filter(|before| Some(before.catalog_id) == live.catalog_id);
            let before = before.filter(|_| !writes(live.action)).ok_or(Refusal::Later(MOMENT_S))?;
            self.held.keys_beside(before)
        };
        keys.map_err(|error| Refusal::Unavailable(error.to_string()))
    }

    pub(super) async fn answer_open(
        &self,
        grant: GrantId,
        object: ObjectRef,
        range: Range<u64>,
    ) -> Result<Reply, Refusal> {
        let key = self
            .recorded(|state, record| {
                let live = self.live(state, grant)?;
                describe(state, &live, record, "object.open");
                record.path = object.path.as_deref().map(|path| cut(path, 1024));
                record.revision = object.commit.map(|commit| commit.to_string()).or(record.revision.take());
                record.range = Some((range.start, range.end));
                record.compartments = vec![object.compartment.map_or("inbox", Compartment::word).to_owned()];
                if range.end > object.size || range.start > range.end {
                    return Err(Refusal::Invalid("a range outside of the object".to_owned()));
                }
                readable(state, &live, &object)?;
                let part = match object.compartment {
                    // Reading alone opens content: a grant to manage, to create or to break the glass does not.
                    Some(part) if live.action == Action::RepoRead && live.compartments.contains(&part) => {
                        Part::Compartment(part)
                    }
                    None if live.action == Action::RepoWrite => Part::Inbox,
                    _ => return Err(Refusal::NotFound),
                };
                if let Part::Compartment(part) = part {
                    self.witnessed(grant, part)?;
                    self.note_opened(grant, part, &object);
                }
                let header = Header::parse(&object.envelope).map_err(|error| Refusal::Invalid(error.to_string()))?;
                let key = header.open(&self.keys_of(state, &live)?.part(part).identity);
                let key = key.map_err(|error| Refusal::Invalid(error.to_string()))?;
                if let Part::Compartment(part) = part {
                    record.piece = self.piece(&live, part, &key, &object, range.clone());
                }
                Ok(Secret::new(*key.expose()))
            })
            .await?;
        Ok(Reply::Key(key))
    }

    pub(super) async fn answer_recover(&self, grant: GrantId, object: ObjectRef) -> Result<Reply, Refusal> {
        let recovered = self
            .recorded(|state, record| {
                let live = self.live(state, grant)?;
                describe(state, &live, record, "object.recover");
                record.path = object.path.as_deref().map(|path| cut(path, 1024));
                record.revision = object.commit.map(|commit| commit.to_string());
                let part = object.compartment.filter(|part| live.compartments.contains(part));
                let part = part.filter(|_| live.action == Action::KeyRecover).ok_or(Refusal::NotFound)?;
                record.compartments = vec![part.to_string()];
                record.range = Some((0, object.size));
                self.witnessed(grant, part)?;
                self.note_opened(grant, part, &object);
                // An identity made for this one object: what leaves opens nothing else.
                let fresh = Identity::generate();
                let header = self.given_out(state, &live, (part, &object), fresh.to_recipient(), record)?;
                Ok((SecretText::new(fresh.to_secret_text().to_string()), header))
            })
            .await?;
        Ok(Reply::Recovered(recovered.0, recovered.1))
    }

    /// Notes what a grant opened, for the record of what is sent of it.
    pub(super) fn note_opened(&self, grant: GrantId, part: Compartment, object: &ObjectRef) {
        if let Some(live) = self.grants.lock().get_mut(grant) {
            live.opened = Some((part, object.commit));
        }
    }

    /// The header of a whole object for another recipient; that it is given out is counted.
    pub(super) fn given_out(
        &self,
        state: &State,
        live: &Live,
        (part, object): (Compartment, &ObjectRef),
        to: Recipient,
        record: &mut Record,
    ) -> Result<Vec<u8>, Refusal> {
        // Rewrapped in two steps: by its file key the object is known to who counts.
        let key = self.read_whole(state, live, (part, object), record)?;
        let header = Header::seal(&key, &[to]).map_err(|error| Refusal::Invalid(error.to_string()))?;
        Ok(header.as_bytes().to_vec())
    }

    /// The file key of an object that is read whole; that it is read is counted.
    pub(super) fn read_whole(
        &self,
        state: &State,
        live: &Live,
        (part, object): (Compartment, &ObjectRef),
        record: &mut Record,
    ) -> Result<FileKey, Refusal> {
        let keys = self.keys_of(state, live)?;
        let identity = &keys.part(Part::Compartment(part)).identity;
        let key = Header::parse(&object.envelope).and_then(|header| header.open(identity));
        let key = key.map_err(|error| Refusal::Invalid(error.to_string()))?;
        record.piece = self.piece(live, part, &key, object, 0..object.size);
        Ok(key)
    }
}

/// The record of something under a grant.
pub(super) fn describe(state: &State, live: &Live, record: &mut Record, action: &str) {
    about(record, &live.call, action);
    record.principal_id = Some(live.principal.0);
    record.principal = state.principals.get(&live.principal.0).map(|principal| principal.name.clone());
    record.token = Some(live.token);
    record.share = live.share;
    record.repo_id = live.repo;
    let repo = live.repo.and_then(|id| state.repos.get(&id));
    record.repo = repo.map(|repo| repo.name.to_string());
    record.kind = repo.map(|repo| repo.kind.to_string());
    record.revision = live.revision.as_deref().map(|text| cut(text, 256));
}
