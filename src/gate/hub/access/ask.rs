//! `POST …/ask-access`.

use std::sync::Arc;

use axum::http::header;
use form_urlencoded::parse;
use serde_json::{Map, Value, json as value};
use strongroom_domain::limits::ASK_BYTES_MAX;
use strongroom_protocol::AccessCommand;

use super::send;
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json};

/// Bytes of the body, at most: what a request may say, as a form encodes it.
const BODY_BYTES_MAX: usize = 4 * ASK_BYTES_MAX;

/// Asks for access. The body is what a page's form sends, or the same as JSON; it may be empty.
///
/// # Errors
/// 400, 403 once it was rejected, 404.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let (kind, repo) = call.repo()?;
    let body = call.bytes(BODY_BYTES_MAX).await?;
    let is_json = call.header(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    let fields = if is_json && !body.is_empty() {
        let map: Map<String, Value> = serde_json::from_slice(&body)
            .map_err(|error| Refused::bad(format!("the body is not the JSON expected: {error}")))?;
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        map.into_iter().map(|(name, value)| (name, text(value))).collect()
    } else {
        parse(&body).into_owned().collect()
    };
    let told = send(&gate, &call, AccessCommand::Ask { kind, repo, fields }).await?;
    Ok(json(&value!({"status": told["status"], "requestId": told["id"].to_string()})))
}
