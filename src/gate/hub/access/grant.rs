//! `POST …/user-access-request/grant`.

use std::sync::Arc;

use serde::Deserialize;
use strongroom_protocol::Asker;

use super::accept;
use crate::call::Call;
use crate::gate::Gate;
use crate::routes::Answer;

#[derive(Deserialize)]
struct Grant {
    user: String,
}

/// Gives access to somebody who may not have asked.
///
/// # Errors
/// 400, 403, 404, 409.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let body: Grant = call.json().await?;
    accept(&gate, &call, Asker::User(body.user), true).await
}
