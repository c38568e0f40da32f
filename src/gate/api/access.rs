//! Access: disclosed, asked for, decided. The keeper judges; the catalogue says which commit is shared.

use std::sync::Arc;

use strongroom_protocol::AccessCommand;
use strongroom_protocol::admin::AdminCommand;

use super::share::fix;
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json_text};

/// `POST /api/strongroom/v1/access`, and `…/access/mine` for whoever asks.
///
/// # Errors
/// 400, 401, 403, 404, 409.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let mut command: AdminCommand = call.json().await?;
    let AdminCommand::Access(access) = &mut command else {
        return Err(Refused::bad("this command belongs to another route"));
    };
    if access.action() != call.route.action {
        return Err(Refused::bad("this command belongs to another route"));
    }
    if let AccessCommand::Approve { spec, .. } = access {
        fix(&gate, &call, spec).await?;
    }
    let shown = gate.keeper.admin(call.origin(), call.credential.clone(), command).await?;
    Ok(json_text(shown))
}
