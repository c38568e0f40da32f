//! Move, delete, settings.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json as value};

use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Move {
    from_repo: String,
    to_repo: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// `POST /api/repos/move`: the old name keeps answering.
///
/// # Errors
/// 404, 409.
pub async fn move_repo(gate: Arc<Gate>, mut call: Call) -> Answer {
    let body: Move = call.json().await?;
    let kind = body.kind.as_deref().unwrap_or("model").parse()?;
    let (from, to) = (body.from_repo.parse()?, body.to_repo.parse()?);
    gate.keeper.move_repo(call.origin(), call.credential.clone(), kind, from, to).await?;
    Ok(json(&value!({})))
}

#[derive(Deserialize)]
struct Delete {
    name: String,
    organization: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// `DELETE /api/repos/delete`: the secret is shredded first; what the catalogue then drops could not be read any more.
///
/// # Errors
/// 404.
pub async fn delete(gate: Arc<Gate>, mut call: Call) -> Answer {
    let body: Delete = call.json().await?;
    let kind = body.kind.as_deref().unwrap_or("model").parse()?;
    let name = match body.organization {
        Some(namespace) => format!("{namespace}/{}", body.name).parse()?,
        None if body.name.contains('/') => body.name.parse()?,
        None => {
            let whoami = strongroom_domain::Action::Whoami;
            let target = strongroom_protocol::Target::System;
            let me = gate.keeper.authorize(call.origin(), call.credential.clone(), whoami, target).await?;
            format!("{}/{}", me.parts().principal, body.name).parse()?
        }
    };
    let grant = gate.keeper.delete_repo(call.origin(), call.credential.clone(), kind, name).await?;
    let parts = grant.repo()?.parts();
    for copy in parts.beside.into_iter().chain([parts.id]) {
        gate.catalog.drop_repo(copy).await?;
    }
    Ok(json(&value!({})))
}

/// `PUT …/settings`: every repository here is private, and nothing makes one public.
///
/// # Errors
/// 400 for what would open it to people without a grant.
pub async fn settings(gate: Arc<Gate>, mut call: Call) -> Answer {
    let body: Value = call.json().await?;
    call.authorize_repo(&gate, None, None).await?;
    let public =
        body["visibility"].as_str().is_some_and(|word| word != "private") || body["private"] == Value::Bool(false);
    if public {
        return Err(Refused::bad("every repository of this server is private: give people a role instead"));
    }
    Ok(json(&value!({"private": true, "gated": false})))
}
