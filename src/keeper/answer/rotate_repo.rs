//! `key.rotate` of a repository: what the keeper changes between the steps of `strongroom key rotate repository`, which makes
//! the copy on the server's machine. (docs/decisions/0012)
//!
//! | step | if we die after it |
//! | --- | --- |
//! | begin: a second secret, pending | nothing uses it; begun again, it is the same one |
//! | close: writes are refused | they go on when the close is over, or when it is begun again; downloads never stop |
//! | switch: the copies change places | the new secret is the repository's; the old one opens what is still being read |
//! | finish: the old secret is deleted | done |
//!
//! A switch names its close. One that is over can't be switched any more: what was written since is not in the copy.

use serde_json::json;
use strongroom_domain::{RepoKind, RepoName};
use strongroom_protocol::Refusal;
use strongroom_protocol::admin::RotateStep;

use super::admin::Outcome;
use crate::change::Change;
use crate::grants::Live;
use crate::keys::{random, wrap};
use crate::log::Record;
use crate::rotation::{Rotation, RotationChange, Step};
use crate::server::{Core, now_ms};
use crate::state::{Repo, State, Stop};

/// Writes that nothing lets go on go on after so long.
const CLOSE_MS: i64 = 5 * 60 * 1000;
/// Seconds after which a client that was refused meanwhile may ask again.
pub(super) const CLOSED_S: u64 = 5;
/// The same for one whose grant was made a moment before the switch.
pub(super) const MOMENT_S: u64 = 1;

/// Whether a grant is about the keys that the repository has now.
pub(super) fn is_of_now(repo: &Repo, live: &Live) -> bool {
    live.catalog_id == Some(repo.catalog_id)
}

impl Core {
    pub(super) fn rotate_repo(
        &self,
        state: &State,
        kind: RepoKind,
        name: &RepoName,
        step: RotateStep,
        record: &mut Record,
    ) -> Outcome {
        record.kind = Some(kind.to_string());
        record.repo = Some(name.to_string());
        let (id, repo) = state.repo(kind, name).ok_or(Refusal::NotFound)?;
        record.repo_id = Some(id);
        let change = |change| vec![Change::Rotation(id, change)];
        let under_way = |step: Step| {
            let found = repo.rotation.as_ref().filter(|rotation| rotation.step == step);
            let none = || Refusal::Conflict(format!("no rotation is {}: another one went on with it", step.word()));
            found.ok_or_else(none)
        };
        match step {
            RotateStep::Begin { re_encrypt } => {
                let how = if re_encrypt { "payloads are written anew" } else { "headers are wrapped anew" };
                record.subject = Some(format!("begin: {how}"));
                let shown = |rotation: &Rotation| json!({"step": rotation.step.word(), "closes": rotation.closes});
                match &repo.rotation {
                    // Whoever stopped writes is gone.
                    Some(rotation) if rotation.closed_until_ms.is_some() => {
                        Ok((shown(rotation), change(RotationChange::Set(rotation.with_writes(None)))))
                    }
                    Some(rotation) => Ok((shown(rotation), Vec::new())),
                    // Its keys have left memory.
                    None if state.stops.contains_key(&Stop::Repo(id)) => {
                        Err(Refusal::Conflict("the repository is locked: let it open first".to_owned()))
                    }
                    None => {
                        let unavailable = |error: crate::keys::KeyError| Refusal::Unavailable(error.to_string());
                        let secret = self.held.keys(repo).and_then(|keys| keys.succeed()).map_err(unavailable)?;
                        // For the root key that this state knows of: were it rotated meanwhile, this is judged again.
                        let wrapped = wrap(&secret, &self.held.wrap_for(state)).map_err(unavailable)?;
                        let rotation = Rotation::new(random().map_err(unavailable)?, wrapped);
                        Ok((shown(&rotation), change(RotationChange::Set(rotation))))
                    }
                }
            }
            RotateStep::Close => {
                let closed = under_way(Step::Pending)?.with_writes(Some(record.time_ms + CLOSE_MS));
                record.subject = Some(format!("close {}", closed.closes));
                Ok((json!({"close": closed.closes}), change(RotationChange::Set(closed))))
            }
            RotateStep::Switch { close } => {
                record.subject = Some("switch".to_owned());
                let rotation = under_way(Step::Pending)?;
                if rotation.closes != close || rotation.closed_until_ms.is_none() {
                    return Err(Refusal::Conflict(format!("close {close} is over: writes went on")));
                }
                Ok((json!({"switched": true}), change(RotationChange::Switch)))
            }
            RotateStep::Finish => {
                record.subject = Some("finish: the old secret is deleted".to_owned());
                under_way(Step::Previous)?;
                Ok((json!({"finished": true}), change(RotationChange::End)))
            }
        }
    }

    /// Ends closes that lasted too long; whether there was one. From then on they can't be switched.
    pub(super) async fn let_writes_go_on(&self) -> Result<bool, Refusal> {
        let over = |repo: &Repo| {
            let until = repo.rotation.as_ref().and_then(|rotation| rotation.closed_until_ms);
            until.is_some_and(|until| until <= now_ms())
        };
        let ended: Vec<u64> = {
            let state = self.state.read();
            state.repos.iter().filter(|(_, repo)| over(repo)).map(|(id, _)| *id).collect()
        };
        for id in &ended {
            self.changed(|state, record| {
                record.action = "key.rotate".to_owned();
                record.repo_id = Some(*id);
                record.subject = Some("the close is over: writes go on".to_owned());
                let repo = state.repos.get(id).ok_or(Refusal::NotFound)?;
                (record.kind, record.repo) = (Some(repo.kind.to_string()), Some(repo.name.to_string()));
                // Another may have ended it, and closed again.
                let rotation = repo.rotation.as_ref().filter(|_| over(repo));
                let go_on =
                    |rotation: &Rotation| Change::Rotation(*id, RotationChange::Set(rotation.with_writes(None)));
                Ok(((), rotation.map(go_on).into_iter().collect()))
            })
            .await?;
        }
        Ok(!ended.is_empty())
    }
}
