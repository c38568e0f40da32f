//! `CreateRepo`, `MoveRepo`, `DeleteRepo`: decision, change and record in one transaction.

use strongroom_domain::{Action, RepoKind, RepoName, Role};
use strongroom_protocol::{Call, Credential, Refusal, Reply};

use super::about;
use super::authorize::{Allowed, compartments, may};
use crate::act::Deed;
use crate::change::Change;
use crate::credential::{Subject, authenticate};
use crate::decoy;
use crate::keys::{random, wrap};
use crate::log::Record;
use crate::policy::{Line, Place};
use crate::server::{Core, now_ms};
use crate::state::{Repo, State};

/// What a client is told of a name that is taken; its own repositories it may know of.
fn taken(state: &State, kind: RepoKind, name: &RepoName) -> Refusal {
    if state.repo(kind, name).is_some() {
        Refusal::Conflict("You already created this repo".to_owned())
    } else {
        Refusal::Conflict("this name was used before, and is never given to another".to_owned())
    }
}

/// A decoy has its name as a repository has.
fn is_taken(state: &State, kind: RepoKind, name: &RepoName) -> bool {
    state.repo_names.contains_key(&(kind, name.folded())) || state.decoys.repo(kind, name).is_some()
}

impl Core {
    pub(super) async fn answer_create_repo(
        &self,
        call: Call,
        credential: Option<Credential>,
        kind: RepoKind,
        namespace: Option<String>,
        name: String,
    ) -> Result<Reply, Refusal> {
        let unavailable = |error: crate::keys::KeyError| Refusal::Unavailable(error.to_string());
        let catalog_id: [u8; 16] = random().map_err(unavailable)?;
        let secret = zeroize::Zeroizing::new(random::<32>().map_err(unavailable)?);
        let (id, subject, generation) = self
            .changed(|state, record| {
                about(record, &call, "repo.create");
                if let Some(named) = namespace.as_ref().and_then(|namespace| format!("{namespace}/{name}").parse().ok())
                {
                    decoy::note(state, kind, &named, None, record);
                }
                let subject = authenticate(state, &self.keys, credential.as_ref(), now_ms(), record)?;
                if subject.ticket.is_some() {
                    return Err(Refusal::Credential);
                }
                let own = state.principals.get(&subject.principal.0).map(|principal| principal.name.clone());
                let namespace = namespace.clone().or(own).unwrap_or_default();
                let name: RepoName = format!("{namespace}/{name}")
                    .parse()
                    .map_err(|error: strongroom_domain::NameError| Refusal::Invalid(error.to_string()))?;
                record.kind = Some(kind.to_string());
                record.repo = Some(name.to_string());
                decoy::note(state, kind, &name, None, record);
                let place = state.namespace_names.get(&namespace.to_ascii_lowercase()).copied();
                if place.is_none() || !may(state, &subject, Action::RepoCreate, place, None) {
                    // What a right does not reach is not told from what is not there.
                    let found = state.repo(kind, &name);
                    if found.is_some_and(|(id, repo)| {
                        !compartments(state, &subject, Action::RepoRead, Some(repo.namespace), Some(id)).is_empty()
                    }) {
                        return Err(taken(state, kind, &name));
                    }
                    return Err(Refusal::Forbidden(
                        "You don't have the rights to create a repository under this namespace".to_owned(),
                    ));
                }
                if is_taken(state, kind, &name) {
                    return Err(taken(state, kind, &name));
                }
                // The namespace was found above.
                let namespace = place.ok_or(Refusal::NotFound)?;
                let id = State::next(&state.repos);
                record.repo_id = Some(id);
                let name = match state.namespaces.get(&namespace) {
                    // Under the namespace's own spelling.
                    Some(spelled) => format!("{spelled}/{}", name.name()).parse().unwrap_or(name),
                    None => name,
                };
                // For the root key that this state knows of: were it rotated meanwhile, this is judged again.
                let wrapped = wrap(&secret[..], &self.held.wrap_for(state)).map_err(unavailable)?;
                let repo = Repo::new(catalog_id, kind, name, namespace, Some(wrapped), record.time_ms);
                Ok(((id, subject, record.generation), vec![Change::Repo(id, repo)]))
            })
            .await?;
        // Whoever may create in a namespace writes the first commit there, whatever else the roles say.
        let all = strongroom_domain::Compartment::ALL.to_vec();
        let allowed = Allowed { subject, repo: Some(id), compartments: all, generation };
        Ok(Reply::Created(Box::new(self.grant(allowed, Action::RepoCreate, call, None)?)))
    }

    pub(super) async fn answer_move_repo(
        &self,
        call: Call,
        credential: Option<Credential>,
        kind: RepoKind,
        from: RepoName,
        to: RepoName,
    ) -> Result<Reply, Refusal> {
        self.changed(|state, record| {
            about(record, &call, "repo.move");
            for name in [&from, &to] {
                decoy::note(state, kind, name, None, record);
            }
            let subject = authenticate(state, &self.keys, credential.as_ref(), now_ms(), record)?;
            record.subject = Some(to.to_string());
            let allowed = self.judge_repo(state, subject, Action::RepoManage, kind, &from, record)?;
            let id = allowed.repo.ok_or(Refusal::NotFound)?;
            let place = state.namespace_names.get(&to.namespace().to_ascii_lowercase()).copied();
            let place = place.filter(|place| may(state, &allowed.subject, Action::RepoCreate, Some(*place), None));
            let place = place.ok_or_else(|| {
                Refusal::Forbidden("You don't have the rights to create a repository under this namespace".to_owned())
            })?;
            let repo = state.repos.get(&id).ok_or(Refusal::NotFound)?;
            if repo.namespace != place {
                may_leave(state, &allowed.subject, (id, repo), place, record)?;
            }
            let holder = state.repo_names.get(&(kind, to.folded()));
            if holder.is_some_and(|holder| *holder != id) || state.decoys.repo(kind, &to).is_some() {
                return Err(Refusal::Conflict(format!("A {kind} repository called {to} already exists")));
            }
            let (by, deed) = (allowed.subject.principal, Deed::Move(id, repo.namespace, to.clone()));
            let needs = repo.namespace != place && self.dual.deleting(state, by, repo.namespace, id);
            if needs && !self.is_open(state, by, &deed) {
                let why = "moving a repository to another namespace";
                let (refusal, changes) = self.wait(state, &allowed.subject, deed, why, record)?;
                return Ok((Err(refusal), changes));
            }
            Ok((Ok(Reply::Done), vec![Change::Rename(id, to.clone(), place)]))
        })
        .await?
    }

    pub(super) async fn answer_delete_repo(
        &self,
        call: Call,
        credential: Option<Credential>,
        kind: RepoKind,
        name: RepoName,
    ) -> Result<Reply, Refusal> {
        // The grant, which names what the catalogue may drop, is made while the secret is still there.
        let parts = self
            .changed(|state, record| {
                about(record, &call, "repo.delete");
                decoy::note(state, kind, &name, None, record);
                let subject = authenticate(state, &self.keys, credential.as_ref(), now_ms(), record)?;
                let allowed = self.judge_repo(state, subject, Action::RepoDelete, kind, &name, record)?;
                let id = allowed.repo.ok_or(Refusal::NotFound)?;
                let repo = state.repos.get(&id).ok_or(Refusal::NotFound)?;
                let parts = self.repo_parts(state, (id, repo), &[], Action::RepoDelete, None)?;
                let by = allowed.subject.principal;
                let needs = self.dual.deleting(state, by, repo.namespace, id);
                if needs && !self.is_open(state, by, &Deed::Delete(id)) {
                    let (refusal, changes) =
                        self.wait(state, &allowed.subject, Deed::Delete(id), "deleting a repository", record)?;
                    return Ok((Err(refusal), changes));
                }
                Ok((Ok(parts), vec![Change::DeleteRepo(id, record.time_ms)]))
            })
            .await??;
        Ok(Reply::Granted(Box::new(strongroom_protocol::GrantParts {
            id: strongroom_protocol::GrantId(0),
            principal: String::new(),
            namespaces: Vec::new(),
            token: (String::new(), false),
            token_created_ms: 0,
            repo: Some(parts),
        })))
    }
}

/// Whether a repository may be taken out of its namespace: to the people there it is then as gone as by its deletion, and what
/// was denied to somebody there would be denied no more.
fn may_leave(
    state: &State,
    subject: &Subject,
    (id, repo): (u64, &Repo),
    to: u64,
    record: &mut Record,
) -> Result<(), Refusal> {
    if !may(state, subject, Action::RepoDelete, Some(repo.namespace), Some(id)) {
        let why = "a move to another namespace takes the repository from its people here";
        return Err(Refusal::Forbidden(format!("this needs the right to {} here: {why}", Action::RepoDelete)));
    }
    let denied = state.lines.iter().filter(|line| !line.allow && line.place == Place::Namespace(repo.namespace));
    // A right to create is one to the namespace alone.
    let denied = denied.filter(|line| line.action != Action::RepoCreate);
    let holds_there = |line: &Line| {
        let mut places = [Place::Repo(id), Place::Namespace(to), Place::System].into_iter();
        places.any(|place| state.lines.contains(&Line { place, ..*line }))
    };
    let Some(line) = denied.filter(|line| !holds_there(line)).min() else { return Ok(()) };
    // Who is denied something is said to whoever reads the log.
    let who = state.principals.get(&line.principal.0).map_or("?", |principal| principal.name.as_str());
    record.reason = format!("a denial of the namespace would be lost: {} to {who}", line.action);
    Err(Refusal::Conflict(
        "a denial that stands at this namespace would not hold for the repository any more: let an administrator deny the \
         same at the repository first (strongroom role deny USER ACTION --repo), or take the denial back"
            .to_owned(),
    ))
}

/// The roles that a first principal of a namespace may hold there.
pub(super) fn founds_namespace(role: Role) -> bool {
    matches!(role, Role::Owner | Role::Maintainer | Role::Writer | Role::Reader | Role::Partner)
}
