//! `GET /api/strongroom/traces?after=N`: the traces of this gate's last requests, as lines of OTLP/JSON; `X-Next-After` is what to
//! ask with next.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use strongroom_protocol::Target;

use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::Answer;
use crate::traces;

/// At most [`traces::PAGE_MAX`] of them.
///
/// # Errors
/// 400, 401, 403.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let after = match call.query("after") {
        Some(text) => text.parse().map_err(|_| Refused::bad("after is a number"))?,
        None => 0,
    };
    call.authorize(&gate, Target::System).await?;
    let (lines, last) = traces::after(after);
    let mut response = Response::new(Body::from(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    response.headers_mut().insert("x-next-after", HeaderValue::from(last));
    Ok(response)
}
