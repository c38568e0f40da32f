//! Quotas: the keeper's limits beside what the catalogue counts.

use std::sync::Arc;

use serde_json::Value;
use strongroom_protocol::admin::AdminCommand;

use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json};

/// `POST /api/strongroom/v1/quota`.
///
/// # Errors
/// 400, 401, 403.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let command: AdminCommand = call.json().await?;
    if command.action() != call.route.action {
        return Err(Refused::bad("this command belongs to another route"));
    }
    let shown = gate.keeper.admin(call.origin(), call.credential.clone(), command).await?;
    // The keeper's own text.
    let mut shown: Value = serde_json::from_str(&shown).unwrap_or_default();
    let rows = shown.get_mut("quotas").and_then(Value::as_array_mut);
    for row in rows.into_iter().flatten().filter_map(Value::as_object_mut) {
        let place = row.remove("place").and_then(|place| place.as_u64()).unwrap_or_default();
        row.insert("stored".to_owned(), gate.catalog.stored(place).await?.into());
    }
    Ok(json(&shown))
}
