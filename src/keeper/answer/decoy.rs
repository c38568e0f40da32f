//! Decoys: planted, listed, taken away; and files that a request names in its body, which may be one.

use serde_json::{Value, json};
use strongroom_domain::{RepoKind, RepoName, is_probed};
use strongroom_protocol::{DecoyCommand, DecoySpec, GrantId, Refusal, Reply};

use super::admin::Outcome;
use super::people::{invalid, time, token_name};
use super::{about, cut};
use crate::change::Change;
use crate::credential::Subject;
use crate::decoy::{self, Bait, Decoy, DecoyChange};
use crate::log::Record;
use crate::server::Core;
use crate::state::State;
use crate::token;

/// Decoys at once.
const DECOYS_MAX: usize = 1000;

fn shown(state: &State, id: u64, decoy: &Decoy) -> Value {
    let repo = |id: &u64| {
        let repo = state.repos.get(id).filter(|repo| repo.deleted_ms.is_none());
        repo.map(|repo| (repo.kind.to_string(), repo.name.to_string())).unzip()
    };
    let ((kind, repo), path, name) = match &decoy.bait {
        Bait::Repo(kind, name) => ((Some(kind.to_string()), Some(name.to_string())), None, None),
        Bait::Path(id, path) => (repo(id), Some(path), None),
        Bait::Token(_, name) => ((None, None), None, Some(name)),
    };
    let planter = state.principals.get(&decoy.planter.0).map(|principal| principal.name.clone());
    json!({
        "id": id, "what": decoy.bait.word(), "kind": kind, "repo": repo, "path": path, "token": name, "by": planter,
        "planted": time(decoy.planted_ms),
    })
}

fn conflict() -> Refusal {
    Refusal::Conflict("there is a decoy there already".to_owned())
}

impl Core {
    pub(super) fn decoy(&self, state: &State, by: &Subject, command: &DecoyCommand, record: &mut Record) -> Outcome {
        match command {
            DecoyCommand::Plant(spec) => plant(state, by, spec, record),
            DecoyCommand::List => {
                let rows = state.decoys.all.iter().map(|(id, decoy)| shown(state, *id, decoy));
                Ok((json!({"decoys": rows.collect::<Vec<_>>()}), Vec::new()))
            }
            DecoyCommand::Remove { id } => {
                record.subject = Some(format!("decoy {id}"));
                let decoy = state.decoys.all.get(id).ok_or_else(|| invalid("no decoy has that id"))?;
                let removed = shown(state, *id, decoy);
                Ok((json!({"removed": removed}), vec![Change::Decoy(DecoyChange::Removed(*id))]))
            }
        }
    }

    /// The gate is told nothing of what it named: whether one of the files is a decoy, it does not learn.
    pub(super) async fn answer_named(&self, grant: GrantId, paths: Vec<String>) -> Result<Reply, Refusal> {
        let touched = {
            let state = self.state.read();
            let repo = self.live(&state, grant)?.repo.ok_or(Refusal::NotFound)?;
            paths.iter().find(|path| state.decoys.path(repo, path).is_some()).cloned()
        };
        let Some(path) = touched else { return Ok(Reply::Done) };
        self.recorded(|state, record| {
            let live = self.live(state, grant)?;
            let repo = live.repo.and_then(|id| state.repos.get(&id)).ok_or(Refusal::Over)?;
            about(record, &live.call, live.action.word());
            record.principal = state.principals.get(&live.principal.0).map(|principal| principal.name.clone());
            (record.principal_id, record.token, record.share) = (Some(live.principal.0), Some(live.token), live.share);
            (record.kind, record.repo) = (Some(repo.kind.to_string()), Some(repo.name.to_string()));
            (record.repo_id, record.revision) = (live.repo, live.revision.clone());
            (record.path, record.known) = (Some(cut(&path, 1024)), true);
            decoy::note(state, repo.kind, &repo.name, Some(&path), record);
            Ok(Reply::Done)
        })
        .await
    }
}

fn plant(state: &State, by: &Subject, spec: &DecoySpec, record: &mut Record) -> Outcome {
    // No number is given twice: alerts name it.
    let id = record.generation + 1;
    // Who reads the log learns that there is one, and not where.
    record.subject = Some(format!("decoy {id}"));
    if state.decoys.all.len() >= DECOYS_MAX {
        return Err(Refusal::Conflict(format!("there are {DECOYS_MAX} decoys already")));
    }
    let (bait, secret) = match spec {
        DecoySpec::Repo(kind, name) => (repo(state, *kind, name)?, None),
        DecoySpec::Path(kind, name, path) => {
            let (repo, _) = state.repo(*kind, name).ok_or_else(|| invalid("no such repository"))?;
            if state.decoys.path(repo, path.as_str()).is_some() {
                return Err(conflict());
            }
            if is_probed(path.as_str()) {
                return Err(invalid("stock clients ask for a file of this name by themselves: choose another"));
            }
            (Bait::Path(repo, path.to_string()), None)
        }
        DecoySpec::Token(name) => {
            let name = token_name(name)?;
            let text = token::generate().map_err(|error| Refusal::Unavailable(error.to_string()))?;
            (Bait::Token(token::hash(text.expose()), name), Some(text))
        }
    };
    let decoy = Decoy { bait, planter: by.principal, planted_ms: record.time_ms };
    let mut planted = shown(state, id, &decoy);
    if let Some(secret) = secret {
        planted["secret"] = secret.expose().into();
    }
    Ok((planted, vec![Change::Decoy(DecoyChange::Planted(id, Box::new(decoy)))]))
}

fn repo(state: &State, kind: RepoKind, name: &RepoName) -> Result<Bait, Refusal> {
    if state.decoys.repo(kind, name).is_some() {
        return Err(conflict());
    }
    if state.repo_names.contains_key(&(kind, name.folded())) {
        return Err(Refusal::Conflict("a repository has this name, or had it".to_owned()));
    }
    Ok(Bait::Repo(kind, name.clone()))
}
