//! Small questions: who am I, may I, is this YAML.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json as value};
use strongroom_protocol::Target;

use super::date;
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json};

/// `GET /api/whoami-v2`.
///
/// # Errors
/// 401.
pub async fn whoami(gate: Arc<Gate>, call: Call) -> Answer {
    let grant = call.authorize(&gate, Target::System).await?;
    let parts = grant.parts();
    let mut names: Vec<(&str, &str)> =
        parts.namespaces.iter().map(|(name, role)| (name.as_str(), role.as_str())).collect();
    names.sort_unstable();
    names.dedup_by_key(|(name, _)| *name);
    let organisations: Vec<Value> = names
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case(&parts.principal))
        .map(|(name, role)| value!({"type": "org", "name": name, "fullname": name, "roleInOrg": role}))
        .collect();
    let role = if parts.token.1 { "write" } else { "read" };
    let token = value!({"displayName": parts.token.0, "role": role, "createdAt": date(parts.token_created_ms)});
    Ok(json(&value!({
        "type": "user", "id": parts.principal, "name": parts.principal, "fullname": parts.principal, "isPro": false,
        "orgs": organisations, "auth": {"type": "access_token", "accessToken": token},
    })))
}

/// `GET /api/agent-harnesses`: there are none.
///
/// # Errors
/// 401.
pub async fn agent_harnesses(gate: Arc<Gate>, call: Call) -> Answer {
    call.authorize(&gate, Target::System).await?;
    Ok(json(&value!({"standardEnvVars": [], "harnesses": {}})))
}

/// `GET …/auth-check[/write]`.
///
/// # Errors
/// 404, 403.
pub async fn auth_check(gate: Arc<Gate>, call: Call) -> Answer {
    call.authorize_repo(&gate, None, None).await?;
    Ok(json(&value!({})))
}

#[derive(Deserialize)]
struct Card {
    content: String,
}

/// `POST /api/validate-yaml`: clients read JSON whatever the status.
///
/// # Errors
/// 401, 400.
pub async fn validate_yaml(gate: Arc<Gate>, mut call: Call) -> Answer {
    let card: Card = call.json().await?;
    call.authorize(&gate, Target::System).await?;
    match super::card::metadata(&card.content) {
        Ok(None) => Ok(json(&value!({
            "errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}],
        }))),
        Ok(Some(_)) => Ok(json(&value!({"errors": [], "warnings": []}))),
        Err(why) => {
            let body = value!({"errors": [{"message": why}], "warnings": [], "error": why});
            Err(Refused::bad("the card's metadata is not valid YAML").with_body(body))
        }
    }
}
