//! `GET /api/strongroom/audit/{log}/checkpoint` and `…/tile/…`: each log as C2SP `tlog-tiles` lays one out
//! (<https://c2sp.org/tlog-tiles>), for monitors outside. The prefix of a log is `/api/strongroom/audit/NUMBER`.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_protocol::Refusal;
use strongroom_protocol::admin::{AdminCommand, LogTile};

use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::Answer;

/// A log's newest signed checkpoint.
///
/// # Errors
/// 400, 401, 403.
pub async fn checkpoint(gate: Arc<Gate>, call: Call) -> Answer {
    let command = AdminCommand::AuditCheckpointOf { log: number(&call)? };
    ask(&gate, &call, command, None).await
}

/// A tile of its tree, or the entries under it.
///
/// # Errors
/// 400, 401, 403.
pub async fn tile(gate: Arc<Gate>, call: Call) -> Answer {
    let tile = LogTile::from_path(number(&call)?, call.param("path")?).map_err(Refused::bad)?;
    // What is full never changes.
    let kept = tile.is_full().then_some("private, max-age=31536000, immutable");
    ask(&gate, &call, AdminCommand::AuditTile(tile), kept).await
}

fn number(call: &Call) -> Result<u64, Refused> {
    let text = call.param("log")?;
    let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
    number.ok_or_else(|| Refused::bad("a log is called by its number"))
}

async fn ask(gate: &Gate, call: &Call, command: AdminCommand, kept: Option<&'static str>) -> Answer {
    let shown = gate.keeper.admin(call.origin(), call.credential.clone(), command).await?;
    let wrong = || Refused::from(Refusal::Unavailable("the keeper's answer is no tile".to_owned()));
    let shown: serde_json::Value = serde_json::from_str(&shown).map_err(|_| wrong())?;
    let content = shown["content"].as_str().and_then(|text| STANDARD.decode(text).ok()).ok_or_else(wrong)?;
    let kind = shown["type"].as_str().and_then(|kind| HeaderValue::from_str(kind).ok()).ok_or_else(wrong)?;
    let mut response = Response::new(Body::from(content));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if let Some(kept) = kept {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    }
    Ok(response)
}
