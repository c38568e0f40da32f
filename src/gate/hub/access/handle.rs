//! `POST …/user-access-request/handle`.

use std::sync::Arc;

use serde::Deserialize;
use strongroom_protocol::{AccessCommand, AccessStatus, Asker};

use super::{accept, send};
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handle {
    user: Option<String>,
    request_id: Option<String>,
    status: String,
    rejection_reason: Option<String>,
}

/// Accepts a request, rejects it, or lets it wait again.
///
/// # Errors
/// 400, 403, 404, 409.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let body: Handle = call.json().await?;
    let (kind, repo) = call.repo()?;
    let who = match (body.user, body.request_id) {
        (Some(user), None) => Asker::User(user),
        (None, Some(id)) => Asker::Request(id.parse().map_err(|_| Refused::bad("no request has that id"))?),
        _ => return Err(Refused::bad("name either user or requestId")),
    };
    match body.status.parse().map_err(Refused::bad)? {
        AccessStatus::Accepted => accept(&gate, &call, who, false).await,
        AccessStatus::Rejected => {
            let reason = body.rejection_reason.unwrap_or_default();
            Ok(json(&send(&gate, &call, AccessCommand::Reject { kind, repo, who, partner: false, reason }).await?))
        }
        AccessStatus::Pending => Ok(json(&send(&gate, &call, AccessCommand::Reopen { kind, repo, who }).await?)),
    }
}
