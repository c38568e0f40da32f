//! The file at a path of a revision, for the doors that give one.

use axum::http::StatusCode;
use strongroom_domain::{Compartment, RepoPath, Revision};
use strongroom_protocol::{Grant, ObjectRef};
use strongroom_storage::{CommitInfo, FileEntry, ObjectId};

use super::{commit_at, view};
use crate::gate::Gate;
use crate::refused::Refused;

/// A file that a grant sees.
pub struct Found {
    /// Through which it is read.
    pub grant: Grant,
    /// Of which commit.
    pub commit: CommitInfo,
    /// In which compartment.
    pub compartment: Compartment,
    /// What stands in its directory.
    pub file: FileEntry,
}

impl Found {
    /// By what the keeper is asked for it, with the envelope that was committed.
    ///
    /// # Errors
    /// 404, or 500 where the stored envelope is another one.
    pub async fn reference(&self, gate: &Gate, path: &RepoPath) -> Result<ObjectRef, Refused> {
        let repo = self.grant.repo()?;
        let part = repo.part(self.compartment).ok_or_else(Refused::repo)?;
        let object = ObjectId(self.file.object);
        let envelope = gate.catalog.envelope(repo.parts().id, self.compartment, object).await?;
        if !self.file.has_envelope(&part.keys, &envelope) {
            tracing::error!(%object, "an envelope is not the one that was committed");
            return Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the stored file was tampered with"));
        }
        let (compartment, commit, path) = (Some(self.compartment), Some(self.commit.id), Some(path.to_string()));
        Ok(ObjectRef { compartment, commit, path, envelope, size: self.file.size })
    }
}

/// Looks for it. That it is not there, or not for this grant, is recorded before it is said.
///
/// # Errors
/// 404 `RevisionNotFound`, `EntryNotFound`.
pub async fn file_at(gate: &Gate, grant: Grant, revision: &Revision, path: &RepoPath) -> Result<Found, Refused> {
    match look(gate, &grant, revision, path).await {
        Ok((commit, compartment, file)) => Ok(Found { grant, commit, compartment, file }),
        Err(refused) => {
            if refused.status == StatusCode::NOT_FOUND {
                gate.keeper.absent(grant, path.to_string()).await?;
            }
            Err(refused)
        }
    }
}

async fn look(
    gate: &Gate,
    grant: &Grant,
    revision: &Revision,
    path: &RepoPath,
) -> Result<(CommitInfo, Compartment, FileEntry), Refused> {
    let repo = grant.repo()?;
    let commit = commit_at(gate, repo, revision).await?;
    let mut view = view(gate, repo, &commit);
    // It lies where its path says, unless the rules were changed since.
    let expected = gate.compartment(path);
    view.parts.sort_by_key(|(compartment, _)| *compartment != expected);
    let found = view.file(path).await?;
    let (compartment, file) = found.ok_or_else(|| Refused::entry(Some(commit.id)))?;
    Ok((commit, compartment, file))
}
