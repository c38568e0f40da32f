//! Shares of the root key of a sealed server. Each is its own credential: whoever has none learns nothing here.

use std::sync::Arc;

use serde::Deserialize;
use strongroom_protocol::SecretText;

use crate::call::Call;
use crate::gate::Gate;
use crate::routes::{Answer, json};

#[derive(Deserialize)]
struct Share {
    share: SecretText,
}

/// Hands a share, or the passphrase, to the keeper.
///
/// # Errors
/// 400 for one that is none, 409 where the server is not sealed.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let body: Share = call.json().await?;
    let sealed = gate.keeper.unseal(body.share).await?;
    Ok(json(&serde_json::json!({"sealed": sealed})))
}
