//! Seals: of the server, and of single repositories. (docs/decisions/0028)

use serde_json::{Value, json};
use strongroom_domain::{RepoKind, RepoName};
use strongroom_envelope::Identity;
use strongroom_protocol::{Refusal, SealCommand, SecretText};

use super::admin::Outcome;
use super::people::time;
use crate::change::Change;
use crate::log::Record;
use crate::rewrap::rewrap_one;
use crate::root::RootSource;
use crate::seal::{RepoSeal, SealChange};
use crate::server::Core;
use crate::state::{Repo, State, Stop};
use crate::waiting::{Waiting, split};

impl Core {
    pub(super) fn seal(&self, state: &State, command: &SealCommand, record: &mut Record) -> Outcome {
        match command {
            SealCommand::Server { reason } => {
                record.reason = super::cut(reason, 1024);
                let next = match self.held.source() {
                    RootSource::Shares => "strongroom unseal, with one share after the other, at every server",
                    RootSource::File(_) if self.held.read().is_none() => {
                        "strongroom unseal, with the root key's passphrase, at every server"
                    }
                    _ => "strongroom unseal --here, on a server's machine",
                };
                Ok((json!({"sealed": "the server", "next": next}), vec![Change::Seal(SealChange::Server)]))
            }
            SealCommand::Repo { kind, repo, reason, shares } => {
                let (id, repo) = find(state, *kind, repo, record)?;
                record.reason = super::cut(reason, 1024);
                self.seal_repo(state, id, repo, *shares, record)
            }
            SealCommand::UnsealRepo { kind, repo, shares } => {
                let (id, repo) = find(state, *kind, repo, record)?;
                self.unseal_repo(state, id, repo, shares)
            }
            SealCommand::List => {
                let row = |(id, seal): (&u64, &RepoSeal)| {
                    let repo = state.repos.get(id)?;
                    let shares = seal.shares.map(|(needed, all)| format!("{needed}of{all}"));
                    let (kind, name) = (repo.kind.to_string(), repo.name.as_str());
                    Some(
                        json!({"kind": kind, "repo": name, "reason": seal.reason, "since": time(seal.since_ms), "shares": shares}),
                    )
                };
                Ok((json!({"seals": state.seals.iter().filter_map(row).collect::<Vec<Value>>()}), Vec::new()))
            }
        }
    }

    fn seal_repo(&self, state: &State, id: u64, repo: &Repo, shares: Option<(u8, u8)>, record: &Record) -> Outcome {
        if state.seals.contains_key(&id) {
            return Err(Refusal::Conflict("it is sealed already".to_owned()));
        }
        let mut shown = json!({"sealed": format!("{} {}", repo.kind, repo.name)});
        let mut wrapped = None;
        if let Some((needed, all)) = shares {
            if needed < 2 || needed > all {
                return Err(Refusal::Invalid("shares are NofM, such as 2of3, with N from 2 to M".to_owned()));
            }
            if repo.rotation.is_some() {
                let text = "its secret is being rotated: end that first (strongroom key rotate repository)";
                return Err(Refusal::Conflict(text.to_owned()));
            }
            let quorum = Identity::generate();
            let secret = repo.wrapped.as_deref().ok_or(Refusal::NotFound)?;
            let anew = self.held.rewrap(secret, &self.held.wrap_with(&[quorum.to_recipient()]));
            wrapped = Some(anew.map_err(|error| Refusal::Unavailable(error.to_string()))?);
            let texts: Vec<String> =
                split(&quorum, needed, all).iter().map(|share| share.expose().to_owned()).collect();
            shown["shares"] = json!(texts);
            shown["needed"] = json!(needed);
        }
        let was_locked = state.stops.contains_key(&Stop::Repo(id));
        let (reason, since_ms) = (record.reason.clone(), record.time_ms);
        let lock = (!was_locked).then(|| Change::Stop(Stop::Repo(id), reason.clone(), since_ms));
        let seal = RepoSeal { reason, since_ms, shares, was_locked, wrapped };
        Ok((shown, lock.into_iter().chain([Change::Seal(SealChange::Repo(id, seal))]).collect()))
    }

    fn unseal_repo(&self, state: &State, id: u64, repo: &Repo, shares: &[SecretText]) -> Outcome {
        let seal = state.seals.get(&id).ok_or_else(|| Refusal::Conflict("it is not sealed".to_owned()))?;
        let wrapped = match seal.shares {
            None => None,
            Some((needed, _)) => {
                let quorum = combine(shares, needed)?;
                let sealed = seal.wrapped.as_deref().ok_or(Refusal::NotFound)?;
                let other = |_| Refusal::Invalid("these shares open another seal".to_owned());
                Some(rewrap_one(sealed, &quorum, &self.held.wrap_for(state)).map_err(other)?)
            }
        };
        let unlock = (!seal.was_locked).then_some(Change::Unstop(Stop::Repo(id)));
        let changes = [Change::Seal(SealChange::RepoEnd(id, wrapped))].into_iter().chain(unlock).collect();
        Ok((json!({"unsealed": format!("{} {}", repo.kind, repo.name), "locked": seal.was_locked}), changes))
    }
}

fn find<'a>(
    state: &'a State,
    kind: RepoKind,
    name: &RepoName,
    record: &mut Record,
) -> Result<(u64, &'a Repo), Refusal> {
    (record.kind, record.repo) = (Some(kind.to_string()), Some(name.to_string()));
    let missing = || Refusal::Invalid("no such repository".to_owned());
    let (id, repo) = state.repo(kind, name).ok_or_else(missing)?;
    record.repo_id = Some(id);
    Ok((id, repo))
}

/// The identity in the shares. All come at once: whoever holds one of them learns nothing, and no server keeps any.
fn combine(shares: &[SecretText], needed: u8) -> Result<Identity, Refusal> {
    let mut waiting = Waiting::Shares(Vec::new());
    for share in shares {
        if let Some(identity) = waiting.take(share).map_err(Refusal::Invalid)? {
            return Ok(identity);
        }
    }
    Err(Refusal::Invalid(format!("{needed} shares open it, and {} came: give them a line each", shares.len())))
}
