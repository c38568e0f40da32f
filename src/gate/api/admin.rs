//! Commands of operators and analysts: parsed here, judged and done by the keeper.

use std::sync::Arc;

use strongroom_protocol::admin::AdminCommand;

use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json_text};

/// One command, of the route's action.
///
/// # Errors
/// 400, 401, 403, 409.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let command: AdminCommand = call.json().await?;
    if command.action() != call.route.action {
        return Err(Refused::bad("this command belongs to another route"));
    }
    let shown = gate.keeper.admin(call.origin(), call.credential.clone(), command).await?;
    Ok(json_text(shown))
}
