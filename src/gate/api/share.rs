//! Shares: made and managed, and their terms accepted. The keeper judges; the catalogue says which commit a revision is.

use std::sync::Arc;

use axum::http::StatusCode;
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{ShareCommand, ShareSpec, Target};
use strongroom_storage::RefKind;

use crate::call::Call;
use crate::gate::Gate;
use crate::hub::commit_at;
use crate::refused::Refused;
use crate::routes::{Answer, json_text};

/// `POST /api/strongroom/v1/share`, and `…/share/terms`.
///
/// # Errors
/// 400, 401, 403, 404, 409.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let mut command: AdminCommand = call.json().await?;
    if command.action() != call.route.action {
        return Err(Refused::bad("this command belongs to another route"));
    }
    let made = match &mut command {
        AdminCommand::Share(ShareCommand::Create(spec)) => {
            fix(&gate, &call, spec).await?;
            true
        }
        AdminCommand::Share(_) => false,
        _ => return Err(Refused::bad("this command belongs to another route")),
    };
    let shown = gate.keeper.admin(call.origin(), call.credential.clone(), command).await.map_err(Refused::from);
    let shown = shown.map_err(|refused| match refused.status {
        StatusCode::NOT_FOUND if !made => refused.with_message("no share that you manage has that id"),
        _ => refused,
    })?;
    Ok(json_text(shown))
}

/// Says which commit is shared.
pub(crate) async fn fix(gate: &Gate, call: &Call, spec: &mut ShareSpec) -> Result<(), Refused> {
    let (kind, name, revision) = (spec.kind, spec.repo.clone(), Some(spec.revision.to_string()));
    let grant = call.authorize(gate, Target::Repo { kind, name, revision, path: None }).await?;
    let repo = grant.repo()?;
    spec.commit = Some(commit_at(gate, repo, &spec.revision).await?.id);
    let parts = repo.parts();
    let held = gate.catalog.find_ref(parts.id, &parts.shared, spec.revision.short()).await?;
    if spec.follow && held.is_none_or(|held| held.kind != RefKind::Branch) {
        return Err(Refused::bad("a share follows a branch, and this revision is none"));
    }
    Ok(())
}
